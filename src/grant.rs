//! The proof that a caller may do one thing to one object. A leaf: everyone may read a [`Grant`], only `guard` mints one
//! (`tests/rooms.rs` looks for `Grant::mint` anywhere else).

pub use crate::types::cases::Tier;
use crate::types::stamp::Moment;
use crate::types::{CaseId, DeviceId, ObligationId, OperationId, TokenId};
use serde::{Deserialize, Serialize};

/// What may be granted. One polkit action each (`org.claviger.<name>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Look at devices, tokens and obligations.
    Inspect,
    /// Bind a token to a subject.
    Register,
    /// Test one token.
    Test,
    /// Check a code across a subject's tokens.
    Verify,
    /// Correct what we believe about a token's clock.
    Resync,
    /// Suspend, report lost, resume.
    Suspend,
    /// Kill a token, and settle what remains on its device.
    Revoke,
    /// Change the daemon's configuration.
    Configure,
    /// Open and work on a case.
    Case,
    /// Approve or deny as the second person.
    Approve,
    /// Issue an emergency bypass.
    Bypass,
    /// Read and verify the journal.
    Audit,
}

impl Action {
    /// Every action.
    pub const ALL: &'static [Self] = &[
        Self::Inspect,
        Self::Register,
        Self::Test,
        Self::Verify,
        Self::Resync,
        Self::Suspend,
        Self::Revoke,
        Self::Configure,
        Self::Case,
        Self::Approve,
        Self::Bypass,
        Self::Audit,
    ];

    /// The polkit action id.
    #[must_use]
    pub const fn polkit_id(self) -> &'static str {
        match self {
            Self::Inspect => "org.claviger.inspect",
            Self::Register => "org.claviger.register",
            Self::Test => "org.claviger.test",
            Self::Verify => "org.claviger.verify",
            Self::Resync => "org.claviger.resync",
            Self::Suspend => "org.claviger.suspend",
            Self::Revoke => "org.claviger.revoke",
            Self::Configure => "org.claviger.configure",
            Self::Case => "org.claviger.case",
            Self::Approve => "org.claviger.approve",
            Self::Bypass => "org.claviger.bypass",
            Self::Audit => "org.claviger.audit",
        }
    }
}

/// What a grant is good for. A grant for one object is no good for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// The daemon or the ledger as a whole.
    Whole,
    /// One plugged-in device.
    Device(DeviceId),
    /// One token.
    Token(TokenId),
    /// A token that is not in the ledger yet and is no device: a fob, an app, a sheet of recovery codes.
    NewFob,
    /// One obligation.
    Obligation(ObligationId),
    /// A person, as the organisation names people; there need not be one.
    Subject(String),
    /// One case.
    Case(CaseId),
}

/// Who asked, as the bus tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Unique name of the message's sender (`:1.42`).
    pub name: String,
    /// Uid from `GetConnectionCredentials`, never from the client.
    pub uid: u32,
}

/// Where the authority comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// polkit said yes to this caller.
    Polkit(Caller),
    /// Session mode: the daemon's own uid.
    Session(Caller),
    /// The daemon by itself; the text says why (“restart found an open operation”).
    Standing(String),
}

/// Why a grant did not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the authority given does not cover this act")]
pub struct GrantMismatch;

/// A past fact: this caller was admitted to this action on this object.
#[derive(Debug, Clone)]
pub struct Grant {
    origin: Origin,
    action: Action,
    object: Object,
    subject: Option<String>,
    tier: Tier,
    case: Option<CaseId>,
    moment: Option<Moment>,
}

impl Grant {
    /// For `guard` alone.
    pub(crate) fn mint(
        origin: Origin,
        action: Action,
        object: Object,
        subject: Option<String>,
        tier: Tier,
        case: Option<CaseId>,
    ) -> Self {
        Self {
            origin,
            action,
            object,
            subject,
            tier,
            case,
            moment: None,
        }
    }

    /// For `guard` alone: when the case was drawn on, by authority's time.
    pub(crate) const fn drawn(mut self, at: Moment) -> Self {
        self.moment = Some(at);
        self
    }

    /// Checks that the grant covers this action on this object. Every mutation calls it where it consumes the grant.
    ///
    /// # Errors
    /// [`GrantMismatch`] when it was minted for something else.
    pub fn require(&self, action: Action, object: &Object) -> Result<(), GrantMismatch> {
        if self.action == action && self.object == *object {
            Ok(())
        } else {
            Err(GrantMismatch)
        }
    }

    /// Who or what it came from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The caller, unless the daemon acts by itself.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        match &self.origin {
            Origin::Polkit(caller) | Origin::Session(caller) => Some(caller),
            Origin::Standing(_) => None,
        }
    }

    /// The action granted.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The object granted.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The subject it is bound to, when a case names one.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// How far it reaches.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The case it was given in.
    #[must_use]
    pub fn case(&self) -> Option<CaseId> {
        self.case
    }

    /// When the case was drawn on, by authority's time: what the daemon itself saw pass becomes evidence of that moment.
    #[must_use]
    pub const fn moment(&self) -> Option<Moment> {
        self.moment
    }
}

/// What the ledger writes down of a grant: no subject, no names beyond the uid. Only [`Grant::authority`] makes one, so that
/// nothing can be journalled on an authority that nobody gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    uid: Option<u32>,
    origin: String,
    action: Action,
    case: Option<CaseId>,
    operation: Option<OperationId>,
}

impl Authority {
    /// The same, for what belongs to a case.
    #[must_use]
    pub const fn within(mut self, case: Option<CaseId>) -> Self {
        self.case = case;
        self
    }

    /// Uid of the caller; none when the daemon acted by itself.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// How the authority came about: `polkit`, `session`, or the standing reason.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// The case it was given in, if any.
    #[must_use]
    pub fn case(&self) -> Option<CaseId> {
        self.case
    }

    /// The operation it was used in, if any.
    #[must_use]
    pub fn operation(&self) -> Option<OperationId> {
        self.operation
    }
}

impl Grant {
    /// The journal's view of this grant.
    #[must_use]
    pub fn authority(&self, operation: Option<OperationId>) -> Authority {
        let origin = match &self.origin {
            Origin::Polkit(_) => "polkit".to_owned(),
            Origin::Session(_) => "session".to_owned(),
            Origin::Standing(why) => format!("standing: {why}"),
        };
        Authority {
            uid: self.caller().map(|c| c.uid),
            origin,
            action: self.action,
            case: self.case,
            operation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_lists_every_action() {
        let ours: Vec<_> = Action::ALL.iter().map(|action| action.polkit_id()).collect();
        assert_eq!(ours, crate::contract::POLKIT_ACTIONS);
    }

    #[test]
    fn a_grant_is_good_for_its_action_and_object_alone() {
        let token = Object::Token(TokenId::generate());
        let origin = Origin::Standing("test".to_owned());
        let grant = Grant::mint(origin, Action::Test, token.clone(), None, Tier::Test, None);
        assert_eq!(grant.require(Action::Test, &token), Ok(()));
        assert_eq!(grant.require(Action::Revoke, &token), Err(GrantMismatch));
        assert_eq!(
            grant.require(Action::Test, &Object::Token(TokenId::generate())),
            Err(GrantMismatch)
        );
        assert_eq!(grant.require(Action::Test, &Object::Whole), Err(GrantMismatch));
    }
}
