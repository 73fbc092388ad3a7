//! Appending: what was captured from a process together with what follows from it, as one transaction.

use super::{
    Process, Store, StoreError, TaskChange, TeamChange,
    agents::{END_WAITING, END_WAITING_OF_TERMINATED},
    db::{micros, on, text, uncancelled},
    events::EventRow,
    json::JsonText,
    meters,
    runs::INSERT_RUN,
    tasks::{TaskRow, change_sql},
    team::{self, apply_change},
};
use crate::model::{
    agent::AgentStatus,
    event::Event,
    id::{AgentId, ProcessId, RunId, TaskId},
    run::{Failure, Run, RunOutcome},
    task::{Task, TaskStatus},
};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use std::fmt::Write as _;
use uuid::Uuid;

/// What was captured from a process in one go, and what follows from it.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The process it was captured from.
    pub process_id: ProcessId,
    /// Bytes of output stored so far; the batch counts only when the store agrees.
    pub expected_offset: i64,
    /// Bytes of output stored with this batch.
    pub offset: i64,
    /// What the runner needs to read on from there.
    pub state: &'a Value,
    /// The events, in order, all of the agent. One whose `(agent_id, seq)` is stored already is skipped.
    pub events: &'a [Event],
    /// What the run looks like now.
    pub run: Option<RunUpdate<'a>>,
    /// Where the agent stands now.
    pub agent_status: Option<AgentStatus>,
    /// Why the agent cannot go on, when it fails.
    pub agent_failure: Option<&'a Failure>,
    /// Whether the agent's session exists for its CLI.
    pub session_started: bool,
    /// A status change of a task, made only if the lifecycle allows it.
    pub task: Option<(TaskId, TaskChange)>,
    /// A message that gets its turn now.
    pub begun: Option<&'a Begun>,
    /// A message that is sent into the running turn, with its generation.
    pub steering: Option<(TaskId, i64)>,
    /// A message that joined the turn of another task: both, in this order.
    pub joined: Option<(TaskId, TaskId)>,
    /// A message that was sent but not taken up, and waits again.
    pub released: Option<TaskId>,
    /// The agent that works.
    pub agent_id: AgentId,
    /// The run it works on from now on.
    pub run_id: Option<RunId>,
    /// Whether this is all the process will ever have written.
    pub process_ended: bool,
    /// What the agent does by a tool; the batch is refused when that cannot be done as it was prepared.
    pub team: Option<&'a TeamChange>,
    /// The process that takes over from it, with the session it uses.
    pub next: Option<(&'a Process, Uuid)>,
    /// When the batch was captured.
    pub at: DateTime<Utc>,
}

/// What a run looks like; replaces what was stored.
#[derive(Debug, Clone, Copy)]
pub struct RunUpdate<'a> {
    /// The run.
    pub id: RunId,
    /// What is going on, in words.
    pub progress: &'a str,
    /// The end of the latest text the agent wrote.
    pub latest_output: &'a str,
    /// What came of it so far.
    pub outcome: &'a RunOutcome,
    /// Whether it is over.
    pub ended: bool,
}

/// A message whose turn begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// Its generation as it was read.
    pub task_generation: i64,
    /// Its run.
    pub run: Run,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Appended {
    /// Everything was stored.
    Done {
        /// The task after the change; `None` when none was asked for or the lifecycle does not allow it.
        task: Option<Box<Task>>,
    },
    /// The message that was to begin or to be sent, or what a tool was to change, is not as it was read. Nothing was written.
    Refused,
    /// The process is unknown or stands at another offset: somebody else stored this output. Nothing was written.
    Stale,
}

/// Columns filled by [`insert_sql`].
const COLUMNS: usize = 10;
/// Gives out cursors. The row stays locked until the transaction ends, so cursors become visible in their order.
const TAKE_CURSORS: &str = "UPDATE event_cursor SET last = last + $1 RETURNING last, (SELECT owner FROM agent WHERE id = $2)";

/// The statement for `rows` events. Called with powers of two only, so that the prepared ones are few.
fn insert_sql(rows: usize) -> AssertSqlSafe<String> {
    let mut sql =
        "INSERT INTO event (agent_id, seq, task_id, task_seq, cursor, owner, run_id, at, kind, data) VALUES ".to_owned();
    for row in 0..rows {
        for column in 1..=COLUMNS {
            let before = if column > 1 {
                ", "
            } else if row > 0 {
                ", ("
            } else {
                "("
            };
            let _ = write!(sql, "{before}${}", row * COLUMNS + column);
        }
        sql.push(')');
    }
    sql.push_str(" ON CONFLICT (agent_id, seq) DO NOTHING");
    AssertSqlSafe(sql)
}

