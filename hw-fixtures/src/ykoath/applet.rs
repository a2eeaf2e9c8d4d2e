//! The applet itself: credentials, access key, computation.

use super::apdu::{Apdu, StatusWord};
use super::tlv;
use crate::crypto;
use crate::entropy::Entropy;
use crate::oath::{self, Hash};
use crate::person::Presence;
use crate::profile::OathProfile;

const TAG_NAME: u8 = 0x71;
const TAG_NAME_LIST: u8 = 0x72;
const TAG_KEY: u8 = 0x73;
const TAG_CHALLENGE: u8 = 0x74;
const TAG_RESPONSE: u8 = 0x75;
const TAG_TRUNCATED: u8 = 0x76;
const TAG_HOTP: u8 = 0x77;
const TAG_PROPERTY: u8 = 0x78;
const TAG_VERSION: u8 = 0x79;
const TAG_MOVING_FACTOR: u8 = 0x7a;
const TAG_ALGORITHM: u8 = 0x7b;
const TAG_TOUCH: u8 = 0x7c;

const PROPERTY_INCREASING: u8 = 0x01;
const PROPERTY_TOUCH: u8 = 0x02;

/// Longest credential name in bytes.
const MAX_NAME: usize = 64;
/// Shorter keys are padded with zeros to this length.
const MIN_KEY: usize = 14;

/// Why a command stopped.
pub(super) enum Halt {
    Status(StatusWord),
    Touch,
}

impl From<StatusWord> for Halt {
    fn from(status: StatusWord) -> Self {
        Self::Status(status)
    }
}

/// The body of a response.
type Answer = Result<Vec<u8>, Halt>;

struct Credential {
    name: Vec<u8>,
    /// Type in the high nibble, algorithm in the low one, as it was put.
    kind: u8,
    hotp: bool,
    hash: Hash,
    digits: u8,
    key: Vec<u8>,
    touch: bool,
    increasing: bool,
    /// The counter of a HOTP credential.
    counter: u32,
    /// The last challenge of an only-increasing credential.
    last_challenge: Vec<u8>,
}

