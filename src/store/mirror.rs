//! What claude-flow was told of a project, and what has changed since.

use super::{
    Store, StoreError,
    agents::AgentRow,
    db::{micros, on, text},
    proposals::ProposalRow,
    swarms::SwarmRow,
    tasks::{self, TaskRow},
};
use crate::model::{agent::Agent, proposal::Proposal, swarm::Swarm, task::Task};
use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// Something claude-flow was told of.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mirrored {
    /// Claude-flow's id for it.
    pub their_id: String,
    /// What it was told last.
    pub told: String,
    /// As of when.
    pub updated_at: DateTime<Utc>,
}

#[derive(sqlx::FromRow)]
struct MirroredRow {
    our_id: String,
    #[sqlx(flatten)]
    mirrored: Mirrored,
}

impl Store {
    /// Everything claude-flow was told of the project, by our ids.
    pub async fn list_mirrored(&self, project: &str) -> Result<HashMap<String, Mirrored>, StoreError> {
        const SQL: &str = "SELECT our_id, their_id, told, updated_at FROM mirrored WHERE project = $1";
        let rows: Vec<MirroredRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(text(project)).fetch_all(p).await?);
        Ok(rows.into_iter().map(|row| (row.our_id, row.mirrored)).collect())
    }

    /// Keeps what claude-flow was told.
    pub async fn put_mirrored(&self, project: &str, our_id: &str, mirrored: &Mirrored) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO mirrored (project, our_id, their_id, told, updated_at) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (project, our_id) DO UPDATE SET their_id = $3, told = $4, updated_at = $5";
        on!(write & self.db, |p| sqlx::query(SQL)
            .bind(text(project))
            .bind(our_id)
            .bind(&mirrored.their_id)
            .bind(&mirrored.told)
            .bind(micros(mirrored.updated_at))
            .execute(p)
            .await?
            .rows_affected());
        Ok(())
    }

    /// The project's swarms that have changed since, in the order of their changes; at most so many.
    pub async fn list_changed_swarms(&self, project: &str, since: DateTime<Utc>, limit: u32) -> Result<Vec<Swarm>, StoreError> {
        const SQL: &str = "SELECT * FROM swarm WHERE project = $1 AND updated_at >= $2 ORDER BY updated_at, id LIMIT $3";
        let rows: Vec<SwarmRow> = on!(read & self.db, |p| sqlx::query_as(SQL)
            .bind(text(project))
            .bind(micros(since))
            .bind(i64::from(limit))
            .fetch_all(p)
            .await?);
        rows.into_iter().map(SwarmRow::into_swarm).collect()
    }

    /// The same of agents.
    pub async fn list_changed_agents(&self, project: &str, since: DateTime<Utc>, limit: u32) -> Result<Vec<Agent>, StoreError> {
        const SQL: &str = "SELECT * FROM agent WHERE project = $1 AND updated_at >= $2 ORDER BY updated_at, id LIMIT $3";
        let rows: Vec<AgentRow> = on!(read & self.db, |p| sqlx::query_as(SQL)
            .bind(text(project))
            .bind(micros(since))
            .bind(i64::from(limit))
            .fetch_all(p)
            .await?);
        rows.into_iter().map(AgentRow::into_agent).collect()
    }

    /// The same of tasks.
    pub async fn list_changed_tasks(&self, project: &str, since: DateTime<Utc>, limit: u32) -> Result<Vec<Task>, StoreError> {
        const SQL: &str = "SELECT * FROM task WHERE project = $1 AND updated_at >= $2 ORDER BY updated_at, id LIMIT $3";
        let rows: Vec<TaskRow> = on!(read & self.db, |p| sqlx::query_as(SQL)
            .bind(text(project))
            .bind(micros(since))
            .bind(i64::from(limit))
            .fetch_all(p)
            .await?);
        tasks::all(rows)
    }

    /// The same of proposals.
    pub async fn list_changed_proposals(
        &self,
        project: &str,
        since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<Proposal>, StoreError> {
        const SQL: &str = "SELECT * FROM proposal WHERE project = $1 AND updated_at >= $2 ORDER BY updated_at, id LIMIT $3";
        let rows: Vec<ProposalRow> = on!(read & self.db, |p| sqlx::query_as(SQL)
            .bind(text(project))
            .bind(micros(since))
            .bind(i64::from(limit))
            .fetch_all(p)
            .await?);
        rows.into_iter().map(ProposalRow::into_proposal).collect()
    }
}
