//! Swarms of the real Claude Code CLI.

mod advice;
mod awkward;
mod scaling;

use crate::{
    kills,
    support::{PATIENCE, TestApp},
};
use serde_json::{Value, json};

fn id(thing: &Value) -> &str {
    thing["id"].as_str().expect("an id")
}

async fn spawn(app: &TestApp, body: Value) -> Value {
    app.post("/swarm/spawn", &body).await.expect(201)
}

/// The run once it has ended.
pub(crate) async fn run_ended(app: &TestApp, run: &str) -> Value {
    let waiting = async {
        loop {
            let run = app.get(&format!("/workflow-runs/{run}?wait_seconds=20")).await.expect(200);
            if ["complete", "failed", "cancelled"].contains(&run["status"].as_str().expect("a status")) {
                return run;
            }
        }
    };
    tokio::time::timeout(PATIENCE * 2, waiting).await.expect("the run ends")
}

fn leaves(run: &Value) -> Vec<String> {
    let stages = run["stages"].as_array().expect("stages").iter();
    stages.filter(|stage| stage["task_ids"].is_array()).map(|stage| stage["path"].as_str().expect("a path").to_owned()).collect()
}

/// The same objective twice: in peace, then with a server that is killed at every step.
#[tokio::test]
async fn cli_each_topology_completes_an_objective_with_its_own_shape_of_runs_however_often_the_server_is_killed() {
    let settings = [("MAS_RUNNER__ON_SHUTDOWN", "detach"), ("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000")];
    let mut app = TestApp::with(&settings).await;
    let agents = json!([{"type": "coordinator"}, {"type": "architect"}, {"type": "coder", "count": 2}]);
    let mut runs = vec![];
    for topology in ["star", "hierarchical", "mesh", "ring"] {
        let body = json!({"topology": topology, "agents": agents, "objective": "Make a door.", "idempotency_key": topology});
        let swarm = spawn(&app, body.clone()).await;
        assert_eq!(
            (&swarm["topology"], &swarm["agent_count"], &swarm["health"]),
            (&json!(topology), &json!(4), &json!("healthy"))
        );
        let again = app.post("/swarm/spawn", &body).await.expect(200);
        assert_eq!((&again["id"], &again["active_runs"]), (&swarm["id"], &swarm["active_runs"]), "one swarm, one run");
        runs.push((topology, swarm["active_runs"][0].as_str().expect("a run").to_owned(), id(&swarm).to_owned()));
    }
    let (mut calm, mut disturbed) = (vec![], vec![]);
    for (topology, run, swarm) in &runs {
        let run = run_ended(&app, run).await;
        assert_eq!(run["status"], "complete", "{topology}: {run}");
        let shape = leaves(&run).join(" ");
        match *topology {
            "star" => assert_eq!(shape, "split architect_1 coder_2 coder_3 merge"),
            "hierarchical" => assert_eq!(
                shape,
                "plan architect_1/split_architect_1 architect_1/coder_2 architect_1/coder_3 architect_1/merge_architect_1 synthesis"
            ),
            "ring" => assert_eq!(shape, "coordinator_0 architect_1 coder_2 coder_3"),
            _ => assert!(
                shape.starts_with("rounds~1/coordinator_0 rounds~1/architect_1") && shape.ends_with("synthesis"),
                "{shape}"
            ),
        }
        let status = app.get(&format!("/swarm/status?swarm_id={swarm}")).await.expect(200)["swarms"][0].clone();
        assert_eq!((&status["active_runs"], &status["tasks"]["failed"]), (&json!([]), &json!(0)), "{status}");
        assert_eq!(status["turns"], status["tasks"]["complete"], "{status}");
        // Its agents did the work, each in its one conversation.
        let members: Vec<&Value> = status["agents"].as_array().expect("agents").iter().map(|agent| &agent["id"]).collect();
        for stage in run["stages"].as_array().expect("stages").iter().filter(|stage| stage["task_ids"].is_array()) {
            let task = app.get(&format!("/tasks/{}", stage["task_ids"][0].as_str().expect("an id"))).await.expect(200);
            assert!(members.contains(&&task["agent_id"]), "{task}");
        }
        calm.push(run);
    }
    for (.., swarm) in &runs {
        let run = app.post(&format!("/swarm/{swarm}/run"), &json!({"objective": "Make a door."})).await.expect(201);
        disturbed.push(id(&run).to_owned());
    }
    let (disturbed, kills) = kills::killed_at_every_step(&mut app, &disturbed).await;
    kills::assert_same(&app, &calm, &disturbed, &kills).await;
}

