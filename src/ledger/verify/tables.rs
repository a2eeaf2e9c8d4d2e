//! Every row against what the journal makes of it.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;

use super::cell::{Cell, differences, read};
use super::{Audit, PAGE};
use crate::ledger::canonical::canonical;
use crate::ledger::journal::{detail_tag, hex, personal_tag, seed_tag, unique_mark};
use crate::ledger::replay::{History, Open, Replay, Share, Token};
use crate::ledger::sqlite::{body, drift_point, personal, sealed};
use crate::ledger::{LedgerError, Obligation};
use crate::types::{ObligationId, OperationId, TokenId};

/// A table that is read in the order of its key. `key` is read as bytes, whatever they are.
pub(super) struct Table {
    pub(super) key: &'static str,
    pub(super) columns: &'static str,
    pub(super) from: &'static str,
}

const TOKENS: Table = Table {
    key: "t.id",
    columns: "t.*, p.token AS personal_of, p.subject, p.serial, p.label, p.salt, \
              s.token AS seed_of, s.key_id, s.key_version, s.nonce, s.sealed",
    from: "tokens t LEFT JOIN personal p ON p.token = t.id LEFT JOIN seeds s ON s.token = t.id",
};
const OBLIGATIONS: Table = Table {
    key: "id",
    columns: "*",
    from: "obligations",
};
const INTENTS: Table = Table {
    key: "operation",
    columns: "*",
    from: "intents",
};

