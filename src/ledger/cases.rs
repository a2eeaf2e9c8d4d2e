//! What the ledger remembers of cases: who asked what for whom, what was shown, who agreed, how it ended. What follows from it is
//! decided in `authority`.
//!
//! A case is only ever added to. What it says of people (subject, ticket, reason, references) stands apart from the chained entries,
//! as a token's personal data does.

use serde::{Deserialize, Serialize};

use crate::types::cases::{CaseKind, Channel, Check, Method, Outcome, Step, Tier};
use crate::types::stamp::Stamp;
use crate::types::{CaseId, Reality, TokenId, UnixMillis};

/// Whom a case is about and why, in people's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CasePersonal {
    /// Whom it is about, as the organisation names people; at the bench nobody.
    pub subject: Option<String>,
    /// The help desk's own number.
    pub ticket: Option<String>,
    /// What the matter is.
    pub reason: Option<String>,
}

/// A case as it stands, without its notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRecord {
    /// Its id.
    pub id: CaseId,
    /// What it is about.
    pub kind: CaseKind,
    /// How the person reached us.
    pub channel: Channel,
    /// Uid that opened it.
    pub opener: u32,
    /// When, by the host's clock: for people.
    pub opened_at: UnixMillis,
    /// When, by the count that cannot be turned back: for decisions.
    pub opened: Stamp,
    /// What it waits for.
    pub step: Step,
    /// Since when.
    pub since: Stamp,
    /// How long that may take, in milliseconds.
    pub within_ms: u64,
    /// Whether somebody was told that it took longer.
    pub escalated: bool,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// When it was closed.
    pub closed_at: Option<UnixMillis>,
    /// Of whom it speaks.
    pub personal: CasePersonal,
}

/// Something that was said or done in a case: the part that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Said {
    /// Somebody attached to the case, and so had a part in it.
    Worked,
    /// A piece of evidence.
    Evidence {
        /// How.
        method: Method,
        /// For a test of a token: what it is made of. For the others: hardware.
        reality: Reality,
        /// For a test, and for a recovery code: of which token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<TokenId>,
    },
    /// Another person's yes.
    Approved {
        /// Up to this tier.
        tier: Tier,
        /// The approver's role, if they are a subject of the policy too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<String>,
    },
    /// Another person's no. It stands.
    Denied,
    /// An emergency bypass was issued.
    BypassIssued,
    /// It was used.
    BypassUsed,
    /// Somebody looked back at it; what they found is the reference.
    BypassReviewed,
    /// A token is to be replaced.
    Replacing {
        /// Which.
        token: TokenId,
        /// It is lost, and out of use from here on.
        lost: bool,
    },
    /// A token took the place of another, which died with that.
    Replaced {
        /// The dead one.
        token: TokenId,
        /// The one in its place.
        by: TokenId,
    },
    /// The case was closed.
    Closed {
        /// How it ended.
        outcome: Outcome,
        /// What was answered with yes.
        checks: Vec<Check>,
    },
}

/// An entry of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseNote {
    /// Journal entry that tells it.
    pub seq: u64,
    /// Which of that entry's notes on this case, from 0.
    pub no: u32,
    /// Uid; none for the daemon itself.
    pub by: Option<u32>,
    /// When, by the host's clock: for people.
    pub at: UnixMillis,
    /// When, by the count that cannot be turned back: for decisions.
    pub stamp: Stamp,
    /// What.
    pub said: Said,
    /// What it rests on, in people's words: the number that was called, what the approver said. Personal.
    pub reference: Option<String>,
}

/// A case that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCase {
    /// Its id.
    pub id: CaseId,
    /// What it is about.
    pub kind: CaseKind,
    /// How the person reached us.
    pub channel: Channel,
    /// Uid that opens it.
    pub opener: u32,
    /// When.
    pub opened: Stamp,
    /// What it waits for first.
    pub step: Step,
    /// How long that may take, in milliseconds.
    pub within_ms: u64,
    /// Of whom it speaks.
    pub personal: CasePersonal,
}

/// Something new of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNote {
    /// Which case. It must be open.
    pub case: CaseId,
    /// Uid; none for the daemon itself.
    pub by: Option<u32>,
    /// When.
    pub stamp: Stamp,
    /// What.
    pub said: Said,
    /// As in [`CaseNote`].
    pub reference: Option<String>,
}

/// Which cases to list. All given members must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CaseFilter {
    /// Not closed.
    pub open: bool,
    /// About this subject, exactly.
    pub subject: Option<String>,
    /// Open, waiting for longer than they may when the count of time that has passed at most is this, and nobody was told yet.
    pub overdue_at: Option<u64>,
}

/// What of a person's cases makes one look twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaseHistory {
    /// Cases about them.
    pub cases: u32,
    /// Cases about them in which an approver said no.
    pub denied: u32,
}
