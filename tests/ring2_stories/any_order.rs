//! Whatever is said in whatever order, whatever the clock does: no bypass without two humans, and no authority past its end. Calls of
//! three accounts, two of which are one human's, drawn at random and held against a model that knows nothing of the daemon's code.
//!
//! The model is one-sided: what it forbids must not happen. It measures time by the clock that nobody can set, so that it forbids less
//! than the daemon does and never more. `CLAVIGER_SEED` draws another run.

use std::time::{Duration, Instant};

use crate::host::{Answer, Person};
use crate::told::{APPROVER, HELPER, HOUR, MINUTE, OPERATOR, Story};

/// How long calls are drawn for; a call under way is waited for.
const BUDGET: Duration = Duration::from_secs(55);
const SUBJECTS: [&str; 4] = ["eve", "bob", "mallory", "claviger-stranger"];
/// Method, weight and how long it is believed, by the shipped policy.
const EVIDENCE: [(&str, u32, i64); 4] = [
    ("live-video", 3, 30 * MINUTE),
    ("in-person", 4, 30 * MINUTE),
    ("call-back", 2, 15 * MINUTE),
    ("manager", 2, 4 * HOUR),
];
const TIERS: [&str; 3] = ["test", "register", "bypass"];

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(bound).expect("small")).expect("small")
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Two accounts are one human's.
fn human(who: Person) -> &'static str {
    match who {
        OPERATOR | HELPER => "anna",
        _ => who.user(),
    }
}

