//! Cases: what a commit wants, and random commits against a plain model.

use std::collections::BTreeMap;

use claviger::ledger::{
    CaseFilter, CaseHistory, CaseNote, CasePersonal, CaseRecord, Ledger, LedgerError, Mutation, NewCase, NewNote, Said,
};
use claviger::types::cases::{CaseKind, Channel, Check, Method, Outcome, Step, Tier};
use claviger::types::stamp::{Reading, Stamp};
use claviger::types::{CaseId, Reality, UnixMillis};

use crate::desk::{Dice, event, open};

pub fn stamp(ms: u64) -> Stamp {
    Stamp {
        most_ms: ms + 5,
        least_ms: ms,
    }
}

pub fn case(kind: CaseKind, subject: Option<&str>) -> NewCase {
    NewCase {
        id: CaseId::generate(),
        kind,
        channel: if kind == CaseKind::Bench {
            Channel::Desk
        } else {
            Channel::Phone
        },
        opener: 1001,
        opened: stamp(70),
        step: Step::Identity,
        within_ms: 3_600_000,
        personal: CasePersonal {
            subject: subject.map(str::to_owned),
            ticket: subject.map(|_| "INC-1".to_owned()),
            reason: subject.map(|_| "her fob is off".to_owned()),
        },
    }
}

pub fn shown(method: Method) -> Said {
    Said::Evidence {
        method,
        reality: Reality::Hardware,
        token: None,
    }
}

pub fn note(case: &NewCase, at: u64, by: Option<u32>, said: Said, reference: Option<&str>) -> Mutation {
    Mutation::Note(Box::new(NewNote {
        case: case.id,
        by,
        stamp: stamp(at),
        said,
        reference: reference.map(str::to_owned),
    }))
}

pub fn step(case: &NewCase) -> Mutation {
    Mutation::Step {
        case: case.id,
        step: Step::Act,
        since: stamp(71),
        within_ms: 60_000,
    }
}

pub fn close(case: &NewCase) -> Mutation {
    Mutation::CloseCase {
        case: case.id,
        by: Some(1001),
        stamp: stamp(72),
        outcome: Outcome::Done,
        checks: vec![Check::Works, Check::Told],
    }
}

pub fn reading(ms: u64) -> Reading {
    Reading {
        wall: UnixMillis(1_800_000_000_000 + i64::try_from(ms).unwrap()),
        boot_ms: ms,
        boot: 0x1234_5678_9abc_def0_1234_5678_9abc_def0,
    }
}

pub fn keep_time(ms: u64) -> Mutation {
    Mutation::KeepTime {
        reading: reading(ms),
        stamp: stamp(ms),
    }
}

