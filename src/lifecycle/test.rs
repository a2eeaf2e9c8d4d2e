//! Test one token. Every test that got as far as an answer writes exactly one record, passed or failed.

use serde_json::json;

use crate::device::DeviceError;
use crate::device::oath::OathSession;
use crate::grant::{Action, Object};
use crate::ledger::{LedgerError, Mutation, TokenRecord};
use crate::lifecycle::act::{Act, Facts, facts};
use crate::lifecycle::card::{CardBody, found_again, lasting_proofs, prove, prove_event, with_applet};
use crate::lifecycle::code::{Judgement, judge, parameters_of};
use crate::lifecycle::evidence::evidence;
use crate::lifecycle::key::{Credential, with_key};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::fob::parse_code;
use crate::lifecycle::tries::Admitted;
use crate::lifecycle::{Presence, Refusal, locate, validity};
use crate::types::cases::Method;
use crate::types::{DeviceId, Secret, TokenId, TokenKind, TokenState, UnixMillis};

const ACTIVE: &[TokenState] = &[TokenState::Active];
const PENDING: &[TokenState] = &[TokenState::Pending];

/// Tests `token`.
///
/// # Errors
/// [`Refusal::CodeRejected`], [`Refusal::NeedsResync`], [`Refusal::Unverified`], [`Refusal::CounterWentBack`],
/// [`Refusal::NotTheSameDevice`]; [`Refusal::NotYetValid`], [`Refusal::Expired`]; [`Refusal::Ledger`] with `WrongState` unless the
/// token is active.
pub async fn test(act: &Act, token: TokenId, code: Option<String>, at: Presence) -> Result<Outcome, Refusal> {
    act.require(Action::Test, &Object::Token(token))?;
    let record = act.token(token).await?;
    must_be_active(&record)?;
    if record.state == TokenState::Pending {
        act.house.may_activate(record.personal.subject.as_deref()).await?;
    }
    validity::require(&record, act.house.clock().now())?;
    match record.kind {
        TokenKind::Fob | TokenKind::NfcFob | TokenKind::App => test_fob(act, &record, code).await,
        TokenKind::RecoveryCodes => Err(Refusal::WrongKind {
            kind: record.kind,
            verb: "tested",
        }),
        TokenKind::OathCard => test_card(act, &record, at).await,
        TokenKind::Fido2 => test_key(act, &record, at).await,
    }
}

/// A fob may be pending: it was registered without codes. Its first code alone then never passes.
pub(super) fn must_be_active(record: &TokenRecord) -> Result<(), Refusal> {
    match (record.kind, record.state) {
        (_, TokenState::Active) | (TokenKind::Fob | TokenKind::NfcFob | TokenKind::App, TokenState::Pending) => Ok(()),
        (_, is) => Err(LedgerError::WrongState {
            is,
            needs: TokenState::Active.to_string(),
        }
        .into()),
    }
}

