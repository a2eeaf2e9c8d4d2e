//! What is out of the ordinary: the policy's rules over what happens, one happening at a time.
//!
//! Pure. A [`Watch`] remembers as much as its rules look back and no more; whoever keeps one feeds it what the journal says when it
//! starts, and then everything that is done. Windows are measured by the time that has passed *at least*: a clock that is set forward
//! must not make a burst look like a slow day.

use std::collections::VecDeque;

use super::policy::{AnomalyRule, Policy};
use crate::types::cases::{Anomaly, Hours, Privilege};
use crate::types::stamp::Stamp;
use crate::types::{TokenId, UnixMillis};

/// Most happenings that are remembered. Beyond it the oldest go: by then every counted rule has long spoken.
const REMEMBERED: usize = 20_000;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A token became somebody's, or may be used again.
    Enrolled,
    /// A token was taken away, a device reset, a PIN set anew: whoever did it could ask for a new one next.
    Reset,
    /// Something else was changed.
    Changed,
    /// A code was tried, and was wrong.
    Failed,
    /// An offset no clock drifts to was taken, or asked for.
    Implausible,
    /// A second person said no.
    Denied,
}

impl Deed {
    /// Whether something of somebody's was changed by it.
    const fn changes(self) -> bool {
        matches!(self, Self::Enrolled | Self::Reset | Self::Changed | Self::Implausible)
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// What.
    pub deed: Deed,
    /// Who did it; of a no, whose case it was that was denied.
    pub operator: u32,
    /// For whom.
    pub subject: Option<String>,
    /// Of which token.
    pub token: Option<TokenId>,
    /// Another subject had a token with the same maker and serial.
    pub shared_serial: bool,
    /// The subject's privilege, where the directory knows it.
    pub privilege: Option<Privilege>,
    /// Which hours.
    pub hours: Hours,
    /// At the bench nobody is spoken for, and a hundred in an hour is a day's work.
    pub bench: bool,
    /// The operator is a service's account: what many people mistype through one says nothing of it.
    pub service: bool,
    /// When, for decisions.
    pub at: Stamp,
}

/// An alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The rule that spoke.
    pub rule: AnomalyRule,
    /// Whose authority it is about.
    pub operator: u32,
    /// Of which token, if of one.
    pub token: Option<TokenId>,
    /// How many there were, where that is counted; else 1.
    pub count: u32,
}

/// An alarm that was raised, as it is told to those who may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Journal entry.
    pub seq: u64,
    /// When, by the host's clock.
    pub at: UnixMillis,
    /// What.
    pub kind: Anomaly,
    /// Whose authority.
    pub operator: u32,
    /// Of which token.
    pub token: Option<TokenId>,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Watch {
    past: VecDeque<Happening>,
}

impl Watch {
    /// Takes in what happened, and says which rules of the policy it breaks.
    pub fn observe(&mut self, policy: &Policy, now: Happening) -> Vec<Alarm> {
        self.forget(policy, now.at);
        self.past.push_back(now);
        let Some(now) = self.past.back() else { return Vec::new() };
        let spoke = |rule: &AnomalyRule| {
            self.count(rule, now).map(|count| Alarm {
                rule: *rule,
                operator: now.operator,
                token: now.token,
                count,
            })
        };
        policy.anomalies.iter().filter_map(spoke).collect()
    }

    /// Takes in what happened before anybody watched: nobody is alarmed by the past.
    pub fn recall(&mut self, policy: &Policy, then: Happening) {
        self.forget(policy, then.at);
        self.past.push_back(then);
    }

    fn forget(&mut self, policy: &Policy, now: Stamp) {
        let longest = policy
            .anomalies
            .iter()
            .map(|rule| rule.within)
            .max()
            .unwrap_or_default();
        while self
            .past
            .front()
            .is_some_and(|first| self.past.len() >= REMEMBERED || now.at_least_since(first.at) > longest)
        {
            self.past.pop_front();
        }
    }

