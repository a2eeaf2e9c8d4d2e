//! Replace: one token takes the place of another, and nothing is done until both are done.
//!
//! [`replace`] says which token is to go, on the authority to revoke it, and puts it out of use at once where it is lost. Then
//! whatever registers a token, or assigns one, may name the old one as what it replaces ([`ready`]); that is durable with the new
//! record. The old token dies, as replaced, in the very transaction in which the new one becomes active, which it does by passing its
//! test and in no other way ([`commit`]): there is no moment at which the person has neither, and none at which a crash could leave
//! both.

use serde_json::json;

use crate::grant::{Action, Object};
use crate::ledger::{Event, IntentEnd, LedgerError, Mutation, NewNote, Obligation, Replacement, Said, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::revoke::ALIVE;
use crate::lifecycle::{Refusal, Request, settle};
use crate::types::cases::CaseKind;
use crate::types::{CaseId, ObligationId, Reality, RevokeReason, TokenId, TokenKind, TokenState};

/// What is in a person's use, or was until it was lost.
const IN_USE: &[TokenState] = &[TokenState::Active, TokenState::Suspended, TokenState::Lost];

/// What is said of the old token.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// It is lost: out of use from here on.
    pub lost: bool,
    /// It is not to be replaced after all.
    pub withdraw: bool,
}

/// A replacement that came to its end in an act.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    old: TokenId,
    obligation: Option<ObligationId>,
}

/// Has `token` replaced, or not replaced after all. Said again it changes nothing, but that a token which was at hand is lost now.
///
/// # Errors
/// [`Refusal::WrongKind`] for recovery codes, of which a new sheet replaces the old one by itself; [`Refusal::BeingReplaced`] when
/// another case has it in hand; [`Refusal::Ledger`] with `WrongState` for what is not in use.
pub async fn replace(act: &Act, token: TokenId, words: Words) -> Result<Outcome, Refusal> {
    act.require(Action::Revoke, &Object::Token(token))?;
    let record = act.token(token).await?;
    if record.kind == TokenKind::RecoveryCodes {
        return Err(Refusal::WrongKind {
            kind: record.kind,
            verb: "replaced",
        });
    }
    let case = act.grant().case();
    of_a_kind_that_replaces(act, case).await?;
    act.phase(Phase::Committing, 50);
    let _turn = act.house.replacing().lock().await;
    let open = open_of(act, token).await?;
    if let Some(half) = open.filter(|half| half.case != case) {
        return Err(Refusal::BeingReplaced { case: half.case });
    }
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let commits = match (open, words.withdraw) {
        (Some(half), true) => vec![act.order(
            "replacement.withdrawn",
            Some(token),
            facts([]),
            vec![half.end(IntentEnd::RolledBack)],
        )],
        (None, true) => return Err(Refusal::NotBeingReplaced),
        (open, false) => begin(act, &record, open, words.lost),
    };
    act.house.commit_all_and_tell(commits, act.bench()).await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        ..Details::default()
    }))
}

/// The commits with which a replacement begins, or of which the old token turns out to be lost: none when nothing changes.
fn begin(act: &Act, record: &TokenRecord, open: Option<Replacement>, lost: bool) -> Vec<(Event, Vec<Mutation>)> {
    let token = record.id;
    let mut commits = Vec::new();
    if lost && record.state != TokenState::Lost {
        let change = Mutation::Transition {
            token,
            from: &[TokenState::Active, TokenState::Suspended],
            to: TokenState::Lost,
            reason: None,
        };
        commits.push(act.order("token.lost", Some(token), facts([]), vec![change]));
    }
    let half = Replacement {
        old: token,
        new: None,
        lost,
        case: act.grant().case(),
        begun: act.house.clock().now(),
    };
    let change = match open {
        None => half.begin(),
        Some(open) if lost && !open.lost => Replacement { lost, ..open }.changed(),
        Some(_) => return commits,
    };
    let mut changes = vec![Mutation::Require { token, states: IN_USE }, change];
    changes.extend(note(act, half.case, Said::Replacing { token, lost }));
    commits.push(act.order(
        "replacement.begun",
        Some(token),
        facts([("lost", json!(lost))]),
        changes,
    ));
    commits
}

