//! `get_performance_report`: figures of the caller's work. Each is measured or reported by the CLI; one that is not is absent.

mod figures;

use super::{App, AppError, now};
use crate::{
    model::{
        agent::AgentStatus,
        key::Principal,
        run::Provenance,
        swarm::{SwarmHealth, SwarmStatus},
        task::TaskStatus,
    },
    store::{Ended, EndedProposal, Span, Spent, SwarmFilter, Times},
};
use chrono::{DateTime, TimeDelta, Utc};
pub use figures::{Figure, ModelSpent, ModelTable, NamedCount, NamedCounts, PerformanceReport, Spread, Window};
use serde::Deserialize;
use utoipa::IntoParams;

/// Hours a report goes back.
const HOURS: std::ops::RangeInclusive<i64> = 1..=720;
const DEFAULT_HOURS: i64 = 24;
/// Tasks whose times are looked at.
const TIMES: u32 = 10_000;
/// Models listed.
const MODELS: u32 = 50;
/// Swarms whose health is looked at.
const SWARMS: u32 = 100;

const OF_STORE: &str = "database: tasks that ended in the window";
const OF_CLI: &str = "reported by the agent CLI for the runs begun in the window";

/// What time a report is about.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReportQuery {
    /// Hours to look back, 1 to 720. Left out: 24.
    #[param(nullable = false, minimum = 1, maximum = 720)]
    pub window_hours: Option<i64>,
}

impl App {
    /// Notes how long the answer to a request took, without what the request itself had asked to wait.
    pub fn add_response(&self, took: std::time::Duration) {
        self.responses.add(Utc::now(), took);
    }

    /// Figures of the caller's tasks and agents; of everybody's for an admin.
    pub async fn get_performance_report(&self, who: &Principal, query: ReportQuery) -> Result<PerformanceReport, AppError> {
        let hours = query.window_hours.unwrap_or(DEFAULT_HOURS);
        if !HOURS.contains(&hours) {
            let message = format!("{hours} is outside {}..={}", HOURS.start(), HOURS.end());
            return Err(AppError::field("window_hours", message));
        }
        // Includes what ended just now.
        let to = now() + TimeDelta::microseconds(1);
        let window = Window { from: to - TimeDelta::hours(hours), to };
        let owner = who.owner_filter();
        let span = Span { owner, from: window.from, to: window.to };
        let ended = self.store.count_ended(span).await?;
        let times = self.store.list_ended_times(span, TIMES).await?;
        let spent = self.store.list_spent(span, MODELS).await?;
        let proposals = self.store.list_ended_proposals(span, TIMES).await?;
        let open: i64 = self.store.count_open_tasks(owner).await?.iter().map(|(_, tasks)| tasks).sum();
        let agents = self.store.count_agents(owner).await?;
        let count = |is_counted: &dyn Fn(AgentStatus) -> bool| -> i64 {
            agents.iter().filter(|(status, _)| is_counted(*status)).map(|(_, agents)| agents).sum()
        };
        let (live, idle) = (count(&|status| status.is_live()), count(&|status| status == AgentStatus::Idle));
        let present = Window { from: to, to };
        let (since, took) = self.responses.since(window.from);
        let of = |status| count_of(&ended, status);
        let (complete, failed) = (of(TaskStatus::Complete), of(TaskStatus::Failed));
        let tasks = |number| Figure::new(number, "tasks", OF_STORE, window);
        Ok(PerformanceReport {
            task_completion_rate: ratio(complete, complete + failed).map(|rate| Figure {
                value: rate,
                unit: "ratio",
                source: "database: complete / (complete + failed) of the tasks that ended in the window".into(),
                window,
            }),
            tasks_complete: tasks(complete),
            tasks_failed: tasks(failed),
            tasks_cancelled: tasks(of(TaskStatus::Cancelled)),
            tasks_open: Figure::new(open, "tasks", "database: tasks that have not ended, now", present),
            agent_utilisation: ratio(live - idle, live).map(|share| Figure {
                value: share,
                unit: "ratio",
                source: "database: agents at work / agents with a process, now".into(),
                window: present,
            }),
            agents_live: Figure::new(live, "agents", "database: agents with a process, now", present),
            response_time: Spread::of(
                took,
                "measured in this process: its latest requests of all callers, without the time they asked to wait",
                Window { from: since.min(to), to },
            ),
            task_duration: Spread::of(durations(&times), spread_source(&times, "from the agent's begin to the end"), window),
            queue_wait: Spread::of(waits(&times), spread_source(&times, "from the request to the agent's begin"), window),
            consensus_rate: consensus_rate(&proposals, window),
            consensus_time: Spread::of(
                proposals
                    .iter()
                    .filter(|ended| ended.is_decided)
                    .map(|ended| seconds(ended.created_at, ended.ended_at))
                    .collect(),
                "database: proposals that were decided in the window, from the request to the decision",
                window,
            ),
            cost_usd: cost(&spent, window),
            tokens: tokens(&spent, window),
            models: models(spent, window),
            failures: failures(&ended, window),
            swarms: self.swarms_by_health(owner, present).await?,
        })
    }

