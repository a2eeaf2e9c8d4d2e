//! A replacement that is under way: which token is to die, why it is not dead yet, and which token takes its place.
//!
//! It is an open [`Intent`] of the verb [`VERB`], so it survives whatever ends the daemon, and its beginning and end are in the same
//! transactions as what they belong to. There is one for a token at most: its operation is named after the token.

use serde_json::{Value, json};

use super::{Intent, IntentEnd, Mutation};
use crate::types::{CaseId, OperationId, TokenId, UnixMillis};

/// The verb of an intent that is a replacement. Recovery leaves it alone: it waits for people, not for a device.
pub const VERB: &str = "replace";

/// Nothing has taken the old token's place yet.
const AWAITED: &str = "awaited";
/// A token is to take its place and has not passed its test.
const FOUND: &str = "found";

/// A replacement that is half done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replacement {
    /// What is to be revoked as replaced.
    pub old: TokenId,
    /// What is to take its place, once it is registered.
    pub new: Option<TokenId>,
    /// The old one is lost, and was out of use from the start.
    pub lost: bool,
    /// The case it was begun in.
    pub case: Option<CaseId>,
    /// When.
    pub begun: UnixMillis,
}

impl Replacement {
    /// What an intent says, if it is one of a replacement.
    #[must_use]
    pub fn of(intent: &Intent) -> Option<Self> {
        if intent.verb != VERB {
            return None;
        }
        let text = |key: &str| intent.detail.get(key).and_then(Value::as_str);
        Some(Self {
            old: intent.token?,
            new: text("new").and_then(|id| id.parse().ok()),
            lost: intent.detail.get("lost").and_then(Value::as_bool).unwrap_or(false),
            case: text("case").and_then(|id| id.parse().ok()),
            begun: intent.started,
        })
    }

    /// The one replacement that a token can have open.
    const fn operation(&self) -> OperationId {
        OperationId::replacing(self.old)
    }

    fn detail(&self) -> Value {
        json!({
            "new": self.new.map(|id| id.to_string()),
            "lost": self.lost,
            "case": self.case.map(|id| id.to_string()),
        })
    }

    /// Begins it; [`Stale`](super::LedgerError::Stale) when the token has one open already.
    #[must_use]
    pub fn begin(&self) -> Mutation {
        Mutation::Begin(Intent {
            operation: self.operation(),
            verb: VERB.to_owned(),
            token: Some(self.old),
            phase: AWAITED.to_owned(),
            detail: self.detail(),
            started: self.begun,
        })
    }

    /// Notes which token takes the old one's place, or that it was lost after all.
    #[must_use]
    pub fn changed(&self) -> Mutation {
        Mutation::Phase {
            operation: self.operation(),
            phase: if self.new.is_some() { FOUND } else { AWAITED }.to_owned(),
            detail: Some(self.detail()),
        }
    }

    /// Ends it: done, or nobody wants it any more.
    #[must_use]
    pub fn end(&self, end: IntentEnd) -> Mutation {
        Mutation::End {
            operation: self.operation(),
            end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_intent_holds_comes_back() {
        let old = TokenId::generate();
        let mut half = Replacement {
            old,
            new: None,
            lost: true,
            case: Some(CaseId::generate()),
            begun: UnixMillis(7),
        };
        let Mutation::Begin(intent) = half.begin() else {
            panic!("an intent")
        };
        assert_eq!(Replacement::of(&intent), Some(half));
        half.new = Some(TokenId::generate());
        let Mutation::Phase { detail, operation, .. } = half.changed() else {
            panic!("a phase")
        };
        assert_eq!(operation, intent.operation);
        let intent = Intent {
            detail: detail.expect("new detail"),
            ..intent
        };
        assert_eq!(Replacement::of(&intent), Some(half));
        let other = Intent {
            verb: "tell".to_owned(),
            ..intent
        };
        assert_eq!(Replacement::of(&other), None);
    }
}
