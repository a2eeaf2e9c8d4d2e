//! Registering a display fob: it has no interface, so its serial and seed come from its papers, and two codes read off the
//! display prove that papers and fob belong together and show how far its clock is off or its counter ahead.

use serde_json::json;

use crate::codec::oath::{Code, Generator, MAX_CODES, MAX_SEED_LEN, MIN_CODES, MIN_SEED_LEN, OathParameters};
use crate::grant::{Action, Object};
use crate::ledger::{Binding, LedgerError, Mutation, Personal, Unique};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::import::namesake;
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::{checked_parameters, fresh};
use crate::lifecycle::{FobOptions, Refusal};
use crate::resync::{CounterVerdict, DriftState, Policy, ResyncVerdict, search_codes, search_counters};
use crate::types::{DriftSource, FactorKind, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

/// Largest counter that is believed: a press a second for a hundred years.
const MAX_COUNTER: u64 = 1 << 32;
/// How far ahead of its papers a counter is looked for: presses while it was packed, tried out and carried about.
const FIRST_LOOK_AHEAD: u32 = 100;

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
    // Without codes it stays pending for now.
    if !codes.is_empty() {
        act.house.may_activate(Some(&subject)).await?;
    }
    let parameters = checked_parameters(options.algorithm, options.digits, options.period_s)?;
    if !(MIN_SEED_LEN..=MAX_SEED_LEN).contains(&seed.len()) {
        return Err(Refusal::Invalid(format!(
            "the seed has {} bytes; a fob's seed has {MIN_SEED_LEN} to {MAX_SEED_LEN} (is the encoding right?)",
            seed.len()
        )));
    }
    let moved_by = moving_factor(&options)?;
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
    record.maker = options.maker;
    record.binding = binding(&parameters, moved_by);
    // The last counter that can have been used is the one before the next.
    record.watermark = match moved_by {
        MovedBy::Time => None,
        MovedBy::Event { next } => next.checked_sub(1),
    };
    let unique = Unique::Fob {
        manufacturer: record.maker.clone(),
        serial,
    };
    if let Some(token) = namesake(
        act.house.ledger().as_ref(),
        &record.maker,
        record.personal.serial.as_deref(),
    )
    .await?
    {
        return Err(LedgerError::Duplicate { what: "serial", token }.into());
    }
    act.phase(Phase::Proving, 30);
    // Without codes the fob is pending: where it stands is learned from its first two codes, by a resync.
    let first = if codes.is_empty() {
        None
    } else {
        record.state = TokenState::Active;
        Some(first_look(&codes, &seed, parameters, moved_by, now).await?)
    };
    // Without any offset the fob could not be used at all, so the measurement is kept whatever the host clock is worth; the
    // journal says what it was measured against.
    let unsynchronised = !act.house.clock().synchronised();
    let offset_s = first
        .filter(|_| moved_by == MovedBy::Time)
        .map(|(_, offset_ms)| offset_ms.div_euclid(1000));
    let counter = first.filter(|_| moved_by != MovedBy::Time).map(|(counter, _)| counter);
    let detail = facts([
        ("kind", json!(TokenKind::Fob)),
        ("state", json!(record.state)),
        ("offset_s", json!(offset_s)),
        ("unsynchronised", json!(unsynchronised)),
    ]);
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let mut changes = vec![Mutation::Insert {
        record: Box::new(record),
        seed: Some(seed),
        unique: Some(unique),
    }];
    changes.extend(first.map(|(to, offset_ms)| Mutation::Advance {
        token: id,
        to,
        offset_ms,
        seen: now,
        source: (moved_by == MovedBy::Time).then_some(DriftSource::First),
    }));
    act.commit("token.registered", Some(id), detail, changes).await?;
    Ok(Outcome::Done(Details {
        token: Some(id),
        offset_s,
        counter,
        ..Details::default()
    }))
}

/// What moves the codes on, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MovedBy {
    Time,
    Event {
        /// Counter of the next code, by the papers.
        next: u64,
    },
}

fn moving_factor(options: &FobOptions) -> Result<MovedBy, Refusal> {
    let refused = |why: &str| Err(Refusal::Invalid(why.to_owned()));
    match (options.factor.unwrap_or(FactorKind::Time), options.counter) {
        (FactorKind::Time, None) => Ok(MovedBy::Time),
        (FactorKind::Time, Some(_)) => refused("a fob that shows codes by time has no counter: is its factor “event”?"),
        (FactorKind::Event, _) if options.period_s.is_some() => {
            refused("a fob that counts presses has no time step: is its factor “time”?")
        }
        (FactorKind::Event, counter) => match counter.unwrap_or(0) {
            next if next <= MAX_COUNTER => Ok(MovedBy::Event { next }),
            _ => refused("no fob has counted so far: is the counter right?"),
        },
    }
}

/// What the first codes tell: the step or counter of the last one, which is used up with that, and how far the clock is off.
/// The window is the wide one of a first use, for fobs drift on the shelf [otphp#124].
async fn first_look(
    codes: &[String],
    seed: &Secret,
    parameters: OathParameters,
    moved_by: MovedBy,
    now: UnixMillis,
) -> Result<(u64, i64), Refusal> {
    let codes = parse_codes(codes, &parameters)?;
    let generator = Generator::new(seed, parameters).map_err(|error| Refusal::Invalid(error.to_string()))?;
    let search = move || match moved_by {
        MovedBy::Time => {
            let read: Vec<_> = codes.into_iter().map(|code| (code, now)).collect();
            match search_codes(&DriftState::default(), &generator, &read, now, &Policy::default()) {
                ResyncVerdict::Accepted {
                    steps, offset_after_ms, ..
                } => steps.last().map(|step| (*step, offset_after_ms)),
                ResyncVerdict::Refused(_) => None,
            }
        }
        MovedBy::Event { next } => match search_counters(&generator, next, &codes, FIRST_LOOK_AHEAD) {
            CounterVerdict::Accepted { counter, .. } => Some((counter, 0)),
            CounterVerdict::Rejected => None,
        },
    };
    // A day of steps is thousands of HMACs: not on the threads that serve the bus.
    tokio::task::spawn_blocking(search)
        .await
        .map_err(|_| Refusal::Internal("the search ended unexpectedly"))?
        .ok_or(Refusal::CodeRejected)
}

fn binding(parameters: &OathParameters, moved_by: MovedBy) -> Binding {
    let (algorithm, digits) = (parameters.algorithm(), parameters.digits());
    match moved_by {
        MovedBy::Time => Binding::Fob {
            algorithm,
            digits,
            period_s: parameters.period_s(),
        },
        MovedBy::Event { .. } => Binding::EventFob { algorithm, digits },
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
