//! What the verbs do to a FIDO2 key, seen from its lane.

use std::cell::Cell;
use std::time::Instant;

use data_encoding::BASE64URL_NOPAD;

use crate::codec::ctap2::assertion::{self, Counter, Expected};
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::cose::{CoseError, CoseKey};
use crate::codec::ctap2::pin_protocol::PinUvAuthToken;
use crate::codec::ctap2::{get_assertion, sha256};
use crate::device::DeviceError;
use crate::device::fido::{self, FidoContext, FidoSession, GetAssertion, HostEntropy};
use crate::device::session::Session;
use crate::ledger::Binding;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::operation::{Hint, UserActionKind};
use crate::trust::signature::{self, SignatureError};
use crate::types::{DeviceId, Secret};

/// The public half of a credential, decoded.
#[derive(Clone)]
pub struct Credential {
    /// Relying party id.
    pub rp_id: String,
    /// Credential id.
    pub id: Vec<u8>,
    /// Public key.
    pub key: CoseKey,
}

impl Credential {
    /// Out of the ledger's text forms.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when they are not what was written.
    pub fn decode(rp_id: &str, credential_id: &str, public_key: &str) -> Result<Self, Refusal> {
        const DAMAGED: Refusal = Refusal::Internal("the record's credential cannot be read");
        let id = BASE64URL_NOPAD.decode(credential_id.as_bytes()).map_err(|_| DAMAGED)?;
        let key = BASE64URL_NOPAD.decode(public_key.as_bytes()).map_err(|_| DAMAGED)?;
        Ok(Self {
            rp_id: rp_id.to_owned(),
            id,
            key: CoseKey::parse(&key).map_err(|_| DAMAGED)?,
        })
    }

    /// Whether a signature is one of its.
    ///
    /// # Errors
    /// [`CoseError`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CoseError> {
        signature::by_credential(self.key.encoded(), message, signature).map_err(|error| match error {
            SignatureError::MalformedKey => CoseError::Malformed,
            SignatureError::OtherKey(_) => CoseError::Unsupported(self.key.algorithm()),
            SignatureError::Wrong => CoseError::BadSignature,
        })
    }

    /// Out of a record's binding.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the record is none of a key.
    pub fn of(binding: &Binding) -> Result<Self, Refusal> {
        match binding {
            Binding::Fido2 {
                rp_id,
                credential_id,
                public_key,
                ..
            } => Self::decode(rp_id, credential_id, public_key),
            _ => Err(Refusal::Internal("not a key's record")),
        }
    }
}

/// A FIDO session with what every call on it needs.
pub struct Key<'s, 'c> {
    /// The session.
    pub session: &'s mut FidoSession<'c>,
    /// Deadlines, cancel flag, touch request.
    pub context: FidoContext<'s>,
    /// What the person is asked for when the key begins to wait.
    wish: &'s Cell<Wish>,
    /// Whether the person said that one of the last tries may be used.
    last_tries: bool,
}

/// What a person is asked for when a key begins to wait.
#[derive(Clone, Copy)]
pub struct Wish {
    /// The deed.
    pub kind: UserActionKind,
    /// More about it.
    pub hint: Option<Hint>,
    /// PIN tries left, as last told.
    pub tries: Option<u8>,
}

/// Tries that are never used without an explicit word: with the last of them gone only a reset helps.
pub const LAST_TRIES: u8 = 2;

