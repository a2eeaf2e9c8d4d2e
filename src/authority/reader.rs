//! Reading a policy's text by hand, so that every fault is told at once, with its line and with what was probably meant.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest text of a policy, in bytes.
pub(super) const LONGEST: usize = 256 * 1024;
/// Most faults that are told.
const MOST_FAULTS: usize = 50;

/// Something that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong and what was meant, in words.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

/// The text and what was found wrong with it so far.
pub(super) struct Text<'t> {
    text: &'t str,
    faults: RefCell<Vec<Fault>>,
}

impl<'t> Text<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            faults: RefCell::default(),
        }
    }

    /// Notes a fault at a place of the text.
    pub(super) fn fault(&self, at: usize, what: impl Into<String>) {
        let (line, column) = place(self.text, at);
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MOST_FAULTS {
            faults.push(Fault {
                line,
                column,
                what: what.into(),
            });
        }
    }

    pub(super) fn line(&self, at: usize) -> usize {
        place(self.text, at).0
    }

    /// Whether nothing is wrong so far.
    pub(super) fn sound(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    /// All faults, by line.
    pub(super) fn faults(self) -> Vec<Fault> {
        let mut faults = self.faults.into_inner();
        faults.sort();
        faults.dedup();
        faults
    }
}

/// Line and column of a byte, both from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// One table of the text. Every key that is asked for is known; what is left at [`Section::done`] is not.
pub(super) struct Section<'s, 't> {
    text: &'s Text<'t>,
    table: &'s DeTable<'t>,
    /// How the table is called in sentences: `[evidence.call-back]`.
    pub(super) name: String,
    /// Where it begins.
    pub(super) at: usize,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 't> Section<'s, 't> {
    pub(super) fn new(text: &'s Text<'t>, table: &'s DeTable<'t>, name: impl Into<String>, at: usize) -> Self {
        Self {
            text,
            table,
            name: name.into(),
            at,
            asked: RefCell::default(),
        }
    }

