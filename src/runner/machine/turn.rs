//! A turn: one prompt at work, what is seen of it, what it spends, and how it is judged.

use super::{Brief, Joining, Machine, Order, Phase, Reaction, Verdict, fresh_id, process, watchdog::Watchdog};
use crate::{
    adapter::{TurnEnd, claude_code},
    model::{
        agent::{AgentStatus, Backend},
        event::EventKind,
        id::{RunId, TaskId},
        limits::{LATEST_OUTPUT_CHARS, PARTIAL_RESULT_CHARS},
        run::{Failure, FailureCode, RunOutcome},
        task::TaskStatus,
    },
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// State of a turn. It may outlive the process it began in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::runner) struct Turn {
    pub(in crate::runner) task_id: TaskId,
    pub(in crate::runner) run_id: RunId,
    /// The id under which the CLI keeps its prompt.
    pub(in crate::runner) prompt_id: Option<String>,
    /// When the prompt was given to the process that works on it now.
    #[serde(default)]
    pub(in crate::runner) begun_at: Option<DateTime<Utc>>,
    /// When the turn's time is up.
    pub(super) until: Option<DateTime<Utc>>,
    pub(super) watchdog: Watchdog,
    /// Processes that were lost in this turn.
    pub(in crate::runner) recoveries: u32,
    /// Whether the session began with this turn, so that nothing is lost by another.
    pub(super) opened_session: bool,
    pub(in crate::runner) verdict: Option<Verdict>,
    pub(in crate::runner) progress: String,
    pub(in crate::runner) latest_output: String,
    pub(in crate::runner) outcome: RunOutcome,
    pub(in crate::runner) next_task_seq: i64,
    /// The answer that the CLI, now gone, has kept in the conversation but not been heard to give.
    pub(in crate::runner) kept_answer: Option<String>,
    /// The last complete message, kept as the partial result of a turn that is stopped.
    last_message: Option<String>,
    /// Text of the message being written.
    live_text: String,
    /// What the CLI has written.
    output_bytes: u64,
    /// Spent in this turn by the processes before this one.
    pub(super) carried_usd: f64,
    pub(super) carried_tokens: u64,
    /// When the provider's limit resets, if it refused in this turn.
    pub(super) resets_at: Option<DateTime<Utc>>,
}

impl Turn {
    pub(in crate::runner) fn new(task_id: TaskId, run_id: RunId, opened_session: bool) -> Self {
        Self {
            task_id,
            run_id,
            prompt_id: None,
            begun_at: None,
            until: None,
            watchdog: Watchdog::default(),
            recoveries: 0,
            opened_session,
            verdict: None,
            progress: "starting an agent".into(),
            latest_output: String::new(),
            outcome: RunOutcome::default(),
            next_task_seq: 1,
            kept_answer: None,
            last_message: None,
            live_text: String::new(),
            output_bytes: 0,
            carried_usd: 0.0,
            carried_tokens: 0,
            resets_at: None,
        }
    }

    /// US dollars that processes before this one have spent in the turn.
    pub(in crate::runner) const fn carried_usd(&self) -> f64 {
        self.carried_usd
    }

    /// Keeps the words a status answer shows.
    pub(super) fn observe(&mut self, event: &EventKind) {
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
            EventKind::RateLimit { status, resets_at, .. } if status == "rejected" => {
                "refused by the provider's rate limit".clone_into(&mut self.progress);
                self.resets_at = *resets_at;
            }
            EventKind::Message { .. }
            | EventKind::RateLimit { .. }
            | EventKind::Usage { .. }
            | EventKind::Status { .. }
            | EventKind::Result { .. }
            | EventKind::Process { .. }
            | EventKind::DelegationBroken { .. }
            | EventKind::Raw { .. } => {}
        }
    }

    /// Takes over what was spent since the CLI's last result.
    pub(super) fn spend(&mut self, cost_usd: Option<f64>, tokens: Option<u64>) {
        self.outcome.cost_usd = cost_usd.map(|cost| self.carried_usd + cost);
        self.outcome.tokens = tokens.map(|tokens| self.carried_tokens + tokens);
    }

    /// What a stopped or failed turn has to show.
    pub(super) fn keep_partial_result(&mut self) {
        if self.outcome.result.is_none() {
            self.outcome.result.clone_from(&self.last_message);
        }
    }

    /// Counts a line; the failure, when there was too much.
    pub(super) fn count_output(&mut self, line: &str, order: &Order) -> Option<Failure> {
        self.output_bytes += line.len() as u64 + 1;
        let (most, set_by) = order.output_bytes?;
        (self.output_bytes > most).then(|| {
            let detail = format!(
                "the agent wrote more than {most} bytes in one turn (`max_output_bytes`, set by the {set_by}); the partial result is kept"
            );
            #[expect(clippy::cast_precision_loss, reason = "for display")]
            Failure::new(FailureCode::OutputLimit, detail).by_limit("max_output_bytes", set_by, most as f64)
        })
    }
}

