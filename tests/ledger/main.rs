//! The ledger against a disk.
#![allow(missing_docs)]

mod contract;
mod desk;
mod tamper;
