//! The settings of a role's file.

use super::{
    AgentType, Backend, FileFlaw, OUTPUT_SCHEMA_BYTES, ROLE_DESCRIPTION_CHARS, ROLE_ITEMS, Role, TITLE_CHARS, Value, flaw,
    schema, tools,
};
use serde::Deserialize;
use serde_saphyr::{Spanned, budget, options};

/// Settings begin below the first `---`.
const FIRST_LINE: u64 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Front {
    description: Spanned<String>,
    backend: Option<Backend>,
    model: Option<Spanned<String>>,
    allowed_tools: Option<Vec<Spanned<String>>>,
    output_schema: Option<Spanned<Value>>,
    #[serde(default)]
    mcp_servers: Vec<Spanned<String>>,
}

fn line_of<T>(spanned: &Spanned<T>) -> u64 {
    FIRST_LINE + spanned.referenced.line()
}

impl Front {
    pub(super) fn read(text: &str) -> Result<Self, FileFlaw> {
        if text.trim().is_empty() {
            return Err(flaw(Some(1), "there are no settings; give at least a description".into()));
        }
        // In a schema `required: [n]` means a name. A file of this size has no use for more nodes, whatever its aliases make.
        let options = options! { strict_booleans: true, budget: budget! { max_nodes: 20_000 } };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let error = error.without_snippet();
            let line = error.location().map(|place| FIRST_LINE + place.line());
            // The parser counts from the settings; the line above is the file's.
            let words = error.to_string();
            flaw(line, words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words).to_owned())
        })
    }

    /// What is wrong with the values.
    pub(super) fn flaws(&self) -> Vec<FileFlaw> {
        let mut flaws = Vec::new();
        let mut must = |ok: bool, line: u64, words: String| {
            if !ok {
                flaws.push(flaw(Some(line), words));
            }
        };
        let description = self.description.value.trim();
        let fits = !description.is_empty()
            && !description.contains(['\n', '\r'])
            && description.chars().count() <= ROLE_DESCRIPTION_CHARS;
        let words = format!("description must be one line of 1 to {ROLE_DESCRIPTION_CHARS} characters");
        must(fits, line_of(&self.description), words);
        if let Some(model) = &self.model {
            let fits = !model.value.is_empty()
                && model.value.len() <= TITLE_CHARS
                && !model.value.contains(|char: char| char.is_whitespace() || char.is_control());
            must(fits, line_of(model), format!("model must be a word of at most {TITLE_CHARS} characters"));
        }
        let rules = self.allowed_tools.as_deref().unwrap_or_default();
        must(
            rules.len() <= ROLE_ITEMS,
            rules.first().map_or(FIRST_LINE, line_of),
            format!("allowed_tools has more than {ROLE_ITEMS} rules"),
        );
        for rule in rules {
            let words = || format!("`{}` is no tool rule; write `Read`, `Bash(git *)` or `mcp__server`", rule.value);
            must(tools::is_rule(&rule.value), line_of(rule), words());
        }
        if let Some(given) = &self.output_schema {
            let bytes = given.value.to_string().len();
            must(
                bytes <= OUTPUT_SCHEMA_BYTES,
                line_of(given),
                format!("output_schema has {bytes} bytes of JSON; at most {OUTPUT_SCHEMA_BYTES} are allowed"),
            );
            if let Some(words) = schema::flaw(&given.value) {
                must(false, line_of(given), format!("output_schema: {words}"));
            }
        }
        let servers = &self.mcp_servers;
        must(
            servers.len() <= ROLE_ITEMS,
            servers.first().map_or(FIRST_LINE, line_of),
            format!("mcp_servers has more than {ROLE_ITEMS} names"),
        );
        for server in servers {
            let is_name = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
            let fits = (1..=64).contains(&server.value.len()) && server.value.chars().all(is_name);
            must(
                fits,
                line_of(server),
                format!("`{}` cannot be the name of an MCP server: letters, digits, - and _", server.value),
            );
        }
        flaws
    }

    pub(super) fn role(self, name: AgentType, persona: &str) -> Role {
        let texts = |items: Vec<Spanned<String>>| items.into_iter().map(|item| item.value).collect();
        Role {
            name,
            description: self.description.value.trim().to_owned(),
            backend: self.backend.unwrap_or(Backend::ClaudeCode),
            model: self.model.map(|model| model.value),
            allowed_tools: self.allowed_tools.map(texts),
            output_schema: self.output_schema.map(|schema| schema.value),
            mcp_servers: texts(self.mcp_servers),
            persona: persona.to_owned(),
        }
    }
}
