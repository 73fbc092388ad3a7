//! Takes out of text what could drive the reader's terminal or deceive its reader: escape sequences, control characters,
//! bidirectional overrides, invisible characters. What remains are characters to look at, newlines and tabs.

use serde_json::Value;
use std::iter::Peekable;

/// The longest escape sequence that is taken out as a whole. A longer one loses its control characters only, so that nobody
/// hides the rest of a text behind a sequence that never ends.
const LONGEST_SEQUENCE: usize = 256;

const ESCAPE: char = '\u{1b}';
const BELL: char = '\u{7}';

/// The text without anything but visible characters, newlines and tabs.
pub(super) fn harmless(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = sequence(rest).unwrap_or(0);
        if length > 0 {
            rest = &rest[length..];
            continue;
        }
        rest = &rest[first.len_utf8()..];
        match first {
            '\r' if rest.starts_with('\n') => {}
            '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{b}' | '\u{c}' => kept.push('\n'),
            '\n' | '\t' => kept.push(first),
            hidden if is_harmful(hidden) => {}
            visible => kept.push(visible),
        }
    }
    kept
}

/// Cleans every text in a value, names of fields included.
pub(super) fn harmless_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(harmless(&text)),
        Value::Array(items) => items.into_iter().map(harmless_value).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (harmless(&name), harmless_value(value))).collect(),
        other => other,
    }
}

/// Characters that are not seen but change what is.
pub(super) fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Bytes of the escape sequence that the text begins with, if it is a whole one.
fn sequence(text: &str) -> Option<usize> {
    let mut rest = text.char_indices().take(LONGEST_SEQUENCE).peekable();
    let introducer = match rest.next()?.1 {
        ESCAPE => rest.next()?.1,
        '\u{90}' => 'P',
        '\u{98}' => 'X',
        '\u{9b}' => '[',
        '\u{9d}' => ']',
        '\u{9e}' => '^',
        '\u{9f}' => '_',
        _ => return None,
    };
    match introducer {
        '[' => control_sequence(rest),
        ']' | 'P' | 'X' | '^' | '_' => string_sequence(rest),
        ' '..='/' => loop {
            match rest.next()? {
                (_, ' '..='/') => {}
                (at, '0'..='~') => return Some(at + 1),
                _ => return None,
            }
        },
        '0'..='~' => Some(2),
        _ => None,
    }
}

/// Parameters and a final character.
fn control_sequence(rest: impl Iterator<Item = (usize, char)>) -> Option<usize> {
    for (at, character) in rest {
        match character {
            ' '..='?' => {}
            '@'..='~' => return Some(at + 1),
            _ => return None,
        }
    }
    None
}

/// Anything on one line up to a terminator.
fn string_sequence(mut rest: Peekable<impl Iterator<Item = (usize, char)>>) -> Option<usize> {
    loop {
        match rest.next()? {
            (at, BELL) => return Some(at + BELL.len_utf8()),
            (at, '\u{9c}') => return Some(at + '\u{9c}'.len_utf8()),
            (_, ESCAPE) => return rest.next().filter(|(_, next)| *next == '\\').map(|(at, _)| at + 1),
            (_, '\n') => return None,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn escape_sequences_go_as_a_whole() {
        for (given, kept) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("a\u{1b}[2J\u{1b}[Hb", "ab"),
            ("\u{1b}]0;title\u{7}text", "text"),
            ("\u{1b}]52;c;cm0gLXJm\u{1b}\\text", "text"),
            ("\u{1b}]8;;http://evil/\u{7}link\u{1b}]8;;\u{7}", "link"),
            ("\u{1b}P+q544e\u{1b}\\x", "x"),
            ("\u{9b}31mred", "red"),
            ("\u{9d}0;title\u{9c}text", "text"),
            ("\u{1b}(0lqk", "lqk"),
            ("\u{1b}cx\u{1b}7y", "xy"),
        ] {
            assert_eq!(harmless(given), kept, "{given:?}");
        }
    }

    #[test]
    fn an_endless_sequence_hides_nothing() {
        let given = format!("\u{1b}]0;{}", "the rest of a long text ".repeat(40));
        assert_eq!(harmless(&given), given[1..]);
        assert_eq!(harmless("\u{1b}]0;one\ntwo\u{7}"), "]0;one\ntwo");
        assert_eq!(harmless("\u{1b}"), "");
        assert_eq!(harmless("\u{1b}[12"), "[12");
    }

    #[test]
    fn what_deceives_the_eye_goes_and_text_stays() {
        assert_eq!(harmless("user\u{202e}gpj.exe\u{2066}\u{200b}\u{feff}"), "usergpj.exe");
        assert_eq!(harmless("a\u{0}b\u{8}\u{8}c\u{7f}"), "abc");
        assert_eq!(harmless("one\r\ntwo\rthree\u{2028}four\tfive"), "one\ntwo\nthree\nfour\tfive");
        let plain = "Grüße, 漢字, 👩‍👩‍👧, e\u{301}";
        assert_eq!(harmless(plain), plain);
    }

    #[test]
    fn every_text_of_a_value_is_cleaned() {
        let given = json!({"a\u{1b}[1m": ["x\u{7}", 1, {"b": "\u{202e}y"}]});
        assert_eq!(harmless_value(given), json!({"a": ["x", 1, {"b": "y"}]}));
    }

    proptest! {
        #[test]
        fn no_control_character_survives(text in any::<String>(), tail in "[\u{1b}\u{9b}\u{9d}\\[\\]0-9;a-z\u{7}\u{202e}\r\n\t]{0,40}") {
            let cleaned = harmless(&(text + &tail));
            prop_assert!(cleaned.chars().all(|c| c == '\n' || c == '\t' || !is_harmful(c)), "{cleaned:?}");
            prop_assert_eq!(harmless(&cleaned), cleaned.clone());
        }
    }
}
