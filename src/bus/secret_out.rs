//! Secrets go out as file descriptors, too: the caller passes the writing end of a pipe, or a memfd or file, and the secret is
//! written there once the caller is admitted, within 2 s. Nothing that is passed can hold us ([`super::secret_fd`] says how).

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::uio::pwrite;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::Semaphore;

use crate::lifecycle::{Delivery, Letter};
use crate::types::Secret;

/// How long the writing may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// A way for one secret into `fd`. It is written when the verb hands it over, which it does before it writes anything down.
pub(super) fn into(fd: OwnedFd, files: &Arc<Semaphore>) -> Delivery {
    let (way, end) = Delivery::open();
    let files = Arc::clone(files);
    tokio::spawn(async move {
        // The verb was refused or cancelled before: the descriptor is closed, with nothing in it.
        let Ok(Letter { secret, receipt }) = end.await else {
            return;
        };
        let written = tokio::time::timeout(DEADLINE, write(fd, secret, &files)).await;
        let late = || {
            Err(format!(
                "took nothing within {} s: is anybody reading it?",
                DEADLINE.as_secs()
            ))
        };
        let _ = receipt.send(written.unwrap_or_else(|_| late()));
    });
    way
}

async fn write(fd: OwnedFd, secret: Secret, files: &Arc<Semaphore>) -> Result<(), String> {
    // The kernel knows a pipe without asking a file system, which `fstat` on a named one would.
    if fcntl(&fd, FcntlArg::F_GETPIPE_SZ).is_ok() {
        pipe(fd, &secret).await
    } else {
        file(fd, secret, files).await
    }
}

fn unwritable(why: &dyn std::fmt::Display) -> String {
    format!("cannot be written to ({why})")
}

async fn pipe(fd: OwnedFd, secret: &Secret) -> Result<(), String> {
    let flags = fcntl(&fd, FcntlArg::F_GETFL).map_err(|errno| unwritable(&errno.desc()))?;
    let flags = OFlag::from_bits_retain(flags);
    if flags & OFlag::O_ACCMODE == OFlag::O_RDONLY {
        return Err("is open for reading only: pass the writing end".to_owned());
    }
    fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(|errno| unwritable(&errno.desc()))?;
    // Checked is that it is a pipe; tokio's own check would ask the file system.
    let mut pipe = pipe::Sender::from_owned_fd_unchecked(fd).map_err(|error| unwritable(&error))?;
    let written = pipe.write_all(secret.expose()).await;
    written.map_err(|error| unwritable(&error))
}

/// A regular file is written from its start.
async fn file(fd: OwnedFd, secret: Secret, places: &Arc<Semaphore>) -> Result<(), String> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(|_| unwritable(&"the daemon is stopping"))?;
    let written = tokio::task::spawn_blocking(move || {
        let _place = place;
        let stat = fstat(&fd).map_err(|errno| unwritable(&errno.desc()))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err("is neither a pipe nor a regular file".to_owned());
        }
        let mut done = 0;
        while let Some(rest) = secret.expose().get(done..).filter(|rest| !rest.is_empty()) {
            match pwrite(&fd, rest, i64::try_from(done).unwrap_or(i64::MAX)) {
                Ok(0) => return Err(unwritable(&"it takes no more")),
                Ok(n) => done += n,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(unwritable(&errno.desc())),
            }
        }
        Ok(())
    });
    written.await.map_err(|_| unwritable(&"the writer failed"))?
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn a_pipe_that_nobody_empties_is_given_up() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let begun = std::time::Instant::now();
        let way = into(writer.into(), &Arc::new(Semaphore::new(1)));
        // More than a pipe holds.
        let refused = way
            .deliver(Secret::new(vec![b'x'; 1 << 20]))
            .await
            .expect_err("nobody reads");
        assert!(refused.to_string().contains("within 2 s"), "{refused}");
        assert!(begun.elapsed() >= DEADLINE);
        drop(reader);
    }

    #[tokio::test]
    async fn the_reading_end_is_no_place_to_write() {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let way = into(reader.into(), &Arc::new(Semaphore::new(1)));
        let refused = way.deliver(Secret::new(b"x".to_vec())).await.expect_err("refused");
        assert!(refused.to_string().contains("writing end"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_delivered_arrives_and_ends() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let way = into(writer.into(), &Arc::new(Semaphore::new(1)));
        way.deliver(Secret::new(b"otpauth://".to_vec()))
            .await
            .expect("delivered");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("its end");
        assert_eq!(text, "otpauth://");
        let mut file = tempfile::tempfile().expect("a file");
        let way = into(file.try_clone().expect("one").into(), &Arc::new(Semaphore::new(1)));
        way.deliver(Secret::new(b"codes".to_vec())).await.expect("delivered");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read");
        assert_eq!(text, "codes");
    }
}
