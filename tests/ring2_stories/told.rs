//! The world that stories are told in, and how they are told.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use hw_fixtures::fob::Fob;
use nix::sys::signal::Signal;

use crate::host::daemon::{Daemon, standing, virtual_socket};
use crate::host::logind::{Chair, Logind};
use crate::host::{Answer, Host, Person};
use crate::house::fob;
use crate::shim::{Shim, library};
use crate::transcript::Transcript;

/// A Tuesday morning, in the middle of a fob's step.
pub const TUESDAY: i64 = 1_800_000_015 - 3 * DAY;
pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// At the first line of the help desk.
pub const HELPER: Person = Person::HelpDesk;
/// Whoever may do everything, as far as polkit goes.
pub const OPERATOR: Person = Person::Allowed;
/// Who says yes, and looks back.
pub const APPROVER: Person = Person::Stranger;
/// Whom polkit lets do nothing.
pub const OUTSIDER: Person = Person::Barred;

/// What everybody is called in a transcript where the story does not say otherwise.
pub const CAST: [(Person, &str); 4] = [
    (HELPER, "helper"),
    (OPERATOR, "operator"),
    (APPROVER, "approver"),
    (OUTSIDER, "outsider"),
];

/// Who may call what: what they may do in a case is the policy's to say.
const RULES: &str = r#"
polkit.addRule(function (action, subject) {
    var second = ["org.claviger.approve", "org.claviger.inspect", "org.claviger.case"];
    if (["claviger-stranger", "claviger-desk"].indexOf(subject.user) >= 0 && second.indexOf(action.id) >= 0) {
        return polkit.Result.YES;
    }
    if (subject.user === "claviger-stranger" && action.id === "org.claviger.audit") { return polkit.Result.YES; }
    return polkit.Result.NOT_HANDLED;
});
"#;

/// The shipped policy, in which two accounts belong to one human, and the staff are asked for a second factor.
fn policy_text() -> String {
    let mut text = include_str!("../../policy/policy.toml").to_owned();
    for (shipped, ours) in [
        (
            "same-person = []",
            "same-person = [[\"claviger-may\", \"claviger-desk\"]]",
        ),
        ("deferrals = 3\n", "deferrals = 2\nenforced-from = 2026-01-01\n"),
    ] {
        assert!(text.contains(shipped), "the shipped policy has no “{shipped}”");
        text = text.replacen(shipped, ours, 1);
    }
    text
}

/// Bus, polkitd, logind, people who have logged in, daemon, the clocks it sees, and what was said so far.
pub struct Story {
    pub host: Host,
    chairs: Vec<(Person, Chair)>,
    _logind: Logind,
    shim: Shim,
    daemon: Daemon,
    environment: Vec<(String, String)>,
    sections: String,
    cast: Vec<(Person, &'static str)>,
    transcript: RefCell<Transcript>,
    /// Wall clock, and seconds since boot.
    clocks: Cell<(i64, u64)>,
    outputs: Cell<u32>,
}

/// What the client wrote, and its exit code.
pub struct Said {
    pub text: String,
    pub code: i32,
}

impl Said {
    /// Checks that it went well.
    #[track_caller]
    pub fn done(self) -> Self {
        self.ended(0)
    }

    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    /// Checks that it was refused, and that the reason was said.
    #[track_caller]
    pub fn refused(self, reason: &str) -> Self {
        assert!(
            self.code != 0 && self.text.contains(reason),
            "not “{reason}” but exit {}: {}",
            self.code,
            self.text
        );
        self
    }

    /// Checks that this was said.
    #[track_caller]
    pub fn with(self, part: &str) -> Self {
        assert!(self.text.contains(part), "no “{part}” in: {}", self.text);
        self
    }

