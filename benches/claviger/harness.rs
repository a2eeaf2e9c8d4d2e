//! The private bus and the real polkitd, as the tests bring them up.
#![allow(dead_code)]

#[path = "../../tests/harness/bus.rs"]
pub mod bus;
#[path = "../../tests/harness/polkitd.rs"]
pub mod polkitd;
