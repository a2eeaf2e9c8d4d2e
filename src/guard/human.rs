//! Which human calls: what a second person's yes hangs on.
//!
//! A uid says which account a process runs under, not who sits at it: whoever may `su` has two. So three things must agree that
//! come about in different ways: the uid the bus had from the kernel, the login uid (`/proc/PID/loginuid`, set once at log-in and
//! kept through `su` and `sudo`), and the uid of the logind session the process is in (its control group, which only root and
//! systemd move). A login uid that was never set can be set once to anything by whoever has the process, so it counts for
//! nothing alone; then the audit session (`/proc/PID/sessionid`) is a new one too, and is not the one logind wrote down.
//!
//! [`process`] and [`logind`] read; [`Traces::human`] decides and knows neither. What cannot be read is a no.

mod logind;
mod process;

use zbus::Connection;
use zbus::fdo::{ConnectionCredentials, DBusProxy};
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};

use self::logind::LogindError;
use self::process::{Pinned, ProcessError};
use super::{BUS_DEADLINE, Denied, Door, Guard};
use crate::authority::conduct;
use crate::authority::decide::Person;

/// Somebody who logged in here as the account they call with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Human {
    /// The uid they call with.
    pub uid: u32,
    /// The uid they logged in with; the same.
    pub login: u32,
    /// Name of their logind session.
    pub session: String,
    /// Uid of that session; the same.
    pub session_uid: u32,
    /// Their account's name: by it a policy knows accounts of one human.
    pub account: String,
}

impl Human {
    /// The same as the policy looks at it.
    #[must_use]
    pub fn caller(&self) -> conduct::Caller {
        conduct::Caller {
            person: Person {
                uid: self.uid,
                account: Some(self.account.clone()),
            },
            login: Some(self.login),
            session: Some(self.session_uid),
        }
    }
}

/// Why nobody can say which human calls. [`Unidentified::name`] is for programs, the sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// Session mode.
    #[error(
        "in session mode there is one user only, so there is no second person; a second person answers in system mode"
    )]
    OneUser,
    /// The message had no sender, or the bus could not be asked.
    #[error("the bus does not say who called: {0}")]
    Bus(String),
    /// They are root, logged in as root, or in a session of root's.
    #[error("root approves nothing: log in as yourself")]
    Root,
    /// The process could not be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The process runs under another uid than the one it connected with.
    #[error("the calling process changed its user after it connected (uid {was} then): call again")]
    Changed {
        /// What the bus was told.
        was: u32,
    },
    /// Nobody logged in.
    #[error(
        "the host does not know who logged in to the process that calls (its login uid is unset, as for a service or a timer): call \
         from a login session of your own"
    )]
    LoginUnset,
    /// Another account logged in.
    #[error("uid {login} logged in here, not uid {uid} that calls (su, sudo?): call from a session of your own")]
    LoginDiffers {
        /// Who calls.
        uid: u32,
        /// Who logged in.
        login: u32,
    },
    /// logind could not say.
    #[error(transparent)]
    Logind(#[from] LogindError),
    /// The session is another's.
    #[error("the login session here is uid {session}'s, not uid {uid}'s that calls: call from a session of your own")]
    SessionDiffers {
        /// Who calls.
        uid: u32,
        /// Whose session.
        session: u32,
    },
    /// The session has nobody at a keyboard: its class, or `closing`.
    #[error("a session that is “{0}” has nobody in it who could answer: call from a login session of your own")]
    NobodyThere(String),
    /// The kernel's session is another than logind's.
    #[error(
        "the login of the process that calls is not the one its session began with (its login uid was set later?): call from a \
         login session of your own"
    )]
    AuditDiffers,
    /// The uid has no account.
    #[error("uid {0} has no account on this host, so the policy cannot know who it is")]
    NoAccount(u32),
}

impl Unidentified {
    /// The name that tools switch on.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OneUser => "one-user",
            Self::Bus(_) => "bus",
            Self::Root => "root",
            Self::Process(ProcessError::Hidden(_)) => "process-hidden",
            Self::Process(_) => "process-gone",
            Self::Changed { .. } => "process-changed",
            Self::LoginUnset => "login-unset",
            Self::LoginDiffers { .. } => "login-differs",
            Self::Logind(LogindError::NoSession) => "no-session",
            Self::Logind(LogindError::Unreachable(_)) => "logind-unreachable",
            Self::SessionDiffers { .. } => "session-differs",
            Self::NobodyThere(_) => "nobody-there",
            Self::AuditDiffers => "audit-differs",
            Self::NoAccount(_) => "no-account",
        }
    }
}

/// A login uid or an audit session that was never set: `(uid_t) -1`.
const UNSET: u32 = u32::MAX;

/// What the kernel says of a process (proc_pid_status(5), proc_pid_loginuid(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Login {
    /// Real, effective, saved and file-system uid.
    uids: [u32; 4],
    /// `/proc/PID/loginuid`.
    login: u32,
    /// `/proc/PID/sessionid`.
    audit: u32,
}

