//! Wrong tries and recovery codes: their statements. A pass and a miss run the same statements with other values, so that
//! neither the time nor the size of a commit tells which it was.

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::apply::{Apply, Outcome};
use super::{Reader, SqliteLedger};
use crate::ledger::journal::{self, Recorded, hex};
use crate::ledger::seal::{Tag, random};
use crate::ledger::{Account, CallerTries, LedgerError, PROVABLE, Standing, Sweep};
use crate::types::{Secret, TokenId, UnixMillis};

impl Apply<'_> {
    pub(super) async fn tried(
        &mut self,
        account: &Account,
        caller: u32,
        at: UnixMillis,
        spent: UnixMillis,
        passed: bool,
    ) -> Outcome {
        let who = journal::account_tag(self.keys, account);
        // The salt of an account stays; a new one has this.
        let salt = random::<16>()?.to_vec();
        let write = "INSERT INTO tries (who, salt, spent) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET spent = ?3 RETURNING salt";
        let query = sqlx::query_scalar(write).bind(who.to_vec()).bind(salt).bind(spent.0);
        let salt: Option<Vec<u8>> = self.scalar(query).await?;
        let salt = salt.ok_or(LedgerError::Stale("count of wrong tries"))?;
        let write = "INSERT INTO tries_by_caller (who, caller, count, share, last) VALUES (?, ?, 0, 0, 0) \
                     ON CONFLICT DO NOTHING";
        let query = sqlx::query(write).bind(who.to_vec()).bind(i64::from(caller));
        self.run(query).await?;
        // A pass by anybody ends the account's run; it ends a caller's own only if it was the caller's.
        // Counts stop at the largest number that fits rather than at an error.
        let write = "UPDATE tries_by_caller SET last = CASE WHEN caller = ?4 THEN ?2 ELSE last END, \
                     count = CASE WHEN caller <> ?4 THEN count WHEN ?1 THEN 0 ELSE MIN(count + 1, 4294967295) END, \
                     share = CASE WHEN ?1 THEN 0 WHEN caller <> ?4 THEN share ELSE MIN(share + 1, 4294967295) END \
                     WHERE who = ?3";
        let query = sqlx::query(write)
            .bind(passed)
            .bind(at.0)
            .bind(who.to_vec())
            .bind(i64::from(caller));
        self.run(query).await?;
        let write = "INSERT INTO tries_of_caller (caller, count, last) VALUES (?1, NOT ?2, ?3) ON CONFLICT DO UPDATE \
                     SET last = ?3, count = CASE WHEN ?2 THEN 0 ELSE MIN(count + 1, 4294967295) END";
        let query = sqlx::query(write).bind(i64::from(caller)).bind(passed).bind(at.0);
        self.run(query).await?;
        Ok(Recorded::Try {
            who: hex(&journal::account_mark(self.keys, &salt, &who)),
            caller,
            at,
            spent,
            passed,
        })
    }

    pub(super) async fn unlock(&mut self, account: &Account) -> Outcome {
        let who = journal::account_tag(self.keys, account);
        let salt = self.salt_of(&who).await?;
        let salt = salt.ok_or(LedgerError::NotFound("wrong try"))?;
        for statement in [
            "UPDATE tries SET spent = 0 WHERE who = ?",
            "UPDATE tries_by_caller SET count = 0, share = 0 WHERE who = ?",
        ] {
            self.run(sqlx::query(statement).bind(who.to_vec())).await?;
        }
        Ok(Recorded::Unlock {
            who: hex(&journal::account_mark(self.keys, &salt, &who)),
        })
    }

    async fn salt_of(&mut self, who: &Tag) -> Result<Option<Vec<u8>>, LedgerError> {
        let query = sqlx::query_scalar("SELECT salt FROM tries WHERE who = ?").bind(who.to_vec());
        self.scalar(query).await
    }

    pub(super) async fn keep_codes(&mut self, token: TokenId, codes: &[Secret]) -> Outcome {
        let query = sqlx::query("UPDATE tokens SET updated = ? WHERE id = ?")
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        let mut macs = Vec::with_capacity(codes.len());
        for (slot, code) in codes.iter().enumerate() {
            let mac = self.keys.recovery_mac(token, code);
            let write =
                "INSERT INTO recovery_codes (token, slot, mac, used) VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING";
            let query = sqlx::query(write)
                .bind(token.to_string())
                .bind(i64::try_from(slot).unwrap_or(i64::MAX))
                .bind(mac.to_vec());
            if self.run(query).await? != 1 {
                return Err(LedgerError::Stale("sheet of recovery codes"));
            }
            macs.push(mac);
        }
        Ok(Recorded::KeepCodes {
            token,
            codes: hex(&journal::codes_tag(self.keys, token, &macs)),
            count: u16::try_from(macs.len()).unwrap_or(u16::MAX),
        })
    }

    pub(super) async fn use_code(&mut self, token: TokenId, slot: u16, seen: UnixMillis) -> Outcome {
        self.require(token, PROVABLE).await?;
        let query = sqlx::query("UPDATE tokens SET last_seen = ?, failures = 0, updated = ? WHERE id = ?")
            .bind(seen.0)
            .bind(self.at.0)
            .bind(token.to_string());
        self.one(query, token, "token").await?;
        let query = sqlx::query("UPDATE recovery_codes SET used = ? WHERE token = ? AND slot = ? AND used IS NULL")
            .bind(seen.0)
            .bind(token.to_string())
            .bind(i64::from(slot));
        if self.run(query).await? != 1 {
            return Err(LedgerError::Stale("recovery code"));
        }
        Ok(Recorded::UseCode { token, slot, seen })
    }
}

