//! The only map from what went wrong inside to what is said on the bus: a name a tool can switch on and a sentence a help desk
//! can act on. The matches are exhaustive on purpose: a new way to fail does not compile until it has a name and a sentence.

use zbus::message::Header;
use zbus::names::ErrorName as WireName;
use zbus::{DBusError, Message};

use super::cases::told;
use super::values::{Dict, Put};
use crate::authority::decide::Need;
use crate::codec::seed_file::Remedy;
use crate::contract::advice::{self, Entry};
use crate::contract::error::{ACCESS_DENIED, ErrorName};
use crate::device::DeviceError;
use crate::guard::Denied;
use crate::guard::cases::CaseError;
use crate::guard::law::PolicyError;
use crate::guard::sessions::AttachError;
use crate::ledger::LedgerError;
use crate::lifecycle::Refusal;
use crate::lifecycle::advice::Advice;
use crate::lifecycle::bypass::BypassRefusal;
use crate::lifecycle::operation::TooLate;
use crate::link::Holder;

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct BusError {
    name: &'static str,
    message: String,
    /// Seconds after which the next try is looked at: a second argument of the reply, so that a program need not read the
    /// sentence.
    wait_s: Option<u32>,
    /// What a case lacks: there too.
    needs: Vec<Need>,
    /// What to do about it, and what to tell the person: also in the second argument.
    entry: &'static Entry,
}

impl BusError {
    /// One of our errors with a sentence.
    pub(super) fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            name: name.as_str(),
            message: message.into(),
            wait_s: None,
            needs: Vec::new(),
            entry: advice::of_error(name),
        }
    }

    /// A wrong value: which, and what would do.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorName::InvalidArgument, message)
    }

    /// The error's full name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }
}

impl DBusError for BusError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        let reply = Message::error(call, self.name);
        let mut details = Dict::new();
        tell(self.entry, &mut details);
        details.put_some("wait-s", self.wait_s);
        if !self.needs.is_empty() {
            details.put("needs", self.needs.iter().map(told::need).collect::<Vec<Dict>>());
        }
        reply.build(&(self.message.as_str(), details))
    }

    fn name(&self) -> WireName<'_> {
        WireName::from_static_str_unchecked(self.name)
    }

    fn description(&self) -> Option<&str> {
        Some(&self.message)
    }
}

impl From<Denied> for BusError {
    fn from(denied: Denied) -> Self {
        let message = denied.to_string();
        let entry = match &denied {
            Denied::Unmapped => advice::row("NotInTable"),
            Denied::NoSender | Denied::CallerGone | Denied::Bus(_) => advice::row("CallerUnknown"),
            Denied::NotAuthorized(_) => advice::row("NotAuthorized"),
            Denied::NeedsInteraction(_) => advice::row("AuthenticationNeeded"),
            Denied::NoAgent(_) => advice::row("NoAuthenticationAgent"),
            Denied::Dismissed(_) => advice::row("AuthenticationDismissed"),
            Denied::PolkitUnreachable(_) | Denied::PolkitTimeout(_) => advice::row("PolkitUnavailable"),
            Denied::NotOurUser { .. } => advice::row("NotOurUser"),
            Denied::NotOwner => advice::row("NotOwner"),
            Denied::TooManyPending => advice::row("TooManyPending"),
            Denied::SameHuman => advice::row("SameHuman"),
            Denied::Directory(_) => advice::of_error(ErrorName::DirectoryUnavailable),
            Denied::Frozen => advice::of_error(ErrorName::Frozen),
            Denied::NotHuman(_) => advice::of_error(ErrorName::NotHuman),
            Denied::UnknownCase(_) => advice::of_error(ErrorName::UnknownCase),
            Denied::CaseRequired(_) => advice::of_error(ErrorName::CaseRequired),
            Denied::NotAttached(_) => advice::of_error(ErrorName::NotAttached),
            Denied::OutOfScope { .. } => advice::of_error(ErrorName::CaseMismatch),
            Denied::Missing { needs, .. } => advice::of_error(lacking(needs)),
            Denied::Ledger(error) => return ledger(error).into(),
        };
        let needs = match denied {
            Denied::Missing { needs, .. } => needs,
            _ => Vec::new(),
        };
        Self {
            needs,
            // A refusal that nobody can name is a denial all the same.
            name: entry.wire.as_str().unwrap_or(ACCESS_DENIED),
            message,
            wait_s: None,
            entry,
        }
    }
}

