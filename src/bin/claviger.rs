//! The command-line client.

use std::process::ExitCode;

use clap::CommandFactory;

fn main() -> ExitCode {
    // The daemon's page and completions are generated beside the client's own.
    claviger::client::run(|| vec![claviger::daemon::Arguments::command()])
}
