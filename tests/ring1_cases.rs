//! Ring 1: what a case does by itself, told as stories to the shipped daemon: a deadline that is missed is told once, whatever
//! happens to daemon and clock; a token that is gone is no enrolment; whoever leaves takes everything with them.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use claviger::contract::proxy::Options;
use house::{Figures, House, PIN, fob, none, path_of, secret, text, token};
use serde_json::Value;
use shim::Shim;
use zbus::{Fd, Variant};

/// A Friday morning, in the middle of a time step.
const NOON: i64 = 1_800_000_015;
const HOUR: i64 = 3_600;
const ALICE: &str = "alice";

/// A house whose clock the test sets, with the shipped policy.
async fn house(more: &str) -> (House, Shim) {
    let bus = std::sync::Arc::new(bus::PrivateBus::start());
    let mut house = House::unstarted(bus, &Figures::default()).await;
    let shim = Shim::into(&mut house);
    house.with_environment("TZ", "UTC");
    shim.set_clock(NOON);
    let file = house.path().join("policy.toml");
    fs::write(&file, include_str!("../policy/policy.toml")).expect("a policy");
    let more = format!("[authority]\npolicy = {:?}\nrole = \"staff\"\n{more}", file.display());
    house.configure(&Figures {
        more,
        ..Figures::default()
    });
    house.restart().await;
    (house, shim)
}

