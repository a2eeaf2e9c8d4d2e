//! The file of subjects, behind it an LDAP server, and behind both the accounts of this host.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::ldap::{Found, LdapDirectory};
use super::nss::{self, Member};
use super::{Directory, DirectoryError, Subject};
use crate::authority::Fault;
use crate::authority::people::{self, Listed, People};
use crate::authority::policy::Policy;

/// The usual place of the file. Without one nobody has a role.
pub const DEFAULT_PATH: &str = "/etc/claviger/subjects.toml";

/// Longest file that is read, in bytes; the reader refuses shorter ones already.
const LONGEST: u64 = 1024 * 1024;

/// Why the file is not in force. What was in force before still is.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("cannot read the file of subjects {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says something wrong, by line.
    #[error("the file of subjects {path} is refused:\n{}", faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect::<Vec<_>>().join("\n"))]
    Refused {
        /// Which.
        path: PathBuf,
        /// All of it.
        faults: Vec<Fault>,
    },
}

/// The people of this host.
#[derive(Debug)]
pub struct LocalDirectory {
    path: PathBuf,
    people: RwLock<Arc<People>>,
    ldap: Option<LdapDirectory>,
}

impl LocalDirectory {
    /// Reads the file; where there is none, nobody is known.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(path: &Path, policy: &Policy) -> Result<Self, FileError> {
        Ok(Self {
            path: path.to_owned(),
            people: RwLock::new(Arc::new(read(path, policy)?)),
            ldap: None,
        })
    }

    /// Nobody by name: for those who ask a server only.
    #[must_use]
    pub fn without_file() -> Self {
        Self {
            path: PathBuf::new(),
            people: RwLock::default(),
            ldap: None,
        }
    }

    /// With a server that is asked for whoever the file gives no role.
    #[must_use]
    pub fn with_ldap(mut self, ldap: Option<LdapDirectory>) -> Self {
        self.ldap = ldap;
        self
    }

    /// What the server says of somebody. Whom the file gives a role it is not asked about: the administrator who mends a server that is
    /// down is known without it.
    fn found(&self, name: &str, listed: Option<&Listed>) -> Result<Option<Found>, DirectoryError> {
        match &self.ldap {
            Some(ldap) if listed.is_none_or(|listed| listed.role.is_none()) => ldap.find(name),
            _ => Ok(None),
        }
    }

    /// Reads the file again, for a policy that may be another now.
    ///
    /// # Errors
    /// [`FileError`]; then what was in force stays in force.
    pub fn reload(&self, policy: &Policy) -> Result<(), FileError> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let people = Arc::new(read(&self.path, policy)?);
        *self.people.write().unwrap_or_else(PoisonError::into_inner) = people;
        Ok(())
    }

    fn people(&self) -> Arc<People> {
        Arc::clone(&self.people.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(path: &Path, policy: &Policy) -> Result<People, FileError> {
    let mut text = String::new();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(People::default()),
        Err(source) => return Err(unreadable(path, source)),
    };
    file.take(LONGEST)
        .read_to_string(&mut text)
        .map_err(|source| unreadable(path, source))?;
    people::load(&text, policy).map_err(|faults| FileError::Refused {
        path: path.to_owned(),
        faults,
    })
}

fn unreadable(path: &Path, source: io::Error) -> FileError {
    FileError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

impl Directory for LocalDirectory {
    fn subject(&self, name: &str) -> Result<Option<Subject>, DirectoryError> {
        let people = self.people();
        let listed = people.named(name);
        let found = self.found(name, listed)?;
        let named = listed.and_then(|listed| listed.account.as_deref());
        let account = named
            .or_else(|| found.as_ref().and_then(|found| found.account.as_deref()))
            .or_else(|| people.account_of(name));
        // Whoever gives nobody a role by their account need not be asked about accounts that no entry names.
        let asks = listed.is_some() || found.is_some() || people.accounts.is_some() || !people.groups.is_empty();
        let member = match account.filter(|_| asks) {
            Some(account) => nss::by_name(account)?,
            None => None,
        };
        Ok(joined(&people, name, listed, found, member))
    }

    fn of_uid(&self, uid: u32) -> Result<Option<Subject>, DirectoryError> {
        let people = self.people();
        let Some(member) = nss::by_uid(uid)? else {
            return Ok(None);
        };
        let account = member.account.name.clone();
        let domain = people.accounts.as_ref().and_then(|all| all.domain.as_deref());
        // The name that leads to this account, not one that belongs to another.
        let with_domain = domain.map(|domain| format!("{account}@{domain}"));
        let listed = people.of_account(&account).or_else(|| {
            [Some(account.clone()), with_domain.clone()]
                .into_iter()
                .flatten()
                .filter_map(|name| people.named(&name))
                .find(|listed| listed.account.is_none())
        });
        let name = listed.map_or_else(|| with_domain.unwrap_or(account), |listed| listed.name.clone());
        let found = self.found(&name, listed)?;
        // An entry that names another account is about somebody else.
        let other = |found: &Found| {
            found
                .account
                .as_ref()
                .is_some_and(|named| *named != member.account.name)
        };
        if listed.is_none() && found.as_ref().is_some_and(other) {
            return Ok(None);
        }
        Ok(joined(&people, &name, listed, found, Some(member)))
    }

    fn names(&self) -> Vec<String> {
        self.people().listed.iter().map(|listed| listed.name.clone()).collect()
    }
}

/// What the file says comes first, then what LDAP says; whoever is in neither and has no account is unknown.
fn joined(
    people: &People,
    name: &str,
    listed: Option<&Listed>,
    found: Option<Found>,
    member: Option<Member>,
) -> Option<Subject> {
    let by_account = member.as_ref().and_then(|member| {
        let everybody = people.accounts.as_ref().map(|all| all.role.as_str());
        people.role_of_groups(&member.groups).or(everybody)
    });
    let is_known = listed.is_some() || found.is_some();
    let (of_ldap, contact_there, privilege_there) = match found {
        Some(found) => (found.role, found.contact, found.privilege),
        None => (None, None, None),
    };
    let role = listed
        .and_then(|listed| listed.role.clone())
        .or(of_ldap)
        .or_else(|| by_account.map(str::to_owned));
    if !is_known && role.is_none() {
        return None;
    }
    Some(Subject {
        name: name.to_owned(),
        role,
        account: member.map(|member| member.account),
        // The more of the two.
        privilege: listed.and_then(|listed| listed.privilege).max(privilege_there),
        contact: listed.and_then(|listed| listed.contact.clone()).or(contact_there),
        contact_verified: listed.and_then(|listed| listed.contact_verified),
        exempt_until: listed.and_then(|listed| listed.exempt_until),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::authority::load::shipped;
    use crate::types::cases::Privilege;

    fn directory(text: &str) -> LocalDirectory {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        LocalDirectory::open(file.path(), &shipped().unwrap()).unwrap()
    }

    #[test]
    fn the_file_comes_before_groups_and_groups_before_everybody() {
        // Every host has root, of the group root.
        let by_group = directory(
            "form = 1\n[[group]]\nname = \"root\"\nrole = \"administrator\"\n[accounts]\nrole = \"staff\"\ndomain = \"example.org\"\n",
        );
        let root = by_group.subject("root@example.org").unwrap().unwrap();
        assert_eq!(root.role.as_deref(), Some("administrator"));
        assert_eq!(root.account.as_ref().map(|account| account.uid), Some(0));
        assert_eq!(by_group.of_uid(0).unwrap(), Some(root.clone()));
        let standing = root.standing(&shipped().unwrap()).unwrap();
        assert_eq!(standing.1, Privilege::Privileged);

        let by_file = directory(
            "form = 1\n[accounts]\nrole = \"administrator\"\n[[subject]]\nname = \"marvin\"\naccount = \"root\"\nrole = \"staff\"\n",
        );
        let marvin = by_file.subject("marvin").unwrap().unwrap();
        assert_eq!(marvin.role.as_deref(), Some("staff"));
        assert_eq!(by_file.of_uid(0).unwrap(), Some(marvin));

        let by_account = directory("form = 1\n[accounts]\nrole = \"staff\"\n");
        assert_eq!(
            by_account.subject("root").unwrap().unwrap().role.as_deref(),
            Some("staff")
        );
    }

    #[test]
    fn somebody_unknown_is_an_answer() {
        for text in [
            "form = 1\n",
            "form = 1\n[accounts]\nrole = \"staff\"\ndomain = \"example.org\"\n",
        ] {
            let directory = directory(text);
            for name in [
                "nobody-has-this-name",
                "root@elsewhere.example",
                "",
                "a\0b",
                "@example.org",
            ] {
                assert_eq!(directory.subject(name).unwrap(), None, "{name:?}");
            }
        }
        // Without a rule for accounts an account alone is nobody, and nobody is asked.
        assert_eq!(directory("form = 1\n").subject("root").unwrap(), None);
    }

    #[test]
    fn privilege_is_never_less_than_the_roles() {
        let policy = shipped().unwrap();
        let text = "form = 1\n[[subject]]\nname = \"a\"\nrole = \"administrator\"\nprivilege = \"ordinary\"\n\
                    [[subject]]\nname = \"b\"\nrole = \"staff\"\nprivilege = \"privileged\"\n[[subject]]\nname = \"c\"\n";
        let directory = directory(text);
        let of = |name: &str| {
            directory
                .subject(name)
                .unwrap()
                .unwrap()
                .standing(&policy)
                .map(|it| it.1)
        };
        assert_eq!(of("a"), Some(Privilege::Privileged));
        assert_eq!(of("b"), Some(Privilege::Privileged));
        assert_eq!(of("c"), None);
        assert_eq!(directory.names(), ["a", "b", "c"]);
    }

    #[test]
    fn a_bad_reload_leaves_the_old_file_in_force() {
        let policy = shipped().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("subjects.toml");
        let directory = LocalDirectory::open(&path, &policy).unwrap();
        assert!(directory.names().is_empty());
        fs::write(&path, "form = 1\n[[subject]]\nname = \"a\"\nrole = \"staff\"\n").unwrap();
        directory.reload(&policy).unwrap();
        fs::write(&path, "form = 1\n[[subject]]\nname = \"b\"\nrole = \"stuff\"\n").unwrap();
        let error = directory.reload(&policy).unwrap_err().to_string();
        assert!(error.contains("subjects.toml:4:"), "{error}");
        assert!(error.contains("staff"), "{error}");
        assert_eq!(directory.names(), ["a"]);
    }
}
