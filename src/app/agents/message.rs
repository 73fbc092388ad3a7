//! Messages: prompts for an agent that stays.

use crate::{
    app::{
        App,
        checks::{Refusals, request_hash, whole_number},
        error::AppError,
        files::{FileRef, file_refs},
        now,
        tasks::{CreatedTask, title_of},
        wait::wait_seconds,
    },
    model::{
        agent::Agent,
        id::AgentId,
        key::Principal,
        limits::{DESCRIPTION_CHARS, IDEMPOTENCY_KEY_CHARS, TIMEOUT_SECONDS},
        task::{MessageMode, Priority, Task},
    },
};
use serde::Deserialize;
use utoipa::ToSchema;

/// A message to an agent.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Now add a test for it.", "mode": "queue", "wait_seconds": 30, "idempotency_key": "health-test-1"}))]
pub struct SendMessage {
    /// The prompt, at most 60,000 characters. The agent knows its conversation so far.
    #[schema(min_length = 1, max_length = 60000)]
    pub text: String,
    /// queue: a turn of its own after those that wait. steer: into the running turn, or a turn of its own when none runs. Left out: queue.
    #[schema(nullable = false)]
    pub mode: Option<MessageMode>,
    /// How urgent it is among the messages that wait. Left out: normal.
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// Seconds the turn may take, 1 to 86400. Left out: what the agent was created with, else the configured time.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub timeout_seconds: Option<i64>,
    /// US dollars the turn may cost, more than 0 and at most 1000.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub budget_usd: Option<f64>,
    /// Files for the agent, at most 10. `ChatGPT` puts the files of the conversation here.
    #[serde(default, rename = "openaiFileIdRefs", deserialize_with = "file_refs")]
    #[schema(value_type = Option<Vec<String>>, nullable = false, max_items = 10)]
    pub files: Option<Vec<FileRef>>,
    /// Your key for exact retries: the same key and request are one message.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the end of the turn before answering, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

impl SendMessage {
    fn validate(self, who: &Principal, agent: &Agent, default_timeout: u32) -> Result<(Task, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        refusals.text("text", &self.text, DESCRIPTION_CHARS);
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        refusals.budget_usd(self.budget_usd);
        let timeout = refusals.within("timeout_seconds", self.timeout_seconds, 1..=TIMEOUT_SECONDS.into());
        refusals.finish()?;
        let files: Vec<_> = self.files.iter().flatten().map(FileRef::identity).collect();
        let asked = serde_json::json!([
            "message",
            agent.id,
            self.text,
            self.mode,
            self.priority,
            self.timeout_seconds,
            self.budget_usd,
            files
        ]);
        let task = Task {
            key_id: Some(who.key_id),
            title: title_of(&self.text),
            description: self.text,
            project: agent.project.clone(),
            priority: self.priority.unwrap_or(Priority::Normal),
            budget_usd: self.budget_usd,
            mode: Some(self.mode.unwrap_or(MessageMode::Queue)),
            backend: agent.backend,
            idempotency_key: self.idempotency_key,
            request_hash: request_hash(&asked),
            agent_id: Some(agent.id),
            ..Task::new(
                agent.owner.clone(),
                agent.agent_type,
                timeout.or(agent.limits.timeout_seconds).unwrap_or(default_timeout),
                agent.provenance,
                now(),
            )
        };
        Ok((task, wait))
    }
}

impl App {
    /// Queues a turn of the agent, or sends the text into its running turn, and waits for the end as long as asked.
    pub async fn send_message(&self, who: &Principal, id: AgentId, request: SendMessage) -> Result<CreatedTask, AppError> {
        let agent = self.find_agent(who, id).await?;
        let files = request.files.clone().unwrap_or_default();
        let (task, wait) = request.validate(who, &agent, self.settings.task_timeout_seconds)?;
        let mut quota = self.settings.quota(who);
        if !agent.durable {
            quota.keeps = Some((agent.key_id, self.limits_of(&agent).await?));
        }
        self.make_task(who, task, files, quota, wait).await
    }
}
