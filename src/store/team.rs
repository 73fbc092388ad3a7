//! What agents of a swarm do by their tools, as changes of the store: messages and what is remembered.
//!
//! Every change is made once however often it is applied: rows carry ids that were made before, and a row that is there
//! already is left alone. So a change can be part of a larger transaction that is repeated when its answer was lost.

use super::{
    Store, StoreError,
    db::{on, uncancelled},
    json::JsonText,
    meters,
};
use crate::model::{
    id::{AgentId, MessageId},
    memory::{Content, Memory, MemoryVerdict},
    task::{Task, TaskStatus},
    team::{Post, TeamMessage},
};
use chrono::{DateTime, Utc};

/// A change that an agent or a user makes.
#[derive(Debug, Clone)]
pub enum TeamChange {
    /// A message is sent.
    Send(Box<Post>),
    /// An agent has read messages.
    Read {
        /// The agent.
        agent: AgentId,
        /// The messages.
        messages: Vec<MessageId>,
        /// When.
        at: DateTime<Utc>,
    },
    /// Something is remembered.
    Remember(Box<Memory>),
    /// Somebody judges something remembered.
    Judge(MemoryVerdict),
}

/// The same, ready to be bound.
#[derive(Debug, Clone)]
pub(super) enum Prepared {
    Send(Vec<Sending>),
    Read { agent: AgentId, messages: Vec<MessageId>, at: DateTime<Utc> },
    Remember { memory: Box<Memory>, words: String, list: JsonText },
    Judge(MemoryVerdict),
}

/// A message to be stored, and what comes with it.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) message: TeamMessage,
    pub(super) recipients: Vec<Addressed>,
    pub(super) causes: Vec<MessageId>,
    /// Whether it counts as an answer to the message it replies to.
    pub(super) answers: bool,
}

/// A recipient of a message.
#[derive(Debug, Clone)]
pub(super) struct Addressed {
    pub(super) agent: AgentId,
    /// The turn that makes it read the message.
    pub(super) wake: Option<(JsonText, Task)>,
    pub(super) circle: Option<JsonText>,
}

impl Sending {
    fn new(post: Post) -> Result<Self, StoreError> {
        let mut recipients = Vec::with_capacity(post.recipients.len());
        for agent in &post.recipients {
            let wake = post.wake.iter().find(|task| task.agent_id == Some(*agent));
            recipients.push(Addressed {
                agent: *agent,
                wake: wake.map(|task| Ok::<_, StoreError>((JsonText::of(&task.limits)?, task.clone()))).transpose()?,
                circle: post.circle_at(*agent).map(|circle| JsonText::of(&circle.agents)).transpose()?,
            });
        }
        // Two who write to the same agents take their rows in the same order.
        recipients.sort_by_key(|one| one.agent);
        Ok(Self { recipients, causes: post.causes, answers: post.circles.is_empty(), message: post.message })
    }
}

impl TeamChange {
    pub(super) fn prepare(self) -> Result<Prepared, StoreError> {
        Ok(match self {
            Self::Send(post) => {
                let mut post = *post;
                let alert = post.alert.take();
                let posts = [Some(post), alert.map(|alert| *alert)].into_iter().flatten();
                Prepared::Send(posts.map(Sending::new).collect::<Result<_, _>>()?)
            }
            Self::Read { agent, messages, at } => Prepared::Read { agent, messages, at },
            Self::Remember(memory) => {
                let list = match &memory.content {
                    Content::Finding { sources, .. } => JsonText::of(sources)?,
                    Content::Decision { alternatives, .. } => JsonText::of(alternatives)?,
                    Content::Artifact { .. } => JsonText::of(&[(); 0])?,
                };
                Prepared::Remember { words: memory.content.words(), list, memory }
            }
            Self::Judge(verdict) => Prepared::Judge(verdict),
        })
    }
}

pub(super) const INSERT_MESSAGE: &str = "INSERT INTO team_message (id, swarm_id, owner, thread_id, from_agent, to_kind, to_agent, to_role, \
                                         kind, priority, subject, body, requires_response, deadline, in_reply_to, hops, created_at, \
                                         idempotency_key, request_hash, from_gateway) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, \
                                         $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20) ON CONFLICT DO NOTHING";
