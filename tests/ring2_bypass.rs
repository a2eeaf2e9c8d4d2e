//! Ring 2: the emergency bypass, told as stories: the shipped daemon in system mode, the real polkitd, two humans at log-ins of their
//! own, a clock that the test sets.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/host/mod.rs"]
mod host;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claviger::contract::proxy::Bypasses1Proxy;
use futures_util::StreamExt;
use host::daemon::{Daemon, standing};
use host::logind::{Chair, Logind};
use host::{Answer, Host, Person};
use house::fob;
use hw_fixtures::fob::Fob;
use nix::sys::signal::Signal;
use shim::{Shim, library};

/// A Friday morning, in the middle of a fob's step.
const NOON: i64 = 1_800_000_015;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const OPERATOR: Person = Person::Allowed;
const APPROVER: Person = Person::Stranger;

/// Who may call what: what they may do in a case is the policy's to say.
const RULES: &str = r#"
polkit.addRule(function (action, subject) {
    var second = ["org.claviger.approve", "org.claviger.inspect", "org.claviger.case"];
    if (subject.user === "claviger-stranger" && second.indexOf(action.id) >= 0) { return polkit.Result.YES; }
    return polkit.Result.NOT_HANDLED;
});
"#;

/// A world: bus, polkitd, logind, two people who have logged in, daemon, and the clock it sees.
struct Desk {
    host: Host,
    chairs: Vec<(Person, Chair)>,
    _logind: Logind,
    shim: Shim,
    daemon: Daemon,
    environment: Vec<(String, String)>,
    sections: String,
    codes: std::cell::Cell<u32>,
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

impl Desk {
    async fn open() -> Option<Self> {
        Self::open_with(&policy_text(), true).await
    }

