//! The budget of wrong tries: who may have a code looked at now. Every verb that judges a code is admitted here first and adds
//! what came of it to its commit, so that `Test`, `Verify`, `Resync` and its preview draw on one budget.
//!
//! Pure but for [`Tries`], which keeps tries of one account in a row one behind the other. Why the figures are what they are
//! is in `docs/adr/0007-budget-of-wrong-tries.md`; NIST SP 800-63B-4 section 3.2.2 sets the limit of 100.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Lane, OwnedMutexGuard};

use crate::ledger::{Account, Ledger, LedgerError, Mutation, Standing};
use crate::lifecycle::Refusal;
use crate::types::UnixMillis;

/// Wrong tries in a row that cost nothing: people mistype.
const FREE: u32 = 3;
/// Wrong tries in a row after which an account is locked for a while.
pub const SOFT_LIMIT: u32 = 10;
/// Wrong tries in a row, by all callers together, after which a person must lift the lock.
pub const HARD_LIMIT: u32 = 100;
/// The first soft lock, in milliseconds. It doubles with each further wrong try.
const SOFT_LOCK_MS: i64 = 15 * 60_000;
/// The longest soft lock, in milliseconds.
const LONGEST_LOCK_MS: i64 = 24 * 3_600_000;
/// Wrong tries that an account has in hand, whoever makes them and whatever passes in between.
const IN_HAND: i64 = 30;
/// How long until one of those has grown again, in milliseconds.
const REGROWTH_MS: i64 = 8 * 3_600_000;
/// Wrong tries in a row, over all accounts, after which a caller is slowed down. Low enough to slow a sweep over a directory,
/// high enough for a morning at the log-in of a large house.
const CALLER_FREE: u32 = 20;
/// The longest that a caller as a whole is made to wait, in milliseconds: a log-in program serves everybody, so this must
/// not become a way to keep everybody out.
const CALLER_LONGEST_MS: i64 = 32_000;

/// Whether a code may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// It may.
    Open,
    /// In so many milliseconds.
    Later(i64),
    /// Too many wrong tries in a row; in so many milliseconds.
    SoftLocked(i64),
    /// When a person has lifted the lock.
    HardLocked,
}

impl Admission {
    /// The word for it on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Later(_) => "waiting",
            Self::SoftLocked(_) => "soft-locked",
            Self::HardLocked => "locked",
        }
    }

    /// Whole seconds to wait, rounded up; 0 when waiting is not what helps.
    #[must_use]
    pub fn wait_s(self) -> u32 {
        match self {
            Self::Open | Self::HardLocked => 0,
            Self::Later(ms) | Self::SoftLocked(ms) => u32::try_from(ms.saturating_add(999) / 1000).unwrap_or(u32::MAX),
        }
    }

    fn refusal(self) -> Option<Refusal> {
        let wait_s = self.wait_s();
        match self {
            Self::Open => None,
            Self::Later(_) => Some(Refusal::TryLater { wait_s }),
            Self::SoftLocked(_) => Some(Refusal::SoftLocked { wait_s }),
            Self::HardLocked => Some(Refusal::Locked),
        }
    }

    /// The stricter of the two.
    fn and(self, other: Self) -> Self {
        let weight = |admission: Self| match admission {
            Self::Open => (0, 0),
            Self::Later(ms) => (1, ms),
            Self::SoftLocked(ms) => (2, ms),
            Self::HardLocked => (3, 0),
        };
        if weight(other) > weight(self) { other } else { self }
    }

    /// Open once `wait_ms` have passed since `last`.
    fn after(last: UnixMillis, wait_ms: i64, now: UnixMillis, lock: bool) -> Self {
        match last.plus_ms(wait_ms).0.saturating_sub(now.0).min(wait_ms) {
            ..=0 => Self::Open,
            left if lock => Self::SoftLocked(left),
            left => Self::Later(left),
        }
    }
}

/// How long to wait after the `count`th wrong try in a row, in milliseconds: nothing, then seconds that double, then from the
/// tenth on a quarter of an hour that doubles up to a day.
#[must_use]
pub fn wait_ms(count: u32) -> i64 {
    let doubled =
        |first: i64, times: u32, longest: i64| first.checked_shl(times.min(30)).unwrap_or(longest).min(longest);
    match count {
        ..=FREE => 0,
        SOFT_LIMIT.. => doubled(SOFT_LOCK_MS, count - SOFT_LIMIT, LONGEST_LOCK_MS),
        _ => doubled(1_000, count - FREE - 1, SOFT_LOCK_MS),
    }
}

/// Whether `caller` may have a code of the account looked at at `now`, which is a time of [`Ticker`].
///
/// Four answers, the strictest counts:
/// - what this caller did to this account: its back-off and soft lock, which bind nobody else;
/// - what the others did: ten wrong tries in a row that were not all made by one caller lock the account for all, so that one
///   caller alone never locks anybody out of another, and several are no way around the first;
/// - the account's tries in hand, which no pass refills, so that a guesser between two log-ins of his victim runs dry;
/// - what this caller did to everybody.
pub fn admission(standing: &Standing, caller: u32, now: UnixMillis) -> Admission {
    let run = standing.run();
    if run >= HARD_LIMIT {
        return Admission::HardLocked;
    }
    let own = standing.callers.iter().find(|tries| tries.caller == caller);
    let own = own.map_or(Admission::Open, |tries| {
        Admission::after(tries.last, wait_ms(tries.count), now, tries.count >= SOFT_LIMIT)
    });
    let most = standing.callers.iter().map(|tries| tries.share).max().unwrap_or(0);
    let others = run.saturating_sub(most);
    let last = standing.callers.iter().map(|tries| tries.last).max();
    let shared = match last {
        Some(last) if others >= SOFT_LIMIT => Admission::after(last, wait_ms(others), now, true),
        _ => Admission::Open,
    };
    let dry = standing.spent.0.saturating_sub((IN_HAND - 1) * REGROWTH_MS);
    let hand = match dry.saturating_sub(now.0).min(REGROWTH_MS) {
        ..=0 => Admission::Open,
        left => Admission::SoftLocked(left),
    };
    let sweep = standing.sweep.map_or(Admission::Open, |sweep| {
        let times = sweep.count.saturating_sub(CALLER_FREE);
        let wait = 1_000_i64.checked_shl(times.min(30)).unwrap_or(CALLER_LONGEST_MS);
        let wait = if sweep.count < CALLER_FREE {
            0
        } else {
            wait.min(CALLER_LONGEST_MS)
        };
        Admission::after(sweep.last, wait, now, false)
    });
    own.and(shared).and(hand).and(sweep)
}

