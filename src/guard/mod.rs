//! May they? The only room that mints a [`Grant`].
//!
//! One way in: [`Guard::admit`] reads interface, member and sender off the message itself, finds the rule in the one table of
//! [`action`], asks polkit about the sender (system mode) or compares the sender's uid with ours (session mode), and mints a
//! grant for one action on one object. Nothing is cached: what is kept for a while is polkit's affair. What has no rule, and
//! what could not be asked, is denied.

pub mod action;
mod caller;
pub mod cases;
pub mod human;
pub mod law;
pub mod people;
mod polkit;
pub mod sessions;
pub mod time;
pub mod waker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::proxy::CacheProperties;

use self::action::Rule;
pub use self::caller::CallerWatch;
use self::cases::{Attached, CaseError, Cases};
use self::polkit::Polkit;
pub use self::polkit::PolkitDeadlines;
use crate::authority::conduct;
use crate::authority::decide::Need;
use crate::grant::{Action, Caller, Grant, Object, Origin, Tier};
use crate::ledger::LedgerError;
use crate::types::{CaseId, Mode};

/// Checks that one uid may have open at once: each may be a dialog on somebody's screen. Counted by uid, so that opening
/// more connections helps nobody and one user cannot lock out another.
const PENDING_PER_UID: u32 = 32;

/// How long the bus itself may take to tell who a caller is.
const BUS_DEADLINE: Duration = Duration::from_secs(5);

/// Why somebody was not admitted. Each is a sentence. What polkit and the bus say is one D-Bus error, so that only the sentence
/// tells; what a case lacks has names of its own, since the help desk can mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The method has no row in the table, or was asked for on an object its row does not cover.
    #[error("this method is not in the table of what may be granted, so nobody may call it")]
    Unmapped,
    /// The message had no sender.
    #[error("the message does not say who sent it")]
    NoSender,
    /// The caller left the bus before the answer came.
    #[error("the caller left the bus before it was admitted")]
    CallerGone,
    /// polkit said no, and nothing the caller can do now changes that.
    #[error("not authorised: polkit does not allow {} to this user", .0.polkit_id())]
    NotAuthorized(Action),
    /// polkit would ask for a password, but the message did not allow it to.
    #[error("not authorised: {} needs interactive authorisation, which this call did not allow", .0.polkit_id())]
    NeedsInteraction(Action),
    /// polkit would ask for a password, but has nobody to ask through.
    #[error("not authorised: {} needs authentication, and no authentication agent is running for this session \
             (over SSH, start “pkttyagent”)", .0.polkit_id())]
    NoAgent(Action),
    /// The person closed the dialog.
    #[error("not authorised: the authentication for {} was dismissed", .0.polkit_id())]
    Dismissed(Action),
    /// polkit is not there or answered with an error.
    #[error("not authorised: polkit could not be asked ({0}); see “systemctl status polkit”")]
    PolkitUnreachable(String),
    /// polkit did not answer.
    #[error("not authorised: polkit did not answer within {} s", .0.as_secs())]
    PolkitTimeout(Duration),
    /// Session mode and another uid.
    #[error(
        "not authorised: in session mode only the user who runs clavigerd (uid {daemon}) is admitted, not uid {caller}"
    )]
    NotOurUser {
        /// Our uid.
        daemon: u32,
        /// Theirs.
        caller: u32,
    },
    /// An operation of somebody else.
    #[error("only the caller that started the operation may do this")]
    NotOwner,
    /// A case was named, and there is none of that id.
    #[error("there is no case {0}: authority cannot be drawn from it")]
    UnknownCase(CaseId),
    /// A change wants a case, and none was named.
    #[error(
        "“{0}” wants a case: open one (“claviger case open”), say who it is for and why, and name it with --case (options[\"case\"])"
    )]
    CaseRequired(Tier),
    /// The caller has no session in the case that is alive.
    #[error("you are not attached to case {0}, or the session has ended: attach to it again (Case1.Attach)")]
    NotAttached(CaseId),
    /// The case is about something else.
    #[error("case {case} does not cover this: {what}")]
    OutOfScope {
        /// Which.
        case: CaseId,
        /// Why not.
        what: &'static str,
    },
    /// Something is missing in the case.
    #[error("case {case} does not reach “{tier}” yet: {}", sentences(.needs))]
    Missing {
        /// Which.
        case: CaseId,
        /// How far it would have to reach.
        tier: Tier,
        /// What is missing; never empty.
        needs: Vec<Need>,
    },
    /// Nobody could say who the case is about, so nobody knows what it takes.
    #[error("nobody can say now who the case is about, so nothing can be drawn from it: {0}")]
    Directory(people::Unanswered),
    /// The ledger could not be read, so nobody knows what the case says.
    #[error("the case could not be looked at: {0}")]
    Ledger(LedgerError),
    /// The caller's authority is frozen.
    #[error("your authority is frozen after an alarm: somebody else, who is not frozen, lifts it (“claviger thaw”)")]
    Frozen,
    /// Another human is wanted, and nobody can say which one calls.
    #[error("nobody can say which human calls: {0}")]
    NotHuman(human::Unidentified),
    /// Another human is wanted, and it is the same.
    #[error("another person must do this")]
    SameHuman,
    /// Too many checks are open.
    #[error("too many calls are waiting for authorisation; answer or end those first")]
    TooManyPending,
    /// The bus did not tell who the caller is.
    #[error("the bus could not be asked who the caller is: {0}")]
    Bus(String),
}

