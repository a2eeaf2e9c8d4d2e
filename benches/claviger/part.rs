//! Parts played by processes of their own: this same program, started again and told line by line what to do.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use claviger::codec::iso7816::Encoding;
use claviger::codec::ykoath::{self, CredentialName};
use claviger::contract::proxy::{Case1Proxy, Cases1Proxy, Options, Record, Tokens1Proxy};
use futures_util::StreamExt;
use pcsc::{Context, Disposition, Protocols, Scope, ShareMode};
use zbus::message::Type;
use zbus::proxy::CacheProperties;
use zbus::{Connection, Fd, MessageStream, ObjectPath, OwnedObjectPath, Variant};

use crate::harness::bus::within;
use crate::stage::{PERSON, Stage};

/// Of the encrypted delivery.
pub const PASSPHRASE: &str = "a long enough passphrase";

/// Whose the card is.
const SUBJECT: &str = "bench";

/// Who the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The unprivileged caller on the bus.
    Person,
    /// A program that talks to the card without the daemon.
    Bare,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Person => "--person",
            Self::Bare => "--bare",
        }
    }

    /// By the first word of the command line.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Person, Self::Bare].into_iter().find(|role| role.name() == name)
    }
}

/// A process that plays a part. Ends when dropped.
pub struct Player {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Player {
    /// The unprivileged caller.
    pub fn person(stage: &Stage) -> Self {
        // The build directory may lie where that user cannot go.
        let program = stage.directory().join("person");
        if !program.exists() {
            std::fs::copy(Self::program(), &program).expect("a copy");
        }
        let mut command = Command::new(program);
        command.args([Role::Person.name(), stage.bus.address()]);
        Self::start(command.uid(PERSON).gid(PERSON))
    }

    /// The program that talks to the card itself.
    pub fn bare(environment: (String, String)) -> Self {
        let mut command = Command::new(Self::program());
        command.arg(Role::Bare.name());
        Self::start(command.env(environment.0, environment.1))
    }

    fn program() -> PathBuf {
        std::env::current_exe().expect("this program")
    }

