//! Ours: the engine that ships. Its window arithmetic decides on every login; on a sample the whole engine is asked too, with
//! real seeds and real HMACs, and must say the same.

use claviger::codec::oath::{Code, Generator, OathParameters};
use claviger::resync::{DriftState, Policy, Refusal, ResyncVerdict, Verdict, Window, accept_one, search_codes};
use claviger::types::Secret;

use super::random::Random;
use super::verifier::{Answer, Typed, Verifier};

/// How often the whole engine is asked too: one in so many.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub logins: u64,
    pub pairs: u64,
}

/// Each time: for tests and stress cases.
pub const ALWAYS: Sample = Sample { logins: 1, pairs: 1 };

/// What the samples said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checked {
    pub logins: u64,
    pub pairs: u64,
    /// Two steps of a window showed the same digits, so that the code alone decides otherwise than its step.
    pub collisions: u64,
    /// Must be 0.
    pub differences: u64,
}

impl Checked {
    pub fn add(&mut self, other: Self) {
        self.logins += other.logins;
        self.pairs += other.pairs;
        self.collisions += other.collisions;
        self.differences += other.differences;
    }
}

pub struct Claviger {
    pub state: DriftState,
    pub policy: Policy,
    /// Host clock synchronised: else nothing is learned, as the daemon does it.
    pub synchronised: bool,
    pub checked: Checked,
    parameters: OathParameters,
    generator: Generator,
    sample: Sample,
    random: Random,
}

impl Claviger {
    pub fn new(mut random: Random, sample: Sample) -> Self {
        let seed: Vec<u8> = (0..20).map(|_| random.next() as u8).collect();
        let parameters = OathParameters::default();
        Self {
            state: DriftState::default(),
            policy: Policy::default(),
            synchronised: true,
            checked: Checked::default(),
            parameters,
            generator: Generator::new(&Secret::new(seed), parameters).expect("a seed of 20 bytes"),
            sample,
            random,
        }
    }

    /// What is displayed at a step.
    pub fn shown(&self, step: u64) -> Code {
        self.generator.code(step)
    }

    /// For what is asked besides.
    pub const fn generator(&self) -> &Generator {
        &self.generator
    }

    fn check_login(&mut self, code: Typed, window: &Window, answer: Answer, offset_ms: i64) {
        self.checked.logins += 1;
        let shown = self.shown(code.step);
        let verdict = accept_one(&self.state, &self.generator, &shown, code.at, &self.policy);
        let same = match (verdict, answer) {
            (Verdict::Accepted { step, new_offset_ms }, Answer::Passed) => {
                step == code.step && new_offset_ms == offset_ms
            }
            (Verdict::Rejected, Answer::Refused) | (Verdict::NeedsSecondCode, Answer::NextCode) => true,
            _ => false,
        };
        if same {
            return;
        }
        let twin = match window {
            Window::Steps(steps) => steps.clone().any(|step| step != code.step && self.shown(step) == shown),
            _ => false,
        };
        if twin {
            self.checked.collisions += 1;
        } else {
            self.checked.differences += 1;
        }
    }

    /// The engine's own arithmetic for a pair whose steps are known.
    fn pair(&self, first: Typed, second: Typed) -> Option<i64> {
        let period = self.parameters.period_ms();
        let apart = second.at.0 - first.at.0;
        let gap = i64::try_from(second.step).ok()? - i64::try_from(first.step).ok()?;
        let agrees = match apart {
            0 => (1..=i64::from(self.policy.max_gap)).contains(&gap),
            _ => (apart / period - 1).max(1) <= gap && gap <= (apart + period - 1) / period + 1,
        };
        let offset_ms = self.policy.measured_offset_ms(second.step, &self.parameters, second.at);
        let shift = (offset_ms - self.state.offset_ms).abs();
        let plausible = self.policy.accept_implausible
            || shift <= self.policy.plausible_shift_ms(&self.state, &self.parameters, second.at);
        let near = shift <= self.policy.horizon_ms;
        (agrees && plausible && near && self.state.is_fresh(first.step)).then_some(offset_ms)
    }

    /// Both codes through the whole engine.
    pub fn search(&self, first: Typed, second: Typed) -> ResyncVerdict {
        let codes = [(self.shown(first.step), first.at), (self.shown(second.step), second.at)];
        search_codes(&self.state, &self.generator, &codes, second.at, &self.policy)
    }

    fn check_pair(&mut self, first: Typed, second: Typed, offset_ms: Option<i64>) {
        self.checked.pairs += 1;
        let same = match (self.search(first, second), offset_ms) {
            (ResyncVerdict::Accepted { offset_after_ms, .. }, Some(offset)) => offset_after_ms == offset,
            (ResyncVerdict::Refused(Refusal::Ambiguous), Some(_)) => {
                self.checked.collisions += 1;
                true
            }
            (ResyncVerdict::Refused(_), None) => true,
            _ => false,
        };
        self.checked.differences += u64::from(!same);
    }

    fn due(&mut self, one_in: u64) -> bool {
        self.random.below(one_in) == 0
    }

    fn learn(&mut self, code: Typed, offset_ms: i64) {
        let after = self.state.after(code.step, offset_ms, code.at);
        self.state = if self.synchronised {
            after
        } else {
            DriftState {
                watermark_step: after.watermark_step,
                ..self.state
            }
        };
    }
}

impl Verifier for Claviger {
    fn login(&mut self, code: Typed) -> (Answer, u32) {
        let window = self.policy.window(&self.state, &self.parameters, code.at);
        let offset_ms = self.policy.measured_offset_ms(code.step, &self.parameters, code.at);
        let (answer, tried) = match &window {
            Window::Steps(steps) => {
                let inside = steps.contains(&code.step) && self.state.is_fresh(code.step);
                let answer = if inside { Answer::Passed } else { Answer::Refused };
                (answer, (steps.end() - steps.start() + 1) as u32)
            }
            Window::NextCode => (Answer::NextCode, 0),
            Window::Nothing => (Answer::Refused, 0),
        };
        if self.due(self.sample.logins) {
            self.check_login(code, &window, answer, offset_ms);
        }
        if answer == Answer::Passed {
            self.learn(code, offset_ms);
        }
        (answer, tried)
    }

    fn resync(&mut self, first: Typed, second: Typed) -> bool {
        let offset_ms = self.pair(first, second);
        if self.due(self.sample.pairs) {
            self.check_pair(first, second, offset_ms);
        }
        if let Some(offset_ms) = offset_ms {
            self.learn(second, offset_ms);
        }
        offset_ms.is_some()
    }

    fn confirm(&mut self, first: Typed, second: Typed) -> bool {
        self.policy.accept_implausible = true;
        let confirmed = self.resync(first, second);
        self.policy.accept_implausible = false;
        confirmed
    }
}
