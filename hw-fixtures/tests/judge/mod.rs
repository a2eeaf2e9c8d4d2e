//! What the tests with foreign programs share: saying why one is skipped, and running programs among the keys.
#![allow(dead_code)] // every test file uses its own part

mod pypi;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use hw_fixtures::front::Testbed;

/// Says in one line that a test is skipped and why. Written past the test runner, which keeps the output of passing tests to
/// itself. On CI nothing may be skipped.
pub fn skipped(test: &str, why: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "{test}: {why}, and on CI nothing may be skipped"
    );
    let _ = writeln!(std::io::stderr(), "{test}: skipped, {why}");
}

/// Whether every program is installed; says in one line which is not.
pub fn installed(test: &str, programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$0\" || test -e \"$0\"", program])
            .output();
        !found.is_ok_and(|output| output.status.success())
    });
    if let Some(program) = missing {
        skipped(test, &format!("no {program}"));
    }
    missing.is_none()
}

pub fn root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(test, "needs root");
    }
    root
}

/// Where the judges from PyPI are, or one line that says why they are not.
pub fn pypi(test: &str) -> Option<PathBuf> {
    let programs = pypi::programs();
    if programs.is_none() {
        skipped(test, "the judges from PyPI cannot be installed");
    }
    programs
}

/// A testbed, or one line that says why there is none.
pub fn testbed(test: &str) -> Option<Arc<Testbed>> {
    if !installed(test, &["umockdev-wrapper", "/usr/bin/python3", "cc"]) {
        return None;
    }
    let gi = Command::new("/usr/bin/python3")
        .args([
            "-c",
            "import gi; gi.require_version('UMockdev', '1.0'); from gi.repository import UMockdev",
        ])
        .output();
    if !gi.is_ok_and(|output| output.status.success()) {
        skipped(test, "no python3-gi with gir1.2-umockdev-1.0");
        return None;
    }
    Some(Testbed::start(None).unwrap())
}

/// A command that sees the testbed's keys.
pub fn among(bed: &Testbed, program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["240", program]).envs(bed.environment());
    command
}

/// Runs a program among the keys and insists that it succeeds.
pub fn succeed(bed: &Testbed, program: &str, arguments: &[&str]) -> String {
    let output = among(bed, program).args(arguments).output().unwrap();
    told(program, arguments, &output)
}

/// Runs a program on a terminal and types `lines`, one for each prompt.
pub fn typed(bed: &Testbed, lines: &[&str], program: &str, arguments: &[&str]) -> Output {
    let typist = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/typist.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(typist).arg("env");
    for (key, value) in bed.environment() {
        command.arg(format!("{key}={value}"));
    }
    let mut child = command
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", lines.join("\n")).unwrap();
    child.wait_with_output().unwrap()
}

/// The output of a program that must have succeeded.
pub fn told(program: &str, arguments: &[&str], output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}{errors}",
        output.status
    );
    text
}
