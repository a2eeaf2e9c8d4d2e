//! `authenticatorClientPIN` (CTAP 2.1 section 6.5).

use ciborium::Value;

use super::cbor::{self, Params};
use super::pinprotocol::{PinProtocol, Shared, cose_key};
use super::{Answer, Authenticator, Halt, Moment, Status};
use crate::entropy::Entropy;
use crate::{Millis, crypto};

/// Permission to make credentials.
pub(super) const MAKE: u8 = 0x01;
/// Permission to sign assertions.
pub(super) const ASSERT: u8 = 0x02;
/// Permission to manage credentials.
pub(super) const MANAGE: u8 = 0x04;
/// Permission to enrol fingers.
pub(super) const ENROL: u8 = 0x08;
/// Permission to write large blobs.
pub(super) const WRITE_BLOBS: u8 = 0x10;
/// Permission to configure the authenticator.
pub(super) const CONFIGURE: u8 = 0x20;

/// A pinUvAuthToken that nobody used for so long is void (section 6.5.2.1).
const INITIAL_USAGE_MS: Millis = 30_000;
/// No pinUvAuthToken outlives this.
const MAX_USAGE_MS: Millis = 600_000;
/// Wrong PINs in a row until the key wants its power cycled.
const MISMATCHES_PER_POWER_CYCLE: u8 = 3;

/// A pinUvAuthToken and what it is good for; one for each protocol.
pub(super) struct PinToken {
    value: [u8; 32],
    /// When it was handed out; `None` while it is out of use.
    issued: Option<Millis>,
    used: bool,
    permissions: u8,
    rp_id: Option<String>,
}

impl PinToken {
    pub(super) fn fresh(entropy: &mut Entropy) -> Self {
        Self {
            value: entropy.bytes(),
            issued: None,
            used: false,
            permissions: 0,
            rp_id: None,
        }
    }

    fn alive(&self, now: Millis) -> bool {
        self.issued.is_some_and(|issued| {
            let age = now.saturating_sub(issued);
            age <= MAX_USAGE_MS && (self.used || age <= INITIAL_USAGE_MS)
        })
    }
}

fn slot(protocol: PinProtocol) -> usize {
    match protocol {
        PinProtocol::One => 0,
        PinProtocol::Two => 1,
    }
}

impl Authenticator {
    pub(super) fn client_pin(&mut self, params: &Params, moment: Moment) -> Answer {
        let now = moment.now;
        if self.profile.pin_protocols.is_empty() {
            return Err(Status::InvalidCommand.into());
        }
        let subcommand = params.uint(0x02)?.ok_or(Status::MissingParameter)?;
        if subcommand == 0x01 {
            return Ok(Some(self.retries()));
        }
        if subcommand == 0x07 && self.profile.fingerprints.is_some() {
            let left = cbor::uint(u64::from(self.memory.uv_retries));
            return Ok(Some(cbor::int_map([(0x05, left)])));
        }
        let protocol = self.protocol(params.uint(0x01)?, Status::MissingParameter)?;
        match subcommand {
            0x02 => Ok(Some(cbor::int_map([(
                0x01,
                Some(cose_key(&self.session.agreement.public_key(), -25)),
            )]))),
            0x03 => self.set_pin(params, protocol),
            0x04 => self.change_pin(params, protocol),
            0x05 => {
                if params.get(0x09).is_some() || params.get(0x0a).is_some() {
                    return Err(Status::InvalidParameter.into());
                }
                // A token of CTAP 2.0 or of its credential management preview knows no permissions.
                let permissions = if self.profile.is_2_1() {
                    MAKE | ASSERT
                } else {
                    MAKE | ASSERT | MANAGE | ENROL
                };
                self.issue_token(params, protocol, permissions, None, now)
            }
            0x09 if self.profile.is_2_1() => {
                let (permissions, rp_id) = self.permissions(params)?;
                self.issue_token(params, protocol, permissions, rp_id, now)
            }
            0x06 if self.profile.is_2_1() && self.profile.fingerprints.is_some() => {
                let (permissions, rp_id) = self.permissions(params)?;
                let shared = self.shared(params, protocol)?;
                self.verify_finger(moment)?;
                self.hand_out(&shared, protocol, permissions, rp_id, now)
            }
            _ => Err(Status::InvalidSubcommand.into()),
        }
    }

