//! Simulated tokens under the real host stack: hidraw nodes by umockdev, readers by pcscd and vpcd.

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;

use hw_fixtures::front::Testbed;
use hw_fixtures::world::{Hosts, World, WorldFile};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;

use super::daemon::virtual_socket;
use super::{Host, PATIENCE, Process, VPCD, put};

/// The name pcscd gives the reader: ours, and two numbers of its own.
pub const READER: &str = "Test Reader 00";

/// A pcscd with one reader of two slots. Ends when dropped.
pub struct Pcscd {
    process: Process,
    port: u16,
}

impl Pcscd {
    /// Starts it and waits until it listens.
    pub fn start(host: &Host) -> Self {
        let port = free_ports();
        let configuration = format!(
            "FRIENDLYNAME \"Test Reader\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {VPCD}\nCHANNELID 0x{port:X}\n"
        );
        put(host.dir(), "readers/reader.conf", &configuration);
        Self {
            process: Self::run(host),
            port,
        }
    }

    fn run(host: &Host) -> Process {
        let bell = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        let directory = host.dir().join("run/pcscd");
        let socket = directory.join("pcscd.comm");
        let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ATTRIB;
        bell.add_watch(&directory, events).expect("a watch");
        let mut command = host.command("pcscd");
        command
            .args(["--foreground", "--config"])
            .arg(host.dir().join("readers"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start("pcscd", &mut command);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let mut fds = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).expect("a time");
            assert!(poll(&mut fds, patience).expect("a bell") > 0, "pcscd does not listen");
            let _ = bell.read_events();
        }
        process
    }

    /// Where the first slot's card connects; the second slot's is one further.
    pub fn address(&self) -> (String, u16) {
        ("127.0.0.1".to_owned(), self.port)
    }

    /// Kills it outright.
    pub fn kill(&mut self) {
        self.process.end(Signal::SIGKILL);
    }

    /// Starts it again, with the same readers.
    pub fn start_again(&mut self, host: &Host) {
        self.process = Self::run(host);
    }
}

/// Two free ports, one after the other.
fn free_ports() -> u16 {
    for _ in 0..64 {
        let first = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = first.local_addr().expect("an address").port();
        if port < u16::MAX && TcpListener::bind(("0.0.0.0", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports");
}

/// hidraw nodes; programs see them with [`Testbed::environment`].
pub fn testbed(host: &Host) -> Arc<Testbed> {
    Testbed::start(Some(&host.dir().join("bed"))).expect("a testbed")
}

/// A world of these tokens, plugged in as its text says.
pub fn world(host: &Host, text: &str, bed: Option<&Arc<Testbed>>, readers: Option<&Pcscd>) -> Arc<World> {
    let file = WorldFile::parse(text).expect("a world");
    let hosts = Hosts {
        virtual_socket: Some(virtual_socket(host)),
        vpcd: readers.map(Pcscd::address),
        testbed: bed.cloned(),
        gadgets: None,
    };
    let world = Arc::new(World::new(&file, hosts).expect("a world"));
    world.plug_all(&file).expect("plugged in");
    world
}
