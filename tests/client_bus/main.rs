//! The client `claviger` as shipped, against a service that plays the contract's part on a private bus.

mod example;
mod fake;
mod operations;
mod reading;
#[allow(dead_code, missing_docs)]
#[path = "../harness/seat.rs"]
mod seat;
mod terminal;
