//! The module table of ARCHITECTURE.md, held against every `crate::` path in `src`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Who may use whom. A module may always use itself.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("model", &[][..]),
        ("config", &["model"]),
        ("trace", &["model"]),
        ("telemetry", &["model", "config", "trace"]),
        ("shutdown", &[]),
        ("definitions", &["model"]),
        ("process", &["model"]),
        ("adapter", &["model"]),
        ("rehearsal", &["model"]),
        ("gpt", &["model"]),
        ("store", &["model"]),
        ("bus", &["model"]),
        ("app", &["model", "trace", "store", "bus"]),
        ("api", &["model", "trace", "app"]),
        ("runner", &["model", "config", "trace", "adapter", "process", "store", "bus"]),
        ("orchestrator", &["model", "store", "bus"]),
        ("housekeeping", &["model", "config", "process", "store"]),
        ("tunnel", &["model", "config", "process", "bus"]),
        ("mirror", &["model", "config", "adapter", "process", "store", "bus"]),
        // The composition root.
        (
            "cli",
            &[
                "model",
                "config",
                "telemetry",
                "shutdown",
                "definitions",
                "process",
                "adapter",
                "rehearsal",
                "gpt",
                "store",
                "bus",
                "app",
                "api",
                "runner",
                "orchestrator",
                "housekeeping",
                "tunnel",
                "mirror",
            ],
        ),
        ("lib", &[]),
        ("main", &[]),
    ])
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            rust_files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// Module names after each `crate::`, braces included: `use crate::{bus::Bus, store};` gives `bus` and `store`.
fn used_modules(source: &str) -> Vec<String> {
    let mut used = vec![];
    for (at, _) in source.match_indices("crate::") {
        // `$crate::` in a macro and `some_crate::` are other things.
        if source[..at].ends_with(|before: char| before == '$' || before == '_' || before.is_alphanumeric()) {
            continue;
        }
        let rest = &source[at + "crate::".len()..];
        let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(group) = rest.strip_prefix('{') else {
            used.push(name(rest));
            continue;
        };
        let (mut depth, mut start) = (0, 0);
        for (index, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth == 0 => {
                    used.push(name(group[start..index].trim_start()));
                    break;
                }
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    used.push(name(group[start..index].trim_start()));
                    start = index + 1;
                }
                _ => {}
            }
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (allowed, mut files, mut wrong) = (allowed(), vec![], vec![]);
    rust_files(&source, &mut files);
    for file in files {
        let relative = file.strip_prefix(&source).expect("below src");
        let module =
            relative.components().next().expect("a name").as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
        let Some(may_use) = allowed.get(module.as_str()) else { panic!("{} is not in the table", relative.display()) };
        let text = fs::read_to_string(&file).expect("readable");
        for used in used_modules(&text) {
            if used != module && allowed.contains_key(used.as_str()) && !may_use.contains(&used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Commands about the work itself see what every client sees.
#[test]
fn commands_that_ask_a_server_know_only_its_api() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let (mut files, mut wrong) = (vec![], vec![]);
    rust_files(&place, &mut files);
    for file in files {
        let name = file.strip_prefix(&place).expect("below cli").with_extension("");
        let stem = name.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let clients = [
            "agent",
            "attach",
            "client",
            "consensus",
            "progress",
            "remote",
            "role",
            "session",
            "show",
            "sparc",
            "swarm",
            "task",
            "team",
            "transcript",
            "workflow",
        ];
        let used = used_modules(&fs::read_to_string(&file).expect("readable"));
        // `mas workflow check` reads files, and asks no server.
        let foreign = used.iter().find(|used| !["cli", "config", "definitions", "model"].contains(&used.as_str()));
        if let Some(foreign) = foreign.filter(|_| clients.contains(&stem.as_str())) {
            wrong.push(format!("{} uses crate::{foreign}", name.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_say_their_purpose_and_stay_small() {
    let (mut files, mut wrong) = (vec![], vec![]);
    rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        if text.lines().count() > 400 {
            wrong.push(format!("{} has {} lines; stop at 400", file.display(), text.lines().count()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not begin with its purpose", file.display()));
        }
        if file.ends_with("mod.rs") {
            wrong.push(format!("{}: name it after the module instead", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_import_reader_understands_groups() {
    let source = "use crate::{bus::{Bus, Topic}, store};\nuse crate::model::id::TaskId;\nlet x = crate::app::App; $crate::model::x; mas_crate::y";
    assert_eq!(used_modules(source), ["bus", "store", "model", "app"]);
}
