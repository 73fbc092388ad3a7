//! SPARC: the workflow `sparc` under its own name.

use super::{
    App,
    checks::{Refusals, whole_number},
    error::{AppError, Missing},
    workflows::{GetWorkflowRun, RunWorkflow, StartedRun, WorkflowRunResource},
};
use crate::model::{id::WorkflowRunId, key::Principal, workflow::sparc::SparcPhase};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The workflow behind it.
const WORKFLOW: &str = "sparc";
/// Longest mode, in characters.
const MODE_CHARS: usize = 100;

/// A SPARC run to begin.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"task": "A checkout for the shop with two payment methods.", "phases": ["specification", "architecture"], "idempotency_key": "checkout-1"}))]
pub struct RunSparc {
    /// What is to be built, at most 12,000 characters.
    #[schema(min_length = 1, max_length = 12000)]
    pub task: String,
    /// Which phases to work on, each once; their order is fixed. Left out: all five.
    #[schema(nullable = false, min_items = 1, max_items = 5)]
    pub phases: Option<Vec<SparcPhase>>,
    /// The project the agents work in. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// What the work leans towards, such as api, ui or library, at most 100 characters. Left out: development.
    #[schema(nullable = false, min_length = 1, max_length = 100)]
    pub mode: Option<String>,
    /// Seconds each turn may take. Left out: the gateway's default.
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    #[serde(default, deserialize_with = "whole_number")]
    pub turn_timeout_seconds: Option<i64>,
    /// US dollars each turn may cost, more than 0 and at most 1000.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub turn_budget_usd: Option<f64>,
    /// Your key for exact retries: the same key and request are one run.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the end, 0 to 40. Left out: 0.
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    #[serde(default, deserialize_with = "whole_number")]
    pub wait_seconds: Option<i64>,
}

impl App {
    /// Begins a run of SPARC.
    pub async fn run_sparc(&self, who: &Principal, request: RunSparc) -> Result<StartedRun, AppError> {
        let mut refusals = Refusals::default();
        if let Some(mode) = &request.mode {
            refusals.line("mode", mode, MODE_CHARS);
        }
        if let Some(phases) = &request.phases {
            let known: Vec<&str> = SparcPhase::ALL.iter().map(|phase| phase.as_str()).collect();
            refusals.check(!phases.is_empty(), "phases", || format!("is empty; name some of: {}", known.join(", ")));
            let twice = phases.iter().enumerate().find(|(place, phase)| phases[..*place].contains(phase));
            refusals.check(twice.is_none(), "phases", || "names a phase twice; each is worked on once".into());
        }
        refusals.finish()?;
        let mut inputs = Map::new();
        if let Some(phases) = request.phases {
            inputs.insert("phases".into(), serde_json::json!(phases));
        }
        if let Some(mode) = request.mode {
            inputs.insert("mode".into(), mode.into());
        }
        let run = RunWorkflow {
            task: request.task,
            title: None,
            project: request.project,
            inputs_json: (!inputs.is_empty()).then(|| Value::Object(inputs).to_string()),
            turn_timeout_seconds: request.turn_timeout_seconds,
            turn_budget_usd: request.turn_budget_usd,
            idempotency_key: request.idempotency_key,
            wait_seconds: request.wait_seconds,
        };
        self.run_workflow(who, WORKFLOW, run).await.map_err(in_own_fields)
    }

    /// A run of SPARC.
    pub async fn get_sparc(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        how: GetWorkflowRun,
    ) -> Result<WorkflowRunResource, AppError> {
        let run = self.find_run(who, id).await?;
        if run.workflow != WORKFLOW {
            let words = format!("{id} is a run of the workflow `{}`, not of SPARC; use get_workflow_run", run.workflow);
            return Err(AppError::NotFound(Missing::Run, words));
        }
        self.get_workflow_run(who, id, how).await
    }
}

/// Errors about the workflow's inputs, which a user's own `sparc` may have others of, as errors of the fields they came from.
fn in_own_fields(error: AppError) -> AppError {
    let AppError::Validation(mut fields) = error else { return error };
    for refused in fields.iter_mut().filter(|refused| refused.field == "inputs_json") {
        let own = ["phases", "mode"].into_iter().find(|name| refused.message.starts_with(&format!("`{name}`")));
        refused.field = own.unwrap_or_default().to_owned();
        if own.is_none() {
            refused.message += " (run_workflow with the workflow `sparc` takes inputs)";
        }
    }
    AppError::Validation(fields)
}
