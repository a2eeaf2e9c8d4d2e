//! Yubico's own `ykman` (PyPI yubikey-manager) and the `python-fido2` it stands on as judges, through a private pcscd and vpcd; codes
//! against `oathtool`.

mod judge;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hw_fixtures::Token;
use hw_fixtures::front::{Plugged, VpcdSetup, plug_vpcd};
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
        .arg("120")
        .arg(program)
        .args(["--reader", reader, "oath"])
        .args(arguments)
        .env("PCSCLITE_CSOCK_NAME", pcscd.socket())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a model can do of what `ykman` asks.
struct Model {
    profile: &'static str,
    version: &'static str,
    sha512: bool,
    rename: bool,
    password: bool,
    reset: bool,
    /// The counter of the first code of a credential that was put with counter 5.
    first: u32,
}

const YUBICO: Model = Model {
    profile: "yubikey-5",
    version: "5.4.3",
    sha512: true,
    rename: true,
    password: true,
    reset: true,
    first: 5,
};

const MODELS: [Model; 7] = [
    YUBICO,
    Model {
        profile: "yubikey-5-7",
        version: "5.7.1",
        ..YUBICO
    },
    Model {
        profile: "yubikey-4",
        version: "4.3.5",
        rename: false,
        ..YUBICO
    },
    Model {
        profile: "yubikey-neo",
        version: "3.4.3",
        sha512: false,
        rename: false,
        ..YUBICO
    },
    Model {
        profile: "canokey",
        version: "6.0.0",
        reset: false,
        first: 6,
        ..YUBICO
    },
    Model {
        profile: "solo-2-oath",
        version: "4.3.4",
        sha512: false,
        rename: false,
        ..YUBICO
    },
    Model {
        profile: "nitrokey-3-secrets",
        version: "4.13.0",
        sha512: false,
        rename: false,
        password: false,
        ..YUBICO
    },
];

/// `ykman` and a card in the reader it knows.
struct Desk {
    programs: PathBuf,
    pcscd: Pcscd,
}

impl Desk {
    fn insert(&self, token: &Token) -> Plugged {
        let setup = VpcdSetup {
            address: format!("127.0.0.1:{}", self.pcscd.port),
            apdu_delay_ms: 0,
        };
        // The driver listens when pcscd has read its configuration; there is no event to wait for but this.
        (0..4_000)
            .find_map(|_| {
                let plugged = plug_vpcd(&setup, token).ok();
                if plugged.is_none() {
                    std::thread::sleep(Duration::from_millis(25));
                }
                plugged
            })
            .expect("the driver listens")
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        ykman_oath(
            &self.programs.join("ykman"),
            &format!("{READER} 00 00"),
            &self.pcscd,
            arguments,
        )
    }

    fn run(&self, arguments: &[&str]) -> String {
        told("ykman oath", arguments, &self.ask(arguments))
    }

    fn refused(&self, arguments: &[&str]) {
        assert!(!self.ask(arguments).status.success(), "{arguments:?}");
    }

    /// Waits until pcscd has seen the card that was put in, and not the one before it.
    fn wait_for(&self, version: &str) {
        let until = Instant::now() + Duration::from_secs(100);
        let last = loop {
            let output = self.ask(&["info"]);
            let there = String::from_utf8_lossy(&output.stdout).contains(version);
            if there || Instant::now() > until {
                break output;
            }
        };
        assert!(told("ykman oath info", &[], &last).contains(version));
    }
}

#[test]
fn ykman_manages_every_model_and_its_codes_are_oathtools() {
    let name = "ykman oath";
    if !root(name) || !installed(name, &["pcscd", "unshare", "oathtool", "python3", DRIVER]) {
        return;
    }
    let Some(programs) = judge::pypi(name) else { return };
    let mut desk = Desk {
        programs,
        pcscd: Pcscd::start(),
    };
    for model in &MODELS {
        let token = Token::of_profile(model.profile, TokenSetup::named("card")).unwrap();
        let plugged = desk.insert(&token);
        desk.wait_for(model.version);
        manage(&desk, model, &token);
        assert!(plugged.is_plugged(), "{}", model.profile);
    }
    // pcscd dies and returns: the card is still in its reader.
    let token = Token::of_profile("yubikey-5", TokenSetup::named("card")).unwrap();
    let plugged = desk.insert(&token);
    desk.wait_for("5.4.3");
    desk.pcscd = desk.pcscd.restart();
    desk.wait_for("5.4.3");
    plugged.unplug();
}

