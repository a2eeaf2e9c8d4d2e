//! Secrets come as file descriptors: read after admission only, at most 4 KiB, at most 2 s, then closed; the buffer is wiped. A
//! seed file comes the same way, with bounds of its own: at most 64 MiB, at most 10 s.
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

use super::error::BusError;
use crate::codec::seed_file::MAX_FILE_LEN;
use crate::contract::error::ErrorName;
use crate::types::Secret;
use crate::types::secret_buffer::{SecretBuffer, TooLong, chunk};

/// How much is read of a descriptor, and how long that may take.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Most bytes it may hold.
    bytes: usize,
    /// Of all the descriptors of one call together.
    time: Duration,
}

/// Of PINs, passwords, passphrases, keys and seeds.
const SECRET: Bounds = Bounds {
    bytes: 4096,
    time: Duration::from_secs(2),
};

/// Of a file of seeds.
const SEED_FILE: Bounds = Bounds {
    bytes: MAX_FILE_LEN,
    time: Duration::from_secs(10),
};

/// Of an identity provider's JSON.
const JSON: Bounds = Bounds {
    bytes: 1 << 20,
    time: Duration::from_secs(2),
};

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
    bounds: Bounds,
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
        Self::within(SECRET, Arc::clone(files))
    }

    /// The same for a seed file, which is larger than any secret and may take longer. Its clock starts now.
    pub(super) fn seed_file(&self) -> Self {
        Self::within(SEED_FILE, Arc::clone(&self.files))
    }

    /// The same for JSON. Its clock starts now.
    pub(super) fn json(&self) -> Self {
        Self::within(JSON, Arc::clone(&self.files))
    }

    fn within(bounds: Bounds, files: Arc<Semaphore>) -> Self {
        Self {
            bounds,
            deadline: Instant::now() + bounds.time,
            files,
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
            let read = tokio::time::timeout_at(self.deadline, pipe(fd, self.bounds.bytes)).await;
            (read, ("was not at its end after", "close the writing end"))
        } else {
            let read = tokio::time::timeout_at(self.deadline, file(fd, self.bounds.bytes, &self.files)).await;
            (read, ("gave no answer within", "is its file system in order?"))
        };
        let mut bytes = read
            .map_err(|_| unreadable(format!("{} {} s: {}", late.0, self.bounds.time.as_secs(), late.1)))?
            .map_err(unreadable)?;
        if ending == Ending::Text {
            bytes.drop_line_feed();
        }
        if bytes.is_empty() {
            return Err(unreadable("is empty".to_owned()));
        }
        Ok(bytes.into_secret())
    }
}

/// Whether it is a pipe. The kernel knows that without asking a file system, which `fstat` on a named pipe would.
fn is_pipe(fd: &OwnedFd) -> bool {
    fcntl(fd, FcntlArg::F_GETPIPE_SZ).is_ok()
}

fn too_long(why: TooLong) -> String {
    why.to_string()
}

async fn pipe(fd: OwnedFd, cap: usize) -> Result<SecretBuffer, String> {
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
    let mut bytes = SecretBuffer::new(cap);
    let mut chunk = chunk();
    loop {
        match pipe.read(chunk.as_mut_slice()).await {
            Ok(0) => return Ok(bytes),
            Ok(n) => bytes.push(chunk.get(..n).unwrap_or_default()).map_err(too_long)?,
            Err(error) => return Err(unreadable(&error)),
        }
    }
}

/// A regular file is read from its start, wherever its offset stands: a client that has just written a memfd need not rewind.
async fn file(fd: OwnedFd, cap: usize, places: &Arc<Semaphore>) -> Result<SecretBuffer, String> {
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
        // A claim, no more: a hole counts, and the file may grow.
        let claimed = usize::try_from(stat.st_size).unwrap_or(0);
        let mut bytes = SecretBuffer::expecting(cap, claimed);
        let mut chunk = chunk();
        loop {
            let offset = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
            match pread(&fd, chunk.as_mut_slice(), offset) {
                Ok(0) => return Ok(bytes),
                Ok(n) => bytes.push(chunk.get(..n).unwrap_or_default()).map_err(too_long)?,
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
        assert!(begun.elapsed() >= SECRET.time, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_seed_file_may_be_larger_than_a_secret_and_arrives_whole() {
        let content: Vec<u8> = (0..100_001_u32).map(|n| n.to_le_bytes()[0]).collect();
        let files = file_places();
        let memory = || {
            let mut file = tempfile::tempfile().expect("a file");
            file.write_all(&content).expect("written");
            file
        };
        let told = SecretReader::start(&files)
            .read("pin", memory().into(), Ending::Raw)
            .await;
        let text = told.err().expect("refused").to_string();
        assert!(text.contains("more than 4096 bytes"), "{text}");
        let reader = SecretReader::start(&files).seed_file();
        let read = reader.read("file", memory().into(), Ending::Raw).await;
        assert!(read.expect("read").expose() == content);
        let (end, mut writer) = std::io::pipe().expect("a pipe");
        let sent = content.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        let read = reader.read("file", end.into(), Ending::Raw).await;
        assert!(read.expect("read").expose() == content);
        writing.join().expect("joined").expect("written");
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
