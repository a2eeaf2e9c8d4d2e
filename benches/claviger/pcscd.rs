//! A real pcscd of our own with one vpcd reader, and the card in it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hw_fixtures::Profile;
use hw_fixtures::front::{Plugged, VpcdSetup, plug_vpcd};
use hw_fixtures::token::{Token, TokenSetup};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/pcscd";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// What a real card takes for an APDU.
pub const CARD_DELAY_MS: u64 = 20;
const SOON: Duration = Duration::from_secs(10);

/// Why it cannot run here, if it cannot.
pub fn missing() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        Some("a private pcscd needs root")
    } else if !Path::new(PROGRAM).exists() {
        Some("no pcscd (Debian: pcscd)")
    } else if !Path::new(DRIVER).exists() {
        Some("no vpcd (Debian: vsmartcard-vpcd)")
    } else {
        None
    }
}

/// Ends when dropped.
pub struct Pcscd {
    child: Child,
    home: TempDir,
    port: u16,
}

impl Pcscd {
    /// Its clients obey `PCSCLITE_CSOCK_NAME`, it does not: hence the bind mount in a namespace of its own.
    pub fn start() -> Self {
        Self::with_reader("Bench Reader")
    }

    /// The same with a reader that is called so.
    pub fn with_reader(name: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        // The driver takes two ports, one for each slot.
        let port = loop {
            let first = TcpListener::bind("0.0.0.0:0").expect("a port");
            let port = first.local_addr().expect("an address").port();
            if port < u16::MAX && TcpListener::bind(("0.0.0.0", port + 1)).is_ok() {
                break port;
            }
        };
        for directory in ["run", "conf"] {
            fs::create_dir(home.path().join(directory)).expect("a directory");
        }
        let reader = format!(
            "FRIENDLYNAME \"{name}\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {DRIVER}\nCHANNELID 0x{port:X}\n"
        );
        fs::write(home.path().join("conf/reader.conf"), reader).expect("its configuration");
        fs::create_dir_all("/run/pcscd").expect("a mount point");
        let script = "mount --bind \"$0/run\" /run/pcscd && exec /usr/sbin/pcscd --foreground --config \"$0/conf\"";
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private"])
            .args(["sh", "-c", script])
            .arg(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare");
        Self { child, home, port }
    }

    /// What makes a program find this pcscd.
    pub fn variable(&self) -> (String, String) {
        let socket = self.home.path().join("run/pcscd.comm");
        ("PCSCLITE_CSOCK_NAME".to_owned(), socket.display().to_string())
    }

    /// Puts a simulated OATH card into the reader.
    pub fn insert_card(&self) -> Plugged {
        self.insert("oath-card", 0, CARD_DELAY_MS)
    }

    /// Puts a simulated token into one of the reader's two slots.
    pub fn insert(&self, profile: &str, slot: u16, apdu_delay_ms: u64) -> Plugged {
        let profile = Profile::named(profile).expect("a profile");
        let token = Token::new(&profile, TokenSetup::named(&format!("bench-{slot}"))).expect("a token");
        let setup = VpcdSetup {
            address: format!("127.0.0.1:{}", self.port + slot),
            apdu_delay_ms,
        };
        let begun = Instant::now();
        loop {
            match plug_vpcd(&setup, &token) {
                Ok(plugged) => return plugged,
                Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
