//! Time that cannot be turned back.
//!
//! The wall clock can be set, and the boot clock (`CLOCK_BOOTTIME`) begins anew with every boot. Authority that ends must end
//! whatever happens to either; a wait must not be over early because a clock was set forward. So a [`Timekeeper`] keeps two counts
//! that only rise: how much time has passed *at most*, by which authority expires, and *at least*, by which a wait is over. Both
//! take a step from one reading to the next, so that a clock that was wrong for a while harms what was under way then, and
//! nothing after it.
//!
//! What no host can tell: a clock that is set back and a reboot, both between two readings, after which the wall clock is still
//! ahead of the first. So whoever keeps time reads the clock when it is set (`TFD_TIMER_CANCEL_ON_SET`) and when it stops.

use serde::{Deserialize, Serialize};

pub use crate::types::stamp::{Reading, Stamp};

/// What the count that ends things leaps by when the host comes up with its clock behind where it was: nobody knows how long it
/// was down, so everything that was to end has ended. Ten years.
const UNKNOWN_MS: u64 = 10 * 366 * 86_400_000;

/// Keeps both counts. What it holds is stored with every durable stamp, so that it goes on where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timekeeper {
    last: Reading,
    stamp: Stamp,
}

impl Timekeeper {
    /// Begins to count.
    #[must_use]
    pub fn begin(at: Reading) -> Self {
        Self {
            last: at,
            stamp: Stamp::default(),
        }
    }

    /// Goes on from a stored reading and its stamp.
    #[must_use]
    pub const fn resume(last: Reading, stamp: Stamp) -> Self {
        Self { last, stamp }
    }

    /// The reading and the stamp to store.
    #[must_use]
    pub const fn kept(&self) -> (Reading, Stamp) {
        (self.last, self.stamp)
    }

    /// The stamp of a reading. Since readings are whole milliseconds, each may add one of them too many to what has passed at
    /// most.
    pub fn observe(&mut self, now: Reading) -> Stamp {
        let wall = now.wall.0.saturating_sub(self.last.wall.0);
        let forward = u64::try_from(wall).unwrap_or(0);
        let (most, least) = if now.boot == self.last.boot {
            let boot = now.boot_ms.saturating_sub(self.last.boot_ms);
            (boot.max(forward), boot.min(forward))
        } else if wall < 0 {
            (UNKNOWN_MS.max(now.boot_ms), 0)
        } else {
            // The host has been up for so long at least, whatever its wall clock says.
            // What it was down for counts for no wait: only a clock that may have been set says how long that was.
            (forward.max(now.boot_ms), forward.min(now.boot_ms))
        };
        let stamp = Stamp {
            most_ms: self.stamp.most_ms.saturating_add(most),
            least_ms: self.stamp.least_ms.saturating_add(least),
        };
        *self = Self { last: now, stamp };
        stamp
    }
}
