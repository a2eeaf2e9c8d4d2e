//! One run of one verb: what it is doing, what a person must do for it, how it ended.
//!
//! An [`Operation`] is what the bus shows; [`Step`] is the side the verb works with. They share a watch channel, so that
//! nothing polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

use crate::device::fido::LargeBlobs;
use crate::lifecycle::Refusal;
use crate::types::{Cancel, DeviceId, ObligationId, OperationId, TokenId, UnixMillis, Worth};

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
    /// Have a token replaced.
    Replace,
    /// Settle an obligation.
    Discharge,
    /// Take a seed file in.
    Import,
    /// Give a token of the inventory to a person.
    Assign,
    /// Hand seeds out.
    Export,
    /// Write a fob's clock.
    SetClock,
    /// Change a device's OATH applet or its FIDO2 application.
    Configure,
    /// Delete from a device what is none of ours, or all.
    Erase,
    /// Look at a device.
    Inspect,
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
            Self::Replace => "replace",
            Self::Discharge => "discharge",
            Self::Import => "import",
            Self::Assign => "assign",
            Self::Export => "export",
            Self::SetClock => "set-clock",
            Self::Configure => "configure",
            Self::Erase => "erase",
            Self::Inspect => "inspect",
        }
    }
}

/// What an operation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Waiting for its turn.
    Queued,
    /// Waiting for another program to let go of the device.
    Waiting,
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
            Self::Waiting => "waiting",
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
    pub device: DeviceId,
    /// Its product name.
    pub name: String,
    /// Where it is plugged in.
    pub place: String,
    /// Until when.
    pub until: UnixMillis,
    /// PIN tries left, where a PIN is in play.
    pub tries_left: Option<u8>,
    /// More about how it is done.
    pub hint: Option<Hint>,
}

/// More about a deed that a person is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Keep the finger there for so many seconds.
    Hold {
        /// Seconds.
        seconds: u32,
    },
    /// A finger is being learnt.
    Sample {
        /// Good samples still to come, when the key has told.
        left: Option<u8>,
        /// How the last one came out; none before the first.
        last: Option<&'static str>,
    },
}

/// The deed a person is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserActionKind {
    /// Touch the key that blinks.
    Touch,
    /// Unplug it and plug it in again.
    Replug,
    /// Put a finger on its sensor.
    Finger,
}

impl UserActionKind {
    /// Name on the bus.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Touch => "touch",
            Self::Replug => "replug",
            Self::Finger => "finger",
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
    /// The token whose place this one took, which is dead with that.
    pub replaced: Option<TokenId>,
    /// Signature counter.
    pub sign_count: Option<u32>,
    /// Whether the PIN was set (rather than verified).
    pub pin_set: Option<bool>,
    /// What a key's attestation was worth, where rules ask for it.
    pub attestation: Option<Worth>,
    /// The model's name in the metadata.
    pub attested_model: Option<String>,
    /// Credential name on a card.
    pub oath_name: Option<String>,
    /// Token clock minus true time, seconds.
    pub offset_s: Option<i64>,
    /// Counter of the last code of an event token.
    pub counter: Option<u64>,
    /// By how much a resync moved the offset, seconds.
    pub shift_s: Option<i64>,
    /// The offset before a resync, seconds, when one had been measured.
    pub offset_before_s: Option<i64>,
    /// Presses of an event token that nobody sent.
    pub skipped: Option<u64>,
    /// What became of a seed file.
    pub import: Option<Box<Imported>>,
    /// Tokens whose seeds went out.
    pub exported: Option<u64>,
    /// Tokens that the format has no words for.
    pub left_out: Option<u64>,
    /// The relying parties that still accept the key.
    pub trusted_by: Vec<String>,
    /// Why the device could not be settled now, when an obligation remains.
    pub unsettled: Option<Box<Refusal>>,
    /// What was done to a FIDO2 application, or found on it.
    pub fido: Option<Box<FidoReport>>,
}

/// What was done to a FIDO2 application, or found on it; each is set where it applies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FidoReport {
    /// PIN tries left afterwards.
    pub tries_left: Option<u8>,
    /// Whether the key wants the PIN changed before it is used.
    pub change_forced: Option<bool>,
    /// Discoverable credentials on it.
    pub credentials: Option<Vec<StoredPasskey>>,
    /// How many more it has room for, when it told.
    pub remaining: Option<u64>,
    /// The fingers it knows.
    pub fingerprints: Option<Vec<Fingerprint>>,
    /// The finger that was learnt.
    pub fingerprint: Option<String>,
    /// Good samples that a new finger takes.
    pub samples: Option<u8>,
    /// How the sensor is used: `touch` or `swipe`.
    pub sensor: Option<&'static str>,
    /// Its large blobs.
    pub blobs: Option<LargeBlobs>,
    /// Whether it could show which one it is.
    pub winked: Option<bool>,
    /// How a key that was reset had shown to be the same after the replug: `assertion` or `appearance`.
    pub proof: Option<&'static str>,
    /// Tokens that died with what was on it.
    pub revoked: Vec<TokenId>,
}

/// A discoverable credential. Relying party and names may name a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPasskey {
    /// RP ID, as the key tells it.
    pub rp_id: String,
    /// Credential id.
    pub id: Vec<u8>,
    /// Account name.
    pub user_name: Option<String>,
    /// Name for people.
    pub display_name: Option<String>,
    /// credProtect policy, 1 to 3.
    pub protection: Option<u64>,
    /// The live token it is the body of.
    pub token: Option<TokenId>,
}

/// A finger that a key knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its id, in hexadecimal.
    pub id: String,
    /// Its name; may name a person.
    pub name: Option<String>,
}

