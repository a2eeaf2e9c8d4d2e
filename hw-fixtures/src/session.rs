//! `claviger-sim up`: a private bus, the daemon in session mode and simulated tokens, by one unprivileged command.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::ControlServer;
use crate::world::{Hosts, World, WorldFile};
use crate::{SimError, crypto, entropy::Entropy};

/// How long the daemon may take to say that it is ready.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(10);

/// What to bring up.
#[derive(Clone, Debug)]
pub struct SessionSetup {
    /// Where everything is kept; by default a fresh directory that is removed in the end.
    pub directory: Option<PathBuf>,
    /// The tokens.
    pub world: WorldFile,
    /// The daemon.
    pub daemon: PathBuf,
}

/// A running bus, daemon and world; dropping it takes all of it down.
pub struct Session {
    // In the order of their end: tokens leave before the daemon, the daemon before the bus.
    _control: ControlServer,
    world: Arc<World>,
    daemon: Process,
    _bus: Process,
    environment: Vec<(String, String)>,
    _room: Room,
}

/// The session's directory; a fresh one goes with its owner, also when the session never came up.
struct Room {
    path: PathBuf,
    fresh: bool,
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.fresh {
            // What cannot be removed lies in a temporary directory anyway.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A child that is ended with its owner.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        use nix::unistd::Pid;

        let Ok(pid) = i32::try_from(self.0.id()) else { return };
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // It may have ended between the two lines.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Session {
    /// Brings everything up and waits until the daemon is ready and every token is plugged in.
    ///
    /// # Errors
    /// When `dbus-daemon` or the daemon cannot be started, or the daemon is not ready in time.
    pub fn start(setup: &SessionSetup, on_quit: impl Fn() + Send + Sync + 'static) -> Result<Self, SimError> {
        let mut room = match &setup.directory {
            Some(directory) => Room {
                path: directory.clone(),
                fresh: false,
            },
            None => Room {
                path: fresh_directory(),
                fresh: true,
            },
        };
        make_private(&room.path)?;
        room.path = room
            .path
            .canonicalize()
            .map_err(SimError::io("finding the session's directory"))?;
        let directory = room.path.clone();
        let (bus, address) = start_bus(&directory)?;
        let virtual_socket = directory.join("virtual.sock");
        let config = directory.join("clavigerd.toml");
        write_config(&config, &directory.join("state"), &virtual_socket)?;
        let daemon = start_daemon(&setup.daemon, &config, &address, &directory)?;
        let hosts = Hosts {
            virtual_socket: Some(virtual_socket),
            ..Hosts::default()
        };
        let world = Arc::new(World::new(&setup.world, hosts)?);
        world.plug_all(&setup.world)?;
        let control_socket = directory.join("control.sock");
        let control = ControlServer::start(&control_socket, world.clone(), on_quit)?;
        let environment = vec![
            ("DBUS_SESSION_BUS_ADDRESS".to_owned(), address),
            ("CLAVIGER_BUS".to_owned(), "session".to_owned()),
            ("CLAVIGER_SIM_CONTROL".to_owned(), control_socket.display().to_string()),
            ("CLAVIGER_SIM_DIR".to_owned(), directory.display().to_string()),
        ];
        Ok(Self {
            _control: control,
            world,
            daemon,
            _bus: bus,
            environment,
            _room: room,
        })
    }

    /// What a client needs in its environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The tokens.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The daemon's end, if it has ended.
    pub fn daemon_ended(&mut self) -> Option<ExitStatus> {
        self.daemon.0.try_wait().ok().flatten()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.world.unplug_all();
    }
}

fn fresh_directory() -> PathBuf {
    // A socket's path has 108 bytes; the runtime directory is short and private where there is one.
    let base = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_dir());
    let name = crypto::to_hex(&Entropy::system().bytes::<6>());
    base.unwrap_or_else(std::env::temp_dir)
        .join(format!("claviger-sim-{name}"))
}

fn make_private(directory: &Path) -> Result<(), SimError> {
    use std::os::unix::fs::DirBuilderExt;

    let state = directory.join("state");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .map_err(SimError::io(format!("making {}", state.display())))
}

/// A private session bus whose address is fixed, so that nothing else is reached by accident.
fn start_bus(directory: &Path) -> Result<(Process, String), SimError> {
    let socket = directory.join("bus.sock");
    // A socket left by an earlier session stands in the way.
    let _ = std::fs::remove_file(&socket);
    let mut bus = Process(
        Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
            .arg(format!("--address=unix:path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(SimError::io("starting dbus-daemon (Debian: dbus-daemon)"))?,
    );
    let mut address = String::new();
    if let Some(output) = bus.0.stdout.take() {
        BufReader::new(output)
            .read_line(&mut address)
            .map_err(SimError::io("reading the bus address"))?;
    }
    let address = address.trim().to_owned();
    if address.is_empty() {
        return Err(SimError::Peer("dbus-daemon ended without an address".into()));
    }
    Ok((bus, address))
}

/// The daemon's configuration for a session of simulated tokens.
fn write_config(path: &Path, state: &Path, virtual_socket: &Path) -> Result<(), SimError> {
    let mut root = toml::Table::new();
    let table = |key: &str, value: &Path| {
        let mut table = toml::Table::new();
        table.insert(key.into(), value.display().to_string().into());
        toml::Value::Table(table)
    };
    root.insert("mode".into(), "session".into());
    root.insert("state".into(), table("directory", state));
    root.insert("virtual".into(), table("socket", virtual_socket));
    // A world of simulated tokens leaves the real ones of the machine alone.
    let mut devices = toml::Table::new();
    devices.insert("hid".into(), false.into());
    devices.insert("cards".into(), false.into());
    root.insert("devices".into(), devices.into());
    // Its fobs read the very clock that the daemon reads, so that clock is right by definition.
    let mut clock = toml::Table::new();
    clock.insert("kept-from-outside".into(), true.into());
    root.insert("clock".into(), clock.into());
    let mut log = toml::Table::new();
    log.insert("filter".into(), "warn".into());
    root.insert("log".into(), log.into());
    std::fs::write(path, root.to_string()).map_err(SimError::io(format!("writing {}", path.display())))
}

/// Starts the daemon and waits for its `READY=1` (sd_notify(3)).
fn start_daemon(program: &Path, config: &Path, bus: &str, directory: &Path) -> Result<Process, SimError> {
    let socket = directory.join("notify.sock");
    let _ = std::fs::remove_file(&socket);
    let notify = UnixDatagram::bind(&socket).map_err(SimError::io("making the notification socket"))?;
    notify
        .set_read_timeout(Some(Duration::from_millis(100)))
        .map_err(SimError::io("setting a timeout"))?;
    let mut daemon = Process(
        Command::new(program)
            .args(["--mode", "session", "--config"])
            .arg(config)
            .env("DBUS_SESSION_BUS_ADDRESS", bus)
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .spawn()
            .map_err(SimError::io(format!("starting {}", program.display())))?,
    );
    let until = Instant::now() + READY;
    let mut message = [0; 4096];
    while Instant::now() < until {
        if let Ok(length) = notify.recv(&mut message) {
            let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default()).into_owned();
            if text.lines().any(|line| line == "READY=1") {
                return Ok(daemon);
            }
        }
        if let Ok(Some(status)) = daemon.0.try_wait() {
            return Err(SimError::Peer(format!(
                "{} ended before it was ready: {status}",
                program.display()
            )));
        }
    }
    Err(SimError::Peer(format!(
        "{} was not ready after {} s",
        program.display(),
        READY.as_secs()
    )))
}