    /// How many there are, if that is too many.
    fn count(&self, rule: &AnomalyRule, now: &Happening) -> Option<u32> {
        let once = |so: bool| so.then_some(1);
        let within = |other: &&Happening| now.at.at_least_since(other.at) <= rule.within;
        let many = |so: &dyn Fn(&Happening) -> bool| {
            let count = self.past.iter().filter(within).filter(|other| so(other)).count();
            u32::try_from(count).ok().filter(|count| *count >= rule.count)
        };
        let concerns = now.deed.changes() && !now.bench;
        match rule.kind {
            Anomaly::OperatorBurst if concerns => {
                many(&|other| other.deed.changes() && !other.bench && other.operator == now.operator)
            }
            Anomaly::ResetThenEnrol if concerns && now.deed == Deed::Enrolled => {
                let of = |other: &Happening| {
                    other.deed == Deed::Reset && other.subject.is_some() && other.subject == now.subject
                };
                once(self.past.iter().filter(within).any(of))
            }
            // By one caller against many, or by many against one.
            Anomaly::FailedVerification if now.deed == Deed::Failed => {
                let by_one =
                    |other: &Happening| other.deed == Deed::Failed && !now.service && other.operator == now.operator;
                let of_one = |other: &Happening| {
                    other.deed == Deed::Failed && other.subject.is_some() && other.subject == now.subject
                };
                many(&by_one).or_else(|| many(&of_one))
            }
            Anomaly::SharedSerial => once(now.shared_serial),
            Anomaly::OddHours => once(concerns && now.hours == Hours::Odd),
            Anomaly::PrivilegedSubject => once(concerns && now.privilege == Some(Privilege::Privileged)),
            Anomaly::ImplausibleOffset => once(now.deed == Deed::Implausible),
            Anomaly::DeniedByApprover => once(now.deed == Deed::Denied),
            Anomaly::OperatorBurst | Anomaly::ResetThenEnrol | Anomaly::FailedVerification => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::shipped;
    use super::*;

    const MINUTE: u64 = 60_000;

    fn stamp(minutes: u64) -> Stamp {
        Stamp {
            most_ms: minutes * MINUTE,
            least_ms: minutes * MINUTE,
        }
    }

    fn done(deed: Deed, operator: u32, subject: &str, minutes: u64) -> Happening {
        Happening {
            deed,
            operator,
            subject: Some(subject.to_owned()),
            token: None,
            shared_serial: false,
            privilege: Some(Privilege::Ordinary),
            hours: Hours::Office,
            bench: false,
            service: false,
            at: stamp(minutes),
        }
    }

    fn alarms(watch: &mut Watch, happening: Happening) -> Vec<Anomaly> {
        let alarms = watch.observe(&shipped().unwrap(), happening);
        alarms.into_iter().map(|alarm| alarm.rule.kind).collect()
    }

    #[test]
    fn the_sixth_change_of_an_hour_is_a_burst() {
        let mut watch = Watch::default();
        for n in 0..5 {
            assert_eq!(alarms(&mut watch, done(Deed::Changed, 7, &format!("s{n}"), n * 10)), []);
        }
        // Another operator's and a wrong code count for nothing here.
        assert_eq!(alarms(&mut watch, done(Deed::Changed, 8, "s", 51)), []);
        assert_eq!(alarms(&mut watch, done(Deed::Failed, 7, "s", 52)), []);
        assert_eq!(
            alarms(&mut watch, done(Deed::Changed, 7, "s6", 55)),
            [Anomaly::OperatorBurst]
        );
        // The first ones are more than an hour past.
        assert_eq!(alarms(&mut watch, done(Deed::Changed, 7, "s7", 95)), []);
    }

    #[test]
    fn a_hundred_at_the_bench_are_a_days_work() {
        let mut watch = Watch::default();
        for n in 0..100 {
            let mut key = done(Deed::Enrolled, 7, "", 0);
            key.subject = None;
            key.bench = true;
            key.hours = Hours::Odd;
            key.at = stamp(n / 2);
            assert_eq!(alarms(&mut watch, key), []);
        }
    }

    #[test]
    fn an_enrolment_soon_after_a_reset_of_the_same_person_is_one() {
        let mut watch = Watch::default();
        assert_eq!(alarms(&mut watch, done(Deed::Reset, 7, "a", 0)), []);
        assert_eq!(alarms(&mut watch, done(Deed::Enrolled, 8, "b", 10)), []);
        assert_eq!(
            alarms(&mut watch, done(Deed::Enrolled, 8, "a", 30)),
            [Anomaly::ResetThenEnrol]
        );
        assert_eq!(alarms(&mut watch, done(Deed::Enrolled, 8, "a", 31)), []);
    }

    #[test]
    fn wrong_codes_count_by_caller_and_by_person() {
        let mut watch = Watch::default();
        for n in 0..4 {
            assert_eq!(alarms(&mut watch, done(Deed::Failed, 7, &format!("s{n}"), n)), []);
        }
        assert_eq!(
            alarms(&mut watch, done(Deed::Failed, 7, "s4", 5)),
            [Anomaly::FailedVerification]
        );
        let mut watch = Watch::default();
        for n in 0..4 {
            assert_eq!(alarms(&mut watch, done(Deed::Failed, n, "a", 1)), []);
        }
        assert_eq!(
            alarms(&mut watch, done(Deed::Failed, 9, "a", 5)),
            [Anomaly::FailedVerification]
        );
        // Through a service, many people mistype once each.
        let mut watch = Watch::default();
        for n in 0..50 {
            let mut failed = done(Deed::Failed, 0, &format!("s{n}"), 1);
            failed.service = true;
            assert_eq!(alarms(&mut watch, failed), []);
        }
    }

    #[test]
    fn what_is_one_by_itself_is_one_at_once() {
        let one = |change: fn(&mut Happening)| {
            let mut happening = done(Deed::Changed, 7, "a", 0);
            change(&mut happening);
            alarms(&mut Watch::default(), happening)
        };
        assert_eq!(one(|_| {}), []);
        assert_eq!(one(|it| it.hours = Hours::Odd), [Anomaly::OddHours]);
        assert_eq!(
            one(|it| it.privilege = Some(Privilege::Privileged)),
            [Anomaly::PrivilegedSubject]
        );
        assert_eq!(one(|it| it.shared_serial = true), [Anomaly::SharedSerial]);
        assert_eq!(one(|it| it.deed = Deed::Implausible), [Anomaly::ImplausibleOffset]);
        assert_eq!(one(|it| it.deed = Deed::Denied), [Anomaly::DeniedByApprover]);
    }

    #[test]
    fn what_was_before_counts_but_alarms_nobody() {
        let policy = shipped().unwrap();
        let mut watch = Watch::default();
        for n in 0..5 {
            watch.recall(&policy, done(Deed::Changed, 7, "a", n));
        }
        assert_eq!(
            alarms(&mut watch, done(Deed::Changed, 7, "b", 6)),
            [Anomaly::OperatorBurst]
        );
    }

    proptest! {
        /// Whatever the clock does between them, six changes within an hour of true time are a burst: the count that windows are
        /// measured by never runs ahead of the truth.
        #[test]
        fn a_clock_set_forward_hides_no_burst(leaps in proptest::collection::vec(0..1_000_000_000_u64, 6)) {
            let mut watch = Watch::default();
            let (mut most, mut last) = (0, Vec::new());
            for (n, leap) in leaps.iter().enumerate() {
                most += leap;
                let mut change = done(Deed::Changed, 7, "a", 0);
                change.at = Stamp { most_ms: most, least_ms: n as u64 * MINUTE };
                last = alarms(&mut watch, change);
            }
            prop_assert_eq!(last, [Anomaly::OperatorBurst]);
        }
    }
}
