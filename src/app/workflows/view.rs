//! Workflows and runs as callers see them.

use crate::{
    app::size::excerpt,
    model::{
        id::{SwarmId, TaskId, WorkflowRunId},
        run::{Failure, Provenance},
        workflow::{
            ReviewVerdict, Workflow,
            file::{self, DefinitionSource},
            plan::{Plan, RunState, StageState, StageView, doubts, end_stages},
            run::{Answer, Record, WorkflowRun, WorkflowRunStatus},
        },
    },
    store::AgentUsage,
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Characters of a stage's output in a run; its task has the whole.
const OUTPUT_CHARS: usize = 1_500;
/// Most stages shown; items and iterations count.
const STAGES_SHOWN: usize = 150;
/// Most stages named whose outcome is not verified, and characters said of each.
const DOUBTS_SHOWN: usize = 5;
const DOUBT_CHARS: usize = 300;
/// Most problems of files in an answer.
const PROBLEMS_SHOWN: usize = 20;

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkflowResource {
    /// Its name, for `run_workflow`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Where it comes from: the program, or a file of the data directory.
    pub source: DefinitionSource,
    /// Its stages, in order.
    pub stages: Vec<String>,
    /// Types of agents that work on it.
    pub roles: Vec<String>,
    /// What a run may be given besides its task.
    pub inputs: Vec<WorkflowInput>,
}

/// An input of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WorkflowInput {
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it takes, in words.
    pub takes: String,
    /// What it is when it is left out, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub default: Option<String>,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// What is wrong, with the line where that is known.
    pub problem: String,
}

/// The first of the files that cannot be used, as callers see them.
pub(in crate::app) fn file_problems(all: &[file::FileProblem]) -> Vec<FileProblem> {
    let shown = all.iter().take(PROBLEMS_SHOWN);
    shown.map(|it| FileProblem { file: it.file.clone(), problem: excerpt(&it.flaw.to_string(), 300) }).collect()
}

impl WorkflowResource {
    pub(super) fn new(workflow: &Workflow, source: DefinitionSource) -> Self {
        let all = workflow.stages.iter().flat_map(|stage| stage.walk());
        let roles: BTreeSet<String> = all.filter_map(|stage| stage.role.clone()).collect();
        let inputs = workflow.inputs.iter().map(|(name, field)| WorkflowInput {
            name: name.clone(),
            description: field.description.clone(),
            required: field.default.is_none(),
            takes: field.takes(),
            default: field.default.as_ref().map(ToString::to_string),
        });
        Self {
            name: workflow.name.clone(),
            description: workflow.description.clone(),
            source,
            stages: workflow.stages.iter().map(|stage| stage.name.clone()).collect(),
            roles: roles.into_iter().collect(),
            inputs: inputs.collect(),
        }
    }
}

/// The workflows there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"workflows": [{"name": "code_development", "description": "One feature, designed, implemented, reviewed and documented.", "source": "shipped", "stages": ["architecture", "implementation", "documentation"], "roles": ["architect", "coder", "documenter"], "inputs": []}], "problems": []}))]
pub struct WorkflowList {
    /// The workflows.
    pub workflows: Vec<WorkflowResource>,
    /// Files of the data directory that cannot be used, and why.
    pub problems: Vec<FileProblem>,
}

/// A stage of a run: as a whole, for one item (`[n]`), or for one iteration (`~n`).
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct StageResource {
    /// Names with `/` between.
    pub path: String,
    /// Type of the agent that works on it; absent for groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub role: Option<String>,
    /// Where it stands.
    pub status: StageState,
    /// The latest verdict of its review.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verdict: Option<ReviewVerdict>,
    /// What the latest review asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub issues: Vec<String>,
    /// How often it was revised.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    pub revisions: u32,
    /// The tasks of its turns, in order, for `get_task`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub task_ids: Vec<TaskId>,
    /// The beginning of what came of it: text, or its structured output as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub output: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<Failure>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Something a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuestionResource {
    /// Names it in `answer_workflow_run`.
    pub id: String,
    /// The stage it is about.
    pub stage: String,
    /// What it is about.
    pub question: String,
    /// The possible answers.
    pub options: Vec<Answer>,
}

