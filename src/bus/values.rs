//! What comes in and goes out as `a{sv}`, and what text may look like.
//!
//! Everything a client sends is measured here: length, character set, range. An unknown key or a wrong type is refused with a
//! sentence that names the key and what would do.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};
use zbus::wire::{Signature, Type};
use zbus::{Fd, ObjectPath, OwnedVariant, Variant};

use super::error::BusError;
use crate::codec::oath::{Code, MAX_CODES, MAX_DIGITS, MAX_PERIOD_S, MIN_CODES, MIN_DIGITS, MIN_PERIOD_S};
use crate::contract::error::ErrorName;
use crate::contract::{DEVICES_PATH, options as key};
use crate::types::shown::{printable, visible};
use crate::types::{CaseId, DeviceId, ParseNameError};

/// A dictionary on the wire, `a{sv}`.
pub type Dict = HashMap<String, OwnedVariant>;

/// Filling a dictionary.
pub(super) trait Put {
    /// Sets a key.
    fn put<'v>(&mut self, key: &str, value: impl Into<Variant<'v>>);

    /// Sets a key if there is a value.
    fn put_some<'v>(&mut self, key: &str, value: Option<impl Into<Variant<'v>>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
}

impl Put for Dict {
    fn put<'v>(&mut self, key: &str, value: impl Into<Variant<'v>>) {
        // Owning a value fails only for a descriptor that cannot be duplicated, and none goes out.
        if let Ok(value) = OwnedVariant::try_from(value.into()) {
            self.insert(key.to_owned(), value);
        }
    }
}

/// A page of records on the wire, `aa{sv}`. Each record becomes a dictionary only while it is written: a thousand of them at
/// once would be the largest thing this daemon ever holds.
pub(super) struct Rows<T> {
    items: Vec<T>,
    tell: fn(&T) -> Dict,
}

impl<T> Rows<T> {
    /// These records, told by `tell`.
    pub(super) fn new(items: Vec<T>, tell: fn(&T) -> Dict) -> Self {
        Self { items, tell }
    }
}

impl<T> Type for Rows<T> {
    const SIGNATURE: &'static Signature = <Vec<Dict> as Type>::SIGNATURE;
}

impl<T> Serialize for Rows<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.iter().map(self.tell))
    }
}

/// Longest wait for another program, in seconds.
const MAX_WAIT_S: u32 = 600;

impl Options {
    /// How long another program that has the device is waited for.
    pub(super) fn wait(&mut self) -> Result<Option<Duration>, BusError> {
        let given = self.number(key::WAIT_S, 0..=MAX_WAIT_S)?;
        Ok(given.map(|seconds| Duration::from_secs(seconds.into())))
    }
}

/// What text from a client may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextRule {
    /// Length in characters.
    length: RangeLength,
    /// Which characters.
    set: CharSet,
}

#[derive(Debug, Clone, Copy)]
struct RangeLength {
    least: usize,
    most: usize,
}

#[derive(Debug, Clone, Copy)]
enum CharSet {
    /// Any script, but nothing that is not seen or that reorders what is seen.
    Visible,
    /// Printable ASCII.
    Ascii,
    /// `a-z`, `0-9`, `.` and `-`.
    Domain,
}

impl TextRule {
    const fn new(least: usize, most: usize, set: CharSet) -> Self {
        Self {
            length: RangeLength { least, most },
            set,
        }
    }

    /// Who a token is for.
    pub(super) const SUBJECT: Self = Self::new(1, 256, CharSet::Visible);
    /// Free text of the bench.
    pub(super) const LABEL: Self = Self::new(1, 256, CharSet::Visible);
    /// Serial printed on a device.
    pub(super) const SERIAL: Self = Self::new(1, 64, CharSet::Ascii);
    /// Where a device is plugged in, as it is told.
    pub(super) const PLACE: Self = Self::new(1, 256, CharSet::Visible);
    /// Model name.
    pub(super) const MODEL: Self = Self::new(1, 64, CharSet::Visible);
    /// Account name shown on a key: authenticators may truncate to 64 bytes (CTAP 2.1 section 6.1.2).
    pub(super) const USER_NAME: Self = Self::new(1, 64, CharSet::Visible);
    /// Relying party id: `pam://` and a host, as `pam_u2f` has it, or a domain (WebAuthn section 5.1.2), at most 253 characters (RFC 1035 section 2.3.4).
    pub(super) const RP_ID: Self = Self::new(1, 253, CharSet::Domain);
    /// Origin of a page; what it must be like is said by WebAuthn's codec.
    pub(super) const ORIGIN: Self = Self::new(1, 300, CharSet::Ascii);
    /// Name of a credential of the OATH applet; the card's own limit is 64 bytes.
    pub(super) const OATH_NAME: Self = Self::new(1, 64, CharSet::Visible);
    /// A cursor we gave out.
    pub(super) const CURSOR: Self = Self::new(0, 128, CharSet::Ascii);

