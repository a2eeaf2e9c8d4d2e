//! Emergency bypasses: their statements. A use and a wrong code run the same statement with other values.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Sqlite};
use subtle::ConstantTimeEq;

use super::apply::{Apply, Outcome, signed};
use super::{PAGE_CAP, Reader, SqliteLedger, page};
use crate::ledger::journal::{self, Recorded, hex};
use crate::ledger::{BypassCounts, BypassFilter, BypassRecord, LedgerError, NewBypass, Page};
use crate::types::cases::BypassEnd;
use crate::types::stamp::Stamp;
use crate::types::{CaseId, Secret, UnixMillis};

const ABSENT: &str = "SELECT 1 FROM bypasses WHERE case_id = ?";

impl Apply<'_> {
    /// In an open case about somebody of whom no bypass waits for its review.
    pub(super) async fn issue_bypass(&mut self, new: NewBypass) -> Outcome {
        let mac = self.keys.bypass_mac(new.case.as_bytes(), &new.code);
        let insert = "INSERT INTO bypasses (case_id, by, issued_at, issued_most, issued_least, lasts_ms, uses, found_again, mac, \
                      used, wrong) \
                      SELECT c.id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0 FROM cases c JOIN case_personal p ON p.case_id = c.id \
                      WHERE c.id = ?1 AND c.outcome IS NULL AND p.subject IS NOT NULL AND NOT EXISTS \
                      (SELECT 1 FROM case_personal q JOIN bypasses b ON b.case_id = q.case_id \
                       WHERE q.subject = p.subject AND b.reviewed_at IS NULL) \
                      ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(new.case.to_string())
            .bind(i64::from(new.by))
            .bind(self.at.0)
            .bind(signed(new.issued.most_ms)?)
            .bind(signed(new.issued.least_ms)?)
            .bind(signed(new.lasts_ms)?)
            .bind(i64::from(new.uses))
            .bind(new.found_again.as_str())
            .bind(mac.to_vec());
        if self.run(query).await? != 1 {
            let select = "SELECT outcome IS NULL FROM cases WHERE id = ?";
            let open = sqlx::query_scalar(select).bind(new.case.to_string());
            return Err(match self.scalar::<bool>(open).await? {
                None => LedgerError::NotFound("case"),
                Some(false) => LedgerError::Stale("case"),
                Some(true) => LedgerError::Stale("bypass"),
            });
        }
        Ok(Recorded::IssueBypass {
            case: new.case,
            by: new.by,
            stamp: new.issued,
            lasts_ms: new.lasts_ms,
            uses: new.uses,
            found_again: new.found_again,
            code: hex(&journal::bypass_tag(self.keys, new.case, &mac)),
        })
    }

    /// A wrong code is counted whatever became of the bypass meanwhile, but for one that was reviewed, which stays as it is.
    pub(super) async fn try_bypass(
        &mut self,
        case: CaseId,
        at: UnixMillis,
        passed: bool,
    ) -> Result<Option<Recorded>, LedgerError> {
        let update = "UPDATE bypasses SET used = used + ?1, wrong = MIN(wrong + NOT ?1, 4294967295), \
                      last_used = CASE WHEN ?1 THEN ?2 ELSE last_used END \
                      WHERE case_id = ?3 AND reviewed_at IS NULL AND (NOT ?1 OR (used < uses AND ended_at IS NULL))";
        let query = sqlx::query(update).bind(passed).bind(at.0).bind(case.to_string());
        if self.run(query).await? != 1 {
            return match self.absent_or_stale(ABSENT, case, "bypass").await {
                LedgerError::Stale(_) if !passed => Ok(None),
                fault => Err(fault),
            };
        }
        Ok(Some(Recorded::TryBypass { case, at, passed }))
    }

    /// Nothing to record where it has ended already, or was reviewed.
    pub(super) async fn end_bypass(
        &mut self,
        case: CaseId,
        why: BypassEnd,
        since: Stamp,
        within_ms: u64,
    ) -> Result<Option<Recorded>, LedgerError> {
        let update = "UPDATE bypasses SET ended_at = ?, ended_why = ?, mac = NULL \
                      WHERE case_id = ? AND ended_at IS NULL AND reviewed_at IS NULL";
        let query = sqlx::query(update)
            .bind(self.at.0)
            .bind(why.as_str())
            .bind(case.to_string());
        if self.run(query).await? != 1 {
            let fault = self.absent_or_stale(ABSENT, case, "bypass").await;
            return match fault {
                LedgerError::Stale(_) => Ok(None),
                other => Err(other),
            };
        }
        self.step(case, crate::types::cases::Step::Review, since, within_ms)
            .await?;
        Ok(Some(Recorded::EndBypass {
            case,
            why,
            since,
            within_ms,
        }))
    }

    pub(super) async fn review_bypass(&mut self, case: CaseId, by: u32) -> Outcome {
        let update = "UPDATE bypasses SET reviewed_at = ?, reviewed_by = ?, mac = NULL WHERE case_id = ? AND reviewed_at IS NULL";
        let query = sqlx::query(update)
            .bind(self.at.0)
            .bind(i64::from(by))
            .bind(case.to_string());
        if self.run(query).await? != 1 {
            return Err(self.absent_or_stale(ABSENT, case, "review").await);
        }
        Ok(Recorded::ReviewBypass { case, by })
    }

    /// Whether a bypass of the case waits for its review: then it is not closed.
    pub(super) async fn require_reviewed(&mut self, case: CaseId) -> Result<(), LedgerError> {
        let select = "SELECT 1 FROM bypasses WHERE case_id = ? AND reviewed_at IS NULL";
        let query = sqlx::query_scalar(select).bind(case.to_string());
        match self.scalar::<i64>(query).await? {
            Some(_) => Err(LedgerError::Stale("review")),
            None => Ok(()),
        }
    }
}