fn add<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["accounts", "add", "-f"], arguments, &[SECRET]].concat()
}

fn manage(desk: &Desk, model: &Model, token: &Token) {
    let count = || token.with_card(|card| card.credential_count()).unwrap();
    desk.run(&add(&["site:alice"]));
    desk.run(&add(&["-o", "HOTP", "-c", "5", "counter"]));
    desk.run(&add(&["-a", "SHA256", "-P", "60", "slow"]));
    let mut accounts = vec![
        ("site:alice", &["--totp"][..]),
        ("slow", &["--totp=sha256", "-s", "60s"]),
    ];
    if model.sha512 {
        desk.run(&add(&["-a", "SHA512", "-d", "8", "long"]));
        accounts.push(("long", &["--totp=sha512", "-d", "8"]));
    } else {
        desk.refused(&add(&["-a", "SHA512", "-d", "8", "long"]));
    }
    for (account, options) in &accounts {
        agree(|| desk.run(&["accounts", "code", "-s", account]), options);
    }
    for counter in [model.first, model.first + 1] {
        assert_eq!(
            desk.run(&["accounts", "code", "-s", "counter"]).trim(),
            oathtool(&["-c", &counter.to_string()]),
            "{}",
            model.profile
        );
    }
    let all = accounts.len() + 1;
    assert_eq!(desk.run(&["accounts", "list"]).lines().count(), all);
    let change = ["access", "change", "-n", "password"];
    let with: &[&str] = if model.password {
        desk.run(&change);
        desk.refused(&["accounts", "list", "-p", "wrong"]);
        assert_eq!(desk.run(&["accounts", "list", "-p", "password"]).lines().count(), all);
        &["-p", "password"]
    } else {
        desk.refused(&change);
        &[]
    };
    let rename = [&["accounts", "rename", "-f"], with, &["counter", "renamed"]].concat();
    let mut last = "counter";
    if model.rename {
        desk.run(&rename);
        last = "renamed";
    } else {
        desk.refused(&rename);
    }
    desk.run(&[&["accounts", "delete", "-f"], with, &[last]].concat());
    assert_eq!(count(), all - 1, "{}", model.profile);
    if model.password {
        desk.run(&["access", "change", "-c", "-p", "password"]);
        assert_eq!(desk.run(&["accounts", "list"]).lines().count(), all - 1);
    }
    if model.reset {
        desk.run(&["reset", "-f"]);
        assert_eq!(count(), 0, "{}", model.profile);
    } else {
        desk.refused(&["reset", "-f"]);
        assert_eq!(count(), all - 1, "{}", model.profile);
    }
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

/// `python-fido2`, which came with `ykman`, over PC/SC: getInfo, PIN set and changed, a wrong PIN, credentials, assertions, and a
/// wait for a touch that is cancelled; by short APDUs in a chain and by extended ones.
#[test]
fn python_fido2_is_the_host_of_keys_on_a_reader() {
    let name = "python-fido2 over PC/SC";
    if !root(name) || !installed(name, &["pcscd", "unshare", "python3", DRIVER]) {
        return;
    }
    let Some(programs) = judge::pypi(name) else { return };
    let desk = Desk {
        programs,
        pcscd: Pcscd::start(),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python_host.py");
    for (profile, lengths) in [
        ("fido-nfc", "short"),
        ("yubikey-5-nfc", "short"),
        ("yubikey-5-nfc", "extended"),
        ("fido-nfc-fixed", "short"),
        ("fido-nfc-fixed", "extended"),
    ] {
        let token = Token::of_profile(profile, TokenSetup::named("key")).unwrap();
        let plugged = desk.insert(&token);
        let mut host = Command::new("timeout")
            .arg("240")
            .arg(desk.programs.join("python"))
            .arg(&script)
            .arg(lengths)
            .env("PCSCLITE_CSOCK_NAME", desk.pcscd.socket())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        let said = lines.next().map(Result::unwrap);
        assert_eq!(said.as_deref(), Some("asked to touch"), "{profile} {lengths}");
        token.set_touch_mode(hw_fixtures::TouchMode::Never);
        drop(host.stdin.take());
        let said = lines.next().map(Result::unwrap).unwrap_or_default();
        assert!(said.starts_with("done"), "{profile} {lengths}: {said}");
        assert!(host.wait().unwrap().success());
        assert_eq!(token.with_authenticator(|own| own.resident_count()), Some(2));
        plugged.unplug();
    }
}
