//! Ring 3: the packages, installed in a Debian with systemd as PID 1 (`tests/harness/machine`).
#[path = "../harness/machine/mod.rs"]
mod machine;

mod desk;
mod newcomer;
mod package;
mod sandbox;
mod service;
