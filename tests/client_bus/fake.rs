//! A private `dbus-daemon` and, on it, a service that speaks the contract's interfaces and does what a test tells it to.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use zbus::fdo::ObjectManager;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, interface};

pub type Dict = HashMap<String, OwnedVariant>;

/// No run of the client takes longer, or the test fails.
pub const PATIENCE: Duration = Duration::from_secs(100);

pub const ROOT: &str = "/org/claviger/Claviger1";
pub const KEY: &str = "01890000-aaaa-7000-8000-00000000aaa1";
pub const FOB: &str = "01890000-bbbb-7000-8000-00000000bbb2";
pub const OWED: &str = "01890000-cccc-7000-8000-00000000ccc3";

/// How the next operation goes.
#[derive(Clone)]
pub enum Play {
    /// `Completed` is sent before the method answers, and never again.
    OverBeforeReply(&'static str, Vec<(&'static str, Field)>),
    /// Asks for a touch, then ends so.
    TouchThen(&'static str, Vec<(&'static str, Field)>),
    /// Asks for a touch and waits for `Cancel`.
    TouchUntilCancelled,
    /// Asks for a touch; `Cancel` is `TooLate`, and then it ends as done.
    TouchTooLate,
    /// The service leaves the bus.
    Vanish,
    /// The method is refused with this error name.
    Refuse(&'static str, &'static str),
    /// Wants a PIN first: refuses with PinRequired unless there is one.
    WantPin,
}

/// A value for details and records.
#[derive(Clone)]
pub enum Field {
    S(String),
    U(u32),
    X(i64),
    B(bool),
    List(Vec<String>),
}

pub fn s(text: impl Into<String>) -> Field {
    Field::S(text.into())
}

pub fn dict(fields: &[(&str, Field)]) -> Dict {
    let variant = |field: &Field| match field.clone() {
        Field::S(s) => OwnedVariant::try_from(Variant::from(s)).unwrap(),
        Field::U(u) => OwnedVariant::from(u),
        Field::X(x) => OwnedVariant::from(x),
        Field::B(b) => OwnedVariant::from(b),
        Field::List(list) => OwnedVariant::try_from(Variant::from(list)).unwrap(),
    };
    fields
        .iter()
        .map(|(key, field)| ((*key).to_owned(), variant(field)))
        .collect()
}

#[derive(Default)]
struct State {
    play: Option<Play>,
    calls: Vec<(String, Value)>,
    operations: u32,
    denied: bool,
    intact: bool,
    pin_missing: bool,
    starting: bool,
}

/// The running fake.
pub struct Fake {
    bus: Child,
    pub address: String,
    state: Arc<Mutex<State>>,
    pub connection: Connection,
}

impl Drop for Fake {
    fn drop(&mut self) {
        drop(self.bus.kill());
        drop(self.bus.wait());
    }
}

impl Fake {
    pub async fn start() -> Self {
        Self::start_with_name("YubiKey 5 NFC").await
    }

    /// A fake whose key tells this product name.
    pub async fn start_with_name(name: &str) -> Self {
        let (bus, address) = private_bus();
        let state = Arc::new(Mutex::new(State {
            intact: true,
            ..State::default()
        }));
        let connection = zbus::conn::Builder::address(address.as_str())
            .serve_at(ROOT, ObjectManager)
            .serve_at(ROOT, Manager(state.clone()))
            .serve_at(format!("{ROOT}/tokens"), Tokens(state.clone()))
            .serve_at(
                format!("{ROOT}/devices/1"),
                Device {
                    name: name.to_owned(),
                    faces: &["hid"],
                    state: state.clone(),
                },
            )
            .serve_at(
                format!("{ROOT}/devices/2"),
                Device {
                    name: "Card".into(),
                    faces: &["card"],
                    state: state.clone(),
                },
            )
            .name("org.claviger.Claviger1")
            .build()
            .await
            .unwrap();
        Self {
            bus,
            address,
            state,
            connection,
        }
    }

    pub fn play(&self, play: Play) {
        self.state.lock().unwrap().play = Some(play);
    }

    pub fn deny_everything(&self) {
        self.state.lock().unwrap().denied = true;
    }

