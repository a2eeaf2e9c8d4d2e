//! The organisation, from the configuration: its people, the program that tells them, and who watches.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::authority::Policy;
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::ldap::{LdapDirectory, SetupError};
use crate::directory::local::{self, FileError, LocalDirectory};
use crate::grant::{Action, Object, Tier};
use crate::guard::cases::Cases;
use crate::guard::standing;
use crate::hook::Hook;
use crate::lifecycle::organisation::{Organisation, Watchman};
use crate::types::Mode;

/// Reads the file of subjects. In session mode only one that the configuration names: the host's own is about other people. Without a
/// policy there are no roles that it could name.
///
/// # Errors
/// [`DirectorySetup`].
pub fn directory(config: &Config, policy: Option<&Policy>) -> Result<Option<Arc<LocalDirectory>>, DirectorySetup> {
    let subjects = match (&config.subjects.file, config.mode) {
        (Some(path), _) => Some(path.as_path()),
        (None, Mode::System) => Some(Path::new(local::DEFAULT_PATH)),
        (None, Mode::Session) => None,
    };
    let Some(policy) = policy else {
        return Ok(None);
    };
    let ldap = config.subjects.ldap.as_ref();
    let ldap = ldap.map(|section| LdapDirectory::open(section, policy)).transpose()?;
    let local = match subjects {
        Some(path) => LocalDirectory::open(path, policy)?,
        None if ldap.is_some() => LocalDirectory::without_file(),
        None => return Ok(None),
    };
    Ok(Some(Arc::new(local.with_ldap(ldap))))
}

/// Why nobody can be asked who people are.
#[derive(Debug, thiserror::Error)]
pub enum DirectorySetup {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The server.
    #[error(transparent)]
    Ldap(#[from] SetupError),
}

/// What the house knows of the organisation. Where there is one user only, nobody watches: there is no second person who could lift
/// what an alarm froze.
pub fn organisation(config: &Config, directory: Option<Arc<LocalDirectory>>, cases: &Arc<Cases>) -> Organisation {
    let mut organisation = Organisation::default();
    if let Some(directory) = directory {
        organisation.directory = directory as Arc<dyn Directory>;
    }
    let law = Arc::clone(cases);
    organisation.policy = Arc::new(move || law.law().policy());
    let hooks = &config.hooks;
    let hook = |program: &Option<PathBuf>| {
        let program = program.as_ref()?;
        Some(Hook::new(program, Duration::from_millis(hooks.timeout)))
    };
    organisation.hook = hook(&hooks.subject);
    organisation.overseer = hook(&hooks.organisation);
    let time = Arc::clone(cases);
    organisation.watchman = (config.mode == Mode::System).then(|| Watchman {
        time: Arc::new(move || time.time().now()),
        grant: standing(
            Action::Audit,
            Object::Whole,
            Tier::Look,
            "something was out of the ordinary",
        ),
    });
    organisation.replacing = Some(standing(
        Action::Revoke,
        Object::Whole,
        Tier::Revoke,
        "another token took its place",
    ));
    organisation
}
