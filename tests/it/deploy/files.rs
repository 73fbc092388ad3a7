//! Files that name others: container image, compose, launchd, systemd.

use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("readable").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() { below(&entry, found) } else { found.push(entry) }
    }
}

/// What the image's build takes from this project, relative to its root.
fn copied() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|rest| !rest.starts_with("--from="));
    let mut all = vec![];
    for copy in copies {
        let mut words: Vec<&str> = copy.split_whitespace().collect();
        words.pop().expect("a destination");
        all.extend(words.into_iter().map(|word| word.trim_end_matches('/').to_owned()));
    }
    all
}

#[test]
fn the_image_is_made_of_files_that_exist_and_pass_the_ignore_file() {
    let (copied, ignored) = (copied(), read(".dockerignore"));
    assert!(copied.len() > 8 && ignored.lines().any(|line| line == "*"), "{copied:?}");
    for path in &copied {
        assert!(root().join(path).exists(), "COPY {path}: there is no such file");
        assert!(ignored.lines().any(|line| line == format!("!{path}")), "{path} is not let through by .dockerignore");
    }
}

#[test]
fn the_image_has_all_that_the_code_includes() {
    let (copied, mut files, mut outside) = (copied(), vec![], BTreeSet::new());
    below(&root().join("src"), &mut files);
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(file).expect("readable");
        for rest in text.split("include_str!(\"").skip(1) {
            let mut place = file.parent().expect("a directory").to_owned();
            for part in Path::new(rest.split('"').next().expect("a path")).components() {
                if part == Component::ParentDir {
                    place.pop();
                } else {
                    place.push(part);
                }
            }
            assert!(place.exists(), "{} includes {}", file.display(), place.display());
            outside.insert(place.strip_prefix(root()).expect("of this project").to_string_lossy().into_owned());
        }
        for rest in text.split("migrate!(\"").skip(1) {
            outside.insert(rest.split('"').next().expect("a path").to_owned());
        }
    }
    for path in &outside {
        assert!(copied.iter().any(|copied| Path::new(path).starts_with(copied)), "{path} is not in the image's build");
    }
    assert!(outside.contains("gpt-instructions.md") && outside.contains("migrations/sqlite"), "{outside:?}");
}

#[test]
fn compose_names_what_exists() {
    let compose = yaml("deploy/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let exists = |path: &str| {
        // Secrets are not committed; environment files have an example.
        let secret = path.strip_suffix(".env").map(|_| format!("{path}.example"));
        root().join("deploy").join(secret.as_deref().unwrap_or(path)).exists()
    };
    for (name, service) in services {
        for volume in items(service, "volumes") {
            let source = volume.as_str().expect("short form").split(':').next().expect("a source");
            let known = if source.starts_with('.') { exists(source) } else { compose["volumes"].get(source).is_some() };
            assert!(known, "{name} mounts {source}, which is not there");
        }
        for file in items(service, "env_file") {
            assert!(exists(file["path"].as_str().expect("a path")), "{name}: {file} has no example");
        }
        for secret in items(service, "secrets") {
            assert!(compose["secrets"].get(secret.as_str().expect("a name")).is_some(), "{name}: {secret}");
        }
        for port in items(service, "ports") {
            assert!(port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")), "{name} opens {port} to others");
        }
        assert_eq!(service["read_only"], true, "{name}");
        assert!(service["logging"]["options"]["max-size"].is_string(), "{name}");
    }
    let gateway = &services["gateway"];
    assert!(gateway["healthcheck"]["test"].is_array() && gateway.get("profiles").is_none());
    assert_eq!(gateway["build"]["context"], "..", "where the Dockerfile is");
    for name in gateway["build"]["args"].as_object().expect("arguments").keys() {
        assert!(read("Dockerfile").contains(&format!("\nARG {name}=")), "the Dockerfile does not know {name}");
    }
    for (service, profile) in [("postgres", "postgres"), ("prometheus", "monitoring"), ("grafana", "monitoring")] {
        assert_eq!(services[service]["profiles"], serde_json::json!([profile]));
    }
    for path in ["deploy/prometheus.yml", "deploy/grafana/datasources.yml", "deploy/grafana/dashboards.yml"] {
        assert!(yaml(path).is_object(), "{path}");
    }
}

#[test]
fn the_property_list_is_well_formed() {
    let mut text = read("deploy/com.mas.gateway.plist");
    while let Some(start) = text.find("<!--") {
        let length = text[start..].find("-->").expect("the comment ends");
        assert!(!text[start + 4..start + length].contains("--"), "not allowed within a comment");
        text.replace_range(start..start + length + 3, "");
    }
    let (mut open, mut keys) = (vec![], 0);
    for tag in text.split('<').skip(1).map(|rest| rest.split('>').next().expect("a tag")) {
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closes what is not open");
        } else if !tag.starts_with(['?', '!']) && !tag.ends_with('/') {
            open.push(tag.split(' ').next().expect("a name"));
            keys += usize::from(tag == "key");
        }
    }
    assert!(open.is_empty() && keys > 5, "{open:?}");
    assert!(text.contains("<string>com.mas.gateway</string>") && text.contains("compose.yaml"));
}

#[test]
fn the_page_of_deploy_names_every_file_there() {
    let (page, mut files) = (read("deploy/README.md"), vec![]);
    below(&root().join("deploy"), &mut files);
    for file in files {
        let path = file.strip_prefix(root().join("deploy")).expect("below").to_string_lossy().into_owned();
        let secret = file.extension().is_some_and(|extension| extension == "env") || path == "metrics-key";
        assert!(secret || path == "README.md" || page.contains(&path), "{path} is not in deploy/README.md");
    }
    for unit in ["deploy/mas.service", "deploy/mas-guardian.service"] {
        let text = read(unit);
        assert!(text.contains("[Unit]") && text.contains("\nExecStart=/") && text.contains("\n[Install]"), "{unit}");
    }
    let unit = read("deploy/mas.service");
    for line in ["KillMode=process", "Delegate=yes"] {
        assert!(unit.lines().any(|found| found == line), "{line}: agents must outlive the server");
    }
}
