//! The generator: a fob's clock over its life, and the habits of who uses it.
//!
//! Rate N(0, 4 ppm), one in twenty N(0, 12 ppm); a room of 22 ± 3 °C with a seasonal swing of 4 °C; a tuning-fork crystal loses
//! 0.034 ppm per square degree away from 25 °C; up to 18 months on a shelf before the first use; five years in use.

use std::f64::consts::TAU;

use claviger::types::UnixMillis;

use super::random::Random;

pub const DAY_S: f64 = 86_400.0;
const YEAR_S: f64 = 365.25 * DAY_S;
/// Five years of use.
pub const LIFE_S: f64 = 5.0 * YEAR_S;
/// When the first fob is handed out: 2026-01-01.
const BEGIN_S: f64 = 1_767_225_600.0;
/// Seconds of a step.
pub const STEP_S: f64 = 30.0;
/// Loss per square degree away from the turnover at 25 °C.
const PARABOLA: f64 = -0.034e-6;
const TURNOVER_C: f64 = 25.0;
const SEASON_C: f64 = 4.0;

/// How often somebody uses a fob: mean days between logins, which come at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Habit {
    pub name: &'static str,
    pub half_days: u32,
}

impl Habit {
    pub fn mean_s(self) -> f64 {
        f64::from(self.half_days) / 2.0 * DAY_S
    }
}

/// In the order of the table.
pub const HABITS: [Habit; 4] = [
    Habit {
        name: "daily",
        half_days: 3,
    },
    Habit {
        name: "weekly",
        half_days: 14,
    },
    Habit {
        name: "monthly",
        half_days: 60,
    },
    Habit {
        name: "halfyearly",
        half_days: 364,
    },
];

/// A clock with a crystal and a room. Times are seconds since it was handed out.
#[derive(Debug, Clone)]
pub struct Fob {
    rate: f64,
    /// Room less turnover, in degrees.
    cool: f64,
    phase: f64,
    /// What makes the offset 0 when it left the factory.
    zero: f64,
    /// What happens to it besides: (from, seconds it jumps by).
    pub jumps: Vec<(f64, f64)>,
}

impl Fob {
    pub fn draw(random: &mut Random) -> Self {
        let sd = if random.uniform() < 0.05 { 12.0 } else { 4.0 };
        let rate = random.normal(sd) * 1e-6;
        let cool = 22.0 + random.normal(3.0) - TURNOVER_C;
        let phase = random.between(0.0, TAU);
        let shelf = random.between(0.0, 1.5 * YEAR_S);
        Self::new(rate, cool, phase, shelf)
    }

    fn new(rate: f64, cool: f64, phase: f64, shelf: f64) -> Self {
        let mut fob = Self {
            rate,
            cool,
            phase,
            zero: 0.0,
            jumps: Vec::new(),
        };
        fob.zero = -fob.drift(-shelf);
        fob
    }

    /// For the stress cases: constant rate in ppm, right when handed out.
    pub fn steady(ppm: f64) -> Self {
        let mut fob = Self::new(ppm * 1e-6, -SEASON_C, 0.0, 0.0);
        fob.zero = 0.0;
        fob.rate -= PARABOLA * (fob.cool * fob.cool + SEASON_C * SEASON_C / 2.0);
        fob
    }

    /// The integral of the rate: constant part, and the parabola over `cool + season · sin`.
    fn drift(&self, t: f64) -> f64 {
        let omega = TAU / YEAR_S;
        let angle = omega * t + self.phase;
        let (sin, cos) = angle.sin_cos();
        let squares = (self.cool * self.cool + SEASON_C * SEASON_C / 2.0) * t
            - 2.0 * self.cool * SEASON_C * cos / omega
            - SEASON_C * SEASON_C * sin * cos / (2.0 * omega);
        self.rate * t + PARABOLA * squares
    }

    /// Token clock minus true time, in seconds.
    pub fn offset(&self, t: f64) -> f64 {
        let jumped: f64 = self.jumps.iter().filter(|(at, _)| *at <= t).map(|(_, by)| by).sum();
        self.zero + self.drift(t) + jumped
    }

    /// The step on its display.
    pub fn step(&self, t: f64) -> u64 {
        ((BEGIN_S + t + self.offset(t)) / STEP_S).max(0.0) as u64
    }

    /// When the display moves on after `t`.
    pub fn next_step(&self, t: f64) -> f64 {
        let shown = BEGIN_S + t + self.offset(t);
        t + STEP_S - shown.rem_euclid(STEP_S)
    }
}

/// The true time as a host with a right clock stamps it.
pub fn stamp(t: f64) -> UnixMillis {
    UnixMillis(((BEGIN_S + t) * 1000.0) as i64)
}
