//! Making agents, new or from another one's conversation.

use super::AgentResource;
use crate::{
    app::{
        App, AppSettings,
        checks::{LimitFields, Refusals, request_hash, whole_number},
        detached,
        error::AppError,
        now,
        wait::wait_seconds,
    },
    bus::Topic,
    model::{
        agent::{Agent, AgentStatus, AgentType, Backend},
        id::AgentId,
        key::Principal,
        limits::{IDEMPOTENCY_KEY_CHARS, NAME_CHARS, SYSTEM_PROMPT_CHARS, TIMEOUT_SECONDS},
        project::DEFAULT_PROJECT,
        quota::WorkLimits,
    },
    store::Inserted,
};
use serde::Deserialize;
use utoipa::ToSchema;

/// An agent to create.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agent_type": "coder", "name": "login-coder", "project": "default", "system_prompt": "Prefer small commits.", "idempotency_key": "login-coder-1"}))]
pub struct CreateAgent {
    /// Its role: planner, coder, reviewer, tester, researcher, architect, analyst, optimizer, documenter, coordinator, or a role of the gateway's own. Left out: coder.
    #[schema(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// A readable name, at most 100 characters. Left out: the role and some digits.
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The model, from the gateway's allow-list. Left out: that of the role, else the configured default.
    #[schema(nullable = false, min_length = 1)]
    pub model: Option<String>,
    /// The project it works in. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// The CLI behind it. Left out: that of the role.
    #[schema(nullable = false)]
    pub backend: Option<Backend>,
    /// What to add to its system prompt after its role, at most 20,000 characters.
    #[schema(nullable = false, min_length = 1, max_length = 20000)]
    pub system_prompt: Option<String>,
    /// Seconds each of its turns may take, 1 to 86400.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub timeout_seconds: Option<i64>,
    /// US dollars it may spend in its life, more than 0 and at most 1000.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub budget_usd: Option<f64>,
    /// Tokens it may use in its life, sub-agents and cached ones included.
    #[schema(nullable = false, minimum = 1, maximum = 1_000_000_000)]
    #[serde(default, deserialize_with = "whole_number")]
    pub budget_tokens: Option<i64>,
    /// Seconds of silence after which a turn is stopped, 1 to 86400.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub idle_timeout_seconds: Option<i64>,
    /// Bytes the agent CLI may write in a turn.
    #[schema(nullable = false, minimum = 1, maximum = 1_099_511_627_776_i64)]
    #[serde(default, deserialize_with = "whole_number")]
    pub max_output_bytes: Option<i64>,
    /// Memory of the agent CLI and all it starts, in bytes; at least 268435456.
    #[schema(nullable = false, minimum = 268_435_456, maximum = 4_398_046_511_104_i64)]
    #[serde(default, deserialize_with = "whole_number")]
    pub max_memory_bytes: Option<i64>,
    /// Processes of the agent CLI and all it starts, at least 2.
    #[schema(nullable = false, minimum = 2, maximum = 100_000)]
    #[serde(default, deserialize_with = "whole_number")]
    pub max_processes: Option<i64>,
    /// Your key for exact retries: the same key and request give the same agent instead of a second one.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait until it is ready, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// An agent to make from another one's conversation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "login-coder-b", "idempotency_key": "fork-1"}))]
pub struct ForkAgent {
    /// A readable name, at most 100 characters. Left out: the role and some digits.
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub name: Option<String>,
    /// The model, from the gateway's allow-list. Left out: that of the first agent.
    #[schema(nullable = false, min_length = 1)]
    pub model: Option<String>,
    /// Your key for exact retries.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait until it is ready, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// What became of a request to create an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedAgent {
    /// The agent.
    pub agent: AgentResource,
    /// Whether it was made now; `false` for a repeated `idempotency_key`.
    pub is_new: bool,
}

impl CreateAgent {
    /// The agent asked for and the seconds to wait, or every reason why not.
    fn validate(self, who: &Principal, settings: &AppSettings) -> Result<(Agent, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        let asked = serde_json::json!([
            "create",
            self.agent_type,
            self.name,
            self.model,
            self.project,
            self.backend,
            self.system_prompt,
            self.timeout_seconds,
            self.budget_usd,
            self.budget_tokens,
            self.idle_timeout_seconds,
            self.max_output_bytes,
            self.max_memory_bytes,
            self.max_processes,
        ]);
        common(&mut refusals, self.name.as_deref(), self.idempotency_key.as_deref());
        let agent_type = refusals.role("agent_type", self.agent_type, settings);
        let project = self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.project(&project, settings);
        let backend = refusals.backend("backend", self.backend, agent_type, settings);
        if let Some(model) = &self.model {
            refusals.model("model", model, &settings.models);
        }
        if let Some(text) = &self.system_prompt {
            refusals.text("system_prompt", text, SYSTEM_PROMPT_CHARS);
        }
        refusals.budget_usd(self.budget_usd);
        let limits = refusals.limits(&LimitFields {
            budget_tokens: self.budget_tokens,
            idle_timeout_seconds: self.idle_timeout_seconds,
            max_output_bytes: self.max_output_bytes,
            max_memory_bytes: self.max_memory_bytes,
            max_processes: self.max_processes,
        });
        let timeout_seconds = refusals.within("timeout_seconds", self.timeout_seconds, 1..=TIMEOUT_SECONDS.into());
        refusals.finish()?;
        let limits = WorkLimits { timeout_seconds, budget_usd: self.budget_usd, ..limits };
        let agent = Agent {
            backend,
            project,
            model: self.model.or_else(|| settings.roles.get().model_of(agent_type)),
            system_prompt: self.system_prompt,
            limits,
            ..new_agent(who, settings, agent_type, self.name)
        };
        Ok((Agent { idempotency_key: self.idempotency_key, request_hash: request_hash(&asked), ..agent }, wait))
    }
}

fn common(refusals: &mut Refusals, name: Option<&str>, idempotency_key: Option<&str>) {
    if let Some(name) = name {
        refusals.line("name", name, NAME_CHARS);
    }
    if let Some(key) = idempotency_key {
        refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
    }
}

/// A new agent with nothing special about it, to be started.
fn new_agent(who: &Principal, settings: &AppSettings, agent_type: AgentType, name: Option<String>) -> Agent {
    let new = Agent::at_rest(who.user.clone(), agent_type, settings.provenance, now());
    Agent {
        key_id: Some(who.key_id),
        name: name.unwrap_or_else(|| new.name.clone()),
        // Generation 0: no runner has looked at it yet.
        status: AgentStatus::Starting,
        generation: 0,
        ..new
    }
}

impl App {
    /// Creates an agent that stays, and waits as long as asked until it is ready.
    pub async fn create_agent(&self, who: &Principal, request: CreateAgent) -> Result<CreatedAgent, AppError> {
        let (agent, wait) = request.validate(who, &self.settings)?;
        self.insert_agent(who, agent, wait).await
    }