/// What logind says of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seat {
    /// Its name.
    id: String,
    /// Whose.
    uid: u32,
    /// Its class: `user`, `background`, `greeter`…
    class: String,
    /// Whether its person has logged out and it only waits for processes that were left behind.
    closing: bool,
    /// The audit session it began with; `None` when the process is in no session but in its user's own manager (a desktop's terminal
    /// is), which has an audit session of its own.
    audit: Option<u32>,
}

/// All that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Traces {
    /// The uid the bus had from the kernel.
    bus: u32,
    login: Login,
    seat: Seat,
    account: Option<String>,
}

impl Traces {
    fn human(self) -> Result<Human, Unidentified> {
        let Self {
            bus,
            login,
            seat,
            account,
        } = self;
        login_of(bus, &login)?;
        if seat.uid == 0 {
            return Err(Unidentified::Root);
        }
        if seat.uid != bus {
            return Err(Unidentified::SessionDiffers {
                uid: bus,
                session: seat.uid,
            });
        }
        // `user`, and what newer ones begin with that: `user-light`, `user-early`.
        if seat.class != "user" && !seat.class.starts_with("user-") {
            return Err(Unidentified::NobodyThere(seat.class));
        }
        if seat.closing {
            return Err(Unidentified::NobodyThere("closing".to_owned()));
        }
        if seat.audit.is_some_and(|audit| audit != login.audit) {
            return Err(Unidentified::AuditDiffers);
        }
        let account = account.ok_or(Unidentified::NoAccount(bus))?;
        Ok(Human {
            uid: bus,
            login: login.login,
            session: seat.id,
            session_uid: seat.uid,
            account,
        })
    }
}

/// The first half, which needs no logind: who the kernel says it is.
fn login_of(bus: u32, login: &Login) -> Result<(), Unidentified> {
    if bus == 0 || login.login == 0 {
        return Err(Unidentified::Root);
    }
    if login.uids != [bus; 4] {
        return Err(Unidentified::Changed { was: bus });
    }
    if login.login == UNSET || login.audit == UNSET {
        return Err(Unidentified::LoginUnset);
    }
    if login.login != bus {
        return Err(Unidentified::LoginDiffers {
            uid: bus,
            login: login.login,
        });
    }
    Ok(())
}

impl Guard {
    /// Which human sent a message. Asked for an approval and a denial, after [`Guard::admit`]; takes as long as logind takes.
    ///
    /// # Errors
    /// [`Unidentified`]: nobody can say.
    pub async fn human(&self, header: &Header<'_>) -> Result<Human, Unidentified> {
        if matches!(self.door, Door::Session { .. }) {
            return Err(Unidentified::OneUser);
        }
        let sender = header
            .sender()
            .ok_or_else(|| Unidentified::Bus("the message has no sender".to_owned()))?;
        of_sender(&self.connection, sender).await
    }
}

impl Guard {
    /// Checks that another human than an operator sent a message.
    ///
    /// # Errors
    /// [`Denied::NotHuman`] when nobody can say who; [`Denied::SameHuman`].
    pub async fn another_human(&self, header: &Header<'_>, operator: u32) -> Result<Human, Denied> {
        let human = self.human(header).await.map_err(Denied::NotHuman)?;
        let other = Person {
            uid: operator,
            account: account(operator).await,
        };
        let one = human.uid == operator
            || (self.cases.law().policy()).is_some_and(|policy| policy.same_person(&human.caller().person, &other));
        if one { Err(Denied::SameHuman) } else { Ok(human) }
    }
}

/// Which human a connection to the system bus belongs to.
///
/// # Errors
/// [`Unidentified`]: nobody can say.
pub async fn of_sender(system_bus: &Connection, sender: &UniqueName<'_>) -> Result<Human, Unidentified> {
    let credentials = credentials(system_bus, sender).await?;
    let no_uid = || Unidentified::Bus("it knows no uid of the caller".to_owned());
    let bus = credentials.unix_user_id().ok_or_else(no_uid)?;
    // Pinned from here on: what is read below is of this process, or the pin says that it ended.
    let pinned = Pinned::of(credentials)?;
    let login = pinned.login()?;
    login_of(bus, &login)?;
    let seat = logind::seat(system_bus, pinned.pid()).await?;
    let account = account(bus).await;
    pinned.still_there()?;
    // Where the bus gave a number only, the process had to hold on to the connection until now.
    self::credentials(system_bus, sender).await?;
    Traces {
        bus,
        login,
        seat,
        account,
    }
    .human()
}

async fn credentials(system_bus: &Connection, sender: &UniqueName<'_>) -> Result<ConnectionCredentials, Unidentified> {
    let failed = |error: String| Unidentified::Bus(error);
    let asked = async {
        let bus = DBusProxy::new(system_bus)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let name = BusName::from(sender.to_owned());
        let told = bus.get_connection_credentials(name).await;
        told.map_err(|error| failed(error.to_string()))
    };
    match tokio::time::timeout(BUS_DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(failed("no answer".to_owned())),
    }
}

/// The account's name. NSS may ask a directory far away, so it has its time like everybody else; a name that does not come is
/// none.
async fn account(uid: u32) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || nix::unistd::User::from_uid(uid.into()));
    match tokio::time::timeout(BUS_DEADLINE, asked).await {
        Ok(Ok(Ok(user))) => user.map(|user| user.name),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
