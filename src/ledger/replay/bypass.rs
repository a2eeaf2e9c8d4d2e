//! Emergency bypasses as the journal leaves them: each is part of its case.

use super::Case;
use crate::types::UnixMillis;
use crate::types::cases::{BypassEnd, FoundAgain};
use crate::types::stamp::Stamp;

/// A bypass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bypass {
    pub(crate) issued_at: UnixMillis,
    pub(crate) by: u32,
    pub(crate) issued: Stamp,
    pub(crate) lasts_ms: u64,
    pub(crate) uses: u32,
    pub(crate) found_again: FoundAgain,
    /// Tag over the hash of its code; none once that is destroyed.
    pub(crate) code: Option<String>,
    pub(crate) used: u32,
    pub(crate) wrong: u32,
    pub(crate) last_used: Option<UnixMillis>,
    pub(crate) ended: Option<(UnixMillis, BypassEnd)>,
    pub(crate) reviewed: Option<(UnixMillis, u32)>,
}

impl Bypass {
    pub(super) fn new(
        issued_at: UnixMillis,
        by: u32,
        issued: Stamp,
        (lasts_ms, uses): (u64, u32),
        found_again: FoundAgain,
        code: String,
    ) -> Self {
        Self {
            issued_at,
            by,
            issued,
            lasts_ms,
            uses,
            found_again,
            code: Some(code),
            used: 0,
            wrong: 0,
            last_used: None,
            ended: None,
            reviewed: None,
        }
    }

    pub(super) fn tried(&mut self, at: UnixMillis, passed: bool) -> Result<(), String> {
        if !passed {
            self.wrong = self.wrong.saturating_add(1);
            return Ok(());
        }
        if self.used >= self.uses || self.ended.is_some() {
            return Err("uses a bypass that is over".to_owned());
        }
        self.used += 1;
        self.last_used = Some(at);
        Ok(())
    }

    pub(super) fn end(&mut self, at: UnixMillis, why: BypassEnd) -> Result<(), String> {
        self.code = None;
        match self.ended.replace((at, why)) {
            Some(_) => Err("ends a bypass a second time".to_owned()),
            None => Ok(()),
        }
    }

    pub(super) fn review(&mut self, at: UnixMillis, by: u32) {
        self.code = None;
        self.reviewed = Some((at, by));
    }
}

impl Case {
    pub(super) fn issue_bypass(&mut self, new: Bypass) -> Result<(), String> {
        match self.bypass.replace(new) {
            Some(_) => Err(format!("issues a second bypass in case {}", self.is.case)),
            None => Ok(()),
        }
    }

    /// The bypass that waits for its review.
    pub(super) fn unreviewed(&mut self) -> Result<&mut Bypass, String> {
        let id = self.is.case;
        let bypass = self.bypass.as_mut().filter(|bypass| bypass.reviewed.is_none());
        bypass.ok_or_else(|| format!("changes the bypass of case {id}, which has none or one that was reviewed"))
    }
}
