//! The commands that are clients of the HTTP API, as somebody at a terminal calls them.

mod asking;
mod ending;
mod teams;
mod work;

use crate::support::{KEY, TestApp};
use serde_json::Value;
use std::process::{Command, Output};

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    /// What it printed, when all went well.
    fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `mas` with the key of this server, which it finds by the data directory.
fn command(app: &TestApp, arguments: &[&str]) -> Command {
    let mut command = app.mas(arguments);
    command.env("MAS_API_KEY", KEY).stdin(std::process::Stdio::null());
    command
}

fn mas(app: &TestApp, arguments: &[&str]) -> Said {
    command(app, arguments).output().expect("ran").into()
}

/// The id that a command printed.
fn id(printed: &str) -> String {
    printed.trim().to_owned()
}
