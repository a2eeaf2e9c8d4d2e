//! What is fuzzed: one function a target, which takes any bytes, must not panic and must end. `fuzz_targets/` hands them to
//! libFuzzer, `tests/fuzz_corpora.rs` runs them over their corpora on a stable compiler.

#[path = "targets/applet.rs"]
mod applet;
#[path = "targets/cards.rs"]
mod cards;
#[path = "targets/responses.rs"]
mod responses;
#[path = "targets/seed_files.rs"]
mod seed_files;
#[path = "targets/sessions.rs"]
pub mod sessions;
#[path = "targets/trust.rs"]
mod trust;

pub use applet::ykoath;
pub use cards::{nfc_fob, oath_card};
pub use responses::{ctap2, ctaphid};
pub use seed_files::{otpauth, pskc, seed_csv};
pub use sessions::{hid_key, nfc_key};
pub use trust::{attestation, metadata, webauthn};

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
pub const TARGETS: [Target; 13] = [
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
    Target {
        name: "ctaphid",
        run: ctaphid,
        data: &["ctap-wire"],
        choices: b"",
        longest: 2_048,
    },
    Target {
        name: "hid_key",
        run: hid_key,
        data: &["ctap-wire"],
        choices: b"\x01\x07\x09\x0b\x0d\x11\x19\x1b\x21\x81\x89\x8b",
        longest: 4_096,
    },
    Target {
        name: "nfc_key",
        run: nfc_key,
        data: &[],
        choices: b"",
        longest: 4_096,
    },
    Target {
        name: "ctap2",
        run: ctap2,
        data: &["fuzz-seeds/ctap-cbor", "ctap-wire"],
        choices: b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17",
        longest: 2_048,
    },
    Target {
        name: "attestation",
        run: attestation,
        data: &[],
        choices: b"",
        longest: 2_048,
    },
    Target {
        name: "metadata",
        run: metadata,
        data: &[],
        choices: b"",
        longest: 2_048,
    },
    Target {
        name: "webauthn",
        run: webauthn,
        data: &[],
        choices: b"",
        longest: 2_048,
    },
];
