//! Records of the ledger as the bus tells them. Only guarded methods may: they name persons and serials.

use super::values::{Dict, Put, path_of};
use crate::ledger::{Binding, Duty, Factor, Obligation, TokenRecord};
use crate::types::{DeviceId, RevokeReason};

/// An obligation, and the device it is about when that is plugged in now.
pub(super) fn obligation(obligation: &Obligation, device: Option<DeviceId>) -> Dict {
    let mut told = Dict::new();
    told.put("id", obligation.id.to_string());
    told.put("token", obligation.token.to_string());
    told.put("duty", duty(&obligation.duty));
    told.put("reality", obligation.reality.as_str());
    told.put("created-ms", obligation.created.0);
    told.put_some("device", device.and_then(|id| path_of(id).ok()));
    told
}

const fn duty(duty: &Duty) -> &'static str {
    match duty {
        Duty::DeleteCredential { .. } => "delete-credential",
        Duty::DeleteOrphan { .. } => "delete-orphan",
        Duty::ResetKey { .. } => "reset-key",
        Duty::DeleteOath { .. } => "delete-oath",
        Duty::OverwriteSeed { .. } => "overwrite-seed",
        Duty::CollectFob => "collect-fob",
    }
}

/// A token's record.
pub(super) fn token(token: &TokenRecord) -> Dict {
    let mut told = Dict::new();
    told.put("id", token.id.to_string());
    told.put("kind", token.kind.as_str());
    told.put("state", token.state.as_str());
    told.put("reality", token.reality.as_str());
    told.put("model", token.model.as_str());
    told.put_some("maker", token.maker.clone());
    told.put_some("batch", token.batch.clone());
    told.put_some("valid-from-ms", token.valid_from.map(|at| at.0));
    told.put_some("valid-until-ms", token.valid_until.map(|at| at.0));
    told.put_some("subject", token.personal.subject.clone());
    told.put_some("serial", token.personal.serial.clone());
    told.put_some("label", token.personal.label.clone());
    told.put_some("revoke-reason", token.revoke_reason.map(RevokeReason::as_str));
    told.put("offset-ms", token.offset_ms);
    told.put_some("watermark", token.watermark);
    told.put("sign-count", token.sign_count);
    told.put("failures", token.failures);
    told.put_some("last-seen-ms", token.last_seen.map(|seen| seen.0));
    told.put("created-ms", token.created.0);
    told.put("updated-ms", token.updated.0);
    match &token.binding {
        Binding::None => {}
        Binding::Fido2 {
            rp_id,
            credential_id,
            aaguid,
            identity,
            organisation,
            ..
        } => {
            told.put("rp-id", rp_id.as_str());
            told.put("credential-id", credential_id.as_str());
            told.put("aaguid", aaguid.as_str());
            told.put("organisation", *organisation);
            if let Some(identity) = identity {
                told.put("confidence", identity.confidence.as_str());
                told.put_some("fingerprint", identity.fingerprint.clone());
                told.put_some("attestation", identity.attestation.clone());
            }
        }
        Binding::OathCard { name, .. } | Binding::EventCard { name, .. } => told.put("oath-name", name.as_str()),
        Binding::NfcFob { clock_wipes_seed, .. } => told.put_some("clock-wipes-seed", *clock_wipes_seed),
        Binding::RecoveryCodes { count } => told.put("count", u32::from(*count)),
        Binding::Fob { .. } | Binding::EventFob { .. } | Binding::App { .. } => {}
    }
    if let Some(oath) = token.binding.oath() {
        told.put("algorithm", oath.algorithm.as_str());
        told.put("digits", u32::from(oath.digits));
        match oath.factor {
            Factor::Time { period_s } => {
                told.put("factor", "time");
                told.put("period-s", period_s);
            }
            Factor::Event => told.put("factor", "event"),
        }
    }
    told
}
