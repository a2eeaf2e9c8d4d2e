//! Ring 2: cases beside the stories of the manual (`ring2_stories`): the shipped daemon in system mode, the real polkitd, people under
//! uids of their own, a clock that the test sets.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/host/mod.rs"]
mod host;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use claviger::contract::CASES_PATH;
use claviger::contract::proxy::Record;
use host::daemon::Daemon;
use host::logind::{Chair, Logind};
use host::people::Caller;
use host::{Answer, Host, Person};
use house::fob;
use hw_fixtures::fob::Fob;
use shim::{Shim, library};
use zbus::{OwnedFd, Variant};

/// A Friday morning, in the middle of a fob's step.
const NOON: i64 = 1_800_000_015;

/// Who may call what: what they may do in a case is the policy's to say.
const RULES: &str = r#"
polkit.addRule(function (action, subject) {
    var second = ["org.claviger.approve", "org.claviger.inspect", "org.claviger.case"];
    if (["claviger-stranger", "claviger-desk"].indexOf(subject.user) >= 0 && second.indexOf(action.id) >= 0) {
        return polkit.Result.YES;
    }
    return polkit.Result.NOT_HANDLED;
});
"#;

/// A world: bus, polkitd, logind, people who have logged in, daemon, and the clock it sees.
struct Desk {
    host: Host,
    chairs: Vec<(Person, Chair)>,
    _logind: Logind,
    shim: Shim,
    _daemon: Daemon,
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

impl Desk {
    async fn open() -> Option<Self> {
        if let Some(what) = Logind::absent() {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring2_cases: no {what}, and on CI nothing may be skipped");
            let _ = writeln!(std::io::stderr().lock(), "ring2_cases: skipped, no {what}");
            return None;
        }
        let mut host = Host::open(&[]).await?;
        // Each at a log-in of their own: who could be anybody is no second person.
        let chairs: Vec<_> = [
            (Person::Allowed, "71"),
            (Person::Stranger, "72"),
            (Person::HelpDesk, "73"),
        ]
        .into_iter()
        .map(|(who, session)| (who, Chair::take(&host, who, session)))
        .collect();
        let sessions: Vec<_> = chairs.iter().map(|(_, chair)| chair.session()).collect();
        let logind = Logind::start(&host, &sessions).await;
        // Rules are read when polkitd starts.
        host.kill_polkitd().await;
        let rules = host.dir().join("rules/45-second.rules");
        fs::write(&rules, RULES).expect("rules");
        open_to_all(&rules, 0o644);
        host.start_polkitd().await;
        let policy = host.dir().join("policy.toml");
        fs::write(&policy, policy_text()).expect("a policy");
        open_to_all(&policy, 0o644);
        let (page, preloaded) = (host.dir().join("page"), host.dir().join("daemon_shim.so"));
        let shim = Shim::on(&page);
        open_to_all(&page, 0o666);
        fs::copy(library(), &preloaded).expect("a copy");
        open_to_all(&preloaded, 0o755);
        shim.set_clock(NOON);
        let environment = [
            ("LD_PRELOAD", preloaded),
            ("CLAVIGER_SHIM_PAGE", page),
            ("CLAVIGER_SHIM_STATE", host.dir().join("state")),
        ];
        let mut environment: Vec<_> = environment
            .map(|(name, path)| (name.to_owned(), path.display().to_string()))
            .into();
        environment.push(("TZ".to_owned(), "UTC".to_owned()));
        let sections = format!(
            "[devices]\nhid = false\ncards = false\n[authority]\npolicy = {:?}\nrole = \"staff\"\nroles = {{ ada = \"administrator\" }}\n",
            policy.display()
        );
        let daemon = Daemon::start(&host, &sections, &environment);
        Some(Self {
            host,
            chairs,
            _logind: logind,
            shim,
            _daemon: daemon,
        })
    }

    fn says(&self, who: Person, words: &[&str]) -> Answer {
        match self.chairs.iter().find(|(person, _)| *person == who) {
            Some((_, chair)) => chair.claviger(&self.host, words),
            None => self.host.claviger(who, words, ""),
        }
    }

    fn in_case(&self, who: Person, case: &str, words: &[&str]) -> Answer {
        self.says(who, &[&["--case", case], words].concat())
    }

    fn case(&self, who: Person, kind: &str, subject: &str) -> String {
        let words = ["case", "open", kind, "--channel", "phone", "--subject", subject];
        let opened = self.says(who, &[&words[..], &["--reason", "a story"]].concat()).done();
        opened.text("case").to_owned()
    }

