//! One-time passwords: HOTP (RFC 4226) and TOTP (RFC 6238) values, and the arithmetic between steps and time.
//!
//! HMAC and hashes are the RustCrypto crates'. The tests hold every value against `totp-rs`, which would make the codes themselves
//! but keys every HMAC anew: half of the work of a search over a day, where one seed makes thousands of codes. Which step a code
//! may come from is decided in [`crate::resync`].

use std::cell::Cell;
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::types::{OathAlgorithm, Secret, UnixMillis};

/// Fewest digits of a code (RFC 4226 section 5.3, R4).
pub const MIN_DIGITS: u8 = 6;
/// Most digits of a code. RFC 4226 goes no further: the truncated value has 31 bits.
pub const MAX_DIGITS: u8 = 8;
/// Shortest time step in seconds.
pub const MIN_PERIOD_S: u32 = 1;
/// Longest time step in seconds that we take for real: one day.
pub const MAX_PERIOD_S: u32 = 86_400;
/// Shortest seed in bytes. RFC 4226 section 4 (R6) wants 128 bits; fobs with 80 are deployed and their owners cannot change
/// them, shorter ones do not exist.
pub const MIN_SEED_LEN: usize = 10;
/// Longest seed in bytes: the longest HMAC block (SHA-512's is 1024 bits). Longer keys are hashed first (RFC 2104), no maker
/// ships one.
pub const MAX_SEED_LEN: usize = 128;
/// Fewest codes that measure a clock nobody knows: one alone fits too many offsets.
pub const MIN_CODES: usize = 2;
/// Most codes of one search: more prove nothing more, and each costs a person half a minute.
pub const MAX_CODES: usize = 4;
/// Longest text that is looked at as a code; people type spaces and hyphens into it.
const MAX_CODE_TEXT: usize = 32;
const CODE_BUFFER: usize = MAX_DIGITS as usize;

/// Why there is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OathError {
    /// Digits outside 6 to 8.
    #[error("a code has 6 to 8 digits, not {0}")]
    Digits(u8),
    /// Period of 0 or beyond a day.
    #[error("a time step lasts {MIN_PERIOD_S} to {MAX_PERIOD_S} seconds, not {0}")]
    Period(u32),
    /// Seed that is too short or too long.
    #[error("a seed has {MIN_SEED_LEN} to {MAX_SEED_LEN} bytes, not {0}")]
    SeedLength(usize),
    /// Text that is not a code. The text itself is not repeated: it may be somebody's password.
    #[error("a code consists of 6 to 8 digits")]
    Malformed,
}

/// What makes the codes of one credential, apart from its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OathParameters {
    algorithm: OathAlgorithm,
    digits: u8,
    period_s: u32,
}

impl OathParameters {
    /// Checked parameters.
    ///
    /// # Errors
    /// [`OathError::Digits`] unless 6 to 8; [`OathError::Period`] unless 1 to 86,400 s.
    pub const fn new(algorithm: OathAlgorithm, digits: u8, period_s: u32) -> Result<Self, OathError> {
        if digits < MIN_DIGITS || digits > MAX_DIGITS {
            return Err(OathError::Digits(digits));
        }
        if period_s < MIN_PERIOD_S || period_s > MAX_PERIOD_S {
            return Err(OathError::Period(period_s));
        }
        Ok(Self {
            algorithm,
            digits,
            period_s,
        })
    }

    /// Hash.
    #[must_use]
    pub const fn algorithm(&self) -> OathAlgorithm {
        self.algorithm
    }

    /// Length of a code, 6 to 8.
    #[must_use]
    pub const fn digits(&self) -> u8 {
        self.digits
    }

    /// Time step in seconds; without meaning for HOTP.
    #[must_use]
    pub const fn period_s(&self) -> u32 {
        self.period_s
    }

    /// Time step in milliseconds.
    #[must_use]
    pub const fn period_ms(&self) -> i64 {
        self.period_s as i64 * 1000
    }

    /// The step that contains `time`; steps before 1970 count as step 0.
    #[must_use]
    pub fn step_at(&self, time: UnixMillis) -> u64 {
        u64::try_from(time.0.div_euclid(self.period_ms())).unwrap_or(0)
    }

    /// First instant of a step, saturating.
    #[must_use]
    pub fn start_of(&self, step: u64) -> UnixMillis {
        UnixMillis(i64::try_from(step).unwrap_or(i64::MAX).saturating_mul(self.period_ms()))
    }

