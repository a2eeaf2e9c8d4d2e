//! Who holds a device node: what `/proc` tells.

use std::fs;
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
    let pid = locker(&locks, stat).or_else(|| opener(node, own))?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Holder {
        pid,
        program: clean(&program, 32),
    })
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
    let processes = fs::read_dir("/proc").ok()?.take(MOST).filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).find(|pid| {
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
        assert!(holder.program.starts_with("python3"), "{}", holder.program);
        drop(child.stdin.take());
        child.wait().expect("ends");
        assert_eq!(find(&file, &stat), None);
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
