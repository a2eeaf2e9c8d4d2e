//! Protocols of one maker each, where no standard speaks.
pub mod token2;
pub mod yubico;