fn sentences(needs: &[Need]) -> String {
    let told: Vec<String> = needs.iter().map(ToString::to_string).collect();
    told.join(" ")
}

/// Why session mode does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// It is the system bus.
    #[error("session mode is refused on the system bus: there, polkit decides; start clavigerd without “session”")]
    SystemBus,
    /// Somebody else's bus.
    #[error("session mode is refused on a bus run by another user (uid {bus}, ours is {ours})")]
    ForeignBus {
        /// Uid of the bus.
        bus: u32,
        /// Our uid.
        ours: u32,
    },
    /// The bus did not answer.
    #[error("the bus could not be asked what it is: {0}")]
    Bus(String),
}

enum Door {
    System(Box<Polkit>),
    Session { uid: u32 },
}

/// Authority for what the daemon does by itself. Its origin says why, and stands in the journal like any caller's.
#[must_use]
pub fn standing(action: Action, object: Object, tier: Tier, why: &str) -> Grant {
    Grant::mint(Origin::Standing(why.to_owned()), action, object, None, tier, None)
}

/// What somebody asks to be admitted to, as far as it matters to who decides: it is built before any secret is read, so that
/// it can be shown to a second person too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    object: Object,
    case: Option<CaseId>,
    /// Whose the object becomes, where it is nobody's yet.
    subject: Option<String>,
    words: Vec<&'static str>,
}

impl Deed {
    /// The ordinary form of a method, on one object.
    #[must_use]
    pub fn on(object: Object, case: Option<CaseId>) -> Self {
        Self {
            object,
            case,
            subject: None,
            words: Vec::new(),
        }
    }

    /// For a person: what is registered or assigned becomes theirs.
    #[must_use]
    pub fn for_subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// With a word that makes it weightier (`reset`, `beyond-bound`), if it was said. polkit rules see it as a detail of that
    /// name with the value `true`.
    #[must_use]
    pub fn with(mut self, word: &'static str, said: bool) -> Self {
        if said {
            self.words.push(word);
        }
        self
    }
}

/// The guard at the door.
pub struct Guard {
    connection: Connection,
    bus: DBusProxy<'static>,
    door: Door,
    pending: Mutex<HashMap<u32, u32>>,
    cases: Arc<Cases>,
}

impl Guard {
    /// System mode: polkit decides.
    ///
    /// # Errors
    /// The bus is gone.
    pub async fn system(connection: &Connection, deadlines: PolkitDeadlines, cases: Arc<Cases>) -> zbus::Result<Self> {
        let polkit = Polkit::new(connection, deadlines).await?;
        Self::new(connection, Door::System(Box::new(polkit)), cases).await
    }

