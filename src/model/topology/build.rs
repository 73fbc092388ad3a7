//! The workflow by which a swarm works on an objective: a pure function of its topology and its agents.
//!
//! | topology | what happens |
//! |---|---|
//! | star | the hub splits the objective into a part for each other agent, they work at the same time, the hub merges |
//! | hierarchical | the root splits it between the leads, each lead between its workers; results are merged by the leads, then by the root. Three levels, not more |
//! | mesh | all work on the whole and see each other's findings, round by round, until all agree or the rounds are used up; then one puts it together |
//! | ring | each takes what the one before it made |
//!
//! The stages are called after role and place, such as `coder_2`, with what they do before it where one agent has several.

use super::links::{Member, first_of, in_order, parents};
use crate::model::{
    agent::AgentType,
    swarm::Topology,
    workflow::{OnExhausted, OnFailure, Repeat, Stage, Workflow},
};
use serde_json::{Value, json};

/// Most rounds of a mesh.
const ROUNDS: u32 = 3;
/// Characters of a finding the others get to see.
const FINDING_CHARS: usize = 400;

/// The workflow of a swarm. At least one member is needed.
pub fn workflow(topology: Topology, members: &[Member]) -> Workflow {
    let team = in_order(members);
    let stages = match topology {
        _ if team.len() < 2 => team.iter().map(|member| alone(*member)).collect(),
        Topology::Star => star(&team, first_of(&team, &[AgentType::COORDINATOR])),
        Topology::Hierarchical => hierarchical(&team),
        Topology::Mesh => mesh(&team),
        Topology::Ring => ring(&team),
    };
    let turns: usize = team.len() * (ROUNDS as usize + 1) + 10;
    Workflow {
        name: topology.as_str().to_owned(),
        description: format!("How a {topology} of {} agents works on an objective", team.len()),
        inputs: std::collections::BTreeMap::new(),
        max_turns: u32::try_from(turns).unwrap_or(u32::MAX),
        stages,
        result: None,
    }
}

fn name(member: Member) -> String {
    format!("{}_{}", member.role.as_str().replace('-', "_"), member.place)
}

fn stage(name: String, member: Member, prompt: String) -> Stage {
    Stage {
        name,
        role: Some(member.role.as_str().to_owned()),
        agent_id: Some(member.agent),
        backend: Some(member.backend),
        prompt: Some(prompt),
        ..Stage::default()
    }
}

fn alone(member: Member) -> Stage {
    stage(name(member), member, "You are the only agent of the swarm: work on the whole.".into())
}

/// A list of agents, numbered from 1.
fn numbered(team: &[Member]) -> String {
    let lines = team.iter().enumerate().map(|(index, member)| format!("{}. {} ({})", index + 1, name(*member), member.role));
    lines.collect::<Vec<_>>().join("\n")
}

fn parts_schema(count: usize) -> Value {
    json!({
        "type": "object",
        "properties": {
            "parts": {
                "type": "array", "minItems": count, "maxItems": count,
                "items": {
                    "type": "object",
                    "properties": {"title": {"type": "string"}, "instruction": {"type": "string"}},
                    "required": ["title", "instruction"]
                }
            }
        },
        "required": ["parts"]
    })
}

fn split(stage_name: String, by: Member, of: &str, between: &[Member]) -> Stage {
    let prompt = format!(
        "Split {of} between these agents, one part for each, in this order:\n{}\nEach works alone and at the same time as the others, knows its role, \
         and gets your instruction. Together the parts cover the whole.",
        numbered(between)
    );
    Stage { output_schema: Some(parts_schema(between.len())), ..stage(stage_name, by, prompt) }
}

fn part_of(from: &str, index: usize, member: Member) -> String {
    format!(
        "Your part is \"{{{{ stages.{from}.output.parts[{index}].title }}}}\" (you are {}):\n{{{{ stages.{from}.output.parts[{index}].instruction }}}}",
        name(member)
    )
}

fn merge(stage_name: String, by: Member, of: &str, inputs: Vec<String>) -> Stage {
    let prompt = format!(
        "Merge the results above into one result of {of}. Resolve contradictions, and say what is missing where a part failed."
    );
    Stage { inputs: Some(inputs), ..stage(stage_name, by, prompt) }
}

fn star(team: &[Member], hub: usize) -> Vec<Stage> {
    let spokes: Vec<Member> = team.iter().enumerate().filter(|(index, _)| *index != hub).map(|(_, member)| *member).collect();
    let mut stages = vec![split("split".into(), team[hub], "the whole task", &spokes)];
    for (index, spoke) in spokes.iter().enumerate() {
        let part = stage(name(*spoke), *spoke, part_of("split", index, *spoke));
        stages.push(Stage { inputs: Some(vec![]), after: Some(vec!["split".into()]), on_failure: OnFailure::Skip, ..part });
    }
    stages.push(merge("merge".into(), team[hub], "the whole task", spokes.iter().map(|spoke| name(*spoke)).collect()));
    stages
}

