//! What several test programs share. Each uses a part of it.
#![allow(dead_code, missing_docs)]

pub mod bus;
pub mod contract;
pub mod desk;
pub mod polkit;
pub mod polkitd;
