//! The chain: what an entry says, in which bytes, and the MACs that tie it to the one before. `docs/journal.md` tells it to
//! auditors.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::canonical;
use super::seal::{Keys, Tag};
use super::{
    Account, Binding, CasePersonal, Event, IntentEnd, JournalEntry, LedgerError, Obligation, Personal, Said, Unique,
};
use crate::grant::Authority;
use crate::types::cases::{Anomaly, BypassEnd, CaseKind, Channel, Check, FoundAgain, Outcome, Step};
use crate::types::stamp::Stamp;
use crate::types::{
    CaseId, DriftSource, ObligationId, OperationId, Reality, RevokeReason, TokenId, TokenKind, TokenState, UnixMillis,
};

/// A change as the journal holds it: all there is to replay it, with tags (hex) where personal data or secrets would be.
/// `null` members are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Recorded {
    Insert(Box<Inserted>),
    Transition {
        token: TokenId,
        to: TokenState,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<RevokeReason>,
    },
    Assign {
        token: TokenId,
        /// The new tag of the personal row.
        personal: String,
    },
    Serial {
        token: TokenId,
        /// The new tag of the personal row.
        personal: String,
    },
    Bind {
        token: TokenId,
        binding: Binding,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unique: Option<String>,
    },
    Advance {
        token: TokenId,
        to: u64,
        offset_ms: i64,
        seen: UnixMillis,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<DriftSource>,
    },
    Correct {
        token: TokenId,
        offset_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<UnixMillis>,
        source: DriftSource,
    },
    Count {
        token: TokenId,
        to: u32,
        seen: UnixMillis,
    },
    Seen {
        token: TokenId,
        seen: UnixMillis,
    },
    Fail {
        token: TokenId,
    },
    Pardon {
        token: TokenId,
    },
    DestroySeed {
        token: TokenId,
    },
    ReplaceSeed {
        token: TokenId,
        seed: String,
    },
    KeepCodes {
        token: TokenId,
        /// Tag over the hashes.
        codes: String,
        count: u16,
    },
    UseCode {
        token: TokenId,
        slot: u16,
        seen: UnixMillis,
    },
    Try {
        /// Tag that stands for the account.
        who: String,
        caller: u32,
        at: UnixMillis,
        spent: UnixMillis,
        passed: bool,
    },
    Unlock {
        who: String,
    },
    Defer {
        /// Tag that stands for the account.
        who: String,
        at: UnixMillis,
    },
    Freeze {
        operator: u32,
        since: UnixMillis,
        why: Anomaly,
    },
    Thaw {
        operator: u32,
    },
    Oblige(Obligation),
    Prove {
        id: ObligationId,
        at: UnixMillis,
    },
    Discharge {
        id: ObligationId,
        at: UnixMillis,
    },
    Begin {
        operation: OperationId,
        verb: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
        phase: String,
        detail: String,
        started: UnixMillis,
    },
    Phase {
        operation: OperationId,
        phase: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    End {
        operation: OperationId,
        end: IntentEnd,
    },
    OpenCase(Opened),
    Note {
        case: CaseId,
        /// Which of this entry's notes on the case.
        no: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<u32>,
        stamp: Stamp,
        said: Said,
        /// Tag of what it rests on.
        reference: String,
    },
    Step {
        case: CaseId,
        step: Step,
        since: Stamp,
        within_ms: u64,
    },
    Escalate {
        case: CaseId,
        step: Step,
    },
    CloseCase {
        case: CaseId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<u32>,
        no: u32,
        stamp: Stamp,
        outcome: Outcome,
        checks: Vec<Check>,
        /// Tag of the note's reference, which says nothing.
        reference: String,
    },
    IssueBypass {
        case: CaseId,
        by: u32,
        stamp: Stamp,
        lasts_ms: u64,
        uses: u32,
        found_again: FoundAgain,
        /// Tag over the hash of the code.
        code: String,
    },
    TryBypass {
        case: CaseId,
        at: UnixMillis,
        passed: bool,
    },
    EndBypass {
        case: CaseId,
        why: BypassEnd,
        since: Stamp,
        within_ms: u64,
    },
    ReviewBypass {
        case: CaseId,
        by: u32,
    },
    KeepTime {
        wall: UnixMillis,
        boot_ms: u64,
        /// Sixteen bytes, hex.
        boot: String,
        stamp: Stamp,
    },
}

