//! What a commit changes.

use std::collections::BTreeMap;

use super::{Account, Binding, Frozen, Intent, IntentEnd, NewBypass, NewCase, NewNote, Obligation, TokenRecord};
use crate::grant::Authority;
use crate::types::cases::{BypassEnd, Check, Outcome, Step};
use crate::types::stamp::{Reading, Stamp};
use crate::types::{
    CaseId, DriftSource, ObligationId, OperationId, RevokeReason, Secret, TokenId, TokenState, UnixMillis,
};

/// States in which a token can prove itself; [`Mutation::Advance`], [`Mutation::Count`] and [`Mutation::Seen`] want one of them.
pub(crate) const PROVABLE: &[TokenState] = &[TokenState::Pending, TokenState::Active];

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
    pub(super) const fn what(&self) -> &'static str {
        match self {
            Self::Fob { .. } => "serial",
            Self::Credential(_) => "credential",
        }
    }

    /// The parts that are tagged, none of which can run into the next.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
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
    /// Gives a token of the inventory to a person: it is pending from here.
    Assign {
        /// The token.
        token: TokenId,
        /// Who it is for.
        subject: String,
    },
    /// Notes the serial number that a pending token's device has told, in place of what stands there.
    Serial {
        /// The token.
        token: TokenId,
        /// What it told.
        serial: String,
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
        /// What measured the offset; the history of the clock gains a row. `None` when it was not measured: an event token, or a
        /// host clock that is not synchronised.
        source: Option<DriftSource>,
    },
    /// Changes what is believed about the clock, if the offset still is `expect_ms` (else `Stale`), and leaves the watermark
    /// alone: the clock was read or set over NFC, or a resync is undone. The history gains a row.
    Correct {
        /// The token.
        token: TokenId,
        /// Offset that the caller saw, in milliseconds.
        expect_ms: i64,
        /// New offset, in milliseconds.
        offset_ms: i64,
        /// New time of “last seen”; `None` leaves it.
        seen: Option<UnixMillis>,
        /// Why.
        source: DriftSource,
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
    /// Overwrites and deletes the sealed seed and the recovery codes; a token without is as good as one whose seed is destroyed. When the commit
    /// is answered, the sealed bytes are out of the files, unless a reader that was in the middle of a long query keeps the
    /// write-ahead log from being emptied: then they are as soon as it has ended.
    DestroySeed {
        /// The token.
        token: TokenId,
    },
    /// Puts a new sealed seed in the place of the one stored, which is overwritten as by [`Mutation::DestroySeed`]. Watermark and
    /// offset stay.
    ReplaceSeed {
        /// The token.
        token: TokenId,
        /// The new seed.
        seed: Secret,
    },
    /// Keeps the recovery codes of a token that has none, hashed.
    KeepCodes {
        /// The token.
        token: TokenId,
        /// The codes in their canonical form, in the order of their slots.
        codes: Vec<Secret>,
    },
    /// Uses a recovery code up, if it is unused (else [`LedgerError::Stale`](super::LedgerError::Stale)), notes when the token was
    /// seen and clears the failures.
    UseCode {
        /// The token.
        token: TokenId,
        /// Which code.
        slot: u16,
        /// When.
        seen: UnixMillis,
    },
    /// A try with a code: a pass ends the account's wrong tries in a row and the caller's own there, a miss adds one. Rows are
    /// made where there are none, and both write the same ones.
    Try {
        /// Whose codes were tried.
        account: Account,
        /// Uid that had them tried.
        caller: u32,
        /// When.
        at: UnixMillis,
        /// When all tries in hand will have grown again.
        spent: UnixMillis,
        /// Whether the code was right.
        passed: bool,
    },
    /// Forgets the wrong tries on an account, if there were any (else [`LedgerError::NotFound`](super::LedgerError::NotFound)): a
    /// person has looked at them.
    Unlock {
        /// Whose.
        account: Account,
    },
    /// One more “later” of an account, if it was said less than `below` times (else [`LedgerError::Stale`](super::LedgerError::Stale)).
    Defer {
        /// Whose.
        account: Account,
        /// How often it may be said in all.
        below: u32,
        /// When.
        at: UnixMillis,
    },
    /// Freezes an operator who is not frozen (else [`LedgerError::Stale`](super::LedgerError::Stale)).
    Freeze(Frozen),
    /// Gives a frozen operator (else [`LedgerError::NotFound`](super::LedgerError::NotFound)) their authority back.
    Thaw {
        /// Uid.
        operator: u32,
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
    /// Opens a case, if there is none of this id (else [`LedgerError::Stale`](super::LedgerError::Stale)).
    OpenCase(Box<NewCase>),
    /// Adds to an open case (else [`LedgerError::Stale`](super::LedgerError::Stale)).
    Note(Box<NewNote>),
    /// Sets what an open case waits for; nobody was told yet that it takes too long.
    Step {
        /// Which case.
        case: CaseId,
        /// What it waits for.
        step: Step,
        /// From when on.
        since: Stamp,
        /// How long that may take, in milliseconds.
        within_ms: u64,
    },
    /// Notes that somebody was told that an open case has waited too long, if it still waits for that and nobody was told before
    /// (else [`LedgerError::Stale`](super::LedgerError::Stale)).
    Escalate {
        /// Which case.
        case: CaseId,
        /// What it waited for.
        step: Step,
    },
    /// Closes an open case for good (else [`LedgerError::Stale`](super::LedgerError::Stale)); its last note says how.
    CloseCase {
        /// Which case.
        case: CaseId,
        /// Uid; none for the daemon itself.
        by: Option<u32>,
        /// When.
        stamp: Stamp,
        /// How it ended.
        outcome: Outcome,
        /// What was answered with yes.
        checks: Vec<Check>,
    },
    /// Issues the bypass of an open case that has none, if none of its subject waits for a review (else
    /// [`LedgerError::Stale`](super::LedgerError::Stale)).
    IssueBypass(Box<NewBypass>),
    /// A try with a bypass's code: a pass uses it once, if a use is left and it was not ended (else
    /// [`LedgerError::Stale`](super::LedgerError::Stale)); a miss counts a wrong code. Both write the same row.
    TryBypass {
        /// Which case's.
        case: CaseId,
        /// When.
        at: UnixMillis,
        /// Whether the code was right.
        passed: bool,
    },
    /// Ends a bypass before its time, destroys its code, and has the case wait for the review. Nothing where it has ended so before.
    EndBypass {
        /// Which case's.
        case: CaseId,
        /// Why.
        why: BypassEnd,
        /// Since when the review is waited for.
        since: Stamp,
        /// How long that may take, in milliseconds.
        within_ms: u64,
    },
    /// Notes that somebody looked back at a bypass, once (else [`LedgerError::Stale`](super::LedgerError::Stale)). Before, its case is
    /// not closed.
    ReviewBypass {
        /// Which case's.
        case: CaseId,
        /// Uid.
        by: u32,
    },
    /// Keeps what the host's clocks said and the stamp of it, so that time goes on from there after a restart; where a later stamp
    /// is kept already, that one stays. Goes with every stamp that is to hold.
    KeepTime {
        /// What the clocks said.
        reading: Reading,
        /// What both counts were.
        stamp: Stamp,
    },
}
