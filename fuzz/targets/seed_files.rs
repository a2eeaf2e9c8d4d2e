//! What makers' seed files say.

use std::hint::black_box;
use std::sync::OnceLock;

use claviger::codec::delivery::{Delivery, MAX_ENTRIES, MAX_TEXT_LEN};
use claviger::codec::oath::{MAX_SEED_LEN, MIN_SEED_LEN};
use claviger::codec::otpauth as uri;
use claviger::codec::pskc::{self as container, Integrity, Unlock};
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

/// PSKC, with the keys that the committed files are encrypted to.
pub fn pskc(data: &[u8]) {
    if costly(data) {
        return;
    }
    static UNLOCK: OnceLock<[Unlock; 4]> = OnceLock::new();
    let unlocks = UNLOCK.get_or_init(|| {
        let key = |length: usize| Some(Secret::new((0_u8..).take(length).collect()));
        let passphrase = || Some(Secret::new(b"qwerty".to_vec()));
        [16, 24, 32, 0].map(|length| Unlock {
            key: if length == 0 { None } else { key(length) },
            passphrase: if length == 0 { passphrase() } else { None },
        })
    });
    for unlock in unlocks {
        match container::deliver(data, unlock, Integrity::Lax) {
            Ok(delivery) => held(data, &delivery),
            Err(error) => drop(black_box(error.to_string())),
        }
        // What is strict takes no more than what is lax.
        if container::deliver(data, unlock, Integrity::Strict).is_ok() {
            assert!(container::deliver(data, unlock, Integrity::Lax).is_ok());
        }
    }
}

/// Whether a file asks for ten thousand rounds of PBKDF2 or more: allowed, and minutes of fuzzing that teach nothing.
fn costly(data: &[u8]) -> bool {
    let tag = b"IterationCount>";
    data.windows(tag.len()).enumerate().any(|(at, window)| {
        let digits = data.get(at + tag.len()..).unwrap_or_default();
        window == tag && digits.iter().take(64).filter(|byte| byte.is_ascii_digit()).count() > 4
    })
}

/// CSV of every format, and by a map of columns.
pub fn seed_csv(data: &[u8]) {
    black_box(seedcsv::detect(data));
    let formats = [
        CsvFormat::Entra,
        CsvFormat::Yubico,
        CsvFormat::PrivacyIdea1,
        CsvFormat::PrivacyIdea2,
        CsvFormat::LinOtp,
        CsvFormat::MultiOtp,
    ];
    for format in formats {
        match seedcsv::deliver(data, format) {
            Ok(delivery) => held(data, &delivery),
            Err(error) => drop(black_box(error.to_string())),
        }
    }
    // The first line as a map, the others as the file that it is for.
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
