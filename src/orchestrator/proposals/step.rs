//! One step of a proposal: from what is on record to what is stored next.

use super::{
    Progress,
    turn::{Judged, judge, task_of},
};
use crate::{
    bus::Topic,
    model::{
        consensus::{self, Next, Protocol, Question},
        id::{AgentId, ProposalId, TaskId},
        proposal::{BallotRecord, BallotStatus, Proposal, ProposalStatus, ballots_of, close},
        run::Run,
        task::Task,
    },
    orchestrator::Orchestrator,
    store::{Advanced, ProposalStep, StoreError},
};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use std::collections::{HashMap, HashSet};

/// What is said of a voter that owes an answer when time is over.
const SILENT: &str = "it was silent: it gave no answer before time was over";

/// What a voter gets beyond twice the time of the slowest one before it.
const LITTLE_MORE: TimeDelta = TimeDelta::seconds(10);

/// The turn of an open question, as far as it has got.
type Turns = HashMap<TaskId, (Task, Option<Run>)>;

impl Orchestrator {
    /// Looks at a proposal and stores what comes next.
    pub(super) async fn step_proposal(&self, id: ProposalId) -> Result<Progress, StoreError> {
        let Some(proposal) = self.store.get_proposal(id, None).await? else { return Ok(Progress::Ended) };
        if proposal.status != ProposalStatus::Open {
            return Ok(Progress::Ended);
        }
        let records = self.store.list_ballots(id).await?;
        let turns = self.turns(&records).await?;
        let mut ended = HashSet::new();
        loop {
            let now = Utc::now().trunc_subsecs(6);
            let Some(step) = plan(&proposal, &records, &turns, &ended, now) else {
                let open = records.iter().filter(|record| record.status == BallotStatus::Asked);
                let tasks = open.map(|record| record.task_id).collect();
                return Ok(Progress::Waiting { tasks, deadline: proposal.deadline_at });
            };
            let (tasks, stopped, ending) = (step.tasks.clone(), step.stopped.clone(), step.ending.clone());
            let outcome = step.outcome.clone();
            match self.store.advance_proposal(step).await? {
                Advanced::Stale => return Ok(Progress::Moved),
                // At most once for every voter.
                Advanced::AgentEnded(agent) if ended.insert(agent) => {}
                Advanced::AgentEnded(agent) => {
                    return Err(StoreError::Internal(format!("{agent} was asked although it has ended")));
                }
                Advanced::Done => {
                    self.announce(id, &tasks, &stopped, &ending, &turns);
                    let Some(outcome) = outcome else { return Ok(Progress::Moved) };
                    tracing::info!(proposal = %id, outcome = %outcome.kind, why = outcome.why, "a proposal has ended");
                    return Ok(Progress::Ended);
                }
            }
        }
    }

    /// The turns of the open questions.
    async fn turns(&self, records: &[BallotRecord]) -> Result<Turns, StoreError> {
        let mut turns = Turns::new();
        for record in records.iter().filter(|record| record.status == BallotStatus::Asked) {
            let Some(task) = self.store.get_task(record.task_id, None).await? else { continue };
            let run = match task.run_id.filter(|_| task.status.is_terminal()) {
                Some(run) => self.store.get_run(run).await?,
                None => None,
            };
            turns.insert(task.id, (task, run));
        }
        Ok(turns)
    }

    fn announce(&self, id: ProposalId, tasks: &[Task], stopped: &[TaskId], ending: &[AgentId], turns: &Turns) {
        self.bus.notify(Topic::Proposal(id));
        if !tasks.is_empty() {
            self.bus.notify(Topic::Dispatch);
        }
        let stopped_agents = stopped.iter().filter_map(|task| turns.get(task)?.0.agent_id);
        let agents = tasks.iter().filter_map(|task| task.agent_id).chain(stopped_agents).chain(ending.iter().copied());
        for agent in agents.collect::<HashSet<_>>() {
            self.bus.notify(Topic::Control(agent));
            self.bus.notify(Topic::Agent(agent));
        }
        for task in stopped {
            self.bus.notify(Topic::Task(*task));
        }
    }
}

/// What comes next; nothing while all that can be done is to wait. `ended`: agents known to take no messages.
fn plan(
    proposal: &Proposal,
    records: &[BallotRecord],
    turns: &Turns,
    ended: &HashSet<AgentId>,
    now: DateTime<Utc>,
) -> Option<ProposalStep> {
    let mut work =
        Work { proposal: proposal.clone(), records: records.to_vec(), changed: HashSet::new(), now, turns: Vec::new() };
    for seat in work.proposal.seats.iter_mut().filter(|seat| seat.agent_id.is_some_and(|agent| ended.contains(&agent))) {
        seat.lost.get_or_insert_with(|| "the agent takes no messages any more".into());
    }
    let open: Vec<usize> = (0..records.len()).filter(|index| records[*index].status == BallotStatus::Asked).collect();
    for index in open {
        if let Some((task, run)) = turns.get(&records[index].task_id).filter(|(task, _)| task.status.is_terminal()) {
            work.settle(index, task, run.as_ref());
        }
    }
    let (rules, lost) = (&work.proposal.rules, work.proposal.lost());
    let ballots = ballots_of(&work.records);
    let outcome = match consensus::next(rules, &ballots, &lost) {
        Next::Done(_) if work.hears_more() => None,
        // Also when it is late: the answers are there.
        Next::Done(outcome) => Some(outcome),
        _ if now >= proposal.deadline_at => Some(consensus::at_deadline(rules, &ballots, &lost, proposal.timeout_seconds)),
        Next::Wait => None,
        Next::Ask(questions) => {
            work.ask(&questions);
            None
        }
    };
    work.into_step(outcome)
}

