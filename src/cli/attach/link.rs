//! What is asked of the server about one agent. Every text that comes back is cleaned before anybody looks at it.

use super::{session::Told, view::AgentView};
use crate::cli::{
    client::{Client, ClientError, EventStream, ServerArgs},
    harmless::{harmless, harmless_value},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// A server that takes longer to say how an agent stands is as good as gone.
const PATIENCE: Duration = Duration::from_secs(15);
/// Seconds a request waits for a turn to stop: longer than what does not obey may take.
const STOPPING_SECONDS: u64 = 30;

/// The server and the agent. Clones look at the same.
#[derive(Clone)]
pub(super) struct Link {
    arguments: Arc<ServerArgs>,
    client: Arc<Mutex<Client>>,
    agent: String,
}

impl Link {
    /// Finds out where the server is; asks nothing yet.
    pub(super) fn new(arguments: ServerArgs, agent: String) -> anyhow::Result<Self> {
        let client = Arc::new(Mutex::new(Client::new(&arguments)?));
        Ok(Self { arguments: Arc::new(arguments), client, agent })
    }

    /// Finds out again where the server is: one of this machine may have another port after a restart.
    pub(super) fn look_again(&self) {
        if self.client().local_data().is_some()
            && let Ok(client) = Client::new(&self.arguments)
        {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.agent
    }

    /// The agent as it stands.
    pub(super) async fn agent(&self) -> Result<AgentView, ClientError> {
        let agent = self.get(&["agents", &self.agent], &[]).await?;
        serde_json::from_value(agent)
            .map_err(|error| ClientError::Broken(format!("the server's answer is not understood: {error}")))
    }

    /// A page of `GET /events`.
    pub(super) async fn events(&self, query: &[(&str, String)]) -> Result<Value, ClientError> {
        self.get(&["events"], query).await
    }

    /// The agent's events after a cursor as they come, not cleaned.
    pub(super) fn stream(&self, after: i64) -> Result<EventStream, ClientError> {
        self.client().events(&["events"], &[("agent_id", self.agent.clone())], Some(after))
    }

    /// What a task asks for; nothing when the server does not tell.
    pub(super) async fn prompt(&self, task: &str) -> Result<Option<String>, ClientError> {
        match self.get(&["tasks", task], &[]).await {
            Ok(task) => Ok(task["description"].as_str().map(str::to_owned)),
            Err(ClientError::Refused(refusal)) if refusal.status < 500 => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends the agent a text: into the running turn, else as a turn of its own.
    pub(super) async fn send(&self, text: String) -> Told {
        match self.post("message", json!({"text": text, "mode": "steer"})).await {
            Ok(_) => Told::Sent,
            Err(error) => refused("the text was not sent (Up brings it back)", &error),
        }
    }

    /// Stops the running turn.
    pub(super) async fn interrupt(&self) -> Told {
        let asked = Instant::now();
        match self.post("interrupt", json!({"wait_seconds": STOPPING_SECONDS})).await {
            // The answer comes as soon as the turn has stopped. An agent that is at work then has begun another one.
            Ok(agent) => Told::Interrupted {
                is_stopping: agent["status"] == "interrupting" && asked.elapsed() >= Duration::from_secs(STOPPING_SECONDS),
                has_more: agent["status"] != "idle" || agent["queued"].as_u64() > Some(0),
            },
            Err(ClientError::Refused(refusal)) if refusal.code() == "agent_idle" => Told::WasIdle,
            Err(error) => refused("not interrupted", &error),
        }
    }

    /// Ends the agent.
    pub(super) async fn terminate(&self) -> Option<Told> {
        self.post("terminate", json!({"wait_seconds": STOPPING_SECONDS})).await.err().map(|error| refused("not ended", &error))
    }

    fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn get(&self, path: &[&str], query: &[(&str, String)]) -> Result<Value, ClientError> {
        let client = self.client();
        let Ok(answer) = timeout(PATIENCE, client.get(path, query)).await else {
            let reason = format!("no answer within {} s", PATIENCE.as_secs());
            return Err(ClientError::NoServer { url: client.base().to_string(), reason });
        };
        answer.map(harmless_value)
    }

    async fn post(&self, operation: &str, body: Value) -> Result<Value, ClientError> {
        self.client().post(&["agents", &self.agent, operation], body).await.map(harmless_value)
    }
}

fn refused(what: &str, error: &ClientError) -> Told {
    Told::Refused(format!("{what}: {}", harmless(&error.to_string())))
}
