//! What the ledger remembers of emergency bypasses: for which case, how long, how often, how it ended, who looked back at it. What
//! follows from it is decided in `lifecycle/bypass.rs`.

use std::time::Duration;

use crate::types::cases::{BypassEnd, FoundAgain};
use crate::types::stamp::Stamp;
use crate::types::{CaseId, Secret, UnixMillis};

/// A bypass that is to be issued.
pub struct NewBypass {
    /// The case it is issued in; whom it is for is said there.
    pub case: CaseId,
    /// Uid that issues it.
    pub by: u32,
    /// When, by the count that cannot be turned back.
    pub issued: Stamp,
    /// How long it is good, in milliseconds.
    pub lasts_ms: u64,
    /// How often.
    pub uses: u32,
    /// What becomes of it when the token is found again.
    pub found_again: FoundAgain,
    /// The code in its canonical form; kept hashed.
    pub code: Secret,
}

/// A bypass as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BypassRecord {
    /// The case it was issued in: a case has one at most.
    pub case: CaseId,
    /// Whom it is for.
    pub subject: Option<String>,
    /// Uid that issued it.
    pub by: u32,
    /// When, by the host's clock: for people.
    pub issued_at: UnixMillis,
    /// When, by the count that cannot be turned back: for decisions.
    pub issued: Stamp,
    /// How long it is good, in milliseconds.
    pub lasts_ms: u64,
    /// How often.
    pub uses: u32,
    /// What becomes of it when the token is found again.
    pub found_again: FoundAgain,
    /// How often it was used.
    pub used: u32,
    /// Wrong codes for its subject while it was on hand.
    pub wrong: u32,
    /// When it was used last, by the host's clock.
    pub last_used: Option<UnixMillis>,
    /// How it was ended before its time.
    pub ended: Option<(UnixMillis, BypassEnd)>,
    /// When somebody looked back at it, and who.
    pub reviewed: Option<(UnixMillis, u32)>,
}

/// How a bypass stands at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BypassState {
    /// Good for so long yet.
    Live(Duration),
    /// Used as often as it may be.
    UsedUp,
    /// Its time is over.
    Expired,
    /// Ended before its time.
    Ended(BypassEnd),
}

impl BypassState {
    /// The word for it on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live(_) => "live",
            Self::UsedUp => "used-up",
            Self::Expired => "expired",
            Self::Ended(_) => "ended",
        }
    }
}

impl BypassRecord {
    /// How it stands at this instant.
    #[must_use]
    pub fn state(&self, now: Stamp) -> BypassState {
        if let Some((_, why)) = self.ended {
            return BypassState::Ended(why);
        }
        match now.left(self.issued, Duration::from_millis(self.lasts_ms)) {
            _ if self.used >= self.uses => BypassState::UsedUp,
            Some(left) if self.reviewed.is_none() => BypassState::Live(left),
            _ => BypassState::Expired,
        }
    }

    /// Whether its code is good at this instant.
    #[must_use]
    pub fn is_live(&self, now: Stamp) -> bool {
        matches!(self.state(now), BypassState::Live(_))
    }
}

/// Which bypasses to list. All given members must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BypassFilter {
    /// For this subject, exactly.
    pub subject: Option<String>,
    /// Of this case.
    pub case: Option<CaseId>,
    /// Not reviewed yet.
    pub unreviewed: bool,
    /// Issued by this uid.
    pub by: Option<u32>,
}

/// What of a person's bypasses bears on the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BypassCounts {
    /// Issued since the instant that was asked for.
    pub recent: u32,
    /// Not reviewed yet, whenever they were issued.
    pub unreviewed: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(most_ms: u64, least_ms: u64) -> Stamp {
        Stamp { most_ms, least_ms }
    }

    fn bypass() -> BypassRecord {
        BypassRecord {
            case: CaseId::generate(),
            subject: Some("ada".to_owned()),
            by: 1001,
            issued_at: UnixMillis(0),
            issued: at(1_000, 1_000),
            lasts_ms: 500,
            uses: 2,
            found_again: FoundAgain::End,
            used: 0,
            wrong: 0,
            last_used: None,
            ended: None,
            reviewed: None,
        }
    }

    #[test]
    fn it_ends_by_the_count_of_time_that_has_passed_at_most() {
        let it = bypass();
        assert_eq!(it.state(at(1_499, 1_000)), BypassState::Live(Duration::from_millis(1)));
        assert_eq!(it.state(at(1_500, 1_000)), BypassState::Expired);
        // A stamp from before, which no keeper gives, makes it live no longer than it was to be.
        assert_eq!(it.state(at(0, 0)), BypassState::Live(Duration::from_millis(500)));
    }

    #[test]
    fn what_ended_it_first_is_what_is_told() {
        let used = BypassRecord { used: 2, ..bypass() };
        assert_eq!(used.state(at(1_001, 1_001)), BypassState::UsedUp);
        let ended = BypassRecord {
            ended: Some((UnixMillis(1), BypassEnd::ByHand)),
            ..used
        };
        assert_eq!(ended.state(at(9_999, 9_999)), BypassState::Ended(BypassEnd::ByHand));
        let reviewed = BypassRecord {
            reviewed: Some((UnixMillis(1), 1002)),
            ..bypass()
        };
        assert!(!reviewed.is_live(at(1_001, 1_001)), "looked back at, it is over");
    }
}