pub(super) const FIND_MESSAGE: &str = "SELECT count(*) FROM team_message WHERE id = $1";
pub(super) const INSERT_DELIVERY: &str =
    "INSERT INTO team_delivery (message_id, agent_id, wake_task_id, circle) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const INSERT_CAUSE: &str = "INSERT INTO team_cause (message_id, cause_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
/// Takes the row of an agent that can be woken. Whoever looks for turns that wait for it, or takes one back, has it first.
pub(super) const HOLD_WAKABLE: &str = "UPDATE agent SET updated_at = updated_at WHERE id = $1 AND durable AND NOT terminate_requested \
                                       AND status NOT IN ('terminated', 'failed', 'lost')";
pub(super) const COUNT_WAKES: &str = "SELECT count(*) FROM team_delivery d JOIN task t ON t.id = d.wake_task_id WHERE d.agent_id = $1 \
                                      AND t.status IN ('created', 'assigned') AND NOT t.cancel_requested";
pub(super) const ANSWER_DELIVERY: &str = "UPDATE team_delivery SET answered_by = COALESCE(answered_by, $3), \
                                          read_at = COALESCE(read_at, $4) WHERE message_id = $1 AND agent_id = $2";
pub(super) const READ_DELIVERY: &str =
    "UPDATE team_delivery SET read_at = $3 WHERE message_id = $1 AND agent_id = $2 AND read_at IS NULL";
/// There is nothing left that the agent would have been woken for.
pub(super) const CALL_OFF_WAKES: &str = "UPDATE task SET status = 'cancelled', updated_at = $2, ended_at = $2, generation = generation + 1 \
                                         WHERE agent_id = $1 AND status = 'created' \
                                         AND id IN (SELECT wake_task_id FROM team_delivery WHERE agent_id = $1) \
                                         AND NOT EXISTS (SELECT 1 FROM team_delivery d JOIN team_message m ON m.id = d.message_id \
                                         WHERE d.agent_id = $1 AND d.read_at IS NULL AND d.circle IS NULL AND m.requires_response)";
pub(super) const INSERT_MEMORY: &str = "INSERT INTO memory (id, owner, kind, scope_id, swarm_id, workflow_run_id, agent_id, thread_id, \
                                        words, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING";
pub(super) const INSERT_FINDING: &str =
    "INSERT INTO finding (id, claim, confidence, sources) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const INSERT_ARTIFACT: &str = "INSERT INTO artifact (id, scope_id, name, version, kind, content, file) \
                                          VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
pub(super) const FIND_ARTIFACT: &str = "SELECT count(*) FROM artifact WHERE id = $1";
pub(super) const INSERT_DECISION: &str =
    "INSERT INTO decision (id, decision, rationale, alternatives) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const INSERT_VERDICT: &str = "INSERT INTO memory_verdict (id, memory_id, agent_id, verdict, comment, created_at) \
                                         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

/// Makes a prepared change inside a transaction. `false`: somebody else has taken the key or the version; roll back.
macro_rules! apply_change {
    ($t:expr, $change:expr) => {{
        use $crate::{
            model::{
                id,
                memory::{Content, Scope},
                team::Recipient,
            },
            store::{
                db::{micros, text},
                team,
            },
        };
        match $change {
            team::Prepared::Send(sendings) => {
                // The rows of everybody who may be woken, before anything else and in the same order by everybody who writes.
                let woken = sendings.iter().flat_map(|sending| &sending.recipients).filter(|one| one.wake.is_some());
                let mut takes = std::collections::BTreeMap::new();
                for agent in woken.map(|one| one.agent).collect::<std::collections::BTreeSet<_>>() {
                    let hold = sqlx::query(team::HOLD_WAKABLE).bind(agent.uuid());
                    takes.insert(agent, hold.execute(&mut *$t).await?.rows_affected() == 1);
                }
                let mut holds = true;
                for team::Sending { message, recipients, causes, answers } in sendings {
                    let (to_agent, to_role) = match &message.to {
                        Recipient::Agent(id) => (Some(id.uuid()), None),
                        Recipient::Role(role) => (None, Some(role.as_str())),
                        Recipient::All | Recipient::User => (None, None),
                    };
                    let insert = sqlx::query(team::INSERT_MESSAGE)
                        .bind(message.id.uuid())
                        .bind(message.swarm_id.uuid())
                        .bind(text(&message.owner))
                        .bind(message.thread_id.uuid())
                        .bind(message.from_agent.map(id::AgentId::uuid))
                        .bind(message.to.kind())
                        .bind(to_agent)
                        .bind(to_role)
                        .bind(message.kind.as_str())
                        .bind(message.priority.rank())
                        .bind(text(&message.subject))
                        .bind(text(&message.body))
                        .bind(message.requires_response)
                        .bind(message.deadline.map(micros))
                        .bind(message.in_reply_to.map(id::MessageId::uuid))
                        .bind(i64::from(message.hops))
                        .bind(micros(message.created_at))
                        .bind(message.idempotency_key.as_deref().map(text))
                        .bind(&message.request_hash)
                        .bind(message.from_gateway);
                    if insert.execute(&mut *$t).await?.rows_affected() == 0 {
                        let found = sqlx::query_scalar(team::FIND_MESSAGE).bind(message.id.uuid());
                        let found: i64 = found.fetch_one(&mut *$t).await?;
                        holds &= found == 1;
                        continue;
                    }
                    for team::Addressed { agent, wake, circle } in recipients {
                        let mut woken_by = None;
                        if let Some((limits, task)) = wake {
                            let waiting = sqlx::query_scalar(team::COUNT_WAKES).bind(agent.uuid());
                            let waiting: i64 = waiting.fetch_one(&mut *$t).await?;
                            if takes.get(&agent) == Some(&true) && waiting == 0 {
                                let none: Option<$crate::store::json::JsonText> = None;
                                let insert = sqlx::query($crate::store::insert::INSERT_TASK);
                                $crate::store::insert::bind_task!(insert, task, none.clone(), none, limits)
                                    .execute(&mut *$t)
                                    .await?;
                                woken_by = Some(task.id.uuid());
                            }
                        }
                        let insert = sqlx::query(team::INSERT_DELIVERY).bind(message.id.uuid()).bind(agent.uuid());
                        insert.bind(woken_by).bind(circle).execute(&mut *$t).await?;
                    }
                    for cause in causes {
                        let insert = sqlx::query(team::INSERT_CAUSE).bind(message.id.uuid()).bind(cause.uuid());
                        insert.execute(&mut *$t).await?;
                    }
                    if let (Some(earlier), Some(from), true) = (message.in_reply_to, message.from_agent, answers) {
                        let answer = sqlx::query(team::ANSWER_DELIVERY).bind(earlier.uuid()).bind(from.uuid());
                        let answer = answer.bind(message.id.uuid()).bind(micros(message.created_at));
                        answer.execute(&mut *$t).await?;
                    }
                }
                holds
            }
            team::Prepared::Read { agent, messages, at } => {
                sqlx::query(team::HOLD_WAKABLE).bind(agent.uuid()).execute(&mut *$t).await?;
                for message in messages {
                    let read = sqlx::query(team::READ_DELIVERY).bind(message.uuid()).bind(agent.uuid());
                    read.bind(micros(at)).execute(&mut *$t).await?;
                }
                let off = sqlx::query(team::CALL_OFF_WAKES).bind(agent.uuid()).bind(micros(at));
                team::called_off(off.execute(&mut *$t).await?.rows_affected());
                true
            }
            team::Prepared::Remember { memory, words, list } => {
                let (swarm, run) = match memory.scope {
                    Scope::Swarm(id) => (Some(id.uuid()), None),
                    Scope::WorkflowRun(id) => (None, Some(id.uuid())),
                };
                sqlx::query(team::INSERT_MEMORY)
                    .bind(memory.id.uuid())
                    .bind(text(&memory.owner))
                    .bind(memory.content.kind().as_str())
                    .bind(memory.scope.uuid())
                    .bind(swarm)
                    .bind(run)
                    .bind(memory.agent_id.map(id::AgentId::uuid))
                    .bind(memory.thread_id.map(id::MessageId::uuid))
                    .bind(words)
                    .bind(micros(memory.created_at))
                    .execute(&mut *$t)
                    .await?;
                match &memory.content {
                    Content::Finding { claim, confidence, .. } => {
                        let insert = sqlx::query(team::INSERT_FINDING).bind(memory.id.uuid()).bind(text(claim));
                        insert.bind(confidence.as_str()).bind(list).execute(&mut *$t).await?;
                        true
                    }
                    Content::Decision { decision, rationale, .. } => {
                        let insert = sqlx::query(team::INSERT_DECISION).bind(memory.id.uuid()).bind(text(decision));
                        insert.bind(text(rationale)).bind(list).execute(&mut *$t).await?;
                        true
                    }
                    Content::Artifact { name, version, kind, content, file } => {
                        let insert = sqlx::query(team::INSERT_ARTIFACT)
                            .bind(memory.id.uuid())
                            .bind(memory.scope.uuid())
                            .bind(text(name))
                            .bind(i64::from(*version))
                            .bind(text(kind))
                            .bind(content.as_deref().map(text))
                            .bind(file.as_deref().map(text));
                        insert.execute(&mut *$t).await?;
                        let found = sqlx::query_scalar(team::FIND_ARTIFACT).bind(memory.id.uuid());
                        let found: i64 = found.fetch_one(&mut *$t).await?;
                        found == 1
                    }
                }
            }
            team::Prepared::Judge(verdict) => {
                sqlx::query(team::INSERT_VERDICT)
                    .bind(verdict.id)
                    .bind(verdict.memory_id.uuid())
                    .bind(verdict.agent_id.map(id::AgentId::uuid))
                    .bind(verdict.verdict.as_str())
                    .bind(verdict.comment.as_deref().map(text))
                    .bind(micros(verdict.created_at))
                    .execute(&mut *$t)
                    .await?;
                true
            }
        }
    }};
}
pub(super) use apply_change;

/// Counts the turns that were not needed any more.
pub(super) fn called_off(turns: u64) {
    meters::ended(TaskStatus::Cancelled, None, turns);
}

impl Store {
    /// Makes a change by itself, all or nothing. `false`: nothing was changed, because the idempotency key belongs to an
    /// earlier message or the version of the artifact is taken.
    pub async fn change_team(&self, change: TeamChange) -> Result<bool, StoreError> {
        let db = self.db.clone();
        let change = change.prepare()?;
        uncancelled(Box::pin(async move { Ok(on!(tx db, |t| apply_change!(t, change).then_some(())).is_some()) })).await
    }
}
