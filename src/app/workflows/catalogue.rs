//! The workflows there are: those that come with the program, and the user's own files.

use super::{FileProblem, WorkflowInput, WorkflowList, WorkflowResource};
use crate::model::workflow::{Workflow, file};
use std::{collections::BTreeMap, path::Path};

const SHIPPED: [&str; 6] = [
    include_str!("../../../workflows/aggregation_pipeline.yaml"),
    include_str!("../../../workflows/autonomous_development.yaml"),
    include_str!("../../../workflows/code_development.yaml"),
    include_str!("../../../workflows/deep_research.yaml"),
    include_str!("../../../workflows/sparc.yaml"),
    include_str!("../../../workflows/system_planning.yaml"),
];

/// Workflows by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    workflows: BTreeMap<String, (Workflow, &'static str)>,
    problems: Vec<FileProblem>,
}

impl Catalogue {
    /// The shipped workflows and those of the `.yaml` files in `dir`, which may replace shipped ones. What is wrong with a file
    /// is kept for [`App::list_workflows`](crate::app::App::list_workflows); the others are there all the same.
    pub fn load(dir: &Path, is_role: &dyn Fn(&str) -> bool) -> Self {
        let mut catalogue = Self::default();
        for text in SHIPPED {
            catalogue.add("shipped", "shipped", text, is_role);
        }
        let entries = match std::fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return catalogue,
            Err(error) => {
                catalogue.refuse(&dir.display().to_string(), error.to_string());
                return catalogue;
            }
        };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml")) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match std::fs::read_to_string(path) {
                Ok(text) => catalogue.add(&name, "user", &text, is_role),
                Err(error) => catalogue.refuse(&name, error.to_string()),
            }
        }
        catalogue
    }

    fn add(&mut self, file: &str, source: &'static str, text: &str, is_role: &dyn Fn(&str) -> bool) {
        match file::parse(text, is_role) {
            Ok(workflow) => drop(self.workflows.insert(workflow.name.clone(), (workflow, source))),
            Err(flaws) => flaws.iter().for_each(|flaw| self.refuse(file, flaw.to_string())),
        }
    }

    fn refuse(&mut self, file: &str, problem: String) {
        tracing::warn!(file, problem, "a workflow cannot be used");
        self.problems.push(FileProblem { file: file.to_owned(), problem });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Workflow> {
        self.workflows.get(name).map(|(workflow, _)| workflow)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.workflows.keys().map(String::as_str).collect()
    }

    pub(super) fn list(&self) -> WorkflowList {
        let items = self.workflows.values().map(|(workflow, source)| WorkflowResource {
            name: workflow.name.clone(),
            description: workflow.description.clone(),
            source: (*source).to_owned(),
            stages: workflow.stages.iter().map(|stage| stage.name.clone()).collect(),
            roles: {
                let all = workflow.stages.iter().flat_map(|stage| stage.walk());
                let mut roles: Vec<String> = all.filter_map(|stage| stage.role.clone()).collect();
                roles.sort();
                roles.dedup();
                roles
            },
            inputs: workflow
                .inputs
                .iter()
                .map(|(name, field)| WorkflowInput {
                    name: name.clone(),
                    description: field.description.clone(),
                    required: field.default.is_none(),
                    default: field.default.as_ref().map(ToString::to_string),
                })
                .collect(),
        });
        WorkflowList { workflows: items.collect(), problems: self.problems.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role;

    #[test]
    fn shipped_workflows_are_sound() {
        let roles = role::Catalogue::shipped(vec![], None);
        let dir = tempfile::tempdir().expect("a directory");
        let catalogue = Catalogue::load(dir.path(), &|role| roles.contains(role));
        assert_eq!(catalogue.problems, []);
        assert_eq!(catalogue.names().len(), SHIPPED.len());
    }

    #[test]
    fn a_bad_file_is_told_and_the_others_are_there() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a.yaml"), "name: mine\ndescription: d\nstages:\n  - {name: a, role: coder, prompt: x}\n")
            .expect("written");
        std::fs::write(dir.path().join("b.yaml"), "name: bad\ndescription: d\nstages:\n  - {name: a, role: nobody, prompt: x}\n")
            .expect("written");
        let roles = role::Catalogue::shipped(vec![], None);
        let catalogue = Catalogue::load(dir.path(), &|role| roles.contains(role));
        assert!(catalogue.get("mine").is_some() && catalogue.get("bad").is_none());
        assert!(
            catalogue.problems[0].file == "b.yaml" && catalogue.problems[0].problem.starts_with("line 4"),
            "{:?}",
            catalogue.problems
        );
    }
}
