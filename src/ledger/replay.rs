//! The journal played again, without a database: what the rows must say if nobody but us has written them.
//!
//! This is the second opinion on [`sqlite`](super::sqlite)'s statements, so it shares no code with them.

use std::collections::{BTreeMap, HashMap};

use super::journal::{Inserted, Opened, Recorded};
use super::{Binding, DriftPoint, Obligation, PROVABLE, Said};
use crate::types::cases::{Anomaly, Step};
use crate::types::{CaseId, DriftSource, ObligationId, OperationId, RevokeReason, TokenId, TokenState, UnixMillis};

mod bypass;
mod cases;

pub(crate) use self::bypass::Bypass;
pub(crate) use self::cases::{Case, Kept, Line, Notes};

mod people;

/// A sheet of recovery codes as the journal leaves it.
pub(crate) struct Codes {
    /// Tag over their hashes.
    pub(crate) tag: String,
    pub(crate) count: u16,
    /// Those that were used, and when.
    pub(crate) used: BTreeMap<u16, UnixMillis>,
}

/// An account that was tried, as the journal leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) spent: UnixMillis,
    /// By caller.
    pub(crate) callers: BTreeMap<u32, Count>,
}

/// Wrong tries of one caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) count: u32,
    /// Of the account's run; 0 where there is none.
    pub(crate) share: u32,
    pub(crate) last: UnixMillis,
}

impl Count {
    fn add(&mut self, at: UnixMillis, passed: bool) {
        let next = |n: u32| if passed { 0 } else { n.saturating_add(1) };
        (self.count, self.share, self.last) = (next(self.count), next(self.share), at);
    }
}

/// A token as the journal leaves it.
pub(crate) struct Token {
    /// As inserted, and as changed since.
    pub(crate) is: Inserted,
    pub(crate) created: UnixMillis,
    pub(crate) updated: UnixMillis,
    /// What was learned of its clock.
    pub(crate) drift: History,
    pub(crate) codes: Option<Codes>,
}

/// The history of a clock in bounded memory: what is settled as one digest, and the newest row, which may still go.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    settled: [u8; 32],
    /// The row before the newest.
    before: Option<(DriftSource, UnixMillis)>,
    newest: Option<DriftPoint>,
}

impl History {
    /// Adds a row as the ledger does.
    pub(crate) fn remember(&mut self, next: DriftPoint) {
        if let Some(newest) = self.newest.take()
            && !newest.yields(self.before, next.source)
        {
            self.settle(&newest);
        }
        self.newest = Some(next);
    }

    /// Adds a row of the table, which is thinned already.
    pub(crate) fn found(&mut self, next: DriftPoint) {
        if let Some(newest) = self.newest.take() {
            self.settle(&newest);
        }
        self.newest = Some(next);
    }

    fn settle(&mut self, point: &DriftPoint) {
        use sha2::{Digest, Sha256};
        let mut digest = Sha256::new();
        let number = |digest: &mut Sha256, n: Option<i64>| {
            digest.update([u8::from(n.is_some())]);
            digest.update(n.unwrap_or(0).to_be_bytes());
        };
        digest.update(self.settled);
        digest.update(point.seq.to_be_bytes());
        digest.update(point.at.0.to_be_bytes());
        digest.update(point.source.as_str());
        number(&mut digest, point.before_ms);
        digest.update(point.after_ms.to_be_bytes());
        number(&mut digest, point.seen_before.map(|at| at.0));
        self.settled = digest.finalize().into();
        self.before = Some((point.source, point.at));
    }

    /// Whether two histories have the same rows.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.settled == other.settled && self.newest == other.newest
    }
}

/// An open operation as the journal leaves it.
pub(crate) struct Open {
    pub(crate) verb: String,
    pub(crate) token: Option<TokenId>,
    pub(crate) phase: String,
    pub(crate) detail: String,
    pub(crate) started: UnixMillis,
}

