//! The shipped daemon in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use claviger::contract::BUS_NAME;
use futures_util::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::harness::bus::within;
use crate::stage::Stage;

/// A directory for a ledger: on the disk the project is on, because a commit to memory costs nothing.
pub fn state_directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// What a daemon is started with.
#[derive(Default)]
pub struct Setup {
    pub hid: bool,
    pub cards: bool,
    /// The policy's file. Without one no case is demanded.
    pub policy: Option<PathBuf>,
    pub environment: Vec<(String, String)>,
}

/// A running daemon. Ends when dropped.
pub struct Daemon {
    child: Child,
    /// From exec until the bus told that the name has an owner.
    pub to_name: Duration,
    /// From exec until `READY=1` (sd_notify(3)).
    pub to_ready: Duration,
    /// Of its virtual link.
    pub socket: PathBuf,
}

impl Daemon {
    /// Starts it on a ledger and waits until it is ready.
    pub async fn start(stage: &Stage, state: &Path, setup: &Setup) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let own = |name: &str| stage.directory().join(format!("{name}-{number}"));
        let (socket, config, told) = (own("virtual"), own("config"), own("notify"));
        let text = format!(
            "mode = \"{}\"\n[state]\ndirectory = {state:?}\n[virtual]\nsocket = {socket:?}\n\
             [devices]\nhid = {}\ncards = {}\n[authority]\nrole = \"staff\"\npolicy = {:?}\n",
            stage.mode(),
            setup.hid,
            setup.cards,
            setup.policy.as_deref().unwrap_or(Path::new("off"))
        );
        fs::write(&config, text).expect("its configuration");
        let notified = UnixDatagram::bind(&told).expect("a socket");
        let driver = zbus::fdo::DBusProxy::new(&stage.connection).await.expect("the bus");
        let mut owners = driver
            .receive_name_owner_changed_with_args(&[(0, BUS_NAME)])
            .await
            .expect("a match rule");
        let (variable, address) = stage.variable();
        let mut command = Command::new(env!("CARGO_BIN_EXE_clavigerd"));
        command
            .arg("--config")
            .arg(&config)
            .env(variable, address)
            .env("NOTIFY_SOCKET", &told)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(own("log")).expect("a log"));
        let begun = Instant::now();
        let child = command.spawn().expect("the daemon");
        let mut daemon = Self {
            child,
            to_name: Duration::ZERO,
            to_ready: Duration::ZERO,
            socket,
        };
        within("the bus name", async {
            while let Some(change) = owners.next().await {
                if change.args().expect("arguments").new_owner().is_some() {
                    break;
                }
            }
        })
        .await;
        daemon.to_name = begun.elapsed();
        within("readiness", async {
            let mut message = [0; 4096];
            loop {
                let length = notified.recv(&mut message).await.expect("a message");
                if String::from_utf8_lossy(&message[..length])
                    .lines()
                    .any(|line| line == "READY=1")
                {
                    return;
                }
            }
        })
        .await;
        daemon.to_ready = begun.elapsed();
        daemon
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("a child of ours");
        within("its end", async {
            while self.child.try_wait().expect("a child").is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
