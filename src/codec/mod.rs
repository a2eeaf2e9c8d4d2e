//! SANS-IO codecs: no I/O, no clock, no randomness, no async. Bytes in, values out, and back.
pub mod cbor;
pub mod ctap2;
pub mod ctaphid;
pub mod delivery;
pub mod iso7816;
pub mod misreading;
pub mod nfcctap;
pub mod oath;
pub mod otpauth;
pub mod pskc;
pub mod recovery;
pub mod seed;
pub mod seed_file;
pub mod seedcsv;
pub mod vendor;
pub mod webauthn;
pub mod ykoath;
