//! FIDO2 sessions: what an authenticator can be asked to do, over any [`CtapTransport`].
//!
//! One PIN entry is one attempt: nothing here tries a PIN twice, since each try may be one of the last eight.

mod carrier;
mod config;
mod credentials;
mod ctap1;
mod exclude;
mod fingerprints;
mod large_blobs;
mod pin;
mod refusal;

use std::time::{Duration, Instant};

pub use carrier::{Carrier, CtapTransport, open};
pub use config::can_configure;
pub use credentials::{GetAssertion, MakeCredential, Stored};
pub use ctap1::{Ctap1, Messages};
pub use large_blobs::LargeBlobs;
pub use pin::grants_by_uv;
pub use refusal::from_response;

use super::{Deadlines, DeviceError};
use crate::codec::ctap2::get_info::{self, GetInfo};
use crate::codec::ctap2::status::Status;
use crate::codec::ctap2::{ResponseError, make_credential, reset, selection};
use crate::codec::ctaphid::KeepAlive;
use crate::types::Cancel;

/// A source of random bytes good enough for keys.
pub trait Entropy {
    /// Fills the buffer.
    ///
    /// # Errors
    /// [`DeviceError::Host`] when it has no random numbers to give.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError>;
}

/// The host's random numbers (`getrandom(2)`).
#[derive(Debug, Clone, Copy, Default)]
pub struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        getrandom::fill(buffer).map_err(|_| DeviceError::no_randomness())
    }
}

/// The circumstances of a call: how long it may take, who may end it, and whom to tell that a touch is needed.
pub struct FidoContext<'c> {
    /// Deadlines of the device.
    pub deadlines: Deadlines,
    /// The operation's own end; no exchange outlives it.
    pub end: Instant,
    /// Raised when the operation is to end.
    pub cancel: &'c Cancel,
    /// Called once per exchange when the key begins to wait for a touch, with the instant until which it is waited for.
    pub on_touch_needed: &'c mut dyn FnMut(Instant),
}

impl FidoContext<'_> {
    fn deadline(&self, patience: Duration) -> Instant {
        Instant::now()
            .checked_add(patience)
            .map_or(self.end, |until| until.min(self.end))
    }
}

/// How long one exchange may take.
#[derive(Clone, Copy)]
enum Patience {
    Exchange,
    Touch,
}

/// A conversation with one authenticator.
pub struct FidoSession<'a> {
    transport: &'a mut dyn CtapTransport,
    entropy: &'a mut dyn Entropy,
    info: Option<GetInfo>,
}

impl<'a> FidoSession<'a> {
    /// Begins a conversation; nothing is sent yet.
    pub fn new(transport: &'a mut dyn CtapTransport, entropy: &'a mut dyn Entropy) -> Self {
        Self {
            transport,
            entropy,
            info: None,
        }
    }

    /// What carries the conversation.
    #[must_use]
    pub fn carrier(&self) -> Carrier {
        self.transport.carrier()
    }

    /// Whether `error`, which the last call came back with, is the key's own refusal: then it has done nothing. An answer that
    /// was lost, or that cannot be read, leaves open what was done.
    #[must_use]
    pub fn has_refused(&self, error: &DeviceError) -> bool {
        self.transport.is_settled() && !matches!(error, DeviceError::Protocol(_) | DeviceError::Gone)
    }

    /// What the authenticator says about itself; asked once and again after anything that may change it.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn get_info(&mut self, context: &mut FidoContext<'_>) -> Result<GetInfo, DeviceError> {
        if let Some(info) = &self.info {
            return Ok(info.clone());
        }
        let response = self.exchange(&get_info::request(), Patience::Exchange, context)?;
        let info = GetInfo::parse(&response).map_err(|e| from_response(e, None))?;
        self.info = Some(info.clone());
        Ok(info)
    }

    /// Erases every credential and the PIN. The key wants a touch and, mostly, to have been plugged in less than ten seconds
    /// ago.
    ///
    /// # Errors
    /// [`DeviceError::NotAllowed`] when it is too late after power-up or the transport is not allowed;
    /// [`DeviceError::TouchTimeout`], [`DeviceError::Declined`] and the others.
    pub fn reset(&mut self, context: &mut FidoContext<'_>) -> Result<(), DeviceError> {
        let response = self.exchange(&reset::request(), Patience::Touch, context)?;
        self.info = None;
        reset::parse(&response).map_err(|e| self.judge(e))
    }

    /// Has the key show which one it is, without a touch. False when it has nothing to show it by.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn wink(&mut self, context: &mut FidoContext<'_>) -> Result<bool, DeviceError> {
        let deadline = context.deadline(context.deadlines.exchange);
        self.transport.wink(deadline, context.cancel)
    }

    /// Waits for a touch, by authenticatorSelection or, on a CTAP 2.0 key, by a request that is refused once touched.
    ///
    /// # Errors
    /// [`DeviceError::TouchTimeout`], [`DeviceError::Declined`] and the others.
    pub fn select(&mut self, context: &mut FidoContext<'_>) -> Result<(), DeviceError> {
        let info = self.get_info(context)?;
        let modern = info
            .versions
            .iter()
            .any(|v| v.starts_with("FIDO_2_") && v != "FIDO_2_0" && v != "FIDO_2_1_PRE");
        if modern {
            let response = self.exchange(&selection::request(), Patience::Touch, context)?;
            return selection::parse(&response).map_err(|e| self.judge(e));
        }
        let response = self.exchange(&make_credential::touch_request(), Patience::Touch, context)?;
        match make_credential::Response::parse(&response) {
            // The refusals that follow the touch: a PIN is set, is not set, or the empty proof is wrong.
            Err(ResponseError::Refused(Status::PIN_INVALID | Status::PIN_NOT_SET | Status::PIN_AUTH_INVALID)) => Ok(()),
            Err(error) => Err(self.judge(error)),
            Ok(_) => Err(DeviceError::Protocol("a request with an empty proof was granted")),
        }
    }

    fn exchange(
        &mut self,
        request: &[u8],
        patience: Patience,
        context: &mut FidoContext<'_>,
    ) -> Result<Vec<u8>, DeviceError> {
        let deadline = context.deadline(match patience {
            Patience::Exchange => context.deadlines.exchange,
            Patience::Touch => context.deadlines.touch,
        });
        let on_touch_needed = &mut *context.on_touch_needed;
        let mut told = false;
        self.transport
            .exchange(request, deadline, context.cancel, &mut |state| {
                if state == KeepAlive::TouchNeeded && !told {
                    told = true;
                    on_touch_needed(deadline);
                }
            })
    }

    /// The typed error of a refusal, with what getInfo told already.
    fn judge(&self, error: ResponseError) -> DeviceError {
        from_response(error, self.info.as_ref())
    }

    fn random<const N: usize>(&mut self) -> Result<zeroize::Zeroizing<[u8; N]>, DeviceError> {
        let mut bytes = zeroize::Zeroizing::new([0; N]);
        self.entropy.fill(bytes.as_mut_slice())?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
