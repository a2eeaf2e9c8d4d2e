//! Whether a key may be believed to be what it says: attestation, the FIDO Metadata Service, and the organisation's own rules.
//!
//! A room of its own, between `codec`, which only reads bytes, and `lifecycle`, which acts: here signatures are verified, chains
//! are built and policy is weighed. Everything is pure; the time, the metadata and the certificate authorities are passed in.
//!
//! - [`statement`] verifies an attestation statement (WebAuthn section 8) with the certificate rules of section 8.2.1.
//! - [`chain`] follows its certificates to an authority that somebody trusts.
//! - [`metadata`] reads the MDS3 BLOB: which authorities vouch for which model, and what is known against it.
//! - [`policy`] weighs all of it: [`policy::screen`] before a credential is made, [`policy::judge`] after.
//! - [`rules`] is policy and metadata together, as the house goes by them; [`section`] is how the configuration tells them.
//! - [`registration`] is the whole of what a relying party checks of a registration (WebAuthn section 7.1).

pub mod chain;
pub mod metadata;
pub mod policy;
pub mod registration;
pub mod rules;
pub mod section;
pub mod signature;
pub mod statement;

mod certificate;

#[cfg(test)]
mod tests;

pub use policy::{Distrust, Policy, Verdict};
pub use rules::{Metadata, Rules};
pub use section::Section;
