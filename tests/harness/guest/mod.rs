//! Ring 4's guest: a stock Debian kernel under QEMU's software emulation, with the real udevd, dbus-daemon, polkitd, pcscd and
//! libccid, and the daemon as it is installed.
//!
//! The tokens stay in the test's own process, so that they outlive a power cut: keys go over a virtio port to
//! `claviger-sim gadget` in the guest, which makes USB gadgets of them; cards go into QEMU's CCID reader. Commands go over a
//! second port, the daemon's events come over a third: nothing is read off a console.
#![allow(dead_code, missing_docs)]

pub mod image;
#[path = "../packages.rs"]
pub mod packages;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hw_fixtures::Token;
use hw_fixtures::front::{Beside, Gadgets, Plugged, plug_ccid};
use serde_json::Value;
use tempfile::TempDir;

pub use image::{Image, say};

/// How long anything may take before a test fails. Emulation is slow, and CI's machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A running guest. Ends, by a power cut, when dropped.
pub struct Guest {
    qemu: Child,
    // Before the directory, whose sockets it uses.
    pub keys: Gadgets,
    agent: Mutex<UnixStream>,
    pending: Pending,
    events: Arc<Events>,
    next: Mutex<u64>,
    dir: TempDir,
}

type Pending = Arc<Mutex<HashMap<u64, Sender<Said>>>>;

/// What the daemon has told, in order.
#[derive(Default)]
struct Events {
    told: Mutex<Vec<Value>>,
    more: Condvar,
}

/// What a command in the guest said.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub told: String,
}

/// A command that may still run.
pub struct Running {
    command: String,
    receiver: Receiver<Said>,
}

/// A state disk, empty: what the daemon has written to it survives the guest.
pub fn disk(at: &Path) -> PathBuf {
    let path = at.join("state.img");
    File::create(&path).expect("a file").set_len(64 << 20).expect("room");
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&path).status();
    assert!(made.expect("mkfs.ext4").success());
    path
}

impl Guest {
    /// Boots and waits until the agent is there and the daemon is ready.
    pub fn boot(image: &Image, disk: &Path) -> Self {
        let begun = Instant::now();
        let dir = tempfile::Builder::new()
            .prefix("ring4-")
            .tempdir()
            .expect("a directory");
        let qemu = start_qemu(image, disk, dir.path());
        let connect = |name: &str| connect(&dir.path().join(name));
        let (agent, keys, watch) = (connect("agent"), connect("keys"), connect("watch"));
        let (hello, greeted) = channel();
        let pending: Pending = Arc::new(Mutex::new(HashMap::from([(0, hello)])));
        let events = Arc::new(Events::default());
        let (reading, answers) = (agent.try_clone().expect("a stream"), pending.clone());
        std::thread::spawn(move || read_answers(reading, &answers));
        let telling = events.clone();
        std::thread::spawn(move || read_events(watch, &telling));
        let guest = Self {
            qemu,
            keys: Gadgets::over(keys).expect("a bridge"),
            agent: Mutex::new(agent),
            pending,
            events,
            next: Mutex::new(1),
            dir,
        };
        if greeted.recv_timeout(PATIENCE).is_err() {
            panic!("the guest does not come up:\n{}", guest.console());
        }
        guest.run("start_daemon").done();
        println!("booted in {:.1} s", begun.elapsed().as_secs_f64());
        guest
    }

    /// What the kernel and PID 1 wrote.
    pub fn console(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("console")).unwrap_or_default()
    }

    /// Begins a command of the guest's shell.
    pub fn start(&self, command: &str) -> Running {
        assert!(!command.contains('\n'), "one line: {command:?}");
        let id = {
            let mut next = self.next.lock().expect("the counter");
            *next += 1;
            *next
        };
        let (sender, receiver) = channel();
        self.pending.lock().expect("the list").insert(id, sender);
        let line = format!("{id} {command}\n");
        let written = self.agent.lock().expect("the agent").write_all(line.as_bytes());
        written.unwrap_or_else(|error| panic!("{command}: {error}"));
        Running {
            command: command.to_owned(),
            receiver,
        }
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &str) -> Said {
        self.start(command).end()
    }

    /// Begins the client, as root, with something on its standard input.
    pub fn begin(&self, arguments: &[&str], input: &str) -> Running {
        let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        self.start(&format!(
            "printf %s {} | claviger --json --timeout 110 {}",
            quoted(input),
            words.join(" ")
        ))
    }

    /// Runs the client to its end.
    pub fn claviger(&self, arguments: &[&str], input: &str) -> Answer {
        let answer = Answer::of(self.begin(arguments, input).end());
        println!("claviger {} -> {} {}", arguments.join(" "), answer.code, answer.said);
        answer
    }

    /// How many events have been told so far: the place to wait from.
    pub fn now(&self) -> usize {
        self.events.told.lock().expect("events").len()
    }

    /// Waits for an event that came after `from`.
    #[track_caller]
    pub fn told(&self, from: usize, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut told = self.events.told.lock().expect("events");
        loop {
            if let Some(event) = told.iter().skip(from).find(|event| so(event)) {
                return event.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} was not told: {told:?}");
            told = self.events.more.wait_timeout(told, left).expect("events").0;
        }
    }

    /// Waits until a device has come after `from`; its object.
    #[track_caller]
    pub fn arrived(&self, from: usize) -> Value {
        let event = self.told(from, "a device's coming", |event| {
            event["event"] == "device-added" || event["event"] == "device-present"
        });
        event["device"].clone()
    }

    /// Waits until this device has gone.
    #[track_caller]
    pub fn left(&self, from: usize, path: &str) {
        self.told(from, "a device's going", |event| {
            event["event"] == "device-removed" && event["path"] == path
        });
    }

    /// Plugs a key into a port and waits until the daemon shows it; its object.
    #[track_caller]
    pub fn plug(&self, token: &Token, port: usize) -> (Plugged, Value) {
        let from = self.now();
        let plugged = self.keys.plug_at(token, port, Beside::default()).expect("plugged in");
        (plugged, self.arrived(from))
    }

    /// Puts a card into the reader; the daemon shows it a moment later.
    pub fn insert(&self, token: &Token) -> Plugged {
        plug_ccid(&self.dir.path().join("card"), token).expect("a card in the reader")
    }

    /// Cuts the power: not a line of the guest runs any more.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- console ---\n{}", self.console());
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

