//! Who somebody is to the policy: by the configuration, and by the accounts of the host.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::unistd::{Uid, User};

use crate::authority::decide::Person;
use crate::directory::Directory;
use crate::directory::local::LocalDirectory;
use crate::guard::people::{Known, People};

/// Roles by the configuration; accounts by the host (NSS). A subject's account is the one of the same name.
pub struct Accounts {
    /// Roles of those who are named.
    pub roles: BTreeMap<String, String>,
    /// The role of everybody else; without one, the policy speaks of nobody else.
    pub role: Option<String>,
    /// The file of subjects, which comes before both.
    pub directory: Option<Arc<LocalDirectory>>,
}

impl People for Accounts {
    fn subject(&self, name: &str) -> Option<Known> {
        // Who cannot be looked up has no role: what the policy does not speak of is denied.
        let listed = self
            .directory
            .as_ref()
            .and_then(|directory| directory.subject(name).ok().flatten());
        if let Some(subject) = listed
            && let Some(role) = subject.role.clone()
        {
            return Some(Known {
                role,
                privilege: subject.privilege,
                account: subject.person(),
            });
        }
        let role = self.roles.get(name).or(self.role.as_ref())?.clone();
        let account = User::from_name(name).ok().flatten().map(|user| Person {
            uid: user.uid.as_raw(),
            account: Some(user.name),
        });
        Some(Known {
            role,
            privilege: None,
            account,
        })
    }

    fn account(&self, uid: u32) -> Option<String> {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        Some(user.name)
    }
}
