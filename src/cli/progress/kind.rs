//! What can be waited for, and how each kind of work tells where it stands.

use crate::cli::{
    remote::Remote,
    show::{failure, line, word},
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::BTreeMap;

/// Work that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    Task,
    Run,
    Proposal,
}

/// What was told last of each part of the work.
pub(super) type Told = BTreeMap<String, String>;

impl Kind {
    pub(super) fn path(self, id: &str) -> [&str; 2] {
        match self {
            Self::Task => ["tasks", id],
            Self::Run => ["workflow-runs", id],
            Self::Proposal => ["consensus", id],
        }
    }

    /// Whether waiting for it makes sense. A run that waits for an answer goes on only with one.
    pub(super) fn is_open(self, seen: &Value) -> bool {
        let open: &[&str] = match self {
            Self::Task => &["created", "assigned", "in_progress", "review", "revision"],
            Self::Run => &["running"],
            Self::Proposal => &["open"],
        };
        open.contains(&status(seen))
    }

    pub(super) fn succeeded(self, seen: &Value) -> bool {
        match self {
            Self::Task | Self::Run => status(seen) == "complete",
            Self::Proposal => status(seen) == "decided",
        }
    }

    /// A line for each part that has changed.
    pub(super) fn news(self, seen: &Value, told: &mut Told) -> Vec<String> {
        let mut parts = vec![];
        // The end of the whole is told with its result.
        if self.is_open(seen) {
            parts.push((word(&seen["id"]), word(&seen["status"])));
        }
        match self {
            Self::Task => {}
            Self::Run => parts.extend(items(seen, "stages").map(|stage| (word(&stage["path"]), stage_words(stage)))),
            Self::Proposal => parts.extend(items(seen, "rounds").map(|round| {
                let name = format!("round {} {}", word(&round["round"]), word(&round["phase"]));
                (name, format!("{} of {} ballots", word(&round["cast"]), word(&round["asked"])))
            })),
        }
        parts.retain(|(name, state)| state != "pending" && told.get(name) != Some(state));
        told.extend(parts.iter().cloned());
        parts.into_iter().map(|(name, state)| format!("{name}  {state}")).collect()
    }

    /// What happens right now, in words.
    pub(super) fn now(self, seen: &Value) -> String {
        match self {
            Self::Task => word(&seen["progress"]),
            Self::Run => {
                let names = |state: &str| -> Vec<_> {
                    items(seen, "stages").filter(|stage| status(stage) == state).map(|stage| word(&stage["path"])).collect()
                };
                let at_work = [names("running"), names("review"), names("revision")].concat();
                format!("{}  {}", word(&seen["workflow"]), at_work.join(", "))
            }
            Self::Proposal => format!("{}  round {} of {}", word(&seen["question"]), seen["round"], seen["max_rounds"]),
        }
    }

    /// What came of it.
    pub(in crate::cli) fn result(self, seen: &Value) -> Option<String> {
        let text = |name: &str| seen[name].as_str().map(str::to_owned);
        match self {
            Self::Task => {
                let structured = &seen["structured_output"];
                let json = || (!structured.is_null()).then(|| serde_json::to_string_pretty(structured).unwrap_or_default());
                text("result").filter(|result| !result.is_empty()).or_else(json)
            }
            Self::Run => text("result"),
            Self::Proposal => text("decision"),
        }
    }

    /// Why it ended as it did, or why it does not go on.
    pub(super) fn why(self, seen: &Value) -> Option<String> {
        match self {
            Self::Task | Self::Run => (!seen["failure"].is_null()).then(|| failure(&seen["failure"])),
            Self::Proposal => seen["why"].as_str().map(line),
        }
    }

    /// What may be done next.
    pub(super) fn hints(self, remote: &Remote, seen: &Value) -> Vec<String> {
        let id = word(&seen["id"]);
        let mut hints = vec![];
        if let (Self::Task, Some(changes)) = (self, seen["changes"].as_object()) {
            let (branch, files) = (word(&changes["branch"]), word(&changes["files_changed"]));
            hints.push(format!("{files} files changed on branch {branch}; see them with `mas task file {id} changes.diff`"));
        }
        if items(seen, "truncated").any(|name| name == "result") {
            hints.push(format!("the result was shortened; all of it: `mas task file {id} result.md`"));
        }
        for question in items(seen, "waits_for") {
            let (name, options) = (word(&question["id"]), word(&question["options"]));
            hints.push(format!("{}\n  answer with `mas workflow answer {id} {name} …`: {options}", word(&question["question"])));
        }
        if self == Self::Run && items(seen, "files").next().is_some() {
            let place = remote.outputs(&id).map(|dir| format!(" in {}", dir.display())).unwrap_or_default();
            hints.push(format!("files{place}: {}; read one with `mas workflow file {id} NAME`", word(&seen["files"])));
        }
        hints
    }

    /// How to look at it again, and how to end it.
    pub(super) fn again(self, id: &str) -> String {
        let group = match self {
            Self::Task => "task",
            Self::Run => "workflow",
            Self::Proposal => "consensus",
        };
        format!("look again with `mas {group} get {id} --wait`, end it with `mas {group} cancel {id}`")
    }
}

/// How long it took, once it has ended.
pub(super) fn seconds(seen: &Value) -> Option<u64> {
    let time = |name: &str| seen[name].as_str()?.parse::<DateTime<Utc>>().ok();
    (time("ended_at")? - time("created_at")?).num_seconds().try_into().ok()
}

fn status(value: &Value) -> &str {
    value["status"].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn stage_words(stage: &Value) -> String {
    let mut words = word(&stage["status"]);
    if !stage["verdict"].is_null() {
        words = format!("{words}, {}", word(&stage["verdict"]));
    }
    if !stage["failure"].is_null() {
        words = format!("{words}, {}", failure(&stage["failure"]));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_change_is_told_once() {
        let mut told = Told::new();
        let run = |stages: Value| json!({ "id": "wfrun_1", "status": "running", "stages": stages });
        let first = run(json!([{ "path": "plan", "status": "running" }, { "path": "build", "status": "pending" }]));
        assert_eq!(Kind::Run.news(&first, &mut told), ["wfrun_1  running", "plan  running"]);
        assert!(Kind::Run.news(&first, &mut told).is_empty());
        let second = run(
            json!([{ "path": "plan", "status": "complete", "verdict": "APPROVED" }, { "path": "build", "status": "running" }]),
        );
        assert_eq!(Kind::Run.news(&second, &mut told), ["plan  complete, APPROVED", "build  running"]);
    }

    #[test]
    fn what_succeeded_and_what_did_not() {
        let with = |status: &str| json!({ "status": status });
        for (kind, good, bad) in [
            (Kind::Task, "complete", ["failed", "cancelled"]),
            (Kind::Run, "complete", ["failed", "waiting"]),
            (Kind::Proposal, "decided", ["inconclusive", "timed_out"]),
        ] {
            assert!(kind.succeeded(&with(good)) && !kind.is_open(&with(good)), "{good}");
            assert!(bad.iter().all(|bad| !kind.succeeded(&with(bad)) && !kind.is_open(&with(bad))), "{bad:?}");
        }
    }
}
