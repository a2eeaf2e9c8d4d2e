//! Ring 1: whom tokens are for. “Activate later” until it runs out, a contact that must be verified first, and a person who is told
//! whatever the hook does. The shipped daemon with a policy and a file of subjects of its own.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use claviger::contract::proxy::{Options, Record, Subjects1Proxy};
use house::{End, Figures, House, fob, none, now_s, number, text};
use serde_json::Value;
use zbus::Variant;
use zbus::proxy::CacheProperties;

const ARTHUR: &str = "arthur@example.org";
const FORD: &str = "ford@example.org";

const SUBJECTS: &str = r#"form = 1
[[subject]]
name = "arthur@example.org"
role = "staff"
contact = "mailto:arthur@example.org"
[[subject]]
name = "ford@example.org"
role = "staff"
exempt-until = 2100-01-01
"#;

/// The shipped policy with another beginning and another role of the staff.
fn policy(top: &str, staff: &str) -> String {
    let shipped = include_str!("../policy/policy.toml");
    let role = "[roles.staff]\nprivilege = \"ordinary\"\ndeferrals = 3\n";
    assert!(
        shipped.contains(role),
        "the shipped policy has another role of the staff"
    );
    let form = "form = 1\n";
    shipped.replacen(form, &format!("{form}{top}\n"), 1).replacen(
        role,
        &format!("[roles.staff]\nprivilege = \"ordinary\"\n{staff}\n"),
        1,
    )
}

/// A house with these files, and where they are.
async fn house(policy: &str, subjects: &str, hook: Option<&Path>) -> (House, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("policy.toml"), policy).expect("a policy");
    fs::write(dir.path().join("subjects.toml"), subjects).expect("subjects");
    let hook = hook.map_or_else(String::new, |hook| {
        format!("[hooks]\nsubject = {:?}\ntimeout = 2000\n", hook.display())
    });
    let more = format!(
        "[authority]\npolicy = {:?}\ndemand-cases = false\n[subjects]\nfile = {:?}\n{hook}",
        dir.path().join("policy.toml").display(),
        dir.path().join("subjects.toml").display(),
    );
    let house = House::start(&Figures {
        more,
        ..Figures::default()
    })
    .await;
    (house, dir)
}

async fn subjects(house: &House) -> Subjects1Proxy<'static> {
    let builder = Subjects1Proxy::builder(&house.client).cache_properties(CacheProperties::No);
    builder.build().await.expect("a proxy")
}

async fn enforcement(house: &House, subject: &str) -> Record {
    let told = subjects(house).await.enforcement_for(subject, &none()).await;
    told.expect("an answer")
}

fn flag(record: &Record, key: &str) -> bool {
    record
        .get(key)
        .and_then(|value| bool::try_from(value).ok())
        .unwrap_or_default()
}

