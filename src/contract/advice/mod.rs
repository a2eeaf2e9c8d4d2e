//! What to do when something is refused: one sentence for the help desk, one for the person with the token, and a name for
//! programs. One table for the daemon, the client and the manual (`docs/manual/advice.md`).
//!
//! A row's name is the error's where the error says it all, and finer where one error stands for several things to do. What was
//! found out about codes that do not resync is another matter: that is evidence about one clock, it is in
//! `src/lifecycle/advice.rs` and comes as `advice`.

mod devices;
mod house;

use std::borrow::Cow;

use super::error::{ACCESS_DENIED, ErrorName};

/// One row.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name for programs.
    pub name: &'static str,
    /// The error that a caller of the bus sees.
    pub wire: Wire,
    /// The statuses of an authenticator that lead here.
    pub status: Status,
    /// For the help desk. Commands stand in back quotes.
    pub desk: &'static str,
    /// For the person with the token, to be read out as it stands.
    pub subject: &'static str,
}

/// The error of the bus that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// One of ours.
    Error(ErrorName),
    /// The bus's own [`ACCESS_DENIED`].
    AccessDenied,
    /// None: it is no refusal.
    None,
}

impl Wire {
    /// The full D-Bus name.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Error(name) => Some(name.as_str()),
            Self::AccessDenied => Some(ACCESS_DENIED),
            Self::None => None,
        }
    }
}

/// Which statuses (CTAP 2.1 section 8.2) a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// None.
    None,
    /// These, with the standard's names less `CTAP1_ERR_` or `CTAP2_ERR_`.
    Named(&'static [(u8, &'static str)]),
    /// From the first to the last.
    Range(u8, u8),
    /// All that no other row has.
    Rest,
}

impl Status {
    fn has(self, status: u8) -> bool {
        match self {
            Self::None | Self::Rest => false,
            Self::Named(list) => list.iter().any(|(code, _)| *code == status),
            Self::Range(first, last) => (first..=last).contains(&status),
        }
    }

    /// In words, for people.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::None => String::new(),
            Self::Named(list) => {
                let told: Vec<String> = list.iter().map(|(code, name)| format!("0x{code:02X} {name}")).collect();
                told.join(", ")
            }
            Self::Range(first, last) => format!("0x{first:02X} to 0x{last:02X}"),
            Self::Rest => "every other".to_owned(),
        }
    }
}

impl Entry {
    /// The sentence for the help desk where back quotes mean nothing.
    #[must_use]
    pub fn plain_desk(&self) -> Cow<'static, str> {
        if !self.desk.contains('`') {
            return Cow::Borrowed(self.desk);
        }
        let pieces = self.desk.split('`').enumerate();
        Cow::Owned(
            pieces
                .map(|(at, piece)| {
                    if at % 2 == 1 {
                        format!("“{piece}”")
                    } else {
                        piece.to_owned()
                    }
                })
                .collect(),
        )
    }
}

/// What is said when the table has no row; a test holds that it has one for everything.
static UNKNOWN: Entry = Entry {
    name: "Unknown",
    wire: Wire::None,
    status: Status::None,
    desk: "This refusal is not in the table: the daemon may be newer than this tool.",
    subject: "Something was refused. There is nothing that you have to do.",
};

/// All rows.
pub fn entries() -> impl Iterator<Item = &'static Entry> {
    devices::ROWS.iter().chain(house::ROWS)
}

/// The row of this name.
#[must_use]
pub fn row(name: &str) -> &'static Entry {
    entries().find(|entry| entry.name == name).unwrap_or(&UNKNOWN)
}

/// The row of an error of ours.
#[must_use]
pub fn of_error(error: ErrorName) -> &'static Entry {
    row(error.short())
}

/// The row of a status byte of an authenticator.
#[must_use]
pub fn of_status(status: u8) -> &'static Entry {
    let rest = || entries().find(|entry| entry.status == Status::Rest);
    let entry = entries().find(|entry| entry.status.has(status));
    entry.or_else(rest).unwrap_or(&UNKNOWN)
}

/// The row that somebody means: a row's name, the full name of an error, the standard's name of a status, or the status itself
/// as `0x34`. Case and hyphens do not matter.
#[must_use]
pub fn find(given: &str) -> Option<&'static Entry> {
    if let Some(digits) = given.strip_prefix("0x").or_else(|| given.strip_prefix("0X")) {
        return match u16::from_str_radix(digits, 16).ok()? {
            code @ 0..=0xFF => u8::try_from(code).ok().map(of_status),
            // A status word of a card.
            _ => Some(of_error(ErrorName::DeviceRefused)),
        };
    }
    if given == ACCESS_DENIED {
        return Some(row("NotAuthorized"));
    }
    if let Some(error) = ErrorName::parse(given) {
        return Some(of_error(error));
    }
    let bare = |text: &str| text.replace(['-', '_'], "").to_ascii_lowercase();
    let wanted = bare(given);
    let standard = ["ctap1err", "ctap2err"]
        .iter()
        .find_map(|prefix| wanted.strip_prefix(prefix));
    let status = standard.unwrap_or(&wanted);
    entries()
        .find(|entry| standard.is_none() && bare(entry.name) == wanted)
        .or_else(|| {
            entries().find(|entry| matches!(entry.status, Status::Named(list) if list.iter().any(|(_, name)| bare(name) == status)))
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_error_has_its_row_and_every_row_two_sentences() {
        let mut names = BTreeSet::new();
        for entry in entries() {
            assert!(names.insert(entry.name), "{} twice", entry.name);
            for sentence in [entry.desk, entry.subject] {
                assert!(
                    sentence.len() > 15 && sentence.ends_with('.'),
                    "{}: {sentence}",
                    entry.name
                );
            }
            assert!(!entry.subject.contains(['`', '|', '“']), "{} is read out", entry.name);
            assert_eq!(entry.desk.matches('`').count() % 2, 0, "{}", entry.name);
        }
        println!("{} rows, {} errors", names.len(), ErrorName::ALL.len());
        for error in ErrorName::ALL {
            assert_eq!(of_error(*error).wire, Wire::Error(*error), "{error:?} has no row");
        }
    }

    #[test]
    fn every_status_byte_has_one_row() {
        for status in 0..=u8::MAX {
            let rows = entries().filter(|entry| entry.status.has(status)).count();
            assert!(rows <= 1, "0x{status:02X} has {rows} rows");
            assert_ne!(of_status(status), &UNKNOWN, "0x{status:02X}");
        }
    }

    #[test]
    fn a_row_is_found_by_whatever_is_on_the_screen() {
        for given in [
            "SoftBlocked",
            "soft-blocked",
            "org.claviger.Error.SoftBlocked",
            "0x34",
            "0X34",
            "PIN_AUTH_BLOCKED",
            "CTAP2_ERR_PIN_AUTH_BLOCKED",
        ] {
            assert_eq!(find(given).map(|entry| entry.name), Some("SoftBlocked"), "{given}");
        }
        assert_eq!(find(ACCESS_DENIED).map(|entry| entry.name), Some("NotAuthorized"));
        assert_eq!(find("0x6A84").map(|entry| entry.name), Some("DeviceRefused"));
        assert_eq!(find("0xF1").map(|entry| entry.name), Some("VendorStatus"));
        for given in ["", "0x", "0xZZ", "0x12345", "CTAP2_ERR_SoftBlocked", "no such thing"] {
            assert_eq!(find(given), None, "{given}");
        }
    }

    #[test]
    fn commands_are_told_without_back_quotes() {
        assert_eq!(
            row("UnknownToken").plain_desk(),
            "Look the id up again with “claviger tokens”."
        );
    }
}
