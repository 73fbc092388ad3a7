//! What is reclaimed and what is not, and copies of the store. "Old" is made by limits of 0 days or by the store.

mod copies;

use crate::{
    store::support::{provision, task},
    support::{TestApp, until},
};
use mas_gateway::store::{Quota, Store};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Everything ended is old; the server itself reclaims nothing.
const AT_ONCE: [(&str, &str); 3] =
    [("MAS_GC__PROCESS_DIRS_DAYS", "0"), ("MAS_GC__WORKTREES_DAYS", "0"), ("MAS_GC__INTERVAL_SECONDS", "0")];

fn git(dir: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@t"];
    let output = Command::new("git").args(identity).args(arguments).current_dir(dir).output().expect("git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn repository() -> tempfile::TempDir {
    let repository = tempfile::tempdir().expect("a directory");
    git(repository.path(), &["init", "--quiet", "-b", "main"]);
    git(repository.path(), &["commit", "--quiet", "--allow-empty", "-m", "start"]);
    repository
}

/// What `mas gc` printed about each thing: id → action.
struct Told {
    stdout: String,
    stderr: String,
}

impl Told {
    fn about(&self, id: &str) -> &str {
        let line = self.stdout.lines().find(|line| line.contains(id)).unwrap_or_else(|| panic!("no {id} in {}", self.stdout));
        let action = line.find("remove").or_else(|| line.find("keep: ")).unwrap_or_else(|| panic!("no action: {line}"));
        &line[action..]
    }
}

fn gc(app: &TestApp, arguments: &[&str]) -> Told {
    let output = app.mas(&[&["gc"], arguments].concat()).output().expect("ran");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let told = Told { stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(output.status.success(), "{}{}", told.stdout, told.stderr);
    told
}

fn word<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn worktree(app: &TestApp, task: &Value) -> PathBuf {
    app.data_dir().join("workspaces").join(word(task, "agent_id"))
}

fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).map_or(0, Iterator::count)
}

async fn tidy_work(app: &TestApp) -> Value {
    let plan = json!({"steps": [
        {"text": "I make it.", "tool_use": {"name": "Bash", "input": {"command": "touch made.txt"}}},
        {"text": "Made."},
    ]});
    let task = app.ended(&app.create(&plan, json!({"project": "shop"})).await).await;
    assert_eq!(task["status"], "complete", "{task}");
    task
}

#[tokio::test]
async fn cli_only_worktrees_whose_work_is_on_a_branch_go_and_the_api_still_answers() {
    let shop = repository();
    let project = [("MAS_PROJECTS__SHOP__PATH", shop.path().to_str().expect("UTF-8"))];
    let app = TestApp::with(&[&AT_ONCE[..], &project].concat()).await;
    let (clean, untracked, detached) = (tidy_work(&app).await, tidy_work(&app).await, tidy_work(&app).await);
    std::fs::write(worktree(&app, &untracked).join("note.txt"), "unsaved").expect("written");
    git(&worktree(&app, &detached), &["checkout", "--quiet", "--detach"]);
    git(&worktree(&app, &detached), &["commit", "--quiet", "--allow-empty", "-m", "on no branch"]);
    let before = app.events(&clean).await;

    let dry = gc(&app, &["--dry-run"]);
    assert!(dry.stderr.contains("would remove 4 "), "{}{}", dry.stdout, dry.stderr);
    assert!(worktree(&app, &clean).join("made.txt").exists());
    assert_eq!(count(&app.data_dir().join("processes")), 3);

    let told = gc(&app, &[]);
    assert_eq!(told.stdout, dry.stdout);
    assert!(told.stderr.contains("removed 4 ") && told.stderr.contains("kept 2, failed 0"), "{}", told.stderr);
    assert_eq!(told.about(word(&clean, "agent_id")), "remove");
    assert!(told.about(word(&untracked, "agent_id")).contains("uncommitted"), "{}", told.stdout);
    assert!(told.about(word(&detached, "agent_id")).contains("no branch"), "{}", told.stdout);
    assert!(!worktree(&app, &clean).exists());
    assert_eq!(std::fs::read_to_string(worktree(&app, &untracked).join("note.txt")).expect("there"), "unsaved");
    assert!(worktree(&app, &detached).join("made.txt").exists());
    assert_eq!(count(&app.data_dir().join("processes")), 0);

    let branch = word(&clean["changes"], "branch");
    assert_eq!(git(shop.path(), &["ls-tree", "--name-only", branch]), "made.txt");
    assert!(!git(shop.path(), &["worktree", "list"]).contains(word(&clean, "agent_id")));

    assert_eq!(app.get(&format!("/tasks/{}", word(&clean, "id"))).await.expect(200)["result"], "Made.");
    assert_eq!(app.events(&clean).await, before);
    let agent = app.get(&format!("/agents/{}", word(&clean, "agent_id"))).await.expect(200);
    assert_eq!(agent["status"], "parked");
    let output = app.get(&format!("/agents/{}/output", word(&clean, "agent_id"))).await.expect(200);
    assert!(output.to_string().contains("Made."), "{output}");
    assert_eq!(tidy_work(&app).await["result"], "Made.", "new agents still get worktrees");
}

