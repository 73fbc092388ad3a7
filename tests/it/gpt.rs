//! `mas gpt`: documents from files, standard input and URLs; exit codes; what to paste into the builder.

use crate::support::TestApp;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const GOOD: &str = include_str!("../../src/gpt/tests/good.yaml");

/// `mas gpt` without any setting of this machine.
fn mas(dir: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mas"));
    command.arg("gpt").args(arguments).env_clear().env("HOME", dir.path()).current_dir(dir.path());
    command
}

fn dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn run(dir: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    outcome(&mas(dir, arguments).output().expect("ran"))
}

fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

fn write(dir: &TempDir, name: &str, text: &str) -> String {
    std::fs::write(dir.path().join(name), text).expect("written");
    name.to_owned()
}

#[test]
fn the_committed_document_and_our_own_are_clean() {
    let dir = dir();
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/actions.json");
    let (code, report, words) = run(&dir, &["lint", committed]);
    assert!(code == 0 && report.contains("nothing found") && words.is_empty(), "{report}{words}");
    let (code, report, _) = run(&dir, &["lint"]);
    assert!(code == 0 && report.starts_with("the actions document of this gateway: nothing found"), "{report}");
    assert!(!dir.path().join(".local").exists(), "a check leaves nothing behind");
}

#[test]
fn errors_and_warnings_are_explained_and_decide_the_exit_code() {
    let dir = dir();
    let warned = GOOD.replacen("x-openai-isConsequential: false", "x-openai-isConsequential: true", 1);
    let file = write(&dir, "warned.yaml", &warned);
    let (code, report, _) = run(&dir, &["lint", &file]);
    assert!(code == 0 && report.ends_with("warned.yaml: 0 errors, 1 warning\n"), "{report}");
    let file = write(
        &dir,
        "broken.yaml",
        &GOOD.replace("openapi: 3.1.0", "openapi: 3.0.3").replace("orders\n      summary", "bad id\n      summary"),
    );
    let (code, report, _) = run(&dir, &["lint", &file]);
    assert_eq!(code, 1, "{report}");
    for part in [
        "error  openapi-version: Not OpenAPI 3.1.0 or 3.1.1\n  at     /openapi\n  found  \"3.0.3\"\n  why    The importer answers \"('openapi',)",
        "error  operation-id-invalid in list_bad id: ",
        "\n  fix    ",
        "\nbroken.yaml: 2 errors, 0 warnings\n",
    ] {
        assert!(report.contains(part), "{part}\nis not in\n{report}");
    }
    let (code, report, _) = run(&dir, &["lint", &file, "--format", "json"]);
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((code, &report["errors"], &report["warnings"]), (1, &json!(2), &json!(0)));
    assert_eq!(report["document"], "broken.yaml");
    let finding = &report["findings"][1];
    assert_eq!((&finding["rule"], &finding["severity"]), (&json!("operation-id-invalid"), &json!("error")));
    assert_eq!(
        (&finding["pointer"], &finding["operation_id"]),
        (&json!("/paths/~1orders/get/operationId"), &json!("list_bad id"))
    );
    assert!(["found", "reason", "fix"].iter().all(|key| finding[key].is_string()), "{finding}");
}