/// A run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "wfrun_0193f2a87c3e7d10b5a1c2d3e4f50617", "workflow": "code_development", "title": "Rate limiting", "task": "Add rate limiting to the public API.", "project": "default", "status": "running", "stages": [{"path": "architecture", "role": "architect", "status": "complete", "verdict": "APPROVED", "task_ids": ["task_0193f2a87c3e7d10b5a1c2d3e4f50617"], "output": "{\"design\":\"A token bucket per key.\"}"}, {"path": "implementation", "role": "coder", "status": "running"}], "waits_for": [], "turns": 3, "cost_usd": 0.12, "files": [], "provenance": "live", "created_at": "2026-11-20T10:00:00Z", "updated_at": "2026-11-20T10:04:00Z", "next_step": "Agents work. Call get_workflow_run with wait_seconds=40."}))]
pub struct WorkflowRunResource {
    /// The run's id.
    pub id: WorkflowRunId,
    /// Name of the workflow.
    pub workflow: String,
    /// A short name.
    pub title: String,
    /// What is to be done.
    pub task: String,
    /// The project the agents work in.
    pub project: String,
    /// The swarm that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub swarm_id: Option<SwarmId>,
    /// Where it stands.
    pub status: WorkflowRunStatus,
    /// Its stages with their items and iterations. Empty in lists and in the status of a swarm.
    pub stages: Vec<StageResource>,
    /// What it waits for. Empty in lists and in the status of a swarm.
    pub waits_for: Vec<QuestionResource>,
    /// What came of it: text, or the last stage's structured output as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub result: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failure: Option<Failure>,
    /// Turns of agents so far. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub turns: Option<i64>,
    /// US dollars of its turns, by the agent CLI's price table; absent while it reported none. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::app::money::usd")]
    #[schema(nullable = false)]
    pub cost_usd: Option<f64>,
    /// Tokens of its turns, as the agent CLI reported them. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<i64>,
    /// Names of the files it left, for `read_workflow_run_file`. Empty in lists and in the status of a swarm.
    pub files: Vec<String>,
    /// Whether a real model or the rehearsal model answers.
    pub provenance: Provenance,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Last change.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ended_at: Option<DateTime<Utc>>,
    /// What to do next, in words.
    pub next_step: String,
}

