//! What callers send about tasks, and the checks it must pass.

use super::schema::check_output_schema;
use crate::{
    app::{
        AppSettings,
        error::{AppError, FieldError},
        now,
        wait::wait_seconds,
    },
    model::{
        agent::AgentType,
        id::TaskId,
        key::Principal,
        limits::{BUDGET_USD, DESCRIPTION_CHARS, IDEMPOTENCY_KEY_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
        pattern::any_matches,
        project::DEFAULT_PROJECT,
        task::{OnLost, Priority, Task, TaskStatus},
    },
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
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
    /// The role of the agent. Left out: coder.
    #[schema(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// The project to work in. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// The model, from the gateway's allow-list. Left out: the configured default.
    #[schema(nullable = false, min_length = 1)]
    pub model: Option<String>,
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
    /// What to do when the agent's process is lost, as in a reboot. Left out: resume.
    #[schema(nullable = false)]
    pub on_lost: Option<OnLost>,
    /// JSON Schema (root type `object`, at most 20 kB) of a structured answer.
    #[schema(value_type = Option<Object>, nullable = false)]
    pub output_schema: Option<Value>,
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
}

/// Collects refusals, so that one answer names all of them.
#[derive(Default)]
struct Refusals(Vec<FieldError>);

impl Refusals {
    fn check(&mut self, ok: bool, field: &str, message: impl FnOnce() -> String) {
        if !ok {
            self.0.push(FieldError::new(field, message()));
        }
    }

    fn text(&mut self, field: &str, text: &str, limit: usize) {
        let chars = text.chars().count();
        self.check(!text.trim().is_empty(), field, || "must not be blank".into());
        self.check(chars <= limit, field, || format!("has {chars} characters; at most {limit} are allowed"));
        self.no_nul(field, text);
    }

    fn no_nul(&mut self, field: &str, text: &str) {
        self.check(!text.contains('\0'), field, || "contains a NUL character; remove it".into());
    }

    fn title(&mut self, title: &str) {
        self.text("title", title, TITLE_CHARS);
        self.check(!title.contains(['\n', '\r']), "title", || "must be one line".into());
    }

    fn finish(self) -> Result<(), AppError> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError::Validation(self.0)) }
    }
}

/// Refuses filters a database could not even be asked about.
pub(in crate::app) fn check_filter(field: &str, text: Option<&str>) -> Result<(), AppError> {
    let mut refusals = Refusals::default();
    refusals.no_nul(field, text.unwrap_or_default());
    refusals.finish()
}

impl CreateTask {
    /// The task asked for and the seconds to wait, or every reason why not.
    pub(super) async fn validate(self, who: &Principal, settings: &AppSettings) -> Result<(Task, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = wait_seconds(self.wait_seconds, 0);
        if let Err(AppError::Validation(fields)) = &wait {
            refusals.0.extend(fields.iter().cloned());
        }
        refusals.text("description", &self.description, DESCRIPTION_CHARS);
        if let Some(title) = &self.title {
            refusals.title(title);
        }
        let request_hash = request_hash(&self);
        let project = self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.check(settings.projects.contains_key(&project), "project", || {
            let known = settings.projects.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("there is no such project; use one of: {known}")
        });
        if let Some(model) = &self.model {
            refusals.check(any_matches(&settings.models, model), "model", || {
                format!("is not allowed; use one of: {} (a trailing * stands for any ending)", settings.models.join(", "))
            });
            refusals.no_nul("model", model);
            refusals.check(model.chars().count() <= TITLE_CHARS, "model", || format!("has more than {TITLE_CHARS} characters"));
        }
        let timeout = match self.timeout_seconds {
            None => Some(settings.task_timeout_seconds),
            Some(seconds) => u32::try_from(seconds).ok().filter(|seconds| (1..=TIMEOUT_SECONDS).contains(seconds)),
        };
        refusals.check(timeout.is_some(), "timeout_seconds", || format!("is outside 1..={TIMEOUT_SECONDS}"));
        refusals.check(self.budget_usd.is_none_or(|usd| usd > 0.0 && usd <= BUDGET_USD), "budget_usd", || {
            format!("must be more than 0 and at most {BUDGET_USD}")
        });
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        if let Some(schema) = &self.output_schema
            && let Err(problem) = check_output_schema(schema).await
        {
            refusals.check(false, "output_schema", || problem);
        }
        refusals.finish()?;
        let now = now();
        let task = Task {
            id: TaskId::generate(),
            owner: who.user.clone(),
            title: self.title.unwrap_or_else(|| title_of(&self.description)),
            description: self.description,
            agent_type: self.agent_type.unwrap_or(AgentType::Coder),
            project,
            model: self.model.or_else(|| settings.default_model.clone()),
            priority: self.priority.unwrap_or(Priority::Normal),
            timeout_seconds: timeout.unwrap_or(settings.task_timeout_seconds),
            budget_usd: self.budget_usd,
            on_lost: self.on_lost.unwrap_or(OnLost::Resume),
            output_schema: self.output_schema,
            idempotency_key: self.idempotency_key,
            request_hash,
            status: TaskStatus::Created,
            generation: 0,
            cancel_requested: false,
            agent_id: None,
            run_id: None,
            failure: None,
            provenance: settings.provenance,
            created_at: now,
            updated_at: now,
            started_at: None,
            ended_at: None,
        };
        Ok((task, wait?))
    }
}

impl UpdateTask {
    /// Refuses changes that are empty or out of bounds.
    pub(super) fn validate(&self) -> Result<(), AppError> {
        let mut refusals = Refusals::default();
        let empty = self.status.is_none() && self.priority.is_none() && self.title.is_none();
        refusals.check(!empty, "", || "nothing to change; name at least one of status, priority, title".into());
        if let Some(title) = &self.title {
            refusals.title(title);
        }
        refusals.finish()
    }
}

/// SHA-256 of what was asked for, in hexadecimal. How long the caller waits is not part of the work.
fn request_hash(request: &CreateTask) -> String {
    let asked = serde_json::json!([
        request.title,
        request.description,
        request.agent_type,
        request.project,
        request.model,
        request.priority,
        request.timeout_seconds,
        request.budget_usd,
        request.on_lost,
        request.output_schema,
    ]);
    crate::app::keys::hexadecimal(&Sha256::digest(asked.to_string()))
}

/// JSON knows one kind of number, and models write `20.0` when they mean 20.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e15);
    #[expect(clippy::cast_possible_truncation, reason = "whole and in range")]
    let converted = number.as_i64().or_else(|| whole.map(|value| value as i64));
    converted.map(Some).ok_or_else(|| serde::de::Error::custom(format!("{number} is not a whole number")))
}

/// The first line with something on it, cut to the length of a title.
fn title_of(description: &str) -> String {
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
        match request.validate(&principal("ann", &[Scope::Operate]), &settings()).await {
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
        let (task, wait) = request().validate(&principal("ann", &[Scope::Operate]), &settings()).await.expect("valid");
        assert_eq!((task.title.as_str(), task.project.as_str(), wait), ("Fix the door", "default", 0));
        assert_eq!((task.agent_type, task.priority, task.timeout_seconds), (AgentType::Coder, Priority::Normal, 3600));
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
