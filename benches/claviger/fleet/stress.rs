//! What breaks clocks, people and hosts: each case once under each verifier, ours with the whole engine and real codes.
//!
//! Every fob here loses 3 ppm, is used weekly for half a year, and then it happens.

use super::fob::{DAY_S, Fob, stamp};
use super::life::read;
use super::ours::{ALWAYS, Claviger};
use super::random::Random;
use super::verifier::{Answer, FreeIpa, OneSpan, PrivacyIdea, Typed, Verifier};

/// When it happens, days after the fob was handed out.
const WHEN: f64 = 182.0 * DAY_S;
const ENTRY_S: f64 = 9.0;

/// One line of the table.
pub struct Case {
    pub name: &'static str,
    /// What should happen.
    pub right: &'static str,
    /// By strategy, in the table's order: what did.
    pub told: [String; 4],
    /// Ours did the right thing.
    pub held: bool,
}

/// A server under test, and whether it is ours: whose clock state it can be told.
struct Bench {
    fob: Fob,
    verifier: Server,
    /// What the host's clock is off by, seconds.
    host: f64,
}

enum Server {
    PrivacyIdea(PrivacyIdea),
    FreeIpa(FreeIpa),
    OneSpan(OneSpan),
    Claviger(Box<Claviger>),
}

impl Server {
    fn all() -> [Self; 4] {
        [
            Self::PrivacyIdea(PrivacyIdea::new(6)),
            Self::FreeIpa(FreeIpa::new(9)),
            Self::OneSpan(OneSpan::new(11)),
            Self::Claviger(Box::new(Claviger::new(Random::new(super::SEED, 77), ALWAYS))),
        ]
    }

    fn verifier(&mut self) -> &mut dyn Verifier {
        match self {
            Self::PrivacyIdea(it) => it,
            Self::FreeIpa(it) => it,
            Self::OneSpan(it) => it,
            Self::Claviger(it) => it.as_mut(),
        }
    }

    fn synchronised(&mut self, yes: bool) {
        if let Self::Claviger(it) = self {
            it.synchronised = yes;
        }
    }
}

impl Bench {
    /// A fob that was used weekly until it happened.
    fn settled(verifier: Server, fob: Fob) -> Self {
        let mut bench = Self {
            fob,
            verifier,
            host: 0.0,
        };
        bench.pair(0.0);
        let mut t = DAY_S;
        while t < WHEN {
            bench.login(t, ENTRY_S);
            t += 7.0 * DAY_S;
        }
        bench
    }

    fn typed(&self, t: f64, entry_s: f64) -> Typed {
        let (code, arrived) = read(&self.fob, t, entry_s);
        Typed {
            at: stamp(arrived + self.host),
            ..code
        }
    }

    fn login(&mut self, t: f64, entry_s: f64) -> Answer {
        let code = self.typed(t, entry_s);
        self.verifier.verifier().login(code).0
    }

    /// One code, and the next if it is asked for.
    fn enter(&mut self, t: f64) -> &'static str {
        let first = self.typed(t, ENTRY_S);
        match self.verifier.verifier().login(first).0 {
            Answer::Passed => "passes",
            Answer::Refused => "refused",
            Answer::NextCode => {
                let second = self.typed(self.fob.next_step(t) + 1.0, ENTRY_S);
                if self.verifier.verifier().second(first, second) {
                    "passes with the next code"
                } else {
                    "refused with two"
                }
            }
        }
    }

    fn pair(&mut self, t: f64) -> bool {
        let first = self.typed(t, ENTRY_S);
        let second = self.typed(self.fob.next_step(t) + 1.0, ENTRY_S);
        self.verifier.verifier().resync(first, second)
    }

    /// Any difference between engine and model is a failure of the run.
    fn differences(&self) -> u64 {
        match &self.verifier {
            Server::Claviger(it) => it.checked.differences,
            _ => 0,
        }
    }
}

const HOUR: f64 = 3_600.0;

fn steady() -> Fob {
    Fob::steady(-3.0)
}

fn jumping(by: f64) -> Fob {
    let mut fob = steady();
    fob.jumps.push((WHEN, by));
    fob
}

/// The battery died and was changed: the clock began anew, four years ago.
fn battery(verifier: Server) -> (String, u64) {
    let mut bench = Bench::settled(verifier, jumping(-4.0 * 365.0 * DAY_S));
    let one = bench.enter(WHEN + HOUR);
    let two = if bench.pair(WHEN + 2.0 * HOUR) {
        "mends"
    } else {
        "refused"
    };
    (format!("{one}; resync {two}"), bench.differences())
}

/// A fob that runs on local summer time: an hour ahead.
fn summer_time(verifier: Server) -> (String, u64) {
    let mut bench = Bench::settled(verifier, jumping(HOUR));
    let one = bench.enter(WHEN + HOUR);
    let two = if bench.pair(WHEN + 2.0 * HOUR) {
        "taken for drift"
    } else {
        "refused"
    };
    (format!("{one}; resync {two}"), bench.differences())
}

/// Five minutes between reading a code and sending it, then one at the usual pace.
fn slow(verifier: Server) -> (String, u64) {
    let mut bench = Bench::settled(verifier, steady());
    let stale = match bench.login(WHEN + HOUR, 300.0) {
        Answer::Passed => "stale code passes",
        _ => "stale code refused",
    };
    let next = bench.enter(WHEN + 2.0 * HOUR);
    (format!("{stale}; next {next}"), bench.differences())
}

/// The host's clock is two minutes ahead for three hours and says that it is not synchronised; then it is mended.
fn host_step(verifier: Server) -> (String, u64) {
    let mut bench = Bench::settled(verifier, steady());
    bench.host = 120.0;
    bench.verifier.synchronised(false);
    let during = bench.enter(WHEN + HOUR);
    bench.host = 0.0;
    bench.verifier.synchronised(true);
    let after = bench.enter(WHEN + 4.0 * HOUR);
    (format!("while off {during}; then {after}"), bench.differences())
}

/// Half a year in a store at -10 °C: 42 ppm slow, eleven minutes.
fn cold(verifier: Server) -> (String, u64) {
    let mut bench = Bench::settled(verifier, jumping(-660.0));
    let after = WHEN + 182.0 * DAY_S;
    let one = bench.enter(after);
    let then = match one {
        "refused" if bench.pair(after + HOUR) => "; resync mends",
        "refused" => "; resync refused",
        _ => "",
    };
    (format!("{one}{then}"), bench.differences())
}

/// All cases.
pub fn cases() -> Vec<Case> {
    type Play = fn(Server) -> (String, u64);
    let all: [(&'static str, &'static str, Play, &'static str); 5] = [
        (
            "battery died, clock began anew",
            "refuse: no drift does that",
            battery,
            "refused; resync refused",
        ),
        (
            "fob set to local summer time",
            "refuse to call an hour drift",
            summer_time,
            "refused; resync refused",
        ),
        (
            "five minutes' typing",
            "refuse the stale code, learn nothing, take the next",
            slow,
            "stale code refused; next passes",
        ),
        (
            "host clock 2 min ahead, then mended",
            "learn nothing meanwhile",
            host_step,
            "while off refused; then passes",
        ),
        (
            "half a year at -10 °C",
            "let in by two codes, not by fifty steps",
            cold,
            "passes with the next code",
        ),
    ];
    all.into_iter()
        .map(|(name, right, play, ours)| {
            let played = Server::all().map(play);
            let held = played[3].0 == ours && played.iter().all(|(_, differences)| *differences == 0);
            Case {
                name,
                right,
                told: played.map(|(told, _)| told),
                held,
            }
        })
        .collect()
}