async fn test_fob(act: &Act, record: &TokenRecord, code: Option<String>) -> Result<Outcome, Refusal> {
    let code =
        code.ok_or_else(|| Refusal::Invalid("a fob is tested by the code on its display: give “code”".into()))?;
    let (parameters, _) = parameters_of(record)?;
    let code = parse_code(&code, &parameters, 0)?;
    let admitted = act.admit_try(record).await?;
    act.phase(Phase::Proving, 40);
    let seed = act.house.ledger().seed(record.id).await?;
    let now = act.house.clock().now();
    // A pending fob has no clock that a test could speak of: its first codes are for a resync, whatever they are. An app's clock
    // is the network's, and one that was set or read over NFC is known: there the first code activates.
    let clock_known = record.kind == TokenKind::App || record.kind == TokenKind::NfcFob && record.last_seen.is_some();
    let (earlier, judgement) = if record.state == TokenState::Active || clock_known {
        let earlier = act.house.waiting().take(record.id, now);
        let synchronised = act.house.clock().synchronised();
        let judgement = judge(record, &seed, &code, &earlier, now, synchronised)?;
        (earlier, judgement)
    } else {
        (Vec::new(), Judgement::NextCode)
    };
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    match judgement {
        Judgement::Passed(pass) => {
            let mut advance = vec![pass.mutation(record.id), admitted.passed()];
            let states = if record.state == TokenState::Pending {
                PENDING
            } else {
                ACTIVE
            };
            if record.state == TokenState::Pending {
                advance.push(Mutation::Transition {
                    token: record.id,
                    from: PENDING,
                    to: TokenState::Active,
                    reason: None,
                });
            }
            let detail = facts([("offset_ms", json!(pass.offset_ms))]);
            match passed(act, record.id, states, advance, detail).await {
                // Two callers, one code: the ledger lets one of them pass.
                Err(Refusal::Ledger(LedgerError::Stale(_))) => {
                    Err(failed(act, record.id, Some(&admitted), Refusal::CodeRejected).await)
                }
                Err(other) => Err(other),
                Ok(()) => Ok(Outcome::Done(Details {
                    token: Some(record.id),
                    offset_s: Some(pass.offset_ms.div_euclid(1000)),
                    ..Details::default()
                })),
            }
        }
        Judgement::Rejected => {
            // The newest of a pair that did not fit may be the first of one that does.
            if !earlier.is_empty() {
                act.house.waiting().keep(record.id, vec![(code, now)]);
            }
            Err(failed(act, record.id, Some(&admitted), Refusal::CodeRejected).await)
        }
        // Does not depend on the code, and so tells nothing of it; still counted, so that it is no free try.
        Judgement::NextCode => {
            if record.state == TokenState::Active {
                act.house.waiting().keep(record.id, vec![(code, now)]);
            }
            Err(failed(act, record.id, Some(&admitted), Refusal::NeedsResync).await)
        }
    }
}

async fn test_card(act: &Act, record: &TokenRecord, at: Presence) -> Result<Outcome, Refusal> {
    let body = CardBody::of(&record.binding)?;
    act.phase(Phase::Identifying, 10);
    let handle = locate::card(act, at.device, record.reality, &body.device_id).await?;
    let device = handle.id();
    let token = record.id;
    let seed = act.house.ledger().seed(token).await?;
    act.phase(Phase::Proving, 40);
    act.in_lane(&handle, act.budget(3, 1), move |session, act| {
        let proof = with_applet(session, &act.house, at.password.as_ref(), |applet| {
            if applet.applet().device_id() != body.device_id {
                return Err(Refusal::NotTheSameDevice);
            }
            if body.event {
                // Read here, in the lane: a test that was in the queue before this one has raised it by now.
                let counted = act.house.runtime().block_on(act.token(token))?.watermark;
                let next = counted.map_or(0, |last| last.saturating_add(1));
                return prove_event(act, applet, &body, &seed, (next, device)).map(Some);
            }
            match prove(act, applet, &body, &seed, device) {
                Err(Refusal::Device(DeviceError::NoCredential)) => {
                    find_again(act, applet, &body, &seed, token).map(|()| None)
                }
                other => other.map(|()| None),
            }
        });
        let proof = proof.map_err(|refusal| unless_named(refusal, at.device));
        settle(act, token, proof, |now, counter| match counter {
            Some(to) => Mutation::Advance {
                token,
                to,
                offset_ms: 0,
                seen: now,
                source: None,
            },
            None => Mutation::Seen { token, seen: now },
        })
    })
    .await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}

/// The name is not on the card any more: another program renamed the credential, or we were stopped while we did. Its codes tell
/// which one it is now.
fn find_again(
    act: &Act,
    applet: &mut OathSession<'_>,
    body: &CardBody,
    seed: &Secret,
    token: TokenId,
) -> Result<(), Refusal> {
    let gone = Refusal::Device(DeviceError::NoCredential);
    if body.only_increasing {
        return Err(gone);
    }
    let proofs = lasting_proofs(&body.parameters, seed)?;
    let name = found_again(applet, &proofs)?.ok_or(gone)?;
    let binding = CardBody {
        name: name.display(),
        ..body.clone()
    }
    .binding();
    let bind = Mutation::Bind {
        token,
        binding,
        unique: None,
    };
    Ok(act.commit_in_lane("token.found-again", Some(token), facts([]), vec![bind])?)
}