    pub fn break_journal(&self) {
        self.state.lock().unwrap().intact = false;
    }

    pub fn take_pin_away(&self) {
        self.state.lock().unwrap().pin_missing = true;
    }

    /// Ready or not; tells it on the bus.
    pub async fn set_ready(&self, ready: bool) {
        self.state.lock().unwrap().starting = !ready;
        let manager = self
            .connection
            .object_server()
            .interface::<_, Manager>(ROOT)
            .await
            .unwrap();
        manager
            .get()
            .await
            .ready_changed(manager.signal_emitter())
            .await
            .unwrap();
    }

    /// Calls of mutating methods so far: member and arguments.
    pub fn calls(&self) -> Vec<(String, Value)> {
        self.state.lock().unwrap().calls.clone()
    }

    pub async fn plug_third(&self) {
        let device = Device {
            name: "Late".into(),
            faces: &["hid"],
            state: self.state.clone(),
        };
        self.connection
            .object_server()
            .at(format!("{ROOT}/devices/3"), device)
            .await
            .unwrap();
    }

    pub async fn unplug_third(&self) {
        self.connection
            .object_server()
            .remove::<Device, _>(format!("{ROOT}/devices/3"))
            .await
            .unwrap();
    }

    /// The client, ready to run on this bus.
    pub fn client(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_claviger"));
        command
            .args(args)
            .env("CLAVIGER_BUS", &self.address)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub async fn run(&self, args: &[&str]) -> Output {
        tokio::time::timeout(PATIENCE, self.client(args).output())
            .await
            .expect("the client ends")
            .unwrap()
    }

    /// Runs with `--json`; gives the exit code and the one object.
    pub async fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[args, &["--json"]].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "one object for {args:?}, got {text:?}");
        (output.status.code().unwrap(), serde_json::from_str(&text).unwrap())
    }

    /// Runs with this on standard input.
    pub async fn run_with_input(&self, args: &[&str], input: &str) -> Output {
        use tokio::io::AsyncWriteExt;
        let mut command = self.client(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .expect("the client ends")
            .unwrap()
    }
}

fn private_bus() -> (Child, String) {
    let mut bus = Command::new("dbus-daemon")
        .args(["--session", "--nofork", "--nopidfile", "--print-address=1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("dbus-daemon is installed");
    let mut address = String::new();
    BufReader::new(bus.stdout.take().unwrap())
        .read_line(&mut address)
        .unwrap();
    (bus, address.trim().to_owned())
}

/// An error reply with any name.
#[derive(Debug)]
struct Error {
    name: String,
    message: &'static str,
}

impl zbus::DBusError for Error {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<zbus::Message> {
        zbus::Message::error(call, self.name()).build(&(self.message,))
    }
    fn name(&self) -> zbus::names::ErrorName<'_> {
        zbus::names::ErrorName::from_str_unchecked(&self.name)
    }
    fn description(&self) -> Option<&str> {
        Some(self.message)
    }
}

fn refusal(name: &str, message: &'static str) -> Error {
    Error {
        name: format!("org.claviger.Error.{name}"),
        message,
    }
}

fn denied() -> Error {
    Error {
        name: "org.freedesktop.DBus.Error.AccessDenied".to_owned(),
        message: "polkit said no",
    }
}

struct Manager(Arc<Mutex<State>>);

#[interface(name = "org.claviger.Manager1")]
impl Manager {
    #[zbus(property)]
    fn api_version(&self) -> u32 {
        1
    }
    #[zbus(property)]
    fn version(&self) -> String {
        "9.9.9".into()
    }
    #[zbus(property)]
    fn mode(&self) -> String {
        "session".into()
    }
    #[zbus(property)]
    fn ready(&self) -> bool {
        !self.0.lock().unwrap().starting
    }
    fn status(&self, _options: Dict) -> Dict {
        dict(&[
            ("card-service", Field::B(true)),
            ("open-obligations", Field::U(2)),
            ("ledger", s("sqlite, 3 tokens")),
        ])
    }
    fn verify_journal(&self, _options: Dict) -> (bool, Dict) {
        let mut report = dict(&[("entries", Field::U(5)), ("tokens", Field::U(2)), ("head", s("abc"))]);
        if !self.0.lock().unwrap().intact {
            let finding: HashMap<&str, Variant<'_>> = [
                ("seq", Variant::U64(3)),
                ("token", Variant::from(FOB)),
                ("what", Variant::from("was edited")),
            ]
            .into();
            report.insert(
                "findings".into(),
                OwnedVariant::try_from(Variant::from(vec![finding])).unwrap(),
            );
        }
        (self.0.lock().unwrap().intact, report)
    }
    fn read_journal(&self, after: u64, limit: u32, _options: Dict) -> Vec<Dict> {
        let entry = |seq: u64| {
            let mut entry = dict(&[("at-ms", Field::X(0)), ("name", s("registered")), ("token", s(FOB))]);
            entry.insert("seq".into(), OwnedVariant::from(seq));
            entry
        };
        // 1500 entries: more than a page.
        (after + 1..=1500).take(limit as usize).map(entry).collect()
    }
    #[zbus(signal)]
    pub async fn obligation_seen(
        emitter: &SignalEmitter<'_>,
        device: zbus::ObjectPath<'_>,
        obligation: &str,
    ) -> zbus::Result<()>;
}

