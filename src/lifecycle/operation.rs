//! One run of one verb: what it is doing, what a person must do for it, how it ended.
//!
//! An [`Operation`] is what the bus shows; [`Step`] is the side the verb works with. They share a watch channel, so that
//! nothing polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::lifecycle::Refusal;
use crate::types::{Cancel, DeviceId, ObligationId, OperationId, TokenId, UnixMillis};

/// The verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Bind a token to a subject.
    Register,
    /// Test a token.
    Test,
    /// Correct a clock.
    Resync,
    /// Take out of use.
    Suspend,
    /// Report lost.
    Lost,
    /// Put back in use.
    Resume,
    /// Kill.
    Revoke,
    /// Settle an obligation.
    Discharge,
}

impl Verb {
    /// Name on the bus and in the journal.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Test => "test",
            Self::Resync => "resync",
            Self::Suspend => "suspend",
            Self::Lost => "lost",
            Self::Resume => "resume",
            Self::Revoke => "revoke",
            Self::Discharge => "discharge",
        }
    }
}

/// What an operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting for its turn.
    Queued,
    /// Asking the device what it is.
    Identifying,
    /// Setting or checking the PIN.
    Pin,
    /// Making the credential.
    Creating,
    /// Asking the device to prove itself.
    Proving,
    /// Writing to the device.
    Writing,
    /// Deleting from the device.
    Deleting,
    /// Resetting the device.
    Resetting,
    /// Writing the ledger.
    Committing,
    /// Over.
    Done,
}

impl Phase {
    /// Name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Identifying => "identifying",
            Self::Pin => "pin",
            Self::Creating => "creating",
            Self::Proving => "proving",
            Self::Writing => "writing",
            Self::Deleting => "deleting",
            Self::Resetting => "resetting",
            Self::Committing => "committing",
            Self::Done => "done",
        }
    }
}

/// What a person must do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserAction {
    /// The deed.
    pub kind: UserActionKind,
    /// On which device.
    pub device: Option<DeviceId>,
    /// Its product name.
    pub name: String,
    /// Where it is plugged in.
    pub place: String,
    /// Until when.
    pub until: UnixMillis,
    /// PIN tries left, when that matters.
    pub tries_left: Option<u8>,
}

/// The deed a person is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserActionKind {
    /// Touch the key that blinks.
    Touch,
    /// Unplug it and plug it in again.
    Replug,
    /// Plug it in, or lay it on the reader.
    Present,
}

impl UserActionKind {
    /// Name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Touch => "touch",
            Self::Replug => "replug",
            Self::Present => "present",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Done.
    Done(Details),
    /// Done as far as it can be now; the rest is an obligation.
    Obliged(Details),
    /// The device or the ledger said no. Nothing is half done.
    Refused(Refusal),
    /// Cancelled before its point of no return.
    Cancelled,
}

/// Facts about what was done; each is set where it applies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Details {
    /// The token.
    pub token: Option<TokenId>,
    /// What is left to do.
    pub obligation: Option<ObligationId>,
    /// Signature counter.
    pub sign_count: Option<u32>,
    /// Whether the PIN was set (rather than verified).
    pub pin_set: Option<bool>,
    /// Credential name on a card.
    pub oath_name: Option<String>,
    /// Token clock minus true time, seconds.
    pub offset_s: Option<i64>,
    /// By how much a resync moved the offset, seconds.
    pub shift_s: Option<i64>,
    /// Why the device could not be settled now, when an obligation remains.
    pub unsettled: Option<Box<Refusal>>,
}

/// What the bus shows of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What it is doing.
    pub phase: Phase,
    /// Percent; never goes down.
    pub progress: u8,
    /// What a person must do now.
    pub user_action: Option<UserAction>,
    /// False from the point of no return on.
    pub cancellable: bool,
    /// Set when it is over.
    pub outcome: Option<Outcome>,
}

/// One run of one verb, as everybody but the verb sees it.
#[derive(Debug)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Its verb.
    pub verb: Verb,
    /// Unique bus name of the caller that owns it; none for what the daemon does by itself.
    pub owner: Option<String>,
    view: watch::Receiver<View>,
    cancel: Cancel,
    committed: Arc<AtomicBool>,
}

