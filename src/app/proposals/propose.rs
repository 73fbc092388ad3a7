//! What callers send to have something decided, and the checks it must pass.

use crate::{
    app::{
        App, AppSettings,
        checks::{Refusals, request_hash, whole_number},
        error::AppError,
        now,
        wait::wait_seconds,
    },
    model::{
        agent::{Agent, AgentType},
        consensus::{Protocol, Rules, SECTION_CHARS, SHARE_UNIT, Threshold, VOTERS, Voter, WEIGHT_UNIT, canonical},
        id::{AgentId, ProposalId},
        key::Principal,
        limits::{IDEMPOTENCY_KEY_CHARS, TIMEOUT_SECONDS},
        project::DEFAULT_PROJECT,
        proposal::{Proposal, ProposalStatus, Seat},
    },
};
use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Longest question, in characters.
const QUESTION_CHARS: usize = 20_000;
/// Most options.
const OPTIONS: usize = 50;
/// Most rounds or terms.
const ROUNDS: u32 = 20;
/// Seconds a proposal may take that names no time.
const DEFAULT_TIMEOUT: u32 = 600;
/// Others a voter sees in a round of gossip when the proposal does not say.
const DEFAULT_FANOUT: usize = 2;
/// Largest weight of a voter.
const WEIGHT: f64 = 1_000.0;

/// One voter, or several of one role.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoterRequest {
    /// An agent that stays (`create_agent`). Give this or `type`.
    #[schema(nullable = false)]
    pub agent_id: Option<AgentId>,
    /// The role of voters that are made for this proposal.
    #[serde(rename = "type")]
    #[schema(nullable = false)]
    pub agent_type: Option<AgentType>,
    /// How many of this role, 1 to 64. Left out: 1.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(nullable = false, minimum = 1, maximum = 64)]
    pub count: Option<i64>,
    /// The model of voters that are made, from the gateway's allow-list. Left out: the configured default.
    #[schema(nullable = false, min_length = 1)]
    pub model: Option<String>,
    /// Weight of each, more than 0 and at most 1000; for quorum and gossip. Left out: 1.
    #[schema(nullable = false, exclusive_minimum = 0, maximum = 1000)]
    pub weight: Option<f64>,
    /// true: each may veto; for quorum.
    #[schema(nullable = false)]
    pub veto: Option<bool>,
}

/// A question for several agents to decide.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"question": "Which database should the service use?", "options": ["SQLite", "PostgreSQL"], "protocol": "quorum", "threshold": "majority", "voters": [{"type": "architect", "count": 2}, {"type": "reviewer"}], "timeout_seconds": 300, "wait_seconds": 40, "idempotency_key": "database-1"}))]
pub struct Propose {
    /// What is to be decided, at most 20,000 characters.
    #[schema(min_length = 1, max_length = 20000)]
    pub question: String,
    /// What there is to choose from, 2 to 50. Left out: voters answer in their own words. For crdt: the sections of the document.
    #[schema(nullable = false, min_items = 2, max_items = 50)]
    pub options: Option<Vec<String>>,
    /// How ballots become a decision. quorum: a share of votes; raft: a leader's draft and its majority; byzantine: tolerates liars; gossip: rounds until agreement; crdt: one merged document. Left out: quorum.
    #[schema(nullable = false)]
    pub protocol: Option<Protocol>,
    /// Who decides, 64 voters at most. At least 2; raft 3, byzantine 4.
    #[schema(min_items = 1, max_items = 64)]
    pub voters: Vec<VoterRequest>,
    /// For quorum and gossip: `majority`, `two_thirds`, `unanimous`, or a share above 0.5 and at most 1, such as `0.75`. Left out: majority, for gossip unanimous.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(nullable = false, min_length = 1, example = "majority")]
    pub threshold: Option<String>,
    /// Most rounds (terms of raft), 1 to 20. Left out: 1 for quorum and crdt, 2 for byzantine, 3 for raft, 5 for gossip.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(nullable = false, minimum = 1, maximum = 20)]
    pub rounds: Option<i64>,
    /// For gossip: how many others a voter sees in a round, 1 to 63. Left out: 2.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(nullable = false, minimum = 1, maximum = 63)]
    pub fanout: Option<i64>,
    /// The project that voters made for this work in. Left out: `default`.
    #[schema(nullable = false, min_length = 1)]
    pub project: Option<String>,
    /// Seconds until it ends by what has been said, silent voters left out, 1 to 86400. Left out: 600.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(nullable = false, minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<i64>,
    /// Your key for exact retries: the same key and request give the same proposal instead of a second one.
    #[schema(nullable = false, min_length = 1, max_length = 200)]
    pub idempotency_key: Option<String>,
    /// Seconds to wait for the outcome before answering, 0 to 40. Left out: 0.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(nullable = false, minimum = 0, maximum = 40)]
    pub wait_seconds: Option<i64>,
}

/// A threshold as text; models also write it as a number.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(serde_json::Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(D::Error::custom(format!("invalid type: {other}, expected text such as \"majority\" or \"0.75\""))),
    }
}

