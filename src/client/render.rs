//! How results reach a person (text, tables) or a program (JSON).
//!
//! What a device or a record says is cleaned of control characters before it reaches a terminal: a product name may hold
//! escape codes.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use zbus::Variant;

use crate::client::failure::Failure;
use crate::contract::proxy::Record;

/// Where results go and in which form.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON instead of text.
    pub json: bool,
    /// No progress, no confirmations.
    pub quiet: bool,
}

impl Output {
    /// A result for people; nothing with `--json` or `--quiet`.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn say(&self, line: &str) -> Result<(), Failure> {
        if self.json || self.quiet { Ok(()) } else { print(line) }
    }

    /// Text that was asked for: shown with `--quiet` too.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { print(text) }
    }

    /// A result for programs; nothing without `--json`.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn object(&self, value: &Value) -> Result<(), Failure> {
        if self.json { print(&value.to_string()) } else { Ok(()) }
    }

    /// Reports a failure: the sentence to standard error, with `--json` an object to standard output as well.
    pub fn failure(&self, failure: &Failure) {
        if matches!(failure, Failure::Output(_)) {
            // Standard output is the very thing that failed.
            warn(&failure.to_string());
            return;
        }
        warn(&failure.to_string());
        // A line each: a line feed in one would be taken for something that a device wrote.
        for advice in failure.for_desk() {
            warn(&advice);
        }
        let mut object = Map::new();
        object.insert("error".to_owned(), json!(failure.name()));
        object.insert("message".to_owned(), json!(failure.to_string()));
        if let Some(data) = failure.data() {
            for (key, value) in data {
                object.entry(key.clone()).or_insert_with(|| variant(value));
            }
        }
        if let Some(entry) = failure.advice() {
            let desk = || json!(entry.plain_desk());
            object.entry("refusal").or_insert_with(|| json!(entry.name));
            object.entry("desk-message").or_insert_with(desk);
            object.entry("subject-message").or_insert_with(|| json!(entry.subject));
            if !self.quiet {
                warn(&format!("tell the person: {}", entry.subject));
            }
        }
        // There is nobody left to tell when this fails too.
        drop(self.object(&Value::Object(object)));
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

/// A line to standard error, cleaned. That it cannot be written is no reason to fail.
pub fn warn(line: &str) {
    drop(writeln!(io::stderr().lock(), "claviger: {}", clean(line)));
}

/// Text without control characters and without characters that change the direction of writing: each becomes `\u{fffd}`.
#[must_use]
pub fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// A D-Bus value as JSON. A descriptor has no value of its own and becomes null.
#[must_use]
pub fn variant(value: &Variant<'_>) -> Value {
    match value {
        Variant::U8(n) => json!(n),
        Variant::Bool(b) => json!(b),
        Variant::I16(n) => json!(n),
        Variant::U16(n) => json!(n),
        Variant::I32(n) => json!(n),
        Variant::U32(n) => json!(n),
        Variant::I64(n) => json!(n),
        Variant::U64(n) => json!(n),
        Variant::F64(n) => json!(n),
        Variant::Str(s) => json!(s.as_str()),
        Variant::Signature(s) => json!(s.to_string()),
        Variant::ObjectPath(p) => json!(p.as_str()),
        Variant::Variant(inner) => variant(inner),
        Variant::Array(array) => Value::Array(array.iter().map(variant).collect()),
        Variant::Dict(dict) => {
            let member = |(key, value): (&Variant<'_>, &Variant<'_>)| match variant(key) {
                Value::String(key) => (key, variant(value)),
                key => (key.to_string(), variant(value)),
            };
            Value::Object(dict.iter().map(member).collect())
        }
        Variant::Structure(fields) => Value::Array(fields.fields().iter().map(variant).collect()),
        Variant::Fd(_) => Value::Null,
    }
}

/// A record as a JSON object.
#[must_use]
pub fn record(record: &Record) -> Value {
    Value::Object(
        record
            .iter()
            .map(|(key, value)| (key.clone(), variant(value)))
            .collect(),
    )
}

/// A member of a record as text for people: empty when absent, instants as UTC, lists joined.
#[must_use]
pub fn cell(record: &Record, key: &str) -> String {
    record
        .get(key)
        .map(|value| plain(key, &variant(value)))
        .unwrap_or_default()
}

/// A JSON value as text for people, cleaned. Keys that end in `-ms` hold instants.
#[must_use]
pub fn plain(key: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => clean(s),
        Value::Number(n) if is_instant(key) => n.as_i64().map_or_else(|| n.to_string(), instant),
        Value::Array(items) => items.iter().map(|item| plain(key, item)).collect::<Vec<_>>().join(", "),
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| format!("{}: {}", clean(key), plain(key, value)))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

/// `offset-ms` is a duration, the others with this ending are instants.
fn is_instant(key: &str) -> bool {
    key.ends_with("-ms") && !key.starts_with("offset") && !key.starts_with("shift")
}

/// Milliseconds since the epoch as UTC, to the second.
#[must_use]
pub fn instant(ms: i64) -> String {
    jiff::Timestamp::from_second(ms.div_euclid(1000)).map_or_else(|_| format!("{ms} ms"), |t| t.to_string())
}

/// Members of a record, one a line, those named first in that order and the rest by name.
#[must_use]
pub fn sheet(record: &Record, first: &[&str]) -> String {
    let mut keys: Vec<&str> = first.iter().copied().filter(|key| record.contains_key(*key)).collect();
    let mut rest: Vec<&str> = record
        .keys()
        .map(String::as_str)
        .filter(|key| !first.contains(key))
        .collect();
    rest.sort_unstable();
    keys.extend(rest);
    let width = keys.iter().map(|key| key.chars().count()).max().unwrap_or(0);
    keys.iter()
        .map(|key| format!("{:width$}  {}", clean(key), cell(record, key)))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A table: columns as wide as their widest cell; on a terminal the last column is cut to what is left of the line.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line_width = terminal_width().unwrap_or(usize::MAX);
    let mut lines = Vec::with_capacity(rows.len() + 1);
    lines.push(line(head.iter().map(|h| (*h).to_owned()), &widths, line_width));
    lines.extend(rows.iter().map(|row| line(row.iter().cloned(), &widths, line_width)));
    lines.join("\n")
}

fn line(cells: impl Iterator<Item = String>, widths: &[usize], line_width: usize) -> String {
    let padded: Vec<String> = cells
        .zip(widths)
        .map(|(cell, &width)| format!("{cell:width$}"))
        .collect();
    let full = padded.join("  ");
    let full = full.trim_end();
    if full.chars().count() <= line_width {
        return full.to_owned();
    }
    full.chars().take(line_width.saturating_sub(1)).chain(['…']).collect()
}

/// Columns of the terminal that standard output is; none when it is something else.
fn terminal_width() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(io::stdout())?;
    Some(usize::from(width)).filter(|width| *width >= 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_pass() {
        let cleaned = clean("Key\u{1b}[31m\r\n\u{9b}2J\u{202e}x");
        assert!(!cleaned.chars().any(char::is_control));
        assert!(!cleaned.contains('\u{202e}'));
        assert!(cleaned.starts_with("Key"));
    }

    #[test]
    fn columns_line_up() {
        let text = table(
            &["A", "B"],
            &[vec!["1".into(), "x".into()], vec!["333".into(), "y".into()]],
        );
        assert_eq!(text, "A    B\n1    x\n333  y");
    }

    #[test]
    fn instants_are_utc_and_offsets_are_not_instants() {
        assert_eq!(plain("created-ms", &json!(0)), "1970-01-01T00:00:00Z");
        assert_eq!(plain("offset-ms", &json!(-540_000)), "-540000");
    }

    #[test]
    fn long_lines_are_cut_to_the_terminal() {
        assert_eq!(line(["abcdef".to_owned()].into_iter(), &[6], 4), "abc…");
    }
}
