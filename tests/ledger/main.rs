//! The ledger against a disk.
#![allow(missing_docs)]

mod cases;
mod contract;
mod crash;
mod desk;
mod disk;
mod figures;
mod model;
mod tamper;
mod tries;
