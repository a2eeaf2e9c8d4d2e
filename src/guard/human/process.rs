//! A process held fast by a descriptor (pidfd), and what `/proc` says of it.
//!
//! A number alone can be given to another process between two looks at it. A pidfd stays with the process it was made for: when
//! it says after the reading that the process still runs, the number was that process's all the time.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use zbus::fdo::ConnectionCredentials;

use super::Login;

/// Why a process cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// The bus knows no process.
    #[error("the bus does not say which process called")]
    Untold,
    /// It has ended.
    #[error("the process that called has ended")]
    Gone,
    /// It is in another process namespace, or `/proc` hides it.
    #[error(
        "/proc hides the process that called ({0}), so nobody can tell who logged in there: mount /proc without “hidepid”, or let \
         clavigerd see it (“gid=”), see the manual on hardening"
    )]
    Hidden(String),
}

/// A process that cannot be mistaken for another.
#[derive(Debug)]
pub(super) struct Pinned {
    pin: OwnedFd,
    pid: u32,
}

impl Pinned {
    /// The process of a caller: by the pidfd the bus took when the caller connected (D-Bus 1.16, dbus-broker), else by its number.
    /// The latter cannot tell that a process gave its connection away, ended, and that another of the same uid has its number
    /// now.
    pub(super) fn of(credentials: ConnectionCredentials) -> Result<Self, ProcessError> {
        let number = credentials.process_id();
        let pin = match credentials.into_process_fd() {
            Some(pin) => OwnedFd::from(pin),
            None => by_number(number.ok_or(ProcessError::Untold)?)?,
        };
        let pid = pid_of(&pin)?;
        Ok(Self { pin, pid })
    }

    /// Its number, as long as [`still_there`](Self::still_there).
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Who it runs as and who logged in.
    pub(super) fn login(&self) -> Result<Login, ProcessError> {
        let login = Login {
            uids: uids(&self.read("status")?).ok_or_else(|| self.hidden("status"))?,
            login: self.number("loginuid")?,
            audit: self.number("sessionid")?,
        };
        self.still_there()?;
        Ok(login)
    }

    /// Whether it still runs. A pidfd can be read once its process has ended (pidfd_open(2)).
    pub(super) fn still_there(&self) -> Result<(), ProcessError> {
        let mut asked = [PollFd::new(self.pin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut asked, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            _ => Err(ProcessError::Gone),
        }
    }

    fn read(&self, name: &str) -> Result<String, ProcessError> {
        fs::read_to_string(format!("/proc/{}/{name}", self.pid)).map_err(|error| {
            // Hidden processes are as absent as ended ones: the pin tells which it was.
            match self.still_there() {
                Ok(()) => ProcessError::Hidden(format!("{name}: {}", error.kind())),
                Err(gone) => gone,
            }
        })
    }

    fn number(&self, name: &str) -> Result<u32, ProcessError> {
        self.read(name)?.trim().parse().map_err(|_| self.hidden(name))
    }

    fn hidden(&self, name: &str) -> ProcessError {
        ProcessError::Hidden(format!("{name} of process {} cannot be understood", self.pid))
    }
}

fn by_number(pid: u32) -> Result<OwnedFd, ProcessError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Zero: in a process namespace that we do not see.
    let pid = pid.ok_or_else(|| ProcessError::Hidden("it is in another process namespace".to_owned()))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| match io::Error::from(error).raw_os_error() {
        Some(nix::libc::ESRCH) => ProcessError::Gone,
        _ => ProcessError::Hidden(format!("pidfd_open: {error}")),
    })
}

/// The number behind a pidfd: `Pid:` in its fdinfo, -1 once the process has ended, 0 when it is in a namespace we do not see.
fn pid_of(pin: &OwnedFd) -> Result<u32, ProcessError> {
    let hidden = |why: &str| ProcessError::Hidden(why.to_owned());
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pin.as_raw_fd()))
        .map_err(|error| hidden(&format!("fdinfo: {}", error.kind())))?;
    let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|pid| pid.trim().parse::<i64>().ok()) {
        Some(-1) => Err(ProcessError::Gone),
        Some(0) => Err(hidden("it is in another process namespace")),
        Some(pid) => u32::try_from(pid).map_err(|_| hidden("fdinfo")),
        None => Err(hidden("the descriptor is none of a process")),
    }
}

/// `Uid:` of proc_pid_status(5).
fn uids(status: &str) -> Option<[u32; 4]> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let uids: Option<Vec<u32>> = line.split_whitespace().map(|uid| uid.parse().ok()).collect();
    uids?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_uids_are_read_or_none() {
        let status = "Name:\tx\nUid:\t1000\t0\t1000\t1000\nGid:\t1\t1\t1\t1\n";
        assert_eq!(uids(status), Some([1_000, 0, 1_000, 1_000]));
        assert_eq!(uids("Uid:\t1000\t1000\t1000\n"), None);
        assert_eq!(uids("Uid:\t1000\t1000\t1000\tx\n"), None);
        assert_eq!(uids("Name:\tUid:\n"), None);
    }

    #[test]
    fn a_pinned_process_is_seen_to_end() {
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pinned = Pinned {
            pin: by_number(child.id()).unwrap(),
            pid: child.id(),
        };
        assert_eq!(pid_of(&pinned.pin).unwrap(), child.id());
        assert_eq!(pinned.still_there(), Ok(()));
        let ours = nix::unistd::Uid::current().as_raw();
        assert_eq!(pinned.login().unwrap().uids, [ours; 4]);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(pinned.still_there(), Err(ProcessError::Gone));
        assert_eq!(pinned.login(), Err(ProcessError::Gone));
        assert_eq!(pid_of(&pinned.pin), Err(ProcessError::Gone));
    }

    #[test]
    fn what_is_no_process_is_none() {
        let file = OwnedFd::from(fs::File::open("/dev/null").unwrap());
        assert!(matches!(pid_of(&file), Err(ProcessError::Hidden(_))));
        assert!(matches!(by_number(0), Err(ProcessError::Hidden(_))));
        assert_eq!(by_number(0x3fff_ffff).unwrap_err(), ProcessError::Gone);
    }
}
