//! Ring 4: the power of the whole machine is cut (QEMU killed) during register, resync and revoke. What is on the disk then is
//! what the guest's kernel had flushed. After the next boot the journal verifies, every act that was cut short has come to an
//! end, and whatever the key holds is in use or owed, and what is owed can be settled.
//!
//! Each boot looks at what the last cut left, and then meets the next one. Cuts are placed by what can be counted: frames to and
//! from the key, or writes to the disk; and what was acknowledged right before a cut has survived it.
#[path = "harness/guest/mod.rs"]
mod guest;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guest::{Guest, Image, PATIENCE, Running, Said, say};
use hw_fixtures::entropy::Entropy;
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::fob::{Fob, Moving};
use hw_fixtures::oath::Hash;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token, crypto};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::Value;

const PIN: &str = "141421";
/// How much further ahead the fob is at each resync.
const STRIDE_S: i64 = 120;
/// Cuts there must be.
const AT_LEAST: usize = 10;

/// How often the end of a command is looked for while something else is waited for.
const GLANCE_MS: u8 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Register,
    Resync,
    Revoke,
}

#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This frame is on its way.
    Frame(u64),
    /// So many writes to the disk have been made.
    Write(usize),
    /// It has been acknowledged: the client has said so, and nothing of the guest runs any more.
    End,
}

/// What an act takes when nothing goes wrong.
#[derive(Clone, Copy, Debug)]
struct Takes {
    frames: u64,
    writes: usize,
}

/// What outlives a cut: the key, the fob, the disk.
struct Desk<'image> {
    image: &'image Image,
    scratch: tempfile::TempDir,
    key: Token,
    fob: Fob,
    /// The fob's token.
    fob_id: String,
    resyncs: i64,
    people: u32,
}

/// An act that a cut has ended.
struct Cut {
    verb: Verb,
    /// Whom or what it was about: a subject, a token.
    about: String,
    codes: Vec<String>,
    /// It had been acknowledged before.
    acknowledged: bool,
}

/// A guest with the key plugged in.
struct Scene {
    // The key first: it is pulled out of a guest that is gone.
    plugged: Plugged,
    guest: Guest,
    device: String,
}

#[test]
fn the_power_is_cut() {
    let begun = Instant::now();
    let Some(image) = &Image::prepare() else { return };
    // Two desks that know nothing of each other, each with every other cut: emulation uses one core for one guest.
    let cuts: usize = std::thread::scope(|scope| {
        let desks = [0, 1].map(|first| scope.spawn(move || at_one_desk(image, first)));
        desks.map(|desk| desk.join().expect("a desk")).iter().sum()
    });
    assert!(cuts >= AT_LEAST, "{cuts} cuts");
    let boots = cuts + 2;
    say(&format!(
        "ring 4: {cuts} power cuts, {boots} boots, {:.0} s ({})",
        begun.elapsed().as_secs_f64(),
        image.programs
    ));
}

/// Every other cut of the plan, from this one on; how many they were.
fn at_one_desk(image: &Image, first: usize) -> usize {
    let mut desk = Desk::set(image);
    let mut scene = desk.boot();
    let (register, revoke) = desk.measure_key(&scene);
    let resync = desk.measure_fob(&scene);
    println!("register {register:?}, revoke {revoke:?}, resync {resync:?}");
    let plan: Vec<_> = plan(register, revoke, resync)
        .into_iter()
        .skip(first)
        .step_by(2)
        .collect();
    for (verb, moment) in &plan {
        let cut = desk.cut(scene, *verb, *moment);
        scene = desk.boot();
        let found = desk.look(&scene, &cut);
        let words = if cut.acknowledged {
            "after its end"
        } else {
            "in the middle"
        };
        say(&format!("ring 4: {verb:?} cut at {moment:?}, {words}: {found}"));
    }
    plan.len()
}

/// Moments of each verb, spread over what it takes, and right after its end.
fn plan(register: Takes, revoke: Takes, resync: Takes) -> Vec<(Verb, Moment)> {
    let mut plan = Vec::new();
    let frame = |takes: Takes, part: u64| Moment::Frame((takes.frames * part / 6).max(1));
    let write = |takes: Takes, part: usize| Moment::Write((takes.writes * part / 4).max(1));
    plan.extend([1, 3, 5].map(|part| (Verb::Register, frame(register, part))));
    plan.extend([1, 3, 5].map(|part| (Verb::Revoke, frame(revoke, part))));
    plan.push((Verb::Register, write(register, 2)));
    plan.push((Verb::Revoke, write(revoke, 2)));
    plan.extend([1, 2, 3].map(|part| (Verb::Resync, write(resync, part))));
    plan.extend([Verb::Register, Verb::Revoke, Verb::Resync].map(|verb| (verb, Moment::End)));
    plan
}

