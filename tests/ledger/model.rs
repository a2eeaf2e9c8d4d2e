//! Random commits against a plain model of the ledger, written from the trait's words alone.

use std::collections::BTreeMap;

use claviger::ledger::{
    Account, Binding, CallerTries, DriftPoint, Filter, Intent, IntentEnd, Ledger, LedgerError, Mutation, Obligation,
    ObligationFilter, SqliteLedger, Standing, Sweep, TokenRecord,
};
use claviger::types::{
    DriftSource, ObligationId, OperationId, Reality, RevokeReason, Secret, TokenId, TokenKind, TokenState, UnixMillis,
};

use crate::desk::{Dice, OPEN, event, fob, insert, intent, key, obligation, open};

/// Commits per seed; with one to three mutations each.
const COMMITS: i64 = 120;
const SEEDS: u64 = 12;

#[derive(Clone, Default)]
struct Model {
    tokens: BTreeMap<TokenId, (TokenRecord, Option<String>)>,
    obligations: BTreeMap<ObligationId, Obligation>,
    intents: BTreeMap<OperationId, Intent>,
    drift: BTreeMap<TokenId, Vec<DriftPoint>>,
    /// Of each token that has recovery codes, whether each is unused.
    sheets: BTreeMap<TokenId, Vec<bool>>,
    /// What callers did to subjects: when tries in hand will have grown again, and wrong tries.
    tries: BTreeMap<String, (UnixMillis, BTreeMap<u32, CallerTries>)>,
    /// What callers did over all accounts.
    sweeps: BTreeMap<u32, Sweep>,
    entries: u64,
    /// Names of everything that was ever used, so that the dead are tried again too.
    ever: Vec<OperationId>,
}

