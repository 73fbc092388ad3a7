//! How a process comes to its end, and what that means for the task.

use super::{Brief, Effect, Machine, Phase, Reaction, Verdict, fresh_id, process};
use crate::{
    adapter::claude_code,
    model::{
        agent::{AgentStatus, Backend},
        event::EventKind,
        run::{Failure, FailureCode},
    },
    process::{ExitReason, ExitRecord},
};
use chrono::{DateTime, Utc};

impl Machine {
    pub(super) fn shut_down(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        if matches!(self.phase, Phase::Closing | Phase::Stopping | Phase::Ended) {
            reaction.effects.push(Effect::Kill);
            return;
        }
        let verdict = self.verdict.take().unwrap_or_else(|| {
            let detail = "the gateway was shut down with `runner.on_shutdown = stop`; create the task again";
            Verdict::Failed(Failure::new(FailureCode::AgentExited, detail))
        });
        self.end_by(Effect::Kill, verdict, brief, now, reaction);
    }

    pub(super) fn exited(
        &mut self,
        brief: &Brief,
        exit: &ExitRecord,
        partial_tail: Option<&str>,
        stderr: &str,
        reaction: &mut Reaction,
    ) {
        if let Some(line) = partial_tail.filter(|line| !line.is_empty()) {
            reaction.events.push(EventKind::Raw { line: line.to_owned() });
        }
        reaction.events.push(EventKind::Process {
            state: "exited".into(),
            pid: None,
            code: exit.code,
            signal: exit.signal,
            reason: Some(exit.reason.as_str().to_owned()),
        });
        // Ended from outside, not by itself and not by us.
        let is_crash = exit.reason == ExitReason::Exited && exit.signal.is_some();
        if (is_crash || self.is_resume_refused)
            && let Some(beginning) = self.recovery(brief)
        {
            return self.hand_over(brief, beginning, reaction);
        }
        let verdict = self.verdict.take().unwrap_or_else(|| Verdict::Failed(self.exit_failure(exit, stderr)));
        self.finish(verdict, reaction);
    }

    fn exit_failure(&self, exit: &ExitRecord, stderr: &str) -> Failure {
        let detail = exit.detail.clone().unwrap_or_default();
        let stderr = if stderr.trim().is_empty() { String::new() } else { format!(" It wrote: {}", stderr.trim()) };
        match exit.reason {
            ExitReason::SpawnFailed if detail.contains("the working directory") => {
                Failure::new(FailureCode::WorkspaceFailed, detail)
            }
            ExitReason::SpawnFailed => Failure::new(
                FailureCode::AgentUnavailable,
                format!(
                    "the agent CLI could not be started: {detail}. Check `claude_code.command`; `mas doctor` tells what is missing."
                ),
            ),
            ExitReason::OutputLimit => Failure::new(
                FailureCode::OutputLimit,
                format!("the agent wrote more than {} bytes (`runner.max_output_bytes`) and was ended", exit.stdout_bytes),
            ),
            ExitReason::MemoryLimit => Failure::new(
                FailureCode::MemoryLimit,
                format!("the agent was ended: {detail}. Raise `max_memory_bytes`, or ask for less at once."),
            ),
            ExitReason::ProcessLimit => Failure::new(
                FailureCode::ProcessLimit,
                format!("the agent was ended: {detail}. Raise `max_processes`, or ask for less at once."),
            ),
            ExitReason::Deadline => Failure::new(FailureCode::Timeout, "the task's time was up while the gateway was away"),
            ExitReason::DiskFull => Failure::new(
                FailureCode::DiskFull,
                format!("the agent was ended because its output could not be stored: {detail}"),
            ),
            ExitReason::OutputClosed => Failure::new(FailureCode::OutputClosed, format!("{detail}, so it was ended")),
            ExitReason::Exited | ExitReason::Stopped | ExitReason::Killed => {
                let how = match (exit.code, exit.signal) {
                    (_, Some(signal)) => format!("was ended by signal {signal}"),
                    (Some(code), None) => format!("exited with code {code}"),
                    (None, None) => "ended".to_owned(),
                };
                if self.phase == Phase::Starting {
                    let detail =
                        format!("the agent CLI {how} before it was ready.{stderr} `mas doctor` checks the installation.");
                    Failure::new(FailureCode::StartFailed, detail)
                } else {
                    Failure::new(FailureCode::AgentExited, format!("the agent CLI {how} without a result.{stderr}"))
                }
            }
        }
    }

    pub(super) fn vanished(&mut self, brief: &Brief, reaction: &mut Reaction) {
        reaction.events.push(process("lost"));
        if let Some(beginning) = self.recovery(brief) {
            return self.hand_over(brief, beginning, reaction);
        }
        let verdict = self.verdict.take().unwrap_or_else(|| {
            let detail = "the agent's process vanished without a record, as in a reboot; what it wrote until then is kept. Create the task again.";
            Verdict::Failed(Failure::new(FailureCode::AgentLost, detail))
        });
        self.finish(verdict, reaction);
    }

    pub(super) fn interrupt(&mut self, verdict: Verdict, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        reaction.events.push(EventKind::status(if verdict == Verdict::Cancelled { "cancelling" } else { "timing_out" }));
        reaction.send.push(match brief.backend {
            Backend::ClaudeCode => claude_code::interrupt(fresh_id()),
        });
        reaction.agent = Some(AgentStatus::Interrupting);
        self.verdict = Some(verdict);
        self.task_until = None;
        self.watchdog.rest();
        "stopping".clone_into(&mut self.progress);
        self.enter(Phase::Interrupting, Some(now + brief.interrupt_timeout));
    }

    /// The turn is over: let the CLI exit by itself.
    pub(super) fn close(&mut self, verdict: Verdict, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        reaction.effects.push(Effect::CloseInput);
        self.verdict = Some(verdict);
        self.task_until = None;
        self.watchdog.rest();
        "finishing".clone_into(&mut self.progress);
        self.enter(Phase::Closing, Some(now + brief.exit_timeout));
    }

    pub(super) fn end_by(
        &mut self,
        effect: Effect,
        verdict: Verdict,
        brief: &Brief,
        now: DateTime<Utc>,
        reaction: &mut Reaction,
    ) {
        reaction.effects.push(effect);
        self.verdict = Some(verdict);
        self.task_until = None;
        self.watchdog.rest();
        "stopping".clone_into(&mut self.progress);
        self.enter(Phase::Stopping, Some(now + brief.exit_timeout));
    }

    /// The task was cancelled before there was a process.
    pub(in crate::runner) fn abandon(&mut self) -> Reaction {
        let mut reaction = Reaction::default();
        self.finish(Verdict::Cancelled, &mut reaction);
        reaction
    }

    fn finish(&mut self, verdict: Verdict, reaction: &mut Reaction) {
        if verdict != Verdict::Complete && self.outcome.result.is_none() {
            // The turn gave none: what there is so far is the partial result.
            self.outcome.result.clone_from(&self.last_message);
        }
        reaction.task = Some(verdict.task_status());
        reaction.agent = Some(verdict.agent_status());
        self.progress = match &verdict {
            Verdict::Complete => "finished".into(),
            Verdict::Cancelled => "stopped by request".into(),
            Verdict::Failed(failure) => format!("failed: {}", failure.code),
        };
        self.verdict = Some(verdict);
        self.task_until = None;
        self.watchdog.rest();
        self.enter(Phase::Ended, None);
    }

    pub(super) fn enter(&mut self, phase: Phase, until: Option<DateTime<Utc>>) {
        self.phase = phase;
        self.phase_until = until;
    }
}
