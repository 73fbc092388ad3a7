//! From a lost process to the one that takes over, as one step in the store.

use super::{Actor, until};
use crate::{
    adapter::claude_code,
    bus::Topic,
    model::{agent::Backend, id::ProcessId},
    process::ProcessDir,
    runner::machine::{Beginning, Conversation, Machine},
    store::Process,
};
use chrono::{DateTime, Utc};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};
use uuid::Uuid;

/// Pause before the first take-over; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How long the CLI may take to write the end of a turn to its conversation.
const WRITE_LIMIT: Duration = Duration::from_millis(500);
const WRITE_STEP: Duration = Duration::from_millis(10);
/// How much of the end of a conversation is read.
const CONVERSATION_BYTES: u64 = 1 << 18;

/// Whether the message is in the last part of the conversation.
fn ends_with_message(file: &Path, id: &str) -> io::Result<bool> {
    let mut file = File::open(file)?;
    let start = file.metadata()?.len().saturating_sub(CONVERSATION_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(CONVERSATION_BYTES).read_to_end(&mut end)?;
    Ok(claude_code::holds_message(&String::from_utf8_lossy(&end), id))
}

/// The process that takes over, on its way into the store.
pub(in crate::runner) struct Next {
    pub(in crate::runner) process: Process,
    pub(in crate::runner) session_id: Uuid,
    machine: Machine,
}

impl Actor {
    /// What the CLI, now gone, has kept of the turn, and of a message on its way into it.
    pub(super) async fn conversation(&mut self) -> Conversation {
        if self.machine.turn.is_none() {
            return Conversation::LacksPrompt;
        }
        // A line that was cut short, or is not UTF-8, does not hide the others.
        let kept = tokio::fs::read(self.runner.session_file(&self.agent)).await.unwrap_or_default();
        let kept = String::from_utf8_lossy(&kept);
        let holds = |id: &str| match self.agent.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::holds_message(&kept, id),
        };
        let mut holds_prompt = false;
        if let Some(turn) = &mut self.machine.turn
            && let Some(id) = turn.prompt_id.as_deref()
        {
            holds_prompt = holds(id);
            turn.kept_answer = match self.agent.backend {
                Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::kept_answer(&kept, id),
            };
        }
        if let Some(joining) = &mut self.machine.joining {
            joining.is_kept = holds(&joining.task_id.uuid().to_string());
        }
        if holds_prompt { Conversation::HoldsPrompt } else { Conversation::LacksPrompt }
    }

    /// Waits until the CLI has written the end of the turn to its conversation, which it does some 80 ms after the
    /// result (seen with 2.1.197): whoever hears that the turn is over may rely on it even if the CLI is killed then.
    pub(super) async fn await_conversation(&self) {
        let Some(id) = &self.machine.session.last_message_id else { return };
        let file = self.runner.session_file(&self.agent);
        let limit = tokio::time::Instant::now() + WRITE_LIMIT;
        while tokio::time::Instant::now() < limit {
            let (place, id) = (file.clone(), id.clone());
            if tokio::task::spawn_blocking(move || ends_with_message(&place, &id)).await.is_ok_and(|ends| ends.unwrap_or(false)) {
                return;
            }
            tokio::time::sleep(WRITE_STEP).await;
        }
        tracing::debug!(agent = %self.agent.id, "the CLI has not written the end of the turn to its conversation");
    }

    /// Prepares what is stored about the process that takes over.
    pub(in crate::runner) fn next_process(&self, beginning: Beginning, now: DateTime<Utc>) -> serde_json::Result<Next> {
        let machine = self.machine.successor(&self.brief, beginning, now);
        let process = Process {
            id: ProcessId::generate(),
            agent_id: self.agent.id,
            run_id: machine.turn.as_ref().map(|turn| turn.run_id),
            offset: 0,
            state: serde_json::to_value(&machine)?,
            started_at: now,
            ended_at: None,
        };
        let session_id = match beginning {
            // The CLI refuses an id it has seen before.
            Beginning::New => Uuid::new_v4(),
            Beginning::Resume | Beginning::ResumeTurn => self.agent.session_id,
        };
        Ok(Next { process, session_id, machine })
    }

    /// Becomes the actor of the process that takes over, once that is stored.
    pub(in crate::runner) fn adopt(&mut self, next: Next) {
        self.dir = ProcessDir::new(&self.runner.settings.data.processes(), next.process.id);
        self.process_id = next.process.id;
        self.agent.session_id = next.session_id;
        self.machine = next.machine;
        self.offset = 0;
        self.input = None;
        self.facts = None;
        // Others may start during the pause, and live while this agent waits for its provider.
        self.starting = None;
        if self.machine.not_before.is_some() {
            self.live = None;
        }
    }

    /// Waits before the process that takes over is started, longer each time. `false`: the gateway stops.
    pub(super) async fn pause_before_next(&mut self) -> bool {
        if self.machine.not_before.is_some() {
            return true;
        }
        let recoveries = self.machine.turn.as_ref().map_or(1, |turn| turn.recoveries);
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(recoveries.saturating_sub(1)).min(64);
        tracing::warn!(agent = %self.agent.id, ?pause, "the agent's process was lost; another takes over");
        let mut control = self.runner.bus.subscribe(Topic::Control(self.agent.id));
        tokio::select! {
            () = self.runner.stop.cancelled() => return false,
            // A cancel; it is looked at before the start.
            () = control.changed() => {}
            () = until(Some(Utc::now() + pause)) => {}
        }
        true
    }
}
