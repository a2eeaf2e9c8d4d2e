//! The one table from CTAP status to [`DeviceError`].

use crate::codec::ctap2::ResponseError;
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::pin_protocol::PinError;
use crate::codec::ctap2::status::Status;
use crate::device::DeviceError;

/// What a refusal or a malformed answer means to those above. `info` supplies the least PIN length. Tries left are not in
/// the answer; the session asks for them.
#[must_use]
pub fn from_response(error: ResponseError, info: Option<&GetInfo>) -> DeviceError {
    match error {
        ResponseError::Refused(status) => from_status(status, info),
        ResponseError::Empty => DeviceError::Protocol("an empty answer"),
        ResponseError::Cbor(_) => DeviceError::Protocol("an answer that is not valid CBOR"),
        ResponseError::Malformed(what) => DeviceError::Protocol(what),
    }
}

impl DeviceError {
    /// What a status byte of an authenticator means (CTAP 2.1 section 8.2), where nothing else is known of the key.
    #[must_use]
    pub fn of_ctap_status(status: u8) -> Self {
        from_status(Status(status), None)
    }
}

fn from_status(status: Status, info: Option<&GetInfo>) -> DeviceError {
    match status {
        Status::PIN_INVALID => DeviceError::PinInvalid { tries_left: None },
        Status::PIN_AUTH_BLOCKED => DeviceError::SoftBlocked { tries_left: None },
        Status::PIN_BLOCKED => DeviceError::PinBlocked,
        Status::UV_BLOCKED => DeviceError::UvBlocked,
        Status::UV_INVALID => DeviceError::UvInvalid { tries_left: None },
        Status::PIN_NOT_SET => DeviceError::PinNotSet,
        Status::PUAT_REQUIRED => DeviceError::PinRequired,
        Status::PIN_POLICY_VIOLATION => DeviceError::PinPolicy {
            min_length: info.map_or(4, GetInfo::min_pin_code_points),
        },
        Status::USER_ACTION_TIMEOUT | Status::ACTION_TIMEOUT => DeviceError::TouchTimeout,
        Status::OPERATION_DENIED => DeviceError::Declined,
        Status::NOT_ALLOWED => DeviceError::NotAllowed,
        Status::CREDENTIAL_EXCLUDED => DeviceError::CredentialExcluded,
        Status::NO_CREDENTIALS | Status::INVALID_CREDENTIAL => DeviceError::NoCredential,
        Status::KEY_STORE_FULL | Status::FP_DATABASE_FULL => DeviceError::StorageFull,
        Status::KEEPALIVE_CANCEL => DeviceError::Cancelled,
        Status::TIMEOUT => DeviceError::Deadline,
        Status::CHANNEL_BUSY => DeviceError::Busy(None),
        Status::INVALID_COMMAND | Status::INVALID_SUBCOMMAND => DeviceError::Unsupported("this command"),
        Status::UNSUPPORTED_ALGORITHM => DeviceError::Unsupported("ES256 credentials"),
        Status::UNSUPPORTED_OPTION | Status::INVALID_OPTION => DeviceError::Unsupported("an option of the request"),
        Status(code) => DeviceError::Status(code.into()),
    }
}

impl From<PinError> for DeviceError {
    fn from(error: PinError) -> Self {
        match error {
            PinError::BadPeerKey => Self::Protocol("the key-agreement key is malformed"),
            PinError::BadEphemeralSecret => Self::no_randomness(),
            PinError::BadLength => Self::Protocol("an encrypted value has the wrong length"),
        }
    }
}