    /// Checks a text; `name` is how the client calls it.
    pub(super) fn check(self, name: &str, text: String) -> Result<String, BusError> {
        let length = text.chars().count();
        if !(self.length.least..=self.length.most).contains(&length) {
            return Err(BusError::invalid(format!(
                "“{name}” has {length} characters; it must have {} to {}",
                self.length.least, self.length.most
            )));
        }
        let (fits, wanted): (fn(char) -> bool, _) = match self.set {
            CharSet::Visible => (visible, "visible characters only, no control characters"),
            CharSet::Ascii => (|c| c == ' ' || c.is_ascii_graphic(), "printable ASCII characters only"),
            CharSet::Domain => (
                |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-',
                "a domain name: lower-case letters, digits, “.” and “-”",
            ),
        };
        let measured = match self.set {
            CharSet::Domain => text.strip_prefix("pam://").unwrap_or(&text),
            CharSet::Visible | CharSet::Ascii => &text,
        };
        if measured.is_empty() && self.length.least > 0 || !measured.chars().all(fits) {
            return Err(BusError::invalid(format!("“{name}” must have {wanted}")));
        }
        if text.trim().len() != text.len() {
            return Err(BusError::invalid(format!(
                "“{name}” must not begin or end with white space"
            )));
        }
        Ok(text)
    }
}

/// Reads one of our names, or says what was expected.
pub(super) fn parse<T: FromStr<Err = ParseNameError>>(name: &str, text: &str) -> Result<T, BusError> {
    text.parse().map_err(|error: ParseNameError| {
        BusError::invalid(format!(
            "“{name}” is “{}”, which is not a {}",
            printable(&error.given),
            error.expected
        ))
    })
}

/// Reads a device's object path.
pub(super) fn device_path(name: &str, path: &ObjectPath<'_>) -> Result<DeviceId, BusError> {
    path.as_str()
        .strip_prefix(DEVICES_PATH)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|number| number.parse().ok())
        .map(DeviceId)
        .ok_or_else(|| {
            BusError::invalid(format!(
                "“{name}” is “{}”, which is not the path of a device ({DEVICES_PATH}/N)",
                printable(path.as_str())
            ))
        })
}

/// The object path of a device.
pub(super) fn path_of(device: DeviceId) -> Result<ObjectPath<'static>, BusError> {
    ObjectPath::try_from(format!("{DEVICES_PATH}/{device}"))
        .map_err(|error| BusError::new(ErrorName::Internal, error.to_string()))
}

/// A number of records to answer with.
pub(super) fn limit(limit: u32) -> Result<u32, BusError> {
    if (1..=1000).contains(&limit) {
        Ok(limit)
    } else {
        Err(BusError::invalid(format!("“limit” is {limit}; it must be 1 to 1000")))
    }
}

/// A code read off a display, as it was typed.
pub(super) fn code(code: String) -> Result<String, BusError> {
    match Code::parse(&code) {
        Ok(_) => Ok(code),
        Err(error) => Err(BusError::invalid(format!("{error}, as the display shows them"))),
    }
}

/// Codes read off a display one after the other.
pub(super) fn codes(codes: Vec<String>) -> Result<Vec<String>, BusError> {
    if !(MIN_CODES..=MAX_CODES).contains(&codes.len()) {
        return Err(BusError::invalid(format!(
            "“codes” holds {}; it must hold {MIN_CODES} to {MAX_CODES} codes read one after the other",
            codes.len()
        )));
    }
    codes.into_iter().map(code).collect()
}

/// An `options` dictionary whose keys have been checked.
pub(super) struct Options {
    values: Dict,
}

impl Options {
    /// Takes a dictionary; `known` are the keys this method has besides `case`.
    pub(super) fn new(values: Dict, known: &[&str]) -> Result<Self, BusError> {
        let unknown = values
            .keys()
            .filter(|given| *given != key::CASE && !known.contains(&given.as_str()))
            .min();
        if let Some(unknown) = unknown {
            let mut keys = known.to_vec();
            keys.push(key::CASE);
            return Err(BusError::new(
                ErrorName::UnknownOption,
                format!(
                    "there is no option “{}” here; known are: {}",
                    printable(unknown),
                    keys.join(", ")
                ),
            ));
        }
        Ok(Self { values })
    }

