//! Operations on proposals: questions that several agents decide together.

mod list;
mod propose;
mod view;

pub use list::{ProposalCounts, ProposalPage, ProposalSummary};
pub use propose::{Propose, VoterRequest};
pub use view::{BallotView, Choice, DissentView, EquivocationView, ProposalResource, RoundView, VoterView};

use super::{
    App, detached,
    error::{AppError, Missing},
    now,
    size::take_within,
    tasks::{page_cursor, page_limit},
    wait::{Waiter, wait_seconds},
};
use crate::{
    bus::Topic,
    model::{
        consensus::{OutcomeKind, Protocol, interim},
        id::{AgentId, ProposalId, TaskId},
        key::Principal,
        proposal::{Proposal, ProposalStatus, ballots_of, close},
    },
    store::{Advanced, Inserted, ProposalFilter, ProposalStep},
};
use serde::Deserialize;
use std::collections::HashSet;
use utoipa::{IntoParams, ToSchema};

/// A step of the proposal may come between our look and our write; so often we look again.
const ATTEMPTS: usize = 20;

/// Which proposals to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ProposalQuery {
    /// Only proposals with this status.
    #[param(nullable = false)]
    pub status: Option<ProposalStatus>,
    /// Only proposals under this protocol.
    #[param(nullable = false)]
    pub protocol: Option<Protocol>,
    /// Most proposals to return, 1 to 200. Left out: 50.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    #[param(nullable = false, pattern = "^proposal_[0-9a-f]{32}$")]
    pub cursor: Option<String>,
}

/// How to look at one proposal.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GetProposal {
    /// Seconds to wait for its end, 0 to 40. Left out: 0.
    #[param(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

/// What to say when ending a proposal.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({}))]
pub struct CancelProposal {
    /// Your key for exact retries: the same key and request get the first answer again.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
}

/// What became of a request to propose something.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposed {
    /// The proposal.
    pub proposal: ProposalResource,
    /// Whether it was made now; `false` for a repeated `idempotency_key`.
    pub is_new: bool,
}

