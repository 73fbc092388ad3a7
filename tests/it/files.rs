//! Files from callers and for callers.

use crate::support::TestApp;
use axum::{Router, http::StatusCode, routing::get};
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Serves files on loopback, as the host of a caller's files does; gives its address.
async fn file_host() -> String {
    serve(
        Router::new()
            .route("/notes.txt", get(|| async { "the word is juniper" }))
            .route("/moved", get(|| async { axum::response::Redirect::temporary("/notes.txt") })),
    )
    .await
}

/// A host that gives its file once. It tells of each request, and answers when it is let.
struct CountingHost {
    address: String,
    asked: watch::Receiver<usize>,
    lets: Arc<Semaphore>,
}

impl CountingHost {
    async fn start() -> Self {
        let (count, asked) = watch::channel(0);
        let (count, lets) = (Arc::new(count), Arc::new(Semaphore::new(0)));
        let gate = Arc::clone(&lets);
        let answer = move || {
            let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
            async move {
                let mut number = 0;
                count.send_modify(|asked| {
                    *asked += 1;
                    number = *asked;
                });
                let _let = gate.acquire().await;
                if number == 1 { (StatusCode::OK, "the word is juniper") } else { (StatusCode::FORBIDDEN, "expired") }
            }
        };
        Self { address: serve(Router::new().route("/once", get(answer))).await, asked, lets }
    }

    fn link(&self) -> String {
        format!("{}/once", self.address)
    }

    fn asked(&self) -> usize {
        *self.asked.borrow()
    }
}

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

fn sent(name: &str, link: &str) -> Value {
    json!([{"name": name, "id": "file-1", "mime_type": "text/plain", "download_link": link}])
}

/// The paths named in a task's prompt.
fn named_path(task: &Value) -> String {
    let prompt = task["description"].as_str().expect("a prompt");
    let line = prompt.lines().find_map(|line| line.strip_prefix("- ")).expect("a file is named");
    line.split(" (").next().expect("a path").to_owned()
}

