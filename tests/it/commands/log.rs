//! `mas log`: the raw logs of an agent.

use crate::{
    limits::stand_in::StandIn,
    support::{TestApp, path_of},
};
use serde_json::{Value, json};

/// Each turn writes its number to both streams; the first one writes more than a process may keep.
const NUMBERED: &str = r#"echo turn >>"$here/turns"
number=$(wc -l <"$here/turns")
echo "error $number" >&2
[ $number != 1 ] || printf '{"type":"noise","text":"%05000d"}\n' 7
echo '{"type":"result","subtype":"success","is_error":false,"result":"answer '$number'","total_cost_usd":0}'
"#;

fn log(app: &TestApp, arguments: &[&str]) -> (bool, String, String) {
    let output = app.mas(&[&["log"], arguments].concat()).output().expect("ran");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// What the CLI itself wrote, process by process.
fn files(app: &TestApp, name: &str) -> Vec<String> {
    let processes = std::fs::read_dir(app.data_dir().join("processes")).expect("processes");
    let mut paths: Vec<_> = processes.map(|entry| entry.expect("an entry").path()).collect();
    // Their ids sort by time.
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path.join(name)).expect("a log")).collect()
}

#[tokio::test]
async fn rotated_logs_and_the_live_one_are_printed_in_order_and_whole() {
    let it = StandIn::new(NUMBERED, &[("MAS_RUNNER__ROTATE_OUTPUT_BYTES", "5000")]).await;
    let app = &it.app;
    let agent = app.agent(json!({})).await;
    for number in 1..=3 {
        let task = app.ended(&app.tell(&agent, &json!("go"), json!({})).await).await;
        assert_eq!(task["result"], format!("answer {number}"), "{task}");
        let rest = if number == 1 { "parked" } else { "idle" };
        app.agent_until(&agent, |agent| agent["status"] == rest).await;
    }
    let id = agent["id"].as_str().expect("an id");
    let (succeeded, printed, words) = log(app, &[id]);
    let logs = files(app, "stdout");
    assert_eq!((succeeded, logs.len(), printed.as_str(), words.as_str()), (true, 2, logs.concat().as_str(), ""));
    let results: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let results: Vec<_> = results.iter().filter_map(|line| line["result"].as_str()).collect();
    assert_eq!(results, ["answer 1", "answer 2", "answer 3"]);
    assert!(printed.contains(&format!("{}7", "0".repeat(4_999))), "the long line is whole");
    let (succeeded, printed, _) = log(app, &[id, "--stderr"]);
    assert_eq!((succeeded, printed.as_str()), (true, "error 1\nerror 2\nerror 3\n"));
    assert_eq!(app.get(&path_of(&agent, "")).await.expect(200)["status"], "idle", "reading changes nothing");
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let mut it = StandIn::new(NUMBERED, &[]).await;
    let agent = it.app.agent(json!({})).await;
    it.app.ended(&it.app.tell(&agent, &json!("go"), json!({})).await).await;
    let (succeeded, printed, words) = log(&it.app, &["agent_0193f2a87c3e7d10b5a1c2d3e4f50617"]);
    assert_eq!((succeeded, printed.as_str()), (false, ""));
    assert!(words.contains("there is no agent agent_0193f2a87c3e7d10b5a1c2d3e4f50617"), "{words}");
    let (succeeded, _, words) = log(&it.app, &["nonsense"]);
    assert!(!succeeded && words.contains("nonsense"), "{words}");
    // Without a server, and when the log was reclaimed.
    it.app.post(&path_of(&agent, "/terminate"), &json!({"wait_seconds": 40})).await.expect(200);
    it.app.stop();
    let id = agent["id"].as_str().expect("an id");
    assert!(log(&it.app, &[id]).1.contains("answer 1"));
    std::fs::remove_dir_all(it.app.data_dir().join("processes")).expect("removed");
    let (succeeded, printed, words) = log(&it.app, &[id]);
    assert_eq!((succeeded, printed.as_str()), (true, ""));
    assert!(words.contains("its log was reclaimed"), "{words}");
}
