//! Styled lines of text and how they break to the width of a terminal, by the columns that characters really take.

use crossterm::style::ContentStyle;
use std::fmt;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns a tab takes; a terminal's own tab stops would not survive a redraw.
const TAB: &str = "    ";
/// A terminal narrower than this is treated as if it were this wide.
const NARROWEST: usize = 4;

/// Text of one style.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    pub(super) text: String,
    pub(super) style: ContentStyle,
}

/// A line without line breaks.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Line {
    pub(super) spans: Vec<Span>,
    /// Columns that its second and later rows are indented by.
    indent: usize,
}

impl Line {
    pub(super) fn styled(text: impl Into<String>, style: ContentStyle) -> Self {
        Self::default().with(text, style)
    }

    /// The line with more text at its end.
    pub(super) fn with(mut self, text: impl Into<String>, style: ContentStyle) -> Self {
        self.push(text, style);
        self
    }

    pub(super) fn push(&mut self, text: impl Into<String>, style: ContentStyle) {
        let text = text.into();
        match self.spans.last_mut() {
            Some(span) if span.style == style => span.text.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.spans.push(Span { text, style }),
        }
    }

    /// The line behind a mark, its later rows aligned with its text.
    pub(super) fn behind(mut self, mark: &str, style: ContentStyle) -> Self {
        self.indent += mark.width();
        if !mark.is_empty() {
            self.spans.insert(0, Span { text: mark.to_owned(), style });
        }
        self
    }

    /// Columns it takes in one row.
    pub(super) fn width(&self) -> usize {
        self.spans.iter().flat_map(|span| span.text.graphemes(true)).map(columns).sum()
    }

    /// The line in rows of at most `width` columns, broken between words where that is possible.
    pub(super) fn wrap(&self, width: usize) -> Vec<Self> {
        let width = width.max(NARROWEST);
        let indent = self.indent.min(width / 2);
        let cells = self.cells();
        let (mut rows, mut start) = (Vec::new(), 0);
        while start < cells.len() {
            let mut row = Self::default();
            if !rows.is_empty() {
                row.push(" ".repeat(indent), ContentStyle::new());
            }
            let end = start + row_end(&cells[start..], width - row.width());
            for (text, style) in &cells[start..end] {
                row.push(*text, *style);
            }
            rows.push(row);
            // The break stands for the blanks.
            start = end + cells[end..].iter().take_while(|(text, _)| *text == " ").count();
        }
        if rows.is_empty() {
            rows.push(Self::default());
        }
        rows
    }

    fn cells(&self) -> Vec<(&str, ContentStyle)> {
        self.spans.iter().flat_map(|span| span.text.graphemes(true).map(|grapheme| (shown(grapheme), span.style))).collect()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spans.iter().try_for_each(|span| f.write_str(&span.text))
    }
}

/// What a terminal shows for one character as people see them.
pub(super) fn shown(grapheme: &str) -> &str {
    if grapheme == "\t" { TAB } else { grapheme }
}

/// Columns of one character.
pub(super) fn columns(grapheme: &str) -> usize {
    shown(grapheme).width()
}

/// The text, cut to this many columns with an ellipsis when it is wider.
pub(super) fn cut(text: &str, width: usize) -> String {
    let mut kept = String::new();
    let (mut used, mut at_ellipsis) = (0, 0);
    for grapheme in text.graphemes(true) {
        used += columns(grapheme);
        if used > width {
            kept.truncate(at_ellipsis);
            if width > 0 {
                kept.push('…');
            }
            return kept;
        }
        kept.push_str(shown(grapheme));
        if used < width {
            at_ellipsis = kept.len();
        }
    }
    kept
}

/// How many cells fit into a row; at least one.
fn row_end(cells: &[(&str, ContentStyle)], room: usize) -> usize {
    let (mut used, mut has_word, mut last_break) = (0, false, None);
    for (index, (text, _)) in cells.iter().enumerate() {
        used += text.width();
        if *text == " " {
            if has_word {
                last_break = Some(index);
            }
        } else {
            if used > room {
                return last_break.unwrap_or(index).max(1);
            }
            has_word = true;
        }
    }
    // Blanks at the end need no room.
    if used > room { last_break.map_or(room, |at| at.max(1)).min(cells.len()) } else { cells.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::style::Stylize;
    use proptest::prelude::*;

    fn texts(line: &Line, width: usize) -> Vec<String> {
        line.wrap(width).iter().map(ToString::to_string).collect()
    }

    fn plain(text: &str) -> Line {
        Line::styled(text, ContentStyle::new())
    }

    #[test]
    fn words_stay_whole_and_rows_align_with_the_text() {
        assert_eq!(texts(&plain("one two three four"), 9), ["one two", "three", "four"]);
        assert_eq!(texts(&plain("one two three").behind("• ", ContentStyle::new()), 9), ["• one two", "  three"]);
        assert_eq!(texts(&plain(""), 9), [""]);
        assert_eq!(texts(&plain("exactly nine"), 12), ["exactly nine"]);
        assert_eq!(texts(&plain("unbreakable"), 4), ["unbr", "eaka", "ble"]);
        assert_eq!(texts(&plain("    indented code"), 12), ["    indented", "code"]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(texts(&plain("漢字漢字漢字"), 5), ["漢字", "漢字", "漢字"]);
        assert_eq!(texts(&plain("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧"), 4), ["👩‍👩‍👧👩‍👩‍👧", "👩‍👩‍👧"]);
        assert_eq!(plain("漢\t").width(), 6);
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!([cut("short", 5), cut("longer", 5), cut("x", 0), cut("漢字漢字", 5)], ["short", "long…", "", "漢字…"]);
        assert_eq!(cut("漢字", 3), "漢…");
    }

    #[test]
    fn styles_survive_a_break() {
        let bold = ContentStyle::new().bold();
        let rows = plain("plain ").with("bold words here", bold).wrap(10);
        assert_eq!(rows.iter().map(ToString::to_string).collect::<Vec<_>>(), ["plain bold", "words here"]);
        assert_eq!(rows[1].spans[0].style, bold);
    }

    proptest! {
        #[test]
        fn no_row_is_too_wide_and_no_word_is_lost(text in "[a-c漢 é👩\t]{0,60}", mark in "[ -]{0,3}", width in 8usize..40) {
            let rows = texts(&plain(&text).behind(&mark, ContentStyle::new()), width);
            prop_assert!(rows.iter().all(|row| row.trim_end().width() <= width), "{rows:?}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&rows.concat()), letters(&(mark + &text)));
        }
    }
}
