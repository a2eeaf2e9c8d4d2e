//! Registering a display fob: it has no interface, so its serial and seed come from its papers, and two codes read off the
//! display prove that papers and fob belong together and show how far its clock is off.

use serde_json::json;

use crate::codec::oath::{Code, Generator, MAX_CODES, MAX_SEED_LEN, MIN_CODES, MIN_SEED_LEN, OathParameters};
use crate::grant::{Action, Object};
use crate::ledger::{Binding, Mutation, Personal, Unique};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::{checked_parameters, fresh};
use crate::lifecycle::{FobOptions, Refusal};
use crate::resync::{DriftState, Policy, ResyncVerdict, search_codes};
use crate::types::{DriftSource, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

/// Registers a fob. One commit: before it nothing is written, after it the fob is active.
///
/// # Errors
/// [`Refusal::CodeRejected`] when the codes are not the seed's; [`Refusal::Ledger`] with `Duplicate` for a live fob of the
/// same serial; [`Refusal::Invalid`].
pub async fn register(
    act: &Act,
    subject: String,
    serial: String,
    seed: Secret,
    codes: Vec<String>,
    options: FobOptions,
) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::NewFob)?;
    let parameters = checked_parameters(options.algorithm, options.digits, options.period_s)?;
    if !(MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()) {
        return Err(Refusal::Invalid(format!(
            "the seed has {} bytes; a fob's seed has {MIN_SEED_LEN} to {MAX_SEED_LEN} (is the encoding right?)",
            seed.len()
        )));
    }
    let now = act.house.clock().now();
    let id = TokenId::generate();
    let mut record = fresh(
        id,
        TokenKind::Fob,
        Reality::Hardware,
        Personal {
            subject: Some(subject),
            serial: Some(serial.clone()),
            label: options.label,
        },
    );
    record.model = options.model.unwrap_or_else(|| "display fob".to_owned());
    record.binding = binding(&parameters);
    act.phase(Phase::Proving, 30);
    // Without codes the fob is pending: what its clock shows is learned from the first two codes, by a resync.
    let first = if codes.is_empty() {
        None
    } else {
        let (to, offset_ms) = first_look(&codes, &seed, parameters, now).await?;
        record.state = TokenState::Active;
        Some(Mutation::Advance {
            token: id,
            to,
            offset_ms,
            seen: now,
            source: Some(DriftSource::First),
        })
    };
    // Without any offset the fob could not be used at all, so the measurement is kept whatever the host clock is worth; the
    // journal says what it was measured against.
    let unsynchronised = !act.house.clock().synchronised();
    let offset_s = match &first {
        Some(Mutation::Advance { offset_ms, .. }) => Some(offset_ms.div_euclid(1000)),
        _ => None,
    };
    let state = record.state;
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let insert = Mutation::Insert {
        record: Box::new(record),
        seed: Some(seed),
        unique: Some(Unique::Fob {
            manufacturer: None,
            serial,
        }),
    };
    let detail = facts([
        ("kind", json!(TokenKind::Fob)),
        ("state", json!(state)),
        ("offset_s", json!(offset_s)),
        ("unsynchronised", json!(unsynchronised)),
    ]);
    let changes = std::iter::once(insert).chain(first).collect();
    act.commit("token.registered", Some(id), detail, changes).await?;
    Ok(Outcome::Done(Details {
        token: Some(id),
        offset_s,
        ..Details::default()
    }))
}

/// What the first codes tell: the step of the last one, which is used up with that, and how far the clock is off. The window
/// is the wide one of a first use, for fobs drift on the shelf [otphp#124].
async fn first_look(
    codes: &[String],
    seed: &Secret,
    parameters: OathParameters,
    now: UnixMillis,
) -> Result<(u64, i64), Refusal> {
    let read: Vec<_> = parse_codes(codes, &parameters)?
        .into_iter()
        .map(|code| (code, now))
        .collect();
    let generator = Generator::new(seed, parameters).map_err(|error| Refusal::Invalid(error.to_string()))?;
    // A day of steps is thousands of HMACs: not on the threads that serve the bus.
    let search = move || search_codes(&DriftState::default(), &generator, &read, now, &Policy::default());
    let verdict = tokio::task::spawn_blocking(search)
        .await
        .map_err(|_| Refusal::Internal("the search ended unexpectedly"))?;
    match verdict {
        ResyncVerdict::Accepted {
            steps, offset_after_ms, ..
        } => {
            let last = steps
                .last()
                .copied()
                .ok_or(Refusal::Internal("a resync without steps"))?;
            Ok((last, offset_after_ms))
        }
        ResyncVerdict::Refused(_) => Err(Refusal::CodeRejected),
    }
}

fn binding(parameters: &OathParameters) -> Binding {
    Binding::Fob {
        algorithm: parameters.algorithm(),
        digits: parameters.digits(),
        period_s: parameters.period_s(),
    }
}

/// Reads codes as typed; says which one is malformed, never what it was.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_codes(codes: &[String], parameters: &OathParameters) -> Result<Vec<Code>, Refusal> {
    if !(MIN_CODES..=MAX_CODES).contains(&codes.len()) {
        return Err(Refusal::Invalid(format!(
            "{} codes were given; give {MIN_CODES} to {MAX_CODES}, read off the display one after the other",
            codes.len()
        )));
    }
    codes
        .iter()
        .enumerate()
        .map(|(n, code)| parse_code(code, parameters, n))
        .collect()
}

/// Reads one code.
///
/// # Errors
/// [`Refusal::Invalid`].
pub fn parse_code(code: &str, parameters: &OathParameters, position: usize) -> Result<Code, Refusal> {
    let digits = parameters.digits();
    match Code::parse(code) {
        Ok(code) if code.digits() == digits => Ok(code),
        _ => Err(Refusal::Invalid(format!(
            "code {} is not {digits} digits",
            position + 1
        ))),
    }
}
