//! Quarantine: threads that are stuck in a call nobody can interrupt.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts the threads that were left behind, and caps them.
pub(super) struct Wards {
    count: AtomicUsize,
    cap: usize,
    freed: Box<dyn Fn() + Send + Sync>,
    told: AtomicBool,
}

impl Wards {
    /// At most `cap` threads may be stuck at a time; `freed` is called when one came back.
    pub(super) fn new(cap: usize, freed: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            count: AtomicUsize::new(0),
            cap,
            freed: Box::new(freed),
            told: AtomicBool::new(false),
        }
    }

    /// How many there are now.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether another device may be taken on. Says it in the log once for each time the cap is reached.
    pub(super) fn has_room(&self) -> bool {
        let room = self.count() < self.cap;
        if room {
            self.told.store(false, Ordering::SeqCst);
        } else if !self.told.swap(true, Ordering::SeqCst) {
            tracing::error!(
                stuck = self.count(),
                "too many devices are stuck: new devices are refused until one of the stuck calls returns; unplug the \
                 unresponsive devices, then restart the daemon if that does not help"
            );
        }
        room
    }

    /// One more is left behind.
    pub(super) fn admit(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// One came back.
    pub(super) fn release(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        (self.freed)();
    }
}