const COLUMNS: &str =
    "SELECT b.*, p.subject FROM bypasses b LEFT JOIN case_personal p ON p.case_id = b.case_id WHERE TRUE";

impl SqliteLedger {
    pub(super) async fn read_bypasses(
        &self,
        filter: &BypassFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<BypassRecord>, LedgerError> {
        let limit = limit.clamp(1, PAGE_CAP);
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        if filter.unreviewed {
            query.push(" AND b.reviewed_at IS NULL");
        }
        if let Some(case) = filter.case {
            query.push(" AND b.case_id = ").push_bind(case.to_string());
        }
        if let Some(by) = filter.by {
            query.push(" AND b.by = ").push_bind(i64::from(by));
        }
        if let Some(subject) = &filter.subject {
            query.push(" AND p.subject = ").push_bind(subject);
        }
        if let Some(cursor) = cursor {
            let after: CaseId = cursor.parse().map_err(|_| LedgerError::NotFound("cursor"))?;
            query.push(" AND b.case_id > ").push_bind(after.to_string());
        }
        query.push(" ORDER BY b.case_id LIMIT ").push_bind(i64::from(limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        let items = rows
            .iter()
            .map(|row| self.bypass_row(row))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(page(items, limit, |bypass| bypass.case.to_string()))
    }

    pub(super) async fn read_bypass_counts(
        &self,
        subject: &str,
        since_least_ms: u64,
    ) -> Result<BypassCounts, LedgerError> {
        let query = "SELECT 'of a subject', COUNT(CASE WHEN b.issued_least >= ?2 THEN 1 END) AS recent, \
                     COUNT(CASE WHEN b.reviewed_at IS NULL THEN 1 END) AS unreviewed \
                     FROM case_personal p JOIN bypasses b ON b.case_id = p.case_id WHERE p.subject = ?1";
        let row = sqlx::query(query)
            .bind(subject)
            .bind(signed(since_least_ms)?)
            .fetch_one(&self.readers)
            .await;
        let row = row.map_err(|error| self.fault(&error))?;
        let read = Reader::new(&row, &self.place, "bypasses");
        Ok(BypassCounts {
            recent: read.number("recent")?,
            unreviewed: read.number("unreviewed")?,
        })
    }

    /// The bypass of a person that waits for its review, of which there is one at most, and whether this is its code: one hash is
    /// computed whether there is one or not.
    pub(super) async fn look_up_bypass(
        &self,
        subject: &str,
        code: &Secret,
    ) -> Result<Option<(BypassRecord, bool)>, LedgerError> {
        let query = "SELECT b.*, p.subject FROM case_personal p JOIN bypasses b ON b.case_id = p.case_id \
                     WHERE p.subject = ? AND b.reviewed_at IS NULL ORDER BY b.case_id DESC LIMIT 1";
        let row = self.optional(sqlx::query(query).bind(subject.to_owned())).await?;
        let found = row
            .map(|row| {
                let kept: Option<Vec<u8>> = Reader::new(&row, &self.place, "bypass of case").get("mac")?;
                Ok::<_, LedgerError>((self.bypass_row(&row)?, kept.unwrap_or_default()))
            })
            .transpose()?;
        let case = found.as_ref().map_or([0; 16], |(record, _)| *record.case.as_bytes());
        let mac = self.keys.bypass_mac(&case, code);
        Ok(found.map(|(record, kept)| {
            let same = kept.as_slice().ct_eq(mac.as_slice());
            (record, bool::from(same))
        }))
    }

    fn bypass_row(&self, row: &SqliteRow) -> Result<BypassRecord, LedgerError> {
        let read = Reader::new(row, &self.place, "bypass of case");
        let ended = read.time_or_null("ended_at")?.zip(read.named_or_null("ended_why")?);
        let reviewed = read
            .time_or_null("reviewed_at")?
            .zip(read.number_or_null("reviewed_by")?);
        Ok(BypassRecord {
            case: read.named("case_id")?,
            subject: read.get("subject")?,
            by: read.number("by")?,
            issued_at: UnixMillis(read.get("issued_at")?),
            issued: Stamp {
                most_ms: read.number("issued_most")?,
                least_ms: read.number("issued_least")?,
            },
            lasts_ms: read.number("lasts_ms")?,
            uses: read.number("uses")?,
            found_again: read.named("found_again")?,
            used: read.number("used")?,
            wrong: read.number("wrong")?,
            last_used: read.time_or_null("last_used")?,
            ended,
            reviewed,
        })
    }
}
