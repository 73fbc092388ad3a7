//! What a call of a team's tool comes to: the answer, and the change that is stored with it. Reads only.

mod memory;
mod messages;

use crate::{
    model::{
        agent::Agent,
        event::EventKind,
        swarm::Swarm,
        task::Task,
        team::living,
        tool::{Tool, ToolAnswer, ToolCall},
    },
    store::{Store, StoreError, TeamChange},
};
use serde_json::Value;

/// Who calls.
pub(super) struct Caller<'a> {
    pub(super) store: &'a Store,
    pub(super) agent: &'a Agent,
    /// What its turn is about.
    pub(super) task: Option<&'a Task>,
    /// What a turn may take when nobody says how long.
    pub(super) timeout_seconds: u32,
}

/// What a call comes to.
pub(super) struct Outcome {
    pub(super) answer: ToolAnswer,
    pub(super) change: Option<TeamChange>,
    /// What is to be on record beside it.
    pub(super) events: Vec<EventKind>,
}

/// Why there is none.
enum Refused {
    /// The model is told.
    Words(String),
    Store(StoreError),
}

impl From<String> for Refused {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Finds out what a call comes to. An error is one that may pass; the model hears of all others.
pub(super) async fn carry_out(caller: &Caller<'_>, call: &ToolCall) -> Result<Outcome, StoreError> {
    let refused = |text: String| Outcome { answer: ToolAnswer { text, is_error: true }, change: None, events: vec![] };
    match carried_out(caller, call).await {
        Ok(outcome) => Ok(outcome),
        Err(Refused::Words(words)) => Ok(refused(words)),
        Err(Refused::Store(error @ StoreError::Unavailable(_))) => Err(error),
        // Trying again would not help, and the agent waits.
        Err(Refused::Store(error)) => {
            tracing::error!(%error, agent = %caller.agent.id, tool = call.name, "a tool's call failed");
            Ok(refused("the gateway has a fault and could not do this; go on without it".to_owned()))
        }
    }
}

async fn carried_out(caller: &Caller<'_>, call: &ToolCall) -> Result<Outcome, Refused> {
    let tool = Tool::parse(&call.name, &call.arguments)?;
    let swarm = match caller.agent.swarm_id {
        Some(id) => caller.store.get_swarm(id, None).await?,
        None => None,
    };
    let swarm = swarm.ok_or_else(|| "you belong to no team any more".to_owned())?;
    match tool {
        Tool::SendMessage(given) => messages::send(caller, &swarm, given).await,
        Tool::ReadMessages(given) => messages::read(caller, &swarm, &given).await,
        Tool::ListTeam => messages::list_team(caller, &swarm).await,
        Tool::Remember(content) => memory::remember(caller, &swarm, content),
        Tool::SaveArtifact(given) => memory::save_artifact(caller, &swarm, given).await,
        Tool::Judge { id, verdict, comment } => memory::judge(caller, &swarm, id, verdict, comment).await,
        Tool::SearchMemory(given) => memory::search(caller, &swarm, &given).await,
    }
}

fn told(answer: &Value, change: Option<TeamChange>) -> Outcome {
    Outcome { answer: ToolAnswer { text: answer.to_string(), is_error: false }, change, events: vec![] }
}

/// The members who can take part.
async fn members(caller: &Caller<'_>, swarm: &Swarm) -> Result<Vec<Agent>, StoreError> {
    Ok(living(caller.store.list_members(swarm.id).await?))
}
