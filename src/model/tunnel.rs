//! The tunnel that makes the gateway reachable from outside: how it stands, and its setting read as a command.

use super::word::word_enum;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

word_enum! {
    /// How a tunnel stands.
    TunnelState {
        /// The client does not run; it is started again after a pause.
        Down = "down",
        /// The client runs; the gateway has not been reached through it yet.
        Starting = "starting",
        /// The gateway reached itself through the tunnel.
        Up = "up",
        /// The client runs, but the gateway does not reach itself through it.
        Unreachable = "unreachable",
        /// Somebody else answers at the public URL.
        Foreign = "foreign",
    }
}

/// What is known about the tunnel. Nothing in it comes from the client's output but the URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TunnelStatus {
    /// How it stands.
    pub state: TunnelState,
    /// Since when it stands so.
    pub since: DateTime<Utc>,
    /// The latest URL by which the gateway reached itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// When this URL took the place of another one, or became known first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<DateTime<Utc>>,
    /// When the gateway last tried to reach itself through the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// What is wrong, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What there is to do, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

/// Cuts a command into arguments at white space; `'…'` and `"…"` keep it, and `\` keeps the next character outside of
/// single quotes. Nothing else has a meaning: no shell reads it.
pub fn split_command(command: &str) -> Result<Vec<String>, &'static str> {
    let (mut arguments, mut current) = (vec![], None::<String>);
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                current.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match characters.next() {
                Some(next) => current.get_or_insert_default().push(next),
                None => return Err("ends with a `\\`"),
            },
            (None, _) if character.is_whitespace() => arguments.extend(current.take()),
            _ => current.get_or_insert_default().push(character),
        }
    }
    if quote.is_some() {
        return Err("has a quotation mark that is not closed");
    }
    arguments.extend(current);
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_without_a_shell() {
        let cut = |text| split_command(text).expect("well formed");
        assert_eq!(cut("  ssh -R  80:localhost:{port} x "), ["ssh", "-R", "80:localhost:{port}", "x"]);
        assert_eq!(cut(r#"sh -c 'echo "$HOME; x"' "a b"c '' \'"#), ["sh", "-c", "echo \"$HOME; x\"", "a bc", "", "'"]);
        assert_eq!(cut(r#""a\"b" 'c\d'"#), ["a\"b", "c\\d"]);
        assert_eq!(cut(" "), Vec::<String>::new());
        assert!(split_command("echo 'x").is_err() && split_command("x\\").is_err());
    }
}
