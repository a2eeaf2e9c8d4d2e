//! “Later”, and frozen operators, as the journal leaves them.

use super::{Replay, mark};
use crate::types::UnixMillis;
use crate::types::cases::Anomaly;

impl Replay {
    pub(super) fn defer(&mut self, who: &str, at: UnixMillis) {
        if self.share.has(&mark(who)) {
            let (count, last) = self.deferrals.entry(who.to_owned()).or_default();
            (*count, *last) = (count.saturating_add(1), at);
        }
    }

    /// All of them are part of the first share.
    pub(super) fn freeze(&mut self, operator: u32, since: UnixMillis, why: Anomaly) -> Result<(), String> {
        if self.share.part != 0 {
            return Ok(());
        }
        match self.freezes.insert(operator, (since, why)) {
            Some(_) => Err(format!("freezes uid {operator}, who is frozen")),
            None => Ok(()),
        }
    }

    pub(super) fn thaw(&mut self, operator: u32) -> Result<(), String> {
        if self.share.part != 0 || self.freezes.remove(&operator).is_some() {
            Ok(())
        } else {
            Err(format!("thaws uid {operator}, who is not frozen"))
        }
    }
}
