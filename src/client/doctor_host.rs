//! What the doctor sees of the host itself: device nodes, pcscd, who holds what, the clock, the daemon's files.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::doctor::Check;

/// HID usage page of FIDO devices (CTAP 2.1 section 11.2.8.2), as a long and as a short item of a report descriptor.
const FIDO_USAGE_PAGE: [u8; 3] = [0x06, 0xd0, 0xf1];
/// Report descriptors are no longer than this (HID_MAX_DESCRIPTOR_SIZE).
const DESCRIPTOR_LIMIT: usize = 4096;
const ACCOUNT: &str = "claviger";
const PCSCD_SOCKET: &str = "/run/pcscd/pcscd.comm";

/// All of them. `system`: whether the daemon runs as an account of its own.
pub fn checks(system: bool) -> Vec<Check> {
    let mut checks = hidraw(system);
    checks.extend(pcscd());
    checks.push(clock());
    if system {
        checks.extend(state_files());
    }
    checks
}

/// FIDO keys the kernel knows: may the daemon open them, who has them open.
fn hidraw(system: bool) -> Vec<Check> {
    let nodes = fido_nodes(Path::new("/sys/class/hidraw"));
    if nodes.is_empty() {
        return vec![Check::ok(
            "FIDO keys",
            "the kernel shows none that could be locked away",
        )];
    }
    let holders = holders_of(&nodes);
    let mut checks = Vec::new();
    for node in &nodes {
        let shown = node.display();
        let mend =
            "sudo make install (udev/*.rules), then: sudo udevadm control --reload && sudo udevadm trigger -s hidraw";
        checks.push(if system {
            match account_may_open(node) {
                Some(true) => Check::ok("FIDO keys", format!("{shown} can be opened by “{ACCOUNT}”")),
                Some(false) => Check::fail("FIDO keys", format!("{shown} cannot be opened by “{ACCOUNT}”"), mend),
                None => Check::warn(
                    "FIDO keys",
                    format!("cannot tell whether “{ACCOUNT}” may open {shown}"),
                    mend,
                ),
            }
        } else if fs::File::options().read(true).write(true).open(node).is_ok() {
            Check::ok("FIDO keys", format!("{shown} can be opened by you"))
        } else {
            Check::fail("FIDO keys", format!("{shown} cannot be opened by you"), mend)
        });
        for (_, holder) in holders.iter().filter(|(held, _)| held == node) {
            let finding = format!("{shown} is held open by {} (process {})", holder.program, holder.pid);
            let mend = format!(
                "if operations fail with DeviceBusy: close {}, or kill {}",
                holder.program, holder.pid
            );
            if holder.program != "clavigerd" {
                checks.push(Check::warn("FIDO keys", finding, mend));
            }
        }
    }
    checks
}

/// Device nodes of hidraw devices whose report descriptor has the FIDO usage page.
fn fido_nodes(class: &Path) -> Vec<PathBuf> {
    let mut nodes: Vec<PathBuf> = fs::read_dir(class)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| fs::read(entry.path().join("device/report_descriptor")).is_ok_and(|d| is_fido(&d)))
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .collect();
    nodes.sort();
    nodes
}

/// Walks the items of a report descriptor (HID 1.11 section 6.2.2.2): a usage page must stand where an item begins.
fn is_fido(descriptor: &[u8]) -> bool {
    let mut rest = descriptor.get(..DESCRIPTOR_LIMIT).unwrap_or(descriptor);
    while let Some((&prefix, data)) = rest.split_first() {
        if rest.starts_with(&FIDO_USAGE_PAGE) {
            return true;
        }
        let length = match (prefix, prefix & 0x03) {
            // A long item carries its length in the next byte, and one more byte before the data.
            (0xfe, _) => usize::from(data.first().copied().unwrap_or_default()).saturating_add(2),
            (_, 3) => 4,
            (_, length) => usize::from(length),
        };
        rest = data.get(length..).unwrap_or_default();
    }
    false
}

/// Whether our account may read and write a node: by owner, by group, or by ACL; none when the account does not exist.
fn account_may_open(node: &Path) -> Option<bool> {
    let account = nix::unistd::User::from_name(ACCOUNT).ok()??;
    if account.uid.is_root() {
        return Some(true);
    }
    let metadata = fs::metadata(node).ok()?;
    let mode = metadata.mode();
    let allowed = |shift: u32| mode >> shift & 0o6 == 0o6;
    if metadata.uid() == account.uid.as_raw() {
        return Some(allowed(6));
    }
    if acl_names(node, ACCOUNT) {
        return Some(true);
    }
    let group = nix::unistd::Group::from_gid(metadata.gid().into()).ok().flatten();
    let member =
        metadata.gid() == account.gid.as_raw() || group.is_some_and(|group| group.mem.iter().any(|m| m == ACCOUNT));
    Some(if member { allowed(3) } else { allowed(0) })
}

