//! The file that `claude-flow swarm status` takes topology and objective from. Only claude-flow's command line writes it, never its
//! server, so it is written here; one that tells of somebody else's swarm is left alone.

use crate::model::swarm::{Swarm, SwarmStatus};
use serde_json::{Value, json};
use std::{collections::HashSet, io, path::Path};

const OBJECTIVE_CHARS: usize = 200;

/// Makes claude-flow's directory `name` in the project such that git does not see it.
pub(super) fn prepare(project: &Path, name: &str) -> io::Result<()> {
    let records = project.join(name);
    // The project's directory is not ours to make.
    if !records.is_dir() {
        std::fs::create_dir(&records)?;
    }
    let ignore = records.join(".gitignore");
    if ignore.exists() { Ok(()) } else { std::fs::write(ignore, "*\n") }
}

/// Shows the swarm that was told last. `ours`: claude-flow's ids of everything that is ours, this one included.
pub(super) fn show(project: &Path, swarm: &Swarm, their_id: &str, ours: &HashSet<&str>) -> io::Result<()> {
    let file = project.join(".swarm/state.json");
    let shown = match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Value::Null),
        Err(error) => return Err(error),
    };
    let Some(shown) = shown else { return Ok(()) };
    let is_over = swarm.status == SwarmStatus::Stopped;
    let may_write = match shown["id"].as_str() {
        // The end of a swarm changes nothing about another one.
        Some(id) => {
            if is_over {
                id == their_id
            } else {
                ours.contains(id)
            }
        }
        None => shown.is_null() && !is_over,
    };
    if !may_write {
        return Ok(());
    }
    prepare(project, ".swarm")?;
    let objective: Option<String> = swarm.objective.as_ref().map(|text| text.chars().take(OBJECTIVE_CHARS).collect());
    let state = json!({
        "id": their_id,
        "topology": swarm.topology.as_str(),
        "objective": objective,
        "strategy": "specialized",
        "maxAgents": swarm.max_agents,
        "status": if is_over { "stopped" } else { "ready" },
        "initializedAt": swarm.created_at,
    });
    let new = project.join(".swarm/state.json.new");
    std::fs::write(&new, state.to_string())?;
    std::fs::rename(new, file)
}
