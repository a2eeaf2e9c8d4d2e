//! A file that is there whole or not at all, and for its owner alone.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zbus::Fd;

use crate::client::failure::Failure;

/// A file under way. Dropped, it leaves nothing behind.
pub struct NewFile {
    place: PathBuf,
    directory: PathBuf,
    file: NamedTempFile,
}

impl NewFile {
    /// Begins one that will replace what is at `place`.
    ///
    /// # Errors
    /// [`Failure::Local`].
    pub fn begin(place: &Path) -> Result<Self, Failure> {
        let directory = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Self {
            place: place.to_owned(),
            directory: directory.to_owned(),
            // Made for us alone (0600), and renamed once it is whole.
            file: NamedTempFile::new_in(directory).map_err(|why| failed(place, &why))?,
        })
    }

    /// A descriptor for the daemon to write to.
    ///
    /// # Errors
    /// [`Failure::Local`].
    pub fn descriptor(&self) -> Result<Fd<'static>, Failure> {
        let file = self.file.as_file().try_clone();
        Ok(Fd::from(OwnedFd::from(file.map_err(|why| failed(&self.place, &why))?)))
    }

    /// Puts it in its place, durably.
    ///
    /// # Errors
    /// [`Failure::Local`].
    pub fn keep(self) -> Result<(), Failure> {
        let failed = |why: io::Error| failed(&self.place, &why);
        self.file.as_file().sync_all().map_err(failed)?;
        self.file.persist(&self.place).map_err(|error| failed(error.error))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)
    }
}

fn failed(place: &Path, why: &io::Error) -> Failure {
    Failure::local(format!("cannot write {}: {why}", place.display()))
}
