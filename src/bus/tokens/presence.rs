//! Verbs on one token that is there already: those that may need its device, and those that need its id alone.

use crate::bus::call::Call;
use crate::bus::error::BusError;
use crate::bus::sealed::Sealed;
use crate::bus::values::{Dict, Options, TextRule, code, parse};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::Request;
use crate::types::{DeviceId, ObligationId, RevokeReason, TokenId};

/// A verb that needs a token's id and nothing else.
pub(super) fn alone(token: &str, options: Dict, request: impl FnOnce(TokenId) -> Request) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let case = Options::new(options, &[])?.case()?;
    Ok(Call::plain(Deed::on(Object::Token(token), case), request(token)))
}

/// Gives a token to a person.
pub(super) fn assign(token: &str, subject: String, options: Dict) -> Result<Call, BusError> {
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let token = parse::<TokenId>("token", token)?;
    let mut given = Options::new(options, &[key::REPLACES])?;
    let old = given.name(key::REPLACES)?;
    let deed = Deed::on(Object::Token(token), given.case()?).for_subject(&subject);
    Ok(Call::plain(deed, Request::Assign { token, subject }.replacing(old)))
}

/// Has a token replaced.
pub(super) fn replace(token: &str, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let mut given = Options::new(options, &[key::LOST, key::WITHDRAW])?;
    let (lost, withdraw) = (given.flag(key::LOST)?, given.flag(key::WITHDRAW)?);
    if lost && withdraw {
        return Err(BusError::invalid(
            "option “withdraw” says that the token is not replaced after all, so it does not go with “lost”",
        ));
    }
    let deed = Deed::on(Object::Token(token), given.case()?).with(key::LOST, lost);
    Ok(Call::plain(deed, Request::Replace { token, lost, withdraw }))
}

/// Tests a token.
pub(super) fn test(token: &str, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let known = [
        key::CODE,
        key::PIN,
        key::DEVICE,
        key::PASSWORD,
        key::WAIT_S,
        key::LAST_TRIES,
    ];
    let mut given = Options::new(options, &known)?;
    let code = given.string(key::CODE)?.map(code).transpose()?;
    let (device, sealed, last_tries) = presence(&mut given)?;
    let wait = given.wait()?;
    let deed = Deed::on(Object::Token(token), given.case()?).with(key::LAST_TRIES, last_tries);
    Ok(Call::new(deed, sealed, move |opened| {
        let at = opened.presence(device, last_tries);
        Ok(Request::Test { token, code, at }.waiting(wait))
    }))
}

/// Revokes a token.
pub(super) fn revoke(token: &str, reason: &str, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let reason = parse::<RevokeReason>("reason", reason)?;
    let known = [
        key::DEVICE,
        key::PIN,
        key::PASSWORD,
        key::RESET,
        key::ABSENT,
        key::LAST_TRIES,
        key::WAIT_S,
    ];
    let mut given = Options::new(options, &known)?;
    let (device, sealed, last_tries) = presence(&mut given)?;
    let reset = given.flag(key::RESET)?;
    let wait = given.wait()?;
    let absent = given.flag(key::ABSENT)?;
    if absent && (reset || device.is_some()) {
        return Err(BusError::invalid(
            "option “absent” says not to look for the device, so it goes neither with “device” nor with “reset”",
        ));
    }
    let deed = Deed::on(Object::Token(token), given.case()?).with(key::RESET, reset);
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::Revoke {
            token,
            reason,
            at: opened.presence(device, last_tries),
            reset,
            absent,
        }
        .waiting(wait))
    }))
}

/// Settles an obligation.
pub(super) fn discharge(obligation: &str, options: Dict) -> Result<Call, BusError> {
    let obligation = parse::<ObligationId>("obligation", obligation)?;
    let known = [
        key::DEVICE,
        key::PIN,
        key::PASSWORD,
        key::WAIT_S,
        key::COLLECTED,
        key::RESET,
        key::LAST_TRIES,
    ];
    let mut given = Options::new(options, &known)?;
    let (device, sealed, last_tries) = presence(&mut given)?;
    let wait = given.wait()?;
    let collected = given.flag(key::COLLECTED)?;
    let reset = given.flag(key::RESET)?;
    let deed = Deed::on(Object::Obligation(obligation), given.case()?)
        .with(key::RESET, reset)
        .with(key::COLLECTED, collected);
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::Discharge {
            obligation,
            at: opened.presence(device, last_tries),
            collected,
            reset,
        }
        .waiting(wait))
    }))
}

/// The device, what opens it, and whether one of the last tries may be used.
fn presence(given: &mut Options) -> Result<(Option<DeviceId>, Sealed, bool), BusError> {
    let device = given.device()?;
    let sealed = Sealed {
        pin: given.descriptor(key::PIN)?,
        password: given.descriptor(key::PASSWORD)?,
        ..Sealed::default()
    };
    Ok((device, sealed, given.flag(key::LAST_TRIES)?))
}