    /// How the caller's active swarms are doing, the newest ones at least.
    async fn swarms_by_health(&self, owner: Option<&str>, present: Window) -> Result<Option<NamedCounts>, AppError> {
        let filter = SwarmFilter { owner, status: Some(SwarmStatus::Active), before: None, limit: SWARMS };
        let mut found = Vec::new();
        for swarm in self.store.list_swarms(&filter).await? {
            found.push(self.swarm_resource(swarm, false).await?.health);
        }
        let count = |health: &SwarmHealth| found.iter().filter(|one| *one == health).count();
        let items = SwarmHealth::ALL
            .iter()
            .map(|health| NamedCount { name: health.to_string(), value: i64::try_from(count(health)).unwrap_or(i64::MAX) });
        let source = format!("database: active swarms, now; at most the newest {SWARMS}");
        Ok((!found.is_empty()).then(|| NamedCounts { items: items.collect(), unit: "swarms", source, window: present }))
    }
}

fn count_of(ended: &[Ended], status: TaskStatus) -> i64 {
    ended.iter().filter(|ended| ended.status == status).map(|ended| ended.tasks).sum()
}

fn consensus_rate(ended: &[EndedProposal], window: Window) -> Option<Figure> {
    let count = |proposals: usize| i64::try_from(proposals).unwrap_or(i64::MAX);
    let rate = ratio(count(ended.iter().filter(|ended| ended.is_decided).count()), count(ended.len()))?;
    let source = "database: decided / all proposals that ended in the window, cancelled ones left out".to_owned();
    Some(Figure { value: rate, unit: "ratio", source, window })
}

/// `None`: there is nothing to divide by.
fn ratio(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| figures::number(part) / figures::number(whole))
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    // Clocks may step back.
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

fn durations(times: &[Times]) -> Vec<f64> {
    times.iter().filter_map(|times| Some(seconds(times.started_at?, times.ended_at))).collect()
}

fn waits(times: &[Times]) -> Vec<f64> {
    times.iter().filter_map(|times| Some(seconds(times.created_at, times.started_at?))).collect()
}

fn spread_source(times: &[Times], what: &str) -> String {
    let which = if times.len() < TIMES as usize { "tasks" } else { "the latest 10,000 tasks" };
    format!("database: {which} an agent had begun and that ended in the window, {what}")
}

/// Only what real models cost: a rehearsal is paid by nobody.
fn cost(spent: &[Spent], window: Window) -> Option<Figure> {
    let real = spent.iter().filter(|spent| spent.provenance == Provenance::Live).filter_map(|spent| spent.cost_usd);
    let value = real.reduce(|sum, cost| sum + cost)?;
    Some(Figure { value, unit: "usd", source: format!("{OF_CLI}, by its own price table; real models only"), window })
}

fn tokens(spent: &[Spent], window: Window) -> Option<Figure> {
    let real = spent.iter().filter(|spent| spent.provenance == Provenance::Live).filter_map(|spent| spent.tokens);
    let value = real.reduce(i64::saturating_add)?;
    Some(Figure::new(value, "tokens", &format!("{OF_CLI}: all model requests; real models only"), window))
}

fn models(spent: Vec<Spent>, window: Window) -> Option<ModelTable> {
    let item = |spent: Spent| ModelSpent {
        name: spent.model.unwrap_or_else(|| "not reported".into()),
        provenance: spent.provenance,
        runs: spent.runs,
        cost_usd: spent.cost_usd,
        tokens: spent.tokens,
    };
    let items: Vec<_> = spent.into_iter().map(item).collect();
    (!items.is_empty()).then(|| ModelTable { items, source: OF_CLI.into(), window })
}

fn failures(ended: &[Ended], window: Window) -> Option<NamedCounts> {
    let failed = ended.iter().filter(|ended| ended.status == TaskStatus::Failed);
    let items: Vec<_> = failed
        .map(|ended| NamedCount { name: ended.code.clone().unwrap_or_else(|| "unreadable".into()), value: ended.tasks })
        .collect();
    (!items.is_empty()).then(|| NamedCounts { items, unit: "tasks", source: OF_STORE.into(), window })
}

#[cfg(test)]
mod tests;
