//! Initial PINs that nobody chose: drawn evenly, within the key's rules, and none that somebody would guess first.

use zeroize::Zeroizing;

use crate::lifecycle::Refusal;
use crate::types::Secret;

/// Shortest PIN that is drawn, whatever the key would take: eight tries against a million.
const LEAST: u8 = 6;
const DIGITS: &[u8] = b"0123456789";
/// Without those that are taken for one another: i, l, o, 0, 1.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// A draw is thrown away about once in a hundred; so many in a row mean a broken source.
const DRAWS: usize = 64;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    length: u8,
    letters: bool,
}

impl Wanted {
    /// Within what the key takes. ASCII, so that a character is a code point and a byte.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] for a length that the key or we do not take.
    pub fn within(length: Option<u8>, letters: bool, least: u8, most: u8) -> Result<Self, Refusal> {
        let least = least.max(LEAST);
        let length = length.unwrap_or(least);
        if !(least..=most).contains(&length) {
            return Err(Refusal::Invalid(format!(
                "a PIN that is drawn for this key has {least} to {most} characters"
            )));
        }
        Ok(Self { length, letters })
    }
}

/// A PIN that was drawn.
pub struct Drawn {
    /// The PIN.
    pub secret: Secret,
}

impl Drawn {
    /// The same once more, for its way out.
    pub fn copy(&self) -> Secret {
        // Exposed to be handed out.
        Secret::new(self.secret.expose().to_vec())
    }
}

/// Draws one.
///
/// # Errors
/// [`Refusal::Internal`] from a source of random numbers that gives none, or always the same.
pub fn draw(wanted: Wanted, mut random: impl FnMut(&mut [u8]) -> Result<(), Refusal>) -> Result<Drawn, Refusal> {
    let alphabet = if wanted.letters { LETTERS } else { DIGITS };
    for _ in 0..DRAWS {
        let mut pin = Zeroizing::new(Vec::with_capacity(usize::from(wanted.length)));
        let mut byte = Zeroizing::new([0_u8]);
        for _ in 0..usize::from(wanted.length) * DRAWS {
            if pin.len() == usize::from(wanted.length) {
                break;
            }
            random(byte.as_mut_slice())?;
            // Bytes beyond the last whole multiple would make the first characters likelier.
            let whole = 256 / alphabet.len() * alphabet.len();
            let [number] = *byte;
            if usize::from(number) < whole {
                pin.extend(alphabet.get(usize::from(number) % alphabet.len()));
            }
        }
        if pin.len() == usize::from(wanted.length) && !is_trivial(&pin) {
            return Ok(Drawn {
                secret: Secret::new(std::mem::take(&mut *pin)),
            });
        }
    }
    Err(Refusal::Internal("the host's random numbers are not random"))
}

/// What people try first: few characters, runs, repeated pieces, mirrored halves, dates.
fn is_trivial(pin: &[u8]) -> bool {
    let distinct = pin.iter().collect::<std::collections::BTreeSet<_>>().len();
    let steps: Vec<i16> = pin
        .iter()
        .zip(pin.iter().skip(1))
        .map(|(one, two)| i16::from(*two) - i16::from(*one))
        .collect();
    // Four in a row up, down or the same, anywhere.
    let runs = steps
        .windows(3)
        .any(|run| [[0; 3], [1; 3], [-1; 3]].iter().any(|known| run == known));
    let repeats = (1..=pin.len() / 2).any(|length| {
        let mut pieces = pin.chunks(length);
        let first = pieces.next();
        pin.len().is_multiple_of(length) && pieces.all(|piece| Some(piece) == first)
    });
    let mirrored = pin.iter().eq(pin.iter().rev());
    distinct < 4 || runs || repeats || mirrored || is_date(pin)
}

/// Six or eight digits that read as a day: DDMMYY, MMDDYY, YYMMDD, and with a century.
fn is_date(pin: &[u8]) -> bool {
    let two = |at: usize| {
        let digits = pin.get(at..at + 2)?;
        std::str::from_utf8(digits).ok()?.parse::<u8>().ok()
    };
    let day_month = |one: Option<u8>, other: Option<u8>| match (one, other) {
        (Some(one), Some(other)) => {
            ((1..=31).contains(&one) && (1..=12).contains(&other))
                || ((1..=12).contains(&one) && (1..=31).contains(&other))
        }
        _ => false,
    };
    let century = |at: usize| matches!(two(at), Some(19 | 20));
    match pin.len() {
        6 => day_month(two(0), two(2)) || day_month(two(2), two(4)),
        8 => (day_month(two(0), two(2)) && century(4)) || (century(0) && day_month(two(4), two(6))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(seed: u64) -> impl FnMut(&mut [u8]) -> Result<(), Refusal> {
        // SplitMix64: even, and the same every time.
        let mut state = seed;
        move |buffer| {
            for byte in buffer {
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                [*byte, ..] = (z ^ (z >> 31)).to_le_bytes();
            }
            Ok(())
        }
    }

    #[test]
    fn what_people_try_first_is_never_drawn() {
        for trivial in [
            "000000", "123456", "654321", "121212", "123123", "112211", "345612", "200799", "071299", "990712",
            "111222", "19991231", "31121999", "aaaabbb", "9012345",
        ] {
            assert!(is_trivial(trivial.as_bytes()), "{trivial}");
        }
        for fine in ["803517", "59407263", "k7m2qx", "94816075"] {
            assert!(!is_trivial(fine.as_bytes()), "{fine}");
        }
    }

    #[test]
    fn every_character_is_drawn_as_often_and_the_length_is_what_the_key_wants() {
        let mut random = source(0xC1A71);
        let wanted = Wanted::within(None, false, 8, 63).unwrap();
        let mut counts = [0_u32; 10];
        for _ in 0..20_000 {
            let pin = draw(wanted, &mut random).unwrap();
            assert_eq!(pin.secret.len(), 8);
            for digit in pin.secret.expose() {
                counts[usize::from(digit - b'0')] += 1;
            }
        }
        // 16,000 each, standard deviation about 120; what is thrown away costs the ends of the row a little.
        assert!(
            counts.iter().all(|count| (15_200..=16_800).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn lengths_outside_the_rules_are_refused_with_what_would_do() {
        assert_eq!(Wanted::within(None, false, 4, 63).unwrap().length, LEAST);
        assert_eq!(Wanted::within(Some(12), true, 8, 63).unwrap().length, 12);
        for (length, least, most) in [(Some(5), 4, 63), (Some(7), 8, 63), (Some(9), 4, 8)] {
            let refused = Wanted::within(length, false, least, most).unwrap_err().to_string();
            assert!(refused.contains("characters"), "{refused}");
        }
    }

    #[test]
    fn a_source_that_always_says_the_same_is_noticed() {
        let drawn = draw(Wanted::within(None, false, 6, 63).unwrap(), |buffer| {
            buffer.fill(3);
            Ok(())
        });
        assert!(drawn.is_err());
    }
}
