//! Why a verb did not do it: the one error type of this room.

use crate::authority::enrolment::Obstacle;
use crate::codec::seed_file::SeedFileError;
use crate::device::DeviceError;
use crate::grant::GrantMismatch;
use crate::ledger::LedgerError;
use crate::lifecycle::advice::Advice;
use crate::lifecycle::bypass::BypassRefusal;
use crate::lifecycle::validity;
use crate::trust::Distrust;
use crate::trust::registration::RegistrationError;
use crate::types::{CaseId, TokenKind, UnixMillis};

/// Why a verb did not do it. Nothing is half done when one of these comes back, except where the text says that an
/// obligation stands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The device said no, or went away.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The ledger said no.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The grant was for something else: a fault of ours, never of the caller.
    #[error(transparent)]
    Grant(#[from] GrantMismatch),
    /// No device with this path.
    #[error("there is no such device; it may have been unplugged")]
    UnknownDevice,
    /// No token with this id.
    #[error("there is no token with this id")]
    UnknownToken,
    /// A replacement of the token is half done elsewhere.
    #[error(
        "the token is being replaced already{}: go on there, or withdraw that first",
        .case.map(|case| format!(" in case {case}")).unwrap_or_default()
    )]
    BeingReplaced {
        /// Where.
        case: Option<CaseId>,
    },
    /// No replacement of the token was begun.
    #[error("the token is not being replaced: that is begun first (“claviger replace TOKEN”)")]
    NotBeingReplaced,
    /// No such obligation, or it was discharged.
    #[error("there is no such open obligation")]
    UnknownObligation,
    /// The directory does not know somebody, or the policy not their role.
    #[error("nobody knows this subject, or no role of theirs: see the file of subjects (“subjects.toml”)")]
    UnknownSubject,
    /// “Later” would not help. The sentence is the policy's.
    #[error("“later” cannot be said: {0}")]
    NoLater(String),
    /// No token of this person can become active.
    #[error("the token stays pending: {0}")]
    NotActivated(Obstacle),
    /// Who people are could not be looked up.
    #[error("who people are could not be looked up: {0}")]
    Directory(String),
    /// The operator is frozen, or wants to thaw themselves.
    #[error("frozen authority is lifted by somebody else who is not frozen")]
    Frozen,
    /// Nothing was done to a bypass.
    #[error(transparent)]
    Bypass(#[from] BypassRefusal),
    /// The verb does not go with this kind of token.
    #[error("a {kind} token cannot be {verb}")]
    WrongKind {
        /// Kind of the token.
        kind: TokenKind,
        /// Past participle of the verb.
        verb: &'static str,
    },
    /// A value is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// A seed file as a whole.
    #[error("the seed file is refused, and nothing was taken in: {0}")]
    SeedFile(#[from] SeedFileError),
    /// The token's device is not plugged in.
    #[error("the token's device is not plugged in")]
    DeviceAbsent,
    /// More than one device could be meant.
    #[error("more than one plugged-in device could be meant: name one")]
    Ambiguous,
    /// Another device that is plugged in cannot be told from the one that was named.
    #[error(
        "the device at “{here}” cannot be told from the one at “{}”: unplug all but the one that is meant, or say where it is, too (“place”)",
        .there.join("”, “")
    )]
    LooksAlike {
        /// Where the named one is.
        here: String,
        /// Where the others are.
        there: Vec<String>,
    },
    /// The device is not the body of this token.
    #[error("this device is not the body of that token")]
    NotTheSameDevice,
    /// The code is wrong, used already, or out of the window; which of these is not told.
    #[error("the code was not accepted")]
    CodeRejected,
    /// A reset of a key that is not the organisation's.
    #[error(
        "a reset takes every passkey on the key, and this one is not marked as the organisation's: mark it first, or revoke without a reset"
    )]
    PersonalKey,
    /// Before the first date in the token's papers.
    #[error("by its papers the token is valid from {}: until then no code of it is looked at", validity::told(*.from))]
    NotYetValid {
        /// The first moment at which it is.
        from: UnixMillis,
    },
    /// After the last date in the token's papers.
    #[error("by its papers the token was valid until {}: replace it", validity::told(*.until))]
    Expired {
        /// The last moment at which it was.
        until: UnixMillis,
    },
    /// The clock is further off than one code can settle: resync with two.
    #[error(
        "one code is not enough for a clock that was not seen for so long, or never: resync the token with two codes"
    )]
    NeedsResync,
    /// No clock drifts that far.
    #[error(
        "the codes fit no time that this clock can have drifted to; if its clock was reset, an administrator may resync it with “beyond-bound”"
    )]
    OffsetImplausible,
    /// The same refusal, with what was found out about its cause.
    #[error("{refusal}")]
    Advised {
        /// The refusal.
        refusal: Box<Self>,
        /// What to do, the likeliest first.
        advice: Vec<Advice>,
    },
    /// Too many resyncs in vain.
    #[error("{limit} resyncs of this token were in vain within 24 hours: see the token itself, or replace it")]
    TooManyAttempts {
        /// How many are allowed.
        limit: u32,
    },
    /// The last thing learned of the clock was no resync.
    #[error("there is no resync to take back: none was made, or the clock was measured again since")]
    NothingToUndo,
    /// The host clock is not synchronised.
    #[error("the clock of this host is not synchronised, so drift cannot be measured against it")]
    ClockUnsynchronised,
    /// The key is not one that is registered here, or does not prove that it is.
    #[error("the key is not trusted: {0}")]
    Untrusted(#[from] Distrust),
    /// An assertion did not verify. The text says which check.
    #[error("the key's answer did not verify: {0}")]
    Unverified(&'static str),
    /// A registration that the identity provider would not accept.
    #[error("the key's answer would not be accepted by the provider: {0}")]
    Unacceptable(#[from] RegistrationError),
    /// The signature counter went back: a copy of the key may exist.
    #[error("the key's signature counter went back: a copy of it may exist")]
    CounterWentBack,
    /// What was to be handed out could not be; nothing was written.
    #[error("nothing was registered or issued, because the secret could not be handed out: the descriptor {0}")]
    Undelivered(String),
    /// A wrong code a moment ago.
    #[error("after a wrong code the next one is looked at in {wait_s} s")]
    TryLater {
        /// Seconds to wait.
        wait_s: u32,
    },
    /// Ten wrong codes in a row, or all tries in hand spent.
    #[error("too many wrong codes: no code is looked at for {wait_s} s; the lock then ends by itself")]
    SoftLocked {
        /// Seconds to wait.
        wait_s: u32,
    },
    /// A hundred wrong codes in a row.
    #[error("a hundred wrong codes in a row: locked until somebody who may do so lifts it (“claviger unlock SUBJECT”)")]
    Locked,
    /// The PIN is nearly blocked for good.
    #[error(
        "only {left} {} of the PIN {} left, and after the last wrong one the key is good for nothing but a reset: make sure of the person and of the PIN, then say “last-tries”",
        if *left == 1 { "try" } else { "tries" },
        if *left == 1 { "is" } else { "are" }
    )]
    LastTries {
        /// Tries left.
        left: u8,
    },
    /// The key wants another PIN before this one is good for anything.
    #[error("the key wants its PIN changed before it is used: change it first (“claviger fido pin change DEVICE”)")]
    PinChangeForced,
    /// The reset came too late after the plug.
    #[error(
        "the key was not reset, since the reset must begin within 10 seconds of plugging it in: start again, and plug it in when asked to"
    )]
    ResetTooLate,
    /// The key cannot be reset over this way.
    #[error("the key is not reset over {here}, by its own rule: it can be reset over {allowed}")]
    ResetElsewhere {
        /// The way it is here by.
        here: &'static str,
        /// Where it can be.
        allowed: String,
    },
    /// Too many wrong passwords for one card: the card does not count them, so the daemon does.
    #[error("too many wrong passwords for this card: wait {wait_s} seconds before the next try")]
    PasswordThrottled {
        /// Seconds to wait.
        wait_s: u64,
    },
    /// Writing this fob's clock takes its seed with it.
    #[error(
        "setting the clock of this fob wipes its seed: say “reseed”, and it gets a new seed in the same operation and is tested by two codes"
    )]
    ClockWipesSeed,
    /// Cancelled before the point of no return.
    #[error("cancelled")]
    Cancelled,
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(&'static str),
}