impl<'image> Desk<'image> {
    fn set(image: &'image Image) -> Self {
        let scratch = tempfile::tempdir().expect("a directory");
        guest::disk(scratch.path());
        let setup = TokenSetup {
            serial: Some("POWER".into()),
            seed: Some(46),
            ..TokenSetup::named("key")
        };
        let moving = Moving::Totp { period_s: 30 };
        let mut random = Entropy::seeded(47, "fob");
        let mut fob = Fob::new("F-47".into(), Hash::Sha1, 6, moving, &mut random);
        fob.drift(0.0, 0.0, now());
        Self {
            image,
            scratch,
            key: Token::of_profile("nitrokey-3", setup).expect("a key"),
            fob,
            fob_id: String::new(),
            resyncs: 0,
            people: 0,
        }
    }

    fn disk(&self) -> std::path::PathBuf {
        self.scratch.path().join("state.img")
    }

    fn boot(&self) -> Scene {
        self.key.clear_faults();
        let guest = Guest::boot(self.image, &self.disk());
        let (plugged, device) = guest.plug(&self.key, 0);
        let device = device["path"].as_str().expect("a path").to_owned();
        Scene { plugged, guest, device }
    }

    fn person(&mut self) -> String {
        self.people += 1;
        format!("person-{}", self.people)
    }

    fn held(&self) -> usize {
        self.key.with_authenticator(|key| key.resident_count()).unwrap_or(0)
    }

    fn measure_key(&mut self, scene: &Scene) -> (Takes, Takes) {
        let person = self.person();
        let (register, id) = self.measure(scene, |scene| {
            scene.register(&person).answer().done().text("token").to_owned()
        });
        let (revoke, _) = self.measure(scene, |scene| drop(scene.revoke(&id).answer().done()));
        assert_eq!(self.held(), 0);
        (register, revoke)
    }

    fn measure_fob(&mut self, scene: &Scene) -> Takes {
        let (first, second) = (self.fob.code(now() - 30), self.fob.code(now()));
        let register = [
            "register",
            "fob",
            "holder",
            "--serial",
            "F-47",
            "--encoding",
            "hex",
            "--seed-stdin",
        ];
        let register = [&register[..], &[&first, &second]].concat();
        let registered = scene.guest.claviger(&register, &crypto::to_hex(&self.fob.seed)).done();
        self.fob_id = registered.text("token").to_owned();
        let codes = self.drift();
        let id = self.fob_id.clone();
        let (takes, _) = self.measure(scene, |scene| drop(scene.resync(&id, &codes).answer().done()));
        takes
    }

    fn measure<T>(&self, scene: &Scene, act: impl FnOnce(&Scene) -> T) -> (Takes, T) {
        scene.settle();
        scene.plugged.record();
        let writes = Writes::watch(&self.disk());
        let done = act(scene);
        let frames = scene.plugged.frames().len() as u64;
        (
            Takes {
                frames,
                writes: writes.so_far(),
            },
            done,
        )
    }

    /// The fob's clock jumps ahead; two consecutive codes of it.
    fn drift(&mut self) -> Vec<String> {
        self.resyncs += 1;
        #[allow(clippy::cast_precision_loss, reason = "some minutes")]
        let ahead = (self.resyncs * STRIDE_S) as f64;
        self.fob.drift(ahead, 0.0, now());
        let now = now();
        vec![self.fob.code(now - 30), self.fob.code(now)]
    }

