//! Seeds that were read in the wrong encoding: what the bytes would be, had they been read in the right one.
//!
//! A seed on paper or in a file does not say how it is written. Letters A to F and digits 2 to 7 are both hex and base32, and
//! either text is also just bytes.

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXUPPER};

use super::oath::{MAX_SEED_LEN, MIN_SEED_LEN};
use crate::types::Secret;

/// Most readings of one seed.
pub const MAX_READINGS: usize = 7;

/// The other seeds that `seed` may have been meant to be, at most [`MAX_READINGS`], each of a length that a generator takes.
#[must_use]
pub fn misreadings(seed: &Secret) -> Vec<Secret> {
    let bytes = seed.expose();
    let hex = Secret::new(HEXUPPER.encode(bytes).into_bytes());
    let base32 = Secret::new(BASE32_NOPAD.encode(bytes).into_bytes());
    let capitals = Secret::new(bytes.to_ascii_uppercase());
    let decoded = |written: &Secret, alphabet: &data_encoding::Encoding| {
        let text: Vec<u8> = written.expose().to_vec();
        let read = alphabet.decode(&text).ok();
        // The copy held the seed.
        drop(Secret::new(text));
        read.map(Secret::new)
    };
    let readings = [
        // The text itself was taken for the seed.
        decoded(&capitals, &HEXUPPER),
        decoded(&capitals, &BASE32_NOPAD),
        // One alphabet was taken for the other.
        decoded(&hex, &BASE32_NOPAD),
        decoded(&base32, &HEXUPPER),
        // The maker took the text for the seed.
        Some(Secret::new(HEXLOWER.encode(bytes).into_bytes())),
        Some(hex),
        Some(base32),
    ];
    let usable = |seed: &Secret| (MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len());
    readings.into_iter().flatten().filter(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(seed: &[u8]) -> Vec<Vec<u8>> {
        misreadings(&Secret::new(seed.to_vec()))
            .iter()
            .map(|seed| seed.expose().to_vec())
            .collect()
    }

    #[test]
    fn what_was_meant_is_among_them() {
        let meant = b"12345678901234567890".to_vec();
        assert!(readings(b"3132333435363738393031323334353637383930").contains(&meant));
        assert!(readings(b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").contains(&meant));
        assert!(readings(b"gezdgnbvgy3tqojqgezdgnbvgy3tqojq").contains(&meant));
        // A text that is both hex and base32.
        let text = b"A2B3C4D5E6F7A2B3C4D5E6F7A2B3C4D5E6F7A2B3";
        let (hex, base32) = (HEXUPPER.decode(text).unwrap(), BASE32_NOPAD.decode(text).unwrap());
        assert!(readings(&hex).contains(&base32) && readings(&base32).contains(&hex));
        assert!(readings(&hex).contains(&text.to_vec()));
        assert!(readings(&meant).contains(&b"3132333435363738393031323334353637383930".to_vec()));
    }

    #[test]
    fn they_are_few_and_usable() {
        for length in [10, 16, 20, 32, 64, 128] {
            for byte in [0, b'2', b'A', 255] {
                let found = readings(&vec![byte; length]);
                assert!(found.len() <= MAX_READINGS);
                assert!(
                    found
                        .iter()
                        .all(|seed| (MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()))
                );
            }
        }
    }
}
