//! Verify: is this code one of a person's? Answered directly, since log-in programs wait for it.
//!
//! Of one account and its tokens the same number of HMACs is computed and one commit written, whatever the code is and whichever
//! token it is of; a name that nobody has costs about as much as one token.

use serde_json::json;

use crate::codec::oath::Code;
use crate::codec::recovery::{self, RANDOM, RecoveryError};
use crate::grant::{Action, Grant, Object};
use crate::ledger::{Account, Binding, Event, Filter, LedgerError, Mutation, Standing, TokenRecord};
use crate::lifecycle::act::{Facts, facts};
use crate::lifecycle::bypass::{BypassUse, Endings, OnHand};
use crate::lifecycle::code::{Judgement, Pass, judge};
use crate::lifecycle::evidence::evidence;
use crate::lifecycle::register::fresh;
use crate::lifecycle::tries::{Admission, Admitted, admission, in_hand};
use crate::lifecycle::{Lifecycle, Refusal, validity};
use crate::types::cases::Method;
use crate::types::{OathAlgorithm, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

/// Most tokens of one person whose codes are compared: each is another chance for a guess.
const MOST: usize = 16;
/// What a code that cannot be a token's is replaced by, so that the work is done all the same.
const NOBODYS: &str = "000000";

/// What came of a code.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// The token it was of, if it was right.
    pub token: Option<(TokenId, TokenKind, Reality)>,
    /// The bypass it was of, if it was the code of one.
    pub bypass: Option<BypassUse>,
    /// Recovery codes left, after one was used.
    pub recovery_left: Option<u32>,
    /// Wrong tries on the account before this one, since somebody last passed.
    pub wrong_before: u32,
    /// Whether a token was not seen for so long that its next code decides; depends on no code.
    pub next_code: bool,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountStanding {
    /// The counts.
    pub standing: Standing,
    /// The time by which waits are measured.
    pub now: UnixMillis,
    /// What a caller would hear who has not tried yet.
    pub state: Admission,
    /// The same for each caller who has.
    pub callers: Vec<(u32, Admission)>,
    /// Wrong tries in hand.
    pub in_hand: u32,
}

/// A code as it was typed: one of a display, or one of a sheet.
enum Typed {
    Displayed(Code),
    Recovery(Secret),
}

impl Typed {
    fn read(code: &Secret) -> Result<Self, Refusal> {
        let displayed = std::str::from_utf8(code.expose())
            .ok()
            .and_then(|text| Code::parse(text).ok());
        if let Some(code) = displayed {
            return Ok(Self::Displayed(code));
        }
        match recovery::parse(code.expose()) {
            Ok(code) => Ok(Self::Recovery(code)),
            Err(RecoveryError::Mistyped) => Err(Refusal::Invalid(RecoveryError::Mistyped.to_string())),
            Err(RecoveryError::Malformed) => Err(Refusal::Invalid(
                "a code has 6 to 8 digits, a recovery code 17 letters and digits".to_owned(),
            )),
        }
    }
}

/// One token that a code was right for.
struct Hit {
    record: TokenRecord,
    change: Mutation,
}

impl Verified {
    /// Whether the code was right.
    #[must_use]
    pub const fn accepted(&self) -> bool {
        self.token.is_some() || self.bypass.is_some()
    }
}

/// Verifies `code` for `subject` across the active tokens that show codes, and a bypass, and uses it up.
///
/// # Errors
/// [`Refusal::TryLater`], [`Refusal::SoftLocked`], [`Refusal::Locked`], by which nothing of the code is told;
/// [`Refusal::Invalid`] for a text that is no code, which costs no try; storage.
pub async fn verify(
    house: &Lifecycle,
    grant: &Grant,
    subject: &str,
    code: &Secret,
    real_only: bool,
) -> Result<Verified, Refusal> {
    grant.require(Action::Verify, &Object::Subject(subject.to_owned()))?;
    let caller = grant.caller().ok_or(Refusal::Internal("nobody asked"))?.uid;
    let typed = Typed::read(code)?;
    let now = house.clock().now();
    let account = Account::Subject(subject.to_owned());
    let admitted = house.tries().admit(&**house.ledger(), account, caller, now).await?;
    let tokens = candidates(house, subject, real_only, now).await?;
    let mut hits = Vec::new();
    let mut next_code = false;
    for record in &tokens {
        match weigh(house, record, &typed, now).await? {
            Weighed::Right(change) => hits.push(Hit {
                record: record.clone(),
                change: *change,
            }),
            Weighed::Wrong => {}
            Weighed::NextCode => next_code = true,
        }
    }
    if tokens.is_empty() {
        decoy(now)?;
    }
    let on_hand = bypass(house, subject, &typed).await?;
    let verified = Verified {
        wrong_before: admitted.wrong_before(),
        next_code,
        ..Verified::default()
    };
    if let Some(first) = hits.first() {
        let passed = (first.record.id, first.record.kind, first.record.reality);
        match pass(house, grant, (&admitted, on_hand.as_ref()), hits, passed).await {
            Ok(()) => {
                let recovery_left = match passed.1 {
                    TokenKind::RecoveryCodes => Some(house.ledger().recovery_left(passed.0).await?),
                    _ => None,
                };
                return Ok(Verified {
                    token: Some(passed),
                    recovery_left,
                    ..verified
                });
            }
            // Revoked in between, or used up by a resync of the same moment: then it is no code any more.
            Err(LedgerError::Stale(_) | LedgerError::WrongState { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    } else if let Some(right) = on_hand.as_ref().filter(|on_hand| on_hand.right) {
        match house.use_bypass(grant, subject, right, admitted.passed()).await {
            Ok(used) => {
                return Ok(Verified {
                    bypass: Some(used),
                    ..verified
                });
            }
            // Ended in between.
            Err(LedgerError::Stale(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    miss(house, grant, (&admitted, on_hand.as_ref()), tokens.first()).await?;
    Ok(verified)
}

/// The bypass that the person has now. What cannot be its code is looked up in place of one that can.
async fn bypass(house: &Lifecycle, subject: &str, typed: &Typed) -> Result<Option<OnHand>, LedgerError> {
    let nobodys = recovery::encode(&[0; RANDOM]);
    let (code, possible) = match typed {
        Typed::Recovery(code) => (code, true),
        Typed::Displayed(_) => (&nobodys, false),
    };
    let mut found = house.bypass_on_hand(subject, code).await?;
    if let Some(on_hand) = &mut found {
        on_hand.right &= possible;
    }
    Ok(found)
}

/// The tokens that are asked, the one seen last first.
async fn candidates(
    house: &Lifecycle,
    subject: &str,
    real_only: bool,
    now: UnixMillis,
) -> Result<Vec<TokenRecord>, Refusal> {
    let filter = Filter {
        subject: Some(subject.to_owned()),
        state: Some(TokenState::Active),
        ..Filter::default()
    };
    let mut tokens = house.ledger().find(&filter, None, 1_000).await?.items;
    tokens.retain(|token| {
        matches!(
            token.kind,
            TokenKind::Fob | TokenKind::NfcFob | TokenKind::App | TokenKind::RecoveryCodes
        ) && (token.has_seed || token.kind == TokenKind::RecoveryCodes)
            && (!real_only || token.reality == Reality::Hardware)
            && validity::require(token, now).is_ok()
    });
    tokens.sort_by_key(|token| std::cmp::Reverse(token.last_seen));
    tokens.truncate(MOST);
    Ok(tokens)
}

enum Weighed {
    Right(Box<Mutation>),
    Wrong,
    NextCode,
}

/// Judges the code for one token. A code that cannot be of this token is judged in place of one that can.
async fn weigh(house: &Lifecycle, record: &TokenRecord, typed: &Typed, now: UnixMillis) -> Result<Weighed, Refusal> {
    let token = record.id;
    if record.kind == TokenKind::RecoveryCodes {
        let nobodys = recovery::encode(&[0; RANDOM]);
        let (code, possible) = match typed {
            Typed::Recovery(code) => (code, true),
            Typed::Displayed(_) => (&nobodys, false),
        };
        let slot = house.ledger().recovery_slot(token, code).await?;
        return Ok(match slot.filter(|_| possible) {
            Some(slot) => Weighed::Right(Box::new(Mutation::UseCode { token, slot, seen: now })),
            None => Weighed::Wrong,
        });
    }
    let digits = record.binding.oath().map_or(0, |oath| oath.digits);
    let nobodys = Code::parse(NOBODYS).map_err(|_| Refusal::Internal("a code that is none"))?;
    let (code, possible) = match typed {
        Typed::Displayed(code) => (code, code.digits() == digits),
        Typed::Recovery(_) => (&nobodys, false),
    };
    let seed = house.ledger().seed(token).await?;
    let earlier = house.waiting().take(token, now);
    let judgement = judge(record, &seed, code, &earlier, now, house.clock().synchronised())?;
    let kept = match judgement {
        Judgement::NextCode => true,
        // The newest of a pair that did not fit may be the first of one that does.
        Judgement::Rejected => !earlier.is_empty(),
        Judgement::Passed(_) => false,
    };
    if kept {
        // What cannot be of this token does not push out what may be.
        let waits = if possible { vec![(code.clone(), now)] } else { earlier };
        house.waiting().keep(token, waits);
    }
    Ok(match judgement {
        Judgement::Passed(pass) if possible => Weighed::Right(Box::new(used_up(&pass, token))),
        Judgement::NextCode => Weighed::NextCode,
        Judgement::Passed(_) | Judgement::Rejected => Weighed::Wrong,
    })
}

fn used_up(pass: &Pass, token: TokenId) -> Mutation {
    pass.mutation(token)
}

/// The work of one token, for somebody who has none.
fn decoy(now: UnixMillis) -> Result<(), Refusal> {
    let mut record = fresh(
        TokenId::generate(),
        TokenKind::App,
        Reality::Hardware,
        crate::ledger::Personal::default(),
    );
    record.binding = Binding::App {
        algorithm: OathAlgorithm::Sha1,
        digits: 6,
        period_s: 30,
    };
    record.last_seen = Some(now);
    let code = Code::parse(NOBODYS).map_err(|_| Refusal::Internal("a code that is none"))?;
    let _ = judge(&record, &Secret::new(vec![0; 20]), &code, &[], now, true)?;
    Ok(())
}

/// Uses the code up on every token that it is right for: two with one seed must not be two uses.
async fn pass(
    house: &Lifecycle,
    grant: &Grant,
    (admitted, on_hand): (&Admitted, Option<&OnHand>),
    hits: Vec<Hit>,
    (token, kind, reality): (TokenId, TokenKind, Reality),
) -> Result<(), LedgerError> {
    let mut changes = Vec::with_capacity(hits.len() * 2 + 1);
    for hit in hits {
        changes.push(Mutation::Require {
            token: hit.record.id,
            states: &[TokenState::Active],
        });
        changes.push(hit.change);
    }
    changes.push(admitted.passed());
    let method = match kind {
        TokenKind::RecoveryCodes => Method::RecoveryCode,
        _ => Method::TokenTest,
    };
    changes.extend(evidence(grant, method, token, reality));
    let mut detail = facts([("kind", json!(kind)), ("reality", json!(reality))]);
    let mut endings = match on_hand {
        Some(_) => house.found_again(token).await?,
        None => Endings::default(),
    };
    endings.noted(&mut detail);
    changes.extend(endings.take());
    commit(house, grant, "verify.passed", Some(token), detail, changes).await?;
    house.told_endings(endings);
    Ok(())
}

/// One more wrong try. It is noted on the token seen last, too, as a test of that one would note it.
async fn miss(
    house: &Lifecycle,
    grant: &Grant,
    (admitted, on_hand): (&Admitted, Option<&OnHand>),
    token: Option<&TokenRecord>,
) -> Result<(), LedgerError> {
    let mut changes: Vec<_> = token
        .map(|token| Mutation::Fail { token: token.id })
        .into_iter()
        .collect();
    changes.push(admitted.missed());
    changes.extend(on_hand.map(|on_hand| on_hand.tried(false)).into_iter().flatten());
    commit(house, grant, "verify.failed", None, Facts::new(), changes).await
}

async fn commit(
    house: &Lifecycle,
    grant: &Grant,
    name: &'static str,
    token: Option<TokenId>,
    detail: Facts,
    changes: Vec<Mutation>,
) -> Result<(), LedgerError> {
    let event = Event {
        name,
        authority: grant.authority(None),
        token,
        at: house.clock().now(),
        detail,
    };
    let subject = match grant.object() {
        Object::Subject(name) => Some(name.clone()),
        _ => None,
    };
    house.ledger().commit(event.clone(), changes).await?;
    house.happened(&event, subject, false).await;
    Ok(())
}

/// How the account of `subject` stands.
///
/// # Errors
/// Storage.
pub async fn standing(house: &Lifecycle, grant: &Grant, subject: &str) -> Result<AccountStanding, Refusal> {
    grant.require(Action::Inspect, &Object::Subject(subject.to_owned()))?;
    // The counts of the asker over all accounts are his own affair.
    let nobody = u32::MAX;
    let account = Account::Subject(subject.to_owned());
    let (standing, now) = house
        .tries()
        .standing(&**house.ledger(), &account, nobody, house.clock().now())
        .await?;
    let callers = standing.callers.iter().map(|tries| tries.caller);
    Ok(AccountStanding {
        now,
        state: admission(&standing, nobody, now),
        callers: callers
            .map(|caller| (caller, admission(&standing, caller, now)))
            .collect(),
        in_hand: in_hand(&standing, now),
        standing,
    })
}

/// Lifts every lock on the account of `subject`: a person has looked at it.
///
/// # Errors
/// [`Refusal::Invalid`] when there was no wrong try; storage.
pub async fn unlock(house: &Lifecycle, grant: &Grant, subject: &str) -> Result<(), Refusal> {
    grant.require(Action::Suspend, &Object::Subject(subject.to_owned()))?;
    grant
        .caller()
        .ok_or(Refusal::Internal("a lock is lifted by a person"))?;
    let account = Account::Subject(subject.to_owned());
    let changes = vec![Mutation::Unlock { account }];
    match commit(house, grant, "account.unlocked", None, Facts::new(), changes).await {
        Err(LedgerError::NotFound(_)) => Err(Refusal::Invalid(
            "nothing is locked: there was no wrong try for this person".to_owned(),
        )),
        done => Ok(done?),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
