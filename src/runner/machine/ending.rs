//! How a process comes to its end, and what that means for the turn and the agent.

use super::{Beginning, Brief, Conversation, Effect, Fate, Machine, Phase, Reaction, Verdict, fresh_id, process};
use crate::{
    adapter::claude_code,
    model::{
        agent::{AgentStatus, Backend},
        event::EventKind,
        quota::SetBy,
        run::{Failure, FailureCode},
        task::OnLost,
    },
    process::{ExitReason, ExitRecord},
};
use chrono::{DateTime, Utc};

/// The failure of a process that the shim ended for the sake of a limit.
fn ended_by(code: FailureCode, name: &str, limit: Option<(f64, SetBy)>, detail: &str) -> Failure {
    let name = match limit {
        Some((_, SetBy::Gateway)) => format!("runner.{name}"),
        _ => name.to_owned(),
    };
    let failure = Failure::new(code, format!("the agent was ended: {detail}. Raise `{name}`, or ask for less at once."));
    match limit {
        Some((most, set_by)) => failure.by_limit(&name, set_by, most),
        None => failure,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
const fn as_figure(bytes: u64) -> f64 {
    bytes as f64
}

impl Machine {
    /// Somebody wants the turn to stop.
    pub(super) fn cancel(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        match self.phase {
            // The agent goes on to wait for its next turn.
            Phase::Starting if brief.keep && self.beginning != Beginning::ResumeTurn && self.fate.is_none() => {
                self.finish_turn(Verdict::Cancelled, reaction);
            }
            Phase::Starting => self.end_by(Effect::Kill, Some(Verdict::Cancelled), brief, now, reaction),
            Phase::Working if self.turn.is_some() => self.interrupt(Verdict::Cancelled, brief, now, reaction),
            Phase::Closing if matches!(self.fate, Some(Fate::Retry(_))) => self.call_off_retry(),
            // Already on the way out, or nothing to stop. A verdict that is there first stays.
            Phase::Idle | Phase::Working | Phase::Interrupting | Phase::Closing | Phase::Stopping | Phase::Ended => {}
        }
    }

    fn call_off_retry(&mut self) {
        self.fate = None;
        if let Some(turn) = &mut self.turn {
            turn.verdict = Some(Verdict::Cancelled);
        }
    }

    /// The place of an idle agent is needed.
    pub(super) fn park(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        match self.phase {
            Phase::Idle => self.close(None, brief, now, reaction),
            // The CLI runs a turn that nobody asked for any more.
            Phase::Working if self.turn.is_none() => self.end_by(Effect::Stop, None, brief, now, reaction),
            _ => return,
        }
        self.fate = Some(Fate::Park);
    }

    /// Somebody wants the agent to end: gracefully, then firmly.
    pub(super) fn terminate(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        match self.phase {
            Phase::Starting => {
                let verdict = self.turn.is_some().then_some(Verdict::Cancelled);
                self.end_by(Effect::Kill, verdict, brief, now, reaction);
            }
            Phase::Idle => self.close(None, brief, now, reaction),
            Phase::Working if self.turn.is_some() => self.interrupt(Verdict::Cancelled, brief, now, reaction),
            // Between two turns: whatever follows is not wanted.
            Phase::Working => self.end_by(Effect::Stop, None, brief, now, reaction),
            Phase::Closing => self.call_off_retry_if_any(),
            Phase::Interrupting | Phase::Stopping | Phase::Ended => {}
        }
        self.fate = Some(Fate::Terminate);
    }

    fn call_off_retry_if_any(&mut self) {
        if matches!(self.fate, Some(Fate::Retry(_))) {
            self.call_off_retry();
        }
    }

    pub(super) fn shut_down(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        match self.phase {
            Phase::Closing | Phase::Stopping | Phase::Ended => reaction.effects.push(Effect::Kill),
            Phase::Idle => self.park(brief, now, reaction),
            Phase::Starting | Phase::Working | Phase::Interrupting => {
                let verdict = self.turn.as_mut().map(|turn| {
                    turn.verdict.take().unwrap_or_else(|| {
                        let detail = "the gateway was shut down with `runner.on_shutdown = stop`; create the task again";
                        Verdict::Failed(Failure::new(FailureCode::AgentExited, detail))
                    })
                });
                self.fate = self.fate.or(Some(Fate::Park)).filter(|_| brief.keep || self.turn.is_none());
                self.end_by(Effect::Kill, verdict, brief, now, reaction);
            }
        }
    }

    pub(super) fn exited(
        &mut self,
        brief: &Brief,
        exit: &ExitRecord,
        partial_tail: Option<&str>,
        stderr: &str,
        conversation: Conversation,
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
        let failure = self.exit_failure(brief, exit, stderr);
        let is_lost = is_crash || self.is_resume_refused;
        self.ended(brief, is_lost.then_some(conversation), failure, reaction);
    }

    pub(super) fn vanished(&mut self, brief: &Brief, conversation: Conversation, reaction: &mut Reaction) {
        reaction.events.push(process("lost"));
        let detail = "the agent's process vanished without a record, as in a reboot; what it wrote until then is kept. Create the task again.";
        self.ended(brief, Some(conversation), Failure::new(FailureCode::AgentLost, detail), reaction);
    }

    /// The process is gone. `lost`: against its will, and what is kept of its turn. `failure` is the reason when nobody
    /// has decided on another.
    fn ended(&mut self, brief: &Brief, lost: Option<Conversation>, failure: Failure, reaction: &mut Reaction) {
        let is_undecided = self.turn.as_ref().is_some_and(|turn| turn.verdict.is_none());
        if let Some(Fate::Retry(_)) = self.fate
            && is_undecided
        {
            return self.give_away(Beginning::ResumeTurn, reaction);
        }
        if lost.is_some() && self.fate.is_none() {
            self.find_answer(brief, reaction);
        }
        if let Some(conversation) = lost
            && self.fate.is_none()
            && let Some(beginning) = self.recovery(brief, conversation)
        {
            return self.hand_over(brief, beginning, reaction);
        }
        let is_broken = self.failure.is_some() || (self.phase == Phase::Starting && lost.is_none() && failure.code.ends_agent());
        let failure = self.failure.take().unwrap_or(failure);
        let verdict = self.turn.as_mut().map(|turn| turn.verdict.take().unwrap_or_else(|| Verdict::Failed(failure.clone())));
        reaction.agent = Some(match (self.fate, &verdict) {
            (Some(Fate::Terminate), _) => AgentStatus::Terminated,
            (Some(Fate::Park), _) => AgentStatus::Parked,
            (_, Some(verdict)) => verdict.agent_status(brief.keep),
            // Without a turn nothing is lost, unless it cannot even be started.
            (_, None) if is_broken => AgentStatus::Failed,
            (_, None) => AgentStatus::Parked,
        });
        self.failure = verdict.as_ref().map_or(Some(failure), |verdict| verdict.failure().cloned());
        reaction.released = self.joining.take().map(|joining| joining.task_id);
        if let Some(verdict) = verdict {
            self.finish_turn(verdict, reaction);
        }
        self.enter(Phase::Ended, None);
    }

    /// The turn was done, and only the word of it was lost with the process: there is nothing to go on with.
    fn find_answer(&mut self, brief: &Brief, reaction: &mut Reaction) {
        let (Some(turn), Some(order)) = (&mut self.turn, &brief.order) else { return };
        let Some(answer) = turn.kept_answer.take().filter(|_| {
            turn.verdict.is_none() && order.on_lost == OnLost::Resume && order.output_schema.is_none() && self.joining.is_none()
        }) else {
            return;
        };
        let detail = Some("the agent's process was lost after its answer, which its conversation holds".to_owned());
        reaction.events.push(EventKind::Status { state: "answer_found".into(), detail });
        turn.outcome.result = Some(answer);
        turn.outcome.model.clone_from(&self.session.model);
        turn.verdict = Some(turn.judge(order, None, None));
    }

    fn exit_failure(&self, brief: &Brief, exit: &ExitRecord, stderr: &str) -> Failure {
        if self.is_resume_refused {
            let detail = "the agent CLI no longer has the agent's conversation, so it cannot go on; create a new agent";
            return Failure::new(FailureCode::SessionLost, detail);
        }
        let detail = exit.detail.clone().unwrap_or_default();
        let stderr = if stderr.trim().is_empty() { String::new() } else { format!(" It wrote: {}", stderr.trim()) };
        match exit.reason {
            ExitReason::SpawnFailed if detail.contains("the working directory") => {
                Failure::new(FailureCode::WorkspaceFailed, detail)
            }
            ExitReason::SpawnFailed => Failure::new(
                FailureCode::AgentUnavailable,
                format!(
                    "the agent CLI could not be started: {detail}. Check `{}.command`; `mas doctor` tells what is missing.",
                    match brief.backend {
                        Backend::ClaudeCode => "claude_code",
                        Backend::ClaudeFlow => "claude_flow",
                    }
                ),
            ),
            ExitReason::OutputLimit => {
                let most = exit.stdout_bytes;
                let detail = format!("the agent wrote more than {most} bytes (`runner.max_output_bytes`) and was ended");
                let failure = Failure::new(FailureCode::OutputLimit, detail);
                failure.by_limit("runner.max_output_bytes", SetBy::Gateway, as_figure(most))
            }
            ExitReason::MemoryLimit => {
                let limit = brief.max_memory_bytes.map(|(most, set_by)| (as_figure(most), set_by));
                ended_by(FailureCode::MemoryLimit, "max_memory_bytes", limit, &detail)
            }
            ExitReason::ProcessLimit => {
                let limit = brief.max_processes.map(|(most, set_by)| (most.into(), set_by));
                ended_by(FailureCode::ProcessLimit, "max_processes", limit, &detail)
            }
            ExitReason::Deadline => {
                let failure = Failure::new(FailureCode::Timeout, "the task's time was up while the gateway was away");
                match &brief.order {
                    Some(order) => order.timed_out(failure),
                    None => failure,
                }
            }
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

    pub(super) fn interrupt(&mut self, verdict: Verdict, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        reaction.events.push(EventKind::status(if verdict == Verdict::Cancelled { "cancelling" } else { "timing_out" }));
        reaction.send.push(match brief.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::interrupt(fresh_id()),
        });
        reaction.agent = Some(AgentStatus::Interrupting);
        self.decide(Some(verdict), "stopping");
        self.enter(Phase::Interrupting, Some(now + brief.interrupt_timeout));
    }

    /// Nothing more is wanted: let the CLI exit by itself.
    pub(super) fn close(&mut self, verdict: Option<Verdict>, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        reaction.effects.push(Effect::CloseInput);
        self.decide(verdict, "finishing");
        self.enter(Phase::Closing, Some(now + brief.exit_timeout));
    }

    pub(super) fn end_by(
        &mut self,
        effect: Effect,
        verdict: Option<Verdict>,
        brief: &Brief,
        now: DateTime<Utc>,
        reaction: &mut Reaction,
    ) {
        reaction.effects.push(effect);
        self.decide(verdict, "stopping");
        self.enter(Phase::Stopping, Some(now + brief.exit_timeout));
    }

    /// The turn gets its verdict; nothing is watched any more.
    fn decide(&mut self, verdict: Option<Verdict>, progress: &str) {
        if let Some(turn) = &mut self.turn {
            turn.verdict = verdict;
            turn.watchdog.rest();
            progress.clone_into(&mut turn.progress);
            if turn.verdict.is_some() {
                turn.until = None;
            }
        }
    }

    /// The turn was cancelled, or the agent ended, before there was a process.
    pub(in crate::runner) fn abandon(&mut self, brief: &Brief) -> Reaction {
        let mut reaction = Reaction::default();
        let is_kept = brief.keep && self.fate != Some(Fate::Terminate);
        reaction.agent = Some(if is_kept { AgentStatus::Parked } else { AgentStatus::Terminated });
        self.finish_turn(Verdict::Cancelled, &mut reaction);
        self.enter(Phase::Ended, None);
        reaction
    }

    pub(super) fn enter(&mut self, phase: Phase, until: Option<DateTime<Utc>>) {
        self.phase = phase;
        self.phase_until = until;
    }
}
