//! A display fob with a crystal of its own, and the people who read it.

use super::*;

/// SplitMix64: small, seeded, the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = (high - low + 1).unsigned_abs();
        low + i64::try_from(self.next() % width).unwrap()
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.next() % choices.len() as u64).unwrap()]
    }
}

/// Its clock is `offset_ms` off at [`EPOCH`] and gains `ppb` milliseconds in 10^9.
pub struct Fob {
    pub generator: Generator,
    pub offset_ms: i64,
    pub ppb: i64,
}

impl Fob {
    pub fn new(parameters: OathParameters, offset_ms: i64, ppb: i64) -> Self {
        Self {
            generator: generator(parameters),
            offset_ms,
            ppb,
        }
    }

    /// Token clock minus true time at a true time.
    pub fn offset_at(&self, time: UnixMillis) -> i64 {
        let elapsed = i128::from(time.0 - EPOCH.0);
        self.offset_ms + i64::try_from(elapsed * i128::from(self.ppb) / 1_000_000_000).unwrap()
    }

    pub fn step_at(&self, time: UnixMillis) -> u64 {
        self.generator.parameters().step_at(time.plus_ms(self.offset_at(time)))
    }

    pub fn code(&self, step: u64) -> Code {
        self.generator.code(step)
    }

    /// The code on the display at a true time.
    pub fn shown_at(&self, time: UnixMillis) -> Code {
        self.code(self.step_at(time))
    }

    /// A true time at which `step` is on the display: `permille` of the way through it.
    pub fn time_of(&self, step: u64, permille: i64) -> UnixMillis {
        let parameters = self.generator.parameters();
        let on_token = parameters
            .start_of(step)
            .plus_ms(parameters.period_ms() * permille / 1000);
        // The drift over one offset's length is far below a millisecond of error for any crystal.
        let guess = on_token.plus_ms(-self.offset_at(on_token));
        on_token.plus_ms(-self.offset_at(guess))
    }
}
