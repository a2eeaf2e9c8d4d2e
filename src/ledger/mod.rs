//! The memory: every token the organisation has handed out, what is still owed to devices, what was under way, and the
//! journal of how it came to be.
//!
//! One way in: [`Ledger::commit`] writes a list of [`Mutation`]s and their one journal [`Event`] in one transaction, or
//! nothing. The journal holds the mutations themselves (personal data and secrets only as keyed tags), so that
//! [`Ledger::verify`] can replay it against the rows.

mod bypass;
mod canonical;
mod cases;
mod journal;
mod lock;
mod mutation;
mod people;
mod record;
mod replacement;
mod replay;
mod seal;
mod sqlite;
mod tries;
mod verify;

use async_trait::async_trait;
use serde::Serialize;

use crate::grant::Action;
use crate::types::stamp::{Reading, Stamp};
use crate::types::{CaseId, ObligationId, OperationId, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

pub use bypass::{BypassCounts, BypassFilter, BypassRecord, BypassState, NewBypass};
pub use cases::{CaseFilter, CaseHistory, CaseNote, CasePersonal, CaseRecord, NewCase, NewNote, Said};
pub(crate) use mutation::PROVABLE;
pub use mutation::{Event, Mutation, Unique};
pub use people::Frozen;
pub use record::{
    Attestation, Binding, DriftPoint, Duty, Factor, Intent, IntentEnd, KeyIdentity, Oath, Obligation, Personal,
    TokenRecord,
};
pub use replacement::{Replacement, VERB as REPLACE_VERB};
pub use seal::{KEY_LEN, KeySource};
pub use sqlite::{OpenOptions, SqliteLedger};
pub use tries::{Account, CallerTries, Standing, Sweep};

/// Why the ledger did not do it. Nothing was written when one of these comes back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No such token, obligation or operation.
    #[error("there is no such {0} in the ledger")]
    NotFound(&'static str),
    /// The token is not in a state from which this is possible.
    #[error("the token is {is}; this needs it to be {needs}")]
    WrongState {
        /// State found.
        is: TokenState,
        /// States that would do, in words.
        needs: String,
    },
    /// A conditional update touched no row: somebody was faster, or the value would have gone down.
    #[error("the {0} has moved on meanwhile")]
    Stale(&'static str),
    /// A live token with this serial or credential exists.
    #[error("a live token with this {what} exists: {token}")]
    Duplicate {
        /// “serial”, “credential”.
        what: &'static str,
        /// The one that exists.
        token: TokenId,
    },
    /// No room left on the disk.
    #[error("the disk with the ledger is full: make room in {0}")]
    Full(String),
    /// The state directory cannot be written.
    #[error("the ledger in {0} cannot be written: check owner, mode and mount")]
    ReadOnly(String),
    /// Another daemon owns it.
    #[error("another clavigerd owns the ledger in {0}: only one may run")]
    Owned(String),
    /// The sealing key is missing, has the wrong length or mode, or is not the one the ledger was sealed with.
    #[error("sealing key: {0}")]
    Key(String),
    /// Stored bytes do not decrypt or do not parse.
    #[error("the ledger is damaged: {0}; run “claviger audit verify”")]
    Damaged(String),
    /// Written by a newer Claviger.
    #[error("the ledger was written by a newer clavigerd")]
    Newer,
    /// Anything else the store says.
    #[error("ledger storage: {0}")]
    Storage(String),
}

/// Why none of many commits was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commit {at}: {error}")]
pub struct BatchFailure {
    /// Which of them could not be, from 0; of a fault of the whole, 0.
    pub at: usize,
    /// Why.
    pub error: LedgerError,
}

/// An entry as it is read back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalEntry {
    /// Its number, from 1, without gaps.
    pub seq: u64,
    /// When.
    pub at: UnixMillis,
    /// Event name.
    pub name: String,
    /// Uid that asked; none for the daemon itself.
    pub uid: Option<u32>,
    /// Action granted.
    pub action: Action,
    /// Token concerned.
    pub token: Option<TokenId>,
    /// Operation concerned.
    pub operation: Option<OperationId>,
    /// The whole payload as it is chained.
    pub payload: serde_json::Value,
}

/// One thing that `verify` found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Entry number, when it is about the chain.
    pub seq: Option<u64>,
    /// Token, when it is about a row.
    pub token: Option<TokenId>,
    /// What is wrong, a sentence.
    pub what: String,
}

/// What `verify` found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Entries read.
    pub entries: u64,
    /// Tokens compared.
    pub tokens: u64,
    /// Head of the chain: number and MAC in hex, to be kept elsewhere as a witness.
    pub head: String,
    /// What is wrong; empty means that all agrees. At most 1,000.
    pub findings: Vec<Finding>,
}

