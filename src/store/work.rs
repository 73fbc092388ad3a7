//! Work that is stored together with the step that asks for it: agents, and the tasks that are their turns.

use super::{StoreError, json::JsonText};
use crate::model::{agent::Agent, task::Task};

/// Agents and tasks to store in one transaction with what they belong to. Limits on waiting tasks and agents are the
/// business of whoever began the whole; budgets hold for each turn when it begins.
#[derive(Debug, Clone, Default)]
pub struct NewWork {
    /// New agents.
    pub agents: Vec<Agent>,
    /// New tasks; those with a mode are messages to agents, which may be among the new ones.
    pub tasks: Vec<Task>,
}

/// The same, ready to be bound.
pub(super) struct Prepared {
    pub(super) agents: Vec<(Agent, JsonText)>,
    pub(super) tasks: Vec<(Task, Option<JsonText>, JsonText)>,
}

impl NewWork {
    pub(super) fn prepare(self) -> Result<Prepared, StoreError> {
        let agents = self.agents.into_iter().map(|agent| Ok((JsonText::of(&agent.limits)?, agent)));
        let tasks = self
            .tasks
            .into_iter()
            .map(|task| Ok((JsonText::of_option(task.output_schema.as_ref())?, JsonText::of(&task.limits)?, task)));
        Ok(Prepared {
            agents: agents
                .map(|made: Result<_, StoreError>| made.map(|(limits, agent)| (agent, limits)))
                .collect::<Result<_, _>>()?,
            tasks: tasks
                .map(|made: Result<_, StoreError>| made.map(|(schema, limits, task)| (task, schema, limits)))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Stores prepared work inside a transaction. Gives the first agent that takes no messages any more: then roll back.
macro_rules! insert_work {
    ($t:expr, $work:expr) => {{
        let mut ended: Option<$crate::model::id::AgentId> = None;
        for (agent, limits) in $work.agents {
            $crate::store::agents::bind_agent!(sqlx::query($crate::store::agents::INSERT_AGENT), agent, limits)
                .execute(&mut *$t)
                .await?;
        }
        for (task, output_schema, limits) in $work.tasks {
            if let Some(agent) = task.agent_id.filter(|_| task.mode.is_some()) {
                let update = sqlx::query($crate::store::insert::WRITE_TO_AGENT);
                let update = update.bind(agent.uuid()).bind($crate::store::db::micros(task.created_at));
                if update.execute(&mut *$t).await?.rows_affected() == 0 {
                    ended = Some(agent);
                    break;
                }
            }
            let failure: Option<$crate::store::json::JsonText> = None;
            $crate::store::insert::bind_task!(
                sqlx::query($crate::store::insert::INSERT_TASK),
                task,
                output_schema,
                failure,
                limits
            )
            .execute(&mut *$t)
            .await?;
        }
        ended
    }};
}
pub(super) use insert_work;
