//! PINs: tries left, setting, changing, and exchanging one for a `pinUvAuthToken`.

use super::{FidoContext, FidoSession, Patience};
use crate::codec::ctap2::ResponseError;
use crate::codec::ctap2::client_pin::{self, Permissions, PinRetries, Scope};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::pin_protocol::{IV_LEN, PinError, PinProtocol, PinUvAuthToken, SharedSecret};
use crate::device::DeviceError;
use crate::types::Secret;

/// A random scalar is out of range once in 2³² draws; more than a few in a row means the source is broken.
const DRAWS: usize = 8;

impl FidoSession<'_> {
    /// How many PIN tries are left.
    ///
    /// # Errors
    /// [`DeviceError`].
    pub fn pin_retries(&mut self, context: &mut FidoContext<'_>) -> Result<PinRetries, DeviceError> {
        let response = self.exchange(&client_pin::retries_request(), Patience::Exchange, context)?;
        PinRetries::parse(&response).map_err(|e| self.judge(e))
    }

    /// How many tries of built-in user verification are left.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key has none.
    pub fn uv_retries(&mut self, context: &mut FidoContext<'_>) -> Result<u8, DeviceError> {
        let response = self.exchange(&client_pin::uv_retries_request(), Patience::Exchange, context)?;
        client_pin::parse_uv_retries(&response).map_err(|e| self.judge(e))
    }

    /// Exchanges built-in user verification, a finger mostly, for a `pinUvAuthToken`. One call is one try at most.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key cannot grant these permissions so; [`DeviceError::UvInvalid`],
    /// [`DeviceError::UvBlocked`] and the others.
    pub fn uv_token(
        &mut self,
        permissions: Permissions,
        rp_id: Option<&str>,
        context: &mut FidoContext<'_>,
    ) -> Result<PinUvAuthToken, DeviceError> {
        let info = self.get_info(context)?;
        if !grants_by_uv(&info, permissions) {
            return Err(DeviceError::Unsupported("built-in user verification for this"));
        }
        let shared = self.agree(&info, context)?;
        let request = client_pin::uv_token_request(&shared, permissions, rp_id);
        let response = self.exchange(&request, Patience::Touch, context)?;
        match client_pin::parse_token(&response, &shared) {
            Ok(token) => Ok(token),
            Err(error) => {
                let mut error = self.judge(error);
                if let DeviceError::UvInvalid { tries_left } = &mut error {
                    *tries_left = self.uv_retries(context).ok();
                }
                Err(error)
            }
        }
    }

    /// Sets the first PIN. The client has normalised it to Unicode NFC (CTAP 2.1 section 6.5.1 makes that the platform's
    /// duty, and only the side that reads the keyboard can do it).
    ///
    /// # Errors
    /// [`DeviceError::PinPolicy`] when the PIN breaks the rules, before anything is sent where we can tell;
    /// [`DeviceError::NotAllowed`] when one is set already; [`DeviceError::Unsupported`] when the key has no PIN.
    pub fn set_pin(&mut self, pin: &Secret, context: &mut FidoContext<'_>) -> Result<(), DeviceError> {
        let info = self.get_info(context)?;
        match info.option("clientPin") {
            None => return Err(DeviceError::Unsupported("a PIN")),
            Some(true) => return Err(DeviceError::NotAllowed),
            Some(false) => {}
        }
        check_new_pin(pin, &info)?;
        let shared = self.agree(&info, context)?;
        let iv = self.random::<IV_LEN>()?;
        let request = client_pin::set_pin_request(&shared, pin, &iv)?;
        let response = self.exchange(&request, Patience::Exchange, context)?;
        // minPINLength, clientPin and forcePINChange may have changed.
        self.info = None;
        client_pin::parse_done(&response).map_err(|e| super::from_response(e, Some(&info)))
    }

    /// Changes the PIN; the current one counts as a try. Both are normalised to NFC by the client.
    ///
    /// # Errors
    /// As [`FidoSession::set_pin`] and [`FidoSession::pin_uv_token`].
    pub fn change_pin(
        &mut self,
        current: &Secret,
        new: &Secret,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let info = self.get_info(context)?;
        require_pin(&info)?;
        check_presented_pin(current)?;
        check_new_pin(new, &info)?;
        let shared = self.agree(&info, context)?;
        let ivs = [*self.random::<IV_LEN>()?, *self.random::<IV_LEN>()?];
        let request = client_pin::change_pin_request(&shared, current, new, &ivs)?;
        let response = self.exchange(&request, Patience::Exchange, context)?;
        self.info = None;
        match client_pin::parse_done(&response) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge_pin(error, &info, context)),
        }
    }

    /// Exchanges a PIN, normalised to NFC by the client, for a `pinUvAuthToken`. Keys without permissions give one that is
    /// good for everything. An RP ID is needed for [`Permissions::MAKE_CREDENTIAL`] and [`Permissions::GET_ASSERTION`].
    ///
    /// One call is one try at most. After a wrong PIN the tries left are asked for.
    ///
    /// # Errors
    /// [`DeviceError::PinInvalid`], [`DeviceError::SoftBlocked`], [`DeviceError::PinBlocked`], [`DeviceError::PinNotSet`],
    /// [`DeviceError::PinPolicy`] (it must be changed first) and the others.
    pub fn pin_uv_token(
        &mut self,
        pin: &Secret,
        permissions: Permissions,
        rp_id: Option<&str>,
        context: &mut FidoContext<'_>,
    ) -> Result<PinUvAuthToken, DeviceError> {
        let info = self.get_info(context)?;
        require_pin(&info)?;
        check_presented_pin(pin)?;
        let for_credentials = Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION;
        if permissions.0 & for_credentials.0 != 0 && info.option("noMcGaPermissionsWithClientPin") == Some(true) {
            return Err(DeviceError::Unsupported("a PIN for credentials"));
        }
        let scope = if info.option("pinUvAuthToken") == Some(true) {
            Scope::Permitted { permissions, rp_id }
        } else {
            Scope::Legacy
        };
        // Agreed anew each time: a key throws its half away after a wrong PIN (CTAP 2.1 section 6.5.5.7.1, step 7).
        let shared = self.agree(&info, context)?;
        let iv = self.random::<IV_LEN>()?;
        let request = client_pin::token_request(&shared, pin, &iv, scope)?;
        let response = self.exchange(&request, Patience::Exchange, context)?;
        match client_pin::parse_token(&response, &shared) {
            Ok(token) => Ok(token),
            Err(error) => Err(self.judge_pin(error, &info, context)),
        }
    }

    fn agree(&mut self, info: &GetInfo, context: &mut FidoContext<'_>) -> Result<SharedSecret, DeviceError> {
        // CTAP 2.0 keys have protocol one and need not say so.
        let protocol = match PinProtocol::choose(&info.pin_uv_auth_protocols) {
            Some(protocol) => protocol,
            None if info.pin_uv_auth_protocols.is_empty() => PinProtocol::One,
            None => return Err(DeviceError::Unsupported("a PIN protocol we know")),
        };
        let request = client_pin::key_agreement_request(protocol);
        let response = self.exchange(&request, Patience::Exchange, context)?;
        let peer = client_pin::parse_key_agreement(&response).map_err(|e| self.judge(e))?;
        for _ in 0..DRAWS {
            let ephemeral = self.random::<32>()?;
            match SharedSecret::agree(protocol, &ephemeral, &peer) {
                Err(PinError::BadEphemeralSecret) => {}
                other => return Ok(other?),
            }
        }
        Err(PinError::BadEphemeralSecret.into())
    }

    /// The typed error of a refused PIN, with the tries left. Asking for them costs no try; when it fails, the refusal is
    /// told without them.
    fn judge_pin(&mut self, error: ResponseError, info: &GetInfo, context: &mut FidoContext<'_>) -> DeviceError {
        let mut error = super::from_response(error, Some(info));
        if let DeviceError::PinInvalid { tries_left } | DeviceError::SoftBlocked { tries_left } = &mut error {
            *tries_left = self.pin_retries(context).ok().map(|retries| retries.left);
        }
        error
    }
}