    /// Middle of a step, saturating: the best single guess at the time a code of it was on display.
    #[must_use]
    pub fn middle_of(&self, step: u64) -> UnixMillis {
        self.start_of(step).plus_ms(self.period_ms() / 2)
    }
}

impl Default for OathParameters {
    /// What nearly every fob does: SHA-1, six digits, 30 seconds.
    fn default() -> Self {
        Self {
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            period_s: 30,
        }
    }
}

/// A one-time password: 6 to 8 digits of fixed length. Compared in constant time, wiped when dropped, never printed by
/// `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Code {
    /// ASCII digits, unused places zero.
    text: [u8; CODE_BUFFER],
    length: u8,
}

impl Code {
    /// Reads what a person typed. Spaces and hyphens between the digits are ignored, for displays show groups.
    ///
    /// # Errors
    /// [`OathError::Malformed`] when anything else is in it, or it has fewer than 6 or more than 8 digits.
    pub fn parse(typed: &str) -> Result<Self, OathError> {
        if typed.len() > MAX_CODE_TEXT {
            return Err(OathError::Malformed);
        }
        let mut code = Self::blank();
        for byte in typed.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            if !byte.is_ascii_digit() {
                return Err(OathError::Malformed);
            }
            code.push(byte)?;
        }
        if code.length < MIN_DIGITS {
            return Err(OathError::Malformed);
        }
        Ok(code)
    }

    /// The code of a dynamically truncated HMAC (RFC 4226 section 5.3): `value` modulo 10^`digits`; the sign bit is ignored.
    ///
    /// # Errors
    /// [`OathError::Digits`] unless 6 to 8.
    pub fn from_truncated(value: u32, digits: u8) -> Result<Self, OathError> {
        if !(MIN_DIGITS..=MAX_DIGITS).contains(&digits) {
            return Err(OathError::Digits(digits));
        }
        let mut code = Self::blank();
        code.fill(value, digits);
        Ok(code)
    }

    /// The digits. For a display or a card; never for a log.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text
            .get(..usize::from(self.length))
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or_default()
    }

    /// Number of digits.
    #[must_use]
    pub const fn digits(&self) -> u8 {
        self.length
    }

    const fn blank() -> Self {
        Self {
            text: [0; CODE_BUFFER],
            length: 0,
        }
    }

    /// Writes the last `digits` decimal digits of the 31 bits, leading zeros included.
    fn fill(&mut self, value: u32, digits: u8) {
        let mut rest = value & 0x7FFF_FFFF;
        for place in self.text.iter_mut().take(usize::from(digits)).rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        self.length = digits;
    }

    fn push(&mut self, digit: u8) -> Result<(), OathError> {
        *self
            .text
            .get_mut(usize::from(self.length))
            .ok_or(OathError::Malformed)? = digit;
        self.length += 1;
        Ok(())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({} digits)", self.length)
    }
}

impl ConstantTimeEq for Code {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.text.ct_eq(&other.text) & self.length.ct_eq(&other.length)
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Code {}

#[cfg(test)]
thread_local! {
    /// HMACs of this thread by all generators: a test of a verb does not see which ones it makes.
    pub(crate) static COMPUTED: Cell<u64> = const { Cell::new(0) };
}

/// Makes the codes of one credential and counts how many it made, so that a test can see that a search did the same work
/// whatever it found.
pub struct Generator {
    keyed: Keyed,
    parameters: OathParameters,
    computed: Cell<u64>,
}

impl Generator {
    /// Takes what the seed makes of an HMAC, wiped when the generator is dropped.
    ///
    /// # Errors
    /// [`OathError::SeedLength`] unless [`MIN_SEED_LEN`] to [`MAX_SEED_LEN`] bytes.
    pub fn new(seed: &Secret, parameters: OathParameters) -> Result<Self, OathError> {
        if !(MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()) {
            return Err(OathError::SeedLength(seed.len()));
        }
        Ok(Self {
            keyed: Keyed::new(seed, parameters.algorithm)?,
            parameters,
            computed: Cell::new(0),
        })
    }

    /// The code of a step (TOTP) or counter (HOTP).
    #[must_use]
    pub fn code(&self, step: u64) -> Code {
        let mut code = Code::blank();
        code.fill(self.truncated(step), self.parameters.digits);
        code
    }