/// The name of what a case lacks, by what has to be mended first.
fn lacking(needs: &[Need]) -> ErrorName {
    use ErrorName as E;
    needs.first().map_or(E::PolicyDenies, |need| match need {
        Need::OpenCase => E::CaseClosed,
        Need::AnotherCase => E::CaseDenied,
        Need::Thaw => E::OperatorFrozen,
        Need::Rule { .. } | Need::Never { .. } | Need::YearlyCap { .. } => E::PolicyDenies,
        Need::Review => E::ReviewMissing,
        Need::Weight { .. } | Need::Classes { .. } | Need::OneOf { .. } | Need::BeyondDevice { .. } => {
            E::EvidenceMissing
        }
        Need::Approval { .. } | Need::ApprovalBy { .. } => E::ApprovalMissing,
        Need::Wait { .. } => E::MustWait,
    })
}

impl From<CaseError> for BusError {
    fn from(error: CaseError) -> Self {
        use ErrorName as E;
        let name = match error {
            CaseError::Denied(denied) => return denied.into(),
            CaseError::Ledger(error) => return error.into(),
            CaseError::Grant(mismatch) => return Refusal::from(mismatch).into(),
            CaseError::Unknown(_) => E::UnknownCase,
            CaseError::Closed => E::CaseClosed,
            CaseError::Invalid(_) | CaseError::NotCounted(_) => E::InvalidArgument,
            CaseError::NotByWord(_) => E::NotByWord,
            CaseError::OwnWord | CaseError::Conduct(_) | CaseError::NoPolicy => E::NotSecondPerson,
            CaseError::Unchecked(_) => E::ChecklistOpen,
            CaseError::Unreviewed => E::ReviewMissing,
            CaseError::NoBypass => E::NoBypass,
            CaseError::BypassLive => E::BypassLive,
            CaseError::HalfReplaced(_) => E::ReplacementOpen,
            CaseError::Attach(AttachError::TooMany) => E::TooManyOperations,
            CaseError::Attach(AttachError::NoPipe(_)) | CaseError::Clock(_) => E::Internal,
        };
        Self::new(name, error.to_string())
    }
}

impl From<PolicyError> for BusError {
    fn from(error: PolicyError) -> Self {
        Self::new(ErrorName::PolicyRefused, error.to_string())
    }
}

/// The row of a refusal, as keys of a dictionary.
fn tell(entry: &Entry, details: &mut Dict) {
    details.put("refusal", entry.name);
    details.put("desk-message", entry.plain_desk().as_ref());
    details.put("subject-message", entry.subject);
}

impl From<TooLate> for BusError {
    fn from(_: TooLate) -> Self {
        Self::new(
            ErrorName::TooLate,
            "the operation has passed its point of no return or is over; wait for Completed",
        )
    }
}

impl From<Refusal> for BusError {
    fn from(refusal: Refusal) -> Self {
        Failure::from(&refusal).into()
    }
}

impl From<LedgerError> for BusError {
    fn from(error: LedgerError) -> Self {
        ledger(&error).into()
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        Self {
            wait_s: failure.wait_s,
            entry: failure.entry,
            ..Self::new(failure.name, failure.message)
        }
    }
}

