//! What the machine has to know: about its agent from the settings, about a turn from its task and every limit on it.

use super::{
    Runner,
    machine::{Brief, Order, Turn, WatchLimits, budget_failure},
    seconds,
};
use crate::model::{
    agent::Agent,
    id::{KeyId, RunId},
    inbox::inbox_of,
    quota::{Cap, CapUnit, KeyLimits, LimitReached, SetBy},
    role::{Catalogue, Role},
    run::{Failure, FailureCode},
    task::Task,
};
use chrono::{TimeDelta, Utc};

impl Runner {
    /// The brief of an agent whose process is for this task, or for none. The order of a turn is not in it.
    pub(super) fn brief(&self, agent: &Agent, task: Option<&Task>) -> Brief {
        let settings = &self.settings.runner;
        let of_task = task.map(|task| task.limits).unwrap_or_default();
        Brief {
            backend: agent.backend,
            role: role(agent, &self.settings.roles.get()),
            project: agent.project.clone(),
            inbox: inbox_of(self.settings.data.path(), &agent.owner),
            keep: agent.durable,
            team: agent.swarm_id.is_some(),
            max_recoveries: settings.max_recoveries,
            max_retries: settings.max_task_retries,
            retry_delay: seconds(settings.retry_delay_seconds),
            park_after: seconds(settings.park_after_seconds),
            rotate_bytes: settings.rotate_output_bytes,
            ready_timeout: seconds(settings.ready_timeout_seconds),
            interrupt_timeout: seconds(settings.interrupt_timeout_seconds),
            exit_timeout: seconds(settings.exit_timeout_seconds),
            max_memory_bytes: smallest([
                (of_task.max_memory_bytes, SetBy::Task),
                (agent.limits.max_memory_bytes, SetBy::Agent),
                (Some(settings.max_memory_bytes), SetBy::Gateway),
            ]),
            max_processes: smallest([
                (of_task.max_processes, SetBy::Task),
                (agent.limits.max_processes, SetBy::Agent),
                (Some(settings.max_processes), SetBy::Gateway),
            ]),
            order: None,
        }
    }

    /// What a turn of the agent for this task is about, or the budget that does not allow it.
    pub(super) async fn order(&self, task: &Task, agent: &Agent, run: RunId) -> Result<Order, Failure> {
        let order = self.order_of_running(task, agent, run).await;
        match order.caps.iter().find(|cap| cap.left <= 0.0) {
            Some(cap) => Err(budget_failure(cap, "nothing was begun")),
            None => Ok(order),
        }
    }

    /// The same for a turn that runs already.
    pub(super) async fn order_of_running(&self, task: &Task, agent: &Agent, run: RunId) -> Order {
        let settings = &self.settings.runner;
        let caps = self.caps(task, agent, run).await;
        let (stall, stall_set_by) =
            first_of([(task.limits.idle_timeout_seconds, SetBy::Task), (agent.limits.idle_timeout_seconds, SetBy::Agent)])
                .map_or((seconds(settings.stall_timeout_seconds), SetBy::Gateway), |(stall, by)| {
                    (TimeDelta::seconds(stall.into()), by)
                });
        // A task is stored with its time, not with who named it.
        let timeout_set_by = if agent.limits.timeout_seconds == Some(task.timeout_seconds) && task.mode.is_some() {
            SetBy::Agent
        } else if task.timeout_seconds == settings.task_timeout_seconds {
            SetBy::Gateway
        } else {
            SetBy::Task
        };
        Order {
            task_id: task.id,
            run_id: run,
            prompt: self.prompt(task, agent).await,
            output_schema: task.output_schema.clone(),
            on_lost: task.on_lost,
            timeout: TimeDelta::seconds(task.timeout_seconds.into()),
            timeout_set_by,
            watch: WatchLimits {
                first_event: seconds(settings.first_event_timeout_seconds),
                stall,
                stall_set_by,
                retries: settings.max_retries_per_turn,
                garbage_lines: settings.max_garbage_lines,
            },
            output_bytes: first_of([(task.limits.max_output_bytes, SetBy::Task), (agent.limits.max_output_bytes, SetBy::Agent)]),
            caps,
        }
    }

    /// What the turn begins with: the task, and word of messages that came meanwhile.
    async fn prompt(&self, task: &Task, agent: &Agent) -> String {
        let unread = match agent.swarm_id {
            Some(_) => self.with_patience("count messages", || self.store.count_unread(agent.id)).await.unwrap_or(0),
            None => 0,
        };
        let words = match unread {
            0 => return task.description.clone(),
            1 => "You have 1 unread team message; read it with the tool read_messages.".to_owned(),
            unread => format!("You have {unread} unread team messages; read them with the tool read_messages."),
        };
        format!("{}\n\n{words}", task.description)
    }

    /// Every budget that binds the run, less what other runs have used of it by now.
    pub(super) async fn caps(&self, task: &Task, agent: &Agent, run: RunId) -> Vec<Cap> {
        let mut caps = task_caps(task);
        caps.extend(self.agent_caps(agent, run).await);
        caps.extend(self.daily_caps(task, run).await);
        caps
    }

