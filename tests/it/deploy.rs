//! What `deploy/` holds: the guardian at work, and files that name others.

mod files;
mod proxies;

use crate::{
    support::{TestApp, until},
    tunnel::service::{Mode, Service},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

const ANOTHER: &str = r#"{"status":"ok","instance":"00000000-0000-4000-8000-000000000000"}"#;

async fn app() -> TestApp {
    TestApp::with(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude"), ("MAS_TUNNEL__CHECK_INTERVAL_SECONDS", "1")]).await
}

/// The guardian of this server, patient for two looks; each restart leaves a line in the file `restarts` or `tunnels`.
fn guardian(app: &TestApp, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = guardian_of_unit(app, arguments, settings);
    command.args(["sh", "-c", concat!(env!("CARGO_BIN_EXE_mas"), " config >settings; echo $? >>restarts")]);
    command
}

/// The same without a command that restarts: it is for the unit `mas` of systemd.
fn guardian_of_unit(app: &TestApp, arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new("bash");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/guardian.sh"))
        .args(arguments)
        .current_dir(app.dir.path())
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("MAS_URL", format!("http://{}", app.address))
        .env("MAS_SERVER__DATA_DIR", app.data_dir())
        .envs([("CHECK_SECONDS", "1"), ("FAILURES", "2"), ("PUBLIC_FAILURES", "2"), ("PUBLIC_TIMEOUT_SECONDS", "2")])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Exit code and words of one call.
async fn once(app: &TestApp, arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    outcome(guardian(app, arguments, settings)).await
}

async fn outcome(mut command: Command) -> (i32, String) {
    let output = command.output().await.expect("ran");
    let words = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("a code"), words)
}

fn lines(app: &TestApp, name: &str) -> Vec<String> {
    fs::read_to_string(app.dir.path().join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_guardian_looks_once_and_says_by_its_exit_code_how_things_stand() {
    let mut app = app().await;
    let service = Service::start().await;
    service.forward_to(&app.address);
    let public = format!("{}/", service.url("mas"));
    let known = [("MAS_PUBLIC_URL", public.as_str())];
    assert_eq!(once(&app, &["--once"], &known).await, (0, String::new()), "quiet when all is well");
    let (code, words) = once(&app, &["--check"], &known).await;
    assert!(code == 0 && words.contains(&service.url("mas")), "{words}");
    let (code, words) = once(&app, &["--check"], &[]).await;
    assert!(code == 0 && words.contains("no public URL is known"), "{words}");
    // The file is the last place it looks at.
    fs::write(app.data_dir().join("public-url"), &public).expect("written");
    service.set(Mode::Answer("text/html", 200, "<html>Somebody's page"));
    let (code, words) = once(&app, &["--check"], &[]).await;
    assert!(code == 2 && words.contains("no answer of the gateway from"), "{words}");
    let restart = ("TUNNEL_RESTART", "echo again >>tunnels");
    let (code, words) = once(&app, &["--once"], &[known[0], restart]).await;
    assert!(code == 2 && words.contains("restarting the tunnel"), "{words}");
    let (code, words) = once(&app, &["--once"], &known).await;
    assert!(code == 2 && words.contains("nothing here can mend this"), "{words}");

    service.set(Mode::Answer("application/json", 200, ANOTHER));
    let (code, words) = once(&app, &["--once"], &known).await;
    assert!(code == 3 && words.contains("another gateway answers") && words.contains("mas key revoke"), "{words}");
    assert_eq!((lines(&app, "tunnels").len(), lines(&app, "restarts").len()), (1, 0), "the gateway was left alone");

    app.kill();
    let (code, words) = once(&app, &["--check"], &known).await;
    assert!(code == 1 && words.contains("no answer from"), "{words}");
    assert_eq!(lines(&app, "restarts").len(), 0);
    assert_eq!(once(&app, &["--once"], &known).await.0, 1);
    assert_eq!(lines(&app, "restarts"), ["0"], "what the guardian reads is in the environment of `mas`, which starts with it");
    assert_eq!(once(&app, &["--onse"], &[]).await.0, 64);
    for nonsense in [("FAILURES", "0"), ("MAS_URL", "nonsense"), ("MAS_URL", "http://"), ("MAS_PUBLIC_URL", "mas.example.com")] {
        let (code, words) = once(&app, &["--once"], &[nonsense]).await;
        assert!(code == 64 && words.contains(nonsense.0), "{words}");
    }
    assert_eq!(lines(&app, "restarts").len(), 1);
}

/// A guardian that watches; its words are in a file.
struct Watch {
    pid: Pid,
    process: tokio::process::Child,
    log: PathBuf,
}

impl Watch {
    fn start(app: &TestApp) -> Self {
        let log = app.dir.path().join("guardian.log");
        let mut command = guardian(app, &[], &[]);
        // It finds the address by itself.
        command.env_remove("MAS_URL").stdout(fs::File::create(&log).expect("made"));
        let process = command.spawn().expect("starts");
        let pid = Pid::from_raw(process.id().expect("runs").cast_signed()).expect("a pid");
        Self { pid, process, log }
    }

    async fn says(&self, words: &str, times: usize) {
        let count = || fs::read_to_string(&self.log).unwrap_or_default().matches(words).count();
        until(words, || count() >= times).await;
    }
}

#[tokio::test]
async fn the_guardian_watches_restarts_what_is_down_and_stops_at_a_word() {
    let service = Service::start().await;
    let mut app = TestApp::prepared(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    // The gateway's own tunnel, which it does not get up again while the service is out of order.
    app.set("MAS_TUNNEL__CLIENT", &format!("sh -c 'echo {}; exec sleep 1000'", service.url("own")));
    app.launch();
    service.forward_to(&app.address);
    let mut watch = Watch::start(&app);
    watch.says(&format!("the gateway answers, also as {}", service.url("own")), 1).await;
    assert_eq!(lines(&app, "restarts").len(), 0);

    service.set(Mode::Answer("text/html", 503, "<html>Tunnel Unavailable"));
    until("the gateway is restarted for its tunnel", || !lines(&app, "restarts").is_empty()).await;
    service.set(Mode::Forward);
    watch.says("the gateway answers, also as", 2).await;

    let before = lines(&app, "restarts").len();
    app.kill();
    until("it is restarted, and again", || lines(&app, "restarts").len() >= before + 2).await;
    app.launch();
    service.forward_to(&app.address);
    watch.says("the gateway answers, also as", 3).await;

    kill_process(watch.pid, Signal::TERM).expect("signalled");
    assert!(watch.process.wait().await.expect("reaped").success());
    watch.says("stopped", 1).await;
}

#[tokio::test]
async fn the_guardian_of_a_gateway_that_ended_in_order_looks_at_no_other() {
    let mut app = app().await;
    let local = app.address.clone();
    let (mut watch, by_itself) = (Watch::start(&app), [("MAS_URL", "")]);
    watch.says("the gateway answers", 1).await;
    assert_eq!(once(&app, &["--check"], &by_itself).await.0, 0);
    assert!(app.stop().success() && !app.data_dir().join("address").exists());
    watch.says(&format!("no answer from http://{local}/health"), 1).await;
    let (code, words) = once(&app, &["--check"], &by_itself).await;
    assert!(code == 1 && words.contains("no gateway runs with the data directory"), "{words}");
    kill_process(watch.pid, Signal::TERM).expect("signalled");
    assert!(watch.process.wait().await.expect("reaped").success());
}

#[tokio::test]
async fn the_guardian_leaves_a_unit_alone_that_was_stopped() {
    let mut app = app().await;
    let tools = app.dir.path().join("tools");
    fs::create_dir(&tools).expect("made");
    let script = "#!/bin/sh\nif [ \"$1\" = is-active ]; then cat state; exit 3; fi\necho \"$@\" >>restarts\n";
    fs::write(tools.join("systemctl"), script).expect("written");
    fs::set_permissions(tools.join("systemctl"), fs::Permissions::from_mode(0o755)).expect("executable");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").expect("a path"));
    app.kill();
    for (state, said, restarts) in
        [("inactive", "left alone", 0), ("failed", "restarting the gateway", 1), ("activating", "restarting", 2)]
    {
        fs::write(app.dir.path().join("state"), state).expect("written");
        let (code, words) = outcome(guardian_of_unit(&app, &["--once"], &[("PATH", &path)])).await;
        assert!(code == 1 && words.contains(said), "{state}: {words}");
        assert_eq!(lines(&app, "restarts"), vec!["restart mas"; restarts], "{state}");
    }
}
