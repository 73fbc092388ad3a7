//! What stands below the transcript: the text that is being written, the status line, and the line being typed. Pure.

use super::{
    input::Input,
    line::{Line, cut},
    render::{faint, plain},
    session::Session,
    status,
};
use crossterm::style::Stylize;

const MARK: &str = "› ";
const HINT: &str = "type to send · Esc interrupts · Ctrl-D leaves · /help";
/// Most rows of a text that is being typed, and of one that is being written.
const TYPED_ROWS: usize = 8;
const LIVE_ROWS: usize = 4;

/// Rows to show, and where the cursor stands in them.
pub(super) struct Frame {
    pub(super) rows: Vec<Line>,
    pub(super) cursor: (usize, usize),
}

/// Columns there are to type in.
pub(super) fn typing_width(width: usize) -> usize {
    // The cursor needs one behind a full row.
    width.saturating_sub(MARK.chars().count() + 1).max(1)
}

/// The frame for a terminal of this size. It never takes the whole height, nor the last column.
pub(super) fn frame(session: &Session, input: &Input, width: usize, height: usize) -> Frame {
    let mut rows = live(session, width, height);
    if height >= 8 {
        rows.insert(0, Line::default());
    }
    rows.push(status::line(session, width.saturating_sub(1)));
    let layout = input.layout(typing_width(width));
    let most = TYPED_ROWS.min(height.saturating_sub(rows.len() + 1)).max(1);
    // The rows around the cursor.
    let first = (layout.cursor.0 + 1).saturating_sub(most);
    let cursor = (rows.len() + layout.cursor.0 - first, layout.cursor.1 + MARK.chars().count());
    for (index, row) in layout.rows.into_iter().enumerate().skip(first).take(most) {
        let mark = if index == 0 { MARK } else { "  " };
        let typed = Line::styled(mark, plain().cyan().bold());
        rows.push(if input.is_empty() { typed.with(cut(HINT, typing_width(width)), faint()) } else { typed.with(row, plain()) });
    }
    Frame { rows, cursor }
}

/// The end of the text that is being written.
fn live(session: &Session, width: usize, height: usize) -> Vec<Line> {
    let most = LIVE_ROWS.min(height.saturating_sub(4) / 2);
    if session.live.trim().is_empty() || most == 0 {
        return vec![];
    }
    let lines = session.live.trim_end().lines().map(|line| Line::styled(line, faint()).behind("  ", plain()));
    let rows: Vec<Line> = lines.flat_map(|line| line.wrap(width.saturating_sub(1))).collect();
    rows[rows.len().saturating_sub(most)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::attach::session::tests::session;
    use serde_json::json;

    fn texts(frame: &Frame) -> Vec<String> {
        frame.rows.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn it_shows_status_and_what_is_typed() {
        let session = session(json!({}));
        let mut input = Input::default();
        let empty = frame(&session, &input, 200, 24);
        assert!(texts(&empty)[1].starts_with("○ idle · tess · tester"), "{:?}", texts(&empty));
        assert_eq!((texts(&empty)[2].as_str(), empty.cursor), (format!("› {HINT}").as_str(), (2, 2)));
        input.insert("hello\nyou");
        let typed = frame(&session, &input, 40, 24);
        assert_eq!((&texts(&typed)[2..], typed.cursor), (&["› hello".to_owned(), "  you".into()][..], (3, 5)));
    }

    #[test]
    fn it_fits_into_any_terminal() {
        let mut session = session(json!({"status": "busy", "progress": "writing"}));
        session.live = "漢字 and words ".repeat(40);
        let mut input = Input::default();
        input.insert(&"a long text 漢 ".repeat(30));
        for (width, height) in [(200, 50), (80, 24), (40, 10), (20, 5), (6, 3), (3, 2)] {
            let frame = frame(&session, &input, width, height);
            assert!(frame.rows.len() < height.max(3), "{width}x{height}: {} rows", frame.rows.len());
            let widest = frame.rows.iter().map(Line::width).max();
            assert!(widest < Some(width.max(5)), "{width}x{height}: {widest:?} columns");
            assert!(frame.cursor.0 < frame.rows.len() && frame.cursor.1 < width.max(4), "{width}x{height}: {:?}", frame.cursor);
        }
        let wide = frame(&session, &input, 80, 24);
        assert_eq!(wide.rows.len(), 1 + LIVE_ROWS + 1 + wide.rows.len().min(6));
    }
}
