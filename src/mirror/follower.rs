//! Follows the changes of one project and tells claude-flow.

use super::{
    Shared,
    server::{CallError, Server},
    state,
    tell::{self, Thing},
};
use crate::{
    bus::Topic,
    model::{mirror::MirrorStatus, project::Project},
    process::leftovers,
    store::{Mirrored, StoreError},
};
use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often changes are looked for when nobody says there are some.
const POLL: Duration = Duration::from_secs(5);
/// Between a word of changes and the look: one look for many.
const BREATH: Duration = Duration::from_millis(500);
/// How far a project's first look goes back.
const FIRST_LOOK: TimeDelta = TimeDelta::days(1);
/// A change may become visible this much after its time, behind later ones.
const OVERLAP: TimeDelta = TimeDelta::seconds(10);
/// Read at once of each kind.
const PAGE: u32 = 500;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// So many of claude-flow's newest tasks are looked at when one may not be on record; others make tasks there, too.
const NEWEST: u32 = 50;
/// Our id of the row that says how far changes were told.
const CURSOR: &str = "";

/// Why a look was cut short.
enum Trouble {
    Store(StoreError),
    Server(CallError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Server(error)
    }
}

struct Follower {
    shared: Arc<Shared>,
    project: Project,
    root: PathBuf,
    server: Option<Server>,
    /// What was told, by our ids.
    known: HashMap<String, Mirrored>,
    /// What claude-flow does not take, as it is now.
    refused: HashSet<(String, String)>,
    since: DateTime<Utc>,
    /// Whether something may have been told that is not on record: a server ended, ours or claude-flow's.
    in_doubt: bool,
    status: MirrorStatus,
    failures: u32,
}

/// Works until `stop`; its server is gone when it returns.
pub(super) async fn follow(shared: Arc<Shared>, project: Project, stop: CancellationToken) {
    let root = shared.settings.data.mirror().join(&project.name);
    let mut changed = [Topic::Dispatch, Topic::Events, Topic::Orchestrate].map(|topic| shared.bus.subscribe(topic));
    let [dispatch, events, orchestrate] = &mut changed;
    let status = MirrorStatus { project: project.name.clone(), ..MirrorStatus::default() };
    let mut follower = Follower {
        shared,
        project,
        root,
        server: None,
        known: HashMap::new(),
        refused: HashSet::new(),
        since: Utc::now() - FIRST_LOOK,
        in_doubt: true,
        status,
        failures: 0,
    };
    follower.tell_status();
    // Of a server that was killed.
    leftovers::clear(&follower.root).await;
    while !follower.recall().await {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(POLL) => {}
        }
    }
    loop {
        // Dropped half-way it may leave something told and not stored; the server ends either way.
        tokio::select! {
            () = stop.cancelled() => break,
            () = follower.look() => {}
        }
        let wait = follower.pause();
        let is_well = follower.failures == 0;
        tokio::select! {
            () = stop.cancelled() => break,
            error = ended(&mut follower.server) => follower.fail(error).await,
            () = sleep(wait) => {}
            () = dispatch.changed(), if is_well => sleep(BREATH).await,
            () = events.changed(), if is_well => sleep(BREATH).await,
            () = orchestrate.changed(), if is_well => sleep(BREATH).await,
        }
    }
    follower.stop_server().await;
    leftovers::clear(&follower.root).await;
    follower.tell_status();
}

async fn ended(server: &mut Option<Server>) -> CallError {
    match server {
        Some(server) => server.ended().await,
        None => std::future::pending().await,
    }
}

impl Follower {
    /// Reads what was told before.
    async fn recall(&mut self) -> bool {
        match self.shared.store.list_mirrored(&self.project.name).await {
            Ok(mut known) => {
                if let Some(cursor) = known.remove(CURSOR) {
                    self.since = cursor.updated_at;
                }
                self.known = known;
                self.tell_status();
                true
            }
            Err(error) => {
                tracing::warn!(%error, project = self.project.name, "what claude-flow was told cannot be read");
                false
            }
        }
    }

    /// Looks for changes once and tells them.
    async fn look(&mut self) {
        match self.try_look().await {
            Ok(()) => self.failures = 0,
            Err(Trouble::Server(error)) => self.fail(error).await,
            Err(Trouble::Store(error)) => tracing::warn!(%error, project = self.project.name, "changes cannot be mirrored now"),
        }
        self.tell_status();
    }

