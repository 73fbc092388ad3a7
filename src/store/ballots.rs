//! Ballots: the questions of a proposal and their answers. They are written with the steps of their proposal.

use super::{
    Store, StoreError,
    db::{on, word},
    json::JsonText,
};
use crate::model::{
    consensus::{Cast, Edit},
    id::ProposalId,
    proposal::BallotRecord,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What the column `data` holds: the parts of an answer only some protocols have.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Data {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prepared: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    edits: Vec<Edit>,
}

/// A ballot ready to be bound.
pub(super) struct Bound {
    pub(super) ballot: BallotRecord,
    pub(super) data: Option<JsonText>,
}

impl Bound {
    pub(super) fn of(ballot: BallotRecord) -> Result<Self, StoreError> {
        let data = ballot.cast.as_ref().filter(|cast| cast.prepared.is_some() || !cast.edits.is_empty());
        let data = data.map(|cast| Data { prepared: cast.prepared.clone(), edits: cast.edits.clone() });
        Ok(Self { data: JsonText::of_option(data.as_ref())?, ballot })
    }
}

/// Parameters as [`bind_ballot`] gives them.
pub(super) const INSERT_BALLOT: &str = "INSERT INTO ballot (proposal_id, round, phase, place, attempt, status, task_id, agent_id, \
                                        run_id, choice, rationale, confidence, data, reason, asked_at, cast_at) VALUES ($1, $2, \
                                        $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
/// What a question can become; its turn and its time stay.
pub(super) const UPDATE_BALLOT: &str = "UPDATE ballot SET status = $6, agent_id = $8, run_id = $9, choice = $10, rationale = $11, \
                                        confidence = $12, data = $13, reason = $14, cast_at = $16 WHERE proposal_id = $1 AND \
                                        round = $2 AND phase = $3 AND place = $4 AND attempt = $5 AND status = 'asked' AND \
                                        task_id = $7 AND asked_at = $15";

/// Binds a ballot to [`INSERT_BALLOT`] or [`UPDATE_BALLOT`]; a macro, because the type of a query names its engine.
macro_rules! bind_ballot {
    ($query:expr, $bound:expr) => {{
        let $crate::store::ballots::Bound { ballot, data } = $bound;
        let cast = ballot.cast.as_ref();
        $query
            .bind(ballot.proposal_id.uuid())
            .bind(i64::from(ballot.round))
            .bind(ballot.phase.as_str())
            .bind(i64::try_from(ballot.place).unwrap_or(i64::MAX))
            .bind(i64::from(ballot.attempt))
            .bind(ballot.status.as_str())
            .bind(ballot.task_id.uuid())
            .bind(ballot.agent_id.map($crate::model::id::AgentId::uuid))
            .bind(ballot.run_id.map($crate::model::id::RunId::uuid))
            .bind(cast.map(|cast| $crate::store::db::text(&cast.choice).into_owned()))
            .bind(cast.map(|cast| $crate::store::db::text(&cast.rationale).into_owned()))
            .bind(cast.map(|cast| cast.confidence))
            .bind(data)
            .bind(ballot.reason.as_deref().map(|reason| $crate::store::db::text(reason).into_owned()))
            .bind($crate::store::db::micros(ballot.asked_at))
            .bind(ballot.cast_at.map($crate::store::db::micros))
    }};
}
pub(super) use bind_ballot;

#[derive(sqlx::FromRow)]
struct BallotRow {
    proposal_id: Uuid,
    round: i64,
    phase: String,
    place: i64,
    attempt: i64,
    status: String,
    task_id: Uuid,
    agent_id: Option<Uuid>,
    run_id: Option<Uuid>,
    choice: Option<String>,
    rationale: Option<String>,
    confidence: Option<f64>,
    data: Option<JsonText>,
    reason: Option<String>,
    asked_at: DateTime<Utc>,
    cast_at: Option<DateTime<Utc>>,
}

impl BallotRow {
    fn into_ballot(self) -> Result<BallotRecord, StoreError> {
        let data: Data = self.data.as_ref().map(JsonText::parse).transpose()?.unwrap_or_default();
        let cast = self.choice.map(|choice| Cast {
            choice,
            rationale: self.rationale.unwrap_or_default(),
            confidence: self.confidence.unwrap_or_default(),
            prepared: data.prepared,
            edits: data.edits,
        });
        Ok(BallotRecord {
            proposal_id: self.proposal_id.into(),
            round: u32::try_from(self.round).map_err(StoreError::internal)?,
            phase: word(&self.phase)?,
            place: usize::try_from(self.place).map_err(StoreError::internal)?,
            attempt: u32::try_from(self.attempt).map_err(StoreError::internal)?,
            status: word(&self.status)?,
            task_id: self.task_id.into(),
            agent_id: self.agent_id.map(Into::into),
            run_id: self.run_id.map(Into::into),
            cast,
            reason: self.reason,
            asked_at: self.asked_at,
            cast_at: self.cast_at,
        })
    }
}

impl Store {
    /// All ballots of a proposal in the order of asking.
    pub async fn list_ballots(&self, proposal: ProposalId) -> Result<Vec<BallotRecord>, StoreError> {
        const SQL: &str = "SELECT * FROM ballot WHERE proposal_id = $1 ORDER BY round, asked_at, phase DESC, place, attempt";
        let rows: Vec<BallotRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(proposal.uuid()).fetch_all(p).await?);
        rows.into_iter().map(BallotRow::into_ballot).collect()
    }
}
