//! Live authority: who is attached to which case. It belongs to one connection of one uid, ends when that leaves, when the descriptor
//! it was given is closed, when nothing was done for a while, and after a while whatever is done. The case outlives it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use super::CallerWatch;
use crate::authority::policy::SessionTerms;
use crate::grant::Caller;
use crate::types::CaseId;
use crate::types::stamp::Stamp;

/// Sessions that one uid may have at once: each is a task and a descriptor.
const SESSIONS_PER_UID: usize = 64;

struct Live {
    uid: u32,
    began: Stamp,
    used: Stamp,
    end: Arc<Notify>,
    /// Tells this session from a later one of the same caller in the same case.
    number: u64,
}

/// Why no session could be begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// The uid has too many.
    #[error("too many sessions are open for this user: close some first")]
    TooMany,
    /// No pipe.
    #[error("the daemon has no descriptor left ({0}): try again")]
    NoPipe(String),
}

/// All that are live.
#[derive(Clone, Default)]
pub struct Sessions {
    live: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    of: HashMap<(CaseId, String), Live>,
    next: u64,
}

impl Sessions {
    /// Begins a session, or begins it anew. The descriptor that comes back is the session's: when its last copy is closed, the
    /// session is over.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn begin(
        &self,
        case: CaseId,
        caller: &Caller,
        mut watch: CallerWatch,
        now: Stamp,
        terms: SessionTerms,
    ) -> Result<OwnedFd, AttachError> {
        let broken = |error: std::io::Error| AttachError::NoPipe(error.to_string());
        let (theirs, mut ours) = pipe::pipe().map_err(broken)?;
        let theirs = theirs.into_blocking_fd().map_err(broken)?;
        let end = Arc::new(Notify::new());
        let key = (case, caller.name.clone());
        let number = {
            let mut table = self.table();
            let held = table.of.values().filter(|live| live.uid == caller.uid).count();
            if held >= SESSIONS_PER_UID && !table.of.contains_key(&key) {
                return Err(AttachError::TooMany);
            }
            table.next += 1;
            let number = table.next;
            let live = Live {
                uid: caller.uid,
                began: now,
                used: now,
                end: Arc::clone(&end),
                number,
            };
            if let Some(before) = table.of.insert(key.clone(), live) {
                before.end.notify_one();
            }
            number
        };
        let sessions = self.clone();
        tokio::spawn(async move {
            // What a client writes into its end means nothing and is thrown away.
            let closed = async {
                let mut scrap = [0; 64];
                while matches!(ours.read(&mut scrap).await, Ok(read) if read > 0) {}
            };
            // The stamps decide; this only keeps the dead from staying in memory.
            tokio::select! {
                () = closed => {}
                () = watch.gone() => {}
                () = end.notified() => {}
                () = tokio::time::sleep(terms.absolute) => {}
            }
            sessions.forget(&key, number);
        });
        Ok(theirs)
    }

    /// Draws on a session: `None` when there is none that is alive. What is left of it if nothing more is done, else.
    #[must_use]
    pub fn draw(&self, case: CaseId, caller: &Caller, now: Stamp, terms: SessionTerms) -> Option<Duration> {
        let mut table = self.table();
        let live = table.of.get_mut(&(case, caller.name.clone()))?;
        let left = now
            .left(live.used, terms.idle)
            .zip(now.left(live.began, terms.absolute));
        let Some((_, whole)) = left.filter(|_| live.uid == caller.uid) else {
            live.end.notify_one();
            return None;
        };
        live.used = now;
        Some(terms.idle.min(whole))
    }

    /// Ends the sessions in a case: it is closed.
    pub fn end_case(&self, case: CaseId) {
        self.end(|(of, _), _| *of == case);
    }

    /// Ends all sessions of a uid.
    pub fn end_uid(&self, uid: u32) {
        self.end(|_, live| live.uid == uid);
    }

    /// Sessions that are live.
    #[must_use]
    pub fn count(&self) -> usize {
        self.table().of.len()
    }

    fn end(&self, which: impl Fn(&(CaseId, String), &Live) -> bool) {
        self.table().of.retain(|key, live| {
            let ends = which(key, live);
            if ends {
                live.end.notify_one();
            }
            !ends
        });
    }

    fn forget(&self, key: &(CaseId, String), number: u64) {
        let mut table = self.table();
        if table.of.get(key).is_some_and(|live| live.number == number) {
            table.of.remove(key);
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