    /// Creates an agent that knows what another one knows. The two go on independently of each other.
    pub async fn fork_agent(&self, who: &Principal, id: AgentId, request: ForkAgent) -> Result<CreatedAgent, AppError> {
        let source = self.find_agent(who, id).await?;
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(request.wait_seconds, 0));
        common(&mut refusals, request.name.as_deref(), request.idempotency_key.as_deref());
        if let Some(model) = &request.model {
            refusals.model("model", model, &self.settings.models);
        }
        refusals.role("agent_type", Some(source.agent_type), &self.settings);
        refusals.finish()?;
        let asked = serde_json::json!(["fork", id, request.name, request.model]);
        let fork = Agent {
            backend: source.backend,
            project: source.project.clone(),
            model: request.model.or_else(|| source.model.clone()),
            system_prompt: source.system_prompt.clone(),
            limits: source.limits,
            forked_from: Some(id),
            idempotency_key: request.idempotency_key,
            request_hash: request_hash(&asked),
            ..new_agent(who, &self.settings, source.agent_type, request.name)
        };
        // A repeated request gets its first answer, whatever the first agent does by now.
        if let Some(known) = self.known_fork(&fork).await? {
            return self.created(who, known, false, wait).await;
        }
        if matches!(source.status, AgentStatus::Busy | AgentStatus::Interrupting) {
            return Err(AppError::AgentBusy { id, status: source.status });
        }
        if !source.session_started {
            return Err(AppError::NoConversation(id));
        }
        self.insert_agent(who, fork, wait).await
    }

    async fn known_fork(&self, fork: &Agent) -> Result<Option<Agent>, AppError> {
        let Some(key) = &fork.idempotency_key else { return Ok(None) };
        match self.store.find_agent_by_key(&fork.owner, key).await? {
            Some(known) if known.request_hash == fork.request_hash => Ok(Some(known)),
            Some(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
            None => Ok(None),
        }
    }

    async fn insert_agent(&self, who: &Principal, agent: Agent, wait: u32) -> Result<CreatedAgent, AppError> {
        let (app, quota) = (self.clone(), self.settings.quota(who));
        let (agent, is_new) = detached(async move {
            match app.store.insert_agent(&agent, &quota).await? {
                Inserted::New => {
                    app.bus.notify(Topic::Dispatch);
                    Ok((agent, true))
                }
                Inserted::Existing(known) if known.request_hash == agent.request_hash => Ok((*known, false)),
                Inserted::Existing(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
                Inserted::AgentEnded => Err(AppError::Internal("a new agent cannot have ended".into())),
                Inserted::Refused(limit) => Err(AppError::LimitReached(limit)),
            }
        })
        .await?;
        self.created(who, agent, is_new, wait).await
    }

    async fn created(&self, who: &Principal, agent: Agent, is_new: bool, wait: u32) -> Result<CreatedAgent, AppError> {
        let waiter = self.waiter(Topic::Agent(agent.id), wait);
        let agent = self.agent_when(who, agent.id, waiter, |agent| agent.status != AgentStatus::Starting).await?;
        Ok(CreatedAgent { agent: self.agent_resource(agent).await?, is_new })
    }
}
