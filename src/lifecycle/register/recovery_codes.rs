//! Recovery codes: a sheet of codes for the day the token is lost (NIST SP 800-63B-4 section 4.2.1.1). Handed out once, kept
//! hashed, each good once.

use serde_json::json;
use zeroize::Zeroizing;

use crate::codec::recovery::{self, RANDOM};
use crate::grant::{Action, Object};
use crate::ledger::{Binding, Filter, Mutation, Personal};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::fresh;
use crate::lifecycle::request::Delivery;
use crate::types::{Reality, RevokeReason, Secret, TokenId, TokenKind, TokenState};

/// Codes of a sheet when nobody says.
pub const COUNT: u16 = 10;
/// Most codes of a sheet.
pub const MOST: u16 = 32;

/// Makes a sheet for `subject`. The sheets it has are revoked by the same commit.
///
/// # Errors
/// [`Refusal::Undelivered`]; [`Refusal::Invalid`]; storage.
pub async fn register(act: &Act, subject: String, sheet: Delivery, count: Option<u16>) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::NewFob)?;
    act.house.may_activate(Some(&subject)).await?;
    let count = count.unwrap_or(COUNT);
    if !(1..=MOST).contains(&count) {
        return Err(Refusal::Invalid(format!(
            "a sheet has 1 to {MOST} recovery codes, not {count}"
        )));
    }
    let mut codes = Vec::with_capacity(usize::from(count));
    let mut text = Zeroizing::new(String::with_capacity(usize::from(count) * 24));
    for _ in 0..count {
        let mut bytes = Zeroizing::new([0; RANDOM]);
        getrandom::fill(&mut *bytes).map_err(|_| Refusal::Internal("the kernel gives no random bytes"))?;
        let code = recovery::encode(&bytes);
        text.push_str(&recovery::grouped(&code));
        text.push('\n');
        codes.push(code);
    }
    let id = TokenId::generate();
    let earlier = Filter {
        kind: Some(TokenKind::RecoveryCodes),
        alive: true,
        subject: Some(subject.clone()),
        ..Filter::default()
    };
    let earlier = act.house.ledger().find(&earlier, None, 1_000).await?.items;
    let mut record = fresh(
        id,
        TokenKind::RecoveryCodes,
        Reality::Hardware,
        Personal {
            subject: Some(subject),
            ..Personal::default()
        },
    );
    record.model = "recovery codes".to_owned();
    record.binding = Binding::RecoveryCodes { count };
    record.state = TokenState::Active;
    act.phase(Phase::Proving, 30);
    sheet.deliver(Secret::new(text.as_bytes().to_vec())).await?;
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let mut changes = Vec::new();
    for old in &earlier {
        changes.push(Mutation::Transition {
            token: old.id,
            from: &[TokenState::Active, TokenState::Suspended, TokenState::Lost],
            to: TokenState::Revoked,
            reason: Some(RevokeReason::Replaced),
        });
        changes.push(Mutation::DestroySeed { token: old.id });
    }
    changes.push(Mutation::Insert {
        record: Box::new(record),
        seed: None,
        unique: None,
    });
    changes.push(Mutation::KeepCodes { token: id, codes });
    let detail = facts([
        ("kind", json!(TokenKind::RecoveryCodes)),
        ("count", json!(count)),
        ("replaced", json!(earlier.len())),
    ]);
    act.commit("token.registered", Some(id), detail, changes).await?;
    Ok(Outcome::Done(Details {
        token: Some(id),
        ..Details::default()
    }))
}
