//! Names and units that every room knows: identifiers, [`Secret`], time, and the few closed enumerations that describe a
//! token.
//!
//! This module depends on no other.

pub mod secret_buffer;
pub mod shown;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Why a piece of text is not one of our identifiers or names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{given}” is not a {expected}")]
pub struct ParseNameError {
    /// What was to be read, in words: “token id”.
    pub expected: &'static str,
    /// The text, cut to 64 characters.
    pub given: String,
}

impl ParseNameError {
    fn new(expected: &'static str, given: &str) -> Self {
        Self {
            expected,
            given: given.chars().take(64).collect(),
        }
    }
}

macro_rules! uuid_id {
    ($(#[$meta:meta])* $name:ident, $what:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: UUID version 7 (RFC 9562 section 5.7), so that ids sort by age.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The sixteen bytes, for use as associated data.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Thirty-two hexadecimal digits without hyphens: the form that fits in a D-Bus object path.
            #[must_use]
            pub fn simple(&self) -> String {
                self.0.simple().to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseNameError::new($what, text))
            }
        }
    };
}

uuid_id!(
    /// A token: a record in the ledger that outlives the plug.
    TokenId,
    "token id"
);
uuid_id!(
    /// One run of one verb.
    OperationId,
    "operation id"
);
uuid_id!(
    /// Something that is still to be done to a device when it is next seen.
    ObligationId,
    "obligation id"
);
uuid_id!(
    /// A support case.
    CaseId,
    "case id"
);

impl OperationId {
    /// The replacement of a token: named after it, so that it never has two.
    #[must_use]
    pub const fn replacing(token: TokenId) -> Self {
        Self(token.0)
    }
}

/// A device: hardware that is plugged in now. The number counts attachments since the daemon started and is never reused,
/// unlike `/dev/hidrawN` [keyroost#96].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub u64);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something happened to the set of devices. What a device is now is asked for when the event is handled, so that a late
/// reader shows no past; a reader that lagged reads the whole list anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A device is there.
    Arrived(DeviceId),
    /// A face joined it or left it: it can do more or less than before.
    Faces(DeviceId),
    /// It became ready, busy or unresponsive. Comes twice for every job; nothing to look at the device for.
    State(DeviceId),
    /// It is gone; its id is never used again.
    Left(DeviceId),
}

/// A secret that is wiped when dropped. It has no `Debug`, no `Display`, no `Clone` and no `Serialize`, so that it cannot
/// reach a log, an error or a message by accident.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the vector's allocation is wiped when the secret is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Name the reason where you call this; never store what it returns.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Milliseconds since the Unix epoch, UTC. All time that decides something is passed in as this.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The host's clock. Only the daemon's composition root and the client call this; the rooms are handed a [`Clock`].
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant moved by a signed number of milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl From<SystemTime> for UnixMillis {
    fn from(time: SystemTime) -> Self {
        let ms = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        Self(ms)
    }
}

/// Where a room gets the time from.
pub trait Clock: Send + Sync {
    /// Wall time, UTC.
    fn now(&self) -> UnixMillis;
    /// Whether the host clock is disciplined well enough to measure drift against it (`adjtimex`: `STA_UNSYNC` clear).
    fn synchronised(&self) -> bool;
}

/// Set once, seen by all: somebody wants the operation to end.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that nobody has raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. There is no way back.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether the flag is up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

macro_rules! named_enum {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name used on D-Bus, in JSON and in the ledger.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ParseNameError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text { $($text => Ok(Self::$variant),)+ other => Err(ParseNameError::new($what, other)) }
            }
        }
    };
}

named_enum!(
    /// How sure it is that a device is told apart from every other.
    Confidence, "confidence" {
        /// Its maker gives each device a serial of its own, and it told that.
        Serial = "serial",
        /// Its model, or a serial that nobody vouches for; no other device plugged in is like it.
        Model = "model",
        /// Only where it is plugged in: another device plugged in now cannot be told from it.
        Place = "place",
    }
);

named_enum!(
    /// What sort of token a record stands for.
    TokenKind, "token kind" {
        /// A FIDO2 authenticator with one credential of ours.
        Fido2 = "fido2",
        /// An OATH credential on a card with the YKOATH applet.
        OathCard = "oath-card",
        /// A display fob: no interface, a seed in a file, a clock or a counter of its own.
        Fob = "fob",
        /// A display fob whose serial and clock can be read over NFC.
        NfcFob = "nfc-fob",
        /// A software authenticator on somebody's phone.
        App = "app",
        /// A sheet of recovery codes, each good once.
        RecoveryCodes = "recovery-codes",
    }
);

