//! The TLS proxies let through what the actions document declares, and nothing that is for the operator only.

use super::files::read;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

/// Public without being an operation: what the importer and guests read, and links to results.
const BESIDES: [&str; 4] = ["/openapi-actions.json", "/privacy", "/health", "/files/token/report.pdf"];
/// For the machine itself, whatever key comes along.
const CLOSED: [&str; 12] = [
    "/",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/api-docs",
    "/api-docs/index.html",
    "/roles",
    "/mcp-servers",
    "/claude-flow",
    "/files",
    "/tasksx",
    "/healthy",
];

/// What a proxy lets through, as expressions over paths.
struct Proxy {
    name: &'static str,
    open: Vec<Regex>,
}

impl Proxy {
    fn new(name: &'static str, expressions: impl Iterator<Item = String>) -> Self {
        let open: Vec<Regex> =
            expressions.map(|text| Regex::new(&text).unwrap_or_else(|error| panic!("{name}: {error}"))).collect();
        assert!(open.len() > 3, "{name}: its list was not found");
        Self { name, open }
    }

    fn lets_through(&self, path: &str) -> bool {
        self.open.iter().any(|expression| expression.is_match(path))
    }
}

/// The words of the matcher `@public`; `*` at the end is a prefix.
fn caddy() -> Proxy {
    let text = read("deploy/Caddyfile");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("@public path ")).expect("the list of public paths");
    let expression = |word: &str| match word.strip_suffix('*') {
        Some(prefix) => format!("^{}", regex::escape(prefix)),
        None => format!("^{}$", regex::escape(word)),
    };
    Proxy::new("Caddyfile", line.split_whitespace().map(expression))
}

/// The locations that hand requests on.
fn nginx() -> Proxy {
    let text = read("deploy/nginx.conf");
    let mut expressions = vec![];
    for (head, rest) in text.split("location ").skip(1).filter_map(|part| part.split_once(" {")) {
        if !rest.split('}').next().expect("a block").contains("proxy_pass ") {
            continue;
        }
        expressions.push(match head.split_once(' ') {
            Some(("=", path)) => format!("^{}$", regex::escape(path)),
            Some(("~", expression)) => expression.to_owned(),
            _ => panic!("location {head}: this test does not know such"),
        });
    }
    Proxy::new("nginx.conf", expressions.into_iter())
}

/// Paths of a document, with a value for each parameter.
fn paths(of: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(&read(of)).expect("JSON");
    let parameter = Regex::new(r"\{[a-z_]+\}").expect("an expression");
    let paths = document["paths"].as_object().expect("paths").keys();
    paths.map(|path| parameter.replace_all(path, "thing_1a2b").into_owned()).collect()
}

fn first_part(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

#[test]
fn the_proxies_let_through_all_that_chatgpt_calls_and_nothing_of_the_operators() {
    let (declared, all) = (paths("openapi/actions.json"), paths("openapi/openapi.json"));
    assert!(declared.len() > 20 && declared.is_subset(&all), "{declared:?}");
    let public: BTreeSet<&str> = declared.iter().map(|path| first_part(path)).collect();
    for proxy in [caddy(), nginx()] {
        for path in declared.iter().map(String::as_str).chain(BESIDES) {
            assert!(proxy.lets_through(path), "{} keeps out {path}", proxy.name);
        }
        for path in CLOSED {
            assert!(!proxy.lets_through(path), "{} lets {path} through", proxy.name);
        }
        // A new part of the API is not public by chance, nor does an old one stay open.
        for path in &all {
            assert_eq!(proxy.lets_through(path), public.contains(first_part(path)), "{}: {path}", proxy.name);
        }
    }
}

#[test]
fn streams_may_be_silent_for_long_behind_nginx() {
    let text = read("deploy/nginx.conf");
    let (streams, work) =
        (text.find("location ~ ^/(events|tasks/").expect("streams"), text.find("location ~ ^/(tasks|").expect("work"));
    assert!(streams < work, "the first expression that matches is taken");
    assert!(text[streams..work].contains("proxy_read_timeout 1h;"));
}

#[test]
fn caddy_writes_no_key_into_a_log() {
    let text = read("deploy/Caddyfile");
    assert!(text.contains("request>headers>X-Mas-Key delete"));
    let blocks = text.split("\tlog").skip(1).filter(|rest| rest.starts_with(" {") || rest.starts_with(" default {"));
    assert_eq!(blocks.inspect(|block| assert!(block.split('}').next().expect("a block").contains("import mas_log"))).count(), 2);
}

#[test]
fn what_the_proxies_say_themselves_looks_like_an_error_of_the_gateway() {
    for path in ["deploy/nginx.conf", "deploy/Caddyfile"] {
        let text = read(path);
        let bodies = Regex::new(r#"(?m)['`](\{"type".*\})['`] ?(\d*)"#).expect("an expression");
        let mut count = 0;
        for found in bodies.captures_iter(&text) {
            let problem: Value = serde_json::from_str(&found[1]).unwrap_or_else(|error| panic!("{path}: {error}: {}", &found[1]));
            assert_eq!(problem["type"], format!("urn:mas:problem:{}", problem["code"].as_str().expect("a code")));
            for (field, is_right) in [
                ("title", problem["title"].is_string()),
                ("detail", problem["detail"].is_string()),
                ("next_step", problem["next_step"].is_string()),
                ("retryable", problem["retryable"].is_boolean()),
            ] {
                assert!(is_right, "{path}: {field} of {problem}");
            }
            let status = problem["status"].to_string();
            let before = &text[..found.get(0).expect("all").start()];
            assert!(
                found[2] == status || before.ends_with(&format!("return {status} ")),
                "{path}: sent with another status: {problem}"
            );
            count += 1;
        }
        assert!(count >= 3, "{path}: {count}");
    }
    assert!(read("deploy/nginx.conf").contains("limit_req_status 429;"), "503 would be taken for a fault");
}