    async fn try_look(&mut self) -> Result<(), Trouble> {
        // A server that has ended is back before there is something to tell.
        if self.failures > 0 && self.server.is_none() {
            self.connect().await?;
        }
        let mut from = self.since - OVERLAP;
        loop {
            let (things, upto, is_all) = self.changes(from).await?;
            if self.in_doubt && !things.is_empty() {
                self.find_unrecorded().await?;
                self.in_doubt = false;
            }
            for thing in things {
                self.tell(&thing).await?;
            }
            if let Some(upto) = upto.filter(|upto| *upto > self.since) {
                let cursor = Mirrored { their_id: String::new(), told: String::new(), updated_at: upto };
                self.shared.store.put_mirrored(&self.project.name, CURSOR, &cursor).await?;
                self.since = upto;
            }
            if is_all {
                return Ok(());
            }
            // More than a page of changes at one time cannot be told apart.
            from = upto.filter(|upto| *upto > from).unwrap_or(from + TimeDelta::microseconds(1));
        }
    }

    /// What there is to tell, up to when that is all, and whether there is nothing after. Swarms come before their agents.
    async fn changes(&self, from: DateTime<Utc>) -> Result<(Vec<Thing>, Option<DateTime<Utc>>, bool), StoreError> {
        let (store, name) = (&self.shared.store, self.project.name.as_str());
        let kinds: [Vec<Thing>; 4] = [
            store.list_changed_swarms(name, from, PAGE).await?.into_iter().map(Thing::Swarm).collect(),
            store.list_changed_tasks(name, from, PAGE).await?.into_iter().map(Thing::Task).collect(),
            store.list_changed_proposals(name, from, PAGE).await?.into_iter().map(Thing::Proposal).collect(),
            store.list_changed_agents(name, from, PAGE).await?.into_iter().map(Thing::Agent).collect(),
        ];
        let is_full = |kind: &&Vec<Thing>| kind.len() >= PAGE as usize;
        // Beyond the last one of a full page there may be others.
        let full = kinds.iter().filter(is_full).filter_map(|kind| kind.last()).map(Thing::updated_at).min();
        let upto = full.or_else(|| kinds.iter().flatten().map(Thing::updated_at).max());
        let things = kinds.into_iter().flatten().filter(|thing| {
            let known = self.known.get(&thing.id());
            known.is_none_or(|known| known.told != thing.news()) && !(known.is_none() && thing.is_past())
        });
        Ok((things.collect(), upto, full.is_none()))
    }

    async fn tell(&mut self, thing: &Thing) -> Result<(), Trouble> {
        let (id, news) = (thing.id(), thing.news());
        if self.refused.contains(&(id.clone(), news.clone())) {
            return Ok(());
        }
        let their_id = match self.try_tell(thing, &id).await {
            Ok(their_id) => their_id,
            Err(error @ CallError::Gone(_)) => return Err(error.into()),
            Err(error @ CallError::Refused { .. }) => {
                tracing::warn!(%error, id, project = self.project.name, "claude-flow does not take a record");
                self.note(&error);
                self.refused.insert((id, news));
                return Ok(());
            }
        };
        let mirrored = Mirrored { their_id, told: news, updated_at: thing.updated_at() };
        self.shared.store.put_mirrored(&self.project.name, &id, &mirrored).await?;
        self.known.insert(id, mirrored);
        self.show(thing);
        self.status.mirrored_at = Some(Utc::now().trunc_subsecs(6));
        Ok(())
    }