/// A hook and the pipe it writes to. It runs as `nobody` where the tests run as root.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        open_to_all(dir.path(), 0o777);
        let desk = Self(dir);
        nix::unistd::mkfifo(&desk.letters(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        open_to_all(&desk.letters(), 0o666);
        let text = format!("#!/bin/sh\ncat > {}\n", desk.letters().display());
        fs::write(desk.hook(), text).expect("a script");
        open_to_all(&desk.hook(), 0o755);
        desk
    }

    fn letters(&self) -> PathBuf {
        self.0.path().join("letters")
    }

    fn hook(&self) -> PathBuf {
        self.0.path().join("tell")
    }

    /// The next letter.
    async fn next(&self) -> Value {
        let letters = self.letters();
        let read = tokio::task::spawn_blocking(move || fs::read_to_string(letters).expect("a letter"));
        let text = bus::within("a letter", read).await.expect("read");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

/// What the client says as JSON, and its exit code.
fn claviger(house: &House, arguments: &[&str]) -> (i32, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--json", "--bus", house.bus().address()])
        .args(arguments)
        .output()
        .expect("the client");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!(
        "$ claviger {}\n{said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    let last = said.lines().last().unwrap_or_default();
    let told = serde_json::from_str(last).or_else(|_| serde_json::from_str(&said));
    (output.status.code().unwrap_or(-1), told.unwrap_or(Value::Null))
}

fn open_case(house: &House, kind: &str, channel: &str, subject: &str) -> String {
    let words = ["case", "open", kind, "--channel", channel, "--subject", subject];
    let (code, told) = claviger(house, &[&words[..], &["--reason", "a story"]].concat());
    assert_eq!(code, 0, "{told}");
    told["case"].as_str().expect("an id").to_owned()
}

/// Names of what is missing before a registration.
fn needs(house: &House, case: &str) -> Vec<String> {
    let (_, told) = claviger(house, &["case", "needs", case, "--tier", "register"]);
    let needs = told["needs"].as_array().expect("needs").iter();
    needs
        .map(|need| need["need"].as_str().expect("a name").to_owned())
        .collect()
}

async fn told_overdue(house: &House, case: &str) -> usize {
    let entries = house.manager().await.read_journal(0, 1000, &none()).await;
    let entries = entries.expect("entries");
    let about = |entry: &&claviger::contract::proxy::Record| {
        text(entry, "name") == "case.overdue" && text(entry, "payload").contains(case)
    };
    entries.iter().filter(about).count()
}

fn is_overdue(house: &House, case: &str) -> bool {
    let (_, told) = claviger(house, &["case", "show", case]);
    told["overdue"].as_bool().expect("a yes or no")
}

#[tokio::test]
async fn a_missed_deadline_is_told_once() {
    let desk = Desk::new();
    let (mut house, shim) = house(&format!("[hooks]\norganisation = {:?}\n", desk.hook().display())).await;
    let first = open_case(&house, "recovery", "phone", ALICE);
    assert!(!is_overdue(&house, &first));
    // The clock leaps: what has ended is seen as soon as anything is looked at.
    shim.set_clock(NOON + 2 * HOUR);
    let second = open_case(&house, "support", "phone", "bob");
    let letter = desk.next().await;
    assert_eq!(
        (&letter["what"], &letter["case"], &letter["step"], &letter["kind"]),
        (
            &"case-overdue".into(),
            &first.clone().into(),
            &"identity".into(),
            &"recovery".into()
        )
    );
    assert!(!letter.to_string().contains(ALICE), "it names nobody: {letter}");
    assert!(is_overdue(&house, &first) && !is_overdue(&house, &second));

    // A restart repeats nothing, and what fell due meanwhile is told at the start.
    house.stop();
    shim.set_clock(NOON + 4 * HOUR);
    house.restart().await;
    let letter = desk.next().await;
    assert_eq!(letter["case"], second.as_str());
    // The clock is set back: nothing is due twice.
    shim.set_clock(NOON);
    let third = open_case(&house, "support", "phone", "carol");
    house.kill();
    shim.set_clock(NOON + 8 * HOUR);
    house.restart().await;
    assert_eq!(desk.next().await["case"], third.as_str(), "nobody was told twice");
    for case in [&first, &second, &third] {
        assert_eq!(told_overdue(&house, case).await, 1);
    }
    // The next step has a deadline of its own.
    for method in ["call-back", "manager"] {
        claviger(&house, &["case", "evidence", &first, method, "a story"]);
    }
    assert!(!is_overdue(&house, &first));
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_key_that_is_gone_is_no_enrolment() {
    let (house, shim) = house("").await;
    let key = token("nitrokey-3", "key", 1);
    let _plugged = house.plug(&key);
    let (_, bench) = claviger(&house, &["case", "open", "bench"]);
    let bench = bench["case"].as_str().expect("an id").to_owned();
    // A first token is an enrolment: nobody waits for it.
    let first = open_case(&house, "support", "phone", ALICE);
    for method in ["call-back", "manager"] {
        claviger(&house, &["case", "evidence", &first, method, "a story"]);
    }
    assert_eq!(needs(&house, &first), Vec::<String>::new());
    let words = ["--case", &bench, "register", "fido2", ALICE, "--pin-stdin"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--json", "--bus", house.bus().address()])
        .args(words)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("the client");
    std::io::Write::write_all(&mut child.stdin.take().expect("input"), format!("{PIN}\n").as_bytes()).expect("a PIN");
    assert!(child.wait().expect("an end").success());

    // The PIN is blocked; the person is on the phone, believed, and waits, whatever the case is called.
    shim.set_clock(NOON + 60);
    for kind in ["support", "replacement", "recovery"] {
        let case = open_case(&house, kind, "phone", ALICE);
        for method in ["call-back", "manager"] {
            claviger(&house, &["case", "evidence", &case, method, "a story"]);
        }
        assert!(needs(&house, &case).contains(&"wait".to_owned()), "{kind}");
    }
    // Neither is it over because somebody set the clock.
    shim.set_clock(NOON + 48 * HOUR);
    let case = open_case(&house, "support", "phone", ALICE);
    for method in ["call-back", "manager"] {
        claviger(&house, &["case", "evidence", &case, method, "a story"]);
    }
    assert!(needs(&house, &case).contains(&"wait".to_owned()));
    // Whoever stands here does not wait.
    let case = open_case(&house, "support", "desk", ALICE);
    for method in ["in-person", "call-back"] {
        claviger(&house, &["case", "evidence", &case, method, "a story"]);
    }
    assert!(!needs(&house, &case).contains(&"wait".to_owned()));
    house.assert_intact().await;
    house.assert_no_panic();
}

/// Options of a call without a case.
fn given<'o>(pairs: &[(&'static str, &'o str)]) -> Options<'o> {
    pairs.iter().map(|(key, value)| (*key, Variant::from(*value))).collect()
}

fn letter(house: &House) -> Fd<'static> {
    let file = fs::File::create(house.path().join("letter")).expect("a file");
    Fd::from(OwnedFd::from(file))
}

#[tokio::test]
async fn whoever_leaves_takes_everything_with_them() {
    let house = House::start(&Figures::default()).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let path = path_of(&plugged);
    let register = async |options: Options<'static>| {
        let end = house
            .run(async |tokens| {
                let pin = Fd::from(secret(PIN.as_bytes()));
                tokens.register_fido2(&path, ALICE, pin, &options).await
            })
            .await;
        text(&end.done(), "token")
    };
    let own = register(none()).await;
    let elsewhere = register(given(&[("rp-id", "login.example.org")])).await;
    let suspended = text(&house.register_fob(&fob("L-1", 2, 0.0), ALICE).await.done(), "token");
    house
        .run(async |tokens| tokens.suspend(&suspended, &none()).await)
        .await
        .done();
    let lost = text(&house.register_fob(&fob("L-2", 3, 0.0), ALICE).await.done(), "token");
    // Its replacement is half done; nobody goes on with it.
    let words = Options::from([("lost", Variant::Bool(true))]);
    house
        .run(async |tokens| tokens.replace(&lost, &words).await)
        .await
        .done();
    let replaces = given(&[("replaces", &lost)]);
    let app = house
        .run(async |tokens| tokens.register_app(ALICE, letter(&house), &replaces).await)
        .await;
    let app = text(&app.done(), "token");
    let sheet = house
        .run(async |tokens| tokens.register_recovery_codes(ALICE, letter(&house), &none()).await)
        .await;
    let sheet = text(&sheet.done(), "token");
    let bobs = text(&house.register_fob(&fob("L-3", 4, 0.0), "bob").await.done(), "token");

    let (code, told) = claviger(&house, &["leaver", ALICE, "--yes"]);
    assert_eq!(code, 6, "something is left to do on devices");
    for gone in [&own, &elsewhere, &suspended, &lost, &app, &sheet] {
        let record = house.get(gone).await;
        assert_eq!(
            (text(&record, "state"), text(&record, "revoke-reason")),
            ("revoked".to_owned(), "leaver".to_owned()),
            "{gone}"
        );
    }
    assert_eq!(house.state_of(&bobs).await, "active");
    assert_eq!(told["revoked"].as_array().expect("a list").len(), 6);
    assert_eq!(told["left"], serde_json::json!([]));
    // Ourselves we need not be told of: what is revoked is not accepted here.
    assert_eq!(told["trusting"], serde_json::json!(["login.example.org"]));
    house
        .run(async |tokens| {
            tokens
                .replace(&lost, &Options::from([("withdraw", Variant::Bool(true))]))
                .await
        })
        .await
        .refused("NotBeingReplaced");
    // Once more there is nothing left, and who still trusts something is said again.
    let (code, told) = claviger(&house, &["leaver", ALICE, "--yes"]);
    assert_eq!((code, &told["revoked"]), (0, &serde_json::json!([])));
    assert_eq!(told["trusting"], serde_json::json!(["login.example.org"]));
    house.assert_intact().await;
    house.assert_no_panic();
}
