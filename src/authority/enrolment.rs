//! Whether somebody needs a second factor: from when, by what, how often they may still say “later”, and what stands in the way
//! of one.
//!
//! A role says from when a factor can be had and from when it must be. An exemption lets one person be, until its day, but not from
//! what the whole organisation requires; that leaves no “later” either.

use std::fmt;

use super::policy::{Day, Policy, Role};
use crate::types::cases::Enrolment;

/// A subject, as far as it matters here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Enrolled {
    /// Tokens with which they can pass.
    pub active: u32,
    /// Tokens that were handed out to them and never passed a test.
    pub pending: u32,
    /// Until when they are exempt, that day included.
    pub exempt_until: Option<Day>,
    /// How often they said “later”.
    pub deferred: u32,
    /// Somebody made sure that a contact is theirs.
    pub contact_verified: bool,
}

impl Enrolled {
    /// Off, pending or on.
    #[must_use]
    pub const fn status(&self) -> Enrolment {
        if self.active > 0 {
            Enrolment::On
        } else if self.pending > 0 {
            Enrolment::Pending
        } else {
            Enrolment::Off
        }
    }
}

/// Why a second factor is required of somebody, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// The organisation requires it of everybody since that day.
    Everybody(Day),
    /// Their role requires it since that day.
    Role(Day),
    /// They are exempt until that day.
    Exempt(Day),
    /// It will be required from that day on.
    From(Day),
    /// Nothing requires it.
    Nothing,
}

impl Ground {
    /// The name that tools switch on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everybody(_) => "everybody",
            Self::Role(_) => "role",
            Self::Exempt(_) => "exempt",
            Self::From(_) => "from",
            Self::Nothing => "nothing",
        }
    }

    /// The day it speaks of.
    #[must_use]
    pub const fn day(self) -> Option<Day> {
        match self {
            Self::Everybody(day) | Self::Role(day) | Self::Exempt(day) | Self::From(day) => Some(day),
            Self::Nothing => None,
        }
    }
}

/// What stands in the way of a token that would become active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// The role can have none before that day.
    NotBefore(Day),
    /// Their contact was not verified.
    Contact,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBefore(day) => write!(f, "the policy lets their role have a second factor from {day} on, not before"),
            Self::Contact => f.write_str(
                "the policy wants a verified contact first, by which they are told of what happens to their tokens: verify it and \
                 note the day in the file of subjects (“contact-verified”)",
            ),
        }
    }
}

/// The answer for an application that asks: required? by when? “later” how often?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enforcement {
    /// Off, pending or on.
    pub status: Enrolment,
    /// A second factor is required of them today.
    pub required: bool,
    /// Why, or why not.
    pub ground: Ground,
    /// The day from which it is required, if one is known; past days too.
    pub from: Option<Day>,
    /// How often they may still say “later”.
    pub deferrals_left: u32,
    /// Whether saying “later” is what would help today.
    pub may_defer: bool,
    /// What would keep a token of theirs from becoming active today.
    pub obstacle: Option<Obstacle>,
}

impl Enforcement {
    /// Whether they may go on without a second factor of theirs, at the moment.
    #[must_use]
    pub const fn blocked(&self) -> bool {
        self.required && !matches!(self.status, Enrolment::On) && !self.may_defer
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ground {
            Ground::Everybody(day) => write!(f, "A second factor is required of everybody since {day}.")?,
            Ground::Role(day) => write!(f, "A second factor is required of their role since {day}.")?,
            Ground::Exempt(day) => write!(f, "They are exempt until {day}.")?,
            Ground::From(day) => write!(f, "A second factor will be required from {day} on.")?,
            Ground::Nothing => f.write_str("No second factor is required of them.")?,
        }
        match self.status {
            Enrolment::On => f.write_str(" They have an active token."),
            Enrolment::Pending => f.write_str(" A token was handed out to them and never tested."),
            Enrolment::Off => f.write_str(" They have no token."),
        }?;
        if let Some(obstacle) = self.obstacle {
            write!(f, " No token of theirs can become active now: {obstacle}.")?;
        }
        match (self.may_defer, self.deferrals_left) {
            (true, left) => write!(
                f,
                " “Later” can be said {left} more {}.",
                if left == 1 { "time" } else { "times" }
            ),
            (false, _) if self.blocked() => f.write_str(" “Later” can be said no more."),
            (false, _) => Ok(()),
        }
    }
}

impl Policy {
    /// What is required of a subject of a role on a day.
    #[must_use]
    pub fn enforcement(&self, role: &Role, it: &Enrolled, today: Day) -> Enforcement {
        let since = |day: Option<Day>| day.filter(|day| *day <= today);
        let exempt = it.exempt_until.filter(|until| today <= *until);
        let ground = match (since(self.enforced_from), since(role.enforced_from)) {
            (Some(day), _) => Ground::Everybody(day),
            (None, Some(day)) => exempt.map_or(Ground::Role(day), Ground::Exempt),
            (None, None) => {
                let next = self.enforced_from.into_iter().chain(role.enforced_from).min();
                next.map_or(Ground::Nothing, Ground::From)
            }
        };
        let required = matches!(ground, Ground::Everybody(_) | Ground::Role(_));
        let left = match ground {
            Ground::Everybody(_) => 0,
            _ => role.deferrals.saturating_sub(it.deferred),
        };
        let status = it.status();
        Enforcement {
            status,
            required,
            ground,
            from: match ground {
                Ground::Exempt(_) => self.enforced_from,
                other => other.day(),
            },
            deferrals_left: left,
            may_defer: required && status != Enrolment::On && left > 0,
            obstacle: self.obstacle(role, it, today),
        }
    }