impl Machine {
    /// The idle agent gets a prompt.
    pub(super) fn begin(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let Some(order) = brief.order.as_ref().filter(|_| self.phase == Phase::Idle && self.turn.is_none()) else { return };
        self.turn = Some(Turn::new(order.task_id, order.run_id, !self.has_session));
        reaction.events.push(EventKind::status("assigned"));
        self.prompt(brief, order, reaction);
        self.start_turn(brief, now, reaction);
    }

    /// The CLI has begun a turn by itself: see [`super::Input::FollowUp`].
    pub(super) fn follow_up(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let Some(order) = brief.order.as_ref().filter(|_| self.turn.is_none()) else { return };
        self.joining = None;
        let prompt_id = Some(order.task_id.uuid().to_string());
        self.turn = Some(Turn { prompt_id, ..Turn::new(order.task_id, order.run_id, false) });
        reaction.events.push(EventKind::status("assigned"));
        self.start_turn(brief, now, reaction);
    }

    pub(super) fn prompt(&mut self, brief: &Brief, order: &Order, reaction: &mut Reaction) {
        let id = fresh_id();
        if let Some(turn) = &mut self.turn {
            turn.prompt_id = Some(id.clone());
        }
        reaction.send.push(match brief.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::user_message(id, &order.prompt),
        });
    }

    pub(super) fn start_turn(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let (Some(turn), Some(order)) = (&mut self.turn, &brief.order) else { return };
        reaction.task = Some(TaskStatus::InProgress);
        reaction.agent = Some(AgentStatus::Busy);
        turn.begun_at = Some(now);
        let until = *turn.until.get_or_insert(now + order.timeout);
        turn.watchdog.begin(now, &order.watch);
        "waiting for the model".clone_into(&mut turn.progress);
        reaction.effects.push(super::shim_deadline(until));
        self.enter(Phase::Working, None);
    }

    /// A message for the running turn. The CLI takes it up between two model requests, or begins a turn with it.
    pub(super) fn steer(&mut self, brief: &Brief, task_id: TaskId, text: &str, reaction: &mut Reaction) {
        if !self.may_be_steered() {
            return;
        }
        self.joining = Some(Joining { task_id, is_kept: false });
        reaction.send.push(match brief.backend {
            Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::user_message(task_id.uuid().to_string(), text),
        });
    }

    /// Whether a message can be sent into the running turn: one at a time, or the CLI would make one of them.
    pub(in crate::runner) fn may_be_steered(&self) -> bool {
        self.phase == Phase::Working && self.turn.is_some() && self.joining.is_none()
    }

    /// The turn that the CLI is about to begin by itself.
    pub(in crate::runner) fn follows_up(&self) -> Option<TaskId> {
        self.joining.filter(|_| self.phase == Phase::Working && self.turn.is_none()).map(|joining| joining.task_id)
    }

    pub(super) fn took_up(&mut self, id: &str, reaction: &mut Reaction) {
        let Some(joining) = self.joining.filter(|joining| joining.task_id.uuid().to_string() == id) else { return };
        if self.turn.is_some() {
            self.joining = None;
            reaction.joined = Some(joining.task_id);
            let detail = format!("{} joined the running turn", joining.task_id);
            reaction.events.push(EventKind::Status { state: "steered".into(), detail: Some(detail) });
        }
    }

    pub(super) fn spent(
        &mut self,
        brief: &Brief,
        now: DateTime<Utc>,
        cost_usd: Option<f64>,
        tokens: Option<u64>,
        reaction: &mut Reaction,
    ) {
        // An answer that comes after the turn's result counts from there.
        if !matches!(self.phase, Phase::Working | Phase::Interrupting) {
            return;
        }
        if let Some(turn) = &mut self.turn {
            turn.spend(cost_usd, tokens);
        }
        self.check_budgets(brief, now, reaction);
    }

    /// Stops the turn when a budget is used up.
    pub(super) fn check_budgets(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        if self.phase == Phase::Working
            && let (Some(turn), Some(order)) = (&self.turn, &brief.order)
            && let Some(failure) = turn.over_budget(&order.caps)
        {
            self.interrupt(Verdict::Failed(failure), brief, now, reaction);
        }
    }

    /// Asks what was spent, when that matters.
    pub(super) fn ask_usage(&self, brief: &Brief, events: &[EventKind], reaction: &mut Reaction) {
        let is_limited = brief.order.as_ref().is_some_and(|order| !order.caps.is_empty());
        if self.phase == Phase::Working && is_limited && events.iter().any(|event| matches!(event, EventKind::Usage { .. })) {
            reaction.send.push(match brief.backend {
                Backend::ClaudeCode | Backend::ClaudeFlow => claude_code::ask_usage(fresh_id()),
            });
        }
    }

    pub(super) fn turn_ended(&mut self, brief: &Brief, now: DateTime<Utc>, end: TurnEnd, reaction: &mut Reaction) {
        if self.is_refusal_to_resume(end.failure.as_ref()) {
            self.is_resume_refused = true;
            return;
        }
        let (Some(turn), Some(order)) = (&mut self.turn, &brief.order) else { return };
        if matches!(self.phase, Phase::Working | Phase::Interrupting) {
            turn.outcome.usage = end.usage;
            turn.spend(end.cost_usd, end.tokens);
            turn.outcome.duration_ms = end.duration_ms;
            turn.outcome.model.clone_from(&self.session.model);
        }
        let verdict = match (self.phase, turn.verdict.take()) {
            // A stop was asked for; what there is so far becomes the partial result.
            (Phase::Interrupting, Some(verdict)) => verdict,
            (Phase::Working, _) => {
                // The words of a failure are its detail.
                turn.outcome.result = end.text.filter(|_| end.failure.is_none()).or_else(|| turn.last_message.clone());
                turn.judge(order, end.failure, end.structured_output)
            }
            (_, verdict) => {
                turn.verdict = verdict;
                return;
            }
        };
        if let Verdict::Failed(failure) = &verdict
            && let Some(at) = self.retry_at(brief, failure, now)
        {
            return self.retry(brief, failure.clone(), at, now, reaction);
        }
        // The CLI answers nothing more once its own budget is used up.
        let is_spent = verdict.failure().is_some_and(|failure| failure.code == FailureCode::BudgetExceeded);
        if !brief.keep || self.fate.is_some() || is_spent {
            return self.close(Some(verdict), brief, now, reaction);
        }
        self.finish_turn(verdict, reaction);
        if self.joining.is_some() {
            return self.enter(Phase::Working, None);
        }
        self.rest(brief, now, reaction);
    }

    fn is_refusal_to_resume(&self, failure: Option<&Failure>) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Working)
            && self.beginning != super::Beginning::New
            && failure.is_some_and(|failure| claude_code::is_unknown_session(&failure.detail))
    }

    /// The turn ends with this verdict.
    pub(super) fn finish_turn(&mut self, verdict: Verdict, reaction: &mut Reaction) {
        let Some(turn) = &mut self.turn else { return };
        if verdict != Verdict::Complete {
            turn.keep_partial_result();
        }
        reaction.task = Some(verdict.task_status());
        reaction.turn_over = true;
        turn.progress = match &verdict {
            Verdict::Complete => "finished".into(),
            Verdict::Cancelled => "stopped by request".into(),
            Verdict::Failed(failure) => format!("failed: {}", failure.code),
        };
        turn.verdict = Some(verdict);
        turn.until = None;
        turn.watchdog.rest();
    }

    /// The process waits for another turn.
    pub(super) fn rest(&mut self, brief: &Brief, now: DateTime<Utc>, reaction: &mut Reaction) {
        let until = now + brief.park_after;
        reaction.agent = Some(AgentStatus::Idle);
        if self.output_bytes > brief.rotate_bytes || brief.is_held_to_a_task() {
            // The next process begins a new log, and is held to what its own turn may use.
            self.enter(Phase::Idle, None);
            return self.park(brief, now, reaction);
        }
        reaction.effects.push(super::shim_deadline(until));
        self.enter(Phase::Idle, Some(until));
    }

    pub(super) fn ready_event(reaction: &mut Reaction) {
        reaction.events.push(process("ready"));
    }
}

/// The last [`LATEST_OUTPUT_CHARS`] characters.
fn tail(text: &str) -> String {
    match text.char_indices().rev().nth(LATEST_OUTPUT_CHARS - 1) {
        Some((start, _)) => text[start..].to_owned(),
        None => text.to_owned(),
    }
}
