//! Seeds as they are written: on paper, in a file, as raw bytes. What comes out is a seed of a length that
//! [`oath`](super::oath) works with.

use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, Encoding as Alphabet, HEXUPPER};
use zeroize::Zeroizing;

use super::oath::{MAX_SEED_LEN, MIN_SEED_LEN};
use crate::types::Secret;

/// Why something written is not a seed. What was written is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// No encoding of this name.
    #[error("must be base32, hex or raw")]
    UnknownEncoding,
    /// Something else than the letters and digits of RFC 4648 section 6, or a number of them that no bytes give.
    #[error("the seed is not valid base32: letters A-Z and digits 2-7")]
    NotBase32,
    /// Something else than hexadecimal digits, or an odd number of them.
    #[error("the seed is not valid hex: digits 0-9 and a-f, two for each byte")]
    NotHex,
    /// Too short or too long.
    #[error(
        "the seed has {0} bytes; it must have {MIN_SEED_LEN} to {MAX_SEED_LEN}: check the encoding and the papers of the fob"
    )]
    Length(usize),
}

/// How a seed is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// RFC 4648 section 6, with or without padding.
    #[default]
    Base32,
    /// RFC 4648 section 8.
    Hex,
    /// The bytes themselves.
    Raw,
}

impl FromStr for Encoding {
    type Err = SeedError;

    fn from_str(name: &str) -> Result<Self, SeedError> {
        match name {
            "base32" => Ok(Self::Base32),
            "hex" => Ok(Self::Hex),
            "raw" => Ok(Self::Raw),
            _ => Err(SeedError::UnknownEncoding),
        }
    }
}

impl Encoding {
    /// Decodes a seed. Spaces and hyphens between groups, padding, line ends and small letters are common on paper and in
    /// files. No copy is left behind in memory.
    ///
    /// # Errors
    /// [`SeedError`].
    pub fn decode(self, written: &Secret) -> Result<Secret, SeedError> {
        let seed = match self {
            Self::Raw => Secret::new(written.expose().to_vec()),
            Self::Base32 => digits(&BASE32_NOPAD, &rounded(written)).ok_or(SeedError::NotBase32)?,
            Self::Hex => digits(&HEXUPPER, written).ok_or(SeedError::NotHex)?,
        };
        if (MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()) {
            Ok(seed)
        } else {
            Err(SeedError::Length(seed.len()))
        }
    }
}

/// The same with the bits of the last letter cleared that belong to no byte. Makers' files have them set at times, and
/// RFC 4648 section 3.5 leaves it to the reader.
fn rounded(written: &Secret) -> Secret {
    let mut letters = written.expose().to_vec();
    let is_letter = |byte: &u8| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(byte);
    let bits = 5 * letters.iter().filter(|byte| is_letter(byte)).count();
    if let Some(last) = letters.iter_mut().rev().find(|byte| is_letter(byte)) {
        let value = match *last {
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            letter => letter.to_ascii_uppercase() - b'A',
        };
        let spare = u32::try_from(bits % 8).unwrap_or(0);
        let value = if spare < 5 { value >> spare << spare } else { value };
        *last = if value < 26 { b'A' + value } else { b'2' + value - 26 };
    }
    Secret::new(letters)
}

