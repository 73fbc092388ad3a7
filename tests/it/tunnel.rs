//! Tunnels: shell scripts stand in for the client, and a listener of the test for the tunnel service.

mod real;
pub(crate) mod service;

use crate::support::{PATIENCE, TestApp, until};
use mas_gateway::process::{Liveness, ProcessDir};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use service::{Mode, Service};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Names the URL in the file `url` beside it, and goes on until there is a file `exit`; each start leaves a line.
const CLIENT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 9
echo "$@" >> starts
echo "connecting" >&2
[ -e url ] && echo "forwarding to http://127.0.0.1:$1 from $(cat url)"
until [ -e exit ]; do sleep 0.05; done
rm -f exit
exit 7
"#;

/// For tests in which looks fail.
const OFTEN: (&str, &str) = ("MAS_TUNNEL__CHECK_INTERVAL_SECONDS", "1");

/// A server that has not been started, and the directory of its tunnel client.
async fn prepared(script: &str, settings: &[(&str, &str)]) -> (TestApp, PathBuf) {
    let mut all = vec![("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude"), ("MAS_TUNNEL__CHECK_INTERVAL_SECONDS", "3")];
    all.extend(settings);
    let mut app = TestApp::prepared(&all).await;
    let place = app.dir.path().join("client");
    fs::create_dir(&place).expect("made");
    let program = place.join("client.sh");
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("executable");
    if !settings.iter().any(|(name, _)| *name == "MAS_TUNNEL__CLIENT") {
        app.set("MAS_TUNNEL__CLIENT", "'client/client.sh' {port} {subdomain}");
    }
    if !settings.iter().any(|(name, _)| *name == "MAS_TUNNEL__SUBDOMAIN") {
        app.set("MAS_TUNNEL__SUBDOMAIN", "granted");
    }
    (app, place)
}

/// A server with its tunnel up, its service, and the directory of its client.
async fn up(settings: &[(&str, &str)]) -> (TestApp, Service, PathBuf) {
    let (mut app, place) = prepared(CLIENT, settings).await;
    let service = Service::start().await;
    fs::write(place.join("url"), service.url("granted")).expect("written");
    app.launch();
    forward(&service, &place, 1).await;
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    (app, service, place)
}

/// Lets the service pass requests to the address that the `nth` client was told.
async fn forward(service: &Service, place: &Path, nth: usize) -> String {
    until("the client is started", || starts(place) >= nth).await;
    let started = fs::read_to_string(place.join("starts")).expect("started");
    let address = format!("127.0.0.1:{}", started.lines().last().and_then(|line| line.split(' ').next()).expect("a port"));
    service.forward_to(&address);
    address
}

async fn tunnel(app: &TestApp) -> Value {
    app.get("/health").await.expect(200)["tunnel"].clone()
}

/// The tunnel's account, once `wanted` is true of it.
async fn tunnel_until(app: &TestApp, wanted: impl Fn(&Value) -> bool) -> Value {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(30));
        loop {
            let tunnel = tunnel(app).await;
            if wanted(&tunnel) {
                return tunnel;
            }
            ticks.tick().await;
        }
    };
    let Ok(tunnel) = tokio::time::timeout(PATIENCE, waiting).await else {
        panic!("the tunnel never was as wanted: {}", tunnel(app).await);
    };
    tunnel
}

fn says(tunnel: &Value, field: &str, words: &str) -> bool {
    tunnel[field].as_str().is_some_and(|text| text.contains(words))
}

fn starts(place: &Path) -> usize {
    fs::read_to_string(place.join("starts")).unwrap_or_default().lines().count()
}

fn directories(app: &TestApp) -> Vec<ProcessDir> {
    ProcessDir::list(&app.data_dir().join("tunnel")).expect("listed").into_iter().map(|(_, dir)| dir).collect()
}

/// Living processes of tunnel clients, by the marker each of them inherits.
fn living(app: &TestApp) -> Vec<u32> {
    let markers: Vec<String> =
        directories(app).iter().map(|dir| format!("MAS_PROCESS_MARKER={}", dir.id().expect("named"))).collect();
    let processes = fs::read_dir("/proc").expect("procfs").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| markers.iter().any(|marker| entry == marker.as_bytes()))
        })
        .collect()
}

async fn server_entry(app: &TestApp) -> Value {
    app.get("/openapi-actions.json").await.expect(200)["servers"][0]["url"].clone()
}

