//! Where a model's random bytes come from: the system, or a seed that makes every run the same.

use p256::SecretKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::crypto;

/// A stream of random bytes.
#[derive(Clone)]
pub struct Entropy(ChaCha20Rng);

impl Entropy {
    /// The stream that belongs to `seed` and to `label`; two labels under one seed share nothing.
    pub fn seeded(seed: u64, label: &str) -> Self {
        Self(ChaCha20Rng::from_seed(crypto::hmac_sha256(
            &seed.to_be_bytes(),
            &[label.as_bytes()],
        )))
    }

    /// A stream nobody can foresee.
    pub fn system() -> Self {
        let mut seed = [0; 32];
        // Without the system's random source nothing else works either; a fixed stream is then no worse.
        let _ = getrandom::fill(&mut seed);
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// A fresh P-256 key.
    pub fn p256(&mut self) -> SecretKey {
        loop {
            // All but one in 2^32 strings are a valid scalar.
            if let Ok(key) = SecretKey::from_slice(&self.bytes::<32>()) {
                return key;
            }
        }
    }
}
