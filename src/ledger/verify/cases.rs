//! Cases against what the journal makes of them: evidence that was added by hand, a yes that was moved to another hour, a case that
//! was opened again, a clock that was put back.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::cell::{Cell, differences, read};
use super::tables::Table;
use super::{Audit, PAGE};
use crate::ledger::canonical::canonical;
use crate::ledger::journal::{case_tag, hex, reference_tag};
use crate::ledger::replay::{Case, Line, Notes, Replay, Share};
use crate::ledger::sqlite::{Reader, case_personal};
use crate::ledger::{LedgerError, Said};
use crate::types::stamp::Stamp;
use crate::types::{CaseId, UnixMillis};

const CASES: Table = Table {
    key: "c.id",
    columns: "c.*, p.subject, p.ticket, p.reason, p.salt",
    from: "cases c LEFT JOIN case_personal p ON p.case_id = c.id",
};

impl Audit<'_> {
    pub(super) async fn cases(&mut self, replay: &mut Replay, share: Share) -> Result<(), LedgerError> {
        if share.part == 0 {
            self.kept_time(replay).await?;
            self.stray_cases().await?;
        }
        let mut found = self.notes(share).await?;
        let mut from = Vec::new();
        while let Some(rows) = self.page(&CASES, &mut from).await? {
            for row in &rows {
                self.case_row(row, replay, &mut found, share);
            }
        }
        for id in replay.cases.keys() {
            self.findings
                .frame(format!("case {id} is in the journal, but its row is gone"));
        }
        for id in found.into_keys() {
            self.findings
                .frame(format!("there are notes of case {id}, which does not exist"));
        }
        Ok(())
    }

    fn case_row(&mut self, row: &SqliteRow, replay: &mut Replay, found: &mut HashMap<CaseId, Notes>, share: Share) {
        let Some(id) = self.key::<CaseId>(row, "id", "case", share) else {
            return;
        };
        if !share.has(id.as_bytes()) {
            return;
        }
        let notes = found.remove(&id).unwrap_or_default();
        let Some(due) = replay.cases.remove(&id) else {
            self.findings
                .frame(format!("case {id} has a row, but no entry in the journal"));
            return;
        };
        let mut wrong = differences(row, case_cells(&due));
        let tag = match read(row, "salt") {
            Cell::Blob(salt) => case_personal(&Reader::new(row, self.place, "case"))
                .and_then(|personal| case_tag(self.keys, &salt, &personal))
                .ok()
                .map(|tag| hex(&tag)),
            _ => None,
        };
        if tag.as_ref() != Some(&due.is.personal) {
            wrong.push("whom it is about and why was changed".to_owned());
        }
        if notes != due.notes {
            wrong.push("what was said in it is not what the journal says".to_owned());
        }
        for what in wrong {
            self.findings.frame(format!("case {id}: {what}"));
        }
    }

    /// What was said in the cases of one share.
    async fn notes(&mut self, share: Share) -> Result<HashMap<CaseId, Notes>, LedgerError> {
        let sql = "SELECT *, CAST(case_id AS BLOB) AS raw_key FROM case_notes \
                   WHERE (case_id, seq, no) > (CAST(? AS TEXT), ?, ?) ORDER BY case_id, seq, no LIMIT ?";
        let mut found = HashMap::<CaseId, Notes>::new();
        let mut after = (Vec::new(), i64::MIN, i64::MIN);
        loop {
            let query = sqlx::query(sql)
                .bind(after.0.clone())
                .bind(after.1)
                .bind(after.2)
                .bind(PAGE);
            let rows = query.fetch_all(&mut *self.conn).await;
            let rows = rows.map_err(|error| self.place.fault(&error))?;
            let last = rows
                .last()
                .map(|row| (read(row, "raw_key"), read(row, "seq"), read(row, "no")));
            let Some((Cell::Blob(key), Cell::Int(seq), Cell::Int(no))) = last else {
                return Ok(found);
            };
            // In a damaged file an index can lead back to where we were: that must not keep us here for ever.
            if (&key, seq, no) <= (&after.0, after.1, after.2) {
                self.findings
                    .frame("notes of cases are out of order: the database file is damaged");
                return Ok(found);
            }
            after = (key, seq, no);
            for row in &rows {
                let Some(case) = self.key::<CaseId>(row, "case_id", "note of a case", share) else {
                    continue;
                };
                if !share.has(case.as_bytes()) {
                    continue;
                }
                let added = self
                    .note(row)
                    .and_then(|(line, said)| found.entry(case).or_default().add(&line.of(&said)).ok());
                if added.is_none() {
                    self.findings.frame(format!("case {case}: a note cannot be read"));
                }
            }
        }
    }

    fn note(&self, row: &SqliteRow) -> Option<(Raw, Said)> {
        let Cell::Text(said) = read(row, "said") else {
            return None;
        };
        let Cell::Blob(salt) = read(row, "salt") else {
            return None;
        };
        let number = |column| row.try_get::<i64, _>(column).ok();
        let parsed: Said = serde_json::from_str(&said).ok()?;
        // Only the one spelling that we write.
        let ours = canonical(&parsed).is_ok_and(|ours| ours == said);
        let reference = row.try_get::<Option<String>, _>("reference").ok()?;
        ours.then_some(())?;
        let by = match read(row, "by") {
            Cell::Null => None,
            Cell::Int(by) => Some(u32::try_from(by).ok()?),
            _ => return None,
        };
        let raw = Raw {
            seq: u64::try_from(number("seq")?).ok()?,
            no: u32::try_from(number("no")?).ok()?,
            by,
            at: UnixMillis(number("at")?),
            stamp: Stamp {
                most_ms: u64::try_from(number("most")?).ok()?,
                least_ms: u64::try_from(number("least")?).ok()?,
            },
            reference: hex(&reference_tag(self.keys, &salt, reference.as_deref())),
        };
        Some((raw, parsed))
    }

    async fn kept_time(&mut self, replay: &Replay) -> Result<(), LedgerError> {
        let rows = sqlx::query("SELECT * FROM timekeeper").fetch_all(&mut *self.conn).await;
        let rows = rows.map_err(|error| self.place.fault(&error))?;
        let wrong = match (rows.as_slice(), &replay.kept) {
            ([], None) => false,
            ([row], Some(due)) => {
                let cells = vec![
                    ("id", Cell::Int(1)),
                    ("wall", due.wall.0.into()),
                    ("boot_ms", count(due.boot_ms)),
                    ("most", count(due.stamp.most_ms)),
                    ("least", count(due.stamp.least_ms)),
                ];
                let boot = match read(row, "boot") {
                    Cell::Blob(boot) => hex(&boot),
                    _ => String::new(),
                };
                !differences(row, cells).is_empty() || boot != due.boot
            }
            _ => true,
        };
        if wrong {
            self.findings
                .frame("the time that was kept is not what the journal says");
        }
        Ok(())
    }

    /// Personal rows that belong to no case.
    async fn stray_cases(&mut self) -> Result<(), LedgerError> {
        let sql =
            "SELECT CAST(case_id AS BLOB) FROM case_personal WHERE case_id NOT IN (SELECT id FROM cases) LIMIT 1000";
        let strays = sqlx::query_scalar::<_, Vec<u8>>(sql).fetch_all(&mut *self.conn).await;
        for case in strays.map_err(|error| self.place.fault(&error))? {
            let case = String::from_utf8_lossy(&case);
            self.findings
                .frame(format!("there is personal data of case {case}, which does not exist"));
        }
        Ok(())
    }
}

