//! What stands around the rows: the file, the schema, the notes about the ledger, the head of the chain.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Row, SqliteConnection};

use super::Audit;
use super::cell::{Cell, read};
use crate::ledger::LedgerError;
use crate::ledger::journal::Chain;
use crate::ledger::sqlite::MIGRATIONS;

/// What SQLite says of the file when nothing is wrong.
const SOUND: &str = "ok";

impl Audit<'_> {
    /// Pages, indexes and column types, by SQLite itself.
    pub(super) async fn file(&mut self) -> Result<(), LedgerError> {
        let rows = sqlx::query_scalar::<_, String>("PRAGMA integrity_check(20)")
            .fetch_all(&mut *self.conn)
            .await;
        for line in rows.map_err(|error| self.place.fault(&error))? {
            if line != SOUND {
                self.findings.frame(format!("the database file is damaged: {line}"));
            }
        }
        Ok(())
    }

    /// Tables, indexes and triggers against those of an empty ledger: one missing or one too many would let rows be changed
    /// behind our back.
    pub(super) async fn schema(&mut self) -> Result<(), LedgerError> {
        let fault = |error| self.place.fault(&error);
        let empty = SqliteConnectOptions::new().in_memory(true).disable_statement_logging();
        let mut model = empty.connect().await.map_err(fault)?;
        MIGRATIONS
            .run_direct(None, &mut model, false)
            .await
            .map_err(|why| LedgerError::Storage(why.to_string()))?;
        let mut due = schema_of(&mut model).await.map_err(fault)?;
        let found = schema_of(self.conn).await.map_err(fault)?;
        for (name, sql) in found {
            match due.remove(&name) {
                None => self
                    .findings
                    .frame(format!("the database has a {name} that is not ours")),
                Some(ours) if ours != sql => self.findings.frame(format!("the {name} was changed")),
                Some(_) => {}
            }
        }
        for name in due.into_keys() {
            self.findings.frame(format!("the {name} is missing"));
        }
        Ok(())
    }

    /// The list of migrations that were made.
    pub(super) async fn migrations(&mut self) -> Result<(), LedgerError> {
        let sql = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
        let rows = sqlx::query(sql)
            .fetch_all(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))?;
        let found: Vec<_> = rows
            .iter()
            .map(|row| ["version", "description", "success", "checksum"].map(|column| read_loose(row, column)))
            .collect();
        let due: Vec<_> = MIGRATIONS
            .iter()
            .map(|migration| {
                [
                    Cell::Int(migration.version),
                    Cell::from(&*migration.description),
                    Cell::Int(1),
                    Cell::Blob(migration.checksum.to_vec()),
                ]
            })
            .collect();
        if found != due {
            self.findings
                .frame("the list of migrations is not the one this program made");
        }
        Ok(())
    }

    /// The notes about the ledger; gives the opening of its chain.
    pub(super) async fn identity(&mut self) -> Result<Chain, LedgerError> {
        let query = sqlx::query("SELECT name, value FROM meta ORDER BY name");
        let rows = query
            .fetch_all(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))?;
        let mut ledger_id = Vec::new();
        let mut names = Vec::new();
        for row in &rows {
            let (name, value) = (read(row, "name"), read(row, "value"));
            match (&name, value) {
                (Cell::Text(name), Cell::Blob(id)) if name == "ledger_id" => ledger_id = id,
                (Cell::Text(name), Cell::Blob(id)) if name == "key_id" && id != self.keys.id => {
                    self.findings.frame("the note of the sealing key was changed");
                }
                _ => {}
            }
            names.push(name);
        }
        if names != [Cell::from("key_id"), Cell::from("ledger_id")] {
            self.findings.frame("the notes about the ledger are not those we made");
        }
        Ok(Chain::opening(self.keys, &ledger_id))
    }

    /// The head against the end of the chain, and its own MAC.
    pub(super) async fn head(&mut self, end: &Chain) -> Result<(), LedgerError> {
        let query = sqlx::query("SELECT id, count, last, mac FROM head");
        let rows = query
            .fetch_all(&mut *self.conn)
            .await
            .map_err(|error| self.place.fault(&error))?;
        let [row] = rows.as_slice() else {
            self.findings.frame("the journal's head is missing");
            return Ok(());
        };
        let due = [
            i64::try_from(end.count).map_or(Cell::Unreadable, Cell::Int),
            Cell::Blob(end.last.to_vec()),
        ];
        if [read(row, "count"), read(row, "last")] != due {
            let what = format!(
                "the journal ends at entry {}, but its head says {}: entries were taken from its end or added to it",
                end.count,
                read(row, "count")
            );
            self.findings.frame(what);
        } else if read(row, "mac") != Cell::Blob(end.head_mac(self.keys).to_vec()) {
            self.findings.frame("the journal's head is not authentic");
        }
        Ok(())
    }

    pub(super) async fn tokens_stored(&mut self) -> Result<usize, LedgerError> {
        let count =
            sqlx::query_scalar::<_, i64>("SELECT MAX((SELECT COUNT(*) FROM tokens), (SELECT COUNT(*) FROM cases))")
                .fetch_one(&mut *self.conn)
                .await;
        Ok(usize::try_from(count.map_err(|error| self.place.fault(&error))?).unwrap_or(0))
    }
}

/// `BOOLEAN` and `TIMESTAMP` are integers and text to SQLite.
fn read_loose(row: &sqlx::sqlite::SqliteRow, column: &str) -> Cell {
    match row.try_get_unchecked::<i64, _>(column) {
        Ok(number) if column == "success" => Cell::Int(number),
        _ => read(row, column),
    }
}

/// Kind and name of everything in the schema, with the statement that made it.
async fn schema_of(conn: &mut SqliteConnection) -> Result<BTreeMap<String, Option<String>>, sqlx::Error> {
    let rows = sqlx::query("SELECT type, name, sql FROM sqlite_schema")
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let (kind, name): (String, String) = (row.try_get("type")?, row.try_get("name")?);
            Ok((format!("{kind} {name}"), row.try_get("sql")?))
        })
        .collect()
}
