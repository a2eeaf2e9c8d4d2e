//! Resync: learn anew where a token's clock or counter stands, from consecutive codes searched jointly; or only say what would
//! be learned.

use serde_json::json;

use crate::codec::oath::{Code, Generator, OathParameters};
use crate::grant::{Action, Object};
use crate::ledger::{Binding, Factor, LedgerError, Mutation, TokenRecord};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, Facts, facts};
use crate::lifecycle::advice::{Advice, Hypothesis, advise, hypotheses};
use crate::lifecycle::attempts::REFUSED;
use crate::lifecycle::code::{Received, drift_of, next_counter, parameters_of};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::fob::parse_codes;
use crate::lifecycle::tries::Admitted;
use crate::lifecycle::validity;
use crate::resync::{
    self, CounterVerdict, Explanation, MAX_LOOK_AHEAD, Policy, RESYNC_LOOK_AHEAD, ResyncVerdict, explain, search_codes,
    search_counters,
};
use crate::types::{DriftSource, Secret, TokenId, TokenKind, TokenState, UnixMillis};

/// States in which a fob's codes count. A pending one was registered without codes and is activated by its first two.
const USABLE: &[TokenState] = &[TokenState::Active, TokenState::Pending];

/// Codes from which on it is tried to explain why they do not fit, and an event token is looked for far ahead.
const TELLING: usize = 3;

/// What is to be done, and what the caller allows beyond the ordinary; both are journalled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowances {
    /// Only say what would change.
    pub preview: bool,
    /// Accept an offset no clock drifts to.
    pub beyond_bound: bool,
    /// Measure although the host clock is not synchronised.
    pub unsynchronised: bool,
}

/// What the codes teach.
struct Lesson {
    to: u64,
    offset_ms: i64,
    seen: UnixMillis,
    /// None for a token that counts.
    shift_s: Option<i64>,
    /// Presses that nobody sent, of a token that counts.
    skipped: Option<u64>,
}

/// Why they teach nothing.
struct Failed {
    why: &'static str,
    shift_s: Option<i64>,
    refusal: Refusal,
    explanation: Explanation,
    advice: Vec<Advice>,
}

/// Resyncs `token`, or previews it. After a resync the last code given is used up and the next one displayed passes; after a
/// preview nothing has changed, and the same codes may be given again within five minutes as if at the same time. So many tries in
/// vain in 24 hours, of either, as the settings say.
///
/// # Errors
/// [`Refusal::CodeRejected`] whatever was wrong with the codes; [`Refusal::OffsetImplausible`]; either with advice;
/// [`Refusal::NotYetValid`], [`Refusal::Expired`]; [`Refusal::TooManyAttempts`]; [`Refusal::ClockUnsynchronised`];
/// [`Refusal::WrongKind`].
pub async fn resync(act: &Act, token: TokenId, codes: &[String], allowances: Allowances) -> Result<Outcome, Refusal> {
    act.require(Action::Resync, &Object::Token(token))?;
    let record = act.token(token).await?;
    must_be_resyncable(&record)?;
    if record.state == TokenState::Pending {
        act.house.may_activate(record.personal.subject.as_deref()).await?;
    }
    validity::require(&record, act.house.clock().now())?;
    let (parameters, factor) = parameters_of(&record)?;
    let codes = parse(codes, &parameters)?;
    if factor != Factor::Event && !act.house.clock().synchronised() && !allowances.unsynchronised {
        return Err(Refusal::ClockUnsynchronised);
    }
    let admitted = act.admit_try(&record).await?;
    act.phase(Phase::Proving, 30);
    let ledger = act.house.ledger();
    let seed = ledger.seed(token).await?;
    let now = act.house.clock().now();
    let limit = act.house.settings().resyncs_in_vain;
    act.house.attempts().begin(ledger.as_ref(), token, limit, now).await?;
    let received = received_at(act, token, codes, now);
    let judged = match factor {
        Factor::Event => Ok(count(&record, &seed, parameters, &received)),
        Factor::Time { .. } => measure(act, &record, &seed, parameters, received.clone(), allowances).await,
    };
    act.phase(Phase::Committing, 80);
    let judged = match (judged, act.step.point_of_no_return()) {
        (Err(refusal), _) => {
            act.house.attempts().give_back(token).await;
            return Err(refusal);
        }
        (_, Err(_)) => {
            act.house.attempts().give_back(token).await;
            return Err(Refusal::Cancelled);
        }
        (Ok(judged), Ok(())) => judged,
    };
    match judged {
        Err(failed) => Err(refuse(act, &record, &admitted, *failed, received.len(), allowances).await),
        Ok(lesson) => {
            let outcome = if allowances.preview {
                preview(act, &record, &lesson, received, allowances).await
            } else {
                apply(act, &record, &admitted, &lesson, received.len(), allowances).await
            };
            if outcome.is_ok() {
                act.house.attempts().give_back(token).await;
            }
            outcome
        }
    }
}