/// A page of runs.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"runs": []}))]
pub struct WorkflowRunPage {
    /// The runs, newest first.
    pub runs: Vec<WorkflowRunResource>,
    /// The cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<WorkflowRunId>,
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What to do with the outcome of a run that was completed.
fn outcome_words(stages: &[StageView]) -> String {
    if !stages.is_empty() && stages.iter().all(|stage| stage.state == StageState::Skipped) {
        return "Nothing was done: the conditions of all stages were false. Tell the user, and look at the inputs it was begun \
                with."
            .into();
    }
    let doubts = doubts(stages);
    if doubts.is_empty() {
        return "Report the result.".into();
    }
    let mut named: Vec<String> = doubts.iter().take(DOUBTS_SHOWN).map(|doubt| excerpt(doubt, DOUBT_CHARS)).collect();
    if doubts.len() > named.len() {
        named.push(format!("and {} more", doubts.len() - named.len()));
    }
    format!("Report the result, and say plainly that it is not verified: stage {}.", named.join("; "))
}

/// `stages`: where they stand; none where they are not known, as in lists.
fn next_step(run: &WorkflowRun, questions: &[QuestionResource], stages: Option<&[StageView]>) -> String {
    match run.status {
        WorkflowRunStatus::Running if run.cancel_requested => {
            "It is being stopped. Call get_workflow_run with wait_seconds=10.".into()
        }
        WorkflowRunStatus::Running => "Agents work. Call get_workflow_run with wait_seconds=40 until it has ended.".into(),
        WorkflowRunStatus::Waiting if stages.is_none() => {
            "Call get_workflow_run with its id: it shows what it asks, and the possible answers.".into()
        }
        WorkflowRunStatus::Waiting => {
            let open: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
            format!(
                "Ask the user about waits_for, then call answer_workflow_run with one of the options for: {}.",
                open.join(", ")
            )
        }
        WorkflowRunStatus::Complete => stages.map_or_else(
            || "Call get_workflow_run with its id: it shows the result, whether the stages are verified, and the files.".into(),
            |stages| {
                format!(
                    "{} Details are in the stages' tasks (get_task) and the files (read_workflow_run_file).",
                    outcome_words(stages)
                )
            },
        ),
        WorkflowRunStatus::Failed if stages.is_none() => {
            "Tell the user why (failure). Call get_workflow_run with its id for the stage that failed.".into()
        }
        WorkflowRunStatus::Failed => {
            "Tell the user why (failure, and the stage that failed), then begin a new run if wanted.".into()
        }
        WorkflowRunStatus::Cancelled => "It was stopped. Begin a new run if wanted.".into(),
    }
}

fn flatten(stages: &[StageView], record: &Record, into: &mut Vec<StageResource>) {
    for stage in stages {
        if into.len() >= STAGES_SHOWN {
            return;
        }
        into.push(StageResource {
            path: stage.path.clone(),
            role: stage.role.clone(),
            status: stage.state,
            verdict: stage.verdict,
            issues: stage.issues.clone(),
            revisions: stage.revisions,
            task_ids: stage.turns.iter().filter_map(|key| record.tasks.get(key).copied()).collect(),
            output: stage.output.as_ref().map(|output| excerpt(&as_text(output), OUTPUT_CHARS)),
            failure: stage.failure.clone(),
        });
        flatten(&stage.children, record, into);
    }
}

impl WorkflowRunResource {
    /// A run as lists show it.
    pub(in crate::app) fn brief(run: WorkflowRun) -> Self {
        let next_step = next_step(&run, &[], None);
        Self {
            id: run.id,
            workflow: run.workflow,
            title: run.title,
            task: excerpt(&run.input.task, 300),
            project: run.project,
            swarm_id: run.swarm_id,
            status: run.status,
            stages: Vec::new(),
            waits_for: Vec::new(),
            result: run.result.as_ref().map(|result| excerpt(&as_text(result), 300)),
            failure: run.failure,
            turns: None,
            cost_usd: None,
            tokens: None,
            files: Vec::new(),
            provenance: run.provenance,
            created_at: run.created_at,
            updated_at: run.updated_at,
            ended_at: run.ended_at,
            next_step,
        }
    }

    /// A run as the status of its swarm shows it: as in lists, but it says what to do with its outcome.
    pub(in crate::app) fn latest(run: WorkflowRun, record: &Record) -> Self {
        if run.status != WorkflowRunStatus::Complete {
            return Self::brief(run);
        }
        let outcome = outcome_words(&record.plan(&run).stages);
        let next_step = format!("{outcome} Call get_workflow_run with its id for the whole result, the stages and the files.");
        Self { next_step, ..Self::brief(run) }
    }

    /// A run with all there is to say about it.
    pub(super) fn of(run: WorkflowRun, record: &Record, usage: AgentUsage, files: Vec<String>) -> Self {
        let Plan { state, stages: mut views, .. } = record.plan(&run);
        if run.status.is_terminal() {
            end_stages(&mut views);
        }
        let mut stages = Vec::new();
        flatten(&views, record, &mut stages);
        let mut waits_for = Vec::new();
        if let RunState::Waiting(questions) = state
            && run.status == WorkflowRunStatus::Waiting
        {
            waits_for.extend(questions.into_iter().map(|question| QuestionResource {
                id: question.id,
                stage: question.stage,
                question: question.words,
                options: question.options,
            }));
        }
        let (next_step, result, task) =
            (next_step(&run, &waits_for, Some(&views)), run.result.as_ref().map(as_text), run.input.task.clone());
        Self {
            stages,
            waits_for,
            result,
            task,
            turns: Some(usage.turns),
            cost_usd: usage.cost_usd,
            tokens: usage.tokens,
            files,
            next_step,
            ..Self::brief(run)
        }
    }
}
