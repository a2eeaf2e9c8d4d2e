//! Seed files as comma-separated values (RFC 4180): what makers and other servers write, and a column map for all the rest.
//!
//! Every format is a map from columns to the members of a token; the built-in ones differ from the caller's only in that we know
//! them. A row that cannot be read is rejected alone.

use std::ops::Range;
use std::str::FromStr;

use super::delivery::{
    Delivered, Delivery, Flaw, Lines, MAX_ENTRIES, MAX_FILE_LEN, MAX_TEXT_LEN, Moving, Rejected, algorithm, checked,
    date, number, text,
};
use super::otpauth::seed_flaw;
use super::seed::Encoding;
use crate::types::{OathAlgorithm, Secret};

/// Most columns that are looked at.
const MAX_COLUMNS: usize = 64;

/// Why a whole file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// Too large.
    #[error("the file is larger than {} MiB", MAX_FILE_LEN >> 20)]
    TooLarge,
    /// Too many rows.
    #[error("the file has more than {MAX_ENTRIES} rows: split it")]
    TooMany,
    /// Not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// The header lacks a column.
    #[error("the header has no column “{0}”")]
    Header(String),
    /// The column map is malformed.
    #[error("the column map: {0}")]
    Map(String),
}

/// The formats we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CsvFormat {
    /// Microsoft Entra's hardware OATH tokens: `upn,serial number,secret key,time interval,manufacturer,model`.
    Entra,
    /// The log of Yubico's personalisation tool, “traditional” or “Yubico”.
    Yubico,
    /// privacyIDEA: `serial, hex seed, hotp|totp, digits, counter or step`.
    PrivacyIdea1,
    /// privacyIDEA with `# version: 2`: `user, resolver, realm` before the same.
    PrivacyIdea2,
    /// LinOTP: `serial, hex seed, hotp|totp, digits, step, hash`.
    LinOtp,
    /// multiOTP: `serial; manufacturer; hotp|totp; hex seed; digits; step or counter`.
    MultiOtp,
}

/// A member of a token that a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Serial.
    Serial,
    /// Seed, in the map's encoding.
    Seed,
    /// `hotp` or `totp`.
    Type,
    /// Number of digits.
    Digits,
    /// Step in seconds.
    Period,
    /// Next counter.
    Counter,
    /// Step for TOTP, next counter for HOTP.
    Moving,
    /// Hash.
    Algorithm,
    /// Maker.
    Maker,
    /// Model.
    Model,
    /// Whose it is.
    Subject,
    /// Free text.
    Label,
    /// Not to be used before.
    ValidFrom,
    /// Not to be used after.
    ValidUntil,
}

impl Field {
    /// Every field with the name a column map calls it by.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::Serial, "serial"),
        (Self::Seed, "seed"),
        (Self::Type, "type"),
        (Self::Digits, "digits"),
        (Self::Period, "period"),
        (Self::Counter, "counter"),
        (Self::Moving, "moving"),
        (Self::Algorithm, "algorithm"),
        (Self::Maker, "maker"),
        (Self::Model, "model"),
        (Self::Subject, "subject"),
        (Self::Label, "label"),
        (Self::ValidFrom, "valid-from"),
        (Self::ValidUntil, "valid-until"),
    ];
}

/// Where a member comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// This column, from 0.
    Column(usize),
    /// The column of this name in the first row.
    Header(String),
    /// The same for all rows.
    Constant(String),
}

/// A map from columns to members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMap {
    columns: Vec<(Field, From)>,
    encoding: Encoding,
    delimiter: u8,
    /// SHA-256 for seeds of 32 bytes and SHA-512 for those of 64, where the row names no hash.
    hash_by_length: bool,
}

impl FromStr for ColumnMap {
    type Err = CsvError;