    fn start(command: &mut Command) -> Self {
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a part");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    /// Says a line and returns what is answered to it.
    pub fn ask(&mut self, line: &str) -> String {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("told");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        match answer.trim_end().strip_prefix("ok ") {
            Some(answer) => answer.to_owned(),
            None => panic!("“{line}” was answered “{}”", answer.trim_end()),
        }
    }

    /// The same for an answer in milliseconds.
    pub fn time(&mut self, line: &str) -> f64 {
        self.ask(line).parse().expect("a number")
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays a part until the input ends.
pub async fn play(role: Role, arguments: &[String]) -> ExitCode {
    let caller = match (role, arguments) {
        (Role::Person, [address]) => Some(Caller::connect(address).await),
        _ => None,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match (&caller, words.as_slice()) {
            (Some(caller), ["register", device]) => caller.register(device, None).await,
            (Some(caller), ["register", device, case]) => caller.register(device, Some(case)).await,
            (Some(caller), ["test", token]) => milliseconds(caller.test(token, None).await),
            (Some(caller), ["test", token, case]) => milliseconds(caller.test(token, Some(case)).await),
            (Some(caller), ["case", kind]) => caller.attach(kind).await,
            (Some(caller), ["find", limit]) => caller.find(limit.parse().expect("a number")).await,
            (Some(caller), ["import", file]) => caller.import(file).await,
            (None, ["exchange", name]) => milliseconds(exchange(name)),
            (None, ["connect"]) => milliseconds(connect()),
            _ => panic!("“{line}” is not in this part"),
        };
        println!("ok {answer}");
    }
    ExitCode::SUCCESS
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

/// The unprivileged caller's side of the bus.
pub struct Caller {
    connection: Connection,
    tokens: Tokens1Proxy<'static>,
    /// A session in a case lasts as long as its descriptor is open.
    sessions: Mutex<Vec<OwnedFd>>,
}

impl Caller {
    pub async fn connect(address: &str) -> Self {
        let connection = zbus::connection::Builder::address(address)
            .build()
            .await
            .expect("the bus");
        let tokens = Tokens1Proxy::builder(&connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .expect("a proxy");
        Self {
            connection,
            tokens,
            sessions: Mutex::default(),
        }
    }

    /// From the method call to `Completed`, and the details of what was done.
    async fn run(&self, call: impl Future<Output = zbus::Result<OwnedObjectPath>>) -> (Duration, Record) {
        within("the end of an operation", self.follow(call)).await
    }

    async fn follow(&self, call: impl Future<Output = zbus::Result<OwnedObjectPath>>) -> (Duration, Record) {
        let mut messages = MessageStream::from(&self.connection);
        let begun = Instant::now();
        let path = within("the reply to the call", call).await.expect("admitted");
        loop {
            let message = messages.next().await.expect("the bus").expect("a message");
            let header = message.header();
            let ours = message.message_type() == Type::Signal
                && header.member().is_some_and(|member| member == "Completed")
                && header.path().is_some_and(|from| from.as_str() == path.as_str());
            if ours {
                let took = begun.elapsed();
                let (outcome, details): (String, Record) = message.body().deserialize().expect("an outcome");
                assert_eq!(outcome, "done", "{details:?}");
                return (took, details);
            }
        }
    }

    /// Opens a case, shows in it what its kind wants before a test, and stays attached to it; the case.
    async fn attach(&self, kind: &str) -> String {
        let cases = Cases1Proxy::new(&self.connection).await.expect("a proxy");
        let (none, mut options) = (Options::new(), Options::new());
        let is_about_somebody = kind != "bench";
        if is_about_somebody {
            options.insert("subject", Variant::from(SUBJECT));
            options.insert("reason", Variant::from("the card is refused at the door"));
        }
        let opened = within("a case", cases.open(kind, "desk", &options)).await;
        let (id, path) = opened.expect("opened");
        let case = Case1Proxy::builder(&self.connection)
            .path(path)
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .expect("a proxy");
        if is_about_somebody {
            let shown = case.add_evidence("manager", "stands beside them", &none);
            within("evidence", shown).await.expect("taken");
        }
        let (session, _) = within("a session", case.attach(&none)).await.expect("attached");
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.push(session.into());
        id
    }

    async fn register(&self, device: &str, case: Option<&str>) -> String {
        let device = ObjectPath::try_from(device).expect("a path");
        let options = in_case(case);
        let (_, details) = self
            .run(self.tokens.register_oath_card(&device, SUBJECT, &options))
            .await;
        let text = |name: &str| <&str>::try_from(&details[name]).expect("text").to_owned();
        format!("{} {}", text("token"), text("oath-name"))
    }

    /// Registers a key for somebody of its own; its token.
    pub async fn register_key(&self, device: &str) -> String {
        let path = ObjectPath::try_from(device).expect("a path");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"4711-key").expect("room in the pipe");
        drop(writer);
        let (pin, options) = (Fd::from(OwnedFd::from(reader)), Options::new());
        let (_, details) = self.run(self.tokens.register_fido2(&path, device, pin, &options)).await;
        <&str>::try_from(&details["token"]).expect("text").to_owned()
    }

    /// Tests a token on a device that is named.
    pub async fn test_on(&self, token: &str, device: &str) -> Duration {
        let device = ObjectPath::try_from(device).expect("a path");
        let options = Options::from([("device", Variant::from(device))]);
        self.run(self.tokens.test(token, &options)).await.0
    }

    async fn test(&self, token: &str, case: Option<&str>) -> Duration {
        self.run(self.tokens.test(token, &in_case(case))).await.0
    }

    /// Milliseconds, and how many tokens were taken in.
    async fn import(&self, path: &str) -> String {
        let file = OwnedFd::from(std::fs::File::open(path).expect("a file"));
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(PASSPHRASE.as_bytes()).expect("room in the pipe");
        drop(writer);
        let passphrase = Variant::Fd(Fd::from(OwnedFd::from(reader)));
        // A CSV is not encrypted, and the daemon refuses words for nothing.
        let encrypted = !std::fs::read(path).expect("a file").starts_with(b"upn");
        let options: Options<'_> = encrypted.then_some(("passphrase", passphrase)).into_iter().collect();
        let (took, details) = self.run(self.tokens.import(Fd::from(file), &options)).await;
        let imported = u64::try_from(&details["imported"]).expect("a number");
        format!("{} {imported}", milliseconds(took))
    }

    async fn find(&self, limit: u32) -> String {
        let (records, _) = self.tokens.find(&HashMap::new(), "", limit).await.expect("records");
        records.len().to_string()
    }
}

fn in_case(case: Option<&str>) -> Options<'_> {
    case.into_iter().map(|case| ("case", Variant::from(case))).collect()
}

/// The APDUs of a test, SELECT and CALCULATE, on a card that is connected already.
fn exchange(name: &str) -> Duration {
    let name = CredentialName::new(name.as_bytes()).expect("a name");
    let challenge = getrandom::u64().expect("random numbers");
    let commands = [ykoath::select(), ykoath::calculate(&name, challenge, true)];
    let frames = commands.map(|command| {
        command
            .frames(Encoding::Short)
            .expect("short")
            .remove(0)
            .expect("a frame")
    });
    with_card(|card| {
        let mut buffer = [0; pcsc::MAX_BUFFER_SIZE];
        let begun = Instant::now();
        for frame in frames {
            let answer = card.transmit(&frame, &mut buffer).expect("an answer");
            assert!(answer.ends_with(&[0x90, 0x00]), "{answer:x?}");
        }
        begun.elapsed()
    })
}

/// What it takes to connect to the card and let it go again.
fn connect() -> Duration {
    let begun = Instant::now();
    with_card(|_| ());
    begun.elapsed()
}

fn with_card<T>(work: impl FnOnce(&pcsc::Card) -> T) -> T {
    let context = Context::establish(Scope::System).expect("pcscd");
    let readers = context.list_readers_owned().expect("readers");
    let reader = readers.first().expect("a reader");
    let card = context
        .connect(reader, ShareMode::Shared, Protocols::ANY)
        .expect("the card");
    let done = work(&card);
    card.disconnect(Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .expect("left");
    done
}
