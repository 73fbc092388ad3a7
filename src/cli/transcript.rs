//! What agents did, as lines to read.

use super::{
    output::{complain, harmless, print, print_json_line},
    remote::Remote,
    show::{clock, line, word},
};
use serde_json::Value;
use std::{process::ExitCode, time::Duration};
use tokio::time::sleep;

/// Between two looks at an agent that has no process and whose output the server therefore does not wait for.
const PAUSE: Duration = Duration::from_secs(2);

/// A captured event as one line.
pub(super) fn event(event: &Value) -> String {
    let (kind, data) = (event["kind"].as_str().unwrap_or_default(), &event["data"]);
    let words = match kind {
        "tool_call" => format!("{} {}", word(&data["tool"]), word(&data["input"])),
        "status" => format!("{}  {}", word(&data["state"]), line(data["detail"].as_str().unwrap_or_default())),
        "result" if data["is_error"] == true => format!("error: {}", word(&data["errors"])),
        "message" | "delta" | "thinking" | "tool_result" | "result" => word(&data["text"]),
        _ => word(data),
    };
    format!("{:>6}  {}  {kind:<11}  {}", word(&event["seq"]), clock(&event["at"]), words.trim_end())
}

/// Prints an agent's output, oldest first; with `follow` until the agent has ended. With `--json` one piece a line, since
/// it may be long.
pub(super) async fn print_output(remote: &Remote, id: &str, follow: bool) -> anyhow::Result<ExitCode> {
    let mut after = 0;
    loop {
        let wait = if follow { 30 } else { 0 };
        let query = [("after", after.to_string()), ("limit", "200".to_owned()), ("wait_seconds", wait.to_string())];
        let page = remote.client.get(&["agents", id, "output"], &query).await?;
        for piece in page["output"].as_array().into_iter().flatten() {
            if remote.json {
                print_json_line(piece);
            } else {
                print(&self::piece(piece));
            }
        }
        after = page["next_cursor"].as_i64().unwrap_or(after);
        if page["has_more"] == true {
            continue;
        }
        match page["status"].as_str() {
            _ if !follow => break,
            Some(status @ ("terminated" | "failed" | "lost")) => {
                complain(&format!("{id} {status}"));
                break;
            }
            Some("parked") => sleep(PAUSE).await,
            _ => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A piece of output: what it is, then its text, the lines after the first set in.
fn piece(piece: &Value) -> String {
    let text = harmless(piece["text"].as_str().unwrap_or_default());
    let sign = match piece["kind"].as_str() {
        Some("message") => "",
        Some("tool_call") => "> ",
        Some("tool_result") => "< ",
        _ => "= ",
    };
    format!("{}  {sign}{}", clock(&piece["at"]), text.trim_end().replace('\n', "\n          "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_one_line_each() {
        let call =
            json!({ "seq": 3, "at": "x", "kind": "tool_call", "data": { "tool": "Bash", "input": { "command": "ls\n" } } });
        assert_eq!(event(&call), "     3  x  tool_call    Bash {\"command\":\"ls\\n\"}");
        let status = json!({ "seq": 4, "at": "x", "kind": "status", "data": { "state": "assigned" } });
        assert_eq!(event(&status), "     4  x  status       assigned");
    }

    #[test]
    fn pieces_keep_their_lines() {
        let text = json!({ "at": "x", "kind": "message", "text": "a\n\u{1b}[1mb\n" });
        assert_eq!(piece(&text), "x  a\n          b");
    }
}
