//! The ways a token begins, one token at a time.

use std::os::fd::OwnedFd;

use zbus::ObjectPath;

use crate::bus::call::Call;
use crate::bus::error::BusError;
use crate::bus::sealed::{Sealed, encoding, required};
use crate::bus::values::{Dict, Options, TextRule, codes, device_path};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::{AppOptions, Fido2Options, FobOptions, NfcFobOptions, OathOptions, Request};

/// A FIDO2 key.
pub(super) fn fido2(device: &ObjectPath<'_>, subject: String, pin: OwnedFd, options: Dict) -> Result<Call, BusError> {
    let device = device_path("device", device)?;
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let known = [
        key::LABEL,
        key::SERIAL,
        key::RP_ID,
        key::USER_NAME,
        key::DISCOVERABLE,
        key::LAST_TRIES,
        key::ORGANISATION,
        key::WAIT_S,
        key::REPLACES,
    ];
    let mut given = Options::new(options, &known)?;
    let old = given.name(key::REPLACES)?;
    let options = Fido2Options {
        label: given.text(key::LABEL, TextRule::LABEL)?,
        serial: given.text(key::SERIAL, TextRule::SERIAL)?,
        rp_id: given.text(key::RP_ID, TextRule::RP_ID)?,
        user_name: given.text(key::USER_NAME, TextRule::USER_NAME)?,
        discoverable: given.choice(key::DISCOVERABLE)?,
        last_tries: given.flag(key::LAST_TRIES)?,
        organisation: given.flag(key::ORGANISATION)?,
    };
    let wait = given.wait()?;
    let deed = Deed::on(Object::Device(device), given.case()?).for_subject(&subject);
    let sealed = Sealed {
        pin: Some(pin),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::RegisterFido2 {
            device,
            subject,
            pin: required(opened.pin)?,
            options,
        }
        .replacing(old)
        .waiting(wait))
    }))
}

/// A credential of an OATH applet.
pub(super) fn oath_card(device: &ObjectPath<'_>, subject: String, options: Dict) -> Result<Call, BusError> {
    let device = device_path("device", device)?;
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let known = [
        key::LABEL,
        key::SERIAL,
        key::ALGORITHM,
        key::DIGITS,
        key::PERIOD_S,
        key::TOUCH,
        key::ONLY_INCREASING,
        key::EVENT,
        key::PASSWORD,
        key::REPLACES,
    ];
    let mut given = Options::new(options, &known)?;
    let old = given.name(key::REPLACES)?;
    let mut options = OathOptions {
        label: given.text(key::LABEL, TextRule::LABEL)?,
        serial: given.text(key::SERIAL, TextRule::SERIAL)?,
        algorithm: given.name(key::ALGORITHM)?,
        digits: given.digits()?,
        period_s: given.period()?,
        touch: given.flag(key::TOUCH)?,
        only_increasing: given.flag(key::ONLY_INCREASING)?,
        event: given.flag(key::EVENT)?,
        password: None,
    };
    let deed = Deed::on(Object::Device(device), given.case()?).for_subject(&subject);
    let sealed = Sealed {
        password: given.descriptor(key::PASSWORD)?,
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        options.password = opened.password;
        Ok(Request::RegisterOathCard {
            device,
            subject,
            options,
        }
        .replacing(old))
    }))
}

