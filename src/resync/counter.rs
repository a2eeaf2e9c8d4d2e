//! Event tokens (HOTP): a counter that runs ahead by presses nobody sent (RFC 4226 section 7.2 to 7.4).

use crate::codec::oath::{Code, Generator, MAX_CODES, MIN_CODES, Number};

/// Look-ahead that is never exceeded, whatever the caller asks for.
pub const MAX_LOOK_AHEAD: u32 = 1_000;
/// Look-ahead for one code: presses in a pocket. A token that counts before it computes is one ahead from the start, which is
/// within it.
pub const TEST_LOOK_AHEAD: u32 = 10;
/// Look-ahead for two or three consecutive codes.
pub const RESYNC_LOOK_AHEAD: u32 = 100;

/// What codes of an event token are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum CounterVerdict {
    /// The last code is that of `counter`.
    Accepted {
        /// Counter of the last code.
        counter: u64,
        /// Least counter that may be used from now on: the value to store.
        next_counter: u64,
    },
    /// They are not in the look-ahead, or in more than one place.
    Rejected,
}

/// One code within `look_ahead` counters from `next_counter` on; 10 is usual.
pub fn accept_counter(generator: &Generator, next_counter: u64, code: &Code, look_ahead: u32) -> CounterVerdict {
    search(generator, next_counter, std::slice::from_ref(code), look_ahead)
}

/// Two to four consecutive codes, the first of them within `look_ahead` counters (at most 1,000; 100 is usual).
pub fn search_counters(generator: &Generator, next_counter: u64, codes: &[Code], look_ahead: u32) -> CounterVerdict {
    if !(MIN_CODES..=MAX_CODES).contains(&codes.len()) {
        return CounterVerdict::Rejected;
    }
    search(generator, next_counter, codes, look_ahead)
}

/// Computes every counter of the look-ahead once, whatever matches. A code that two counters show is refused: taken for the
/// lower one it could be used again, taken for the higher one it would leave the token behind.
fn search(generator: &Generator, next_counter: u64, codes: &[Code], look_ahead: u32) -> CounterVerdict {
    let starts = u64::from(look_ahead.clamp(1, MAX_LOOK_AHEAD));
    let run = codes.len() as u64 - 1;
    let Some(end) = next_counter.checked_add(starts + run) else {
        return CounterVerdict::Rejected;
    };
    // Bit i of an entry: this counter shows code i.
    let numbers: Vec<Number> = codes.iter().map(Number::from).collect();
    let matches: Vec<u8> = (next_counter..end)
        .map(|counter| generator.shows(counter, &numbers))
        .collect();
    let (mut found, mut counter) = (0_u32, 0_u64);
    for (start, window) in (next_counter..end).zip(matches.windows(codes.len())) {
        let all = window
            .iter()
            .enumerate()
            .fold(1, |all, (index, bits)| all & bits >> index);
        found += u32::from(all);
        counter |= u64::from(all).wrapping_neg() & (start + run);
    }
    if found == 1 {
        CounterVerdict::Accepted {
            counter,
            next_counter: counter + 1,
        }
    } else {
        CounterVerdict::Rejected
    }
}
