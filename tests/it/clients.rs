//! The gateway and its documents through the eyes of programs that others wrote; `tests/tools/install.sh` installs them.

mod browser;
mod documents;
mod schemathesis;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A path below `tests/tools`.
fn tool(path: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(path);
    assert!(tool.exists(), "{} is missing; run tests/tools/install.sh", tool.display());
    tool
}

/// What the program printed; it must end well.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    text
}