#[tokio::test]
async fn a_case_is_what_was_said_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let new = case(CaseKind::Support, Some("ada"));
    let bench = case(CaseKind::Bench, None);
    ledger
        .commit(event(1), vec![Mutation::OpenCase(Box::new(new.clone())), keep_time(1)])
        .await
        .unwrap();
    ledger
        .commit(event(2), vec![Mutation::OpenCase(Box::new(bench.clone()))])
        .await
        .unwrap();
    let yes = Said::Approved {
        tier: Tier::Register,
        role: Some("administrator".to_owned()),
    };
    let said = vec![
        note(&new, 3, Some(1001), Said::Worked, None),
        note(&new, 3, Some(1001), shown(Method::CallBack), Some("0351 2718")),
        note(&new, 3, Some(1002), yes.clone(), Some("I know her")),
        step(&new),
    ];
    ledger.commit(event(3), said).await.unwrap();

    let notes = ledger.case_notes(new.id).await.unwrap();
    assert_eq!(
        notes
            .iter()
            .map(|note| (note.seq, note.no, note.by))
            .collect::<Vec<_>>(),
        [(3, 0, Some(1001)), (3, 1, Some(1001)), (3, 2, Some(1002))]
    );
    assert_eq!(notes[1].reference.as_deref(), Some("0351 2718"));
    assert_eq!((notes[2].said.clone(), notes[2].stamp), (yes, stamp(3)));
    let record = ledger.case(new.id).await.unwrap().unwrap();
    assert_eq!(
        (record.step, record.since, record.within_ms),
        (Step::Act, stamp(71), 60_000)
    );
    assert_eq!(record.personal, new.personal);

    let due = |at| CaseFilter {
        overdue_at: Some(at),
        ..CaseFilter::default()
    };
    let overdue = async |at| -> Vec<CaseId> {
        let page = ledger.cases(&due(at), None, 10).await.unwrap();
        page.items.into_iter().map(|case| case.id).collect()
    };
    assert_eq!(overdue(60_075).await, []);
    assert_eq!(overdue(60_076).await, [new.id]);
    let escalate = |step| Mutation::Escalate { case: new.id, step };
    let early = ledger.commit(event(4), vec![escalate(Step::Identity)]).await;
    assert_eq!(early, Err(LedgerError::Stale("case")));
    ledger.commit(event(4), vec![escalate(Step::Act)]).await.unwrap();
    assert_eq!(overdue(60_076).await, []);

    let denied = note(&new, 5, Some(1002), Said::Denied, None);
    ledger.commit(event(5), vec![denied, close(&new)]).await.unwrap();
    for late in [
        note(&new, 6, Some(1001), shown(Method::Hr), None),
        step(&new),
        escalate(Step::Act),
        close(&new),
    ] {
        assert_eq!(
            ledger.commit(event(6), vec![late]).await,
            Err(LedgerError::Stale("case"))
        );
    }
    let history = ledger.case_history("ada", 70).await.unwrap();
    assert_eq!(history, CaseHistory { cases: 1, denied: 1 });
    assert_eq!(ledger.case_history("ada", 71).await.unwrap(), CaseHistory::default());
    let listed = |open| CaseFilter {
        open,
        ..CaseFilter::default()
    };
    assert_eq!(ledger.cases(&listed(true), None, 10).await.unwrap().items.len(), 1);
    let first = ledger.cases(&listed(false), None, 1).await.unwrap();
    assert_eq!(first.items[0].id, new.id);
    let second = ledger.cases(&listed(false), first.next.as_deref(), 1).await.unwrap();
    assert_eq!((second.items[0].id, second.next), (bench.id, None));
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn kept_time_goes_on_and_never_back() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.kept_time().await.unwrap(), None);
    ledger.commit(event(1), vec![keep_time(100)]).await.unwrap();
    // Of two stamps that were taken at once, the earlier may be written last.
    ledger.commit(event(2), vec![keep_time(99)]).await.unwrap();
    ledger.close().await;
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.kept_time().await.unwrap(), Some((reading(100), stamp(100))));
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[derive(Default)]
struct Model {
    cases: BTreeMap<CaseId, (CaseRecord, Vec<CaseNote>)>,
    kept: Option<u64>,
    entries: u64,
}

/// One change that can be made twice: once for the ledger, once for the model.
#[derive(Clone, Debug)]
enum Plan {
    Open(NewCase),
    Note(CaseId, Option<u32>, Said, Option<String>),
    Step(CaseId, Step, u64),
    Escalate(CaseId, Step),
    Close(CaseId, Outcome),
    Keep(u64),
}

impl Plan {
    fn roll(dice: &mut Dice, model: &Model, at: u64) -> Self {
        let known: Vec<_> = model.cases.keys().copied().collect();
        let id = if known.is_empty() || dice.roll(12) == 0 {
            CaseId::generate()
        } else {
            *dice.pick(&known)
        };
        match dice.roll(10) {
            0 | 1 => {
                let mut new = case(*dice.pick(CaseKind::ALL), (dice.roll(3) > 0).then_some("ada"));
                new.opened = stamp(at);
                if dice.roll(6) == 0 {
                    new.id = id;
                }
                Self::Open(new)
            }
            2..=5 => {
                let said = match dice.roll(4) {
                    0 => Said::Worked,
                    1 => Said::Denied,
                    2 => Said::Approved {
                        tier: *dice.pick(Tier::ALL),
                        role: (dice.roll(2) == 0).then(|| "staff".to_owned()),
                    },
                    _ => shown(*dice.pick(Method::ALL)),
                };
                let by = (dice.roll(4) > 0).then(|| 1000 + u32::try_from(dice.roll(4)).unwrap());
                Self::Note(id, by, said, (dice.roll(2) == 0).then(|| format!("note {at}")))
            }
            6 => Self::Step(id, *dice.pick(Step::ALL), dice.roll(1000)),
            7 => Self::Escalate(id, *dice.pick(Step::ALL)),
            8 => Self::Close(id, *dice.pick(Outcome::ALL)),
            _ => Self::Keep(dice.roll(300)),
        }
    }

    fn mutation(self, at: u64) -> Mutation {
        match self {
            Self::Open(new) => Mutation::OpenCase(Box::new(new)),
            Self::Note(case, by, said, reference) => Mutation::Note(Box::new(NewNote {
                case,
                by,
                stamp: stamp(at),
                said,
                reference,
            })),
            Self::Step(case, step, within_ms) => Mutation::Step {
                case,
                step,
                since: stamp(at),
                within_ms,
            },
            Self::Escalate(case, step) => Mutation::Escalate { case, step },
            Self::Close(case, outcome) => Mutation::CloseCase {
                case,
                by: None,
                stamp: stamp(at),
                outcome,
                checks: vec![Check::Told],
            },
            Self::Keep(ms) => keep_time(ms),
        }
    }
}

