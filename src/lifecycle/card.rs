//! What the verbs do to an OATH card, seen from its lane.

use std::time::Instant;

use crate::codec::oath::{Code, Generator, OathParameters, code_at_step};
use crate::codec::ykoath::{CredentialName, CredentialType};
use crate::device::DeviceError;
use crate::device::oath::OathSession;
use crate::device::oath::maker::Hints;
use crate::device::session::Session;
use crate::ledger::Binding;
use crate::lifecycle::act::Act;
use crate::lifecycle::operation::UserActionKind;
use crate::lifecycle::throttle::Wait;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::resync::{CounterVerdict, accept_counter, search_counters};
use crate::types::{DeviceId, Secret};

/// How many challenges a proof has. Three codes of six digits: one chance in 10^18 that another seed answers them.
pub const PROOF_CHALLENGES: usize = 3;

/// Stands for the time step where there is none.
pub const NO_PERIOD: u32 = 30;
/// How far ahead one code is looked for: presses that nobody sent.
const LOOK_AHEAD: u32 = 10;
/// How far ahead two are.
const FAR_LOOK_AHEAD: u32 = 1_000;
/// How many codes to come prove a credential that counts, once its seed is gone.
const NEXT_CODES: u64 = 24;
/// How many credentials are asked when one is looked for by its codes.
const MOST_CANDIDATES: usize = 64;

/// The public half of a card's credential.
#[derive(Debug, Clone)]
pub struct CardBody {
    /// Credential name.
    pub name: String,
    /// Device id of the applet.
    pub device_id: String,
    /// What the codes are made with.
    pub parameters: OathParameters,
    /// Whether it counts (RFC 4226): the time step then means nothing.
    pub event: bool,
    /// Whether the card takes increasing challenges only.
    pub only_increasing: bool,
}

impl CardBody {
    /// Out of a record's binding.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the record is none of a card, or its figures are out of range.
    pub fn of(binding: &Binding) -> Result<Self, Refusal> {
        let (name, device_id, algorithm, digits, period_s, event, only_increasing) = match binding {
            Binding::OathCard {
                name,
                device_id,
                algorithm,
                digits,
                period_s,
                only_increasing,
            } => (name, device_id, algorithm, digits, *period_s, false, *only_increasing),
            Binding::EventCard {
                name,
                device_id,
                algorithm,
                digits,
            } => (name, device_id, algorithm, digits, NO_PERIOD, true, false),
            _ => return Err(Refusal::Internal("not a card's record")),
        };
        let parameters = OathParameters::new(*algorithm, *digits, period_s)
            .map_err(|_| Refusal::Internal("the record's parameters are out of range"))?;
        Ok(Self {
            name: name.clone(),
            device_id: device_id.clone(),
            parameters,
            event,
            only_increasing,
        })
    }