/// A case of another kind is about something else. Where no policy is in force there need not be a case.
async fn of_a_kind_that_replaces(act: &Act, case: Option<CaseId>) -> Result<(), Refusal> {
    let Some(id) = case else { return Ok(()) };
    match act.house.ledger().case(id).await?.map(|case| case.kind) {
        Some(CaseKind::Replacement | CaseKind::Support | CaseKind::Recovery) => Ok(()),
        Some(other) => Err(Refusal::Invalid(format!(
            "a token is replaced in a case of kind replacement, support or recovery; this one is of kind {other}"
        ))),
        None => Err(LedgerError::NotFound("case").into()),
    }
}

async fn open_of(act: &Act, old: TokenId) -> Result<Option<Replacement>, LedgerError> {
    let open = act.house.ledger().replacements().await?;
    Ok(open.into_iter().find(|half| half.old == old))
}

/// Whether what is about to be registered can take the place of `old`: asked before anything is put on a device.
///
/// # Errors
/// [`Refusal::NotBeingReplaced`], [`Refusal::BeingReplaced`] in another case; [`Refusal::Invalid`] when another token is to take its
/// place already, when it is for somebody else, or a simulated one would stand for a real one.
pub async fn ready(act: &Act, old: TokenId, request: &Request) -> Result<(), Refusal> {
    let half = open_of(act, old).await?.ok_or(Refusal::NotBeingReplaced)?;
    if half.case != act.grant().case() {
        return Err(Refusal::BeingReplaced { case: half.case });
    }
    if let Some(new) = half.new
        && act.token(new).await?.state != TokenState::Revoked
    {
        return Err(Refusal::Invalid(format!(
            "the token {new} is to take its place already: test that one, or revoke it and register another"
        )));
    }
    let record = act.token(old).await?;
    let (subject, reality) = newcomer(act, request).await?;
    if record.personal.subject.as_deref() != Some(subject) {
        return Err(Refusal::Invalid(
            "what takes the place of a token is for the same person".to_owned(),
        ));
    }
    if record.reality == Reality::Hardware && reality == Reality::Virtual {
        return Err(Refusal::Invalid(
            "a simulated token never takes the place of a real one".to_owned(),
        ));
    }
    Ok(())
}

/// Whom a request is for, and what the token would be made of.
async fn newcomer<'r>(act: &Act, request: &'r Request) -> Result<(&'r str, Reality), Refusal> {
    let plugged = |device| act.house.devices().get(device).map(|handle| handle.info().reality);
    let (subject, device) = match request {
        Request::Patient { request, .. } => return Box::pin(newcomer(act, request)).await,
        Request::RegisterFido2 { subject, device, .. }
        | Request::RegisterOathCard { subject, device, .. }
        | Request::RegisterNfcFob { subject, device, .. } => (subject, *device),
        Request::RegisterForProvider { commission, device, .. } => (&commission.subject, *device),
        Request::RegisterFob { subject, .. } | Request::RegisterApp { subject, .. } => {
            return Ok((subject, Reality::Hardware));
        }
        Request::Assign { subject, token } => return Ok((subject, act.token(*token).await?.reality)),
        _ => return Err(Refusal::Internal("this puts no token in anybody's hands")),
    };
    Ok((subject, plugged(device).ok_or(Refusal::UnknownDevice)?))
}

/// Writes a commit of an act; where it brings the token that takes another's place, or that token becomes active by it, what
/// follows for the other is in the same transaction.
///
/// # Errors
/// As the ledger.
pub async fn commit(act: &Act, event: Event, mut changes: Vec<Mutation>) -> Result<(), LedgerError> {
    let house = &act.house;
    let arrived = act.replaces().zip(arrival(&changes));
    let active = activation(&changes);
    let gone = departure(&changes);
    if arrived.is_none() && active.is_none() && gone.is_none() {
        return house.commit_and_tell(event, changes, act.bench()).await;
    }
    // One after the other: what is read here of an old token still holds when it is written.
    let _turn = house.replacing().lock().await;
    let open = house.ledger().replacements().await?;
    let half = match arrived {
        Some((old, new)) => {
            let half = open.into_iter().find(|half| half.old == old);
            let half = half.ok_or(LedgerError::Stale("replacement"))?;
            let half = Replacement { new: Some(new), ..half };
            changes.push(half.changed());
            Some(half)
        }
        None => {
            // Whoever leaves needs nothing in the place of what they had.
            let moot = open.iter().find(|half| Some(half.old) == gone);
            changes.extend(moot.map(|half| half.end(IntentEnd::RolledBack)));
            open.into_iter().find(|half| active.is_some() && half.new == active)
        }
    };
    let mut commits = vec![(event, changes)];
    let finished = match half.zip(active) {
        Some((half, new)) if half.new == Some(new) => {
            let (finished, last) = finish(act, &half, new).await?;
            commits.push(last);
            Some(finished)
        }
        _ => None,
    };
    house.commit_all_and_tell(commits, act.bench()).await?;
    if let Some(finished) = finished {
        act.has_finished(finished);
    }
    Ok(())
}

