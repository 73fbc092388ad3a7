//! The roles agents can have, as callers see them.

use super::{
    App,
    error::{AppError, Missing},
    size::take_within,
    workflows::{FileProblem, file_problems},
};
use crate::model::{
    agent::{AgentType, Backend},
    role::{Catalogue, Role},
    workflow::file::DefinitionSource,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Which roles to list.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RoleQuery {
    /// `next_cursor` of the page before.
    #[param(nullable = false)]
    pub cursor: Option<AgentType>,
}

/// A role, in a list without `persona` and `output_schema`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"name": "reviewer", "description": "Reads work critically and gives a verdict with the issues behind it.", "backend": "claude-code", "model": "sonnet", "allowed_tools": ["Read", "Glob", "Grep", "Bash"], "mcp_servers": [], "persona": "You judge the work of others before anybody relies on it.", "source": "shipped", "problems": []}))]
pub struct RoleResource {
    /// Its name, for `agent_type`.
    pub name: AgentType,
    /// What it is for.
    pub description: String,
    /// The CLI behind its agents.
    pub backend: Backend,
    /// The model of its agents when a request names none. Absent: the CLI's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub model: Option<String>,
    /// The tools its agents are limited to, within what their project allows. Absent: what their project allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub allowed_tools: Option<Vec<String>>,
    /// JSON Schema of the answer to a task that brings none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    pub output_schema: Option<Value>,
    /// MCP servers its agents get, by name.
    pub mcp_servers: Vec<String>,
    /// What its agents are told about themselves, added to the CLI's system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub persona: Option<String>,
    /// Where it comes from: the program, or a file of the data directory.
    pub source: DefinitionSource,
    /// What is in force otherwise than its file says, such as a model the gateway does not allow.
    pub problems: Vec<String>,
}

/// A page of roles.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(example = json!({"roles": [{"name": "reviewer", "description": "Reads work critically and gives a verdict with the issues behind it.", "backend": "claude-code", "model": "sonnet", "allowed_tools": ["Read", "Glob", "Grep", "Bash"], "mcp_servers": [], "source": "shipped", "problems": []}], "problems": [{"file": "gardener.md", "problem": "line 3: unknown field `colour`"}]}))]
pub struct RolePage {
    /// The roles, by name.
    pub roles: Vec<RoleResource>,
    /// Files of the data directory that cannot be used, and why. Their roles are not there.
    pub problems: Vec<FileProblem>,
    /// Cursor of the next page, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<AgentType>,
}

impl App {
    /// A page of the roles there are, and the files that cannot be used.
    pub fn list_roles(&self, query: RoleQuery) -> RolePage {
        let catalogue = self.settings.roles.get();
        let problems = file_problems(catalogue.problems());
        let rest = catalogue.iter().filter(|(role, _)| query.cursor.is_none_or(|after| role.name > after));
        let items = rest.map(|(role, source)| RoleResource {
            persona: None,
            output_schema: None,
            ..self.role_resource(&catalogue, role, source)
        });
        let room = self.settings.page_chars().saturating_sub(super::size::json_chars(&problems));
        let (roles, cut) = take_within(items.collect(), room);
        let next_cursor = roles.last().map(|role| role.name).filter(|_| cut);
        RolePage { roles, problems, next_cursor }
    }

    /// A role with its persona.
    pub fn get_role(&self, name: AgentType) -> Result<RoleResource, AppError> {
        let catalogue = self.settings.roles.get();
        let found = catalogue.iter().find(|(role, _)| role.name == name);
        let (role, source) = found.ok_or_else(|| AppError::NotFound(Missing::Role, catalogue.why_not(name)))?;
        Ok(self.role_resource(&catalogue, role, source))
    }

    fn role_resource(&self, catalogue: &Catalogue, role: &Role, source: DefinitionSource) -> RoleResource {
        let model = catalogue.model_of(role.name);
        let ignored = role.model.as_ref().filter(|wanted| model.as_ref() != Some(wanted));
        let problems = ignored.map(|wanted| {
            let instead = model.as_deref().unwrap_or("the CLI's own default");
            format!("its model `{wanted}` is not in claude_code.models; {instead} is used")
        });
        let is_known = |name: &str| self.settings.mcp_servers.0.contains_key(name);
        let unregistered = catalogue.unregistered(&is_known).filter(|(of, _)| of.name == role.name).map(|(_, words)| words);
        let problems = problems.into_iter().chain(unregistered).collect();
        RoleResource {
            name: role.name,
            description: role.description.clone(),
            backend: role.backend,
            model,
            allowed_tools: role.allowed_tools.clone(),
            output_schema: role.output_schema.clone(),
            mcp_servers: role.mcp_servers.clone(),
            persona: Some(role.persona.clone()),
            source,
            problems,
        }
    }
}