named_enum!(
    /// Where a token stands in its life. `inventory -> pending -> active <-> suspended | lost`, each `-> revoked`, which is
    /// final.
    TokenState, "token state" {
        /// Known, not handed to anybody.
        Inventory = "inventory",
        /// Registration has begun; no test has passed yet.
        Pending = "pending",
        /// Registered and tested.
        Active = "active",
        /// Out of use for a while; can be resumed.
        Suspended = "suspended",
        /// Reported lost; can be resumed when found.
        Lost = "lost",
        /// Dead. Final.
        Revoked = "revoked",
    }
);

named_enum!(
    /// Why a token was revoked.
    RevokeReason, "reason to revoke" {
        /// Lost or stolen.
        Lost = "lost",
        /// Broken hardware.
        Damaged = "damaged",
        /// Somebody else may have used it.
        Compromised = "compromised",
        /// A new token took its place.
        Replaced = "replaced",
        /// The subject left.
        Leaver = "leaver",
        /// Its registration was never completed.
        Abandoned = "abandoned",
        /// None of the others.
        Other = "other",
    }
);

named_enum!(
    /// Hash of an OATH credential (RFC 6238 section 1.2, RFC 4226).
    OathAlgorithm, "hash algorithm" {
        /// HMAC-SHA-1.
        Sha1 = "SHA1",
        /// HMAC-SHA-256.
        Sha256 = "SHA256",
        /// HMAC-SHA-512.
        Sha512 = "SHA512",
    }
);

named_enum!(
    /// What moves an OATH code on.
    FactorKind, "moving factor (time or event)" {
        /// Time (RFC 6238).
        Time = "time",
        /// A counter of presses (RFC 4226).
        Event = "event",
    }
);

named_enum!(
    /// What seeds are exported as.
    ExportFormat, "format (pskc, entra, users-oath, pam-u2f, sssd-passkey)" {
        /// RFC 6030, encrypted to a passphrase.
        Pskc = "pskc",
        /// The values that Microsoft Entra takes.
        Entra = "entra",
        /// The file of `pam_oath`.
        UsersOath = "users-oath",
        /// The mapping file of `pam_u2f`.
        PamU2f = "pam-u2f",
        /// SSSD's passkey strings, one a line.
        SssdPasskey = "sssd-passkey",
    }
);

named_enum!(
    /// Whose shapes WebAuthn's options and responses have.
    Provider, "provider (webauthn, entra, okta, keycloak, privacyidea)" {
        /// The standard's own JSON.
        Webauthn = "webauthn",
        /// Microsoft Entra ID, as Graph has it.
        Entra = "entra",
        /// Okta's factors.
        Okta = "okta",
        /// The form of Keycloak's registration page.
        Keycloak = "keycloak",
        /// privacyIDEA's token/init.
        Privacyidea = "privacyidea",
    }
);

named_enum!(
    /// What a key's attestation is worth.
    Worth, "worth of an attestation" {
        /// It has none.
        None = "none",
        /// It signed itself: nothing is known of the model.
        SelfSigned = "self",
        /// It has a certificate that nobody here vouches for.
        Unanchored = "unanchored",
        /// A configured authority vouches for it.
        Authority = "authority",
        /// The metadata vouch for it.
        Metadata = "metadata",
    }
);

named_enum!(
    /// What told us how far a token's clock is off.
    DriftSource, "source of a measurement" {
        /// The first codes, or the first look at the clock.
        First = "first",
        /// A code that passed.
        Test = "test",
        /// Several codes, searched jointly.
        Resync = "resync",
        /// The clock itself, read over NFC.
        ClockRead = "clock-read",
        /// The clock was set over NFC.
        ClockSet = "clock-set",
        /// A resync was taken back.
        Undo = "undo",
    }
);

named_enum!(
    /// Whether a device or token is made of matter. A virtual one can never match, replace or discharge a real one.
    Reality, "reality" {
        /// Came in through the kernel or pcscd.
        Hardware = "hardware",
        /// Came in through the virtual link.
        Virtual = "virtual",
    }
);

named_enum!(
    /// Which bus, and who is admitted there.
    Mode, "mode (system or session)" {
        /// The system bus; polkit decides.
        System = "system",
        /// One person's or a CI job's own bus; only the uid that runs the daemon is admitted.
        Session = "session",
    }
);

/// The deadline arithmetic everybody needs: how long is left, never negative.
#[must_use]
pub fn time_left(deadline: std::time::Instant) -> Duration {
    deadline.saturating_duration_since(std::time::Instant::now())
}

pub mod cases;
pub mod stamp;
