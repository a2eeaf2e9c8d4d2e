//! One credential: what PUT says of it, and what it computes.

use super::apdu::StatusWord;
use super::applet::Halt;
use super::{tag, tlv};
use crate::oath::{self, Hash};
use crate::profile::{Dialect, OathProfile};

/// A challenge must never be lower than the one before.
const PROPERTY_INCREASING: u8 = 0x01;
/// A touch is asked for.
const PROPERTY_TOUCH: u8 = 0x02;
/// Nitrokey: it is there for who has verified the PIN, and for nobody else.
const PROPERTY_PIN: u8 = 0x04;

/// Shorter keys are padded with zeros to this length.
const MIN_KEY: usize = 14;
/// Longer keys are hashed by the host.
const MAX_KEY: usize = 64;

/// What a credential does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hotp,
    Totp,
    /// Nitrokey: the card compares a code that it is shown.
    ReverseHotp,
    /// Nitrokey: the HMAC of any challenge.
    Hmac,
    /// Nitrokey: no key at all, a login and its password.
    Password,
}

/// The static fields of Nitrokey's password safe, each absent or a string of bytes.
#[derive(Clone, Default)]
pub(super) struct Safe {
    pub login: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    pub metadata: Option<Vec<u8>>,
}

impl Safe {
    pub fn is_empty(&self) -> bool {
        self.login.is_none() && self.password.is_none() && self.metadata.is_none()
    }

    /// Takes over what `newer` says and keeps the rest.
    pub fn update(&mut self, newer: Self) {
        self.login = newer.login.or(self.login.take());
        self.password = newer.password.or(self.password.take());
        self.metadata = newer.metadata.or(self.metadata.take());
    }

    pub fn fields(&self) -> impl Iterator<Item = (u8, &[u8])> {
        [
            (tag::LOGIN, self.login.as_deref()),
            (tag::PASSWORD, self.password.as_deref()),
            (tag::METADATA, self.metadata.as_deref()),
        ]
        .into_iter()
        .filter_map(|(tag, value)| Some((tag, value?)))
    }
}

/// What may follow name and key: the property, alone among all elements without a length byte; the counter; Nitrokey's fields.
#[derive(Clone, Default)]
pub(super) struct Extras {
    pub property: Option<u8>,
    pub counter: Option<u32>,
    pub safe: Safe,
}

impl Extras {
    /// Reads all of `data`; `None` when something else stands there.
    pub fn read(mut data: &[u8], dialect: Dialect) -> Option<Self> {
        let mut extras = Self::default();
        while !data.is_empty() {
            if let [tag::PROPERTY, bits, rest @ ..] = data {
                extras.property = Some(*bits);
                data = rest;
                continue;
            }
            match tlv::take(&mut data)? {
                (tag::MOVING_FACTOR, value) => extras.counter = Some(u32::from_be_bytes(value.try_into().ok()?)),
                (tag::LOGIN, value) if dialect == Dialect::Nitrokey => extras.safe.login = Some(value.to_vec()),
                (tag::PASSWORD, value) if dialect == Dialect::Nitrokey => extras.safe.password = Some(value.to_vec()),
                (tag::METADATA, value) if dialect == Dialect::Nitrokey => extras.safe.metadata = Some(value.to_vec()),
                _ => return None,
            }
        }
        Some(extras)
    }
}

pub(super) struct Credential {
    pub name: Vec<u8>,
    /// Type in the high nibble, algorithm in the low one, as it was put.
    pub type_byte: u8,
    pub kind: Kind,
    hash: Hash,
    pub digits: u8,
    key: Vec<u8>,
    pub property: u8,
    /// The counter of a HOTP credential.
    counter: u32,
    /// The last challenge of an only-increasing credential.
    last_challenge: Vec<u8>,
    pub safe: Safe,
}

