//! The memory: every token the organisation has handed out, what is still owed to devices, what was under way, and the
//! journal of how it came to be.
//!
//! One way in: [`Ledger::commit`] writes a list of [`Mutation`]s and their one journal [`Event`] in one transaction, or
//! nothing. The journal holds the mutations themselves (personal data and secrets only as keyed tags), so that
//! [`Ledger::verify`] can replay it against the rows.

mod journal;
mod lock;
mod replay;
mod seal;
mod sqlite;
mod verify;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::grant::{Action, Authority};
use crate::types::{
    OathAlgorithm, ObligationId, OperationId, Reality, RevokeReason, Secret, TokenId, TokenKind, TokenState, UnixMillis,
};

pub use seal::{KEY_LEN, KeySource};
pub use sqlite::{OpenOptions, SqliteLedger};

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

/// Personal data of a token. Stands outside the chained entries; the chain holds a keyed tag of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personal {
    /// Who it is for, as the organisation names people.
    pub subject: Option<String>,
    /// Serial printed on or read from the device.
    pub serial: Option<String>,
    /// Free text of the bench.
    pub label: Option<String>,
}

/// What ties the record to the body of a device. Public values only; a seed is sealed apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Binding {
    /// Nothing yet.
    None,
    /// One FIDO2 credential.
    Fido2 {
        /// Relying party id the credential is scoped to.
        rp_id: String,
        /// Credential id, base64url without padding.
        credential_id: String,
        /// COSE_Key as received, base64url without padding.
        public_key: String,
        /// AAGUID, hyphenated.
        aaguid: String,
        /// Whether the credential is discoverable.
        discoverable: bool,
    },
    /// One credential of a YKOATH applet.
    OathCard {
        /// Credential name on the card.
        name: String,
        /// Applet's device id; changes when the applet is reset.
        device_id: String,
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
    },
    /// A display fob.
    Fob {
        /// Hash.
        algorithm: OathAlgorithm,
        /// Digits shown.
        digits: u8,
        /// Time step in seconds.
        period_s: u32,
    },
}

/// A token as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Its kind.
    pub kind: TokenKind,
    /// Its state.
    pub state: TokenState,
    /// Why it died, once it has.
    pub revoke_reason: Option<RevokeReason>,
    /// Matter or not. Fixed at insertion.
    pub reality: Reality,
    /// Model name, not personal.
    pub model: String,
    /// What ties it to a device.
    pub binding: Binding,
    /// Whether a sealed seed is stored.
    pub has_seed: bool,
    /// Token clock minus true time, in milliseconds, as last learned.
    pub offset_ms: i64,
    /// Last used time step (or counter): nothing at or below it is accepted. Never goes down.
    pub watermark: Option<u64>,
    /// Last signature counter seen (WebAuthn section 6.1.1).
    pub sign_count: u32,
    /// When it last proved itself.
    pub last_seen: Option<UnixMillis>,
    /// Wrong codes in a row.
    pub failures: u32,
    /// Personal data.
    pub personal: Personal,
    /// When it was inserted.
    pub created: UnixMillis,
    /// When it last changed.
    pub updated: UnixMillis,
}

/// What is to be done to a device when it is next seen. It prompts; it never acts unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obligation {
    /// Its id.
    pub id: ObligationId,
    /// The token that was revoked.
    pub token: TokenId,
    /// What is to be done.
    pub duty: Duty,
    /// Matter or not: a virtual device never discharges a real obligation.
    pub reality: Reality,
    /// Since when.
    pub created: UnixMillis,
    /// When a device proved that it is the one, just before what is owed was begun on it. After that the proof itself may be
    /// gone with the credential.
    pub proven: Option<UnixMillis>,
    /// When it was discharged, if it was.
    pub discharged: Option<UnixMillis>,
}

