//! What a team remembers: findings, artifacts and decisions. Nothing is changed once it is there: a new version is a new
//! row, and verdicts are rows of their own.

pub mod words;

use super::{
    id::{AgentId, MemoryId, MessageId, SwarmId, WorkflowRunId},
    word::word_enum,
};
use chrono::{DateTime, Utc};
use uuid::Uuid;

word_enum! {
    /// What is remembered.
    MemoryKind {
        /// Something that is held to be true.
        Finding = "finding",
        /// Something that was made.
        Artifact = "artifact",
        /// Something that was settled.
        Decision = "decision",
    }
}

word_enum! {
    /// How sure somebody is of a finding.
    Confidence {
        /// Seen or measured.
        High = "high",
        /// Likely.
        Medium = "medium",
        /// A guess.
        Low = "low",
    }
}

word_enum! {
    /// What others say of a finding or an artifact.
    Verdict {
        /// The finding holds.
        Confirmed = "confirmed",
        /// There is evidence against the finding.
        Contradicted = "contradicted",
        /// The artifact is good.
        Approved = "approved",
        /// The artifact has to be changed.
        NeedsRevision = "needs_revision",
        /// The artifact is of no use.
        Rejected = "rejected",
    }
}

impl Verdict {
    /// What the verdict can be about.
    pub const fn kind(self) -> MemoryKind {
        match self {
            Self::Confirmed | Self::Contradicted => MemoryKind::Finding,
            Self::Approved | Self::NeedsRevision | Self::Rejected => MemoryKind::Artifact,
        }
    }
}

word_enum! {
    /// Where an artifact stands.
    ReviewStatus {
        /// Nobody has judged it.
        Pending = "pending",
        /// The last verdict was good.
        Approved = "approved",
        /// It has to be changed.
        NeedsRevision = "needs_revision",
        /// It is of no use.
        Rejected = "rejected",
    }
}

impl ReviewStatus {
    /// The status after these verdicts, oldest first: the last one counts.
    pub fn after(verdicts: &[MemoryVerdict]) -> Self {
        let last = verdicts.iter().rev().find_map(|given| match given.verdict {
            Verdict::Approved => Some(Self::Approved),
            Verdict::NeedsRevision => Some(Self::NeedsRevision),
            Verdict::Rejected => Some(Self::Rejected),
            Verdict::Confirmed | Verdict::Contradicted => None,
        });
        last.unwrap_or(Self::Pending)
    }
}

/// The confirmations of a finding that stand: of each agent that has not contradicted it since. `verdicts` are in order of time.
pub fn confirmations(verdicts: &[MemoryVerdict]) -> Vec<&MemoryVerdict> {
    let mut standing: Vec<&MemoryVerdict> = Vec::new();
    for given in verdicts {
        if matches!(given.verdict, Verdict::Confirmed | Verdict::Contradicted) {
            standing.retain(|earlier| earlier.agent_id != given.agent_id);
        }
        if given.verdict == Verdict::Confirmed {
            standing.push(given);
        }
    }
    standing
}

/// Who shares a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The agents of a swarm.
    Swarm(SwarmId),
    /// The turns of a workflow's run.
    WorkflowRun(WorkflowRunId),
}

impl Scope {
    /// The bare id.
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Swarm(id) => id.uuid(),
            Self::WorkflowRun(id) => id.uuid(),
        }
    }
}

/// Something remembered, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Its identifier.
    pub id: MemoryId,
    /// The user it belongs to.
    pub owner: String,
    /// Who shares it.
    pub scope: Scope,
    /// Who remembers it; the user or the gateway when absent.
    pub agent_id: Option<AgentId>,
    /// The conversation it came of.
    pub thread_id: Option<MessageId>,
    /// When.
    pub created_at: DateTime<Utc>,
    /// What.
    pub content: Content,
}

/// What is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something that is held to be true.
    Finding {
        /// What.
        claim: String,
        /// How surely.
        confidence: Confidence,
        /// Where it comes from.
        sources: Vec<String>,
    },
    /// A version of something that was made.
    Artifact {
        /// The name all versions share.
        name: String,
        /// Counts from 1.
        version: u32,
        /// What it is, in a word of its maker.
        kind: String,
        /// The text itself.
        content: Option<String>,
        /// Or the file it is in.
        file: Option<String>,
    },
    /// Something that was settled.
    Decision {
        /// What.
        decision: String,
        /// Why.
        rationale: String,
        /// What else there was.
        alternatives: Vec<String>,
    },
}

impl Content {
    /// Which kind it is.
    pub const fn kind(&self) -> MemoryKind {
        match self {
            Self::Finding { .. } => MemoryKind::Finding,
            Self::Artifact { .. } => MemoryKind::Artifact,
            Self::Decision { .. } => MemoryKind::Decision,
        }
    }

    /// The words a search finds it by.
    pub fn words(&self) -> String {
        let texts: Vec<&str> = match self {
            Self::Finding { claim, sources, .. } => {
                std::iter::once(claim.as_str()).chain(sources.iter().map(String::as_str)).collect()
            }
            Self::Artifact { name, kind, content, file, .. } => {
                [Some(name), Some(kind), file.as_ref(), content.as_ref()].into_iter().flatten().map(String::as_str).collect()
            }
            Self::Decision { decision, rationale, alternatives } => {
                [decision, rationale].into_iter().chain(alternatives).map(String::as_str).collect()
            }
        };
        words::of_text(&texts.join("\n"))
    }
}

/// What somebody says of something remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryVerdict {
    /// Its identifier.
    pub id: Uuid,
    /// What it is about.
    pub memory_id: MemoryId,
    /// Who says it; the user when absent.
    pub agent_id: Option<AgentId>,
    /// What.
    pub verdict: Verdict,
    /// Evidence, or what to change.
    pub comment: Option<String>,
    /// When.
    pub created_at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_stands_until_the_same_agent_contradicts_it() {
        let (finding, one, other) = (MemoryId::generate(), AgentId::generate(), AgentId::generate());
        let said = |agent, verdict| MemoryVerdict {
            id: Uuid::now_v7(),
            memory_id: finding,
            agent_id: Some(agent),
            verdict,
            comment: None,
            created_at: Utc::now(),
        };
        let mut verdicts = vec![said(one, Verdict::Confirmed), said(other, Verdict::Confirmed), said(one, Verdict::Contradicted)];
        let standing =
            |verdicts: &[MemoryVerdict]| confirmations(verdicts).iter().filter_map(|given| given.agent_id).collect::<Vec<_>>();
        assert_eq!(standing(&verdicts), [other]);
        verdicts.push(said(one, Verdict::Confirmed));
        assert_eq!(standing(&verdicts), [other, one]);
    }
}