    /// For each of `codes` one bit, the first lowest: whether a step shows it. One HMAC, and comparisons in constant time. Codes
    /// beyond the eighth are not looked at.
    #[must_use]
    pub fn shows(&self, step: u64, codes: &[Number]) -> u8 {
        let shown = Number::of(self.truncated(step), self.parameters.digits);
        let bits = codes.iter().take(8).enumerate();
        bits.fold(0, |bits, (at, code)| bits | code.0.ct_eq(&shown.0).unwrap_u8() << at)
    }

    /// The truncated HMAC, of which a code is the last digits.
    fn truncated(&self, step: u64) -> u32 {
        self.computed.set(self.computed.get().saturating_add(1));
        #[cfg(test)]
        COMPUTED.set(COMPUTED.get() + 1);
        self.keyed.truncated(step)
    }

    /// What the codes are made with.
    #[must_use]
    pub const fn parameters(&self) -> &OathParameters {
        &self.parameters
    }

    /// Number of HMACs so far.
    #[must_use]
    pub fn computed(&self) -> u64 {
        self.computed.get()
    }
}

/// An HMAC that has taken its key in: the two blocks of the key (RFC 2104 section 4) are hashed once for all codes. The crates wipe
/// these states, and each copy of them, when they are dropped.
enum Keyed {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
}

impl Keyed {
    fn new(seed: &Secret, algorithm: OathAlgorithm) -> Result<Self, OathError> {
        // HMAC takes keys of any length; the type of the crate's constructor does not say so.
        let length = |_| OathError::SeedLength(seed.len());
        let key = seed.expose();
        Ok(match algorithm {
            OathAlgorithm::Sha1 => Self::Sha1(Hmac::new_from_slice(key).map_err(length)?),
            OathAlgorithm::Sha256 => Self::Sha256(Hmac::new_from_slice(key).map_err(length)?),
            OathAlgorithm::Sha512 => Self::Sha512(Hmac::new_from_slice(key).map_err(length)?),
        })
    }

    fn truncated(&self, step: u64) -> u32 {
        match self {
            Self::Sha1(keyed) => truncate(&mac(keyed, step)),
            Self::Sha256(keyed) => truncate(&mac(keyed, step)),
            Self::Sha512(keyed) => truncate(&mac(keyed, step)),
        }
    }
}

/// HMAC over the moving factor, eight bytes, the most significant first (RFC 4226 section 5.1).
fn mac<M: Mac + Clone>(keyed: &M, step: u64) -> hmac::digest::Output<M> {
    keyed.clone().chain_update(step.to_be_bytes()).finalize().into_bytes()
}

/// Dynamic truncation (RFC 4226 section 5.3): four bytes from where the last nibble points, without the sign. An HMAC has at least
/// 20 bytes, so they are always there.
fn truncate(hmac: &[u8]) -> u32 {
    let offset = usize::from(hmac.last().copied().unwrap_or(0) & 0x0F);
    let window = hmac.get(offset..).and_then(|rest| rest.first_chunk::<4>());
    u32::from_be_bytes(window.copied().unwrap_or_default()) & 0x7FFF_FFFF
}

/// A code as the number that it is, told apart by its length, to be compared with many steps. Wiped when dropped, never printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Number(u64);

impl Number {
    fn of(truncated: u32, digits: u8) -> Self {
        let modulus = 10_u32.saturating_pow(u32::from(digits));
        Self(u64::from(digits) << 32 | u64::from(truncated.checked_rem(modulus).unwrap_or(0)))
    }
}

impl From<&Code> for Number {
    fn from(code: &Code) -> Self {
        let digits = code.text.iter().take(usize::from(code.length));
        let value = digits.fold(0_u32, |value, digit| {
            value.wrapping_mul(10).wrapping_add(u32::from(digit.wrapping_sub(b'0')))
        });
        Self::of(value, code.length)
    }
}

/// One code of one step (TOTP) or counter (HOTP).
///
/// # Errors
/// [`OathError::SeedLength`].
pub fn code_at_step(seed: &Secret, parameters: &OathParameters, step: u64) -> Result<Code, OathError> {
    Ok(Generator::new(seed, *parameters)?.code(step))
}

#[cfg(test)]
#[path = "oath_tests.rs"]
mod tests;