    /// Session mode: only the uid that runs the daemon. Looks first whether this is a bus on which that is right.
    ///
    /// # Errors
    /// [`ModeError::SystemBus`], [`ModeError::ForeignBus`]; [`ModeError::Bus`] when the bus does not answer.
    pub async fn session(connection: &Connection, cases: Arc<Cases>) -> Result<Self, ModeError> {
        let failed = |error: zbus::Error| ModeError::Bus(error.to_string());
        let uid = nix::unistd::Uid::effective().as_raw();
        let guard = Self::new(connection, Door::Session { uid }, cases)
            .await
            .map_err(failed)?;
        let id = guard.bus.get_id().await.map_err(|e| failed(e.into()))?;
        if system_bus_id().await.is_some_and(|system| system == id.to_string()) {
            return Err(ModeError::SystemBus);
        }
        let driver = BusName::try_from("org.freedesktop.DBus").map_err(failed)?;
        let bus = guard
            .bus
            .get_connection_unix_user(driver)
            .await
            .map_err(|e| failed(e.into()))?;
        if bus == uid {
            Ok(guard)
        } else {
            Err(ModeError::ForeignBus { bus, ours: uid })
        }
    }

    async fn new(connection: &Connection, door: Door, cases: Arc<Cases>) -> zbus::Result<Self> {
        let bus = DBusProxy::builder(connection)
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(Self {
            connection: connection.clone(),
            bus,
            door,
            pending: Mutex::new(HashMap::new()),
            cases,
        })
    }

    /// Cases: the policy in force, sessions, and what is done in them.
    #[must_use]
    pub fn cases(&self) -> &Cases {
        &self.cases
    }

    /// Which door it stands at.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.door {
            Door::System(_) => Mode::System,
            Door::Session { .. } => Mode::Session,
        }
    }

    /// Whether polkit answers; never in session mode.
    pub async fn polkit_answers(&self) -> bool {
        match &self.door {
            Door::System(polkit) => polkit.answers().await,
            Door::Session { .. } => false,
        }
    }

    /// Admits the sender of a message to the method it calls, on one object, or says why not.
    ///
    /// Takes as long as polkit takes: the caller of this holds no lock and has claimed no device (the administrator may
    /// confirm with the very key that is being managed).
    ///
    /// # Errors
    /// [`Denied`]; nothing was done.
    pub async fn admit(&self, header: &Header<'_>, deed: Deed) -> Result<Grant, Denied> {
        let (interface, member) = match (header.interface(), header.member()) {
            (Some(interface), Some(member)) => (interface.as_str(), member.as_str()),
            _ => return Err(Denied::Unmapped),
        };
        let Some(Rule::Guarded { action, tier, scope }) = action::rule(interface, member) else {
            return Err(Denied::Unmapped);
        };
        if !scope.covers(&deed.object) {
            return Err(Denied::Unmapped);
        }
        self.cases.demanded(tier, &deed)?;
        let sender = header.sender().ok_or(Denied::NoSender)?;
        // Watch first, then ask who it is: a caller that leaves in between is seen by one of the two.
        let mut watch = self.watch(sender).await?;
        let caller = self.credentials(sender).await?;
        let _pending = Pending::enter(&self.pending, caller.uid)?;
        let origin = match &self.door {
            Door::Session { uid } if *uid == caller.uid => Origin::Session(caller.clone()),
            Door::Session { uid } => {
                return Err(Denied::NotOurUser {
                    daemon: *uid,
                    caller: caller.uid,
                });
            }
            Door::System(polkit) => {
                let token = token_of(&deed.object);
                let mut details = HashMap::from([("verb", member)]);
                if let Some(token) = &token {
                    details.insert("token", token);
                }
                details.extend(deed.words.iter().map(|word| (*word, "true")));
                polkit.check(header, action, &details, watch.gone()).await?;
                Origin::Polkit(caller.clone())
            }
        };
        if tier > Tier::Look && self.cases.is_frozen(caller.uid).await? {
            return Err(Denied::Frozen);
        }
        // After polkit: a person may have typed a password meanwhile, and what the case gives is judged as of now.
        let drawn = self.cases.draw(&caller, tier, &deed).await?;
        tracing::debug!(%sender, member, action = action.polkit_id(), "admitted");
        let own = cases::case_of(&deed.object);
        Ok(match drawn {
            Some(drawn) => {
                Grant::mint(origin, action, deed.object, drawn.subject, tier, Some(drawn.case)).drawn(drawn.moment)
            }
            None => Grant::mint(origin, action, deed.object, None, tier, own),
        })
    }

    /// Begins a session in the case that a grant is for, bound to the sender of a message.
    ///
    /// # Errors
    /// As [`Cases::attach`].
    pub async fn attach(&self, header: &Header<'_>, grant: &Grant) -> Result<Attached, CaseError> {
        let sender = header.sender().ok_or(Denied::NoSender)?;
        let watch = self.attend(sender).await?;
        let caller = grant.caller().ok_or(Denied::NoSender)?;
        self.cases.attach(grant, caller, watch).await
    }

    /// Which human sent a message: for a second person's answer.
    ///
    /// # Errors
    /// [`Denied::NotHuman`]: nobody can say.
    pub async fn second_person(&self, header: &Header<'_>) -> Result<conduct::Caller, CaseError> {
        let human = self.human(header).await.map_err(Denied::NotHuman)?;
        Ok(human.caller())
    }

    /// Checks that the sender of a message is the owner of the operation it calls. Unique names are never given twice, so the
    /// name alone is proof.
    ///
    /// # Errors
    /// [`Denied::NotOwner`]; [`Denied::Unmapped`] for a method that is not for owners.
    pub fn owner(&self, header: &Header<'_>, owner: Option<&str>) -> Result<(), Denied> {
        let (Some(interface), Some(member)) = (header.interface(), header.member()) else {
            return Err(Denied::Unmapped);
        };
        if action::rule(interface, member) != Some(Rule::Owner) {
            return Err(Denied::Unmapped);
        }
        match (header.sender(), owner) {
            (Some(sender), Some(owner)) if sender.as_str() == owner => Ok(()),
            (None, _) => Err(Denied::NoSender),
            _ => Err(Denied::NotOwner),
        }
    }

    /// Watches a caller that is there now.
    ///
    /// # Errors
    /// [`Denied::CallerGone`] when it is not.
    pub async fn attend(&self, sender: &UniqueName<'_>) -> Result<CallerWatch, Denied> {
        let watch = self.watch(sender).await?;
        self.credentials(sender).await?;
        Ok(watch)
    }

    async fn watch(&self, sender: &UniqueName<'_>) -> Result<CallerWatch, Denied> {
        bounded(CallerWatch::begin(&self.connection, sender)).await
    }

    /// Who a name is, as the bus tells it. Fails for a name that has died.
    async fn credentials(&self, sender: &UniqueName<'_>) -> Result<Caller, Denied> {
        let asked = self.bus.get_connection_unix_user(BusName::from(sender.as_ref()));
        match tokio::time::timeout(BUS_DEADLINE, asked).await {
            Ok(Ok(uid)) => Ok(Caller {
                name: sender.to_string(),
                uid,
            }),
            Ok(Err(zbus::fdo::Error::NameHasNoOwner(_))) => Err(Denied::CallerGone),
            Ok(Err(error)) => Err(Denied::Bus(error.to_string())),
            Err(_) => Err(Denied::Bus("no answer".to_owned())),
        }
    }
}