impl Audit<'_> {
    /// Compares one share of all tables; what is left of `replay` afterwards has no row.
    pub(super) async fn compare(&mut self, mut replay: Replay, share: Share) -> Result<(), LedgerError> {
        if share.part == 0 {
            self.strays().await?;
        }
        self.histories(&replay, share).await?;
        self.sheets(&replay, share).await?;
        self.accounts(&mut replay, share).await?;
        self.people(&mut replay, share).await?;
        self.bypasses(&replay, share).await?;
        self.cases(&mut replay, share).await?;
        let mut from = Vec::new();
        while let Some(rows) = self.page(&TOKENS, &mut from).await? {
            for row in &rows {
                self.token_row(row, &mut replay, share);
            }
        }
        for token in replay.tokens.into_keys() {
            self.findings
                .token(token, format!("token {token} is in the journal, but its row is gone"));
        }
        let mut from = Vec::new();
        while let Some(rows) = self.page(&OBLIGATIONS, &mut from).await? {
            for row in &rows {
                self.obligation_row(row, &mut replay.obligations, share);
            }
        }
        for (id, due) in replay.obligations {
            self.findings.token(
                due.token,
                format!("obligation {id} is in the journal, but its row is gone"),
            );
        }
        let mut from = Vec::new();
        while let Some(rows) = self.page(&INTENTS, &mut from).await? {
            for row in &rows {
                self.intent_row(row, &mut replay.intents, share);
            }
        }
        for id in replay.intents.into_keys() {
            self.findings
                .frame(format!("operation {id} is open by the journal, but its row is gone"));
        }
        Ok(())
    }

    /// What was learned of clocks, by token.
    async fn histories(&mut self, replay: &Replay, share: Share) -> Result<(), LedgerError> {
        let sql = "SELECT *, CAST(token AS BLOB) AS raw_key FROM drift \
                   WHERE (token, seq) > (CAST(? AS TEXT), ?) ORDER BY token, seq LIMIT ?";
        let mut found = HashMap::<TokenId, History>::new();
        let (mut after, mut last) = (Vec::new(), i64::MIN);
        loop {
            let query = sqlx::query(sql).bind(after.clone()).bind(last).bind(PAGE);
            let rows = query.fetch_all(&mut *self.conn).await;
            let rows = rows.map_err(|error| self.place.fault(&error))?;
            let Some((Cell::Blob(key), Cell::Int(seq))) =
                rows.last().map(|row| (read(row, "raw_key"), read(row, "seq")))
            else {
                break;
            };
            // In a damaged file an index can lead back to where we were: that must not keep us here for ever.
            if (&key, seq) <= (&after, last) {
                self.findings
                    .frame("rows of drift are out of order: the database file is damaged");
                break;
            }
            (after, last) = (key, seq);
            for row in &rows {
                let Some(token) = self.key::<TokenId>(row, "token", "history of a clock", share) else {
                    continue;
                };
                if !share.has(token.as_bytes()) {
                    continue;
                }
                match drift_point(row, self.place) {
                    Ok(point) => found.entry(token).or_default().found(point),
                    Err(_) => self.findings.token(
                        token,
                        format!("the history of the clock of token {token} cannot be read"),
                    ),
                }
            }
        }
        let none = History::default();
        for (id, token) in &replay.tokens {
            if !found.remove(id).as_ref().unwrap_or(&none).is(&token.drift) {
                let what = format!("the history of the clock of token {id} is not what the journal says");
                self.findings.token(*id, what);
            }
        }
        for id in found.into_keys() {
            self.findings.frame(format!(
                "there is a history of the clock of token {id}, which does not exist"
            ));
        }
        Ok(())
    }

    /// The next rows from key `from` on, which is moved behind the last of them.
    pub(super) async fn page(
        &mut self,
        table: &Table,
        from: &mut Vec<u8>,
    ) -> Result<Option<Vec<SqliteRow>>, LedgerError> {
        let Table {
            key,
            columns,
            from: source,
        } = table;
        // All three are constants of this file. A key that is not UTF-8 is found like any other: keys compare as bytes.
        let sql = format!(
            "SELECT {columns}, CAST({key} AS BLOB) AS raw_key FROM {source} \
             WHERE {key} >= CAST(? AS TEXT) ORDER BY {key} LIMIT ?"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(from.clone()).bind(PAGE);
        let rows = query
            .fetch_all(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))?;
        let Some(Cell::Blob(last)) = rows.last().map(|row| read(row, "raw_key")) else {
            return Ok(None);
        };
        // In a damaged file an index can lead back to where we were: that must not keep us here for ever.
        if last < *from {
            self.findings.frame(format!(
                "rows of {} are out of order: the database file is damaged",
                table.from
            ));
            return Ok(None);
        }
        *from = last;
        from.push(0);
        Ok(Some(rows))
    }

    /// Personal rows and seeds that belong to no token.
    async fn strays(&mut self) -> Result<(), LedgerError> {
        let tables = [
            (
                "personal data",
                "SELECT CAST(token AS BLOB) FROM personal WHERE token NOT IN (SELECT id FROM tokens) LIMIT 1000",
            ),
            (
                "a seed",
                "SELECT CAST(token AS BLOB) FROM seeds WHERE token NOT IN (SELECT id FROM tokens) LIMIT 1000",
            ),
        ];
        for (what, sql) in tables {
            let strays = sqlx::query_scalar::<_, Vec<u8>>(sql).fetch_all(&mut *self.conn).await;
            for token in strays.map_err(|error| self.place.fault(&error))? {
                let token = String::from_utf8_lossy(&token);
                self.findings
                    .frame(format!("there is {what} of token {token}, which does not exist"));
            }
        }
        Ok(())
    }

    fn token_row(&mut self, row: &SqliteRow, replay: &mut Replay, share: Share) {
        let Some(id) = self.key::<TokenId>(row, "id", "token", share) else {
            return;
        };
        if !share.has(id.as_bytes()) {
            return;
        }
        self.tokens += 1;
        let Some(due) = replay.tokens.remove(&id) else {
            self.findings
                .token(id, format!("token {id} has a row, but no entry in the journal"));
            return;
        };
        let mut wrong = differences(row, token_cells(&due));
        wrong.extend(self.personal_row(row, &due));
        wrong.extend(self.seed_row(row, id, &due));
        for what in wrong {
            self.findings.token(id, format!("token {id}: {what}"));
        }
    }

    fn personal_row(&self, row: &SqliteRow, due: &Token) -> Vec<String> {
        let Cell::Blob(salt) = read(row, "salt") else {
            return vec!["its personal data is gone".to_owned()];
        };
        let mut wrong = Vec::new();
        let tag = personal(row, self.place).and_then(|personal| personal_tag(self.keys, &salt, &personal));
        if tag.map(|tag| hex(&tag)) != Ok(due.is.personal.clone()) {
            wrong.push("its personal data was changed".to_owned());
        }
        let mark = match read(row, "unique_tag") {
            Cell::Blob(tag) => Some(hex(&unique_mark(self.keys, &salt, &tag))),
            _ => None,
        };
        if mark != due.is.unique {
            wrong.push("what it must differ in from other tokens was changed".to_owned());
        }
        wrong
    }

    fn seed_row(&self, row: &SqliteRow, id: TokenId, due: &Token) -> Option<String> {
        let found = read(row, "seed_of") != Cell::Null;
        let what = match (&due.is.seed, found) {
            (None, false) => return None,
            (None, true) => "there is a seed, which by the journal was destroyed or never kept",
            (Some(_), false) => "its seed is gone",
            (Some(tag), true) => match sealed(row, self.place) {
                Ok(sealed) if hex(&seed_tag(self.keys, id, &sealed)) != *tag => "its sealed seed was changed",
                Ok(sealed) if self.keys.open(id, &sealed).is_none() => "its seed does not open",
                Ok(_) => return None,
                Err(_) => "its sealed seed cannot be read",
            },
        };
        Some(what.to_owned())
    }

    fn obligation_row(
        &mut self,
        row: &SqliteRow,
        due: &mut std::collections::HashMap<ObligationId, Obligation>,
        share: Share,
    ) {
        let Some(id) = self.key::<ObligationId>(row, "id", "obligation", share) else {
            return;
        };
        if !share.has(id.as_bytes()) {
            return;
        }
        let Some(due) = due.remove(&id) else {
            self.findings
                .frame(format!("obligation {id} has a row, but no entry in the journal"));
            return;
        };
        for what in differences(row, obligation_cells(&due)) {
            self.findings.token(due.token, format!("obligation {id}: {what}"));
        }
    }

    fn intent_row(&mut self, row: &SqliteRow, due: &mut std::collections::HashMap<OperationId, Open>, share: Share) {
        let Some(id) = self.key::<OperationId>(row, "operation", "operation", share) else {
            return;
        };
        if !share.has(id.as_bytes()) {
            return;
        }
        let Some(due) = due.remove(&id) else {
            self.findings
                .frame(format!("operation {id} has a row, but is not open by the journal"));
            return;
        };
        let mut wrong = differences(row, intent_cells(&due));
        let tag = match (read(row, "detail"), read(row, "salt")) {
            (Cell::Text(detail), Cell::Blob(salt)) => Some(hex(&detail_tag(self.keys, &salt, &detail))),
            _ => None,
        };
        if tag.as_ref() != Some(&due.detail) {
            wrong.push("what recovery needs to know was changed".to_owned());
        }
        for what in wrong {
            self.findings.frame(format!("operation {id}: {what}"));
        }
    }

    /// The id of a row; one that is none is found once, in the first pass.
    pub(super) fn key<T: std::str::FromStr + std::fmt::Display>(
        &mut self,
        row: &SqliteRow,
        column: &str,
        what: &str,
        share: Share,
    ) -> Option<T> {
        let found = read(row, column);
        let id = match &found {
            // Only the one spelling that we write: another would make two rows of one id.
            Cell::Text(text) => text.parse::<T>().ok().filter(|id| id.to_string() == *text),
            _ => None,
        };
        if id.is_none() && share.part == 0 {
            self.findings
                .frame(format!("there is a row of the {what} {found}, which is no id of ours"));
        }
        id
    }
}

