//! Cases as the journal leaves them.

use sha2::{Digest, Sha256};

use super::{Bypass, Replay};
use crate::ledger::Said;
use crate::ledger::canonical::canonical;
use crate::ledger::journal::Opened;
use crate::types::cases::{Outcome, Step};
use crate::types::stamp::Stamp;
use crate::types::{CaseId, UnixMillis};

/// A case.
pub(crate) struct Case {
    pub(crate) is: Opened,
    pub(crate) opened_at: UnixMillis,
    pub(crate) step: Step,
    pub(crate) since: Stamp,
    pub(crate) within_ms: u64,
    pub(crate) escalated: bool,
    pub(crate) closed: Option<(Outcome, UnixMillis)>,
    pub(crate) notes: Notes,
    pub(crate) bypass: Option<Bypass>,
}

/// What the host's clocks said when time was last kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) wall: UnixMillis,
    pub(crate) boot_ms: u64,
    pub(crate) boot: String,
    pub(crate) stamp: Stamp,
}

/// The notes of a case in bounded memory: one digest over all of them in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Notes([u8; 32]);

/// One note, as it is digested.
pub(crate) struct Line<'n> {
    pub(crate) seq: u64,
    pub(crate) no: u32,
    pub(crate) by: Option<u32>,
    pub(crate) at: UnixMillis,
    pub(crate) stamp: Stamp,
    pub(crate) said: &'n Said,
    /// Tag, hex.
    pub(crate) reference: String,
}

impl Notes {
    /// Adds a note.
    ///
    /// # Errors
    /// None that a note of ours gives cause to.
    pub(crate) fn add(&mut self, line: &Line<'_>) -> Result<(), String> {
        let said = canonical(line.said).map_err(|why| why.to_string())?;
        let mut digest = Sha256::new();
        digest.update(self.0);
        digest.update(line.seq.to_be_bytes());
        digest.update(line.no.to_be_bytes());
        digest.update([u8::from(line.by.is_some())]);
        digest.update(line.by.unwrap_or(0).to_be_bytes());
        digest.update(line.at.0.to_be_bytes());
        digest.update(line.stamp.most_ms.to_be_bytes());
        digest.update(line.stamp.least_ms.to_be_bytes());
        digest.update((said.len() as u64).to_be_bytes());
        digest.update(&said);
        digest.update(&line.reference);
        self.0 = digest.finalize().into();
        Ok(())
    }
}

impl Replay {
    /// Time is kept in the first share.
    pub(super) fn keep(&mut self, kept: Kept) -> Result<(), String> {
        if self.share.part != 0 {
            return Ok(());
        }
        let back = |last: &Kept| kept.stamp.most_ms < last.stamp.most_ms || kept.stamp.least_ms < last.stamp.least_ms;
        if self.kept.as_ref().is_some_and(back) {
            return Err("turns kept time back".to_owned());
        }
        self.kept = Some(kept);
        Ok(())
    }

    pub(super) fn open_case(&mut self, at: UnixMillis, is: Opened) -> Result<(), String> {
        let id = is.case;
        let case = Case {
            opened_at: at,
            step: is.step,
            since: is.stamp,
            within_ms: is.within_ms,
            escalated: false,
            closed: None,
            notes: Notes::default(),
            bypass: None,
            is,
        };
        match self.cases.insert(id, case) {
            Some(_) => Err(format!("opens case {id} a second time")),
            None => Ok(()),
        }
    }

    pub(super) fn open_case_of(&mut self, id: CaseId) -> Result<&mut Case, String> {
        let case = self.cases.get_mut(&id).filter(|case| case.closed.is_none());
        case.ok_or_else(|| format!("changes case {id}, which is not open"))
    }
}

impl Case {
    pub(super) fn step(&mut self, step: Step, since: Stamp, within_ms: u64) {
        (self.step, self.since, self.within_ms, self.escalated) = (step, since, within_ms, false);
    }

    pub(super) fn escalate(&mut self, step: Step) -> Result<(), String> {
        if self.escalated || self.step != step {
            return Err(format!("escalates case {} without cause", self.is.case));
        }
        self.escalated = true;
        Ok(())
    }

    pub(super) fn close(&mut self, at: UnixMillis, outcome: Outcome, last: &Line<'_>) -> Result<(), String> {
        if self.unreviewed().is_ok() {
            return Err(format!(
                "closes case {}, whose bypass nobody has reviewed",
                self.is.case
            ));
        }
        self.closed = Some((outcome, at));
        self.notes.add(last)
    }
}
