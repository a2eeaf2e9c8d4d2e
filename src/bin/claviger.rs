//! The command-line client.

use std::process::ExitCode;

use clap::CommandFactory;

fn main() -> ExitCode {
    // `generate` writes the daemon's page and completions too.
    claviger::client::run(|| vec![claviger::daemon::Arguments::command()])
}
