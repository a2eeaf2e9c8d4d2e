//! Claviger: a daemon that registers, tests, resyncs and revokes hardware tokens, and its client.
//!
//! The way through the house, the rooms and who may see whom are told in `ARCHITECTURE.md`; `tests/rooms.rs` enforces the
//! dependency rules by reading the imports.
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

pub mod authority;
pub mod bus;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod contract;
pub mod daemon;
pub mod device;
pub mod directory;
pub mod grant;
pub mod guard;
pub mod hook;
pub mod ledger;
pub mod lifecycle;
pub mod link;
pub mod resync;
pub mod trust;
pub mod types;