/// The record on its way to the next step.
struct Work {
    proposal: Proposal,
    records: Vec<BallotRecord>,
    /// Indices of the records that are not as stored. Those behind the stored ones are new.
    changed: HashSet<usize>,
    now: DateTime<Utc>,
    /// The turns of the new ones, in their order.
    turns: Vec<Task>,
}

impl Work {
    /// Whether a vote whose outcome stands already stays open for those who are still at work: what they say may be the dissent.
    /// They get twice as long as the slowest answer took so far, and a little more.
    fn hears_more(&self) -> bool {
        let took = self.records.iter().filter_map(|record| Some(record.cast_at? - record.asked_at));
        let patience = took.max().unwrap_or_default() * 2 + LITTLE_MORE;
        self.proposal.rules.protocol == Protocol::Quorum
            && self.now < self.proposal.deadline_at
            && self.records.iter().any(|it| it.status == BallotStatus::Asked && self.now < it.asked_at + patience)
    }

    /// Takes over what came of a turn.
    fn settle(&mut self, index: usize, task: &Task, run: Option<&Run>) {
        let record = &mut self.records[index];
        record.agent_id = task.agent_id;
        record.run_id = task.run_id;
        record.cast_at = Some(self.now);
        self.changed.insert(index);
        match judge(&self.proposal.rules, record, task, run) {
            Judged::Cast(cast) => {
                record.status = BallotStatus::Cast;
                record.cast = Some(cast);
            }
            Judged::Abstained(reason) => {
                record.status = BallotStatus::Abstained;
                record.reason = Some(reason);
            }
            Judged::Lost(reason) => {
                record.status = BallotStatus::Abstained;
                record.reason = Some(format!("lost: {reason}"));
                self.proposal.seats[record.place].lost.get_or_insert(reason);
            }
            Judged::Invalid(reason) if record.attempt > 1 || self.proposal.seats[record.place].lost.is_some() => {
                record.status = BallotStatus::Abstained;
                record.reason = Some(format!("gave no answer that can be read, also when asked again: {reason}"));
            }
            Judged::Invalid(reason) => {
                record.status = BallotStatus::Invalid;
                record.reason = Some(reason.clone());
                let again = BallotRecord { attempt: record.attempt + 1, reason: None, ..record.clone() };
                // The words of the same question, which is not kept.
                let words = format!("{}\n\nYour last answer could not be used: {reason}. Please answer again.", task.description);
                self.put(again, words);
            }
        }
    }

    fn ask(&mut self, questions: &[Question]) {
        for question in questions {
            let record = BallotRecord {
                proposal_id: self.proposal.id,
                round: question.round,
                phase: question.phase,
                place: question.place,
                attempt: 1,
                status: BallotStatus::Asked,
                task_id: TaskId::generate(),
                agent_id: None,
                run_id: None,
                cast: None,
                reason: None,
                asked_at: self.now,
                cast_at: None,
            };
            let words = super::prompt::words(&self.proposal, question);
            self.put(record, words);
        }
        let round = questions.iter().map(|question| question.round).max().unwrap_or(self.proposal.round);
        self.proposal.round = round;
    }

    /// Puts a question: the record and its turn.
    fn put(&mut self, record: BallotRecord, words: String) {
        let task = task_of(&self.proposal, &record, words, self.now);
        self.records.push(BallotRecord {
            status: BallotStatus::Asked,
            task_id: task.id,
            agent_id: task.agent_id,
            run_id: None,
            cast: None,
            asked_at: self.now,
            cast_at: None,
            ..record
        });
        self.turns.push(task);
    }

    fn into_step(mut self, outcome: Option<consensus::Outcome>) -> Option<ProposalStep> {
        let stored = self.records.len() - self.turns.len();
        let mut asked = self.records.split_off(stored);
        let (round, is_over) = (self.proposal.round, outcome.is_some());
        if is_over {
            asked.clear();
            self.turns.clear();
        }
        if self.changed.is_empty() && asked.is_empty() && !is_over {
            return None;
        }
        let silent = outcome.as_ref().map_or(&[][..], |outcome| &outcome.silent);
        for place in silent {
            self.proposal.seats[*place].lost.get_or_insert_with(|| SILENT.into());
        }
        let reason = match (is_over, silent.is_empty()) {
            (true, true) => "the proposal ended without it",
            (true, false) => SILENT,
            (false, _) => "its round ended without it",
        };
        let (closed, stopped) = close(&self.records, |record| is_over || record.round < round, reason, self.now);
        let changed = self.records.into_iter().enumerate().filter(|(index, _)| self.changed.contains(index));
        let settled = changed.map(|(_, record)| record).chain(closed).collect();
        let ending = if is_over { self.proposal.own_agents() } else { Vec::new() };
        Some(ProposalStep {
            id: self.proposal.id,
            generation: self.proposal.generation,
            seats: self.proposal.seats,
            round,
            settled,
            asked,
            tasks: self.turns,
            stopped,
            outcome,
            ending,
            at: self.now,
        })
    }
}