/// Decodes digits of an alphabet of capitals. The buffers have their size from the start and are wiped.
fn digits(alphabet: &Alphabet, written: &Secret) -> Option<Secret> {
    let mut kept = Zeroizing::new(Vec::with_capacity(written.len()));
    kept.extend(
        written
            .expose()
            .iter()
            .filter(|byte| !matches!(byte, b' ' | b'-' | b'=' | b'\r' | b'\n'))
            .map(u8::to_ascii_uppercase),
    );
    let mut decoded = Zeroizing::new(vec![0; alphabet.decode_len(kept.len()).ok()?]);
    // The decoder's error would tell a character of the seed.
    let length = alphabet.decode_mut(&kept, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(Secret::new(std::mem::take(&mut *decoded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: Encoding, written: &[u8]) -> Result<Vec<u8>, SeedError> {
        encoding
            .decode(&Secret::new(written.to_vec()))
            .map(|seed| seed.expose().to_vec())
    }

    #[test]
    fn seeds_are_read_as_they_are_written_on_paper() {
        // RFC 6238 appendix B: the ASCII seed of its test vectors.
        let seed = b"12345678901234567890".to_vec();
        for written in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ\r",
            "GEZDGNBVGY3TQOJQ\r\nGEZDGNBVGY3TQOJQ\r\n",
        ] {
            assert_eq!(
                decode(Encoding::Base32, written.as_bytes()),
                Ok(seed.clone()),
                "{written}"
            );
        }
        for written in [
            "3132333435363738393031323334353637383930",
            "31323334 35363738 39303132 33343536 37383930",
        ] {
            assert_eq!(decode(Encoding::Hex, written.as_bytes()), Ok(seed.clone()), "{written}");
        }
        assert_eq!(decode(Encoding::Hex, b"0aFf0aFf0aFf0aFf0aFf"), Ok([10, 255].repeat(5)));
        assert_eq!(decode(Encoding::Raw, &seed), Ok(seed));
    }

    #[test]
    fn padding_may_be_there_or_not() {
        // Ten bytes need no padding, eleven need six signs.
        for written in ["GEZDGNBVGY3TQOJQGE", "GEZDGNBVGY3TQOJQGE======"] {
            assert_eq!(
                decode(Encoding::Base32, written.as_bytes()),
                Ok(b"12345678901".to_vec())
            );
        }
    }

    #[test]
    fn bits_left_over_at_the_end_say_nothing() {
        for written in ["GEZDGNBVGY3TQOJQGE", "GEZDGNBVGY3TQOJQGH", "gezd gnbv gy3t qojq g7"] {
            let seed = decode(Encoding::Base32, written.as_bytes()).expect("a seed");
            assert_eq!(seed.get(..10), Some(&b"1234567890"[..]), "{written}");
            assert_eq!(seed.len(), 11);
        }
    }

    #[test]
    fn a_raw_seed_is_taken_as_it_is() {
        let seed = b"- =\r\n- =\r\n\0";
        assert_eq!(decode(Encoding::Raw, seed), Ok(seed.to_vec()));
    }

    #[test]
    fn what_is_no_seed_is_not_quoted() {
        assert_eq!(
            decode(Encoding::Base32, b"GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1"),
            Err(SeedError::NotBase32)
        );
        assert_eq!(
            decode(Encoding::Base32, b"GEZDGNBVGY3TQOJQG"),
            Err(SeedError::NotBase32)
        );
        assert_eq!(decode(Encoding::Hex, b"31323"), Err(SeedError::NotHex));
        assert_eq!(decode(Encoding::Hex, b"3132333435363738393g"), Err(SeedError::NotHex));
        assert_eq!(decode(Encoding::Hex, b""), Err(SeedError::Length(0)));
    }

    #[test]
    fn lengths_are_those_of_the_generator() {
        for length in [0, 9, 129] {
            assert_eq!(decode(Encoding::Raw, &vec![7; length]), Err(SeedError::Length(length)));
        }
        for length in [10, 16, 20, 64, 65, 128] {
            assert_eq!(decode(Encoding::Raw, &vec![7; length]), Ok(vec![7; length]));
        }
        let text = SeedError::Length(3).to_string();
        assert!(text.contains("3 bytes") && text.contains("10 to 128"), "{text}");
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_written_is_a_seed_or_an_error(written in proptest::collection::vec(0_u8.., 0..400)) {
            for encoding in [Encoding::Base32, Encoding::Hex, Encoding::Raw] {
                if let Ok(seed) = decode(encoding, &written) {
                    proptest::prop_assert!((MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()));
                }
            }
        }

        #[test]
        fn what_was_encoded_is_decoded(seed in proptest::collection::vec(0_u8.., 10..=128)) {
            let base32 = data_encoding::BASE32.encode(&seed);
            proptest::prop_assert_eq!(decode(Encoding::Base32, base32.as_bytes()), Ok(seed.clone()));
            let hex = data_encoding::HEXLOWER.encode(&seed);
            proptest::prop_assert_eq!(decode(Encoding::Hex, hex.as_bytes()), Ok(seed));
        }
    }
}
