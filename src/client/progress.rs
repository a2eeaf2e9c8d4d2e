//! What an operation is doing and what a person must do for it, on standard error: one line that is rewritten on a
//! terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};

use crate::client::render::{cell, clean, variant};
use crate::contract::proxy::Record;
use crate::types::UnixMillis;

/// The line.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    quiet: bool,
    shown: String,
    action: Option<Action>,
}

impl Progress {
    /// Nothing shown yet.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            quiet,
            shown: String::new(),
            action: None,
        }
    }

    /// The operation has moved.
    pub fn show(&mut self, phase: &str, percent: u32, action: &Record) {
        self.action = Action::read(action);
        if self.action.is_some() {
            self.tick();
        } else if self.quiet {
            self.end();
        } else if self.terminal {
            self.write(format!("{} … {percent} %", in_words(phase)));
        } else {
            self.write(format!("{} …", in_words(phase)));
        }
    }

    /// A second has passed: counts down on a terminal.
    pub fn tick(&mut self) {
        if let Some(action) = &self.action {
            // Elsewhere a line a second would drown the rest: said once.
            let line = if self.terminal || !self.shown.starts_with(&action.deed) {
                action.line(UnixMillis::now())
            } else {
                return;
            };
            self.write(line);
        }
    }

    /// Wipes the line.
    pub fn end(&mut self) {
        if self.terminal && !self.shown.is_empty() {
            drop(write!(io::stderr().lock(), "\r\x1b[K"));
        }
        self.shown.clear();
        self.action = None;
    }

    fn write(&mut self, line: String) {
        if line == self.shown {
            return;
        }
        let mut err = io::stderr().lock();
        // Progress that cannot be shown is no reason to fail.
        drop(if self.terminal {
            write!(err, "\r\x1b[K{line}")
        } else {
            writeln!(err, "{line}")
        });
        drop(err.flush());
        self.shown = line;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a person must do.
#[derive(Debug)]
struct Action {
    deed: String,
    until_ms: Option<i64>,
    tries_left: Option<u64>,
}

impl Action {
    fn read(record: &Record) -> Option<Self> {
        let kind = record.get("kind")?.downcast_ref::<&str>().ok()?;
        let name = match cell(record, "name") {
            name if name.is_empty() => "key".to_owned(),
            name => name,
        };
        let place = match cell(record, "place") {
            place if place.is_empty() => String::new(),
            place if place.starts_with("USB") => format!(" on {place}"),
            place => format!(" in {place}"),
        };
        let deed = match kind {
            "touch" => format!("Touch the {name}{place}"),
            "replug" => format!("Unplug the {name}{place} and plug it in again"),
            "finger" => format!("Put a finger on the {name}{place}{}", sample(record)),
            "present" => format!("Plug in the {name}, or lay it on the reader"),
            other => format!("{} the {name}{place}", clean(other)),
        };
        let deed = match record.get("hold-s").and_then(|value| variant(value).as_u64()) {
            Some(seconds) => format!("{deed} and keep the finger there for {seconds} s"),
            None => deed,
        };
        Some(Self {
            deed,
            until_ms: record.get("until-ms").and_then(|value| variant(value).as_i64()),
            tries_left: record.get("tries-left").and_then(|value| variant(value).as_u64()),
        })
    }

    fn line(&self, now: UnixMillis) -> String {
        let mut notes = Vec::new();
        if let Some(until) = self.until_ms {
            // Rounded up, so that the last second reads 1 and not 0.
            let left = until.saturating_sub(now.0).max(0).saturating_add(999) / 1000;
            notes.push(format!("{left} s left"));
        }
        if let Some(tries) = self.tries_left {
            notes.push(format!("{tries} tries left"));
        }
        if notes.is_empty() {
            self.deed.clone()
        } else {
            format!("{} ({})", self.deed, notes.join(", "))
        }
    }
}

/// How the last sample of a finger came out, and how many more it takes.
fn sample(record: &Record) -> String {
    let last = match cell(record, "sample").as_str() {
        "" => String::new(),
        "good" => ", that was good".to_owned(),
        "not-lifted" => ", and lift it in between".to_owned(),
        "known-already" => "; it knows this one already".to_owned(),
        "does-not-fit" => "; the last one did not fit: the same finger again".to_owned(),
        "no-finger" => "; there was none".to_owned(),
        other => format!("; the last one was {}", clean(other).replace('-', " ")),
    };
    match cell(record, "samples-left").as_str() {
        "" => last,
        left => format!("{last}, {left} more"),
    }
}

fn in_words(phase: &str) -> String {
    match phase {
        "waiting" => "Waiting for another program to let go of the device".to_owned(),
        "queued" => "Waiting for its turn".to_owned(),
        "identifying" => "Asking the device what it is".to_owned(),
        "pin" => "Setting or checking the PIN".to_owned(),
        "creating" => "Making the credential".to_owned(),
        // A key that proves itself, a code of a fob, a file of seeds.
        "proving" => "Checking".to_owned(),
        "writing" => "Writing".to_owned(),
        "deleting" => "Deleting from the device".to_owned(),
        "resetting" => "Resetting the device".to_owned(),
        "committing" => "Writing the ledger".to_owned(),
        "done" => "Done".to_owned(),
        other => clean(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;

    #[test]
    fn a_touch_names_key_port_and_seconds() {
        let record: Record = [
            ("kind".to_owned(), OwnedVariant::from(zbus::Str::from("touch"))),
            (
                "name".to_owned(),
                OwnedVariant::from(zbus::Str::from("YubiKey 5\u{1b}[2J")),
            ),
            ("place".to_owned(), OwnedVariant::from(zbus::Str::from("USB port 1-4"))),
            ("until-ms".to_owned(), OwnedVariant::from(28_000i64)),
        ]
        .into();
        let action = Action::read(&record).unwrap();
        assert_eq!(
            action.line(UnixMillis(500)),
            "Touch the YubiKey 5\u{fffd}[2J on USB port 1-4 (28 s left)"
        );
        assert_eq!(
            action.line(UnixMillis(99_000)),
            "Touch the YubiKey 5\u{fffd}[2J on USB port 1-4 (0 s left)"
        );
        assert!(Action::read(&Record::new()).is_none());
    }
}
