//! The card link on a real, private pcscd with cards behind vpcd. The test runs itself again with the socket's name set.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use claviger::link::card::CardSource;
use claviger::link::watch::Source;
use claviger::link::{CardLink, Face, LinkError, LinkEvent, Opener};
use claviger::types::DeviceId;

/// Far longer than anything here takes, also on a machine that is busy with other things.
const SOON: Duration = Duration::from_secs(20);
const HOME: &str = "CLAVIGER_TEST_PCSCD";
const DRIVER: &str = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so";
/// As a contactless reader makes it up (PC/SC part 3 section 3.1.3.2.3), with six historical bytes.
const ATR: [u8; 11] = [0x3B, 0x86, 0x80, 0x01, b'C', b'l', b'a', b'v', b'i', b'g', 0x09];

/// Whether this process has the private pcscd's name in its environment; if not, runs `test` in one that has.
fn inside(test: &str) -> Option<Pcscd> {
    if let Some(home) = std::env::var_os(HOME) {
        return Some(Pcscd::new(Path::new(&home)));
    }
    if !nix::unistd::geteuid().is_root() || !Path::new(DRIVER).exists() || !Path::new("/usr/sbin/pcscd").exists() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("ring 2, cards: skipped, needs root, pcscd and vsmartcard-vpcd\n"),
        );
        return None;
    }
    let home = tempfile::tempdir().expect("directory");
    let status = Command::new("timeout")
        .arg("90")
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(HOME, home.path())
        .env("PCSCLITE_CSOCK_NAME", home.path().join("run/pcscd.comm"))
        .status()
        .expect("this test");
    assert!(status.success(), "{status}");
    None
}

