//! Settings of the FIDO2 application. Some can only be made stricter until a reset, so what is asked for and what is already so
//! are compared first: no try is spent for nothing.

use super::{Done, Job};
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::config::Subcommand;
use crate::codec::ctap2::get_info::GetInfo;
use crate::device::DeviceError;
use crate::device::fido::can_configure;
use crate::lifecycle::key::Key;
use crate::lifecycle::operation::{FidoReport, Phase};
use crate::lifecycle::{FidoSetting, Refusal};

impl Job<'_> {
    pub(super) fn set(&self, key: &mut Key<'_, '_>, setting: &FidoSetting) -> Result<Done, Refusal> {
        let info = key.session.get_info(&mut key.context)?;
        let wanted = subcommand(setting);
        if !can_configure(&info, wanted) {
            // The session says which, in its own words.
            return Err(key
                .session
                .configure(wanted, None, &mut key.context)
                .map_or_else(Refusal::from, |()| {
                    Refusal::Internal("a key did what it says it cannot")
                }));
        }
        check(&info, setting)?;
        let what = name(setting);
        // Who is told the least length is not shown, so it is always written.
        let hidden = matches!(setting, FidoSetting::MinPinLength { rp_ids, .. } if !rp_ids.is_empty());
        if is_so(&info, setting) && !hidden {
            return Ok((None, report(key, &info)));
        }
        let token = self.authorised_if_protected(key, Permissions::AUTHENTICATOR_CONFIG)?;
        self.begin(what, Phase::Writing)?;
        let done = key.session.configure(wanted, token.as_ref(), &mut key.context);
        if matches!(done, Err(DeviceError::PinPolicy { .. })) {
            return Err(Refusal::Invalid(
                "the key does not take this length: it cannot fall until a reset, and no key takes more than 63".into(),
            ));
        }
        done?;
        let info = key.session.get_info(&mut key.context)?;
        if !is_so(&info, setting) {
            return Err(DeviceError::Protocol("it does not show the setting that it said it had taken").into());
        }
        let report = report(key, &info);
        self.end(what, None, Vec::new(), report)
    }
}

fn subcommand(setting: &FidoSetting) -> Subcommand<'_> {
    match setting {
        FidoSetting::MinPinLength {
            length,
            rp_ids,
            force_change,
        } => Subcommand::SetMinPinLength {
            length: Some(*length),
            rp_ids,
            force_change: *force_change,
        },
        FidoSetting::ForcePinChange => Subcommand::SetMinPinLength {
            length: None,
            rp_ids: &[],
            force_change: true,
        },
        FidoSetting::AlwaysUv(_) => Subcommand::ToggleAlwaysUv,
        FidoSetting::EnterpriseAttestation => Subcommand::EnableEnterpriseAttestation,
        FidoSetting::LongTouchForReset => Subcommand::EnableLongTouchForReset,
    }
}

/// Name in the journal.
const fn name(setting: &FidoSetting) -> &'static str {
    match setting {
        FidoSetting::MinPinLength { .. } => "min-pin-length",
        FidoSetting::ForcePinChange => "pin-change-forced",
        FidoSetting::AlwaysUv(true) => "always-uv-on",
        FidoSetting::AlwaysUv(false) => "always-uv-off",
        FidoSetting::EnterpriseAttestation => "enterprise-attestation",
        FidoSetting::LongTouchForReset => "long-touch-for-reset",
    }
}

/// What the key would refuse after it had been asked for a PIN.
fn check(info: &GetInfo, setting: &FidoSetting) -> Result<(), Refusal> {
    let pin = info.option("clientPin") == Some(true);
    match setting {
        FidoSetting::MinPinLength {
            length,
            rp_ids,
            force_change,
        } => {
            let present = info.min_pin_code_points();
            let most = info.max_pin_length.and_then(|n| u8::try_from(n).ok()).unwrap_or(63);
            if !(present..=most).contains(length) {
                return Err(Refusal::Invalid(format!(
                    "the least length can be {present} to {most}: it cannot fall until a reset"
                )));
            }
            let room = info.max_rpids_for_set_min_pin_length.unwrap_or(0);
            if rp_ids.len() as u64 > room {
                return Err(Refusal::Invalid(format!(
                    "the key keeps at most {room} relying parties that are told the least length"
                )));
            }
            if *force_change && !pin {
                return Err(DeviceError::PinNotSet.into());
            }
            Ok(())
        }
        FidoSetting::ForcePinChange if !pin => Err(DeviceError::PinNotSet.into()),
        _ => Ok(()),
    }
}

/// Whether the key shows the setting.
fn is_so(info: &GetInfo, setting: &FidoSetting) -> bool {
    match setting {
        FidoSetting::MinPinLength {
            length, force_change, ..
        } => {
            let forced = !force_change || info.force_pin_change == Some(true);
            info.min_pin_code_points() == *length && forced
        }
        FidoSetting::ForcePinChange => info.force_pin_change == Some(true),
        FidoSetting::AlwaysUv(on) => info.option("alwaysUv") == Some(*on),
        FidoSetting::EnterpriseAttestation => info.option("ep") == Some(true),
        FidoSetting::LongTouchForReset => info.long_touch_for_reset == Some(true),
    }
}

fn report(key: &Key<'_, '_>, info: &GetInfo) -> FidoReport {
    FidoReport {
        tries_left: key.tries(),
        change_forced: info.force_pin_change,
        ..FidoReport::default()
    }
}