/// One share of the ledger, so that a large one is replayed in several passes of bounded memory.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) tokens: HashMap<TokenId, Token>,
    pub(crate) obligations: HashMap<ObligationId, Obligation>,
    pub(crate) intents: HashMap<OperationId, Open>,
    pub(crate) cases: HashMap<CaseId, Case>,
    /// In the first share only.
    pub(crate) kept: Option<Kept>,
    /// By their tags.
    pub(crate) accounts: HashMap<String, Tried>,
    /// Over all accounts; in the first share only.
    pub(crate) callers: BTreeMap<u32, Count>,
    /// How often “later” was said, and when last, by the account's tag.
    pub(crate) deferrals: HashMap<String, (u32, UnixMillis)>,
    /// Frozen operators; in the first share only.
    pub(crate) freezes: BTreeMap<u32, (UnixMillis, Anomaly)>,
    share: Share,
}

/// Which ids belong to this pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    /// From 0.
    pub(crate) part: usize,
    /// How many there are.
    pub(crate) of: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { part: 0, of: 1 }
    }
}

impl Share {
    /// By the last bytes of the id, which are random in a UUID of version 7.
    pub(crate) fn has(self, id: &[u8; 16]) -> bool {
        let [.., high, low] = *id;
        usize::from(u16::from_be_bytes([high, low])).checked_rem(self.of) == Some(self.part)
    }
}

impl Replay {
    pub(crate) fn new(share: Share) -> Self {
        Self {
            share,
            ..Self::default()
        }
    }