/// A pcscd of our own with one vpcd reader. It ignores the variable its clients obey, hence the bind mount.
struct Pcscd {
    home: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl Pcscd {
    fn new(home: &Path) -> Self {
        // The driver takes two ports, one for each slot.
        let port = loop {
            let one = TcpListener::bind("127.0.0.1:0")
                .and_then(|one| one.local_addr())
                .expect("port")
                .port();
            if TcpListener::bind(("127.0.0.1", one.saturating_add(1))).is_ok() {
                break one;
            }
        };
        for directory in ["run", "conf"] {
            fs::create_dir_all(home.join(directory)).expect("directory");
        }
        let driver = home.join("vpcd.so");
        fs::copy(DRIVER, &driver).expect("driver");
        let reader = format!(
            "FRIENDLYNAME \"Claviger Test\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {}\nCHANNELID 0x{port:X}\n",
            driver.display()
        );
        fs::write(home.join("conf/reader.conf"), reader).expect("configuration");
        Self {
            home: home.to_owned(),
            port,
            child: None,
        }
    }

    /// Starts it and waits until it listens to its clients, which is a moment after its reader listens for cards.
    fn start(&mut self) {
        self.launch();
        self.until_it_listens();
    }

    fn until_it_listens(&self) {
        let begun = Instant::now();
        while let Err(error) = UnixStream::connect(self.home.join("run/pcscd.comm")) {
            assert!(begun.elapsed() < SOON, "pcscd: {error}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn launch(&mut self) {
        fs::create_dir_all("/run/pcscd").expect("mount point");
        let script = "mount --bind \"$0/run\" /run/pcscd && exec /usr/sbin/pcscd --foreground --config \"$0/conf\"";
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("unshare");
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Inserts a card that answers every command with its data and 9000, and never answers INS 0xEE.
    fn insert(&self) -> TestCard {
        let begun = Instant::now();
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < SOON, "vpcd: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut own = stream.try_clone().expect("socket");
        let (heard, commands) = mpsc::channel();
        let resets = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&resets);
        let thread = thread::spawn(move || {
            while let Ok(message) = receive(&mut own) {
                let answer = match message.as_slice() {
                    [0x04] => ATR.to_vec(),
                    [0x02] => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        continue;
                    }
                    [_] => continue,
                    command => {
                        let _ = heard.send(command.to_vec());
                        match command {
                            [_, 0xEE, ..] => continue,
                            command => [&command[4..], &[0x90, 0x00]].concat(),
                        }
                    }
                };
                let length = u16::try_from(answer.len()).expect("short").to_be_bytes();
                if own.write_all(&[&length[..], &answer].concat()).is_err() {
                    break;
                }
            }
        });
        TestCard {
            stream,
            commands,
            resets,
            thread,
        }
    }
}

impl Drop for Pcscd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn receive(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

struct TestCard {
    stream: TcpStream,
    commands: mpsc::Receiver<Vec<u8>>,
    resets: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl TestCard {
    fn remove(self) {
        self.stream.shutdown(std::net::Shutdown::Both).expect("shutdown");
        self.thread.join().expect("card");
    }
}

struct Watched {
    source: CardSource,
    events: mpsc::Receiver<LinkEvent>,
}

impl Watched {
    fn start() -> Self {
        let source = CardSource::new().expect("source");
        let (tell, events) = mpsc::channel();
        let sink = move |event| -> Option<DeviceId> {
            let _ = tell.send(event);
            None
        };
        source.start(Arc::new(sink)).expect("start");
        Self { source, events }
    }

    fn event(&self) -> LinkEvent {
        self.events.recv_timeout(SOON).expect("an event")
    }

    fn arrived(&self) -> Face {
        match self.event() {
            LinkEvent::Arrived(face) => face,
            other => panic!("not an arrival: {other:?}"),
        }
    }

    fn left(&self, face: &Face) {
        let event = self.event();
        assert!(matches!(&event, LinkEvent::Left(key) if *key == face.key), "{event:?}");
    }

    fn service(&self, expected: bool) {
        let event = self.event();
        assert!(
            matches!(event, LinkEvent::CardService { running } if running == expected),
            "{event:?}"
        );
    }

    fn open(&self, face: &Face, patience: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        self.source.open_card(face, patience)
    }
}

/// How often the watcher's thread was put to sleep or interrupted so far.
fn switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("tasks").filter_map(Result::ok);
    let watcher = tasks
        .map(|task| task.path())
        .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "link-card"));
    let status = fs::read_to_string(watcher.expect("watcher").join("status")).expect("status");
    let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
    lines
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}

/// How often the watcher's thread ran within two seconds.
fn stirs() -> u64 {
    let before = switches();
    thread::sleep(Duration::from_secs(2));
    switches() - before
}

/// The watcher comes to rest, and then stays there.
fn assert_asleep(what: &str) {
    let begun = Instant::now();
    while stirs() > 0 {
        assert!(begun.elapsed() < SOON, "the watcher finds no rest {what}");
    }
    assert_eq!(stirs(), 0, "the watcher must sleep {what}");
}

#[test]
fn cards_come_and_go_and_are_held_alone() {
    let Some(mut pcscd) = inside("cards_come_and_go_and_are_held_alone") else {
        return;
    };
    pcscd.start();
    let world = Watched::start();
    world.service(true);
    assert!(matches!(world.event(), LinkEvent::Settled));

    let card = pcscd.insert();
    let face = world.arrived();
    assert_eq!(
        (face.name.as_str(), face.place.as_str()),
        ("Claviger Test", "reader Claviger Test 00 00")
    );
    assert!(face.contactless);
    assert_eq!(face.body, face.key, "vpcd is not on USB");
    assert_asleep("while nothing happens");

    let mut link = world.open(&face, SOON).expect("open");
    assert_eq!(
        link.transmit(&[0, 1, 0, 0, 3, 1, 2, 3]),
        Ok(vec![3, 1, 2, 3, 0x90, 0x00])
    );
    let long = vec![0xA5; 65_000];
    assert_eq!(link.transmit(&long).expect("extended").len(), long.len() - 4 + 2);

    // While we have it nobody else gets it, and whoever waits too long is told so.
    let begun = Instant::now();
    let busy = world.open(&face, Duration::from_millis(150)).map(drop);
    assert!(matches!(busy, Err(LinkError::Busy { .. })), "{busy:?}");
    assert!(begun.elapsed() >= Duration::from_millis(150));
    drop(link);
    let begun = Instant::now();
    let mut link = loop {
        match world.open(&face, Duration::from_millis(300)) {
            Ok(link) => break link,
            Err(error) => assert!(begun.elapsed() < SOON, "{error}"),
        }
    };
    assert_eq!(link.transmit(&[0, 1, 0, 0]), Ok(vec![0x90, 0x00]));
    drop(link);

    // Another program holds the reader for itself.
    let other = pcsc::Context::establish(pcsc::Scope::User).expect("context");
    let reader = c"Claviger Test 00 00";
    let exclusive = other
        .connect(reader, pcsc::ShareMode::Exclusive, pcsc::Protocols::ANY)
        .expect("exclusive");
    let busy = world.open(&face, Duration::from_millis(50)).map(drop);
    assert!(matches!(busy, Err(LinkError::Busy { .. })), "{busy:?}");
    let _ = exclusive.disconnect(pcsc::Disposition::LeaveCard);

    assert_eq!(card.resets.load(Ordering::SeqCst), 0, "we leave a card as it is");

    // The card goes while it works.
    let mut link = world.open(&face, SOON).expect("open");
    while card.commands.try_recv().is_ok() {}
    let worker = thread::spawn(move || link.transmit(&[0, 0xEE, 0, 0]));
    card.commands.recv_timeout(SOON).expect("the command is under way");
    card.remove();
    assert_eq!(worker.join().expect("worker"), Err(LinkError::Gone));
    world.left(&face);
    assert_eq!(world.open(&face, SOON).map(drop), Err(LinkError::Gone));

    let _card = pcscd.insert();
    assert_ne!(
        world.arrived().key,
        face.key,
        "the same card put back is another attachment"
    );
    world.source.stop();
}

#[test]
fn another_programs_reset_between_operations_does_no_harm() {
    let Some(mut pcscd) = inside("another_programs_reset_between_operations_does_no_harm") else {
        return;
    };
    pcscd.start();
    let card = pcscd.insert();
    let world = Watched::start();
    world.service(true);
    let face = loop {
        if let LinkEvent::Arrived(face) = world.event() {
            break face;
        }
    };
    let other = pcsc::Context::establish(pcsc::Scope::User).expect("context");
    let connect = || other.connect(c"Claviger Test 00 00", pcsc::ShareMode::Shared, pcsc::Protocols::ANY);
    let stays = connect().expect("shared");
    drop(world.open(&face, SOON).expect("a shared reader can be used"));
    // A reset between two operations is nobody's loss.
    let _ = connect().expect("shared").disconnect(pcsc::Disposition::ResetCard);
    let mut link = world.open(&face, SOON).expect("open");
    assert_eq!(link.transmit(&[0, 1, 0, 0]), Ok(vec![0x90, 0x00]));
    drop(link);
    assert_eq!(card.resets.load(Ordering::SeqCst), 1);
    let _ = stays.disconnect(pcsc::Disposition::LeaveCard);
}

#[test]
fn a_pcscd_that_dies_is_survived() {
    let Some(mut pcscd) = inside("a_pcscd_that_dies_is_survived") else {
        return;
    };
    let world = Watched::start();
    assert!(
        matches!(world.event(), LinkEvent::Settled),
        "no pcscd at the start is not an obstacle"
    );
    assert_asleep("while there is no pcscd");
    for round in 0..3 {
        pcscd.start();
        world.service(true);
        let card = pcscd.insert();
        let face = world.arrived();
        let mut link = world.open(&face, SOON).expect("open");
        assert_eq!(link.transmit(&[0, 1, 0, 0]), Ok(vec![0x90, 0x00]));
        pcscd.kill();
        world.left(&face);
        world.service(false);
        assert_eq!(link.transmit(&[0, 1, 0, 0]), Err(LinkError::NoService), "round {round}");
        drop(link);
        assert_eq!(world.open(&face, SOON).map(drop), Err(LinkError::NoService));
        drop(card);
    }
    // The dead one's socket file is still there; the last quick attempt comes after some three seconds, and the longest
    // pause between two is shorter than what counts as rest.
    assert_asleep("beside a dead socket");
    world.source.stop();
    // The watcher heard it: its sink is gone.
    let end = world.events.recv_timeout(SOON);
    assert!(matches!(end, Err(mpsc::RecvTimeoutError::Disconnected)), "{end:?}");
}
