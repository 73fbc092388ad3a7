//! Validators of other people on the two committed documents; that these are what the server serves is another test.

use super::{run, tool};
use std::{path::Path, process::Command};

const DOCUMENTS: [&str; 2] = ["openapi/openapi.json", "openapi/actions.json"];

#[test]
fn openapi_spec_validator_accepts_both() {
    let mut validator = Command::new(tool("python/venv/bin/openapi-spec-validator"));
    let said = run(validator.args(DOCUMENTS).current_dir(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(said.matches(": OK").count(), DOCUMENTS.len(), "{said}");
}

#[test]
fn redocly_finds_nothing_in_either() {
    let documents = DOCUMENTS.map(|document| Path::new("../../..").join(document));
    let mut linter = Command::new(tool("redocly/node_modules/.bin/redocly"));
    linter.arg("lint").args(documents).args(["--config", "redocly.yaml"]).current_dir(tool("redocly"));
    let said = run(linter.env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true"));
    assert_eq!(said.matches(": validated in").count(), DOCUMENTS.len(), "{said}");
}
