//! The applet itself: credentials, access key, computation.

use super::apdu::{Apdu, StatusWord};
use super::credential::{Credential, Extras, Kind};
use super::secrets::Pin;
use super::{tag, tlv};
use crate::crypto;
use crate::entropy::Entropy;
use crate::person::Presence;
use crate::profile::{Dialect, OathProfile};

/// Longest credential name in bytes.
const MAX_NAME: usize = 64;
/// Nitrokey's.
const MAX_NAME_NITROKEY: usize = 127;

/// Why a command stopped.
#[derive(Debug)]
pub(super) enum Halt {
    Status(StatusWord),
    Touch,
}

impl From<StatusWord> for Halt {
    fn from(status: StatusWord) -> Self {
        Self::Status(status)
    }
}

impl Presence {
    /// Stops a command that needs a finger on the key when there is none.
    pub(super) fn wanted(self) -> Result<(), Halt> {
        match self {
            Self::Touching => Ok(()),
            Self::Absent => Err(Halt::Touch),
        }
    }
}

/// The body of a response.
pub(super) type Answer = Result<Vec<u8>, Halt>;

pub(super) struct Applet {
    pub(super) profile: OathProfile,
    entropy: Entropy,
    salt: [u8; 8],
    access_key: Option<Vec<u8>>,
    challenge: [u8; 8],
    validated: bool,
    pub(super) credentials: Vec<Credential>,
    /// Nitrokey's.
    pub(super) pin: Option<Pin>,
    /// Whether the command before this one verified the PIN; that holds for one command.
    pub(super) verified: bool,
    pub(super) verified_for_next: bool,
}

