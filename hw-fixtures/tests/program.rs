//! The `claviger-sim` program itself: `up` around a stand-in for the daemon, and the commands that need no simulator.

mod judge;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use judge::{installed, told};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SIM: &str = env!("CARGO_BIN_EXE_claviger-sim");

/// Listens as the daemon would, greets every token, says READY=1, and notes in a file that it was asked to end.
const DAEMON: &str = r#"#!/usr/bin/python3
import json, os, signal, socket, struct, sys, threading, tomllib
assert sys.argv[1:4] == ["--mode", "session", "--config"], sys.argv
config = tomllib.load(open(sys.argv[4], "rb"))
assert config["mode"] == "session" and os.path.isdir(config["state"]["directory"])
def end(*_):
    open(os.path.join(os.path.dirname(sys.argv[0]), "ended"), "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
door = socket.socket(socket.AF_UNIX)
door.bind(config["virtual"]["socket"])
door.listen()
if os.environ.get("STAY_SILENT") is None:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"STATUS=up\nREADY=1\n", os.environ["NOTIFY_SOCKET"])
else:
    sys.exit(3)
def greet(device):
    length = struct.unpack(">I", device.recv(4, socket.MSG_WAITALL))[0]
    hello = json.loads(device.recv(length, socket.MSG_WAITALL)[1:])
    answer = json.dumps({"device": hello["place"]}).encode()
    device.sendall(struct.pack(">IB", len(answer) + 1, 2) + answer)
    device.recv(1)
while True:
    threading.Thread(target=greet, args=door.accept()[:1], daemon=True).start()
"#;

struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let daemon = directory.path().join("clavigerd");
        std::fs::write(&daemon, DAEMON).unwrap();
        std::fs::set_permissions(&daemon, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn up(&self) -> Command {
        let mut command = Command::new(SIM);
        command
            .arg("up")
            .arg("--clavigerd")
            .arg(self.path("clavigerd"))
            .arg("--dir")
            .arg(self.path("s"));
        command
    }
}

fn sim(arguments: &[&str]) -> Output {
    Command::new(SIM)
        .args(arguments)
        .env_remove("CLAVIGER_SIM_CONTROL")
        .output()
        .unwrap()
}

fn ready(test: &str) -> bool {
    installed(test, &["dbus-daemon", "/usr/bin/python3", "dbus-send"])
}

#[test]
fn up_runs_a_command_among_bus_daemon_and_tokens() {
    if !ready("claviger-sim up") {
        return;
    }
    let stage = Stage::new();
    let script = r#"
        set -e
        test "$CLAVIGER_BUS" = session
        dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId > /dev/null
        "$0" list
        "$0" code fob --at 1800000000
        "$0" unplug key
        exit 42
    "#;
    let output = stage.up().args(["--", "sh", "-c", script, SIM]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(42),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("\"sim-key\"") && text.contains("\"sim-card\""), "{text}");
    assert_eq!(text.lines().last().map(str::len), Some(6), "{text}");
    assert!(stage.path("ended").exists(), "the daemon was not asked to end");
}

#[test]
fn up_without_a_command_waits_for_the_signal_and_leaves_nothing() {
    if !ready("claviger-sim up, SIGTERM") {
        return;
    }
    let stage = Stage::new();
    let mut child = stage.up().stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut seen = Vec::new();
    loop {
        let mut line = String::new();
        assert!(output.read_line(&mut line).unwrap() > 0, "{seen:?}");
        if line.starts_with("# ready") {
            break;
        }
        seen.push(line);
    }
    assert!(
        seen.iter()
            .any(|line| line.starts_with("export DBUS_SESSION_BUS_ADDRESS='unix:path=")),
        "{seen:?}"
    );
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(stage.path("ended").exists());
    // Bus and daemon held this pipe too: its end is their end.
    output.read_to_end(&mut Vec::new()).unwrap();
    assert!(!stage.path("s/control.sock").exists());
}

#[test]
fn up_says_when_the_daemon_dies() {
    if !ready("claviger-sim up, dead daemon") {
        return;
    }
    let output = Stage::new()
        .up()
        .env("STAY_SILENT", "1")
        .args(["--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended before it was ready"));
    // A directory of its own making goes, even when nothing came up in it.
    let runtime = tempfile::tempdir().unwrap();
    let mut missing = Command::new(SIM);
    missing
        .args(["up", "--clavigerd", "/no/such/daemon", "--", "true"])
        .env("XDG_RUNTIME_DIR", runtime.path());
    assert!(String::from_utf8_lossy(&missing.output().unwrap().stderr).contains("/no/such/daemon"));
    let left = std::fs::read_dir(runtime.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    // The bus makes a directory of its own there.
    let ours: Vec<_> = left
        .filter(|name| name.to_string_lossy().starts_with("claviger-sim"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}

#[test]
fn codes_without_a_simulator() {
    let seed = "3132333435363738393031323334353637383930";
    let code = |arguments: &[&str]| told("fob", arguments, &sim(&[&["fob", "--seed", seed], arguments].concat()));
    assert_eq!(code(&["--counter", "1"]), "287082\n");
    assert_eq!(code(&["--at", "1111111109", "--digits", "8"]), "07081804\n");
    assert!(!sim(&["fob", "--seed", "xyz"]).status.success());
}

#[test]
fn mistakes_get_a_sentence() {
    let says = |arguments: &[&str]| {
        let output = sim(arguments);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(says(&["list"]).contains("--control"));
    assert!(says(&["--control", "/no/such", "list"]).contains("/no/such"));
    assert!(says(&["serve"]).contains("--control"));
    assert!(says(&["--control", "/tmp/x", "serve", "--world", "/no/world"]).contains("/no/world"));
    assert!(told("profiles", &[], &sim(&["profiles"])).lines().count() >= 8);
    assert!(told("man", &[], &sim(&["man"])).contains("claviger-sim"));
    assert!(Path::new(SIM).exists());
}
