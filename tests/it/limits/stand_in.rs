//! A scripted CLI for the tests of limits: it answers as often as it is asked, and files beside it say what it does.

use crate::{
    faults::{self, RESULT},
    support::TestApp,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Answers the handshake. Each start leaves a line in `starts`: its arguments.
const HELLO: &str = r#"here=$(dirname "$0")
echo "$*" >>"$here/starts"
read -r hello
echo '{"type":"control_response","response":{"subtype":"success","request_id":"x","response":{"account":{"apiKeySource":"none needed"}}}}'
wait_for() { until [ -e "$here/$1" ]; do sleep 0.02; done; }
fail() {
    echo '{"type":"assistant","error":"'"$1"'","message":{"model":"<synthetic>","content":[{"type":"text","text":"'"$2"'"}]}}'
    echo '{"type":"result","subtype":"success","is_error":true,"result":"'"$2"'","total_cost_usd":0}'
}
"#;

/// Each turn begins with this.
const INIT: &str = r#"echo '{"type":"system","subtype":"init","model":"m"}'
"#;

/// A server whose CLI runs `turn` for each prompt, and for a turn it resumes.
pub(crate) struct StandIn {
    pub(crate) app: TestApp,
    dir: TempDir,
}

impl StandIn {
    pub(crate) async fn new(turn: &str, settings: &[(&str, &str)]) -> Self {
        let body = format!(
            "turn() {{\n{INIT}{turn}\n}}\n[ -z \"$CLAUDE_CODE_RESUME_INTERRUPTED_TURN\" ] || turn\n\
             while read -r line; do case $line in *'\"type\":\"user\"'*) turn;; esac; done\n"
        );
        let (app, dir) = faults::app(&format!("{HELLO}{body}"), settings).await;
        let it = Self { app, dir };
        it.runner().await;
        it
    }

    /// What `/ready` says about the runner, once everything is in order.
    pub(crate) async fn runner(&self) -> String {
        let waiting = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let ready = self.app.get("/ready").await;
                if ready.status == 200 {
                    return ready.json()["checks"]["runner"]["detail"].as_str().expect("words").to_owned();
                }
            }
        };
        tokio::time::timeout(crate::support::PATIENCE, waiting).await.expect("never ready")
    }

    /// It waits for the file `open`, then says `done`.
    pub(crate) async fn patient(settings: &[(&str, &str)]) -> Self {
        Self::new(&format!("wait_for open\n{RESULT}"), settings).await
    }

    /// Makes a file beside it.
    pub(crate) fn touch(&self, name: &str) {
        std::fs::write(self.path(name), "").expect("written");
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("removed");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }

    /// The arguments of each start so far.
    pub(crate) fn starts(&self) -> Vec<String> {
        let starts = std::fs::read_to_string(self.path("starts")).unwrap_or_default();
        starts.lines().map(str::to_owned).collect()
    }

    /// A task of whoever has the key.
    pub(crate) async fn create_as(&self, key: &str) -> crate::support::Answer {
        let body = json!({"title": "a test", "description": "unused"});
        self.app.send(self.app.request_as(Some(key), reqwest::Method::POST, "/tasks").json(&body)).await
    }

    /// The task, once `wanted` is true of it.
    pub(crate) async fn task_until(&self, task: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/tasks/{}", task["id"].as_str().expect("an id"));
        let waiting = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
            loop {
                ticks.tick().await;
                let task = self.app.get(&path).await.expect(200);
                if wanted(&task) {
                    return task;
                }
            }
        };
        let Ok(task) = tokio::time::timeout(crate::support::PATIENCE, waiting).await else {
            panic!("the task never was as wanted: {}", self.app.get(&path).await.text);
        };
        task
    }
}

/// Whether a turn of the task runs.
pub(crate) fn runs(task: &Value) -> bool {
    task["status"] == "in_progress"
}
