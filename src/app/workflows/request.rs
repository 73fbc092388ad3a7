//! What callers send about workflows.

use crate::{
    app::{
        AppSettings,
        checks::{Refusals, request_hash, whole_number},
        error::AppError,
        now,
        tasks::title_of,
        wait::wait_seconds,
    },
    model::{
        id::{SwarmId, WorkflowRunId},
        key::Principal,
        limits::{IDEMPOTENCY_KEY_CHARS, TIMEOUT_SECONDS, TITLE_CHARS},
        project::DEFAULT_PROJECT,
        workflow::{
            Workflow,
            run::{Answer, RunInput, WorkflowRun, WorkflowRunStatus},
        },
    },
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

/// A run to begin.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"task": "Add rate limiting to the public API of the shop.", "project": "default", "wait_seconds": 0, "idempotency_key": "rate-limit-1"}))]
pub struct RunWorkflow {
    /// What is to be done, at most 12,000 characters. Every agent of the run is told it.
    #[schema(min_length = 1, max_length = 12000)]
    pub task: String,
    /// A short name, one line. Left out: the beginning of the task.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub title: Option<String>,
    /// The project the agents work in. They share one workspace. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// Values of the workflow's inputs as text that holds a JSON object, such as `{"max_parts": 3}`. `list_workflows` names them.
    #[schema(nullable = false, min_length = 2, max_length = 20000)]
    pub inputs_json: Option<String>,
    /// Seconds each turn may take, unless its stage says otherwise. Left out: the gateway's default.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub turn_timeout_seconds: Option<i64>,
    /// US dollars each turn may cost, more than 0 and at most 1000.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub turn_budget_usd: Option<f64>,
    /// Your key for exact retries: the same key and request are one run.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the end, 0 to 40. Runs take minutes: 0 and `get_workflow_run` are mostly right. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

/// How to look at a run.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetWorkflowRun {
    /// Seconds to wait until it has ended or waits for an answer, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WorkflowRunQuery {
    /// Only runs that stand here.
    #[param(nullable = false, inline)]
    pub status: Option<WorkflowRunStatus>,
    /// Only runs of this workflow.
    #[param(nullable = false)]
    pub workflow: Option<String>,
    /// Only runs of this swarm.
    #[param(nullable = false, inline)]
    pub swarm_id: Option<SwarmId>,
    /// Most runs to give, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, inline)]
    pub cursor: Option<WorkflowRunId>,
}

/// How to stop a run.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"wait_seconds": 10}))]
pub struct CancelWorkflowRun {
    /// Seconds to wait until it has stopped, 0 to 40. Left out: 10.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// An answer to what a run waits for.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"question": "implementation:review-3", "answer": "accept", "wait_seconds": 0}))]
pub struct AnswerWorkflowRun {
    /// The question's id, from `waits_for` of the run.
    #[schema(min_length = 1, max_length = 300)]
    pub question: String,
    /// One of the question's options.
    pub answer: Answer,
    /// Seconds to wait until the run has ended or waits again, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// Longest task of a run, in characters: every agent is told all of it.
const TASK_CHARS: usize = 12_000;

impl RunWorkflow {
    /// The run asked for and the seconds to wait, or every reason why not.
    pub(in crate::app) fn validate(
        self,
        who: &Principal,
        settings: &AppSettings,
        workflow: &Workflow,
    ) -> Result<(WorkflowRun, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        let asked = serde_json::json!([
            "run_workflow",
            workflow.name,
            self.task,
            self.title,
            self.project,
            self.inputs_json,
            self.turn_timeout_seconds,
            self.turn_budget_usd,
        ]);
        refusals.text("task", &self.task, TASK_CHARS);
        if let Some(title) = &self.title {
            refusals.line("title", title, TITLE_CHARS);
        }
        let project = self.project.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.project(&project, settings);
        let given = match self.inputs_json.as_deref().map(serde_json::from_str::<Value>) {
            None => Map::new(),
            Some(Ok(Value::Object(given))) => given,
            Some(Ok(_)) => {
                refusals.check(false, "inputs_json", || "must hold a JSON object".into());
                Map::new()
            }
            Some(Err(error)) => {
                refusals.check(false, "inputs_json", || format!("is not JSON: {error}"));
                Map::new()
            }
        };
        let values = inputs(workflow, given, &mut refusals);
        backends(workflow, settings, &mut refusals);
        let timeout = refusals.within("turn_timeout_seconds", self.turn_timeout_seconds, 1..=TIMEOUT_SECONDS.into());
        refusals.check(self.turn_budget_usd.is_none_or(|usd| usd > 0.0 && usd <= 1_000.0), "turn_budget_usd", || {
            "must be more than 0 and at most 1000".into()
        });
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        refusals.finish()?;
        let now = now();
        let run = WorkflowRun {
            id: WorkflowRunId::generate(),
            owner: who.user.clone(),
            key_id: Some(who.key_id),
            workflow: workflow.name.clone(),
            title: self.title.unwrap_or_else(|| title_of(&self.task)),
            definition: workflow.clone(),
            input: RunInput {
                task: self.task,
                values,
                timeout_seconds: timeout.unwrap_or(settings.task_timeout_seconds),
                turn_budget_usd: self.turn_budget_usd,
            },
            project,
            swarm_id: None,
            status: WorkflowRunStatus::Running,
            generation: 0,
            cancel_requested: false,
            result: None,
            failure: None,
            idempotency_key: self.idempotency_key,
            request_hash: request_hash(&asked),
            provenance: settings.provenance,
            traceparent: crate::trace::current(),
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        Ok((run, wait))
    }
}

/// Refuses a workflow with a stage whose CLI is not set up.
fn backends(workflow: &Workflow, settings: &AppSettings, refusals: &mut Refusals) {
    for stage in workflow.stages.iter().flat_map(|stage| stage.walk()) {
        for (role, asked) in [(stage.role.as_ref(), stage.backend), (stage.review.as_ref().map(|review| &review.role), None)] {
            let Some(role) = role.and_then(|role| role.parse().ok()) else { continue };
            let before = refusals.0.len();
            refusals.backend("backend", asked, role, settings);
            for refusal in &mut refusals.0[before..] {
                refusal.message = format!("of stage `{}`: {}", stage.name, refusal.message);
            }
        }
    }
}

/// The values of a workflow's inputs: given, or their defaults.
fn inputs(workflow: &Workflow, mut given: Map<String, Value>, refusals: &mut Refusals) -> Map<String, Value> {
    for name in given.keys().filter(|name| !workflow.inputs.contains_key(*name)) {
        let known: Vec<&str> = workflow.inputs.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) };
        refusals.check(false, "inputs_json", || format!("`{name}` is no input of `{}`; {known}", workflow.name));
    }
    let mut values = Map::new();
    for (name, field) in &workflow.inputs {
        match given.remove(name).map(|value| field.accept(value)) {
            Some(Ok(value)) => drop(values.insert(name.clone(), value)),
            Some(Err(why)) => refusals.check(false, "inputs_json", || {
                format!("`{name}` takes {}, but {why}. It is: {}", field.takes(), field.description)
            }),
            None => match &field.default {
                Some(default) => drop(values.insert(name.clone(), default.clone())),
                None => refusals.check(false, "inputs_json", || {
                    format!("`{name}` is missing; it takes {}. It is: {}", field.takes(), field.description)
                }),
            },
        }
    }
    values
}