#[tokio::test]
async fn cli_a_running_agent_loses_nothing_and_is_reclaimed_once_it_has_ended() {
    let shop = repository();
    let project = [("MAS_PROJECTS__SHOP__PATH", shop.path().to_str().expect("UTF-8"))];
    let app = TestApp::with(&[&AT_ONCE[..], &project, &[("MAS_GC__KEEP_BYTES", "1")]].concat()).await;
    let task = app.create(&json!({"hang": 600.0}), json!({"project": "shop"})).await;
    app.events_until(&task, |event| event["data"]["state"] == "requesting").await;
    let path = format!("/tasks/{}", word(&task, "id"));
    let running = app.get(&path).await.expect(200);

    let told = gc(&app, &[]);
    assert!(told.stderr.contains("removed 0 ") && told.stderr.contains("kept 2,"), "{}{}", told.stdout, told.stderr);
    assert!(told.about("proc_").contains("it runs"), "{}", told.stdout);
    assert!(told.about(word(&running, "agent_id")).contains("at work"), "{}", told.stdout);
    assert!(worktree(&app, &running).exists() && !app.agent_processes().is_empty());

    let cancelled = app.post(&format!("{path}/cancel"), &json!({"wait_seconds": 30})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled", "{cancelled}");
    let told = gc(&app, &[]);
    assert!(told.stderr.contains("removed 2 "), "{}{}", told.stdout, told.stderr);
    assert!(!worktree(&app, &running).exists());
}

#[tokio::test]
async fn cli_the_server_reclaims_by_itself_and_the_last_event_tells_how_many_there_were() {
    let mut app = TestApp::with(&[("MAS_GC__INTERVAL_SECONDS", "0")]).await;
    let (old, young) =
        (app.create(&json!({"text": "old"}), json!({})).await, app.create(&json!({"text": "new"}), json!({})).await);
    let (old, young) = (app.ended(&old).await, app.ended(&young).await);
    let (all, others) = (app.events(&old).await, app.events(&young).await);
    assert!(app.stop().success());
    app.sql("UPDATE process SET ended_at = '2020-01-01T00:00:00Z'").await;
    app.sql("UPDATE task SET ended_at = '2020-01-01T00:00:00Z' WHERE id = (SELECT min_id FROM (SELECT id AS min_id FROM task ORDER BY id LIMIT 1) AS first)").await;
    app.set("MAS_GC__INTERVAL_SECONDS", "1");
    app.set("MAS_GC__EVENTS_DAYS", "30");
    app.launch();
    let processes = app.data_dir().join("processes");
    until("the process directories are gone", || count(&processes) == 0).await;
    let gone = async {
        while app.events(&old).await.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, gone).await.expect("the old task's events go");

    assert_eq!(app.events(&old).await, all[all.len() - 1..], "the last one stays and keeps its number");
    assert_eq!(app.events(&young).await, others);
    let task = app.get(&format!("/tasks/{}", word(&old, "id"))).await.expect(200);
    assert_eq!((&task["status"], &task["result"]), (&json!("complete"), &json!("old")));
    app.get(&format!("/agents/{}/output", word(&old, "agent_id"))).await.expect(200);
    let stream = app.request(reqwest::Method::GET, &format!("/tasks/{}/events", word(&old, "id")));
    let stream = app.send(stream.header("Accept", "text/event-stream")).await;
    assert!(stream.status.is_success() && stream.text.contains("complete"), "{}", stream.text);
}

#[tokio::test]
async fn what_the_store_does_not_know_or_has_not_read_to_the_end_stays() {
    let mut app = TestApp::with(&AT_ONCE).await;
    app.get("/health").await.expect(200);
    assert!(app.stop().success());
    let dir = |name: &str| {
        let dir = app.data_dir().join("processes").join(name);
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join("stdout"), "raw").expect("written");
        dir
    };
    let stray = "proc_0193f2a87c3e7d10b5a1c2d3e4f50617";
    let stray_dir = dir(stray);
    // A store that knows nothing of what is here is rather the wrong one than right.
    assert!(gc(&app, &[]).about(stray).contains("store.url"));
    assert!(stray_dir.exists());

    let store = Store::connect(&app.store_url()).await.expect("opens");
    let task = task("ann");
    store.insert_task(&task, &Quota::default()).await.expect("stored");
    let made = provision(&task);
    assert!(store.provision(&made).await.expect("stored"));
    store.close().await;
    let known = made.process.id.to_string();
    let known_dir = dir(&known);
    app.set("MAS_GC__PROCESS_DIRS_DAYS", "14");
    assert!(gc(&app, &[]).about(stray).contains("does not know"));
    app.set("MAS_GC__PROCESS_DIRS_DAYS", "0");
    let told = gc(&app, &[]);
    assert!(told.about(&known).contains("not stored"), "{}", told.stdout);
    assert_eq!(told.about(stray), "remove");
    assert!(known_dir.exists() && !stray_dir.exists());

    app.sql("UPDATE process SET ended_at = '2020-01-01T00:00:00Z'").await;
    app.set("MAS_GC__PROCESS_DIRS_DAYS", "14");
    assert_eq!(gc(&app, &[]).about(&known), "remove");
    assert!(!known_dir.exists());
}

