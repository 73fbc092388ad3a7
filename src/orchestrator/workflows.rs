//! The driver of a run: look, plan, store, wait.

use super::{Orchestrator, POLL};
use crate::{
    bus::Topic,
    model::{
        id::{AgentId, TaskId, WorkflowRunId},
        run::{Failure, FailureCode},
        task::TaskStatus,
        workflow::{
            plan::{AgentRef, Judged, Known, Plan, RunState, TurnSpec, TurnState, plan},
            run::{Change, Record, WorkflowRun, WorkflowRunStatus},
        },
    },
    store::{Advance, Advanced, NewWork, StoreError, TaskChange, TurnTask},
};
use chrono::Utc;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

/// What the driver remembers of a run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    record: Record,
    /// Agents that were found to take no turns any more. Found again after a restart.
    gone: BTreeSet<AgentId>,
}

/// What a look led to.
enum Step {
    Ended,
    Changed,
    Unchanged,
}

impl Orchestrator {
    /// Drives a run until it ends or the gateway stops.
    pub(super) async fn drive(&self, id: WorkflowRunId) {
        let mut settled = self.bus.subscribe(Topic::Settled);
        let mut wanted = self.bus.subscribe(Topic::WorkflowRun(id));
        let mut memory = Memory::default();
        while !self.stop.is_cancelled() {
            match self.step(id, &mut memory).await {
                Ok(Step::Ended) => return,
                Ok(Step::Changed) => continue,
                Ok(Step::Unchanged) => {}
                Err(error) => {
                    tracing::error!(%error, run = %id, "a run cannot go on; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = settled.changed() => {}
                () = wanted.changed() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn step(&self, id: WorkflowRunId, memory: &mut Memory) -> Result<Step, StoreError> {
        let Some(run) = self.store.get_workflow_run(id, None).await?.filter(|run| !run.status.is_terminal()) else {
            return Ok(Step::Ended);
        };
        memory.record.extend(self.store.list_transitions(id, memory.record.last_seq).await?);
        let tasks: BTreeMap<TaskId, TurnTask> =
            self.store.list_turn_tasks(id).await?.into_iter().map(|task| (task.id, task)).collect();
        let mut next = self.settle(memory, &tasks).await?;
        // With what has ended just now; it counts once it is stored, with what follows from it.
        let mut turns = memory.record.turns.clone();
        for change in &next.changes {
            if let Change::TurnEnded { key, text, output, failure } = change {
                let done = || TurnState::Done { text: text.clone().unwrap_or_default(), output: output.clone() };
                turns.insert(key.clone(), failure.clone().map_or_else(done, TurnState::Failed));
            }
        }
        let known = Known { workflow: &run.definition, input: &run.input, turns: &turns, answers: &memory.record.answers };
        let planned = plan(&known);
        self.decide(&run, memory, &tasks, &planned, &mut next);
        let status = next.status;
        if next.is_empty(run.status) {
            return Ok(Step::Unchanged);
        }
        if status != run.status {
            next.changes.push(Change::Status { status });
        }
        if status.is_terminal() {
            // Before the end is told; written again, should the end not be stored.
            super::outputs::write(&self.settings.outputs, &run, &next.end(), &planned.stages, &turns).await;
        }
        let told = next.told.clone();
        match self.store.advance_workflow_run(next.advance(&run, memory.record.last_seq)).await? {
            Advanced::Done => {}
            Advanced::Stale => return Ok(Step::Changed),
            Advanced::AgentEnded(agent) => {
                memory.gone.insert(agent);
                return Ok(Step::Changed);
            }
        }
        self.tell(&run, status, &told, &tasks).await?;
        Ok(if status.is_terminal() { Step::Ended } else { Step::Changed })
    }

    /// Which turns have come to an end.
    async fn settle(&self, memory: &Memory, tasks: &BTreeMap<TaskId, TurnTask>) -> Result<Next, StoreError> {
        let mut next = Next::default();
        let cancelled = || Failure::new(FailureCode::TurnCancelled, "its turn was stopped by request");
        for (key, id) in &memory.record.tasks {
            let Some(task) = tasks.get(id) else { continue };
            let is_open = memory.record.turns.get(key) == Some(&TurnState::Running);
            let awaits_verdict = matches!(task.status, TaskStatus::Review | TaskStatus::Revision);
            let ended = |text, output, failure| Change::TurnEnded { key: key.clone(), text, output, failure };
            if awaits_verdict && task.cancel_requested {
                next.changes.push(ended(None, None, Some(cancelled())));
                next.judged.push((*id, TaskStatus::Cancelled, None));
            } else if !is_open {
            } else if task.status == TaskStatus::Cancelled {
                next.changes.push(ended(None, None, Some(cancelled())));
            } else if task.status == TaskStatus::Failed {
                let unknown = || Failure::new(FailureCode::AgentError, "its task failed without a word");
                next.changes.push(ended(None, None, Some(task.failure.clone().unwrap_or_else(unknown))));
            } else if awaits_verdict || task.status == TaskStatus::Complete {
                let run = match task.run_id {
                    Some(run) => self.store.get_run(run).await?,
                    None => None,
                };
                let outcome = run.map(|run| run.outcome).unwrap_or_default();
                next.changes.push(ended(outcome.result, outcome.structured_output, None));
            }
        }
        Ok(next)
    }

    /// Adds what the plan asks for.
    fn decide(&self, run: &WorkflowRun, memory: &Memory, tasks: &BTreeMap<TaskId, TurnTask>, planned: &Plan, next: &mut Next) {
        (next.status, next.result, next.failure) = match &planned.state {
            _ if run.cancel_requested => (WorkflowRunStatus::Cancelled, None, None),
            RunState::Running => (WorkflowRunStatus::Running, None, None),
            RunState::Waiting(_) => (WorkflowRunStatus::Waiting, None, None),
            RunState::Complete(result) => (WorkflowRunStatus::Complete, Some(result.clone()), None),
            RunState::Failed(failure) => (WorkflowRunStatus::Failed, None, Some(failure.clone())),
        };
        for (key, judged) in &planned.judged {
            let Some(task) = memory.record.tasks.get(key).and_then(|id| tasks.get(id)) else { continue };
            let (status, failure) = match judged {
                Judged::Complete => (TaskStatus::Complete, None),
                Judged::Revision => (TaskStatus::Revision, None),
                Judged::Failed => {
                    (TaskStatus::Failed, Some(Failure::new(FailureCode::NotApproved, "its review did not approve the result")))
                }
            };
            let is_news = matches!(task.status, TaskStatus::Review | TaskStatus::Revision) && task.status != status;
            if is_news && !next.judged.iter().any(|(id, ..)| *id == task.id) {
                next.judged.push((task.id, status, failure));
            }
        }
        if next.status == WorkflowRunStatus::Running {
            for spec in &planned.start {
                self.start(run, memory, spec, next);
            }
        }
    }

    fn start(&self, run: &WorkflowRun, memory: &Memory, spec: &TurnSpec, next: &mut Next) {
        let agent = match &spec.agent {
            AgentRef::New => None,
            AgentRef::Member(id) if memory.gone.contains(id) => {
                let words = format!("{id} has ended; it takes no turns until it is resumed (resume_agent)");
                let failure = Some(Failure::new(FailureCode::AgentFailed, words));
                next.changes.push(Change::TurnEnded { key: spec.key.clone(), text: None, output: None, failure });
                return;
            }
            AgentRef::Member(id) => Some(*id),
            AgentRef::Named(name) => {
                let known = memory.record.agents.get(name).filter(|id| !memory.gone.contains(id)).copied();
                let id = known.or_else(|| next.joined.get(name).copied()).unwrap_or_else(|| {
                    let agent = self.new_agent(run, name, spec);
                    let id = agent.id;
                    next.work.agents.push(agent);
                    next.joined.insert(name.clone(), id);
                    next.changes.push(Change::AgentJoined { name: name.clone(), agent_id: id });
                    id
                });
                Some(id)
            }
        };
        let task = self.new_task(run, spec, agent);
        next.changes.push(Change::TurnStarted { key: spec.key.clone(), task_id: task.id });
        next.told.extend(agent);
        next.work.tasks.push(task);
    }

    /// Wakes whoever is concerned by a step that was stored.
    async fn tell(
        &self,
        run: &WorkflowRun,
        status: WorkflowRunStatus,
        agents: &[AgentId],
        tasks: &BTreeMap<TaskId, TurnTask>,
    ) -> Result<(), StoreError> {
        let bus = &self.bus;
        bus.notify(Topic::Dispatch);
        for agent in agents {
            bus.notify(Topic::Control(*agent));
        }
        if status.is_terminal() {
            tracing::info!(run = %run.id, workflow = run.workflow, %status, "a run of a workflow has ended");
            for agent in self.store.list_agents_of_workspace(&run.id.to_string()).await? {
                bus.notify(Topic::Control(agent));
                bus.notify(Topic::Agent(agent));
            }
        }
        for task in tasks.keys() {
            bus.notify(Topic::Task(*task));
        }
        bus.notify(Topic::WorkflowRun(run.id));
        if let Some(swarm) = run.swarm_id {
            bus.notify(Topic::Swarm(swarm));
        }
        Ok(())
    }
}

/// A step in the making.
#[derive(Debug)]
struct Next {
    status: WorkflowRunStatus,
    result: Option<serde_json::Value>,
    failure: Option<Failure>,
    changes: Vec<Change>,
    work: NewWork,
    judged: Vec<(TaskId, TaskStatus, Option<Failure>)>,
    joined: BTreeMap<String, AgentId>,
    /// Agents that get a turn.
    told: Vec<AgentId>,
}

impl Default for Next {
    fn default() -> Self {
        Self {
            status: WorkflowRunStatus::Running,
            result: None,
            failure: None,
            changes: Vec::new(),
            work: NewWork::default(),
            judged: Vec::new(),
            joined: BTreeMap::new(),
            told: Vec::new(),
        }
    }
}

impl Next {
    fn is_empty(&self, status: WorkflowRunStatus) -> bool {
        self.status == status && self.changes.is_empty() && self.judged.is_empty()
    }

    fn end(&self) -> super::outputs::End {
        super::outputs::End { status: self.status, result: self.result.clone(), failure: self.failure.clone() }
    }

    fn advance(self, run: &WorkflowRun, last_seq: i64) -> Advance {
        let at = Utc::now();
        let change = |status, failure| TaskChange { status, failure, dead_letter: false, at };
        Advance {
            id: run.id,
            generation: run.generation,
            status: self.status,
            result: self.result,
            failure: self.failure,
            changes: self.changes,
            last_seq,
            work: self.work,
            judged: self.judged.into_iter().map(|(id, status, failure)| (id, change(status, failure))).collect(),
            at,
        }
    }
}