    /// Looks among claude-flow's newest records for one that was made by us and is not on record. There is one at most: things
    /// are told one after the other.
    async fn find_unrecorded(&mut self) -> Result<(), Trouble> {
        let known: HashSet<String> = self.known.values().map(|known| known.their_id.clone()).collect();
        let server = self.connect().await?;
        let mut records = vec![];
        let mut calls = Vec::from(tell::newest(NEWEST));
        while let Some((tool, arguments)) = calls.pop() {
            match server.call(tool, &arguments).await {
                Ok(answer) => {
                    let unknown = tell::listed(&answer).into_iter().filter(|task| !known.contains(task));
                    calls.extend(unknown.map(|task| tell::task_status(&task)));
                    records.push(answer);
                }
                // Removed meanwhile.
                Err(CallError::Refused { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for (their_id, our_id) in records.iter().filter_map(tell::origin) {
            if !self.known.contains_key(&our_id) {
                // Told nothing that is known, so it is told how it stands now.
                let mirrored = Mirrored { their_id, told: String::new(), updated_at: Utc::now() };
                self.shared.store.put_mirrored(&self.project.name, &our_id, &mirrored).await?;
                self.known.insert(our_id, mirrored);
            }
        }
        Ok(())
    }

    /// What only files say.
    fn show(&self, thing: &Thing) {
        let Thing::Swarm(swarm) = thing else { return };
        let Some(known) = self.known.get(&thing.id()) else { return };
        let ours = self.known.values().map(|known| known.their_id.as_str());
        if let Err(error) = state::show(&self.project.path, swarm, &known.their_id, &ours.collect()) {
            tracing::warn!(%error, project = self.project.name, "the state of a swarm cannot be shown to claude-flow");
        }
    }

    /// Makes the record or brings it up to date; claude-flow's id of it.
    async fn try_tell(&mut self, thing: &Thing, id: &str) -> Result<String, CallError> {
        if let Some(their_id) = self.known.get(id).map(|known| known.their_id.clone()) {
            match self.update(thing, &their_id).await {
                // Somebody has removed it.
                Err(error) if error.is_missing() && !thing.is_past() => {}
                Err(error) if error.is_missing() => return Ok(their_id),
                outcome => return outcome.map(|()| their_id),
            }
        }
        let swarm = thing.swarm().and_then(|swarm| self.known.get(&swarm)).map(|swarm| swarm.their_id.clone());
        let (tool, arguments) = thing.create(swarm.as_deref());
        let answer = self.connect().await?.call(tool, &arguments).await?;
        let no_id = || CallError::Refused { tool, words: "its answer has no id".into() };
        let their_id = thing.id_in(&answer).ok_or_else(no_id)?;
        self.update(thing, &their_id).await?;
        Ok(their_id)
    }

    async fn update(&mut self, thing: &Thing, their_id: &str) -> Result<(), CallError> {
        let server = self.connect().await?;
        if let Some((tool, arguments)) = thing.check(their_id) {
            let answer = server.call(tool, &arguments).await?;
            if thing.id_in(&answer).as_deref() != Some(their_id) {
                return Err(CallError::Refused { tool, words: "the swarm was not found".into() });
            }
        }
        match thing.update(their_id) {
            Some((tool, arguments)) => server.call(tool, &arguments).await.map(drop),
            None => Ok(()),
        }
    }

    async fn connect(&mut self) -> Result<&mut Server, CallError> {
        if self.server.is_none() {
            let server = Server::start(&self.shared, &self.project, &self.root).await?;
            tracing::info!(project = self.project.name, "claude-flow is told of the project's changes");
            self.server = Some(server);
            self.tell_status();
        }
        self.server.as_mut().ok_or_else(|| CallError::Gone("there is no server".into()))
    }

    /// The server is of no use any more; it is started again after a pause.
    async fn fail(&mut self, error: CallError) {
        tracing::warn!(%error, project = self.project.name, "the mirror has lost claude-flow; it is started again");
        self.stop_server().await;
        self.failures = self.failures.saturating_add(1);
        self.in_doubt = true;
        self.note(&error);
        self.tell_status();
    }

    async fn stop_server(&mut self) {
        if let Some(server) = self.server.take()
            && let Err(error) = server.stop().await
        {
            tracing::warn!(%error, project = self.project.name, "a claude-flow server could not be ended");
        }
    }

    fn pause(&self) -> Duration {
        match self.failures {
            0 => POLL,
            failures => (FIRST_PAUSE * 2_u32.saturating_pow((failures - 1).min(16))).min(LONGEST_PAUSE),
        }
    }

    fn note(&mut self, error: &CallError) {
        self.status.last_error = Some(error.to_string());
        self.status.last_error_at = Some(Utc::now().trunc_subsecs(6));
    }

    fn tell_status(&mut self) {
        self.status.connected = self.server.is_some();
        self.status.mirrored = self.known.len() as u64;
        self.shared.bus.set_mirror_status(self.status.clone());
    }
}
