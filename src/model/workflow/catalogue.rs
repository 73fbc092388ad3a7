//! The workflows there are: those that come with the program, and the user's own.

use super::{
    Workflow,
    file::{self, DefinitionSource, FileFlaw, FileProblem},
};
use crate::model::role;
use std::collections::BTreeMap;

const SHIPPED: [&str; 6] = [
    include_str!("../../../workflows/aggregation_pipeline.yaml"),
    include_str!("../../../workflows/autonomous_development.yaml"),
    include_str!("../../../workflows/code_development.yaml"),
    include_str!("../../../workflows/deep_research.yaml"),
    include_str!("../../../workflows/sparc.yaml"),
    include_str!("../../../workflows/system_planning.yaml"),
];

/// What stands for the file of a shipped workflow.
const SHIPPED_FILE: &str = "shipped";

/// Workflows by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    workflows: BTreeMap<String, (Workflow, DefinitionSource)>,
    problems: Vec<FileProblem>,
    /// Names of workflows whose files have flaws, with the first of each.
    disabled: BTreeMap<String, FileProblem>,
}

impl Catalogue {
    /// The shipped workflows that can be done with `roles`.
    pub fn shipped(roles: &role::Catalogue) -> Self {
        let mut catalogue = Self::default();
        for text in SHIPPED {
            catalogue.take(SHIPPED_FILE, text, roles, DefinitionSource::Shipped);
        }
        catalogue
    }

    /// Takes a user's file in, which may replace a shipped workflow. Of a file with flaws nothing is taken.
    pub fn add(&mut self, file: &str, text: &str, roles: &role::Catalogue) {
        self.take(file, text, roles, DefinitionSource::User);
    }

    /// Keeps on record that a file cannot be used.
    pub fn refuse(&mut self, file: &str, flaw: FileFlaw) {
        self.problems.push(FileProblem { file: file.to_owned(), flaw });
    }

    fn take(&mut self, file: &str, text: &str, roles: &role::Catalogue, source: DefinitionSource) {
        match file::parse(text, &|role| roles.contains(role)) {
            Ok(workflow) if self.workflows.get(&workflow.name).is_some_and(|(_, known)| *known == source) => {
                let words = format!("name: another file has a workflow `{}` already; rename one of them", workflow.name);
                self.refuse(file, FileFlaw::whole(words));
            }
            Ok(workflow) => drop(self.workflows.insert(workflow.name.clone(), (workflow, source))),
            Err(flaws) => {
                if let (Some(name), Some(flaw)) = (file::name_of(text), flaws.first()) {
                    self.disabled.insert(name, FileProblem { file: file.to_owned(), flaw: flaw.clone() });
                }
                for flaw in flaws {
                    self.refuse(file, flaw);
                }
            }
        }
    }

    /// Says why there is no workflow of that name, and which there are.
    pub fn why_not(&self, name: &str) -> String {
        let names = self.workflows.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.disabled.get(name) {
            Some(FileProblem { file, flaw }) => {
                let file = if file == SHIPPED_FILE { "it".to_owned() } else { format!("workflows/{file}") };
                format!("the workflow `{name}` cannot be used, because {file} has a flaw ({flaw}); usable are: {names}")
            }
            None => format!("there is no workflow `{name}`; there are: {names}"),
        }
    }

    /// The workflow of that name.
    pub fn get(&self, name: &str) -> Option<&Workflow> {
        self.workflows.get(name).map(|(workflow, _)| workflow)
    }

    /// Every workflow with its source, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Workflow, DefinitionSource)> {
        self.workflows.values().map(|(workflow, source)| (workflow, *source))
    }

    /// The files that cannot be used.
    pub fn problems(&self) -> &[FileProblem] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> role::Catalogue {
        role::Catalogue::shipped(vec![], None)
    }

    fn text(name: &str, role: &str) -> String {
        format!("name: {name}\ndescription: d\nstages:\n  - {{name: a, role: {role}, prompt: x}}\n")
    }

    #[test]
    fn shipped_workflows_are_sound() {
        let catalogue = Catalogue::shipped(&roles());
        assert_eq!(catalogue.problems(), []);
        assert_eq!(catalogue.iter().count(), SHIPPED.len());
    }

    #[test]
    fn a_bad_file_is_told_and_the_others_are_there() {
        let mut catalogue = Catalogue::shipped(&roles());
        for (file, text) in [("a.yaml", text("mine", "coder")), ("b.yaml", text("bad", "nobody"))] {
            catalogue.add(file, &text, &roles());
        }
        assert!(catalogue.get("mine").is_some() && catalogue.get("bad").is_none());
        let problem = &catalogue.problems()[0];
        assert!(problem.file == "b.yaml" && problem.flaw.line == Some(4), "{problem:?}");
        let why = catalogue.why_not("bad");
        assert!(why.contains("workflows/b.yaml") && why.contains("no agent type `nobody`") && why.contains("mine"), "{why}");
        assert!(catalogue.why_not("worse").starts_with("there is no workflow `worse`; there are:"));
    }

    #[test]
    fn a_shipped_workflow_may_be_replaced_once() {
        let mut catalogue = Catalogue::shipped(&roles());
        catalogue.add("a.yaml", &text("sparc", "coder"), &roles());
        catalogue.add("b.yaml", &text("sparc", "tester"), &roles());
        assert_eq!(catalogue.get("sparc").expect("there").stages[0].role.as_deref(), Some("coder"));
        assert_eq!(catalogue.problems().iter().map(|problem| problem.file.as_str()).collect::<Vec<_>>(), ["b.yaml"]);
    }
}
