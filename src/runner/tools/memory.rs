//! What the team remembers.

use super::{Caller, Outcome, Refused, told};
use crate::{
    model::{
        id::MemoryId,
        memory::{Content, Memory, MemoryVerdict, ReviewStatus, Scope, Verdict, words::Search},
        swarm::Swarm,
        tool::{SaveArtifact, SearchMemory},
    },
    store::{MemoryFilter, TeamChange},
};
use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

/// Results given at once when the caller names no limit.
const RESULTS: u32 = 10;
/// Characters shown of an artifact among other results.
const EXCERPT_CHARS: usize = 500;

fn memory(caller: &Caller<'_>, swarm: &Swarm, content: Content) -> Memory {
    Memory {
        id: MemoryId::generate(),
        owner: swarm.owner.clone(),
        scope: Scope::Swarm(swarm.id),
        agent_id: Some(caller.agent.id),
        thread_id: None,
        created_at: Utc::now(),
        content,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of several that may refuse")]
pub(super) fn remember(caller: &Caller<'_>, swarm: &Swarm, content: Content) -> Result<Outcome, Refused> {
    let memory = memory(caller, swarm, content);
    let answer = json!({"id": memory.id, "kind": memory.content.kind()});
    Ok(told(&answer, Some(TeamChange::Remember(Box::new(memory)))))
}

pub(super) async fn save_artifact(caller: &Caller<'_>, swarm: &Swarm, given: SaveArtifact) -> Result<Outcome, Refused> {
    let SaveArtifact { name, kind, content, file } = given;
    let version = caller.store.artifact_version(Scope::Swarm(swarm.id), &name).await? + 1;
    let memory = memory(caller, swarm, Content::Artifact { name: name.clone(), version, kind, content, file });
    let answer = json!({"id": memory.id, "name": name, "version": version, "review_status": ReviewStatus::Pending});
    Ok(told(&answer, Some(TeamChange::Remember(Box::new(memory)))))
}

pub(super) async fn judge(
    caller: &Caller<'_>,
    swarm: &Swarm,
    id: MemoryId,
    verdict: Verdict,
    comment: Option<String>,
) -> Result<Outcome, Refused> {
    let kind = verdict.kind();
    let filter =
        MemoryFilter { scope: Scope::Swarm(swarm.id), search: None, kind: Some(kind), id: Some(id), before: None, limit: 1 };
    let found = caller.store.search_memory(&filter).await?.pop();
    let found = found.ok_or_else(|| format!("your team has no {kind} {id}; search_memory shows the ids"))?;
    if found.agent_id == Some(caller.agent.id) {
        return Err(format!("the {kind} is your own; somebody else has to judge it").into());
    }
    let verdict = MemoryVerdict {
        id: Uuid::now_v7(),
        memory_id: id,
        agent_id: Some(caller.agent.id),
        verdict,
        comment,
        created_at: Utc::now(),
    };
    Ok(told(&json!({"id": id, "verdict": verdict.verdict}), Some(TeamChange::Judge(verdict))))
}

pub(super) async fn search(caller: &Caller<'_>, swarm: &Swarm, given: &SearchMemory) -> Result<Outcome, Refused> {
    let limit = given.limit.unwrap_or(RESULTS);
    let filter = MemoryFilter {
        scope: Scope::Swarm(swarm.id),
        search: Search::parse(&given.query),
        kind: given.kind,
        id: given.id,
        before: None,
        limit: limit + 1,
    };
    let mut found = caller.store.search_memory(&filter).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let ids: Vec<_> = found.iter().map(|memory| memory.id).collect();
    let verdicts = caller.store.list_verdicts(&ids).await?;
    let shown = found.into_iter().map(|memory| {
        let about: Vec<_> = verdicts.iter().filter(|verdict| verdict.memory_id == memory.id).cloned().collect();
        shown(memory, &about, given.id.is_some())
    });
    Ok(told(&json!({"results": shown.collect::<Vec<_>>(), "has_more": more}), None))
}

fn shown(memory: Memory, verdicts: &[MemoryVerdict], whole: bool) -> Value {
    let mut shown = json!({"id": memory.id, "kind": memory.content.kind(), "by": memory.agent_id, "at": memory.created_at});
    match memory.content {
        Content::Finding { claim, confidence, sources } => {
            shown["claim"] = claim.into();
            shown["confidence"] = json!(confidence);
            shown["sources"] = json!(sources);
        }
        Content::Artifact { name, version, kind, content, file } => {
            shown["name"] = name.into();
            shown["version"] = version.into();
            shown["artifact_kind"] = kind.into();
            shown["review_status"] = json!(ReviewStatus::after(verdicts));
            if let Some(file) = file {
                shown["file"] = file.into();
            }
            if let Some(content) = content {
                let is_cut = !whole && content.chars().count() > EXCERPT_CHARS;
                if is_cut {
                    shown["note"] = "only the beginning; search_memory with this id gives it whole".into();
                    shown["content"] = content.chars().take(EXCERPT_CHARS).collect::<String>().into();
                } else {
                    shown["content"] = content.into();
                }
            }
        }
        Content::Decision { decision, rationale, alternatives } => {
            shown["decision"] = decision.into();
            shown["rationale"] = rationale.into();
            shown["alternatives"] = json!(alternatives);
        }
    }
    let said = verdicts.iter().map(|said| json!({"verdict": said.verdict, "by": said.agent_id, "comment": said.comment}));
    let said: Vec<_> = said.collect();
    if !said.is_empty() {
        shown["verdicts"] = said.into();
    }
    shown
}
