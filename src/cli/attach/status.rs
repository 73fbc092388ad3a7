//! The line that says how the agent stands, for any width.

use super::{
    line::{Line, cut},
    render::{count, dollars, faint, plain, warning},
    session::{Connection, Session},
};
use crate::model::agent::AgentStatus;
use crossterm::style::{ContentStyle, Stylize};

const BETWEEN: &str = " · ";

/// One part of the line.
struct Part {
    /// Smaller ones are left out last.
    rank: u8,
    text: String,
    style: ContentStyle,
}

/// The status line in at most `width` columns; what does not fit is left out, the least important first.
pub(super) fn line(session: &Session, width: usize) -> Line {
    let parts = parts(session);
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|index| parts[*index].rank);
    let (mut kept, mut used) = (vec![], 0);
    for index in order {
        let columns =
            Line::styled(parts[index].text.as_str(), plain()).width() + if kept.is_empty() { 0 } else { BETWEEN.len() - 1 };
        if used + columns <= width {
            used += columns;
            kept.push(index);
        }
    }
    kept.sort_unstable();
    let mut line = Line::default();
    for index in kept {
        if !line.spans.is_empty() {
            line.push(BETWEEN, faint());
        }
        line.push(parts[index].text.as_str(), parts[index].style);
    }
    line
}

fn parts(session: &Session) -> Vec<Part> {
    let mut parts = vec![];
    let mut add = |rank, text: String, style| parts.push(Part { rank, text, style });
    match session.connection {
        Connection::Live => {}
        Connection::New => add(0, "⟳ connecting".into(), warning().bold()),
        Connection::Lost => add(0, "⟳ reconnecting".into(), warning().bold()),
    }
    let Some(agent) = &session.agent else { return parts };
    let (mark, style) = match agent.status {
        AgentStatus::Busy | AgentStatus::Starting => ("●", plain().green()),
        AgentStatus::Interrupting => ("◐", warning()),
        AgentStatus::Idle => ("○", plain()),
        AgentStatus::Parked => ("○", faint()),
        AgentStatus::Terminated | AgentStatus::Failed | AgentStatus::Lost => ("■", plain().red()),
    };
    add(1, format!("{mark} {}", agent.status), style);
    if let Some(queued) = agent.queued.filter(|queued| *queued > 0) {
        add(3, format!("{queued} waiting"), warning());
    }
    if let Some(progress) = agent.progress.as_ref().filter(|_| agent.is_working()) {
        add(5, cut(progress, 40), plain());
    }
    add(2, agent.name.clone(), plain().bold());
    add(8, agent.agent_type.clone(), plain());
    if let Some(turns) = agent.turns.filter(|turns| *turns > 0) {
        add(6, format!("turn {turns}"), plain());
    }
    if let Some(cost) = agent.cost_usd {
        add(4, dollars(cost), plain());
    }
    if let Some(tokens) = agent.tokens {
        add(9, format!("{} tokens", count(tokens)), plain());
    }
    if let Some(model) = session.model.as_ref().or(agent.model.as_ref()) {
        add(7, model.clone(), faint());
    }
    add(10, agent.id.clone(), faint());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::attach::session::tests::session;
    use serde_json::json;

    #[test]
    fn a_wide_line_says_everything_and_a_narrow_one_the_most_important() {
        let busy = session(json!({
            "status": "busy", "queued": 2, "progress": "using the tool Bash", "turns": 3, "cost_usd": 0.5, "tokens": 12345, "model": "sonnet"
        }));
        let at = |width| line(&busy, width).to_string();
        let id = "agent_0193f2a87c3e7d10b5a1c2d3e4f50617";
        let all = format!(
            "● busy · 2 waiting · using the tool Bash · tess · tester · turn 3 · $0.5000 · 12,345 tokens · sonnet · {id}"
        );
        assert_eq!(at(200), all);
        assert_eq!(at(all.chars().count()), all);
        assert_eq!(at(40), "● busy · 2 waiting · tess · $0.5000");
        assert_eq!(at(8), "● busy");
        assert_eq!(at(2), "");
    }

    #[test]
    fn a_lost_connection_comes_first() {
        let mut idle = session(json!({}));
        idle.connection = Connection::Lost;
        assert!(line(&idle, 40).to_string().starts_with("⟳ reconnecting · ○ idle"), "{}", line(&idle, 40));
        assert_eq!(line(&Session::default(), 40).to_string(), "⟳ connecting");
    }
}
