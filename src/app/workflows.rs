//! Workflows and their runs.

mod files;
mod request;
mod view;

pub use files::{RunFile, RunFileQuery};
pub use request::{AnswerWorkflowRun, CancelWorkflowRun, GetWorkflowRun, RunWorkflow, WorkflowRunQuery};
pub(super) use view::file_problems;
pub use view::{
    FileProblem, QuestionResource, StageResource, WorkflowInput, WorkflowList, WorkflowResource, WorkflowRunPage,
    WorkflowRunResource,
};

use super::{
    App, detached,
    error::{AppError, Missing},
    now,
    tasks::page_limit,
    wait::wait_seconds,
};
use crate::{
    bus::Topic,
    model::{
        id::WorkflowRunId,
        key::Principal,
        limits::NAME_CHARS,
        swarm::SwarmStatus,
        workflow::{
            plan::RunState,
            run::{Change, Record, WorkflowRun, WorkflowRunStatus},
        },
    },
    store::{Advance, Advanced, Inserted, NewWork, WorkflowRunFilter},
};

/// Somebody else may change a run between our look and our write; so often we look again.
const ATTEMPTS: usize = 20;

/// What became of a request to begin a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedRun {
    /// The run.
    pub run: WorkflowRunResource,
    /// Whether it was begun now; `false` for a repeated `idempotency_key`.
    pub is_new: bool,
}

impl App {
    /// The workflows there are, and the files that could not be read.
    pub fn list_workflows(&self) -> WorkflowList {
        let catalogue = self.settings.workflows.get();
        let workflows = catalogue.iter().map(|(workflow, source)| WorkflowResource::new(workflow, source)).collect();
        WorkflowList { workflows, problems: file_problems(catalogue.problems()) }
    }

    /// Begins a run of a workflow, and waits as long as asked until it has ended or waits for an answer.
    pub async fn run_workflow(&self, who: &Principal, name: &str, request: RunWorkflow) -> Result<StartedRun, AppError> {
        let catalogue = self.settings.workflows.get();
        let Some(workflow) = catalogue.get(name) else {
            return Err(AppError::NotFound(Missing::Workflow, catalogue.why_not(&super::size::excerpt(name, NAME_CHARS))));
        };
        let (run, wait) = request.validate(who, &self.settings, workflow)?;
        self.begin_run(who, run, wait).await
    }

