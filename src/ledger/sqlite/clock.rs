//! What is believed of a token's clock, and its history.

use super::apply::{Apply, Outcome, among, signed};
use super::rows::{Reader, drift_point};
use crate::ledger::journal::Recorded;
use crate::ledger::{DriftPoint, LedgerError, PROVABLE};
use crate::types::{DriftSource, TokenId, UnixMillis};

/// What stands in a token's row before a change.
struct Before {
    offset_ms: i64,
    seen: Option<UnixMillis>,
}

impl Apply<'_> {
    pub(super) async fn advance(
        &mut self,
        token: TokenId,
        to: u64,
        offset_ms: i64,
        seen: UnixMillis,
        source: Option<DriftSource>,
    ) -> Outcome {
        let update = "UPDATE tokens SET watermark = ?1, offset_ms = ?2, last_seen = ?3, failures = 0, updated = ?4 \
                      WHERE id = ?5 AND (watermark IS NULL OR watermark < ?1)";
        let query = sqlx::query(update)
            .bind(signed(to)?)
            .bind(offset_ms)
            .bind(seen.0)
            .bind(self.at.0)
            .bind(token.to_string());
        let before = self.before(token).await?;
        self.one(query, token, "watermark").await?;
        if let Some(source) = source {
            self.remember(token, self.point(&before, offset_ms, source)).await?;
        }
        Ok(Recorded::Advance {
            token,
            to,
            offset_ms,
            seen,
            source,
        })
    }

    pub(super) async fn correct(
        &mut self,
        token: TokenId,
        expect_ms: i64,
        offset_ms: i64,
        seen: Option<UnixMillis>,
        source: DriftSource,
    ) -> Outcome {
        let before = self.before(token).await?;
        let update = "UPDATE tokens SET offset_ms = ?1, last_seen = COALESCE(?2, last_seen), updated = ?3 \
                      WHERE id = ?4 AND offset_ms = ?5";
        let query = sqlx::query(update)
            .bind(offset_ms)
            .bind(seen.map(|at| at.0))
            .bind(self.at.0)
            .bind(token.to_string())
            .bind(expect_ms);
        self.one(query, token, "offset").await?;
        self.remember(token, self.point(&before, offset_ms, source)).await?;
        Ok(Recorded::Correct {
            token,
            offset_ms,
            seen,
            source,
        })
    }

    /// What stands there before a change, of a token that can prove itself.
    async fn before(&mut self, token: TokenId) -> Result<Before, LedgerError> {
        let query =
            sqlx::query("SELECT id, state, offset_ms, last_seen FROM tokens WHERE id = ?").bind(token.to_string());
        let row = query.fetch_optional(&mut *self.conn).await;
        let row = row.map_err(|error| self.place.fault(&error))?;
        let row = row.ok_or(LedgerError::NotFound("token"))?;
        let read = Reader::new(&row, self.place, "token");
        among(read.named("state")?, PROVABLE)?;
        Ok(Before {
            offset_ms: read.get("offset_ms")?,
            seen: read.get::<Option<i64>>("last_seen")?.map(UnixMillis),
        })
    }

    /// The history's next row.
    fn point(&self, before: &Before, after_ms: i64, source: DriftSource) -> DriftPoint {
        DriftPoint {
            seq: u64::try_from(self.seq).unwrap_or(0),
            at: self.at,
            source,
            before_ms: before.seen.map(|_| before.offset_ms),
            after_ms,
            seen_before: before.seen,
        }
    }

    /// Adds a row to the history of a clock, and thins it.
    async fn remember(&mut self, token: TokenId, point: DriftPoint) -> Result<(), LedgerError> {
        if point.source == DriftSource::Test {
            let query =
                sqlx::query("SELECT * FROM drift WHERE token = ? ORDER BY seq DESC LIMIT 2").bind(token.to_string());
            let rows = query.fetch_all(&mut *self.conn).await;
            let rows = rows.map_err(|error| self.place.fault(&error))?;
            let mut rows = rows.iter().map(|row| drift_point(row, self.place));
            let (newest, before) = (rows.next().transpose()?, rows.next().transpose()?);
            if let Some(newest) = newest
                && newest.yields(before.map(|before| (before.source, before.at)), point.source)
            {
                let query = sqlx::query("DELETE FROM drift WHERE token = ? AND seq = ?")
                    .bind(token.to_string())
                    .bind(signed(newest.seq)?);
                self.run(query).await?;
            }
        }
        let insert = "INSERT INTO drift (token, seq, at, source, before_ms, after_ms, seen_before) \
                      VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(insert)
            .bind(token.to_string())
            .bind(self.seq)
            .bind(point.at.0)
            .bind(point.source.as_str())
            .bind(point.before_ms)
            .bind(point.after_ms)
            .bind(point.seen_before.map(|at| at.0));
        match self.run(query).await? {
            1 => Ok(()),
            // One commit, one measurement.
            _ => Err(LedgerError::Stale("history of the clock")),
        }
    }
}