/// A case as it was opened, at the entry's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) case: CaseId,
    pub(crate) kind: CaseKind,
    pub(crate) channel: Channel,
    pub(crate) opener: u32,
    pub(crate) stamp: Stamp,
    pub(crate) step: Step,
    pub(crate) within_ms: u64,
    pub(crate) personal: String,
}

/// A token as it was inserted; `created` is the entry's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inserted {
    pub(crate) token: TokenId,
    pub(crate) kind: TokenKind,
    pub(crate) state: TokenState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<RevokeReason>,
    pub(crate) reality: Reality,
    pub(crate) model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) valid_from: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) valid_until: Option<UnixMillis>,
    pub(crate) binding: Binding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<String>,
    pub(crate) personal: String,
    pub(crate) offset_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watermark: Option<u64>,
    pub(crate) sign_count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen: Option<UnixMillis>,
    pub(crate) failures: u32,
}

/// Where the chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Entries so far, which is the number of the last one.
    pub(crate) count: u64,
    /// MAC of the last entry, or the opening of the chain.
    pub(crate) last: Tag,
}

impl Chain {
    /// The empty chain of the ledger with this id. The id is in it, so that the journal of one ledger is not that of another
    /// under the same key.
    pub(crate) fn opening(keys: &Keys, ledger_id: &[u8]) -> Self {
        Self {
            count: 0,
            last: keys.journal_mac(&[b"opening", &(ledger_id.len() as u64).to_be_bytes(), ledger_id]),
        }
    }

    /// The chain with one more entry.
    pub(crate) fn extended(&self, keys: &Keys, payload: &str) -> Self {
        Self {
            count: self.count.saturating_add(1),
            last: entry_mac(keys, &self.last, payload.as_bytes()),
        }
    }

    /// MAC over length and end, so that an end that was cut off is missed.
    pub(crate) fn head_mac(&self, keys: &Keys) -> Tag {
        keys.journal_mac(&[b"head", &self.count.to_be_bytes(), &self.last])
    }
}

/// `HMAC(journal key, previous MAC || length of payload, 64 bits big-endian || payload)`.
pub(crate) fn entry_mac(keys: &Keys, previous: &Tag, payload: &[u8]) -> Tag {
    keys.journal_mac(&[previous, &(payload.len() as u64).to_be_bytes(), payload])
}

/// The bytes of an entry.
///
/// # Errors
/// [`LedgerError::Storage`] when the event's detail holds a number with a fraction.
pub(crate) fn payload(seq: u64, event: &Event, mutations: &[Recorded]) -> Result<String, LedgerError> {
    canonical(&Payload {
        seq,
        at: event.at,
        event: event.name,
        authority: &event.authority,
        token: event.token,
        detail: &event.detail,
        mutations,
    })
}

/// The members of an entry, as they are written.
#[derive(Serialize)]
struct Payload<'p> {
    seq: u64,
    at: UnixMillis,
    event: &'static str,
    authority: &'p Authority,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenId>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    detail: &'p BTreeMap<&'static str, Value>,
    mutations: &'p [Recorded],
}

/// The entry that these bytes are.
///
/// # Errors
/// What about the bytes is not an entry of ours, in words.
pub(crate) fn parse(payload: &str) -> Result<Entry, serde_json::Error> {
    let value: Value = serde_json::from_str(payload)?;
    let body = Body::deserialize(&value)?;
    Ok(Entry { body, value })
}

