//! What a swarm remembers: findings, artifacts and decisions.

use super::{
    App,
    checks::Refusals,
    error::AppError,
    size::{excerpt, take_within},
    tasks::{page_cursor, page_limit},
    team::id_of,
};
use crate::{
    model::{
        id::{AgentId, MemoryId, MessageId, SwarmId},
        key::Principal,
        limits::QUERY_CHARS,
        memory::{
            Confidence, Content, Memory, MemoryKind, MemoryVerdict, ReviewStatus, Scope, Verdict, confirmations, words::Search,
        },
    },
    store::MemoryFilter,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Characters shown of an artifact in a list.
const EXCERPT_CHARS: usize = 500;

/// What to look for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct MemoryQuery {
    /// Words that must all be there; what stands in double quotes must be there as it stands. Left out: everything.
    #[param(nullable = false, max_length = 500)]
    pub query: Option<String>,
    /// Only this kind.
    #[param(nullable = false)]
    pub kind: Option<MemoryKind>,
    /// Only this one, and an artifact with its whole content.
    #[param(nullable = false, pattern = "^mem_[0-9a-f]{32}$")]
    pub id: Option<String>,
    /// Most results, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^mem_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// Something a swarm remembers. Which fields there are depends on the kind.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"id": "mem_0193f2a87c3e7d10b5a1c2d3e4f50617", "kind": "finding", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "claim": "The cache is never emptied.", "confidence": "high", "sources": ["src/cache.rs line 12"], "verdicts": [], "created_at": "2026-11-20T10:00:00Z"}))]
pub struct MemoryResource {
    /// Its id.
    pub id: MemoryId,
    /// What it is.
    pub kind: MemoryKind,
    /// The agent that remembers it; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// The conversation it came of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub thread_id: Option<MessageId>,
    /// finding: what is held to be true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub claim: Option<String>,
    /// finding: how surely.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub confidence: Option<Confidence>,
    /// finding: where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sources: Option<Vec<String>>,
    /// finding: the agents that have confirmed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verified_by: Option<Vec<AgentId>>,
    /// finding: when it was confirmed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub verified_at: Option<DateTime<Utc>>,
    /// finding: what was found against it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub contradicting_evidence: Option<Vec<String>>,
    /// artifact: the name all versions share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub name: Option<String>,
    /// artifact: which version this is, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub version: Option<u32>,
    /// artifact: what it is, in a word of its maker.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub artifact_kind: Option<String>,
    /// artifact: where it stands by the last verdict on this version.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub review_status: Option<ReviewStatus>,
    /// artifact: the text; only its beginning unless asked for by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub content: Option<String>,
    /// artifact: how many characters the text has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub content_chars: Option<usize>,
    /// artifact: the file it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub file: Option<String>,
    /// decision: what was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub decision: Option<String>,
    /// decision: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rationale: Option<String>,
    /// decision: what else there was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub alternatives: Option<Vec<String>>,
    /// What was said of it, oldest first.
    pub verdicts: Vec<VerdictView>,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What somebody says of a finding or an artifact.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VerdictView {
    /// What.
    pub verdict: Verdict,
    /// Who; absent when no agent did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// Evidence, or what to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub comment: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// A page of what a swarm remembers, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"memories": [{"id": "mem_0193f2a87c3e7d10b5a1c2d3e4f50617", "kind": "decision", "agent_id": "agent_0193f2a87c3e7d10b5a1c2d3e4f50617", "decision": "Sessions are kept in the database.", "rationale": "They must survive a restart.", "alternatives": ["signed cookies"], "verdicts": [], "created_at": "2026-11-20T10:00:00Z"}]}))]
pub struct MemoryPage {
    /// What was found.
    pub memories: Vec<MemoryResource>,
    /// Give it as `cursor` to get the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<MemoryId>,
}

impl App {
    /// What a swarm remembers that a search finds, newest first.
    pub async fn search_memory(&self, who: &Principal, id: SwarmId, query: &MemoryQuery) -> Result<MemoryPage, AppError> {
        let limit = page_limit(query.limit)?;
        let text = query.query.as_deref().unwrap_or_default();
        let mut refusals = Refusals::default();
        let chars = text.chars().count();
        refusals.check(chars <= QUERY_CHARS, "query", || format!("has {chars} characters; at most {QUERY_CHARS} are allowed"));
        refusals.finish()?;
        let one: Option<MemoryId> = id_of("id", query.id.as_deref())?;
        let filter = MemoryFilter {
            scope: Scope::Swarm(self.find_swarm(who, id).await?.id),
            search: Search::parse(text),
            kind: query.kind,
            id: one,
            before: query.cursor.as_deref().map(page_cursor).transpose()?,
            limit: limit + 1,
        };
        let mut found = self.store.search_memory(&filter).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let ids: Vec<_> = found.iter().map(|memory| memory.id).collect();
        let verdicts = self.store.list_verdicts(&ids).await?;
        let resources = found.into_iter().map(|memory| {
            let about: Vec<_> = verdicts.iter().filter(|verdict| verdict.memory_id == memory.id).cloned().collect();
            MemoryResource::new(memory, &about, one.is_some())
        });
        let (memories, cut) = take_within(resources.collect(), self.settings.page_chars());
        let next_cursor = memories.last().filter(|_| more || cut).map(|memory: &MemoryResource| memory.id);
        Ok(MemoryPage { memories, next_cursor })
    }
}

impl MemoryResource {
    fn new(memory: Memory, verdicts: &[MemoryVerdict], whole: bool) -> Self {
        let mut shown = Self {
            id: memory.id,
            kind: memory.content.kind(),
            agent_id: memory.agent_id,
            thread_id: memory.thread_id,
            claim: None,
            confidence: None,
            sources: None,
            verified_by: None,
            verified_at: None,
            contradicting_evidence: None,
            name: None,
            version: None,
            artifact_kind: None,
            review_status: None,
            content: None,
            content_chars: None,
            file: None,
            decision: None,
            rationale: None,
            alternatives: None,
            verdicts: verdicts.iter().map(VerdictView::from).collect(),
            created_at: memory.created_at,
        };
        match memory.content {
            Content::Finding { claim, confidence, sources } => {
                shown.claim = Some(claim);
                shown.confidence = Some(confidence);
                shown.sources = Some(sources);
                let of = |wanted| verdicts.iter().filter(move |given| given.verdict == wanted);
                let confirmed = confirmations(verdicts);
                shown.verified_by = Some(confirmed.iter().filter_map(|given| given.agent_id).collect());
                shown.verified_at = confirmed.last().map(|given| given.created_at);
                shown.contradicting_evidence =
                    Some(of(Verdict::Contradicted).filter_map(|given| given.comment.clone()).collect());
            }
            Content::Artifact { name, version, kind, content, file } => {
                shown.name = Some(name);
                shown.version = Some(version);
                shown.artifact_kind = Some(kind);
                shown.review_status = Some(ReviewStatus::after(verdicts));
                shown.content_chars = content.as_ref().map(|content| content.chars().count());
                shown.content = content.map(|content| if whole { content } else { excerpt(&content, EXCERPT_CHARS) });
                shown.file = file;
            }
            Content::Decision { decision, rationale, alternatives } => {
                shown.decision = Some(decision);
                shown.rationale = Some(rationale);
                shown.alternatives = Some(alternatives);
            }
        }
        shown
    }
}

impl From<&MemoryVerdict> for VerdictView {
    fn from(given: &MemoryVerdict) -> Self {
        Self { verdict: given.verdict, agent_id: given.agent_id, comment: given.comment.clone(), at: given.created_at }
    }
}
