//! Another process goes on with a turn: because its process was lost, or because the provider refused for a while.

use super::{Brief, Conversation, Fate, Machine, NotBefore, Phase, Reaction, Retry};
use crate::model::{
    agent::AgentStatus,
    event::EventKind,
    run::{Failure, FailureCode},
    task::OnLost,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Longest pause between two attempts when the provider names none.
const LONGEST_DELAY: TimeDelta = TimeDelta::minutes(5);

/// How a process begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runner) enum Beginning {
    /// With a new session.
    New,
    /// With the agent's session, and a prompt.
    Resume,
    /// With the agent's session; the CLI goes on with the interrupted turn by itself.
    ResumeTurn,
}

impl Machine {
    /// What the next process should begin with, when the task's policy and the number of tries allow one.
    pub(super) fn recovery(&self, brief: &Brief, conversation: Conversation) -> Option<Beginning> {
        let (turn, order) = (self.turn.as_ref()?, brief.order.as_ref()?);
        if turn.verdict.is_some() || turn.recoveries >= brief.max_recoveries {
            return None;
        }
        if self.is_resume_refused {
            // A session that held nothing yet can be begun again.
            return turn.opened_session.then_some(Beginning::New);
        }
        match order.on_lost {
            OnLost::Fail => None,
            // Also when nothing was heard of the session yet: the prompt must not reach the CLI twice.
            OnLost::Resume if conversation == Conversation::HoldsPrompt => Some(Beginning::ResumeTurn),
            OnLost::Resume if !self.has_session => Some(Beginning::New),
            // The prompt has to be sent again; to a new session, when there is nothing in the old one.
            OnLost::Resume if turn.opened_session => Some(Beginning::New),
            OnLost::Resume => Some(Beginning::Resume),
            OnLost::Retry => Some(Beginning::New),
        }
    }

    /// Leaves the task in progress for the process that takes over from a lost one.
    pub(super) fn hand_over(&mut self, brief: &Brief, beginning: Beginning, reaction: &mut Reaction) {
        let how = match beginning {
            Beginning::New => "starting the task again",
            Beginning::Resume | Beginning::ResumeTurn => "resuming its session",
        };
        let Some(turn) = &mut self.turn else { return };
        turn.recoveries += 1;
        let detail = format!("the agent's process was lost; {how} ({} of {})", turn.recoveries, brief.max_recoveries);
        turn.progress.clone_from(&detail);
        reaction.events.push(EventKind::Status { state: "recovering".into(), detail: Some(detail) });
        self.give_away(beginning, reaction);
    }

    pub(super) fn give_away(&mut self, beginning: Beginning, reaction: &mut Reaction) {
        if let Some(turn) = &mut self.turn {
            turn.watchdog.rest();
        }
        reaction.agent = Some(AgentStatus::Starting);
        reaction.next = Some(beginning);
        let (kept, lost) = self.joining.take().into_iter().partition::<Vec<_>, _>(|joining| {
            // The next process finds it in the conversation; it must not reach the CLI twice.
            joining.is_kept && beginning != Beginning::New
        });
        reaction.joined = kept.first().map(|joining| joining.task_id);
        reaction.released = lost.first().map(|joining| joining.task_id);
        self.enter(Phase::Ended, None);
    }

    /// When the turn should be tried again, if the provider is to blame and there were not too many tries.
    pub(super) fn retry_at(&self, brief: &Brief, failure: &Failure, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let turn = self.turn.as_ref()?;
        if !failure.code.is_of_provider()
            || turn.outcome.retries >= brief.max_retries
            || self.fate.is_some()
            || self.phase != Phase::Working
        {
            return None;
        }
        if let Some(reset) = turn.resets_at.filter(|_| failure.code == FailureCode::RateLimited) {
            // A little later than promised, and not all at the same moment.
            return Some(reset.max(now) + jitter(TimeDelta::seconds(2)));
        }
        let delay = (brief.retry_delay * 2_i32.saturating_pow(turn.outcome.retries.min(20))).min(LONGEST_DELAY);
        Some(now + delay / 2 + jitter(delay))
    }

    /// Ends the process; another one goes on with the turn in the same session at the time given.
    pub(super) fn retry(
        &mut self,
        brief: &Brief,
        failure: Failure,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        reaction: &mut Reaction,
    ) {
        if let Some(turn) = &mut self.turn {
            turn.outcome.retries += 1;
            turn.outcome.result = None;
            reaction.retry = Some(Retry {
                failure: failure.clone(),
                resets_at: turn.resets_at.filter(|_| failure.code == FailureCode::RateLimited),
            });
            let (time, detail) = (at.format("%H:%M:%S"), failure.detail);
            let words =
                format!("waiting until {time} UTC to try again ({} of {}): {detail}", turn.outcome.retries, brief.max_retries);
            reaction.events.push(EventKind::Status { state: "retrying".into(), detail: Some(words.clone()) });
            // Waiting for the provider is not working time.
            turn.until = turn.until.map(|until| until + (at - now));
            self.close(None, brief, now, reaction);
            self.fate = Some(Fate::Retry(at));
            if let Some(turn) = &mut self.turn {
                turn.progress = words;
            }
        }
    }

    /// Until when the provider's limit holds the turn up, if it does.
    pub(in crate::runner) fn limited_until(&self) -> Option<DateTime<Utc>> {
        let is_limit = self.turn.as_ref().is_some_and(|turn| turn.resets_at.is_some());
        match self.fate {
            Some(Fate::Retry(at)) if is_limit => Some(at),
            _ => self.not_before.filter(|pause| pause.is_limit).map(|pause| pause.at),
        }
    }

    /// The machine of the process that takes over. Events go on where they were.
    pub(in crate::runner) fn successor(&self, brief: &Brief, beginning: Beginning, now: DateTime<Utc>) -> Self {
        let mut next = Self::new(now, brief.ready_timeout, beginning);
        next.next_seq = self.next_seq;
        next.turn.clone_from(&self.turn);
        if let Some(turn) = &mut next.turn {
            // The CLI's own count begins anew with each process.
            turn.carried_usd = turn.outcome.cost_usd.unwrap_or(turn.carried_usd);
            turn.carried_tokens = turn.outcome.tokens.unwrap_or(turn.carried_tokens);
            turn.verdict = None;
        }
        let is_limit = next.turn.as_mut().is_some_and(|turn| turn.resets_at.take().is_some());
        if let Some(Fate::Retry(at)) = self.fate {
            next.not_before = Some(NotBefore { at, is_limit });
        }
        next.has_session = beginning != Beginning::New;
        next
    }
}

/// Between nothing and `most`, at random.
fn jitter(most: TimeDelta) -> TimeDelta {
    let random = i32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    most * random / 255
}
