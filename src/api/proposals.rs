//! `/consensus`

use super::{
    bounded::Bounded,
    extract::{Body, Caller, Id, Params},
    openapi::responses::{BadBody, Conflict, Guarded, Missing},
    problem::Problem,
    router::ApiState,
};
use crate::{
    app::proposals::{CancelProposal, GetProposal, ProposalPage, ProposalQuery, ProposalResource, Propose},
    model::{id::ProposalId, key::Scope},
};
use axum::{extract::State, http::StatusCode};

/// Have several agents decide a question
///
/// Puts the question to voters, existing agents or ones made for it, and counts their ballots under a protocol. Each ballot is a real turn of an agent. Returns the proposal, with `wait_seconds` as soon as there is an outcome; while there is none, call `get_proposal` with `wait_seconds`.
#[utoipa::path(
    post, path = "/consensus/propose", tag = "consensus", security(("ApiKeyAuth" = [])), request_body = Propose,
    responses(
        (status = 201, description = "The proposal was made", body = ProposalResource),
        (status = 200, description = "The proposal of an earlier request with the same idempotency key", body = ProposalResource),
        BadBody, Conflict, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn propose(
    State(state): State<ApiState>,
    caller: Caller,
    Body(request): Body<Propose>,
) -> Result<Bounded<ProposalResource>, Problem> {
    let proposed = state.app.propose(caller.needs(Scope::Operate)?, request).await?;
    Ok(state.made(proposed.is_new, proposed.proposal))
}

/// See how proposals stand
///
/// Counts your proposals by status and lists them, newest first. Give `next_cursor` as cursor to get the next page.
#[utoipa::path(
    get, path = "/consensus/status", tag = "consensus", security(("ApiKeyAuth" = [])), params(ProposalQuery),
    responses((status = 200, description = "Counts and a page of proposals", body = ProposalPage), Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_consensus_status(
    State(state): State<ApiState>,
    caller: Caller,
    Params(query): Params<ProposalQuery>,
) -> Result<Bounded<ProposalPage>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_consensus_status(caller.needs(Scope::Read)?, &query).await?))
}

/// Get a proposal with its ballots and outcome
///
/// Shows voters, every ballot with choice, rationale, confidence and run, what each round came to, tally, dissent, and how and why it ended. With `wait_seconds` the answer comes when it has ended.
#[utoipa::path(
    get, path = "/consensus/{id}", tag = "consensus", security(("ApiKeyAuth" = [])),
    params(("id" = ProposalId, Path, description = "The proposal's id"), GetProposal),
    responses((status = 200, description = "The proposal", body = ProposalResource), Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(false)))
)]
pub(super) async fn get_proposal(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<ProposalId>,
    Params(how): Params<GetProposal>,
) -> Result<Bounded<ProposalResource>, Problem> {
    Ok(state.bounded(StatusCode::OK, state.app.get_proposal(caller.needs(Scope::Read)?, id, how).await?))
}

/// End a proposal without a decision
///
/// Stops the turns of its voters and ends the agents made for it; ballots stay on record. One that has ended otherwise gives 409.
#[utoipa::path(
    post, path = "/consensus/{id}/cancel", tag = "consensus", security(("ApiKeyAuth" = [])), request_body = CancelProposal,
    params(("id" = ProposalId, Path, description = "The proposal's id")),
    responses((status = 200, description = "The proposal", body = ProposalResource), BadBody, Conflict, Missing, Guarded),
    extensions(("x-openai-isConsequential" = json!(true)))
)]
pub(super) async fn cancel_proposal(
    State(state): State<ApiState>,
    caller: Caller,
    Id(id): Id<ProposalId>,
    Body(request): Body<CancelProposal>,
) -> Result<Bounded<ProposalResource>, Problem> {
    let CancelProposal { idempotency_key: _ } = request; // `once` has seen to it
    Ok(state.bounded(StatusCode::OK, state.app.cancel_proposal(caller.needs(Scope::Operate)?, id).await?))
}