    /// The id after a word.
    #[track_caller]
    pub fn id_after(&self, word: &str) -> String {
        let (_, rest) = self.text.split_once(word).unwrap_or_else(|| panic!("{}", self.text));
        rest.trim_start().chars().take(36).collect()
    }
}

/// A client that still runs.
pub struct Running {
    child: Child,
    output: PathBuf,
}

impl Running {
    fn text(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until it has said this.
    pub async fn until(&self, part: &str) {
        crate::host::until(part, || self.text().contains(part)).await;
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        // A client that refuses its arguments does not read what it is told.
        let _ = writeln!(input, "{line}");
    }

    /// `kill -9`; what it had said.
    fn killed(mut self) -> String {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("its end");
        self.text()
    }

    fn ended(mut self) -> Said {
        drop(self.child.stdin.take());
        let code = self.child.wait().expect("its end").code().unwrap_or(-1);
        Said {
            text: self.text(),
            code,
        }
    }
}

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

impl Story {
    /// Begins on a Tuesday morning. `None`, after one visible line, where it cannot be told.
    pub async fn begin(name: &'static str) -> Option<Self> {
        Self::begin_with(name, &CAST).await
    }

    /// The same world without a story: one operator does the work of many, which is no burst here, and nobody has had too many.
    pub async fn untold() -> Option<Self> {
        let mut policy = policy_text();
        for (shipped, ours) in [
            (
                "[anomalies.operator-burst]\ncount = 6\n",
                "[anomalies.operator-burst]\ncount = 1000\n",
            ),
            (
                "[anomalies.failed-verification]\ncount = 5\n",
                "[anomalies.failed-verification]\ncount = 1000\n",
            ),
        ] {
            assert!(policy.contains(shipped), "the shipped policy has no “{shipped}”");
            policy = policy.replacen(shipped, ours, 1);
        }
        Self::open("", &CAST, &policy, None).await
    }

    pub async fn begin_with(name: &'static str, cast: &[(Person, &'static str)]) -> Option<Self> {
        assert!(crate::ALL.contains(&name), "{name} is no story of the page");
        Self::open(name, cast, &policy_text(), None).await
    }

    /// With a file of subjects.
    pub async fn begin_about(name: &'static str, subjects: &str) -> Option<Self> {
        assert!(crate::ALL.contains(&name), "{name} is no story of the page");
        Self::open(name, &CAST, &policy_text(), Some(subjects)).await
    }

