//! The one place that writes to the terminal: data to stdout, words to stderr.

pub(super) use super::harmless::harmless;

use super::harmless::is_harmful;
use std::{fmt::Write as _, io::Write};

/// Writes a line of data to stdout. A closed pipe is not an error of ours.
pub(super) fn print(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Writes a line for people to stderr.
pub(super) fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}

/// Writes one JSON document to stdout: readable, and without characters that drive a terminal.
pub(super) fn print_json(value: &serde_json::Value) {
    print(&escaped(&serde_json::to_string_pretty(value).unwrap_or_default()));
}

/// Writes one JSON document to stdout as a line, for streams of them.
pub(super) fn print_json_line(value: &serde_json::Value) {
    print(&escaped(&value.to_string()));
}

/// JSON text that says the same; what JSON itself leaves as it is may drive a terminal.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_harmful(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

/// A runtime for commands that need one for a moment.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn json_says_the_same_without_what_drives_a_terminal() {
        let text = "\u{1b}[2J\u{9b}5n\u{202e}ü\n\u{7f}\u{e0041}";
        let line = escaped(&serde_json::json!(text).to_string());
        assert_eq!(line, r#""\u001b[2J\u009b5n\u202eü\n\u007f\udb40\udc41""#);
        assert_eq!(serde_json::from_str::<String>(&line).expect("JSON"), text);
    }
}
