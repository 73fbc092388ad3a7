//! Where a program is.

use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// The executable file that `program` means: itself when it has a `/`, else the first of that name in the directories of `path`.
pub fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    let is_executable = |file: &PathBuf| file.is_file() && access(file.as_path(), Access::EXEC_OK).is_ok();
    let candidates: Vec<PathBuf> = if program.contains('/') {
        vec![program.into()]
    } else {
        path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(program)).collect()
    };
    candidates.into_iter().find(is_executable)
}