impl SqliteLedger {
    pub(super) async fn read_standing(&self, account: &Account, caller: u32) -> Result<Standing, LedgerError> {
        let who = journal::account_tag(&self.keys, account).to_vec();
        let spent = "SELECT hex(who) AS who, spent FROM tries WHERE who = ?";
        let spent = self.optional(sqlx::query(spent).bind(who.clone())).await?;
        let spent = spent.map(|row| Reader::new(&row, &self.place, "tries").get("spent"));
        let query =
            "SELECT hex(who) AS who, caller, count, share, last FROM tries_by_caller WHERE who = ? ORDER BY caller";
        let rows = sqlx::query(query)
            .bind(who)
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let callers = rows
            .iter()
            .map(|row| self.caller_tries(row))
            .collect::<Result<_, _>>()?;
        let query = "SELECT caller, count, last FROM tries_of_caller WHERE caller = ?";
        let sweep = self.optional(sqlx::query(query).bind(i64::from(caller))).await?;
        let sweep = sweep.map(|row| {
            let read = Reader::new(&row, &self.place, "tries of caller");
            Ok::<_, LedgerError>(Sweep {
                count: read.number("count")?,
                last: UnixMillis(read.get("last")?),
            })
        });
        Ok(Standing {
            spent: UnixMillis(spent.transpose()?.unwrap_or(0)),
            callers,
            sweep: sweep.transpose()?,
        })
    }

    fn caller_tries(&self, row: &SqliteRow) -> Result<CallerTries, LedgerError> {
        let read = Reader::new(row, &self.place, "tries by caller");
        Ok(CallerTries {
            caller: read.number("caller")?,
            count: read.number("count")?,
            share: read.number("share")?,
            last: UnixMillis(read.get("last")?),
        })
    }

    /// The slot of an unused code, looked for in all of them whatever matches, and how many are unused.
    pub(super) async fn look_up_code(&self, token: TokenId, code: &Secret) -> Result<Option<u16>, LedgerError> {
        let mac = self.keys.recovery_mac(token, code);
        let query = "SELECT token, slot, mac, used IS NULL AS fresh FROM recovery_codes WHERE token = ? ORDER BY slot";
        let rows = sqlx::query(query)
            .bind(token.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(|error| self.fault(&error))?;
        let mut found = u32::MAX;
        for row in &rows {
            let read = Reader::new(row, &self.place, "recovery code of");
            let slot: u16 = read.number("slot")?;
            let hit = read.get::<Vec<u8>>("mac")?.as_slice().ct_eq(mac.as_slice())
                & subtle::Choice::from(u8::from(read.get::<bool>("fresh")?));
            found.conditional_assign(&u32::from(slot), hit);
        }
        Ok(u16::try_from(found).ok())
    }

    pub(super) async fn count_codes(&self, token: TokenId) -> Result<u32, LedgerError> {
        let query = "SELECT COUNT(*) AS n FROM recovery_codes WHERE token = ? AND used IS NULL";
        let row = self.optional(sqlx::query(query).bind(token.to_string())).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get("n").map_err(|error| self.fault(&error)))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    pub(super) async fn optional(
        &self,
        query: sqlx::query::Query<'_, Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Option<SqliteRow>, LedgerError> {
        query
            .fetch_optional(&self.readers)
            .await
            .map_err(|error| self.fault(&error))
    }
}
