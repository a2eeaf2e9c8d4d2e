//! The text authentication agent. Over SSH there is no graphical agent that could ask for the administrator's password, so
//! we start polkit's own `pkttyagent` for our process, as polkit's tools do, and end it when we end.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use tokio::process::{Child, Command};

/// How long the agent may take to register before we go on without it.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(3);

/// A running agent; killed when dropped.
#[derive(Debug)]
pub struct Agent {
    _child: Child,
}

impl Agent {
    /// Starts an agent for this process when there is a terminal to ask on, and waits until it is registered.
    ///
    /// None when there is no terminal, no such program, or it did not come up: then polkit decides without asking.
    ///
    /// On a desktop the session's own agent goes first (`--fallback`). Elsewhere ours is registered outright: polkit finds a
    /// fallback agent only for callers that have a session at logind, which a container's shell does not.
    pub async fn start() -> Option<Self> {
        if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
            return None;
        }
        // The agent closes its end when it is registered. CLOEXEC on ours alone: the other must survive the exec.
        let (ours, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).ok()?;
        fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).ok()?;
        // setpriv execs the agent, which then ends with us however we end.
        let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
            .iter()
            .any(|name| std::env::var_os(name).is_some());
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "pkttyagent"])
            .arg("--process")
            .arg(std::process::id().to_string())
            .args(desktop.then_some("--fallback"))
            .arg("--notify-fd")
            .arg(theirs.as_raw_fd().to_string())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        drop(theirs);
        let registered = tokio::task::spawn_blocking(move || File::from(ours).read(&mut [0u8; 1]));
        match tokio::time::timeout(REGISTER_TIMEOUT, registered).await {
            Ok(_) => Some(Self { _child: child }),
            Err(_) => None,
        }
    }
}