    /// What ties a record to it.
    #[must_use]
    pub fn binding(&self) -> Binding {
        let (name, device_id) = (self.name.clone(), self.device_id.clone());
        let (algorithm, digits) = (self.parameters.algorithm(), self.parameters.digits());
        if self.event {
            Binding::EventCard {
                name,
                device_id,
                algorithm,
                digits,
            }
        } else {
            Binding::OathCard {
                name,
                device_id,
                algorithm,
                digits,
                period_s: self.parameters.period_s(),
                only_increasing: self.only_increasing,
            }
        }
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
    house: &Lifecycle,
    password: Option<&Secret>,
    work: impl FnOnce(&mut OathSession<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let deadline = session.deadline();
    let cancel = session.cancel().clone();
    let hints = Hints::of(session.faces());
    let mut link = session.open_card()?;
    let mut applet = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?;
    match password {
        Some(password) => unlock(&mut applet, house, password)?,
        None if applet.is_locked() => return Err(DeviceError::CardLocked.into()),
        None => {}
    }
    work(&mut applet)
}

/// Gives the password, unless too many were wrong of late: the applet does not count them.
fn unlock(applet: &mut OathSession<'_>, house: &Lifecycle, password: &Secret) -> Result<(), Refusal> {
    if !applet.is_locked() && applet.applet().pin_tries.is_none() {
        return Ok(());
    }
    let device_id = applet.applet().device_id();
    let throttle = &house.passwords;
    throttle
        .begin(&device_id, Instant::now())
        .map_err(|Wait(wait)| Refusal::PasswordThrottled {
            wait_s: wait.as_secs().max(1),
        })?;
    applet.unlock(password)?;
    throttle.forgive(&device_id);
    Ok(())
}

/// Runs a command that changes what is on the card; where the card wants a touch for that, a person is asked first, for it
/// gives no sign that it waits.
///
/// # Errors
/// What `work` says.
pub fn managing<'a, T>(
    act: &Act,
    applet: &mut OathSession<'a>,
    device: DeviceId,
    work: impl FnOnce(&mut OathSession<'a>) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    if !applet.habits().touch_to_manage {
        return work(applet);
    }
    let until = Instant::now() + act.house.settings().deadlines.touch;
    act.ask(UserActionKind::Touch, device, until, None);
    applet.set_deadline(until);
    let done = work(applet);
    act.step.answered();
    done
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
    let challenge = if body.only_increasing {
        // A number drawn at random would be the last that the card ever takes.
        body.parameters.step_at(act.house.clock().now())
    } else {
        random_challenge()?
    };
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
    touched(act, applet, device, |applet| applet.calculate(name, challenge))
}

/// The next code of a credential that counts; asks for a touch as [`calculate`] does.
///
/// # Errors
/// As the card says.
pub fn calculate_next(
    act: &Act,
    applet: &mut OathSession<'_>,
    name: &CredentialName,
    device: DeviceId,
) -> Result<Code, Refusal> {
    touched(act, applet, device, |applet| applet.calculate_next(name))
}

fn touched(
    act: &Act,
    applet: &mut OathSession<'_>,
    device: DeviceId,
    ask: impl Fn(&mut OathSession<'_>) -> Result<Code, DeviceError>,
) -> Result<Code, Refusal> {
    match ask(applet) {
        Err(DeviceError::TouchTimeout) => {
            // The first try may have been missed because nobody was told: tell, and try once more.
            let until = Instant::now() + act.house.settings().deadlines.touch;
            act.ask(UserActionKind::Touch, device, until, None);
            applet.set_deadline(until);
            let code = ask(applet);
            act.step.answered();
            Ok(code?)
        }
        other => Ok(other?),
    }
}

/// Has a credential that counts show its next code, and finds it among the counters from `next` on. Should others have had it
/// count further than a look-ahead, a second code decides. One APDU, or two.
///
/// # Errors
/// [`Refusal::Unverified`] when the codes are not the seed's.
pub fn prove_event(
    act: &Act,
    applet: &mut OathSession<'_>,
    body: &CardBody,
    seed: &Secret,
    (next, device): (u64, DeviceId),
) -> Result<u64, Refusal> {
    let name = body.credential()?;
    let generator =
        Generator::new(seed, body.parameters).map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
    let first = calculate_next(act, applet, &name, device)?;
    if let CounterVerdict::Accepted { counter, .. } = accept_counter(&generator, next, &first, LOOK_AHEAD) {
        return Ok(counter);
    }
    let second = calculate_next(act, applet, &name, device)?;
    match search_counters(&generator, next, &[first, second], FAR_LOOK_AHEAD) {
        CounterVerdict::Accepted { counter, .. } => Ok(counter),
        CounterVerdict::Rejected => Err(Refusal::Unverified("the card computes other codes than its seed")),
    }
}

/// The credential that answers these challenges, whatever its name. Those that count are not asked, nor those of a card that wants
/// a touch: whoever is asked for nothing must not be made to wait.
///
/// # Errors
/// As the card says of its list.
pub fn found_again(applet: &mut OathSession<'_>, proofs: &[(u64, String)]) -> Result<Option<CredentialName>, Refusal> {
    let listed = applet.list()?;
    let candidates = listed.into_iter().filter(|one| one.kind == CredentialType::Totp);
    for candidate in candidates.take(MOST_CANDIDATES) {
        let answers = |(challenge, response): &(u64, String)| {
            let code = applet.calculate(&candidate.name, *challenge);
            code.is_ok_and(|code| code.expose() == response)
        };
        if !proofs.is_empty() && proofs.iter().all(answers) {
            return Ok(Some(candidate.name));
        }
    }
    Ok(None)
}

/// The codes that a credential that counts will show next, from the one after `watermark` on.
///
/// # Errors
/// [`Refusal::Internal`] for a seed that cannot be used.
pub fn next_codes(
    parameters: &OathParameters,
    seed: &Secret,
    watermark: Option<u64>,
) -> Result<Vec<(u64, String)>, Refusal> {
    let first = watermark.map_or(0, |last| last.saturating_add(1));
    (first..first.saturating_add(NEXT_CODES))
        .map(|counter| {
            let code = code_at_step(seed, parameters, counter)
                .map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
            Ok((counter, code.expose().to_owned()))
        })
        .collect()
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
    // A card may take increasing challenges only.
    proofs.sort_unstable();
    Ok(proofs)
}

fn random_challenge() -> Result<u64, Refusal> {
    getrandom::u64().map_err(|_| Refusal::Internal("the host has no random numbers"))
}
