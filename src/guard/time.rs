//! Authority's time, as it is kept: the host's clocks are read, and no reading turns it back.

use std::sync::{Mutex, PoisonError};

use crate::authority::clock::Timekeeper;
use crate::ledger::Mutation;
use crate::types::stamp::{Moment, Reading, Stamp};

/// Reads the host's clocks.
pub type ReadClocks = Box<dyn Fn() -> Reading + Send + Sync>;

/// Keeps time from one reading to the next.
pub struct Timepiece {
    read: ReadClocks,
    keeper: Mutex<Timekeeper>,
}

impl Timepiece {
    /// Goes on from what was kept last, or begins.
    #[must_use]
    pub fn new(read: ReadClocks, kept: Option<(Reading, Stamp)>) -> Self {
        let keeper = match kept {
            Some((reading, stamp)) => Timekeeper::resume(reading, stamp),
            None => Timekeeper::begin(read()),
        };
        Self {
            read,
            keeper: Mutex::new(keeper),
        }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: of two readings the later is observed later.
        let reading = (self.read)();
        let stamp = keeper.observe(reading);
        Moment { reading, stamp }
    }
}

/// What makes a moment last: goes with every commit that holds a stamp.
#[must_use]
pub fn keep(moment: Moment) -> Mutation {
    Mutation::KeepTime {
        reading: moment.reading,
        stamp: moment.stamp,
    }
}
