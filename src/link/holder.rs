//! Who holds a device node: what `/proc` tells.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{FileStat, major, minor};

use super::Holder;
use super::watch::clean;

/// Most lines of `/proc/locks` and most processes looked at.
const MOST: usize = 4096;

/// The process that has an `flock` on the file with this `stat`, or else one that has `node` open. `None` when `/proc` does
/// not let us see (another user's process).
pub(super) fn find(node: &Path, stat: &FileStat) -> Option<Holder> {
    let own = std::process::id();
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let locker = locker(&locks, stat);
    let pid = locker.or_else(|| opener(node, own))?;
    Some(Holder {
        pid,
        program: program(pid),
        sure: locker.is_some(),
    })
}

/// Programs that talk to cards of their own accord and keep a reader.
const CARD_PROGRAMS: &[&str] = &[
    "scdaemon",
    "ykman",
    "yubioath",
    "authenticator",
    "opensc-tool",
    "pkcs11-tool",
    "pkcs15-tool",
    "pcsc_scan",
    "piv-agent",
    "yubikey-agent",
];

/// The process that probably has a card. pcscd tells nobody whom it serves; but who is served has its client library in memory, which is
/// seen of processes of our own user, and of those of others the names are.
pub(super) fn of_reader() -> Option<Holder> {
    let own = std::process::id();
    let others: Vec<(u32, String)> = processes()
        .filter(|pid| *pid != own)
        .map(|pid| (pid, program(pid)))
        .filter(|(_, program)| program != "pcscd")
        .collect();
    let mut clients = others.iter().filter(|(pid, _)| is_client(*pid));
    let (found, sure) = match (clients.next(), clients.next()) {
        (Some(only), None) => (only, true),
        (Some(first), Some(_)) => (first, false),
        (None, _) => {
            let named = |(_, program): &&(u32, String)| CARD_PROGRAMS.iter().any(|known| program.starts_with(known));
            (others.iter().find(named)?, false)
        }
    };
    Some(Holder {
        pid: found.0,
        program: found.1.clone(),
        sure,
    })
}

/// Whether a process has the client library of pcscd in memory; false as well when we may not look.
fn is_client(pid: u32) -> bool {
    let Ok(maps) = fs::File::open(format!("/proc/{pid}/maps")) else {
        return false;
    };
    let lines = BufReader::new(maps).lines().take(MOST).map_while(Result::ok);
    lines.into_iter().any(|line| line.contains("/libpcsclite"))
}

fn program(pid: u32) -> String {
    clean(&fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(), 32)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .take(MOST)
        .filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Reads lines like `1: FLOCK  ADVISORY  WRITE 1234 00:05:678 0 EOF` (proc_locks(5)).
fn locker(locks: &str, stat: &FileStat) -> Option<u32> {
    let file = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    locks.lines().take(MOST).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        // Waiters have an arrow here.
        let (kind, pid, at) = (words.next()?, words.nth(2)?, words.next()?);
        (kind == "FLOCK" && at == file).then(|| pid.parse().ok()).flatten()
    })
}

/// A process other than ourselves that has the node open.
fn opener(node: &Path, own: u32) -> Option<u32> {
    let wanted = fs::metadata(node).ok()?.rdev();
    processes().filter(|pid| *pid != own).find(|pid| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return false;
        };
        descriptors.take(MOST).filter_map(Result::ok).any(|entry| {
            // Reading the link is cheap; only a node is looked at.
            fs::read_link(entry.path()).is_ok_and(|target| target == node)
                && fs::metadata(entry.path()).is_ok_and(|meta| meta.rdev() == wanted)
        })
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let directory = tempfile::tempdir().expect("directory");
        let file = directory.path().join("node");
        let (read, write) = std::io::pipe().expect("pipe");
        let script = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(&file)
            .stdin(std::process::Stdio::piped())
            .stdout(write)
            .spawn()
            .expect("python3");
        let mut line = [0; 5];
        std::io::Read::read_exact(&mut &read, &mut line).expect("held");
        let stat = nix::sys::stat::stat(&file).expect("stat");
        let holder = find(&file, &stat).expect("found");
        assert_eq!(holder.pid, child.id());
        assert!(holder.program.starts_with("python3") && holder.sure, "{holder:?}");
        drop(child.stdin.take());
        child.wait().expect("ends");
        assert_eq!(find(&file, &stat), None);
    }

    #[test]
    fn a_client_of_pcscd_is_known_by_its_library() {
        let (read, write) = std::io::pipe().expect("pipe");
        let script =
            "import ctypes, sys; ctypes.CDLL('libpcsclite.so.1'); print('there', flush=True); sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(write)
            .spawn()
            .expect("python3");
        let mut line = [0; 5];
        std::io::Read::read_exact(&mut &read, &mut line).expect("libpcsclite1 is installed");
        assert!(is_client(child.id()));
        // Tests run beside each other, and another may be a client, too.
        assert!(of_reader().is_some());
        drop(child.stdin.take());
        child.wait().expect("ends");
        assert!(!is_client(child.id()));
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let stat = nix::sys::stat::stat("/").expect("stat");
        let at = format!("{:02x}:{:02x}:{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
        let text = format!(
            "\n1:\n2: -> FLOCK ADVISORY WRITE 9 {at} 0 EOF\n3: POSIX ADVISORY WRITE 8 {at} 0 EOF\n4: FLOCK ADVISORY WRITE 7 {at} 0 EOF\n"
        );
        assert_eq!(locker(&text, &stat), Some(7));
        assert_eq!(locker("4: FLOCK ADVISORY WRITE -1 x", &stat), None);
    }
}