    /// What would keep a token of a subject from becoming active on a day. What is required of everybody can be had by everybody.
    #[must_use]
    pub fn obstacle(&self, role: &Role, it: &Enrolled, today: Day) -> Option<Obstacle> {
        let everybody = self.enforced_from.is_some_and(|day| day <= today);
        match role.available_from {
            Some(day) if today < day && !everybody => Some(Obstacle::NotBefore(day)),
            _ if role.verified_contact && !it.contact_verified => Some(Obstacle::Contact),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::load::shipped;
    use super::*;
    use crate::types::cases::Privilege;

    const fn day(year: u16, month: u8, day: u8) -> Day {
        Day { year, month, day }
    }

    const TODAY: Day = day(2026, 6, 15);
    const BEFORE: Day = day(2026, 6, 14);
    const AFTER: Day = day(2026, 6, 16);

    fn policy(everybody: Option<Day>) -> Policy {
        Policy {
            enforced_from: everybody,
            ..shipped().unwrap()
        }
    }

    fn role(enforced: Option<Day>, deferrals: u32) -> Role {
        Role {
            name: "staff".to_owned(),
            privilege: Privilege::Ordinary,
            available_from: None,
            enforced_from: enforced,
            deferrals,
            verified_contact: false,
        }
    }

    #[test]
    fn later_runs_out() {
        let (policy, role) = (policy(None), role(Some(TODAY), 2));
        for (deferred, left) in [(0, 2), (1, 1), (2, 0), (7, 0)] {
            let it = Enrolled {
                deferred,
                ..Enrolled::default()
            };
            let told = policy.enforcement(&role, &it, TODAY);
            assert!(told.required);
            assert_eq!(
                (told.deferrals_left, told.may_defer, told.blocked()),
                (left, left > 0, left == 0)
            );
        }
        let on = Enrolled {
            active: 1,
            ..Enrolled::default()
        };
        let told = policy.enforcement(&role, &on, TODAY);
        assert!(told.required && !told.may_defer && !told.blocked());
    }

    #[test]
    fn the_organisation_beats_an_exemption_and_leaves_no_later() {
        let it = Enrolled {
            exempt_until: Some(AFTER),
            ..Enrolled::default()
        };
        let told = policy(None).enforcement(&role(Some(BEFORE), 3), &it, TODAY);
        assert_eq!((told.required, told.ground), (false, Ground::Exempt(AFTER)));
        let told = policy(Some(TODAY)).enforcement(&role(Some(BEFORE), 3), &it, TODAY);
        assert_eq!((told.required, told.ground), (true, Ground::Everybody(TODAY)));
        assert!(told.blocked());
        // The last day of an exemption is part of it, the next is not.
        let it = Enrolled {
            exempt_until: Some(TODAY),
            ..Enrolled::default()
        };
        assert!(!policy(None).enforcement(&role(Some(BEFORE), 3), &it, TODAY).required);
        assert!(policy(None).enforcement(&role(Some(BEFORE), 3), &it, AFTER).required);
    }

    #[test]
    fn what_comes_is_told_with_its_day() {
        let told = policy(None).enforcement(&role(Some(AFTER), 3), &Enrolled::default(), TODAY);
        assert_eq!(
            (told.required, told.ground, told.from),
            (false, Ground::From(AFTER), Some(AFTER))
        );
        let told = policy(Some(AFTER)).enforcement(&role(None, 3), &Enrolled::default(), TODAY);
        assert_eq!(told.ground, Ground::From(AFTER));
        let told = policy(None).enforcement(&role(None, 3), &Enrolled::default(), TODAY);
        assert_eq!((told.ground, told.from, told.may_defer), (Ground::Nothing, None, false));
    }

    #[test]
    fn a_contact_and_a_day_can_stand_in_the_way() {
        let policy = policy(None);
        let mut strict = role(None, 0);
        strict.verified_contact = true;
        strict.available_from = Some(AFTER);
        let it = Enrolled {
            contact_verified: true,
            ..Enrolled::default()
        };
        assert_eq!(policy.obstacle(&strict, &it, TODAY), Some(Obstacle::NotBefore(AFTER)));
        assert_eq!(policy.obstacle(&strict, &it, AFTER), None);
        assert_eq!(
            policy.obstacle(&strict, &Enrolled::default(), AFTER),
            Some(Obstacle::Contact)
        );
    }

    fn days() -> impl Strategy<Value = Option<Day>> {
        prop_oneof![Just(None), Just(Some(BEFORE)), Just(Some(TODAY)), Just(Some(AFTER))]
    }

    proptest! {
        /// An exemption never helps against what the organisation requires, and saying “later” never gives more of it.
        #[test]
        fn no_exemption_and_no_deferral_opens_what_is_shut(
            (everybody, enforced, exempt) in (days(), days(), days()),
            (allowed, deferred, active) in (0..4_u32, 0..6_u32, 0..2_u32),
        ) {
            let (policy, role) = (policy(everybody), role(enforced, allowed));
            let it = Enrolled { active, deferred, exempt_until: exempt, ..Enrolled::default() };
            let told = policy.enforcement(&role, &it, TODAY);
            let free = Enrolled { exempt_until: None, ..it };
            if everybody.is_some_and(|day| day <= TODAY) {
                prop_assert_eq!(told.required, policy.enforcement(&role, &free, TODAY).required);
                prop_assert!(told.required && !told.may_defer);
            }
            let again = policy.enforcement(&role, &Enrolled { deferred: deferred + 1, ..it }, TODAY);
            prop_assert!(again.deferrals_left <= told.deferrals_left);
            prop_assert!(again.deferrals_left < told.deferrals_left || told.deferrals_left == 0);
            prop_assert!(!told.may_defer || told.required);
        }
    }
}