    /// A filter: like options, but `case` has no place in it.
    pub(super) fn filter(values: Dict, known: &[&str]) -> Result<Self, BusError> {
        if values.contains_key(key::CASE) && !known.contains(&key::CASE) {
            return Err(BusError::new(
                ErrorName::UnknownOption,
                format!(
                    "there is no filter “{}” here; known are: {}",
                    key::CASE,
                    known.join(", ")
                ),
            ));
        }
        Self::new(values, known)
    }

    fn take<T>(
        &mut self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(Variant<'static>) -> Option<T>,
    ) -> Result<Option<T>, BusError> {
        let Some(value) = self.values.remove(key) else {
            return Ok(None);
        };
        let value = Variant::from(value);
        let signature = value.value_signature().to_string();
        read(value)
            .map(Some)
            .ok_or_else(|| BusError::invalid(format!("option “{key}” must be {wanted}, not of type “{signature}”")))
    }

    /// A text (s).
    pub(super) fn text(&mut self, key: &str, rule: TextRule) -> Result<Option<String>, BusError> {
        self.string(key)?.map(|text| rule.check(key, text)).transpose()
    }

    /// Texts (as), none when absent.
    pub(super) fn texts(&mut self, key: &str, rule: TextRule, most: usize) -> Result<Vec<String>, BusError> {
        let texts = self.take(key, "strings (as)", |value| match value {
            Variant::Array(items) => items
                .iter()
                .map(|item| item.downcast_ref::<&str>().ok().map(str::to_owned))
                .collect::<Option<Vec<_>>>(),
            _ => None,
        })?;
        let texts = texts.unwrap_or_default();
        if texts.len() > most {
            return Err(BusError::invalid(format!("option “{key}” has at most {most} entries")));
        }
        texts.into_iter().map(|text| rule.check(key, text)).collect()
    }

    /// A text (s) whose form is checked elsewhere.
    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, BusError> {
        self.take(key, "a string (s)", |value| match value {
            Variant::Str(text) => Some(text.to_string()),
            _ => None,
        })
    }

    /// One of our names (s).
    pub(super) fn name<T: FromStr<Err = ParseNameError>>(&mut self, key: &str) -> Result<Option<T>, BusError> {
        self.string(key)?.map(|text| parse(key, &text)).transpose()
    }

    /// A yes or no (b), no when absent.
    pub(super) fn flag(&mut self, key: &str) -> Result<bool, BusError> {
        Ok(self.choice(key)?.unwrap_or(false))
    }

    /// A yes or no (b).
    pub(super) fn choice(&mut self, key: &str) -> Result<Option<bool>, BusError> {
        self.take(key, "a boolean (b)", |value| match value {
            Variant::Bool(flag) => Some(flag),
            _ => None,
        })
    }

    /// A number (u) within a range.
    pub(super) fn number(&mut self, key: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, BusError> {
        let number = self.take(key, "an unsigned number (u)", |value| match value {
            Variant::U32(number) => Some(number),
            _ => None,
        })?;
        match number {
            Some(number) if !range.contains(&number) => Err(BusError::invalid(format!(
                "option “{key}” is {number}; it must be {} to {}",
                range.start(),
                range.end()
            ))),
            other => Ok(other),
        }
    }

    /// Digits of a code (u).
    pub(super) fn digits(&mut self) -> Result<Option<u8>, BusError> {
        Ok(self
            .number(key::DIGITS, u32::from(MIN_DIGITS)..=u32::from(MAX_DIGITS))?
            .and_then(|digits| u8::try_from(digits).ok()))
    }

    /// A time step in seconds (u).
    pub(super) fn period(&mut self) -> Result<Option<u32>, BusError> {
        self.number(key::PERIOD_S, MIN_PERIOD_S..=MAX_PERIOD_S)
    }

    /// The counter of an event token's next code (t).
    pub(super) fn counter(&mut self) -> Result<Option<u64>, BusError> {
        self.take(key::COUNTER, "an unsigned number (t)", |value| match value {
            Variant::U64(counter) => Some(counter),
            _ => None,
        })
    }

    /// A device (o).
    pub(super) fn device(&mut self) -> Result<Option<DeviceId>, BusError> {
        self.take(key::DEVICE, "an object path (o)", |value| match value {
            Variant::ObjectPath(path) => Some(path),
            _ => None,
        })?
        .map(|path| device_path(key::DEVICE, &path))
        .transpose()
    }

    /// A descriptor (h). Not read here: that waits for admission.
    pub(super) fn descriptor(&mut self, key: &str) -> Result<Option<OwnedFd>, BusError> {
        self.take(key, "a file descriptor (h)", |value| match value {
            Variant::Fd(fd @ Fd::Owned(_)) => OwnedFd::try_from(fd).ok(),
            Variant::Fd(fd) => OwnedFd::try_from(fd).ok(),
            _ => None,
        })
    }

    /// The case, reserved on every method.
    pub(super) fn case(&mut self) -> Result<Option<CaseId>, BusError> {
        self.name(key::CASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn text_from_a_client_is_measured_without_panic(text in "\\PC{0,300}|.{0,300}") {
            for rule in [TextRule::SUBJECT, TextRule::SERIAL, TextRule::RP_ID, TextRule::CURSOR] {
                if let Ok(kept) = rule.check("text", text.clone()) {
                    proptest::prop_assert!(kept.chars().all(visible) && kept.chars().count() <= 256);
                }
            }
            let _ = code(text.clone());
            let _ = parse::<CaseId>("case", &text);
        }
    }

    #[test]
    fn text_that_hides_something_is_refused() {
        for bad in ["", " alice", "ali\nce", "ali\u{202E}ce", "ali\u{200B}ce"] {
            assert!(TextRule::SUBJECT.check("subject", bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(TextRule::SUBJECT.check("subject", "x".repeat(257)).is_err());
        assert!(
            TextRule::SUBJECT
                .check("subject", "Ðorđe Ωμέγα 山田".to_owned())
                .is_ok()
        );
        assert!(TextRule::SERIAL.check("serial", "№ 5".to_owned()).is_err());
        assert!(TextRule::RP_ID.check("rp-id", "Example.org".to_owned()).is_err());
    }

    #[test]
    fn unknown_keys_are_named_with_the_known_ones() {
        let mut values = Dict::new();
        values.put("sereal", "1");
        let error = Options::new(values, &["serial", "label"]).err().expect("refused");
        assert_eq!(error.name(), ErrorName::UnknownOption.as_str());
        let text = error.to_string();
        assert!(
            text.contains("sereal") && text.contains("serial, label, case"),
            "{text}"
        );
    }

    #[test]
    fn wrong_types_are_named_with_the_wanted_one() {
        let mut values = Dict::new();
        values.put("digits", "6");
        let mut options = Options::new(values, &["digits"]).expect("known");
        let text = options.digits().expect_err("wrong type").to_string();
        assert!(
            text.contains("digits") && text.contains("(u)") && text.contains("“s”"),
            "{text}"
        );
    }

    #[test]
    fn codes_and_figures_are_what_the_codec_takes() {
        for typed in ["123456", "123 456", "1234-5678", "12345678"] {
            assert_eq!(code(typed.to_owned()).expect("a code"), typed);
        }
        for bad in ["", "12345", "123456789", "12345a", "１２３４５６", &" ".repeat(40)] {
            assert!(code(bad.to_owned()).is_err(), "{bad:?}");
        }
        for (count, fits) in [(1, false), (2, true), (4, true), (5, false)] {
            assert_eq!(codes(vec!["123456".to_owned(); count]).is_ok(), fits, "{count}");
        }
        for (period, fits) in [(0_u32, false), (1, true), (86_400, true), (86_401, false)] {
            let mut values = Dict::new();
            values.put("period-s", period);
            let mut options = Options::new(values, &["period-s"]).expect("known");
            assert_eq!(options.period().is_ok(), fits, "{period}");
        }
    }

    #[test]
    fn device_paths_are_read_strictly() {
        for bad in [
            "/",
            "/org/claviger/Claviger1/devices",
            "/org/claviger/Claviger1/devices/1/2",
            "/org/claviger/Claviger1/devices/x",
        ] {
            let path = ObjectPath::try_from(bad).expect("a path");
            assert!(device_path("device", &path).is_err(), "{bad}");
        }
        let path = path_of(DeviceId(42)).expect("a path");
        assert_eq!(device_path("device", &path).expect("ours"), DeviceId(42));
    }
}
