//! `otpauth://` URIs, the key URI format that phones read from QR codes: `otpauth://totp/Issuer:name?secret=BASE32&digits=6`.

use percent_encoding::percent_decode_str;
use zeroize::{Zeroize, Zeroizing};

use super::delivery::{
    Delivered, Delivery, Flaw, MAX_ENTRIES, MAX_FILE_LEN, Moving, Rejected, algorithm, checked, number, text,
};
use super::seed::{Encoding, SeedError};
use crate::types::{OathAlgorithm, Secret};

/// Longest URI that is looked at.
const MAX_URI_LEN: usize = 4096;

/// Why a whole file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OtpauthError {
    /// Too large.
    #[error("the file is larger than {} MiB", MAX_FILE_LEN >> 20)]
    TooLarge,
    /// Too many lines.
    #[error("the file has more than {MAX_ENTRIES} URIs: split it")]
    TooMany,
    /// Not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
}

/// Reads a file with one URI a line; empty lines and lines that begin with `#` are passed over.
///
/// # Errors
/// [`OtpauthError`]; a line that is none is rejected alone.
pub fn deliver(file: &[u8]) -> Result<Delivery, OtpauthError> {
    if file.len() > MAX_FILE_LEN {
        return Err(OtpauthError::TooLarge);
    }
    let written = std::str::from_utf8(file).map_err(|_| OtpauthError::NotUtf8)?;
    let mut delivery = Delivery::default();
    let mut start = 0;
    for (line, (index, row)) in (1_u32..).zip(written.split_inclusive('\n').enumerate()) {
        let span = start..start + row.len();
        start = span.end;
        let row = if index == 0 {
            row.trim_start_matches('\u{feff}')
        } else {
            row
        };
        let row = row.trim();
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        if delivery.tokens.len() + delivery.rejected.len() == MAX_ENTRIES {
            return Err(OtpauthError::TooMany);
        }
        let token = read(row).map(|token| Delivered {
            span: span.clone(),
            line,
            ..token
        });
        match token {
            Ok(token) => delivery.tokens.push(token),
            Err(why) => delivery.rejected.push(Rejected {
                span,
                line,
                serial: None,
                why,
            }),
        }
    }
    delivery.protection.plain = u32::try_from(delivery.tokens.len()).unwrap_or(u32::MAX);
    Ok(delivery)
}

/// Reads one URI.
///
/// # Errors
/// [`Flaw`].
pub fn read(uri: &str) -> Result<Delivered, Flaw> {
    if uri.len() > MAX_URI_LEN {
        return Err(Flaw::Uri);
    }
    let rest = strip_prefix(uri, "otpauth://").ok_or(Flaw::Uri)?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').ok_or(Flaw::Missing("seed"))?;
    let (kind, label) = path.split_once('/').unwrap_or((path, ""));
    let label = decode(label)?;
    let (mut seed, mut hash, mut digits, mut period, mut counter) = (None, None, None, None, None);
    let (mut issuer, mut serial, mut model) = (None, None, None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = match name.to_ascii_lowercase().as_str() {
            "secret" => &mut seed,
            "algorithm" => &mut hash,
            "digits" => &mut digits,
            "period" => &mut period,
            "counter" => &mut counter,
            "issuer" => &mut issuer,
            "serial" => &mut serial,
            "model" => &mut model,
            // “image”, “color” and the like: for a display.
            _ => continue,
        };
        // The same name twice: readers disagree which counts.
        if slot.replace(decode(value)?).is_some() {
            return Err(Flaw::Uri);
        }
    }
    let mut seed = seed.ok_or(Flaw::Missing("seed"))?;
    let written = Secret::new(std::mem::take(&mut *seed).into_bytes());
    seed.zeroize();
    let seed = Encoding::Base32.decode(&written).map_err(seed_flaw)?;
    let get = |value: &Option<Zeroizing<String>>| value.as_ref().map(|value| value.to_string());
    let value = |what, written: &Option<Zeroizing<String>>| number(what, get(written).as_deref());
    let moving = match kind.to_ascii_lowercase().as_str() {
        "totp" => Moving::Time {
            period_s: value("period", &period)?
                .map_or(Ok(30), |period| u32::try_from(period).map_err(|_| Flaw::Period(period)))?,
            drift_steps: 0,
        },
        // The format demands a counter; those that leave it out mean 0.
        "hotp" => Moving::Event {
            counter: value("counter", &counter)?.unwrap_or(0),
        },
        _ => return Err(Flaw::Type),
    };
    let digits = value("number of digits", &digits)?.unwrap_or(6);
    // “Issuer:name”; the parameter counts for the issuer.
    let (prefix, name) = label
        .split_once(':')
        .map_or((None, label.as_str()), |(prefix, name)| (Some(prefix), name));
    let token = Delivered {
        span: 0..uri.len(),
        line: 1,
        moving,
        algorithm: get(&hash).map_or(Ok(OathAlgorithm::Sha1), |name| algorithm(&name))?,
        digits: u8::try_from(digits).map_err(|_| Flaw::Digits(digits))?,
        seed,
        serial: text("serial", get(&serial).as_deref())?,
        maker: None,
        model: text("model", get(&model).as_deref())?,
        subject: text("account name", Some(name))?,
        label: text("issuer", get(&issuer).as_deref().or(prefix))?,
        valid_from: None,
        valid_until: None,
    };
    checked(token).map_err(|(flaw, _)| flaw)
}

/// Which flaw a seed has.
pub(super) const fn seed_flaw(error: SeedError) -> Flaw {
    match error {
        SeedError::NotBase32 => Flaw::Seed("base32: letters A-Z and digits 2-7"),
        SeedError::NotHex | SeedError::UnknownEncoding => Flaw::Seed("hex: two of 0-9 and a-f for each byte"),
        SeedError::Length(length) => Flaw::SeedLength(length),
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn decode(written: &str) -> Result<Zeroizing<String>, Flaw> {
    let decoded = percent_decode_str(written).decode_utf8().map_err(|_| Flaw::Uri)?;
    Ok(Zeroizing::new(decoded.into_owned()))
}

#[cfg(test)]
#[path = "otpauth_tests.rs"]
mod tests;