    /// Begins an act and cuts the power at this moment of it, or when it ends before.
    fn cut(&mut self, scene: Scene, verb: Verb, moment: Moment) -> Cut {
        let (mut about, mut codes) = (self.fob_id.clone(), Vec::new());
        match verb {
            Verb::Register => about = self.person(),
            Verb::Revoke => {
                let person = self.person();
                about = scene.register(&person).answer().done().text("token").to_owned();
            }
            Verb::Resync => codes = self.drift(),
        }
        scene.settle();
        scene.plugged.record();
        let writes = Writes::watch(&self.disk());
        if let Moment::Frame(frame) = moment {
            scene.plugged.inject(Fault::at(frame, FaultKind::Delay(600_000)));
        }
        let mut running = match verb {
            Verb::Register => scene.register(&about),
            Verb::Revoke => scene.revoke(&about),
            Verb::Resync => scene.resync(&about, &codes),
        };
        let ended = match moment {
            Moment::Frame(_) => self.until_held(&mut running),
            Moment::Write(count) => writes.until(count, &mut running),
            Moment::End => Some(running.end()),
        };
        if matches!(moment, Moment::End) {
            let code = ended.as_ref().map(|said| said.code);
            assert_eq!(code, Some(0), "{verb:?}: {ended:?}");
        }
        let Scene { plugged, guest, .. } = scene;
        guest.cut();
        drop(plugged);
        Cut {
            verb,
            about,
            codes,
            acknowledged: ended.is_some_and(|said| said.code == 0),
        }
    }

    /// Waits until the key holds a frame back.
    fn until_held(&self, running: &mut Running) -> Option<Said> {
        let until = Instant::now() + PATIENCE;
        while self.key.faults().iter().all(|fault| fault.struck.is_none()) {
            if let Some(said) = running.ended() {
                return Some(said);
            }
            assert!(Instant::now() < until, "no frame and no end");
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// After the boot: what the cut has left, in a word; panics when it is not whole.
    fn look(&mut self, scene: &Scene, cut: &Cut) -> String {
        let guest = &scene.guest;
        let verified = guest.claviger(&["audit", "verify"], "").done();
        assert_eq!(verified.said["intact"], true, "{}", verified.said);
        let tokens = scene.list("tokens");
        assert!(
            tokens.iter().all(|one| one["state"] != "pending"),
            "half registered: {tokens:?}"
        );
        let found = match cut.verb {
            Verb::Register => self.after_register(scene, cut, &tokens),
            Verb::Revoke => self.after_revoke(scene, cut, &tokens),
            Verb::Resync => self.after_resync(scene, cut, &tokens),
        };
        assert_eq!(self.held(), 0, "the key still holds ours");
        // What was open was brought to an end by the first start: a second one finds nothing.
        let concluded = scene.cut_short();
        let from = guest.now();
        guest.run("stop_daemon && start_daemon").done();
        guest.arrived(from);
        assert_eq!(scene.cut_short(), concluded, "an act was still open after the restart");
        guest.claviger(&["audit", "verify"], "").done();
        format!("{found}, {concluded} acts brought to an end")
    }

    fn after_register(&mut self, scene: &Scene, cut: &Cut, tokens: &[Value]) -> &'static str {
        let of_person = |tokens: &[Value]| tokens.iter().find(|one| one["subject"] == cut.about.as_str()).cloned();
        let record = of_person(tokens);
        let state = record
            .as_ref()
            .map_or("", |one| one["state"].as_str().unwrap_or_default());
        assert!(
            !cut.acknowledged || state == "active",
            "it was acknowledged and is {state:?}"
        );
        let id = record.as_ref().map_or("", |one| one["id"].as_str().unwrap_or_default());
        if state == "active" {
            scene.guest.claviger(&["test", id], "").done();
            scene.revoke(id).answer().done();
            return "active";
        }
        let found = match (self.held(), scene.discharge(id)) {
            (0, false) => "rolled back",
            (0, true) => "revoked, nothing on the key",
            (_, true) => "revoked, settled on the key",
            (_, false) => panic!("the key holds a credential that nobody knows of: {record:?}"),
        };
        // Nothing stands in the way of doing it again.
        let again = scene.register(&cut.about).answer().done();
        scene.revoke(again.text("token")).answer().done();
        found
    }

    fn after_revoke(&mut self, scene: &Scene, cut: &Cut, tokens: &[Value]) -> &'static str {
        let record = tokens.iter().find(|one| one["id"] == cut.about.as_str());
        let state = record.expect("its record")["state"].as_str().unwrap_or_default();
        if state == "active" {
            assert!(!cut.acknowledged, "an acknowledged revocation was forgotten");
            scene.revoke(&cut.about).answer().done();
            return "not begun";
        }
        assert_eq!(state, "revoked");
        scene.guest.claviger(&["test", &cut.about], "").refused(&["WrongState"]);
        let held = self.held();
        match (held, scene.discharge(&cut.about)) {
            (0, false) => "revoked",
            (_, true) => "revoked and owed, settled on the key",
            (_, false) => panic!("the key holds a credential that nobody knows of"),
        }
    }