/// Opens the key by whichever carrier it has and hands it over, held for us alone, until `work` is over. While the key waits for a touch the
/// person is told which key where.
///
/// # Errors
/// [`DeviceError`] as [`Refusal::Device`]; what `work` says.
pub fn with_key<T>(
    session: &mut Session,
    act: Option<&Act>,
    device: DeviceId,
    work: impl FnOnce(&mut Key<'_, '_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let cancel = session.cancel().clone();
    let deadlines = *session.deadlines();
    let end = session.deadline();
    let mut transport = fido::open(session)?;
    let mut entropy = HostEntropy;
    let mut fido = FidoSession::new(transport.as_mut(), &mut entropy);
    let wish = Cell::new(Wish {
        kind: UserActionKind::Touch,
        hint: None,
        tries: None,
    });
    let mut touch = |until: Instant| {
        if let Some(act) = act {
            let Wish { kind, hint, tries } = wish.get();
            act.ask_with(kind, device, until, tries, hint);
        }
    };
    let context = FidoContext {
        deadlines,
        end,
        cancel: &cancel,
        on_touch_needed: &mut touch,
    };
    let result = work(&mut Key {
        session: &mut fido,
        context,
        wish: &wish,
        last_tries: act.is_some_and(|act| act.last_tries),
    });
    if let Some(act) = act {
        act.step.answered();
    }
    result
}

impl<'s> Key<'s, '_> {
    /// Exchanges the PIN for a token with these permissions; none when no PIN was given.
    ///
    /// # Errors
    /// As [`Key::may_try`]; [`DeviceError::PinInvalid`] and its kin.
    pub fn token(
        &mut self,
        pin: Option<&Secret>,
        permissions: Permissions,
        rp_id: Option<&str>,
    ) -> Result<Option<PinUvAuthToken>, Refusal> {
        let Some(pin) = pin else { return Ok(None) };
        let info = self.session.get_info(&mut self.context)?;
        if info.option("clientPin") == Some(true) {
            if info.force_pin_change == Some(true) {
                return Err(Refusal::PinChangeForced);
            }
            self.may_try()?;
        }
        let token = self.session.pin_uv_token(pin, permissions, rp_id, &mut self.context)?;
        self.note_tries();
        Ok(Some(token))
    }

    /// Asks how many tries of the PIN are left, which costs none, and refuses where one more must not be made: blocked, blocked
    /// until a replug, or one of the last two without the word.
    ///
    /// # Errors
    /// [`DeviceError::PinBlocked`], [`DeviceError::SoftBlocked`], [`Refusal::LastTries`].
    pub fn may_try(&mut self) -> Result<u8, Refusal> {
        let retries = self.session.pin_retries(&mut self.context)?;
        self.set_tries(Some(retries.left));
        match retries.left {
            0 => Err(DeviceError::PinBlocked.into()),
            left if retries.power_cycle_needed => Err(DeviceError::SoftBlocked { tries_left: Some(left) }.into()),
            left if left <= LAST_TRIES && !self.last_tries => Err(Refusal::LastTries { left }),
            left => Ok(left),
        }
    }

    /// Asks again, for whoever is asked to touch the key next and for the result. A key that cannot say is no failure.
    pub fn note_tries(&mut self) {
        let retries = self.session.pin_retries(&mut self.context);
        self.set_tries(retries.ok().map(|retries| retries.left));
    }

    /// PIN tries left, as last told.
    #[must_use]
    pub fn tries(&self) -> Option<u8> {
        self.wish.get().tries
    }

    fn set_tries(&self, tries: Option<u8>) {
        self.wish.set(Wish {
            tries,
            ..self.wish.get()
        });
    }

    /// Where it is kept, for what runs while the session is at work.
    pub fn wish_cell(&self) -> &'s Cell<Wish> {
        self.wish
    }

    /// What the person is asked for from now on.
    pub fn wish(&self, kind: UserActionKind, hint: Option<Hint>) {
        self.wish.set(Wish {
            kind,
            hint,
            ..self.wish.get()
        });
    }

    /// As [`Key::prove`], for a token in the field: a PIN is sent only to a key that has shown, without one, that it holds the
    /// credential. A wrong key would lose one of its tries, a hostile one would learn the PIN. A key that cannot be asked without
    /// a PIN gets it only when a person has `named` it.
    ///
    /// # Errors
    /// As [`Key::prove`]; [`Refusal::Ambiguous`] when the key must be named.
    pub fn prove_in_the_field(
        &mut self,
        credential: &Credential,
        pin: Option<&Secret>,
        counted: u32,
        named: bool,
    ) -> Result<u32, Refusal> {
        if pin.is_some() {
            self.may_have_the_pin(credential, named)?;
        }
        self.prove(credential, pin, counted)
    }

    /// Whether the PIN of a credential's key may be sent to this one: it has shown that it holds the credential, or a person has
    /// `named` it and it cannot be asked.
    ///
    /// # Errors
    /// [`Refusal::Ambiguous`], [`Refusal::NotTheSameDevice`].
    pub fn may_have_the_pin(&mut self, credential: &Credential, named: bool) -> Result<(), Refusal> {
        match self.holds(credential)? {
            Holds::Yes => Ok(()),
            Holds::Maybe if named => Ok(()),
            Holds::Maybe => Err(Refusal::Ambiguous),
            Holds::No => Err(Refusal::NotTheSameDevice),
        }
    }

    /// Gets an assertion with a touch, and verifies signature, RP ID hash, flags and counter (WebAuthn section 7.2). Returns the
    /// new counter.
    ///
    /// # Errors
    /// [`Refusal::Unverified`], [`Refusal::CounterWentBack`], [`Refusal::NotTheSameDevice`] when the key does not know the
    /// credential; the key's own.
    pub fn prove(&mut self, credential: &Credential, pin: Option<&Secret>, counted: u32) -> Result<u32, Refusal> {
        let (count, _) = self.prove_over(credential, pin, counted, &challenge()?)?;
        Ok(count)
    }

    /// The same over the hash of client data that somebody wants signed; also returns the assertion.
    ///
    /// # Errors
    /// As [`Key::prove`].
    pub fn prove_over(
        &mut self,
        credential: &Credential,
        pin: Option<&Secret>,
        counted: u32,
        client_data_hash: &[u8; 32],
    ) -> Result<(u32, get_assertion::Response), Refusal> {
        let token = self.token(pin, Permissions::GET_ASSERTION, Some(&credential.rp_id))?;
        let response = self.assertion(credential, client_data_hash, true, token.as_ref())?;
        let expected = Expected {
            rp_id: &credential.rp_id,
            credential_id: &credential.id,
            public_key: &credential.key,
            client_data_hash,
            user_verification: pin.is_some(),
            last_sign_count: counted,
        };
        let verified = assertion::verify_by(&response, &expected, |message, signature| {
            credential.verify(message, signature)
        });
        let verified = verified.map_err(|error| Refusal::Unverified(check_name(error)))?;
        match verified.counter {
            Counter::None | Counter::Advanced => Ok((verified.sign_count, response)),
            Counter::MaybeCloned => Err(Refusal::CounterWentBack),
        }
    }

    /// Whether this is the key that holds the credential, found out without a touch: an assertion with `up` false (CTAP 2.1
    /// section 6.2.1) over a fresh challenge, verified by the public key we stored. A key that insists on verification for
    /// every assertion cannot be asked this way and answers `Maybe`.
    ///
    /// # Errors
    /// What the key says otherwise.
    pub fn holds(&mut self, credential: &Credential) -> Result<Holds, Refusal> {
        let client_data_hash = challenge()?;
        match self.assertion(credential, &client_data_hash, false, None) {
            Ok(response) => {
                let data = &response.auth_data;
                let signed = [data.raw(), client_data_hash.as_slice()].concat();
                let ours = response.credential_id.as_deref().is_none_or(|id| id == credential.id)
                    && data.rp_id_hash == sha256(credential.rp_id.as_bytes())
                    && credential.verify(&signed, &response.signature).is_ok();
                Ok(if ours { Holds::Yes } else { Holds::No })
            }
            Err(Refusal::NotTheSameDevice) => Ok(Holds::No),
            Err(Refusal::Device(
                DeviceError::PinRequired
                | DeviceError::PinNotSet
                | DeviceError::NotAllowed
                | DeviceError::Unsupported(_),
            )) => Ok(Holds::Maybe),
            Err(other) => Err(other),
        }
    }

    fn assertion(
        &mut self,
        credential: &Credential,
        client_data_hash: &[u8; 32],
        user_presence: bool,
        token: Option<&PinUvAuthToken>,
    ) -> Result<get_assertion::Response, Refusal> {
        let wanted = GetAssertion {
            rp_id: &credential.rp_id,
            client_data_hash,
            allow: std::slice::from_ref(&credential.id),
            user_presence,
            pin_uv_auth_token: token,
        };
        match self.session.get_assertion(&wanted, &mut self.context) {
            Err(DeviceError::NoCredential) => Err(Refusal::NotTheSameDevice),
            other => Ok(other?),
        }
    }
}

/// Whether a key holds a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It signed with it.
    Yes,
    /// It does not know it, or signed with something else.
    No,
    /// It cannot be told without the person.
    Maybe,
}

/// A fresh client data hash. We are our own relying party and there is no browser, so the hash of client data is a random
/// number: what matters is that it was never used before.
pub fn challenge() -> Result<[u8; 32], Refusal> {
    let mut hash = [0; 32];
    getrandom::fill(&mut hash).map_err(|_| Refusal::Internal("the host has no random numbers"))?;
    Ok(hash)
}

fn check_name(error: assertion::AssertionError) -> &'static str {
    use assertion::AssertionError as E;
    match error {
        E::OtherCredential => "it used another credential",
        E::OtherRelyingParty => "it is for another relying party",
        E::NotPresent => "it does not say that the key was touched",
        E::NotVerified => "it does not say that the person was verified",
        E::Signature(_) => "the signature is wrong",
    }
}
