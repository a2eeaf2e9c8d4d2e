//! Wrong tries and recovery codes against what the journal makes of them: a count that was put back by hand, or a code that
//! was made good again, is found.

use std::collections::{BTreeMap, HashSet};

use sqlx::Row;

use super::cell::{Cell, read};
use super::{Audit, PAGE};
use crate::ledger::LedgerError;
use crate::ledger::journal::{account_mark, codes_tag, hex};
use crate::ledger::replay::{Count, Replay, Share, Tried, mark};
use crate::ledger::seal::Tag;
use crate::types::{TokenId, UnixMillis};

impl Audit<'_> {
    /// Recovery codes, by token.
    pub(super) async fn sheets(&mut self, replay: &Replay, share: Share) -> Result<(), LedgerError> {
        let sql = "SELECT slot, mac, used FROM recovery_codes WHERE token = ? ORDER BY slot";
        for (id, token) in &replay.tokens {
            let Some(due) = &token.codes else { continue };
            let rows = sqlx::query(sql).bind(id.to_string()).fetch_all(&mut *self.conn).await;
            let rows = rows.map_err(|error| self.place.fault(&error))?;
            let mut macs = Vec::new();
            let mut used = BTreeMap::new();
            for (at, row) in rows.iter().enumerate() {
                let (Cell::Int(slot), Cell::Blob(mac)) = (read(row, "slot"), read(row, "mac")) else {
                    continue;
                };
                if usize::try_from(slot) == Ok(at)
                    && let Ok(mac) = Tag::try_from(mac.as_slice())
                {
                    macs.push(mac);
                }
                if let (Ok(slot), Cell::Int(at)) = (u16::try_from(slot), read(row, "used")) {
                    used.insert(slot, UnixMillis(at));
                }
            }
            if hex(&codes_tag(self.keys, *id, &macs)) != due.tag || macs.len() != usize::from(due.count) {
                self.findings
                    .token(*id, format!("token {id}: its recovery codes were changed"));
            }
            if used != due.used {
                let what = format!("token {id}: which of its recovery codes are used is not what the journal says");
                self.findings.token(*id, what);
            }
        }
        self.stray_sheets(replay, share).await
    }

    /// Recovery codes of tokens that by the journal have none.
    async fn stray_sheets(&mut self, replay: &Replay, share: Share) -> Result<(), LedgerError> {
        let sql = "SELECT DISTINCT CAST(token AS BLOB) AS token FROM recovery_codes";
        let rows = sqlx::query_scalar::<_, Vec<u8>>(sql).fetch_all(&mut *self.conn).await;
        for token in rows.map_err(|error| self.place.fault(&error))? {
            let text = String::from_utf8_lossy(&token).into_owned();
            let Ok(id) = text.parse::<TokenId>() else {
                if share.part == 0 {
                    self.findings.frame(format!(
                        "there are recovery codes of token {text}, which is no id of ours"
                    ));
                }
                continue;
            };
            let has = replay.tokens.get(&id).is_some_and(|token| token.codes.is_some());
            if share.has(id.as_bytes()) && !has {
                let what =
                    format!("token {id}: there are recovery codes, which by the journal were destroyed or never made");
                self.findings.token(id, what);
            }
        }
        Ok(())
    }

    /// Wrong tries, by account and by caller. Whose they are is not told: a finding names nobody.
    pub(super) async fn accounts(&mut self, replay: &mut Replay, share: Share) -> Result<(), LedgerError> {
        let sql = "SELECT who, salt, spent FROM tries WHERE who > ? ORDER BY who LIMIT ?";
        let mut after = Vec::<u8>::new();
        let mut seen = HashSet::new();
        loop {
            let rows = sqlx::query(sql)
                .bind(after.clone())
                .bind(PAGE)
                .fetch_all(&mut *self.conn);
            let rows = rows.await.map_err(|error| self.place.fault(&error))?;
            for row in &rows {
                let (Cell::Blob(who), Cell::Blob(salt)) = (read(row, "who"), read(row, "salt")) else {
                    continue;
                };
                let name = hex(&account_mark(self.keys, &salt, &who));
                if !share.has(&mark(&name)) {
                    continue;
                }
                let found = Tried {
                    spent: UnixMillis(row.try_get("spent").unwrap_or(i64::MIN)),
                    callers: self.by_caller(&who).await?,
                };
                if replay.accounts.remove(&name) != Some(found) || !seen.insert(name) {
                    self.findings
                        .frame("the wrong tries on an account are not what the journal says");
                }
            }
            let Some(Cell::Blob(last)) = rows.last().map(|row| read(row, "who")) else {
                break;
            };
            // In a damaged file an index can lead back to where we were: that must not keep us here for ever.
            if last <= after {
                self.findings
                    .frame("rows of tries are out of order: the database file is damaged");
                break;
            }
            after = last;
        }
        for _ in replay.accounts.drain() {
            self.findings
                .frame("wrong tries on an account are in the journal, but their row is gone");
        }
        if share.part == 0 {
            self.over_all(replay).await?;
        }
        Ok(())
    }

    async fn by_caller(&mut self, who: &[u8]) -> Result<BTreeMap<u32, Count>, LedgerError> {
        let sql = "SELECT caller, count, share, last FROM tries_by_caller WHERE who = ?";
        let rows = sqlx::query(sql).bind(who.to_vec()).fetch_all(&mut *self.conn).await;
        let rows = rows.map_err(|error| self.place.fault(&error))?;
        Ok(rows.iter().map(counts).collect())
    }

    async fn over_all(&mut self, replay: &Replay) -> Result<(), LedgerError> {
        let sql = "SELECT caller, count, 0 AS share, last FROM tries_of_caller";
        let rows = sqlx::query(sql).fetch_all(&mut *self.conn).await;
        let rows = rows.map_err(|error| self.place.fault(&error))?;
        let found: BTreeMap<_, _> = rows.iter().map(counts).collect();
        let due = replay.callers.iter().map(|(caller, tries)| {
            let tries = Count { share: 0, ..*tries };
            (*caller, tries)
        });
        if found != due.collect() {
            self.findings
                .frame("the wrong tries of a caller are not what the journal says");
        }
        let sql = "SELECT COUNT(*) FROM tries_by_caller WHERE who NOT IN (SELECT who FROM tries)";
        let strays: i64 = sqlx::query_scalar(sql)
            .fetch_one(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))?;
        if strays != 0 {
            self.findings.frame("there are wrong tries of callers on no account");
        }
        Ok(())
    }
}

/// A row of counts; what does not fit is something no journal says.
fn counts(row: &sqlx::sqlite::SqliteRow) -> (u32, Count) {
    let number = |column| match read(row, column) {
        Cell::Int(number) => u32::try_from(number).unwrap_or(u32::MAX),
        _ => u32::MAX,
    };
    let last = match read(row, "last") {
        Cell::Int(at) => UnixMillis(at),
        _ => UnixMillis(i64::MIN),
    };
    let count = Count {
        count: number("count"),
        share: number("share"),
        last,
    };
    (number("caller"), count)
}
