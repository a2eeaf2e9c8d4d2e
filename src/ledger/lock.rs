//! The state directory and who owns it: one daemon, by a lock the kernel takes back when that daemon dies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::LedgerError;

/// Name of the lock file in the state directory.
const LOCK_FILE: &str = "ledger.lock";

/// An exclusive `flock(2)` on the lock file, held until dropped. The file itself stays: removing it would let two daemons
/// lock two files of the same name.
pub(crate) struct Owner {
    file: File,
}

impl Owner {
    /// Makes the directory (0700) if it is absent, then takes the lock without waiting.
    ///
    /// # Errors
    /// [`LedgerError::Owned`] when another daemon has it; [`LedgerError::ReadOnly`] or [`LedgerError::Full`] when the
    /// directory or file cannot be made.
    pub(crate) fn take(directory: &Path) -> Result<Self, LedgerError> {
        let place = directory.display().to_string();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|why| refusal(&place, &why))?;
        private(directory, 0o700).map_err(|why| refusal(&place, &why))?;
        let file = create_private(&directory.join(LOCK_FILE)).map_err(|why| refusal(&place, &why))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(LedgerError::Owned(place)),
            Err(TryLockError::Error(why)) => Err(refusal(&place, &why)),
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child that was forked meanwhile and has not come to its exec.
        let _ = self.file.unlock();
    }
}

/// Opens a file for writing, made with mode 0600 if absent.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
}

/// Takes away what others may do with it, if they may do anything.
pub(crate) fn private(path: &Path, mode: u32) -> io::Result<()> {
    let found = fs::metadata(path)?.permissions().mode();
    if found & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// What an input/output error on the state directory means to the person in front of it.
pub(crate) fn refusal(place: &str, why: &io::Error) -> LedgerError {
    match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LedgerError::Full(place.to_owned()),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => LedgerError::ReadOnly(place.to_owned()),
        _ => LedgerError::Storage(format!("{place}: {why}")),
    }
}