/// Cards that plug in compute from the host's time and have no clock of their own; keys and paper have none either.
fn must_be_resyncable(record: &TokenRecord) -> Result<(), Refusal> {
    if !matches!(record.kind, TokenKind::Fob | TokenKind::NfcFob | TokenKind::App) {
        return Err(Refusal::WrongKind {
            kind: record.kind,
            verb: "resynced",
        });
    }
    if !USABLE.contains(&record.state) {
        return Err(LedgerError::WrongState {
            is: record.state,
            needs: "active or pending".to_owned(),
        }
        .into());
    }
    Ok(())
}

/// Reads the codes. Three or more that agree on another number of digits than the record has are let through: they cannot pass,
/// but it can be found out whether the record is wrong.
fn parse(codes: &[String], parameters: &OathParameters) -> Result<Vec<Code>, Refusal> {
    parse_codes(codes, parameters).or_else(|refusal| {
        let digits = codes
            .first()
            .and_then(|code| Code::parse(code).ok())
            .map(|code| code.digits());
        match digits.map(|digits| OathParameters::new(parameters.algorithm(), digits, parameters.period_s())) {
            Some(Ok(shown)) if codes.len() >= TELLING => parse_codes(codes, &shown).map_err(|_| refusal),
            _ => Err(refusal),
        }
    })
}

/// The codes with the time at which they reached us: that of their preview, if these are the codes that were previewed.
fn received_at(act: &Act, token: TokenId, codes: Vec<Code>, now: UnixMillis) -> Vec<Received> {
    let previewed = act.house.previewed().take(token, now);
    let is_same = previewed.len() == codes.len() && previewed.iter().zip(&codes).all(|((old, _), new)| old == new);
    if is_same {
        previewed
    } else {
        codes.into_iter().map(|code| (code, now)).collect()
    }
}

/// Searches a token that counts: 100 presses ahead, 1,000 with three codes.
fn count(
    record: &TokenRecord,
    seed: &Secret,
    parameters: OathParameters,
    received: &[Received],
) -> Result<Lesson, Box<Failed>> {
    let rejected = || {
        Box::new(Failed {
            why: "no-match",
            shift_s: None,
            refusal: Refusal::CodeRejected,
            explanation: Explanation::default(),
            advice: three_codes(received.len()),
        })
    };
    let generator = Generator::new(seed, parameters).map_err(|_| rejected())?;
    let codes: Vec<Code> = received.iter().map(|(code, _)| code.clone()).collect();
    let look_ahead = if codes.len() < TELLING {
        RESYNC_LOOK_AHEAD
    } else {
        MAX_LOOK_AHEAD
    };
    let next = next_counter(record);
    match search_counters(&generator, next, &codes, look_ahead) {
        CounterVerdict::Accepted { counter, .. } => Ok(Lesson {
            to: counter,
            offset_ms: record.offset_ms,
            seen: received.last().map_or(UnixMillis(0), |(_, at)| *at),
            shift_s: None,
            skipped: Some((counter + 1).saturating_sub(next + codes.len() as u64)),
        }),
        CounterVerdict::Rejected => Err(rejected()),
    }
}

