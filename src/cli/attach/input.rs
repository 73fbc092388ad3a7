//! The line that is being typed: editing by characters as people see them, several rows, what was typed before.

use super::line::{columns, shown};
use unicode_segmentation::UnicodeSegmentation;

/// Texts kept to be taken up again.
const REMEMBERED: usize = 200;

/// Where to move, or what to take away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    Left,
    Right,
    WordLeft,
    WordRight,
    LineStart,
    LineEnd,
}

/// A text being typed.
#[derive(Debug, Default)]
pub(super) struct Input {
    text: String,
    /// Bytes of the text before the cursor.
    cursor: usize,
    history: Vec<String>,
    /// The place in the history that is shown, and what was typed before looking there.
    recalled: Option<(usize, String)>,
}

/// How a text looks in rows of a certain width.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) rows: Vec<String>,
    /// The cursor's row and column.
    pub(super) cursor: (usize, usize),
}

impl Input {
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Puts text at the cursor. The caller has cleaned it.
    pub(super) fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    pub(super) fn go(&mut self, to: To) {
        self.cursor = self.place(to);
    }

    /// Takes away everything between the cursor and the place.
    pub(super) fn delete(&mut self, to: To) {
        let place = self.place(to);
        let (start, end) = (place.min(self.cursor), place.max(self.cursor));
        self.text.replace_range(start..end, "");
        self.cursor = start;
    }

    /// The text, to be sent; the input is empty afterwards and remembers it.
    pub(super) fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        (self.cursor, self.recalled) = (0, None);
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            self.history.push(text.clone());
            if self.history.len() > REMEMBERED {
                self.history.remove(0);
            }
        }
        text
    }

    /// A row up, or what was typed before.
    pub(super) fn up(&mut self, width: usize) {
        if self.move_row(width, |row| row.checked_sub(1)) {
            return;
        }
        let place = self.recalled.as_ref().map_or(self.history.len(), |(place, _)| *place);
        let Some(place) = place.checked_sub(1) else { return };
        let typed = self.recalled.take().map_or_else(|| self.text.clone(), |(_, typed)| typed);
        self.show(self.history[place].clone());
        self.recalled = Some((place, typed));
    }

    /// A row down, or what was typed after.
    pub(super) fn down(&mut self, width: usize) {
        if self.move_row(width, |row| Some(row + 1)) {
            return;
        }
        let Some((place, typed)) = self.recalled.take() else { return };
        match self.history.get(place + 1).cloned() {
            Some(later) => {
                self.show(later);
                self.recalled = Some((place + 1, typed));
            }
            None => self.show(typed),
        }
    }

    /// The text in rows of `width` columns, with the cursor's place.
    pub(super) fn layout(&self, width: usize) -> Layout {
        let cells = self.cells(width);
        let mut rows = vec![String::new()];
        for cell in &cells {
            if cell.row == rows.len() {
                rows.push(String::new());
            }
            if let (Some(row), false) = (rows.last_mut(), cell.is_break) {
                row.push_str(shown(cell.text));
            }
        }
        let cursor = place_of(&cells, self.cursor);
        rows.resize(rows.len().max(cursor.0 + 1), String::new());
        Layout { rows, cursor }
    }

    fn show(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    fn place(&self, to: To) -> usize {
        let (before, after) = self.text.split_at(self.cursor);
        let words = |text: &str| {
            text.split_word_bound_indices()
                .filter(|(_, word)| !word.trim().is_empty())
                .map(|(at, word)| (at, word.len()))
                .collect::<Vec<_>>()
        };
        match to {
            To::Left => before.grapheme_indices(true).next_back().map_or(0, |(at, _)| at),
            To::Right => self.cursor + after.graphemes(true).next().map_or(0, str::len),
            To::WordLeft => words(before).last().map_or(0, |(at, _)| *at),
            To::WordRight => words(after).first().map_or(self.text.len(), |(at, length)| self.cursor + at + length),
            To::LineStart => before.rfind('\n').map_or(0, |at| at + 1),
            To::LineEnd => after.find('\n').map_or(self.text.len(), |at| self.cursor + at),
        }
    }

    /// Moves the cursor to another row, as near to its column as there is text; `false` when there is no such row.
    fn move_row(&mut self, width: usize, change: impl Fn(usize) -> Option<usize>) -> bool {
        let cells = self.cells(width);
        let (row, column) = place_of(&cells, self.cursor);
        let places = cells.iter().map(|cell| cell.at).chain([self.text.len()]).map(|at| (at, place_of(&cells, at)));
        let there = places.filter(|(_, (of, _))| Some(*of) == change(row));
        let Some((at, _)) = there.min_by_key(|(_, (_, there))| there.abs_diff(column)) else { return false };
        self.cursor = at;
        true
    }

    fn cells(&self, width: usize) -> Vec<Cell<'_>> {
        let (mut row, mut column) = (0, 0);
        self.text
            .grapheme_indices(true)
            .map(|(at, text)| {
                let (is_break, wide) = (text == "\n", columns(text));
                if !is_break && column + wide > width && column > 0 {
                    (row, column) = (row + 1, 0);
                }
                let cell = Cell { at, text, row, column, is_break };
                if is_break {
                    (row, column) = (row + 1, 0);
                } else {
                    column += wide;
                }
                cell
            })
            .collect()
    }
}

