//! Ring 2: the mapping that `claviger export pam-u2f` writes, in the hands of the real `pam_u2f` and libfido2: the simulated key under
//! umockdev opens the door, and no longer once it is revoked and the file written anew.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use claviger::contract::proxy::Options;
use house::{Figures, House, PIN, path_of, secret, text, token};
use hw_fixtures::front::Testbed;
use zbus::Variant;

const SERVICE: &str = "claviger-test";
/// `pam_u2f` wants an account that the host knows.
const SUBJECT: &str = "daemon";
const ORIGIN: &str = "pam://desk.example.org";

/// What this host lacks.
fn absent() -> Option<&'static str> {
    let runs = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        command.status()
    };
    if runs("pamtester", &[]).is_err() {
        return Some("pamtester (Debian: pamtester)");
    }
    let module = |directory: std::io::Result<std::fs::DirEntry>| {
        directory.is_ok_and(|directory| directory.path().join("security/pam_u2f.so").exists())
    };
    if !std::fs::read_dir("/usr/lib").is_ok_and(|mut entries| entries.any(module)) {
        return Some("pam_u2f (Debian: libpam-u2f)");
    }
    if runs("umockdev-wrapper", &["true"]).is_err() {
        return Some("umockdev (Debian: umockdev)");
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("root (pam_u2f believes root's file alone)");
    }
    if !runs("unshare", &["-m", "true"]).is_ok_and(|status| status.success()) {
        return Some("mount namespaces (the container forbids them)");
    }
    None
}

/// A door of its own: `/etc/pam.d` in a mount namespace holds one service, whose one module is `pam_u2f`.
struct Door {
    services: PathBuf,
}

impl Door {
    fn build(directory: &Path, mapping: &Path) -> Self {
        let services = directory.join("pam.d");
        std::fs::create_dir(&services).expect("a directory");
        let stack = format!(
            "auth required pam_u2f.so authfile={} origin={ORIGIN} appid={ORIGIN}\naccount required pam_permit.so\n",
            mapping.display()
        );
        std::fs::write(services.join(SERVICE), stack).expect("a service");
        Self { services }
    }

    /// Whether a key of the testbed opens it.
    fn opens(&self, bed: &Testbed) -> bool {
        let script = "mount --bind \"$1\" /etc/pam.d && exec timeout 120 pamtester \"$2\" \"$3\" authenticate";
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script, "sh"])
            .arg(&self.services)
            .args([SERVICE, SUBJECT])
            .envs(bed.environment())
            .stdin(Stdio::null())
            .output()
            .expect("unshare");
        let told = [output.stdout, output.stderr].concat();
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(
            told.contains("successfully authenticated") == output.status.success(),
            "{told}"
        );
        assert!(!told.contains("mount:"), "{told}");
        output.status.success()
    }
}

async fn export(house: &House, to: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.args([
        "--bus",
        house.bus().address(),
        "export",
        "pam-u2f",
        "--rp-id",
        ORIGIN,
        "--file",
    ]);
    command.arg(to);
    tokio::task::spawn_blocking(move || command.output().expect("claviger"))
        .await
        .expect("its end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_the_door_until_it_is_revoked() {
    if let Some(what) = absent() {
        let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
        assert!(!ci, "ring 2: no {what}, and on CI nothing may be skipped");
        let _ = writeln!(std::io::stderr().lock(), "ring 2: skipped, no {what}");
        return;
    }
    let house = House::start(&Figures::default()).await;
    let (key, other) = (token("nitrokey-3", "key", 7), token("solo-2", "other", 8));
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let options = Options::from([("rp-id", Variant::from(ORIGIN)), ("discoverable", Variant::from(false))]);
    let made = house
        .run(async |tokens| {
            let pin = secret(PIN.as_bytes());
            tokens.register_fido2(&path, SUBJECT, pin.into(), &options).await
        })
        .await
        .done();
    let id = text(&made, "token");
    let mapping = house.path().join("u2f_mappings");
    let told = export(&house, &mapping).await;
    assert!(told.status.success(), "{told:?}");
    let before = std::fs::read(&mapping).expect("the file with the key");
    assert!(before.starts_with(b"daemon:"), "{}", String::from_utf8_lossy(&before));
    drop(plugged);

    let door = Door::build(house.path(), &mapping);
    let bed = Testbed::start(None).expect("a testbed");
    let stranger = bed.plug(&other).expect("plugged in");
    assert!(!door.opens(&bed), "another key");
    stranger.unplug();
    let body = bed.plug(&key).expect("plugged in");
    assert!(door.opens(&bed), "the key of the mapping");

    let revoked = house.revoke(&id).await.done();
    let still: Vec<String> = revoked["trusted-by"].clone().try_into().expect("names");
    assert_eq!(still, [ORIGIN], "until the file is written anew");
    // Where it cannot be written, that is said and the file is as it was.
    let nowhere = export(&house, Path::new("/proc/u2f_mappings")).await;
    assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
    let told = export(&house, &mapping).await;
    assert!(told.status.success(), "{told:?}");
    assert!(!door.opens(&bed), "a revoked key");
    // That it was the file and not the key: with the old one it opens.
    std::fs::write(&mapping, before).expect("the old file");
    assert!(door.opens(&bed));
    drop(body);
    house.assert_intact().await;
}
