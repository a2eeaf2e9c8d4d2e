//! A socket between simulated token and daemon that counts their frames and kills the daemon at one of them. The frame goes
//! on only when the daemon is dead: a command reaches a token whose daemon will never know what became of it, an answer
//! reaches nobody.
#![allow(dead_code, missing_docs)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

#[derive(Default)]
struct Tally {
    counting: bool,
    count: u64,
    /// At which frame which process dies.
    strike: Option<(u64, Pid)>,
    struck: bool,
}

/// The socket. One relay serves all plugs of a house, one after the other.
pub struct Relay {
    path: PathBuf,
    tally: Arc<Mutex<Tally>>,
}

impl Relay {
    /// Listens at `path` and leads to `daemon`.
    pub fn start(path: PathBuf, daemon: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).expect("a socket");
        let tally = Arc::new(Mutex::new(Tally::default()));
        let shared = tally.clone();
        // Ends with the test program; it holds nothing that anybody waits for.
        std::thread::spawn(move || {
            for token in listener.incoming() {
                let Ok(token) = token else { return };
                let Ok(host) = UnixStream::connect(&daemon) else {
                    continue;
                };
                join(&token, &host, &shared);
            }
        });
        Self { path, tally }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Counts frames from 1 from now on.
    pub fn count_from_here(&self) {
        *self.tally.lock().unwrap() = Tally {
            counting: true,
            ..Tally::default()
        };
    }

    pub fn counted(&self) -> u64 {
        self.tally.lock().unwrap().count
    }

    /// At this frame, counted from now, the process dies.
    pub fn arm(&self, frame: u64, pid: u32) {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid"));
        *self.tally.lock().unwrap() = Tally {
            counting: true,
            strike: Some((frame, pid)),
            ..Tally::default()
        };
    }

    pub fn disarm(&self) {
        *self.tally.lock().unwrap() = Tally::default();
    }

    pub fn has_struck(&self) -> bool {
        self.tally.lock().unwrap().struck
    }
}

fn join(token: &UnixStream, host: &UnixStream, tally: &Arc<Mutex<Tally>>) {
    for (from, to) in [(token, host), (host, token)] {
        let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
        let tally = tally.clone();
        std::thread::spawn(move || {
            while let Some(frame) = read(&mut from) {
                // Held until the frame has gone on, so that the other direction closes after it and not before.
                let mut tally = tally.lock().unwrap();
                tally.meet(&frame);
                // The daemon may be dead; then the frame reaches nobody.
                let _ = to.write_all(&frame);
            }
            let _held = tally.lock().unwrap();
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

/// One frame of the virtual link with its length in front.
fn read(from: &mut UnixStream) -> Option<Vec<u8>> {
    let mut frame = vec![0; 4];
    from.read_exact(&mut frame).ok()?;
    let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
    frame.resize(4 + usize::try_from(length).ok()?, 0);
    from.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}

impl Tally {
    fn meet(&mut self, frame: &[u8]) {
        // HELLO and its answers belong to the plugging in, everything above to the conversation with the token.
        if !self.counting || frame.get(4).is_none_or(|kind| *kind < 0x10) {
            return;
        }
        self.count += 1;
        if let Some((at, pid)) = self.strike
            && at == self.count
        {
            kill(pid, Signal::SIGKILL).expect("a living daemon");
            // Seen dead but left for its parent to bury, who may have done so already.
            match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(_) | Err(Errno::ECHILD) => {}
                Err(errno) => panic!("its end: {errno}"),
            }
            self.struck = true;
        }
    }
}