/// A voter before its agent is looked up or made.
pub(super) struct Place {
    field: String,
    agent_id: Option<AgentId>,
    agent_type: AgentType,
    model: Option<String>,
}

impl Propose {
    /// The proposal without its seats, who is to sit there, and the seconds to wait; or every reason why not.
    pub(super) fn validate(self, who: &Principal, settings: &AppSettings) -> Result<(Proposal, Vec<Place>, u32), AppError> {
        let mut refusals = Refusals::default();
        let wait = refusals.absorb(wait_seconds(self.wait_seconds, 0));
        let protocol = self.protocol.unwrap_or(Protocol::Quorum);
        let request_hash = self.hash();
        refusals.text("question", &self.question, QUESTION_CHARS);
        if let Some(key) = &self.idempotency_key {
            refusals.text("idempotency_key", key, IDEMPOTENCY_KEY_CHARS);
        }
        let project = self.project.clone().unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        refusals.project(&project, settings);
        self.check_options(&mut refusals);
        let threshold = self.threshold(protocol, &mut refusals);
        let max_rounds = refusals.within("rounds", self.rounds, 1..=ROUNDS.into()).unwrap_or_else(|| protocol.default_rounds());
        refusals.check(protocol != Protocol::Quorum || max_rounds == 1, "rounds", || "quorum has one round; leave it out".into());
        let fanout: Option<usize> = refusals.within("fanout", self.fanout, 1..=63);
        refusals.check(fanout.is_none() || protocol == Protocol::Gossip, "fanout", || "is for gossip; leave it out".into());
        let timeout =
            refusals.within("timeout_seconds", self.timeout_seconds, 1..=TIMEOUT_SECONDS.into()).unwrap_or(DEFAULT_TIMEOUT);
        let (places, voters) = self.places(protocol, settings, &mut refusals);
        refusals.finish()?;
        let (id, now) = (ProposalId::generate(), now());
        let rules = Rules {
            protocol,
            threshold,
            options: self.options.unwrap_or_default().iter().map(|option| option.trim().to_owned()).collect(),
            voters,
            max_rounds,
            fanout: fanout.unwrap_or(DEFAULT_FANOUT),
            // The random half of the id.
            seed: id.uuid().as_u64_pair().1,
        };
        let proposal = Proposal {
            id,
            owner: who.user.clone(),
            key_id: Some(who.key_id),
            question: self.question,
            rules,
            seats: Vec::new(),
            project,
            status: ProposalStatus::Open,
            generation: 0,
            round: 1,
            outcome: None,
            timeout_seconds: timeout,
            idempotency_key: self.idempotency_key,
            request_hash,
            provenance: settings.provenance,
            traceparent: crate::trace::current(),
            created_at: now,
            updated_at: now,
            deadline_at: now + TimeDelta::seconds(timeout.into()),
            ended_at: None,
        };
        Ok((proposal, places, wait))
    }

    fn hash(&self) -> String {
        request_hash(&serde_json::json!([
            "propose",
            self.question,
            self.options,
            self.protocol,
            self.voters,
            self.threshold,
            self.rounds,
            self.fanout,
            self.project,
            self.timeout_seconds,
        ]))
    }

    fn check_options(&self, refusals: &mut Refusals) {
        let Some(options) = &self.options else { return };
        refusals.check((2..=OPTIONS).contains(&options.len()), "options", || {
            format!("has {}; give 2 to {OPTIONS}, or leave it out to let voters answer in their own words", options.len())
        });
        let mut known = BTreeSet::new();
        for (index, option) in options.iter().enumerate().take(OPTIONS) {
            let field = format!("options[{index}]");
            refusals.line(&field, option, SECTION_CHARS);
            refusals.check(known.insert(canonical(option)), &field, || {
                let option = crate::app::size::excerpt(option, 100);
                format!("`{option}` is there already; options differ by more than case, spacing and closing punctuation")
            });
        }
    }

    fn threshold(&self, protocol: Protocol, refusals: &mut Refusals) -> Threshold {
        let default = if protocol == Protocol::Gossip { Threshold::Unanimous } else { Threshold::Majority };
        let Some(given) = self.threshold.as_deref().map(str::trim) else { return default };
        if !matches!(protocol, Protocol::Quorum | Protocol::Gossip) {
            let words = format!("{protocol} has a rule of its own; leave it out, or use quorum or gossip");
            refusals.check(false, "threshold", || words);
            return default;
        }
        match given {
            "majority" => Threshold::Majority,
            "two_thirds" => Threshold::TwoThirds,
            "unanimous" => Threshold::Unanimous,
            share => {
                let share = share.parse::<f64>().ok().filter(|share| *share > 0.5 && *share <= 1.0);
                refusals.check(share.is_some(), "threshold", || {
                    format!("`{given}` is none of: majority, two_thirds, unanimous, a share above 0.5 and at most 1")
                });
                Threshold::Share(parts(share.unwrap_or(1.0), SHARE_UNIT))
            }
        }
    }