/// What the client says, and its exit code.
fn claviger(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--bus", house.bus().address()])
        .args(arguments)
        .output()
        .expect("the client");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("$ claviger {}\n{said}", arguments.join(" "));
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test]
async fn activate_later_until_it_runs_out() {
    let policy = policy(
        "",
        "deferrals = 2\nenforced-from = 2020-01-01\nverified-contact = false",
    );
    let (mut house, _files) = house(&policy, SUBJECTS, None).await;

    let now = enforcement(&house, ARTHUR).await;
    assert!(flag(&now, "required") && flag(&now, "may-defer") && !flag(&now, "blocked"));
    assert_eq!(
        (number(&now, "deferrals-left"), text(&now, "status")),
        (Some(2), "off".to_owned())
    );
    assert_eq!(
        (text(&now, "ground"), text(&now, "from")),
        ("role".to_owned(), "2020-01-01".to_owned())
    );

    let (code, said) = claviger(&house, &["defer", ARTHUR]);
    assert!(code == 0 && said.contains("1 more time."), "{said}");
    // What was said stays said.
    house.kill();
    house.restart().await;
    let (code, said) = claviger(&house, &["defer", ARTHUR]);
    assert!(code == 0 && said.contains("no more"), "{said}");
    let (code, said) = claviger(&house, &["defer", ARTHUR]);
    assert!(code == 1 && said.contains("cannot be said"), "{said}");
    assert!(flag(&enforcement(&house, ARTHUR).await, "blocked"));

    // Of one who is exempt nothing is required, so there is nothing to put off; of a stranger nothing is known.
    assert!(!flag(&enforcement(&house, FORD).await, "required"));
    for (subject, name) in [(FORD, "NoLater"), ("zaphod", "UnknownSubject")] {
        let refused = subjects(&house)
            .await
            .defer(subject, &none())
            .await
            .expect_err("refused");
        assert!(refused.to_string().contains(name), "{refused}");
    }
    let stranger = enforcement(&house, "zaphod").await;
    assert!(!flag(&stranger, "known") && !flag(&stranger, "required"));

    let (_, said) = claviger(&house, &["coverage"]);
    assert!(said.contains("staff") && said.contains(ARTHUR), "{said}");

    let token = text(&house.register_fob(&fob("L-1", 1, 0.0), ARTHUR).await.done(), "token");
    let now = enforcement(&house, ARTHUR).await;
    assert!(flag(&now, "required") && !flag(&now, "blocked") && !flag(&now, "may-defer"));
    assert_eq!(text(&now, "status"), "on");
    let (code, said) = claviger(&house, &["subjects", ARTHUR]);
    assert!(
        code == 0 && said.contains("staff") && said.contains("unverified"),
        "{said}"
    );
    let (_, said) = claviger(&house, &["coverage"]);
    assert!(!said.contains(ARTHUR), "{said}");

    house.revoke(&token).await.expect("obliged");
    assert!(
        flag(&enforcement(&house, ARTHUR).await, "blocked"),
        "a revoked token gives no “later” back"
    );
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn the_organisation_beats_an_exemption() {
    let policy = policy("enforced-from = 2020-01-01", "deferrals = 5\nverified-contact = false");
    let (house, _files) = house(&policy, SUBJECTS, None).await;
    for subject in [ARTHUR, FORD] {
        let now = enforcement(&house, subject).await;
        assert!(flag(&now, "required") && flag(&now, "blocked"), "{subject}: {now:?}");
        assert_eq!(text(&now, "ground"), "everybody");
    }
}

#[tokio::test]
async fn a_contact_is_verified_before_a_token_becomes_active() {
    let (mut house, files) = house(&policy("", "deferrals = 0"), SUBJECTS, None).await;
    let fob = fob("C-1", 2, 0.0);
    let why = house.register_fob(&fob, ARTHUR).await.refused("NotActivated");
    assert!(why.contains("verified contact"), "{why}");
    assert!(house.all().await.is_empty());

    // Handed out it may be; its first codes do not activate it.
    let pending = house
        .run(async |tokens| {
            let raw = Options::from([("encoding", Variant::from("raw"))]);
            let seed = house::secret(&fob.seed).into();
            tokens.register_fob(ARTHUR, &fob.serial, seed, &[], &raw).await
        })
        .await;
    let token = text(&pending.done(), "token");
    let now = now_s();
    let codes = [fob.code(now - 30), fob.code(now)];
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    house.resync(&token, &codes).await.refused("NotActivated");
    assert_eq!(house.state_of(&token).await, "pending");

    let verified = SUBJECTS.replace("example.org\"\n[[", "example.org\"\ncontact-verified = 2026-01-01\n[[");
    assert_ne!(verified, SUBJECTS);
    fs::write(files.path().join("subjects.toml"), verified).expect("written");
    house.restart().await;
    house.resync(&token, &codes).await.done();
    assert_eq!(house.state_of(&token).await, "active");
}

#[tokio::test]
async fn a_wrong_file_ends_the_start_with_its_line() {
    let (mut house, files) = house(&policy("", "deferrals = 0"), SUBJECTS, None).await;
    house.stop();
    fs::write(
        files.path().join("subjects.toml"),
        "form = 1\n[[subject]]\nname = \"a\"\nrole = \"stuff\"\n",
    )
    .expect("written");
    let (status, said) = house.run_to_end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("subjects.toml:4:") && said.contains("“staff”"), "{said}");
    fs::write(files.path().join("subjects.toml"), SUBJECTS).expect("written");
    fs::write(files.path().join("policy.toml"), "form = 1\nclases = []\n").expect("written");
    let (status, said) = house.run_to_end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("policy.toml:2:") && said.contains("“classes”"), "{said}");
}