#[tokio::test]
async fn worktrees_that_git_cannot_vouch_for_stay() {
    let mut app = TestApp::with(&AT_ONCE).await;
    app.get("/health").await.expect(200);
    assert!(app.stop().success());
    // A repository around the data directory, whose own clean state says nothing about what is in it.
    git(app.dir.path(), &["init", "--quiet", "-b", "main"]);
    std::fs::write(app.dir.path().join(".gitignore"), "*").expect("written");
    git(app.dir.path(), &["commit", "--quiet", "--allow-empty", "-m", "around"]);
    let shop = repository();
    let store = Store::connect(&app.store_url()).await.expect("opens");
    let mut made = vec![];
    for _ in 0..5 {
        let task = task("ann");
        store.insert_task(&task, &Quota::default()).await.expect("stored");
        let provision = provision(&task);
        assert!(store.provision(&provision).await.expect("stored"));
        let id = provision.agent.id.to_string();
        let dir = app.data_dir().join("workspaces").join(&id);
        git(shop.path(), &["worktree", "add", "--quiet", "-b", &format!("mas/{id}"), dir.to_str().expect("UTF-8")]);
        made.push((id, dir));
    }
    store.close().await;
    let ids: Vec<&str> = made.iter().map(|(id, _)| id.as_str()).collect();
    assert!(ids.iter().all(|id| gc(&app, &[]).about(id).contains("at work")));
    app.sql("UPDATE agent SET status = 'parked', updated_at = '2020-01-01T00:00:00Z'").await;
    assert!(ids.iter().all(|id| gc(&app, &[]).about(id).contains("not stored")));
    app.sql("UPDATE process SET ended_at = '2020-01-01T00:00:00Z'").await;

    git(shop.path(), &["worktree", "lock", made[0].1.to_str().expect("UTF-8")]);
    std::fs::remove_file(made[1].1.join(".git")).expect("removed");
    std::fs::remove_file(made[2].1.join(".git")).expect("removed");
    git(&made[2].1, &["init", "--quiet"]);
    // A setting that hides untracked files hides them from nobody here.
    git(shop.path(), &["config", "status.showUntrackedFiles", "no"]);
    std::fs::write(made[3].1.join("unsaved"), "work").expect("written");
    let told = gc(&app, &[]);
    for (number, why) in ["locked", "git rev-parse", "not a linked", "uncommitted"].iter().enumerate() {
        assert!(told.about(ids[number]).contains(why), "{}", told.stdout);
        assert!(made[number].1.exists());
    }
    assert_eq!(told.about(ids[4]), "remove");
    assert!(!made[4].1.exists());
    git(shop.path(), &["rev-parse", "--verify", &format!("mas/{}", ids[4])]);
}

#[tokio::test]
async fn one_housekeeping_at_a_time_and_none_without_a_database() {
    let app = TestApp::with(&AT_ONCE).await;
    // It listens before it makes its database.
    app.get("/health").await.expect(200);
    let other = mas_gateway::process::lock::take(&app.data_dir().join("gc-lock")).expect("free");
    let second = app.mas(&["gc"]).output().expect("ran");
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("another housekeeping"));
    drop(other);
    assert!(gc(&app, &[]).stderr.contains("removed 0 "));
    if app.store_url().starts_with("sqlite://") {
        let fresh = TestApp::prepared(&[]).await;
        let none = fresh.mas(&["gc"]).output().expect("ran");
        assert!(!none.status.success() && String::from_utf8_lossy(&none.stderr).contains("no database"));
        assert!(!fresh.data_dir().exists());
    }
}
