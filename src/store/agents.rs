//! Agents: reading them. They are made with their first run (`runs.rs`) and change with their events (`events.rs`).

use super::{
    Store, StoreError,
    db::{on, text, word},
};
use crate::model::{
    agent::{Agent, AgentStatus},
    id::AgentId,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Which agents to list.
#[derive(Debug, Clone, Copy)]
pub struct AgentFilter<'a> {
    /// Only this user's; everybody's when absent.
    pub owner: Option<&'a str>,
    /// Only those that stand here.
    pub status: Option<AgentStatus>,
    /// Only those made before this one: the last of the previous page.
    pub before: Option<AgentId>,
    /// At most so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct AgentRow {
    id: Uuid,
    owner: String,
    name: String,
    agent_type: String,
    backend: String,
    project: String,
    model: Option<String>,
    status: String,
    generation: i64,
    session_id: Uuid,
    workspace: String,
    branch: Option<String>,
    base_commit: Option<String>,
    provenance: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl AgentRow {
    fn into_agent(self) -> Result<Agent, StoreError> {
        Ok(Agent {
            id: self.id.into(),
            owner: self.owner,
            name: self.name,
            agent_type: word(&self.agent_type)?,
            backend: word(&self.backend)?,
            project: self.project,
            model: self.model,
            status: word(&self.status)?,
            generation: self.generation,
            session_id: self.session_id,
            workspace: self.workspace,
            branch: self.branch,
            base_commit: self.base_commit,
            provenance: word(&self.provenance)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

impl Store {
    /// The agent, when there is one and it belongs to `owner` (to anybody, without one).
    pub async fn get_agent(&self, id: AgentId, owner: Option<&str>) -> Result<Option<Agent>, StoreError> {
        const SQL: &str = "SELECT * FROM agent WHERE id = $1";
        let row: Option<AgentRow> = on!(read & self.db, |p| sqlx::query_as(SQL).bind(id.uuid()).fetch_optional(p).await?);
        row.filter(|row| owner.is_none_or(|owner| row.owner == text(owner))).map(AgentRow::into_agent).transpose()
    }

    /// The agents that pass the filter, newest first.
    pub async fn list_agents(&self, filter: &AgentFilter<'_>) -> Result<Vec<Agent>, StoreError> {
        let rows: Vec<AgentRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM agent WHERE TRUE");
            if let Some(owner) = filter.owner {
                query.push(" AND owner = ").push_bind(text(owner));
            }
            if let Some(status) = filter.status {
                query.push(" AND status = ").push_bind(status.as_str());
            }
            if let Some(before) = filter.before {
                query.push(" AND id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(AgentRow::into_agent).collect()
    }
}