fn require_pin(info: &GetInfo) -> Result<(), DeviceError> {
    match info.option("clientPin") {
        Some(true) => Ok(()),
        Some(false) => Err(DeviceError::PinNotSet),
        None => Err(DeviceError::Unsupported("a PIN")),
    }
}

/// Whether the key hands out a token of these permissions for built-in verification that is set up (CTAP 2.1 section 6.4:
/// `uv`, `uvBioEnroll`, `uvAcfg`).
#[must_use]
pub fn grants_by_uv(info: &GetInfo, permissions: Permissions) -> bool {
    let needs =
        |permission: Permissions, option: &str| permissions.0 & permission.0 == 0 || info.option(option) == Some(true);
    info.option("uv") == Some(true)
        && info.option("pinUvAuthToken") == Some(true)
        && needs(Permissions::BIO_ENROLLMENT, "uvBioEnroll")
        && needs(Permissions::AUTHENTICATOR_CONFIG, "uvAcfg")
}

/// A new PIN is UTF-8, at most 63 bytes, does not end in a zero byte (padding would swallow it), and has at least as many
/// code points as the key wants (CTAP 2.1 section 6.5.1).
fn check_new_pin(pin: &Secret, info: &GetInfo) -> Result<(), DeviceError> {
    let min_length = info.min_pin_code_points();
    let broken = DeviceError::PinPolicy { min_length };
    // Exposed to be measured.
    let Ok(text) = std::str::from_utf8(pin.expose()) else {
        return Err(broken);
    };
    let code_points = text.chars().count();
    let most = info
        .max_pin_length
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(client_pin::MAX_PIN_BYTES);
    let fits = text.len() <= client_pin::MAX_PIN_BYTES && !text.ends_with('\0');
    if fits && code_points >= usize::from(min_length) && code_points <= most {
        Ok(())
    } else {
        Err(broken)
    }
}

/// What cannot be any key's PIN is not worth one of its tries.
fn check_presented_pin(pin: &Secret) -> Result<(), DeviceError> {
    // Exposed to be measured.
    let is_text = std::str::from_utf8(pin.expose()).is_ok();
    if is_text && (4..=client_pin::MAX_PIN_BYTES).contains(&pin.len()) {
        Ok(())
    } else {
        Err(DeviceError::PinPolicy { min_length: 4 })
    }
}
