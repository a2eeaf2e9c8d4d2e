//! What is fuzzed: one function a target, which takes any bytes, must not panic and must end. `fuzz_targets/` hands them to
//! libFuzzer, `tests/fuzz_corpora.rs` runs them over their corpora on a stable compiler.

#[path = "targets/cards.rs"]
mod cards;
#[path = "targets/seed_files.rs"]
mod seed_files;

pub use cards::{nfc_fob, oath_card, ykoath};
pub use seed_files::{otpauth, pskc, seed_csv};

/// A target.
pub struct Target {
    /// Its name, and that of its folder under `corpus/`.
    pub name: &'static str,
    /// What runs.
    pub run: fn(&[u8]),
    /// Folders of the shared test data whose files are inputs too.
    pub data: &'static [&'static str],
    /// What may stand before one of those files: the first byte of an input picks the reading. Nothing, if all of it is read.
    pub choices: &'static [u8],
    /// Longest input worth trying, in bytes.
    pub longest: usize,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "pskc",
        run: pskc,
        data: &["pskc"],
        choices: b"01234567",
        longest: 4_096,
    },
    Target {
        name: "seed_csv",
        run: seed_csv,
        data: &["csv"],
        choices: b"01234567",
        longest: 1_024,
    },
    Target {
        name: "otpauth",
        run: otpauth,
        data: &[],
        choices: b"",
        longest: 1_024,
    },
    Target {
        name: "ykoath",
        run: ykoath,
        data: &["fuzz-seeds/oath"],
        choices: b"",
        longest: 1_024,
    },
    Target {
        name: "oath_card",
        run: oath_card,
        data: &["fuzz-seeds/oath"],
        choices: b"",
        longest: 2_048,
    },
    Target {
        name: "nfc_fob",
        run: nfc_fob,
        data: &["fuzz-seeds/oath"],
        choices: b"",
        longest: 1_024,
    },
];
