//! What the house goes by: the organisation's policy, and the metadata it names.

use super::Verdict;
use super::metadata::Blob;
use super::policy::{self, Distrust, Policy};
use super::statement::Attested;
use crate::codec::ctap2::get_info::GetInfo;
use crate::types::UnixMillis;

/// Metadata, as far as they are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Metadata {
    /// None are configured.
    #[default]
    None,
    /// A BLOB whose signature verified.
    Blob(Blob),
    /// They are configured and cannot be used: why. Then no key is registered, and everything else goes on.
    Unusable(String),
}

/// Policy and metadata together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// What is asked of keys.
    pub policy: Policy,
    /// What is known of them.
    pub metadata: Metadata,
}

impl Rules {
    /// Whether nothing is asked, so that nothing need be judged.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.policy.is_idle() && self.metadata == Metadata::None
    }

    /// Whether a key that can is asked for its enterprise attestation, which names the one key.
    #[must_use]
    pub fn wants_enterprise(&self) -> bool {
        self.policy.enterprise || self.policy.serial_required
    }

    /// What can be said before a credential is made ([`policy::screen`]).
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn screen(&self, info: &GetInfo) -> Result<(), Distrust> {
        policy::screen(info, &self.policy, self.blob()?)
    }

    /// Judges a registration ([`policy::judge`]); nothing where nothing is asked.
    ///
    /// # Errors
    /// [`Distrust`], the first that applies.
    pub fn judge(&self, attested: &Attested<'_>, info: &GetInfo, now: UnixMillis) -> Result<Option<Verdict>, Distrust> {
        if self.is_idle() {
            return Ok(None);
        }
        policy::judge(attested, info, &self.policy, self.blob()?, now).map(Some)
    }

    fn blob(&self) -> Result<Option<&Blob>, Distrust> {
        match &self.metadata {
            Metadata::None => Ok(None),
            Metadata::Blob(blob) => Ok(Some(blob)),
            Metadata::Unusable(why) => Err(Distrust::Metadata(why.clone())),
        }
    }
}
