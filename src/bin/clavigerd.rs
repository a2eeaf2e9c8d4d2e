//! The daemon.

fn main() -> std::process::ExitCode {
    claviger::daemon::main()
}