/// A display fob whose seed is known.
pub(super) fn fob(
    subject: String,
    serial: String,
    seed: OwnedFd,
    codes: Vec<String>,
    options: Dict,
) -> Result<Call, BusError> {
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let serial = TextRule::SERIAL.check("serial", serial)?;
    let codes = if codes.is_empty() { codes } else { self::codes(codes)? };
    let known = [
        key::ENCODING,
        key::LABEL,
        key::ALGORITHM,
        key::DIGITS,
        key::PERIOD_S,
        key::MODEL,
        key::MAKER,
        key::FACTOR,
        key::COUNTER,
        key::REPLACES,
    ];
    let mut given = Options::new(options, &known)?;
    let old = given.name(key::REPLACES)?;
    let encoding = encoding(given.string(key::ENCODING)?)?;
    let options = FobOptions {
        label: given.text(key::LABEL, TextRule::LABEL)?,
        model: given.text(key::MODEL, TextRule::MODEL)?,
        algorithm: given.name(key::ALGORITHM)?,
        digits: given.digits()?,
        period_s: given.period()?,
        maker: given.text(key::MAKER, TextRule::MODEL)?,
        factor: given.name(key::FACTOR)?,
        counter: given.counter()?,
    };
    let deed = Deed::on(Object::NewFob, given.case()?).for_subject(&subject);
    let sealed = Sealed {
        seed: Some((seed, encoding)),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::RegisterFob {
            subject,
            serial,
            seed: required(opened.seed)?,
            codes,
            options,
        }
        .replacing(old))
    }))
}

/// A display fob that is written over NFC.
pub(super) fn nfc_fob(device: &ObjectPath<'_>, subject: String, options: Dict) -> Result<Call, BusError> {
    let device = device_path("device", device)?;
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let known = [
        key::SEED,
        key::ENCODING,
        key::LABEL,
        key::ALGORITHM,
        key::PERIOD_S,
        key::UNSYNCHRONISED,
        key::REPLACES,
    ];
    let mut given = Options::new(options, &known)?;
    let old = given.name(key::REPLACES)?;
    let encoding = encoding(given.string(key::ENCODING)?)?;
    let options = NfcFobOptions {
        label: given.text(key::LABEL, TextRule::LABEL)?,
        algorithm: given.name(key::ALGORITHM)?,
        period_s: given.period()?,
        unsynchronised: given.flag(key::UNSYNCHRONISED)?,
    };
    let deed = Deed::on(Object::Device(device), given.case()?)
        .for_subject(&subject)
        .with(key::UNSYNCHRONISED, options.unsynchronised);
    let sealed = Sealed {
        seed: given.descriptor(key::SEED)?.map(|fd| (fd, encoding)),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::RegisterNfcFob {
            device,
            subject,
            seed: opened.seed,
            options,
        }
        .replacing(old))
    }))
}

/// An app, whose seed goes out through `pairing`.
pub(super) fn app(subject: String, pairing: OwnedFd, options: Dict) -> Result<Call, BusError> {
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let known = [
        key::LABEL,
        key::ISSUER,
        key::ACCOUNT,
        key::ALGORITHM,
        key::DIGITS,
        key::PERIOD_S,
        key::REPLACES,
    ];
    let mut given = Options::new(options, &known)?;
    let old = given.name(key::REPLACES)?;
    let options = AppOptions {
        label: given.text(key::LABEL, TextRule::LABEL)?,
        issuer: given.text(key::ISSUER, TextRule::MODEL)?,
        account: given.text(key::ACCOUNT, TextRule::SUBJECT)?,
        algorithm: given.name(key::ALGORITHM)?,
        digits: given.digits()?,
        period_s: given.period()?,
    };
    let deed = Deed::on(Object::NewFob, given.case()?).for_subject(&subject);
    let sealed = Sealed {
        out: Some(pairing),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::RegisterApp {
            subject,
            pairing: required(opened.out)?,
            options,
        }
        .replacing(old))
    }))
}

/// A sheet of recovery codes, which go out through `codes`.
pub(super) fn recovery_codes(subject: String, codes: OwnedFd, options: Dict) -> Result<Call, BusError> {
    let subject = TextRule::SUBJECT.check("subject", subject)?;
    let mut given = Options::new(options, &[key::COUNT])?;
    let count = given.number(key::COUNT, 1..=32)?;
    let count = count.and_then(|count| u16::try_from(count).ok());
    let deed = Deed::on(Object::NewFob, given.case()?).for_subject(&subject);
    let sealed = Sealed {
        out: Some(codes),
        ..Sealed::default()
    };
    Ok(Call::new(deed, sealed, move |opened| {
        Ok(Request::RegisterRecoveryCodes {
            subject,
            sheet: required(opened.out)?,
            count,
        })
    }))
}