#[tokio::test]
async fn cli_a_file_sent_along_can_be_read_and_others_cannot() {
    let app = TestApp::with(&[("MAS_FILES__HOSTS", "127.0.0.1")]).await;
    let host = file_host().await;
    let body =
        json!({"title": "t", "description": "Wait.", "openaiFileIdRefs": sent("../notes.txt", &format!("{host}/notes.txt"))});
    // The plan has to name the file, whose place the answer tells: a task of the same user that comes to nothing.
    let first = app.post("/tasks", &body).await.expect(201);
    let path = named_path(&first);
    assert_eq!(std::fs::read_to_string(&path).expect("fetched"), "the word is juniper");
    assert!(first["description"].as_str().expect("a prompt").ends_with("/notes.txt (text/plain, 19 bytes)"), "{first}");
    assert!(path.ends_with("/notes.txt") && path.contains(first["id"].as_str().expect("an id")), "{path}");
    let secret = app.data_dir().join("admin-key");
    std::fs::write(&secret, "do not show").expect("written");

    let plan = json!({"steps": [
        {"text": "one", "tool_use": {"name": "Read", "input": {"file_path": path}}},
        {"text": "two", "tool_use": {"name": "Read", "input": {"file_path": secret}}},
        {"text": "done"},
    ]});
    let task = app.ended(&app.create(&plan, json!({})).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    let events = app.events(&task).await;
    let results: Vec<&Value> = events.iter().filter(|event| event["kind"] == "tool_result").map(|event| &event["data"]).collect();
    assert!(results[0]["text"].as_str().is_some_and(|text| text.contains("juniper")), "{results:?}");
    assert_eq!(results[1]["is_error"], true, "{results:?}");
    assert!(!results[1].to_string().contains("do not show"), "{results:?}");
}

#[tokio::test]
async fn what_cannot_be_fetched_makes_no_task_and_leaves_nothing() {
    let app = TestApp::with(&[("MAS_FILES__HOSTS", "127.0.0.1"), ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let host = file_host().await;
    let too_many: Vec<Value> =
        (0..11).map(|n| json!({"name": format!("{n}"), "download_link": format!("{host}/notes.txt")})).collect();
    for (files, words, is_retryable) in [
        (sent("a", "https://files.example.com/a"), "files.hosts", false),
        (sent("a", &format!("{host}/missing")), "404", true),
        (sent("a", &format!("{host}/moved")), "307", true),
        (json!(["file-abc"]), "download_link", false),
        (Value::from(too_many), "at most 10", false),
    ] {
        let body = json!({"title": "t", "description": "d", "openaiFileIdRefs": files});
        let code = if is_retryable { "files_not_fetched" } else { "validation_failed" };
        let refused = app.post("/tasks", &body).await.problem(422, code);
        assert_eq!(refused["errors"][0]["field"], "openaiFileIdRefs", "{refused}");
        assert!(refused["detail"].as_str().expect("words").contains(words), "{refused}");
        let says = |field: &str| refused[field].as_str().expect("words").contains("fresh links");
        assert_eq!(
            (&refused["retryable"], says("detail"), says("next_step")),
            (&is_retryable.into(), is_retryable, is_retryable)
        );
    }
    assert_eq!(app.get("/tasks").await.expect(200)["tasks"], json!([]));
    let left = std::fs::read_dir(app.data_dir().join("inbox")).into_iter().flatten();
    let tasks = left.flat_map(|owner| std::fs::read_dir(owner.expect("an entry").path()).expect("readable"));
    assert_eq!(tasks.count(), 0, "no file is left");
}

#[tokio::test]
async fn a_repeated_call_with_files_is_one_task_with_one_copy() {
    let app = TestApp::with(&[("MAS_FILES__HOSTS", "127.0.0.1"), ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let host = file_host().await;
    // The links differ each time, as ChatGPT's do.
    let body =
        |link: &str| json!({"title": "t", "description": "d", "idempotency_key": "k", "openaiFileIdRefs": sent("a", link)});
    let first = app.post("/tasks", &body(&format!("{host}/notes.txt?sig=1"))).await.expect(201);
    let again = app.post("/tasks", &body(&format!("{host}/notes.txt?sig=2"))).await.expect(200);
    assert_eq!(first["id"], again["id"]);
    let path = named_path(&first);
    let owner = std::path::Path::new(&path).parent().and_then(std::path::Path::parent).expect("a directory");
    assert_eq!(std::fs::read_dir(owner).expect("readable").count(), 1);
}

#[tokio::test]
async fn a_repeated_call_fetches_nothing_again() {
    let app = TestApp::with(&[("MAS_FILES__HOSTS", "127.0.0.1"), ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude")]).await;
    let swarm = app.post("/swarm/spawn", &json!({"topology": "star", "agents": [{"type": "coder"}]})).await.expect(201);
    let message = format!("/agents/{}/message", swarm["agents"][0]["id"].as_str().expect("an id"));
    for (path, field) in [("/tasks", "description"), (message.as_str(), "text")] {
        let host = CountingHost::start().await;
        let body = json!({field: "Read it.", "idempotency_key": path, "openaiFileIdRefs": sent("a", &host.link())});
        let mut asked = host.asked.clone();
        let twice = async {
            // The second comes while the first is being worked on.
            asked.wait_for(|asked| *asked == 1).await.expect("a host");
            let ((), second) = tokio::join!(async { host.lets.add_permits(10) }, app.post(path, &body));
            second
        };
        let (first, second) = tokio::join!(app.post(path, &body), twice);
        assert_eq!((first.expect(201)["id"].clone(), host.asked()), (second.expect(200)["id"].clone(), 1), "{path}");
        // By now the link has expired.
        let third = app.post(path, &body).await;
        assert_eq!((third.expect(200)["id"].clone(), host.asked()), (first.json()["id"].clone(), 1), "{path}");
        assert_eq!(third.headers["idempotency-replayed"], "true");
        let other = json!({field: "Something else.", "idempotency_key": path, "openaiFileIdRefs": sent("a", &host.link())});
        app.post(path, &other).await.problem(409, "idempotency_conflict");
        assert_eq!(host.asked(), 1, "{path}");
    }
}

#[tokio::test]
async fn cli_what_came_of_a_task_is_listed_read_and_linked() {
    let mut app = TestApp::prepared(&[]).await;
    app.repository("shop");
    app.launch();
    let long = "0123456789".repeat(5_000);
    let plan = json!({"steps": [
        {"text": "writing", "tool_use": {"name": "Write", "input": {"file_path": "report.md", "content": "# All is well\n"}}},
        {"text": long},
    ]});
    let task = app.ended(&app.create(&plan, json!({"project": "shop"})).await).await;
    assert_eq!(task["status"], "complete", "{}", task["failure"]);
    assert!(task["truncated"].as_array().expect("cut").contains(&json!("/result")), "{}", task["truncated"]);
    assert!(task["next_step"].as_str().expect("words").contains("read_task_file"), "{}", task["next_step"]);

    let path = |rest: &str| format!("/tasks/{}{rest}", task["id"].as_str().expect("an id"));
    let (mut text, mut after) = (String::new(), Some(0));
    while let Some(cursor) = after {
        let part = app.get(&path(&format!("/files/text?name=result.md&after={cursor}"))).await.expect(200);
        text.push_str(part["text"].as_str().expect("text"));
        after = part["next_cursor"].as_i64();
    }
    assert_eq!(text, long);

    let files = app.get(&path("/files?path=report.md")).await.expect(200);
    let names: Vec<&Value> = files["files"].as_array().expect("a list").iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["result.md", "changes.diff", "report.md"]);
    let links = files["openaiFileResponse"].as_array().expect("links");
    let link = links[2].as_str().expect("a link");
    let report = app.fetch(link).await;
    assert_eq!((report.status.as_u16(), report.text.as_str()), (200, "# All is well\n"));
    assert_eq!(report.headers["content-disposition"], "attachment; filename=\"report.md\"");
    assert_eq!(report.headers["content-type"], "text/markdown");
    for other in [link.replace("report.md", "changes.diff"), link.replace("/report.md", "-x/report.md")] {
        let refused = app.fetch(&other).await.problem(404, "not_found");
        assert!(refused["next_step"].as_str().is_some_and(|step| step.contains("list_task_files")), "{refused}");
    }

    for outside in ["../../admin-key", "/etc/passwd", ".git", "missing.txt", ".."] {
        let missing = app.get(&path(&format!("/files?path={outside}"))).await.problem(404, "not_found");
        assert!(!missing["next_step"].as_str().expect("words").contains("list_tasks"), "{missing}");
        app.get(&path(&format!("/files/text?name={outside}"))).await.problem(404, "not_found");
    }
    // Larger than what is given out, by a link made before or after.
    let workspace = std::path::PathBuf::from(app.get(&agent_of(&task)).await.expect(200)["workspace"].as_str().expect("a path"));
    let report = std::fs::File::options().write(true).open(workspace.join("report.md")).expect("a file");
    report.set_len(10_000_001).expect("longer");
    let listed = app.get(&path("/files?path=report.md")).await.expect(200);
    let file = &listed["files"][2];
    assert_eq!((&file["url"], &file["expires_at"]), (&Value::Null, &Value::Null), "{file}");
    assert!(file["note"].as_str().is_some_and(|note| note.contains("10000001 bytes")), "{file}");
    assert_eq!(listed["openaiFileResponse"].as_array().map(Vec::len), Some(2), "{listed}");
    let refused = app.fetch(link).await.problem(404, "not_found");
    assert!(refused["detail"].as_str().expect("words").contains("behind this link has 10000001 bytes"), "{refused}");
    let reader = app.mas(&["key", "create", "--user", "admin", "--scopes", "read"]).output().expect("made");
    let reader = String::from_utf8(reader.stdout).expect("text");
    let seen = app.send(app.request_as(Some(reader.trim()), Method::GET, &path("/files/text?name=report.md"))).await;
    seen.problem(403, "insufficient_scope");
}

fn agent_of(task: &Value) -> String {
    format!("/agents/{}", task["agent_id"].as_str().expect("an agent"))
}

#[tokio::test]
async fn files_sent_along_go_after_their_task() {
    let app = TestApp::with(&[
        ("MAS_FILES__HOSTS", "127.0.0.1"),
        ("MAS_CLAUDE_CODE__COMMAND", "/nonexistent/claude"),
        ("MAS_GC__FILES_DAYS", "0"),
        ("MAS_GC__INTERVAL_SECONDS", "0"),
    ])
    .await;
    let host = file_host().await;
    let body = json!({"title": "t", "description": "d", "openaiFileIdRefs": sent("a", &format!("{host}/notes.txt"))});
    let task = app.ended(&app.post("/tasks", &body).await.expect(201)).await;
    let path = named_path(&task);
    let gc = |arguments: &[&str]| {
        let output = app.mas(&[&["gc"], arguments].concat()).output().expect("ran");
        String::from_utf8(output.stdout).expect("text")
    };
    let id = task["id"].as_str().expect("an id");
    let told = gc(&["--dry-run"]);
    assert!(told.lines().any(|line| line.contains(id) && line.contains("files") && line.contains("remove")), "{told}");
    assert!(std::fs::exists(&path).expect("readable"), "a dry run removes nothing");
    gc(&[]);
    assert!(!std::fs::exists(&path).expect("readable"));
}
