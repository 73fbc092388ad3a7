//! One claude-flow server: JSON-RPC on the lines of its stdin and stdout, one call at a time.

use super::{Shared, state};
use crate::{
    model::{id::ProcessId, project::Project},
    process::{Input, Launched, Lifeline, ProcessDir, Spec, Tail, TailBatch, leftovers},
};
use serde_json::{Value, json};
use std::{io, path::Path, time::Duration};
use tokio::time::timeout;

/// A server that wrote this much is replaced by one with new files.
const MOST_OUTPUT: u64 = 64 << 20;
const STOP_GRACE_MS: u64 = 2_000;
/// Longest wait for an answer; milliseconds in practice.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Why a call led to nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The server is of no use any more.
    #[error("{0}")]
    Gone(String),
    /// It does not want to.
    #[error("claude-flow refused {tool}: {words}")]
    Refused {
        /// What was called.
        tool: &'static str,
        /// Why not.
        words: String,
    },
}

impl CallError {
    /// Whether it says that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { words, .. } if words.contains("not found"))
    }
}

fn gone(error: impl std::fmt::Display) -> CallError {
    CallError::Gone(format!("claude-flow's server cannot be spoken to: {error}"))
}

pub(super) struct Server {
    dir: ProcessDir,
    input: Input,
    output: Tail,
    last_id: u64,
    /// Held: the server ends when it is dropped.
    lifeline: Lifeline,
}

impl Server {
    /// Starts a server in the project's directory, below `root`.
    pub(super) async fn start(shared: &Shared, project: &Project, root: &Path) -> Result<Self, CallError> {
        leftovers::clear(root).await;
        let executable = shared.find().map_err(CallError::Gone)?;
        prepare(shared, project).map_err(|error| gone(format!("{}: {error}", project.path.display())))?;
        let dir = ProcessDir::new(root, ProcessId::generate());
        let spec = Spec {
            argv: vec![executable.to_string_lossy().into_owned(), "mcp".into(), "start".into()],
            cwd: project.path.clone(),
            deadline: None,
            max_output_bytes: MOST_OUTPUT,
            max_memory_bytes: None,
            max_processes: None,
            stop_grace_ms: STOP_GRACE_MS,
        };
        let lifeline = match shared.launcher.launch_tied(&dir, spec, &shared.env).await.map_err(gone)? {
            (Launched::Running(_), Some(lifeline)) => lifeline,
            (Launched::Failed(exit), _) => return Err(gone(exit.detail.unwrap_or_else(|| "it does not start".into()))),
            (Launched::Running(_), None) => return Err(gone("it was started without a lifeline")),
        };
        let output = Tail::open(&dir, 0, shared.watcher.watch(&dir)).await.map_err(gone)?;
        let input = Input::open(&dir).map_err(gone)?;
        let mut server = Self { dir, input, output, last_id: 0, lifeline };
        let client = json!({"name": "mas-gateway", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": client});
        server.request("initialize", &hello).await?;
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        server.input.send_line(&ready.to_string()).await.map_err(gone)?;
        Ok(server)
    }

    /// Calls a tool and gives the object it answers with.
    pub(super) async fn call(&mut self, tool: &'static str, arguments: &Value) -> Result<Value, CallError> {
        let answer = self.request("tools/call", &json!({"name": tool, "arguments": arguments})).await?;
        read(tool, &answer)
    }

    async fn request(&mut self, method: &str, params: &Value) -> Result<Value, CallError> {
        self.last_id += 1;
        let id = self.last_id;
        let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
        let answer = async {
            self.input.send_line(&line).await.map_err(gone)?;
            loop {
                let lines = self.lines().await?;
                let answers = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                if let Some(answer) = answers.into_iter().find(|answer| answer["id"] == id) {
                    return Ok(answer);
                }
            }
        };
        timeout(ANSWER_LIMIT, answer)
            .await
            .unwrap_or_else(|_| Err(gone(format!("it did not answer {method} within {} s", ANSWER_LIMIT.as_secs()))))
    }

    async fn lines(&mut self) -> Result<Vec<String>, CallError> {
        match self.output.next().await.map_err(gone)? {
            TailBatch::Lines { lines, .. } => Ok(lines),
            TailBatch::End { exit, .. } => {
                let how = exit.detail.or(exit.signal.map(|signal| format!("signal {signal}")));
                Err(gone(format!("it has ended ({})", how.unwrap_or_else(|| format!("code {}", exit.code.unwrap_or(-1))))))
            }
            TailBatch::Vanished { .. } => Err(gone("it was killed together with its shim")),
        }
    }

    /// Waits for the server's end; what it says meanwhile was not asked for. Cancel-safe.
    pub(super) async fn ended(&mut self) -> CallError {
        loop {
            if let Err(error) = self.lines().await {
                return error;
            }
        }
    }

    /// Ends the server.
    pub(super) async fn stop(self) -> io::Result<()> {
        drop(self.lifeline);
        leftovers::end(&self.dir).await
    }
}

/// Makes the project's directory if it is ours to make, and claude-flow's in it.
fn prepare(shared: &Shared, project: &Project) -> io::Result<()> {
    std::fs::create_dir_all(shared.settings.data.home())?;
    if project.path.starts_with(shared.settings.data.path()) {
        std::fs::create_dir_all(&project.path)?;
    }
    state::prepare(&project.path, ".claude-flow")
}

/// The object in the answer to a tool's call. Claude-flow says in the object itself when it refuses.
fn read(tool: &'static str, answer: &Value) -> Result<Value, CallError> {
    let refused = |words: &str| CallError::Refused { tool, words: words.to_owned() };
    if let Some(words) = answer["error"]["message"].as_str() {
        return Err(refused(words));
    }
    let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
    let object: Value = serde_json::from_str(text).map_err(|_| refused("its answer is not JSON"))?;
    match object["error"].as_str() {
        Some(words) => Err(refused(words)),
        None if object["success"] == false => Err(refused("it does not say why")),
        None => Ok(object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_in_the_object_or_beside_it() {
        let tool = |object: Value| json!({"id": 1, "result": {"content": [{"type": "text", "text": object.to_string()}]}});
        assert_eq!(read("t", &tool(json!({"taskId": "task-1"}))).expect("an object")["taskId"], "task-1");
        let missing = read("t", &tool(json!({"success": false, "error": "Task not found"}))).expect_err("refused");
        assert!(missing.is_missing(), "{missing}");
        let unknown = read("t", &json!({"id": 1, "error": {"code": -32601, "message": "Tool not found: t"}}));
        assert!(unknown.is_err_and(|error| error.to_string().contains("Tool not found")));
        assert!(read("t", &tool(json!({"success": false}))).is_err());
        assert!(read("t", &json!({"id": 1, "result": {}})).is_err());
    }
}