    /// What a pinUvAuthToken is asked for (section 6.5.5.7.2): permissions and an RP ID where they need one.
    fn permissions(&self, params: &Params) -> Result<(u8, Option<String>), Halt> {
        let wanted = params.uint(0x09)?.ok_or(Status::MissingParameter)?;
        let permissions = u8::try_from(wanted).unwrap_or(0);
        let rp_id = params.text(0x0a)?.map(str::to_owned);
        if permissions == 0 {
            return Err(Status::InvalidParameter.into());
        }
        let profile = &self.profile;
        let offered = MAKE
            | ASSERT
            | if profile.credential_management { MANAGE } else { 0 }
            | if profile.fingerprints.is_some() { ENROL } else { 0 }
            | if profile.large_blob_array.is_some() {
                WRITE_BLOBS
            } else {
                0
            }
            | if profile.config { CONFIGURE } else { 0 };
        if permissions & !offered != 0 {
            return Err(Status::UnauthorizedPermission.into());
        }
        if permissions & (MAKE | ASSERT) != 0 && rp_id.is_none() {
            return Err(Status::MissingParameter.into());
        }
        Ok((permissions, rp_id))
    }

    fn retries(&self) -> Value {
        let power_cycle = self.session.mismatches >= MISMATCHES_PER_POWER_CYCLE;
        cbor::int_map([
            (0x03, cbor::uint(u64::from(self.memory.retries))),
            (0x04, power_cycle.then_some(Value::from(true))),
        ])
    }

    fn shared(&self, params: &Params, protocol: PinProtocol) -> Result<Shared, Status> {
        let platform = params.map(0x03)?.ok_or(Status::MissingParameter)?;
        protocol
            .agree(&self.session.agreement, platform)
            .ok_or(Status::InvalidParameter)
    }

    /// Section 6.5.5.5.
    fn set_pin(&mut self, params: &Params, protocol: PinProtocol) -> Answer {
        let tag = params.bytes(0x04)?.ok_or(Status::MissingParameter)?;
        let sealed = params.bytes(0x05)?.ok_or(Status::MissingParameter)?;
        if self.memory.pin.is_some() {
            return Err(Status::PinAuthInvalid.into());
        }
        let shared = self.shared(params, protocol)?;
        if !shared.verify(&[sealed], tag) {
            return Err(Status::PinAuthInvalid.into());
        }
        let pin = self.open_new_pin(&shared, sealed)?;
        self.store_pin(pin);
        Ok(None)
    }

    /// Section 6.5.5.6.
    fn change_pin(&mut self, params: &Params, protocol: PinProtocol) -> Answer {
        let tag = params.bytes(0x04)?.ok_or(Status::MissingParameter)?;
        let sealed = params.bytes(0x05)?.ok_or(Status::MissingParameter)?;
        let hash = params.bytes(0x06)?.ok_or(Status::MissingParameter)?;
        self.may_try_pin()?;
        let shared = self.shared(params, protocol)?;
        if !shared.verify(&[sealed, hash], tag) {
            return Err(Status::PinAuthInvalid.into());
        }
        let old = self.check_pin(&shared, hash)?;
        let pin = self.open_new_pin(&shared, sealed)?;
        if self.memory.force_pin_change && pin.0 == old {
            return Err(Status::PinPolicyViolation.into());
        }
        self.store_pin(pin);
        Ok(None)
    }

    /// Sections 6.5.5.7.1 and 6.5.5.7.2.
    fn issue_token(
        &mut self,
        params: &Params,
        protocol: PinProtocol,
        permissions: u8,
        rp_id: Option<String>,
        now: Millis,
    ) -> Answer {
        let hash = params.bytes(0x06)?.ok_or(Status::MissingParameter)?;
        self.may_try_pin()?;
        let shared = self.shared(params, protocol)?;
        self.check_pin(&shared, hash)?;
        if self.memory.force_pin_change {
            return Err(Status::PinPolicyViolation.into());
        }
        self.hand_out(&shared, protocol, permissions, rp_id, now)
    }

    /// Draws new tokens and hands out the one of this protocol, sealed.
    fn hand_out(
        &mut self,
        shared: &Shared,
        protocol: PinProtocol,
        permissions: u8,
        rp_id: Option<String>,
        now: Millis,
    ) -> Answer {
        for token in &mut self.session.tokens {
            *token = PinToken::fresh(&mut self.entropy);
        }
        let value = self.entropy.bytes();
        if let Some(token) = self.session.tokens.get_mut(slot(protocol)) {
            *token = PinToken {
                value,
                issued: Some(now),
                used: false,
                permissions,
                rp_id,
            };
        }
        let sealed = shared.encrypt(&value, &mut self.entropy).ok_or(Status::Other)?;
        Ok(Some(cbor::int_map([(0x02, Some(Value::Bytes(sealed)))])))
    }

    /// The three things that stop a PIN before it is looked at; each means something else to the person.
    fn may_try_pin(&self) -> Result<(), Halt> {
        if self.memory.pin.is_none() {
            return Err(Status::PinNotSet.into());
        }
        if self.memory.retries == 0 {
            return Err(Status::PinBlocked.into());
        }
        if self.session.mismatches >= MISMATCHES_PER_POWER_CYCLE {
            return Err(Status::PinAuthBlocked.into());
        }
        Ok(())
    }