/// A failure with its facts, as `Completed` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What a tool switches on.
    pub name: ErrorName,
    /// What the help desk reads.
    pub message: String,
    /// Tries left, when that matters and the device told.
    pub tries_left: Option<u8>,
    /// Who has the device.
    pub holder: Option<Holder>,
    /// What was found out about the cause, the likeliest first.
    pub advice: Vec<Advice>,
    /// Seconds after which the next try is looked at.
    pub wait_s: Option<u32>,
    /// What to do about it, and what to tell the person.
    pub entry: &'static Entry,
    /// Which rule of several, in a word that a tool can switch on.
    pub reason: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(name: ErrorName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            tries_left: None,
            holder: None,
            wait_s: None,
            advice: Vec::new(),
            entry: advice::of_error(name),
            reason: None,
        }
    }

    fn waiting(name: ErrorName, refusal: &Refusal, wait_s: u32) -> Self {
        Self {
            wait_s: Some(wait_s),
            ..Self::new(name, refusal.to_string())
        }
    }

    /// The keys of `Completed`'s details.
    #[must_use]
    pub fn details(&self) -> Dict {
        let mut details = Dict::new();
        details.put("error", self.name.as_str());
        details.put("message", self.message.as_str());
        tell(self.entry, &mut details);
        details.put_some("tries-left", self.tries_left.map(u32::from));
        details.put_some("wait-s", self.wait_s);
        details.put_some("reason", self.reason);
        if let Some(holder) = &self.holder {
            details.put("holder", crate::types::shown::printable(&holder.program));
            details.put("holder-pid", holder.pid);
        }
        if !self.advice.is_empty() {
            let names: Vec<String> = self.advice.iter().map(|advice| advice.name().to_owned()).collect();
            let desk: Vec<String> = self.advice.iter().map(|advice| advice.for_desk()).collect();
            let subject: Vec<String> = self
                .advice
                .iter()
                .map(|advice| advice.for_subject().to_owned())
                .collect();
            details.put("advice", names);
            details.put("advice-desk", desk);
            details.put("advice-subject", subject);
        }
        details
    }
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        use ErrorName as E;
        let name = match refusal {
            Refusal::Device(error) => return device(error),
            Refusal::Ledger(error) => return ledger(error),
            Refusal::Grant(_) => {
                // Ours, never the caller's: the act asked for is not the act that was granted.
                tracing::error!("a grant was used for something else than it was minted for");
                return Self::new(
                    E::Internal,
                    "an internal check failed; nothing was done. See the daemon's log",
                );
            }
            Refusal::UnknownDevice => E::UnknownDevice,
            Refusal::UnknownToken => E::UnknownToken,
            Refusal::UnknownObligation => E::UnknownObligation,
            Refusal::UnknownSubject => E::UnknownSubject,
            Refusal::NoLater(_) => E::NoLater,
            Refusal::NotActivated(_) => E::NotActivated,
            Refusal::Directory(_) => E::DirectoryUnavailable,
            Refusal::Frozen => E::Frozen,
            Refusal::Bypass(refusal) => bypass(refusal),
            Refusal::WrongKind { .. } => E::WrongKind,
            Refusal::Invalid(_) => E::InvalidArgument,
            Refusal::SeedFile(error) => match error.remedy() {
                Remedy::Argument => E::InvalidArgument,
                Remedy::NameFormat => E::FormatUnclear,
                Remedy::Key => E::KeyRequired,
                Remedy::Integrity => E::IntegrityFailed,
                Remedy::File => E::SeedFileInvalid,
            },
            Refusal::DeviceAbsent => {
                return Self::new(
                    E::DeviceAbsent,
                    "the token's device is not plugged in: plug it in and try again",
                );
            }
            Refusal::Ambiguous | Refusal::LooksAlike { .. } => E::DeviceAmbiguous,
            Refusal::NotTheSameDevice => E::DeviceMismatch,
            Refusal::PersonalKey => E::PersonalKey,
            Refusal::CodeRejected => E::CodeRejected,
            Refusal::Advised { refusal, advice } => {
                return Self {
                    advice: advice.clone(),
                    ..Self::from(refusal.as_ref())
                };
            }
            Refusal::NotYetValid { .. } => E::NotYetValid,
            Refusal::Expired { .. } => E::Expired,
            Refusal::TooManyAttempts { .. } => E::TooManyAttempts,
            Refusal::NothingToUndo => E::NothingToUndo,
            Refusal::BeingReplaced { .. } => E::ReplacementOpen,
            Refusal::NotBeingReplaced => E::NotBeingReplaced,
            Refusal::NeedsResync => E::NeedsResync,
            Refusal::OffsetImplausible => E::OffsetImplausible,
            Refusal::ClockUnsynchronised => {
                return Self::new(
                    E::ClockUnsynchronised,
                    "the clock of this host is not synchronised, so drift cannot be measured against it: mend the host's time \
                     service (“timedatectl”), or pass “unsynchronised”",
                );
            }
            Refusal::Untrusted(distrust) => {
                return Self {
                    reason: Some(distrust.name()),
                    ..Self::new(E::Untrusted, refusal.to_string())
                };
            }
            Refusal::Unverified(_) | Refusal::Unacceptable(_) => E::VerificationFailed,
            Refusal::CounterWentBack => {
                return Self {
                    reason: Some("clone-suspected"),
                    ..Self::new(E::CounterWentBack, refusal.to_string())
                };
            }
            Refusal::Undelivered(_) => E::SecretUnwritable,
            Refusal::TryLater { wait_s } => return Self::waiting(E::TryLater, refusal, *wait_s),
            Refusal::SoftLocked { wait_s } => return Self::waiting(E::SoftLocked, refusal, *wait_s),
            Refusal::Locked => E::Locked,
            Refusal::LastTries { left } => {
                return Self {
                    tries_left: Some(*left),
                    ..Self::new(E::LastTries, refusal.to_string())
                };
            }
            Refusal::PinChangeForced => E::PinChangeRequired,
            Refusal::ResetTooLate => E::ResetTooLate,
            Refusal::ResetElsewhere { .. } => E::ResetNotAllowedHere,
            Refusal::PasswordThrottled { .. } => E::PasswordThrottled,
            Refusal::ClockWipesSeed => E::ClockWipesSeed,
            Refusal::Cancelled => E::Cancelled,
            Refusal::Stopping => E::NotReady,
            Refusal::Internal(_) => E::Internal,
        };
        Self::new(name, refusal.to_string())
    }
}