/// A mutation that can be made twice: once for the ledger, once for the model.
#[derive(Clone, Debug)]
enum Plan {
    Insert(Box<TokenRecord>, bool, Option<String>),
    Transition(TokenId, &'static [TokenState], TokenState, Option<RevokeReason>),
    Assign(TokenId, String),
    Serial(TokenId, String),
    Bind(TokenId, Binding, Option<String>),
    Advance(TokenId, u64, i64, UnixMillis, Option<DriftSource>),
    Correct(TokenId, i64, i64, Option<UnixMillis>, DriftSource),
    Count(TokenId, u32, UnixMillis),
    Seen(TokenId, UnixMillis),
    Fail(TokenId),
    Pardon(TokenId),
    Prove(ObligationId, UnixMillis),
    DestroySeed(TokenId),
    Oblige(Obligation),
    Discharge(ObligationId, UnixMillis),
    Begin(Intent),
    Phase(OperationId, String, Option<serde_json::Value>),
    End(OperationId),
    Try(&'static str, u32, UnixMillis, UnixMillis, bool),
    Unlock(&'static str),
    KeepCodes(TokenId, u16),
    UseCode(TokenId, u16, UnixMillis),
}

const SUBJECTS: &[&str] = &["ada", "bob", "nobody"];
const CALLERS: &[u32] = &[0, 7, 1000];

/// The recovery code in a slot.
fn code(slot: u16) -> Secret {
    Secret::new(format!("CODE-{slot}").into_bytes())
}

const LIVE: &[TokenState] = &[
    TokenState::Inventory,
    TokenState::Pending,
    TokenState::Active,
    TokenState::Suspended,
];
const SOME: &[TokenState] = &[TokenState::Active, TokenState::Lost];

impl Plan {
    fn roll(dice: &mut Dice, model: &Model, at: i64) -> Self {
        let known: Vec<_> = model.tokens.keys().copied().collect();
        let token = if known.is_empty() || dice.roll(40) == 0 {
            TokenId::generate()
        } else {
            *dice.pick(&known)
        };
        let duties: Vec<_> = model.obligations.keys().copied().collect();
        let duty = if duties.is_empty() || dice.roll(8) == 0 {
            ObligationId::generate()
        } else {
            *dice.pick(&duties)
        };
        let operation = if model.ever.is_empty() || dice.roll(8) == 0 {
            OperationId::generate()
        } else {
            *dice.pick(&model.ever)
        };
        let when = UnixMillis(at + 3);
        let unique = |dice: &mut Dice| match dice.roll(3) {
            0 => None,
            1 => Some(format!("fob:{}", dice.roll(6))),
            _ => Some(format!("fido2:{}", dice.roll(6))),
        };
        let source = |dice: &mut Dice| match dice.roll(3) {
            0 | 1 => DriftSource::Test,
            _ => *dice.pick(DriftSource::ALL),
        };
        match dice.roll(21) {
            0 | 1 => {
                let mut record = if dice.roll(2) == 0 {
                    fob(&at.to_string())
                } else {
                    key(&at.to_string())
                };
                record.state = *dice.pick(TokenState::ALL);
                record.reality = *dice.pick(Reality::ALL);
                record.watermark = (dice.roll(2) == 0).then(|| dice.roll(10));
                if dice.roll(6) == 0 {
                    record.id = token;
                }
                Self::Insert(Box::new(record), dice.roll(3) > 0, unique(dice))
            }
            2 | 3 => {
                let to = *dice.pick(TokenState::ALL);
                let reason = (to == TokenState::Revoked).then(|| *dice.pick(RevokeReason::ALL));
                Self::Transition(token, if dice.roll(2) == 0 { LIVE } else { SOME }, to, reason)
            }
            4 if dice.roll(2) == 0 => Self::Assign(token, format!("person-{at}")),
            4 if dice.roll(3) == 0 => Self::Serial(token, format!("told-{at}")),
            4 => Self::Bind(token, key(&format!("bound-{at}")).binding, unique(dice)),
            5 | 6 => {
                let source = (dice.roll(4) > 0).then(|| source(dice));
                Self::Advance(token, dice.roll(20), at, when, source)
            }
            7 | 8 => Self::Count(token, u32::try_from(dice.roll(6)).unwrap(), when),
            9 => Self::Seen(token, when),
            10 if dice.roll(3) == 0 => Self::Pardon(token),
            10 => Self::Fail(token),
            11 => Self::DestroySeed(token),
            12 => {
                let mut new = obligation(token, at);
                if dice.roll(6) == 0 {
                    new.id = duty;
                }
                Self::Oblige(new)
            }
            13 if dice.roll(3) == 0 => Self::Prove(duty, when),
            13 => Self::Discharge(duty, when),
            14 => {
                let mut new = intent((dice.roll(2) == 0).then_some(token));
                if dice.roll(3) == 0 {
                    new.operation = operation;
                }
                Self::Begin(new)
            }
            15 => {
                let expect = match model.tokens.get(&token) {
                    Some((record, _)) if dice.roll(4) > 0 => record.offset_ms,
                    _ => 77,
                };
                let seen = (dice.roll(2) == 0).then_some(when);
                Self::Correct(token, expect, at, seen, source(dice))
            }
            16 | 17 => {
                let spent = UnixMillis(at + i64::try_from(dice.roll(90)).unwrap());
                Self::Try(
                    dice.pick::<&str>(SUBJECTS),
                    *dice.pick(CALLERS),
                    when,
                    spent,
                    dice.roll(4) == 0,
                )
            }
            18 if dice.roll(3) == 0 => Self::Unlock(dice.pick::<&str>(SUBJECTS)),
            18 => Self::KeepCodes(token, u16::try_from(1 + dice.roll(4)).unwrap()),
            19 => {
                let sheets: Vec<_> = model.sheets.keys().copied().collect();
                let token = if sheets.is_empty() || dice.roll(5) == 0 {
                    token
                } else {
                    *dice.pick(&sheets)
                };
                Self::UseCode(token, u16::try_from(dice.roll(4)).unwrap(), when)
            }
            _ if dice.roll(2) == 0 => Self::End(operation),
            _ => {
                let detail = (dice.roll(2) == 0).then(|| serde_json::json!({"at": at, "b": null, "a": ["é", true]}));
                Self::Phase(operation, format!("phase-{at}"), detail)
            }
        }
    }

    fn mutation(self) -> Mutation {
        match self {
            Self::Insert(record, seeded, unique) => match insert(&record, unique.as_deref()) {
                Mutation::Insert { record, seed, unique } => Mutation::Insert {
                    record,
                    seed: seed.filter(|_| seeded),
                    unique,
                },
                _ => unreachable!(),
            },
            Self::Transition(token, from, to, reason) => Mutation::Transition {
                token,
                from,
                to,
                reason,
            },
            Self::Assign(token, subject) => Mutation::Assign { token, subject },
            Self::Serial(token, serial) => Mutation::Serial { token, serial },
            Self::Bind(token, binding, unique) => Mutation::Bind {
                token,
                binding,
                unique: unique.as_deref().map(crate::desk::unique),
            },
            Self::Advance(token, to, offset_ms, seen, source) => Mutation::Advance {
                token,
                to,
                offset_ms,
                seen,
                source,
            },
            Self::Correct(token, expect_ms, offset_ms, seen, source) => Mutation::Correct {
                token,
                expect_ms,
                offset_ms,
                seen,
                source,
            },
            Self::Count(token, to, seen) => Mutation::Count { token, to, seen },
            Self::Seen(token, seen) => Mutation::Seen { token, seen },
            Self::Fail(token) => Mutation::Fail { token },
            Self::Pardon(token) => Mutation::Pardon { token },
            Self::Prove(id, at) => Mutation::Prove { id, at },
            Self::DestroySeed(token) => Mutation::DestroySeed { token },
            Self::Oblige(new) => Mutation::Oblige(new),
            Self::Discharge(id, at) => Mutation::Discharge { id, at },
            Self::Begin(new) => Mutation::Begin(new),
            Self::Phase(operation, phase, detail) => Mutation::Phase {
                operation,
                phase,
                detail,
            },
            Self::End(operation) => Mutation::End {
                operation,
                end: IntentEnd::Completed,
            },
            Self::Try(subject, caller, at, spent, passed) => Mutation::Try {
                account: Account::Subject(subject.to_owned()),
                caller,
                at,
                spent,
                passed,
            },
            Self::Unlock(subject) => Mutation::Unlock {
                account: Account::Subject(subject.to_owned()),
            },
            Self::KeepCodes(token, count) => Mutation::KeepCodes {
                token,
                codes: (0..count).map(code).collect(),
            },
            Self::UseCode(token, slot, seen) => Mutation::UseCode { token, slot, seen },
        }
    }
}

impl Model {
    fn token(&mut self, id: TokenId, at: i64) -> Result<&mut (TokenRecord, Option<String>), LedgerError> {
        let found = self.tokens.get_mut(&id).ok_or(LedgerError::NotFound("token"))?;
        found.0.updated = UnixMillis(at);
        Ok(found)
    }

    fn holder(&self, unique: Option<&String>, but: TokenId) -> Result<(), LedgerError> {
        let Some(unique) = unique else { return Ok(()) };
        let holder = self
            .tokens
            .values()
            .find(|(token, held)| held.as_ref() == Some(unique) && token.id != but);
        match holder {
            Some((token, _)) => Err(LedgerError::Duplicate {
                what: if unique.starts_with("fob:") {
                    "serial"
                } else {
                    "credential"
                },
                token: token.id,
            }),
            None => Ok(()),
        }
    }

    /// Only what is in use can prove itself.
    fn provable(record: &TokenRecord) -> Result<(), LedgerError> {
        match record.state {
            TokenState::Pending | TokenState::Active => Ok(()),
            is => Err(LedgerError::WrongState {
                is,
                needs: "pending or active".to_owned(),
            }),
        }
    }

    fn proved(record: &mut TokenRecord, seen: UnixMillis) {
        record.last_seen = Some(seen);
        record.failures = 0;
    }

    /// One row more; of tests closer than twenty hours the one in between goes.
    fn learn(&mut self, before: &TokenRecord, after_ms: i64, source: DriftSource, at: i64) -> Result<(), LedgerError> {
        let rows = self.drift.entry(before.id).or_default();
        if rows.last().is_some_and(|last| last.seq == self.entries + 1) {
            return Err(LedgerError::Stale("history of the clock"));
        }
        if let [.., earlier, last] = rows.as_slice()
            && [earlier.source, last.source, source] == [DriftSource::Test; 3]
            && last.at.0 - earlier.at.0 < 20 * 3_600_000
        {
            rows.pop();
        }
        rows.push(DriftPoint {
            seq: self.entries + 1,
            at: UnixMillis(at),
            source,
            before_ms: before.last_seen.map(|_| before.offset_ms),
            after_ms,
            seen_before: before.last_seen,
        });
        Ok(())
    }

    /// A pass ends the account's run and the caller's own there; a miss adds to both, and to the caller's over all accounts.
    fn tried(&mut self, subject: &str, caller: u32, (at, spent): (UnixMillis, UnixMillis), passed: bool) {
        let (grown, callers) = self.tries.entry(subject.to_owned()).or_default();
        *grown = spent;
        let new = CallerTries {
            caller,
            count: 0,
            share: 0,
            last: at,
        };
        callers.entry(caller).or_insert(new);
        for tries in callers.values_mut() {
            let own = tries.caller == caller;
            match (own, passed) {
                (true, true) => (tries.count, tries.share) = (0, 0),
                (true, false) => (tries.count, tries.share) = (tries.count + 1, tries.share + 1),
                (false, true) => tries.share = 0,
                (false, false) => {}
            }
            if own {
                tries.last = at;
            }
        }
        let before = self.sweeps.get(&caller).map_or(0, |sweep| sweep.count);
        let count = if passed { 0 } else { before + 1 };
        self.sweeps.insert(caller, Sweep { count, last: at });
    }

    fn play(&mut self, plan: Plan, at: i64) -> Result<(), LedgerError> {
        match plan {
            Plan::Insert(mut record, seeded, unique) => {
                if self.tokens.contains_key(&record.id) {
                    return Err(LedgerError::Duplicate {
                        what: "id",
                        token: record.id,
                    });
                }
                let unique = unique.filter(|_| record.state != TokenState::Revoked);
                self.holder(unique.as_ref(), record.id)?;
                record.has_seed = seeded;
                record.created = UnixMillis(at);
                record.updated = UnixMillis(at);
                self.tokens.insert(record.id, (*record, unique));
            }
            Plan::Transition(token, from, to, reason) => {
                let (record, unique) = self.token(token, at)?;
                if !from.contains(&record.state) || record.state == TokenState::Revoked {
                    let needs = from.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" or ");
                    return Err(LedgerError::WrongState {
                        is: record.state,
                        needs,
                    });
                }
                record.state = to;
                record.revoke_reason = reason;
                if to == TokenState::Revoked {
                    *unique = None;
                }
            }
            Plan::Assign(token, subject) => {
                let (record, _) = self.token(token, at)?;
                if record.state != TokenState::Inventory {
                    return Err(LedgerError::WrongState {
                        is: record.state,
                        needs: "inventory".to_owned(),
                    });
                }
                record.state = TokenState::Pending;
                record.personal.subject = Some(subject);
            }
            Plan::Serial(token, serial) => {
                let (record, _) = self.token(token, at)?;
                if record.state != TokenState::Pending {
                    return Err(LedgerError::WrongState {
                        is: record.state,
                        needs: "pending".to_owned(),
                    });
                }
                record.personal.serial = Some(serial);
            }
            Plan::Bind(token, binding, unique) => {
                let revoked = self.token(token, at)?.0.state == TokenState::Revoked;
                let unique = unique.filter(|_| !revoked);
                self.holder(unique.as_ref(), token)?;
                let (record, held) = self.token(token, at)?;
                record.binding = binding;
                if unique.is_some() {
                    *held = unique;
                }
            }
            Plan::Correct(token, expect_ms, offset_ms, seen, source) => {
                let (record, _) = self.token(token, at)?;
                Self::provable(record)?;
                if record.offset_ms != expect_ms {
                    return Err(LedgerError::Stale("offset"));
                }
                let before = record.clone();
                record.offset_ms = offset_ms;
                record.last_seen = seen.or(record.last_seen);
                self.learn(&before, offset_ms, source, at)?;
            }
            Plan::Advance(token, to, offset_ms, seen, source) => {
                let (record, _) = self.token(token, at)?;
                let before = record.clone();
                Self::provable(record)?;
                if record.watermark.is_some_and(|watermark| watermark >= to) {
                    return Err(LedgerError::Stale("watermark"));
                }
                record.watermark = Some(to);
                record.offset_ms = offset_ms;
                Self::proved(record, seen);
                if let Some(source) = source {
                    self.learn(&before, offset_ms, source, at)?;
                }
            }
            Plan::Count(token, to, seen) => {
                let (record, _) = self.token(token, at)?;
                Self::provable(record)?;
                if to <= record.sign_count && (to, record.sign_count) != (0, 0) {
                    return Err(LedgerError::Stale("signature counter"));
                }
                record.sign_count = to;
                Self::proved(record, seen);
            }
            Plan::Seen(token, seen) => {
                let (record, _) = self.token(token, at)?;
                Self::provable(record)?;
                Self::proved(record, seen);
            }
            Plan::Pardon(token) => self.token(token, at)?.0.failures = 0,
            Plan::Prove(id, at) => {
                let found = self
                    .obligations
                    .get_mut(&id)
                    .ok_or(LedgerError::NotFound("obligation"))?;
                if found.discharged.is_some() {
                    return Err(LedgerError::Stale("obligation"));
                }
                found.proven = Some(at);
            }
            Plan::Fail(token) => self.token(token, at)?.0.failures += 1,
            Plan::DestroySeed(token) => {
                self.token(token, at)?.0.has_seed = false;
                self.sheets.remove(&token);
            }
            Plan::Try(subject, caller, at, spent, passed) => self.tried(subject, caller, (at, spent), passed),
            Plan::Unlock(subject) => {
                let (spent, callers) = self.tries.get_mut(subject).ok_or(LedgerError::NotFound("wrong try"))?;
                *spent = UnixMillis(0);
                for tries in callers.values_mut() {
                    (tries.count, tries.share) = (0, 0);
                }
            }
            Plan::KeepCodes(token, count) => {
                self.token(token, at)?;
                if self.sheets.contains_key(&token) {
                    return Err(LedgerError::Stale("sheet of recovery codes"));
                }
                self.sheets.insert(token, vec![true; usize::from(count)]);
            }
            Plan::UseCode(token, slot, seen) => {
                let (record, _) = self.token(token, at)?;
                Self::provable(record)?;
                Self::proved(record, seen);
                let sheet = self.sheets.get_mut(&token);
                match sheet.and_then(|sheet| sheet.get_mut(usize::from(slot))) {
                    Some(unused) if *unused => *unused = false,
                    _ => return Err(LedgerError::Stale("recovery code")),
                }
            }
            Plan::Oblige(new) => {
                self.tokens.get(&new.token).ok_or(LedgerError::NotFound("token"))?;
                if self.obligations.contains_key(&new.id) {
                    return Err(LedgerError::Stale("obligation"));
                }
                self.obligations.insert(new.id, new);
            }
            Plan::Discharge(id, at) => {
                let found = self
                    .obligations
                    .get_mut(&id)
                    .ok_or(LedgerError::NotFound("obligation"))?;
                if found.discharged.is_some() {
                    return Err(LedgerError::Stale("obligation"));
                }
                found.discharged = Some(at);
            }
            Plan::Begin(new) => {
                if self.intents.contains_key(&new.operation) {
                    return Err(LedgerError::Stale("operation"));
                }
                self.ever.push(new.operation);
                self.intents.insert(new.operation, new);
            }
            Plan::Phase(operation, phase, detail) => {
                let found = self
                    .intents
                    .get_mut(&operation)
                    .ok_or(LedgerError::NotFound("open operation"))?;
                found.phase = phase;
                if let Some(detail) = detail {
                    found.detail = detail;
                }
            }
            Plan::End(operation) => {
                self.intents
                    .remove(&operation)
                    .ok_or(LedgerError::NotFound("open operation"))?;
            }
        }
        Ok(())
    }

    async fn agrees(&self, ledger: &SqliteLedger) {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = ledger.find(&Filter::default(), cursor.as_deref(), 9).await.unwrap();
            found.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        let due: Vec<_> = self.tokens.values().map(|(token, _)| token.clone()).collect();
        assert_eq!(found, due);
        let mut due: Vec<_> = self.obligations.values().cloned().collect();
        due.sort_by_key(|obligation| (obligation.created, obligation.id));
        assert_eq!(
            ledger
                .obligations(ObligationFilter::default(), None, 1000)
                .await
                .unwrap()
                .items,
            due
        );
        due.retain(|obligation| obligation.discharged.is_none());
        assert_eq!(ledger.obligations(OPEN, None, 1000).await.unwrap().items, due);
        for token in self.tokens.keys() {
            let due = self.drift.get(token).cloned().unwrap_or_default();
            assert_eq!(ledger.drift(*token, 1000).await.unwrap(), due);
        }
        for token in self.tokens.keys() {
            let sheet = self.sheets.get(token).cloned().unwrap_or_default();
            let unused = sheet.iter().filter(|unused| **unused).count();
            assert_eq!(ledger.recovery_left(*token).await.unwrap() as usize, unused);
            for slot in 0..4 {
                let good = sheet.get(usize::from(slot)).is_some_and(|unused| *unused);
                let found = ledger.recovery_slot(*token, &code(slot)).await.unwrap();
                assert_eq!(found, good.then_some(slot));
            }
        }
        for (subject, caller) in SUBJECTS.iter().flat_map(|s| CALLERS.iter().map(move |c| (*s, *c))) {
            let (spent, callers) = self.tries.get(subject).cloned().unwrap_or_default();
            let due = Standing {
                spent,
                callers: callers.into_values().collect(),
                sweep: self.sweeps.get(&caller).copied(),
            };
            let account = Account::Subject(subject.to_owned());
            assert_eq!(ledger.standing(&account, caller).await.unwrap(), due);
        }
        let due: Vec<_> = self.intents.values().cloned().collect();
        assert_eq!(ledger.open_intents().await.unwrap(), due);
        for kind in TokenKind::ALL {
            let filter = Filter {
                kind: Some(*kind),
                state: Some(TokenState::Active),
                ..Filter::default()
            };
            let due = self
                .tokens
                .values()
                .filter(|(t, _)| t.kind == *kind && t.state == TokenState::Active)
                .count();
            assert_eq!(ledger.find(&filter, None, 1000).await.unwrap().items.len(), due);
        }
    }
}

#[tokio::test]
async fn random_commits_do_what_the_model_does() {
    let (mut accepted, mut refused) = (0_u64, BTreeMap::<String, u64>::new());
    for seed in 0..SEEDS {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = open(dir.path()).await.unwrap();
        let mut model = Model::default();
        let mut dice = Dice(seed);
        let mut entries = 0;
        for at in 0..COMMITS {
            let plans: Vec<_> = (0..=dice.roll(3)).map(|_| Plan::roll(&mut dice, &model, at)).collect();
            let mut next = model.clone();
            let due = plans.iter().try_for_each(|plan| next.play(plan.clone(), at));
            let done = ledger
                .commit(event(at), plans.iter().cloned().map(Plan::mutation).collect())
                .await;
            match due {
                Ok(()) => {
                    model = next;
                    entries += 1;
                    model.entries = entries;
                    accepted += 1;
                    assert_eq!(done, Ok(entries), "seed {seed}, commit {at}: {plans:?}");
                }
                Err(why) => {
                    assert_eq!(done, Err(why.clone()), "seed {seed}, commit {at}: {plans:?}");
                    *refused
                        .entry(format!("{why:?}").chars().take_while(|c| *c != '{').collect())
                        .or_default() += 1;
                }
            }
            if at % 40 == 39 {
                model.agrees(&ledger).await;
                ledger.close().await;
                ledger = open(dir.path()).await.unwrap();
                model.agrees(&ledger).await;
                let report = ledger.verify().await.unwrap();
                assert_eq!(
                    (report.findings, report.entries),
                    (vec![], entries),
                    "seed {seed}, commit {at}"
                );
            }
        }
    }
    println!("{accepted} commits accepted, refused: {refused:#?}");
    for kind in ["NotFound", "Stale", "WrongState", "Duplicate"] {
        assert!(refused.keys().any(|why| why.starts_with(kind)), "{kind} never came up");
    }
}
