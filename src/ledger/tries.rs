//! What the ledger remembers of tries with codes: how often whom, by whom. What follows from it is decided in
//! `lifecycle/tries.rs`.

use super::TokenRecord;
use crate::types::{TokenId, UnixMillis};

/// Whose codes are tried: all tokens of one subject share one budget.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// A person, as the organisation names people; whether there is one of this name is not asked.
    Subject(String),
    /// A token that is nobody's.
    Token(TokenId),
}

impl Account {
    /// The account that a token belongs to.
    #[must_use]
    pub fn of(record: &TokenRecord) -> Self {
        match &record.personal.subject {
            Some(subject) => Self::Subject(subject.clone()),
            None => Self::Token(record.id),
        }
    }

    /// The parts that are tagged, none of which can run into the next.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Subject(subject) => [b"subject", subject.as_bytes()],
            Self::Token(token) => [b"token", token.as_bytes()],
        }
    }
}

/// What one caller did to one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerTries {
    /// Uid.
    pub caller: u32,
    /// Its wrong tries in a row: since it last passed there itself.
    pub count: u32,
    /// Those of them since anybody last passed there.
    pub share: u32,
    /// When it last tried.
    pub last: UnixMillis,
}

/// What one caller did over all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Wrong tries in a row.
    pub count: u32,
    /// When it last tried.
    pub last: UnixMillis,
}

/// How an account stands, and the caller who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When all tries in hand will have grown again; in the past when none is spent.
    pub spent: UnixMillis,
    /// Who tried there, in order of uid.
    pub callers: Vec<CallerTries>,
    /// The caller who asks, over all accounts; `None` when it never tried.
    pub sweep: Option<Sweep>,
}

impl Standing {
    /// Wrong tries on the account since anybody last passed there.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.callers
            .iter()
            .fold(0, |sum, tries| sum.saturating_add(tries.share))
    }

    /// The latest time that is written down here.
    #[must_use]
    pub fn latest(&self) -> Option<UnixMillis> {
        let tried = self.callers.iter().map(|tries| tries.last);
        tried.chain(self.sweep.map(|sweep| sweep.last)).max()
    }
}