impl App {
    /// Puts a question to agents, and waits for the outcome as long as asked.
    pub async fn propose(&self, who: &Principal, request: Propose) -> Result<Proposed, AppError> {
        let (mut proposal, plan, wait) = request.validate(who, &self.settings)?;
        // A repeated request gets its first answer, whatever its voters do by now.
        if let Some(known) = self.known_proposal(&proposal).await? {
            return self.proposed(who, known.id, self.waiter(Topic::Proposal(known.id), wait), false).await;
        }
        let agents = self.seat(who, &mut proposal, plan).await?;
        let (app, quota, id) = (self.clone(), self.settings.quota(who), proposal.id);
        let waiter = self.waiter(Topic::Proposal(id), wait);
        let known = detached(async move {
            match app.store.insert_proposal(&proposal, agents, &quota).await? {
                Inserted::New => {
                    app.bus.notify(Topic::Orchestrate);
                    Ok(None)
                }
                Inserted::Existing(known) if known.request_hash == proposal.request_hash => Ok(Some(known.id)),
                Inserted::Existing(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
                Inserted::AgentEnded => Err(AppError::Internal("nobody was written to yet".into())),
                Inserted::Refused(limit) => Err(AppError::LimitReached(limit)),
            }
        })
        .await?;
        if let Some(known) = known {
            return self.proposed(who, known, self.waiter(Topic::Proposal(known), wait), false).await;
        }
        self.proposed(who, id, waiter, true).await
    }

    async fn known_proposal(&self, proposal: &Proposal) -> Result<Option<Proposal>, AppError> {
        let Some(key) = &proposal.idempotency_key else { return Ok(None) };
        match self.store.find_proposal_by_key(&proposal.owner, key).await? {
            Some(known) if known.request_hash == proposal.request_hash => Ok(Some(known)),
            Some(known) => Err(AppError::IdempotencyConflict { first: known.id.to_string() }),
            None => Ok(None),
        }
    }

    async fn proposed(&self, who: &Principal, id: ProposalId, waiter: Waiter, is_new: bool) -> Result<Proposed, AppError> {
        let proposal = self.proposal_ended(who, id, waiter).await?;
        Ok(Proposed { proposal: self.proposal_resource(proposal).await?, is_new })
    }

    /// The caller's proposals, newest first, and how many stand where.
    pub async fn get_consensus_status(&self, who: &Principal, query: &ProposalQuery) -> Result<ProposalPage, AppError> {
        let limit = page_limit(query.limit)?;
        let before = query.cursor.as_deref().map(page_cursor).transpose()?;
        let (status, protocol) = (query.status, query.protocol);
        let filter = ProposalFilter { owner: who.owner_filter(), status, protocol, before, limit: limit + 1 };
        let counts = ProposalCounts::of(&self.store.count_proposals(who.owner_filter()).await?);
        let mut proposals = self.store.list_proposals(&filter).await?;
        let more = proposals.len() > limit as usize;
        proposals.truncate(limit as usize);
        let proposals = proposals.into_iter().map(ProposalSummary::from).collect();
        let (proposals, cut) = take_within(proposals, self.settings.page_chars());
        let next_cursor = proposals.last().filter(|_| more || cut).map(|proposal: &ProposalSummary| proposal.id);
        Ok(ProposalPage { counts, proposals, next_cursor })
    }

    /// One proposal with its ballots; with `wait_seconds` as soon as it has ended.
    pub async fn get_proposal(&self, who: &Principal, id: ProposalId, how: GetProposal) -> Result<ProposalResource, AppError> {
        let waiter = self.waiter(Topic::Proposal(id), wait_seconds(how.wait_seconds, 0)?);
        let proposal = self.proposal_ended(who, id, waiter).await?;
        self.proposal_resource(proposal).await
    }

    /// Ends an open proposal without a decision; its turns are stopped. One that was cancelled before stays as it is.
    pub async fn cancel_proposal(&self, who: &Principal, id: ProposalId) -> Result<ProposalResource, AppError> {
        let (app, caller) = (self.clone(), who.clone());
        let proposal = detached(async move { app.end_proposal(&caller, id).await }).await?;
        self.proposal_resource(proposal).await
    }

    async fn end_proposal(&self, who: &Principal, id: ProposalId) -> Result<Proposal, AppError> {
        for _ in 0..ATTEMPTS {
            let proposal = self.find_proposal(who, id).await?;
            match proposal.status {
                ProposalStatus::Cancelled => return Ok(proposal),
                ProposalStatus::Open => {}
                status => return Err(AppError::ProposalEnded { id, status }),
            }
            let (records, at) = (self.store.list_ballots(id).await?, now());
            let (settled, stopped) = close(&records, |_| true, "the proposal was cancelled", at);
            let ballots = ballots_of(&records);
            let why = "it was cancelled by request".to_owned();
            let outcome = interim(&proposal.rules, &ballots, &proposal.lost(), OutcomeKind::Cancelled, why);
            let ending = proposal.own_agents();
            let step = ProposalStep {
                id,
                generation: proposal.generation,
                seats: proposal.seats,
                round: proposal.round,
                settled,
                asked: Vec::new(),
                tasks: Vec::new(),
                stopped: stopped.clone(),
                outcome: Some(outcome),
                ending: ending.clone(),
                at,
            };
            if self.store.advance_proposal(step).await? == Advanced::Done {
                self.tell_stopped(id, &stopped, ending).await?;
                return self.find_proposal(who, id).await;
            }
        }
        Err(AppError::StoreUnavailable(format!("{id} changed {ATTEMPTS} times while being cancelled")))
    }

    async fn tell_stopped(&self, id: ProposalId, stopped: &[TaskId], ending: Vec<AgentId>) -> Result<(), AppError> {
        let mut agents: HashSet<AgentId> = ending.into_iter().collect();
        for task in stopped {
            agents.extend(self.store.get_task(*task, None).await?.and_then(|task| task.agent_id));
            self.bus.notify(Topic::Task(*task));
        }
        for agent in agents {
            self.bus.notify(Topic::Control(agent));
            self.bus.notify(Topic::Agent(agent));
        }
        self.bus.notify(Topic::Proposal(id));
        Ok(())
    }

    async fn find_proposal(&self, who: &Principal, id: ProposalId) -> Result<Proposal, AppError> {
        let found = self.store.get_proposal(id, who.owner_filter()).await?;
        found.ok_or_else(|| {
            AppError::NotFound(Missing::Proposal, format!("you have no proposal {id}; its id is in the answer of propose"))
        })
    }

    /// Reads the proposal until it has ended or the waiter gives up.
    async fn proposal_ended(&self, who: &Principal, id: ProposalId, mut waiter: Waiter) -> Result<Proposal, AppError> {
        loop {
            let proposal = self.find_proposal(who, id).await?;
            if proposal.status != ProposalStatus::Open || !waiter.changed().await {
                return Ok(proposal);
            }
        }
    }

    async fn proposal_resource(&self, proposal: Proposal) -> Result<ProposalResource, AppError> {
        let ballots = self.store.list_ballots(proposal.id).await?;
        Ok(ProposalResource::new(proposal, ballots))
    }
}