/// Whether an ACL of the node gives this account rw. `getfacl` reads it; without that program there is none to be seen.
fn acl_names(node: &Path, account: &str) -> bool {
    let Ok(output) = Command::new("getfacl")
        .args(["--omit-header", "--absolute-names"])
        .arg(node)
        .output()
    else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().any(|line| line.starts_with(&format!("user:{account}:rw")))
}

/// A process that has something open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: u32,
    program: String,
}

/// Which processes have these files open, as far as `/proc` lets us see (root sees all).
fn holders_of(files: &[PathBuf]) -> Vec<(PathBuf, Holder)> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let mut open: Vec<PathBuf> = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .filter(|target| files.contains(target))
            .collect();
        open.sort();
        open.dedup();
        let program = fs::read_to_string(process.path().join("comm"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        found.extend(open.into_iter().map(|file| {
            (
                file,
                Holder {
                    pid,
                    program: program.clone(),
                },
            )
        }));
    }
    found
}

/// pcscd: installed, reachable; who else talks to it.
fn pcscd() -> Vec<Check> {
    let socket = std::env::var_os("PCSCLITE_CSOCK_NAME").map_or_else(|| PathBuf::from(PCSCD_SOCKET), PathBuf::from);
    if !fs::metadata(&socket).is_ok_and(|metadata| metadata.file_type().is_socket()) {
        let installed = ["/usr/sbin/pcscd", "/usr/bin/pcscd"]
            .iter()
            .any(|path| Path::new(path).exists());
        let (finding, mend) = if installed {
            (
                "pcscd is installed but does not listen: no card can be used",
                "sudo systemctl enable --now pcscd.socket",
            )
        } else {
            (
                "pcscd is not installed: no card can be used",
                "sudo apt-get install pcscd && sudo systemctl enable --now pcscd.socket",
            )
        };
        return vec![Check::warn("cards", finding, mend)];
    }
    let mut checks = vec![Check::ok("cards", format!("pcscd listens at {}", socket.display()))];
    // These two take readers for themselves, past pcscd (scdaemon) or without sharing (older gpg).
    for holder in programs(&["scdaemon", "yubikey-agent"]) {
        let finding = format!(
            "{} (process {}) may hold a card reader for itself",
            holder.program, holder.pid
        );
        let mend = if holder.program == "scdaemon" {
            "gpgconf --kill scdaemon".to_owned()
        } else {
            format!("kill {}", holder.pid)
        };
        checks.push(Check::warn("cards", finding, mend));
    }
    checks
}

/// Running processes with one of these names.
fn programs(names: &[&str]) -> Vec<Holder> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let program = fs::read_to_string(process.path().join("comm"))
            .unwrap_or_default()
            .trim()
            .to_owned();
        if names.contains(&program.as_str()) {
            found.push(Holder { pid, program });
        }
    }
    found
}

/// The host clock. Asked of `timedatectl`, which reads the kernel's flag; where there is none, we cannot tell.
fn clock() -> Check {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let answer = asked
        .ok()
        .filter(|output| output.status.success())
        .map(|output| output.stdout)
        .unwrap_or_default();
    match String::from_utf8_lossy(&answer).trim() {
        "yes" => Check::ok("clock", "synchronised"),
        "no" => Check::warn(
            "clock",
            "not synchronised: drift of fobs cannot be measured",
            "sudo timedatectl set-ntp true",
        ),
        _ => Check::skip(
            "clock",
            "timedatectl does not answer here; the daemon's own view counts",
        ),
    }
}

/// The sealing key and the state directory: only the daemon may read them.
fn state_files() -> Vec<Check> {
    let mut checks = Vec::new();
    for (path, allowed, mend) in [
        ("/var/lib/claviger", 0o700, "sudo chmod 0700 /var/lib/claviger"),
        (
            "/var/lib/claviger/sealing.key",
            0o600,
            "sudo chmod 0600 /var/lib/claviger/sealing.key",
        ),
    ] {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            continue;
        };
        let mode = metadata.mode() & 0o777;
        checks.push(if mode & !allowed == 0 {
            Check::ok("files", format!("{path} has mode {mode:04o}"))
        } else {
            Check::fail("files", format!("{path} has mode {mode:04o}, others can read it"), mend)
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_page_counts_only_where_an_item_begins() {
        let key = [0x06, 0xd0, 0xf1, 0x09, 0x01, 0xa1, 0x01, 0xc0];
        assert!(is_fido(&key));
        // A mouse whose 4-byte item happens to hold the same bytes.
        let mouse = [0x05, 0x01, 0x27, 0x06, 0xd0, 0xf1, 0x00, 0xc0];
        assert!(!is_fido(&mouse));
        assert!(!is_fido(&[0xfe, 0xff]));
        assert!(!is_fido(&[]));
    }

    #[test]
    fn our_own_open_file_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = fs::canonicalize(file.path()).unwrap();
        let holders = holders_of(std::slice::from_ref(&path));
        assert!(
            holders
                .iter()
                .any(|(held, holder)| *held == path && holder.pid == std::process::id())
        );
    }
}
