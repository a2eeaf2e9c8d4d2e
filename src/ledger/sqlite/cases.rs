//! Cases: their statements. Whatever changes one wants it open.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};

use super::apply::{Apply, Outcome as Done, signed};
use super::{PAGE_CAP, Reader, SqliteLedger, page};
use crate::ledger::canonical::canonical;
use crate::ledger::journal::{self, Opened, Recorded, hex};
use crate::ledger::seal::random;
use crate::ledger::{
    CaseFilter, CaseHistory, CaseNote, CasePersonal, CaseRecord, LedgerError, NewCase, NewNote, Page, Said,
};
use crate::types::cases::{Check, Outcome, Step};
use crate::types::stamp::{Reading, Stamp};
use crate::types::{CaseId, UnixMillis};

impl Apply<'_> {
    pub(super) async fn open_case(&mut self, new: NewCase) -> Done {
        let insert = "INSERT INTO cases (id, kind, channel, opener, opened_at, opened_most, opened_least, step, since_most, \
                      since_least, within_ms, escalated, outcome, closed_at) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?6, ?7, ?9, 0, NULL, NULL) ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(new.id.to_string())
            .bind(new.kind.as_str())
            .bind(new.channel.as_str())
            .bind(i64::from(new.opener))
            .bind(self.at.0)
            .bind(signed(new.opened.most_ms)?)
            .bind(signed(new.opened.least_ms)?)
            .bind(new.step.as_str())
            .bind(signed(new.within_ms)?);
        if self.run(query).await? != 1 {
            return Err(LedgerError::Stale("case"));
        }
        let salt = random::<16>()?;
        let insert = "INSERT INTO case_personal (case_id, subject, ticket, reason, salt) VALUES (?, ?, ?, ?, ?)";
        let query = sqlx::query(insert)
            .bind(new.id.to_string())
            .bind(&new.personal.subject)
            .bind(&new.personal.ticket)
            .bind(&new.personal.reason)
            .bind(salt.to_vec());
        self.run(query).await?;
        Ok(Recorded::OpenCase(Opened {
            case: new.id,
            kind: new.kind,
            channel: new.channel,
            opener: new.opener,
            stamp: new.opened,
            step: new.step,
            within_ms: new.within_ms,
            personal: hex(&journal::case_tag(self.keys, &*salt, &new.personal)?),
        }))
    }

    pub(super) async fn note(&mut self, new: NewNote) -> Done {
        let (no, reference) = self.add_note(&new).await?;
        Ok(Recorded::Note {
            case: new.case,
            no,
            by: new.by,
            stamp: new.stamp,
            said: new.said,
            reference,
        })
    }

    /// Answers with the note's number in this entry and the tag of its reference.
    async fn add_note(&mut self, new: &NewNote) -> Result<(u32, String), LedgerError> {
        let query = sqlx::query_scalar("SELECT outcome IS NULL FROM cases WHERE id = ?").bind(new.case.to_string());
        match self.scalar::<bool>(query).await? {
            None => return Err(LedgerError::NotFound("case")),
            Some(false) => return Err(LedgerError::Stale("case")),
            Some(true) => {}
        }
        let salt = random::<16>()?;
        let insert = "INSERT INTO case_notes (case_id, seq, no, by, at, most, least, said, reference, salt) \
                      SELECT ?1, ?2, COUNT(*), ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM case_notes WHERE case_id = ?1 AND seq = ?2 \
                      RETURNING no";
        let query = sqlx::query_scalar(insert)
            .bind(new.case.to_string())
            .bind(self.seq)
            .bind(new.by.map(i64::from))
            .bind(self.at.0)
            .bind(signed(new.stamp.most_ms)?)
            .bind(signed(new.stamp.least_ms)?)
            .bind(canonical(&new.said)?)
            .bind(&new.reference)
            .bind(salt.to_vec());
        let no: Option<i64> = self.scalar(query).await?;
        let no = no.and_then(|no| u32::try_from(no).ok());
        let no = no.ok_or(LedgerError::Stale("case"))?;
        let tag = journal::reference_tag(self.keys, &*salt, new.reference.as_deref());
        Ok((no, hex(&tag)))
    }

    pub(super) async fn step(&mut self, case: CaseId, step: Step, since: Stamp, within_ms: u64) -> Done {
        let update = "UPDATE cases SET step = ?, since_most = ?, since_least = ?, within_ms = ?, escalated = 0 \
                      WHERE id = ? AND outcome IS NULL";
        let query = sqlx::query(update)
            .bind(step.as_str())
            .bind(signed(since.most_ms)?)
            .bind(signed(since.least_ms)?)
            .bind(signed(within_ms)?)
            .bind(case.to_string());
        self.case_row(query, case).await?;
        Ok(Recorded::Step {
            case,
            step,
            since,
            within_ms,
        })
    }

    pub(super) async fn escalate(&mut self, case: CaseId, step: Step) -> Done {
        let update = "UPDATE cases SET escalated = 1 WHERE id = ? AND step = ? AND escalated = 0 AND outcome IS NULL";
        let query = sqlx::query(update).bind(case.to_string()).bind(step.as_str());
        self.case_row(query, case).await?;
        Ok(Recorded::Escalate { case, step })
    }

    pub(super) async fn close_case(
        &mut self,
        case: CaseId,
        by: Option<u32>,
        stamp: Stamp,
        outcome: Outcome,
        checks: Vec<Check>,
    ) -> Done {
        self.require_reviewed(case).await?;
        let last = NewNote {
            case,
            by,
            stamp,
            said: Said::Closed {
                outcome,
                checks: checks.clone(),
            },
            reference: None,
        };
        let (no, reference) = self.add_note(&last).await?;
        let update = "UPDATE cases SET outcome = ?, closed_at = ? WHERE id = ? AND outcome IS NULL";
        let query = sqlx::query(update)
            .bind(outcome.as_str())
            .bind(self.at.0)
            .bind(case.to_string());
        self.case_row(query, case).await?;
        Ok(Recorded::CloseCase {
            case,
            by,
            no,
            stamp,
            outcome,
            checks,
            reference,
        })
    }

    pub(super) async fn keep_time(&mut self, reading: Reading, stamp: Stamp) -> Result<Option<Recorded>, LedgerError> {
        // Of two stamps taken at once and written in the other order the later stays.
        let write = "INSERT INTO timekeeper (id, wall, boot_ms, boot, most, least) VALUES (1, ?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT DO UPDATE SET wall = ?1, boot_ms = ?2, boot = ?3, most = ?4, least = ?5 \
                     WHERE most <= ?4 AND least <= ?5";
        let boot = reading.boot.to_be_bytes();
        let query = sqlx::query(write)
            .bind(reading.wall.0)
            .bind(signed(reading.boot_ms)?)
            .bind(boot.to_vec())
            .bind(signed(stamp.most_ms)?)
            .bind(signed(stamp.least_ms)?);
        let kept = self.run(query).await? == 1;
        Ok(kept.then(|| Recorded::KeepTime {
            wall: reading.wall,
            boot_ms: reading.boot_ms,
            boot: hex(&boot),
            stamp,
        }))
    }

    /// The update must touch the one row.
    async fn case_row(&mut self, query: super::apply::Statement<'_>, case: CaseId) -> Result<(), LedgerError> {
        if self.run(query).await? == 1 {
            return Ok(());
        }
        Err(self
            .absent_or_stale("SELECT 1 FROM cases WHERE id = ?", case, "case")
            .await)
    }
}

