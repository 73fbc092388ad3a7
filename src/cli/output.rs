//! The one place that writes to the terminal: data to stdout, words to stderr.

use std::io::Write;

/// Writes a line of data to stdout. A closed pipe is not an error of ours.
pub(super) fn print(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes a line for people to stderr.
pub(super) fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// A runtime for commands that need one for a moment.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
