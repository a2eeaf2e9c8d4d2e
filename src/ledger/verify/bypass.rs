//! Emergency bypasses against what the journal makes of them: a use given back, a longer life, a review that nobody wrote, another
//! code.

use sqlx::sqlite::SqliteRow;

use super::Audit;
use super::cell::{Cell, differences, read};
use super::tables::Table;
use crate::ledger::LedgerError;
use crate::ledger::journal::{bypass_tag, hex};
use crate::ledger::replay::{Bypass, Replay, Share};
use crate::types::CaseId;
use crate::types::cases::BypassEnd;

const BYPASSES: Table = Table {
    key: "case_id",
    columns: "*",
    from: "bypasses",
};

impl Audit<'_> {
    /// Reads `replay` only: its cases are compared, and taken away, afterwards.
    pub(super) async fn bypasses(&mut self, replay: &Replay, share: Share) -> Result<(), LedgerError> {
        let mut found = std::collections::HashSet::new();
        let mut from = Vec::new();
        while let Some(rows) = self.page(&BYPASSES, &mut from).await? {
            for row in &rows {
                let Some(id) = self.key::<CaseId>(row, "case_id", "bypass of a case", share) else {
                    continue;
                };
                if share.has(id.as_bytes()) {
                    found.insert(id);
                    self.bypass_row(row, id, replay);
                }
            }
        }
        let gone = replay.cases.iter().filter(|(_, case)| case.bypass.is_some());
        for (id, _) in gone.filter(|(id, _)| !found.contains(id)) {
            self.findings.frame(format!(
                "the bypass of case {id} is in the journal, but its row is gone"
            ));
        }
        Ok(())
    }

    fn bypass_row(&mut self, row: &SqliteRow, id: CaseId, replay: &Replay) {
        let Some(due) = replay.cases.get(&id).and_then(|case| case.bypass.as_ref()) else {
            self.findings
                .frame(format!("case {id} has a bypass, but no entry of the journal issues it"));
            return;
        };
        let mut wrong = differences(row, cells(due));
        let tag = match read(row, "mac") {
            Cell::Blob(mac) => Some(hex(&bypass_tag(self.keys, id, &mac))),
            Cell::Null => None,
            _ => Some(String::new()),
        };
        if tag != due.code {
            wrong.push("its code was changed".to_owned());
        }
        for what in wrong {
            self.findings.frame(format!("the bypass of case {id}: {what}"));
        }
    }
}

fn cells(due: &Bypass) -> Vec<(&'static str, Cell)> {
    let count = |number: u64| i64::try_from(number).map_or(Cell::Unreadable, Cell::Int);
    vec![
        ("by", i64::from(due.by).into()),
        ("issued_at", due.issued_at.0.into()),
        ("issued_most", count(due.issued.most_ms)),
        ("issued_least", count(due.issued.least_ms)),
        ("lasts_ms", count(due.lasts_ms)),
        ("uses", i64::from(due.uses).into()),
        ("found_again", due.found_again.as_str().into()),
        ("used", i64::from(due.used).into()),
        ("wrong", i64::from(due.wrong).into()),
        ("last_used", due.last_used.map(|at| at.0).into()),
        ("ended_at", due.ended.map(|(at, _)| at.0).into()),
        ("ended_why", due.ended.map(|(_, why)| BypassEnd::as_str(why)).into()),
        ("reviewed_at", due.reviewed.map(|(at, _)| at.0).into()),
        ("reviewed_by", due.reviewed.map(|(_, by)| i64::from(by)).into()),
    ]
}
