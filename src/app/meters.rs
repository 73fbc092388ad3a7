//! Brings the gauges of `/metrics` up to date: what is known by asking, at the time somebody asks.

use super::{App, health::free_bytes};
use crate::model::{
    agent::AgentStatus, proposal::ProposalStatus, task::TaskStatus, tunnel::TunnelState, workflow::run::WorkflowRunStatus,
};
use metrics::gauge;
use std::{fmt::Display, time::Instant};

fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[expect(clippy::cast_precision_loss, reason = "no count comes near 2^53")]
const fn number(count: u64) -> f64 {
    count as f64
}

impl App {
    /// Sets every gauge. What cannot be asked for now keeps its last value, and `mas_scrape_complete` is 0.
    pub async fn update_gauges(&self) {
        let begun = Instant::now();
        let readiness = self.get_readiness().await;
        gauge!("mas_store_ping_seconds").set(begun.elapsed().as_secs_f64());
        let checks = &readiness.checks;
        for (name, check) in [("store", &checks.store), ("runner", &checks.runner), ("cli", &checks.cli), ("disk", &checks.disk)]
        {
            gauge!("mas_ready", "check" => name).set(truth(check.ok));
        }
        if let Ok(free) = free_bytes(&self.settings.data_dir) {
            gauge!("mas_data_dir_free_bytes").set(number(free));
        }
        let mut is_complete = checks.store.ok;
        if is_complete {
            let open = TaskStatus::ALL.iter().filter(|status| !status.is_terminal());
            is_complete &= counts("mas_tasks", open, self.store.count_open_tasks(None).await);
            let living = AgentStatus::ALL.iter().filter(|status| !status.is_ended());
            is_complete &= counts("mas_agents", living, self.store.count_agents(None).await);
            let open = WorkflowRunStatus::ALL.iter().filter(|status| !status.is_terminal());
            is_complete &= counts("mas_workflow_runs", open, self.store.count_open_workflow_runs().await);
            let open = self.store.list_open_proposals().await;
            is_complete &= open.is_ok();
            if let Ok(open) = open {
                gauge!("mas_proposals", "status" => ProposalStatus::Open.as_str()).set(number(open.len() as u64));
            }
        }
        gauge!("mas_scrape_complete").set(truth(is_complete));
        gauge!("mas_provider_paused").set(truth(self.bus.runner_status().pause.is_some_and(|pause| pause.until > super::now())));
        if let Some((all, free)) = self.bus.places() {
            gauge!("mas_agent_places", "state" => "free").set(number(free as u64));
            gauge!("mas_agent_places", "state" => "used").set(number(all.saturating_sub(free) as u64));
        }
        let tunnel = self.bus.tunnel_status();
        gauge!("mas_tunnel_wanted").set(truth(tunnel.is_some()));
        for state in TunnelState::ALL {
            let is_in = tunnel.as_ref().is_some_and(|tunnel| tunnel.state == *state);
            gauge!("mas_tunnel_state", "state" => state.as_str()).set(truth(is_in));
        }
        own_process();
    }
}

/// One gauge per status, 0 where nothing stands. `false`: the database did not answer.
fn counts<'a, T, E>(name: &'static str, all: impl Iterator<Item = &'a T>, found: Result<Vec<(T, i64)>, E>) -> bool
where
    T: PartialEq + Display + 'static,
    E: Display,
{
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, name, "a metric cannot be read");
            return false;
        }
    };
    for status in all {
        let count = found.iter().find(|(is, _)| is == status).map_or(0, |(_, count)| *count);
        gauge!(name, "status" => status.to_string()).set(number(count.unsigned_abs()));
    }
    true
}

/// Memory of this process, from procfs.
fn own_process() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    if let Some(kilobytes) = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()) {
        gauge!("process_resident_memory_bytes").set(number(kilobytes * 1024));
    }
}
