//! Instants on the two counts of time that cannot be turned back: what authority is measured by. How they are kept is said in
//! `authority::clock`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// What the host's clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Wall clock, UTC.
    pub wall: UnixMillis,
    /// Milliseconds since boot, sleep included (`CLOCK_BOOTTIME`).
    pub boot_ms: u64,
    /// Which boot: `/proc/sys/kernel/random/boot_id`, as a number.
    pub boot: u128,
}

/// An instant on both counts, in milliseconds. Of two stamps of one keeper the later is not smaller in either.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Time that has passed at most.
    pub most_ms: u64,
    /// Time that has passed at least.
    pub least_ms: u64,
}

/// A reading with its stamp: what is kept so that time goes on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What the clocks said.
    pub reading: Reading,
    /// What both counts were.
    pub stamp: Stamp,
}

impl Stamp {
    /// Time since then at most. What ends after a while has ended when this is not less.
    #[must_use]
    pub fn at_most_since(self, then: Self) -> Duration {
        Duration::from_millis(self.most_ms.saturating_sub(then.most_ms))
    }

    /// Time since then at least. What must wait a while has waited when this is not less.
    #[must_use]
    pub fn at_least_since(self, then: Self) -> Duration {
        Duration::from_millis(self.least_ms.saturating_sub(then.least_ms))
    }

    /// What is left of `ttl` that began at `then`; nothing once it has ended.
    #[must_use]
    pub fn left(self, then: Self, ttl: Duration) -> Option<Duration> {
        ttl.checked_sub(self.at_most_since(then)).filter(|left| !left.is_zero())
    }

    /// This stamp, later by so much on the count that ends things.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self {
            most_ms: self.most_ms.saturating_add(millis(by)),
            ..self
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