impl Applet {
    pub(super) fn new(profile: &OathProfile, mut entropy: Entropy) -> Self {
        let salt = entropy.bytes();
        Self {
            profile: profile.clone(),
            entropy,
            salt,
            access_key: None,
            challenge: [0; 8],
            validated: false,
            credentials: Vec::new(),
            pin: None,
            verified: false,
            verified_for_next: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.credentials.len()
    }

    /// Version, device name, and, under a password, the challenge for VALIDATE; or tries left and serial number.
    pub(super) fn select(&mut self) -> Vec<u8> {
        self.validated = false;
        self.verified_for_next = false;
        let mut out = Vec::new();
        tlv::push(&mut out, tag::VERSION, &self.profile.version);
        tlv::push(&mut out, tag::NAME, &self.salt);
        if self.profile.dialect == Dialect::Nitrokey {
            if let Some(pin) = &self.pin {
                tlv::push(&mut out, tag::PIN_COUNTER, &[pin.tries()]);
            }
            // No part of what a reset changes.
            let [a, b, c, d, ..] = crypto::sha256(self.profile.version.as_slice());
            tlv::push(&mut out, tag::SERIAL, &[a, b, c, d]);
        }
        if self.access_key.is_some() {
            self.challenge = self.entropy.bytes();
            tlv::push(&mut out, tag::CHALLENGE, &self.challenge);
            tlv::push(&mut out, tag::ALGORITHM, &[0x01]);
        }
        out
    }

    /// Runs one command. Whoever has verified the PIN is known for the next command only, and while that waits for a touch.
    pub(super) fn execute(&mut self, apdu: &Apdu, presence: Presence) -> Answer {
        self.verified = std::mem::take(&mut self.verified_for_next);
        let answer = self.dispatch(apdu, presence);
        if matches!(answer, Err(Halt::Touch)) {
            self.verified_for_next = self.verified;
        }
        answer
    }

    fn dispatch(&mut self, apdu: &Apdu, presence: Presence) -> Answer {
        let free = matches!(apdu.instruction, 0x04 | 0xa3);
        if self.access_key.is_some() && !self.validated && !free {
            return Err(StatusWord::SecurityNotSatisfied.into());
        }
        let dialect = self.profile.dialect;
        let nitrokey = dialect == Dialect::Nitrokey;
        match apdu.instruction {
            0x01 => self.put(&apdu.data, presence),
            0x02 => self.delete(&apdu.data, presence),
            0x03 if !nitrokey => self.set_code(&apdu.data),
            0x04 if dialect != Dialect::Canokey => self.reset(apdu, presence),
            0x05 if self.profile.renames() => self.rename(&apdu.data),
            0x55 if dialect == Dialect::Canokey => self.set_default(&apdu.data),
            0xa1 => Ok(self.list(nitrokey && apdu.data == [0x01])),
            0xa2 => self.calculate(&apdu.data, apdu.p2, presence),
            0xa3 if !nitrokey => self.validate(&apdu.data),
            0xa4 => self.calculate_all(&apdu.data, apdu.p2),
            _ if nitrokey => self.secrets(apdu, presence),
            _ => Err(StatusWord::InstructionNotSupported.into()),
        }
    }

    fn put(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let dialect = self.profile.dialect;
        let name = name(&mut data, dialect)?;
        let key = match data.first() {
            Some(&tag::KEY) => Some(tlv::expect(&mut data, tag::KEY).ok_or(StatusWord::WrongData)?),
            _ => None,
        };
        let rest = Extras::read(data, dialect).ok_or(StatusWord::WrongData)?;
        let new = Credential::new(name, key, rest, &self.profile)?;
        let known = self.credentials.iter().position(|one| one.name == new.name);
        if known.is_some() && !self.profile.replaces() {
            return Err(self.profile.duplicate().into());
        }
        if known.is_none() && self.credentials.len() >= self.profile.slots {
            return Err(StatusWord::NoSpace.into());
        }
        if dialect == Dialect::Nitrokey {
            if new.behind_pin() && !self.verified {
                return Err(StatusWord::SecurityNotSatisfied.into());
            }
            presence.wanted()?;
        }
        match known.and_then(|index| self.credentials.get_mut(index)) {
            Some(old) => *old = new,
            None => self.credentials.push(new),
        }
        Ok(Vec::new())
    }

    fn delete(&mut self, mut data: &[u8], presence: Presence) -> Answer {
        let name = name(&mut data, self.profile.dialect)?;
        let index = self.find(&name)?;
        if self.profile.dialect == Dialect::Nitrokey {
            presence.wanted()?;
        }
        self.credentials.remove(index);
        Ok(Vec::new())
    }

    fn find(&self, name: &[u8]) -> Result<usize, Halt> {
        let verified = self.verified;
        self.credentials
            .iter()
            .position(|one| one.name == name && (verified || !one.behind_pin()))
            .ok_or(Halt::Status(self.profile.unknown()))
    }

    /// The credential called `name`; one behind the PIN is not there for who has not verified it.
    pub(super) fn named(&mut self, name: &[u8]) -> Result<&mut Credential, Halt> {
        let unknown = self.profile.unknown();
        let index = self.find(name)?;
        self.credentials.get_mut(index).ok_or(Halt::Status(unknown))
    }

    /// Sets the access key, proved by a response to a challenge of the host's; an empty key removes it.
    fn set_code(&mut self, mut data: &[u8]) -> Answer {
        let key = tlv::expect(&mut data, tag::KEY).ok_or(StatusWord::WrongData)?;
        let [_algorithm, key @ ..] = key else {
            self.access_key = None;
            return Ok(Vec::new());
        };
        if key.is_empty() {
            self.access_key = None;
            return Ok(Vec::new());
        }
        let challenge = tlv::expect(&mut data, tag::CHALLENGE).ok_or(StatusWord::WrongData)?;
        let response = tlv::expect(&mut data, tag::RESPONSE).ok_or(StatusWord::WrongData)?;
        if !crypto::same(&crypto::hmac_sha1(key, challenge), response) {
            return Err(StatusWord::WrongData.into());
        }
        self.access_key = Some(key.to_vec());
        // From firmware 4 on who set the code need not prove it again in this session; the NEO forgets.
        self.validated = self.profile.version >= [4, 0, 0];
        Ok(Vec::new())
    }

    fn validate(&mut self, mut data: &[u8]) -> Answer {
        let response = tlv::expect(&mut data, tag::RESPONSE).ok_or(StatusWord::WrongData)?;
        let challenge = tlv::expect(&mut data, tag::CHALLENGE).ok_or(StatusWord::WrongData)?;
        let Some(key) = &self.access_key else {
            return Err(self.profile.unknown().into());
        };
        // There is no counter of wrong passwords: who drives this card must throttle.
        if !crypto::same(&crypto::hmac_sha1(key, &self.challenge), response) {
            return Err(StatusWord::WrongData.into());
        }
        self.validated = true;
        let mut out = Vec::new();
        tlv::push(&mut out, tag::RESPONSE, &crypto::hmac_sha1(key, challenge));
        Ok(out)
    }

    /// Forgets everything and takes a new device name, so that the device id changes too.
    fn reset(&mut self, apdu: &Apdu, presence: Presence) -> Answer {
        if (apdu.p1, apdu.p2) != (0xde, 0xad) {
            return Err(StatusWord::WrongP1P2.into());
        }
        if self.profile.dialect == Dialect::Nitrokey {
            presence.wanted()?;
        }
        self.credentials.clear();
        self.access_key = None;
        self.pin = None;
        self.salt = self.entropy.bytes();
        Ok(Vec::new())
    }

    fn rename(&mut self, mut data: &[u8]) -> Answer {
        let old = name(&mut data, self.profile.dialect)?;
        let new = name(&mut data, self.profile.dialect)?;
        self.find(&old)?;
        if self.find(&new).is_ok() {
            return Err(StatusWord::ConditionsNotSatisfied.into());
        }
        self.named(&old)?.name = new;
        Ok(Vec::new())
    }

    /// CanoKey types the named HOTP credential when its pad is touched.
    fn set_default(&mut self, mut data: &[u8]) -> Answer {
        let name = name(&mut data, self.profile.dialect)?;
        match self.named(&name)?.kind {
            Kind::Hotp => Ok(Vec::new()),
            _ => Err(StatusWord::ConditionsNotSatisfied.into()),
        }
    }

    /// Every credential's type and name; Nitrokey's version 1 adds the property.
    fn list(&self, with_property: bool) -> Vec<u8> {
        let mut out = Vec::new();
        for credential in self.visible() {
            let mut value = vec![credential.type_byte];
            value.extend(&credential.name);
            if with_property {
                value.push(credential.property);
            }
            tlv::push(&mut out, tag::NAME_LIST, &value);
        }
        out
    }

    fn visible(&self) -> impl Iterator<Item = &Credential> {
        let verified = self.verified;
        self.credentials.iter().filter(move |one| verified || !one.behind_pin())
    }

    fn calculate(&mut self, mut data: &[u8], p2: u8, presence: Presence) -> Answer {
        let dialect = self.profile.dialect;
        let name = name(&mut data, dialect)?;
        let challenge = tlv::expect(&mut data, tag::CHALLENGE).ok_or(StatusWord::WrongData)?;
        // Whoever has just shown Nitrokey the PIN need not touch it too.
        let verified = self.verified;
        let credential = self.named(&name)?;
        if credential.touch() && !verified {
            presence.wanted()?;
        }
        let mac = credential.compute(challenge, dialect)?;
        let mut out = Vec::new();
        credential.answer(&mut out, &mac, p2);
        Ok(out)
    }

    /// Every TOTP value; HOTP and touch credentials only say that they are there.
    fn calculate_all(&mut self, mut data: &[u8], p2: u8) -> Answer {
        let challenge = tlv::expect(&mut data, tag::CHALLENGE).ok_or(StatusWord::WrongData)?;
        let (dialect, verified) = (self.profile.dialect, self.verified);
        let mut out = Vec::new();
        for credential in &mut self.credentials {
            if credential.behind_pin() && !verified {
                continue;
            }
            tlv::push(&mut out, tag::NAME, &credential.name);
            match credential.kind {
                Kind::Totp if credential.touch() => tlv::push(&mut out, tag::TOUCH, &[credential.digits]),
                Kind::Totp => {
                    let mac = credential.compute(challenge, dialect)?;
                    credential.answer(&mut out, &mac, p2);
                }
                _ => tlv::push(&mut out, tag::HOTP, &[credential.digits]),
            }
        }
        Ok(out)
    }
}

/// Reads a credential's name.
pub(super) fn name(data: &mut &[u8], dialect: Dialect) -> Result<Vec<u8>, Halt> {
    let name = tlv::expect(data, tag::NAME).ok_or(StatusWord::WrongData)?;
    let longest = match dialect {
        Dialect::Nitrokey => MAX_NAME_NITROKEY,
        _ => MAX_NAME,
    };
    if name.is_empty() || name.len() > longest {
        return Err(StatusWord::WrongData.into());
    }
    Ok(name.to_vec())
}
