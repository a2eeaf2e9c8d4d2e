//! The shipped `clavigerd` on a private bus in session mode, with the virtual link open: what ring 1 works with.
//!
//! Nothing here sleeps: a start is over when the daemon says `READY=1`, an operation when `Completed` comes or the daemon's
//! name leaves the bus.
#![allow(dead_code, missing_docs)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use claviger::contract::proxy::{
    Device1Proxy, Fido1Proxy, Manager1Proxy, Operation1Proxy, Options, Record, Tokens1Proxy,
};
use claviger::contract::{BUS_NAME, DEVICES_PATH, ROOT_PATH};
use futures_util::StreamExt;
use hw_fixtures::entropy::Entropy;
use hw_fixtures::fob::{Fob, Moving};
use hw_fixtures::oath::Hash;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token, plug_virtual};
use tempfile::TempDir;
use zbus::{Connection, DBusError, MessageStream, ObjectPath, OwnedObjectPath, Variant};

use super::bus::{PATIENCE, PrivateBus, within};

/// The PIN of every key here.
pub const PIN: &str = "4711-key";

/// How the daemon of a house is configured: in milliseconds, as in its file.
#[derive(Clone, Debug)]
pub struct Figures {
    pub exchange: u64,
    pub touch: u64,
    pub lock: u64,
    pub grace: u64,
    pub stop_grace: u64,
    /// More of the configuration file.
    pub more: String,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            exchange: 2_000,
            touch: 3_000,
            lock: 1_000,
            grace: 1_000,
            stop_grace: 2_000,
            more: String::new(),
        }
    }
}

/// A daemon, its state and a client's connection.
pub struct House {
    bus: Arc<PrivateBus>,
    dir: TempDir,
    state: PathBuf,
    daemon: Option<Child>,
    environment: Vec<(String, String)>,
    pub client: Connection,
}

/// How an operation went, as its caller heard it.
#[derive(Debug)]
pub enum End {
    /// `Completed`: outcome and details.
    Completed(String, Record),
    /// The method answered with an error: name and sentence.
    Denied(String, String),
    /// The daemon died first.
    Died,
}

impl End {
    /// Details of an operation that ended this way.
    #[track_caller]
    pub fn expect(self, wanted: &str) -> Record {
        match self {
            Self::Completed(outcome, details) if outcome == wanted => details,
            other => panic!("the operation should have ended {wanted}, not {other}"),
        }
    }

    /// Details of an operation that was done.
    #[track_caller]
    pub fn done(self) -> Record {
        self.expect("done")
    }

    /// The sentence of a refusal, whether the method or the operation told it.
    #[track_caller]
    pub fn refused(self, name: &str) -> String {
        let full = format!("org.claviger.Error.{name}");
        let (error, sentence) = match &self {
            Self::Denied(error, sentence) => (error.clone(), sentence.clone()),
            Self::Completed(outcome, details) if outcome == "refused" => {
                (text(details, "error"), text(details, "message"))
            }
            other => panic!("{name} was expected, not {other}"),
        };
        assert_eq!(error, full, "{sentence}");
        sentence
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Completed(outcome, _) if outcome == "done")
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Completed(outcome, details) => {
                write!(out, "{outcome} {} {}", text(details, "error"), text(details, "message"))
            }
            Self::Denied(name, sentence) => write!(out, "{name}: {sentence}"),
            Self::Died => write!(out, "the daemon's death"),
        }
    }
}

impl House {
    /// A house of its own, its daemon ready.
    pub async fn start(figures: &Figures) -> Self {
        Self::on_bus(Arc::new(PrivateBus::start()), figures).await
    }

    /// A house with a fresh state directory on a bus that is there already.
    pub async fn on_bus(bus: Arc<PrivateBus>, figures: &Figures) -> Self {
        let mut house = Self::unstarted(bus, figures).await;
        house.restart().await;
        house
    }

    /// A house whose daemon has not been started.
    pub async fn unstarted(bus: Arc<PrivateBus>, figures: &Figures) -> Self {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let state = dir.path().join("state");
        std::fs::create_dir(&state).expect("a state directory");
        let client = bus.connect().await;
        watch_name(&client).await;
        let house = Self {
            bus,
            state,
            daemon: None,
            environment: Vec::new(),
            client,
            dir,
        };
        house.configure(figures);
        house
    }

