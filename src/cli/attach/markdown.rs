//! Light Markdown, as agents write it, in styled lines: headings, lists, quotes, code, bold and emphasised words. What is not
//! understood stays as it was written; nothing is left out.

use super::line::Line;
use crossterm::style::{ContentStyle, Stylize};

/// The text in lines.
pub(super) fn markdown(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut is_code = false;
    for source in text.trim_end().lines() {
        let trimmed = source.trim_start();
        if trimmed.starts_with("```") {
            is_code = !is_code;
            let language = trimmed.trim_matches('`').trim();
            // The fence itself tells nothing but the language.
            if is_code && !language.is_empty() {
                lines.push(Line::styled(format!("│ {language}"), faint()));
            }
        } else if is_code {
            lines.push(Line::styled(source, code()).behind("│ ", faint()));
        } else {
            lines.push(block(source));
        }
    }
    lines
}

fn faint() -> ContentStyle {
    ContentStyle::new().dim()
}

fn code() -> ContentStyle {
    ContentStyle::new().cyan()
}

fn block(source: &str) -> Line {
    let trimmed = source.trim_start();
    let indent = " ".repeat(source.len() - trimmed.len());
    let level = trimmed.bytes().take_while(|byte| *byte == b'#').count();
    if (1..=6).contains(&level)
        && let Some(heading) = trimmed[level..].strip_prefix(' ')
    {
        return Line::styled(heading.trim(), ContentStyle::new().bold().underlined());
    }
    if trimmed.len() >= 3 && trimmed.bytes().all(|byte| byte == b'-' || byte == b'*' || byte == b'_') {
        return Line::styled("─".repeat(20), faint());
    }
    if let Some(item) = ["- ", "* ", "+ "].iter().find_map(|mark| trimmed.strip_prefix(mark)) {
        return inline(item, ContentStyle::new()).behind("• ", faint()).behind(&indent, ContentStyle::new());
    }
    if let Some(quote) = trimmed.strip_prefix('>') {
        return inline(quote.trim_start(), ContentStyle::new().italic()).behind("│ ", faint());
    }
    let number = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=3).contains(&number)
        && let Some(item) = trimmed[number..].strip_prefix(". ")
    {
        let mark = format!("{}. ", &trimmed[..number]);
        return inline(item, ContentStyle::new()).behind(&mark, faint()).behind(&indent, ContentStyle::new());
    }
    inline(trimmed, ContentStyle::new()).behind(&indent, ContentStyle::new())
}

/// Words between marks.
fn inline(text: &str, base: ContentStyle) -> Line {
    let mut line = Line::default();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*']) {
        let (before, marked) = rest.split_at(at);
        line.push(before, base);
        let pairs = [("`", code()), ("**", base.bold()), ("*", base.italic())];
        let found = pairs.iter().find_map(|(mark, style)| Some((enclosed(before, marked, mark)?, mark.len(), *style)));
        if let Some((words, mark, style)) = found {
            line.push(words, style);
            rest = &marked[2 * mark + words.len()..];
        } else {
            let run = marked.len() - marked.trim_start_matches(['`', '*']).len();
            line.push(&marked[..run], base);
            rest = &marked[run..];
        }
    }
    line.push(rest, base);
    line
}

/// What stands between `mark` at the beginning of `text` and its next occurrence, if that can be meant as marked words.
fn enclosed<'a>(before: &str, text: &'a str, mark: &str) -> Option<&'a str> {
    let (words, after) = text.strip_prefix(mark)?.split_once(mark)?;
    if words.is_empty() {
        return None;
    }
    let is_star = mark.starts_with('*');
    // `2 * 3 * 4` and `a*b*c` mean themselves.
    let is_loose = words.starts_with(' ') || words.ends_with(' ') || words.starts_with('*') || words.ends_with('*');
    let is_within = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
    (!is_star || !(is_loose || is_within)).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        markdown(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn blocks_look_like_what_they_are() {
        let text = "# Plan\n\n- one\n  * two\n3. three\n> said\n---\n```rust\nlet x = \"**\";\n  y\n```\nend\n";
        assert_eq!(
            texts(text),
            [
                "Plan",
                "",
                "• one",
                "  • two",
                "3. three",
                "│ said",
                &"─".repeat(20),
                "│ rust",
                "│ let x = \"**\";",
                "│   y",
                "end"
            ]
        );
        assert_eq!(markdown("# Plan")[0].spans[0].style, ContentStyle::new().bold().underlined());
    }

    #[test]
    fn marked_words_are_styled_and_marks_go() {
        let line = &markdown("a **bold** and `co*de` *it*")[0];
        assert_eq!(line.to_string(), "a bold and co*de it");
        let styles: Vec<_> = line.spans.iter().map(|span| (span.text.as_str(), span.style)).collect();
        let plain = ContentStyle::new();
        assert_eq!(
            styles,
            [("a ", plain), ("bold", plain.bold()), (" and ", plain), ("co*de", code()), (" ", plain), ("it", plain.italic())]
        );
    }

    #[test]
    fn what_is_no_markdown_stays_as_it_is() {
        for text in ["2 * 3 * 4", "a*b*c", "`open", "**open", "#hash", "snake_case_name", "-5 degrees", "f(**kwargs)"] {
            assert_eq!(texts(text), [text], "{text}");
        }
        assert_eq!(texts("```\nunclosed **code**"), ["│ unclosed **code**"]);
        assert!(texts("").is_empty());
    }
}
