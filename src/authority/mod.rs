//! How authority comes about, grows and ends: the policy, and the decision it makes of a case.
//!
//! This room is pure. It opens no file, asks no clock and knows nobody: the text of the policy, the facts of a case and the time
//! are passed in, so that the daemon that decides and the client that explains (`claviger policy check`) read the same words the
//! same way.
//!
//! [`policy`] is what a policy says; [`load`] reads it from text and refuses what is wrong, with the line; [`sense`] finds what
//! contradicts itself or never matters; [`explain`] tells it in sentences. [`clock`] is time that cannot be turned back;
//! [`people`] reads whom tokens are for, [`enrolment`] says who of them needs one; [`decide`] is the decision; [`conduct`] is who may take part in a case, and in which order.

pub mod anomaly;
pub mod clock;
pub mod conduct;
pub mod decide;
pub mod enrolment;
pub mod explain;
#[cfg(test)]
mod laws;
pub mod load;
pub mod people;
pub mod policy;
mod reader;
mod sense;
#[cfg(test)]
mod tests;

pub use policy::Policy;
pub use reader::Fault;