const fn bypass(refusal: &BypassRefusal) -> ErrorName {
    use BypassRefusal as R;
    match refusal {
        R::NoPolicy | R::SecondInCase | R::BeyondPolicy { .. } | R::MustEnd => ErrorName::PolicyDenies,
        R::NoCase => ErrorName::CaseRequired,
        R::None | R::Over(_) => ErrorName::NoBypass,
    }
}

fn device(error: &DeviceError) -> Failure {
    use ErrorName as E;
    let tries = |left: &Option<u8>| match left {
        Some(1) => "; one try is left".to_owned(),
        Some(n) => format!("; {n} tries are left"),
        None => String::new(),
    };
    let (name, message) = match error {
        DeviceError::Gone => (
            E::DeviceGone,
            "the device was removed before the operation was over: plug it in and start again".to_owned(),
        ),
        DeviceError::Deadline => (
            E::DeviceTimeout,
            "the device did not answer in time: unplug it, plug it in and try again".to_owned(),
        ),
        DeviceError::Cancelled => (E::Cancelled, error.to_string()),
        DeviceError::Unresponsive => (E::DeviceUnresponsive, error.to_string()),
        DeviceError::Busy(holder) => {
            return Failure {
                holder: holder.clone(),
                ..Failure::new(E::DeviceBusy, busy(holder.as_ref()))
            };
        }
        DeviceError::Permission(_) => (
            E::DevicePermission,
            format!("{error}: check that the udev rule of claviger is installed (“claviger doctor”)"),
        ),
        DeviceError::NoCardService => (
            E::CardServiceUnavailable,
            format!("{error}: start it with “systemctl start pcscd.socket”"),
        ),
        DeviceError::Protocol(_) => (E::DeviceProtocol, error.to_string()),
        DeviceError::Unsupported(_) => (E::Unsupported, error.to_string()),
        DeviceError::PinInvalid { tries_left } => {
            return Failure {
                tries_left: *tries_left,
                ..Failure::new(E::PinInvalid, format!("wrong PIN{}", tries(tries_left)))
            };
        }
        DeviceError::SoftBlocked { tries_left } => {
            let message = format!(
                "three wrong PINs in a row: unplug the key and plug it in again before the next try{}",
                tries(tries_left)
            );
            return Failure {
                tries_left: *tries_left,
                ..Failure::new(E::SoftBlocked, message)
            };
        }
        DeviceError::PinBlocked => {
            return Failure {
                tries_left: Some(0),
                ..Failure::new(
                    E::PinBlocked,
                    "the PIN is blocked for good: only a reset of the key helps, which deletes all its credentials",
                )
            };
        }
        DeviceError::UvBlocked => (
            E::UvBlocked,
            "fingerprint verification is blocked: use the PIN, which unblocks it".to_owned(),
        ),
        DeviceError::UvInvalid { tries_left } => {
            return Failure {
                tries_left: *tries_left,
                ..Failure::new(
                    E::UvInvalid,
                    format!("{error}{}; the PIN does as well", tries(tries_left)),
                )
            };
        }
        DeviceError::PinNotSet => (E::PinNotSet, "no PIN is set on the key: set one first".to_owned()),
        DeviceError::PinRequired => (E::PinRequired, "the key wants its PIN: pass it as “pin”".to_owned()),
        DeviceError::PinPolicy { .. } => (E::PinPolicy, error.to_string()),
        DeviceError::TouchTimeout => (E::TouchTimeout, error.to_string()),
        DeviceError::Declined => (E::Declined, error.to_string()),
        DeviceError::NotAllowed => (
            E::NotAllowed,
            "the key does not allow this now; a reset must come within 10 seconds of plugging it in".to_owned(),
        ),
        DeviceError::CredentialExcluded => (E::CredentialExcluded, error.to_string()),
        DeviceError::NoCredential => (E::NoCredential, error.to_string()),
        DeviceError::StorageFull => (
            E::StorageFull,
            "the device has no room for another credential or finger: delete one on it first".to_owned(),
        ),
        DeviceError::CardLocked => (
            E::PasswordRequired,
            "the card is protected by a password: pass it as “password”".to_owned(),
        ),
        DeviceError::PasswordInvalid => (
            E::PasswordInvalid,
            "wrong password: the card's applet has another one".to_owned(),
        ),
        DeviceError::KeyRefused => (E::KeyRefused, error.to_string()),
        DeviceError::Host(_) => {
            tracing::error!(%error, "a device could not be used");
            return Failure {
                entry: advice::row("HostFault"),
                ..Failure::new(
                    E::Internal,
                    format!(
                        "{error}: try again, and if it stays so see the daemon's log and the kernel's (“journalctl”)"
                    ),
                )
            };
        }
        DeviceError::Status(status) => {
            return Failure {
                // Two bytes are a card's status word.
                entry: u8::try_from(*status).map_or(advice::of_error(E::DeviceRefused), advice::of_status),
                ..Failure::new(E::DeviceRefused, error.to_string())
            };
        }
    };
    Failure::new(name, message)
}

