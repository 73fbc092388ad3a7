//! What a report is made of: numbers that say their unit, where they come from, and what time they are about.

use crate::model::run::Provenance;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// The time a figure is about. Both ends are the same when it is about the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Window {
    /// From this time on.
    pub from: DateTime<Utc>,
    /// Before this time.
    pub to: DateTime<Utc>,
}

/// A number with its meaning.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Figure {
    /// The number.
    #[serde(serialize_with = "crate::app::money::rounded")]
    pub value: f64,
    /// What is counted: ratio (0 to 1), tasks, agents, tokens, usd.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: String,
    /// The time it is about.
    pub window: Window,
}

/// How long things took: percentiles by nearest rank.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Spread {
    /// Half took no longer.
    pub p50: f64,
    /// 90 of 100 took no longer.
    pub p90: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
    /// How many were measured.
    pub count: u64,
    /// Always seconds.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: String,
    /// The time it is about.
    pub window: Window,
}

/// A name and how often it occurred.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamedCount {
    /// The name.
    pub name: String,
    /// How often.
    pub value: i64,
}

/// Counts by name, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NamedCounts {
    /// The counts.
    pub items: Vec<NamedCount>,
    /// What is counted.
    pub unit: &'static str,
    /// Where it comes from.
    pub source: String,
    /// The time it is about.
    pub window: Window,
}

/// What the runs of one model used.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelSpent {
    /// The model as the CLI named it.
    pub name: String,
    /// Whether it was a real one; what a rehearsal used is paid by nobody.
    pub provenance: Provenance,
    /// Runs begun.
    pub runs: i64,
    /// US dollars; absent when the CLI reported none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "crate::app::money::usd")]
    #[schema(nullable = false)]
    pub cost_usd: Option<f64>,
    /// Tokens of all model requests; absent when the CLI reported none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<i64>,
}

/// What each model used, the dearest first.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ModelTable {
    /// The models.
    pub items: Vec<ModelSpent>,
    /// Where it comes from.
    pub source: String,
    /// The time it is about.
    pub window: Window,
}

/// How the work goes. A figure that was not measured is absent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({
    "task_completion_rate": {"value": 0.75, "unit": "ratio", "source": "database: complete / (complete + failed) of the tasks that ended in the window", "window": {"from": "2026-01-01T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "tasks_complete": {"value": 3.0, "unit": "tasks", "source": "database: tasks that ended in the window", "window": {"from": "2026-01-01T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "tasks_failed": {"value": 1.0, "unit": "tasks", "source": "database: tasks that ended in the window", "window": {"from": "2026-01-01T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "tasks_cancelled": {"value": 0.0, "unit": "tasks", "source": "database: tasks that ended in the window", "window": {"from": "2026-01-01T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "tasks_open": {"value": 2.0, "unit": "tasks", "source": "database: tasks that have not ended, now", "window": {"from": "2026-01-02T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "agents_live": {"value": 0.0, "unit": "agents", "source": "database: agents with a process, now", "window": {"from": "2026-01-02T09:00:00Z", "to": "2026-01-02T09:00:00Z"}},
    "failures": {"items": [{"name": "timeout", "value": 1}], "unit": "tasks", "source": "database: tasks that ended in the window", "window": {"from": "2026-01-01T09:00:00Z", "to": "2026-01-02T09:00:00Z"}}
}))]
pub struct PerformanceReport {
    /// Share of the ended tasks that were completed; cancelled ones are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_completion_rate: Option<Figure>,
    /// Tasks completed.
    pub tasks_complete: Figure,
    /// Tasks failed.
    pub tasks_failed: Figure,
    /// Tasks cancelled.
    pub tasks_cancelled: Figure,
    /// Tasks that wait or run now.
    pub tasks_open: Figure,
    /// Share of the agents with a process that are at work now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_utilisation: Option<Figure>,
    /// Agents with a process now.
    pub agents_live: Figure,
    /// Time of the API to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub response_time: Option<Spread>,
    /// Time agents worked on a task.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub task_duration: Option<Spread>,
    /// Time tasks waited for an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub queue_wait: Option<Spread>,
    /// Share of the ended proposals that were decided; cancelled ones are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub consensus_rate: Option<Figure>,
    /// Time from a proposal to its decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub consensus_time: Option<Spread>,
    /// US dollars spent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cost_usd: Option<Figure>,
    /// Tokens used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tokens: Option<Figure>,
    /// What each model used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub models: Option<ModelTable>,
    /// Failed tasks by their code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failures: Option<NamedCounts>,
    /// Active swarms by their health, as in `get_swarm_status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub swarms: Option<NamedCounts>,
}

/// A count as a number of JSON.
#[expect(clippy::cast_precision_loss, reason = "no count comes near 2^53")]
pub(super) const fn number(count: i64) -> f64 {
    count as f64
}

impl Figure {
    pub(super) fn new(count: i64, unit: &'static str, source: &str, window: Window) -> Self {
        Self { value: number(count), unit, source: source.to_owned(), window }
    }
}

impl Spread {
    /// The percentiles of some times in seconds. `None`: there are none.
    pub(super) fn of(mut seconds: Vec<f64>, source: impl Into<String>, window: Window) -> Option<Self> {
        seconds.sort_unstable_by(f64::total_cmp);
        let count = seconds.len();
        let max = *seconds.last()?;
        // The smallest that at least so many of 100 do not exceed.
        let rank = |percent: usize| seconds[(count * percent).div_ceil(100) - 1];
        let mean = seconds.iter().sum::<f64>() / number(i64::try_from(count).unwrap_or(i64::MAX));
        let (p50, p90, p99) = (rank(50), rank(90), rank(99));
        Some(Self { p50, p90, p99, max, mean, count: count as u64, unit: "seconds", source: source.into(), window })
    }
}
