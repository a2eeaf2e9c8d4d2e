//! Keys that have nothing newer than CTAP1/U2F, behind the same seam as the others: what is asked in CTAP2 is done in U2F and answered
//! in CTAP2 (CTAP 2.1 section 7). Such a key has no PIN, stores nothing, and forgets a request that nobody touches it for: it is
//! asked again until somebody does.

use std::thread;
use std::time::{Duration, Instant};

use super::carrier::{Carrier, CtapTransport};
use crate::codec::ctap2::status::Status;
use crate::codec::ctaphid::KeepAlive;
use crate::codec::iso7816::{Command, Response};
use crate::codec::u2f::ctap2::{self as mapping, Wanted};
use crate::codec::u2f::{self, Control, HASH_LEN, Verdict};
use crate::device::DeviceError;
use crate::types::{Cancel, time_left};

/// How long a key that wants a touch is left alone before it is asked again.
const POLL: Duration = Duration::from_millis(200);

/// A way to send the APDUs of U2F.
pub trait Messages: Send {
    /// Sends one command and collects its answer.
    ///
    /// # Errors
    /// As [`CtapTransport::exchange`].
    fn send(&mut self, command: &Command, deadline: Instant, cancel: &Cancel) -> Result<Response, DeviceError>;

    /// What carries them.
    fn carried_by(&self) -> Carrier;
}

/// A U2F key that is spoken to in CTAP2.
pub struct Ctap1<M> {
    messages: M,
    /// A command was sent and its answer has not come.
    pending: bool,
}

/// How one request ends, and whom to tell.
struct Call<'c> {
    deadline: Instant,
    cancel: &'c Cancel,
    on_keepalive: &'c mut dyn FnMut(KeepAlive),
}

impl<M: Messages> Ctap1<M> {
    /// Asks whether it is a U2F key at all.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when it is none; the carrier's own.
    pub fn open(mut messages: M, deadline: Instant, cancel: &Cancel) -> Result<Self, DeviceError> {
        let told = messages.send(&u2f::version(), deadline, cancel)?;
        if !u2f::is_u2f(&told) {
            return Err(DeviceError::Unsupported("FIDO"));
        }
        Ok(Self {
            messages,
            pending: false,
        })
    }

    fn send(&mut self, command: &Command, call: &Call<'_>) -> Result<Response, DeviceError> {
        self.pending = true;
        let response = self.messages.send(command, call.deadline, call.cancel)?;
        self.pending = false;
        Ok(response)
    }

    /// Whether one of these credentials is the key's own.
    fn owned<'l>(
        &mut self,
        list: &'l [Vec<u8>],
        application: &[u8; HASH_LEN],
        call: &Call<'_>,
    ) -> Result<Option<&'l Vec<u8>>, DeviceError> {
        for id in list {
            // One that no U2F key can have made.
            let Some(check) = u2f::authenticate(Control::CheckOnly, &[0; HASH_LEN], application, id) else {
                continue;
            };
            match u2f::verdict(self.send(&check, call)?.status) {
                Verdict::TouchNeeded | Verdict::Done => return Ok(Some(id)),
                // Some keys say so of a length that is none of theirs.
                Verdict::Unknown | Verdict::Other(_) => {}
                Verdict::Unsupported => return Err(DeviceError::Unsupported("FIDO")),
            }
        }
        Ok(None)
    }

    /// Sends a command until somebody touches the key.
    fn touched(&mut self, command: &Command, call: &mut Call<'_>) -> Result<Result<Response, Status>, DeviceError> {
        loop {
            let response = self.send(command, call)?;
            match u2f::verdict(response.status) {
                Verdict::Done => return Ok(Ok(response)),
                Verdict::Unknown => return Ok(Err(Status::NO_CREDENTIALS)),
                Verdict::Unsupported => return Ok(Err(Status::INVALID_COMMAND)),
                Verdict::Other(status) => return Err(DeviceError::Status(status.0)),
                Verdict::TouchNeeded => {}
            }
            (call.on_keepalive)(KeepAlive::TouchNeeded);
            thread::sleep(POLL.min(time_left(call.deadline)));
            if call.cancel.is_cancelled() {
                return Err(DeviceError::Cancelled);
            }
            if time_left(call.deadline).is_zero() {
                return Err(DeviceError::TouchTimeout);
            }
        }
    }

    fn register(
        &mut self,
        challenge: &[u8; HASH_LEN],
        application: &[u8; HASH_LEN],
        exclude: &[Vec<u8>],
        call: &mut Call<'_>,
    ) -> Result<Vec<u8>, DeviceError> {
        if self.owned(exclude, application, call)?.is_some() {
            return Ok(mapping::refused(Status::CREDENTIAL_EXCLUDED));
        }
        let response = match self.touched(&u2f::register(challenge, application), call)? {
            Ok(response) => response,
            Err(status) => return Ok(mapping::refused(status)),
        };
        let registered =
            u2f::parse_registered(&response.data).map_err(|error| DeviceError::Protocol(error.as_str()))?;
        mapping::made(application, &registered).ok_or(DeviceError::Protocol("a credential id that is too long"))
    }

    fn authenticate(
        &mut self,
        challenge: &[u8; HASH_LEN],
        application: &[u8; HASH_LEN],
        (allow, touch): (&[Vec<u8>], bool),
        call: &mut Call<'_>,
    ) -> Result<Vec<u8>, DeviceError> {
        let Some(id) = self.owned(allow, application, call)? else {
            return Ok(mapping::refused(Status::NO_CREDENTIALS));
        };
        if !touch {
            // It says that the credential is its own, and signs nothing that would prove it.
            return Ok(mapping::refused(Status::UNSUPPORTED_OPTION));
        }
        let command = u2f::authenticate(Control::Touch, challenge, application, id)
            .ok_or(DeviceError::Protocol("a credential id that is too long"))?;
        let response = match self.touched(&command, call)? {
            Ok(response) => response,
            Err(status) => return Ok(mapping::refused(status)),
        };
        let authenticated = u2f::parse_authenticated(application, &response.data)
            .map_err(|error| DeviceError::Protocol(error.as_str()))?;
        Ok(mapping::asserted(id, &authenticated))
    }
}

impl<M: Messages> CtapTransport for Ctap1<M> {
    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        let mut call = Call {
            deadline,
            cancel,
            on_keepalive,
        };
        match mapping::read(request) {
            Err(status) => Ok(mapping::refused(status)),
            Ok(Wanted::Info) => Ok(mapping::info()),
            Ok(Wanted::Register {
                challenge,
                application,
                exclude,
            }) => self.register(&challenge, &application, &exclude, &mut call),
            Ok(Wanted::Authenticate {
                challenge,
                application,
                allow,
                touch,
            }) => self.authenticate(&challenge, &application, (&allow, touch), &mut call),
        }
    }

    fn is_settled(&self) -> bool {
        !self.pending
    }

    fn carrier(&self) -> Carrier {
        self.messages.carried_by()
    }
}
