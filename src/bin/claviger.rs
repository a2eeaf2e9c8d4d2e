//! The command-line client.

use std::process::ExitCode;

fn main() -> ExitCode {
    claviger::client::run(Vec::new)
}
