//! How to wait for pcscd without asking again and again: its socket's directory tells when it comes back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::AsFd;

use super::watch::Stop;

/// Where pcscd listens unless `PCSCLITE_CSOCK_NAME` says otherwise, as for every client of libpcsclite.
const SOCKET: &str = "/run/pcscd/pcscd.comm";

/// After the bell rang or the service was lost, pcscd may need a moment: it makes its socket before it listens.
const QUICK: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];
/// The slow round, for a service that answers and refuses (polkit), and for a host without inotify.
const SLOW: Duration = Duration::from_secs(300);
/// A service that lived shorter than this was not well.
const WELL: Duration = Duration::from_secs(10);
/// Losses in a row that are forgiven before we wait longer each time: with socket activation it is our own connecting
/// that starts pcscd again, and we must not keep a crash going.
const FORGIVEN: u32 = 3;

/// Why the last attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absence {
    /// Nobody listens.
    NotRunning,
    /// It answered, but with an error.
    Refusing,
}

/// The path of pcscd's socket.
pub(super) fn socket_path() -> PathBuf {
    std::env::var_os("PCSCLITE_CSOCK_NAME")
        .filter(|name| !name.is_empty())
        .unwrap_or(OsString::from(SOCKET))
        .into()
}

/// Rings when something changes where pcscd's socket is or would be.
pub(super) struct Bell {
    inotify: Option<Inotify>,
    socket_exists: bool,
}

impl Bell {
    /// Hangs the bell up. Do this before the attempt to connect, so that no change is missed between the two.
    pub(super) fn hang(socket: &Path) -> Self {
        let inotify = watch_nearest(socket);
        Self {
            inotify,
            socket_exists: socket.exists(),
        }
    }

    /// Sleeps until it rings, the time is over or `stop` is given. True when it rang.
    fn wait(&self, stop: &Stop, time: Option<Duration>) -> bool {
        let mut fds = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        fds.extend(
            self.inotify
                .as_ref()
                .map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)),
        );
        let timeout = time.map_or(PollTimeout::NONE, |time| {
            PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX)
        });
        let ready = poll(&mut fds, timeout);
        ready.is_ok() && fds.get(1).and_then(PollFd::any).unwrap_or(false)
    }
}

/// Watches the socket's directory or, while that does not exist, the nearest one above it that does.
fn watch_nearest(socket: &Path) -> Option<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
    let inside = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
    let itself = AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
    let written = AddWatchFlags::IN_CLOSE_WRITE;
    for (height, directory) in socket.ancestors().skip(1).enumerate() {
        // pcscd's pid file lies beside the socket and is written at every start. Higher up only new names matter.
        let what = if height == 0 {
            inside | itself | written
        } else {
            AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | itself
        };
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        if inotify.add_watch(directory, what | AddWatchFlags::IN_ONLYDIR).is_ok() {
            return Some(inotify);
        }
    }
    None
}

/// How long to wait before the next attempt.
#[derive(Debug, Default)]
pub(super) struct Patience {
    quick: usize,
    losses: u32,
}

impl Patience {
    /// After a failed attempt: sleeps until it makes sense to try again.
    pub(super) fn wait(&mut self, bell: &Bell, absence: Absence, stop: &Stop) {
        let time = self.next(absence, bell.socket_exists, bell.inotify.is_some());
        if bell.wait(stop, time) {
            self.quick = 0;
        }
    }

    fn next(&mut self, absence: Absence, socket_exists: bool, bell_hangs: bool) -> Option<Duration> {
        if socket_exists && let Some(quick) = QUICK.get(self.quick) {
            self.quick += 1;
            return Some(*quick);
        }
        (absence == Absence::Refusing || !bell_hangs).then_some(SLOW)
    }

    /// The service answered since `begun` and was lost now; sleeps if it does that all the time.
    pub(super) fn lost(&mut self, begun: Instant, stop: &Stop) {
        if let Some(time) = self.after_loss(begun.elapsed()) {
            tracing::warn!(
                seconds = time.as_secs(),
                "pcscd ends again and again; waiting before it is asked once more"
            );
            Bell {
                inotify: None,
                socket_exists: false,
            }
            .wait(stop, Some(time));
        }
    }

    fn after_loss(&mut self, lived: Duration) -> Option<Duration> {
        self.quick = 0;
        self.losses = if lived < WELL { self.losses.saturating_add(1) } else { 0 };
        let excess = self.losses.checked_sub(FORGIVEN + 1)?;
        Some(Duration::from_secs(1u64.checked_shl(excess).unwrap_or(u64::MAX)).min(SLOW))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn the_bell_rings_for_the_socket_and_for_its_directory() {
        let root = tempfile::tempdir().expect("directory");
        let stop = Stop::new().expect("stop");
        let socket = root.path().join("pcscd/pcscd.comm");
        let bell = Bell::hang(&socket);
        assert!(!bell.wait(&stop, Some(Duration::from_millis(20))));
        fs::create_dir(root.path().join("pcscd")).expect("directory");
        assert!(bell.wait(&stop, Some(Duration::from_secs(60))));
        let bell = Bell::hang(&socket);
        assert!(!bell.wait(&stop, Some(Duration::from_millis(20))));
        fs::write(&socket, "").expect("file");
        assert!(bell.wait(&stop, Some(Duration::from_secs(60))));
        assert!(Bell::hang(&socket).socket_exists);
        fs::remove_dir_all(root.path().join("pcscd")).expect("remove");
        assert!(!Bell::hang(&socket).socket_exists);
    }

    #[test]
    fn an_absent_service_is_waited_for_without_a_clock() {
        let mut patience = Patience::default();
        assert_eq!(patience.next(Absence::NotRunning, false, true), None);
        assert_eq!(
            patience.next(Absence::NotRunning, false, false),
            Some(SLOW),
            "no inotify"
        );
        for quick in QUICK {
            assert_eq!(patience.next(Absence::NotRunning, true, true), Some(quick));
        }
        assert_eq!(
            patience.next(Absence::NotRunning, true, true),
            None,
            "a socket file that nobody serves"
        );
        assert_eq!(patience.next(Absence::Refusing, true, true), Some(SLOW));
    }

    #[test]
    fn a_service_that_keeps_dying_is_asked_less_and_less() {
        let mut patience = Patience::default();
        let short = Duration::from_secs(1);
        for _ in 0..FORGIVEN {
            assert_eq!(patience.after_loss(short), None);
        }
        assert_eq!(patience.after_loss(short), Some(Duration::from_secs(1)));
        assert_eq!(patience.after_loss(short), Some(Duration::from_secs(2)));
        for _ in 0..80 {
            assert!(patience.after_loss(short).is_some_and(|time| time <= SLOW));
        }
        assert_eq!(patience.after_loss(WELL), None);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let root = tempfile::tempdir().expect("directory");
        let stop = Arc::new(Stop::new().expect("stop"));
        let bell = Bell::hang(&root.path().join("pcscd.comm"));
        let waiter = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || bell.wait(&stop, None))
        };
        stop.stop();
        assert!(!waiter.join().expect("woken"));
    }
}
