//! Puts lines above a frame that stays at the bottom. What goes up is part of the terminal's own text: it scrolls, is searched and
//! copied like any output. The terminal is never asked anything; all moves are relative to the frame.

use super::{frame::Frame, line::Line};
use crossterm::{
    cursor::{Hide, MoveToColumn, MoveUp, Show},
    queue,
    style::{Print, PrintStyledContent},
    terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate},
};
use std::io::{self, Write};

/// Knows what is on the screen.
pub(super) struct Painter<W> {
    out: W,
    width: usize,
    /// Columns of the rows that the frame shows, down to the one with the cursor.
    above_cursor: Vec<usize>,
    /// The cursor's column.
    column: usize,
}

impl<W: Write> Painter<W> {
    /// For a terminal of this width whose cursor stands at the beginning of an empty line.
    pub(super) const fn new(out: W, width: usize) -> Self {
        Self { out, width, above_cursor: Vec::new(), column: 0 }
    }

    /// The terminal has another width.
    pub(super) const fn resize(&mut self, width: usize) {
        self.width = width;
    }

    /// Adds lines to the transcript and shows the frame below them.
    pub(super) fn paint(&mut self, lines: &[Line], frame: &Frame) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate, Hide)?;
        self.wipe()?;
        let width = self.width;
        for row in lines.iter().flat_map(|line| line.wrap(width)) {
            self.row(&row)?;
            queue!(self.out, Print("\r\n"))?;
        }
        for (index, row) in frame.rows.iter().enumerate() {
            if index > 0 {
                queue!(self.out, Print("\r\n"))?;
            }
            self.row(row)?;
        }
        let below = frame.rows.len().saturating_sub(frame.cursor.0 + 1);
        self.up(below)?;
        queue!(self.out, MoveToColumn(narrow(frame.cursor.1)), Show, EndSynchronizedUpdate)?;
        self.above_cursor = frame.rows.iter().take(frame.cursor.0).map(Line::width).collect();
        self.column = frame.cursor.1;
        self.out.flush()
    }

    /// Takes the frame away; the cursor stands where it began.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.wipe()?;
        queue!(self.out, Show)?;
        self.out.flush()
    }

    fn wipe(&mut self) -> io::Result<()> {
        // A terminal that was made narrower has broken rows that are too wide now.
        let broken = |columns: usize| columns.saturating_sub(1) / self.width.max(1);
        let rows = self.above_cursor.iter().map(|columns| 1 + broken(*columns)).sum::<usize>() + self.column / self.width.max(1);
        self.up(rows)?;
        // Not from the first column on: tmux would take that, in the first row, for the clearing of a screen to be kept in its history.
        queue!(self.out, MoveToColumn(1), Clear(ClearType::FromCursorDown), MoveToColumn(0), Clear(ClearType::UntilNewLine))?;
        self.above_cursor.clear();
        self.column = 0;
        Ok(())
    }

    fn up(&mut self, rows: usize) -> io::Result<()> {
        // Zero would mean one.
        if rows > 0 { queue!(self.out, MoveUp(narrow(rows))) } else { Ok(()) }
    }

    fn row(&mut self, row: &Line) -> io::Result<()> {
        row.spans.iter().try_for_each(|span| queue!(self.out, PrintStyledContent(span.style.apply(span.text.as_str()))))
    }
}

fn narrow(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossterm::style::ContentStyle;

    fn line(text: &str) -> Line {
        Line::styled(text, ContentStyle::new())
    }

    fn frame(rows: &[&str], cursor: (usize, usize)) -> Frame {
        Frame { rows: rows.iter().map(|row| line(row)).collect(), cursor }
    }

    fn terminal(rows: u16, columns: u16) -> vt100::Parser {
        let [rows, columns] = [rows, columns].map(|number| number.try_into().expect("not zero"));
        vt100::Parser::new(rows, columns, 100)
    }

    /// What a terminal shows, and where its cursor is.
    fn screen(parser: &vt100::Parser) -> (Vec<String>, (u16, u16)) {
        let width = parser.screen().size().1;
        let mut rows: Vec<String> = parser.screen().rows(0, width.get()).map(|row| row.trim_end().to_owned()).collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        (rows, parser.screen().cursor_position())
    }

    #[test]
    fn the_transcript_grows_above_the_frame() {
        let mut parser = terminal(6, 20);
        let mut painter = Painter::new(vec![], 20);
        let show = |painter: &mut Painter<Vec<u8>>, parser: &mut vt100::Parser| {
            parser.process(&std::mem::take(&mut painter.out));
            screen(parser)
        };
        painter.paint(&[line("one")], &frame(&["status", "› "], (1, 2))).expect("painted");
        assert_eq!(show(&mut painter, &mut parser), (vec!["one".into(), "status".into(), "›".into()], (2, 2)));
        painter.paint(&[line("two")], &frame(&["", "busy", "› a", "  b"], (2, 3))).expect("painted");
        assert_eq!(
            show(&mut painter, &mut parser),
            (["one", "two", "", "busy", "› a", "  b"].map(str::to_owned).to_vec(), (4, 3))
        );
        painter.paint(&[line("漢字 three words and more")], &frame(&["idle", "› "], (1, 2))).expect("painted");
        let (rows, cursor) = show(&mut painter, &mut parser);
        assert_eq!(
            (rows, cursor),
            (["one", "two", "漢字 three words and", "more", "idle", "›"].map(str::to_owned).to_vec(), (5, 2))
        );
        painter.clear().expect("cleared");
        assert_eq!(
            show(&mut painter, &mut parser),
            (["one", "two", "漢字 three words and", "more"].map(str::to_owned).to_vec(), (4, 0))
        );
    }

    #[test]
    fn what_scrolls_out_is_in_the_terminal_s_own_memory() {
        let mut parser = terminal(4, 20);
        let mut painter = Painter::new(vec![], 20);
        for number in 1..=9 {
            painter.paint(&[line(&format!("line {number}"))], &frame(&["status", "› "], (1, 2))).expect("painted");
        }
        parser.process(&painter.out);
        assert_eq!(screen(&parser).0, ["line 8", "line 9", "status", "›"]);
        parser.screen_mut().set_scrollback(7);
        assert_eq!(screen(&parser).0, ["line 1", "line 2", "line 3", "line 4"]);
    }

    #[test]
    fn a_narrower_terminal_leaves_nothing_of_the_old_frame() {
        // What a terminal makes of a frame of 20 columns when it has 10.
        let mut parser = terminal(6, 10);
        parser.process("one\r\nstatus and\r\n much more\r\n› ".as_bytes());
        let mut painter = Painter { out: vec![], width: 20, above_cursor: vec!["status and much more".len()], column: 2 };
        painter.resize(10);
        painter.paint(&[line("two")], &frame(&["status", "› "], (1, 2))).expect("painted");
        parser.process(&painter.out);
        assert_eq!(screen(&parser).0, ["one", "two", "status", "›"]);
    }
}