struct Case {
    id: String,
    opener: Person,
    subject: &'static str,
    evidence: Vec<(&'static str, u32, i64)>,
    worked: Vec<Person>,
    yes: Vec<(Person, &'static str, i64)>,
    denied: bool,
}

impl Case {
    /// The most that evidence which has not ended can weigh; of one method twice, once.
    fn weight(&self, now: i64) -> u32 {
        let heaviest = EVIDENCE.iter().map(|(method, weight, _)| {
            let fresh = |piece: &&(&str, u32, i64)| piece.0 == *method && now < piece.2;
            self.evidence.iter().find(fresh).map_or(0, |_| *weight)
        });
        heaviest.sum()
    }

    /// Whether another human, whom it is not about and who has no part in it, said yes to a bypass a short while ago.
    fn two_agree(&self, actor: Person, now: i64) -> bool {
        self.yes.iter().any(|(by, tier, at)| {
            *tier == "bypass"
                && now < at + 15 * MINUTE
                && human(*by) != human(actor)
                && human(*by) != human(self.opener)
                && by.user() != self.subject
        })
    }
}

struct Bypass {
    subject: &'static str,
    code: String,
    issued: i64,
    used: u32,
}

struct Run {
    story: Story,
    dice: Dice,
    cases: Vec<Case>,
    bypasses: Vec<Bypass>,
    tokens: Vec<(&'static str, String)>,
    /// Seconds that have passed, by the clock that nobody can set.
    passed: i64,
    files: u32,
    /// What was done, by kind: how often it went through and how often it was refused.
    tally: std::collections::BTreeMap<&'static str, (u32, u32)>,
}

impl Run {
    fn call(&mut self, kind: &'static str, who: Person, words: &[&str]) -> Answer {
        let answer = self.story.unseen(who, words);
        let counted = self.tally.entry(kind).or_default();
        match answer.code {
            0 => counted.0 += 1,
            _ => counted.1 += 1,
        }
        answer
    }

    fn opens(&mut self) {
        let (opener, subject) = (self.dice.of(&[OPERATOR, HELPER, APPROVER]), self.dice.of(&SUBJECTS));
        let (kind, channel) = (
            self.dice.of(&["support", "recovery"]),
            self.dice.of(&["desk", "video", "phone"]),
        );
        let words = ["case", "open", kind, "--channel", channel, "--subject", subject];
        let opened = self.call("open", opener, &[&words[..], &["--reason", "chance"]].concat());
        self.cases.push(Case {
            id: opened.done().text("case").to_owned(),
            opener,
            subject,
            evidence: Vec::new(),
            worked: Vec::new(),
            yes: Vec::new(),
            denied: false,
        });
    }

    /// Mostly one of the last.
    fn pick(&mut self) -> usize {
        let last = self.cases.len() - 1;
        last - self.dice.below(self.cases.len().min(3))
    }

    fn vouches(&mut self) {
        let at = self.pick();
        let (who, (method, weight, fresh)) = (self.dice.of(&[OPERATOR, HELPER, APPROVER]), self.dice.of(&EVIDENCE));
        let id = self.cases[at].id.clone();
        let added = self.call("evidence", who, &["case", "evidence", &id, method, "chance"]);
        if added.code == 0 {
            let case = &mut self.cases[at];
            assert_ne!(who.user(), case.subject, "vouched for themselves in {id}");
            case.evidence.push((method, weight, self.passed + fresh));
            case.worked.push(who);
        }
    }

    fn answers(&mut self) {
        let at = self.pick();
        let who = self.dice.of(&[APPROVER, APPROVER, OPERATOR, HELPER]);
        let id = self.cases[at].id.clone();
        if self.dice.below(12) == 0 {
            let said = self.call("deny", who, &["case", "deny", &id]);
            self.cases[at].denied |= said.code == 0;
            return;
        }
        let tier = self.dice.of(&TIERS);
        let said = self.call("approve", who, &["case", "approve", &id, "--tier", tier]);
        if said.code == 0 {
            let case = &mut self.cases[at];
            assert!(
                human(who) != human(case.opener) && who.user() != case.subject && !case.worked.contains(&who),
                "{who:?} is no second person in {id}"
            );
            case.yes.push((who, tier, self.passed));
        }
    }

    fn issues(&mut self) {
        let at = self.pick();
        let who = self.dice.of(&[OPERATOR, OPERATOR, OPERATOR, HELPER, APPROVER]);
        self.files += 1;
        let file = self.story.file(&format!("code-{}", self.files));
        let (id, subject) = (self.cases[at].id.clone(), self.cases[at].subject);
        let issued = self.call(
            "bypass",
            who,
            &["--case", &id, "bypass", "issue", subject, "--file", &file],
        );
        if issued.code != 0 {
            return;
        }
        let case = &mut self.cases[at];
        case.worked.push(who);
        assert!(case.two_agree(who, self.passed), "a bypass without two humans: {id}");
        assert!(!case.denied, "a bypass after a no: {id}");
        assert!(case.weight(self.passed) >= 5, "a bypass on too little: {id}");
        self.bypasses.push(Bypass {
            subject,
            code: std::fs::read_to_string(&file).expect("the code").trim().to_owned(),
            issued: self.passed,
            used: 0,
        });
    }

    fn tries(&mut self) {
        if self.bypasses.is_empty() {
            return;
        }
        let at = self.dice.below(self.bypasses.len());
        let whose = self.dice.of(&[None, None, None, Some("eve")]);
        let bypass = &self.bypasses[at];
        let subject = whose.unwrap_or(bypass.subject);
        let input = format!("{}\n", bypass.code);
        let said = self
            .story
            .host
            .claviger(OPERATOR, &["verify", subject, "--stdin"], &input);
        let counted = self.tally.entry("verify").or_default();
        if said.code != 0 {
            counted.1 += 1;
            return;
        }
        counted.0 += 1;
        let bypass = &mut self.bypasses[at];
        bypass.used += 1;
        assert_eq!(subject, bypass.subject, "a bypass of another's");
        assert!(bypass.used <= 3, "a bypass used too often");
        assert!(self.passed < bypass.issued + 8 * HOUR, "a bypass past its end");
    }

    fn acts(&mut self) {
        let at = self.pick();
        let (id, subject) = (self.cases[at].id.clone(), self.cases[at].subject);
        let Some((_, token)) = self.tokens.iter().find(|(of, _)| *of == subject).cloned() else {
            return;
        };
        let (verb, least) = self.dice.of(&[("suspend", 2), ("resume", 4)]);
        let done = self.call(verb, OPERATOR, &["--case", &id, verb, &token]);
        // Whoever attached has worked in it, whatever came of it.
        if done.code == 0 {
            let case = &mut self.cases[at];
            case.worked.push(OPERATOR);
            assert!(case.weight(self.passed) >= least, "{verb} on too little: {id}");
            assert!(!case.denied, "{verb} after a no: {id}");
        }
    }

    fn time_passes(&mut self) {
        let seconds = self.dice.of(&[MINUTE, 4 * MINUTE, 16 * MINUTE, 9 * HOUR]);
        let by = self.dice.of(&[-24 * HOUR, -20 * MINUTE, 10 * MINUTE, 3 * HOUR]);
        match self.dice.below(2) {
            0 => {
                self.story.later(seconds);
                self.passed += seconds;
            }
            _ => self.story.set_clock(by, "somebody sets the clock"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bypass_without_two_and_no_authority_past_its_end() {
    let Some(story) = Story::untold().await else { return };
    let seed = std::env::var("CLAVIGER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(5);
    println!("seed {seed}");
    let tokens = (1..)
        .zip(["eve", "bob"])
        .map(|(number, of)| (of, story.fob_of(of, &format!("F-{number}"), number).1))
        .collect();
    let mut run = Run {
        story,
        dice: Dice(seed),
        cases: Vec::new(),
        bypasses: Vec::new(),
        tokens,
        passed: 0,
        files: 0,
        tally: std::collections::BTreeMap::new(),
    };
    let begun = Instant::now();
    let mut steps = 0;
    while begun.elapsed() < BUDGET {
        steps += 1;
        if run.cases.is_empty() {
            run.opens();
        }
        match run.dice.below(40) {
            0..=2 => run.opens(),
            3..=14 => run.vouches(),
            15..=21 => run.answers(),
            22..=27 => run.issues(),
            28..=30 => run.tries(),
            31..=34 => run.acts(),
            35..=38 => run.time_passes(),
            _ => run.story.crash(),
        }
    }
    println!("seed {seed}: {steps} steps, done and refused: {:?}", run.tally);
    let refused: u32 = run.tally.values().map(|counted| counted.1).sum();
    assert!(steps > 20 && refused > 5, "hardly anything was tried");
    println!("{}", crate::host::daemon::standing(&run.story.host).await);
}
