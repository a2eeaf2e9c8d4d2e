//! Why codes did not resync a token, as far as that can be found out, in words for two people: the one at the help desk and
//! the one who holds the token. Nothing of it is applied unasked.

use crate::codec::misreading::misreadings;
use crate::codec::oath::{Generator, OathParameters};
use crate::ledger::{Filter, Ledger, TokenRecord};
use crate::lifecycle::Refusal;
use crate::lifecycle::code::{drift_of, parameters_of};
use crate::resync::{Alternative, ClockFault, Explanation};
use crate::types::{OathAlgorithm, Secret, TokenId};

/// Most other tokens whose seeds are tried: the person's own first, then those that came in the same delivery.
const MAX_OTHERS: u32 = 24;
/// How far the clock of another token is believed to be off, in milliseconds.
const OTHER_HORIZON_MS: i64 = 3_600_000;

/// One piece of advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Two codes did not do: three in a row weigh more, whatever the reason was.
    ThreeCodes,
    /// The clock shows a local time.
    LocalTime {
        /// Minutes from where it was.
        minutes: i32,
    },
    /// The clock is ahead of anything drift explains.
    ClockAhead,
    /// The same on a clock that can be set: the codes may have been played ahead.
    PlayedAhead,
    /// The clock stood still or was set back.
    ClockBehind,
    /// The clock began anew.
    ClockReset,
    /// The time step is another one.
    Period {
        /// The one that fits, in seconds.
        period_s: u32,
    },
    /// The hash is another one.
    Algorithm {
        /// The one that fits.
        algorithm: OathAlgorithm,
    },
    /// The number of digits is another one.
    Digits {
        /// The one that fits.
        digits: u8,
    },
    /// The seed was read in the wrong encoding.
    SeedEncoding,
    /// The codes are those of another token.
    OtherToken {
        /// Which.
        token: TokenId,
    },
}

impl Advice {
    /// Name on the bus and in the journal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ThreeCodes => "three-codes",
            Self::LocalTime { .. } => "local-time",
            Self::ClockAhead => "clock-ahead",
            Self::PlayedAhead => "played-ahead",
            Self::ClockBehind => "clock-behind",
            Self::ClockReset => "clock-reset",
            Self::Period { .. } => "period",
            Self::Algorithm { .. } => "algorithm",
            Self::Digits { .. } => "digits",
            Self::SeedEncoding => "seed-encoding",
            Self::OtherToken { .. } => "other-token",
        }
    }

    /// For the help desk: what it probably is, and what to do.
    #[must_use]
    pub fn for_desk(self) -> String {
        match self {
            Self::ThreeCodes => {
                "Let the person read three codes that follow each other, each when the display changes, and give all three.".into()
            }
            Self::LocalTime { minutes } => format!(
                "The clock stands {minutes:+} minutes from where it should, a time zone's distance: it was probably set to a \
                 local time. Resync with “beyond-bound”, or set its clock to UTC if it can be set."
            ),
            Self::ClockAhead => "The codes lie further in the future than this clock can have drifted. Make sure who is calling \
                 and that the person holds the fob; then “beyond-bound”, or replace it."
                .into(),
            Self::PlayedAhead => "The codes lie in the future of a clock that can be set over the air: somebody may have set it \
                 forward to collect codes. Do not accept them. See the fob, read or set its clock, or replace it."
                .into(),
            Self::ClockBehind => "The clock stood still or was set back, as with a failing battery. Replace the fob; until then \
                 “beyond-bound” makes it work."
                .into(),
            Self::ClockReset => {
                "The clock lost its power and began anew: the battery is at its end. Replace the fob, or set its clock if it can be set.".into()
            }
            Self::Period { period_s } => format!(
                "The codes fit a time step of {period_s} s: the record has another one. Register the fob anew with it."
            ),
            Self::Algorithm { algorithm } => {
                format!("The codes fit {algorithm}: the record has another hash. Register the fob anew with it.")
            }
            Self::Digits { digits } => format!(
                "The codes have {digits} digits and fit so: the record has another number. Register the fob anew with it."
            ),
            Self::SeedEncoding => "The codes fit the same seed read in another encoding (hex, base32, text): correct the seed file \
                 and register the fob anew."
                .into(),
            Self::OtherToken { token } => {
                format!("The codes are those of token {token}: the person holds another fob than the record says.")
            }
        }
    }

    /// For the person with the token.
    #[must_use]
    pub const fn for_subject(self) -> &'static str {
        match self {
            Self::ThreeCodes => "Please read three codes, one after the other.",
            Self::OtherToken { .. } => "Please read the number on the back of the token.",
            Self::ClockReset | Self::ClockBehind => "Your token's battery may be failing; you may need a new token.",
            Self::PlayedAhead | Self::ClockAhead => "Please bring the token to the help desk.",
            Self::LocalTime { .. } => "Your token's clock is set wrong; the help desk can correct it.",
            Self::Period { .. } | Self::Algorithm { .. } | Self::Digits { .. } | Self::SeedEncoding => {
                "Your token was registered wrong; the help desk can correct it."
            }
        }
    }
}