    fn places(&self, protocol: Protocol, settings: &AppSettings, refusals: &mut Refusals) -> (Vec<Place>, Vec<Voter>) {
        let (mut places, mut voters, mut agents) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut all_counted = true;
        for (index, given) in self.voters.iter().enumerate() {
            let field = |name: &str| format!("voters[{index}]{name}");
            refusals.check(given.agent_id.is_some() != given.agent_type.is_some(), &field(""), || {
                "needs either `agent_id` or `type`".into()
            });
            if let Some(agent) = given.agent_id {
                refusals.check(agents.insert(agent), &field(".agent_id"), || format!("{agent} votes already; name it once"));
                refusals.check(given.count.is_none_or(|count| count == 1), &field(".count"), || "an agent is one voter".into());
                refusals.check(given.model.is_none(), &field(".model"), || "an agent has its model; leave it out".into());
            }
            if let Some(model) = &given.model {
                refusals.model(&field(".model"), model, &settings.models);
            }
            let weighs = matches!(protocol, Protocol::Quorum | Protocol::Gossip);
            refusals.check(given.weight.is_none() || weighs, &field(".weight"), || {
                format!("{protocol} counts every voter the same; leave it out, or use quorum or gossip")
            });
            refusals.check(given.weight.is_none_or(|weight| (0.001..=WEIGHT).contains(&weight)), &field(".weight"), || {
                format!("must be more than 0 (0.001 at least) and at most {WEIGHT}")
            });
            let veto = given.veto.unwrap_or(false);
            refusals.check(!veto || protocol == Protocol::Quorum, &field(".veto"), || {
                format!("{protocol} knows no veto; leave it out, or use quorum")
            });
            let agent_type = given.agent_type.unwrap_or(AgentType::CODER);
            refusals.check(settings.roles.get().get(agent_type).is_some(), &field(".type"), || {
                settings.roles.get().why_not(agent_type)
            });
            let most = i64::try_from(VOTERS).unwrap_or(i64::MAX);
            let count: Option<usize> = refusals.within(&field(".count"), given.count, 1..=most);
            all_counted &= count.is_some() || given.count.is_none();
            let count = count.unwrap_or(1);
            for _ in 0..count {
                voters.push(Voter { weight: parts(given.weight.unwrap_or(1.0), WEIGHT_UNIT).max(1), veto });
                places.push(Place {
                    field: field(".agent_id"),
                    agent_id: given.agent_id,
                    agent_type,
                    model: given.model.clone(),
                });
            }
        }
        let bounds = protocol.least_voters()..=VOTERS;
        // Where a count is no number of voters, their sum is none either.
        refusals.check(!all_counted || bounds.contains(&voters.len()), "voters", || {
            format!("are {}; {protocol} takes {} to {} voters", voters.len(), bounds.start(), bounds.end())
        });
        (places, voters)
    }
}

/// A positive number in parts of `unit`, rounded.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bounded by the checks")]
fn parts(number: f64, unit: u64) -> u64 {
    (number * unit as f64).round() as u64
}

impl App {
    /// Finds or makes who sits at the places; gives the agents to make.
    pub(super) async fn seat(
        &self,
        who: &Principal,
        proposal: &mut Proposal,
        places: Vec<Place>,
    ) -> Result<Vec<Agent>, AppError> {
        let mut refusals = Refusals::default();
        let stays = proposal.rules.protocol.asks_again(proposal.rules.max_rounds);
        let mut made = Vec::new();
        for (place, given) in places.into_iter().enumerate() {
            let mut seat = Seat {
                agent_id: given.agent_id,
                agent_type: given.agent_type,
                project: proposal.project.clone(),
                model: given.model.or_else(|| self.settings.roles.get().model_of(given.agent_type)),
                is_own: false,
                lost: None,
            };
            if let Some(id) = given.agent_id {
                let found = self.store.get_agent(id, Some(&who.user)).await?;
                let of_ended_swarm = match &found {
                    Some(agent) if agent.status.is_ended() || agent.terminate_requested => {
                        self.ended_swarm(agent).await.is_some()
                    }
                    _ => false,
                };
                let refused = match &found {
                    Some(_) if of_ended_swarm => Some("has ended with its swarm; name another voter"),
                    None => Some("you have no such agent; list_agents shows the ones you have"),
                    Some(agent) if agent.status.is_ended() || agent.terminate_requested => {
                        Some("has ended; bring it back with resume_agent, or name another voter")
                    }
                    Some(agent) if !agent.durable => Some("is the agent of a single task; make one that stays with create_agent"),
                    Some(_) => None,
                };
                refusals.check(refused.is_none(), &given.field, || format!("{id}: {}", refused.unwrap_or_default()));
                if let Some(agent) = found {
                    seat = Seat { agent_type: agent.agent_type, project: agent.project, model: agent.model, ..seat };
                }
            } else if stays {
                let agent = Agent {
                    key_id: Some(who.key_id),
                    name: format!("voter {} of {}", place + 1, proposal.id),
                    project: seat.project.clone(),
                    model: seat.model.clone(),
                    ..Agent::at_rest(who.user.clone(), seat.agent_type, self.settings.provenance, now())
                };
                seat.agent_id = Some(agent.id);
                seat.is_own = true;
                made.push(agent);
            }
            proposal.seats.push(seat);
        }
        refusals.finish()?;
        Ok(made)
    }
}
