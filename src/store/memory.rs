//! Reading what is remembered. Each engine searches text by its own means, over the same words.

use super::{
    Store, StoreError,
    db::{Db, on, text, word},
    json::JsonText,
};
use crate::model::{
    id::MemoryId,
    memory::{Content, Memory, MemoryKind, MemoryVerdict, Scope, words::Search},
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What to look for.
#[derive(Debug, Clone)]
pub struct MemoryFilter {
    /// Whose memory.
    pub scope: Scope,
    /// What it must be found by; everything without.
    pub search: Option<Search>,
    /// Only this kind.
    pub kind: Option<MemoryKind>,
    /// Only this one.
    pub id: Option<MemoryId>,
    /// Only what is older than this one: the last of the previous page.
    pub before: Option<MemoryId>,
    /// At most so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct MemoryRow {
    id: Uuid,
    owner: String,
    kind: String,
    swarm_id: Option<Uuid>,
    workflow_run_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    thread_id: Option<Uuid>,
    created_at: DateTime<Utc>,
    claim: Option<String>,
    confidence: Option<String>,
    sources: Option<JsonText>,
    name: Option<String>,
    version: Option<i64>,
    artifact_kind: Option<String>,
    content: Option<String>,
    file: Option<String>,
    decision: Option<String>,
    rationale: Option<String>,
    alternatives: Option<JsonText>,
}

const SELECT: &str = "SELECT m.id, m.owner, m.kind, m.swarm_id, m.workflow_run_id, m.agent_id, m.thread_id, m.created_at, \
                      f.claim, f.confidence, f.sources, a.name, a.version, a.kind AS artifact_kind, a.content, a.file, \
                      d.decision, d.rationale, d.alternatives FROM memory m LEFT JOIN finding f ON f.id = m.id \
                      LEFT JOIN artifact a ON a.id = m.id LEFT JOIN decision d ON d.id = m.id WHERE m.scope_id = ";

impl MemoryRow {
    fn into_memory(self) -> Result<Memory, StoreError> {
        let part = |part: Option<String>| part.ok_or_else(|| StoreError::internal("a memory lacks its content"));
        let list = |list: Option<JsonText>| list.as_ref().map(JsonText::parse::<Vec<String>>).transpose();
        let content = match word(&self.kind)? {
            MemoryKind::Finding => Content::Finding {
                claim: part(self.claim)?,
                confidence: word(&part(self.confidence)?)?,
                sources: list(self.sources)?.unwrap_or_default(),
            },
            MemoryKind::Artifact => Content::Artifact {
                name: part(self.name)?,
                version: u32::try_from(self.version.unwrap_or_default()).map_err(StoreError::internal)?,
                kind: part(self.artifact_kind)?,
                content: self.content,
                file: self.file,
            },
            MemoryKind::Decision => Content::Decision {
                decision: part(self.decision)?,
                rationale: part(self.rationale)?,
                alternatives: list(self.alternatives)?.unwrap_or_default(),
            },
        };
        let scope = match (self.swarm_id, self.workflow_run_id) {
            (Some(id), _) => Scope::Swarm(id.into()),
            (None, Some(id)) => Scope::WorkflowRun(id.into()),
            (None, None) => return Err(StoreError::internal("a memory that belongs to nobody")),
        };
        Ok(Memory {
            id: self.id.into(),
            owner: self.owner,
            scope,
            agent_id: self.agent_id.map(Into::into),
            thread_id: self.thread_id.map(Into::into),
            created_at: self.created_at,
            content,
        })
    }
}

#[derive(sqlx::FromRow)]
struct VerdictRow {
    id: Uuid,
    memory_id: Uuid,
    agent_id: Option<Uuid>,
    verdict: String,
    comment: Option<String>,
    created_at: DateTime<Utc>,
}

/// A search as FTS5 reads it. Phrases consist of letters, digits and spaces, so quoting them is enough.
fn fts5(scope: Scope, search: &Search) -> String {
    let phrases = search.phrases().iter().map(|phrase| format!(" AND words : \"{phrase}\""));
    format!("scope : \"{}\"{}", scope.uuid().simple(), phrases.collect::<String>())
}

impl Store {
    /// What passes the filter, newest first.
    pub async fn search_memory(&self, filter: &MemoryFilter) -> Result<Vec<Memory>, StoreError> {
        if filter.search.as_ref().is_some_and(|search| search.phrases().is_empty()) {
            return Ok(vec![]);
        }
        let is_sqlite = matches!(self.db, Db::Sqlite { .. });
        let rows: Vec<MemoryRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new(SELECT);
            query.push_bind(filter.scope.uuid());
            match &filter.search {
                Some(search) if is_sqlite => {
                    query.push(" AND m.id IN (SELECT memory_id FROM memory_search WHERE memory_search MATCH ");
                    query.push_bind(fts5(filter.scope, search)).push(")");
                }
                Some(search) => {
                    for phrase in search.phrases() {
                        query.push(" AND to_tsvector('simple', m.words) @@ phraseto_tsquery('simple', ");
                        query.push_bind(phrase.clone()).push(")");
                    }
                }
                None => {}
            }
            if let Some(kind) = filter.kind {
                query.push(" AND m.kind = ").push_bind(kind.as_str());
            }
            if let Some(id) = filter.id {
                query.push(" AND m.id = ").push_bind(id.uuid());
            }
            if let Some(before) = filter.before {
                query.push(" AND m.id < ").push_bind(before.uuid());
            }
            query.push(" ORDER BY m.id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.build_query_as().fetch_all(p).await?
        });
        rows.into_iter().map(MemoryRow::into_memory).collect()
    }

    /// What was said of things remembered, oldest first.
    pub async fn list_verdicts(&self, memories: &[MemoryId]) -> Result<Vec<MemoryVerdict>, StoreError> {
        if memories.is_empty() {
            return Ok(vec![]);
        }
        let rows: Vec<VerdictRow> = on!(read & self.db, |p| {
            let mut query = sqlx::QueryBuilder::new("SELECT * FROM memory_verdict WHERE memory_id IN (");
            let mut list = query.separated(", ");
            for memory in memories {
                list.push_bind(memory.uuid());
            }
            query.push(") ORDER BY id");
            query.build_query_as().fetch_all(p).await?
        });
        let verdicts = rows.into_iter().map(|row| {
            Ok(MemoryVerdict {
                id: row.id,
                memory_id: row.memory_id.into(),
                agent_id: row.agent_id.map(Into::into),
                verdict: word(&row.verdict)?,
                comment: row.comment,
                created_at: row.created_at,
            })
        });
        verdicts.collect()
    }

    /// The latest version of an artifact; 0 while there is none.
    pub async fn artifact_version(&self, scope: Scope, name: &str) -> Result<u32, StoreError> {
        const SQL: &str = "SELECT MAX(version) FROM artifact WHERE scope_id = $1 AND name = $2";
        let last: Option<i64> =
            on!(write & self.db, |p| sqlx::query_scalar(SQL).bind(scope.uuid()).bind(text(name)).fetch_one(p).await?);
        u32::try_from(last.unwrap_or_default()).map_err(StoreError::internal)
    }
}