/// A hypothesis about the record, and what it would mean.
pub struct Hypothesis {
    /// What it would mean.
    pub advice: Vec<Advice>,
    /// What would make the codes.
    pub alternative: Alternative,
}

/// Everything worth trying when codes of `digits` digits did not fit `record`: other parameters, other readings of the seed,
/// other tokens of the same person or delivery. Bounded; depends on no code.
///
/// # Errors
/// Storage; [`Refusal::Internal`] for a record that cannot be read.
pub async fn hypotheses(
    ledger: &dyn Ledger,
    record: &TokenRecord,
    seed: &Secret,
    digits: u8,
) -> Result<Vec<Hypothesis>, Refusal> {
    let (own, _) = parameters_of(record)?;
    let mut list = Vec::new();
    let state = drift_of(record);
    let mut add = |advice: Vec<Advice>, seed: &Secret, parameters: OathParameters| {
        if let Ok(generator) = Generator::new(seed, parameters) {
            let alternative = Alternative {
                generator,
                state,
                horizon_ms: None,
            };
            list.push(Hypothesis { advice, alternative });
        }
    };
    for algorithm in [OathAlgorithm::Sha1, OathAlgorithm::Sha256, OathAlgorithm::Sha512] {
        for period_s in [own.period_s(), if own.period_s() == 60 { 30 } else { 60 }] {
            let mut advice = Vec::new();
            if algorithm != own.algorithm() {
                advice.push(Advice::Algorithm { algorithm });
            }
            if period_s != own.period_s() {
                advice.push(Advice::Period { period_s });
            }
            if digits != own.digits() {
                advice.push(Advice::Digits { digits });
            }
            if let (false, Ok(parameters)) = (advice.is_empty(), OathParameters::new(algorithm, digits, period_s)) {
                add(advice, seed, parameters);
            }
        }
    }
    if digits == own.digits() {
        for reading in misreadings(seed) {
            add(vec![Advice::SeedEncoding], &reading, own);
        }
    }
    for other in others(ledger, record).await? {
        let (Ok((parameters, _)), Ok(seed)) = (parameters_of(&other), ledger.seed(other.id).await) else {
            continue;
        };
        if let Ok(generator) = Generator::new(&seed, parameters) {
            list.push(Hypothesis {
                advice: vec![Advice::OtherToken { token: other.id }],
                alternative: Alternative {
                    generator,
                    state: drift_of(&other),
                    horizon_ms: Some(OTHER_HORIZON_MS),
                },
            });
        }
    }
    Ok(list)
}

/// Live tokens with codes and a clock that could be in the person's hand instead.
async fn others(ledger: &dyn Ledger, record: &TokenRecord) -> Result<Vec<TokenRecord>, Refusal> {
    let mut found: Vec<TokenRecord> = Vec::new();
    let alive = Filter {
        alive: true,
        ..Filter::default()
    };
    let filters = [
        record.personal.subject.clone().map(|subject| Filter {
            subject: Some(subject),
            ..alive.clone()
        }),
        record.batch.clone().map(|batch| Filter {
            batch: Some(batch),
            ..alive.clone()
        }),
    ];
    for filter in filters.into_iter().flatten() {
        let page = ledger.find(&filter, None, MAX_OTHERS).await?;
        let fresh: Vec<_> = page
            .items
            .into_iter()
            .filter(|other| {
                let has_clock = other
                    .binding
                    .oath()
                    .is_some_and(|oath| oath.factor != crate::ledger::Factor::Event);
                has_clock && other.has_seed && other.id != record.id && found.iter().all(|known| known.id != other.id)
            })
            .collect();
        found.extend(fresh);
    }
    found.truncate(MAX_OTHERS as usize);
    Ok(found)
}

/// Puts an explanation into words. `settable` says whether the token's clock can be set by whoever holds it.
#[must_use]
pub fn advise(explanation: &Explanation, meanings: &[Vec<Advice>], settable: bool) -> Vec<Advice> {
    let clock = explanation.clock.iter().filter_map(|fault| match fault {
        ClockFault::LocalTime { minutes } => Some(Advice::LocalTime { minutes: *minutes }),
        ClockFault::Ahead if settable => Some(Advice::PlayedAhead),
        ClockFault::Ahead => Some(Advice::ClockAhead),
        ClockFault::Behind => Some(Advice::ClockBehind),
        ClockFault::Reset { .. } => Some(Advice::ClockReset),
        // That codes were right but used is no business of a thief: the journal alone is told.
        ClockFault::Used => None,
    });
    let record = explanation
        .alternatives
        .iter()
        .filter_map(|index| meanings.get(*index))
        .flatten()
        .copied();
    let mut advice: Vec<Advice> = Vec::new();
    for item in clock.chain(record) {
        if !advice.contains(&item) {
            advice.push(item);
        }
    }
    advice
}