    /// Writes the configuration; the next start reads it.
    pub fn configure(&self, figures: &Figures) {
        let Figures {
            exchange,
            touch,
            lock,
            grace,
            stop_grace,
            more,
        } = figures;
        let text = format!(
            "mode = \"session\"\n[state]\ndirectory = \"{}\"\n[virtual]\nsocket = \"{}\"\n[devices]\nhid = false\n\
             cards = false\n[deadlines]\nexchange = {exchange}\ntouch = {touch}\nlock = {lock}\ngrace = {grace}\n\
             [operations]\nstop-grace = {stop_grace}\n[clock]\nkept-from-outside = true\n[log]\ntarget = \"stderr\"\n{more}",
            self.state.display(),
            self.socket().display(),
        );
        std::fs::write(self.config(), text).expect("the configuration");
    }

    /// Adds to the environment of daemons started from now on.
    pub fn with_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Uses another state directory.
    pub fn move_to(&mut self, state: &Path, figures: &Figures) {
        self.state = state.to_owned();
        self.configure(figures);
    }

    pub fn bus(&self) -> &Arc<PrivateBus> {
        &self.bus
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn config(&self) -> PathBuf {
        self.dir.path().join("clavigerd.toml")
    }

    /// Where simulated tokens are plugged in.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("virtual.sock")
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("a daemon").id()
    }

    fn command(&self) -> Command {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_clavigerd"));
        command
            .arg("--config")
            .arg(self.config())
            .env("DBUS_SESSION_BUS_ADDRESS", self.bus.address())
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// Starts the daemon, after ending the one that runs, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.stop();
        if let Err(status) = self.try_start() {
            panic!("the daemon ended before it was ready: {status}\n{}", self.log());
        }
        // Everything that the bus told of the last daemon has arrived before this answer.
        within(
            "the bus",
            self.client.call_method(
                Some("org.freedesktop.DBus"),
                "/",
                Some("org.freedesktop.DBus"),
                "GetId",
                &(),
            ),
        )
        .await
        .expect("an answer");
    }

    /// Starts the daemon; answers its exit status when it ends before it is ready.
    pub fn try_start(&mut self) -> Result<(), ExitStatus> {
        let path = self.dir.path().join("notify.sock");
        // Of an earlier daemon.
        let _ = std::fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path).expect("a socket");
        notify
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let mut child = self.command().env("NOTIFY_SOCKET", &path).spawn().expect("clavigerd");
        let until = Instant::now() + PATIENCE;
        let mut message = [0; 4096];
        while Instant::now() < until {
            if let Ok(length) = notify.recv(&mut message)
                && String::from_utf8_lossy(&message[..length])
                    .lines()
                    .any(|line| line == "READY=1")
            {
                self.daemon = Some(child);
                return Ok(());
            }
            if let Some(status) = child.try_wait().expect("its state") {
                return Err(status);
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("the daemon was not ready within {PATIENCE:?}\n{}", self.log());
    }

    /// Runs another daemon to its end, which must come by itself: its status and what it said.
    pub fn run_to_end(&self) -> (ExitStatus, String) {
        let output = self.command().stderr(Stdio::piped()).output().expect("clavigerd");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Asks the daemon to end and waits for it.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        let child = self.daemon.as_ref()?;
        signal(child, nix::sys::signal::Signal::SIGTERM);
        self.wait_end()
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            child.kill().expect("a living child");
            child.wait().expect("its end");
        }
    }

    /// Waits for the end of a daemon that is dying.
    pub fn wait_end(&mut self) -> Option<ExitStatus> {
        let mut child = self.daemon.take()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("its state") {
                return Some(status);
            }
            assert!(Instant::now() < until, "the daemon did not end\n{}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the daemon has died by itself.
    pub fn is_dead(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("its state").is_some())
    }

    /// Whether the last daemon was killed by a signal; waits for its end.
    pub fn was_killed(&mut self) -> bool {
        self.wait_end().is_some_and(|status| status.signal() == Some(9))
    }

    /// What all daemons of this house have logged.
    pub fn log(&self) -> String {
        let mut log = String::new();
        if let Ok(mut file) = File::open(self.dir.path().join("log")) {
            // A log that cannot be read is shown as empty.
            let _ = file.read_to_string(&mut log);
        }
        log
    }

    /// No daemon of this house has panicked.
    pub fn assert_no_panic(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "a panic:\n{log}");
    }

