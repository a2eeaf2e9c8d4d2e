//! FIDO2 keys on behalf of an identity provider.

use std::os::fd::OwnedFd;

use zbus::ObjectPath;

use crate::bus::call::Call;
use crate::bus::error::BusError;
use crate::bus::sealed::{Sealed, required};
use crate::bus::values::{Dict, Options, TextRule, device_path, parse};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::{Commission, Query, Request};
use crate::types::{Provider, TokenId};

/// The provider's JSON, and where the answer to it goes.
pub(super) struct Sent {
    pub(super) json: OwnedFd,
    pub(super) response: OwnedFd,
}

/// A registration.
pub(super) fn register(
    device: &ObjectPath<'_>,
    subject: String,
    origin: String,
    pin: OwnedFd,
    sent: Sent,
    options: Dict,
) -> Result<Call, BusError> {
    let device = device_path("device", device)?;
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let origin = TextRule::ORIGIN.check("origin", origin)?;
    let mut given = Options::new(options, &[key::PROVIDER, key::LABEL, key::SERIAL, key::REPLACES])?;
    let old = given.name(key::REPLACES)?;
    let provider = given.name::<Provider>(key::PROVIDER)?.unwrap_or(Provider::Webauthn);
    let label = given.text(key::LABEL, TextRule::LABEL)?;
    let serial = given.text(key::SERIAL, TextRule::SERIAL)?;
    let deed = Deed::on(Object::Device(device), given.case()?).for_subject(&subject);
    let sealed = Sealed {
        pin: Some(pin),
        json: Some(sent.json),
        out: Some(sent.response),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        let commission = Commission {
            subject,
            provider,
            origin,
            creation: required(opened.json)?,
            response: required(opened.out)?,
            label,
            serial,
        };
        Ok(Request::RegisterForProvider {
            device,
            pin: required(opened.pin)?,
            commission: Box::new(commission),
        }
        .replacing(old))
    }))
}

/// A test.
pub(super) fn test(token: &str, origin: String, sent: Sent, options: Dict) -> Result<Call, BusError> {
    let token = parse::<TokenId>("token", token)?;
    let origin = TextRule::ORIGIN.check("origin", origin)?;
    let mut given = Options::new(options, &[key::PIN, key::LAST_TRIES, key::DEVICE])?;
    let device = given.device()?;
    let last_tries = given.flag(key::LAST_TRIES)?;
    let sealed = Sealed {
        pin: given.descriptor(key::PIN)?,
        json: Some(sent.json),
        out: Some(sent.response),
        ..Sealed::default()
    };
    let deed = Deed::on(Object::Token(token), given.case()?).with(key::LAST_TRIES, last_tries);
    Ok(Call::new(deed, sealed, move |mut opened| {
        let query = Query {
            origin,
            request: required(opened.json.take())?,
            response: required(opened.out.take())?,
        };
        Ok(Request::TestForProvider {
            token,
            at: opened.presence(device, last_tries),
            query: Box::new(query),
        })
    }))
}