/// The deed, with what proves that a device is the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "duty", rename_all = "kebab-case")]
pub enum Duty {
    /// Delete our credential; proof: an assertion by it.
    DeleteCredential {
        /// Relying party id.
        rp_id: String,
        /// Credential id, base64url.
        credential_id: String,
        /// COSE_Key, base64url.
        public_key: String,
    },
    /// `authenticatorReset`, asked for by name; proof as above, taken before the reset.
    ResetKey {
        /// Relying party id.
        rp_id: String,
        /// Credential id, base64url.
        credential_id: String,
        /// COSE_Key, base64url.
        public_key: String,
    },
    /// Delete a credential whose id we never learned, because we were stopped while the key made it; proof: the key lists
    /// it under the random user id that was minted for that one registration.
    DeleteOrphan {
        /// Relying party id.
        rp_id: String,
        /// User id, hex.
        user_id: String,
    },
    /// Delete an OATH credential; proof: the card computes the right codes for challenges that were chosen at random and
    /// computed here before the seed was destroyed, so that the proof outlives the seed.
    DeleteOath {
        /// Credential name.
        name: String,
        /// Applet's device id.
        device_id: String,
        /// Random challenges with the codes the card must answer; each code is one chance in 10^digits.
        proofs: Vec<(u64, String)>,
    },
    /// A fob with no interface: collect and destroy it; discharged by a person's word.
    CollectFob,
}

/// An operation that was begun: written before the first act on hardware, closed with its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The operation.
    pub operation: OperationId,
    /// Its verb, `register` and so on.
    pub verb: String,
    /// The token it is about.
    pub token: Option<TokenId>,
    /// How far it got; names are the verb's own. Recovery after a restart decides by it.
    pub phase: String,
    /// What recovery needs to know, no secrets. May name a person: the chain holds a keyed tag of it only. Whole numbers only.
    pub detail: serde_json::Value,
    /// When it began.
    pub started: UnixMillis,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentEnd {
    /// Done.
    Completed,
    /// Undone: nothing of it remains.
    RolledBack,
    /// What could not be done now is an obligation.
    Obliged,
}

/// States in which a token can prove itself; [`Mutation::Advance`], [`Mutation::Count`] and [`Mutation::Seen`] want one of them.
pub(crate) const PROVABLE: &[TokenState] = &[TokenState::Pending, TokenState::Active];

/// What no two live tokens may share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unique {
    /// A fob: serials are unique to their manufacturer only (RFC 6030 section 4.3.1).
    Fob {
        /// Manufacturer, where it is known.
        manufacturer: Option<String>,
        /// Serial on its back.
        serial: String,
    },
    /// A FIDO2 credential id, base64url.
    Credential(String),
}

impl Unique {
    /// The word for what is shared.
    const fn what(&self) -> &'static str {
        match self {
            Self::Fob { .. } => "serial",
            Self::Credential(_) => "credential",
        }
    }

    /// The parts that are tagged, none of which can run into the next.
    fn parts(&self) -> [&[u8]; 3] {
        match self {
            Self::Fob { manufacturer, serial } => [
                b"fob",
                manufacturer.as_deref().unwrap_or_default().as_bytes(),
                serial.as_bytes(),
            ],
            Self::Credential(id) => [b"fido2", b"", id.as_bytes()],
        }
    }
}

