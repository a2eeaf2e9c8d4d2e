//! Many rows in one statement: what costs is the way to SQLite's thread and back, not the rows.

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};

use super::bulk::ROUND;

/// What the adding of columns answers.
pub(super) type Encoded = Result<(), BoxDynError>;

/// A table, and the columns of a row in it.
pub(super) struct Table {
    pub(super) insert: &'static str,
    pub(super) columns: usize,
}

/// Rows for a table, put together as SQLite takes them.
pub(super) struct Lines {
    table: &'static Table,
    rows: usize,
    arguments: SqliteArguments,
    /// Why a column could not be encoded: the rows are worth nothing then.
    fault: Option<BoxDynError>,
}

impl Lines {
    /// None, with room for so many.
    pub(super) fn with_capacity(table: &'static Table, rows: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows.saturating_mul(table.columns), 0);
        Self {
            table,
            rows: 0,
            arguments,
            fault: None,
        }
    }

    /// Adds a row. What goes wrong is told when they are written.
    pub(super) fn add(&mut self, columns: impl FnOnce(&mut SqliteArguments) -> Encoded) {
        self.rows = self.rows.saturating_add(1);
        if let Err(why) = columns(&mut self.arguments) {
            self.fault.get_or_insert(why);
        }
    }

    /// Number of rows.
    pub(super) fn count(&self) -> usize {
        self.rows
    }

    /// Writes them all in one statement, or none.
    pub(super) async fn write(self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        if let Some(why) = self.fault {
            return Err(sqlx::Error::Encode(why));
        }
        if self.rows == 0 {
            return Ok(());
        }
        let row = format!("({})", vec!["?"; self.table.columns].join(","));
        let statement = self.table.insert.to_owned() + &vec![row.as_str(); self.rows].join(",");
        // Constants and question marks.
        let query = sqlx::query_with(AssertSqlSafe(statement), self.arguments);
        // Other lengths are chance, and a statement that may never come again would push the others out.
        let comes_again = matches!(self.rows, 1 | ROUND);
        query.persistent(comes_again).execute(conn).await.map(|_| ())
    }
}
