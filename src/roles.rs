//! Reads the roles there are: the shipped ones, and the Markdown files of a directory of the user's.

use crate::model::{limits::ROLE_BYTES, role::Catalogue, workflow::file::FileFlaw};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

/// The shipped roles and those of the `.md` files in `dir`, which may replace shipped ones. What is wrong with a file is kept for
/// whoever asks; the other roles are there all the same. See [`Catalogue::shipped`] for `models` and `default_model`.
pub fn load(dir: &Path, models: Vec<String>, default_model: Option<String>) -> Catalogue {
    let mut catalogue = Catalogue::shipped(models, default_model);
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return catalogue,
        Err(error) => {
            catalogue.refuse("", flaw(format!("{} cannot be read: {error}", dir.display())));
            return catalogue;
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match read(path) {
            Ok(text) => catalogue.add(&name, &text),
            Err(flaw) => catalogue.refuse(&name, flaw),
        }
    }
    catalogue
}

/// Says in the log what cannot be used.
pub fn report(catalogue: &Catalogue, dir: &Path) {
    for problem in catalogue.problems() {
        let line = problem.flaw.line.map(|line| format!(":{line}")).unwrap_or_default();
        let place = format!("{}{line}", dir.join(&problem.file).display());
        tracing::error!(
            place,
            problem = problem.flaw.words,
            "the role is not available until its file is mended and the server restarted"
        );
    }
}

/// A file's text, of a large one as much as shows that it is too large.
fn read(path: &Path) -> Result<String, FileFlaw> {
    let unreadable = |error: std::io::Error| flaw(format!("cannot be read: {error}"));
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(flaw("is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(ROLE_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() > ROLE_BYTES {
        return Err(flaw(format!("is too large; at most {ROLE_BYTES} bytes are allowed")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        FileFlaw { line: Some(1 + good.matches('\n').count() as u64), words: "is not UTF-8".to_owned() }
    })
}

fn flaw(words: String) -> FileFlaw {
    FileFlaw { line: None, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_not_there_is_no_problem() {
        let dir = tempfile::tempdir().expect("a directory");
        let catalogue = load(&dir.path().join("none"), vec![], None);
        assert!(catalogue.problems().is_empty() && catalogue.contains("coder"));
    }

    #[test]
    fn files_that_cannot_be_read_are_told_and_others_are_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &[u8]| std::fs::write(dir.path().join(name), text).expect("written");
        write("gardener.md", b"---\ndescription: Tends.\n---\nWater.");
        write("latin.md", b"---\ndescription: \xe9\n---\nx");
        write("huge.md", &vec![b'x'; ROLE_BYTES * 2]);
        write("README.txt", b"not a role");
        std::fs::create_dir(dir.path().join("folder.md")).expect("made");
        let catalogue = load(dir.path(), vec![], None);
        assert!(catalogue.contains("gardener"));
        let problems: Vec<_> =
            catalogue.problems().iter().map(|problem| (problem.file.as_str(), problem.flaw.to_string())).collect();
        assert_eq!(problems.iter().map(|(file, _)| *file).collect::<Vec<_>>(), ["folder.md", "huge.md", "latin.md"]);
        assert!(problems[2].1 == "line 2: is not UTF-8", "{problems:?}");
    }
}
