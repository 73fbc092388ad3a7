//! Proposals: making, finding and moving them on. Ballots are in `ballots.rs`.

use super::{
    Advanced, Inserted, NewWork, Quota, Store, StoreError,
    agents::end_agent,
    ballots::{Bound, INSERT_BALLOT, UPDATE_BALLOT, bind_ballot},
    db::{micros, on, text, uncancelled, word},
    insert::reached,
    json::JsonText,
    meters,
    tasks::statuses,
    work::insert_work,
};
use crate::model::{
    agent::Agent,
    consensus::{Outcome, Protocol},
    id::{AgentId, KeyId, ProposalId, TaskId},
    proposal::{BallotRecord, Proposal, ProposalStatus, Seat},
    task::{Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

/// Which proposals to list.
#[derive(Debug, Clone, Copy)]
pub struct ProposalFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<ProposalStatus>,
    /// Only those under this protocol.
    pub protocol: Option<Protocol>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<ProposalId>,
    /// At most so many.
    pub limit: u32,
}

/// Everything one step of a proposal changes, stored as one.
#[derive(Debug, Clone)]
pub struct ProposalStep {
    /// The proposal.
    pub id: ProposalId,
    /// The generation the step was computed from.
    pub generation: i64,
    /// The voters, with who is lost.
    pub seats: Vec<Seat>,
    /// The round it is in.
    pub round: u32,
    /// Ballots on record whose question has been settled.
    pub settled: Vec<BallotRecord>,
    /// New questions.
    pub asked: Vec<BallotRecord>,
    /// The turns they are put in.
    pub tasks: Vec<Task>,
    /// Turns nobody needs any more.
    pub stopped: Vec<TaskId>,
    /// How the proposal ends, if it does.
    pub outcome: Option<Outcome>,
    /// Agents that end with it.
    pub ending: Vec<AgentId>,
    /// When.
    pub at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
pub(super) struct ProposalRow {
    id: Uuid,
    owner: String,
    key_id: Option<Uuid>,
    question: String,
    rules: JsonText,
    seats: JsonText,
    project: String,
    status: String,
    generation: i64,
    round: i64,
    outcome: Option<JsonText>,
    timeout_seconds: i64,
    idempotency_key: Option<String>,
    request_hash: String,
    provenance: String,
    traceparent: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl ProposalRow {
    pub(super) fn into_proposal(self) -> Result<Proposal, StoreError> {
        Ok(Proposal {
            id: self.id.into(),
            owner: self.owner,
            key_id: self.key_id.map(Into::into),
            question: self.question,
            rules: self.rules.parse()?,
            seats: self.seats.parse()?,
            project: self.project,
            status: word(&self.status)?,
            generation: self.generation,
            round: u32::try_from(self.round).map_err(StoreError::internal)?,
            outcome: self.outcome.as_ref().map(JsonText::parse).transpose()?,
            timeout_seconds: u32::try_from(self.timeout_seconds).map_err(StoreError::internal)?,
            idempotency_key: self.idempotency_key,
            request_hash: self.request_hash,
            provenance: word(&self.provenance)?,
            traceparent: self.traceparent,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deadline_at: self.deadline_at,
            ended_at: self.ended_at,
        })
    }
}

const INSERT_PROPOSAL: &str = "INSERT INTO proposal (id, owner, key_id, question, protocol, rules, seats, project, status, generation, \
                               round, timeout_seconds, idempotency_key, request_hash, provenance, created_at, updated_at, \
                               deadline_at, traceparent) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
                               $15, $16, $17, $18, $19) ON CONFLICT (owner, idempotency_key) DO NOTHING";
const EXISTING_PROPOSAL: &str = "SELECT * FROM proposal WHERE owner = $1 AND idempotency_key = $2";
const ADVANCE: &str = "UPDATE proposal SET generation = generation + 1, seats = $3, round = $4, status = $5, outcome = $6, \
                       updated_at = $7, ended_at = $8 WHERE id = $1 AND generation = $2 AND status = 'open' RETURNING created_at";
const STOP_WAITING: &str = "UPDATE task SET status = 'cancelled', failure = NULL, updated_at = $2, ended_at = $2, \
                            generation = generation + 1 WHERE id = $1 AND status = 'created'";

impl Store {
    /// Stores a new proposal with the agents made for it, or nothing.
    pub async fn insert_proposal(
        &self,
        proposal: &Proposal,
        agents: Vec<Agent>,
        quota: &Quota,
    ) -> Result<Inserted<Proposal>, StoreError> {
        let (db, given) = (self.db.clone(), proposal.clone());
        let (rules, seats) = (JsonText::of(&proposal.rules)?, JsonText::of(&proposal.seats)?);
        let adds_agents = proposal.seats.iter().any(|seat| seat.is_own || seat.agent_id.is_none());
        let ((added, used), key_id) = (quota.checks_of_voters(adds_agents), quota.key_id.map(KeyId::uuid));
        let work = NewWork { agents, tasks: Vec::new() }.prepare()?;
        let (stored, over) = uncancelled(async move {
            let (proposal, mut over) = (given, None);
            let stored = on!(tx db, |t| {
                let written = sqlx::query(INSERT_PROPOSAL)
                    .bind(proposal.id.uuid())
                    .bind(text(&proposal.owner))
                    .bind(proposal.key_id.map(KeyId::uuid))
                    .bind(text(&proposal.question))
                    .bind(proposal.rules.protocol.as_str())
                    .bind(rules)
                    .bind(seats)
                    .bind(text(&proposal.project))
                    .bind(proposal.status.as_str())
                    .bind(proposal.generation)
                    .bind(i64::from(proposal.round))
                    .bind(i64::from(proposal.timeout_seconds))
                    .bind(proposal.idempotency_key.as_deref().map(text))
                    .bind(&proposal.request_hash)
                    .bind(proposal.provenance.as_str())
                    .bind(micros(proposal.created_at))
                    .bind(micros(proposal.updated_at))
                    .bind(micros(proposal.deadline_at))
                    .bind(proposal.traceparent.as_deref())
                    .execute(&mut *t)
                    .await?
                    .rows_affected();
                if written == 1 {
                    let _ended = insert_work!(t, work);
                    over = reached!(t, used, key_id, proposal.created_at, own: 0.0);
                    if over.is_none() {
                        // Counted with its own voters: the last of them must still have been allowed. Later rounds are not
                        // counted, so what was begun can be brought to its end.
                        over = reached!(t, added, key_id, proposal.created_at, own: 1.0);
                    }
                    over.is_none().then_some(())
                } else {
                    None
                }
            });
            Ok((stored, over))
        })
        .await?;
        match (stored, over) {
            (Some(()), _) => Ok(Inserted::New),
            (None, Some(limit)) => Ok(Inserted::Refused(limit)),
            (None, None) => {
                let (owner, key) = (text(&proposal.owner), proposal.idempotency_key.as_deref().map(text));
                let row: ProposalRow =
                    on!(write & self.db, |p| sqlx::query_as(EXISTING_PROPOSAL).bind(owner).bind(key).fetch_one(p).await?);
                Ok(Inserted::Existing(Box::new(row.into_proposal()?)))
            }
        }
    }

    /// Stores one step of an open proposal, if it still has the step's generation: all of it, or nothing.
    pub async fn advance_proposal(&self, step: ProposalStep) -> Result<Advanced, StoreError> {
        let db = self.db.clone();
        let (seats, outcome) = (JsonText::of(&step.seats)?, JsonText::of_option(step.outcome.as_ref())?);
        let status = step.outcome.as_ref().map_or(ProposalStatus::Open, |outcome| outcome.kind.into());
        let bound = |ballots: Vec<BallotRecord>| ballots.into_iter().map(Bound::of).collect::<Result<Vec<_>, _>>();
        let (settled, asked) = (bound(step.settled)?, bound(step.asked)?);
        let work = NewWork { agents: Vec::new(), tasks: step.tasks }.prepare()?;
        let (at, stopped, ending) = (micros(step.at), step.stopped, step.ending);
        let open = statuses(|status| !status.is_terminal());
        let stop_running = format!(
            "UPDATE task SET cancel_requested = TRUE, updated_at = $2 WHERE id = $1 AND status IN ({open}) AND NOT cancel_requested"
        );
        uncancelled(async move {
            let (mut refused, mut began) = (Advanced::Stale, at);
            let done: Option<()> = on!(tx db, |t| {
                let advance = sqlx::query_scalar(ADVANCE).bind(step.id.uuid()).bind(step.generation).bind(seats);
                let advance = advance.bind(i64::from(step.round)).bind(status.as_str()).bind(outcome).bind(at);
                let advance = advance.bind((status != ProposalStatus::Open).then_some(at));
                let advanced: Option<DateTime<Utc>> = advance.fetch_optional(&mut *t).await?;
                if let Some(created_at) = advanced {
                    began = created_at;
                    for ballot in settled {
                        bind_ballot!(sqlx::query(UPDATE_BALLOT), ballot).execute(&mut *t).await?;
                    }
                    for task in stopped {
                        let waiting = sqlx::query(STOP_WAITING).bind(task.uuid()).bind(at).execute(&mut *t).await?;
                        meters::ended(TaskStatus::Cancelled, None, waiting.rows_affected());
                        let running = sqlx::query(AssertSqlSafe(stop_running.clone())).bind(task.uuid()).bind(at);
                        running.execute(&mut *t).await?;
                    }
                    for agent in ending {
                        end_agent!(t, agent.uuid(), at);
                    }
                    let ended = insert_work!(t, work);
                    if ended.is_none() {
                        for ballot in asked {
                            bind_ballot!(sqlx::query(INSERT_BALLOT), ballot).execute(&mut *t).await?;
                        }
                    }
                    match ended {
                        Some(agent) => {
                            refused = Advanced::AgentEnded(agent);
                            None
                        }
                        None => Some(()),
                    }
                } else {
                    None
                }
            });
            if done.is_some() && status != ProposalStatus::Open {
                meters::proposal_ended(status, began, at);
            }
            Ok(done.map_or(refused, |()| Advanced::Done))
        })
        .await
    }

    /// The proposal, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_proposal(&self, id: ProposalId, owner: Option<&str>) -> Result<Option<Proposal>, StoreError> {
        const SQL: &str = "SELECT * FROM proposal WHERE id = $1";
        let row: Option<ProposalRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))).map(ProposalRow::into_proposal).transpose()
    }

    /// The proposal its owner made with this idempotency key.
    pub async fn find_proposal_by_key(&self, owner: &str, key: &str) -> Result<Option<Proposal>, StoreError> {
        let row: Option<ProposalRow> = on!(read & self.db, |p| {
            sqlx::query_as(EXISTING_PROPOSAL).bind(text(owner)).bind(text(key)).fetch_optional(p).await?
        });
        row.map(ProposalRow::into_proposal).transpose()
    }

    /// The proposals that pass the filter, newest first.
    pub async fn list_proposals(&self, filter: &ProposalFilter<'_>) -> Result<Vec<Proposal>, StoreError> {
        let rows: Vec<ProposalRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM proposal WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(protocol) = filter.protocol {
                query.push(" AND protocol = ").push_bind(protocol.as_str());
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(ProposalRow::into_proposal).collect()
    }

    /// The proposals that are open, oldest first.
    pub async fn list_open_proposals(&self) -> Result<Vec<ProposalId>, StoreError> {
        const SQL: &str = "SELECT id FROM proposal WHERE status = 'open' ORDER BY id";
        let ids: Vec<Uuid> = on!(read & self.db, |p| sqlx::query_scalar(SQL).fetch_all(p).await?);
        Ok(ids.into_iter().map(Into::into).collect())
    }

    /// How many proposals stand where.
    pub async fn count_proposals(&self, owner: Option<&str>) -> Result<Vec<(ProposalStatus, i64)>, StoreError> {
        let rows: Vec<(String, i64)> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT status, count(*) FROM proposal WHERE TRUE");
            if let Some(owner) = owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            query.push(" GROUP BY status");
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(|(status, count)| Ok((word(&status)?, count))).collect()
    }
}
