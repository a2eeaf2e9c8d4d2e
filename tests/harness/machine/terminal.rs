//! Somebody at a terminal inside the machine, who reads what comes and types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use nix::pty::openpty;

use super::PATIENCE;

pub struct Terminal {
    master: File,
    _slave: OwnedFd,
    child: Child,
    bytes: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    pub fn open(program: &Command) -> Self {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let end = || Stdio::from(pty.slave.try_clone().expect("the terminal"));
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid");
        let master = File::from(pty.master);
        let mut reader = master.try_clone().expect("the terminal");
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 1024];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            master,
            _slave: pty.slave,
            child,
            bytes,
            seen: String::new(),
        }
    }

    /// Waits until this is on the screen, after what was waited for before; what came up to it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_one(&[text]).1
    }

    /// The same for the first of several that comes; which, and what came up to it.
    #[track_caller]
    pub fn expect_one(&mut self, texts: &[&str]) -> (usize, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let first = texts
                .iter()
                .enumerate()
                .filter_map(|(which, text)| Some((self.seen.find(text)? + text.len(), which)))
                .min();
            if let Some((end, which)) = first {
                let rest = self.seen.split_off(end);
                return (which, std::mem::replace(&mut self.seen, rest));
            }
            match self
                .bytes
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("none of {texts:?} came: {:?}", self.seen),
            }
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal");
    }

    /// Waits for the end; the exit code, and what was on the screen since the last `expect`.
    pub fn end(mut self) -> (i32, String) {
        let code = self.child.wait().expect("its end").code().unwrap_or(-1);
        while let Ok(bytes) = self.bytes.try_recv() {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (code, self.seen)
    }
}
