//! “Later” and frozen operators against what the journal makes of them: a count put back by hand, or a freeze that somebody lifted
//! for themselves, is found.

use super::Audit;
use super::cell::{Cell, read};
use crate::ledger::LedgerError;
use crate::ledger::journal::{account_mark, hex};
use crate::ledger::replay::{Replay, Share, mark};
use crate::types::UnixMillis;

impl Audit<'_> {
    pub(super) async fn people(&mut self, replay: &mut Replay, share: Share) -> Result<(), LedgerError> {
        let rows = sqlx::query("SELECT who, salt, count, last FROM deferrals")
            .fetch_all(&mut *self.conn)
            .await;
        for row in &rows.map_err(|error| self.place.fault(&error))? {
            let (Cell::Blob(who), Cell::Blob(salt)) = (read(row, "who"), read(row, "salt")) else {
                continue;
            };
            let name = hex(&account_mark(self.keys, &salt, &who));
            if !share.has(&mark(&name)) {
                continue;
            }
            let found = match (read(row, "count"), read(row, "last")) {
                (Cell::Int(count), Cell::Int(last)) => u32::try_from(count).ok().map(|count| (count, UnixMillis(last))),
                _ => None,
            };
            if replay.deferrals.remove(&name) != found || found.is_none() {
                self.findings
                    .frame("how often somebody said “later” is not what the journal says");
            }
        }
        for _ in replay.deferrals.drain() {
            self.findings
                .frame("somebody said “later” by the journal, but the row that counts it is gone");
        }
        if share.part == 0 {
            self.freezes(replay).await?;
        }
        Ok(())
    }

    async fn freezes(&mut self, replay: &mut Replay) -> Result<(), LedgerError> {
        let rows = sqlx::query("SELECT operator, since, why FROM freezes")
            .fetch_all(&mut *self.conn)
            .await;
        for row in &rows.map_err(|error| self.place.fault(&error))? {
            let Cell::Int(uid) = read(row, "operator") else {
                continue;
            };
            let due = u32::try_from(uid).ok().and_then(|uid| replay.freezes.remove(&uid));
            let same = due.is_some_and(|(since, why)| {
                read(row, "since") == Cell::Int(since.0) && read(row, "why") == Cell::from(why.as_str())
            });
            if !same {
                self.findings
                    .frame(format!("that uid {uid} is frozen is not what the journal says"));
            }
        }
        for uid in std::mem::take(&mut replay.freezes).into_keys() {
            self.findings.frame(format!(
                "uid {uid} is frozen by the journal, but the row that says so is gone"
            ));
        }
        Ok(())
    }
}