/// How many of `left` events go into the next statement.
const fn chunk(left: usize) -> usize {
    if left >= 256 { 256 } else { 1 << left.ilog2() }
}

const ADVANCE: &str = "UPDATE process SET stdout_offset = $3, state = $4, ended_at = COALESCE(ended_at, $5), run_id = $6 \
                       WHERE id = $1 AND stdout_offset = $2";
const UPDATE_RUN: &str = "UPDATE run SET progress = $2, latest_output = $3, outcome = $4, ended_at = COALESCE(ended_at, $5), \
                          cost_usd = $6, tokens = $7, model = $8 WHERE id = $1";
/// One that is to be ended ends with its process, whatever its actor meant to do: the request may have come too late for it.
const UPDATE_AGENT: &str = "UPDATE agent SET status = CASE WHEN terminate_requested AND $2 IN ('parked', 'failed', 'lost') \
                            THEN 'terminated' ELSE $2 END, generation = generation + 1, updated_at = $3, \
                            failure = CASE WHEN terminate_requested THEN NULL ELSE $4 END WHERE id = $1";
const START_SESSION: &str = "UPDATE agent SET session_started = TRUE WHERE id = $1 AND NOT session_started";
/// The agent before its messages, as when it is told to end: in another order the two could wait for each other.
const HOLD_AGENT: &str = "UPDATE agent SET generation = generation WHERE id = $1";
/// A message that waits, or one that was sent into a turn which ended first. One that has this run already was taken by
/// the same batch, when the answer to its commit was lost.
const BEGIN_TASK: &str = "UPDATE task SET status = 'assigned', run_id = $3, updated_at = $4, generation = $2 + 1 WHERE id = $1 \
                          AND ((generation = $2 AND (status = 'assigned' OR (status = 'created' AND NOT cancel_requested))) \
                          OR (generation = $2 + 1 AND status = 'assigned' AND run_id = $3))";
const SEND_TASK: &str = "UPDATE task SET status = 'assigned', run_id = $3, updated_at = $4, generation = $2 + 1 WHERE id = $1 \
                         AND ((generation = $2 AND status = 'created' AND NOT cancel_requested) \
                         OR (generation = $2 + 1 AND status = 'assigned' AND run_id = $3))";
const JOIN_TASK: &str = "UPDATE task SET status = 'complete', joined_task_id = $2, run_id = $3, updated_at = $4, \
                         started_at = $4, ended_at = $4, generation = generation + 1 WHERE id = $1 AND status = 'assigned'";
/// A message that was cancelled while it was on its way waits for nothing.
const RELEASE_TASK: &str = "UPDATE task SET status = CASE WHEN cancel_requested THEN 'cancelled' ELSE 'created' END, \
                            ended_at = CASE WHEN cancel_requested THEN $2 END, run_id = NULL, updated_at = $2, \
                            generation = generation + 1 WHERE id = $1 AND status = 'assigned'";

const INSERT_NEXT: &str = "INSERT INTO process (id, agent_id, run_id, stdout_offset, state, started_at) \
                           VALUES ($1, $2, $3, 0, $4, $5) ON CONFLICT (id) DO NOTHING";
const UPDATE_SESSION: &str = "UPDATE agent SET session_id = $2 WHERE id = $1";

/// A batch in the form the statements take it; owned, because the transaction outlives a dropped caller.
struct Prepared {
    process_id: Uuid,
    expected_offset: i64,
    offset: i64,
    state: JsonText,
    ended_at: Option<DateTime<Utc>>,
    events: Vec<EventRow>,
    run_id: Option<Uuid>,
    run: Option<PreparedRun>,
    agent_id: Uuid,
    agent_status: Option<AgentStatus>,
    agent_failure: Option<JsonText>,
    session_started: bool,
    task: Option<(Uuid, TaskChange, Option<JsonText>)>,
    begun: Option<(Begun, JsonText)>,
    steering: Option<(Uuid, i64)>,
    joined: Option<(Uuid, Uuid)>,
    released: Option<Uuid>,
    /// What becomes of the messages that wait for the agent.
    waiting: Option<(TaskStatus, Option<JsonText>)>,
    team: Option<team::Prepared>,
    next: Option<(Uuid, JsonText, DateTime<Utc>, Uuid)>,
    at: DateTime<Utc>,
}

