//! How answers look to people: tables, records, times. Nothing of an answer reaches a terminal as it came.

use super::output::{complain, harmless, print};
use chrono::{DateTime, Local, Utc};
use comfy_table::{ColumnConstraint, ContentArrangement, Row, presets};
use serde_json::Value;
use std::fmt::Write;

/// Lines a row of a table may take on a terminal.
const ROW_LINES: usize = 2;
/// Narrower free text is of no use: then the terminal itself may break the lines.
const TEXT_WIDTH: u16 = 20;
/// Between two columns.
const GAP: u16 = 2;

/// One line for a table or a spinner.
pub(super) fn line(text: &str) -> String {
    harmless(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value as one line: text as it is, nothing for what is absent.
pub(super) fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => line(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(word).collect::<Vec<_>>().join(", "),
        // Weights and the like: 3 is not 3.0 to people.
        Value::Number(number) if number.is_f64() => number.as_f64().unwrap_or_default().to_string(),
        other => line(&other.to_string()),
    }
}

/// A moment as people at this place tell it, and how long ago it was.
pub(super) fn moment(value: &Value) -> String {
    match time(value) {
        Some(time) => format!("{} ({})", time.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S"), ago(value)),
        None => word(value),
    }
}

/// The time of day at this place.
pub(super) fn clock(value: &Value) -> String {
    time(value).map_or_else(|| word(value), |time| time.with_timezone(&Local).format("%H:%M:%S").to_string())
}

/// How long ago, or how long until then.
pub(super) fn ago(value: &Value) -> String {
    let Some(time) = time(value) else { return word(value) };
    let seconds = (Utc::now() - time).num_seconds();
    let span = span(seconds.unsigned_abs());
    if seconds < 0 { format!("in {span}") } else { format!("{span} ago") }
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str()?.parse().ok()
}

/// A length of time in its largest fitting unit.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// US dollars, as precise as they are small.
pub(super) fn usd(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".to_owned(), |usd| if usd < 1.0 { format!("${usd:.4}") } else { format!("${usd:.2}") })
}

/// A table for stdout. The last column holds free text: on a terminal it takes what is left of the width and may be cut.
/// All others stay whole, since people copy them. Where nobody looks, nothing is cut or wrapped.
#[derive(Debug)]
pub(super) struct Table {
    table: comfy_table::Table,
    columns: usize,
}

impl Table {
    pub(super) fn new(headers: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(headers.to_vec());
        table.set_content_arrangement(ContentArrangement::Dynamic);
        Self { table, columns: headers.len() }
    }

    /// A table with a row for each item.
    pub(super) fn of<const N: usize>(headers: [&str; N], items: &Value, row: impl Fn(&Value) -> [String; N]) -> Self {
        let mut table = Self::new(&headers);
        for item in items.as_array().into_iter().flatten() {
            table.add(row(item).to_vec());
        }
        table
    }

    fn add(&mut self, cells: Vec<String>) {
        let mut row = Row::from(cells);
        if self.table.is_tty() {
            row.max_height(ROW_LINES);
        }
        self.table.add_row(row);
    }

    /// Prints it, or in its place what it means that there is nothing.
    pub(super) fn print(mut self, nothing: &str) {
        if self.table.is_empty() {
            if !nothing.is_empty() {
                complain(nothing);
            }
            return;
        }
        let widths = self.table.column_max_content_widths();
        let before_text: u16 = widths.iter().take(self.columns - 1).map(|width| width.saturating_add(GAP)).sum();
        if self.table.width().is_some_and(|width| width < before_text.saturating_add(TEXT_WIDTH)) {
            self.table.set_content_arrangement(ContentArrangement::Disabled);
        }
        for index in 0..self.columns {
            if let Some(column) = self.table.column_mut(index) {
                column.set_padding((0, GAP));
                if index + 1 < self.columns {
                    column.set_constraint(ColumnConstraint::ContentWidth);
                }
            }
        }
        print(&self.table.trim_fmt());
    }
}

/// Prints the named fields that are there, one a line; long texts stand below their name.
pub(super) fn record(value: &Value, fields: &[&str]) {
    let is_there = |name: &&&str| !value[**name].is_null() && value[**name].as_array().is_none_or(|items| !items.is_empty());
    let fields: Vec<&&str> = fields.iter().filter(is_there).collect();
    let width = fields.iter().map(|name| name.len()).max().unwrap_or(0);
    for name in fields {
        let field = &value[*name];
        let text = match field {
            _ if name.ends_with("_at") => moment(field),
            _ if name.ends_with("_usd") => usd(field),
            Value::Number(ms) if *name == "duration_ms" => span(ms.as_u64().unwrap_or_default() / 1_000),
            Value::String(text) => harmless(text).trim_end().to_owned(),
            Value::Object(_) if *name == "failure" => failure(field),
            Value::Object(counts) if *name == "tasks" => {
                counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
            }
            Value::Object(_) => serde_json::to_string_pretty(field).map(|text| harmless(&text)).unwrap_or_default(),
            other => word(other),
        };
        print(&entry(&name.replace('_', " "), &text, width));
    }
}

fn entry(name: &str, text: &str, width: usize) -> String {
    if !text.contains('\n') {
        return format!("{name:<width$}  {text}");
    }
    let mut entry = name.to_owned();
    for line in text.lines() {
        let _ = write!(entry, "\n  {line}");
    }
    entry
}

/// A failure in words.
pub(super) fn failure(failure: &Value) -> String {
    format!("{}: {}", word(&failure["code"]), word(&failure["detail"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_one_line_and_harmless() {
        assert_eq!(word(&json!("a\n\u{1b}[2Jb")), "a b");
        assert_eq!(word(&json!(["x", 1])), "x, 1");
        assert_eq!(["", "-"].map(|text| word(&json!(text))), ["-", "-"]);
    }

    #[test]
    fn times_are_relative() {
        let at = |seconds: i64| json!(Utc::now() - chrono::TimeDelta::seconds(seconds));
        assert_eq!([5, 200, 9_000, 400_000].map(|s| ago(&at(s))), ["5 s ago", "3 min ago", "2 h ago", "4 d ago"]);
        assert!(ago(&at(-100)).starts_with("in "), "{}", ago(&at(-100)));
        assert_eq!(ago(&json!("never")), "never");
    }

    #[test]
    fn long_texts_stand_below_their_name() {
        assert_eq!(entry("id", "x", 6), "id      x");
        assert_eq!(entry("result", "a\nb", 6), "result\n  a\n  b");
    }
}