    /// Reads a map as it is written on a command line: `serial=1,seed=Secret Key,type:=totp`. A number is a column, from 1; any
    /// other word the name of one in the first row; what follows `:=` is meant for all rows. `encoding=hex`, `base32` (as
    /// is assumed) and `delimiter=;` or `delimiter=tab` say how the file is written.
    fn from_str(written: &str) -> Result<Self, CsvError> {
        let refuse = |why: String| Err(CsvError::Map(why));
        if written.len() > 4096 {
            return refuse("it is longer than 4096 bytes".to_owned());
        }
        let mut map = Self {
            columns: Vec::new(),
            encoding: Encoding::Base32,
            delimiter: b',',
            hash_by_length: false,
        };
        for part in written.split(',') {
            let Some((name, value)) = part.split_once('=') else {
                return refuse(format!("“{part}” is not of the form FIELD=COLUMN"));
            };
            let (name, constant) = name.strip_suffix(':').map_or((name, false), |name| (name, true));
            let (name, value) = (name.trim(), value.trim());
            match (name, value) {
                ("encoding", "hex") => map.encoding = Encoding::Hex,
                ("encoding", "base32") => map.encoding = Encoding::Base32,
                ("delimiter", "tab") => map.delimiter = b'\t',
                ("delimiter", ";" | "|" | ":") => map.delimiter = value.bytes().next().unwrap_or(b';'),
                _ => {
                    let Some((field, _)) = Field::ALL.iter().find(|(_, known)| *known == name) else {
                        let known: Vec<&str> = Field::ALL.iter().map(|(_, name)| *name).collect();
                        return refuse(format!("there is no field “{name}”; there are {}", known.join(", ")));
                    };
                    if map.columns.iter().any(|(taken, _)| taken == field) {
                        return refuse(format!("“{name}” stands there twice"));
                    }
                    map.columns
                        .push((*field, source(value, constant).map_err(CsvError::Map)?));
                }
            }
        }
        if !map.columns.iter().any(|(field, _)| *field == Field::Seed) {
            return refuse("“seed” is missing".to_owned());
        }
        Ok(map)
    }
}

fn source(value: &str, constant: bool) -> Result<From, String> {
    if constant {
        return Ok(From::Constant(value.to_owned()));
    }
    match value.parse::<usize>() {
        Ok(column @ 1..=MAX_COLUMNS) => Ok(From::Column(column - 1)),
        Ok(column) => Err(format!(
            "there is no column {column}: they are counted from 1 to {MAX_COLUMNS}"
        )),
        Err(_) if value.is_empty() => Err("a column is missing".to_owned()),
        Err(_) => Ok(From::Header(value.to_owned())),
    }
}

impl ColumnMap {
    fn positional(fields: &[(Field, usize)], delimiter: u8) -> Self {
        Self {
            columns: fields
                .iter()
                .map(|(field, column)| (*field, From::Column(*column)))
                .collect(),
            encoding: Encoding::Hex,
            delimiter,
            hash_by_length: false,
        }
    }

    /// The map of a format we know.
    fn of(format: CsvFormat, file: &str) -> Self {
        use Field::{Algorithm, Digits, Maker, Model, Moving, Period, Seed, Serial, Subject, Type};
        match format {
            CsvFormat::Entra => {
                let header = |name: &str| From::Header(name.to_owned());
                Self {
                    columns: vec![
                        (Subject, header("upn")),
                        (Serial, header("serial number")),
                        (Seed, header("secret key")),
                        (Period, header("time interval")),
                        (Maker, header("manufacturer")),
                        (Model, header("model")),
                        (Type, From::Constant("totp".to_owned())),
                    ],
                    encoding: Encoding::Base32,
                    delimiter: b',',
                    hash_by_length: false,
                }
            }
            // The columns of a row depend on the row: see `yubico`.
            CsvFormat::Yubico => Self::positional(&[(Seed, 3)], b','),
            CsvFormat::PrivacyIdea1 => {
                Self::positional(&[(Serial, 0), (Seed, 1), (Type, 2), (Digits, 3), (Moving, 4)], b',')
            }
            CsvFormat::PrivacyIdea2 => Self::positional(
                &[
                    (Subject, 0),
                    (Serial, 3),
                    (Seed, 4),
                    (Type, 5),
                    (Digits, 6),
                    (Moving, 7),
                ],
                b',',
            ),
            CsvFormat::LinOtp => Self {
                hash_by_length: true,
                ..Self::positional(
                    &[
                        (Serial, 0),
                        (Seed, 1),
                        (Type, 2),
                        (Digits, 3),
                        (Period, 4),
                        (Algorithm, 5),
                    ],
                    b',',
                )
            },
            CsvFormat::MultiOtp => Self::positional(
                &[(Serial, 0), (Maker, 1), (Type, 2), (Seed, 3), (Digits, 4), (Moving, 5)],
                if file.contains(';') { b';' } else { b'\t' },
            ),
        }
    }

