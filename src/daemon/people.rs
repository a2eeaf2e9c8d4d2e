//! Who somebody is to the policy: by the configuration, and by the accounts of the host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::unistd::{Uid, User};

use crate::authority::decide::Person;
use crate::directory::local::LocalDirectory;
use crate::directory::{Directory, Subject};
use crate::guard::people::{Known, People, Unanswered};

/// How long the directory and the host's accounts may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Roles by the configuration; accounts by the host (NSS). A subject's account is the one of the same name.
pub struct Accounts {
    /// Roles of those who are named.
    pub roles: BTreeMap<String, String>,
    /// The role of everybody else; without one, the policy speaks of nobody else.
    pub role: Option<String>,
    /// The file of subjects, which comes before both.
    pub directory: Option<Arc<LocalDirectory>>,
}

#[async_trait]
impl People for Accounts {
    async fn subject(&self, name: &str) -> Result<Option<Known>, Unanswered> {
        let role = self.roles.get(name).or(self.role.as_ref()).cloned();
        let (directory, name) = (self.directory.clone(), name.to_owned());
        // It may have to ask far away.
        let asked = tokio::task::spawn_blocking(move || known(directory.as_deref(), &name, role));
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Unanswered("asking the directory broke off".to_owned())),
            Err(_) => Err(Unanswered("the directory did not answer in time".to_owned())),
        }
    }

    fn account(&self, uid: u32) -> Option<String> {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        Some(user.name)
    }
}

/// The file of subjects and the server behind it come before the configuration, whose role is everybody's that they do not know. Where one
/// of them cannot answer, that role is nobody's: it might be less than theirs.
fn known(directory: Option<&LocalDirectory>, name: &str, role: Option<String>) -> Result<Option<Known>, Unanswered> {
    let listed = match directory {
        Some(directory) => directory.subject(name).map_err(|error| Unanswered(error.to_string()))?,
        None => None,
    };
    let privilege = listed.as_ref().and_then(|subject| subject.privilege);
    let person = listed.as_ref().and_then(Subject::person);
    let Some(role) = listed.and_then(|subject| subject.role).or(role) else {
        return Ok(None);
    };
    if person.is_some() {
        return Ok(Some(Known {
            role,
            privilege,
            account: person,
        }));
    }
    // What no account can be called is none.
    let user = match name.contains('\0') {
        true => None,
        false => User::from_name(name)
            .map_err(|error| Unanswered(format!("the accounts of this host could not be asked: {error}")))?,
    };
    Ok(Some(Known {
        role,
        privilege,
        account: user.map(|user| Person {
            uid: user.uid.as_raw(),
            account: Some(user.name),
        }),
    }))
}
