//! How long a value is as JSON, in characters: the unit of the response limit.

use serde::Serialize;
use std::io;

/// Characters `value` takes as compact JSON, counted without keeping the text.
pub fn json_chars<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut counter = Counter(0);
    // Serialising plain data into a sink that never fails cannot fail; were it to, the value counts as endless.
    serde_json::to_writer(&mut counter, value).map_or(usize::MAX, |()| counter.0)
}

/// Characters `text` takes inside a JSON string, without the quotes.
pub fn encoded_chars(text: &str) -> usize {
    text.chars().map(encoded_char).sum()
}

/// The longest start of `text` that takes at most `budget` characters inside a JSON string.
pub fn encoded_prefix(text: &str, budget: usize) -> &str {
    let mut used = 0;
    for (at, char) in text.char_indices() {
        used += encoded_char(char);
        if used > budget {
            return &text[..at];
        }
    }
    text
}

/// What `serde_json` makes of one character.
const fn encoded_char(char: char) -> usize {
    match char {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => 1,
    }
}

/// At most `limit` characters of `text`, with an ellipsis when some are left out.
pub fn excerpt(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The first of `items` that together take at most `budget` characters, but always one when there is one, and
/// whether some were left out.
pub fn take_within<T: Serialize>(mut items: Vec<T>, budget: usize) -> (Vec<T>, bool) {
    let mut used = 0;
    let fitting = items.iter().take_while(|item| {
        used += json_chars(item) + 1;
        used <= budget
    });
    let count = fitting.count().max(1);
    let cut = items.len() > count;
    items.truncate(count);
    (items, cut)
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Every UTF-8 character has exactly one byte that is not a continuation byte.
        self.0 += bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_serde_json_writes() {
        let all: String = (0..0x2_0000_u32).filter_map(char::from_u32).collect();
        let written = serde_json::to_string(&all).expect("a string");
        assert_eq!(json_chars(&all), written.chars().count());
        assert_eq!(encoded_chars(&all) + 2, written.chars().count());
    }

    #[test]
    fn pages_stop_at_their_budget_but_never_stall() {
        let items = vec!["aaaa", "bbbb", "cccc"];
        assert_eq!(take_within(items.clone(), 14), (vec!["aaaa", "bbbb"], true));
        assert_eq!(take_within(items.clone(), 1), (vec!["aaaa"], true));
        assert_eq!(take_within(items.clone(), 100), (items, false));
        assert_eq!(take_within(Vec::<u8>::new(), 1), (vec![], false));
    }

    #[test]
    fn prefixes_end_at_characters_and_within_the_budget() {
        assert_eq!(encoded_prefix("ä\u{1}b", 6), "ä");
        assert_eq!(encoded_prefix("ä\u{1}b", 7), "ä\u{1}");
        assert_eq!(encoded_prefix("ab", 9), "ab");
        assert_eq!(excerpt("äöüß", 4), "äöüß");
        assert_eq!(excerpt("äöüß", 3), "äö…");
    }
}