/// Which tokens to find. All given members must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this kind.
    pub kind: Option<TokenKind>,
    /// In this state.
    pub state: Option<TokenState>,
    /// Not revoked.
    pub alive: bool,
    /// For this subject, exactly.
    pub subject: Option<String>,
    /// With this serial, exactly.
    pub serial: Option<String>,
    /// Of this manufacturer, exactly.
    pub maker: Option<String>,
    /// Of this model, exactly.
    pub model: Option<String>,
    /// Of this delivery, exactly.
    pub batch: Option<String>,
    /// With this credential id (FIDO2, base64url) or applet device id.
    pub body: Option<String>,
}

/// Which obligations to list. All given members must hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObligationFilter {
    /// Not discharged.
    pub open: bool,
    /// Only those by which a plugged-in device of this reality can be recognised.
    pub recognisable: Option<Reality>,
}

/// One page, in order of id; `next` goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// At most `limit`.
    pub items: Vec<T>,
    /// Where to go on, if there is more.
    pub next: Option<String>,
}

/// Commits of one transaction, in their order. A long list may be made while it is written: it is asked from another thread, and
/// must not wait for the ledger.
pub type Commits = Box<dyn ExactSizeIterator<Item = (Event, Vec<Mutation>)> + Send>;

/// The memory. Every method is one transaction.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes mutations and event, durably (synchronous FULL), or nothing. Returns the entry's number.
    ///
    /// # Errors
    /// Conditions that do not hold: [`LedgerError::WrongState`], [`LedgerError::Stale`], [`LedgerError::Duplicate`],
    /// [`LedgerError::NotFound`]; storage: the others.
    async fn commit(&self, event: Event, mutations: Vec<Mutation>) -> Result<u64, LedgerError>;

    /// Writes many commits in one transaction, each with its own journal entry: all of them, or none. Returns the number of the
    /// last entry. An empty list writes nothing and returns the number of the entry before.
    ///
    /// # Errors
    /// As [`Ledger::commit`], with which of them it was.
    async fn commit_all(&self, commits: Commits) -> Result<u64, BatchFailure>;

    /// Wrong tries on an account, and those of `caller` over all accounts. One that was never tried has none.
    ///
    /// # Errors
    /// Storage only.
    async fn standing(&self, account: &Account, caller: u32) -> Result<Standing, LedgerError>;

    /// Which unused recovery code of a token this is; the same work whatever it is. For [`Mutation::UseCode`].
    ///
    /// # Errors
    /// Storage only.
    async fn recovery_slot(&self, token: TokenId, code: &Secret) -> Result<Option<u16>, LedgerError>;

    /// How many recovery codes of a token are unused.
    ///
    /// # Errors
    /// Storage only.
    async fn recovery_left(&self, token: TokenId) -> Result<u32, LedgerError>;

    /// The live token that holds this, if one does.
    ///
    /// # Errors
    /// Storage only.
    async fn holder(&self, unique: &Unique) -> Result<Option<TokenId>, LedgerError>;

    /// The same of many, in their order.
    ///
    /// # Errors
    /// Storage only.
    async fn holders(&self, uniques: &[Unique]) -> Result<Vec<Option<TokenId>>, LedgerError> {
        let mut holders = Vec::with_capacity(uniques.len());
        for unique in uniques {
            holders.push(self.holder(unique).await?);
        }
        Ok(holders)
    }

    /// What was learned of a token's clock: the newest `limit` rows (capped at 4,096), oldest first. Of tests in a row one in
    /// 20 hours is kept besides the newest.
    ///
    /// # Errors
    /// Storage only; an unknown token has no rows.
    async fn drift(&self, token: TokenId, limit: u32) -> Result<Vec<DriftPoint>, LedgerError>;

    /// One token.
    ///
    /// # Errors
    /// Storage only; an unknown id is `None`.
    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>, LedgerError>;

    /// Tokens by filter, at most `limit` (capped at 1,000).
    ///
    /// # Errors
    /// Storage; [`LedgerError::NotFound`] for a cursor that is none of ours.
    async fn find(&self, filter: &Filter, cursor: Option<&str>, limit: u32) -> Result<Page<TokenRecord>, LedgerError>;

    /// Opens the sealed seed.
    ///
    /// # Errors
    /// [`LedgerError::NotFound`] when none is stored; [`LedgerError::Damaged`] when it does not open.
    async fn seed(&self, id: TokenId) -> Result<Secret, LedgerError>;

    /// Obligations by filter, oldest first.
    ///
    /// # Errors
    /// Storage.
    async fn obligations(
        &self,
        filter: ObligationFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<Obligation>, LedgerError>;

    /// One obligation.
    ///
    /// # Errors
    /// Storage.
    async fn obligation(&self, id: ObligationId) -> Result<Option<Obligation>, LedgerError>;

    /// How often “later” was said for an account.
    ///
    /// # Errors
    /// Storage only.
    async fn deferrals(&self, account: &Account) -> Result<u32, LedgerError>;

    /// Operators whose authority is frozen, in order of uid.
    ///
    /// # Errors
    /// Storage only.
    async fn freezes(&self) -> Result<Vec<Frozen>, LedgerError>;

    /// Journal entries before `before` that are alarms, the newest first, at most `limit`.
    ///
    /// # Errors
    /// Storage only.
    async fn alarms(&self, before: u64, limit: u32) -> Result<Vec<u64>, LedgerError>;

    /// One case, without its notes.
    ///
    /// # Errors
    /// Storage only; an unknown id is `None`.
    async fn case(&self, id: CaseId) -> Result<Option<CaseRecord>, LedgerError>;

    /// What was said and done in a case, oldest first.
    ///
    /// # Errors
    /// Storage only; an unknown case has none.
    async fn case_notes(&self, id: CaseId) -> Result<Vec<CaseNote>, LedgerError>;

    /// Cases by filter, oldest first, at most `limit` (capped at 1,000).
    ///
    /// # Errors
    /// Storage; [`LedgerError::NotFound`] for a cursor that is none of ours.
    async fn cases(
        &self,
        filter: &CaseFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<CaseRecord>, LedgerError>;

    /// The count of time that has passed at most at which the next open case will have waited too long, if nobody was told before.
    ///
    /// # Errors
    /// Storage only.
    async fn next_deadline(&self) -> Result<Option<u64>, LedgerError>;

    /// Cases about a subject that were opened when the count of time that has passed at least was `since_least_ms` or more.
    ///
    /// # Errors
    /// Storage only.
    async fn case_history(&self, subject: &str, since_least_ms: u64) -> Result<CaseHistory, LedgerError>;

    /// Emergency bypasses by filter, in the order of their cases, at most `limit` (capped at 1,000).
    ///
    /// # Errors
    /// Storage; [`LedgerError::NotFound`] for a cursor that is none of ours.
    async fn bypasses(
        &self,
        filter: &BypassFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<BypassRecord>, LedgerError>;

    /// A subject's bypasses: those issued when the count of time that has passed at least was `since_least_ms` or more, and those
    /// that nobody has reviewed.
    ///
    /// # Errors
    /// Storage only.
    async fn bypass_counts(&self, subject: &str, since_least_ms: u64) -> Result<BypassCounts, LedgerError>;

    /// The bypass of a subject that was not reviewed yet, and whether this is its code; the same work whatever it is, and whether
    /// there is one or not. For [`Mutation::TryBypass`].
    ///
    /// # Errors
    /// Storage only.
    async fn bypass_of(&self, subject: &str, code: &Secret) -> Result<Option<(BypassRecord, bool)>, LedgerError>;

    /// What [`Mutation::KeepTime`] kept last.
    ///
    /// # Errors
    /// Storage only; a new ledger has kept none.
    async fn kept_time(&self) -> Result<Option<(Reading, Stamp)>, LedgerError>;

    /// Operations that were begun and not closed.
    ///
    /// # Errors
    /// Storage.
    async fn open_intents(&self) -> Result<Vec<Intent>, LedgerError>;

    /// Replacements that are half done.
    ///
    /// # Errors
    /// Storage.
    async fn replacements(&self) -> Result<Vec<Replacement>, LedgerError> {
        let open = self.open_intents().await?;
        Ok(open.iter().filter_map(Replacement::of).collect())
    }

    /// Entries after `after`, at most `limit` (capped at 1,000).
    ///
    /// # Errors
    /// Storage.
    async fn journal(&self, after: u64, limit: u32) -> Result<Vec<JournalEntry>, LedgerError>;

    /// Recomputes the chain and replays it against the rows.
    ///
    /// # Errors
    /// Storage; what is wrong in the content is a [`Finding`], not an error.
    async fn verify(&self) -> Result<VerifyReport, LedgerError>;

    /// The head of the chain: number of the last entry and its MAC in hex. Kept elsewhere it is a witness against a ledger that
    /// was put back whole.
    ///
    /// # Errors
    /// Storage.
    fn head(&self) -> Result<(u64, String), LedgerError>;

    /// Checkpoints and closes. Calls after it fail.
    async fn close(&self);
}
