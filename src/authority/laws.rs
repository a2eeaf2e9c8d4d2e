//! What holds for every policy, every case and every clock. Seeded: each run tries the same.

use std::cell::Cell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::clock::{Reading, Stamp, Timekeeper};
use super::conduct::{Caller, Participants};
use super::decide::{Approved, Evidence, Facts, Person};
use super::load::shipped;
use super::policy::{Policy, Rule, Situation};
use super::tests::{facts, person, shown, yes};
use crate::types::cases::{CaseKind, Channel, Method, Privilege, Tier};
use crate::types::{Reality, UnixMillis};

const MINUTE: u64 = 60_000;
/// When it is asked, after evidence of any age; the approvals are ten minutes old.
const NOW: u64 = 40 * MINUTE;
const DAY: u64 = 86_400_000;

fn runner(cases: u32) -> TestRunner {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]))
}

fn stamp(ms: u64) -> Stamp {
    Stamp {
        most_ms: ms,
        least_ms: ms,
    }
}

fn tier() -> impl Strategy<Value = Tier> {
    select(Tier::ALL)
}

fn rule() -> impl Strategy<Value = Rule> {
    let asks = (0..6u32, 0..3u32, subsequence(Method::ALL, 0..3), 0..3u32);
    (tier(), subsequence(CaseKind::ALL, 0..6), asks).prop_map(|(tier, kinds, (weight, classes, one_of, approvals))| {
        Rule {
            name: "any".to_owned(),
            line: 1,
            tier,
            roles: Vec::new(),
            privileges: Vec::new(),
            kinds,
            channels: Vec::new(),
            hours: Vec::new(),
            history: Vec::new(),
            words: Vec::new(),
            deny: false,
            weight,
            classes,
            one_of,
            approvals,
            approved_by: Vec::new(),
        }
    })
}

/// The shipped terms under any rules. Every tier is spoken of, so that what is denied is denied for want of something.
fn policy() -> impl Strategy<Value = Policy> {
    let shipped = shipped().unwrap();
    vec(rule(), 0..6).prop_map(move |mut rules| {
        let free = rules.first().cloned().unwrap_or_else(|| shipped.rules[0].clone());
        rules.extend(Tier::ALL.iter().map(|tier| Rule {
            tier: *tier,
            kinds: Vec::new(),
            weight: 0,
            classes: 0,
            one_of: Vec::new(),
            approvals: 0,
            ..free.clone()
        }));
        let mut policy = Policy {
            rules,
            ..shipped.clone()
        };
        policy.approval.same_person = vec![vec!["u1001".to_owned(), "u2001".to_owned()]];
        policy
    })
}

fn piece() -> impl Strategy<Value = Evidence> {
    let reality = prop_oneof![9 => Just(Reality::Hardware), 1 => Just(Reality::Virtual)];
    (select(Method::ALL), 0..=NOW, reality).prop_map(|(method, at, reality)| Evidence {
        at: stamp(at),
        reality,
        ..shown(method)
    })
}

fn approved(uid: u32, tier: Tier, at: u64) -> Approved {
    Approved {
        at: stamp(at),
        ..yes(uid, tier)
    }
}

fn situation(it: Situation) -> impl Strategy<Value = Situation> {
    let privilege = select(Privilege::ALL);
    (select(CaseKind::ALL), select(Channel::ALL), privilege).prop_map(move |(kind, channel, privilege)| Situation {
        kind,
        channel,
        privilege,
        ..it
    })
}

fn case() -> impl Strategy<Value = Facts> {
    let plain = facts(&shipped().unwrap(), CaseKind::Support);
    let approvals = vec((select(vec![0, 1001, 1002, 1003, 1004, 2001]), tier()), 0..3);
    (situation(plain.situation), vec(piece(), 0..5), approvals).prop_map(move |(situation, evidence, approvals)| {
        Facts {
            situation,
            evidence,
            approvals: approvals
                .into_iter()
                .map(|(uid, tier)| approved(uid, tier, NOW - 10 * MINUTE))
                .collect(),
            ..plain.clone()
        }
    })
}

