//! Ring 2: the table. Every method that draws on a case, in every kind of case, with each state of evidence and of approval, for each
//! role, by five uids, on a real system bus with the real polkitd. What must come is not asked of the guard: polkitd says what it
//! gives whom, and the policy's file is read here once more, by another reader than the daemon's. A cell that no rule speaks of is a
//! denial, and so is a method with no case at all.

mod cells;
#[path = "../harness/contract.rs"]
#[allow(dead_code, missing_docs)]
mod contract;
#[path = "../harness/host/mod.rs"]
mod host;
mod law;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cells::{Answer, Bench, Cell, NEWCOMERS, Tokens, newcomer};
use claviger::contract::CASES_PATH;
use claviger::contract::proxy::Record;
use host::daemon::{Daemon, standing, virtual_socket};
use host::logind::{Chair, Logind};
use host::people::Caller;
use host::tokens::world;
use host::{Host, Person};
use hw_fixtures::world::World as Plugged;
use law::{Law, State, Yes};
use zbus::{OwnedFd, Variant};

/// Who opens every case; the second persons are others.
const OPENER: Person = Person::Allowed;
/// Says yes with a role that gives it no more weight.
const COLLEAGUE: Person = Person::Stranger;
/// Says yes as an administrator.
const CHIEF: Person = Person::HelpDesk;

/// What was shown, and how the person reached us: each goes further than the one before, but for the last.
const SHOWN: &[(&str, &[&str])] = &[
    ("phone", &[]),
    ("phone", &["call-back"]),
    ("phone", &["call-back", "manager"]),
    ("phone", &["live-video", "hr"]),
    ("desk", &["in-person"]),
];
const KINDS: &[&str] = &["support", "recovery", "replacement", "leaver"];
const YES: &[Yes] = &[Yes::Nobody, Yes::Of(COLLEAGUE), Yes::Of(CHIEF), Yes::Denied];

/// Second persons can answer; what they may do besides is the shipped rules' to say.
const RULES: &str = r#"
polkit.addRule(function (action, subject) {
    var second = ["org.claviger.approve", "org.claviger.inspect", "org.claviger.case"];
    if (["claviger-stranger", "claviger-desk"].indexOf(subject.user) >= 0 && second.indexOf(action.id) >= 0) {
        return polkit.Result.YES;
    }
    return polkit.Result.NOT_HANDLED;
});
"#;

/// The shipped policy, but for three things: it is always office hours, one operator does the work of many, and no alarm ends
/// anybody's session here.
fn policy_text() -> String {
    let shipped = include_str!("../../policy/policy.toml");
    let changes = [
        ("\"mon-fri 07:00-19:00\"", "\"mon-sun 00:00-24:00\""),
        (
            "[anomalies.operator-burst]\ncount = 6\nwithin = \"1h\"\nfreeze = true\n",
            "[anomalies.operator-burst]\ncount = 10000\nwithin = \"1h\"\n",
        ),
        (
            "[anomalies.failed-verification]\ncount = 5\nwithin = \"1h\"\nend-sessions = true\n",
            "[anomalies.failed-verification]\ncount = 10000\nwithin = \"1h\"\n",
        ),
        (
            "[anomalies.reset-then-enrol]\nwithin = \"30m\"\nend-sessions = true\n",
            "[anomalies.reset-then-enrol]\nwithin = \"30m\"\n",
        ),
    ];
    changes.iter().fold(shipped.to_owned(), |text, (was, is)| {
        assert!(text.contains(was), "the shipped policy has no {was}");
        text.replace(was, is)
    })
}

/// The role of a second person.
fn role_of(who: Person) -> &'static str {
    if who == CHIEF { "administrator" } else { "staff" }
}

/// Nobody has two cases, so that nobody has a history: a name for each.
fn subject(number: usize, privileged: bool) -> String {
    format!("{}-{number}", if privileged { "chief" } else { "clerk" })
}