pub(super) struct Applet {
    profile: OathProfile,
    entropy: Entropy,
    salt: [u8; 8],
    access_key: Option<Vec<u8>>,
    challenge: [u8; 8],
    validated: bool,
    credentials: Vec<Credential>,
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
        }
    }

    pub(super) fn len(&self) -> usize {
        self.credentials.len()
    }

    /// Version, device name, and, under a password, the challenge for VALIDATE.
    pub(super) fn select(&mut self) -> Vec<u8> {
        self.validated = false;
        let mut out = Vec::new();
        tlv::push(&mut out, TAG_VERSION, &self.profile.version);
        tlv::push(&mut out, TAG_NAME, &self.salt);
        if self.access_key.is_some() {
            self.challenge = self.entropy.bytes();
            tlv::push(&mut out, TAG_CHALLENGE, &self.challenge);
            tlv::push(&mut out, TAG_ALGORITHM, &[0x01]);
        }
        out
    }

    pub(super) fn execute(&mut self, apdu: &Apdu, presence: Presence) -> Answer {
        let free = matches!(apdu.instruction, 0x04 | 0xa3);
        if self.access_key.is_some() && !self.validated && !free {
            return Err(StatusWord::SecurityNotSatisfied.into());
        }
        match apdu.instruction {
            0x01 => self.put(&apdu.data),
            0x02 => self.delete(&apdu.data),
            0x03 => self.set_code(&apdu.data),
            0x04 if !self.profile.canokey => self.reset(apdu),
            0x05 if self.profile.version >= [5, 3, 1] => self.rename(&apdu.data),
            0xa1 => Ok(self.list()),
            0xa2 => self.calculate(&apdu.data, apdu.p2, presence),
            0xa3 => self.validate(&apdu.data),
            0xa4 => self.calculate_all(&apdu.data, apdu.p2),
            _ => Err(StatusWord::InstructionNotSupported.into()),
        }
    }

    fn put(&mut self, mut data: &[u8]) -> Answer {
        let name = name(&mut data)?;
        let [kind, digits, key @ ..] = tlv::expect(&mut data, TAG_KEY).ok_or(StatusWord::WrongData)? else {
            return Err(StatusWord::WrongData.into());
        };
        let (property, counter) = read_extras(data).ok_or(StatusWord::WrongData)?;
        let hash = self.hash(kind & 0x0f).ok_or(StatusWord::WrongData)?;
        let hotp = match kind & 0xf0 {
            0x10 => true,
            0x20 => false,
            _ => return Err(StatusWord::WrongData.into()),
        };
        let touch = property & PROPERTY_TOUCH != 0;
        if key.is_empty() || key.len() > 64 || !(4..=10).contains(digits) || (touch && self.profile.version < [4, 2, 4])
        {
            return Err(StatusWord::WrongData.into());
        }
        let known = self.credentials.iter().position(|credential| credential.name == name);
        if known.is_some() && self.profile.canokey {
            return Err(StatusWord::ConditionsNotSatisfied.into());
        }
        let mut key = key.to_vec();
        key.resize(key.len().max(MIN_KEY), 0);
        let new = Credential {
            name,
            kind: *kind,
            hotp,
            hash,
            digits: *digits,
            key,
            touch,
            increasing: property & PROPERTY_INCREASING != 0,
            counter,
            last_challenge: Vec::new(),
        };
        if known.is_none() && self.credentials.len() >= self.profile.slots {
            return Err(StatusWord::NoSpace.into());
        }
        match known.and_then(|index| self.credentials.get_mut(index)) {
            Some(old) => *old = new,
            None => self.credentials.push(new),
        }
        Ok(Vec::new())
    }

    fn hash(&self, algorithm: u8) -> Option<Hash> {
        match algorithm {
            1 => Some(Hash::Sha1),
            2 => Some(Hash::Sha256),
            3 if self.profile.version >= [4, 3, 1] => Some(Hash::Sha512),
            _ => None,
        }
    }

    fn delete(&mut self, mut data: &[u8]) -> Answer {
        let name = name(&mut data)?;
        let index = self.find(&name)?;
        self.credentials.remove(index);
        Ok(Vec::new())
    }

    fn find(&self, name: &[u8]) -> Result<usize, Halt> {
        let found = self.credentials.iter().position(|credential| credential.name == name);
        found.ok_or(Halt::Status(StatusWord::NoSuchObject))
    }

    /// Sets the access key, proved by a response to a challenge of the host's; an empty key removes it.
    fn set_code(&mut self, mut data: &[u8]) -> Answer {
        let key = tlv::expect(&mut data, TAG_KEY).ok_or(StatusWord::WrongData)?;
        let [_algorithm, key @ ..] = key else {
            self.access_key = None;
            return Ok(Vec::new());
        };
        if key.is_empty() {
            self.access_key = None;
            return Ok(Vec::new());
        }
        let challenge = tlv::expect(&mut data, TAG_CHALLENGE).ok_or(StatusWord::WrongData)?;
        let response = tlv::expect(&mut data, TAG_RESPONSE).ok_or(StatusWord::WrongData)?;
        if !crypto::same(&crypto::hmac_sha1(key, challenge), response) {
            return Err(StatusWord::WrongData.into());
        }
        self.access_key = Some(key.to_vec());
        // From firmware 4 on who set the code need not prove it again in this session; the NEO forgets.
        self.validated = self.profile.version >= [4, 0, 0];
        Ok(Vec::new())
    }

    fn validate(&mut self, mut data: &[u8]) -> Answer {
        let response = tlv::expect(&mut data, TAG_RESPONSE).ok_or(StatusWord::WrongData)?;
        let challenge = tlv::expect(&mut data, TAG_CHALLENGE).ok_or(StatusWord::WrongData)?;
        let Some(key) = &self.access_key else {
            return Err(StatusWord::NoSuchObject.into());
        };
        // There is no counter of wrong passwords: who drives this card must throttle.
        if !crypto::same(&crypto::hmac_sha1(key, &self.challenge), response) {
            return Err(StatusWord::WrongData.into());
        }
        self.validated = true;
        let mut out = Vec::new();
        tlv::push(&mut out, TAG_RESPONSE, &crypto::hmac_sha1(key, challenge));
        Ok(out)
    }

    /// Forgets everything and takes a new device name, so that the device id changes too.
    fn reset(&mut self, apdu: &Apdu) -> Answer {
        if (apdu.p1, apdu.p2) != (0xde, 0xad) {
            return Err(StatusWord::WrongP1P2.into());
        }
        self.credentials.clear();
        self.access_key = None;
        self.salt = self.entropy.bytes();
        Ok(Vec::new())
    }

    fn rename(&mut self, mut data: &[u8]) -> Answer {
        let old = name(&mut data)?;
        let new = name(&mut data)?;
        let index = self.find(&old)?;
        if self.find(&new).is_ok() {
            return Err(StatusWord::ConditionsNotSatisfied.into());
        }
        if let Some(credential) = self.credentials.get_mut(index) {
            credential.name = new;
        }
        Ok(Vec::new())
    }

    fn list(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for credential in &self.credentials {
            tlv::push(
                &mut out,
                TAG_NAME_LIST,
                &[&[credential.kind][..], &credential.name].concat(),
            );
        }
        out
    }

    fn calculate(&mut self, mut data: &[u8], p2: u8, presence: Presence) -> Answer {
        let name = name(&mut data)?;
        let challenge = tlv::expect(&mut data, TAG_CHALLENGE).ok_or(StatusWord::WrongData)?;
        let index = self.find(&name)?;
        let canokey = self.profile.canokey;
        let Some(credential) = self.credentials.get_mut(index) else {
            return Err(StatusWord::NoSuchObject.into());
        };
        if credential.touch && presence == Presence::Absent {
            return Err(Halt::Touch);
        }
        let mac = credential.compute(challenge, canokey)?;
        let mut out = Vec::new();
        credential.answer(&mut out, &mac, p2);
        Ok(out)
    }

    /// Every TOTP value; HOTP and touch credentials only say that they are there.
    fn calculate_all(&mut self, mut data: &[u8], p2: u8) -> Answer {
        let challenge = tlv::expect(&mut data, TAG_CHALLENGE).ok_or(StatusWord::WrongData)?;
        let mut out = Vec::new();
        for credential in &mut self.credentials {
            tlv::push(&mut out, TAG_NAME, &credential.name);
            if credential.hotp {
                tlv::push(&mut out, TAG_HOTP, &[credential.digits]);
            } else if credential.touch {
                tlv::push(&mut out, TAG_TOUCH, &[credential.digits]);
            } else {
                let mac = credential.compute(challenge, false)?;
                credential.answer(&mut out, &mac, p2);
            }
        }
        Ok(out)
    }
}