    /// Plays one mutation of an entry made at `at`.
    ///
    /// # Errors
    /// A sentence, when the mutation contradicts what came before it: a journal of ours never does.
    pub(crate) fn play(&mut self, seq: u64, at: UnixMillis, mutation: Recorded) -> Result<(), String> {
        match &mutation {
            Recorded::Try {
                who,
                caller,
                at,
                spent,
                passed,
            } => {
                self.tried(who, *caller, *at, *spent, *passed);
                return Ok(());
            }
            Recorded::Unlock { who } => return self.unlock(who),
            Recorded::Defer { who, at } => {
                self.defer(who, *at);
                return Ok(());
            }
            Recorded::Freeze { operator, since, why } => return self.freeze(*operator, *since, *why),
            Recorded::Thaw { operator } => return self.thaw(*operator),
            Recorded::KeepTime {
                wall,
                boot_ms,
                boot,
                stamp,
            } => {
                let kept = Kept {
                    wall: *wall,
                    boot_ms: *boot_ms,
                    boot: boot.clone(),
                    stamp: *stamp,
                };
                return self.keep(kept);
            }
            _ => {}
        }
        if !self.share.has(subject(&mutation)) {
            return Ok(());
        }
        match mutation {
            Recorded::Insert(is) => self.insert(at, *is),
            Recorded::Transition { token, to, reason } => self.token(at, token)?.transition(to, reason),
            Recorded::Bind { token, binding, unique } => {
                self.token(at, token)?.bind(binding, unique);
                Ok(())
            }
            Recorded::Advance {
                token,
                to,
                offset_ms,
                seen,
                source,
            } => {
                let token = self.token(at, token)?;
                if let Some(source) = source {
                    token.measured(seq, at, offset_ms, source);
                }
                token.advance(to, offset_ms, seen)
            }
            Recorded::Correct {
                token,
                offset_ms,
                seen,
                source,
            } => {
                let token = self.token(at, token)?;
                token.measured(seq, at, offset_ms, source);
                token.correct(offset_ms, seen)
            }
            Recorded::Assign { token, personal } => self.token(at, token)?.assign(personal),
            Recorded::Serial { token, personal } => self.token(at, token)?.name(personal),
            Recorded::Count { token, to, seen } => self.token(at, token)?.count(to, seen),
            Recorded::Seen { token, seen } => self.token(at, token)?.proved(seen),
            Recorded::Fail { token } => {
                let is = &mut self.token(at, token)?.is;
                is.failures = is.failures.saturating_add(1);
                Ok(())
            }
            Recorded::Pardon { token } => {
                self.token(at, token)?.is.failures = 0;
                Ok(())
            }
            Recorded::DestroySeed { token } => {
                let token = self.token(at, token)?;
                token.is.seed = None;
                token.codes = None;
                Ok(())
            }
            Recorded::ReplaceSeed { token, seed } => {
                let token = self.token(at, token)?;
                token.is.seed = Some(seed);
                token.codes = None;
                Ok(())
            }
            Recorded::KeepCodes { token, codes, count } => {
                let new = Codes {
                    tag: codes,
                    count,
                    used: BTreeMap::new(),
                };
                match self.token(at, token)?.codes.replace(new) {
                    Some(_) => Err(format!("gives token {token} a second sheet of recovery codes")),
                    None => Ok(()),
                }
            }
            Recorded::UseCode { token, slot, seen } => self.token(at, token)?.use_code(slot, seen),
            // Played above: they are about more than one row.
            Recorded::Try { .. }
            | Recorded::Unlock { .. }
            | Recorded::KeepTime { .. }
            | Recorded::Defer { .. }
            | Recorded::Freeze { .. }
            | Recorded::Thaw { .. } => Ok(()),
            Recorded::OpenCase(opened) => self.open_case(at, opened),
            Recorded::Note {
                case,
                no,
                by,
                stamp,
                said,
                reference,
            } => {
                let line = Line {
                    seq,
                    no,
                    by,
                    at,
                    stamp,
                    said: &said,
                    reference,
                };
                self.open_case_of(case)?.notes.add(&line)
            }
            Recorded::Step {
                case,
                step,
                since,
                within_ms,
            } => {
                self.open_case_of(case)?.step(step, since, within_ms);
                Ok(())
            }
            Recorded::Escalate { case, step } => self.open_case_of(case)?.escalate(step),
            Recorded::CloseCase {
                case,
                by,
                no,
                stamp,
                outcome,
                checks,
                reference,
            } => {
                let said = Said::Closed { outcome, checks };
                let line = Line {
                    seq,
                    no,
                    by,
                    at,
                    stamp,
                    said: &said,
                    reference,
                };
                self.open_case_of(case)?.close(at, outcome, &line)
            }
            Recorded::IssueBypass {
                case,
                by,
                stamp,
                lasts_ms,
                uses,
                found_again,
                code,
            } => {
                let new = Bypass::new(at, by, stamp, (lasts_ms, uses), found_again, code);
                self.open_case_of(case)?.issue_bypass(new)
            }
            Recorded::TryBypass { case, at, passed } => self.open_case_of(case)?.unreviewed()?.tried(at, passed),
            Recorded::EndBypass {
                case,
                why,
                since,
                within_ms,
            } => {
                let case = self.open_case_of(case)?;
                case.step(Step::Review, since, within_ms);
                case.unreviewed()?.end(at, why)
            }
            Recorded::ReviewBypass { case, by } => {
                self.open_case_of(case)?.unreviewed()?.review(at, by);
                Ok(())
            }
            Recorded::Oblige(new) => match self.obligations.insert(new.id, new) {
                Some(old) => Err(format!("takes on obligation {} a second time", old.id)),
                None => Ok(()),
            },
            Recorded::Prove { id, at } => {
                let open = self
                    .obligations
                    .get_mut(&id)
                    .filter(|obligation| obligation.discharged.is_none());
                open.ok_or_else(|| format!("proves obligation {id}, which is not open"))?
                    .proven = Some(at);
                Ok(())
            }
            Recorded::Discharge { id, at } => {
                let open = self
                    .obligations
                    .get_mut(&id)
                    .filter(|obligation| obligation.discharged.is_none());
                let open = open.ok_or_else(|| format!("discharges obligation {id}, which is not open"))?;
                open.discharged = Some(at);
                Ok(())
            }
            Recorded::Begin {
                operation,
                verb,
                token,
                phase,
                detail,
                started,
            } => {
                let open = Open {
                    verb,
                    token,
                    phase,
                    detail,
                    started,
                };
                match self.intents.insert(operation, open) {
                    Some(_) => Err(format!("begins operation {operation} a second time")),
                    None => Ok(()),
                }
            }
            Recorded::Phase {
                operation,
                phase,
                detail,
            } => {
                let open = self.intents.get_mut(&operation);
                let open = open.ok_or_else(|| format!("moves on operation {operation}, which is not open"))?;
                open.phase = phase;
                if let Some(detail) = detail {
                    open.detail = detail;
                }
                Ok(())
            }
            Recorded::End { operation, .. } => match self.intents.remove(&operation) {
                Some(_) => Ok(()),
                None => Err(format!("ends operation {operation}, which is not open")),
            },
        }
    }

