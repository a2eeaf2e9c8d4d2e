//! What the verbs do to an OATH card, seen from its lane.

use std::time::Instant;

use crate::codec::oath::{Code, OathParameters, code_at_step};
use crate::codec::ykoath::CredentialName;
use crate::device::DeviceError;
use crate::device::oath::OathSession;
use crate::device::oath::maker::Hints;
use crate::device::session::Session;
use crate::ledger::Binding;
use crate::lifecycle::Refusal;
use crate::lifecycle::act::Act;
use crate::lifecycle::operation::UserActionKind;
use crate::types::{DeviceId, Secret};

/// How many challenges a proof has. Three codes of six digits: one chance in 10^18 that another seed answers them.
pub const PROOF_CHALLENGES: usize = 3;

/// The public half of a card's credential.
#[derive(Debug, Clone)]
pub struct CardBody {
    /// Credential name.
    pub name: String,
    /// Device id of the applet.
    pub device_id: String,
    /// What the codes are made with.
    pub parameters: OathParameters,
}

impl CardBody {
    /// Out of a record's binding.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the record is none of a card, or its figures are out of range.
    pub fn of(binding: &Binding) -> Result<Self, Refusal> {
        let Binding::OathCard {
            name,
            device_id,
            algorithm,
            digits,
            period_s,
        } = binding
        else {
            return Err(Refusal::Internal("not a card's record"));
        };
        let parameters = OathParameters::new(*algorithm, *digits, *period_s)
            .map_err(|_| Refusal::Internal("the record's parameters are out of range"))?;
        Ok(Self {
            name: name.clone(),
            device_id: device_id.clone(),
            parameters,
        })
    }

    /// The name as the applet wants it.
    ///
    /// # Errors
    /// [`Refusal::Internal`] for a name that no card can hold.
    pub fn credential(&self) -> Result<CredentialName, Refusal> {
        CredentialName::new(self.name.as_bytes()).map_err(|_| Refusal::Internal("the record's name is too long"))
    }
}

/// Connects, selects the applet, gives the password if there is one, and hands the applet over. The connection is held for
/// the whole of `work`.
///
/// # Errors
/// [`DeviceError`] as [`Refusal::Device`]; what `work` says.
pub fn with_applet<T>(
    session: &mut Session,
    password: Option<&Secret>,
    work: impl FnOnce(&mut OathSession<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let deadline = session.deadline();
    let cancel = session.cancel().clone();
    let hints = Hints::of(session.faces());
    let mut link = session.open_card()?;
    let mut applet = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?;
    if applet.is_locked() {
        let password = password.ok_or(DeviceError::CardLocked)?;
        applet.unlock(password)?;
    }
    work(&mut applet)
}

/// Has the card compute the code of one random challenge and compares it with ours. The challenge is random rather than the
/// time, so that codes noted down beforehand prove nothing. One APDU.
///
/// # Errors
/// [`Refusal::Unverified`] when the codes differ.
pub fn prove(
    act: &Act,
    applet: &mut OathSession<'_>,
    body: &CardBody,
    seed: &Secret,
    device: DeviceId,
) -> Result<(), Refusal> {
    let challenge = random_challenge()?;
    let theirs = calculate(act, applet, &body.credential()?, challenge, device)?;
    let ours = code_at_step(seed, &body.parameters, challenge)
        .map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
    if theirs == ours {
        Ok(())
    } else {
        Err(Refusal::Unverified("the card computes other codes than its seed"))
    }
}

/// One code of one challenge; asks for a touch if the card may want one. A card gives no sign that it waits, so the request
/// goes out beforehand only where the credential is known to want it; an answer that comes at once takes it back.
///
/// # Errors
/// As the card says.
pub fn calculate(
    act: &Act,
    applet: &mut OathSession<'_>,
    name: &CredentialName,
    challenge: u64,
    device: DeviceId,
) -> Result<Code, Refusal> {
    match applet.calculate(name, challenge) {
        Err(DeviceError::TouchTimeout) => {
            // The first try may have been missed because nobody was told: tell, and try once more.
            let until = Instant::now() + act.house.settings().deadlines.touch;
            act.ask(UserActionKind::Touch, device, until, None);
            applet.set_deadline(until);
            let code = applet.calculate(name, challenge);
            act.step.answered();
            Ok(code?)
        }
        other => Ok(other?),
    }
}

/// Proofs that outlive the seed: random challenges with their codes.
///
/// # Errors
/// [`Refusal::Internal`] for a seed that cannot be used or a host without random numbers.
pub fn lasting_proofs(parameters: &OathParameters, seed: &Secret) -> Result<Vec<(u64, String)>, Refusal> {
    let mut proofs = Vec::with_capacity(PROOF_CHALLENGES);
    for _ in 0..PROOF_CHALLENGES {
        let challenge = random_challenge()?;
        let code = code_at_step(seed, parameters, challenge)
            .map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
        proofs.push((challenge, code.expose().to_owned()));
    }
    Ok(proofs)
}

fn random_challenge() -> Result<u64, Refusal> {
    getrandom::u64().map_err(|_| Refusal::Internal("the host has no random numbers"))
}
