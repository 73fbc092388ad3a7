//! Which environment variables are settings.

/// Variables with a meaning of their own: of `mas`, of scripts and clients, of the tests, and the mark on every process that
/// an agent starts. They may be in the environment of `mas` as well, and mean nothing to its settings but for the first two;
/// [`super::ClientVariables`] reads the next two.
const NO_SETTINGS: [&str; 17] = [
    "MAS_CONFIG",
    "MAS_BOOTSTRAP_KEY",
    "MAS_URL",
    "MAS_API_KEY",
    "MAS_PUBLIC_URL",
    "MAS_BIN",
    "MAS_UID",
    "MAS_PROCESS_MARKER",
    "MAS_AGENT_ID",
    "MAS_ANSWERED",
    "MAS_REAL_IDS",
    "MAS_TASK_ID",
    "MAS_CHAOS_SEEDS",
    "MAS_FUZZ_SECONDS",
    "MAS_POSTGRES_BIN",
    "MAS_TEST_CHROMIUM",
    "MAS_TEST_POSTGRES_URL",
];

/// Whether the variable is read as a setting, known or not: a misspelt one must not pass unseen.
pub(super) fn is_setting(name: &str) -> bool {
    name.starts_with("MAS_") && !NO_SETTINGS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// The words of a file or of every file below a directory that look like variables of ours.
    fn variables(place: &Path, found: &mut BTreeSet<String>) {
        // What others wrote.
        if ["node_modules", "venv"].iter().any(|name| place.ends_with(name)) {
            return;
        }
        if place.is_dir() {
            let entries = fs::read_dir(place).expect("readable").map(|entry| entry.expect("an entry").path());
            return entries.for_each(|entry| variables(&entry, found));
        }
        let text = String::from_utf8_lossy(&fs::read(place).expect("readable")).into_owned();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
        found.extend(words.filter(|word| word.len() > 4 && word.starts_with("MAS_")).map(str::to_owned));
    }

    #[test]
    fn what_scripts_and_tests_use_is_a_setting_by_its_form_or_none() {
        let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), BTreeSet::new());
        for place in ["deploy", "tools", "tests", "Makefile", "README.md", "CONTRIBUTING.md"] {
            variables(&root.join(place), &mut found);
        }
        assert!(["MAS_URL", "MAS_PUBLIC_URL", "MAS_STORE__URL"].iter().all(|name| found.contains(*name)), "{found:?}");
        let wrong: Vec<_> = found.iter().filter(|name| is_setting(name) && !name.contains("__")).collect();
        assert!(wrong.is_empty(), "`mas` would not start with these: {wrong:?}");
    }

    #[test]
    fn a_misspelt_setting_stays_one() {
        assert!(is_setting("MAS_SERVER__BIND") && is_setting("MAS_SERVERBIND") && is_setting("MAS_URLS"));
        assert!(!is_setting("PATH") && !is_setting("MAS_URL"));
    }
}