    /// A fob in somebody's use, registered at the bench.
    fn fob_of(&self, subject: &str, serial: &str, seed: u64) -> (Fob, String) {
        let fob = fob(serial, seed, 0.0);
        let bench = self.says(Person::Allowed, &["case", "open", "bench"]).done();
        // For whoever has much to lose, a second person says yes even there.
        self.says(Person::Stranger, &["case", "approve", bench.text("case")])
            .done();
        let (first, second) = (fob.code(NOON - 30), fob.code(NOON));
        let hex = hw_fixtures::crypto::to_hex(&fob.seed);
        let words = [
            "--case",
            bench.text("case"),
            "register",
            "fob",
            subject,
            &first,
            &second,
        ];
        let words = [&words[..], &["--serial", serial, "--encoding", "hex", "--seed-stdin"]].concat();
        let done = self.host.claviger(Person::Allowed, &words, &hex).done();
        let token = done.text("token").to_owned();
        (fob, token)
    }

    /// Names of what is missing before a tier.
    fn needs(&self, who: Person, case: &str, tier: &str) -> Vec<String> {
        let answer = self.says(who, &["case", "needs", case, "--tier", tier]);
        let needs = answer.said["needs"].as_array().expect("needs").iter();
        needs
            .map(|need| need["need"].as_str().expect("a name").to_owned())
            .collect()
    }
}

/// The shipped policy, in which two accounts belong to one human.
fn policy_text() -> String {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/policy/policy.toml")).expect("the policy");
    assert!(shipped.contains("same-person = []"));
    // One operator does the work of many here, with the clock standing still: that is no burst.
    let burst = "[anomalies.operator-burst]\ncount = 6\n";
    assert!(shipped.contains(burst));
    shipped
        .replace(
            "same-person = []",
            "same-person = [[\"claviger-may\", \"claviger-desk\"]]",
        )
        .replace(burst, "[anomalies.operator-burst]\ncount = 100\n")
}

/// Attaches on a connection of its own.
async fn attach(caller: &Caller, case: &str) -> OwnedFd {
    let path = format!("{CASES_PATH}/{}", case.replace('-', ""));
    let options = HashMap::<&str, Variant<'_>>::new();
    let reply = caller
        .call((&path, "org.claviger.Case1", "Attach"), Some(&(options,)), false)
        .await
        .expect("a session");
    reply.body().deserialize::<(OwnedFd, Record)>().expect("its body").0
}

async fn suspend(caller: &Caller, case: &str, token: &str) -> Result<(), String> {
    let options = HashMap::from([("case", Variant::from(case))]);
    let target = ("/org/claviger/Claviger1/tokens", "org.claviger.Tokens1", "Suspend");
    let reply = caller.call(target, Some(&(token, options)), false).await;
    reply.map(drop).map_err(|refused| {
        let (_, name) = refused.name.rsplit_once('.').expect("a name");
        name.to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_of_one_connection() {
    let Some(desk) = Desk::open().await else { return };
    let (_, token) = desk.fob_of("eve", "C-1", 1);
    let case = desk.case(Person::HelpDesk, "support", "eve");
    desk.says(Person::HelpDesk, &["case", "evidence", &case, "call-back", "0351 2718"])
        .done();
    let tool = desk.host.connect(Person::HelpDesk).await;
    let again = desk.host.connect(Person::HelpDesk).await;
    let session = attach(&tool, &case).await;
    // The session is the connection's, not the uid's.
    assert_eq!(suspend(&again, &case, &token).await, Err("NotAttached".to_owned()));
    drop(tool);
    drop(session);
    // The case is as it was: who begins again goes on.
    let session = attach(&again, &case).await;
    assert_eq!(suspend(&again, &case, &token).await, Ok(()));
    // A session that was given back is over.
    drop(session);
    host::within("the end of the session", async {
        while suspend(&again, &case, &token).await != Err("NotAttached".to_owned()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // So is one that nobody used for a while.
    let _session = attach(&again, &case).await;
    desk.shim.set_clock(NOON + 11 * 60);
    assert_eq!(suspend(&again, &case, &token).await, Err("NotAttached".to_owned()));
}

/// The bench is for first tokens: whoever has or had one in use shows who they are, also for one that was put down for them before.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_lost_their_token_is_no_newcomer_at_the_bench() {
    let Some(desk) = Desk::open().await else { return };
    let operator = Person::Allowed;
    let bench = desk.says(operator, &["case", "open", "bench"]).done();
    let bench = bench.text("case");
    let register = |serial: &str, seed: u64| {
        let (spare, hex) = (
            fob(serial, seed, 0.0),
            hw_fixtures::crypto::to_hex(&fob(serial, seed, 0.0).seed),
        );
        let words = ["--case", bench, "register", "fob", "eve", "--serial", serial];
        let words = [&words[..], &["--no-codes", "--encoding", "hex", "--seed-stdin"]].concat();
        (spare, desk.host.claviger(operator, &words, &hex))
    };
    let (spare, pending) = register("C-8", 8);
    let pending = pending.done().text("token").to_owned();
    let (_, token) = desk.fob_of("eve", "C-1", 1);

    let opened = ["case", "open", "support", "--channel", "desk", "--subject", "eve"];
    let opened = desk
        .says(operator, &[&opened[..], &["--reason", "a story"]].concat())
        .done();
    let case = opened.text("case");
    for method in ["in-person", "call-back"] {
        desk.says(operator, &["case", "evidence", case, method, "a story"])
            .done();
    }
    let state = |token: &str| desk.says(operator, &["show", token]).done().text("state").to_owned();
    // Dead at once; what the fob still owes is another matter.
    let _ = desk.in_case(operator, case, &["revoke", &token, "--reason", "lost", "--yes"]);
    assert_eq!(state(&token), "revoked");
    register("C-9", 9).1.refused("CaseMismatch");
    desk.in_case(
        operator,
        bench,
        &["resync", &pending, &spare.code(NOON - 30), &spare.code(NOON)],
    )
    .refused("CaseMismatch");
    assert_eq!(state(&pending), "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_fob_of_an_administrator_is_replaced_by_two() {
    let Some(desk) = Desk::open().await else { return };
    let (_, old) = desk.fob_of("ada", "C-1", 1);
    let operator = Person::Allowed;
    let words = ["case", "open", "replacement", "--channel", "desk", "--subject", "ada"];
    let opened = desk
        .says(operator, &[&words[..], &["--reason", "a story"]].concat())
        .done();
    let case = opened.text("case");
    for method in ["in-person", "call-back"] {
        desk.says(operator, &["case", "evidence", case, method, "a story"])
            .done();
    }
    // Out of use at once, on the word of one; another in its place takes two.
    desk.in_case(operator, case, &["replace", &old, "--lost"])
        .refused("ApprovalMissing");
    let state = |token: &str| desk.says(operator, &["show", token]).done().text("state").to_owned();
    assert_eq!(state(&old), "lost");
    desk.says(Person::Stranger, &["case", "approve", case]).done();
    desk.in_case(operator, case, &["replace", &old, "--lost"]).done();
    desk.says(
        operator,
        &[
            "case", "close", case, "--check", "works", "--check", "told", "--check", "settled",
        ],
    )
    .refused("ReplacementOpen");

    let other = fob("C-2", 2, 0.0);
    let (first, second) = (other.code(NOON - 30), other.code(NOON));
    let hex = hw_fixtures::crypto::to_hex(&other.seed);
    let words = [
        "--case", case, "register", "fob", "ada", &first, &second, "--serial", "C-2",
    ];
    let words = [&words[..], &["--encoding", "hex", "--seed-stdin", "--replaces", &old]].concat();
    let done = desk.host.claviger(operator, &words, &hex).done();
    assert_eq!(done.text("replaced"), old);
    assert_eq!(
        (state(&old), state(done.text("token"))),
        ("revoked".to_owned(), "active".to_owned())
    );
    desk.says(
        operator,
        &[
            "case", "close", case, "--check", "works", "--check", "told", "--check", "settled",
        ],
    )
    .done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_leaves_the_old_one_in_force() {
    let Some(desk) = Desk::open().await else { return };
    let path = desk.host.dir().join("policy.toml");
    fs::write(&path, policy_text().replace("weight = 2", "weight = \"much\"")).expect("a policy");
    let refused = desk
        .says(Person::Allowed, &["policy", "reload"])
        .refused("PolicyRefused");
    assert!(refused.told.contains("policy.toml:"), "{}", refused.told);
    let case = desk.case(Person::HelpDesk, "support", "eve");
    assert_eq!(desk.needs(Person::HelpDesk, &case, "test"), ["weight"], "the old one");
    let text = fs::read_to_string(&path).expect("the policy");
    fs::write(
        &path,
        policy_text().replace("weight = 2\nfresh = \"15m\"", "weight = 1\nfresh = \"15m\""),
    )
    .expect("a policy");
    assert_ne!(fs::read_to_string(&path).expect("the policy"), text);
    desk.says(Person::Allowed, &["policy", "reload"]).done();
    desk.says(Person::HelpDesk, &["case", "evidence", &case, "call-back", "0351 2718"])
        .done();
    assert_eq!(desk.needs(Person::HelpDesk, &case, "test"), ["weight"], "the new one");
    desk.says(Person::HelpDesk, &["policy", "reload"])
        .refused("AccessDenied");
}