impl Model {
    fn open(&mut self, id: CaseId) -> Result<&mut (CaseRecord, Vec<CaseNote>), LedgerError> {
        let found = self.cases.get_mut(&id).ok_or(LedgerError::NotFound("case"))?;
        if found.0.outcome.is_some() {
            return Err(LedgerError::Stale("case"));
        }
        Ok(found)
    }

    fn add(
        &mut self,
        id: CaseId,
        at: u64,
        (by, said, reference): (Option<u32>, Said, Option<String>),
    ) -> Result<(), LedgerError> {
        let seq = self.entries + 1;
        let (_, notes) = self.open(id)?;
        let no = notes.iter().filter(|note| note.seq == seq).count();
        notes.push(CaseNote {
            seq,
            no: u32::try_from(no).unwrap(),
            by,
            at: UnixMillis(i64::try_from(at).unwrap()),
            stamp: stamp(at),
            said,
            reference,
        });
        Ok(())
    }

    fn play(&mut self, plan: Plan, at: u64) -> Result<(), LedgerError> {
        match plan {
            Plan::Open(new) => {
                if self.cases.contains_key(&new.id) {
                    return Err(LedgerError::Stale("case"));
                }
                let record = CaseRecord {
                    id: new.id,
                    kind: new.kind,
                    channel: new.channel,
                    opener: new.opener,
                    opened_at: UnixMillis(i64::try_from(at).unwrap()),
                    opened: new.opened,
                    step: new.step,
                    since: new.opened,
                    within_ms: new.within_ms,
                    escalated: false,
                    outcome: None,
                    closed_at: None,
                    personal: new.personal,
                };
                self.cases.insert(new.id, (record, Vec::new()));
            }
            Plan::Note(id, by, said, reference) => self.add(id, at, (by, said, reference))?,
            Plan::Step(id, step, within_ms) => {
                let (case, _) = self.open(id)?;
                (case.step, case.since, case.within_ms, case.escalated) = (step, stamp(at), within_ms, false);
            }
            Plan::Escalate(id, step) => {
                let (case, _) = self.open(id)?;
                if case.escalated || case.step != step {
                    return Err(LedgerError::Stale("case"));
                }
                case.escalated = true;
            }
            Plan::Close(id, outcome) => {
                let checks = vec![Check::Told];
                self.add(id, at, (None, Said::Closed { outcome, checks }, None))?;
                let (case, _) = self.open(id)?;
                (case.outcome, case.closed_at) = (Some(outcome), Some(UnixMillis(i64::try_from(at).unwrap())));
            }
            Plan::Keep(ms) => {
                self.kept = self.kept.max(Some(ms));
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn cases_are_what_a_plain_model_says() {
    let (mut done, mut refused) = (0, 0);
    for seed in 0..8 {
        println!("seed {seed}");
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path()).await.unwrap();
        let mut dice = Dice(seed);
        let mut model = Model::default();
        for at in 1..=100u64 {
            let plans: Vec<_> = (0..=dice.roll(2)).map(|_| Plan::roll(&mut dice, &model, at)).collect();
            let told = format!("{plans:?}");
            let mut next = Model {
                cases: model.cases.clone(),
                kept: model.kept,
                entries: model.entries,
            };
            let due = plans.iter().try_for_each(|plan| next.play(plan.clone(), at));
            let mutations = plans.into_iter().map(|plan| plan.mutation(at)).collect();
            let found = ledger.commit(event(i64::try_from(at).unwrap()), mutations).await;
            assert_eq!(found.clone().map(|_| ()), due, "{told}");
            if found.is_ok() {
                next.entries += 1;
                model = next;
                done += 1;
            } else {
                refused += 1;
            }
        }
        for (id, (record, notes)) in &model.cases {
            assert_eq!(ledger.case(*id).await.unwrap().as_ref(), Some(record));
            assert_eq!(&ledger.case_notes(*id).await.unwrap(), notes);
        }
        let kept = ledger.kept_time().await.unwrap().map(|(_, stamp)| stamp);
        assert_eq!(kept, model.kept.map(stamp));
        assert_eq!(ledger.verify().await.unwrap().findings, []);
    }
    println!("{done} commits done, {refused} refused");
    assert!(done > 200 && refused > 100);
}
