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

    /// Seconds it is ahead when it is truly `unix_s`.
    #[expect(clippy::cast_precision_loss)] // seconds stay far below 2^52
    fn ahead(&self, unix_s: i64) -> f64 {
        self.offset_s + (unix_s - self.since_unix_s) as f64 * self.ppm / 1e6
    }
}

/// What befalls a fob in five years of a pocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Mishap {
    /// The battery ends: the window is dark, the clock stands still.
    BatteryDies,
    /// A new battery: the clock goes on from where it stood, or from the factory's epoch; a counter then begins anew.
    NewBattery {
        /// Whether clock and counter were lost.
        #[serde(default)]
        factory: bool,
    },
    /// Somebody set it by a clock on the wall: it is ahead of UTC by the zone's and the summer time's offset.
    LocalTime {
        /// The offset in seconds, 7200 for Central European Summer Time.
        seconds: i32,
    },
    /// The clock jumps.
    Step {
        /// Seconds forward; negative is back.
        seconds: i32,
    },
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
    /// Whether a HOTP fob counts before it computes: with counter 0 the first code is that of 1.
    pub counts_first: bool,
    /// What the clock shows after its power was lost, in seconds since 1970.
    pub factory_unix_s: i64,
    /// With a dead battery: what the clock showed last.
    stood: Option<i64>,
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
            counts_first: false,
            factory_unix_s: 946_684_800,
            stood: None,
        }
    }

    /// What its clock shows when it is truly `unix_s`, in seconds since 1970.
    pub fn shows(&self, unix_s: i64) -> i64 {
        self.stood.unwrap_or_else(|| self.clock.shows(unix_s))
    }

    /// Whether its battery is dead.
    pub fn is_dead(&self) -> bool {
        self.stood.is_some()
    }

    /// What the window shows when it is truly `unix_s`: nothing with a dead battery, dashes without a seed. Looking at a HOTP fob
    /// does not press its button.
    pub fn code(&self, unix_s: i64) -> String {
        if self.is_dead() {
            return String::new();
        }
        if self.seed.is_empty() {
            return "-".repeat(usize::from(self.digits));
        }
        match self.moving {
            Moving::Totp { period_s } => {
                oath::totp(self.hash, &self.seed, self.clock.shows(unix_s), period_s, self.digits)
            }
            Moving::Hotp { counter } => {
                let counter = counter.saturating_add(u64::from(self.counts_first));
                oath::hotp(self.hash, &self.seed, counter, self.digits)
            }
        }
    }

    /// Presses the button: a HOTP fob shows its next code and moves on; a TOTP fob merely lights up.
    pub fn press(&mut self, unix_s: i64) -> String {
        let shown = self.code(unix_s);
        if self.is_dead() {
            return shown;
        }
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

    /// Sets the clock: it shows `shown` when it is truly `unix_s`, and drifts on as fast as before.
    pub fn set_clock(&mut self, shown: i64, unix_s: i64) {
        #[expect(clippy::cast_precision_loss)] // seconds stay far below 2^52
        let offset_s = shown.saturating_sub(unix_s) as f64;
        self.drift(offset_s, self.clock.ppm, unix_s);
    }

    /// Lets something befall it at true time `unix_s`.
    pub fn suffer(&mut self, mishap: Mishap, unix_s: i64) {
        match mishap {
            Mishap::BatteryDies => self.stood = Some(self.shows(unix_s)),
            Mishap::NewBattery { factory } => {
                let stood = self.stood.take().unwrap_or_else(|| self.clock.shows(unix_s));
                self.set_clock(if factory { self.factory_unix_s } else { stood }, unix_s);
                if let (true, Moving::Hotp { counter }) = (factory, &mut self.moving) {
                    *counter = 0;
                }
            }
            Mishap::LocalTime { seconds } => self.set_clock(unix_s.saturating_add(i64::from(seconds)), unix_s),
            Mishap::Step { seconds } => {
                let offset_s = self.clock.ahead(unix_s) + f64::from(seconds);
                self.drift(offset_s, self.clock.ppm, unix_s);
            }
        }
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

    #[test]
    fn some_hotp_fobs_count_before_they_compute() {
        let mut early = fob(Moving::Hotp { counter: 0 });
        let mut late = Fob {
            counts_first: true,
            ..early.clone()
        };
        early.press(0);
        assert_eq!(late.press(0), early.press(0));
        assert_eq!(late.press(0), early.press(0));
    }

    #[test]
    fn a_dead_battery_darkens_the_window_and_a_new_one_may_lose_the_time() {
        const NOW: i64 = 1_800_000_000;
        let mut fob = fob(Moving::Totp { period_s: 30 });
        let right = fob.clone();
        fob.suffer(Mishap::BatteryDies, NOW);
        assert_eq!((fob.code(NOW + 60), fob.shows(NOW + 60)), (String::new(), NOW));
        let mut kept = fob.clone();
        kept.suffer(Mishap::NewBattery { factory: false }, NOW + 3600);
        assert_eq!(kept.code(NOW + 3600), right.code(NOW));
        fob.suffer(Mishap::NewBattery { factory: true }, NOW + 3600);
        assert_eq!(fob.shows(NOW + 3600 + 45), 946_684_800 + 45);
    }

    #[test]
    fn clocks_jump_and_are_set_by_the_wall() {
        const NOW: i64 = 1_800_000_000;
        let mut fob = fob(Moving::Totp { period_s: 30 });
        fob.drift(-100.0, 10.0, NOW - 1_000_000);
        fob.suffer(Mishap::Step { seconds: 3600 }, NOW);
        assert_eq!(fob.shows(NOW), NOW - 100 + 10 + 3600);
        assert_eq!(fob.shows(NOW + 1_000_000), NOW + 1_000_000 - 100 + 20 + 3600);
        fob.suffer(Mishap::LocalTime { seconds: 7200 }, NOW);
        assert_eq!(fob.shows(NOW), NOW + 7200);
    }
}