    /// The agent's own budgets, less what its other runs have used.
    async fn agent_caps(&self, agent: &Agent, run: RunId) -> Vec<Cap> {
        if agent.limits.budget_usd.is_none() && agent.limits.budget_tokens.is_none() {
            return vec![];
        }
        let usage = self.with_patience("sum up an agent's runs", || self.store.agent_usage(agent.id, Some(run))).await;
        let usage = usage.unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "budgets are far below 2^52 tokens")]
        let (budget_tokens, tokens) = (agent.limits.budget_tokens.map(|most| most as f64), usage.tokens.unwrap_or(0) as f64);
        [
            cap("budget_usd", SetBy::Agent, CapUnit::Usd, agent.limits.budget_usd, usage.cost_usd.unwrap_or(0.0)),
            cap("budget_tokens", SetBy::Agent, CapUnit::Tokens, budget_tokens, tokens),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What key and gateway may still spend today, this run included.
    async fn daily_caps(&self, task: &Task, run: RunId) -> Vec<Cap> {
        let key_limits = match task.key_id {
            Some(key) => self.limits_of(key).await,
            None => KeyLimits::default(),
        };
        let mut caps = Vec::new();
        for (set_by, most, key) in
            [(SetBy::Key, key_limits.usd_per_day, task.key_id), (SetBy::Gateway, self.settings.limits.usd_per_day, None)]
        {
            if most.is_some() {
                let spent = self.with_patience("sum up today's runs", || self.store.usd_today(key, run, Utc::now())).await;
                caps.extend(cap("usd_per_day", set_by, CapUnit::Usd, most, spent.unwrap_or(0.0)));
            }
        }
        caps
    }

    async fn limits_of(&self, key: KeyId) -> KeyLimits {
        let key = self.with_patience("get a key", || self.store.get_key(key)).await.flatten();
        key.map(|key| key.limits).unwrap_or_default().or(self.settings.key_limits)
    }
}

/// What is added to the agent's system prompt.
fn role(agent: &Agent, roles: &Catalogue) -> String {
    // Without a role nothing is started; this is for a process that runs already.
    let role = roles.get(agent.agent_type).map(Role::system_prompt);
    let parts = [role.as_deref(), agent.swarm_id.map(|_| IN_A_TEAM), agent.system_prompt.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

/// What an agent with the tools of a team is told about them.
const IN_A_TEAM: &str = "You work in a team of agents. Its tools: list_team, send_message and read_messages to work with the others; \
                         search_memory, remember_finding, verify_finding, save_artifact, review_artifact and record_decision for \
                         what the team knows. Text you merely write reaches no other member.";

#[expect(clippy::cast_precision_loss, reason = "budgets are far below 2^52 tokens")]
fn task_caps(task: &Task) -> Vec<Cap> {
    let tokens = task.limits.budget_tokens.map(|most| most as f64);
    [
        cap("budget_usd", SetBy::Task, CapUnit::Usd, task.budget_usd, 0.0),
        cap("budget_tokens", SetBy::Task, CapUnit::Tokens, tokens, 0.0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn cap(name: &str, set_by: SetBy, unit: CapUnit, most: Option<f64>, spent: f64) -> Option<Cap> {
    let value = most?;
    Some(Cap { unit, left: value - spent, limit: LimitReached { name: name.to_owned(), set_by, value } })
}

fn first_of<T>(limits: [(Option<T>, SetBy); 2]) -> Option<(T, SetBy)> {
    limits.into_iter().find_map(|(limit, by)| limit.map(|limit| (limit, by)))
}

/// The limit that binds, and whose it is. 0 in the settings: no limit.
fn smallest<T: Copy + Default + Ord>(limits: [(Option<T>, SetBy); 3]) -> Option<(T, SetBy)> {
    let limits = limits.into_iter().filter_map(|(limit, by)| limit.filter(|most| *most > T::default()).map(|most| (most, by)));
    limits.min_by_key(|(most, _)| *most)
}

/// What the process may spend by the CLI's own count, which begins with it. A process that is kept for other turns is
/// held to what outlasts the turn.
pub(super) fn process_budget(brief: &Brief, turn: Option<&Turn>) -> Option<f64> {
    let order = brief.order.as_ref()?;
    let caps = order.caps.iter().filter(|cap| cap.unit == CapUnit::Usd);
    let binding = caps.filter(|cap| !brief.keep || cap.limit.set_by == SetBy::Agent);
    let left = binding.map(|cap| cap.left).min_by(f64::total_cmp)?;
    // The CLI refuses 0.
    Some((left - turn.map_or(0.0, Turn::carried_usd)).max(0.000_001))
}

/// The failure of a message to an agent that is not there.
pub(super) fn no_agent() -> Failure {
    Failure::new(FailureCode::AgentFailed, "the agent of the message is gone; create a new agent")
}