#[test]
fn more_evidence_never_takes_a_right_away() {
    let allowed = Cell::new(0);
    let now = stamp(NOW);
    let law = |(policy, case, more): (Policy, Facts, Evidence)| {
        let mut richer = case.clone();
        richer.evidence.push(more);
        for tier in Tier::ALL {
            let before = policy.decide(*tier, &case, now);
            let after = policy.decide(*tier, &richer, now);
            if before.allowed() {
                allowed.set(allowed.get() + 1);
                prop_assert!(after.allowed(), "{:?}", after.needs);
                let end = |holds: Option<Duration>| holds.unwrap_or(Duration::MAX);
                prop_assert!(end(after.holds) >= end(before.holds));
            }
        }
        Ok(())
    };
    runner(1_000).run(&(policy(), case(), piece()), law).unwrap();
    assert!(allowed.get() > 300, "only {} rights to take away", allowed.get());
}

#[derive(Debug, Clone)]
enum Call {
    Show(Evidence),
    Approve {
        tier: Tier,
        login: Option<u32>,
        session: Option<u32>,
    },
    Bypass,
}

const UIDS: [u32; 6] = [0, 1001, 1002, 1003, 1004, 2001];

fn call() -> impl Strategy<Value = (u32, Call)> {
    let told = |uid: u32| {
        let other = select(UIDS.to_vec());
        prop_oneof![6 => Just(Some(uid)), 1 => other.prop_map(Some), 1 => Just(None)]
    };
    select(UIDS.to_vec()).prop_flat_map(move |uid| {
        let approve = (prop_oneof![3 => Just(Tier::Bypass), 1 => tier()], told(uid), told(uid));
        let call = prop_oneof![
            2 => piece().prop_map(Call::Show),
            3 => approve.prop_map(|(tier, login, session)| Call::Approve { tier, login, session }),
            3 => Just(Call::Bypass),
        ];
        (Just(uid), call)
    })
}

/// Who a uid is: 1001 and 2001 are one human.
fn human(uid: u32) -> u32 {
    if uid == 2001 { 1001 } else { uid }
}

#[test]
fn no_calls_reach_a_bypass_without_two_people() {
    let reached = Cell::new(0);
    let law = |(policy, mut case, opener, calls): (Policy, Facts, u32, Vec<(u32, Call)>)| {
        case.approvals.clear();
        case.opener = person(opener);
        let mut worked: Vec<Person> = Vec::new();
        // Who said yes, as the host saw it.
        let mut agreed: Vec<u32> = Vec::new();
        for (uid, call) in calls {
            match call {
                Call::Show(piece) => {
                    worked.push(person(uid));
                    case.evidence.push(piece);
                }
                Call::Approve { tier, login, session } => {
                    let caller = Caller {
                        person: person(uid),
                        login,
                        session,
                    };
                    let of = Participants {
                        opener: case.opener.clone(),
                        worked: worked.clone(),
                        subject: case.subject.clone(),
                    };
                    if policy.may_approve(&caller, &of).is_ok() {
                        prop_assert!(login == Some(uid) && session == Some(uid) && uid != 0);
                        prop_assert!(!worked.iter().any(|one| human(one.uid) == human(uid)));
                        agreed.push(uid);
                        case.approvals.push(approved(uid, tier, NOW));
                    }
                }
                Call::Bypass => {
                    case.actor = person(uid);
                    worked.push(person(uid));
                    if policy.decide(Tier::Bypass, &case, stamp(NOW)).allowed() {
                        reached.set(reached.get() + 1);
                        let concerned = [uid, opener, 1003].map(human);
                        let second = agreed.iter().any(|yes| *yes != 0 && !concerned.contains(&human(*yes)));
                        prop_assert!(second, "{uid} alone: {agreed:?}");
                    }
                }
            }
        }
        Ok(())
    };
    let told = (policy(), case(), select(UIDS.to_vec()), vec(call(), 1..14));
    runner(1_000).run(&told, law).unwrap();
    assert!(reached.get() > 30, "only {} bypasses were reached", reached.get());
}

