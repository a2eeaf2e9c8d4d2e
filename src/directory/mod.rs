//! Whom a token is for: which role somebody has, how they are told, which account of this host is theirs.
//!
//! [`local`] asks the file of subjects, an LDAP server where one is configured ([`ldap`]), and the accounts of the host ([`nss`]);
//! another source is another [`Directory`]. All of it may block (an account can live in a directory far away), so whoever asks does so where that harms nobody.

pub mod ldap;
pub mod local;
mod nss;

use crate::authority::decide::Person;
use crate::authority::policy::{Day, Policy};
use crate::types::cases::Privilege;

/// Somebody the directory knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// As the organisation names them.
    pub name: String,
    /// Their account on this host, if there is one.
    pub account: Option<Account>,
    /// Name of their role.
    pub role: Option<String>,
    /// More privilege than the role's, where the directory says so.
    pub privilege: Option<Privilege>,
    /// How they are told, in the form that the hook understands.
    pub contact: Option<String>,
    /// When somebody made sure that the contact is theirs.
    pub contact_verified: Option<Day>,
    /// Until when they need no second factor, that day included.
    pub exempt_until: Option<Day>,
}

/// An account of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: u32,
}

impl Subject {
    /// Their role in a policy and their privilege there, never less than the role's. `None` when the policy does not know the role.
    #[must_use]
    pub fn standing(&self, policy: &Policy) -> Option<(usize, Privilege)> {
        let number = policy.role(self.role.as_deref()?)?;
        let role = policy.roles.get(number)?;
        Some((number, self.privilege.unwrap_or(role.privilege).max(role.privilege)))
    }

    /// The human, where the host knows one.
    #[must_use]
    pub fn person(&self) -> Option<Person> {
        self.account.as_ref().map(|account| Person {
            uid: account.uid,
            account: Some(account.name.clone()),
        })
    }
}

/// Why the directory could not answer. That somebody is unknown is an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// The host's accounts could not be asked.
    #[error("the accounts of this host could not be asked: {0}")]
    Accounts(String),
    /// The LDAP server could not be asked, or its answer names nobody.
    #[error("the LDAP server {server} did not say who that is: {fault}")]
    Ldap {
        /// Which, as the configuration names it.
        server: String,
        /// Why.
        fault: ldap::Fault,
    },
}

/// A source of people.
pub trait Directory: Send + Sync {
    /// Somebody by the name the organisation gives them.
    ///
    /// # Errors
    /// [`DirectoryError`]; somebody unknown is `None`.
    fn subject(&self, name: &str) -> Result<Option<Subject>, DirectoryError>;

    /// The subject an account belongs to.
    ///
    /// # Errors
    /// [`DirectoryError`]; an account that is nobody's is `None`.
    fn of_uid(&self, uid: u32) -> Result<Option<Subject>, DirectoryError>;

    /// The names of all who stand in it by name; whoever has a role by their account alone is not among them.
    fn names(&self) -> Vec<String>;
}