    fn has_header(&self) -> bool {
        self.columns.iter().any(|(_, from)| matches!(from, From::Header(_)))
    }

    /// The same with names replaced by places.
    fn resolved(&self, header: &[&str]) -> Result<Vec<(Field, From)>, CsvError> {
        let place = |(field, from): &(Field, From)| match from {
            From::Header(name) => {
                let found = header.iter().position(|cell| cell.trim().eq_ignore_ascii_case(name));
                let column = found.ok_or_else(|| CsvError::Header(name.chars().take(MAX_TEXT_LEN).collect()))?;
                Ok((*field, From::Column(column)))
            }
            other => Ok((*field, other.clone())),
        };
        self.columns.iter().map(place).collect()
    }
}

/// Reads a file of a format we know.
///
/// # Errors
/// [`CsvError`]; a row that cannot be read is rejected alone.
pub fn deliver(file: &[u8], format: CsvFormat) -> Result<Delivery, CsvError> {
    let text = checked_text(file)?;
    read(file, text, &ColumnMap::of(format, text), Some(format))
}

/// Reads a file by a column map.
///
/// # Errors
/// [`CsvError`]; a row that cannot be read is rejected alone.
pub fn deliver_by(file: &[u8], map: &ColumnMap) -> Result<Delivery, CsvError> {
    read(file, checked_text(file)?, map, None)
}

/// Which of the formats we know a file has, when only one fits, or all that fit say the same.
#[must_use]
pub fn detect(file: &[u8]) -> Option<CsvFormat> {
    let text = checked_text(file).ok()?.trim_start_matches('\u{feff}');
    let rows = || text.lines().map(str::trim).filter(|row| !row.is_empty());
    let first = rows().next()?;
    if let Some(version) = first
        .strip_prefix('#')
        .and_then(|rest| rest.trim().strip_prefix("version:"))
    {
        return match version.trim() {
            "2" => Some(CsvFormat::PrivacyIdea2),
            "1" | "0" => Some(CsvFormat::PrivacyIdea1),
            _ => None,
        };
    }
    let row = rows().find(|row| !row.starts_with('#'))?;
    let cells = |delimiter: char| -> Vec<String> {
        row.split(delimiter)
            .take(MAX_COLUMNS)
            .map(|cell| cell.trim().trim_matches('"').to_ascii_lowercase())
            .collect()
    };
    let commas = cells(',');
    let cell = |index: usize| commas.get(index).map_or("", String::as_str);
    if cell(0) == "upn" && commas.iter().any(|cell| cell == "secret key") {
        return Some(CsvFormat::Entra);
    }
    if YUBICO_ROWS.contains(&cell(0)) || (commas.len() >= 6 && is_number(cell(0)) && cell(2) == "0" && is_hex(cell(3)))
    {
        return Some(CsvFormat::Yubico);
    }
    for delimiter in [';', '\t'] {
        let cells = cells(delimiter);
        if cells.len() >= 4 && is_type(cells.get(2).map_or("", String::as_str)) {
            return Some(CsvFormat::MultiOtp);
        }
        if cells.first().is_some_and(|cell| cell == "serial_number") && cells.len() >= 4 {
            return Some(CsvFormat::MultiOtp);
        }
    }
    if is_hex(cell(1)) && (commas.len() == 2 || is_type(cell(2))) {
        let privacyidea = deliver(file, CsvFormat::PrivacyIdea1).ok()?;
        let linotp = deliver(file, CsvFormat::LinOtp).ok()?;
        let same = privacyidea.tokens.len() == linotp.tokens.len()
            && privacyidea
                .tokens
                .iter()
                .zip(&linotp.tokens)
                .all(|(a, b)| a.moving == b.moving && a.algorithm == b.algorithm);
        if same {
            return Some(CsvFormat::PrivacyIdea1);
        }
        let hash = rows().any(|row| row.split(',').nth(5).is_some_and(|hash| algorithm(hash.trim()).is_ok()));
        return hash.then_some(CsvFormat::LinOtp);
    }
    None
}

