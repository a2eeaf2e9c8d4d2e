//! What can be configured on an authenticator (authenticatorConfig).

use super::{FidoContext, FidoSession, Patience};
use crate::codec::ctap2::config::{self, Subcommand};
use crate::codec::ctap2::get_info::GetInfo;
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::device::DeviceError;

impl FidoSession<'_> {
    /// Configures the key. `pin_uv_auth_token` needs
    /// [`AUTHENTICATOR_CONFIG`](crate::codec::ctap2::client_pin::Permissions::AUTHENTICATOR_CONFIG); a key without a PIN takes
    /// none.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the key does not know it; [`DeviceError::PinPolicy`] for a length that is below the
    /// present one; [`DeviceError::StorageFull`] for more relying parties than it keeps.
    pub fn configure(
        &mut self,
        subcommand: Subcommand<'_>,
        pin_uv_auth_token: Option<&PinUvAuthToken>,
        context: &mut FidoContext<'_>,
    ) -> Result<(), DeviceError> {
        let info = self.get_info(context)?;
        if !can_configure(&info, subcommand) {
            return Err(DeviceError::Unsupported(name(subcommand)));
        }
        let request = config::request(subcommand, pin_uv_auth_token)?;
        let response = self.exchange(&request, Patience::Touch, context)?;
        // Options, minPINLength and forcePINChange may have changed.
        self.info = None;
        config::parse(&response).map_err(|e| super::from_response(e, Some(&info)))
    }
}

/// Whether the key says that it can be configured so.
#[must_use]
pub fn can_configure(info: &GetInfo, subcommand: Subcommand<'_>) -> bool {
    let listed = info.authenticator_config_commands.as_ref();
    if listed.is_some_and(|numbers| !numbers.contains(&u64::from(subcommand.number()))) {
        return false;
    }
    info.option("authnrCfg") == Some(true)
        && match subcommand {
            Subcommand::EnableEnterpriseAttestation => info.option("ep").is_some(),
            Subcommand::ToggleAlwaysUv => info.option("alwaysUv").is_some(),
            Subcommand::SetMinPinLength { .. } => info.option("setMinPINLength") == Some(true),
            Subcommand::EnableLongTouchForReset => info.long_touch_for_reset.is_some(),
        }
}

const fn name(subcommand: Subcommand<'_>) -> &'static str {
    match subcommand {
        Subcommand::EnableEnterpriseAttestation => "enterprise attestation",
        Subcommand::ToggleAlwaysUv => "alwaysUv",
        Subcommand::SetMinPinLength { .. } => "rules for PINs",
        Subcommand::EnableLongTouchForReset => "a long touch for reset",
    }
}
