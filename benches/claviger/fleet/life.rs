//! The five years of one fob under one verifier: logins as they come, wrong guesses at the clock, calls to the help desk.

use super::fob::{Fob, Habit, LIFE_S, STEP_S, stamp};
use super::random::Random;
use super::verifier::{Answer, Typed, Verifier};

/// Good codes that somebody tries before calling the help desk.
const PATIENCE: u32 = 3;
/// Two logins are never closer than this.
const PAUSE_S: f64 = 120.0;
/// Widths beyond are counted as this one.
const WIDEST: usize = 1_024;

/// What happened to all fobs of a habit under one verifier.
#[derive(Debug, Clone)]
pub struct Tally {
    pub logins: u64,
    /// Logins at which a good code was refused.
    pub refused: u64,
    /// Logins at which the next code was asked for.
    pub asked: u64,
    /// Of those, let in by it.
    pub asked_passed: u64,
    /// Calls to the help desk, and those that two codes mended.
    pub desk: u64,
    pub mended: u64,
    /// And those at which the desk had to say that it believes the shift.
    pub confirmed: u64,
    /// Logins after the first.
    pub later: u64,
    /// Sum over them of the chance of a blind guess.
    pub guess: f64,
    /// How many logins held one code against so many steps.
    widths: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            logins: 0,
            refused: 0,
            asked: 0,
            asked_passed: 0,
            desk: 0,
            mended: 0,
            confirmed: 0,
            later: 0,
            guess: 0.0,
            widths: vec![0; WIDEST + 1],
        }
    }
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.logins += other.logins;
        self.refused += other.refused;
        self.asked += other.asked;
        self.asked_passed += other.asked_passed;
        self.desk += other.desk;
        self.mended += other.mended;
        self.confirmed += other.confirmed;
        self.later += other.later;
        self.guess += other.guess;
        for (sum, more) in self.widths.iter_mut().zip(&other.widths) {
            *sum += more;
        }
    }

    pub fn false_rejects_pct(&self) -> f64 {
        percent(self.refused, self.logins)
    }

    pub fn asked_pct(&self) -> f64 {
        percent(self.asked, self.logins)
    }

    /// Two codes that did what they were read for: a second code that was asked for, and a call to the help desk.
    pub fn two_codes_pct(&self) -> f64 {
        percent(self.asked_passed + self.mended + self.confirmed, self.asked + self.desk)
    }

    /// Over the logins that one code decided.
    pub fn mean_codes(&self) -> f64 {
        let (mut count, mut sum) = (0, 0);
        for (width, times) in self.widths.iter().enumerate() {
            count += times;
            sum += width as u64 * times;
        }
        sum as f64 / count as f64
    }

    pub fn p95_codes(&self) -> f64 {
        let count: u64 = self.widths.iter().sum();
        let mut below = 0;
        let at = self.widths.iter().position(|times| {
            below += times;
            below as f64 >= 0.95 * count as f64
        });
        at.map_or(f64::NAN, |width| width as f64)
    }

    /// Guesses that succeed of a hundred tries.
    pub fn guesses_per_hundred(&self) -> f64 {
        100.0 * self.guess / self.later as f64
    }

    fn saw(&mut self, answer: Answer, tried: u32) {
        if answer != Answer::NextCode {
            self.widths[(tried as usize).min(WIDEST)] += 1;
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        f64::NAN
    } else {
        100.0 * part as f64 / whole as f64
    }
}

/// Somebody reads the display at `t` and types what it shows. Returns what arrives, and when.
pub fn read(fob: &Fob, t: f64, entry_s: f64) -> (Typed, f64) {
    let arrived = t + entry_s;
    let typed = Typed {
        step: fob.step(t),
        at: stamp(arrived),
    };
    (typed, arrived)
}

/// The next code after one that was read at `read_at` and arrived at `arrived`: some seconds into the first step that begins after
/// both.
fn next_reading(fob: &Fob, read_at: f64, arrived: f64, random: &mut Random) -> f64 {
    let changed = fob.next_step(read_at);
    if changed >= arrived {
        changed + random.between(0.5, 6.0)
    } else {
        // The display moved on while the first was typed; what it shows now will do.
        arrived + random.between(0.5, 6.0)
    }
}

/// All logins of one fob. With `desk`, who is refused three times calls and reads two codes.
pub fn live(fob: &Fob, habit: Habit, verifier: &mut dyn Verifier, random: &mut Random, desk: bool, tally: &mut Tally) {
    let mut t = random.exponential(habit.mean_s());
    let mut first = true;
    while t < LIFE_S {
        let end = login(fob, verifier, t, random, desk, first, tally);
        first = false;
        t = end + PAUSE_S + random.exponential(habit.mean_s());
    }
}

fn login(
    fob: &Fob,
    verifier: &mut dyn Verifier,
    begin: f64,
    random: &mut Random,
    desk: bool,
    first: bool,
    tally: &mut Tally,
) -> f64 {
    let mut at = begin;
    tally.logins += 1;
    tally.later += u64::from(!first);
    for attempt in 0..PATIENCE {
        let (code, arrived) = read(fob, at, random.entry_s());
        let (answer, tried) = verifier.login(code);
        // Some look further at the very first use; the table is about what follows.
        if !first {
            tally.saw(answer, tried);
        }
        if attempt == 0 && !first {
            tally.guess += verifier.guess(answer, tried);
        }
        let next = next_reading(fob, at, arrived, random);
        match answer {
            Answer::Passed => return arrived,
            Answer::NextCode => {
                let (second, arrived) = read(fob, next, random.entry_s());
                tally.asked += 1;
                if verifier.second(code, second) {
                    tally.asked_passed += 1;
                    return arrived;
                }
                tally.refused += 1;
                at = arrived;
                break;
            }
            Answer::Refused => {
                tally.refused += u64::from(attempt == 0);
                at = next;
            }
        }
    }
    if desk {
        call(fob, verifier, at, random, tally)
    } else {
        at
    }
}

/// A call to the help desk: five minutes later, two codes one after the other, each typed as it is read.
fn call(fob: &Fob, verifier: &mut dyn Verifier, t: f64, random: &mut Random, tally: &mut Tally) -> f64 {
    let (read_at, entry) = (t + 300.0, random.entry_s().min(STEP_S - 2.0));
    let (first, arrived) = read(fob, read_at, entry);
    let next = fob.next_step(read_at) + random.between(0.5, 6.0);
    let (second, end) = read(fob, next.max(arrived), random.entry_s());
    tally.desk += 1;
    if verifier.resync(first, second) {
        tally.mended += 1;
    } else if verifier.confirm(first, second) {
        tally.confirmed += 1;
    }
    end
}
