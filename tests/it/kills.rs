//! A server that is killed at every step of what teams do: each turn is made once, and what comes of it is the same.

use crate::support::TestApp;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest that all runs of a test may take together.
const PATIENCE: Duration = Duration::from_mins(3);
/// Turns that end so close to each other may be seen as one step: on a busy machine a look takes its time.
const ONE_STEP: TimeDelta = TimeDelta::seconds(1);

fn id(thing: &Value) -> String {
    thing["id"].as_str().expect("an id").to_owned()
}

async fn get_run(app: &TestApp, id: &str) -> Value {
    app.get(&format!("/workflow-runs/{id}")).await.expect(200)
}

fn has_ended(run: &Value) -> bool {
    ["complete", "failed", "cancelled"].contains(&run["status"].as_str().expect("a status"))
}

fn stages(run: &Value) -> &Vec<Value> {
    run["stages"].as_array().expect("stages")
}

/// The tasks of a run's turns, as its stages have them.
fn turns(run: &Value) -> Vec<String> {
    let ids = stages(run).iter().flat_map(|stage| stage["task_ids"].as_array().cloned().unwrap_or_default());
    ids.map(|id| id.as_str().expect("an id").to_owned()).collect()
}

/// What shows of a run's transitions: turns that were begun, and where each stage stands.
fn moment(run: &Value) -> String {
    let standing: Vec<&Value> =
        stages(run).iter().flat_map(|stage| [&stage["path"], &stage["status"], &stage["task_ids"]]).collect();
    format!("{} {standing:?}", run["status"])
}

/// What must not depend on kills: stages, verdicts, outputs, files.
fn outcome(run: &Value) -> Value {
    let stages: Vec<Value> = stages(run)
        .iter()
        .map(|stage| {
            let mut stage = stage.clone();
            stage["task_ids"] = json!(stage["task_ids"].as_array().map_or(0, Vec::len));
            stage
        })
        .collect();
    json!({"status": run["status"], "stages": stages, "result": run["result"], "turns": run["turns"], "files": run["files"]})
}

async fn summary(app: &TestApp, run: &Value) -> String {
    let file = app.get(&format!("/workflow-runs/{}/file?name=summary.md", id(run))).await.expect(200);
    file["file"]["text"].as_str().expect("text").replace(&id(run), "RUN")
}

/// Waits until all of them have ended, in peace.
async fn undisturbed(app: &TestApp, runs: &[String]) -> Vec<Value> {
    let waiting = async {
        let mut ended = vec![];
        for id in runs {
            let run = loop {
                let run = app.get(&format!("/workflow-runs/{id}?wait_seconds=20")).await.expect(200);
                if has_ended(&run) {
                    break run;
                }
            };
            ended.push(run);
        }
        ended
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the runs end")
}

/// The runs once they have ended, with the times at which the server was killed: whenever one of them had moved.
pub(crate) async fn killed_at_every_step(app: &mut TestApp, runs: &[String]) -> (Vec<Value>, Vec<DateTime<Utc>>) {
    let mut kills = vec![];
    let mut seen = vec![String::new(); runs.len()];
    let mut ended: Vec<Option<Value>> = vec![None; runs.len()];
    let begun = tokio::time::Instant::now();
    while ended.iter().any(Option::is_none) {
        assert!(begun.elapsed() < PATIENCE, "not at an end after {} kills: {seen:?}", kills.len());
        let mut moved = false;
        for (place, id) in runs.iter().enumerate() {
            if ended[place].is_some() {
                continue;
            }
            let run = get_run(app, id).await;
            let now = moment(&run);
            moved |= now != seen[place];
            seen[place] = now;
            ended[place] = has_ended(&run).then_some(run);
        }
        if moved {
            kills.push(Utc::now());
            app.kill();
            app.launch();
        }
    }
    // The files of a run are there before its end is told, and still there.
    for run in &mut ended {
        let id = id(run.as_ref().expect("ended"));
        *run = Some(get_run(app, &id).await);
    }
    (ended.into_iter().flatten().collect(), kills)
}

/// Panics unless every turn of the run was made once, and the server was killed between any two of its steps.
async fn assert_each_turn_once(app: &TestApp, run: &Value, kills: &[DateTime<Utc>]) {
    let turns = turns(run);
    assert_eq!(run["turns"], json!(turns.len()), "a run for each turn: {run}");
    let (mut ends, mut titles) = (vec![], vec![]);
    for id in &turns {
        let task = app.get(&format!("/tasks/{id}")).await.expect(200);
        assert_eq!(task["status"], "complete", "{task}");
        ends.push(task["ended_at"].as_str().expect("a time").parse::<DateTime<Utc>>().expect("a time"));
        titles.push(task["title"].to_string());
        let results = app.events(&task).await.into_iter().filter(|event| event["kind"] == "result").count();
        assert_eq!(results, 1, "{task}");
    }
    titles.sort();
    let made = titles.len();
    titles.dedup();
    assert_eq!(titles.len(), made, "made twice: {titles:?}");
    ends.sort();
    for pair in ends.windows(2).filter(|pair| pair[1] - pair[0] > ONE_STEP) {
        let killed = kills.iter().any(|at| (pair[0]..=pair[1]).contains(at));
        assert!(killed, "no kill between {} and {}: {kills:?}\n{run}", pair[0], pair[1]);
    }
}

/// Panics unless the runs that were disturbed came out as those that were not.
pub(crate) async fn assert_same(app: &TestApp, calm: &[Value], disturbed: &[Value], kills: &[DateTime<Utc>]) {
    for (calm, run) in calm.iter().zip(disturbed) {
        assert_eq!(calm["status"], "complete", "{calm}\n{}", app.last_conversation().await.1);
        assert_eq!(outcome(run), outcome(calm), "{} after {} kills", calm["workflow"], kills.len());
        assert_eq!(summary(app, run).await, summary(app, calm).await);
        assert!(run["files"].as_array().is_some_and(|files| files[0] == "summary.md" && files.len() > 1), "{run}");
        assert_each_turn_once(app, run, kills).await;
        assert!(kills.len() >= turns(run).len(), "{} kills: {run}", kills.len());
    }
    eprintln!(
        "{} runs, {} turns, {} kills",
        disturbed.len(),
        disturbed.iter().map(|run| turns(run).len()).sum::<usize>(),
        kills.len()
    );
}

/// SPARC among them.
#[tokio::test]
async fn cli_every_shipped_workflow_completes_also_when_the_server_is_killed_at_every_step() {
    let mut app = TestApp::with(&[("MAS_RUNNER__ON_SHUTDOWN", "detach"), ("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000")]).await;
    let list = app.get("/workflows").await.expect(200);
    assert_eq!(list["problems"], json!([]), "{list}");
    let names: Vec<&str> =
        list["workflows"].as_array().expect("workflows").iter().map(|flow| flow["name"].as_str().expect("a name")).collect();
    assert_eq!(names.len(), 6);
    let calm = begin_all(&app, &names).await;
    let calm = undisturbed(&app, &calm).await;
    let disturbed = begin_all(&app, &names).await;
    let (disturbed, kills) = killed_at_every_step(&mut app, &disturbed).await;
    assert_same(&app, &calm, &disturbed, &kills).await;
}

async fn begin_all(app: &TestApp, workflows: &[&str]) -> Vec<String> {
    let mut runs = vec![];
    for name in workflows {
        let task = json!({"task": "Make a door for the shop."});
        runs.push(id(&app.post(&format!("/workflows/{name}/run"), &task).await.expect(201)));
    }
    runs
}
