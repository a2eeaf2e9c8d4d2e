//! What makers' seed files say.

use std::hint::black_box;
use std::sync::OnceLock;

use claviger::codec::delivery::{Delivery, MAX_ENTRIES, MAX_TEXT_LEN};
use claviger::codec::oath::{MAX_SEED_LEN, MIN_SEED_LEN};
use claviger::codec::otpauth as uri;
use claviger::codec::pskc::{self as container, Integrity, MAX_ITERATIONS, Unlock};
use claviger::codec::seedcsv::{self, ColumnMap, CsvFormat};
use claviger::types::Secret;

/// What every format promises of what it hands on.
fn held(file: &[u8], delivery: &Delivery) {
    assert!(delivery.tokens.len() + delivery.rejected.len() <= MAX_ENTRIES);
    for token in &delivery.tokens {
        assert!((MIN_SEED_LEN..=MAX_SEED_LEN).contains(&token.seed.len()));
        assert!((6..=8).contains(&token.digits));
        assert!(file.get(token.span.clone()).is_some(), "a span inside the file");
        for text in [&token.serial, &token.maker, &token.model, &token.subject, &token.label]
            .into_iter()
            .flatten()
        {
            assert!(text.len() <= MAX_TEXT_LEN && !text.chars().any(char::is_control));
        }
    }
    for rejected in &delivery.rejected {
        assert!(file.get(rejected.span.clone()).is_some(), "a span inside the file");
        black_box(rejected.why.to_string());
    }
    let done: Vec<_> = delivery.tokens.iter().map(|token| token.span.clone()).collect();
    assert!(Delivery::left(file, &done).len() <= file.len());
    black_box(delivery.protection.to_string());
}

/// What the first byte asks for, 0 to 7, and the file behind it. Its three low bits count, so that committed inputs begin with a digit.
fn choice(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(first, file)| (first & 7, file))
}

/// PSKC. The first byte picks one of the keys that the committed files are encrypted to, 16, 24 or 32 bytes or the passphrase, and
/// with 4 more that everything has to be authentic. One reading a run is many times as fast as all of them.
pub fn pskc(data: &[u8]) {
    static UNLOCK: OnceLock<[Unlock; 4]> = OnceLock::new();
    let unlocks = UNLOCK.get_or_init(|| {
        let key = |length: usize| Some(Secret::new((0_u8..).take(length).collect()));
        let passphrase = || Some(Secret::new(b"qwerty".to_vec()));
        [16, 24, 32, 0].map(|length| Unlock {
            key: if length == 0 { None } else { key(length) },
            passphrase: if length == 0 { passphrase() } else { None },
        })
    });
    let Some((choice, file)) = choice(data) else { return };
    if costly(file) {
        return;
    }
    let Some(unlock) = unlocks.get(usize::from(choice & 3)) else {
        return;
    };
    let integrity = if choice & 4 == 0 {
        Integrity::Lax
    } else {
        Integrity::Strict
    };
    match container::deliver(file, unlock, integrity) {
        Ok(delivery) => {
            held(file, &delivery);
            // What is strict takes no more than what is lax.
            assert!(integrity == Integrity::Lax || container::deliver(file, unlock, Integrity::Lax).is_ok());
        }
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// Whether a file asks for 100 rounds of PBKDF2 or more and would get them: allowed, and minutes of fuzzing that teach nothing. A
/// number above the codec's own bound is let through, to be refused; one that is not written in plain digits is not.
fn costly(file: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(file) else {
        return false;
    };
    text.match_indices("IterationCount").any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        if before.rsplit('<').next().is_some_and(|tag| tag.starts_with('/')) {
            return false;
        }
        let Some((_, rest)) = rest.split_once('>') else {
            return false;
        };
        let content = rest.split("</").next().unwrap_or_default();
        match content.trim().parse::<u64>() {
            Ok(rounds) => (100..=u64::from(MAX_ITERATIONS)).contains(&rounds),
            Err(_) => content.contains(['&', '<']),
        }
    })
}

/// CSV of the format that the first byte picks, of the one that is detected, or by a map of columns in the first line.
pub fn seed_csv(data: &[u8]) {
    let Some((choice, file)) = choice(data) else { return };
    let format = match choice {
        0 => CsvFormat::Entra,
        1 => CsvFormat::Yubico,
        2 => CsvFormat::PrivacyIdea1,
        3 => CsvFormat::PrivacyIdea2,
        4 => CsvFormat::LinOtp,
        5 => CsvFormat::MultiOtp,
        6 => match seedcsv::detect(file) {
            Some(format) => format,
            None => return,
        },
        _ => return mapped_csv(file),
    };
    match seedcsv::deliver(file, format) {
        Ok(delivery) => held(file, &delivery),
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// The first line as a map, the others as the file that it is for.
fn mapped_csv(data: &[u8]) {
    let (line, rest) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Ok(map) = line.parse::<ColumnMap>() else { return };
    match seedcsv::deliver_by(rest, &map) {
        Ok(delivery) => held(rest, &delivery),
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// `otpauth://`, one and a file of them.
pub fn otpauth(data: &[u8]) {
    match uri::deliver(data) {
        Ok(delivery) => held(data, &delivery),
        Err(error) => drop(black_box(error.to_string())),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        black_box(uri::read(text).is_ok());
    }
}
