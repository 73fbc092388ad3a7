//! A process was lost in the middle of its work: whether and how another one goes on.

use super::{Brief, Machine, Phase, Reaction};
use crate::model::{agent::AgentStatus, event::EventKind, task::OnLost};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How a process begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::runner) enum Beginning {
    /// With a new session and the task's prompt.
    Fresh,
    /// With the session of the lost process; the CLI goes on with the interrupted turn by itself.
    Resume,
}

impl Machine {
    /// Processes of this run that were lost before this one.
    pub(in crate::runner) fn recoveries(&self) -> u32 {
        self.recoveries
    }

    /// What the next process should begin with, when the task's policy and the number of tries allow one.
    pub(super) fn recovery(&self, brief: &Brief) -> Option<Beginning> {
        if self.verdict.is_some() || self.recoveries >= brief.max_recoveries {
            return None;
        }
        match brief.on_lost {
            OnLost::Fail => None,
            // Before the session exists there is nothing to resume.
            OnLost::Resume if self.has_session && !self.is_resume_refused => Some(Beginning::Resume),
            OnLost::Resume | OnLost::Retry => Some(Beginning::Fresh),
        }
    }

    /// Leaves the task in progress for the next process.
    pub(super) fn hand_over(&mut self, brief: &Brief, beginning: Beginning, reaction: &mut Reaction) {
        let how = match beginning {
            Beginning::Fresh => "starting the task again",
            Beginning::Resume => "resuming its session",
        };
        let detail = format!("the agent's process was lost; {how} ({} of {})", self.recoveries + 1, brief.max_recoveries);
        self.progress.clone_from(&detail);
        reaction.events.push(EventKind::Status { state: "recovering".into(), detail: Some(detail) });
        reaction.agent = Some(AgentStatus::Starting);
        reaction.next = Some(beginning);
        self.watchdog.rest();
        self.enter(Phase::Ended, None);
    }

    /// The machine of the process that takes over. Events go on where they were.
    pub(in crate::runner) fn successor(&self, brief: &Brief, beginning: Beginning, now: DateTime<Utc>) -> Self {
        let mut next = Self::new(now, brief.ready_timeout, self.next_task_seq);
        next.next_seq = self.next_seq;
        next.recoveries = self.recoveries + 1;
        next.beginning = beginning;
        next.progress.clone_from(&self.progress);
        next.task_until = self.task_until;
        // Until the next process writes something, this is the partial result.
        next.latest_output.clone_from(&self.latest_output);
        next.last_message.clone_from(&self.last_message);
        next.has_session = beginning == Beginning::Resume;
        next
    }
}
