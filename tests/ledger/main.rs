//! The ledger against a disk.
#![allow(missing_docs)]

mod bypass;
mod cases;
mod contract;
mod crash;
mod desk;
mod disk;
mod figures;
mod model;
mod people;
mod tamper;
mod tries;