fn token_cells(due: &Token) -> Vec<(&'static str, Cell)> {
    let is = &due.is;
    vec![
        ("kind", is.kind.as_str().into()),
        ("state", is.state.as_str().into()),
        (
            "revoke_reason",
            is.reason.map(crate::types::RevokeReason::as_str).into(),
        ),
        ("reality", is.reality.as_str().into()),
        ("model", is.model.as_str().into()),
        ("maker", is.maker.as_deref().into()),
        ("batch", is.batch.as_deref().into()),
        ("valid_from", is.valid_from.map(|at| at.0).into()),
        ("valid_until", is.valid_until.map(|at| at.0).into()),
        ("binding", json(&is.binding)),
        ("body", body(&is.binding).into()),
        ("offset_ms", is.offset_ms.into()),
        (
            "watermark",
            is.watermark.and_then(|step| i64::try_from(step).ok()).into(),
        ),
        ("sign_count", i64::from(is.sign_count).into()),
        ("last_seen", is.last_seen.map(|at| at.0).into()),
        ("failures", i64::from(is.failures).into()),
        ("created", due.created.0.into()),
        ("updated", due.updated.0.into()),
    ]
}

fn obligation_cells(due: &Obligation) -> Vec<(&'static str, Cell)> {
    vec![
        ("token", due.token.to_string().as_str().into()),
        ("duty", json(&due.duty)),
        ("reality", due.reality.as_str().into()),
        ("created", due.created.0.into()),
        ("proven", due.proven.map(|at| at.0).into()),
        ("discharged", due.discharged.map(|at| at.0).into()),
    ]
}

fn intent_cells(due: &Open) -> Vec<(&'static str, Cell)> {
    vec![
        ("verb", due.verb.as_str().into()),
        ("token", due.token.map(|token| token.to_string()).as_deref().into()),
        ("phase", due.phase.as_str().into()),
        ("started", due.started.0.into()),
    ]
}

fn json<T: serde::Serialize>(of: &T) -> Cell {
    canonical(of).map_or(Cell::Unreadable, Cell::Text)
}