    async fn open(
        name: &'static str,
        cast: &[(Person, &'static str)],
        policy_text: &str,
        subjects: Option<&str>,
    ) -> Option<Self> {
        if let Some(what) = Logind::absent() {
            let ci = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false" && ci != "0");
            assert!(!ci, "ring2_stories: no {what}, and on CI nothing may be skipped");
            let _ = writeln!(std::io::stderr().lock(), "ring2_stories: skipped, no {what}");
            return None;
        }
        let mut host = Host::open(&[]).await?;
        // Each at a log-in of their own: who could be anybody is no second person.
        let chairs: Vec<_> = [(OPERATOR, "71"), (APPROVER, "72"), (HELPER, "73"), (OUTSIDER, "74")]
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
        let drop = host.dir().join("drop");
        fs::create_dir(&drop).expect("a directory");
        open_to_all(&drop, 0o777);
        let policy = host.dir().join("policy.toml");
        fs::write(&policy, policy_text).expect("a policy");
        let listed = host.dir().join("subjects.toml");
        let subjects = match subjects {
            None => String::new(),
            Some(text) => {
                fs::write(&listed, text).expect("subjects");
                open_to_all(&listed, 0o644);
                format!("[subjects]\nfile = {:?}\n", listed.display())
            }
        };
        let (page, preloaded) = (host.dir().join("page"), host.dir().join("daemon_shim.so"));
        let shim = Shim::on(&page);
        fs::copy(library(), &preloaded).expect("a copy");
        for (path, mode) in [(&policy, 0o644), (&page, 0o666), (&preloaded, 0o755)] {
            open_to_all(path, mode);
        }
        let boot = 1_000;
        shim.set_clock(TUESDAY);
        shim.set_boot(boot);
        let environment = [
            ("LD_PRELOAD", preloaded.display().to_string()),
            ("CLAVIGER_SHIM_PAGE", page.display().to_string()),
            ("CLAVIGER_SHIM_STATE", host.dir().join("state").display().to_string()),
            ("TZ", "UTC".to_owned()),
        ];
        let environment: Vec<_> = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let sections = format!(
            "[devices]\nhid = false\ncards = false\n[virtual]\nsocket = {:?}\n[authority]\npolicy = {:?}\nrole = \"staff\"\n\
             roles = {{ ada = \"administrator\", claviger-stranger = \"administrator\" }}\n{subjects}",
            virtual_socket(&host),
            policy.display()
        );
        let daemon = Daemon::start(&host, &sections, &environment);
        let mut transcript = Transcript::new(name);
        for (number, (who, called)) in (1001..).zip(cast) {
            transcript.call(who.user(), called);
            transcript.call(&who.uid().to_string(), &format!("{number}"));
        }
        transcript.call(&format!("{}/", drop.display()), "");
        let story = Self {
            host,
            chairs,
            _logind: logind,
            shim,
            daemon,
            environment,
            sections,
            cast: cast.to_vec(),
            transcript: RefCell::new(transcript),
            clocks: Cell::new((TUESDAY, boot)),
            outputs: Cell::new(0),
        };
        story.tell_time();
        Some(story)
    }

    fn chair(&self, who: Person) -> &Chair {
        let chair = self.chairs.iter().find(|(person, _)| *person == who);
        &chair.expect("a chair").1
    }

    fn called(&self, who: Person) -> &'static str {
        let of = self.cast.iter().find(|(person, _)| *person == who);
        of.expect("somebody in the story").1
    }

    /// What this person does is in the transcript.
    pub fn says(&self, who: Person, words: &[&str]) -> Said {
        self.gives(who, words, None)
    }

    /// The same, with something on standard input: what it is, and how the transcript has it.
    pub fn gives(&self, who: Person, words: &[&str], input: Option<(&str, &str)>) -> Said {
        let mut running = self.start(who, words, input.map(|(_, shown)| shown));
        if let Some((given, _)) = input {
            running.types(given);
        }
        self.heard(running)
    }

    /// In a case.
    pub fn acts(&self, who: Person, case: &str, words: &[&str]) -> Said {
        self.says(who, &[&["--case", case], words].concat())
    }

    /// A client that the story goes on beside.
    pub fn start(&self, who: Person, words: &[&str], shown: Option<&str>) -> Running {
        self.outputs.set(self.outputs.get() + 1);
        let output = self.host.dir().join(format!("said-{}", self.outputs.get()));
        self.transcript.borrow_mut().typed(self.called(who), words, shown);
        let child = self.chair(who).begin(&self.host, words, &output);
        Running { child, output }
    }

    /// The end of one.
    pub fn heard(&self, running: Running) -> Said {
        let said = running.ended();
        self.transcript.borrow_mut().read(&said.text, said.code);
        said
    }

    /// Its violent end.
    pub fn killed(&self, running: Running) {
        let said = running.killed();
        let mut transcript = self.transcript.borrow_mut();
        transcript.read(&said, 0);
        transcript.note("the helper's terminal is killed (kill -9)");
    }

    /// What is no part of the transcript, as JSON.
    pub fn unseen(&self, who: Person, words: &[&str]) -> Answer {
        self.chair(who).claviger(&self.host, words)
    }

    /// Names of what is missing before a tier.
    pub fn needs(&self, who: Person, case: &str, tier: &str) -> Vec<String> {
        let answer = self.unseen(who, &["case", "needs", case, "--tier", tier]);
        let needs = answer.said["needs"].as_array().expect("needs").iter();
        needs
            .map(|need| need["need"].as_str().expect("a name").to_owned())
            .collect()
    }

    /// Opens a case about somebody; its id.
    pub fn opens(&self, who: Person, kind: &str, channel: &str, subject: &str, reason: &str) -> String {
        let words = ["case", "open", kind, "--channel", channel, "--subject", subject];
        let said = self.says(who, &[&words[..], &["--reason", reason]].concat()).done();
        said.id_after("Case")
    }

    pub fn note(&self, line: &str) {
        self.transcript.borrow_mut().note(line);
    }

    /// An id that the transcript has not shown yet.
    pub fn name(&self, id: &str, kind: &str) {
        self.transcript.borrow_mut().number(id, kind);
    }

    /// A code of a seed that is drawn anew at every run.
    pub fn name_code(&self, code: &str) {
        self.transcript.borrow_mut().call(code, "123456");
    }

    /// A line that somebody types at a client that still runs.
    pub fn typed_in(&self, line: &str) {
        self.transcript.borrow_mut().note(&format!("types: {line}"));
    }

    pub fn now(&self) -> i64 {
        self.clocks.get().0
    }

    fn tell_time(&self) {
        let now = jiff::Timestamp::from_second(self.now()).expect("a time");
        let now = now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%A %-d %B %Y, %H:%M");
        self.note(&now.to_string());
    }

    /// Time passes.
    pub fn later(&self, seconds: i64) {
        let (wall, boot) = self.clocks.get();
        let passed = u64::try_from(seconds).expect("forwards");
        self.clocks.set((wall + seconds, boot + passed));
        self.shim.set_clock(wall + seconds);
        self.shim.set_boot(boot + passed);
        self.tell_time();
    }

    /// Somebody sets the wall clock; no time passes.
    pub fn set_clock(&self, by: i64, told: &str) {
        let (wall, boot) = self.clocks.get();
        self.clocks.set((wall + by, boot));
        self.shim.set_clock(wall + by);
        self.note(told);
        self.tell_time();
    }

    /// `kill -9`, and a daemon that starts anew.
    pub fn crash(&mut self) {
        self.note("clavigerd is killed (kill -9) and starts anew");
        self.daemon.process.end(Signal::SIGKILL);
        self.daemon = Daemon::start(&self.host, &self.sections, &self.environment);
    }

    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// A file that somebody has something written to.
    pub fn file(&self, name: &str) -> String {
        self.host.dir().join("drop").join(name).display().to_string()
    }

    pub fn plug(&self, token: &hw_fixtures::Token) -> hw_fixtures::Plugged {
        hw_fixtures::plug_virtual(&virtual_socket(&self.host), token).expect("plugged in")
    }

    /// A case of the bench to which, for those who have much to lose, another person said yes. Not in the transcript.
    pub fn bench(&self) -> String {
        let bench = self.unseen(OPERATOR, &["case", "open", "bench"]).done();
        let bench = bench.text("case").to_owned();
        self.unseen(APPROVER, &["case", "approve", &bench]).done();
        bench
    }

    /// A fob in somebody's use, registered before the story begins.
    pub fn fob_of(&self, subject: &str, serial: &str, seed: u64) -> (Fob, String) {
        let fob = fob(serial, seed, 0.0);
        let bench = self.bench();
        let (first, second) = (fob.code(self.now() - 30), fob.code(self.now()));
        let hex = hw_fixtures::crypto::to_hex(&fob.seed);
        let words = ["--case", &bench, "register", "fob", subject, &first, &second];
        let words = [&words[..], &["--serial", serial, "--encoding", "hex", "--seed-stdin"]].concat();
        let done = self.host.claviger(OPERATOR, &words, &hex).done();
        let token = done.text("token").to_owned();
        self.name(&token, "TOKEN");
        (fob, token)
    }

    /// The end: the journal verifies, and the page has the transcript.
    pub async fn ends(self) {
        println!("{}", standing(&self.host).await);
        assert!(!self.log().contains("panicked"), "{}", self.log());
        self.transcript.borrow().stands_in_the_manual();
    }
}
