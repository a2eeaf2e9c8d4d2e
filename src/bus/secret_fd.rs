//! Secrets come as file descriptors: read after admission only, at most 4 KiB, at most 2 s, then closed; the buffer is wiped.
//!
//! Nothing a client passes can hold us: pipes are read without blocking, and regular files (which may lie on a file system
//! that never answers) on a few threads of their own, whose number is capped.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::pread;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::error::BusError;
use crate::contract::error::ErrorName;
use crate::types::Secret;

/// Most bytes a secret may have.
const CAP: usize = 4096;

/// How long reading all secrets of one call may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Reads of regular files at once. One that hangs keeps its place until its file system answers.
const FILE_READS: usize = 8;

/// What is done to the end of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// One trailing line feed is dropped: what `echo` and editors add.
    Text,
    /// Every byte counts.
    Raw,
}

/// Reads the secrets of one call, under one deadline.
pub(super) struct SecretReader {
    deadline: Instant,
    files: Arc<Semaphore>,
}

/// The places for reads of regular files, shared by all calls.
pub(super) fn file_places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FILE_READS))
}

impl SecretReader {
    /// The clock starts now: call this after admission.
    pub(super) fn start(files: &Arc<Semaphore>) -> Self {
        Self {
            deadline: Instant::now() + DEADLINE,
            files: Arc::clone(files),
        }
    }

    /// Reads a descriptor to its end. `name` is how the client calls it.
    pub(super) async fn read(&self, name: &str, fd: OwnedFd, ending: Ending) -> Result<Secret, BusError> {
        let unreadable = |why: String| {
            BusError::new(
                ErrorName::SecretUnreadable,
                format!("the descriptor for “{name}” {why}"),
            )
        };
        let read = async {
            match kind(&fd)? {
                Kind::Pipe => pipe(fd).await,
                Kind::File => file(fd, &self.files).await,
            }
        };
        let mut bytes = match tokio::time::timeout_at(self.deadline, read).await {
            Ok(read) => read.map_err(unreadable)?,
            Err(_) => {
                return Err(unreadable(format!(
                    "was not at its end after {} s: close the writing end",
                    DEADLINE.as_secs()
                )));
            }
        };
        if ending == Ending::Text && bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(unreadable("is empty".to_owned()));
        }
        Ok(Secret::new(std::mem::take(&mut *bytes)))
    }
}

enum Kind {
    Pipe,
    File,
}

fn kind(fd: &OwnedFd) -> Result<Kind, String> {
    let stat = fstat(fd).map_err(|errno| format!("cannot be examined ({})", errno.desc()))?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFIFO {
        Ok(Kind::Pipe)
    } else if kind == SFlag::S_IFREG {
        Ok(Kind::File)
    } else {
        Err("is neither a pipe nor a regular file".to_owned())
    }
}

/// A buffer that never grows, so that no copy of the secret is left behind by a reallocation.
fn buffer() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Vec::with_capacity(CAP))
}

/// Appends a chunk, or says that it is too much.
fn append(bytes: &mut Vec<u8>, chunk: &[u8]) -> Result<(), String> {
    if bytes.len() + chunk.len() > CAP {
        return Err(format!("holds more than {CAP} bytes"));
    }
    bytes.extend_from_slice(chunk);
    Ok(())
}

async fn pipe(fd: OwnedFd) -> Result<Zeroizing<Vec<u8>>, String> {
    // Sets the pipe to non-blocking: another reader of the same pipe can take the bytes from under us, but not hold us.
    let mut pipe = pipe::Receiver::from_owned_fd(fd).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => "is open for writing only: pass the reading end".to_owned(),
        _ => format!("cannot be read ({error})"),
    })?;
    let mut bytes = buffer();
    let mut chunk = Zeroizing::new([0_u8; CAP]);
    loop {
        match pipe.read(chunk.as_mut_slice()).await {
            Ok(0) => return Ok(bytes),
            Ok(n) => append(&mut bytes, chunk.get(..n).unwrap_or_default())?,
            Err(error) => return Err(format!("cannot be read ({error})")),
        }
    }
}

/// A regular file is read from its start, wherever its offset stands: a client that has just written a memfd need not rewind.
async fn file(fd: OwnedFd, places: &Arc<Semaphore>) -> Result<Zeroizing<Vec<u8>>, String> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(|_| "cannot be read (the daemon is stopping)".to_owned())?;
    let read = tokio::task::spawn_blocking(move || {
        let _place = place;
        let mut bytes = buffer();
        let mut chunk = Zeroizing::new([0_u8; CAP]);
        loop {
            let offset = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            match pread(&fd, chunk.as_mut_slice(), offset) {
                Ok(0) => return Ok(bytes),
                Ok(n) => append(&mut bytes, chunk.get(..n).unwrap_or_default())?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(format!("cannot be read ({})", errno.desc())),
            }
        }
    });
    read.await
        .map_err(|_| "cannot be read (the reader failed)".to_owned())?
}