#[tokio::test]
async fn cli_a_swarm_goes_on_when_the_server_is_killed_and_ends_when_it_is_stopped() {
    let mut app = TestApp::with(&[("MAS_RUNNER__ON_SHUTDOWN", "detach")]).await;
    let agents = json!([{"type": "coordinator"}, {"type": "coder", "count": 2}]);
    let swarm = spawn(&app, json!({"topology": "star", "agents": agents})).await;
    let path = |rest: &str| format!("/swarm/{}/{rest}", id(&swarm));
    let run = app.post(&path("run"), &json!({"objective": "Make a door."})).await.expect(201);
    let mut seen = 0;
    let run = loop {
        let now = app.get(&format!("/workflow-runs/{}?wait_seconds=1", id(&run))).await.expect(200);
        if now["status"] != "running" {
            break now;
        }
        if now["turns"].as_u64() > Some(seen) {
            seen = now["turns"].as_u64().expect("turns");
            app.kill();
            app.launch();
        }
    };
    assert_eq!((&run["status"], &run["turns"]), (&json!("complete"), &json!(4)), "each turn once: {run}");

    let bigger = app
        .post(&path("scale"), &json!({"agents": [{"type": "coder", "count": 4}, {"type": "tester", "count": 1}]}))
        .await
        .expect(200);
    assert_eq!(bigger["agent_count"], 6, "{bigger}");
    let smaller = app.post(&path("scale"), &json!({"agents": [{"type": "coder", "count": 1}]})).await.expect(200);
    assert_eq!(smaller["agent_count"], 3, "{smaller}");

    let slow = json!({"objective": "Make a door. REHEARSE:{\"text\":\"slow\",\"hang\":60}"});
    let run = app.post(&path("run"), &slow).await.expect(201);
    app.agent_until(&json!({"id": bigger["agents"][0]["id"]}), |agent| agent["status"] == "busy").await;
    let stopped = app.post(&path("stop"), &json!({"wait_seconds": 40})).await.expect(200);
    assert_eq!((&stopped["status"], &stopped["agent_count"]), (&json!("stopped"), &json!(0)), "{stopped}");
    assert_eq!(run_ended(&app, id(&run)).await["status"], "cancelled");
    assert_eq!(app.agent_processes(), Vec::<String>::new());
    app.post(&path("run"), &json!({"objective": "x"})).await.problem(409, "swarm_ended");
    app.post(&path("stop"), &json!({})).await.expect(200);
}

#[tokio::test]
async fn swarms_that_make_no_sense_are_refused_and_nothing_is_made() {
    let app = TestApp::start().await;
    for (body, words) in [
        (json!({"topology": "blob"}), "mesh"),
        (json!({"agents": []}), "no agent"),
        (json!({"agents": [{"type": "wizard"}]}), "planner"),
        (json!({"agents": [{"type": "coder", "count": 0}]}), "1..=64"),
        (json!({"agents": [{"type": "coder", "count": 1000}]}), "1..=64"),
        (json!({"agents": [{"type": "coder", "count": 40}, {"type": "tester", "count": 40}]}), "80 agents"),
        (json!({"agents": [{"type": "coder"}, {"type": "coder"}]}), "twice"),
        (json!({"agents": [{"type": "coder", "count": 3}], "max_agents": 2}), "1..=2"),
        (json!({"project": "moon"}), "default"),
        (json!({"objective": "  "}), "blank"),
    ] {
        let refused = app.post("/swarm/spawn", &body).await;
        assert!(refused.status == 422 && refused.text.contains(words), "{body}: {}", refused.text);
    }
    assert_eq!(app.get("/swarm/status").await.expect(200)["swarms"], json!([]));
    assert_eq!(app.get("/agents").await.expect(200)["agents"], json!([]));
    app.post("/swarm/swarm_0193f2a87c3e7d10b5a1c2d3e4f50617/run", &json!({"objective": "x"})).await.problem(404, "not_found");
    let made = app.post("/swarm/init", &json!({"agents": [{"type": "coder"}]})).await.expect(201);
    let none = json!({"agents": [{"type": "coder", "count": 0}]});
    let refused = app.post(&format!("/swarm/{}/scale", id(&made)), &none).await.problem(422, "validation_failed");
    assert!(refused.to_string().contains("stop_swarm"), "{refused}");
}

/// `make crowd`
#[tokio::test]
#[ignore = "takes minutes"]
async fn cli_a_mesh_of_sixty_four_with_eight_places_completes() {
    let app = TestApp::with(&[("MAS_RUNNER__MAX_LIVE_AGENTS", "8"), ("MAS_LIMITS__REQUESTS_PER_MINUTE", "100000")]).await;
    let types = ["coordinator", "planner", "architect", "coder", "tester", "reviewer", "analyst", "researcher"];
    let agents: Vec<Value> = types.iter().map(|name| json!({"type": name, "count": 8})).collect();
    let begun = std::time::Instant::now();
    let swarm = spawn(&app, json!({"topology": "mesh", "agents": agents, "objective": "Name what a good door needs."})).await;
    let run = swarm["active_runs"][0].as_str().expect("a run").to_owned();
    let waiting = async {
        let mut most = 0;
        loop {
            most = most.max(app.agents_resident_bytes());
            let now = app.get(&format!("/workflow-runs/{run}?wait_seconds=1")).await.expect(200);
            if now["status"] != "running" {
                return (now, most);
            }
        }
    };
    let (run, most) = tokio::time::timeout(std::time::Duration::from_mins(15), waiting).await.expect("the run ends");
    assert_eq!(run["status"], "complete", "{}", run["failure"]);
    let status = app.get(&format!("/swarm/status?swarm_id={}", id(&swarm))).await.expect(200)["swarms"][0].clone();
    assert_eq!((&status["tasks"]["failed"], &status["turns"]), (&json!(0), &run["turns"]), "{status}");
    eprintln!(
        "a mesh of 64 agents with 8 places: {} turns in {:.1?}; memory of shims and CLIs at most {} MB, of the server {} MB",
        run["turns"],
        begun.elapsed(),
        most / 1_000_000,
        app.resident_bytes() / 1_000_000
    );
}
