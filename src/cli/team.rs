//! What a team says to each other, and who is to be in it, as commands take it.

use super::{
    output::{complain, harmless, print},
    show::{clock, line, word},
};
use serde_json::{Value, json};

/// Prints messages of a team, each with its text.
pub(super) fn show_messages(messages: &Value, nothing: &str) {
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    if messages.is_empty() {
        complain(nothing);
    }
    for message in messages {
        let mut head = format!(
            "{}  {}  {} -> {}  {}, {}",
            clock(&message["created_at"]),
            word(&message["id"]),
            message["from_agent_id"].as_str().map_or_else(|| "you".to_owned(), line),
            word(&message["to"]),
            word(&message["kind"]),
            word(&message["priority"]),
        );
        if message["overdue"] == true {
            head.push_str(", overdue");
        } else if message["requires_response"] == true {
            head.push_str(", wants an answer");
        }
        let recipients = message["recipients"].as_array().map(Vec::as_slice).unwrap_or_default();
        let read = recipients.iter().filter(|recipient| !recipient["read_at"].is_null()).count();
        print(&format!("{head}, read by {read} of {}", recipients.len()));
        print(&format!("  {}", word(&message["subject"])));
        for text in harmless(message["body"].as_str().unwrap_or_default()).lines() {
            print(&format!("  {text}"));
        }
    }
}

/// `TYPE[:COUNT[:MODEL]]`, such as `coder:2` or `tester:1:haiku`.
pub(super) fn parse_agents(text: &str) -> Result<Value, String> {
    let mut parts = text.splitn(3, ':');
    let kind = parts.next().filter(|kind| !kind.is_empty()).ok_or("give TYPE[:COUNT[:MODEL]], such as coder:2:haiku")?;
    let mut agents = json!({ "type": kind });
    if let Some(count) = parts.next() {
        let count: u32 = count.parse().map_err(|_| format!("`{count}` is no number; give TYPE[:COUNT[:MODEL]]"))?;
        agents["count"] = count.into();
    }
    if let Some(model) = parts.next() {
        agents["model"] = model.into();
    }
    Ok(agents)
}

/// `agent_…` or `TYPE[:COUNT[:MODEL]]`, and then `,weight=N` and `,veto`.
pub(super) fn parse_voter(text: &str) -> Result<Value, String> {
    let mut parts = text.split(',');
    let who = parts.next().unwrap_or_default();
    let mut voter = if who.starts_with("agent_") { json!({ "agent_id": who }) } else { parse_agents(who)? };
    for part in parts {
        match part.split_once('=') {
            Some(("weight", weight)) => {
                voter["weight"] = weight.parse::<f64>().map_err(|_| format!("weight: `{weight}` is no number"))?.into();
            }
            None if part == "veto" => voter["veto"] = true.into(),
            _ => return Err(format!("`{part}` is neither weight=N nor veto")),
        }
    }
    Ok(voter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_a_team() {
        assert_eq!(parse_agents("coder"), Ok(json!({ "type": "coder" })));
        assert_eq!(parse_agents("coder:2"), Ok(json!({ "type": "coder", "count": 2 })));
        assert_eq!(parse_agents("tester:1:haiku"), Ok(json!({ "type": "tester", "count": 1, "model": "haiku" })));
        assert!(["", ":2", "coder:many", "coder:-1"].iter().all(|text| parse_agents(text).is_err()));
    }

    #[test]
    fn voters() {
        assert_eq!(parse_voter("coder:3,weight=2,veto"), Ok(json!({ "type": "coder", "count": 3, "weight": 2.0, "veto": true })));
        assert_eq!(parse_voter("agent_1"), Ok(json!({ "agent_id": "agent_1" })));
        assert!(["coder,heavy", "coder,weight=x", ",veto"].iter().all(|text| parse_voter(text).is_err()));
    }
}