    async fn open_with(policy_text: &str, told: bool) -> Option<Self> {
        if let Some(what) = Logind::absent() {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring2_bypass: no {what}, and on CI nothing may be skipped");
            let _ = writeln!(std::io::stderr().lock(), "ring2_bypass: skipped, no {what}");
            return None;
        }
        let mut host = Host::open(&[]).await?;
        let chairs: Vec<_> = [(OPERATOR, "71"), (APPROVER, "72")]
            .into_iter()
            .map(|(who, session)| (who, Chair::take(&host, who, session)))
            .collect();
        let sessions: Vec<_> = chairs.iter().map(|(_, chair)| chair.session()).collect();
        let logind = Logind::start(&host, &sessions).await;
        host.kill_polkitd().await;
        let rules = host.dir().join("rules/45-second.rules");
        fs::write(&rules, RULES).expect("rules");
        open_to_all(&rules, 0o644);
        host.start_polkitd().await;
        let policy = host.dir().join("policy.toml");
        fs::write(&policy, policy_text).expect("a policy");
        let drop = host.dir().join("drop");
        fs::create_dir(&drop).expect("a directory");
        open_to_all(&drop, 0o777);
        let hook = host.dir().join("hook");
        // Each in a file of its own: one that a crash cut short may come again.
        let script = format!(
            "#!/bin/sh\ncat > {0}/new.$$ && mv {0}/new.$$ {0}/letter.$$\n",
            drop.display()
        );
        fs::write(&hook, script).expect("a hook");
        open_to_all(&hook, 0o755);
        let (page, preloaded) = (host.dir().join("page"), host.dir().join("daemon_shim.so"));
        let shim = Shim::on(&page);
        fs::copy(library(), &preloaded).expect("a copy");
        for (path, mode) in [(&policy, 0o644), (&page, 0o666), (&preloaded, 0o755)] {
            open_to_all(path, mode);
        }
        shim.set_clock(NOON);
        let environment = [
            ("LD_PRELOAD", preloaded.display().to_string()),
            ("CLAVIGER_SHIM_PAGE", page.display().to_string()),
            ("CLAVIGER_SHIM_STATE", host.dir().join("state").display().to_string()),
            ("TZ", "UTC".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let hooks = if told {
            format!("[hooks]\nsubject = {:?}\n", hook.display())
        } else {
            String::new()
        };
        let sections = format!(
            "[devices]\nhid = false\ncards = false\n{hooks}[authority]\npolicy = {:?}\nrole = \"staff\"\n\
             roles = {{ ada = \"administrator\", claviger-stranger = \"administrator\" }}\n",
            policy.display()
        );
        let daemon = Daemon::start(&host, &sections, &environment);
        Some(Self {
            host,
            chairs,
            _logind: logind,
            shim,
            daemon,
            environment,
            sections,
            codes: std::cell::Cell::new(0),
        })
    }

    /// `kill -9`, and a daemon that starts anew.
    fn crash(&mut self) {
        self.daemon.process.end(Signal::SIGKILL);
        self.daemon = Daemon::start(&self.host, &self.sections, &self.environment);
    }

    fn says(&self, who: Person, words: &[&str]) -> Answer {
        let chair = self.chairs.iter().find(|(person, _)| *person == who).expect("a chair");
        chair.1.claviger(&self.host, words)
    }

    /// A case about somebody abroad who was believed.
    fn case(&self, subject: &str) -> String {
        let words = ["case", "open", "recovery", "--channel", "video", "--subject", subject];
        let words = [&words[..], &["--reason", "the key is lost abroad"]].concat();
        let opened = self.says(OPERATOR, &words).done();
        let case = opened.text("case").to_owned();
        for (method, reference) in [("live-video", "passport"), ("call-back", "0351 2718")] {
            self.says(OPERATOR, &["case", "evidence", &case, method, reference])
                .done();
        }
        case
    }

    fn approve(&self, case: &str) {
        self.says(APPROVER, &["case", "approve", case, "--tier", "bypass"])
            .done();
    }

    fn try_to_issue(&self, case: &str, subject: &str, more: &[&str]) -> (Answer, PathBuf) {
        self.codes.set(self.codes.get() + 1);
        let file = self.host.dir().join(format!("drop/code-{}", self.codes.get()));
        let path = file.display().to_string();
        let words = ["--case", case, "bypass", "issue", subject, "--file", &path];
        (self.says(OPERATOR, &[&words[..], more].concat()), file)
    }

    /// Issues, and answers with the code.
    fn issue(&self, case: &str, subject: &str, more: &[&str]) -> String {
        let (answer, file) = self.try_to_issue(case, subject, more);
        let answer = answer.done();
        let code = fs::read_to_string(&file).expect("the code");
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else reads it");
        assert!(
            !answer.said.to_string().contains(code.trim()) && !answer.told.contains(code.trim()),
            "a code on the screen"
        );
        code.trim().to_owned()
    }

    fn needs(&self, case: &str) -> Vec<String> {
        let answer = self.says(OPERATOR, &["case", "needs", case, "--tier", "bypass"]);
        let needs = answer.said["needs"].as_array().expect("needs").iter();
        needs
            .map(|need| need["need"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// What the log-in hears.
    fn verify(&self, subject: &str, code: &str) -> Answer {
        self.host
            .claviger(OPERATOR, &["verify", subject, "--stdin"], &format!("{code}\n"))
    }

    #[track_caller]
    fn accepted(&self, subject: &str, code: &str) -> Answer {
        let answer = self.verify(subject, code).done();
        assert_eq!(answer.said["accepted"], true);
        answer
    }

    #[track_caller]
    fn not_accepted(&self, subject: &str, code: &str) {
        let answer = self.verify(subject, code);
        assert_eq!(
            (answer.code, &answer.said["accepted"]),
            (1, &false.into()),
            "{}",
            answer.said
        );
    }

    /// The bypass of a case.
    fn bypass(&self, case: &str) -> serde_json::Value {
        let listed = self.says(APPROVER, &["bypass", "list", "--all"]).done();
        let all = listed.said["bypasses"].as_array().expect("bypasses").clone();
        all.into_iter()
            .find(|bypass| bypass["case"] == case)
            .unwrap_or_default()
    }

    fn step(&self, case: &str) -> String {
        self.says(APPROVER, &["case", "show", case])
            .done()
            .text("step")
            .to_owned()
    }

    fn review(&self, case: &str) {
        self.says(
            APPROVER,
            &["bypass", "review", case, "used at the airport, the key was found"],
        )
        .done();
    }

    fn close(&self, case: &str) -> Answer {
        let checks = ["--check", "works", "--check", "told", "--check", "settled"];
        self.says(OPERATOR, &[&["case", "close", case][..], &checks].concat())
    }

    /// A fob in somebody's use, registered at the bench.
    fn fob_of(&self, subject: &str, serial: &str, seed: u64) -> (Fob, String) {
        let fob = fob(serial, seed, 0.0);
        let bench = self.says(OPERATOR, &["case", "open", "bench"]).done();
        let bench = bench.text("case");
        self.says(APPROVER, &["case", "approve", bench]).done();
        let (first, second) = (fob.code(NOON - 30), fob.code(NOON));
        let hex = hw_fixtures::crypto::to_hex(&fob.seed);
        let words = ["--case", bench, "register", "fob", subject, &first, &second];
        let words = [&words[..], &["--serial", serial, "--encoding", "hex", "--seed-stdin"]].concat();
        let done = self.host.claviger(OPERATOR, &words, &hex).done();
        let token = done.text("token").to_owned();
        (fob, token)
    }

    /// What the person was told, each letter once.
    fn letters(&self) -> Vec<serde_json::Value> {
        let mut letters = std::collections::BTreeMap::new();
        for entry in fs::read_dir(self.host.dir().join("drop")).expect("the drop") {
            let path = entry.expect("an entry").path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("letter."))
            {
                let letter: serde_json::Value =
                    serde_json::from_slice(&fs::read(&path).expect("a letter")).expect("JSON");
                letters.insert(letter["id"].to_string(), letter);
            }
        }
        letters.into_values().collect()
    }
}

/// The shipped policy. One operator does the work of many here, with the clock standing still: that is no burst.
fn policy_text() -> String {
    let shipped = include_str!("../policy/policy.toml");
    let burst = "[anomalies.operator-burst]\ncount = 6\n";
    assert!(shipped.contains(burst), "the shipped policy has another rule");
    shipped.replace(burst, "[anomalies.operator-burst]\ncount = 1000\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lost_key_of_an_administrator_abroad() {
    let Some(mut desk) = Desk::open().await else { return };
    let (_, token) = desk.fob_of("ada", "B-1", 1);
    let bypasses = Bypasses1Proxy::new(&desk.host.root).await.expect("a proxy");
    let mut heard = bypasses.receive_changed().await.expect("signals");
    let case = desk.case("ada");
    desk.says(OPERATOR, &["--case", &case, "lost", &token]).done();

    // Another human says yes first, and one of the right role.
    assert_eq!(desk.needs(&case), ["approval", "approval-by"]);
    let (refused, file) = desk.try_to_issue(&case, "ada", &[]);
    refused.refused("ApprovalMissing");
    assert!(!file.exists(), "no file where nothing was issued");
    desk.says(OPERATOR, &["case", "approve", &case, "--tier", "bypass"])
        .refused("NotSecondPerson");
    desk.approve(&case);
    desk.try_to_issue(&case, "eve", &[]).0.refused("CaseMismatch");
    desk.try_to_issue(&case, "ada", &["--minutes", "481"])
        .0
        .refused("PolicyDenies");
    desk.try_to_issue(&case, "ada", &["--uses", "4"])
        .0
        .refused("PolicyDenies");
    desk.try_to_issue(&case, "ada", &["--found-again", "keep"])
        .0
        .refused("PolicyDenies");
    let without_case = desk.says(OPERATOR, &["bypass", "issue", "ada", "--file", "/nowhere"]);
    assert_ne!(without_case.code, 0);
    let code = desk.issue(&case, "ada", &[]);
    assert_eq!(desk.step(&case), "returned");
    desk.try_to_issue(&case, "ada", &[]).0.refused("ReviewMissing");

    // Bound to its subject; each use is told; wrong codes are counted with everybody's.
    desk.not_accepted("eve", &code);
    let used = desk.accepted("ada", &code);
    assert_eq!((used.text("kind"), &used.said["uses-left"]), ("bypass", &2.into()));
    desk.not_accepted("ada", "123456");
    let shown = desk.bypass(&case);
    assert_eq!(
        (&shown["used"], &shown["wrong"], &shown["state"]),
        (&1.into(), &1.into(), &"live".into())
    );

    // While it is good nobody looks back at it, the case stays open, and there is no second one.
    desk.says(APPROVER, &["bypass", "review", &case, "nothing"])
        .refused("BypassLive");
    desk.close(&case).refused("ReviewMissing");
    let other = desk.case("ada");
    desk.approve(&other);
    assert_eq!(desk.needs(&other), ["review"]);
    desk.try_to_issue(&other, "ada", &[]).0.refused("ReviewMissing");

    // A restart gives no use back.
    desk.crash();
    let mut heard_after = bypasses.receive_changed().await.expect("signals");
    desk.accepted("ada", &code);
    desk.accepted("ada", &code);
    desk.not_accepted("ada", &code);
    assert_eq!(desk.bypass(&case)["state"], "used-up");
    assert_eq!(desk.step(&case), "review");
    let mut signals = Vec::new();
    for heard in [&mut heard, &mut heard_after] {
        while let Ok(Some(signal)) = tokio::time::timeout(Duration::from_millis(200), heard.next()).await {
            let told = signal.args().expect("its arguments");
            assert_eq!(told.case().to_string(), case);
            signals.push(told.what().to_string());
        }
    }
    assert_eq!(signals.iter().filter(|what| *what == "issued").count(), 1);
    assert!(
        signals.iter().filter(|what| *what == "used").count() >= 3,
        "{signals:?}"
    );

    // The review is another human's, too; then the case closes, and the next one may begin.
    desk.close(&case).refused("ReviewMissing");
    desk.close_as(&case, "withdrawn").refused("ReviewMissing");
    desk.says(OPERATOR, &["bypass", "review", &case, "all is well"])
        .refused("NotSecondPerson");
    desk.review(&case);
    desk.says(APPROVER, &["bypass", "review", &case, "again"])
        .refused("NoBypass");
    desk.try_to_issue(&case, "ada", &[]).0.refused("PolicyDenies");
    desk.close(&case).done();
    assert_eq!(desk.needs(&other), [] as [&str; 0]);

    // Time: a clock set back by a day and a restart neither lengthen it nor end it early.
    let code = desk.issue(&other, "ada", &["--minutes", "60"]);
    desk.shim.set_clock(NOON - DAY);
    desk.accepted("ada", &code);
    desk.crash();
    desk.shim.set_clock(NOON - DAY + HOUR - 60);
    desk.accepted("ada", &code);
    desk.shim.set_clock(NOON - DAY + HOUR + 60);
    desk.not_accepted("ada", &code);
    assert_eq!(desk.bypass(&other)["state"], "expired");
    desk.crash();
    desk.not_accepted("ada", &code);
    desk.shim.set_clock(NOON - DAY + 2 * HOUR);
    desk.review(&other);
    desk.close(&other).done();

    // The third and last of the year ends when the key is back.
    let third = desk.case("ada");
    desk.approve(&third);
    let code = desk.issue(&third, "ada", &[]);
    desk.accepted("ada", &code);
    let desk_case = desk.back_at_the_desk("ada");
    desk.says(OPERATOR, &["--case", &desk_case, "resume", &token]).done();
    let shown = desk.bypass(&third);
    assert_eq!(
        (&shown["state"], &shown["why"]),
        (&"ended".into(), &"found-again".into())
    );
    assert_eq!(desk.step(&third), "review");
    desk.not_accepted("ada", &code);
    desk.review(&third);
    desk.close(&third).done();
    let fourth = desk.case("ada");
    desk.approve(&fourth);
    assert_eq!(desk.needs(&fourth), ["yearly-cap"]);
    desk.try_to_issue(&fourth, "ada", &[]).0.refused("PolicyDenies");

    // She was told of everything, and the code is nowhere.
    host::until("the letters", || {
        let letters = desk.letters();
        let of = |what: &str| letters.iter().filter(|letter| letter["what"] == what).count();
        of("bypass-issued") == 3 && of("bypass-used") == 6 && of("bypass-ended") == 1
    })
    .await;
    for (name, bytes) in desk.daemon.ledger_bytes() {
        let plain: Vec<u8> = code.bytes().filter(|byte| *byte != b'-').collect();
        assert!(
            !bytes.windows(plain.len()).any(|some| some == plain),
            "a code in {name}"
        );
    }
    assert!(!desk.daemon.log().contains(&code), "a code in the log");
    println!("{}", standing(&desk.host).await);
}

impl Desk {
    fn close_as(&self, case: &str, outcome: &str) -> Answer {
        self.says(OPERATOR, &["case", "close", case, "--outcome", outcome])
    }

    /// A case about somebody who is back, good for putting a token back in use.
    fn back_at_the_desk(&self, subject: &str) -> String {
        let words = ["case", "open", "support", "--channel", "desk", "--subject", subject];
        let opened = self
            .says(OPERATOR, &[&words[..], &["--reason", "back again"]].concat())
            .done();
        let case = opened.text("case").to_owned();
        for (method, reference) in [("in-person", "passport"), ("call-back", "0351 2718")] {
            self.says(OPERATOR, &["case", "evidence", &case, method, reference])
                .done();
        }
        self.says(APPROVER, &["case", "approve", &case, "--tier", "register"])
            .done();
        case
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bypass_ends_by_the_token_and_by_hand() {
    let Some(desk) = Desk::open().await else { return };
    let (fob, _) = desk.fob_of("bob", "B-2", 2);
    let case = desk.case("bob");
    desk.approve(&case);
    let code = desk.issue(&case, "bob", &[]);
    desk.accepted("bob", &code);
    // His fob was in the other coat.
    desk.shim.set_clock(NOON + 60);
    let by_fob = desk.accepted("bob", &fob.code(NOON + 60));
    assert_eq!(by_fob.text("kind"), "fob");
    assert_eq!(desk.bypass(&case)["why"], "found-again");
    desk.not_accepted("bob", &code);
    desk.review(&case);
    desk.close(&case).done();

    let case = desk.case("bob");
    desk.approve(&case);
    let code = desk.issue(&case, "bob", &["--uses", "1"]);
    desk.says(OPERATOR, &["bypass", "end", &case]).done();
    desk.says(OPERATOR, &["bypass", "end", &case]).refused("NoBypass");
    desk.not_accepted("bob", &code);
    assert_eq!(desk.bypass(&case)["why"], "by-hand");
    desk.review(&case);
    desk.close(&case).done();
    println!("{}", standing(&desk.host).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_issued_ends_when_they_are_frozen() {
    let rule = "[anomalies.failed-verification]\ncount = 5\nwithin = \"1h\"\nend-sessions = true\n";
    let shipped = policy_text();
    assert!(shipped.contains(rule), "the shipped policy has another rule");
    let strict = shipped.replace(
        rule,
        "[anomalies.failed-verification]\ncount = 5\nwithin = \"1h\"\nfreeze = true\n",
    );
    let Some(desk) = Desk::open_with(&strict, true).await else {
        return;
    };
    let case = desk.case("bob");
    desk.approve(&case);
    let code = desk.issue(&case, "bob", &[]);
    for subject in ["arthur", "ford", "zaphod", "marvin", "trillian"] {
        desk.not_accepted(subject, "123456");
    }
    host::until("the freeze", || desk.bypass(&case)["state"] == "ended").await;
    assert_eq!(desk.bypass(&case)["why"], "frozen");
    desk.not_accepted("bob", &code);
    println!("{}", standing(&desk.host).await);
}

/// Where nobody is told, a use and a wrong code are written in as many calls.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_writes_as_much_as_a_wrong_one() {
    let Some(desk) = Desk::open_with(&policy_text(), false).await else {
        return;
    };
    let case = desk.case("bob");
    desk.approve(&case);
    let code = desk.issue(&case, "bob", &[]);
    // The first try makes rows.
    desk.not_accepted("bob", "0000-0000-0000-0000-0");
    let mut costs = Vec::new();
    for (at, right) in [false, true, false, true, false].into_iter().enumerate() {
        // A row that is written as it was is not written at all.
        desk.shim.set_clock(NOON + 60 * (1 + i64::try_from(at).expect("few")));
        desk.shim.count_from_here();
        match right {
            true => std::mem::drop(desk.accepted("bob", &code)),
            false => desk.not_accepted("bob", "0000-0000-0000-0000-0"),
        }
        costs.push((right, desk.shim.counted()));
    }
    println!("writes to files: {costs:?}");
    // Now and then a table grows by a page, whatever the code was.
    let least = |right: bool| costs.iter().filter(|cost| cost.0 == right).map(|cost| cost.1).min();
    assert!(least(true) > Some(0), "nothing was counted");
    assert_eq!(least(true), least(false), "{costs:?}");
}