impl Credential {
    fn compute(&mut self, challenge: &[u8], canokey: bool) -> Result<Vec<u8>, Halt> {
        if !self.hotp {
            if self.increasing && challenge < self.last_challenge.as_slice() {
                return Err(StatusWord::ConditionsNotSatisfied.into());
            }
            self.last_challenge = challenge.to_vec();
            return Ok(self.hash.hmac(&self.key, challenge));
        }
        let next = self.counter.checked_add(1).ok_or(StatusWord::MemoryFailure)?;
        // CanoKey counts before it computes, so that a moving factor of n gives the code of n + 1.
        let factor = if canokey { next } else { self.counter };
        self.counter = next;
        Ok(self.hash.hmac(&self.key, &u64::from(factor).to_be_bytes()))
    }

    fn answer(&self, out: &mut Vec<u8>, mac: &[u8], p2: u8) {
        let (tag, value) = if p2 == 0x01 {
            (TAG_TRUNCATED, oath::truncate(mac).to_be_bytes().to_vec())
        } else {
            (TAG_RESPONSE, mac.to_vec())
        };
        tlv::push(out, tag, &[&[self.digits][..], &value].concat());
    }
}

fn name(data: &mut &[u8]) -> Result<Vec<u8>, Halt> {
    let name = tlv::expect(data, TAG_NAME).ok_or(StatusWord::WrongData)?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(StatusWord::WrongData.into());
    }
    Ok(name.to_vec())
}

/// What may follow the key in PUT: the property, alone among all elements without a length byte, and the counter.
fn read_extras(mut data: &[u8]) -> Option<(u8, u32)> {
    let (mut property, mut counter) = (0, 0);
    if let [TAG_PROPERTY, bits, rest @ ..] = data {
        property = *bits;
        data = rest;
    }
    if !data.is_empty() {
        counter = u32::from_be_bytes(tlv::expect(&mut data, TAG_MOVING_FACTOR)?.try_into().ok()?);
    }
    data.is_empty().then_some((property, counter))
}
