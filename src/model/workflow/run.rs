//! Runs of workflows, and what is recorded of them.

use super::{
    Workflow,
    plan::{Known, Plan, TurnKey, TurnState, plan},
};
use crate::model::{
    id::{AgentId, KeyId, SwarmId, TaskId, WorkflowRunId},
    run::{Failure, Provenance},
    word::word_enum,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

word_enum! {
    /// Where a run stands.
    WorkflowRunStatus {
        /// Agents work.
        Running = "running",
        /// It waits for an answer of whoever began it.
        Waiting = "waiting",
        /// Done.
        Complete = "complete",
        /// It could not be done.
        Failed = "failed",
        /// It was stopped by request.
        Cancelled = "cancelled",
    }
}

impl WorkflowRunStatus {
    /// Whether the run has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

/// What a run was begun with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInput {
    /// The task, in the words of whoever began it.
    pub task: String,
    /// Values of the workflow's inputs.
    #[serde(default)]
    pub values: Map<String, Value>,
    /// Seconds each turn may take unless its stage says otherwise.
    pub timeout_seconds: u32,
    /// US dollars each turn may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_budget_usd: Option<f64>,
}

/// A run as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkflowRun {
    /// Its identifier.
    pub id: WorkflowRunId,
    /// The user it belongs to.
    pub owner: String,
    /// The key it was made with.
    pub key_id: Option<KeyId>,
    /// Name of the workflow.
    pub workflow: String,
    /// A short name.
    pub title: String,
    /// The workflow as it was when the run began.
    pub definition: Workflow,
    /// What it was begun with.
    pub input: RunInput,
    /// The project its agents work in.
    pub project: String,
    /// The swarm whose agents work on it.
    pub swarm_id: Option<SwarmId>,
    /// Where it stands.
    pub status: WorkflowRunStatus,
    /// Raised by every change; a late writer with an older one changes nothing.
    pub generation: i64,
    /// Whether somebody asked to stop it.
    pub cancel_requested: bool,
    /// What came of it.
    pub result: Option<Value>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The caller's key for exact retries.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that made it, in hexadecimal.
    pub request_hash: String,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// Its place in the trace of the request that made it, for its turns.
    pub traceparent: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Something that happened in a run, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Its place in the run, from 1.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub change: Change,
}

/// What may happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// An agent was made for the run.
    AgentJoined {
        /// What the workflow calls it.
        name: String,
        /// The agent.
        agent_id: AgentId,
    },
    /// A turn was given to an agent, in the same transaction.
    TurnStarted {
        /// Which.
        key: TurnKey,
        /// Its task.
        task_id: TaskId,
    },
    /// A turn came to an end.
    TurnEnded {
        /// Which.
        key: TurnKey,
        /// Its final text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// Its structured answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<Value>,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// Whoever began the run answered a question.
    Answered {
        /// Which question.
        question: String,
        /// The answer.
        answer: Answer,
    },
    /// The run has another status.
    Status {
        /// Which.
        status: WorkflowRunStatus,
    },
}

impl Change {
    /// The word it is stored under.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AgentJoined { .. } => "agent_joined",
            Self::TurnStarted { .. } => "turn_started",
            Self::TurnEnded { .. } => "turn_ended",
            Self::Answered { .. } => "answered",
            Self::Status { .. } => "status",
        }
    }
}

/// What is on record of a run: its transitions, taken together.
#[derive(Debug, Default)]
pub struct Record {
    /// The turns made so far.
    pub turns: BTreeMap<TurnKey, TurnState>,
    /// The tasks of the turns.
    pub tasks: BTreeMap<TurnKey, TaskId>,
    /// The run's own agents, by the name its workflow has for them.
    pub agents: BTreeMap<String, AgentId>,
    /// Answers by question.
    pub answers: BTreeMap<String, Answer>,
    /// Place of the last transition.
    pub last_seq: i64,
}

impl Record {
    /// Takes in the transitions that follow.
    pub fn extend(&mut self, transitions: impl IntoIterator<Item = Transition>) {
        for transition in transitions {
            self.last_seq = transition.seq;
            self.apply(transition.change);
        }
    }

    /// Takes in what happened.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::AgentJoined { name, agent_id } => drop(self.agents.insert(name, agent_id)),
            Change::TurnStarted { key, task_id } => {
                self.turns.insert(key.clone(), TurnState::Running);
                self.tasks.insert(key, task_id);
            }
            Change::TurnEnded { key, text, output, failure } => {
                let done = || TurnState::Done { text: text.unwrap_or_default(), output };
                self.turns.insert(key, failure.map_or_else(done, TurnState::Failed));
            }
            Change::Answered { question, answer } => drop(self.answers.insert(question, answer)),
            Change::Status { .. } => {}
        }
    }

    /// What comes next in the run.
    pub fn plan(&self, run: &WorkflowRun) -> Plan {
        plan(&Known { workflow: &run.definition, input: &run.input, turns: &self.turns, answers: &self.answers })
    }
}

word_enum! {
    /// What to do about a question of a run.
    Answer {
        /// Make the failed turn again.
        Retry = "retry",
        /// Go on without the stage's output.
        Skip = "skip",
        /// Take the output as it is.
        Accept = "accept",
        /// Have it revised once more.
        Revise = "revise",
        /// Let the run fail.
        Fail = "fail",
    }
}