    /// Stores a run and waits for it.
    pub(super) async fn begin_run(&self, who: &Principal, run: WorkflowRun, wait: u32) -> Result<StartedRun, AppError> {
        let (app, quota) = (self.clone(), self.settings.quota(who));
        let (id, is_new) = detached(async move {
            match app.store.insert_workflow_run(&run, &quota).await? {
                Inserted::New => {
                    app.bus.notify(Topic::Orchestrate);
                    Ok((run.id, true))
                }
                Inserted::Existing(known) if known.request_hash == run.request_hash => Ok((known.id, false)),
                Inserted::Existing(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
                Inserted::AgentEnded => Err(match run.swarm_id {
                    Some(id) => AppError::SwarmEnded { id, status: SwarmStatus::Stopped },
                    None => AppError::Internal("a run without a swarm is for no agent".into()),
                }),
                Inserted::Refused(limit) => Err(AppError::LimitReached(limit)),
            }
        })
        .await?;
        Ok(StartedRun { run: self.run_when_settled(who, id, wait).await?, is_new })
    }

    pub(super) async fn run_when_settled(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        wait: u32,
    ) -> Result<WorkflowRunResource, AppError> {
        let mut waiter = self.waiter(Topic::WorkflowRun(id), wait);
        loop {
            let run = self.find_run(who, id).await?;
            if run.status != WorkflowRunStatus::Running || !waiter.changed().await {
                return self.run_resource(run).await;
            }
        }
    }

    /// The run, with waits until it has ended or waits for an answer.
    pub async fn get_workflow_run(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        how: GetWorkflowRun,
    ) -> Result<WorkflowRunResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, 0)?;
        self.run_when_settled(who, id, wait).await
    }

    /// A page of runs, newest first.
    pub async fn list_workflow_runs(&self, who: &Principal, query: &WorkflowRunQuery) -> Result<WorkflowRunPage, AppError> {
        let limit = page_limit(query.limit)?;
        super::checks::check_filter("workflow", query.workflow.as_deref())?;
        let filter = WorkflowRunFilter {
            owner: who.owner_filter(),
            status: query.status,
            workflow: query.workflow.as_deref(),
            swarm: query.swarm_id,
            before: query.cursor,
            limit: limit + 1,
        };
        let runs = self.store.list_workflow_runs(&filter).await?;
        let more = runs.len() > limit as usize;
        let mut items = Vec::with_capacity(runs.len());
        for run in runs.into_iter().take(limit as usize) {
            items.push(WorkflowRunResource::brief(run));
        }
        let (runs, cut) = super::size::take_within(items, self.settings.page_chars());
        let next_cursor = runs.last().map(|run| run.id).filter(|_| more || cut);
        Ok(WorkflowRunPage { runs, next_cursor })
    }

    /// Stops a run: its open turns are stopped, its own agents end.
    pub async fn cancel_workflow_run(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        how: CancelWorkflowRun,
    ) -> Result<WorkflowRunResource, AppError> {
        let wait = wait_seconds(how.wait_seconds, 10)?;
        let run = self.find_run(who, id).await?;
        if run.status.is_terminal() && run.status != WorkflowRunStatus::Cancelled {
            return Err(AppError::RunEnded { id: id.to_string(), status: run.status.to_string() });
        }
        let mut waiter = self.waiter(Topic::WorkflowRun(id), wait);
        let app = self.clone();
        detached(async move {
            app.store.request_run_cancel(id, now()).await?;
            app.bus.notify(Topic::WorkflowRun(id));
            Ok(())
        })
        .await?;
        loop {
            let run = self.find_run(who, id).await?;
            if run.status.is_terminal() || !waiter.changed().await {
                return self.run_resource(run).await;
            }
        }
    }

    /// Answers what a run waits for.
    pub async fn answer_workflow_run(
        &self,
        who: &Principal,
        id: WorkflowRunId,
        request: AnswerWorkflowRun,
    ) -> Result<WorkflowRunResource, AppError> {
        let wait = wait_seconds(request.wait_seconds, 0)?;
        let (app, caller) = (self.clone(), who.clone());
        detached(async move { app.store_answer(&caller, id, &request).await }).await?;
        self.run_when_settled(who, id, wait).await
    }

    async fn store_answer(&self, who: &Principal, id: WorkflowRunId, request: &AnswerWorkflowRun) -> Result<(), AppError> {
        for _ in 0..ATTEMPTS {
            let run = self.find_run(who, id).await?;
            let record = self.record(&run).await?;
            if record.answers.get(&request.question) == Some(&request.answer) {
                return Ok(());
            }
            if run.status.is_terminal() {
                return Err(AppError::RunEnded { id: id.to_string(), status: run.status.to_string() });
            }
            let RunState::Waiting(questions) = record.plan(&run).state else {
                return Err(AppError::field(
                    "question",
                    "the run waits for no answer right now; get_workflow_run shows what it does",
                ));
            };
            let Some(question) = questions.iter().find(|question| question.id == request.question) else {
                let open: Vec<&str> = questions.iter().map(|question| question.id.as_str()).collect();
                return Err(AppError::field("question", format!("is not open; open are: {}", open.join(", "))));
            };
            if !question.options.contains(&request.answer) {
                let words = format!("does not fit; use one of: {}", question.words_of_options().join(", "));
                return Err(AppError::field("answer", words));
            }
            let advance = Advance {
                id,
                generation: run.generation,
                status: WorkflowRunStatus::Running,
                result: None,
                failure: None,
                changes: vec![Change::Answered { question: request.question.clone(), answer: request.answer }],
                last_seq: record.last_seq,
                work: NewWork::default(),
                judged: Vec::new(),
                at: now(),
            };
            if self.store.advance_workflow_run(advance).await? == Advanced::Done {
                self.bus.notify(Topic::WorkflowRun(id));
                return Ok(());
            }
        }
        Err(AppError::StoreUnavailable(format!("{id} changed {ATTEMPTS} times while being answered")))
    }

    pub(super) async fn find_run(&self, who: &Principal, id: WorkflowRunId) -> Result<WorkflowRun, AppError> {
        let run = self.store.get_workflow_run(id, who.owner_filter()).await?;
        run.ok_or_else(|| {
            AppError::NotFound(Missing::Run, format!("you have no workflow run {id}; its id is in the answer that began it"))
        })
    }

    pub(super) async fn record(&self, run: &WorkflowRun) -> Result<Record, AppError> {
        let mut record = Record::default();
        record.extend(self.store.list_transitions(run.id, 0).await?);
        Ok(record)
    }

    pub(super) async fn run_resource(&self, run: WorkflowRun) -> Result<WorkflowRunResource, AppError> {
        let record = self.record(&run).await?;
        let usage = self.store.workflow_run_usage(run.id).await?;
        let files = self.run_files(run.id).await;
        let swarm = run.swarm_id.filter(|_| !run.status.is_terminal());
        let mut resource = WorkflowRunResource::of(run, &record, usage, files);
        if let Some(swarm) = swarm {
            // Whoever follows a run looks at nothing else meanwhile.
            let asked = self.store.list_questions_to_user(swarm).await?;
            let members = if asked.is_empty() { Vec::new() } else { self.store.list_members(swarm).await? };
            if let Some(question) = super::swarms::open_questions(&asked, &members, now()).first() {
                resource.next_step = format!("{} {}", super::swarms::asked(question), resource.next_step);
            }
        }
        Ok(resource)
    }
}
