//! Words that reach `ChatGPT` name only operations that it has.

use super::{super::actions, OPERATIONS, actions as document, walk};
use std::{fs, path::Path};

/// The operations of the API in this text that the actions document leaves out.
fn withheld(text: &str) -> Vec<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
    words.filter(|word| OPERATIONS.contains(word) && !actions::OPERATIONS.contains(word)).collect()
}

/// What stands between quotes, outside of comments and of tests at the end of the file.
fn literals(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().replace("'\"'", "");
    let (mut inside, mut words) = (false, String::new());
    for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => drop(letters.next()),
                '"' => {
                    inside = !inside;
                    words.push(' ');
                }
                _ if inside => words.push(letter),
                _ => {}
            }
        }
        words.push(' ');
    }
    assert!(!inside, "a text without an end: {words}");
    words
}

/// Calls `check` with each source file below a directory that is no test.
fn sources(directory: &Path, check: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if path.is_dir() {
            if name != "tests" {
                sources(&path, check);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            check(&path, &fs::read_to_string(&path).expect("a text"));
        }
    }
}

#[test]
fn the_actions_document_names_only_operations_it_has() {
    let mut wrong = vec![];
    walk(&document(), "", &mut |pointer, value| {
        let found = withheld(value.as_str().unwrap_or_default());
        wrong.extend(found.into_iter().map(|name| format!("{pointer}: {name}")));
    });
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn the_instructions_name_only_operations_chatgpt_has() {
    assert_eq!(withheld(include_str!("../../../../gpt-instructions.md")), [""; 0]);
}

#[test]
fn answers_and_refusals_name_only_operations_chatgpt_has() {
    let (mut wrong, mut files) = (vec![], 0);
    for directory in ["src/app", "src/api"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut |path, source| {
            // The lists of operations themselves.
            if path.ends_with("src/api/openapi.rs") || path.ends_with("src/api/openapi/actions.rs") {
                return;
            }
            files += 1;
            let words = literals(source);
            wrong.extend(withheld(&words).into_iter().map(|name| format!("{}: {name}", path.display())));
        });
    }
    assert!(files > 50, "{files} files");
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn texts_are_told_from_code() {
    assert_eq!(withheld(&literals("scale_swarm();\n    /// \"scale_swarm\n")), [""; 0]);
    let source = "let a = \"call \\\n  scale_swarm, or \\\"get_role\\\"\"; get_sparc('\"')";
    assert_eq!(withheld(&literals(source)), ["scale_swarm", "get_role"]);
    assert_eq!(withheld("interrupt_agents, propose, get_role."), ["get_role"]);
}
