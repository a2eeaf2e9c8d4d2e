//! Secrets come as file descriptors: read after admission only, at most 4 KiB, at most 2 s, then closed; the buffer is wiped.
//!
//! Nothing a client passes can hold us: pipes are read without blocking, and everything else (which may lie on a file system
//! that never answers, not even to say what it is) on a few threads of their own, whose number is capped.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
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

/// Examinations and reads of files at once. One that hangs keeps its place until its file system answers.
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
        let (read, late) = if is_pipe(&fd) {
            let read = tokio::time::timeout_at(self.deadline, pipe(fd)).await;
            (read, ("was not at its end after", "close the writing end"))
        } else {
            let read = tokio::time::timeout_at(self.deadline, file(fd, &self.files)).await;
            (read, ("gave no answer within", "is its file system in order?"))
        };
        let mut bytes = read
            .map_err(|_| unreadable(format!("{} {} s: {}", late.0, DEADLINE.as_secs(), late.1)))?
            .map_err(unreadable)?;
        if ending == Ending::Text && bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(unreadable("is empty".to_owned()));
        }
        Ok(Secret::new(std::mem::take(&mut *bytes)))
    }
}

/// Whether it is a pipe. The kernel knows that without asking a file system, which `fstat` on a named pipe would.
fn is_pipe(fd: &OwnedFd) -> bool {
    fcntl(fd, FcntlArg::F_GETPIPE_SZ).is_ok()
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
    let unreadable = |why: &dyn std::fmt::Display| format!("cannot be read ({why})");
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| unreadable(&errno.desc()))?;
    let flags = OFlag::from_bits_retain(flags);
    if flags & OFlag::O_ACCMODE == OFlag::O_WRONLY {
        return Err("is open for writing only: pass the reading end".to_owned());
    }
    // Another reader of the same pipe can take the bytes from under us, but not hold us.
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(|errno| unreadable(&errno.desc()))?;
    // Checked is that it is a pipe; tokio's own check would ask the file system.
    let mut pipe = pipe::Receiver::from_owned_fd_unchecked(fd).map_err(|error| unreadable(&error))?;
    let mut bytes = buffer();
    let mut chunk = Zeroizing::new([0_u8; CAP]);
    loop {
        match pipe.read(chunk.as_mut_slice()).await {
            Ok(0) => return Ok(bytes),
            Ok(n) => append(&mut bytes, chunk.get(..n).unwrap_or_default())?,
            Err(error) => return Err(unreadable(&error)),
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
        // Nothing is asked of the descriptor before this thread has it, and here it is closed: each may take for ever.
        let stat = fstat(&fd).map_err(|errno| format!("cannot be examined ({})", errno.desc()))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err("is neither a pipe nor a regular file".to_owned());
        }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A reader all of whose places are taken by files that never answer.
    fn crowded() -> SecretReader {
        SecretReader::start(&Arc::new(Semaphore::new(0)))
    }

    #[tokio::test]
    async fn what_is_no_pipe_is_not_even_examined_outside_the_capped_threads() {
        let directory = std::fs::File::open("/").expect("open");
        let begun = std::time::Instant::now();
        let told = crowded().read("pin", directory.into(), Ending::Text).await;
        let text = told.err().expect("refused").to_string();
        assert!(text.contains("no answer within 2 s"), "{text}");
        assert!(begun.elapsed() >= DEADLINE, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_pipe_needs_no_place() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"1234").expect("written");
        drop(writer);
        let read = crowded().read("pin", reader.into(), Ending::Text).await;
        assert_eq!(read.expect("read").expose(), b"1234");
    }
}
