//! “Later”, and frozen operators: their statements.

use sqlx::Row;

use super::apply::{Apply, Outcome};
use super::{Reader, SqliteLedger};
use crate::ledger::journal::{self, Recorded, hex};
use crate::ledger::seal::random;
use crate::ledger::{Account, Frozen, LedgerError};
use crate::types::UnixMillis;
use crate::types::cases::Anomaly;

impl Apply<'_> {
    /// One more “later”, if there were fewer than `below`.
    pub(super) async fn defer(&mut self, account: &Account, below: u32, at: UnixMillis) -> Outcome {
        let who = journal::account_tag(self.keys, account);
        let salt = random::<16>()?.to_vec();
        let make = "INSERT INTO deferrals (who, salt, count, last) VALUES (?, ?, 0, 0) ON CONFLICT DO NOTHING";
        self.run(sqlx::query(make).bind(who.to_vec()).bind(salt)).await?;
        let add = "UPDATE deferrals SET count = count + 1, last = ?1 WHERE who = ?2 AND count < ?3 RETURNING salt";
        let query = sqlx::query_scalar(add)
            .bind(at.0)
            .bind(who.to_vec())
            .bind(i64::from(below));
        let salt: Option<Vec<u8>> = self.scalar(query).await?;
        let salt = salt.ok_or(LedgerError::Stale("count of deferrals"))?;
        Ok(Recorded::Defer {
            who: hex(&journal::account_mark(self.keys, &salt, &who)),
            at,
        })
    }

    pub(super) async fn freeze(&mut self, frozen: Frozen) -> Outcome {
        let write = "INSERT INTO freezes (operator, since, why) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(write)
            .bind(i64::from(frozen.operator))
            .bind(frozen.since.0)
            .bind(frozen.why.as_str());
        if self.run(query).await? != 1 {
            return Err(LedgerError::Stale("operator's freedom"));
        }
        Ok(Recorded::Freeze {
            operator: frozen.operator,
            since: frozen.since,
            why: frozen.why,
        })
    }

    pub(super) async fn thaw(&mut self, operator: u32) -> Outcome {
        let query = sqlx::query("DELETE FROM freezes WHERE operator = ?").bind(i64::from(operator));
        if self.run(query).await? != 1 {
            return Err(LedgerError::NotFound("frozen operator"));
        }
        Ok(Recorded::Thaw { operator })
    }
}

impl SqliteLedger {
    pub(super) async fn read_deferrals(&self, account: &Account) -> Result<u32, LedgerError> {
        let who = journal::account_tag(&self.keys, account).to_vec();
        let query = "SELECT hex(who) AS who, count FROM deferrals WHERE who = ?";
        match self.optional(sqlx::query(query).bind(who)).await? {
            None => Ok(0),
            Some(row) => Reader::new(&row, &self.place, "deferrals").number("count"),
        }
    }

    pub(super) async fn read_freezes(&self) -> Result<Vec<Frozen>, LedgerError> {
        let query = sqlx::query("SELECT operator, since, why FROM freezes ORDER BY operator");
        let rows = query
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let frozen = |row| {
            let read = Reader::new(row, &self.place, "frozen operator");
            let why: String = read.get("why")?;
            Ok(Frozen {
                operator: read.number("operator")?,
                since: UnixMillis(read.get("since")?),
                why: why
                    .parse::<Anomaly>()
                    .map_err(|_| LedgerError::Damaged(format!("“{why}” is no anomaly")))?,
            })
        };
        rows.iter().map(frozen).collect()
    }

    pub(super) async fn read_alarms(&self, before: u64, limit: u32) -> Result<Vec<u64>, LedgerError> {
        // The condition of the index, word for word.
        let query = "SELECT seq FROM journal WHERE seq < ? AND instr(payload, '\"event\":\"anomaly.raised\"') > 0 \
                     ORDER BY seq DESC LIMIT ?";
        let rows = sqlx::query(query)
            .bind(i64::try_from(before).unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let seq = |row: &sqlx::sqlite::SqliteRow| row.try_get::<i64, _>("seq").map_err(|error| self.fault(&error));
        rows.iter()
            .map(|row| seq(row).map(|seq| u64::try_from(seq).unwrap_or(0)))
            .collect()
    }
}