/// An entry that was read back.
pub(crate) struct Entry {
    pub(crate) body: Body,
    value: Value,
}

/// The members of an entry, as they are read.
#[derive(Deserialize)]
pub(crate) struct Body {
    pub(crate) seq: u64,
    pub(crate) at: UnixMillis,
    event: String,
    authority: Authority,
    token: Option<TokenId>,
    pub(crate) mutations: Vec<Recorded>,
}

impl From<Entry> for JournalEntry {
    fn from(entry: Entry) -> Self {
        Self {
            seq: entry.body.seq,
            at: entry.body.at,
            name: entry.body.event,
            uid: entry.body.authority.uid(),
            action: entry.body.authority.action(),
            token: entry.body.token,
            operation: entry.body.authority.operation(),
            payload: entry.value,
        }
    }
}

/// The chain's stand-in for personal data: keyed, and over a random salt that is kept in the personal row alone.
pub(crate) fn personal_tag(keys: &Keys, salt: &[u8], personal: &Personal) -> Result<Tag, LedgerError> {
    let text = canonical(personal)?;
    Ok(keys.tag("personal", &[salt, text.as_bytes()]))
}

/// What the unique column holds.
pub(crate) fn unique_tag(keys: &Keys, unique: &Unique) -> Tag {
    keys.tag("unique", &unique.parts())
}

/// The chain's stand-in for that: salted like the personal data, since the text may be a serial.
pub(crate) fn unique_mark(keys: &Keys, salt: &[u8], unique: &[u8]) -> Tag {
    keys.tag("unique in chain", &[salt, unique])
}

/// The chain's stand-in for a sealed seed, over all columns of its row.
pub(crate) fn seed_tag(keys: &Keys, token: TokenId, sealed: &super::seal::Sealed) -> Tag {
    let version = sealed.key_version.to_be_bytes();
    keys.tag(
        "seed",
        &[token.as_bytes(), &sealed.key_id, &version, &sealed.nonce, &sealed.bytes],
    )
}

/// What the rows of wrong tries name an account by.
pub(crate) fn account_tag(keys: &Keys, account: &Account) -> Tag {
    keys.tag("account", &account.parts())
}

/// The chain's stand-in for that, salted: with the row goes the account.
pub(crate) fn account_mark(keys: &Keys, salt: &[u8], who: &[u8]) -> Tag {
    keys.tag("account in chain", &[salt, who])
}

/// The chain's stand-in for the hashes of a sheet of recovery codes, in the order of their slots.
pub(crate) fn codes_tag(keys: &Keys, token: TokenId, macs: &[Tag]) -> Tag {
    keys.tag("recovery codes", &[token.as_bytes(), &macs.concat()])
}

/// The chain's stand-in for the hash of a bypass's code.
pub(crate) fn bypass_tag(keys: &Keys, case: CaseId, mac: &[u8]) -> Tag {
    keys.tag("bypass", &[case.as_bytes(), mac])
}

/// The chain's stand-in for what recovery needs to know: it may name a person, and goes with the intent's row.
pub(crate) fn detail_tag(keys: &Keys, salt: &[u8], detail: &str) -> Tag {
    keys.tag("intent detail", &[salt, detail.as_bytes()])
}

/// The chain's stand-in for whom a case is about and why.
pub(crate) fn case_tag(keys: &Keys, salt: &[u8], personal: &CasePersonal) -> Result<Tag, LedgerError> {
    let text = canonical(personal)?;
    Ok(keys.tag("case", &[salt, text.as_bytes()]))
}

/// The chain's stand-in for what a note rests on.
pub(crate) fn reference_tag(keys: &Keys, salt: &[u8], reference: Option<&str>) -> Tag {
    let there = [u8::from(reference.is_some())];
    keys.tag("case note", &[salt, &there, reference.unwrap_or_default().as_bytes()])
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