/// A note as its row has it, but for what was said.
struct Raw {
    seq: u64,
    no: u32,
    by: Option<u32>,
    at: UnixMillis,
    stamp: Stamp,
    reference: String,
}

impl Raw {
    fn of(self, said: &Said) -> Line<'_> {
        Line {
            seq: self.seq,
            no: self.no,
            by: self.by,
            at: self.at,
            stamp: self.stamp,
            said,
            reference: self.reference,
        }
    }
}

fn count(number: u64) -> Cell {
    i64::try_from(number).map_or(Cell::Unreadable, Cell::Int)
}

fn case_cells(due: &Case) -> Vec<(&'static str, Cell)> {
    let is = &due.is;
    vec![
        ("kind", is.kind.as_str().into()),
        ("channel", is.channel.as_str().into()),
        ("opener", i64::from(is.opener).into()),
        ("opened_at", due.opened_at.0.into()),
        ("opened_most", count(is.stamp.most_ms)),
        ("opened_least", count(is.stamp.least_ms)),
        ("step", due.step.as_str().into()),
        ("since_most", count(due.since.most_ms)),
        ("since_least", count(due.since.least_ms)),
        ("within_ms", count(due.within_ms)),
        ("escalated", i64::from(due.escalated).into()),
        ("outcome", due.closed.map(|(outcome, _)| outcome.as_str()).into()),
        ("closed_at", due.closed.map(|(_, at)| at.0).into()),
    ]
}
