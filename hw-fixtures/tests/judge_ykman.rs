//! Yubico's own `ykman` (PyPI yubikey-manager) as a judge, through a private pcscd and vpcd; codes against `oathtool`.

mod judge;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hw_fixtures::Token;
use hw_fixtures::front::{VpcdSetup, plug_vpcd};
use hw_fixtures::token::TokenSetup;
use judge::{installed, root, told};

const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// `ykman` believes only readers of this name.
const READER: &str = "Yubico YubiKey OTP+FIDO+CCID";

/// A pcscd of our own, in its own mount namespace.
struct Pcscd {
    child: Child,
    directory: tempfile::TempDir,
    port: u16,
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Pcscd {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        // Two free ports in a row: a reader has two slots.
        let port = loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
                break port;
            }
        };
        std::fs::create_dir_all(path.join("run")).unwrap();
        std::fs::create_dir_all(path.join("conf")).unwrap();
        std::fs::create_dir_all("/run/pcscd").unwrap();
        let configuration = format!(
            "FRIENDLYNAME \"{READER}\"\nDEVICENAME /dev/null:{port:#X}\nLIBPATH {DRIVER}\nCHANNELID {port:#X}\n"
        );
        std::fs::write(path.join("conf/reader"), configuration).unwrap();
        Self {
            child: Self::spawn(path),
            directory,
            port,
        }
    }

    fn spawn(path: &Path) -> Child {
        let script = "mount --bind \"$0/run\" /run/pcscd && exec /usr/sbin/pcscd -f -c \"$0/conf\" 2>/dev/null";
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script])
            .arg(path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Kills it and starts it again in the same place.
    fn restart(mut self) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_dir_all(self.directory.path().join("run")).unwrap();
        std::fs::create_dir_all(self.directory.path().join("run")).unwrap();
        self.child = Self::spawn(self.directory.path());
        self
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/pcscd.comm")
    }
}

fn ykman_oath(program: &Path, reader: &str, pcscd: &Pcscd, arguments: &[&str]) -> Output {
    Command::new("timeout")
        .arg("30")
        .arg(program)
        .args(["--reader", reader, "oath"])
        .args(arguments)
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// `ykman` in a virtual environment under target/, made on first use.
fn ykman() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/judges");
    let program = place.join("bin/ykman");
    if !program.exists() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&place).status();
        let pip = place.join("bin/pip");
        let installed = Command::new(pip).args(["-q", "install", "yubikey-manager"]).status();
        if !made.is_ok_and(|status| status.success()) || !installed.is_ok_and(|status| status.success()) {
            judge::skipped("ykman oath", "PyPI's yubikey-manager cannot be installed");
            return None;
        }
    }
    Some(program)
}

#[test]
fn ykman_manages_the_card_and_its_codes_are_oathtools() {
    let name = "ykman oath";
    if !root(name) || !installed(name, &["pcscd", "unshare", "oathtool", "python3", DRIVER]) {
        return;
    }
    let Some(program) = ykman() else { return };
    let pcscd = Pcscd::start();
    let token = Token::of_profile("yubikey-5", TokenSetup::named("card")).unwrap();
    let setup = VpcdSetup {
        address: format!("127.0.0.1:{}", pcscd.port),
        apdu_delay_ms: 0,
    };
    // The driver listens when pcscd has read its configuration; there is no event to wait for but this.
    let plugged = (0..200)
        .find_map(|_| {
            let plugged = plug_vpcd(&setup, &token).ok();
            if plugged.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(25));
            }
            plugged
        })
        .expect("the driver listens");
    let reader = format!("{READER} 00 00");
    let run = |arguments: &[&str]| {
        let output = ykman_oath(&program, &reader, &pcscd, arguments);
        told("ykman oath", arguments, &output)
    };
    assert!(run(&["info"]).contains("5.4.3"));
    run(&["accounts", "add", "-f", "site:alice", SECRET]);
    run(&["accounts", "add", "-f", "-o", "HOTP", "-c", "5", "counter", SECRET]);
    run(&["accounts", "add", "-f", "-a", "SHA512", "-d", "8", "long", SECRET]);
    run(&["accounts", "add", "-f", "-a", "SHA256", "-P", "60", "slow", SECRET]);
    for (account, options) in [
        ("site:alice", &["--totp"][..]),
        ("long", &["--totp=sha512", "-d", "8"]),
        ("slow", &["--totp=sha256", "-s", "60s"]),
    ] {
        agree(|| run(&["accounts", "code", "-s", account]), options);
    }
    for counter in ["5", "6"] {
        assert_eq!(
            run(&["accounts", "code", "-s", "counter"]).trim(),
            oathtool(&["-c", counter])
        );
    }
    run(&["access", "change", "-n", "password"]);
    assert_eq!(run(&["accounts", "list", "-p", "password"]).lines().count(), 4);
    run(&["accounts", "rename", "-f", "-p", "password", "counter", "renamed"]);
    run(&["accounts", "delete", "-f", "-p", "password", "renamed"]);
    assert_eq!(token.with_card(|card| card.credential_count()), Some(3));
    run(&["reset", "-f"]);
    assert_eq!(token.with_card(|card| card.credential_count()), Some(0));
    assert!(plugged.is_plugged());
    // pcscd dies and returns: the card is still in its reader.
    let pcscd = pcscd.restart();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let again = loop {
        let output = ykman_oath(&program, &reader, &pcscd, &["info"]);
        if output.status.success() || std::time::Instant::now() > until {
            break output;
        }
    };
    assert!(told("ykman oath info", &[], &again).contains("5.4.3"));
    plugged.unplug();
}

/// Two readings in one step are equal; a step may end between them, so the judge is asked before and after.
fn agree(code: impl Fn() -> String, options: &[&str]) {
    for _ in 0..3 {
        let before = oathtool(options);
        let shown = code();
        if before == oathtool(options) {
            return assert_eq!(shown.trim(), before);
        }
    }
    panic!("the step changed three times");
}

fn oathtool(options: &[&str]) -> String {
    let mut child = Command::new("oathtool")
        .args(options)
        .args(["-b", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), SECRET.as_bytes()).unwrap();
    drop(child.stdin.take());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(child.wait().unwrap().success());
    line.trim().to_owned()
}
