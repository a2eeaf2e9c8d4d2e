//! The client on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};

const PATIENCE: Duration = Duration::from_secs(100);

/// The client with a terminal of its own.
pub struct Seat {
    master: File,
    terminal: OwnedFd,
    child: Child,
    bytes: Receiver<Vec<u8>>,
    partial: Vec<u8>,
    seen: String,
}

impl Seat {
    /// At the bus of this address.
    pub fn take(address: &str, args: &[&str]) -> Self {
        Self::take_with(args, &[("CLAVIGER_BUS", address)])
    }

    pub fn take_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::take_wide(0, args, environment)
    }

    /// With so many columns; 0 is a terminal that does not tell.
    pub fn take_wide(columns: u16, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let size = Winsize {
            ws_row: 50,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        // setsid --ctty makes the slave the controlling terminal, so that /dev/tty is it.
        let child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_claviger")])
            .args(args)
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
            .envs(environment.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let master = File::from(pty.master);
        let mut reader = master.try_clone().unwrap();
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
            terminal: pty.slave,
            child,
            bytes,
            partial: Vec::new(),
            seen: String::new(),
        }
    }

    /// Waits until this is on the screen, after what was waited for before.
    pub fn expect(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let bytes = self
                .bytes
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("“{text}” never came: {:?}", self.seen));
            self.partial.extend(bytes);
            // A character may come in two reads.
            let whole = match std::str::from_utf8(&self.partial) {
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                _ => self.partial.len(),
            };
            let text: Vec<u8> = self.partial.drain(..whole).collect();
            self.seen.push_str(&String::from_utf8_lossy(&text));
        }
    }

    /// Waits until the terminal no longer echoes.
    pub fn expect_no_echo(&self) {
        let deadline = Instant::now() + PATIENCE;
        while tcgetattr(&self.terminal)
            .unwrap()
            .local_flags
            .contains(LocalFlags::ECHO)
        {
            assert!(Instant::now() < deadline, "echo stays on");
            std::thread::yield_now();
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}
