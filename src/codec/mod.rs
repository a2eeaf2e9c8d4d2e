//! SANS-IO codecs: no I/O, no clock, no randomness, no async. Bytes in, values out, and back.
pub mod cbor;
pub mod ctap2;
pub mod ctaphid;
pub mod iso7816;
pub mod misreading;
pub mod oath;
pub mod seed;
pub mod vendor;
pub mod ykoath;