const YUBICO_ROWS: &[&str] = &[
    "logging start",
    "oath-hotp",
    "oath hotp",
    "yubico otp",
    "static password",
];

fn is_hex(cell: &str) -> bool {
    cell.len() >= 20 && cell.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_number(cell: &str) -> bool {
    !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_type(cell: &str) -> bool {
    matches!(cell, "hotp" | "totp")
}

fn checked_text(file: &[u8]) -> Result<&str, CsvError> {
    if file.len() > MAX_FILE_LEN {
        return Err(CsvError::TooLarge);
    }
    std::str::from_utf8(file).map_err(|_| CsvError::NotUtf8)
}

fn read(file: &[u8], text: &str, map: &ColumnMap, format: Option<CsvFormat>) -> Result<Delivery, CsvError> {
    let mark = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let body = file.get(mark..).unwrap_or_default();
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(map.delimiter)
        .from_reader(body);
    let mut delivery = Delivery::default();
    let mut columns = if map.has_header() {
        None
    } else {
        Some(map.resolved(&[])?)
    };
    let mut record = csv::ByteRecord::new();
    let mut lines = Lines::new(file);
    let mut start = mark;
    // The reader gives an error for what is no CSV; from memory, with any number of columns allowed, there is none.
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let end = mark + usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
        let blank = file.get(start..end).unwrap_or_default().iter();
        let span = start + blank.take_while(|byte| byte.is_ascii_whitespace()).count()..end;
        start = end;
        let cells: Vec<&str> = record
            .iter()
            .take(MAX_COLUMNS)
            .map(|cell| std::str::from_utf8(cell).unwrap_or_default().trim())
            .collect();
        let first = cells.first().copied().unwrap_or_default();
        if first.starts_with('#') || cells.iter().all(|cell| cell.is_empty()) {
            continue;
        }
        let Some(columns) = &columns else {
            columns = Some(map.resolved(&cells)?);
            continue;
        };
        if delivery.tokens.is_empty() && delivery.rejected.is_empty() && is_title(first) {
            continue;
        }
        if delivery.tokens.len() + delivery.rejected.len() == MAX_ENTRIES {
            return Err(CsvError::TooMany);
        }
        let line = lines.at(span.start);
        let row = Row {
            cells: &cells,
            columns,
            map,
        };
        let own;
        let row = if format == Some(CsvFormat::Yubico) {
            match yubico(&cells) {
                None => continue,
                Some(columns) => {
                    own = columns;
                    Row { columns: &own, ..row }
                }
            }
        } else {
            row
        };
        match row.token(line, span.clone()) {
            Ok(token) => delivery.tokens.push(token),
            Err(why) => delivery.rejected.push(Rejected {
                serial: row.get(Field::Serial).map(|serial| serial.chars().take(64).collect()),
                span,
                line,
                why,
            }),
        }
    }
    delivery.protection.plain = u32::try_from(delivery.tokens.len()).unwrap_or(u32::MAX);
    Ok(delivery)
}

fn is_title(first: &str) -> bool {
    ["serial", "serial_number", "serial number", "serialnumber", "user"]
        .iter()
        .any(|title| first.eq_ignore_ascii_case(title))
}

/// The columns of a row that Yubico's tool wrote; `None` for one that is no entry.
fn yubico(cells: &[&str]) -> Option<Vec<(Field, From)>> {
    let first = cells.first().copied().unwrap_or_default().to_ascii_lowercase();
    let constant = |value: &str| From::Constant(value.to_owned());
    let mut columns = vec![(Field::Maker, constant("Yubico")), (Field::Model, constant("YubiKey"))];
    match first.as_str() {
        "logging start" => return None,
        // Traditional: kind, time, slot, public id, private id, key, two access codes, and flags, of which the fourth is digits.
        "oath-hotp" | "oath hotp" => columns.extend([
            (Field::Type, constant("hotp")),
            (Field::Serial, From::Column(3)),
            (Field::Seed, From::Column(5)),
            (Field::Digits, From::Column(11)),
        ]),
        // Yubico's own: serial, public id, private id or 0, key, access code, time.
        _ if is_number(&first) && cells.get(2).is_some_and(|private| *private == "0") => columns.extend([
            (Field::Type, constant("hotp")),
            (Field::Serial, From::Column(0)),
            (Field::Seed, From::Column(3)),
        ]),
        // Yubico OTP, static passwords: no code that RFC 4226 makes.
        _ => columns.extend([(Field::Type, constant("other")), (Field::Seed, From::Column(3))]),
    }
    Some(columns)
}

/// One row with its map.
#[derive(Clone, Copy)]
struct Row<'a> {
    cells: &'a [&'a str],
    columns: &'a [(Field, From)],
    map: &'a ColumnMap,
}