/// What happens to a host between two readings.
#[derive(Debug, Clone)]
enum Turn {
    Pass(u64),
    /// Somebody sets the wall clock, while the host is up, and it is read so long after.
    Set {
        by: i64,
        after: u64,
    },
    /// Down for so long; it comes up with the clock it went down with, and so much ahead.
    Reboot {
        down: u64,
        ahead: u64,
    },
    /// Down, and up with a clock behind where it was.
    Behind {
        down: u64,
        by: u64,
    },
}

fn turn() -> impl Strategy<Value = Turn> {
    let day = i64::try_from(DAY).unwrap();
    prop_oneof![
        4 => (0..10 * MINUTE).prop_map(Turn::Pass),
        3 => (-3 * day..3 * day, 0..10 * MINUTE).prop_map(|(by, after)| Turn::Set { by, after }),
        1 => (0..DAY, 0..DAY).prop_map(|(down, ahead)| Turn::Reboot { down, ahead }),
        1 => (0..DAY, 1..DAY).prop_map(|(down, by)| Turn::Behind { down, by }),
    ]
}

#[test]
fn authority_never_outlives_its_end_whatever_the_clock_does() {
    let policy = shipped().unwrap();
    let held = Cell::new(0);
    let law = |turns: Vec<Turn>| {
        let mut host = Reading {
            wall: UnixMillis(1_800_000_000_000),
            boot_ms: 5 * MINUTE,
            boot: 1,
        };
        let mut keeper = Timekeeper::begin(host);
        let began = keeper.observe(host);
        let mut case = facts(&policy, CaseKind::Support);
        case.evidence = vec![Evidence {
            at: began,
            ..shown(Method::CallBack)
        }];
        let mut real = 0u64;
        let signed = |ms: u64| i64::try_from(ms).unwrap();
        for turn in turns {
            match turn {
                Turn::Pass(ms) => {
                    real += ms;
                    host.boot_ms += ms;
                    host.wall.0 += signed(ms);
                }
                Turn::Set { by, after } => {
                    real += after;
                    host.boot_ms += after;
                    host.wall.0 += by + signed(after);
                }
                Turn::Reboot { down, ahead } => {
                    real += down + MINUTE;
                    host = Reading {
                        wall: UnixMillis(host.wall.0 + signed(down + ahead + MINUTE)),
                        boot_ms: MINUTE,
                        boot: host.boot + 1,
                    };
                }
                Turn::Behind { down, by } => {
                    real += down + MINUTE;
                    host = Reading {
                        wall: UnixMillis(host.wall.0 - signed(by)),
                        boot_ms: MINUTE,
                        boot: host.boot + 1,
                    };
                }
            }
            // What was stored is gone on with.
            let (last, stamp) = keeper.kept();
            keeper = Timekeeper::resume(last, stamp);
            let now = keeper.observe(host);
            let real = Duration::from_millis(real);
            prop_assert!(now.at_most_since(began) >= real, "ends too late");
            prop_assert!(now.at_least_since(began) <= real, "a wait is over early");
            let decision = policy.decide(Tier::Test, &case, now);
            if decision.allowed() {
                held.set(held.get() + 1);
                let left = decision.holds.unwrap_or(Duration::MAX);
                prop_assert!(
                    real + left <= Duration::from_secs(15 * 60),
                    "held for {real:?}, {left:?} more"
                );
            }
        }
        Ok(())
    };
    runner(1_000).run(&vec(turn(), 1..20), law).unwrap();
    assert!(held.get() > 300, "authority was held only {} times", held.get());
}
