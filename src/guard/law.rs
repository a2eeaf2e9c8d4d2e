//! The policy in force: where it comes from, how it is read anew, and what was wrong when it could not be.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::authority::{Fault, Policy, load};

/// Where the policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicySource {
    /// There is none: no case is demanded. An administrator's explicit choice.
    Off,
    /// A file; where `optional` and absent, the policy that ships with Claviger.
    File {
        /// Which.
        path: PathBuf,
        /// Whether it may be absent.
        optional: bool,
    },
}

/// Why a policy is not taken. What was in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file could not be read.
    #[error("the policy {path} cannot be read: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The file is no policy.
    #[error("the policy {path} is refused:{}", lines(.path, .faults))]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong, by line.
        faults: Vec<Fault>,
    },
}

/// `FILE:LINE:COLUMN: what`, one a line, as a compiler says it.
fn lines(path: &Path, faults: &[Fault]) -> String {
    let mut told = String::new();
    for fault in faults {
        // A string takes whatever is written to it.
        let _ = write!(
            told,
            "\n{}:{}:{}: {}",
            path.display(),
            fault.line,
            fault.column,
            fault.what
        );
    }
    told
}

/// How the policy stands, for `Manager1.Status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyState {
    /// `off`, `shipped`, or the file's path.
    pub origin: String,
    /// What was wrong with the file when it was last read anew, while the old one stays in force.
    pub refused: Option<String>,
}

struct Now {
    policy: Option<Arc<Policy>>,
    shipped: bool,
    refused: Option<String>,
}

/// The policy in force.
pub struct Law {
    source: PolicySource,
    demands: bool,
    now: RwLock<Now>,
}

impl Law {
    /// Reads the policy for the first time. `demands`: whether a change wants a case at all.
    ///
    /// # Errors
    /// [`PolicyError`]: then there is no old one that could stay in force.
    pub fn read(source: PolicySource, demands: bool) -> Result<Self, PolicyError> {
        let (policy, shipped) = read(&source)?;
        let now = Now {
            policy: policy.map(Arc::new),
            shipped,
            refused: None,
        };
        Ok(Self {
            source,
            demands,
            now: RwLock::new(now),
        })
    }

    /// Reads it anew. A policy that is refused leaves the old one in force and is told of until it is mended.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn reload(&self) -> Result<(), PolicyError> {
        let fresh = read(&self.source);
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        match fresh {
            Ok((policy, shipped)) => {
                *now = Now {
                    policy: policy.map(Arc::new),
                    shipped,
                    refused: None,
                };
                Ok(())
            }
            Err(error) => {
                now.refused = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Whether a change wants a case.
    #[must_use]
    pub fn demands_cases(&self) -> bool {
        self.demands && self.policy().is_some()
    }

    /// The policy; `None` when there is none.
    #[must_use]
    pub fn policy(&self) -> Option<Arc<Policy>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).policy.clone()
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> PolicyState {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let origin = match &self.source {
            PolicySource::Off => "off".to_owned(),
            PolicySource::File { .. } if now.shipped => "shipped".to_owned(),
            PolicySource::File { path, .. } => path.display().to_string(),
        };
        PolicyState {
            origin,
            refused: now.refused.clone(),
        }
    }
}

/// The policy, and whether it is the one that ships with Claviger.
fn read(source: &PolicySource) -> Result<(Option<Policy>, bool), PolicyError> {
    let PolicySource::File { path, optional } = source else {
        return Ok((None, false));
    };
    let refused = |faults| PolicyError::Refused {
        path: path.clone(),
        faults,
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((Some(load::load(&text).map_err(refused)?), false)),
        Err(error) if *optional && error.kind() == std::io::ErrorKind::NotFound => {
            Ok((Some(load::shipped().map_err(refused)?), true))
        }
        Err(error) => Err(PolicyError::Unreadable {
            path: path.clone(),
            why: error.to_string(),
        }),
    }
}
