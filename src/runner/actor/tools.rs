//! Calls of the tools of a team. A call is stored with the offset it was read at, and its answer with what it changes, so
//! that it has its effect once, whenever the server dies.

use super::Actor;
use crate::{
    bus::{Bus, Topic},
    runner::{
        machine::Input,
        tools::{self, Caller},
    },
    store::TeamChange,
};
use chrono::Utc;

impl Actor {
    /// Carries out the calls that wait, in their order. `false`: the gateway stops.
    pub(super) async fn run_tools(&mut self) -> bool {
        while let Some(call) = self.machine.calls.first().cloned() {
            let runner = self.runner.clone();
            let caller = Caller {
                store: &runner.store,
                agent: &self.agent,
                task: self.task.as_ref(),
                timeout_seconds: runner.settings.runner.task_timeout_seconds,
            };
            let Some(outcome) = runner.with_patience("carry out a tool's call", || tools::carry_out(&caller, &call)).await else {
                return false;
            };
            let before = Box::new(self.machine.clone());
            let mut reaction = self.machine.handle(&self.brief, Utc::now(), Input::Called(&outcome.answer));
            reaction.events.extend(outcome.events.iter().cloned());
            match self.commit_call(&reaction, outcome.change.as_ref()).await {
                None => return false,
                // Somebody else was first; what the call comes to has to be found anew.
                Some(false) => self.machine = *before,
                Some(true) => {
                    if let Some(change) = &outcome.change {
                        announce(&runner.bus, &self.agent, change);
                    }
                    self.act(reaction).await;
                }
            }
        }
        true
    }
}

fn announce(bus: &Bus, agent: &crate::model::agent::Agent, change: &TeamChange) {
    if let Some(swarm) = agent.swarm_id {
        bus.notify(Topic::Swarm(swarm));
    }
    match change {
        TeamChange::Send(post) => {
            let alerted = post.alert.iter().flat_map(|alert| &alert.recipients);
            for agent in post.recipients.iter().chain(alerted) {
                bus.notify(Topic::Control(*agent));
                bus.notify(Topic::Agent(*agent));
            }
            bus.notify(Topic::Dispatch);
        }
        // Turns that are not needed any more.
        TeamChange::Read { agent, .. } => bus.notify(Topic::Agent(*agent)),
        TeamChange::Remember(_) | TeamChange::Judge(_) => {}
    }
}