struct PreparedRun {
    id: Uuid,
    progress: String,
    latest_output: String,
    outcome: JsonText,
    ended_at: Option<DateTime<Utc>>,
    cost_usd: Option<f64>,
    tokens: Option<i64>,
    model: Option<String>,
}

impl Prepared {
    fn new(batch: &Batch<'_>) -> Result<Self, StoreError> {
        let at = micros(batch.at);
        let run = match batch.run {
            Some(run) => Some(PreparedRun {
                id: run.id.uuid(),
                progress: text(run.progress).into_owned(),
                latest_output: text(run.latest_output).into_owned(),
                outcome: JsonText::of(run.outcome)?,
                ended_at: run.ended.then_some(at),
                cost_usd: run.outcome.cost_usd,
                tokens: run.outcome.tokens.and_then(|tokens| i64::try_from(tokens).ok()),
                model: run.outcome.model.as_deref().map(|model| text(model).into_owned()),
            }),
            None => None,
        };
        let task = match &batch.task {
            Some((id, change)) => Some((id.uuid(), change.clone(), JsonText::of_option(change.failure.as_ref())?)),
            None => None,
        };
        let waiting = match (batch.agent_status, batch.agent_failure) {
            (Some(AgentStatus::Terminated), _) => Some((TaskStatus::Cancelled, None)),
            (Some(AgentStatus::Failed | AgentStatus::Lost), Some(failure)) => {
                Some((TaskStatus::Failed, Some(JsonText::of(&super::waiting_failure(batch.agent_id, failure))?)))
            }
            _ => None,
        };
        Ok(Self {
            process_id: batch.process_id.uuid(),
            expected_offset: batch.expected_offset,
            offset: batch.offset,
            state: JsonText::of(batch.state)?,
            ended_at: batch.process_ended.then_some(at),
            events: batch.events.iter().map(EventRow::new).collect::<Result<_, _>>()?,
            run_id: batch.run_id.map(RunId::uuid),
            run,
            agent_id: batch.agent_id.uuid(),
            agent_status: batch.agent_status,
            agent_failure: JsonText::of_option(batch.agent_failure)?,
            session_started: batch.session_started,
            begun: match batch.begun {
                Some(begun) => Some((begun.clone(), JsonText::of(&begun.run.outcome)?)),
                None => None,
            },
            steering: batch.steering.map(|(id, generation)| (id.uuid(), generation)),
            joined: batch.joined.map(|(id, by)| (id.uuid(), by.uuid())),
            released: batch.released.map(TaskId::uuid),
            waiting,
            team: batch.team.cloned().map(TeamChange::prepare).transpose()?,
            next: match batch.next {
                Some((process, session)) => {
                    Some((process.id.uuid(), JsonText::of(&process.state)?, micros(process.started_at), session))
                }
                None => None,
            },
            task,
            at,
        })
    }
}