pub async fn obligation_seen(fake: &Fake) {
    let emitter = SignalEmitter::new(&fake.connection, ROOT).unwrap();
    let device = zbus::ObjectPath::try_from(format!("{ROOT}/devices/1")).unwrap();
    Manager::obligation_seen(&emitter, device, OWED).await.unwrap();
}

struct Device {
    name: String,
    faces: &'static [&'static str],
    state: Arc<Mutex<State>>,
}

#[interface(name = "org.claviger.Device1")]
impl Device {
    #[zbus(property)]
    fn name(&self) -> String {
        self.name.clone()
    }
    #[zbus(property)]
    fn place(&self) -> String {
        "USB port 1-4".into()
    }
    #[zbus(property)]
    fn vendor_id(&self) -> u16 {
        0x1050
    }
    #[zbus(property)]
    fn product_id(&self) -> u16 {
        0x0407
    }
    #[zbus(property)]
    fn faces(&self) -> Vec<String> {
        self.faces.iter().map(|face| (*face).to_owned()).collect()
    }
    #[zbus(property)]
    fn reality(&self) -> String {
        "hardware".into()
    }
    #[zbus(property)]
    fn state(&self) -> String {
        "ready".into()
    }
    fn describe(&self, _options: Dict) -> Dict {
        let client_pin = !self.state.lock().unwrap().pin_missing;
        let fido = json!({"versions": ["FIDO_2_1"], "options": {"clientPin": client_pin}, "pin-retries": 8});
        dict(&[("serial", s("123")), ("fido", s(fido.to_string()))])
    }
}

struct Tokens(Arc<Mutex<State>>);

fn token(id: &str, kind: &str, subject: &str) -> Dict {
    dict(&[
        ("id", s(id)),
        ("kind", s(kind)),
        ("state", s("active")),
        ("reality", s("hardware")),
        ("subject", s(subject)),
        ("serial", s("S-1\u{1b}[31m")),
        ("created-ms", Field::X(1000)),
    ])
}

fn ledger() -> Vec<Dict> {
    vec![
        token(KEY, "fido2", "ada"),
        token(FOB, "fob", "bob"),
        token("01890000-bbbb-7000-8000-0000000000ff", "oath-card", "cyd"),
    ]
}

fn read_secret(fd: OwnedFd) -> String {
    let mut text = String::new();
    let fd: std::os::fd::OwnedFd = fd.into();
    std::fs::File::from(fd).read_to_string(&mut text).unwrap();
    text
}