    /// A try is about two rows: the account's, and the caller's over all accounts, which is part of the first share.
    fn tried(&mut self, who: &str, caller: u32, at: UnixMillis, spent: UnixMillis, passed: bool) {
        if self.share.part == 0 {
            self.callers.entry(caller).or_default().add(at, passed);
        }
        if !self.share.has(&mark(who)) {
            return;
        }
        let account = self.accounts.entry(who.to_owned()).or_default();
        account.spent = spent;
        if passed {
            account.callers.values_mut().for_each(|tries| tries.share = 0);
        }
        account.callers.entry(caller).or_default().add(at, passed);
    }

    fn unlock(&mut self, who: &str) -> Result<(), String> {
        if !self.share.has(&mark(who)) {
            return Ok(());
        }
        let account = self.accounts.get_mut(who);
        let account = account.ok_or("unlocks an account that was never tried")?;
        account.spent = UnixMillis(0);
        for tries in account.callers.values_mut() {
            (tries.count, tries.share) = (0, 0);
        }
        Ok(())
    }

    fn insert(&mut self, at: UnixMillis, is: Inserted) -> Result<(), String> {
        let token = is.token;
        let new = Token {
            is,
            created: at,
            updated: at,
            drift: History::default(),
            codes: None,
        };
        match self.tokens.insert(token, new) {
            Some(_) => Err(format!("inserts token {token} a second time")),
            None => Ok(()),
        }
    }

    fn token(&mut self, at: UnixMillis, id: TokenId) -> Result<&mut Token, String> {
        let token = self.tokens.get_mut(&id);
        let token = token.ok_or_else(|| format!("changes token {id}, which was not inserted before"))?;
        token.updated = at;
        Ok(token)
    }
}

impl Token {
    fn transition(&mut self, to: TokenState, reason: Option<RevokeReason>) -> Result<(), String> {
        if self.is.state == TokenState::Revoked {
            return Err(format!("moves token {} on from its revocation", self.is.token));
        }
        self.is.state = to;
        self.is.reason = reason;
        if to == TokenState::Revoked {
            self.is.unique = None;
        }
        Ok(())
    }

    fn assign(&mut self, personal: String) -> Result<(), String> {
        if self.is.state != TokenState::Inventory {
            return Err(format!(
                "gives token {} to a person while it is {}",
                self.is.token, self.is.state
            ));
        }
        self.is.state = TokenState::Pending;
        self.is.personal = personal;
        Ok(())
    }

    fn name(&mut self, personal: String) -> Result<(), String> {
        if self.is.state != TokenState::Pending {
            return Err(format!(
                "notes a serial number of token {} while it is {}",
                self.is.token, self.is.state
            ));
        }
        self.is.personal = personal;
        Ok(())
    }

    fn bind(&mut self, binding: Binding, unique: Option<String>) {
        self.is.binding = binding;
        if unique.is_some() {
            self.is.unique = unique;
        }
    }

    fn advance(&mut self, to: u64, offset_ms: i64, seen: UnixMillis) -> Result<(), String> {
        if self.is.watermark.is_some_and(|watermark| watermark >= to) {
            return Err(format!("does not raise the watermark of token {}", self.is.token));
        }
        self.is.watermark = Some(to);
        self.is.offset_ms = offset_ms;
        self.proved(seen)
    }

    /// Before the change that it tells of.
    fn measured(&mut self, seq: u64, at: UnixMillis, after_ms: i64, source: DriftSource) {
        self.drift.remember(DriftPoint {
            seq,
            at,
            source,
            before_ms: self.is.last_seen.map(|_| self.is.offset_ms),
            after_ms,
            seen_before: self.is.last_seen,
        });
    }

