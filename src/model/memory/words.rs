//! The words of a text, and of a search for them. Both databases get words of letters and digits only, so that their
//! own ideas of words, and the operators of their query languages, never come into play.

/// Longest word; the rest of it is left out. `PostgreSQL` keeps none above 2 kB.
const WORD_CHARS: usize = 200;
/// How much of a text can be found by its words. `PostgreSQL` keeps at most 1 MiB of them.
const TEXT_CHARS: usize = 100_000;

/// The words of `text` in lower case, one space between two.
pub fn of_text(text: &str) -> String {
    let text: String = text.chars().take(TEXT_CHARS).collect();
    let words = text.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| word.chars().flat_map(char::to_lowercase).take(WORD_CHARS).collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// What a text must have to be found: every phrase, each one word or several in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(Vec<String>);

impl Search {
    /// Words, all of which must match; what stands in quotes must match as it stands. Everything else is no more than a
    /// space. A quote that is not closed is closed by the end. `None`: the query is blank, and everything matches.
    pub fn parse(query: &str) -> Option<Self> {
        if query.trim().is_empty() {
            return None;
        }
        let mut phrases = Vec::new();
        for (index, part) in query.split('"').enumerate() {
            let words = of_text(part);
            if index % 2 == 1 {
                phrases.extend(Some(words).filter(|words| !words.is_empty()));
            } else {
                phrases.extend(words.split_whitespace().map(str::to_owned));
            }
        }
        Some(Self(phrases))
    }

    /// The phrases. None: nothing can match, because the query has no word.
    pub fn phrases(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(query: &str) -> Vec<String> {
        Search::parse(query).expect("not blank").0
    }

    #[test]
    fn words_and_quoted_phrases_are_all_there_is() {
        assert_eq!(phrases("Rate limits"), ["rate", "limits"]);
        assert_eq!(phrases("see \"src/main.rs  line 7\" now"), ["see", "src main rs line 7", "now"]);
        assert_eq!(phrases("\"foo OR NEAR("), ["foo or near"]);
        assert_eq!(phrases("a* -b NOT(c) ^d: {e} 'f' %_ \\g;--"), ["a", "b", "not", "c", "d", "e", "f", "g"]);
        assert_eq!(phrases("\"\" * \"(\""), Vec::<String>::new());
        assert_eq!(Search::parse(" \t"), None);
    }

    #[test]
    fn words_are_lower_case_and_of_bounded_length() {
        assert_eq!(of_text("Ärger: ÉTÉ-2026, x86_64\0!"), "ärger été 2026 x86 64");
        assert_eq!(of_text(&"x".repeat(5_000)).len(), WORD_CHARS);
        assert!(of_text(&"a ".repeat(200_000)).len() <= TEXT_CHARS);
    }
}