/// The token that a commit puts in somebody's hands.
fn arrival(changes: &[Mutation]) -> Option<TokenId> {
    changes.iter().find_map(|change| match change {
        Mutation::Insert { record, .. } => Some(record.id),
        Mutation::Assign { token, .. } => Some(*token),
        _ => None,
    })
}

/// The token that is active from a commit on.
fn activation(changes: &[Mutation]) -> Option<TokenId> {
    changes.iter().find_map(|change| match change {
        Mutation::Insert { record, .. } if record.state == TokenState::Active => Some(record.id),
        Mutation::Transition {
            token,
            to: TokenState::Active,
            ..
        } => Some(*token),
        _ => None,
    })
}

/// The token of somebody who leaves.
fn departure(changes: &[Mutation]) -> Option<TokenId> {
    changes.iter().find_map(|change| match change {
        Mutation::Transition {
            token,
            to: TokenState::Revoked,
            reason: Some(RevokeReason::Leaver),
            ..
        } => Some(*token),
        _ => None,
    })
}

/// What the new token's first passed test means for the old one: it dies, and what is on its device is owed. Somebody may have
/// revoked it by hand meanwhile.
async fn finish(
    act: &Act,
    half: &Replacement,
    new: TokenId,
) -> Result<(Finished, (Event, Vec<Mutation>)), LedgerError> {
    let house = &act.house;
    let record = house.ledger().token(half.old).await?;
    let record = record.ok_or(LedgerError::NotFound("token"))?;
    let mut changes = vec![half.end(IntentEnd::Completed)];
    let mut finished = Finished {
        old: half.old,
        obligation: None,
    };
    let alive = record.state != TokenState::Revoked;
    if alive {
        changes.push(Mutation::Transition {
            token: half.old,
            from: ALIVE,
            to: TokenState::Revoked,
            reason: Some(RevokeReason::Replaced),
        });
        let duty = settle::duty_of(house, &record, false)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Ledger(error) => error,
                other => LedgerError::Damaged(format!("token {}: {other}", half.old)),
            })?;
        if record.has_seed {
            changes.push(Mutation::DestroySeed { token: half.old });
        }
        if let Some(duty) = duty {
            let obligation = Obligation {
                id: ObligationId::generate(),
                token: half.old,
                duty,
                reality: record.reality,
                created: house.clock().now(),
                proven: None,
                discharged: None,
            };
            finished.obligation = Some(obligation.id);
            changes.push(Mutation::Oblige(obligation));
        }
    }
    let by = Said::Replaced {
        token: half.old,
        by: new,
    };
    let case = half.case.filter(|case| act.grant().case() == Some(*case));
    changes.extend(note(act, case, by));
    let authority = match &house.organisation().replacing {
        // The authority to revoke was shown when the replacement was begun.
        Some(standing) => standing.authority(Some(act.step.id)).within(half.case),
        None => act.authority(),
    };
    let event = Event {
        name: if alive { "token.revoked" } else { "replacement.done" },
        authority,
        token: Some(half.old),
        at: house.clock().now(),
        detail: facts([("reason", json!(RevokeReason::Replaced)), ("by", json!(new))]),
    };
    Ok((finished, (event, changes)))
}

/// A note in the case that an act draws on, and the time it is kept by.
fn note(act: &Act, case: Option<CaseId>, said: Said) -> Vec<Mutation> {
    let (Some(case), Some(moment)) = (case, act.grant().moment()) else {
        return Vec::new();
    };
    let note = NewNote {
        case,
        by: act.grant().caller().map(|caller| caller.uid),
        stamp: moment.stamp,
        said,
        reference: None,
    };
    vec![
        Mutation::Note(Box::new(note)),
        Mutation::KeepTime {
            reading: moment.reading,
            stamp: moment.stamp,
        },
    ]
}

/// Adds to an outcome which token died of it.
#[must_use]
pub fn told(finished: Option<Finished>, outcome: Outcome) -> Outcome {
    match (finished, outcome) {
        (Some(finished), Outcome::Done(details)) => Outcome::Done(Details {
            replaced: Some(finished.old),
            obligation: details.obligation.or(finished.obligation),
            ..details
        }),
        (_, outcome) => outcome,
    }
}
