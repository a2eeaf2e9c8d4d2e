//! How long a listing of what is plugged in takes, against the makers' own tools.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use hw_fixtures::front::{Plugged, Testbed};
use hw_fixtures::token::{Token, TokenSetup};

use crate::daemon::{Daemon, Setup, state_directory};
use crate::harness::bus::within;
use crate::pcscd::{self, Pcscd};
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

const KEYS: usize = 16;
const ROUNDS: usize = 31;
/// `ykman` takes its time.
const FEW: usize = 11;

/// A program that lists, and how.
struct Lister {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Lister {
    /// The client that ships.
    fn ours(stage: &Stage, environment: &[(String, String)]) -> Self {
        Self {
            program: env!("CARGO_BIN_EXE_claviger").into(),
            arguments: ["--bus", stage.bus.address(), "devices"].map(str::to_owned).to_vec(),
            environment: environment.to_vec(),
        }
    }

    /// Milliseconds from before it is started until it has ended, and how many of `marks` its output has.
    fn run(&self, mark: &str) -> (f64, usize) {
        let begun = Instant::now();
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("a program");
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        assert!(output.status.success(), "{}: {output:?}", self.program.display());
        let text = String::from_utf8_lossy(&output.stdout);
        (took, text.lines().filter(|line| line.contains(mark)).count())
    }
}

/// The two take turns; the ratio of their medians, and what it was made of. The first round is not counted.
fn compared((ours, mark): (&Lister, &str), (theirs, their_mark): (&Lister, &str), rounds: usize) -> (f64, String) {
    let (mut mine, mut other) = (Vec::new(), Vec::new());
    let (mut listed, mut they_listed) = (0, 0);
    for round in 0..=rounds {
        let (one, two) = (ours.run(mark), theirs.run(their_mark));
        (listed, they_listed) = (one.1, two.1);
        if round > 0 {
            mine.push(one.0);
            other.push(two.0);
        }
    }
    let note = format!(
        "claviger devices {:.1} ms (slowest {:.1}) for {listed}; {} {:.1} ms (slowest {:.1}) for {they_listed}; {rounds} rounds",
        median(&mine),
        quantile(&mine, 1.0),
        theirs.program.file_name().unwrap_or_default().to_string_lossy(),
        median(&other),
        quantile(&other, 1.0),
    );
    (median(&mine) / median(&other), note)
}

/// Waits until the bus has so many devices.
pub async fn until_there(stage: &Stage, count: usize) {
    let objects = stage.objects().await;
    within("the devices", async {
        loop {
            let managed = objects.get_managed_objects().await.expect("objects");
            let devices = managed
                .values()
                .filter(|interfaces| interfaces.keys().any(|name| name.as_str() == "org.claviger.Device1"));
            if devices.count() >= count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// `devices_over_fido2_token`: both see one umockdev world of sixteen keys.
pub async fn over_fido2_token() -> Result<Measured, String> {
    let program = Path::new("/usr/bin/fido2-token");
    if !program.exists() {
        return Err("no fido2-token (Debian: fido2-tools)".to_owned());
    }
    if !Path::new("/usr/bin/umockdev-wrapper").exists() {
        return Err("no umockdev (Debian: umockdev, gir1.2-umockdev-1.0, python3-gi)".to_owned());
    }
    let stage = Stage::open().await;
    let bed = Testbed::start(Some(stage.directory())).map_err(|error| error.to_string())?;
    if !bed.has_shim() {
        return Err("no C compiler for umockdev's shim".to_owned());
    }
    let state = state_directory();
    let setup = Setup {
        hid: true,
        environment: bed.environment(),
        ..Setup::default()
    };
    let daemon = Daemon::start(&stage, state.path(), &setup).await;
    let plugging = std::sync::Arc::clone(&bed);
    let keys: Vec<Plugged> = tokio::task::spawn_blocking(move || {
        let key = |n| Token::of_profile("solo-2", TokenSetup::named(&format!("key-{n}"))).expect("a token");
        (0..KEYS).map(|n| plugging.plug(&key(n)).expect("plugged in")).collect()
    })
    .await
    .expect("joined");
    until_there(&stage, KEYS).await;
    // Ours under the same preload, which costs each of them the same.
    let ours = Lister::ours(&stage, &bed.environment());
    let theirs = Lister {
        program: program.into(),
        arguments: vec!["-L".to_owned()],
        environment: bed.environment(),
    };
    let (value, note) = tokio::task::spawn_blocking(move || compared((&ours, "hid"), (&theirs, "/dev/hidraw"), ROUNDS))
        .await
        .expect("joined");
    daemon.stop().await;
    drop(keys);
    Ok(Measured {
        value,
        notes: vec![note],
    })
}

/// `devices_over_ykman`: two YubiKeys lie in two readers.
pub async fn over_ykman() -> Result<Measured, String> {
    if let Some(why) = pcscd::missing() {
        return Err(why.to_owned());
    }
    let program = judge("ykman")?;
    let stage = Stage::open().await;
    // By its name ykman knows a YubiKey.
    let pcscd = Pcscd::with_reader("Yubico YubiKey OTP+FIDO+CCID");
    let cards = [0, 1].map(|slot| pcscd.insert("yubikey-5-nfc", slot, 0));
    let state = state_directory();
    let setup = Setup {
        cards: true,
        environment: vec![pcscd.variable()],
        ..Setup::default()
    };
    let daemon = Daemon::start(&stage, state.path(), &setup).await;
    until_there(&stage, cards.len()).await;
    let ours = Lister::ours(&stage, &[]);
    let theirs = Lister {
        program,
        arguments: vec!["list".to_owned()],
        environment: vec![pcscd.variable()],
    };
    let (value, note) = tokio::task::spawn_blocking(move || compared((&ours, "card"), (&theirs, "YubiKey"), FEW))
        .await
        .expect("joined");
    daemon.stop().await;
    drop(cards);
    Ok(Measured {
        value,
        notes: vec![note],
    })
}

/// A program of the Python environment that `scripts/judges` makes.
fn judge(name: &str) -> Result<PathBuf, String> {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/judges"))
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let place = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Some(place.join(name))
        .filter(|program| output.status.success() && program.exists())
        .ok_or_else(|| format!("no {name}: scripts/judges could not make its environment"))
}
