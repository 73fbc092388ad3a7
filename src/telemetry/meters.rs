//! What `/metrics` tells: the names, their meaning, and the recorder that gathers them.

use crate::model::{
    proposal::ProposalStatus, quota::SetBy, run::FailureCode, task::TaskStatus, workflow::run::WorkflowRunStatus,
};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

const COUNTERS: [(&str, &str); 14] = [
    ("mas_http_requests_total", "Requests answered, by method, route and class of status"),
    ("mas_http_refused_total", "Requests refused before their operation: too many of one key, or without a valid key"),
    ("mas_tasks_ended_total", "Tasks ended, by status and, of failed ones, by failure code"),
    ("mas_workflow_runs_ended_total", "Runs of workflows ended, by status"),
    ("mas_proposals_ended_total", "Proposals ended, by status"),
    ("mas_process_starts_total", "Agent processes started"),
    ("mas_process_exits_total", "Agent processes ended, by reason"),
    ("mas_process_recoveries_total", "Agent processes of an earlier server taken up again"),
    ("mas_events_appended_total", "Events stored"),
    ("mas_limits_reached_total", "Limits reached, by name and by who set them"),
    ("mas_provider_pauses_total", "Times no turn was begun for a while: the provider asked for it, or turn after turn failed"),
    ("mas_tokens_total", "Tokens of ended runs, all model requests, as the agent CLI reported them; rehearsals count too"),
    ("mas_store_errors_total", "Errors of the database: unavailable for now, or internal"),
    ("mas_streams_total", "Event streams opened"),
];
const GAUGES: [(&str, &str); 18] = [
    ("mas_build_info", "Always 1; the label tells the version"),
    ("mas_tasks", "Tasks that have not ended, by status"),
    ("mas_agents", "Agents that have not ended, by status"),
    ("mas_workflow_runs", "Runs of workflows that have not ended, by status"),
    ("mas_proposals", "Proposals that are open"),
    ("mas_agent_places", "Places for agents with a process"),
    ("mas_rehearsal", "Whether the scripted model answers instead of a real one, so that costs are paid by nobody"),
    ("mas_circuit_open", "Whether turns are held back, or on trial, because one after another had failed"),
    ("mas_provider_paused", "Whether no turn is begun for now"),
    ("mas_ready", "Whether a part of the gateway is in order, as in /ready"),
    ("mas_store_ping_seconds", "Time the database took to answer during this scrape"),
    ("mas_data_dir_free_bytes", "Free bytes in the file system of the data directory"),
    ("mas_tunnel_wanted", "Whether there is to be a tunnel"),
    ("mas_tunnel_state", "1 for the state the tunnel is in, 0 for others"),
    ("mas_streams_open", "Event streams open now"),
    ("mas_scrape_complete", "Whether the database could be asked for everything in this scrape"),
    ("process_resident_memory_bytes", "Resident memory of the gateway itself in bytes"),
    ("process_start_time_seconds", "Start of the gateway since the epoch in seconds"),
];
const HISTOGRAMS: [(&str, &str, &[f64]); 6] = [
    (
        "mas_http_request_duration_seconds",
        "Time to the first byte of an answer, without what the request had asked to wait",
        &FAST,
    ),
    ("mas_task_duration_seconds", "From the agent's begin to the end of a task, by status", &SLOW),
    ("mas_task_queue_seconds", "From the request to the agent's begin", &SLOW),
    ("mas_workflow_run_duration_seconds", "From the request to the end of a run of a workflow, by status", &SLOW),
    ("mas_proposal_duration_seconds", "From the request to the end of a proposal, by status", &SLOW),
    ("mas_run_cost_usd", "Cost of a run in US dollars by model, as the agent CLI reported it; rehearsals count too", &DOLLARS),
];
const FAST: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
const SLOW: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];
const DOLLARS: [f64; 8] = [0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 50.0];
const RESTARTS: &str = "counted since the gateway started";

/// Makes this process gather metrics, once. The handle gives the text.
pub fn install(version: &'static str, is_rehearsal: bool) -> Result<PrometheusHandle, String> {
    let mut builder = PrometheusBuilder::new();
    for (name, _, buckets) in HISTOGRAMS {
        let matcher = Matcher::Full(name.to_owned());
        builder = builder.set_buckets_for_metric(matcher, buckets).map_err(|error| error.to_string())?;
    }
    let handle = builder.install_recorder().map_err(|error| error.to_string())?;
    for (name, meaning) in COUNTERS {
        describe_counter!(name, format!("{meaning}; {RESTARTS}"));
    }
    for (name, meaning) in GAUGES {
        describe_gauge!(name, meaning);
    }
    for (name, meaning, _) in HISTOGRAMS {
        describe_histogram!(name, format!("{meaning}; {RESTARTS}"));
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    gauge!("process_start_time_seconds").set(since.as_secs_f64());
    gauge!("mas_build_info", "version" => version).set(1.0);
    gauge!("mas_rehearsal").set(f64::from(u8::from(is_rehearsal)));
    begin_at_zero();
    Ok(handle)
}

/// A rate needs a first value: what can be known beforehand is there from the start.
fn begin_at_zero() {
    for name in ["mas_process_starts_total", "mas_process_recoveries_total", "mas_events_appended_total"] {
        counter!(name).absolute(0);
    }
    for status in [TaskStatus::Complete, TaskStatus::Cancelled] {
        counter!("mas_tasks_ended_total", "status" => status.as_str(), "code" => "").absolute(0);
    }
    for code in FailureCode::ALL {
        counter!("mas_tasks_ended_total", "status" => TaskStatus::Failed.as_str(), "code" => code.as_str()).absolute(0);
    }
    for status in WorkflowRunStatus::ALL.iter().filter(|status| status.is_terminal()) {
        counter!("mas_workflow_runs_ended_total", "status" => status.as_str()).absolute(0);
    }
    for status in ProposalStatus::ALL.iter().filter(|status| **status != ProposalStatus::Open) {
        counter!("mas_proposals_ended_total", "status" => status.as_str()).absolute(0);
    }
    for set_by in SetBy::ALL {
        counter!("mas_limits_reached_total", "name" => "budget_usd", "set_by" => set_by.as_str()).absolute(0);
    }
    counter!("mas_process_exits_total", "reason" => "exited").absolute(0);
    for reason in ["rate", "key"] {
        counter!("mas_http_refused_total", "reason" => reason).absolute(0);
    }
    for cause in ["circuit", "provider"] {
        counter!("mas_provider_pauses_total", "cause" => cause).absolute(0);
    }
    for kind in ["unavailable", "internal"] {
        counter!("mas_store_errors_total", "kind" => kind).absolute(0);
    }
    for kind in ["sse", "websocket"] {
        counter!("mas_streams_total", "kind" => kind).absolute(0);
        gauge!("mas_streams_open", "kind" => kind).set(0.0);
    }
    gauge!("mas_circuit_open").set(0.0);
}
