//! Files of roles, whole and with flaws.

use super::*;

fn parse(text: &str) -> Result<Role, Vec<FileFlaw>> {
    Role::parse("helper".parse().expect("a name"), text)
}

/// What is wrong, as an operator reads it.
fn flaws(text: &str) -> Vec<String> {
    parse(text).expect_err("flaws").iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_says_it_all() {
    let role = parse(
        "---\ndescription: Helps.\nbackend: claude-code\nmodel: haiku\nallowed_tools: [Read, \"Bash(git *)\"]\n\
         output_schema:\n  type: object\n  properties: {n: {type: integer}}\nmcp_servers: [shop]\n---\n\nYou help.\n\n---\nStill you.\n",
    )
    .expect("sound");
    assert_eq!(role.description, "Helps.");
    assert_eq!((role.backend, role.model.as_deref()), (Backend::ClaudeCode, Some("haiku")));
    assert_eq!(role.allowed_tools.as_deref(), Some(&["Read".to_owned(), "Bash(git *)".to_owned()][..]));
    assert_eq!(role.output_schema.as_ref().expect("a schema")["properties"]["n"]["type"], "integer");
    assert_eq!(role.mcp_servers, ["shop"]);
    assert_eq!(role.persona, "You help.\n\n---\nStill you.");
    assert_eq!(role.system_prompt(), "You are the helper.\n\nYou help.\n\n---\nStill you.");
}

#[test]
fn a_description_and_a_persona_are_enough_whatever_wrote_the_file() {
    for text in
        ["---\ndescription: d\n---\np", "\u{feff}---\r\ndescription: d\r\n---\r\np\r\n", "---  \ndescription: d\n--- \n\n p \n\n"]
    {
        let role = parse(text).expect("sound");
        assert_eq!((role.description.as_str(), role.persona.as_str()), ("d", "p"), "{text:?}");
        assert_eq!((role.model, role.allowed_tools, role.output_schema), (None, None, None));
    }
}

#[test]
fn a_flaw_is_told_with_the_line_of_the_file() {
    for (text, line, words) in [
        ("", 1, "first line must be ---"),
        ("You are.", 1, "first line must be ---"),
        ("---\ndescription: d\n", 1, "no end"),
        ("---\n---\np", 1, "no settings"),
        ("---\ndescription: d\nmodell: x\n---\np", 3, "modell"),
        ("---\nmodel: haiku\n---\np", 2, "description"),
        ("---\ndescription: d\nbackend: telepathy\n---\np", 3, "telepathy"),
        ("---\ndescription: d\nmodel: [\n---\np", 3, ""),
        ("---\ndescription: \"\"\n---\np", 2, "one line of 1 to 300"),
        ("---\ndescription: d\n\nmodel: a b\n---\np", 4, "model"),
        ("---\ndescription: d\nallowed_tools:\n  - Read\n  - Bash(\n---\np", 5, "`Bash(` is no tool rule"),
        ("---\ndescription: d\noutput_schema: {type: array}\n---\np", 3, "output_schema"),
        ("---\ndescription: d\nmcp_servers: [a b]\n---\np", 3, "MCP server"),
        ("---\ndescription: d\n---\n \n", 4, "no persona"),
        ("---\ndescription: d\n---\na\nb\0\n", 5, "NUL"),
    ] {
        let flaws = parse(text).expect_err("flaws");
        assert!(
            flaws.iter().any(|flaw| flaw.line.is_some_and(|found| found.abs_diff(line) <= u64::from(words.is_empty()))
                && flaw.words.contains(words)),
            "{text:?}: {flaws:?}"
        );
    }
    let long = format!("---\ndescription: d\n---\n{}", "x".repeat(SYSTEM_PROMPT_CHARS + 1));
    assert!(flaws(&long)[0].starts_with("line 4: the persona has 20001 characters"), "{:?}", flaws(&long));
    assert!(flaws(&"x".repeat(ROLE_BYTES + 1))[0].contains("bytes"));
}

#[test]
fn every_flaw_is_told_at_once() {
    let all = flaws("---\ndescription: d\nmodel: a b\nallowed_tools: [\"(\", \")\"]\n---\n");
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn shipped_roles_are_sound_and_say_what_is_expected_of_them() {
    let catalogue = Catalogue::shipped(vec!["*".into()], None);
    assert_eq!(catalogue.problems(), []);
    assert_eq!(catalogue.iter().count(), AgentType::SHIPPED.len());
    for name in AgentType::SHIPPED {
        let role = catalogue.get(*name).expect("shipped");
        assert!(role.persona.lines().count() > 10, "{name}");
    }
    let reviewer = &catalogue.get(AgentType::REVIEWER).expect("shipped").persona;
    assert!(["APPROVED", "NEEDS_REVISION", "REJECTED", "issue"].iter().all(|word| reviewer.contains(word)));
    assert_eq!(catalogue.model_of(AgentType::DOCUMENTER).as_deref(), Some("haiku"));
    assert_eq!(catalogue.model_of(AgentType::ARCHITECT).as_deref(), Some("opus"));
}

#[test]
fn a_model_the_gateway_does_not_allow_is_not_used() {
    let catalogue = |models: &[&str], default: Option<&str>| {
        Catalogue::shipped(models.iter().map(|model| (*model).to_owned()).collect(), default.map(str::to_owned))
    };
    let haiku = AgentType::DOCUMENTER;
    assert_eq!(catalogue(&["haiku"], Some("sonnet")).model_of(haiku).as_deref(), Some("haiku"));
    assert_eq!(catalogue(&["sonnet"], Some("sonnet")).model_of(haiku).as_deref(), Some("sonnet"));
    assert_eq!(catalogue(&["sonnet"], None).model_of(haiku), None);
    let coder = AgentType::CODER;
    assert_eq!(catalogue(&["haiku", "sonnet"], Some("sonnet")).model_of(coder).as_deref(), Some("sonnet"));
}

#[test]
fn a_users_file_adds_or_replaces_and_a_broken_one_takes_its_role_away() {
    let mut catalogue = Catalogue::shipped(vec![], None);
    catalogue.add("gardener.md", "---\ndescription: Tends.\n---\nWater daily.");
    catalogue.add("coder.md", "---\ndescription: Ours.\n---\nOur way.");
    catalogue.add("tester.md", "---\ndescription: d\nsurprise: 1\n---\nx");
    catalogue.add("The Boss.md", "---\ndescription: d\n---\nx");
    assert_eq!(catalogue.get(AgentType::CODER).expect("replaced").persona, "Our way.");
    assert!(catalogue.contains("gardener") && !catalogue.contains("tester") && !catalogue.contains("The Boss"));
    let sources: Vec<_> = catalogue
        .iter()
        .filter(|(_, source)| *source == crate::model::workflow::file::DefinitionSource::User)
        .map(|(role, _)| role.name.to_string())
        .collect();
    assert_eq!(sources, ["coder", "gardener"]);
    let why = catalogue.why_not(AgentType::TESTER);
    assert!(why.contains("roles/tester.md") && why.contains("line 3") && why.contains("gardener"), "{why}");
    let files: Vec<_> = catalogue.problems().iter().map(|problem| problem.file.as_str()).collect();
    assert_eq!(files, ["tester.md", "The Boss.md"]);
}

#[test]
fn words_that_older_yaml_takes_for_yes_and_no_stay_words() {
    let role = parse(
        "---\ndescription: no\noutput_schema: {type: object, properties: {n: {type: integer}, y: {enum: [on, off]}}, required: [n, y]}\n---\np",
    )
    .expect("sound");
    assert_eq!(role.description, "no");
    let schema = role.output_schema.expect("a schema");
    assert_eq!(
        (&schema["required"], &schema["properties"]["y"]["enum"]),
        (&serde_json::json!(["n", "y"]), &serde_json::json!(["on", "off"]))
    );
}