    fn after_resync(&mut self, scene: &Scene, cut: &Cut, tokens: &[Value]) -> &'static str {
        let offset = |tokens: &[Value]| {
            let record = tokens.iter().find(|one| one["id"] == cut.about.as_str());
            record.expect("its record")["offset-ms"].as_i64().expect("an offset")
        };
        let applied = (offset(tokens) - self.resyncs * STRIDE_S * 1000).abs() < 60_000;
        assert!(applied || !cut.acknowledged, "an acknowledged resync was forgotten");
        let mut used = cut.codes.clone();
        if !applied {
            used = vec![self.fob.code(now() - 30), self.fob.code(now())];
            scene.resync(&cut.about, &used).answer().done();
        }
        for code in &used {
            let refused = scene.guest.claviger(&["test", &cut.about, "--code", code], "");
            assert_ne!(refused.code, 0, "a code of the resync was accepted afterwards");
        }
        let next = self.fob.code(now() + 30);
        scene.guest.claviger(&["test", &cut.about, "--code", &next], "").done();
        if applied { "applied" } else { "not begun" }
    }
}

impl Scene {
    fn register(&self, subject: &str) -> Running {
        let arguments = ["register", "fido2", subject, "--pin-stdin", "--device", &self.device];
        self.guest.begin(&arguments, PIN)
    }

    fn revoke(&self, token: &str) -> Running {
        let arguments = ["revoke", token, "--reason", "leaver", "--yes", "--pin-stdin"];
        self.guest.begin(&arguments, PIN)
    }

    fn resync(&self, token: &str, codes: &[String]) -> Running {
        let mut arguments = vec!["resync", token];
        arguments.extend(codes.iter().map(String::as_str));
        self.guest.begin(&arguments, "")
    }

    fn list(&self, what: &str) -> Vec<Value> {
        let listed = self.guest.claviger(&[what], "").done();
        listed.said[what].as_array().cloned().unwrap_or_default()
    }

    /// Settles what this token owes on the key; whether it owed anything.
    fn discharge(&self, token: &str) -> bool {
        let owed = self.list("obligations");
        let Some(owed) = owed.iter().find(|one| one["token"] == token) else {
            return false;
        };
        let id = owed["id"].as_str().expect("an id");
        self.guest.claviger(&["discharge", id, "--pin-stdin"], PIN).done();
        true
    }

    /// How many acts have been brought to an end by a start of this boot.
    fn cut_short(&self) -> usize {
        let log = self.guest.run("cat /run/ring4/clavigerd.log").done();
        assert!(!log.contains("panicked"), "{log}");
        log.matches("was cut short").count()
    }

    /// Nothing is left to write, so that the next writes are the act's own.
    fn settle(&self) {
        self.guest.run("sync").done();
    }
}

/// Counts writes to the disk's file: what QEMU writes, the guest has sent to its disk. The kernel tells two writes as one when
/// nobody has read the first, so a thread does nothing but read.
struct Writes {
    seen: Arc<(Mutex<usize>, Condvar)>,
    over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Writes {
    fn watch(disk: &Path) -> Self {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).expect("inotify");
        inotify.add_watch(disk, AddWatchFlags::IN_MODIFY).expect("a watch");
        let (seen, over) = (
            Arc::new((Mutex::new(0), Condvar::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (counting, stopped) = (seen.clone(), over.clone());
        let reader = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(GLANCE_MS)).expect("a wait");
                let more = inotify.read_events().map_or(0, |events| events.len());
                *counting.0.lock().expect("the count") += more;
                counting.1.notify_all();
            }
        });
        Self {
            seen,
            over,
            reader: Some(reader),
        }
    }

    fn so_far(&self) -> usize {
        *self.seen.0.lock().expect("the count")
    }

    /// Waits for so many writes, or for the end of the command.
    fn until(&self, count: usize, running: &mut Running) -> Option<Said> {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().expect("the count");
        while *seen < count {
            if let Some(said) = running.ended() {
                return Some(said);
            }
            assert!(Instant::now() < until, "no write and no end");
            let glance = Duration::from_millis(GLANCE_MS.into());
            seen = self.seen.1.wait_timeout(seen, glance).expect("the count").0;
        }
        None
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}
