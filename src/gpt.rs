//! What `ChatGPT` accepts: rules of its importer and runtime, a checker for any `OpenAPI` document, and what an operator
//! pastes into the GPT builder. Pure: texts in, findings out.

mod lint;
mod read;
mod rules;
mod setup;

pub use lint::{Finding, lint, lint_server, unreadable};
pub use read::{Document, Unreadable};
pub use rules::{RULES, Rule, Severity};
pub use setup::{INSTRUCTIONS, Setup};

#[cfg(test)]
mod tests;