    pub async fn tokens(&self) -> Tokens1Proxy<'static> {
        tokens(&self.client).await
    }

    pub async fn manager(&self) -> Manager1Proxy<'static> {
        Manager1Proxy::builder(&self.client)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    /// The device's object, once it is on the bus: its number is known a little earlier.
    pub async fn device(&self, plugged: &Plugged) -> Device1Proxy<'static> {
        let path = path_of(plugged);
        let objects = zbus::fdo::ObjectManagerProxy::new(&self.client, BUS_NAME, ROOT_PATH)
            .await
            .expect("a proxy");
        within("the device's object", async {
            let mut added = objects.receive_interfaces_added().await.expect("signals");
            // A daemon that a test has die now has none; the call that comes next tells so.
            let Ok(known) = objects.get_managed_objects().await else {
                return;
            };
            // Its other interfaces come before this one.
            let has = |name: &str| name == "org.claviger.Device1";
            if known
                .iter()
                .any(|(at, all)| **at == path && all.keys().any(|name| has(name)))
            {
                return;
            }
            while let Some(signal) = added.next().await {
                let is_it = signal.args().is_ok_and(|args| {
                    *args.object_path() == path && args.interfaces_and_properties().keys().any(|name| has(name))
                });
                if is_it {
                    return;
                }
            }
            panic!("the bus is gone");
        })
        .await;
        Device1Proxy::builder(&self.client)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    /// Plugs a token in at another socket, which leads to the daemon.
    pub fn plug_at(&self, socket: &Path, token: &Token) -> Plugged {
        plug_virtual(socket, token).expect("plugged in")
    }

    /// Plugs a token in.
    pub fn plug(&self, token: &Token) -> Plugged {
        plug_virtual(&self.socket(), token).expect("plugged in")
    }

    /// The journal is whole and agrees with the rows.
    pub async fn assert_intact(&self) {
        let (intact, report) = within("VerifyJournal", async {
            self.manager().await.verify_journal(&none()).await
        })
        .await
        .expect("a report");
        assert!(intact, "the journal does not verify: {report:?}");
    }

    /// One token as the ledger has it.
    pub async fn get(&self, token: &str) -> Record {
        within("Get", async { self.tokens().await.get(token, &none()).await })
            .await
            .expect("a token")
    }

    pub async fn state_of(&self, token: &str) -> String {
        text(&self.get(token).await, "state")
    }

    /// Every token.
    pub async fn all(&self) -> Vec<Record> {
        let (records, next) = within("Find", async { self.tokens().await.find(&none(), "", 1000).await })
            .await
            .expect("a page");
        assert_eq!(next, "");
        records
    }

    /// Every open obligation.
    pub async fn obligations(&self) -> Vec<Record> {
        let (records, next) = within("Obligations", async {
            self.tokens().await.obligations("", 1000, &none()).await
        })
        .await
        .expect("a page");
        assert_eq!(next, "");
        records
    }

    /// What the journal has about a token, for the message of a test that failed.
    pub async fn story_of(&self, token: &str) -> String {
        let entries = self
            .manager()
            .await
            .read_journal(0, 1000, &none())
            .await
            .expect("entries");
        let about = entries.iter().filter(|entry| text(entry, "token") == token);
        about
            .map(|entry| format!("{} {}\n", text(entry, "name"), text(entry, "payload")))
            .collect()
    }

    pub async fn begin_on(
        &self,
        client: &Connection,
        call: impl AsyncFnOnce(&Tokens1Proxy<'static>) -> zbus::Result<OwnedObjectPath>,
    ) -> Result<Running, End> {
        let stream = MessageStream::from(client);
        match within("the reply", call(&tokens(client).await)).await {
            Ok(path) => Ok(Running {
                client: client.clone(),
                stream,
                path,
            }),
            Err(error) => Err(denied(&error)),
        }
    }

    /// Starts an operation.
    pub async fn begin(
        &self,
        call: impl AsyncFnOnce(&Tokens1Proxy<'static>) -> zbus::Result<OwnedObjectPath>,
    ) -> Result<Running, End> {
        self.begin_on(&self.client, call).await
    }

    /// Runs an operation to its end.
    pub async fn run(&self, call: impl AsyncFnOnce(&Tokens1Proxy<'static>) -> zbus::Result<OwnedObjectPath>) -> End {
        match self.begin(call).await {
            Ok(running) => running.end().await,
            Err(end) => end,
        }
    }

    /// The FIDO2 application of a device.
    pub async fn fido(&self, plugged: &Plugged) -> Fido1Proxy<'static> {
        // Its object is there with the device's own.
        self.device(plugged).await;
        Fido1Proxy::builder(&self.client)
            .path(path_of(plugged))
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    /// Starts an operation on the FIDO2 application of a device.
    pub async fn begin_fido(
        &self,
        plugged: &Plugged,
        call: impl AsyncFnOnce(&Fido1Proxy<'static>) -> zbus::Result<OwnedObjectPath>,
    ) -> Result<Running, End> {
        let key = self.fido(plugged).await;
        let stream = MessageStream::from(&self.client);
        match within("the reply", call(&key)).await {
            Ok(path) => Ok(Running {
                client: self.client.clone(),
                stream,
                path,
            }),
            Err(error) => Err(denied(&error)),
        }
    }

    /// Runs one to its end.
    pub async fn run_fido(
        &self,
        plugged: &Plugged,
        call: impl AsyncFnOnce(&Fido1Proxy<'static>) -> zbus::Result<OwnedObjectPath>,
    ) -> End {
        match self.begin_fido(plugged, call).await {
            Ok(running) => running.end().await,
            Err(end) => end,
        }
    }

    pub async fn register_key(&self, device: &Plugged, subject: &str) -> End {
        let path = path_of(device);
        self.run(async |tokens| {
            tokens
                .register_fido2(&path, subject, secret(PIN.as_bytes()).into(), &none())
                .await
        })
        .await
    }

    pub async fn register_card(&self, device: &Plugged, subject: &str) -> End {
        let path = path_of(device);
        self.run(async |tokens| tokens.register_oath_card(&path, subject, &none()).await)
            .await
    }

    pub async fn register_fob(&self, fob: &Fob, subject: &str) -> End {
        self.register_fob_at(fob, subject, now_s()).await
    }

    /// Registers a fob by the code it shows at that second and the one before it.
    pub async fn register_fob_at(&self, fob: &Fob, subject: &str, unix_s: i64) -> End {
        let codes = [fob.code(unix_s - 30), fob.code(unix_s)];
        let codes = [codes[0].as_str(), codes[1].as_str()];
        let options = Options::from([("encoding", Variant::from("raw"))]);
        self.run(async |tokens| {
            tokens
                .register_fob(subject, &fob.serial, secret(&fob.seed).into(), &codes, &options)
                .await
        })
        .await
    }

    /// Tests a fob by a code.
    pub async fn test_code(&self, token: &str, code: &str) -> End {
        let options = Options::from([("code", Variant::from(code))]);
        self.run(async |tokens| tokens.test(token, &options).await).await
    }

    /// Tests a key or card on a device that is named.
    pub async fn test_on(&self, token: &str, device: &Plugged, pin: Option<&str>) -> End {
        let options = presence(device, pin);
        self.run(async |tokens| tokens.test(token, &options).await).await
    }

    pub async fn resync(&self, token: &str, codes: &[&str]) -> End {
        self.run(async |tokens| tokens.resync(token, codes, &none()).await)
            .await
    }

    pub async fn revoke_on(&self, token: &str, device: &Plugged, pin: Option<&str>) -> End {
        let options = presence(device, pin);
        self.run(async |tokens| tokens.revoke(token, "lost", &options).await)
            .await
    }

    pub async fn revoke(&self, token: &str) -> End {
        self.run(async |tokens| tokens.revoke(token, "lost", &none()).await)
            .await
    }

    pub async fn discharge_on(&self, obligation: &str, device: &Plugged, pin: Option<&str>) -> End {
        let options = presence(device, pin);
        self.run(async |tokens| tokens.discharge(obligation, &options).await)
            .await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("what the daemon said last:");
            last.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Some(mut child) = self.daemon.take() {
            // Gone already, or gone now.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An operation under way.
pub struct Running {
    client: Connection,
    stream: MessageStream,
    path: OwnedObjectPath,
}

/// What an operation tells on its way.
#[derive(Debug)]
pub enum Told {
    /// Phase and what a person must do (empty: nothing).
    Progressed(String, String),
    /// It is over.
    Ended(End),
}

impl Running {
    /// The next thing it tells.
    pub async fn next(&mut self) -> Told {
        within("a signal of the operation", async {
            loop {
                let Some(Ok(message)) = self.stream.next().await else {
                    panic!("the bus is gone");
                };
                let header = message.header();
                let member = header.member().map(|member| member.to_string()).unwrap_or_default();
                if member == "NameOwnerChanged" {
                    let (name, _, new): (String, String, String) = message.body().deserialize().expect("its body");
                    if name == BUS_NAME && new.is_empty() {
                        return Told::Ended(End::Died);
                    }
                }
                if header.path().map(|path| path.as_str()) != Some(self.path.as_str()) {
                    continue;
                }
                let body = message.body();
                if member == "Completed" {
                    let (outcome, details): (String, Record) = body.deserialize().expect("its body");
                    return Told::Ended(End::Completed(outcome, details));
                }
                if member == "Progressed" {
                    let (phase, _, action): (String, u32, Record) = body.deserialize().expect("its body");
                    return Told::Progressed(phase, text(&action, "kind"));
                }
            }
        })
        .await
    }

    /// Waits until it asks a person for this deed.
    pub async fn until_asked(&mut self, wanted: &str) {
        loop {
            match self.next().await {
                Told::Ended(end) => panic!("{wanted} was not asked for: {end}"),
                Told::Progressed(_, kind) if kind == wanted => return,
                Told::Progressed(..) => {}
            }
        }
    }

    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    async fn operation(&self) -> Operation1Proxy<'static> {
        Operation1Proxy::builder(&self.client)
            .path(self.path.clone())
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    pub async fn cancel(&self) -> zbus::Result<()> {
        within("Cancel", self.operation().await.cancel()).await
    }

    /// The phase it is in.
    #[allow(dead_code, reason = "not every program that runs operations asks")]
    pub async fn phase(&self) -> String {
        within("Phase", self.operation().await.phase())
            .await
            .expect("the phase")
    }

    pub async fn end(mut self) -> End {
        loop {
            if let Told::Ended(end) = self.next().await {
                return end;
            }
        }
    }
}

async fn tokens(client: &Connection) -> Tokens1Proxy<'static> {
    Tokens1Proxy::builder(client)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .expect("a proxy")
}

/// Has the bus tell a connection when the daemon comes or goes.
async fn watch_name(client: &Connection) {
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender("org.freedesktop.DBus")
        .member("NameOwnerChanged")
        .arg(0, BUS_NAME)
        .build()
        .expect("a rule");
    zbus::fdo::DBusProxy::new(client)
        .await
        .expect("the bus")
        .add_match_rule(rule)
        .await
        .expect("a match rule");
}

fn denied(error: &zbus::Error) -> End {
    let (name, sentence) = match error {
        zbus::Error::MethodError(name, sentence, _) => (name.to_string(), sentence.clone().unwrap_or_default()),
        zbus::Error::FDO(error) => (
            error.name().to_string(),
            error.description().unwrap_or_default().to_owned(),
        ),
        other => panic!("an error that is no reply: {other}"),
    };
    match name.as_str() {
        "org.freedesktop.DBus.Error.NoReply"
        | "org.freedesktop.DBus.Error.ServiceUnknown"
        | "org.freedesktop.DBus.Error.NameHasNoOwner" => End::Died,
        _ => End::Denied(name, sentence),
    }
}

fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = i32::try_from(child.id()).expect("a pid");
    // It may have ended already.
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
}

/// The object of a device that is plugged in.
pub fn path_of(device: &Plugged) -> ObjectPath<'static> {
    ObjectPath::try_from(format!("{DEVICES_PATH}/{}", device.id())).expect("a path")
}

/// Options that name the device and give the PIN.
pub fn presence(device: &Plugged, pin: Option<&str>) -> Options<'static> {
    let mut options = Options::from([("device", Variant::from(path_of(device)))]);
    if let Some(pin) = pin {
        options.insert("pin", Variant::Fd(zbus::Fd::from(secret(pin.as_bytes()))));
    }
    options
}

/// No options.
pub fn none() -> Options<'static> {
    Options::new()
}

/// A descriptor with a secret in it.
pub fn secret(bytes: &[u8]) -> OwnedFd {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    std::io::Write::write_all(&mut &writer, bytes).expect("room in the pipe");
    reader.into()
}

/// A text of a record; empty when it is not there.
pub fn text(record: &Record, key: &str) -> String {
    record
        .get(key)
        .and_then(|value| <&str>::try_from(value).ok())
        .unwrap_or_default()
        .to_owned()
}

/// A number of a record, whichever its width.
pub fn number(record: &Record, key: &str) -> Option<i64> {
    let value = record.get(key)?;
    i64::try_from(value)
        .ok()
        .or_else(|| u64::try_from(value).ok().and_then(|n| i64::try_from(n).ok()))
        .or_else(|| u32::try_from(value).ok().map(i64::from))
}

/// Seconds since 1970.
pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// A simulated token with fixed random bytes.
pub fn token(profile: &str, name: &str, seed: u64) -> Token {
    let setup = TokenSetup {
        seed: Some(seed),
        ..TokenSetup::named(name)
    };
    Token::of_profile(profile, setup).expect("a token")
}

/// A fob of six digits and thirty seconds, so many seconds ahead.
pub fn fob(serial: &str, seed: u64, offset_s: f64) -> Fob {
    let moving = Moving::Totp { period_s: 30 };
    let mut fob = Fob::new(
        serial.to_owned(),
        Hash::Sha1,
        6,
        moving,
        &mut Entropy::seeded(seed, serial),
    );
    fob.drift(offset_s, 0.0, now_s());
    fob
}
