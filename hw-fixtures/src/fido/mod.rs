//! A FIDO2 authenticator, written from CTAP 2.1 (and 2.0 where a profile says so).
//!
//! [`Authenticator`] runs commands; [`ctaphid::CtapHid`] frames them into 64-byte reports. A command that needs a touch
//! answers [`Outcome::NeedsTouch`] and is run again from its start once the person touches: nothing before the touch
//! changes state, so no continuation has to be kept.

mod assert;
mod attest;
mod bio;
mod blobs;
pub mod card;
pub mod cbor;
mod clientpin;
mod config;
mod credential;
mod credmgmt;
pub mod ctaphid;
mod info;
mod make;
pub mod pinprotocol;
mod signer;
mod statement;
mod status;
mod u2f;

use ciborium::Value;
use p256::SecretKey;

use crate::Millis;
use crate::entropy::Entropy;
use crate::person::Presence;
use crate::profile::{Attestation, FidoProfile};
pub use attest::authority as attestation_authority;
use cbor::Params;
use clientpin::PinToken;
use credential::Resident;
use pinprotocol::PinProtocol;
pub use status::Status;

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A status byte and what follows it.
    Answer(Vec<u8>),
    /// Run it again when the person touches.
    NeedsTouch,
}

/// Why a command stopped.
enum Halt {
    Status(Status),
    Touch,
}

impl From<Status> for Halt {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// The body of an answer, if it has one.
type Answer = Result<Option<Value>, Halt>;

/// What survives a power cycle and dies with a reset.
struct Memory {
    /// Under which every credential's key is derived: a reset draws a new one.
    master: [u8; 32],
    residents: Vec<Resident>,
    /// One signature counter for all credentials.
    counter: u32,
    /// The first half of SHA-256 of the PIN, and its length in code points.
    pin: Option<([u8; 16], usize)>,
    retries: u8,
    min_pin_length: u8,
    force_pin_change: bool,
    always_uv: bool,
    enterprise_attestation: bool,
    long_touch: bool,
    /// Relying parties that may know the least PIN length.
    min_pin_rps: Vec<String>,
    fingers: Vec<bio::Template>,
    uv_retries: u8,
    /// The serialized large-blob array.
    blobs: Vec<u8>,
}

/// What a power cycle clears.
struct Session {
    powered_at: Millis,
    /// Wrong PINs in a row since power-up; the third blocks until the next.
    mismatches: u8,
    agreement: SecretKey,
    tokens: [PinToken; 2],
    next_assertions: Option<assert::Remaining>,
    enumeration: Option<credmgmt::Enumeration>,
    enrolment: Option<bio::Enrolment>,
    writing: blobs::Writing,
}

/// A FIDO2 authenticator.
pub struct Authenticator {
    profile: FidoProfile,
    aaguid: [u8; 16],
    entropy: Entropy,
    attestation: Option<attest::Attestor>,
    /// With the serial of the one key.
    enterprise: Option<attest::Attestor>,
    memory: Memory,
    session: Session,
    finger: bio::Finger,
    /// The person lets go of the key at once.
    short_touch: bool,
}

/// The request a command is run for.
#[derive(Clone, Copy)]
struct Moment {
    presence: Presence,
    now: Millis,
}

impl Moment {
    /// Passes when the person is touching.
    fn touched(self) -> Result<(), Halt> {
        match self.presence {
            Presence::Touching => Ok(()),
            Presence::Absent => Err(Halt::Touch),
        }
    }
}

impl Memory {
    fn fresh(profile: &FidoProfile, entropy: &mut Entropy) -> Self {
        Self {
            master: entropy.bytes(),
            residents: Vec::new(),
            counter: 0,
            pin: None,
            retries: profile.pin_retries,
            min_pin_length: profile.min_pin_length,
            force_pin_change: false,
            always_uv: false,
            enterprise_attestation: false,
            long_touch: profile.long_touch == Some(true),
            min_pin_rps: Vec::new(),
            fingers: Vec::new(),
            uv_retries: profile.fingerprints.as_ref().map_or(0, |sensor| sensor.uv_retries),
            blobs: blobs::empty(),
        }
    }
}

impl Session {
    fn fresh(entropy: &mut Entropy, now: Millis) -> Self {
        Self {
            powered_at: now,
            mismatches: 0,
            agreement: entropy.p256(),
            tokens: [PinToken::fresh(entropy), PinToken::fresh(entropy)],
            next_assertions: None,
            enumeration: None,
            enrolment: None,
            writing: blobs::Writing::default(),
        }
    }
}

impl Authenticator {
    /// A new authenticator of this model with this serial, powered up at `now`.
    pub fn new(profile: &FidoProfile, serial: &str, mut entropy: Entropy, now: Millis) -> Self {
        let aaguid = profile.aaguid_bytes().unwrap_or_default();
        let mut attestor = |aaguid, serial| attest::Attestor::new(&mut entropy, &attest::Subject { aaguid, serial });
        let attestation = match profile.attestation {
            Attestation::Basic => Some(attestor(aaguid, None)),
            Attestation::U2f => Some(attestor([0; 16], None)),
            Attestation::SelfSigned | Attestation::None => None,
        };
        let enterprise = profile.enterprise.then(|| attestor(aaguid, Some(serial)));
        let memory = Memory::fresh(profile, &mut entropy);
        let session = Session::fresh(&mut entropy, now);
        Self {
            profile: profile.clone(),
            aaguid,
            entropy,
            attestation,
            enterprise,
            memory,
            session,
            finger: bio::Finger::default(),
            short_touch: false,
        }
    }

