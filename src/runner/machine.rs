//! The pure heart of an agent's actor: `handle(input)` changes the state and leaves behind what has to be
//! stored and done. No I/O and no clock of its own, so every path is tested without a process.
//!
//! The state is stored in the same transaction as the events it produced and the offset it read up to. Lines
//! for the CLI wait in `outbox` from that transaction on; after a restart those the shim never saw are sent again.

mod ending;
mod recovery;
mod types;
mod watchdog;

pub(super) use recovery::Beginning;
pub(super) use types::{Brief, Effect, Input, Phase, Reaction, Verdict};
pub(super) use watchdog::WatchLimits;

use watchdog::Watchdog;

use crate::{
    adapter::{Outgoing, Question, SessionState, Signal, TurnEnd, claude_code},
    model::{
        agent::{AgentStatus, Backend},
        event::EventKind,
        limits::{LATEST_OUTPUT_CHARS, PARTIAL_RESULT_CHARS},
        run::{Failure, FailureCode, RunOutcome},
        task::TaskStatus,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Time to read what was written while nobody read.
const REREAD: TimeDelta = TimeDelta::seconds(5);

/// State of one process and its run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) phase: Phase,
    /// When the current phase is too long.
    phase_until: Option<DateTime<Utc>>,
    /// When the task's time is up.
    task_until: Option<DateTime<Utc>>,
    watchdog: Watchdog,
    /// Whether the process was seen to be started.
    pub(super) is_launched: bool,
    pub(super) beginning: Beginning,
    /// Processes of this run that were lost before this one.
    recoveries: u32,
    /// Orders to kill that had no effect yet.
    kill_orders: u32,
    /// Whether the CLI has begun a session, which could be resumed.
    has_session: bool,
    is_resume_refused: bool,
    session: SessionState,
    pub(super) verdict: Option<Verdict>,
    pub(super) progress: String,
    pub(super) latest_output: String,
    pub(super) outcome: RunOutcome,
    /// Lines whose writing is not yet known to have happened.
    pub(super) outbox: Vec<Outgoing>,
    pub(super) next_seq: i64,
    pub(super) next_task_seq: i64,
    /// The last complete message, kept as the partial result of a turn that is stopped.
    last_message: Option<String>,
    /// Text of the message being written.
    live_text: String,
}

impl Machine {
    pub(super) fn new(now: DateTime<Utc>, ready_timeout: TimeDelta, next_task_seq: i64) -> Self {
        Self {
            phase: Phase::Starting,
            phase_until: Some(now + ready_timeout),
            task_until: None,
            watchdog: Watchdog::default(),
            is_launched: false,
            beginning: Beginning::Fresh,
            recoveries: 0,
            kill_orders: 0,
            has_session: false,
            is_resume_refused: false,
            session: SessionState::default(),
            verdict: None,
            progress: "starting an agent".into(),
            latest_output: String::new(),
            outcome: RunOutcome::default(),
            outbox: vec![],
            next_seq: 1,
            next_task_seq,
            last_message: None,
            live_text: String::new(),
        }
    }

    /// When [`Input::Time`] is due.
    pub(super) fn wakes_at(&self) -> Option<DateTime<Utc>> {
        let in_turn = [self.task_until, self.watchdog.quiet_until].into_iter().flatten().filter(|_| self.phase == Phase::Working);
        in_turn.chain(self.phase_until).min()
    }

    /// The process is about to be started; the wait for that does not count.
    pub(super) fn start_clock(&mut self, brief: &Brief, now: DateTime<Utc>) {
        self.phase_until = Some(now + brief.ready_timeout);
    }

    /// After a restart: what the agent wrote meanwhile is read before anybody says that its time is up.
    pub(super) fn reread(&mut self, now: DateTime<Utc>) {
        for until in [&mut self.phase_until, &mut self.task_until, &mut self.watchdog.quiet_until] {
            *until = until.map(|until| until.max(now + REREAD));
        }
    }

    /// The effect to repeat after a restart, in case the server died between storing and doing it.
    pub(super) fn pending_effect(&self) -> Option<Effect> {
        match self.phase {
            Phase::Starting | Phase::Working | Phase::Interrupting | Phase::Ended => None,
            Phase::Closing => Some(Effect::CloseInput),
            Phase::Stopping => Some(Effect::Stop),
        }
    }

    pub(super) fn handle(&mut self, brief: &Brief, now: DateTime<Utc>, input: Input<'_>) -> Reaction {
        let mut reaction = Reaction::default();
        match input {
            Input::Started => {
                self.is_launched = true;
                reaction.send.push(Self::greeting(brief));
            }
            Input::Line(line) => self.line(brief, now, line, &mut reaction),
            Input::Time => self.time(brief, now, &mut reaction),
            Input::Cancel => self.cancel(brief, now, &mut reaction),
            Input::Shutdown => self.shut_down(brief, now, &mut reaction),
            Input::Exited { exit, partial_tail, stderr } => self.exited(brief, exit, partial_tail, stderr, &mut reaction),
            Input::Vanished => self.vanished(brief, &mut reaction),
        }
        self.outbox.extend(reaction.send.iter().cloned());
        reaction
    }

    fn greeting(brief: &Brief) -> Outgoing {
        let role = brief.agent_type.role();
        match brief.backend {
            Backend::ClaudeCode => claude_code::initialize(fresh_id(), role, brief.output_schema.as_ref()),
        }
    }

    fn line(&mut self, brief: &Brief, now: DateTime<Utc>, line: &str, reaction: &mut Reaction) {
        let parsed = match brief.backend {
            Backend::ClaudeCode => claude_code::parse_line(&mut self.session, line),
        };
        for event in &parsed.events {
            self.observe(event);
        }
        // A resumed turn begins by itself, perhaps before the handshake is answered.
        if self.phase == Phase::Starting && self.beginning == Beginning::Resume && !parsed.events.is_empty() {
            self.begin_turn(brief, now, reaction);
        }
        let trouble = self.watchdog.line(now, &brief.watch, &parsed.events);
        reaction.events.extend(parsed.events);
        if let Some(failure) = trouble.filter(|_| self.phase == Phase::Working) {
            self.interrupt(Verdict::Failed(failure), brief, now, reaction);
        }
        match parsed.signal {
            Some(Signal::Ready { logged_in }) => self.ready(brief, now, logged_in, reaction),
            Some(Signal::Refused(error)) if self.phase == Phase::Starting => {
                let failure = Failure::new(FailureCode::StartFailed, format!("the agent CLI refused to start: {error}"));
                self.end_by(Effect::Kill, Verdict::Failed(failure), brief, now, reaction);
            }
            // A refusal later on is that of an interrupt which came too late to matter.
            None | Some(Signal::Refused(_)) => {}
            Some(Signal::Asked(question)) => Self::answer(brief, &question, reaction),
            Some(Signal::TurnEnded(end)) => self.turn_ended(brief, now, *end, reaction),
        }
    }

    /// Keeps the words a status answer shows.
    fn observe(&mut self, event: &EventKind) {
        match event {
            EventKind::Delta { text } => {
                self.live_text.push_str(text);
                self.latest_output = tail(&self.live_text);
                // A long message would otherwise be kept twice in the stored state.
                self.live_text.clone_from(&self.latest_output);
                "writing".clone_into(&mut self.progress);
            }
            EventKind::Message { text, parent_tool_use_id: None, .. } => {
                self.live_text.clear();
                self.latest_output = tail(text);
                self.last_message = Some(text.chars().take(PARTIAL_RESULT_CHARS).collect());
            }
            EventKind::ToolCall { tool, .. } => self.progress = format!("using the tool {tool}"),
            EventKind::ToolResult { .. } => "reading the tool's answer".clone_into(&mut self.progress),
            EventKind::Thinking { .. } => "thinking".clone_into(&mut self.progress),
            EventKind::Retry { attempt, max_retries, error, .. } => {
                self.progress = format!("repeating a failed model request ({error}, {attempt} of {max_retries})");
            }
            EventKind::RateLimit { status, .. } if status == "rejected" => {
                "refused by the provider's rate limit".clone_into(&mut self.progress);
            }
            EventKind::Status { state, .. } if state == "session_started" => self.has_session = true,
            EventKind::Message { .. }
            | EventKind::RateLimit { .. }
            | EventKind::Usage { .. }
            | EventKind::Status { .. }
            | EventKind::Result { .. }
            | EventKind::Process { .. }
            | EventKind::Raw { .. } => {}
        }
    }

    fn ready(&mut self, brief: &Brief, now: DateTime<Utc>, logged_in: bool, reaction: &mut Reaction) {
        if self.phase != Phase::Starting {
            return;
        }
        if !logged_in {
            let failure = Failure::new(FailureCode::AgentUnavailable, claude_code::LOGIN_HINT);
            return self.close(Verdict::Failed(failure), brief, now, reaction);
        }
        if self.beginning == Beginning::Fresh {
            reaction.send.push(match brief.backend {
                Backend::ClaudeCode => claude_code::user_message(fresh_id(), &brief.prompt),
            });
        }
        self.begin_turn(brief, now, reaction);
    }

    fn begin_turn(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        reaction.events.push(process("ready"));
        reaction.task = Some(TaskStatus::InProgress);
        reaction.agent = Some(AgentStatus::Busy);
        self.enter(Phase::Working, None);
        self.task_until.get_or_insert(now + brief.timeout);
        self.watchdog.begin(now, &brief.watch);
        "waiting for the model".clone_into(&mut self.progress);
    }

    fn answer(brief: &Brief, question: &Question, reaction: &mut Reaction) {
        let (answer, state, detail) = match question {
            Question::Permission { request_id, tool } => {
                let message = format!(
                    "The project `{}` does not allow this use of the tool {tool}. Its operator can allow it with \
                     `allowed_tools` or `permission_mode`. Go on without it or say what you could not do.",
                    brief.project
                );
                (claude_code::deny(request_id, &message), "permission_denied", message)
            }
            Question::Unsupported { request_id, subtype } => {
                let message = format!("this gateway does not answer `{subtype}` requests");
                (claude_code::refuse(request_id, &message), "request_refused", message)
            }
        };
        reaction.send.push(answer);
        reaction.events.push(EventKind::Status { state: state.into(), detail: Some(detail) });
    }

    fn turn_ended(&mut self, brief: &Brief, now: DateTime<Utc>, end: TurnEnd, reaction: &mut Reaction) {
        self.outcome.usage = end.usage;
        self.outcome.cost_usd = end.cost_usd;
        self.outcome.duration_ms = end.duration_ms;
        self.outcome.model.clone_from(&self.session.model);
        let verdict = match (self.phase, self.verdict.take()) {
            // A stop was asked for; what there is so far becomes the partial result.
            (Phase::Interrupting, Some(verdict)) => verdict,
            (Phase::Working, _) if self.is_refusal_to_resume(end.failure.as_ref()) => {
                self.is_resume_refused = true;
                return;
            }
            (Phase::Working, _) => {
                self.outcome.result = end.text.or_else(|| self.last_message.clone());
                self.judge(brief, end.failure, end.structured_output)
            }
            (_, verdict) => {
                self.verdict = verdict;
                return;
            }
        };
        self.close(verdict, brief, now, reaction);
    }

    fn is_refusal_to_resume(&self, failure: Option<&Failure>) -> bool {
        self.beginning == Beginning::Resume && failure.is_some_and(|failure| claude_code::is_unknown_session(&failure.detail))
    }

    fn judge(&mut self, brief: &Brief, failure: Option<Failure>, structured_output: Option<Value>) -> Verdict {
        if let Some(failure) = failure {
            return Verdict::Failed(failure);
        }
        let Some(schema) = &brief.output_schema else {
            self.outcome.structured_output = structured_output;
            return Verdict::Complete;
        };
        let invalid = |detail: String| Verdict::Failed(Failure::new(FailureCode::InvalidStructuredOutput, detail));
        let Some(output) = structured_output else {
            return invalid(
                "the agent answered in text instead of the structured answer `output_schema` asks for; see `result`".into(),
            );
        };
        match jsonschema::validator_for(schema) {
            Err(error) => invalid(format!("`output_schema` cannot be used: {error}")),
            Ok(validator) => {
                let problem = validator.validate(&output).err().map(|error| format!("{error} at `{}`", error.instance_path()));
                self.outcome.structured_output = Some(output);
                problem.map_or(Verdict::Complete, |problem| {
                    invalid(format!("the structured answer does not satisfy `output_schema`: {problem}"))
                })
            }
        }
    }

    fn cancel(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        match self.phase {
            Phase::Starting => self.end_by(Effect::Kill, Verdict::Cancelled, brief, now, reaction),
            Phase::Working => self.interrupt(Verdict::Cancelled, brief, now, reaction),
            // Already on the way out. A verdict that is there first stays.
            Phase::Interrupting | Phase::Closing | Phase::Stopping | Phase::Ended => {}
        }
    }

    fn time(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let is_due = |until: Option<DateTime<Utc>>| until.is_some_and(|until| until <= now);
        if self.phase == Phase::Working && is_due(self.task_until) {
            let detail = format!(
                "the task was still running after its {} s; the partial result is kept. Raise `timeout_seconds` or split the task.",
                brief.timeout.num_seconds()
            );
            return self.interrupt(Verdict::Failed(Failure::new(FailureCode::Timeout, detail)), brief, now, reaction);
        }
        if self.phase == Phase::Working
            && let Some(failure) = self.watchdog.silence(now, &brief.watch)
        {
            return self.interrupt(Verdict::Failed(failure), brief, now, reaction);
        }
        if !is_due(self.phase_until) {
            return;
        }
        match self.phase {
            Phase::Starting => {
                let detail = format!(
                    "the agent CLI did not answer within {} s of its start; the machine may be overloaded. Try again, or run `mas doctor`.",
                    brief.ready_timeout.num_seconds()
                );
                let verdict = Verdict::Failed(Failure::new(FailureCode::NotReady, detail));
                self.end_by(Effect::Kill, verdict, brief, now, reaction);
            }
            Phase::Interrupting => {
                let verdict = self.verdict.take().unwrap_or(Verdict::Cancelled);
                self.end_by(Effect::Stop, verdict, brief, now, reaction);
            }
            Phase::Closing => {
                reaction.events.push(EventKind::Status {
                    state: "exit_forced".into(),
                    detail: Some(
                        "the CLI did not exit after its result and is being ended (`runner.exit_timeout_seconds`)".into(),
                    ),
                });
                let verdict = self.verdict.take().unwrap_or(Verdict::Cancelled);
                self.end_by(Effect::Stop, verdict, brief, now, reaction);
            }
            // The shim does not answer: repeat the strongest order until the process is seen to be gone.
            Phase::Stopping => {
                reaction.effects.push(if self.kill_orders == 0 { Effect::Kill } else { Effect::KillShim });
                self.kill_orders += 1;
                self.phase_until = Some(now + brief.exit_timeout);
            }
            Phase::Working | Phase::Ended => self.phase_until = None,
        }
    }
}

fn fresh_id() -> String {
    Uuid::new_v4().to_string()
}

fn process(state: &str) -> EventKind {
    EventKind::Process { state: state.into(), pid: None, code: None, signal: None, reason: None }
}

/// The last [`LATEST_OUTPUT_CHARS`] characters.
fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(LATEST_OUTPUT_CHARS - 1) {
        Some((start, _)) => text[start..].to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