#[tokio::test]
async fn the_url_is_learnt_and_told_everywhere_and_nothing_is_left_at_the_end() {
    let (mut app, service, place) = up(&[]).await;
    let url = service.url("granted");
    let tunnel = tunnel(&app).await;
    assert_eq!(tunnel["url"], url, "{tunnel}");
    assert!(tunnel["changed_at"].is_string() && tunnel["checked_at"].is_string(), "{tunnel}");
    assert_eq!((&tunnel["failure"], &tunnel["next_step"]), (&Value::Null, &Value::Null), "{tunnel}");
    assert_eq!(server_entry(&app).await, url);
    let file = app.data_dir().join("public-url");
    assert_eq!(fs::read_to_string(&file).expect("written").trim(), url);
    let started = fs::read_to_string(place.join("starts")).expect("started");
    assert!(started.trim().ends_with(" granted") && !started.starts_with(port(&app)), "an address of its own: {started}");
    assert!(!living(&app).is_empty());
    assert!(app.stop().success());
    assert_eq!(living(&app), Vec::<u32>::new());
    assert!(!file.exists());
}

fn port(app: &TestApp) -> &str {
    app.address.rsplit_once(':').expect("a port").1
}

#[tokio::test]
async fn a_client_that_exits_is_started_again_and_a_new_url_is_announced() {
    let (app, service, place) = up(&[]).await;
    let first = tunnel(&app).await;
    let other = Service::start().await;
    forward(&other, &place, 1).await;
    fs::write(place.join("url"), other.url("granted")).expect("written");
    fs::write(place.join("exit"), "").expect("written");
    let down = tunnel_until(&app, |tunnel| tunnel["state"] == "down").await;
    assert!(says(&down, "failure", "exited with code 7") && says(&down, "next_step", "started again"), "{down}");
    assert_eq!(server_entry(&app).await, service.url("granted"), "the latest known one");
    let again = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!((starts(&place), &again["url"]), (2, &json!(other.url("granted"))));
    assert!(says(&again, "next_step", &format!("{}/openapi-actions.json", other.url("granted"))), "{again}");
    assert_ne!(first["changed_at"], again["changed_at"]);
    assert_eq!(server_entry(&app).await, other.url("granted"));
    assert_eq!(directories(&app).len(), 1 + 1, "the last one's files are kept");
}

#[tokio::test]
async fn a_client_without_a_url_is_killed_and_tried_again() {
    let (mut app, place) = prepared(CLIENT, &[("MAS_TUNNEL__START_TIMEOUT_SECONDS", "1")]).await;
    app.launch();
    let down = tunnel_until(&app, |tunnel| tunnel["state"] == "down").await;
    assert!(says(&down, "failure", "named no public https URL within 1 s"), "{down}");
    assert_eq!(living(&app), Vec::<u32>::new());
    until("it is tried again", || starts(&place) == 2).await;
    // One that keys must not be sent to is none.
    fs::write(place.join("url"), "http://tunnel.example.org").expect("written");
    let down = tunnel_until(&app, |tunnel| says(tunnel, "failure", "http://tunnel.example.org")).await;
    assert!(says(&down, "failure", "refused") && down["url"].is_null(), "{down}");
    app.get("/tasks").await.expect(200);
}

