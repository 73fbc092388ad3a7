//! What an operator pastes into the GPT builder.

use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The GPT's instructions.
pub const INSTRUCTIONS: &str = include_str!("../../gpt-instructions.md");

/// The sheet.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// Where `ChatGPT` reaches the gateway, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    name: &'static str,
    description: &'static str,
    conversation_starters: [&'static str; 4],
    instructions: &'static str,
    authentication: Authentication,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy_policy_url: Option<String>,
}

#[derive(Debug, Serialize)]
struct Authentication {
    r#type: &'static str,
    auth_type: &'static str,
    header_name: String,
    key: &'static str,
}

impl Setup {
    /// The sheet for the GPT that imports `actions`, our document for it.
    pub fn new(actions: &Value, public_url: Option<String>) -> Self {
        let schemes = actions.pointer("/components/securitySchemes").and_then(Value::as_object);
        let header = schemes.and_then(|schemes| schemes.values().next()).and_then(|scheme| scheme["name"].as_str());
        let at = |path: &str| public_url.as_ref().map(|url| format!("{}{path}", url.trim_end_matches('/')));
        Self {
            name: "Coding agents (mas)",
            description: "Hands work to real coding agents on your own machine, follows them, and reports what came of it.",
            conversation_starters: [
                "Is the gateway ready, and what is running right now?",
                "Have a researcher explain what the default project does.",
                "Add a health check to the project, with a test, and run all tests.",
                "Keep a coder for this project; we will work in several rounds.",
            ],
            instructions: INSTRUCTIONS,
            authentication: Authentication {
                r#type: "API Key",
                auth_type: "Custom",
                header_name: header.unwrap_or_default().to_owned(),
                key: "mas key create --user YOU --name gpt --scopes read,operate",
            },
            schema_url: at("/openapi-actions.json"),
            privacy_policy_url: at("/privacy"),
            public_url,
        }
    }
}

impl fmt::Display for Setup {
    /// In the order of the builder's fields; each section can be copied as it is.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut section = |title: &str, text: &str| writeln!(formatter, "──── {title} ────\n{}\n", text.trim_end());
        let url = |url: &Option<String>| url.clone().unwrap_or_else(|| "(needs the public URL, see below)".into());
        section("Configure: Name", self.name)?;
        section("Configure: Description", self.description)?;
        section("Configure: Instructions", self.instructions)?;
        section("Configure: Conversation starters", &self.conversation_starters.join("\n"))?;
        let Authentication { r#type, auth_type, header_name, key } = &self.authentication;
        section(
            "Actions: Authentication",
            &format!(
                "Authentication type: {type}\nAuth type: {auth_type}\nCustom header name: {header_name}\nAPI key: what this prints, once: {key}"
            ),
        )?;
        section("Actions: Schema, import from URL", &url(&self.schema_url))?;
        section("Actions: Privacy policy", &url(&self.privacy_policy_url))?;
        write!(
            formatter,
            "Then try: {}\nImport again, and enter the key again, when the public URL or the operations change. A GPT has either \
             actions or apps. Personal ChatGPT accounts can change GPTs they have but not make new ones; Business, Enterprise \
             and Edu workspaces can.",
            self.conversation_starters[0]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn setup(url: Option<&str>) -> Setup {
        let actions = json!({"components": {"securitySchemes": {"K": {"type": "apiKey", "name": "X-MAS-Key"}}}});
        Setup::new(&actions, url.map(str::to_owned))
    }

    #[test]
    fn the_sheet_fits_the_builders_fields() {
        let setup = setup(Some("https://mas.example.com/"));
        assert!(setup.name.chars().count() <= 50 && setup.description.chars().count() <= 300);
        let text = setup.to_string();
        for part in [
            "\nhttps://mas.example.com/openapi-actions.json\n",
            "\nhttps://mas.example.com/privacy\n",
            "Custom header name: X-MAS-Key\n",
            "mas key create",
            INSTRUCTIONS.trim_end(),
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
        let sheet = serde_json::to_value(&setup).expect("JSON");
        assert_eq!(sheet["authentication"]["header_name"], "X-MAS-Key");
        assert_eq!(sheet["conversation_starters"].as_array().map(Vec::len), Some(4));
    }

    #[test]
    fn without_a_public_url_the_rest_is_there() {
        let setup = setup(None);
        assert!(setup.to_string().contains("(needs the public URL, see below)\n"));
        let sheet = serde_json::to_value(&setup).expect("JSON");
        assert!(sheet.get("schema_url").is_none() && sheet.get("privacy_policy_url").is_none());
    }
}