/// Cancelling came too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operation has passed its point of no return")]
pub struct TooLate;

impl Operation {
    /// A new operation and the side its verb works with.
    #[must_use]
    pub fn begin(verb: Verb, owner: Option<String>) -> (Arc<Self>, Step) {
        let (sender, view) = watch::channel(View {
            phase: Phase::Queued,
            progress: 0,
            user_action: None,
            cancellable: true,
            outcome: None,
        });
        let cancel = Cancel::new();
        let committed = Arc::new(AtomicBool::new(false));
        let id = OperationId::generate();
        let operation = Arc::new(Self {
            id,
            verb,
            owner,
            view,
            cancel: cancel.clone(),
            committed: Arc::clone(&committed),
        });
        (
            operation,
            Step {
                id,
                verb,
                view: Arc::new(sender),
                cancel,
                committed,
            },
        )
    }

    /// What it shows now.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// A receiver that wakes on every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Asks it to end. After the point of no return only a wait for a person is cut short; what was to be done then becomes
    /// an obligation.
    ///
    /// # Errors
    /// [`TooLate`] after its point of no return when nobody is waited for, and after its end.
    pub fn cancel(&self) -> Result<(), TooLate> {
        let (over, waiting) = {
            let view = self.view.borrow();
            (view.outcome.is_some(), view.user_action.is_some())
        };
        if over || (self.committed.load(Ordering::SeqCst) && !waiting) {
            return Err(TooLate);
        }
        self.cancel.cancel();
        Ok(())
    }
}

/// The verb's side of an operation. Cheap to clone into the device job.
#[derive(Debug, Clone)]
pub struct Step {
    /// Id of the operation.
    pub id: OperationId,
    /// Its verb.
    pub verb: Verb,
    view: Arc<watch::Sender<View>>,
    cancel: Cancel,
    committed: Arc<AtomicBool>,
}

impl Step {
    /// Moves to a phase. Progress never goes down.
    pub fn phase(&self, phase: Phase, progress: u8) {
        self.view.send_modify(|view| {
            view.phase = phase;
            view.progress = view.progress.max(progress.min(99));
            view.user_action = None;
        });
    }

    /// Asks a person for something. Repeating the same request is not a change.
    pub fn ask(&self, action: UserAction) {
        self.view.send_if_modified(|view| {
            let changed = view.user_action.as_ref().is_none_or(|old| old.kind != action.kind);
            if changed {
                view.user_action = Some(action);
            }
            changed
        });
    }

    /// The person has done it, or need not any more.
    pub fn answered(&self) {
        self.view.send_if_modified(|view| view.user_action.take().is_some());
    }

    /// The flag to hand to a device job.
    #[must_use]
    pub fn cancel_flag(&self) -> &Cancel {
        &self.cancel
    }

    /// Declares the point of no return. From here on `Cancel` answers `TooLate` and the flag is no longer looked at by the
    /// verb, only by waits for people.
    ///
    /// # Errors
    /// [`Cancelled`] when it was cancelled before: then nothing may be done.
    pub fn point_of_no_return(&self) -> Result<(), Cancelled> {
        // Commit first, then look: a cancel that slips in between is either refused (it saw the commit) or seen here.
        self.committed.store(true, Ordering::SeqCst);
        if self.cancel.is_cancelled() {
            self.committed.store(false, Ordering::SeqCst);
            return Err(Cancelled);
        }
        self.view.send_modify(|view| view.cancellable = false);
        Ok(())
    }

    /// Whether the point of no return is behind us.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.committed.load(Ordering::SeqCst)
    }

    /// Ends the operation.
    pub fn finish(&self, outcome: Outcome) {
        self.view.send_modify(|view| {
            view.phase = Phase::Done;
            view.progress = 100;
            view.user_action = None;
            view.cancellable = false;
            view.outcome = Some(outcome);
        });
    }
}

/// It was cancelled in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;
