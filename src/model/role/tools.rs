//! What agents of a role may do: never more than their project allows.
//!
//! A role without `allowed_tools` changes nothing. One that has them is a limit:
//!
//! * Allowed beforehand is what both the project and the role allow. Of `Bash` and `Bash(git *)` that is `Bash(git *)`.
//! * A mode in which the CLI allows things by itself would undo the limit. `bypassPermissions` becomes `default` with the role's
//!   rules. `acceptEdits` stays when the role has all of `Edit` and `Write`; else it becomes `default`, and rules of the role for
//!   files of the workspace, such as `Edit(docs/**)`, are kept.
//!   Where it stays, the CLI runs a few commands on files of the workspace by itself, if the role names `Bash` at all.
//! * Tools that change something or reach the network and that no rule of the role names are taken away. Reading the workspace
//!   needs no rule.

use crate::model::project::PermissionMode;

/// Built-in tools of the CLI that change something or reach the network.
const STRONG: [&str; 6] = ["Bash", "Edit", "NotebookEdit", "WebFetch", "WebSearch", "Write"];
/// Those that `acceptEdits` allows for files of the workspace.
const EDITS: [&str; 3] = ["Edit", "NotebookEdit", "Write"];

/// What a CLI is told about its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// What is allowed without asking.
    pub mode: PermissionMode,
    /// Rules allowed without asking.
    pub allow: Vec<String>,
    /// Tools that are taken away.
    pub deny: Vec<String>,
}

/// What a project allows (`mode`, `project`), narrowed by the rules of a role.
pub fn permissions(mode: PermissionMode, project: &[String], role: Option<&[String]>) -> Permissions {
    let Some(role) = role else { return Permissions { mode, allow: project.to_vec(), deny: Vec::new() } };
    let has = |tool: &str| role.iter().any(|rule| rule == tool);
    let narrowed = match mode {
        PermissionMode::BypassPermissions => PermissionMode::Default,
        PermissionMode::AcceptEdits if !(has("Edit") && has("Write")) => PermissionMode::Default,
        mode => mode,
    };
    let mut allow: Vec<String> = Vec::new();
    let mut keep = |rule: &String| {
        if !allow.contains(rule) {
            allow.push(rule.clone());
        }
    };
    for rule in role {
        let allowed = match mode {
            PermissionMode::BypassPermissions => true,
            PermissionMode::AcceptEdits if is_workspace_edit(rule) => true,
            _ => project.iter().any(|wider| covers(wider, rule)),
        };
        if allowed {
            keep(rule);
        }
    }
    project.iter().filter(|rule| role.iter().any(|wider| covers(wider, rule))).for_each(&mut keep);
    let deny = STRONG.iter().filter(|tool| role.iter().all(|rule| parts(rule).0 != **tool));
    Permissions { mode: narrowed, allow, deny: deny.map(|tool| (*tool).to_owned()).collect() }
}

/// Whether a text can be a rule: the name of a tool, perhaps with something in parentheses.
pub fn is_rule(rule: &str) -> bool {
    let (tool, inside) = parts(rule);
    let is_name = !tool.is_empty() && tool.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '*'));
    let is_closed = rule.contains('(') == inside.is_some() && inside.is_none_or(|inside| !inside.trim().is_empty());
    is_name && is_closed && rule.chars().count() <= 200 && !rule.chars().any(char::is_control)
}

/// Tool and what is in parentheses.
fn parts(rule: &str) -> (&str, Option<&str>) {
    match rule.split_once('(') {
        Some((tool, rest)) => (tool, rest.strip_suffix(')')),
        None => (rule, None),
    }
}

/// A rule for some files of the workspace only, whatever the CLI makes of other paths.
fn is_workspace_edit(rule: &str) -> bool {
    let (tool, inside) = parts(rule);
    let is_inside = |path: &str| !path.starts_with(['/', '~', '!']) && path.split('/').all(|part| part != "..");
    EDITS.contains(&tool) && inside.is_some_and(is_inside)
}

/// Whether everything `rule` allows is allowed by `wider` as well. In doubt it is not.
fn covers(wider: &str, rule: &str) -> bool {
    if wider == rule {
        return true;
    }
    let ((wide_tool, wide_inside), (tool, inside)) = (parts(wider), parts(rule));
    if wide_tool != tool {
        // A whole MCP server.
        let tool_of_server = |rest: &str| rest.strip_prefix("__").is_some_and(|tool| !tool.is_empty());
        let is_server = wide_inside.is_none() && wide_tool.starts_with("mcp__") && !wide_tool["mcp__".len()..].contains("__");
        return is_server && tool.strip_prefix(wide_tool).is_some_and(tool_of_server);
    }
    match (wide_inside, inside) {
        (None, _) => !wider.contains('('),
        (Some(_), None) => false,
        (Some(wide), Some(inside)) => tool == "Bash" && covers_command(wide, inside),
    }
}

/// Of `git *` or `git:*` and `git log *`. The rest of a command is not looked into: the CLI judges its parts.
fn covers_command(wide: &str, inside: &str) -> bool {
    let start = |rule: &str| rule.strip_suffix(":*").or_else(|| rule.strip_suffix(" *")).map(str::to_owned);
    let plain = |text: &str| !text.contains('*');
    match (start(wide), start(inside)) {
        (Some(wide), narrow) if plain(&wide) => {
            let narrow = narrow.unwrap_or_else(|| inside.to_owned());
            let is_one_command = !narrow.contains(['*', ';', '&', '|', '\n', '`', '$', '<', '>', '(']);
            is_one_command && (narrow == wide || narrow.strip_prefix(&wide).is_some_and(|rest| rest.starts_with(' ')))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
