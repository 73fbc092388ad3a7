//! How a turn that ended is judged, and what it may spend.

use super::{Order, Verdict, turn::Turn};
use crate::model::{
    quota::{Cap, CapUnit, LimitReached, SetBy},
    run::{Failure, FailureCode},
};
use serde_json::Value;

impl Turn {
    pub(super) fn judge(&mut self, order: &Order, failure: Option<Failure>, structured_output: Option<Value>) -> Verdict {
        if let Some(mut failure) = failure {
            if failure.code == FailureCode::BudgetExceeded
                && let Some(cap) =
                    order.caps.iter().filter(|cap| cap.unit == CapUnit::Usd).min_by(|a, b| a.left.total_cmp(&b.left))
            {
                failure = failure.by_limit(&cap.limit.name, cap.limit.set_by, cap.limit.value);
            }
            return Verdict::Failed(failure);
        }
        if let Some(cap) = order.caps.iter().find(|cap| self.used(cap.unit).is_none()) {
            let limit = &cap.limit;
            let detail = format!(
                "the budget `{}` is set, but the agent CLI did not say what the turn used; the result is kept. \
                 Update the CLI (`mas doctor`) or leave the budget out.",
                limit.name
            );
            let failure = Failure::new(FailureCode::UsageUnknown, detail);
            return Verdict::Failed(failure.by_limit(&limit.name, limit.set_by, limit.value));
        }
        let Some(schema) = &order.output_schema else {
            self.outcome.structured_output = structured_output;
            return Verdict::Complete;
        };
        let invalid = |detail: String| Verdict::Failed(Failure::new(FailureCode::InvalidStructuredOutput, detail));
        let Some(output) = structured_output else {
            return invalid(
                "the agent answered in text instead of the structured answer `output_schema` asks for; see `result`".into(),
            );
        };
        match jsonschema::validator_for(schema) {
            Err(error) => invalid(format!("`output_schema` cannot be used: {error}")),
            Ok(validator) => {
                let problem = validator.validate(&output).err().map(|error| format!("{error} at `{}`", error.instance_path()));
                self.outcome.structured_output = Some(output);
                problem.map_or(Verdict::Complete, |problem| {
                    invalid(format!("the structured answer does not satisfy `output_schema`: {problem}"))
                })
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "budgets are far below 2^52 tokens")]
    fn used(&self, unit: CapUnit) -> Option<f64> {
        match unit {
            CapUnit::Usd => self.outcome.cost_usd,
            CapUnit::Tokens => self.outcome.tokens.map(|tokens| tokens as f64),
        }
    }

    /// The failure, when a budget is used up.
    pub(super) fn over_budget(&self, caps: &[Cap]) -> Option<Failure> {
        let stopped = |cap| budget_failure(cap, "the partial result is kept");
        caps.iter().find(|cap| self.used(cap.unit).is_some_and(|used| used >= cap.left)).map(stopped)
    }
}

/// Says which budget is used up, whose it is, and what can be done; `so` is what became of the turn.
pub(in crate::runner) fn budget_failure(cap: &Cap, so: &str) -> Failure {
    let LimitReached { name, set_by, value } = &cap.limit;
    let advice = match set_by {
        SetBy::Task => "Ask again with a larger one to get further.",
        SetBy::Agent => "Create a new agent with a larger one to get further.",
        SetBy::Key | SetBy::Gateway => "It starts anew at midnight UTC.",
    };
    let detail = format!("the budget `{name}` of {value} set by the {set_by} is used up; {so}. {advice}");
    Failure::new(FailureCode::BudgetExceeded, detail).by_limit(name, *set_by, *value)
}
