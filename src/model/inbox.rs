//! Where files lie that callers sent along: `inbox/<owner>/<task>/<name>` in the data directory.

use super::id::TaskId;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write,
    path::{Component, Path, PathBuf},
};

/// The directory of all of them.
pub const INBOX: &str = "inbox";

/// All files of one owner. A hash stands for the name, which may hold any character.
pub fn inbox_of(data_dir: &Path, owner: &str) -> PathBuf {
    let mut name = String::new();
    for byte in &Sha256::digest(owner)[..8] {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    data_dir.join(INBOX).join(name)
}

/// The files sent along with one task or message.
pub fn inbox_of_task(data_dir: &Path, owner: &str, task: TaskId) -> PathBuf {
    inbox_of(data_dir, owner).join(task.to_string())
}

/// Whether the path lies below the directory as it is written, without a way back up.
pub fn is_below(directory: &Path, path: &Path) -> bool {
    let goes_up = path.components().any(|component| matches!(component, Component::ParentDir | Component::CurDir));
    !goes_up && path != directory && path.starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_counts() {
        let ann = inbox_of(Path::new("/data"), "ann");
        assert_ne!(ann, inbox_of(Path::new("/data"), "bob"));
        assert!(is_below(&ann, &inbox_of_task(Path::new("/data"), "ann", TaskId::generate()).join("a.csv")));
        for other in ["", "..", "x/../../secret", "../../admin-key"] {
            assert!(!is_below(&ann, &ann.join(other)), "{other}");
        }
        assert!(!is_below(&ann, Path::new("/data/inbox")));
    }
}
