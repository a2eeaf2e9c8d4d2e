//! Who may take part in a case as the second person.
//!
//! [`decide`](super::decide) counts approvals again at every decision; what is refused here never becomes one.

use std::fmt;

use super::decide::Person;
use super::policy::Policy;

/// Somebody who calls, and what the host says of where they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who they are now.
    pub person: Person,
    /// The uid they logged in with (`/proc/PID/loginuid`); `None` where it is unset or hidden.
    pub login: Option<u32>,
    /// The uid of their logind session; `None` where there is none.
    pub session: Option<u32>,
}

/// Who had a part in a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Participants {
    /// Who opened it.
    pub opener: Person,
    /// Who attached to it, added evidence or acted in it.
    pub worked: Vec<Person>,
    /// Whom it is about, if an account of this host.
    pub subject: Option<Person>,
}

/// Why somebody's yes or no is not taken. [`Refusal::name`] is for programs, the sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// They are root.
    Root,
    /// Nobody knows who logged in.
    LoginUnknown,
    /// Another logged in than calls.
    LoginDiffers,
    /// They opened the case.
    Opener,
    /// The case is about them.
    Subject,
    /// They worked in it.
    Worked,
}

impl Refusal {
    /// The name that tools switch on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::LoginUnknown => "login-unknown",
            Self::LoginDiffers => "login-differs",
            Self::Opener => "opener",
            Self::Subject => "subject",
            Self::Worked => "worked",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "Root approves nothing: log in as yourself.",
            Self::LoginUnknown => "The host does not say who logged in here: approve from a login session of your own.",
            Self::LoginDiffers => {
                "Another account logged in here than the one that calls: approve from a session of your own."
            }
            Self::Opener => "You opened the case: another person must answer.",
            Self::Subject => "The case is about you: another person must answer.",
            Self::Worked => "You worked in the case: a person who did not must answer.",
        })
    }
}

impl Policy {
    /// Whether a caller may approve in a case.
    ///
    /// # Errors
    /// Why not.
    pub fn may_approve(&self, caller: &Caller, of: &Participants) -> Result<(), Refusal> {
        self.identified(caller)?;
        let is = |person: &Person| self.same_person(person, &caller.person);
        if is(&of.opener) {
            Err(Refusal::Opener)
        } else if of.subject.as_ref().is_some_and(is) {
            Err(Refusal::Subject)
        } else if of.worked.iter().any(is) {
            Err(Refusal::Worked)
        } else {
            Ok(())
        }
    }

    /// A login uid can be set once by anybody who has none, so it counts only where the session agrees with it.
    fn identified(&self, caller: &Caller) -> Result<(), Refusal> {
        let uid = caller.person.uid;
        let (Some(login), Some(session)) = (caller.login, caller.session) else {
            return Err(if uid == 0 { Refusal::Root } else { Refusal::LoginUnknown });
        };
        if [uid, login, session].contains(&0) {
            Err(Refusal::Root)
        } else if login != uid || session != uid {
            Err(Refusal::LoginDiffers)
        } else {
            Ok(())
        }
    }
}