impl Credential {
    /// The credential of a PUT: its name, the value of its key element where it has one, the rest.
    pub fn new(name: Vec<u8>, key: Option<&[u8]>, rest: Extras, profile: &OathProfile) -> Result<Self, StatusWord> {
        let property = rest.property.unwrap_or(0);
        let (type_byte, digits, key) = match key {
            Some([type_byte, digits, key @ ..]) => (*type_byte, *digits, key),
            None if profile.dialect == Dialect::Nitrokey && !rest.safe.is_empty() => (0, 0, &[][..]),
            _ => return Err(StatusWord::WrongData),
        };
        let kind = kind(type_byte, profile.dialect).ok_or(StatusWord::WrongData)?;
        let mut credential = Self {
            name,
            type_byte,
            kind,
            hash: Hash::Sha1,
            digits,
            key: key.to_vec(),
            property,
            counter: rest.counter.unwrap_or(0),
            last_challenge: Vec::new(),
            safe: rest.safe,
        };
        if kind == Kind::Password {
            return Ok(credential);
        }
        credential.hash = profile.hash(type_byte & 0x0f).ok_or(StatusWord::WrongData)?;
        let length = match profile.dialect {
            Dialect::Canokey => 4..=8,
            _ => 4..=10,
        };
        let too_new = credential.touch() && profile.version < [4, 2, 4];
        if key.is_empty() || key.len() > MAX_KEY || !length.contains(&digits) || too_new {
            return Err(StatusWord::WrongData);
        }
        credential.key.resize(key.len().max(MIN_KEY), 0);
        Ok(credential)
    }

    /// Whether computing asks for a touch.
    pub fn touch(&self) -> bool {
        self.property & PROPERTY_TOUCH != 0
    }

    /// Whether only a verified PIN shows it.
    pub fn behind_pin(&self) -> bool {
        self.property & PROPERTY_PIN != 0
    }

    /// The whole HMAC of the next counter or of `challenge`.
    pub fn compute(&mut self, challenge: &[u8], dialect: Dialect) -> Result<Vec<u8>, Halt> {
        match self.kind {
            Kind::Hotp => {
                let next = self.counter.checked_add(1).ok_or(StatusWord::MemoryFailure)?;
                // CanoKey counts before it computes, so that a moving factor of n gives the code of n + 1.
                let factor = if dialect == Dialect::Canokey {
                    next
                } else {
                    self.counter
                };
                self.counter = next;
                Ok(self.hash.hmac(&self.key, &u64::from(factor).to_be_bytes()))
            }
            Kind::Totp | Kind::Hmac => {
                let increasing = self.property & PROPERTY_INCREASING != 0;
                if increasing && challenge < self.last_challenge.as_slice() {
                    return Err(StatusWord::ConditionsNotSatisfied.into());
                }
                self.last_challenge = challenge.to_vec();
                Ok(self.hash.hmac(&self.key, challenge))
            }
            Kind::ReverseHotp | Kind::Password => Err(StatusWord::ConditionsNotSatisfied.into()),
        }
    }

    /// Compares a code with the next `window` counters; a hit moves the counter past it.
    pub fn verify(&mut self, code: u32, window: u32) -> bool {
        let modulus = 10_u32.checked_pow(u32::from(self.digits)).unwrap_or(u32::MAX);
        let end = self.counter.saturating_add(window);
        let hit = (self.counter..end).find(|counter| {
            let mac = self.hash.hmac(&self.key, &u64::from(*counter).to_be_bytes());
            oath::truncate(&mac) % modulus == code
        });
        if let Some(counter) = hit {
            self.counter = counter.saturating_add(1);
        }
        hit.is_some()
    }

    /// Appends a computed value: all of it, or with P2 = 01 its 31 bits.
    pub fn answer(&self, out: &mut Vec<u8>, mac: &[u8], p2: u8) {
        let (tag, value) = if p2 == 0x01 {
            (tag::TRUNCATED, oath::truncate(mac).to_be_bytes().to_vec())
        } else {
            (tag::RESPONSE, mac.to_vec())
        };
        tlv::push(out, tag, &[&[self.digits][..], &value].concat());
    }
}

fn kind(type_byte: u8, dialect: Dialect) -> Option<Kind> {
    let nitrokey = dialect == Dialect::Nitrokey;
    match type_byte & 0xf0 {
        0x10 => Some(Kind::Hotp),
        0x20 => Some(Kind::Totp),
        0x30 if nitrokey => Some(Kind::ReverseHotp),
        0x40 if nitrokey => Some(Kind::Hmac),
        0x00 if nitrokey => Some(Kind::Password),
        _ => None,
    }
}