/// A hook and what it writes to. It runs as `nobody` where the tests run as root.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(script: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        open_to_all(dir.path(), 0o777);
        let desk = Self(dir);
        nix::unistd::mkfifo(&desk.letters(), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        open_to_all(&desk.letters(), 0o666);
        desk.change(script);
        desk
    }

    fn letters(&self) -> PathBuf {
        self.0.path().join("letters")
    }

    fn hook(&self) -> PathBuf {
        self.0.path().join("tell")
    }

    /// `$OUT` is where letters go.
    fn change(&self, script: &str) {
        let text = format!("#!/bin/sh\nOUT={}\n{script}\n", self.letters().display());
        let new = self.0.path().join("new");
        fs::write(&new, text).expect("a script");
        open_to_all(&new, 0o755);
        fs::rename(&new, self.hook()).expect("in its place");
    }

    /// The next thing the hook writes.
    async fn next(&self) -> String {
        let letters = self.letters();
        let read = tokio::task::spawn_blocking(move || fs::read_to_string(letters).expect("a letter"));
        bus::within("a letter", read).await.expect("read")
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

const DELIVER: &str = "cat > $OUT";

async fn status(house: &House) -> Record {
    house.manager().await.status(&none()).await.expect("a status")
}

#[tokio::test]
async fn the_subject_is_told_of_every_turn() {
    let desk = Desk::new(DELIVER);
    let policy = policy("", "deferrals = 0\nverified-contact = false");
    let (house, _files) = house(&policy, SUBJECTS, Some(&desk.hook())).await;
    let token = text(
        &house.register_fob(&fob("SECRET-SERIAL", 3, 0.0), ARTHUR).await.done(),
        "token",
    );
    let letter: Value = serde_json::from_str(&desk.next().await).expect("JSON");
    assert_eq!(letter["what"], "bound");
    assert_eq!(
        (&letter["subject"], &letter["token"]),
        (&ARTHUR.into(), &token.clone().into())
    );
    assert_eq!(
        (&letter["contact"], &letter["contact-verified"]),
        (&"mailto:arthur@example.org".into(), &false.into())
    );
    assert!(!letter.to_string().contains("SECRET-SERIAL"), "{letter}");
    house
        .run(async |tokens| tokens.suspend(&token, &none()).await)
        .await
        .done();
    assert!(desk.next().await.contains("\"suspended\""));
    house
        .run(async |tokens| tokens.resume(&token, &none()).await)
        .await
        .done();
    assert!(desk.next().await.contains("\"resumed\""));
    house.revoke(&token).await.expect("obliged");
    let letter: Value = serde_json::from_str(&desk.next().await).expect("JSON");
    assert_eq!(letter["what"], "revoked");
    // A test is nobody's news, and neither is anything of a token that nobody has.
    house.assert_intact().await;
}

#[tokio::test]
async fn a_hook_that_fails_or_hangs_is_tried_again_and_seen() {
    // Each writes before it fails, so that a test need not wait for what cannot be seen.
    let desk = Desk::new("echo failing > $OUT; echo no such person >&2; exit 3");
    let policy = policy("", "deferrals = 0\nverified-contact = false");
    let (house, _files) = house(&policy, SUBJECTS, Some(&desk.hook())).await;
    let token = text(&house.register_fob(&fob("H-1", 4, 0.0), ARTHUR).await.done(), "token");
    assert_eq!(desk.next().await, "failing\n");
    desk.change("echo hanging > $OUT; trap '' TERM; sleep 600");
    assert_eq!(desk.next().await, "hanging\n");
    let now = status(&house).await;
    assert_eq!(
        (number(&now, "untold"), number(&now, "hook-failing")),
        (Some(1), Some(1))
    );
    assert!(
        text(&now, "hook-failure").contains("status 3: no such person"),
        "{now:?}"
    );
    assert_eq!(number(&house.get(&token).await, "untold"), Some(1));
    desk.change(DELIVER);
    assert!(desk.next().await.contains("\"bound\""));
    let story = house.story_of(&token).await;
    println!("{story}");
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_crash_loses_no_letter() {
    let desk = Desk::new("echo hanging > $OUT; sleep 600");
    let policy = policy("", "deferrals = 0\nverified-contact = false");
    let (mut house, _files) = house(&policy, SUBJECTS, Some(&desk.hook())).await;
    let end: End = house.register_fob(&fob("K-1", 5, 0.0), ARTHUR).await;
    let token = text(&end.done(), "token");
    assert_eq!(desk.next().await, "hanging\n");
    house.kill();
    desk.change(DELIVER);
    house.restart().await;
    let letter: Value = serde_json::from_str(&desk.next().await).expect("JSON");
    assert_eq!((&letter["what"], &letter["token"]), (&"bound".into(), &token.into()));
    house.assert_intact().await;
}