fn busy(holder: Option<&Holder>) -> String {
    match holder {
        Some(holder) => format!(
            "another program is using the device{} {} (pid {}); close it and try again",
            if holder.sure { ":" } else { ", it may be" },
            crate::types::shown::printable(&holder.program),
            holder.pid
        ),
        None => "another program is using the device: close it and try again".to_owned(),
    }
}

fn ledger(error: &LedgerError) -> Failure {
    use ErrorName as E;
    let name = match error {
        LedgerError::NotFound("token") => E::UnknownToken,
        LedgerError::NotFound("obligation") => E::UnknownObligation,
        LedgerError::NotFound("cursor") => E::InvalidArgument,
        LedgerError::NotFound(_) => E::Internal,
        LedgerError::WrongState { .. } => E::WrongState,
        // Somebody else changed the token between our reading and our writing: the state that was needed is gone.
        LedgerError::Stale(_) => E::WrongState,
        LedgerError::Duplicate { .. } => E::Duplicate,
        LedgerError::Full(_) => E::LedgerFull,
        LedgerError::ReadOnly(_)
        | LedgerError::Owned(_)
        | LedgerError::Key(_)
        | LedgerError::Newer
        | LedgerError::Storage(_) => E::LedgerUnavailable,
        LedgerError::Damaged(_) => E::LedgerDamaged,
    };
    let message = match error {
        LedgerError::Stale(_) => format!("{error}; nothing was done, look again and repeat"),
        LedgerError::Storage(_) => format!("{error}; nothing was done"),
        _ => error.to_string(),
    };
    let entry = match error {
        LedgerError::ReadOnly(_) => advice::row("LedgerUnwritable"),
        LedgerError::Owned(_) => advice::row("LedgerOwned"),
        LedgerError::Key(_) => advice::row("LedgerKey"),
        LedgerError::Newer => advice::row("LedgerNewer"),
        _ => advice::of_error(name),
    };
    Failure {
        entry,
        ..Failure::new(name, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::advice::Wire;

    fn told(error: DeviceError) -> (ErrorName, String) {
        let failure = Failure::from(&Refusal::Device(error));
        (failure.name, failure.message)
    }

    #[test]
    fn every_status_byte_has_the_row_of_the_error_it_becomes() {
        for status in 1..=u8::MAX {
            let failure = Failure::from(&Refusal::Device(DeviceError::of_ctap_status(status)));
            let row = advice::of_status(status);
            assert_eq!(row.wire, Wire::Error(failure.name), "0x{status:02X}");
            if failure.name == ErrorName::DeviceRefused {
                assert_eq!(failure.entry, row, "0x{status:02X}");
            }
            let (name, sentence) = (text(&failure, "refusal"), text(&failure, "subject-message"));
            assert_eq!(
                (name.as_str(), sentence.as_str()),
                (failure.entry.name, failure.entry.subject)
            );
        }
    }

    fn text(failure: &Failure, key: &str) -> String {
        String::try_from(failure.details().remove(key).expect(key)).expect("text")
    }

    #[test]
    fn what_denies_names_a_row_that_denies() {
        use crate::grant::Action;
        use std::time::Duration;
        let why = String::new;
        let all = [
            Denied::Unmapped,
            Denied::NoSender,
            Denied::CallerGone,
            Denied::NotAuthorized(Action::Revoke),
            Denied::NeedsInteraction(Action::Revoke),
            Denied::NoAgent(Action::Revoke),
            Denied::Dismissed(Action::Revoke),
            Denied::PolkitUnreachable(why()),
            Denied::PolkitTimeout(Duration::ZERO),
            Denied::NotOurUser { daemon: 0, caller: 1 },
            Denied::NotOwner,
            Denied::TooManyPending,
            Denied::Bus(why()),
        ];
        for denied in all {
            let (told, error) = (denied.to_string(), BusError::from(denied));
            assert_eq!(
                (error.name, error.entry.wire),
                (ACCESS_DENIED, Wire::AccessDenied),
                "{told}"
            );
        }
    }

    #[test]
    fn what_the_ledger_refuses_names_a_row_of_the_same_error() {
        let why = String::new;
        let all = [
            LedgerError::NotFound("token"),
            LedgerError::NotFound("obligation"),
            LedgerError::NotFound("cursor"),
            LedgerError::NotFound("row"),
            LedgerError::Stale("token"),
            LedgerError::Full(why()),
            LedgerError::ReadOnly(why()),
            LedgerError::Owned(why()),
            LedgerError::Key(why()),
            LedgerError::Damaged(why()),
            LedgerError::Newer,
            LedgerError::Storage(why()),
        ];
        for error in all {
            let failure = ledger(&error);
            assert_eq!(failure.entry.wire, Wire::Error(failure.name), "{error}");
        }
    }

    #[test]
    fn a_wrong_password_is_not_a_missing_one() {
        let (wrong, text) = told(DeviceError::PasswordInvalid);
        assert_eq!(wrong, ErrorName::PasswordInvalid);
        assert!(text.starts_with("wrong password"), "{text}");
        let (missing, text) = told(DeviceError::CardLocked);
        assert_eq!(missing, ErrorName::PasswordRequired);
        assert!(!text.contains("wrong"), "{text}");
    }

    #[test]
    fn a_fault_of_the_host_is_ours_and_says_what_it_was() {
        let (name, text) = told(DeviceError::Host("too many open files".to_owned()));
        assert_eq!(name, ErrorName::Internal);
        assert!(
            text.contains("not the device") && text.contains("too many open files"),
            "{text}"
        );
    }
}