/// Searches a token with a clock. A day of steps is thousands of HMACs: not on the thread that serves the bus.
async fn measure(
    act: &Act,
    record: &TokenRecord,
    seed: &Secret,
    parameters: OathParameters,
    received: Vec<Received>,
    allowances: Allowances,
) -> Result<Result<Lesson, Box<Failed>>, Refusal> {
    let settable_clock = matches!(record.binding, Binding::NfcFob { .. });
    let policy = Policy {
        accept_implausible: allowances.beyond_bound,
        settable_clock,
        ..Policy::default()
    };
    let state = drift_of(record);
    let generator =
        Generator::new(seed, parameters).map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
    let (codes, now) = (received.clone(), act.house.clock().now());
    let (verdict, generator) = off_thread(move || {
        let verdict = search_codes(&state, &generator, &codes, now, &policy);
        (verdict, generator)
    })
    .await?;
    let refusal = match verdict {
        ResyncVerdict::Accepted {
            steps,
            offset_after_ms,
            shift_s,
            ..
        } => {
            return Ok(Ok(Lesson {
                to: steps
                    .last()
                    .copied()
                    .ok_or(Refusal::Internal("a resync without steps"))?,
                offset_ms: offset_after_ms,
                seen: received.last().map_or(now, |(_, at)| *at),
                shift_s: Some(shift_s),
                skipped: None,
            }));
        }
        ResyncVerdict::Refused(refusal) => refusal,
    };
    let (why, outward) = judge(refusal);
    let tries_to_explain = matches!(outward, Refusal::CodeRejected | Refusal::OffsetImplausible);
    let digits = received.first().map_or(parameters.digits(), |(code, _)| code.digits());
    let (explanation, advice) = if tries_to_explain && received.len() >= TELLING {
        let tried = hypotheses(act.house.ledger().as_ref(), record, seed, digits).await?;
        let (meanings, alternatives): (Vec<_>, Vec<_>) = tried
            .into_iter()
            .map(|Hypothesis { advice, alternative }| (advice, alternative))
            .unzip();
        let explanation =
            off_thread(move || explain(&state, &generator, &alternatives, &received, now, &policy)).await?;
        let advice = advise(&explanation, &meanings, settable_clock);
        (explanation, advice)
    } else if tries_to_explain {
        (Explanation::default(), vec![Advice::ThreeCodes])
    } else {
        (Explanation::default(), Vec::new())
    };
    // How far is for the journal: whoever typed the codes is not told what they are worth.
    let shift_s = match refusal {
        resync::Refusal::Implausible { shift_s } | resync::Refusal::TooFew { shift_s } => Some(shift_s),
        _ => None,
    };
    Ok(Err(Box::new(Failed {
        why,
        shift_s,
        refusal: outward,
        explanation,
        advice,
    })))
}

async fn off_thread<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(job)
        .await
        .map_err(|_| Refusal::Internal("the search ended unexpectedly"))
}

/// Two codes in vain are answered by asking for three, whatever the reason.
fn three_codes(given: usize) -> Vec<Advice> {
    if given < TELLING {
        vec![Advice::ThreeCodes]
    } else {
        Vec::new()
    }
}

async fn preview(
    act: &Act,
    record: &TokenRecord,
    lesson: &Lesson,
    received: Vec<Received>,
    allowances: Allowances,
) -> Result<Outcome, Refusal> {
    let unchanged = vec![Mutation::Require {
        token: record.id,
        states: USABLE,
    }];
    let detail = told(record, lesson, received.len(), allowances);
    act.commit("resync.previewed", Some(record.id), detail, unchanged)
        .await?;
    act.house.previewed().keep(record.id, received);
    Ok(done(record, lesson))
}

