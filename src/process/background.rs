//! Helpers of the gateway itself that outlive it, such as the rehearsal model.

use super::dir::append;
use std::{io, path::Path, process::Stdio};
use tokio::process::Command;

/// Starts this program again with other arguments and without an environment; its words go to the end of `log`.
/// It is collected when it ends before this process does. Needs a tokio runtime.
pub fn start_background(arguments: &[&std::ffi::OsStr], log: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "this is the place that starts the gateway's own helpers")]
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments).env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(append(log)?);
    let mut child = command.spawn()?;
    tokio::spawn(async move { child.wait().await });
    Ok(())
}