const COLUMNS: &str = "SELECT c.*, p.subject, p.ticket, p.reason FROM cases c \
                       LEFT JOIN case_personal p ON p.case_id = c.id WHERE TRUE";

impl SqliteLedger {
    pub(super) async fn read_case(&self, id: CaseId) -> Result<Option<CaseRecord>, LedgerError> {
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" AND c.id = ").push_bind(id.to_string());
        let row = query.build().fetch_optional(&self.readers).await;
        let row = row.map_err(|error| self.fault(&error))?;
        row.map(|row| self.case_of(&row)).transpose()
    }

    pub(super) async fn read_case_notes(&self, id: CaseId) -> Result<Vec<CaseNote>, LedgerError> {
        let query = "SELECT case_id, seq, no, by, at, most, least, said, reference FROM case_notes WHERE case_id = ? \
                     ORDER BY seq, no";
        let rows = sqlx::query(query).bind(id.to_string()).fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        rows.iter().map(|row| self.note_of(row)).collect()
    }

    pub(super) async fn read_cases(
        &self,
        filter: &CaseFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<CaseRecord>, LedgerError> {
        let limit = limit.clamp(1, PAGE_CAP);
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        if filter.open || filter.overdue_at.is_some() {
            query.push(" AND c.outcome IS NULL");
        }
        if let Some(now) = filter.overdue_at {
            query
                .push(" AND c.escalated = 0 AND c.since_most + c.within_ms <= ")
                .push_bind(signed(now)?);
        }
        if let Some(subject) = &filter.subject {
            query.push(" AND p.subject = ").push_bind(subject);
        }
        if let Some(cursor) = cursor {
            let after: CaseId = cursor.parse().map_err(|_| LedgerError::NotFound("cursor"))?;
            query.push(" AND c.id > ").push_bind(after.to_string());
        }
        query.push(" ORDER BY c.id LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        let items = rows
            .iter()
            .map(|row| self.case_of(row))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(page(items, limit, |case| case.id.to_string()))
    }

    pub(super) async fn read_case_history(
        &self,
        subject: &str,
        since_least_ms: u64,
    ) -> Result<CaseHistory, LedgerError> {
        let query = "SELECT 'of a subject', COUNT(*) AS cases, COUNT(CASE WHEN EXISTS (SELECT 1 FROM case_notes n \
                     WHERE n.case_id = c.id AND n.said = '{\"what\":\"denied\"}') THEN 1 END) AS denied \
                     FROM case_personal p JOIN cases c ON c.id = p.case_id WHERE p.subject = ? AND c.opened_least >= ?";
        let row = sqlx::query(query)
            .bind(subject)
            .bind(signed(since_least_ms)?)
            .fetch_one(&self.readers)
            .await;
        let row = row.map_err(|error| self.fault(&error))?;
        let read = Reader::new(&row, &self.place, "cases");
        Ok(CaseHistory {
            cases: read.number("cases")?,
            denied: read.number("denied")?,
        })
    }

    pub(super) async fn read_next_deadline(&self) -> Result<Option<u64>, LedgerError> {
        let query =
            "SELECT 'of all', MIN(since_most + within_ms) AS due FROM cases WHERE outcome IS NULL AND escalated = 0";
        let row = sqlx::query(query).fetch_one(&self.readers).await;
        let row = row.map_err(|error| self.fault(&error))?;
        Reader::new(&row, &self.place, "cases").number_or_null("due")
    }

    pub(super) async fn read_kept_time(&self) -> Result<Option<(Reading, Stamp)>, LedgerError> {
        let query = "SELECT 'it', wall, boot_ms, boot, most, least FROM timekeeper WHERE id = 1";
        let row = sqlx::query(query).fetch_optional(&self.readers).await;
        let Some(row) = row.map_err(|error| self.fault(&error))? else {
            return Ok(None);
        };
        let read = Reader::new(&row, &self.place, "kept time");
        let boot: Vec<u8> = read.get("boot")?;
        let boot = boot.try_into().map_err(|_| read.damaged("boot"))?;
        let reading = Reading {
            wall: UnixMillis(read.get("wall")?),
            boot_ms: read.number("boot_ms")?,
            boot: u128::from_be_bytes(boot),
        };
        Ok(Some((reading, stamp(&read, "most", "least")?)))
    }

    fn case_of(&self, row: &SqliteRow) -> Result<CaseRecord, LedgerError> {
        let read = Reader::new(row, &self.place, "case");
        Ok(CaseRecord {
            id: read.named("id")?,
            kind: read.named("kind")?,
            channel: read.named("channel")?,
            opener: read.number("opener")?,
            opened_at: UnixMillis(read.get("opened_at")?),
            opened: stamp(&read, "opened_most", "opened_least")?,
            step: read.named("step")?,
            since: stamp(&read, "since_most", "since_least")?,
            within_ms: read.number("within_ms")?,
            escalated: read.get("escalated")?,
            outcome: read.named_or_null("outcome")?,
            closed_at: read.time_or_null("closed_at")?,
            personal: case_personal(&read)?,
        })
    }

    fn note_of(&self, row: &SqliteRow) -> Result<CaseNote, LedgerError> {
        let read = Reader::new(row, &self.place, "note of case");
        Ok(CaseNote {
            seq: read.number("seq")?,
            no: read.number("no")?,
            by: read.number_or_null("by")?,
            at: UnixMillis(read.get("at")?),
            stamp: stamp(&read, "most", "least")?,
            said: read.json("said")?,
            reference: read.get("reference")?,
        })
    }
}

/// Whom a case is about and why.
pub(crate) fn case_personal(read: &Reader<'_>) -> Result<CasePersonal, LedgerError> {
    Ok(CasePersonal {
        subject: read.get("subject")?,
        ticket: read.get("ticket")?,
        reason: read.get("reason")?,
    })
}

fn stamp(read: &Reader<'_>, most: &str, least: &str) -> Result<Stamp, LedgerError> {
    Ok(Stamp {
        most_ms: read.number(most)?,
        least_ms: read.number(least)?,
    })
}