/// Every state that a case about somebody can be in.
fn states() -> Vec<State> {
    let mut states = Vec::new();
    for kind in KINDS {
        for (channel, evidence) in SHOWN {
            for yes in YES {
                for privileged in [false, true] {
                    states.push(State {
                        kind,
                        channel,
                        evidence,
                        yes: *yes,
                        privileged,
                    });
                }
            }
        }
    }
    states
}

struct World {
    host: Host,
    chairs: Vec<(Person, Chair)>,
    _logind: Logind,
    _daemon: Daemon,
    _plugged: Arc<Plugged>,
    people: Vec<(Person, Caller)>,
    silences: AtomicUsize,
}

fn readable(host: &Host, name: &str, text: &str) -> std::path::PathBuf {
    let path = host.dir().join(name);
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("permissions");
    path
}

impl World {
    async fn open(policy: &str, subjects: usize) -> Option<Self> {
        if let Some(what) = Logind::absent() {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring2_table: no {what}, and on CI nothing may be skipped");
            let _ = writeln!(std::io::stderr().lock(), "ring2_table: skipped, no {what}");
            return None;
        }
        let mut host = Host::open(&[]).await?;
        let chairs: Vec<_> = [(COLLEAGUE, "82"), (CHIEF, "83"), (OPENER, "81")]
            .into_iter()
            .map(|(who, session)| (who, Chair::take(&host, who, session)))
            .collect();
        let sessions: Vec<_> = chairs.iter().map(|(_, chair)| chair.session()).collect();
        let logind = Logind::start(&host, &sessions).await;
        // Rules are read when polkitd starts.
        host.kill_polkitd().await;
        readable(&host, "rules/45-second.rules", RULES);
        host.start_polkitd().await;
        let policy = readable(&host, "policy.toml", policy);
        let mut roles = format!("\"{}\" = \"administrator\"", CHIEF.user());
        let chiefs = (0..subjects).map(|number| subject(number, true));
        for name in chiefs.chain((0..NEWCOMERS).map(|number| newcomer(number, true))) {
            roles += &format!(", {name:?} = \"administrator\"");
        }
        let sections = format!(
            "[virtual]\nsocket = {:?}\n[devices]\nhid = false\ncards = false\n[authority]\npolicy = {:?}\nrole = \"staff\"\nroles = {{ {roles} }}\n",
            virtual_socket(&host).display(),
            policy.display()
        );
        let daemon = Daemon::start(&host, &sections, &[]);
        let key = "[[token]]\nname = \"key\"\nprofile = \"nitrokey-3\"\nserial = \"T-1\"\n";
        let plugged = world(&host, key, None, None);
        let mut people = Vec::new();
        for who in Person::ALL {
            people.push((*who, host.connect(*who).await));
        }
        Some(Self {
            host,
            chairs,
            _logind: logind,
            _daemon: daemon,
            _plugged: plugged,
            people,
            silences: AtomicUsize::new(0),
        })
    }

    fn says(&self, who: Person, words: &[&str]) -> host::Answer {
        let chair = self.chairs.iter().find(|(person, _)| *person == who);
        chair.expect("a chair").1.claviger(&self.host, words)
    }

    fn caller(&self, who: Person) -> &Caller {
        let found = self.people.iter().find(|(person, _)| *person == who);
        &found.expect("a caller").1
    }

    /// A case in a state.
    fn case(&self, state: &State, about: &str) -> String {
        let words = ["case", "open", state.kind, "--channel", state.channel];
        let whom = ["--subject", about, "--reason", "a cell"];
        let words = match state.kind {
            "bench" | "self-service" => words[..3].to_vec(),
            _ => [&words[..], &whom[..]].concat(),
        };
        let case = self.says(OPENER, &words).done().text("case").to_owned();
        for method in state.evidence {
            self.says(OPENER, &["case", "evidence", &case, method, "as the table has it"])
                .done();
        }
        match state.yes {
            Yes::Nobody => {}
            Yes::Of(who) => drop(self.says(who, &["case", "approve", &case, "--tier", "bypass"]).done()),
            Yes::Denied => drop(self.says(COLLEAGUE, &["case", "deny", &case]).done()),
        }
        case
    }

