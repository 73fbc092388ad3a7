//! The words in which a question is put to a voter: the step of the protocol, the question, and what the protocol shows of
//! others. Each prompt stands for itself, because the voter may have no memory of earlier ones.

use crate::model::{
    consensus::{Phase, Question, Statement, faults_tolerated, quorum_of},
    proposal::Proposal,
};
use std::fmt::Write as _;

/// Characters of another voter's rationale that are shown.
const RATIONALE_CHARS: usize = 600;

/// The prompt.
pub(super) fn words(proposal: &Proposal, question: &Question) -> String {
    let (rules, place) = (&proposal.rules, question.place + 1);
    let voters = rules.voters.len();
    let mut text = format!(
        "You are voter {place} of {voters} in a decision that several agents take together. Judge for yourself. You may look into \
         the project where that helps, but change nothing.\n\nQuestion:\n{}\n",
        proposal.question
    );
    if rules.options.is_empty() {
        if question.phase != Phase::Edit {
            text.push_str("\nThere are no given options. Be short and exact: equal answers are counted together.\n");
        }
    } else {
        text.push_str(if question.phase == Phase::Edit { "\nSections of the document:\n" } else { "\nOptions:\n" });
        rules.options.iter().for_each(|option| {
            let _ = writeln!(text, "- {option}");
        });
    }
    let _ = write!(text, "\nStep: {}, round {}.\n{}\n", question.phase, question.round, step(question, voters));
    if !question.sees.is_empty() {
        text.push('\n');
        question.sees.iter().for_each(|seen| text.push_str(&shown(seen, question)));
    }
    text.push_str("\nEnd with the structured output: ");
    text.push_str(fields(question.phase));
    text.push_str(
        ", rationale (why, in a few sentences), confidence (0 to 1). Only if you cannot judge it at all, set can_judge to false and \
         give the reason as rationale.",
    );
    text
}

/// What is to be done in this step.
fn step(question: &Question, voters: usize) -> String {
    let again = question.round > 1;
    match question.phase {
        Phase::Vote => "Cast your vote. The others vote at the same time; nobody sees another one's vote.".into(),
        Phase::Draft if again => format!(
            "You lead term {}. Draft the decision for all. The drafts of earlier terms were not accepted; below is what was said.",
            question.round
        ),
        Phase::Draft => format!("You lead term {}. Draft the decision for all; the others accept or refuse it.", question.round),
        Phase::Acknowledge => {
            "Below is the draft of the voter who leads this term. Accept it if you can live with it; refuse it if it \
                               is wrong, and say why."
                .into()
        }
        Phase::Prepare if again => {
            "The last round had no agreement; below is what everybody stated. State your choice anew.".into()
        }
        Phase::Prepare => "State your choice. Nobody has seen another one's statement yet.".into(),
        Phase::Commit => format!(
            "Below is what everybody stated. Commit to the choice that at least {} of {voters} voters stated, even if it is not yours \
             (up to {} voters may be lying), and repeat in `prepared` exactly what you stated yourself. If no choice has so many, \
             set can_judge to false.",
            quorum_of(voters),
            faults_tolerated(voters)
        ),
        Phase::Opinion if again => {
            "Below are your own opinion and those of a few others. Keep yours or change it, whichever convinces you \
                                    more."
                .into()
        }
        Phase::Opinion => "Give your opinion. In later rounds you will see those of a few others.".into(),
        Phase::Edit if again => {
            "Below are the document as everybody's contributions make it, and your own items with their numbers. Add \
                                 items; to rewrite or withdraw one of yours, name its number. An empty list of edits is fine."
                .into()
        }
        Phase::Edit => {
            "Contribute to a document that all voters write together: items, each with the section it belongs to. All \
                        contributions are merged; nobody's are left out."
                .into()
        }
    }
}

fn shown(seen: &Statement, question: &Question) -> String {
    let whose = match seen.place {
        None => return format!("The document so far:\n{}\n\n", seen.text),
        Some(place) if place == question.place => "you".to_owned(),
        Some(place) => format!("voter {}", place + 1),
    };
    if seen.phase == Phase::Edit {
        return format!("- your item {}\n", seen.text);
    }
    let mut line = format!("- {whose} ({}, round {}): {}\n", seen.phase, seen.round, indented(&seen.text));
    if !seen.rationale.is_empty() {
        let why: String = seen.rationale.chars().take(RATIONALE_CHARS).collect();
        let _ = writeln!(line, "  Why: {}", indented(&why));
    }
    line
}

/// Keeps the lines of one statement from looking like another voter's.
fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

fn fields(phase: Phase) -> &'static str {
    match phase {
        Phase::Vote | Phase::Prepare | Phase::Opinion => "choice",
        Phase::Draft => "choice (the draft)",
        Phase::Acknowledge => "accept (true or false)",
        Phase::Commit => "choice, prepared",
        Phase::Edit => {
            "edits (each with section and text; with number to change your own item; with keep set to false to take it back)"
        }
    }
}