/// One change. A commit carries a list of them; each is conditional where it says so, and a condition that does not hold
/// fails the whole commit.
pub enum Mutation {
    /// Inserts a token. `seed` is sealed with the token's id as associated data.
    Insert {
        /// The record; `has_seed`, `created` and `updated` are set by the ledger.
        record: Box<TokenRecord>,
        /// The seed, if we hold one.
        seed: Option<Secret>,
        /// What live tokens must differ in; stored as a keyed tag, freed by revocation.
        unique: Option<Unique>,
    },
    /// Changes nothing, but fails the commit unless the token is in one of these states. It is what makes “accepted” and
    /// “revoked” exclude each other.
    Require {
        /// The token.
        token: TokenId,
        /// States that will do.
        states: &'static [TokenState],
    },
    /// Changes nothing, but fails the commit (`Stale`) when the token has had this many failures in a row, so that guesses made
    /// at once count as guesses made one after the other.
    RequireFailuresBelow {
        /// The token.
        token: TokenId,
        /// The limit.
        limit: u32,
    },
    /// Moves a token to another state, if it is in one of `from`. Revocation is final (it is never moved from there) and frees
    /// what [`Mutation::Insert`] holds as `unique`.
    Transition {
        /// The token.
        token: TokenId,
        /// States that will do.
        from: &'static [TokenState],
        /// The new state.
        to: TokenState,
        /// For revocation.
        reason: Option<RevokeReason>,
    },
    /// Replaces the binding. A revoked token may lose its binding so, but holds nothing as `unique`.
    Bind {
        /// The token.
        token: TokenId,
        /// The new binding.
        binding: Binding,
        /// As in [`Mutation::Insert`]; `None` leaves it.
        unique: Option<Unique>,
    },
    /// Raises the watermark (if `to` is higher than what stands there), sets the offset, notes when it was seen and clears
    /// the failures.
    Advance {
        /// The token.
        token: TokenId,
        /// New watermark.
        to: u64,
        /// New offset.
        offset_ms: i64,
        /// When.
        seen: UnixMillis,
    },
    /// Raises the signature counter (if higher, or if both are zero), notes when it was seen, clears the failures.
    Count {
        /// The token.
        token: TokenId,
        /// Counter the key sent.
        to: u32,
        /// When.
        seen: UnixMillis,
    },
    /// Notes that it proved itself without a moving factor of ours (an OATH card computes from the host's time) and clears
    /// the failures.
    Seen {
        /// The token.
        token: TokenId,
        /// When.
        seen: UnixMillis,
    },
    /// One more failure in a row.
    Fail {
        /// The token.
        token: TokenId,
    },
    /// Forgets the failures in a row: a person has looked at them.
    Pardon {
        /// The token.
        token: TokenId,
    },
    /// Overwrites and deletes the sealed seed; a token without one is as good as one whose seed is destroyed. When the commit
    /// is answered, the sealed bytes are out of the files, unless a reader that was in the middle of a long query keeps the
    /// write-ahead log from being emptied: then they are as soon as it has ended.
    DestroySeed {
        /// The token.
        token: TokenId,
    },
    /// Adds an obligation.
    Oblige(Obligation),
    /// Notes that a device has proved to be the one an open obligation is about.
    Prove {
        /// Which.
        id: ObligationId,
        /// When.
        at: UnixMillis,
    },
    /// Discharges one, if it is open; else [`LedgerError::Stale`].
    Discharge {
        /// Which.
        id: ObligationId,
        /// When.
        at: UnixMillis,
    },
    /// Opens an intent; [`LedgerError::Stale`] if the operation has one already.
    Begin(Intent),
    /// Moves an open intent to a new phase.
    Phase {
        /// Which.
        operation: OperationId,
        /// Its new phase.
        phase: String,
        /// New detail, or as before.
        detail: Option<serde_json::Value>,
    },
    /// Closes an open intent: its row goes, and with it the only copy of its detail.
    End {
        /// Which.
        operation: OperationId,
        /// How.
        end: IntentEnd,
    },
}

/// The journal entry that goes with a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened, `token.registered`, `test.passed`: dotted lower case, one of the list in `docs/journal.md`.
    pub name: &'static str,
    /// On whose authority.
    pub authority: Authority,
    /// The token concerned.
    pub token: Option<TokenId>,
    /// When, host clock.
    pub at: UnixMillis,
    /// More, never personal, never secret. Whole numbers only (a drift in ms, a rate in parts per billion): a number with a
    /// fraction is refused.
    pub detail: BTreeMap<&'static str, serde_json::Value>,
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

/// The memory. Every method is one transaction.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Writes mutations and event, durably (synchronous FULL), or nothing. Returns the entry's number.
    ///
    /// # Errors
    /// Conditions that do not hold: [`LedgerError::WrongState`], [`LedgerError::Stale`], [`LedgerError::Duplicate`],
    /// [`LedgerError::NotFound`]; storage: the others.
    async fn commit(&self, event: Event, mutations: Vec<Mutation>) -> Result<u64, LedgerError>;

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

    /// Operations that were begun and not closed.
    ///
    /// # Errors
    /// Storage.
    async fn open_intents(&self) -> Result<Vec<Intent>, LedgerError>;

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