async fn apply(
    act: &Act,
    record: &TokenRecord,
    admitted: &Admitted,
    lesson: &Lesson,
    codes: usize,
    allowances: Allowances,
) -> Result<Outcome, Refusal> {
    let token = record.id;
    let mut changes = vec![
        Mutation::Require { token, states: USABLE },
        Mutation::Advance {
            token,
            to: lesson.to,
            offset_ms: lesson.offset_ms,
            seen: lesson.seen,
            source: lesson.shift_s.map(|_| DriftSource::Resync),
        },
        admitted.passed(),
    ];
    // Codes searched jointly are a harder test than any single one, so they are the first test too.
    if record.state == TokenState::Pending {
        changes.push(Mutation::Transition {
            token,
            from: &[TokenState::Pending],
            to: TokenState::Active,
            reason: None,
        });
    }
    let detail = told(record, lesson, codes, allowances);
    match act.commit("resync.applied", Some(token), detail, changes).await {
        Err(LedgerError::Stale(_)) => {
            let stale = Failed {
                why: "stale",
                shift_s: None,
                refusal: Refusal::CodeRejected,
                explanation: Explanation::default(),
                advice: Vec::new(),
            };
            Err(refuse(act, record, admitted, stale, codes, allowances).await)
        }
        Err(error) => Err(error.into()),
        Ok(()) => Ok(done(record, lesson)),
    }
}

/// The change, as the journal keeps it.
fn told(record: &TokenRecord, lesson: &Lesson, codes: usize, allowances: Allowances) -> Facts {
    let mut detail = facts([
        ("codes", json!(codes)),
        ("beyond_bound", json!(allowances.beyond_bound)),
        ("unsynchronised", json!(allowances.unsynchronised)),
    ]);
    match lesson.skipped {
        Some(skipped) => {
            detail.insert("skipped", json!(skipped));
        }
        None => {
            detail.insert("offset_before_ms", json!(record.offset_ms));
            detail.insert("offset_after_ms", json!(lesson.offset_ms));
        }
    }
    detail
}

fn done(record: &TokenRecord, lesson: &Lesson) -> Outcome {
    let clock = lesson.shift_s.is_some();
    Outcome::Done(Details {
        token: Some(record.id),
        offset_s: clock.then(|| lesson.offset_ms.div_euclid(1000)),
        offset_before_s: (clock && record.last_seen.is_some()).then(|| record.offset_ms.div_euclid(1000)),
        shift_s: lesson.shift_s,
        skipped: lesson.skipped,
        ..Details::default()
    })
}

/// What the journal says and what the caller hears. Codes that are right but used, or right but too few, are wrong codes to the
/// caller.
fn judge(refusal: resync::Refusal) -> (&'static str, Refusal) {
    use resync::Refusal as R;
    match refusal {
        R::NoMatch => ("no-match", Refusal::CodeRejected),
        R::Replayed => ("replayed", Refusal::CodeRejected),
        R::TooFew { .. } => ("too-few", Refusal::CodeRejected),
        R::Ambiguous => ("ambiguous", Refusal::CodeRejected),
        R::Implausible { .. } => ("implausible", Refusal::OffsetImplausible),
        R::SameCode => (
            "same-code",
            Refusal::Invalid("the same code twice: wait until the display shows the next one".into()),
        ),
        R::Count => ("count", Refusal::Invalid("two to four codes are needed".into())),
        R::Times => ("times", Refusal::Invalid("start again with two fresh codes".into())),
    }
}

/// One entry of a try in vain; then the refusal with its advice, or that it could not be recorded.
async fn refuse(
    act: &Act,
    record: &TokenRecord,
    admitted: &Admitted,
    failed: Failed,
    codes: usize,
    allowances: Allowances,
) -> Refusal {
    let used = failed.explanation.clock.contains(&resync::ClockFault::Used);
    let advice: Vec<_> = failed.advice.iter().map(|advice| advice.name()).collect();
    let detail = facts([
        ("why", json!(failed.why)),
        ("shift_s", json!(failed.shift_s)),
        ("codes", json!(codes)),
        ("advice", json!(advice)),
        ("used", json!(used)),
        ("preview", json!(allowances.preview)),
    ]);
    let token = record.id;
    match act
        .commit(
            REFUSED,
            Some(token),
            detail,
            vec![Mutation::Fail { token }, admitted.missed()],
        )
        .await
    {
        Ok(()) if failed.advice.is_empty() => failed.refusal,
        Ok(()) => Refusal::Advised {
            refusal: Box::new(failed.refusal),
            advice: failed.advice,
        },
        Err(error) => error.into(),
    }
}
