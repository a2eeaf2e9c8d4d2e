//! A display fob: a seed, a clock of its own that is wrong by an offset and a rate, and a window with digits.

use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::oath::{self, Hash};

/// What moves a fob's code on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Moving {
    /// Time, in steps of so many seconds.
    Totp {
        /// The step in seconds, 30 or 60.
        period_s: u32,
    },
    /// A counter, stepped by the fob's button.
    Hotp {
        /// The counter the next press shows.
        counter: u64,
    },
}

/// A clock that runs beside true time.
///
/// It shows `true + offset + (true - since) * ppm / 1e6`: right on the offset at `since`, and drifting from there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FobClock {
    /// Seconds the clock is ahead of true time (negative: slow) at `since_unix_s`.
    pub offset_s: f64,
    /// Parts per million it gains; negative loses.
    pub ppm: f64,
    /// The true time at which the offset was exact.
    pub since_unix_s: i64,
}

impl FobClock {
    /// What the clock shows when it is truly `unix_s`, in seconds since 1970.
    pub fn shows(&self, unix_s: i64) -> i64 {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // seconds stay far below 2^52
        let drift = (self.offset_s + (unix_s - self.since_unix_s) as f64 * self.ppm / 1e6).floor() as i64;
        unix_s.saturating_add(drift)
    }
}

/// A display fob without any interface but its window.
#[derive(Clone, Debug)]
pub struct Fob {
    /// Printed on the back.
    pub serial: String,
    /// The shared secret.
    pub seed: Vec<u8>,
    /// The hash under the HMAC.
    pub hash: Hash,
    /// 6 or 8 digits.
    pub digits: u8,
    /// Time or counter.
    pub moving: Moving,
    /// The clock of a TOTP fob.
    pub clock: FobClock,
}

impl Fob {
    /// A fob with a fresh seed of the length its hash wants: 20, 32 or 64 bytes.
    pub fn new(serial: String, hash: Hash, digits: u8, moving: Moving, entropy: &mut Entropy) -> Self {
        let mut seed = vec![
            0;
            match hash {
                Hash::Sha1 => 20,
                Hash::Sha256 => 32,
                Hash::Sha512 => 64,
            }
        ];
        entropy.fill(&mut seed);
        let clock = FobClock {
            offset_s: 0.0,
            ppm: 0.0,
            since_unix_s: 0,
        };
        Self {
            serial,
            seed,
            hash,
            digits,
            moving,
            clock,
        }
    }

    /// What the window shows when it is truly `unix_s`. Looking at a HOTP fob does not press its button.
    pub fn code(&self, unix_s: i64) -> String {
        match self.moving {
            Moving::Totp { period_s } => {
                oath::totp(self.hash, &self.seed, self.clock.shows(unix_s), period_s, self.digits)
            }
            Moving::Hotp { counter } => oath::hotp(self.hash, &self.seed, counter, self.digits),
        }
    }

    /// Presses the button: a HOTP fob shows its next code and moves on; a TOTP fob merely lights up.
    pub fn press(&mut self, unix_s: i64) -> String {
        let shown = self.code(unix_s);
        if let Moving::Hotp { counter } = &mut self.moving {
            *counter = counter.saturating_add(1);
        }
        shown
    }

    /// Sets the clock wrong: `offset_s` seconds ahead from true time `unix_s` on, gaining `ppm`.
    pub fn drift(&mut self, offset_s: f64, ppm: f64, unix_s: i64) {
        self.clock = FobClock {
            offset_s,
            ppm,
            since_unix_s: unix_s,
        };
    }

    /// Seconds until a TOTP fob's window changes; `None` for HOTP.
    pub fn changes_in_s(&self, unix_s: i64) -> Option<i64> {
        match self.moving {
            Moving::Totp { period_s } => {
                let period = i64::from(period_s.max(1));
                Some(period - self.clock.shows(unix_s).rem_euclid(period))
            }
            Moving::Hotp { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fob(moving: Moving) -> Fob {
        Fob::new("F1".into(), Hash::Sha1, 6, moving, &mut Entropy::seeded(1, "fob"))
    }

    #[test]
    fn a_slow_clock_shows_the_code_of_an_earlier_time() {
        let mut slow = fob(Moving::Totp { period_s: 30 });
        let right = slow.clone();
        slow.drift(-540.0, 0.0, 1_800_000_000);
        assert_eq!(slow.code(1_800_000_000), right.code(1_800_000_000 - 540));
        assert_ne!(slow.code(1_800_000_000), right.code(1_800_000_000));
    }

    #[test]
    fn ten_ppm_are_about_five_minutes_a_year() {
        let clock = FobClock {
            offset_s: 0.0,
            ppm: 10.0,
            since_unix_s: 0,
        };
        assert_eq!(clock.shows(365 * 86_400) - 365 * 86_400, 315);
        let losing = FobClock { ppm: -10.0, ..clock };
        assert_eq!(losing.shows(365 * 86_400) - 365 * 86_400, -316);
    }

    #[test]
    fn a_hotp_fob_moves_only_when_pressed() {
        let mut fob = fob(Moving::Hotp { counter: 0 });
        let first = fob.code(0);
        assert_eq!(fob.code(0), first);
        assert_eq!(fob.press(0), first);
        assert_ne!(fob.code(0), first);
    }
}