/// Options as JSON, descriptors by what they hold.
fn told(options: &Dict) -> Value {
    let value = |value: &OwnedVariant| match &**value {
        Variant::Fd(fd) => json!(read_secret(OwnedFd::from(fd.try_to_owned().unwrap()))),
        Variant::Bool(b) => json!(b),
        Variant::U32(n) => json!(n),
        Variant::Str(s) => json!(s.as_str()),
        Variant::ObjectPath(p) => json!(p.as_str()),
        other => panic!("an option of a type the contract does not know: {other:?}"),
    };
    options
        .iter()
        .map(|(key, v)| (key.clone(), value(v)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

impl Tokens {
    async fn begin(
        &self,
        member: &str,
        arguments: Value,
        header: &Header<'_>,
        connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let flags = header.primary().flags();
        assert!(
            flags.contains(zbus::message::Flags::ALLOW_INTERACTIVE_AUTH),
            "{member} lets polkit ask"
        );
        let (play, number) = {
            let mut state = self.0.lock().unwrap();
            state.calls.push((member.to_owned(), arguments.clone()));
            state.operations += 1;
            if state.denied {
                return Err(denied());
            }
            (
                state.play.clone().unwrap_or(Play::OverBeforeReply("done", vec![])),
                state.operations,
            )
        };
        let mut outcome = None;
        match &play {
            Play::Refuse(name, message) => return Err(refusal(name, message)),
            Play::WantPin if arguments["options"].get("pin").is_none() => {
                let fields = [
                    ("error", s("org.claviger.Error.PinRequired")),
                    ("message", s("this key wants its PIN")),
                ];
                outcome = Some(("refused".to_owned(), fields.to_vec()));
            }
            Play::WantPin => outcome = Some(("done".to_owned(), vec![("token", s(KEY))])),
            Play::OverBeforeReply(how, details) => outcome = Some(((*how).to_owned(), details.clone())),
            _ => {}
        }
        let path = OwnedObjectPath::try_from(format!("{ROOT}/operations/{number:032x}")).unwrap();
        let cancel = Arc::new(Notify::new());
        let operation = Operation {
            cancel: cancel.clone(),
            too_late: matches!(play, Play::TouchTooLate),
            outcome: outcome.clone(),
        };
        connection.object_server().at(&path, operation).await.unwrap();
        let sender = header.sender().unwrap().to_owned();
        let emitter = SignalEmitter::new(connection, path.clone().into_inner())
            .unwrap()
            .set_destination(sender.into())
            .into_owned();
        if let Some((how, details)) = outcome {
            Operation::completed(&emitter, &how, dict(&details)).await.unwrap();
        } else {
            let connection = connection.clone();
            tokio::spawn(async move { perform(play, emitter, cancel, connection).await });
        }
        Ok(path)
    }
}

async fn perform(play: Play, emitter: SignalEmitter<'static>, cancel: Arc<Notify>, connection: Connection) {
    Operation::progressed(&emitter, "identifying", 10, Dict::new())
        .await
        .unwrap();
    let touch = dict(&[
        ("kind", s("touch")),
        ("name", s("YubiKey\u{1b}]0;owned\u{7}")),
        ("place", s("USB port 1-4")),
        ("until-ms", Field::X(4_102_444_800_000)),
    ]);
    Operation::progressed(&emitter, "creating", 30, touch).await.unwrap();
    match play {
        Play::TouchThen(how, details) => Operation::completed(&emitter, how, dict(&details)).await.unwrap(),
        Play::TouchUntilCancelled => {
            cancel.notified().await;
            Operation::completed(&emitter, "cancelled", Dict::new()).await.unwrap();
        }
        Play::TouchTooLate => {
            cancel.notified().await;
            Operation::completed(&emitter, "done", dict(&[("token", s(KEY))]))
                .await
                .unwrap();
        }
        Play::Vanish => drop(connection.close().await),
        _ => unreachable!(),
    }
}

#[interface(name = "org.claviger.Tokens1")]
impl Tokens {
    fn get(&self, token: &str, _options: Dict) -> Result<Dict, Error> {
        let found = ledger()
            .into_iter()
            .find(|t| t["id"].downcast_ref::<&str>().unwrap() == token);
        found.ok_or_else(|| refusal("UnknownToken", "there is no token with this id"))
    }

    /// One record a page, so that every use has to turn pages.
    fn find(&self, filter: Dict, cursor: &str, _limit: u32) -> Result<(Vec<Dict>, String), Error> {
        if self.0.lock().unwrap().denied {
            return Err(denied());
        }
        let fits = |t: &Dict| filter.iter().all(|(key, value)| t.get(key) == Some(value));
        let all: Vec<Dict> = ledger().into_iter().filter(fits).collect();
        let at: usize = cursor.parse().unwrap_or(0);
        let next = if at + 1 < all.len() {
            (at + 1).to_string()
        } else {
            String::new()
        };
        Ok((all.into_iter().skip(at).take(1).collect(), next))
    }

    fn obligations(&self, _cursor: &str, _limit: u32, _options: Dict) -> (Vec<Dict>, String) {
        let mut owed = dict(&[
            ("id", s(OWED)),
            ("token", s(KEY)),
            ("duty", s("delete-credential")),
            ("created-ms", Field::X(0)),
        ]);
        let device = zbus::ObjectPath::try_from(format!("{ROOT}/devices/1")).unwrap();
        owed.insert("device".into(), OwnedVariant::try_from(Variant::from(device)).unwrap());
        (vec![owed], String::new())
    }

    async fn register_fido2(
        &self,
        device: OwnedObjectPath,
        subject: &str,
        pin: OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments =
            json!({"device": device.as_str(), "subject": subject, "pin": read_secret(pin), "options": told(&options)});
        self.begin("RegisterFido2", arguments, &header, connection).await
    }

    async fn register_oath_card(
        &self,
        device: OwnedObjectPath,
        subject: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"device": device.as_str(), "subject": subject, "options": told(&options)});
        self.begin("RegisterOathCard", arguments, &header, connection).await
    }

    #[allow(clippy::too_many_arguments)]
    async fn register_fob(
        &self,
        subject: &str,
        serial: &str,
        seed: OwnedFd,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"subject": subject, "serial": serial, "seed": read_secret(seed), "codes": codes,
                               "options": told(&options)});
        self.begin("RegisterFob", arguments, &header, connection).await
    }

    async fn test(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.begin(
            "Test",
            json!({"token": token, "options": told(&options)}),
            &header,
            connection,
        )
        .await
    }

    async fn resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"token": token, "codes": codes, "options": told(&options)});
        self.begin("Resync", arguments, &header, connection).await
    }

    async fn preview_resync(
        &self,
        token: &str,
        codes: Vec<String>,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"token": token, "codes": codes, "options": told(&options)});
        self.begin("PreviewResync", arguments, &header, connection).await
    }

    async fn undo_resync(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"token": token, "options": told(&options)});
        self.begin("UndoResync", arguments, &header, connection).await
    }

    async fn suspend(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.begin(
            "Suspend",
            json!({"token": token, "options": told(&options)}),
            &header,
            connection,
        )
        .await
    }

    async fn report_lost(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.begin(
            "ReportLost",
            json!({"token": token, "options": told(&options)}),
            &header,
            connection,
        )
        .await
    }

    async fn resume(
        &self,
        token: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.begin(
            "Resume",
            json!({"token": token, "options": told(&options)}),
            &header,
            connection,
        )
        .await
    }

    async fn revoke(
        &self,
        token: &str,
        reason: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        let arguments = json!({"token": token, "reason": reason, "options": told(&options)});
        self.begin("Revoke", arguments, &header, connection).await
    }

    async fn discharge(
        &self,
        obligation: &str,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.begin(
            "Discharge",
            json!({"obligation": obligation, "options": told(&options)}),
            &header,
            connection,
        )
        .await
    }
}

struct Operation {
    cancel: Arc<Notify>,
    too_late: bool,
    outcome: Option<(String, Vec<(&'static str, Field)>)>,
}

#[interface(name = "org.claviger.Operation1")]
impl Operation {
    fn cancel(&self) -> Result<(), Error> {
        self.cancel.notify_one();
        if self.too_late {
            Err(refusal("TooLate", "it has passed its point of no return"))
        } else {
            Ok(())
        }
    }
    fn result(&self) -> Result<(String, Dict), Error> {
        let outcome = self.outcome.as_ref().map(|(how, details)| (how.clone(), dict(details)));
        outcome.ok_or_else(|| refusal("NotCompleted", "it is not over"))
    }
    #[zbus(signal)]
    async fn progressed(emitter: &SignalEmitter<'_>, phase: &str, progress: u32, user_action: Dict)
    -> zbus::Result<()>;
    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, outcome: &str, details: Dict) -> zbus::Result<()>;
}
