//! What SQLite says, in our words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::ledger::LedgerError;

/// Primary result codes (sqlite.org/rescode.html).
const BUSY: i32 = 5;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

/// The state directory, to be named in errors.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<PathBuf>);

impl Place {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(Arc::new(directory.to_path_buf()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn name(&self) -> String {
        self.0.display().to_string()
    }

    /// Maps what went wrong below us.
    pub(crate) fn fault(&self, error: &sqlx::Error) -> LedgerError {
        match error {
            sqlx::Error::Database(db) => {
                let code = db.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0);
                self.coded(code & 0xff, db.message())
            }
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => closed(),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                LedgerError::Damaged("a column holds what it should not".to_owned())
            }
            other => LedgerError::Storage(other.to_string()),
        }
    }

    fn coded(&self, code: i32, message: &str) -> LedgerError {
        match code {
            FULL => LedgerError::Full(self.name()),
            // The write-ahead log's index is mapped memory; on a full disk it fails as an input/output error instead.
            IOERR | CANTOPEN if self.is_full() => LedgerError::Full(self.name()),
            READONLY | CANTOPEN => LedgerError::ReadOnly(self.name()),
            CORRUPT | NOTADB => LedgerError::Damaged(message.to_owned()),
            BUSY => LedgerError::Storage(format!(
                "another program holds the ledger in {} open: close it",
                self.name()
            )),
            IOERR => LedgerError::Storage(format!("{message} in {}: check the disk", self.name())),
            _ => LedgerError::Storage(message.to_owned()),
        }
    }

    fn is_full(&self) -> bool {
        nix::sys::statvfs::statvfs(self.path()).is_ok_and(|fs| fs.blocks_available() == 0)
    }
}

/// The ledger was closed.
pub(crate) fn closed() -> LedgerError {
    LedgerError::Storage("the ledger is closed".to_owned())
}