    fn correct(&mut self, offset_ms: i64, seen: Option<UnixMillis>) -> Result<(), String> {
        if !PROVABLE.contains(&self.is.state) {
            return Err(format!(
                "corrects the clock of token {} while it is {}",
                self.is.token, self.is.state
            ));
        }
        self.is.offset_ms = offset_ms;
        self.is.last_seen = seen.or(self.is.last_seen);
        Ok(())
    }

    fn count(&mut self, to: u32, seen: UnixMillis) -> Result<(), String> {
        let none_kept = self.is.sign_count == 0 && to == 0;
        if self.is.sign_count >= to && !none_kept {
            return Err(format!(
                "does not raise the signature counter of token {}",
                self.is.token
            ));
        }
        self.is.sign_count = to;
        self.proved(seen)
    }

    fn use_code(&mut self, slot: u16, seen: UnixMillis) -> Result<(), String> {
        let codes = self.codes.as_mut().filter(|codes| slot < codes.count);
        let used = codes.map(|codes| codes.used.insert(slot, seen));
        match used {
            Some(None) => self.proved(seen),
            _ => Err(format!(
                "uses a recovery code of token {} that is not there",
                self.is.token
            )),
        }
    }

    /// Only a token that is in use can prove itself: an entry that says otherwise was written while its row had been changed by
    /// hand.
    fn proved(&mut self, seen: UnixMillis) -> Result<(), String> {
        if !PROVABLE.contains(&self.is.state) {
            return Err(format!(
                "lets token {} pass a test while it is {}",
                self.is.token, self.is.state
            ));
        }
        self.is.last_seen = Some(seen);
        self.is.failures = 0;
        Ok(())
    }
}

/// The id of the row that a mutation is about.
fn subject(mutation: &Recorded) -> &[u8; 16] {
    match mutation {
        Recorded::Insert(is) => is.token.as_bytes(),
        Recorded::Transition { token, .. }
        | Recorded::Assign { token, .. }
        | Recorded::Serial { token, .. }
        | Recorded::Bind { token, .. }
        | Recorded::Advance { token, .. }
        | Recorded::Correct { token, .. }
        | Recorded::Count { token, .. }
        | Recorded::Seen { token, .. }
        | Recorded::Fail { token }
        | Recorded::Pardon { token }
        | Recorded::KeepCodes { token, .. }
        | Recorded::UseCode { token, .. }
        | Recorded::DestroySeed { token }
        | Recorded::ReplaceSeed { token, .. } => token.as_bytes(),
        Recorded::Try { .. }
        | Recorded::Unlock { .. }
        | Recorded::KeepTime { .. }
        | Recorded::Defer { .. }
        | Recorded::Freeze { .. }
        | Recorded::Thaw { .. } => &[0; 16],
        Recorded::OpenCase(Opened { case, .. })
        | Recorded::Note { case, .. }
        | Recorded::Step { case, .. }
        | Recorded::Escalate { case, .. }
        | Recorded::IssueBypass { case, .. }
        | Recorded::TryBypass { case, .. }
        | Recorded::EndBypass { case, .. }
        | Recorded::ReviewBypass { case, .. }
        | Recorded::CloseCase { case, .. } => case.as_bytes(),
        Recorded::Oblige(obligation) => obligation.id.as_bytes(),
        Recorded::Prove { id, .. } | Recorded::Discharge { id, .. } => id.as_bytes(),
        Recorded::Begin { operation, .. } | Recorded::Phase { operation, .. } | Recorded::End { operation, .. } => {
            operation.as_bytes()
        }
    }
}

/// The bytes by which an account's tag, in hex, falls into a share: its last ones.
pub(crate) fn mark(who: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let end = who.len().checked_sub(4).and_then(|from| who.get(from..));
    let last = end.and_then(|end| u16::from_str_radix(end, 16).ok());
    if let Some(place) = bytes.last_chunk_mut::<2>() {
        *place = last.unwrap_or(0).to_be_bytes();
    }
    bytes
}
