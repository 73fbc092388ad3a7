//! The phases of SPARC.

use crate::model::word::word_enum;

word_enum! {
    /// A phase of SPARC.
    SparcPhase {
        /// What is wanted, so that it can be tested.
        Specification = "specification",
        /// The main flows, step by step.
        Pseudocode = "pseudocode",
        /// Components, interfaces, decisions.
        Architecture = "architecture",
        /// Tests first, then code until they pass.
        Refinement = "refinement",
        /// Documentation and the closing report.
        Completion = "completion",
    }
}
