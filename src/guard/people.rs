//! Who somebody is to the policy, and which account of this host is theirs.

use async_trait::async_trait;

use crate::authority::decide::Person;
use crate::types::cases::Privilege;

/// A person as the policy looks at them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Name of their role in the policy.
    pub role: String,
    /// More privilege than the role's, where somebody said so.
    pub privilege: Option<Privilege>,
    /// Their account, if they have one on this host.
    pub account: Option<Person>,
}

/// Nobody could say who somebody is. That somebody is unknown is an answer; this is none, and nothing follows from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// Those who know people.
#[async_trait]
pub trait People: Send + Sync {
    /// A subject, as the organisation names people. `None`: nobody knows them, and the policy has no role for them.
    ///
    /// # Errors
    /// [`Unanswered`].
    async fn subject(&self, name: &str) -> Result<Option<Known>, Unanswered>;

    /// Name of the account of a uid.
    fn account(&self, uid: u32) -> Option<String>;

    /// A caller, with the account's name if the host knows one.
    fn caller(&self, uid: u32) -> Person {
        Person {
            uid,
            account: self.account(uid),
        }
    }
}
