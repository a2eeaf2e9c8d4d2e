//! Simulated hardware tokens, written from the published standards and from nothing else.
//!
//! Claviger's own code never appears here: a simulator that shared a codec with the program it judges would share its
//! mistakes. The way through the house:
//!
//! ```text
//! model (fido, ykoath, fob, nfc_fob)  <-  token (faces, person, faults)  <-  front (virtual, vpcd, umockdev, gadget, ccid)
//!                                     world (many tokens)       <-  control (JSON lines), claviger-sim
//! ```
//!
//! The models do no input or output, start no thread and read no clock: time comes in as [`Millis`], randomness as
//! [`entropy::Entropy`]. So a model with a fixed seed answers the same bytes every time.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod card;
pub mod control;
pub mod crypto;
pub mod entropy;
pub mod fault;
pub mod fido;
pub mod fob;
pub mod front;
pub mod management;
pub mod nfc_fob;
pub mod oath;
pub mod person;
pub mod profile;
pub mod session;
pub mod token;
pub mod world;
pub mod ykoath;

pub use front::{Plugged, plug_virtual};
pub use person::TouchMode;
pub use profile::Profile;
pub use token::Token;
pub use world::World;

/// Milliseconds since a token's own beginning; only differences mean something.
pub type Millis = u64;

/// What a simulated token, its front or the world around it can fail with.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A file, socket or process refused.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path or address.
        what: String,
        /// The system's own answer.
        #[source]
        source: std::io::Error,
    },
    /// A profile, world or control message is not what it should be; the sentence says how.
    #[error("{0}")]
    Invalid(String),
    /// The other side broke off, refused or answered nonsense.
    #[error("{0}")]
    Peer(String),
}

impl SimError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> SimError {
        let what = what.into();
        move |source| SimError::Io { what, source }
    }
}