#[test]
fn standard_input_is_read() {
    let dir = dir();
    let mut child = mas(&dir, &["lint", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("started");
    child.stdin.take().expect("piped").write_all(GOOD.as_bytes()).expect("written");
    let (code, report, _) = outcome(&child.wait_with_output().expect("ended"));
    assert!(code == 0 && report.starts_with("standard input: nothing found"), "{report}");
}

#[test]
fn what_cannot_be_read_ends_with_2_and_says_what_to_give() {
    let dir = dir();
    let swagger = write(&dir, "swagger.json", "{\"swagger\": \"2.0\"}");
    let page = write(&dir, "page.html", "<!DOCTYPE html>");
    for (source, word) in [
        ("no-such-file.json", "No such file"),
        (".", "directory"),
        (swagger.as_str(), "Swagger 2.0"),
        (page.as_str(), "web page"),
        ("ftp://example.com/openapi.json", "`ftp` is not known"),
    ] {
        let (code, report, words) = run(&dir, &["lint", source]);
        assert_eq!((code, report.as_str()), (2, ""), "{source}: {words}");
        assert!(words.starts_with(&format!("error: {source}: ")) && words.contains(word) && words.contains("give"), "{words}");
        for json in [&["--json"][..], &["--format", "json"]] {
            let (code, report, words_beside) = run(&dir, &[&["lint", source], json].concat());
            let report: Value = serde_json::from_str(&report).expect("JSON");
            assert_eq!((code, &words_beside), (2, &words));
            assert_eq!((&report["document"], &report["errors"], &report["warnings"]), (&json!(source), &json!(1), &json!(0)));
            let finding = &report["findings"][0];
            assert_eq!((&finding["rule"], &finding["pointer"]), (&json!("document-unreadable"), &json!("")));
            assert!(finding["found"].as_str().is_some_and(|found| found.contains(word)), "{finding}");
        }
    }
}

/// Answers one request after another with these, each a status and a body.
async fn serve(answers: Vec<(&'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            // The other side may hang up before the end.
            let _ = stream.write_all(&body).await;
        }
    });
    format!("http://{address}/openapi.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_fetched_within_bounds() {
    let dir = dir();
    let answers = vec![("200 OK", GOOD.into()), ("404 Not Found", b"{}".to_vec()), ("200 OK", vec![b' '; 9 << 20])];
    let url = serve(answers).await;
    let (code, report, words) = run(&dir, &["lint", &url]);
    assert!(code == 0 && report.contains("nothing found"), "{report}{words}");
    let (code, _, words) = run(&dir, &["lint", &url]);
    assert!(code == 2 && words.contains("404"), "{words}");
    let (code, _, words) = run(&dir, &["lint", &url]);
    assert!(code == 2 && words.contains("larger than"), "{words}");
    let (code, _, words) = run(&dir, &["lint", "http://127.0.0.1:1/openapi.json"]);
    assert!(code == 2 && words.contains("cannot be fetched"), "{words}");
}

#[test]
fn setup_prints_the_sheet_for_the_public_url_in_use() {
    let dir = dir();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).expect("made");
    let setup = |arguments: &[&str], setting: Option<&str>| {
        let mut command = mas(&dir, &["setup"]);
        command.args(arguments).arg("--data-dir").arg(&data);
        if let Some(url) = setting {
            command.env("MAS_SERVER__PUBLIC_URL", url);
        }
        outcome(&command.output().expect("ran"))
    };
    let schema = |sheet: &str| {
        let sheet: Value = serde_json::from_str(sheet).expect("JSON");
        sheet["schema_url"].as_str().map(str::to_owned)
    };
    let (code, sheet, words) = setup(&[], None);
    assert!(code == 1 && sheet.contains("Custom header name: X-MAS-Key"), "{sheet}");
    assert!(words.contains("No public URL is known") && words.contains("--url") && words.contains("public_url"), "{words}");
    assert_eq!(schema(&setup(&["--format", "json"], None).1), None);

    let instructions = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("gpt-instructions.md")).expect("there");
    std::fs::write(data.join("public-url"), "https://tunnel.example.com\n").expect("written");
    let (code, sheet, words) = setup(&[], None);
    assert!(code == 1 && words.contains("Start the server") && sheet.contains(instructions.trim_end()), "{sheet}{words}");
    assert!(sheet.contains("\nhttps://tunnel.example.com/openapi-actions.json\n") && sheet.contains("/privacy\n"), "{sheet}");
    // The setting goes before the tunnel, the flag before both.
    let (_, sheet, _) = setup(&["--format", "json"], Some("https://set.example.com"));
    assert_eq!(schema(&sheet).as_deref(), Some("https://set.example.com/openapi-actions.json"));
    let (_, sheet, _) = setup(&["--format", "json", "--url", "https://flag.example.com/"], Some("https://set.example.com"));
    assert_eq!(schema(&sheet).as_deref(), Some("https://flag.example.com/openapi-actions.json"));
    let (code, _, words) = setup(&["--url", "http://flag.example.com"], None);
    assert!(code == 1 && words.contains("--url") && words.contains("not https"), "{words}");
    let (code, _, words) = setup(&[], Some("mas.example.com"));
    assert!(code == 1 && words.contains("server.public_url"), "{words}");
    let (code, _, words) = setup(&["--url", "https://localhost"], None);
    assert!(code == 1 && words.contains("server-local"), "{words}");
    let (code, sheet, words) = setup(&["--format", "json"], Some("HTTPS://Set.Example.COM:443/"));
    assert_eq!((code, schema(&sheet).as_deref(), words.as_str()), (0, Some("https://set.example.com/openapi-actions.json"), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_says_how_the_tunnel_stands() {
    let url = "https://tunnel.example.com";
    for (tunnel, code, words) in [
        (json!({"state": "up", "url": url}), 0, ""),
        (
            json!({"state": "up", "url": url, "changed_at": "2026-01-01T00:00:00Z", "next_step": "Import it again."}),
            0,
            "Import it again.",
        ),
        (
            json!({"state": "foreign", "url": url, "failure": "another answers", "next_step": "Make a new key."}),
            1,
            "Make a new key.",
        ),
        (json!({"state": "up", "url": "https://other.example.com"}), 1, "Start the server"),
    ] {
        let dir = dir();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).expect("made");
        std::fs::write(data.join("public-url"), format!("{url}\n")).expect("written");
        let health = json!({"status": "ok", "tunnel": tunnel}).to_string().into_bytes();
        let server = serve(vec![("200 OK", health)]).await;
        let address = server.trim_start_matches("http://").trim_end_matches("/openapi.json");
        std::fs::write(data.join("address"), address).expect("written");
        let outcome = outcome(&mas(&dir, &["setup"]).arg("--data-dir").arg(&data).output().expect("ran"));
        assert_eq!(outcome.0, code, "{tunnel}: {outcome:?}");
        assert!(outcome.2.contains(words) && outcome.2.is_empty() == words.is_empty(), "{tunnel}: {outcome:?}");
    }
}

#[tokio::test]
async fn the_served_document_names_the_public_url_that_is_set() {
    let settings = [("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude"), ("MAS_SERVER__PUBLIC_URL", "https://mas.example.com/")];
    let app = TestApp::with(&settings).await;
    let document = app.get("/openapi-actions.json").await.expect(200);
    assert_eq!(document["servers"], json!([{"url": "https://mas.example.com"}]));
}

/// The first two lines of the log of a server with this setting; the first one says where it listens.
fn first_words(app: &TestApp) -> String {
    let mut server =
        app.mas(&["serve", "--bind", "127.0.0.1:0", "--log-format", "json"]).stderr(Stdio::piped()).spawn().expect("starts");
    let lines = BufReader::new(server.stderr.take().expect("piped")).lines();
    let words: Vec<String> = lines.take(2).map_while(Result::ok).collect();
    server.kill().expect("ended");
    server.wait().expect("reaped");
    words.join("\n")
}

#[tokio::test]
async fn a_public_url_that_the_importer_refuses_is_told_at_the_start_and_by_doctor() {
    let mut app = TestApp::prepared(&[("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    for (url, rule, title) in [
        ("https://localhost", "server-local", "cannot be reached from the internet"),
        ("https://mas.example.com:8443", "server-port", "names a port"),
    ] {
        app.set("MAS_SERVER__PUBLIC_URL", url);
        let words = first_words(&app);
        assert!(words.contains("\"WARN\"") && words.contains("server.public_url: ") && words.contains(rule), "{url}: {words}");
        let report = app.mas(&["doctor"]).output().expect("ran");
        let report = String::from_utf8_lossy(&report.stdout).into_owned();
        assert!(
            report.lines().any(|line| line.starts_with("FAIL  public URL") && line.contains(url) && line.contains(title)),
            "{report}"
        );
    }
    app.set("MAS_SERVER__PUBLIC_URL", "HTTPS://Mas.Example.COM");
    let words = first_words(&app);
    assert!(words.contains("listening") && !words.contains("server.public_url"), "{words}");
    app.launch();
    assert_eq!(app.get("/openapi-actions.json").await.expect(200)["servers"], json!([{"url": "https://mas.example.com"}]));
}
