//! Status codes (CTAP 2.1 section 8.2).

use std::fmt;

/// The status byte of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

macro_rules! statuses {
    ($($(#[$meta:meta])* $name:ident = $code:literal $text:literal,)+) => {
        impl Status {
            $($(#[$meta])* pub const $name: Self = Self($code);)+

            /// The name in the standard, without its prefix, when it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 { $($code => Some($text),)+ _ => None }
            }
        }
    };
}

statuses! {
    /// Success.
    OK = 0x00 "OK",
    /// Unknown command.
    INVALID_COMMAND = 0x01 "INVALID_COMMAND",
    /// Invalid parameter.
    INVALID_PARAMETER = 0x02 "INVALID_PARAMETER",
    /// Invalid length.
    INVALID_LENGTH = 0x03 "INVALID_LENGTH",
    /// Invalid sequence.
    INVALID_SEQ = 0x04 "INVALID_SEQ",
    /// Timed out.
    TIMEOUT = 0x05 "TIMEOUT",
    /// Busy with another channel.
    CHANNEL_BUSY = 0x06 "CHANNEL_BUSY",
    /// Command needs the lock.
    LOCK_REQUIRED = 0x0A "LOCK_REQUIRED",
    /// Command not allowed on this channel.
    INVALID_CHANNEL = 0x0B "INVALID_CHANNEL",
    /// A CBOR member of the wrong type.
    CBOR_UNEXPECTED_TYPE = 0x11 "CBOR_UNEXPECTED_TYPE",
    /// Not CBOR.
    INVALID_CBOR = 0x12 "INVALID_CBOR",
    /// A required member is not there.
    MISSING_PARAMETER = 0x14 "MISSING_PARAMETER",
    /// A limit was passed.
    LIMIT_EXCEEDED = 0x15 "LIMIT_EXCEEDED",
    /// No room for another fingerprint.
    FP_DATABASE_FULL = 0x17 "FP_DATABASE_FULL",
    /// No room for large blobs.
    LARGE_BLOB_STORAGE_FULL = 0x18 "LARGE_BLOB_STORAGE_FULL",
    /// A credential of the exclude list is there.
    CREDENTIAL_EXCLUDED = 0x19 "CREDENTIAL_EXCLUDED",
    /// Lengthy operation in progress.
    PROCESSING = 0x21 "PROCESSING",
    /// The credential is not valid for this authenticator.
    INVALID_CREDENTIAL = 0x22 "INVALID_CREDENTIAL",
    /// Waiting for the person.
    USER_ACTION_PENDING = 0x23 "USER_ACTION_PENDING",
    /// Lengthy operation in progress.
    OPERATION_PENDING = 0x24 "OPERATION_PENDING",
    /// No request is pending.
    NO_OPERATIONS = 0x25 "NO_OPERATIONS",
    /// None of the algorithms asked for.
    UNSUPPORTED_ALGORITHM = 0x26 "UNSUPPORTED_ALGORITHM",
    /// The person declined.
    OPERATION_DENIED = 0x27 "OPERATION_DENIED",
    /// No room for another credential.
    KEY_STORE_FULL = 0x28 "KEY_STORE_FULL",
    /// The option is not supported.
    UNSUPPORTED_OPTION = 0x2B "UNSUPPORTED_OPTION",
    /// The option is not valid here.
    INVALID_OPTION = 0x2C "INVALID_OPTION",
    /// Ended by CTAPHID_CANCEL.
    KEEPALIVE_CANCEL = 0x2D "KEEPALIVE_CANCEL",
    /// No credential that matches.
    NO_CREDENTIALS = 0x2E "NO_CREDENTIALS",
    /// The person did not act in time.
    USER_ACTION_TIMEOUT = 0x2F "USER_ACTION_TIMEOUT",
    /// Not allowed now.
    NOT_ALLOWED = 0x30 "NOT_ALLOWED",
    /// Wrong PIN.
    PIN_INVALID = 0x31 "PIN_INVALID",
    /// PIN blocked until a reset.
    PIN_BLOCKED = 0x32 "PIN_BLOCKED",
    /// `pinUvAuthParam` did not verify.
    PIN_AUTH_INVALID = 0x33 "PIN_AUTH_INVALID",
    /// PIN blocked until the next power cycle.
    PIN_AUTH_BLOCKED = 0x34 "PIN_AUTH_BLOCKED",
    /// No PIN has been set.
    PIN_NOT_SET = 0x35 "PIN_NOT_SET",
    /// A PIN or user verification is needed.
    PUAT_REQUIRED = 0x36 "PUAT_REQUIRED",
    /// The new PIN breaks the rules.
    PIN_POLICY_VIOLATION = 0x37 "PIN_POLICY_VIOLATION",
    /// The `pinUvAuthToken` has run out (CTAP 2.0; reserved since).
    PIN_TOKEN_EXPIRED = 0x38 "PIN_TOKEN_EXPIRED",
    /// Too much data for this authenticator.
    REQUEST_TOO_LARGE = 0x39 "REQUEST_TOO_LARGE",
    /// Nobody acted in time.
    ACTION_TIMEOUT = 0x3A "ACTION_TIMEOUT",
    /// User presence is needed.
    UP_REQUIRED = 0x3B "UP_REQUIRED",
    /// Built-in user verification is blocked.
    UV_BLOCKED = 0x3C "UV_BLOCKED",
    /// The large blob's hash is wrong.
    INTEGRITY_FAILURE = 0x3D "INTEGRITY_FAILURE",
    /// Unknown sub-command.
    INVALID_SUBCOMMAND = 0x3E "INVALID_SUBCOMMAND",
    /// Built-in user verification failed.
    UV_INVALID = 0x3F "UV_INVALID",
    /// The permission is not granted.
    UNAUTHORIZED_PERMISSION = 0x40 "UNAUTHORIZED_PERMISSION",
    /// Unspecified.
    OTHER = 0x7F "OTHER",
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "0x{:02X} ({name})", self.0),
            None => write!(f, "0x{:02X}", self.0),
        }
    }
}
