//! What the house knows of the organisation around it: who people are, which policy is in force, how they are told.

use std::sync::Arc;

use crate::authority::Policy;
use crate::authority::policy::Day;
use crate::directory::{Directory, DirectoryError, Subject};
use crate::grant::Grant;
use crate::hook::Hook;
use crate::types::UnixMillis;
use crate::types::stamp::Moment;

/// Gives the policy that is in force now; `None` when there is none.
pub type InForce = Arc<dyn Fn() -> Option<Arc<Policy>> + Send + Sync>;

/// Authority's time, and the standing authority by which alarms are written down.
#[derive(Clone)]
pub struct Watchman {
    /// Reads the time that cannot be turned back.
    pub time: Arc<dyn Fn() -> Moment + Send + Sync>,
    /// A standing grant.
    pub grant: Grant,
}

impl Watchman {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        (self.time)()
    }
}

/// The organisation, as far as it was configured.
#[derive(Clone)]
pub struct Organisation {
    /// Who people are.
    pub directory: Arc<dyn Directory>,
    /// The policy.
    pub policy: InForce,
    /// What tells people what happened to their tokens.
    pub hook: Option<Hook>,
    /// What tells those who look after the help desk that a case has waited too long.
    pub overseer: Option<Hook>,
    /// Who watches for anomalies; nobody where there is one user only.
    pub watchman: Option<Watchman>,
    /// The standing authority by which a replaced token dies.
    pub replacing: Option<Grant>,
}

impl Default for Organisation {
    fn default() -> Self {
        Self {
            directory: Arc::new(Nobody),
            policy: Arc::new(|| None),
            hook: None,
            overseer: None,
            watchman: None,
            replacing: None,
        }
    }
}

/// A directory of nobody.
struct Nobody;

impl Directory for Nobody {
    fn subject(&self, _: &str) -> Result<Option<Subject>, DirectoryError> {
        Ok(None)
    }

    fn of_uid(&self, _: u32) -> Result<Option<Subject>, DirectoryError> {
        Ok(None)
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An instant by the host's zone.
fn local(at: UnixMillis) -> jiff::Zoned {
    jiff::Timestamp::from_millisecond(at.0)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::system())
}

/// The calendar day of an instant, by the host's zone.
#[must_use]
pub fn day_of(at: UnixMillis) -> Day {
    let local = local(at);
    let small = |number: i8| u8::try_from(number).unwrap_or(1);
    Day {
        year: u16::try_from(local.year()).unwrap_or(0),
        month: small(local.month()),
        day: small(local.day()),
    }
}

/// Minutes since Monday 00:00, by the host's zone.
#[must_use]
pub fn minute_of_week(at: UnixMillis) -> u16 {
    let local = local(at);
    let of = |number: i8| u16::try_from(number).unwrap_or(0);
    of(local.weekday().to_monday_zero_offset()) * 1_440 + of(local.hour()) * 60 + of(local.minute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_by_the_hosts_zone() {
        // Midnight in London at midsummer.
        let day = day_of(UnixMillis(1_782_000_000_000));
        assert_eq!((day.year, day.month), (2026, 6));
        assert!([20, 21].contains(&day.day), "{day}");
    }
}
