//! What a machine is made of: a Debian root file system, and the packages that `make deb` built.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use super::packages;

/// A small Debian as people have it, with what our packages depend on and recommend: the machine has no network.
const SUITE: &str = "bookworm";
const INCLUDED: &[&str] = &[
    "dbus",
    "libnss-systemd",
    "libpcsclite1",
    "libudev1",
    "pcscd",
    "pkexec",
    "polkitd",
    "sudo",
    "systemd-sysv",
    "udev",
    "vsmartcard-vpcd",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Skips, or fails on CI, where nothing may be skipped.
fn skip(what: &str) {
    let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
    assert!(!ci, "ring 3: no {what}, and on CI nothing may be skipped");
    // Past the capture of the test program: whoever runs the tests shall see it.
    let _ = writeln!(std::io::stderr().lock(), "ring 3: skipped, no {what}");
}

/// What is absent here, if anything is.
fn absent() -> Option<&'static str> {
    let program = |name: &str| {
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
            .iter()
            .any(|dir| Path::new(dir).join(name).exists())
    };
    if !nix::unistd::Uid::effective().is_root() {
        return Some("root");
    }
    if !program("systemd-nspawn") {
        return Some("systemd-nspawn (Debian: systemd-container)");
    }
    if !program("mmdebstrap") {
        return Some("mmdebstrap (Debian: mmdebstrap)");
    }
    if !program("cc") {
        return Some("C compiler (Debian: gcc)");
    }
    // The packages run on what they were built on.
    let host = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !host.contains(&format!("VERSION_CODENAME={SUITE}")) {
        return Some("Debian 12 to build the packages on");
    }
    let mounts = "mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/l /mnt/u /mnt/w /mnt/o &&
        mount -t overlay o -o lowerdir=/mnt/l,upperdir=/mnt/u,workdir=/mnt/w /mnt/o &&
        umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup";
    let allowed = Command::new("unshare")
        .args(["--mount", "sh", "-c", mounts])
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        return Some("leave to mount overlay and cgroup2 file systems");
    }
    None
}

/// The root file system; made when it is not there, or was made from another list. `None`: a machine cannot be had here.
pub fn root() -> Option<PathBuf> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    ROOT.get_or_init(|| {
        if let Some(what) = absent() {
            skip(what);
            return None;
        }
        if packages::built().is_empty() {
            skip("package to install: run “make deb DEBPROFILE=deb”");
            return None;
        }
        not_stale();
        Some(make_root())
    })
    .clone()
}

fn make_root() -> PathBuf {
    let list = format!("{SUITE} {}", INCLUDED.join(","));
    let digest = Sha256::digest(list.as_bytes());
    let place = repository().join("target/ring3");
    let root = place.join(format!("root-{}", data_encoding::HEXLOWER.encode(&digest[..6])));
    fs::create_dir_all(&place).expect("target/ring3");
    // Two test programs may want it at once.
    let lock = File::create(place.join("lock")).expect("a lock");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .expect("the lock");
    if root.exists() {
        return root;
    }
    let begun = std::time::Instant::now();
    let half = root.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=apt"])
        // What the mirror or the network gets wrong once is asked for again; and apt's own user need not be able to reach the place.
        .args([
            "--aptopt=Acquire::Retries \"5\"",
            "--aptopt=APT::Sandbox::User \"root\"",
        ])
        .arg(format!("--include={}", INCLUDED.join(",")))
        .arg(SUITE)
        .arg(&half)
        .output()
        .expect("mmdebstrap");
    assert!(
        made.status.success(),
        "mmdebstrap failed:\n{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fs::rename(&half, &root).expect("renamed");
    println!(
        "ring 3: a root file system was made in {:.0} s",
        begun.elapsed().as_secs_f32()
    );
    root
}

/// A package of something else than what is here would have the tests judge what is no more.
fn not_stale() {
    if let Some((source, package)) = packages::stale() {
        panic!(
            "{} is newer than {}: run “make deb DEBPROFILE=deb”",
            source.display(),
            package.display()
        );
    }
}
