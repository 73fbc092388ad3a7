//! The roles there are: those that come with the program, and the user's own.

use super::{Role, flaw};
use crate::model::{
    agent::{AgentType, Backend},
    pattern::any_matches,
    workflow::file::{DefinitionSource, FileFlaw, FileProblem},
};
use std::collections::BTreeMap;

/// In the order of [`AgentType::SHIPPED`].
const SHIPPED: [(AgentType, &str); 10] = [
    (AgentType::PLANNER, include_str!("../../../roles/planner.md")),
    (AgentType::CODER, include_str!("../../../roles/coder.md")),
    (AgentType::REVIEWER, include_str!("../../../roles/reviewer.md")),
    (AgentType::TESTER, include_str!("../../../roles/tester.md")),
    (AgentType::RESEARCHER, include_str!("../../../roles/researcher.md")),
    (AgentType::ARCHITECT, include_str!("../../../roles/architect.md")),
    (AgentType::ANALYST, include_str!("../../../roles/analyst.md")),
    (AgentType::OPTIMIZER, include_str!("../../../roles/optimizer.md")),
    (AgentType::DOCUMENTER, include_str!("../../../roles/documenter.md")),
    (AgentType::COORDINATOR, include_str!("../../../roles/coordinator.md")),
];

/// Roles by name.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    roles: BTreeMap<AgentType, (Role, DefinitionSource)>,
    problems: Vec<FileProblem>,
    models: Vec<String>,
    default_model: Option<String>,
}

impl Catalogue {
    /// The shipped roles. `models` are those the gateway allows (a trailing `*` matches any ending), `default_model` the one for
    /// roles that name none, or none of those.
    pub fn shipped(models: Vec<String>, default_model: Option<String>) -> Self {
        let mut catalogue = Self { models, default_model, ..Self::default() };
        for (name, text) in SHIPPED {
            catalogue.take(&format!("{name}.md"), name, Role::parse(name, text), DefinitionSource::Shipped);
        }
        catalogue
    }

    /// Takes a user's file in, which may replace a shipped role. Of a file with flaws nothing is taken, and its role is not
    /// there: falling back to a shipped one could allow agents more than the user meant them to have.
    pub fn add(&mut self, file: &str, text: &str) {
        match name_of(file) {
            Ok(name) => self.take(file, name, Role::parse(name, text), DefinitionSource::User),
            Err(words) => self.refuse(file, flaw(None, words)),
        }
    }

    /// Keeps on record that a file cannot be used.
    pub fn refuse(&mut self, file: &str, flaw: FileFlaw) {
        if let Ok(name) = name_of(file) {
            self.roles.remove(&name);
        }
        self.problems.push(FileProblem { file: file.to_owned(), flaw });
    }

    fn take(&mut self, file: &str, name: AgentType, parsed: Result<Role, Vec<FileFlaw>>, source: DefinitionSource) {
        match parsed {
            Ok(role) => drop(self.roles.insert(name, (role, source))),
            Err(flaws) => flaws.into_iter().for_each(|flaw| self.refuse(file, flaw)),
        }
    }

    /// The role of that name.
    pub fn get(&self, name: AgentType) -> Option<&Role> {
        self.roles.get(&name).map(|(role, _)| role)
    }

    /// Whether there is a role of that name.
    pub fn contains(&self, name: &str) -> bool {
        name.parse().is_ok_and(|name| self.get(name).is_some())
    }

    /// Every role with its source, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Role, DefinitionSource)> {
        self.roles.values().map(|(role, source)| (role, *source))
    }

    /// The files that cannot be used.
    pub fn problems(&self) -> &[FileProblem] {
        &self.problems
    }

    /// The model of an agent or task that names none: the role's if the gateway allows it, else the gateway's default; the CLI's
    /// own default when absent.
    pub fn model_of(&self, name: AgentType) -> Option<String> {
        let wanted = self.get(name).and_then(|role| role.model.as_ref());
        wanted.filter(|model| any_matches(&self.models, model)).or(self.default_model.as_ref()).cloned()
    }

    /// What is wrong with the MCP servers that roles name: each role with what is to be said of a server that nobody has registered.
    pub fn unregistered<'a>(&'a self, is_known: &'a dyn Fn(&str) -> bool) -> impl Iterator<Item = (&'a Role, String)> {
        self.roles.values().flat_map(move |(role, _)| {
            let unknown = role.mcp_servers.iter().filter(|name| !is_known(name));
            unknown.map(move |name| {
                (role, format!("its MCP server `{name}` is not in mcp.servers_file; its agents work without it"))
            })
        })
    }

    /// The CLI behind agents and tasks that name none.
    pub fn backend_of(&self, name: AgentType) -> Backend {
        self.get(name).map_or(Backend::ClaudeCode, |role| role.backend)
    }

    /// Says why there is no role of that name, and which there are.
    pub fn why_not(&self, name: AgentType) -> String {
        let names = self.roles.keys().map(AgentType::as_str).collect::<Vec<_>>().join(", ");
        match self.problems.iter().find(|problem| name_of(&problem.file) == Ok(name)) {
            Some(FileProblem { file, flaw }) => {
                format!("the role `{name}` cannot be used, because roles/{file} has a flaw ({flaw}); usable are: {names}")
            }
            None => format!("there is no role `{name}`; use one of: {names}"),
        }
    }
}

fn name_of(file: &str) -> Result<AgentType, String> {
    let name = file.strip_suffix(".md").unwrap_or(file);
    name.parse().map_err(|error| format!("{error}; name the file after the role, such as site-reliability.md"))
}
