//! The organisation, from the configuration: its policy, its people, and the program that tells them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::authority::{Fault, Policy, load};
use crate::config::Config;
use crate::directory::local::{self, FileError, LocalDirectory};
use crate::hook::Hook;
use crate::lifecycle::organisation::Organisation;
use crate::types::Mode;

/// Why the organisation is not known.
#[derive(Debug, thiserror::Error)]
pub enum OrganisationError {
    /// The policy could not be read.
    #[error("cannot read the policy {path}: {source}")]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The policy says something wrong, by line.
    #[error("the policy {path} is refused:\n{}", faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect::<Vec<_>>().join("\n"))]
    Refused {
        /// Which.
        path: PathBuf,
        /// All of it.
        faults: Vec<Fault>,
    },
    /// The file of subjects.
    #[error(transparent)]
    Subjects(#[from] FileError),
}

/// What the configuration says of the organisation. In session mode only what it names is looked at: the host's own files are about
/// other people.
///
/// # Errors
/// [`OrganisationError`]: a policy that is wrong is not taken for none.
pub fn organisation(config: &Config) -> Result<Organisation, OrganisationError> {
    let policy = match config.authority.policy_file(config.mode) {
        Some((path, optional)) => Some(read(&path, !optional)?),
        None => None,
    };
    let policy = policy.map(Arc::new);
    let subjects = match (&config.subjects.file, config.mode) {
        (Some(path), _) => Some(path.as_path()),
        (None, Mode::System) => Some(Path::new(local::DEFAULT_PATH)),
        (None, Mode::Session) => None,
    };
    let mut organisation = Organisation::default();
    if let (Some(path), Some(policy)) = (subjects, &policy) {
        organisation.directory = Arc::new(LocalDirectory::open(path, policy)?);
    }
    organisation.policy = Arc::new(move || policy.clone());
    let hooks = &config.hooks;
    organisation.hook = hooks
        .subject
        .as_ref()
        .map(|program| Hook::new(program, Duration::from_millis(hooks.timeout)));
    Ok(organisation)
}

fn read(path: &Path, required: bool) -> Result<Policy, OrganisationError> {
    let refused = |faults| OrganisationError::Refused {
        path: path.to_owned(),
        faults,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => load::load(&text).map_err(refused),
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => load::shipped().map_err(refused),
        Err(source) => Err(OrganisationError::Policy {
            path: path.to_owned(),
            source,
        }),
    }
}