    /// Everybody whom polkit lets have a session in a case.
    async fn attach(&self, case: &str) -> Vec<OwnedFd> {
        let path = format!("{CASES_PATH}/{}", case.replace('-', ""));
        let mut sessions = Vec::new();
        for who in [OPENER, COLLEAGUE, CHIEF] {
            let options = std::collections::HashMap::<&str, Variant<'_>>::new();
            let target = (path.as_str(), "org.claviger.Case1", "Attach");
            let reply = self.caller(who).call(target, Some(&(options,)), false).await;
            let reply = reply.expect("a session");
            sessions.push(reply.body().deserialize::<(OwnedFd, Record)>().expect("its body").0);
        }
        sessions
    }
}

/// Runs the cells of one case, each person's one after the other, and all people at once.
async fn run(
    world: &World,
    cells: &[Cell<'_>],
    law: &Law,
    tally: &mut BTreeMap<Answer, usize>,
    wrong: &mut Vec<String>,
) {
    let of_people = Person::ALL.iter().map(|who| async move {
        let mut told = Vec::new();
        for cell in cells.iter().filter(|cell| cell.who == *who) {
            told.push((cell, cell.call(world.caller(*who), &world.silences).await));
        }
        told
    });
    for (cell, (came, sentence)) in futures_util::future::join_all(of_people).await.into_iter().flatten() {
        let due = cell.due(law);
        *tally.entry(came).or_default() += 1;
        if came != due {
            wrong.push(format!("{cell}: {came:?} came and {due:?} was due: {sentence}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_in_every_state_for_everybody() {
    let policy = policy_text();
    let law = Law::read(&policy);
    let states = states();
    let Some(world) = World::open(&policy, states.len()).await else {
        return;
    };
    let methods = cells::methods();
    let given = cells::polkit_gives(&world.host.root, &world.people, &methods).await;
    let tokens = Tokens::delivered(&world, states.len());
    let bench = Bench {
        methods: &methods,
        given: &given,
        tokens: &tokens,
    };
    let (mut tally, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut cases = 0;

    // No case at all.
    run(&world, &bench.cells(None, "", ""), &law, &mut tally, &mut wrong).await;
    for (number, state) in states.iter().enumerate() {
        let about = subject(number, state.privileged);
        let case = world.case(state, &about);
        let _sessions = world.attach(&case).await;
        let cells = bench.cells(Some(*state), &about, &case);
        run(&world, &cells, &law, &mut tally, &mut wrong).await;
        cases += 1;
    }
    for kind in ["bench", "self-service"] {
        for yes in YES.iter().filter(|yes| kind == "bench" || **yes == Yes::Nobody) {
            let state = State {
                kind,
                channel: if kind == "bench" { "desk" } else { "own" },
                evidence: &[],
                yes: *yes,
                privileged: false,
            };
            let case = world.case(&state, OPENER.user());
            let _sessions = world.attach(&case).await;
            let cells = bench.cells(Some(state), OPENER.user(), &case);
            run(&world, &cells, &law, &mut tally, &mut wrong).await;
            cases += 1;
        }
    }
    let size: usize = tally.values().sum();
    println!(
        "{size} cells: {} methods, {cases} cases and none, {} people; {tally:?}; polkitd was asked again {} times",
        methods.len(),
        Person::ALL.len(),
        world.silences.load(Ordering::Relaxed)
    );
    assert!(
        wrong.is_empty(),
        "{} wrong, first {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(20)]
    );
    // Each answer has come: a table in which all is denied shows nothing.
    for answer in [
        Answer::In,
        Answer::Polkit,
        Answer::NoCase,
        Answer::Elsewhere,
        Answer::Missing,
    ] {
        assert!(
            tally.get(&answer).is_some_and(|count| *count > 100),
            "{answer:?}: {tally:?}"
        );
    }
    // It fails unless the journal verifies.
    println!("{}", standing(&world.host).await);
}