async fn test_key(act: &Act, record: &TokenRecord, at: Presence) -> Result<Outcome, Refusal> {
    let credential = Credential::of(&record.binding)?;
    act.phase(Phase::Identifying, 10);
    let handle = locate::key(act, at.device, record.reality, &credential).await?;
    let device = handle.id();
    let token = record.id;
    act.phase(Phase::Proving, 40);
    let count = act
        .in_lane(&handle, act.budget(5, 1), move |session, act| {
            // Read here, in the lane: a test that was in the queue before this one has raised it by now.
            let counted = act.house.runtime().block_on(act.token(token))?.sign_count;
            let proof = with_key(session, Some(act), device, |key| {
                key.prove_in_the_field(&credential, at.pin.as_ref(), counted, at.device.is_some())
            });
            let proof = proof.map_err(|refusal| unless_named(refusal, at.device));
            settle(act, token, proof, |now, count| Mutation::Count {
                token,
                to: count,
                seen: now,
            })
        })
        .await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        sign_count: Some(count),
        ..Details::default()
    }))
}

/// The only device here that could be meant, which nobody named, turns out to be another one: then the token's own device is
/// absent, and the token has not failed.
pub(super) fn unless_named(refusal: Refusal, named: Option<DeviceId>) -> Refusal {
    match refusal {
        Refusal::NotTheSameDevice if named.is_none() => Refusal::DeviceAbsent,
        other => other,
    }
}

/// Writes down what came of a proof by hardware, before the lane takes the next job: records come in the order of the proofs,
/// so that two tests of one key do not look like two keys.
pub(super) fn settle<T: Copy>(
    act: &Act,
    token: TokenId,
    proof: Result<T, Refusal>,
    mutation: impl FnOnce(UnixMillis, T) -> Mutation,
) -> Result<T, Refusal> {
    match proof {
        Ok(proved) => {
            act.phase(Phase::Committing, 80);
            act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
            let now = act.house.clock().now();
            act.house
                .runtime()
                .block_on(passed(act, token, ACTIVE, vec![mutation(now, proved)], Facts::new()))?;
            Ok(proved)
        }
        Err(refusal @ (Refusal::Unverified(_) | Refusal::CounterWentBack | Refusal::NotTheSameDevice)) => {
            Err(act.house.runtime().block_on(failed(act, token, None, refusal)))
        }
        // The device went away, nobody touched it, the PIN was wrong: the token has neither passed nor failed.
        Err(refusal) => Err(refusal),
    }
}

async fn passed(
    act: &Act,
    token: TokenId,
    states: &'static [TokenState],
    proven: Vec<Mutation>,
    detail: Facts,
) -> Result<(), Refusal> {
    let mut changes = vec![Mutation::Require { token, states }];
    changes.extend(proven);
    // A token that this very code activates was no factor of the person's before.
    if act.grant().case().is_some() && states == ACTIVE {
        let reality = act.token(token).await?.reality;
        changes.extend(evidence(act.grant(), Method::TokenTest, token, reality));
    }
    Ok(act.commit("test.passed", Some(token), detail, changes).await?)
}

/// One record of a failed test; then the refusal, or that it could not be recorded. The journal says why, the caller hears
/// only what the refusal tells.
async fn failed(act: &Act, token: TokenId, admitted: Option<&Admitted>, refusal: Refusal) -> Refusal {
    let why = match &refusal {
        Refusal::CodeRejected => "code",
        Refusal::NeedsResync => "needs-resync",
        Refusal::CounterWentBack => "counter-went-back",
        Refusal::NotTheSameDevice => "other-device",
        _ => "unverified",
    };
    let mut fail = vec![Mutation::Fail { token }];
    fail.extend(admitted.map(Admitted::missed));
    match act
        .commit("test.failed", Some(token), facts([("why", json!(why))]), fail)
        .await
    {
        Ok(()) => refusal,
        Err(error) => error.into(),
    }
}
