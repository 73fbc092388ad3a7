//! Names with a trailing `*`, as settings use them for models and environment variables.

/// Whether one of the patterns is `text`, or the beginning of it for a pattern that ends in `*`.
pub fn any_matches(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start)))
}