impl Running {
    /// Waits for its end.
    #[track_caller]
    pub fn end(self) -> Said {
        match self.receiver.recv_timeout(PATIENCE) {
            Ok(said) => said,
            Err(_) => panic!("no end: {}", self.command),
        }
    }

    /// What the client said in the end.
    #[track_caller]
    pub fn answer(self) -> Answer {
        Answer::of(self.end())
    }

    /// Whether it has ended.
    pub fn ended(&self) -> Option<Said> {
        self.receiver.try_recv().ok()
    }
}

impl Said {
    /// Checks that it went well; what it wrote.
    #[track_caller]
    pub fn done(self) -> String {
        assert!(self.code == 0, "exit {}: {} {}", self.code, self.out, self.told);
        self.out
    }
}

/// What the client said.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub said: Value,
    pub told: String,
}

impl Answer {
    fn of(said: Said) -> Self {
        Self {
            code: said.code,
            said: serde_json::from_str(&said.out).unwrap_or_default(),
            told: said.told,
        }
    }

    pub fn text(&self, member: &str) -> &str {
        self.said[member].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub fn done(self) -> Self {
        assert!(self.code == 0, "exit {}: {} {}", self.code, self.said, self.told);
        self
    }

    /// Checks that it was refused with one of these errors.
    #[track_caller]
    pub fn refused(self, names: &[&str]) -> Self {
        let named = names.iter().any(|name| self.text("error").ends_with(name));
        assert!(
            self.code != 0 && named,
            "{names:?}, not exit {}: {} {}",
            self.code,
            self.said,
            self.told
        );
        self
    }
}

/// For the shell.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn start_qemu(image: &Image, disk: &Path, dir: &Path) -> Child {
    let mut qemu = Command::new("setpriv");
    // It shall not outlive a test that is killed.
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args([
        "-accel", "tcg", "-machine", "q35", "-cpu", "max", "-smp", "1", "-m", "640",
    ])
    .args(["-display", "none", "-nodefaults", "-no-reboot", "-serial", "stdio"])
    .arg("-kernel")
    .arg(&image.kernel)
    .arg("-initrd")
    .arg(&image.root)
    .args([
        "-append",
        "console=ttyS0 panic=-1 quiet mitigations=off random.trust_cpu=on",
    ])
    .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
    for name in ["agent", "keys", "watch"] {
        let socket = dir.join(name);
        qemu.arg("-chardev")
            .arg(format!("socket,id={name},path={},server=on,wait=off", socket.display()))
            .arg("-device")
            .arg(format!("virtserialport,chardev={name},name=claviger.{name}"));
    }
    qemu.arg("-chardev")
        .arg(format!(
            "socket,id=card,path={},server=on,wait=off",
            dir.join("card").display()
        ))
        .args([
            "-device",
            "qemu-xhci",
            "-device",
            "usb-kbd",
            "-device",
            "usb-ccid,id=ccid0",
        ])
        .args(["-device", "ccid-card-passthru,chardev=card,bus=ccid0.0"])
        // What the guest has flushed is in the file, and the file outlives QEMU: the host's page cache is not cut.
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=writeback", disk.display()));
    let console = File::create(dir.join("console")).expect("a file");
    let errors = console.try_clone().expect("a file");
    qemu.stdin(Stdio::null()).stdout(console).stderr(errors);
    qemu.spawn().expect("QEMU")
}

/// QEMU makes its sockets before it runs the guest, but after it was started.
fn connect(socket: &Path) -> UnixStream {
    let until = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < until, "{}: {error}", socket.display()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn read_answers(stream: UnixStream, pending: &Pending) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
        let head: Vec<usize> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [id, code, out, told] = head[..] else {
            panic!("the agent said {line:?}")
        };
        let mut text = |length: usize| {
            let mut bytes = vec![0; length];
            stream
                .read_exact(&mut bytes)
                .map(|()| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (Ok(out), Ok(told)) = (text(out), text(told)) else {
            return;
        };
        let said = Said {
            code: i32::try_from(code).expect("a status"),
            out,
            told,
        };
        if let Some(waiting) = pending.lock().expect("the list").remove(&(id as u64)) {
            // Whoever asked may have lost interest.
            let _ = waiting.send(said);
        }
        line.clear();
    }
    // Nobody will answer any more: whoever waits shall know.
    pending.lock().expect("the list").clear();
}

fn read_events(stream: UnixStream, events: &Events) {
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        if let Ok(event) = serde_json::from_str(&line) {
            events.told.lock().expect("events").push(event);
            events.more.notify_all();
        }
    }
}
