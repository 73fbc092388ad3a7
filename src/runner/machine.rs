//! The pure heart of an agent's actor: `handle(input)` changes the state and leaves behind what has to be
//! stored and done. No I/O and no clock of its own, so every path is tested without a process.
//!
//! The state is stored in the same transaction as the events it produced and the offset it read up to. Lines
//! for the CLI wait in `outbox` from that transaction on; after a restart those the shim never saw are sent again.

mod ending;
mod judge;
mod recovery;
mod turn;
mod types;
mod watchdog;

pub(super) use judge::budget_failure;
pub(super) use recovery::Beginning;
pub(super) use turn::Turn;
pub(super) use types::{Brief, Conversation, Effect, Fate, Input, Joining, NotBefore, Order, Phase, Reaction, Retry, Verdict};
pub(super) use watchdog::WatchLimits;

use crate::{
    adapter::{Outgoing, Question, SessionState, Signal, claude_code, claude_flow, mcp},
    model::{
        agent::Backend,
        event::EventKind,
        inbox::is_below,
        run::{Failure, FailureCode},
        tool::{ToolAnswer, ToolCall},
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Time to read what was written while nobody read.
const REREAD: TimeDelta = TimeDelta::seconds(5);
/// The shim ends an agent by itself this long after the server should have.
pub(super) const SHIM_GRACE: TimeDelta = TimeDelta::seconds(60);

/// State of one process, and of the turn it works on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) phase: Phase,
    /// When the current phase is too long.
    phase_until: Option<DateTime<Utc>>,
    /// Whether the process was seen to be started.
    pub(super) is_launched: bool,
    pub(super) beginning: Beginning,
    /// The process is not to be started before.
    pub(super) not_before: Option<NotBefore>,
    /// Orders to kill that had no effect yet.
    kill_orders: u32,
    /// Whether the CLI has begun a session, which could be resumed.
    pub(super) has_session: bool,
    is_resume_refused: bool,
    pub(super) session: SessionState,
    pub(super) turn: Option<Turn>,
    pub(super) joining: Option<Joining>,
    pub(super) fate: Option<Fate>,
    /// Why the process could not go on.
    pub(super) failure: Option<Failure>,
    /// Lines whose writing is not yet known to have happened.
    pub(super) outbox: Vec<Outgoing>,
    /// Calls of tools that were read and not carried out yet, in their order.
    #[serde(default)]
    pub(super) calls: Vec<ToolCall>,
    pub(super) next_seq: i64,
    /// What the CLI has written.
    output_bytes: u64,
    /// The structured answer the process was told to end every turn with, in a form to compare.
    #[serde(default)]
    pub(super) schema: Option<String>,
}

impl Machine {
    pub(super) fn new(now: DateTime<Utc>, ready_timeout: TimeDelta, beginning: Beginning) -> Self {
        Self {
            phase: Phase::Starting,
            phase_until: Some(now + ready_timeout),
            is_launched: false,
            beginning,
            not_before: None,
            kill_orders: 0,
            has_session: beginning != Beginning::New,
            is_resume_refused: false,
            session: SessionState::default(),
            turn: None,
            joining: None,
            fate: None,
            failure: None,
            outbox: vec![],
            calls: vec![],
            next_seq: 1,
            output_bytes: 0,
            schema: None,
        }
    }

    /// When [`Input::Time`] is due.
    pub(super) fn wakes_at(&self) -> Option<DateTime<Utc>> {
        let turn = self.turn.as_ref().filter(|_| self.phase == Phase::Working);
        let in_turn = turn.into_iter().flat_map(|turn| [turn.until, turn.watchdog.quiet_until]).flatten();
        in_turn.chain(self.phase_until).min()
    }

    /// The process is about to be started; the wait for that does not count.
    pub(super) fn start_clock(&mut self, brief: &Brief, now: DateTime<Utc>) {
        self.phase_until = Some(now + brief.ready_timeout);
    }

    /// After a restart: what the agent wrote meanwhile is read before anybody says that its time is up.
    pub(super) fn reread(&mut self, now: DateTime<Utc>) {
        let later = |until: &mut Option<DateTime<Utc>>| *until = until.map(|until| until.max(now + REREAD));
        later(&mut self.phase_until);
        if let Some(turn) = &mut self.turn {
            later(&mut turn.until);
            later(&mut turn.watchdog.quiet_until);
        }
    }

    /// The effect to repeat after a restart, in case the server died between storing and doing it.
    pub(super) fn pending_effect(&self) -> Option<Effect> {
        match self.phase {
            Phase::Starting | Phase::Interrupting | Phase::Ended => None,
            Phase::Idle => self.phase_until.map(shim_deadline),
            Phase::Working => self.turn.as_ref().and_then(|turn| turn.until).map(shim_deadline),
            Phase::Closing => Some(Effect::CloseInput),
            Phase::Stopping => Some(Effect::Stop),
        }
    }

    pub(super) fn handle(&mut self, brief: &Brief, now: DateTime<Utc>, input: Input<'_>) -> Reaction {
        let mut reaction = Reaction::default();
        match input {
            Input::Started => {
                self.is_launched = true;
                self.schema = brief.order.as_ref().and_then(|order| order.output_schema.as_ref()).map(Value::to_string);
                reaction.send.push(Self::greeting(brief));
            }
            Input::Line(line) => self.line(brief, now, line, &mut reaction),
            Input::Time => self.time(brief, now, &mut reaction),
            Input::Begin => self.begin(brief, now, &mut reaction),
            Input::FollowUp => self.follow_up(brief, now, &mut reaction),
            Input::Steer { task_id, text } => self.steer(brief, task_id, text, &mut reaction),
            Input::Called(answer) => self.called(brief, answer, &mut reaction),
            Input::Recounted => self.check_budgets(brief, now, &mut reaction),
            Input::Cancel => self.cancel(brief, now, &mut reaction),
            Input::Park => self.park(brief, now, &mut reaction),
            Input::Terminate => self.terminate(brief, now, &mut reaction),
            Input::Shutdown => self.shut_down(brief, now, &mut reaction),
            Input::Exited { exit, partial_tail, stderr, conversation } => {
                // Nobody is there to hear what came of them, so they never were.
                self.calls.clear();
                self.exited(brief, exit, partial_tail, stderr, conversation, &mut reaction);
            }
            Input::Vanished { conversation } => {
                self.calls.clear();
                self.vanished(brief, conversation, &mut reaction);
            }
        }
        self.outbox.extend(reaction.send.iter().cloned());
        reaction
    }

    fn greeting(brief: &Brief) -> Outgoing {
        let schema = brief.order.as_ref().and_then(|order| order.output_schema.as_ref());
        match brief.backend {
            Backend::ClaudeCode => claude_code::initialize(fresh_id(), Some(&brief.role), schema, brief.team),
            // The role is part of what its start adds to the system prompt; the handshake would replace that.
            Backend::ClaudeFlow => claude_code::initialize(fresh_id(), None, schema, brief.team),
        }
    }

    fn line(&mut self, brief: &Brief, now: DateTime<Utc>, line: &str, reaction: &mut Reaction) {
        let parsed = match brief.backend {
            Backend::ClaudeCode => claude_code::parse_line(&mut self.session, line),
            Backend::ClaudeFlow => claude_flow::parse_line(&mut self.session, line),
        };
        self.output_bytes += line.len() as u64 + 1;
        self.has_session |= parsed.events.iter().any(is_session_start);
        // A resumed turn begins by itself, perhaps before the handshake is answered.
        if self.phase == Phase::Starting && self.beginning == Beginning::ResumeTurn && parsed.events.iter().any(is_session_start)
        {
            Self::ready_event(reaction);
            self.start_turn(brief, now, reaction);
        }
        let mut trouble = None;
        if let (Some(turn), Some(order)) = (&mut self.turn, &brief.order) {
            // What the CLI says about a failed request is no work of the agent's.
            let is_refusal = self.session.last_error.is_some();
            let is_of_cli = |event: &&EventKind| is_refusal && matches!(event, EventKind::Message { .. });
            parsed.events.iter().filter(|event| !is_of_cli(event)).for_each(|event| turn.observe(event));
            trouble = turn.watchdog.line(now, &order.watch, &parsed.events).or_else(|| turn.count_output(line, order));
        }
        self.ask_usage(brief, &parsed.events, reaction);
        reaction.events.extend(parsed.events);
        if let Some(failure) = trouble.filter(|_| self.phase == Phase::Working) {
            self.interrupt(Verdict::Failed(failure), brief, now, reaction);
        }
        match parsed.signal {
            Some(Signal::Ready { logged_in }) => self.ready(brief, now, logged_in, reaction),
            Some(Signal::Refused(error)) if self.phase == Phase::Starting => {
                let failure = Failure::new(FailureCode::StartFailed, format!("the agent CLI refused to start: {error}"));
                self.give_up_start(Effect::Kill, failure, brief, now, reaction);
            }
            // A refusal later on is that of an interrupt which came too late to matter.
            None | Some(Signal::Refused(_)) => {}
            Some(Signal::Asked(question)) => self.answer(brief, question, reaction),
            Some(Signal::TookUp(id)) => self.took_up(&id, reaction),
            Some(Signal::Spent { cost_usd, tokens }) => self.spent(brief, now, cost_usd, tokens, reaction),
            Some(Signal::TurnEnded(end)) => self.turn_ended(brief, now, *end, reaction),
        }
    }

    fn ready(&mut self, brief: &Brief, now: DateTime<Utc>, logged_in: bool, reaction: &mut Reaction) {
        if self.phase != Phase::Starting {
            return;
        }
        if !logged_in {
            let failure = Failure::new(FailureCode::AgentUnavailable, claude_code::LOGIN_HINT);
            return self.give_up_start(Effect::CloseInput, failure, brief, now, reaction);
        }
        Self::ready_event(reaction);
        match &brief.order {
            Some(order) if self.turn.is_some() => {
                if self.beginning != Beginning::ResumeTurn {
                    self.prompt(brief, order, reaction);
                }
                self.start_turn(brief, now, reaction);
            }
            _ => self.rest(brief, now, reaction),
        }
    }

    /// The process is of no use.
    fn give_up_start(&mut self, effect: Effect, failure: Failure, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let verdict = self.turn.is_some().then(|| Verdict::Failed(failure.clone()));
        self.failure = Some(failure);
        match effect {
            Effect::CloseInput => self.close(verdict, brief, now, reaction),
            effect => self.end_by(effect, verdict, brief, now, reaction),
        }
    }

    fn answer(&mut self, brief: &Brief, question: Question, reaction: &mut Reaction) {
        let (answer, state, detail) = match question {
            Question::Permission { request_id, tool, input }
                if claude_code::only_reads(&tool, &input).is_some_and(|path| is_below(&brief.inbox, path)) =>
            {
                reaction.send.push(claude_code::allow(&request_id, &input));
                return;
            }
            Question::Mcp { request_id, message } if brief.team => {
                match mcp::step(&request_id, &message) {
                    mcp::Step::Answer(answer) => reaction.send.push(claude_code::mcp_response(&request_id, &answer)),
                    mcp::Step::Call(call) => self.calls.push(call),
                }
                return;
            }
            Question::Permission { request_id, tool, .. } => {
                let message = format!(
                    "The project `{}` does not allow this use of the tool {tool}. Its operator can allow it with \
                     `allowed_tools` or `permission_mode`. Go on without it or say what you could not do.",
                    brief.project
                );
                (claude_code::deny(&request_id, &message), "permission_denied", message)
            }
            Question::Mcp { request_id, .. } => {
                let message = "this agent has no tools of a team".to_owned();
                (claude_code::refuse(&request_id, &message), "request_refused", message)
            }
            Question::Unsupported { request_id, subtype } => {
                let message = format!("this gateway does not answer `{subtype}` requests");
                (claude_code::refuse(&request_id, &message), "request_refused", message)
            }
        };
        reaction.send.push(answer);
        reaction.events.push(EventKind::Status { state: state.into(), detail: Some(detail) });
    }

    /// Tells the CLI what came of the first call that waits.
    fn called(&mut self, brief: &Brief, answer: &ToolAnswer, reaction: &mut Reaction) {
        if self.calls.is_empty() {
            return;
        }
        let call = self.calls.remove(0);
        reaction.send.push(match brief.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => {
                claude_code::mcp_response(&call.request_id, &mcp::called(&call.rpc_id, answer))
            }
        });
    }

    fn time(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let is_due = |until: Option<DateTime<Utc>>| until.is_some_and(|until| until <= now);
        if self.phase == Phase::Working
            && let (Some(turn), Some(order)) = (&self.turn, &brief.order)
            && let Some(failure) =
                is_due(turn.until).then(|| time_is_up(order)).or_else(|| turn.watchdog.silence(now, &order.watch))
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
                self.give_up_start(Effect::Kill, Failure::new(FailureCode::NotReady, detail), brief, now, reaction);
            }
            Phase::Idle => self.park(brief, now, reaction),
            Phase::Interrupting => {
                let verdict = self.turn.as_mut().and_then(|turn| turn.verdict.take());
                self.end_by(Effect::Stop, verdict, brief, now, reaction);
            }
            Phase::Closing => {
                reaction.events.push(EventKind::Status {
                    state: "exit_forced".into(),
                    detail: Some(
                        "the CLI did not exit after its result and is being ended (`runner.exit_timeout_seconds`)".into(),
                    ),
                });
                let verdict = self.turn.as_mut().and_then(|turn| turn.verdict.take());
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

fn time_is_up(order: &Order) -> Failure {
    let seconds = order.timeout.num_seconds();
    let detail = format!(
        "the task was still running after its {seconds} s; the partial result is kept. Raise `timeout_seconds` or split the task."
    );
    order.timed_out(Failure::new(FailureCode::Timeout, detail))
}

/// When the shim has to end the process by itself, given when the server would.
fn shim_deadline(until: DateTime<Utc>) -> Effect {
    Effect::Deadline(until + SHIM_GRACE)
}

fn is_session_start(event: &EventKind) -> bool {
    matches!(event, EventKind::Status { state, .. } if state == "session_started")
}

fn fresh_id() -> String {
    Uuid::new_v4().to_string()
}

fn process(state: &str) -> EventKind {
    EventKind::Process { state: state.into(), pid: None, code: None, signal: None, reason: None }
}

#[cfg(test)]
mod tests;