impl Store {
    /// Stores a batch, all or nothing: the offset, the events, and the changes of runs, agent and tasks.
    #[expect(clippy::too_many_lines, reason = "one transaction, in its order")]
    pub async fn append(&self, batch: &Batch<'_>) -> Result<Appended, StoreError> {
        let db = self.db.clone();
        let b = Prepared::new(batch)?;
        // An outer `None` rolls back.
        let (mut refused, mut waiting) = (false, 0);
        let (done, refused, waiting): (Option<Option<TaskRow>>, bool, u64) = uncancelled(Box::pin(async move {
            let done = on!(tx db, |t| {
                if let Some((begun, outcome)) = b.begun {
                    let run = begun.run;
                    sqlx::query(HOLD_AGENT).bind(b.agent_id).execute(&mut *t).await?;
                    let begin = sqlx::query(BEGIN_TASK).bind(run.task_id.uuid()).bind(begun.task_generation);
                    let begin = begin.bind(run.id.uuid()).bind(b.at).execute(&mut *t).await?;
                    refused |= begin.rows_affected() == 0;
                    if !refused {
                        sqlx::query(INSERT_RUN)
                            .bind(run.id.uuid())
                            .bind(run.task_id.uuid())
                            .bind(run.agent_id.uuid())
                            .bind(text(&run.progress).into_owned())
                            .bind(text(&run.latest_output).into_owned())
                            .bind(outcome)
                            .bind(micros(run.started_at))
                            .bind(None::<DateTime<Utc>>)
                            .execute(&mut *t)
                            .await?;
                    }
                }
                if let Some((task, generation)) = b.steering {
                    let send = sqlx::query(SEND_TASK).bind(task).bind(generation).bind(b.run_id).bind(b.at);
                    refused |= send.execute(&mut *t).await?.rows_affected() == 0;
                }
                let advanced = if refused {
                    0
                } else {
                    let advance = sqlx::query(ADVANCE).bind(b.process_id).bind(b.expected_offset).bind(b.offset);
                    let advance = advance.bind(b.state).bind(b.ended_at).bind(b.run_id);
                    advance.execute(&mut *t).await?.rows_affected()
                };
                let holds = match b.team {
                    Some(change) if advanced == 1 => apply_change!(t, change),
                    _ => true,
                };
                refused |= !holds;
                if advanced == 1 && holds {
                    if let Some(run) = b.run {
                        let update = sqlx::query(UPDATE_RUN).bind(run.id).bind(run.progress).bind(run.latest_output);
                        let update = update.bind(run.outcome).bind(run.ended_at).bind(run.cost_usd).bind(run.tokens);
                        update.bind(run.model).execute(&mut *t).await?;
                    }
                    if let Some((task, by)) = b.joined {
                        let join = sqlx::query(JOIN_TASK).bind(task).bind(by).bind(b.run_id).bind(b.at);
                        join.execute(&mut *t).await?;
                    }
                    if let Some(task) = b.released {
                        sqlx::query(RELEASE_TASK).bind(task).bind(b.at).execute(&mut *t).await?;
                    }
                    if b.session_started {
                        sqlx::query(START_SESSION).bind(b.agent_id).execute(&mut *t).await?;
                    }
                    if let Some(status) = b.agent_status {
                        let update = sqlx::query(UPDATE_AGENT).bind(b.agent_id).bind(status.as_str()).bind(b.at);
                        update.bind(b.agent_failure).execute(&mut *t).await?;
                    }
                    if b.ended_at.is_some() {
                        sqlx::query(END_WAITING_OF_TERMINATED).bind(b.agent_id).bind(b.at).execute(&mut *t).await?;
                    }
                    if let Some((status, failure)) = b.waiting {
                        let end = sqlx::query(END_WAITING).bind(b.agent_id).bind(status.as_str()).bind(failure).bind(b.at);
                        waiting = end.execute(&mut *t).await?.rows_affected();
                    }
                    if let Some((id, state, started_at, session)) = b.next {
                        let insert = sqlx::query(INSERT_NEXT).bind(id).bind(b.agent_id).bind(b.run_id).bind(state);
                        insert.bind(started_at).execute(&mut *t).await?;
                        sqlx::query(UPDATE_SESSION).bind(b.agent_id).bind(session).execute(&mut *t).await?;
                    }
                    let task = match b.task {
                        Some((id, change, failure)) => {
                            sqlx::query_as(change_sql(change.status, ""))
                                .bind(id)
                                .bind(change.status.as_str())
                                .bind(failure)
                                .bind(micros(change.at))
                                .bind(change.started_at())
                                .bind(change.ended_at())
                                .bind(change.dead_letter)
                                .fetch_optional(&mut *t)
                                .await?
                        }
                        None => None,
                    };
                    // Last, because other appends wait from here on.
                    let mut events = b.events.into_iter();
                    if let Ok(count @ 1..) = i64::try_from(events.len()) {
                        let taken = sqlx::query_as(TAKE_CURSORS).bind(count).bind(b.agent_id);
                        let (last, owner): (i64, String) = taken.fetch_one(&mut *t).await?;
                        let mut cursor = last - count;
                        while events.len() > 0 {
                            let rows = chunk(events.len());
                            let mut insert = sqlx::query(insert_sql(rows));
                            for row in events.by_ref().take(rows) {
                                cursor += 1;
                                insert = insert.bind(row.agent_id).bind(row.seq).bind(row.task_id).bind(row.task_seq);
                                insert = insert.bind(cursor).bind(owner.clone()).bind(row.run_id);
                                insert = insert.bind(row.at).bind(row.kind).bind(row.data);
                            }
                            insert.execute(&mut *t).await?;
                        }
                    }
                    Some(task)
                } else {
                    None
                }
            });
            Ok((done, refused, waiting))
        }))
        .await?;
        Ok(match done {
            Some(row) => {
                let task = row.map(TaskRow::into_task).transpose()?.map(Box::new);
                meters::stored(batch, task.as_deref(), waiting);
                Appended::Done { task }
            }
            None if refused => Appended::Refused,
            None => Appended::Stale,
        })
    }
}
