//! Random numbers that are the same everywhere: SplitMix64 and what is drawn from it.

use std::f64::consts::TAU;

/// A seeded stream.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    /// How far typing delays spread: the standard deviation of their logarithm.
    spread: f64,
}

/// With it the last-offset way of docs/adr/0005 comes out near what stands there.
pub const USUAL_SPREAD: f64 = 0.6;
/// People who are slow more often: delays with the variance of 70 s² that R = 145 s² rests on.
pub const WIDE_SPREAD: f64 = 0.7;

impl Random {
    /// A stream of its own for each `(seed, stream)`.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self {
            state: seed ^ stream.wrapping_mul(0xD134_2543_DE82_EF95),
            spread: USUAL_SPREAD,
        };
        random.next();
        random
    }

    /// The same stream of slower people.
    pub fn typing(self, spread: f64) -> Self {
        Self { spread, ..self }
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `low..high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform in `0..bound`, to a part in 2^44 for a million.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Normal with mean 0 (Box and Muller).
    pub fn normal(&mut self, sd: f64) -> f64 {
        sd * (-2.0 * (1.0 - self.uniform()).ln()).sqrt() * (TAU * self.uniform()).cos()
    }

    /// Exponential: the time to the next of events that come at random.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.uniform()).ln()
    }

    /// Seconds from reading a code to its arrival: lognormal, median 8 s, at most 75 s. Mean about 10 s.
    pub fn entry_s(&mut self) -> f64 {
        (8.0 * self.normal(self.spread).exp()).min(75.0)
    }
}