    /// Compares a PIN hash. The try is counted before the comparison, so that pulling the plug does not save it.
    fn check_pin(&mut self, shared: &Shared, sealed: &[u8]) -> Result<[u8; 16], Halt> {
        let Some((stored, _)) = self.memory.pin else {
            return Err(Status::PinNotSet.into());
        };
        self.memory.retries = self.memory.retries.saturating_sub(1);
        let given = shared.decrypt(sealed).unwrap_or_default();
        if crypto::same(&given, &stored) {
            self.memory.retries = self.profile.pin_retries;
            self.memory.uv_retries = self.uv_tries();
            self.session.mismatches = 0;
            return Ok(stored);
        }
        self.session.mismatches = self.session.mismatches.saturating_add(1);
        self.session.agreement = self.entropy.p256();
        Err(if self.memory.retries == 0 {
            Status::PinBlocked
        } else if self.session.mismatches >= MISMATCHES_PER_POWER_CYCLE {
            Status::PinAuthBlocked
        } else {
            Status::PinInvalid
        }
        .into())
    }

    /// Decrypts a new PIN (64 bytes, zero padded) and holds it against the policy.
    fn open_new_pin(&self, shared: &Shared, sealed: &[u8]) -> Result<([u8; 16], usize), Halt> {
        let padded = shared.decrypt(sealed).ok_or(Status::PinAuthInvalid)?;
        if padded.len() != 64 {
            return Err(Status::InvalidParameter.into());
        }
        let end = padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let pin = padded.get(..end).unwrap_or_default();
        let length = std::str::from_utf8(pin).map_or(0, |text| text.chars().count());
        let trivial = self.profile.pin_complexity == Some(true) && is_trivial(pin);
        if length < usize::from(self.memory.min_pin_length) || pin.len() > 63 || trivial {
            return Err(Status::PinPolicyViolation.into());
        }
        let hash = crypto::sha256(pin);
        Ok((hash.first_chunk::<16>().copied().unwrap_or_default(), length))
    }

    fn store_pin(&mut self, pin: ([u8; 16], usize)) {
        self.memory.pin = Some(pin);
        self.memory.retries = self.profile.pin_retries;
        self.memory.force_pin_change = false;
        self.session.mismatches = 0;
        for token in &mut self.session.tokens {
            *token = PinToken::fresh(&mut self.entropy);
        }
    }

    /// Verifies a pinUvAuthParam for one permission, bound to `rp_id` where the command has one.
    ///
    /// A token without an RP ID is bound by its first use (section 6.5.5.7.1).
    pub(super) fn verify_token(
        &mut self,
        protocol: PinProtocol,
        message: &[&[u8]],
        tag: &[u8],
        permission: u8,
        rp_id: Option<&str>,
        now: Millis,
    ) -> Result<(), Halt> {
        if self.memory.pin.is_none() && !self.profile.is_2_1() {
            return Err(Status::PinNotSet.into());
        }
        let modern = self.profile.is_2_1();
        let Some(token) = self.session.tokens.get_mut(slot(protocol)) else {
            return Err(Status::Other.into());
        };
        let alive = if modern {
            token.alive(now)
        } else {
            token.issued.is_some()
        };
        let bound = match (&token.rp_id, rp_id) {
            (Some(bound), Some(wanted)) => bound == wanted,
            _ => true,
        };
        if !alive || !protocol.verify(&token.value, message, tag) || token.permissions & permission == 0 || !bound {
            return Err(Status::PinAuthInvalid.into());
        }
        token.used = true;
        if modern && token.rp_id.is_none() && permission & (MAKE | ASSERT) != 0 {
            token.rp_id = rp_id.map(str::to_owned);
        }
        Ok(())
    }

    /// Whether the token of `protocol` is bound to an RP ID, and to which.
    pub(super) fn token_rp(&self, protocol: PinProtocol) -> Option<&str> {
        self.session
            .tokens
            .get(slot(protocol))
            .and_then(|token| token.rp_id.as_deref())
    }

    /// A touch spends what the tokens permit (section 6.5.2.1); CTAP 2.0 tokens last until the power goes.
    pub(super) fn spend_tokens(&mut self) {
        if self.profile.is_2_1() {
            for token in &mut self.session.tokens {
                token.permissions = 0;
            }
        }
    }

    /// Ends every pinUvAuthToken, as a change of policy does.
    pub(super) fn end_tokens(&mut self) {
        for token in &mut self.session.tokens {
            *token = PinToken::fresh(&mut self.entropy);
        }
    }
}

/// What a policy of complexity refuses at least: one character over and over, or an unbroken run up or down.
fn is_trivial(pin: &[u8]) -> bool {
    let steps: Vec<i16> = pin
        .windows(2)
        .filter_map(|pair| match pair {
            [one, two] => Some(i16::from(*two) - i16::from(*one)),
            _ => None,
        })
        .collect();
    let same = |step: i16| steps.iter().all(|other| *other == step);
    same(0) || same(1) || same(-1)
}
