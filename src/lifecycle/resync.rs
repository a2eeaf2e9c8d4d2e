//! Resync: learn anew how far a fob's clock is off, from consecutive codes searched jointly.

use serde_json::json;

use crate::codec::oath::Generator;
use crate::grant::{Action, Object};
use crate::ledger::{LedgerError, Mutation};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, Facts, facts};
use crate::lifecycle::code::{drift_of, parameters_of};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::fob::parse_codes;
use crate::resync::{self, Policy, ResyncVerdict, search_codes};
use crate::types::{DriftSource, TokenId, TokenKind, TokenState};

/// Failures in a row, of codes and of resyncs, after which a person must look (NIST SP 800-63B-4 section 3.2.2).
const HARD_LIMIT: u32 = 100;

/// States in which a fob's codes count. A pending one was registered without codes and is activated by its first two.
const USABLE: &[TokenState] = &[TokenState::Active, TokenState::Pending];

/// What the caller allows beyond the ordinary; both are journalled.
#[derive(Debug, Clone, Copy)]
pub struct Allowances {
    /// Accept an offset no clock drifts to.
    pub beyond_bound: bool,
    /// Measure although the host clock is not synchronised.
    pub unsynchronised: bool,
}

/// Resyncs `token`. Afterwards the last code given is used up and the next one displayed passes.
///
/// # Errors
/// [`Refusal::CodeRejected`] whatever was wrong with the codes; [`Refusal::OffsetImplausible`];
/// [`Refusal::ClockUnsynchronised`]; [`Refusal::WrongKind`].
pub async fn resync(act: &Act, token: TokenId, codes: &[String], allowances: Allowances) -> Result<Outcome, Refusal> {
    act.require(Action::Resync, &Object::Token(token))?;
    let record = act.token(token).await?;
    if !matches!(record.kind, TokenKind::Fob | TokenKind::NfcFob) {
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
    let (parameters, _) = parameters_of(&record)?;
    let codes = parse_codes(codes, &parameters)?;
    if record.failures >= HARD_LIMIT {
        return Err(Refusal::Locked);
    }
    if !act.house.clock().synchronised() && !allowances.unsynchronised {
        return Err(Refusal::ClockUnsynchronised);
    }
    act.phase(Phase::Proving, 30);
    let seed = act.house.ledger().seed(token).await?;
    let generator =
        Generator::new(&seed, parameters).map_err(|_| Refusal::Internal("the sealed seed cannot be used"))?;
    let now = act.house.clock().now();
    let read: Vec<_> = codes.into_iter().map(|code| (code, now)).collect();
    let policy = Policy {
        accept_implausible: allowances.beyond_bound,
        ..Policy::default()
    };
    let state = drift_of(&record);
    // A day of steps is thousands of HMACs: not on the thread that serves the bus.
    let verdict = tokio::task::spawn_blocking(move || search_codes(&state, &generator, &read, now, &policy))
        .await
        .map_err(|_| Refusal::Internal("the search ended unexpectedly"))?;
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    match verdict {
        ResyncVerdict::Accepted {
            steps,
            offset_before_ms,
            offset_after_ms,
            shift_s,
        } => {
            let to = steps
                .last()
                .copied()
                .ok_or(Refusal::Internal("a resync without steps"))?;
            let detail = facts([
                ("offset_before_ms", json!(offset_before_ms)),
                ("offset_after_ms", json!(offset_after_ms)),
                ("codes", json!(steps.len())),
                ("beyond_bound", json!(allowances.beyond_bound)),
                ("unsynchronised", json!(allowances.unsynchronised)),
            ]);
            let mut changes = vec![
                Mutation::Require { token, states: USABLE },
                Mutation::RequireFailuresBelow {
                    token,
                    limit: HARD_LIMIT,
                },
                Mutation::Advance {
                    token,
                    to,
                    offset_ms: offset_after_ms,
                    seen: now,
                    source: Some(DriftSource::Resync),
                },
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
            match act.commit("resync.applied", Some(token), detail, changes).await {
                Err(LedgerError::Stale(_)) => {
                    failed(act, token, facts([("why", json!("stale"))]), Refusal::CodeRejected).await
                }
                Err(error) => Err(error.into()),
                Ok(()) => Ok(Outcome::Done(Details {
                    token: Some(token),
                    offset_s: Some(offset_after_ms.div_euclid(1000)),
                    shift_s: Some(shift_s),
                    ..Details::default()
                })),
            }
        }
        ResyncVerdict::Refused(refusal) => {
            let (why, outward) = judge(refusal);
            // How far is for the journal: whoever typed the codes is not told what they are worth.
            let shift_s = match refusal {
                resync::Refusal::Implausible { shift_s } => Some(shift_s),
                _ => None,
            };
            failed(
                act,
                token,
                facts([("why", json!(why)), ("shift_s", json!(shift_s))]),
                outward,
            )
            .await
        }
    }
}

/// What the journal says and what the caller hears. Codes that are right but used are, to the caller, wrong codes.
fn judge(refusal: resync::Refusal) -> (&'static str, Refusal) {
    use resync::Refusal as R;
    match refusal {
        R::NoMatch => ("no-match", Refusal::CodeRejected),
        R::Replayed => ("replayed", Refusal::CodeRejected),
        R::Ambiguous => (
            "ambiguous",
            Refusal::Invalid("the codes fit more than one time: give three in a row".into()),
        ),
        R::Implausible { .. } => ("implausible", Refusal::OffsetImplausible),
        R::SameCode => (
            "same-code",
            Refusal::Invalid("the same code twice: wait until the display shows the next one".into()),
        ),
        R::Count => ("count", Refusal::Invalid("two to four codes are needed".into())),
        R::Times => ("times", Refusal::Invalid("start again with two fresh codes".into())),
    }
}

async fn failed(act: &Act, token: TokenId, detail: Facts, refusal: Refusal) -> Result<Outcome, Refusal> {
    act.commit("resync.refused", Some(token), detail, vec![Mutation::Fail { token }])
        .await?;
    Err(refusal)
}