async fn bounded<T>(asked: impl Future<Output = zbus::Result<T>>) -> Result<T, Denied> {
    match tokio::time::timeout(BUS_DEADLINE, asked).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Denied::Bus(error.to_string())),
        Err(_) => Err(Denied::Bus("no answer".to_owned())),
    }
}

/// What a dialog may show of the object.
fn token_of(object: &Object) -> Option<String> {
    match object {
        Object::Token(id) => Some(id.to_string()),
        Object::Whole
        | Object::Device(_)
        | Object::NewFob
        | Object::Obligation(_)
        | Object::Subject(_)
        | Object::Case(_) => None,
    }
}

/// Id of the system bus, if one can be reached. Without one, whatever bus we are on is not it.
async fn system_bus_id() -> Option<String> {
    let asked = async {
        let connection = zbus::connection::Builder::system().build().await.ok()?;
        let bus = DBusProxy::new(&connection).await.ok()?;
        bus.get_id().await.ok().map(|id| id.to_string())
    };
    tokio::time::timeout(BUS_DEADLINE, asked).await.ok().flatten()
}

/// One open check, counted until dropped.
struct Pending<'g> {
    counts: &'g Mutex<HashMap<u32, u32>>,
    uid: u32,
}

impl<'g> Pending<'g> {
    fn enter(counts: &'g Mutex<HashMap<u32, u32>>, uid: u32) -> Result<Self, Denied> {
        let mut open = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(uid).or_default();
        if *count >= PENDING_PER_UID {
            return Err(Denied::TooManyPending);
        }
        *count += 1;
        Ok(Self { counts, uid })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut open = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}
