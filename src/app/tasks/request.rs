//! What callers send about tasks, and the checks it must pass.

use super::schema::{check_output_schema, object_or_text};
use crate::{
    app::{
        AppSettings,
        checks::{LimitFields, Refusals, request_hash, whole_number},
        error::AppError,
        files::{FileRef, file_refs},
        now,
        wait::wait_seconds,
    },
    model::{
        agent::{AgentType, Backend},
        id::SwarmId,
        key::Principal,
        limits::{DESCRIPTION_CHARS, IDEMPOTENCY_KEY_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
        project::DEFAULT_PROJECT,
        swarm::Swarm,
        task::{OnLost, Priority, Task, TaskStatus},
    },
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A task to create.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "Add a health check", "description": "Add GET /health to the server in src/main.rs and a test for it.", "agent_type": "coder", "project": "default", "wait_seconds": 30, "idempotency_key": "health-check-1"}))]
pub struct CreateTask {
    /// A short name, at most 200 characters. Left out: the first line of the description.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// The prompt: everything the agent has to know, at most 60,000 characters.
    #[schema(min_length = 1, max_length = 60000)]
    pub description: String,
    /// The role of the agent: planner, coder, reviewer, tester, researcher, architect, analyst, optimizer, documenter, coordinator, or a role of the gateway's own. Left out: coder.
    #[schema(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// The CLI to do it. Left out: that of the role.
    #[schema(nullable = false)]
    pub backend: Option<Backend>,
    /// The project to work in. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// The model, from the gateway's allow-list. Left out: that of the role, else the configured default.
    #[schema(nullable = false, min_length = 1)]
    pub model: Option<String>,
    /// A swarm whose members are to do it: one of the type that is free, or is added if the swarm scales itself; else it waits for the next one. Its project, and its agents' models and CLIs, hold.
    #[schema(nullable = false)]
    pub swarm_id: Option<SwarmId>,
    /// How urgent it is. Left out: normal.
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// Seconds the agent may work, 1 to 86400.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub timeout_seconds: Option<i64>,
    /// US dollars the agent may spend, more than 0 and at most 1000.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub budget_usd: Option<f64>,
    /// Tokens the agent may use, sub-agents and cached ones included.
    #[schema(nullable = false, minimum = 1, maximum = 1_000_000_000)]
    #[serde(default, deserialize_with = "whole_number")]
    pub budget_tokens: Option<i64>,
    /// Seconds of silence after which the task is stopped, 1 to 86400.
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
    /// What to do when the agent's process is lost, as in a reboot. Left out: resume.
    #[schema(nullable = false)]
    pub on_lost: Option<OnLost>,
    /// JSON Schema (root type `object`, at most 20 kB) of a structured answer, as an object or as text that holds it. Left out: that of the role, if it has one.
    #[schema(value_type = Option<Object>, nullable = false)]
    #[serde(default, deserialize_with = "object_or_text")]
    pub output_schema: Option<Value>,
    /// Files for the agent, at most 10. `ChatGPT` puts the files of the conversation here.
    #[serde(default, rename = "openaiFileIdRefs", deserialize_with = "file_refs")]
    #[schema(value_type = Option<Vec<String>>, nullable = false, max_items = 10)]
    pub files: Option<Vec<FileRef>>,
    /// Your key for exact retries: the same key and request give the same task instead of a second one.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the end of the task before answering, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// A change of a task. Name at least one field.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"priority": "high"}))]
pub struct UpdateTask {
    /// `cancelled` stops the task; the other statuses are set by the gateway itself.
    #[schema(nullable = false)]
    pub status: Option<TaskStatus>,
    /// How urgent it is.
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// A short name, at most 200 characters.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// How long to wait for a cancelled task to end.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"wait_seconds": 10}))]
pub struct CancelTask {
    /// Seconds to wait for the agent to stop, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

impl CreateTask {
    /// The task asked for and the seconds to wait, or every reason why not. `swarm`: the one whose members are to do it.
    pub(super) async fn validate(
        self,
        who: &Principal,
        settings: &AppSettings,
        swarm: Option<&Swarm>,
    ) -> Result<(Task, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        refusals.text("description", &self.description, DESCRIPTION_CHARS);
        if let Some(title) = &self.title {
            refusals.line("title", title, TITLE_CHARS);
        }
        let request_hash = self.hash();
        let limits = refusals.limits(&LimitFields {
            budget_tokens: self.budget_tokens,
            idle_timeout_seconds: self.idle_timeout_seconds,
            max_output_bytes: self.max_output_bytes,
            max_memory_bytes: self.max_memory_bytes,
            max_processes: self.max_processes,
        });
        let agent_type = refusals.role("agent_type", self.agent_type, settings);
        if let Some(swarm) = swarm {
            let settled = |what: &str| format!("the swarm's agents have {what} of their own; leave it out");
            let fits = self.project.as_ref().is_none_or(|project| *project == swarm.project);
            refusals.check(fits, "project", || format!("the swarm works in `{}`; leave it out", swarm.project));
            refusals.check(self.model.is_none(), "model", || settled("models"));
            refusals.check(self.backend.is_none(), "backend", || settled("CLIs"));
        }
        let project = swarm.map(|swarm| swarm.project.clone()).or(self.project).unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.project(&project, settings);
        let backend = refusals.backend("backend", self.backend, agent_type, settings);
        if let Some(model) = &self.model {
            refusals.model("model", model, &settings.models);
        }
        let timeout = refusals.within("timeout_seconds", self.timeout_seconds, 1..=TIMEOUT_SECONDS.into());
        refusals.budget_usd(self.budget_usd);
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        if let Some(schema) = &self.output_schema
            && let Err(problem) = check_output_schema(schema).await
        {
            refusals.check(false, "output_schema", || problem);
        }
        refusals.finish()?;
        let task = Task {
            key_id: Some(who.key_id),
            title: self.title.unwrap_or_else(|| title_of(&self.description)),
            description: self.description,
            project,
            model: self.model.or_else(|| settings.roles.get().model_of(agent_type)).filter(|_| swarm.is_none()),
            priority: self.priority.unwrap_or(Priority::Normal),
            budget_usd: self.budget_usd,
            limits,
            swarm_id: self.swarm_id,
            backend,
            on_lost: self.on_lost.unwrap_or(OnLost::Resume),
            output_schema: self.output_schema.or_else(|| settings.roles.get().get(agent_type)?.output_schema.clone()),
            idempotency_key: self.idempotency_key,
            request_hash,
            ..Task::new(
                swarm.map_or(&who.user, |swarm| &swarm.owner).clone(),
                agent_type,
                timeout.unwrap_or(settings.task_timeout_seconds),
                settings.provenance,
                now(),
            )
        };
        Ok((task, wait))
    }
}

impl CreateTask {
    /// How long the caller waits is not part of the work.
    fn hash(&self) -> String {
        let mut asked = serde_json::json!([
            self.title,
            self.description,
            self.agent_type,
            self.project,
            self.model,
            self.priority,
            self.timeout_seconds,
            self.budget_usd,
            self.budget_tokens,
            self.idle_timeout_seconds,
            self.max_output_bytes,
            self.max_memory_bytes,
            self.max_processes,
            self.on_lost,
            self.output_schema,
            self.files.iter().flatten().map(FileRef::identity).collect::<Vec<_>>(),
        ]);
        // Requests that name none hash as they did before there was a choice.
        if let (Some(backend), Some(fields)) = (self.backend, asked.as_array_mut()) {
            fields.push(backend.as_str().into());
        }
        if let (Some(swarm), Some(fields)) = (self.swarm_id, asked.as_array_mut()) {
            fields.push(serde_json::json!({"swarm_id": swarm}));
        }
        request_hash(&asked)
    }
}

impl UpdateTask {
    /// Refuses changes that are empty or out of bounds.
    pub(super) fn validate(&self) -> Result<(), AppError> {
        let mut refusals = Refusals::default();
        let empty = self.status.is_none() && self.priority.is_none() && self.title.is_none();
        refusals.check(!empty, "", || "nothing to change; name at least one of status, priority, title".into());
        if let Some(title) = &self.title {
            refusals.line("title", title, TITLE_CHARS);
        }
        refusals.finish()
    }
}

/// The first line with something on it, cut to the length of a title.
pub(in crate::app) fn title_of(description: &str) -> String {
    let line = description.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|char| !char.is_control()).collect();
    if line.is_empty() { "task".to_owned() } else { crate::app::size::excerpt(&line, TITLE_CHARS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::testing::{principal, settings};
    use crate::model::key::Scope;

    async fn refused(request: CreateTask) -> Vec<String> {
        match request.validate(&principal("ann", &[Scope::Operate]), &settings(), None).await {
            Err(AppError::Validation(fields)) => {
                fields.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn request() -> CreateTask {
        CreateTask { description: "\n  Fix the door\nof the shop".into(), ..CreateTask::default() }
    }

    #[tokio::test]
    async fn defaults_fill_what_is_left_out() {
        let (task, wait) = request().validate(&principal("ann", &[Scope::Operate]), &settings(), None).await.expect("valid");
        assert_eq!((task.title.as_str(), task.project.as_str(), wait), ("Fix the door", "default", 0));
        assert_eq!((task.agent_type, task.priority, task.timeout_seconds), (AgentType::CODER, Priority::Normal, 3600));
        assert_eq!(task.owner, "ann");
    }

    #[tokio::test]
    async fn every_bad_field_is_named_at_once() {
        let fields = refused(CreateTask {
            title: Some("two\nlines".into()),
            description: "  ".into(),
            project: Some("nowhere".into()),
            model: Some("gpt-9".into()),
            timeout_seconds: Some(0),
            budget_usd: Some(-1.0),
            idempotency_key: Some(String::new()),
            wait_seconds: Some(41),
            output_schema: Some(serde_json::json!([])),
            ..request()
        })
        .await;
        for name in [
            "title",
            "description",
            "project",
            "model",
            "timeout_seconds",
            "budget_usd",
            "idempotency_key",
            "wait_seconds",
            "output_schema",
        ] {
            assert!(fields.iter().any(|field| field.starts_with(&format!("{name}: "))), "{name} is missing in {fields:?}");
        }
        assert!(fields.iter().any(|field| field.contains("default, shop")), "{fields:?}");
        assert!(fields.iter().any(|field| field.contains("claude-*")), "{fields:?}");
    }

    #[tokio::test]
    async fn sizes_and_nul_characters_are_refused() {
        let long = "x".repeat(DESCRIPTION_CHARS + 1);
        assert!(refused(CreateTask { description: long, ..request() }).await[0].contains("60001"));
        assert!(refused(CreateTask { description: "a\0b".into(), ..request() }).await[0].contains("NUL"));
        assert!(refused(CreateTask { model: Some("claude-\0".into()), ..request() }).await[0].contains("NUL"));
        for usd in [0.0, 1000.1, f64::NAN, f64::INFINITY] {
            assert_eq!(refused(CreateTask { budget_usd: Some(usd), ..request() }).await.len(), 1, "{usd}");
        }
    }

    #[test]
    fn empty_changes_are_refused() {
        assert!(UpdateTask::default().validate().is_err());
        assert!(UpdateTask { title: Some(" ".into()), ..UpdateTask::default() }.validate().is_err());
        assert!(UpdateTask { priority: Some(Priority::Low), ..UpdateTask::default() }.validate().is_ok());
    }
}