    /// Loses power and gets it back at `now`: PIN tokens, the three-wrong-PINs guard and half-done lists are gone.
    pub fn power_cycle(&mut self, now: Millis) {
        self.session = Session::fresh(&mut self.entropy, now);
    }

    /// The model's data.
    pub fn profile(&self) -> &FidoProfile {
        &self.profile
    }

    /// Wrong PINs left before only a reset helps.
    pub fn pin_retries(&self) -> u8 {
        self.memory.retries
    }

    /// Demands a new PIN before the old one is good for anything but changing it.
    pub fn force_pin_change(&mut self) {
        self.memory.force_pin_change = true;
    }

    /// Tries left of built-in verification.
    pub fn uv_retries(&self) -> u8 {
        self.memory.uv_retries
    }

    /// Least length of a PIN, in code points.
    pub fn min_pin_length(&self) -> u8 {
        self.memory.min_pin_length
    }

    /// Relying parties that may know it.
    pub fn min_pin_rps(&self) -> &[String] {
        &self.memory.min_pin_rps
    }

    /// Whether the PIN is good for nothing but being changed.
    pub fn wants_pin_change(&self) -> bool {
        self.memory.force_pin_change
    }

    /// Whether every use wants verification.
    pub fn is_always_uv(&self) -> bool {
        self.memory.always_uv
    }

    /// Whether `pin` is the PIN; counts nothing.
    pub fn has_pin(&self, pin: &str) -> bool {
        let hash = crate::crypto::sha256(pin.as_bytes());
        self.memory.pin.is_some_and(|(stored, _)| hash.starts_with(&stored))
    }

    /// Lets the person give short touches only.
    pub fn set_short_touch(&mut self, short: bool) {
        self.short_touch = short;
    }

    /// Discoverable credentials it holds.
    pub fn resident_count(&self) -> usize {
        self.memory.residents.len()
    }

    /// Runs one command: `request` is the command byte and its parameters. `arrived` is when it came, also when it is
    /// run again after a touch: a reset asked for in time stays in time while the person reaches for the key.
    pub fn run(&mut self, request: &[u8], presence: Presence, arrived: Millis) -> Outcome {
        match self.dispatch(request, Moment { presence, now: arrived }) {
            Ok(body) => {
                let mut answer = vec![Status::Ok as u8];
                if let Some(value) = body {
                    answer.extend(cbor::encode(&value));
                }
                Outcome::Answer(answer)
            }
            Err(Halt::Status(status)) => Outcome::Answer(vec![status as u8]),
            Err(Halt::Touch) => Outcome::NeedsTouch,
        }
    }

    fn dispatch(&mut self, request: &[u8], moment: Moment) -> Answer {
        let (command, body) = request.split_first().ok_or(Status::InvalidCommand)?;
        if request.len() > usize::from(self.profile.max_msg_size) {
            return Err(Status::RequestTooLarge.into());
        }
        let params = if body.is_empty() {
            Params::none()
        } else {
            Params::new(cbor::decode(body, self.profile.strict_cbor)?)?
        };
        // A list that is read item by item ends with the first other command.
        if *command != 0x08 {
            self.session.next_assertions = None;
        }
        if !matches!(command, 0x0a | 0x41) {
            self.session.enumeration = None;
        }
        match command {
            0x01 => self.make_credential(&params, moment),
            0x02 => self.get_assertion(&params, moment),
            0x04 => Ok(Some(self.info())),
            0x06 => self.client_pin(&params, moment),
            0x07 => self.reset(moment),
            0x08 => self.next_assertion(moment.now),
            0x09 if self.profile.is_2_1() => self.enrol(&params, moment),
            0x40 if self.profile.is_preview() => self.enrol(&params, moment),
            0x0a if self.profile.credential_management && self.profile.is_2_1() => {
                self.manage_credentials(&params, moment.now)
            }
            0x41 if self.profile.credential_management && self.profile.is_preview() => {
                self.manage_credentials(&params, moment.now)
            }
            0x0b if self.profile.is_2_1() => moment.touched().map(|()| None),
            0x0c => self.large_blobs(&params, moment),
            0x0d if self.profile.config => self.configure(&params, moment.now),
            _ => Err(Status::InvalidCommand.into()),
        }
    }

    /// Section 6.6: everything but the model is forgotten.
    fn reset(&mut self, moment: Moment) -> Answer {
        let window_ms = self.profile.reset_window_s.saturating_mul(1000);
        if moment.now.saturating_sub(self.session.powered_at) > window_ms {
            return Err(Status::NotAllowed.into());
        }
        moment.touched()?;
        if self.memory.long_touch && self.short_touch {
            return Err(Status::OperationDenied.into());
        }
        let powered_at = self.session.powered_at;
        self.memory = Memory::fresh(&self.profile, &mut self.entropy);
        self.session = Session::fresh(&mut self.entropy, powered_at);
        Ok(None)
    }

    /// The protocol a command names; absent is `missing`, unknown is `InvalidParameter`.
    fn protocol(&self, number: Option<u64>, missing: Status) -> Result<PinProtocol, Status> {
        let number = number.ok_or(missing)?;
        let known = u8::try_from(number).is_ok_and(|number| self.profile.pin_protocols.contains(&number));
        PinProtocol::from_number(number)
            .filter(|_| known)
            .ok_or(Status::InvalidParameter)
    }
}