impl Row<'_> {
    fn get(&self, field: Field) -> Option<&str> {
        let (_, from) = self.columns.iter().find(|(of, _)| *of == field)?;
        let cell = match from {
            From::Column(column) => self.cells.get(*column).copied()?,
            From::Constant(value) => value,
            From::Header(_) => return None,
        };
        Some(cell).filter(|cell| !cell.is_empty())
    }

    fn token(&self, line: u32, span: Range<usize>) -> Result<Delivered, Flaw> {
        let seed_column = self.columns.iter().find_map(|(field, from)| match from {
            From::Column(column) if *field == Field::Seed => Some(*column),
            _ => None,
        });
        if let Some(column) = seed_column.filter(|column| *column >= self.cells.len()) {
            return Err(Flaw::Columns(self.cells.len(), column + 1));
        }
        let kind = self.get(Field::Type).unwrap_or("hotp").to_ascii_lowercase();
        let moves = number("step or counter", self.get(Field::Moving))?;
        let moving = match kind.as_str() {
            "hotp" => Moving::Event {
                counter: number("counter", self.get(Field::Counter))?.or(moves).unwrap_or(0),
            },
            "totp" => {
                let period = number("time step", self.get(Field::Period))?.or(moves).unwrap_or(30);
                Moving::Time {
                    period_s: u32::try_from(period).map_err(|_| Flaw::Period(period))?,
                    drift_steps: 0,
                }
            }
            _ => return Err(Flaw::Type),
        };
        let written = self.get(Field::Seed).ok_or(Flaw::Missing("seed"))?;
        if written.len() > 1024 {
            return Err(Flaw::SeedLength(written.len() / 2));
        }
        let written = Secret::new(written.as_bytes().to_vec());
        let seed = self.map.encoding.decode(&written).map_err(seed_flaw)?;
        let digits = number("number of digits", self.get(Field::Digits))?.unwrap_or(6);
        let hash = match (self.get(Field::Algorithm), seed.len()) {
            (Some(name), _) => algorithm(name)?,
            (None, 32) if self.map.hash_by_length => OathAlgorithm::Sha256,
            (None, 64) if self.map.hash_by_length => OathAlgorithm::Sha512,
            (None, _) => OathAlgorithm::Sha1,
        };
        let token = Delivered {
            span,
            line,
            moving,
            algorithm: hash,
            digits: u8::try_from(digits).map_err(|_| Flaw::Digits(digits))?,
            seed,
            serial: text("serial", self.get(Field::Serial))?,
            maker: text("manufacturer", self.get(Field::Maker))?,
            model: text("model", self.get(Field::Model))?,
            subject: text("subject", self.get(Field::Subject))?,
            label: text("label", self.get(Field::Label))?,
            valid_from: date("start date", self.get(Field::ValidFrom))?,
            valid_until: date("expiry date", self.get(Field::ValidUntil))?,
        };
        checked(token).map_err(|(flaw, _)| flaw)
    }
}

#[cfg(test)]
#[path = "seedcsv_tests.rs"]
mod tests;
