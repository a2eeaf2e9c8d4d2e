//! Jumps of a clock, and whose fault they are.
//!
//! A jump is what neither noise nor a consumer crystal explains between two readings. When the clocks of many tokens jump together
//! and alike, it was the host's clock that moved; when those of one delivery do, it is the delivery; alone it is the token.

use super::forecast::{Method, Reading, S_PER_DAY_PER_PPM, days, ms_s};
use crate::types::UnixMillis;

/// How sure a jump must be, in standard deviations of the difference of two readings.
const DOUBT: f64 = 4.0;
/// What a consumer crystal may do, in ppm.
const CRYSTAL_PPM: f64 = 50.0;
/// Fewest clocks that make a pattern.
const MANY: usize = 3;
/// Jumps alike differ by no more than this and a tenth of their size, in milliseconds: two readings' noise.
const ALIKE_MS: i64 = 60_000;

/// A clock moved at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// Last reading before it.
    pub from: UnixMillis,
    /// First reading after it.
    pub to: UnixMillis,
    /// By how much, in milliseconds.
    pub by_ms: i64,
    /// The token's clock was set on purpose.
    pub is_set: bool,
}

/// Whose fault a jump is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The token's clock was set on purpose.
    Set,
    /// The host's clock moved: most clocks that were read on both sides of it jumped alike.
    HostClock,
    /// Most tokens of this delivery, or of this model when no delivery is known, jumped, and the others did not.
    Batch,
    /// This token alone.
    Token,
}

impl Cause {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::HostClock => "host-clock",
            Self::Batch => "batch",
            Self::Token => "token",
        }
    }
}

/// A clock among others.
#[derive(Debug, Clone)]
pub struct Watched<'a> {
    /// What it has in common with its like: delivery or model.
    pub like: &'a str,
    /// Its readings, oldest first.
    pub readings: &'a [Reading],
    /// Its jumps.
    pub jumps: &'a [Jump],
}

/// The jumps between readings, oldest first.
#[must_use]
pub fn find_jumps(readings: &[Reading], period_s: u32) -> Vec<Jump> {
    let pairs = readings.iter().zip(readings.iter().skip(1));
    pairs
        .filter_map(|(before, after)| {
            let by_ms = after.offset_ms.saturating_sub(before.offset_ms);
            let noise = before.sd_s(period_s).hypot(after.sd_s(period_s));
            let apart = days(after.at.0.saturating_sub(before.at.0)).max(0.0);
            let explained = DOUBT * noise + CRYSTAL_PPM * S_PER_DAY_PER_PPM * apart;
            let is_set = after.method == Method::Set;
            (is_set || ms_s(by_ms).abs() > explained).then_some(Jump {
                from: before.at,
                to: after.at,
                by_ms,
                is_set,
            })
        })
        .collect()
}

/// Whose fault a jump of the clock `own` is, by what the others did meanwhile.
#[must_use]
pub fn cause(jump: &Jump, own: &str, others: &[Watched<'_>]) -> Cause {
    if jump.is_set {
        return Cause::Set;
    }
    let (mut all, mut like) = (Votes::default(), Votes::default());
    for other in others {
        let Some(jumped) = went_along(jump, other) else {
            continue;
        };
        all.count(jumped);
        if other.like == own {
            like.count(jumped);
        }
    }
    let rest = Votes {
        jumped: all.jumped - like.jumped,
        stayed: all.stayed - like.stayed,
    };
    // A delivery that jumps while the others stay is no host.
    if like.most() && rest.stayed > rest.jumped {
        Cause::Batch
    } else if all.most() {
        Cause::HostClock
    } else {
        Cause::Token
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Votes {
    jumped: usize,
    stayed: usize,
}

impl Votes {
    fn count(&mut self, jumped: bool) {
        if jumped {
            self.jumped += 1;
        } else {
            self.stayed += 1;
        }
    }

    /// With the one that is asked about, a pattern.
    const fn most(self) -> bool {
        self.jumped + 1 >= MANY && self.jumped >= self.stayed
    }
}

/// Whether another clock jumped alike meanwhile; `None` when it was not read on both sides of the time that both share.
fn went_along(jump: &Jump, other: &Watched<'_>) -> Option<bool> {
    let alike = |theirs: &&Jump| {
        let apart = theirs.by_ms.saturating_sub(jump.by_ms).saturating_abs();
        !theirs.is_set
            && theirs.from < jump.to
            && jump.from < theirs.to
            && apart <= ALIKE_MS.saturating_add(jump.by_ms.saturating_abs() / 10)
    };
    if other.jumps.iter().any(|theirs| alike(&theirs)) {
        return Some(true);
    }
    // It stayed if some of its readings lie between the two of ours, and one before: else it may not have been looked at.
    let first = other.readings.first()?.at;
    let during = other
        .readings
        .iter()
        .any(|reading| reading.at > jump.from && reading.at <= jump.to);
    let after = other.readings.iter().any(|reading| reading.at >= jump.to);
    (first <= jump.from && (during || after)).then_some(false)
}