/// Wrong tries that the account has in hand at `now`.
#[must_use]
pub fn in_hand(standing: &Standing, now: UnixMillis) -> u32 {
    let owed = standing.spent.0.saturating_sub(now.0).max(0);
    let spent = owed / REGROWTH_MS + i64::from(owed % REGROWTH_MS != 0);
    u32::try_from(IN_HAND.saturating_sub(spent).max(0)).unwrap_or(0)
}

/// When all wrong tries will have grown again, after one more.
fn spent_after(standing: &Standing, now: UnixMillis) -> UnixMillis {
    // Bounded, so that a clock that was far ahead once does not lock for ever.
    let until = standing.spent.max(now).min(now.plus_ms(IN_HAND * REGROWTH_MS));
    until.plus_ms(REGROWTH_MS)
}

/// A clock that never goes back and never stands still: the host's, but where that was set back it goes on from the latest time
/// that was ever written down. Otherwise a clock set back a year would make a wait of a second last a year, or setting it
/// forth and back would end one.
#[derive(Debug, Default)]
pub struct Ticker {
    highest: i64,
    ahead: i64,
}

impl Ticker {
    /// The time, given the host's and the latest that the standing knows of.
    pub fn at(&mut self, host: UnixMillis, known: Option<UnixMillis>) -> UnixMillis {
        self.highest = self.highest.max(known.map_or(i64::MIN, |at| at.0));
        if host.0 >= self.highest {
            self.ahead = 0;
        } else if host.0.saturating_add(self.ahead) < self.highest {
            self.ahead = self.highest.saturating_sub(host.0);
        }
        self.highest = host.0.saturating_add(self.ahead);
        UnixMillis(self.highest)
    }
}

/// The gate before every judgement of a code.
#[derive(Default)]
pub struct Tries {
    lanes: Mutex<HashMap<Account, Arc<Lane<()>>>>,
    ticker: Mutex<Ticker>,
}

/// A try that was admitted. While it lives, no other code of the account is looked at: guesses made at once are guesses made
/// one after the other. Exactly one of [`Admitted::passed`] and [`Admitted::missed`] belongs into the commit that records the
/// outcome.
pub struct Admitted {
    account: Account,
    caller: u32,
    at: UnixMillis,
    standing: Standing,
    _lane: OwnedMutexGuard<()>,
}

impl Tries {
    /// Admits one try of `caller` on `account`, or says how long to wait. Nothing of the code is known here: while a lock
    /// stands, a right one and a wrong one hear the same. A try that is not admitted is not counted, or a lock could be kept
    /// up for nothing.
    ///
    /// # Errors
    /// [`Refusal::TryLater`], [`Refusal::SoftLocked`], [`Refusal::Locked`]; storage.
    pub async fn admit(
        &self,
        ledger: &dyn Ledger,
        account: Account,
        caller: u32,
        now: UnixMillis,
    ) -> Result<Admitted, Refusal> {
        let lane = self.lane(&account).lock_owned().await;
        let (standing, at) = self.standing(ledger, &account, caller, now).await?;
        if let Some(refusal) = admission(&standing, caller, at).refusal() {
            return Err(refusal);
        }
        Ok(Admitted {
            account,
            caller,
            at,
            standing,
            _lane: lane,
        })
    }

    /// How an account stands for `caller`, and the time by which waits are measured.
    ///
    /// # Errors
    /// Storage.
    pub async fn standing(
        &self,
        ledger: &dyn Ledger,
        account: &Account,
        caller: u32,
        now: UnixMillis,
    ) -> Result<(Standing, UnixMillis), LedgerError> {
        let standing = ledger.standing(account, caller).await?;
        let known = standing.latest();
        let mut ticker = self.ticker.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ticker.at(now, known);
        Ok((standing, at))
    }

    fn lane(&self, account: &Account) -> Arc<Lane<()>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody waits in and nobody holds is needed no more.
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        Arc::clone(lanes.entry(account.clone()).or_default())
    }
}

impl Admitted {
    /// The right code: wrong tries in a row are forgotten, what this caller did to the account too.
    #[must_use]
    pub fn passed(&self) -> Mutation {
        Mutation::Try {
            account: self.account.clone(),
            caller: self.caller,
            at: self.at,
            spent: self.standing.spent,
            passed: true,
        }
    }

    /// A wrong code.
    #[must_use]
    pub fn missed(&self) -> Mutation {
        Mutation::Try {
            account: self.account.clone(),
            caller: self.caller,
            at: self.at,
            spent: spent_after(&self.standing, self.at),
            passed: false,
        }
    }

    /// Wrong tries in a row on this account before this one, by all callers.
    #[must_use]
    pub fn wrong_before(&self) -> u32 {
        self.standing.run()
    }
}

#[cfg(test)]
#[path = "tries_tests.rs"]
mod tests;
