//! `make bench`: the release binary against baselines measured in the same run. Prints a table; asserts no times.
//!
//! The program is also its own baselines: started with `bare-server` it is an axum server with one handler, with
//! `stand-in-cli` it speaks just enough of the agent CLI's protocol to write time stamps.

#![expect(clippy::disallowed_methods, reason = "a benchmark starts servers")]
#![expect(clippy::print_stdout, reason = "the table is the product")]

#[path = "gateway/crowd.rs"]
mod crowd;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/memory.rs"]
mod memory;
#[path = "gateway/servers.rs"]
mod servers;
#[path = "gateway/stand_in.rs"]
mod stand_in;
#[path = "gateway/turns.rs"]
mod turns;

use servers::{Bare, Gateway, Rehearsal};
use std::{path::Path, time::Duration};

const TURNS: usize = 9;
const LOAD_TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 16;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("bare-server") => servers::serve_bare(&arguments[2]),
        Some("stand-in-cli") => stand_in::run(),
        _ => tokio::runtime::Runtime::new().expect("a runtime").block_on(measure()),
    }
}

async fn measure() {
    let claude = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/claude");
    println!("{:<56} {:>14} {:>14} {:>8}", "measured (median unless said)", "mas", "baseline", "ratio");

    let mut gateway = Gateway::start(&claude, &[]).await;
    let mut bare = Bare::start(&gateway.list_tasks_body().await).await;
    row("time to first answer, bare axum server", "ms", gateway.to_health, bare.to_answer);
    row("time to ready (store, runner, CLI checked)", "ms", gateway.to_ready, bare.to_answer);
    row("idle memory, bare axum server", "MB", gateway.rss_mb(), bare.rss_mb());

    let rehearsal = Rehearsal::start();
    let (mut through, mut direct, mut to_start, mut to_spawn) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TURNS {
        let turn = turns::through_gateway(&gateway).await;
        through.push(turn.total_ms);
        to_start.push(turn.to_start_ms);
        let turn = turns::direct(&claude, &rehearsal.url).await;
        direct.push(turn.total_ms);
        to_spawn.push(turn.to_start_ms);
    }
    row("one turn of the real CLI, driven through pipes", "ms", median(&mut through), median(&mut direct));
    row("POST /tasks to process start, bare spawn", "ms", median(&mut to_start), median(&mut to_spawn));

    let ours = load::run(&gateway.address, &gateway.list_tasks_request(), CONNECTIONS, LOAD_TIME).await;
    let theirs = load::run(&bare.address, &gateway.list_tasks_request(), CONNECTIONS, LOAD_TIME).await;
    row("GET /tasks with key, bare handler same body", "req/s", ours.per_second, theirs.per_second);
    row("  its 99th percentile", "ms", ours.p99_ms, theirs.p99_ms);
    gateway.stop();
    bare.stop();

    let (mut streamed, mut piped) = (stand_in::through_gateway().await, stand_in::direct().await);
    row("stdout line to SSE client, line through a pipe", "ms", median(&mut streamed), median(&mut piped));
    row("  their 99th percentile", "ms", percentile(&mut streamed, 0.99), percentile(&mut piped, 0.99));

    crowd::measure(&claude).await;
}

fn row(what: &str, unit: &str, ours: f64, baseline: f64) {
    println!("{what:<56} {:>14} {:>14} {:>8.2}", format!("{ours:.2} {unit}"), format!("{baseline:.2} {unit}"), ours / baseline);
}

fn median(values: &mut [f64]) -> f64 {
    percentile(values, 0.5)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few values")]
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

/// Milliseconds of a duration.
fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