/// A character and its place.
struct Cell<'a> {
    at: usize,
    text: &'a str,
    row: usize,
    column: usize,
    is_break: bool,
}

/// Row and column of the place at this byte.
fn place_of(cells: &[Cell<'_>], at: usize) -> (usize, usize) {
    match (cells.iter().find(|cell| cell.at == at), cells.last()) {
        (Some(cell), _) => (cell.row, cell.column),
        (None, Some(last)) if last.is_break => (last.row + 1, 0),
        (None, Some(last)) => (last.row, last.column + columns(last.text)),
        (None, None) => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: usize = 40;

    fn typed(text: &str) -> Input {
        let mut input = Input::default();
        input.insert(text);
        input
    }

    #[test]
    fn characters_are_what_people_see() {
        let mut input = typed("a漢👩‍👩‍👧e\u{301}");
        assert_eq!(input.layout(WIDE).cursor, (0, 6));
        input.delete(To::Left);
        assert_eq!(input.text, "a漢👩‍👩‍👧");
        input.go(To::Left);
        input.go(To::Left);
        assert_eq!(input.layout(WIDE).cursor, (0, 1));
        input.delete(To::Right);
        input.insert("b");
        assert_eq!((input.text.as_str(), input.layout(WIDE).cursor), ("ab👩‍👩‍👧", (0, 2)));
    }

    #[test]
    fn words_and_lines_are_taken_as_such() {
        let mut input = typed("one two\nthree four");
        input.delete(To::WordLeft);
        assert_eq!(input.text, "one two\nthree ");
        input.delete(To::LineStart);
        assert_eq!(input.text, "one two\n");
        input.go(To::Left);
        input.go(To::LineStart);
        input.go(To::WordRight);
        input.delete(To::LineEnd);
        assert_eq!((input.text.as_str(), input.cursor), ("one\n", 3));
        input.go(To::WordRight);
        input.delete(To::Right);
        assert_eq!(input.text, "one\n", "there is nothing to the right");
    }

    #[test]
    fn rows_break_where_the_width_ends() {
        let input = typed("abcd漢e\n\tf\n");
        assert_eq!(
            input.layout(5),
            Layout { rows: vec!["abcd".into(), "漢e".into(), "    f".into(), String::new()], cursor: (3, 0) }
        );
        assert_eq!(typed("abcde").layout(5).cursor, (0, 5), "the cursor may stand behind a full row");
        assert_eq!(Input::default().layout(5), Layout { rows: vec![String::new()], cursor: (0, 0) });
    }

    #[test]
    fn up_and_down_go_through_rows_and_then_through_what_was_typed() {
        let mut input = Input::default();
        for text in ["first", "second\nrow", "second\nrow", "  "] {
            input.insert(text);
            input.take();
        }
        input.insert("draft");
        input.up(WIDE);
        assert_eq!((input.text.as_str(), input.layout(WIDE).cursor), ("second\nrow", (1, 3)));
        input.up(WIDE);
        assert_eq!(input.layout(WIDE).cursor, (0, 3), "a row up first");
        input.up(WIDE);
        assert_eq!(input.text, "first");
        input.up(WIDE);
        assert_eq!(input.text, "first", "there is nothing before");
        input.down(WIDE);
        assert_eq!(input.text, "second\nrow");
        input.down(WIDE);
        assert_eq!(input.text, "draft");
        input.down(WIDE);
        assert_eq!(input.text, "draft");
        assert_eq!((input.take().as_str(), input.is_empty()), ("draft", true));
    }

    #[test]
    fn a_pasted_text_keeps_its_lines() {
        let mut input = typed("say: ");
        input.insert("one\n\ttwo\n");
        assert_eq!((input.layout(WIDE).rows.len(), input.take().as_str()), (3, "say: one\n\ttwo\n"));
    }
}