/// What became of a seed file, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Format it was read as.
    pub format: &'static str,
    /// Tokens taken in.
    pub imported: u64,
    /// Entries that were not.
    pub rejected: u64,
    /// The first of these, each by its line and why; no seeds.
    pub rejected_lines: Vec<String>,
    /// How the seeds were protected on their way.
    pub protection: String,
}

/// What the bus shows of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// What it is doing.
    pub phase: Phase,
    /// What it was doing before it began to wait for another program.
    pub before_waiting: Option<Phase>,
    /// Percent; never goes down.
    pub progress: u8,
    /// What a person must do now.
    pub user_action: Option<UserAction>,
    /// False from the point of no return on, unless a person is waited for.
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
    course: Arc<Course>,
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
            before_waiting: None,
            progress: 0,
            user_action: None,
            cancellable: true,
            outcome: None,
        });
        let cancel = Cancel::new();
        let course = Arc::new(Course::default());
        let id = OperationId::generate();
        let operation = Arc::new(Self {
            id,
            verb,
            owner,
            view,
            cancel: cancel.clone(),
            course: Arc::clone(&course),
        });
        (
            operation,
            Step {
                id,
                verb,
                view: Arc::new(sender),
                cancel,
                course,
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
        if self.view.borrow().outcome.is_some() {
            return Err(TooLate);
        }
        if self.course.cancel() || self.view.borrow().user_action.is_some() {
            self.cancel.cancel();
            return Ok(());
        }
        Err(TooLate)
    }
}

/// Whether an operation may still be called off. It leaves `OPEN` once, to one side: either somebody cancelled it or it
/// passed its point of no return, never both.
#[derive(Debug, Default)]
struct Course(AtomicU8);

impl Course {
    const OPEN: u8 = 0;
    const CANCELLED: u8 = 1;
    const COMMITTED: u8 = 2;

    /// Whether it is cancelled now, by this call or an earlier one.
    fn cancel(&self) -> bool {
        self.leave(Self::CANCELLED)
    }

    /// Whether it is committed now, by this call or an earlier one.
    fn commit(&self) -> bool {
        self.leave(Self::COMMITTED)
    }

    fn leave(&self, to: u8) -> bool {
        match self
            .0
            .compare_exchange(Self::OPEN, to, Ordering::SeqCst, Ordering::SeqCst)
        {
            Ok(_) => true,
            Err(is) => is == to,
        }
    }

    fn is_committed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::COMMITTED
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
    course: Arc<Course>,
}

impl Step {
    /// Moves to a phase. Progress never goes down.
    pub fn phase(&self, phase: Phase, progress: u8) {
        self.view.send_modify(|view| {
            view.phase = phase;
            view.before_waiting = None;
            view.progress = view.progress.max(progress.min(99));
            view.user_action = None;
        });
    }

    /// Another program has the device and is waited for, or not any more.
    pub fn waits(&self, waits: bool) {
        self.view.send_if_modified(|view| {
            match (waits, view.before_waiting) {
                (true, None) => view.before_waiting = Some(std::mem::replace(&mut view.phase, Phase::Waiting)),
                (false, Some(before)) => {
                    view.before_waiting = None;
                    view.phase = before;
                }
                _ => return false,
            }
            true
        });
    }

    /// Asks a person for something. Repeating the same request is not a change.
    pub fn ask(&self, action: UserAction) {
        self.view.send_if_modified(|view| {
            let same = |old: &UserAction| old.kind == action.kind && old.hint == action.hint;
            let changed = !view.user_action.as_ref().is_some_and(same);
            if changed {
                view.user_action = Some(action);
                // A wait for a person can always be cut short.
                view.cancellable = true;
            }
            changed
        });
    }

    /// The person has done it, or need not any more.
    pub fn answered(&self) {
        let committed = self.course.is_committed();
        self.view.send_if_modified(|view| {
            view.cancellable &= !committed;
            view.user_action.take().is_some()
        });
    }

    /// The flag to hand to a device job.
    #[must_use]
    pub fn cancel_flag(&self) -> &Cancel {
        &self.cancel
    }

    /// Declares the point of no return. From here on only waits for people can be cut short. Declaring it again is fine.
    ///
    /// # Errors
    /// [`Cancelled`] when it was cancelled before: then nothing may be done.
    pub fn point_of_no_return(&self) -> Result<(), Cancelled> {
        if !self.course.commit() {
            return Err(Cancelled);
        }
        self.view.send_modify(|view| view.cancellable = false);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_and_committed_exclude_each_other() {
        for _ in 0..200 {
            let (operation, step) = Operation::begin(Verb::Revoke, None);
            let gate = Arc::new(std::sync::Barrier::new(2));
            let other = std::thread::spawn({
                let (operation, gate) = (Arc::clone(&operation), Arc::clone(&gate));
                move || {
                    gate.wait();
                    operation.cancel().is_ok()
                }
            });
            gate.wait();
            let committed = step.point_of_no_return().is_ok();
            let cancelled = other.join().unwrap();
            assert_ne!(committed, cancelled);
            assert_eq!(step.cancel_flag().is_cancelled(), cancelled);
        }
    }

    #[test]
    fn after_the_point_of_no_return_only_a_wait_for_a_person_is_cut_short() {
        let (operation, step) = Operation::begin(Verb::Revoke, None);
        step.point_of_no_return().unwrap();
        assert_eq!(operation.cancel(), Err(TooLate));
        assert!(!operation.view().cancellable);
        step.ask(UserAction {
            kind: UserActionKind::Touch,
            device: DeviceId(1),
            name: String::new(),
            place: String::new(),
            until: UnixMillis(0),
            tries_left: None,
            hint: None,
        });
        assert!(operation.view().cancellable);
        assert_eq!(operation.cancel(), Ok(()));
        step.answered();
        assert!(!operation.view().cancellable);
    }
}