    fn get(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    fn fault(&self, span: &Range<usize>, what: impl Into<String>) {
        self.text.fault(span.start, what);
    }

    /// Notes that the section lacks a key.
    fn lacks(&self, key: &str, form: &str) {
        self.text.fault(self.at, format!("{} lacks “{key}”: {form}", self.name));
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, form: &str) {
        let found = kind(value.get_ref());
        self.fault(
            &value.span(),
            format!("“{key}” in {} is {found}; it must be {form}", self.name),
        );
    }

    /// Where a key's value stands, else the section.
    pub(super) fn place(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.at, |value| value.span().start)
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table of fixed keys that must be there.
    pub(super) fn section(&self, key: &'static str) -> Option<Section<'s, 't>> {
        match self.get(key) {
            None => {
                self.text
                    .fault(self.at, format!("the policy lacks the section [{key}]"));
                None
            }
            Some(value) => self.table(value, key, format!("[{key}]")),
        }
    }

    fn table(&self, value: &'s Spanned<DeValue<'t>>, key: &str, name: String) -> Option<Section<'s, 't>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Section::new(self.text, table, name, value.span().start)),
            _ => {
                self.wrong(key, value, &format!("a section, {name}"));
                None
            }
        }
    }

    /// Sections with names of their own: `[roles.staff]`. Gives name, place of the name, section.
    pub(super) fn named(&self, key: &'static str) -> Vec<(String, usize, Section<'s, 't>)> {
        let Some(value) = self.get(key) else {
            self.text.fault(
                self.at,
                format!("the policy lacks the sections [{key}.…]: at least one must be there"),
            );
            return Vec::new();
        };
        let Some(outer) = self.table(value, key, format!("[{key}]")) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, inner) in outer.table {
            let (at, name) = (name.span().start, name.get_ref().to_string());
            if let Some(section) = outer.table(inner, &name, format!("[{key}.{name}]")) {
                found.push((name, at, section));
            }
        }
        if found.is_empty() {
            self.text
                .fault(value.span().start, format!("there is no section [{key}.…]"));
        }
        found
    }

    /// Sections that repeat and need not be there: `[[subject]]`.
    pub(super) fn several(&self, key: &'static str) -> Vec<Section<'s, 't>> {
        if self.has(key) { self.many(key) } else { Vec::new() }
    }

    /// Sections that repeat: `[[require]]`.
    pub(super) fn many(&self, key: &'static str) -> Vec<Section<'s, 't>> {
        let Some(value) = self.get(key) else {
            self.text.fault(
                self.at,
                format!("the policy lacks [[{key}]]: what no rule speaks of is denied, so nothing would be allowed"),
            );
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, &format!("a list of sections, [[{key}]]"));
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| self.table(item, key, format!("[[{key}]]")))
            .collect()
    }

    /// A text that need not be there.
    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                self.wrong(key, value, "a text in quotes");
                None
            }
        }
    }

    /// Yes or no; `otherwise` when it is not there.
    pub(super) fn flag(&self, key: &'static str, otherwise: bool) -> bool {
        let Some(value) = self.get(key) else { return otherwise };
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag,
            _ => {
                self.wrong(key, value, "true or false");
                otherwise
            }
        }
    }

    /// A whole number; a fault when it is not there and `otherwise` is not given.
    pub(super) fn number(&self, key: &'static str, range: RangeInclusive<u32>, otherwise: Option<u32>) -> u32 {
        let form = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(value) = self.get(key) else {
            if otherwise.is_none() {
                self.lacks(key, &form);
            }
            return otherwise.unwrap_or(*range.start());
        };
        let number = match value.get_ref() {
            DeValue::Integer(number) => u32::from_str_radix(&number.as_str().replace('_', ""), number.radix()).ok(),
            _ => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                self.wrong(key, value, &form);
                *range.start()
            }
        }
    }

    /// A duration with its unit; a fault when it is not there.
    pub(super) fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Duration {
        let form = format!(
            "a duration with its unit, from \"{}\" to \"{}\"",
            short(*range.start()),
            short(*range.end())
        );
        let Some(value) = self.get(key) else {
            self.lacks(key, &form);
            return *range.start();
        };
        let found = match value.get_ref() {
            DeValue::String(text) => parse_duration(text),
            _ => None,
        };
        match found.filter(|found| range.contains(found)) {
            Some(found) => found,
            None => {
                self.wrong(key, value, &form);
                *range.start()
            }
        }
    }

    /// A calendar day, `2026-09-01`, that need not be there.
    pub(super) fn day(&self, key: &'static str) -> Option<super::policy::Day> {
        let value = self.get(key)?;
        let DeValue::Datetime(at) = value.get_ref() else {
            self.wrong(key, value, "a day without quotes, as 2026-09-01");
            return None;
        };
        match (at.date, at.time) {
            (Some(date), None) => Some(super::policy::Day {
                year: date.year,
                month: date.month,
                day: date.day,
            }),
            _ => {
                self.wrong(key, value, "a day without a time, as 2026-09-01");
                None
            }
        }
    }

    /// One of a closed list of words; a fault when it is not there.
    pub(super) fn word<T: FromStr>(&self, key: &'static str, known: &[&str]) -> Option<T> {
        let Some(value) = self.get(key) else {
            self.lacks(key, &format!("one of {}", list(known)));
            return None;
        };
        self.one(key, value, known)
    }

    fn one<T: FromStr>(&self, key: &str, value: &Spanned<DeValue<'_>>, known: &[&str]) -> Option<T> {
        let DeValue::String(text) = value.get_ref() else {
            self.wrong(key, value, &format!("one of {}", list(known)));
            return None;
        };
        if known.contains(&text.as_ref())
            && let Ok(word) = text.parse()
        {
            return Some(word);
        }
        self.fault(
            &value.span(),
            format!("“{text}” is no value of “{key}” in {}{}", self.name, meant(text, known)),
        );
        None
    }

    /// Some of a closed list of words; empty when it is not there.
    pub(super) fn words<T: FromStr>(&self, key: &'static str, known: &[&str]) -> Vec<T> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, &format!("a list in brackets, of {}", list(known)));
            return Vec::new();
        };
        if items.is_empty() {
            self.fault(
                &value.span(),
                format!("“{key}” in {} is empty: leave it out where any will do", self.name),
            );
        }
        items.iter().filter_map(|item| self.one(key, item, known)).collect()
    }

    /// A list of texts, each with its place; empty when it is not there.
    pub(super) fn texts(&self, key: &'static str) -> Vec<(usize, String)> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, "a list of texts, in brackets");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            match item.get_ref() {
                DeValue::String(text) => texts.push((item.span().start, text.to_string())),
                _ => self.wrong(key, item, "a text in quotes"),
            }
        }
        texts
    }

    /// A list of lists of texts; empty when it is not there.
    pub(super) fn groups(&self, key: &'static str) -> Vec<Vec<String>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let form = "a list of lists of account names, as [[\"anna\", \"anna-admin\"]]";
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong(key, value, form);
            return Vec::new();
        };
        let mut groups = Vec::new();
        for item in items.iter() {
            let names = match item.get_ref() {
                DeValue::Array(names) => names
                    .iter()
                    .map(|name| name.get_ref().as_str().map(str::to_owned))
                    .collect(),
                _ => None,
            };
            match names {
                Some(names) => groups.push(names),
                None => self.wrong(key, item, form),
            }
        }
        groups
    }

    /// Refuses every key that was not asked for.
    pub(super) fn done(self) {
        self.finish();
    }

    /// The same, where the section is borrowed.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, value) in self.table {
            let name = key.get_ref();
            if !asked.iter().any(|known| *known == name.as_ref()) {
                // A section's own key stands in its header.
                let at = match value.get_ref() {
                    DeValue::Table(_) => value.span().start,
                    _ => key.span().start,
                };
                self.text
                    .fault(at, format!("{} has no key “{name}”{}", self.name, meant(name, &asked)));
            }
        }
    }
}

/// What kind of value it is, in words.
fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text “{}”", text.chars().take(40).collect::<String>()),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(flag) => format!("“{flag}”"),
        DeValue::Datetime(at) => format!("the time {at}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// `90s`, `15m`, `24h`, `30d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().ok()?;
    let unit = match text.strip_prefix(digits)? {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    count.checked_mul(unit).map(Duration::from_secs)
}

/// The shortest form that [`parse_duration`] reads.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

pub(super) fn list(known: &[&str]) -> String {
    known
        .iter()
        .map(|word| format!("“{word}”"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The end of a sentence: what was probably meant, else what there is.
pub(super) fn meant(given: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(given, word), word))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, word)) if distance <= (given.chars().count() / 3).max(2) => {
            format!("; did you mean “{word}”?")
        }
        _ if known.is_empty() => String::new(),
        _ => format!("; there is {}", list(known)),
    }
}
