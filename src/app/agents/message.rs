//! Messages: prompts for an agent that stays.

use crate::{
    app::{
        App,
        checks::{Refusals, request_hash, whole_number},
        error::AppError,
        files::{FileRef, file_refs},
        now,
        size::excerpt,
        tasks::{CreatedTask, title_of},
        wait::wait_seconds,
    },
    model::{
        agent::Agent,
        id::{AgentId, MessageId},
        key::Principal,
        limits::{DESCRIPTION_CHARS, IDEMPOTENCY_KEY_CHARS, MESSAGE_CHARS, TIMEOUT_SECONDS},
        swarm::SwarmStatus,
        task::{MessageMode, Priority, Task},
        team::{Draft, MessageKind, Recipient, Sender},
    },
    store::TeamChange,
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
    /// The question to you that it answers: an id of `questions` in the status of the agent's swarm.
    #[schema(nullable = false)]
    pub in_reply_to: Option<MessageId>,
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
        let mut asked = serde_json::json!([
            "message",
            agent.id,
            self.text,
            self.mode,
            self.priority,
            self.timeout_seconds,
            self.budget_usd,
            files
        ]);
        if let (Some(question), Some(asked)) = (self.in_reply_to, asked.as_array_mut()) {
            asked.push(serde_json::json!(question));
        }
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
        let (files, question) = (request.files.clone().unwrap_or_default(), request.in_reply_to);
        let (mut task, wait) = request.validate(who, &agent, self.settings.task_timeout_seconds)?;
        let mut quota = self.settings.quota(who);
        if !agent.durable {
            quota.keeps = Some((agent.key_id, self.limits_of(&agent).await?));
        }
        let answer = match question {
            Some(question) => self.answer(&agent, question, &mut task).await?,
            None => None,
        };
        self.make_task(who, task, files, quota, wait, answer).await
    }

    /// What keeps the question of an agent to the user from being open any more, and the turn's words with the question. None when
    /// the swarm has ended: then nobody takes the answer.
    async fn answer(&self, agent: &Agent, question: MessageId, task: &mut Task) -> Result<Option<TeamChange>, AppError> {
        let found = match agent.swarm_id {
            Some(swarm) => self.store.get_team_message(swarm, question).await?,
            None => None,
        };
        let Some(asked) = found.filter(|asked| asked.from_agent == Some(agent.id) && asked.to == Recipient::User) else {
            let words = "is no question of this agent to you; get_swarm_status shows under `questions` what agents of a swarm want to know";
            return Err(AppError::field("in_reply_to", words));
        };
        let Some(swarm) = self.store.get_swarm(asked.swarm_id, None).await?.filter(|swarm| swarm.status == SwarmStatus::Active)
        else {
            return Ok(None);
        };
        let draft = Draft {
            to: Recipient::Agent(agent.id),
            kind: MessageKind::Result,
            priority: task.priority,
            subject: asked.subject.clone(),
            body: excerpt(&task.description, MESSAGE_CHARS),
            requires_response: false,
            deadline_seconds: None,
            in_reply_to: Some(asked.clone()),
        };
        let post = draft.post(&swarm, std::slice::from_ref(agent), Sender::User, task.timeout_seconds, task.created_at);
        let mut post = post.map_err(|words| AppError::field("in_reply_to", words))?;
        // It comes with the turn; there is nothing to be read in the inbox.
        post.recipients.clear();
        task.description = format!("The user answers your message {:?} ({}):\n\n{}", asked.subject, asked.id, task.description);
        Ok(Some(TeamChange::Send(Box::new(post))))
    }
}