fn hierarchical(team: &[Member]) -> Vec<Stage> {
    let parents = parents(team);
    let root = parents.iter().position(Option::is_none).unwrap_or(0);
    let children = |of: usize| -> Vec<usize> { (0..team.len()).filter(|index| parents[*index] == Some(of)).collect() };
    let below: Vec<usize> = children(root);
    if below.iter().all(|lead| children(*lead).is_empty()) {
        return star(team, root);
    }
    let members = |indices: &[usize]| -> Vec<Member> { indices.iter().map(|index| team[*index]).collect() };
    let mut stages = vec![split("plan".into(), team[root], "the whole task", &members(&below))];
    let mut results = Vec::new();
    for (index, lead) in below.iter().enumerate() {
        let (lead_name, workers) = (name(team[*lead]), children(*lead));
        let part = part_of("plan", index, team[*lead]);
        if workers.is_empty() {
            let own = stage(lead_name.clone(), team[*lead], part);
            stages.push(Stage { inputs: Some(vec![]), after: Some(vec!["plan".into()]), on_failure: OnFailure::Skip, ..own });
            results.push(lead_name);
            continue;
        }
        let (pass_on, put_together) = (format!("split_{lead_name}"), format!("merge_{lead_name}"));
        let mut inner = split(pass_on.clone(), team[*lead], "your part", &members(&workers));
        inner.prompt = inner.prompt.map(|prompt| format!("{part}\n\n{prompt}"));
        let mut group = vec![inner];
        for (index, worker) in workers.iter().enumerate() {
            let work = stage(name(team[*worker]), team[*worker], part_of(&pass_on, index, team[*worker]));
            group.push(Stage { inputs: Some(vec![]), after: Some(vec![pass_on.clone()]), on_failure: OnFailure::Skip, ..work });
        }
        let of_workers = workers.iter().map(|worker| name(team[*worker])).collect();
        group.push(merge(put_together, team[*lead], "your part", of_workers));
        stages.push(Stage {
            name: lead_name.clone(),
            stages: group,
            inputs: Some(vec![]),
            after: Some(vec!["plan".into()]),
            on_failure: OnFailure::Skip,
            ..Stage::default()
        });
        results.push(lead_name);
    }
    stages.push(merge("synthesis".into(), team[root], "the whole task", results));
    stages
}

fn mesh(team: &[Member]) -> Vec<Stage> {
    let schema = json!({
        "type": "object",
        "properties": {
            "finding": {"type": "string", "description": format!("What you found or made, in at most {FINDING_CHARS} characters; details belong into files or the shared memory")},
            "agrees": {"type": "boolean", "description": "Whether nothing of the others' findings has to be changed or added to any more"}
        },
        "required": ["finding", "agrees"]
    });
    let prompt = format!(
        "Round {{{{ iteration }}}} of at most {ROUNDS}.{{% if previous %}} What everybody found in the round before:\n\
         {{% for name, member in previous.stages | items %}}- {{{{ name }}}}: {{{{ (member.output.finding or member.text)[:{FINDING_CHARS}] }}}}\n{{% endfor %}}\
         Go on from there: correct, add, or agree.{{% else %}} Work on the whole from the view of your role; the others do the same.{{% endif %}}"
    );
    let round = team.iter().map(|member| {
        let own = stage(name(*member), *member, prompt.clone());
        Stage { inputs: Some(vec![]), output_schema: Some(schema.clone()), on_failure: OnFailure::Skip, ..own }
    });
    let last = team[first_of(team, &[AgentType::COORDINATOR])];
    let synthesis = format!(
        "The swarm has ended its rounds. What everybody found last:\n\
         {{% for name, member in stages.rounds.stages | items %}}- {{{{ name }}}}: {{{{ (member.output.finding or member.text)[:{FINDING_CHARS}] }}}}\n{{% endfor %}}\
         Put it together into one result, and name what they did not agree on."
    );
    vec![
        Stage {
            name: "rounds".into(),
            stages: round.collect(),
            repeat: Some(Repeat {
                until: "iteration > 1 and (current.stages | items | rejectattr('1.output.agrees') | list | length) == 0".into(),
                max_iterations: ROUNDS,
                on_exhausted: OnExhausted::Accept,
            }),
            ..Stage::default()
        },
        Stage { inputs: Some(vec![]), after: Some(vec!["rounds".into()]), ..stage("synthesis".into(), last, synthesis) },
    ]
}

fn ring(team: &[Member]) -> Vec<Stage> {
    let prompt = |index: usize| match index {
        0 => "You are the first of a ring: begin, from the view of your role, and leave what the next one needs.".to_owned(),
        _ if index + 1 == team.len() => {
            "You are the last of a ring: finish what the one before you made, and give the final result.".to_owned()
        }
        _ => "Take what the one before you made, carry it on from the view of your role, and hand it to the next.".to_owned(),
    };
    team.iter().enumerate().map(|(index, member)| stage(name(*member), *member, prompt(index))).collect()
}

#[cfg(test)]
mod tests;
