//! What Nitrokey 3's secrets app has in the place of YKOATH's password: a PIN with eight tries, a password safe, and codes that
//! the card compares itself.

use super::apdu::{Apdu, StatusWord};
use super::applet::{Answer, Applet, name};
use super::credential::{Extras, Kind};
use super::{tag, tlv};
use crate::crypto;
use crate::person::Presence;

const PIN_TRIES: u8 = 8;
/// Counters tried for a code that the card is shown.
const REVERSE_WINDOW: u32 = 9;

/// The PIN and how often it may still be missed.
pub(super) struct Pin {
    value: Vec<u8>,
    tries: u8,
}

impl Pin {
    fn new(value: &[u8]) -> Self {
        Self {
            value: value.to_vec(),
            tries: PIN_TRIES,
        }
    }

    /// Tries left, as SELECT tells them.
    pub fn tries(&self) -> u8 {
        self.tries
    }

    fn check(&mut self, offered: &[u8]) -> Result<(), StatusWord> {
        if self.tries == 0 {
            return Err(StatusWord::AuthenticationBlocked);
        }
        if !crypto::same(&self.value, offered) {
            self.tries -= 1;
            return Err(StatusWord::VerificationFailed);
        }
        self.tries = PIN_TRIES;
        Ok(())
    }
}

impl Applet {
    /// The instructions that only this maker has.
    pub(super) fn secrets(&mut self, apdu: &Apdu, presence: Presence) -> Answer {
        match apdu.instruction {
            0xb1 => self.verify_code(&apdu.data, presence),
            0xb2 => self.verify_pin(&apdu.data),
            0xb3 => self.change_pin(&apdu.data, presence),
            0xb4 => self.set_pin(&apdu.data, presence),
            0xb5 => self.get_credential(&apdu.data, presence),
            0xb7 => self.update(&apdu.data, presence),
            _ => Err(StatusWord::InstructionNotSupported.into()),
        }
    }

    fn verify_pin(&mut self, mut data: &[u8]) -> Answer {
        let offered = tlv::expect(&mut data, tag::PIN).ok_or(StatusWord::WrongData)?;
        let pin = self.pin.as_mut().ok_or(StatusWord::ConditionsNotSatisfied)?;
        pin.check(offered)?;
        self.verified_for_next = true;
        Ok(Vec::new())
    }

    fn change_pin(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let old = tlv::expect(&mut data, tag::PIN).ok_or(StatusWord::WrongData)?;
        let new = tlv::expect(&mut data, tag::NEW_PIN).ok_or(StatusWord::WrongData)?;
        if new.is_empty() {
            return Err(StatusWord::WrongData.into());
        }
        presence.wanted()?;
        let pin = self.pin.as_mut().ok_or(StatusWord::ConditionsNotSatisfied)?;
        pin.check(old)?;
        *pin = Pin::new(new);
        Ok(Vec::new())
    }

    fn set_pin(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let new = tlv::expect(&mut data, tag::PIN).ok_or(StatusWord::WrongData)?;
        if new.is_empty() {
            return Err(StatusWord::WrongData.into());
        }
        if self.pin.is_some() {
            return Err(StatusWord::ConditionsNotSatisfied.into());
        }
        presence.wanted()?;
        self.pin = Some(Pin::new(new));
        Ok(Vec::new())
    }

    fn verify_code(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let name = name(&mut data, self.profile.dialect)?;
        let code = tlv::expect(&mut data, tag::RESPONSE).and_then(|code| code.try_into().ok());
        let code = u32::from_be_bytes(code.ok_or(StatusWord::WrongData)?);
        let verified = self.verified;
        let credential = self.named(&name)?;
        if credential.kind != Kind::ReverseHotp {
            return Err(StatusWord::ConditionsNotSatisfied.into());
        }
        if credential.touch() && !verified {
            presence.wanted()?;
        }
        if !credential.verify(code, REVERSE_WINDOW) {
            return Err(StatusWord::VerificationFailed.into());
        }
        Ok(vec![tag::HOTP, 0])
    }

    fn get_credential(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let name = name(&mut data, self.profile.dialect)?;
        let verified = self.verified;
        let credential = self.named(&name)?;
        if credential.safe.is_empty() {
            return Err(StatusWord::FileNotFound.into());
        }
        if credential.touch() && !verified {
            presence.wanted()?;
        }
        let mut out = Vec::new();
        tlv::push(&mut out, tag::NAME, &credential.name);
        for (tag, value) in credential.safe.fields() {
            tlv::push(&mut out, tag, value);
        }
        tlv::push(&mut out, tag::PROPERTY, &[credential.property]);
        Ok(out)
    }

    /// Renames, and replaces those fields that the command names.
    fn update(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let dialect = self.profile.dialect;
        let old = name(&mut data, dialect)?;
        let new = match data.first() {
            Some(&tag::NAME) => Some(name(&mut data, dialect)?),
            _ => None,
        };
        let extras = Extras::read(data, dialect).ok_or(StatusWord::WrongData)?;
        self.named(&old)?;
        if new.as_ref().is_some_and(|new| *new != old && self.named(new).is_ok()) {
            return Err(StatusWord::AuthenticationBlocked.into());
        }
        presence.wanted()?;
        let credential = self.named(&old)?;
        credential.safe.update(extras.safe);
        credential.property = extras.property.unwrap_or(credential.property);
        if let Some(new) = new {
            credential.name = new;
        }
        Ok(Vec::new())
    }
}
