//! What the server says, as far as `mas attach` looks at it.

use crate::model::{agent::AgentStatus, event::EventKind};
use serde::Deserialize;
use serde_json::Value;

/// The agent as it stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct AgentView {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) agent_type: String,
    pub(super) project: String,
    pub(super) model: Option<String>,
    pub(super) status: AgentStatus,
    pub(super) failure: Option<FailureView>,
    pub(super) progress: Option<String>,
    pub(super) queued: Option<i64>,
    pub(super) turns: Option<i64>,
    pub(super) cost_usd: Option<f64>,
    pub(super) tokens: Option<u64>,
    pub(super) provenance: String,
}

/// Why an agent could not go on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct FailureView {
    pub(super) detail: String,
}

impl AgentView {
    /// Whether it has a turn to stop.
    pub(super) const fn is_working(&self) -> bool {
        matches!(self.status, AgentStatus::Starting | AgentStatus::Busy | AgentStatus::Interrupting)
    }
}

/// One event of the agent.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AgentEvent {
    /// Its place among all events.
    pub(super) cursor: i64,
    /// The task worked on.
    pub(super) task_id: Option<String>,
    /// What was captured; `None` when this version knows no such kind.
    pub(super) kind: Option<EventKind>,
}

impl AgentEvent {
    /// Reads one of `GET /events`; nothing without a cursor.
    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            cursor: value["cursor"].as_i64()?,
            task_id: value["task_id"].as_str().map(str::to_owned),
            kind: EventKind::deserialize(value).ok(),
        })
    }

    /// The task whose text has just come to the agent, and whether it came into a running turn.
    pub(super) fn prompt(&self) -> Option<(String, bool)> {
        match self.kind.as_ref()? {
            EventKind::Status { state, .. } if state == "assigned" => Some((self.task_id.clone()?, false)),
            EventKind::Status { state, detail: Some(detail) } if state == "steered" => {
                Some((detail.split(' ').next()?.to_owned(), true))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_read_and_unknown_kinds_are_not_lost() {
        let event =
            json!({"cursor": 7, "task_id": "task_1", "seq": 1, "agent_seq": 3, "kind": "message", "data": {"text": "hi"}});
        let read = AgentEvent::read(&event).expect("an event");
        assert!(matches!(&read.kind, Some(EventKind::Message { text, .. }) if text == "hi"), "{read:?}");
        let new = AgentEvent::read(&json!({"cursor": 8, "kind": "telepathy", "data": {}})).expect("an event");
        assert_eq!(new, AgentEvent { cursor: 8, task_id: None, kind: None });
        assert_eq!(AgentEvent::read(&json!({"kind": "message"})), None);
    }

    #[test]
    fn prompts_are_seen_where_turns_begin_and_where_a_message_joins_one() {
        let status = |state: &str, detail: Value| {
            let event = json!({"cursor": 1, "task_id": "task_1", "kind": "status", "data": {"state": state, "detail": detail}});
            AgentEvent::read(&event).expect("an event").prompt()
        };
        assert_eq!(status("assigned", Value::Null), Some(("task_1".into(), false)));
        assert_eq!(status("steered", json!("task_2 joined the running turn")), Some(("task_2".into(), true)));
        assert_eq!(status("requesting", Value::Null), None);
    }
}