#[tokio::test]
async fn somebody_elses_answer_is_not_taken_for_ours() {
    let (app, service, _place) = up(&[OFTEN]).await;
    service.set(Mode::Answer("application/json", 200, r#"{"status":"ok","version":"0.1.0","instance":"another"}"#));
    let foreign = tunnel_until(&app, |tunnel| tunnel["state"] == "foreign").await;
    assert!(says(&foreign, "next_step", "mas key revoke") && says(&foreign, "failure", "another gateway"), "{foreign}");
    service.set(Mode::Forward);
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
}

#[tokio::test]
async fn a_tunnel_that_hangs_or_answers_for_itself_is_told_and_restarted() {
    let (app, service, place) = up(&[OFTEN]).await;
    for (mode, words) in [
        (Mode::Answer("text/html", 503, "<html>Tunnel Unavailable"), "503"),
        (Mode::Answer("text/html", 401, "<html>Tunnel Password"), "HTML page (status 401)"),
    ] {
        service.set(mode);
        let told = tunnel_until(&app, |tunnel| tunnel["state"] == "unreachable").await;
        assert!(says(&told, "failure", words) && told["next_step"].is_string(), "{told}");
        service.set(Mode::Forward);
        tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    }
    let before = starts(&place);
    service.set(Mode::Hang);
    tunnel_until(&app, |tunnel| tunnel["state"] == "unreachable" && says(tunnel, "failure", "no answer within 1 s")).await;
    until("it is started again", || starts(&place) > before).await;
    service.set(Mode::Forward);
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
}

#[tokio::test]
async fn a_missing_client_is_named_and_the_server_serves_all_the_same() {
    let (mut app, _place) = prepared(CLIENT, &[("MAS_TUNNEL__CLIENT", "localtunnel"), ("PATH", "/nonexistent")]).await;
    app.launch();
    let down = tunnel_until(&app, |tunnel| tunnel["state"] == "down").await;
    assert!(says(&down, "failure", "`lt`") && says(&down, "next_step", "npm install -g localtunnel"), "{down}");
    app.get("/tasks").await.expect(200);
    let report = app.mas(&["doctor"]).output().expect("ran");
    let report = String::from_utf8(report.stdout).expect("text");
    assert!(report.contains("FAIL  tunnel") && report.contains("npm install -g localtunnel"), "{report}");
    assert!(app.stop().success());
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_before_anything_starts() {
    let app = TestApp::prepared(&[]).await;
    let refused = |arguments: &[&str], words: &str| {
        let output = app.mas(arguments).output().expect("ran");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(words), "{error}");
    };
    refused(&["serve", "--tunnel", "sh -c 'x"], "tunnel.client");
    let mut app = TestApp::prepared(&[]).await;
    for (name, value, words) in [
        ("MAS_TUNNEL__SUBDOMAIN", "a.b", "tunnel.subdomain"),
        ("MAS_TUNNEL__HOST", "loca.lt", "tunnel.host"),
        ("MAS_TUNNEL__START_TIMEOUT_SECONDS", "0", "tunnel.start_timeout_seconds"),
    ] {
        app.set(name, value);
        let output = app.mas(&["serve"]).output().expect("ran");
        let error = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success() && error.contains(words), "{error}");
        app.set(name, if name.ends_with("SECONDS") { "60" } else { "" });
    }
}

#[tokio::test]
async fn a_killed_server_takes_its_tunnel_along() {
    let script = format!("{}\n", CLIENT.replacen("echo \"connecting\"", "setsid sleep 1000 &\necho \"connecting\"", 1));
    let (mut app, place) = prepared(&script, &[]).await;
    let service = Service::start().await;
    fs::write(place.join("url"), service.url("granted")).expect("written");
    app.launch();
    service.forward_to(&app.address);
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert!(living(&app).len() >= 3, "client, its child and its stray: {:?}", living(&app));
    app.kill();
    until("nothing is left, and no server came back for it", || living(&app).is_empty()).await;

    // Server and shim at once: the next start clears what they left.
    app.launch();
    service.forward_to(&app.address);
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    let dir = directories(&app).pop().expect("one");
    let Liveness::Running(Some(started)) = dir.inspect().expect("inspected") else { panic!("not running") };
    let shim = Pid::from_raw(started.shim_pid.cast_signed()).expect("a pid");
    kill_process(shim, Signal::STOP).expect("stopped");
    app.kill();
    kill_process(shim, Signal::KILL).expect("killed");
    until("the client is gone with its shim", || !living(&app).contains(&started.pid)).await;
    let strays = living(&app);
    assert!(!strays.is_empty(), "the stray of the client outlives both");
    app.launch();
    service.forward_to(&app.address);
    until("the next start has cleared it", || !living(&app).iter().any(|pid| strays.contains(pid))).await;
    tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert!(app.stop().success());
    assert_eq!(living(&app), Vec::<u32>::new());
}

#[tokio::test]
async fn the_subdomain_is_unguessable_kept_and_its_loss_is_told() {
    let (mut app, place) = prepared(CLIENT, &[("MAS_TUNNEL__SUBDOMAIN", "")]).await;
    let service = Service::start().await;
    fs::write(place.join("url"), service.url("stranger")).expect("written");
    app.launch();
    service.forward_to(&app.address);
    let down = tunnel_until(&app, |tunnel| tunnel["state"] == "down").await;
    assert!(says(&down, "failure", "did not grant the subdomain") && down["url"].is_null(), "{down}");
    let lost = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!((starts(&place), &lost["url"]), (3, &json!(service.url("stranger"))), "asked thrice, then taken");
    assert!(says(&lost, "next_step", "mas key create") && says(&lost, "next_step", "mas key revoke"), "{lost}");

    let file = app.data_dir().join("tunnel-subdomain");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let name = fs::read_to_string(&file).expect("readable").trim().to_owned();
    assert!(name.len() >= 32, "{name}");
    app.stop();
    fs::write(place.join("url"), service.url(&name)).expect("written");
    app.launch();
    service.forward_to(&app.address);
    let granted = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!(granted["url"], service.url(&name));
    assert!(says(&granted, "next_step", "openapi-actions.json"), "another one than before the restart: {granted}");
    let asked = fs::read_to_string(place.join("starts")).expect("started");
    assert!(asked.lines().all(|line| line.ends_with(&name)), "{asked}");
}

#[tokio::test]
async fn strangers_behind_the_tunnel_lock_nobody_out() {
    let (app, service, _place) = up(&[("MAS_LIMITS__FAILED_AUTH_PER_MINUTE", "3")]).await;
    let host = service.url("granted").replace("http://", "");
    strangers_lock_nobody_out(&app, ("host", &host)).await;
}

#[tokio::test]
async fn what_comes_through_the_tunnel_is_never_local_whatever_it_says() {
    let (app, service, place) = up(&[("MAS_LIMITS__FAILED_AUTH_PER_MINUTE", "3")]).await;
    let address = forward(&service, &place, 1).await;
    let outside = reqwest::Client::builder().no_proxy().build().expect("a client");
    let mut codes = vec![];
    for _ in 0..5 {
        let guess =
            outside.get(format!("http://{address}/tasks")).header("x-mas-key", "mas_wrong_key").header("host", "localhost");
        codes.push(guess.send().await.expect("answered").status().as_u16());
    }
    assert_eq!(codes, [403, 403, 403, 429, 429]);
    let own = app.request_as(Some("mas_wrong_key"), Method::GET, "/tasks");
    assert_eq!(app.send(own).await.status, 403, "this machine's own mistakes are counted apart");
}

#[tokio::test]
async fn links_that_a_client_greets_with_are_tried_and_not_told() {
    let greeting = "echo 'Read http://127.0.0.1:9/docs and http://127.0.0.1:9/more first.'\necho \"connecting\"";
    let (mut app, place) = prepared(&CLIENT.replacen("echo \"connecting\"", greeting, 1), &[OFTEN]).await;
    app.set("MAS_TUNNEL__CLIENT", "'client/client.sh' {port}");
    app.launch();
    let told = tunnel_until(&app, |tunnel| tunnel["state"] == "unreachable").await;
    assert!(says(&told, "failure", "http://127.0.0.1:9") && told["url"].is_null(), "{told}");
    assert!(!app.data_dir().join("public-url").exists());
    let setup = app.mas(&["gpt", "setup"]).output().expect("ran");
    assert!(!setup.status.success(), "nothing to paste yet");

    let service = Service::start().await;
    fs::write(place.join("url"), service.url("granted")).expect("written");
    fs::write(place.join("exit"), "").expect("written");
    forward(&service, &place, 2).await;
    let up = tunnel_until(&app, |tunnel| tunnel["state"] == "up").await;
    assert_eq!(up["url"], service.url("granted"), "the second one it names: {up}");
}

#[tokio::test]
async fn strangers_behind_a_proxy_lock_nobody_out() {
    let settings = [("MAS_SERVER__PUBLIC_URL", "https://mas.example.com"), ("MAS_LIMITS__FAILED_AUTH_PER_MINUTE", "3")];
    for as_seen in [("host", "mas.example.com"), ("x-forwarded-host", "mas.example.com")] {
        strangers_lock_nobody_out(&TestApp::with(&settings).await, as_seen).await;
    }
}

/// `as_seen`: how a request shows that it came from outside.
async fn strangers_lock_nobody_out(app: &TestApp, as_seen: (&str, &str)) {
    let guess = |headers: &[(&str, &str)]| {
        let request = app.request_as(Some("mas_wrong_key"), Method::GET, "/tasks");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    let mut codes = vec![];
    for _ in 0..5 {
        codes.push(app.send(guess(&[as_seen])).await.status.as_u16());
    }
    assert_eq!(codes, [403, 403, 403, 429, 429]);
    let named = guess(&[as_seen, ("x-forwarded-for", "203.0.113.7")]);
    assert_eq!(app.send(named).await.status, 403, "another one from outside");
    assert_eq!(app.send(guess(&[])).await.status, 403, "this machine's own mistakes are counted apart");
    let valid = app.request(Method::GET, "/tasks").header(as_seen.0, as_seen.1);
    assert_eq!(app.send(valid).await.status, 200, "a valid key is never refused for it");
    app.get("/tasks").await.expect(200);
}
