//! Testing a FIDO2 key by what an identity provider asks: its request options in, the response for it out. What the key answers is
//! judged here as in every other test before it goes out.

use crate::codec::ctap2::{get_assertion, sha256};
use crate::codec::webauthn::client_data::{self, Ceremony};
use crate::codec::webauthn::request::RequestOptions;
use crate::codec::webauthn::response::AuthenticationResponse;
use crate::codec::webauthn::{Verification, origin};
use crate::device::DeviceError;
use crate::grant::{Action, Object};
use crate::ledger::Mutation;
use crate::lifecycle::act::Act;
use crate::lifecycle::key::{Credential, with_key};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::test::{must_be_active, settle, unless_named};
use crate::lifecycle::{Presence, Query, Refusal, locate};
use crate::types::{Secret, TokenId, TokenKind};

/// Tests `token`, and hands the provider's response over.
///
/// # Errors
/// [`Refusal::Invalid`] for options that cannot be used or that do not want this credential; [`Refusal::Undelivered`]; as
/// [`test`](super::test::test).
pub async fn test(act: &Act, token: TokenId, at: Presence, query: Query) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::Token(token))?;
    let record = act.token(token).await?;
    if record.kind != TokenKind::Fido2 {
        return Err(Refusal::WrongKind {
            kind: record.kind,
            verb: "tested for a provider",
        });
    }
    must_be_active(&record)?;
    let credential = Credential::of(&record.binding)?;
    let Query {
        origin,
        request,
        response: way,
    } = query;
    let options = wanted(&credential, &origin, &request)?;
    if options.verification == Verification::Required && at.pin.is_none() {
        return Err(DeviceError::PinRequired.into());
    }
    let client_data = client_data::serialize(Ceremony::Get, &options.challenge, &origin);

    act.phase(Phase::Identifying, 10);
    let handle = locate::key(act, at.device, record.reality, &credential).await?;
    let device = handle.id();
    act.phase(Phase::Proving, 40);
    let count = act
        .in_lane(&handle, act.budget(6, 1), move |session, act| {
            let counted = act.house.runtime().block_on(act.token(token))?.sign_count;
            let proof = with_key(session, Some(act), device, |key| {
                if at.pin.is_some() {
                    key.may_have_the_pin(&credential, at.device.is_some())?;
                }
                key.prove_over(&credential, at.pin.as_ref(), counted, &sha256(&client_data))
            });
            let (proof, answer) = match proof {
                Ok((count, answer)) => (Ok(count), Some(answer)),
                Err(refusal) => (Err(unless_named(refusal, at.device)), None),
            };
            let count = settle(act, token, proof, |now, count| Mutation::Count {
                token,
                to: count,
                seen: now,
            })?;
            if let Some(answer) = answer {
                let json = response(&credential, client_data, answer).to_json().to_string();
                act.house
                    .runtime()
                    .block_on(way.deliver(Secret::new(json.into_bytes())))?;
            }
            Ok(count)
        })
        .await?;
    Ok(Outcome::Done(Details {
        token: Some(token),
        sign_count: Some(count),
        ..Details::default()
    }))
}

/// The options, when they want this credential for that origin.
fn wanted(credential: &Credential, origin: &str, request: &Secret) -> Result<RequestOptions, Refusal> {
    let invalid = |why: &dyn std::fmt::Display| Refusal::Invalid(format!("the provider's options are refused: {why}"));
    let options = RequestOptions::parse(request.expose()).map_err(|error| invalid(&error))?;
    let rp_id = origin::rp_id(origin, options.rp_id.as_deref()).map_err(|error| invalid(&error))?;
    if rp_id != credential.rp_id {
        return Err(invalid(&format!(
            "the token is registered with “{}”, and they are for “{rp_id}”",
            credential.rp_id
        )));
    }
    if !options.allow.is_empty() && !options.allow.contains(&credential.id) {
        return Err(invalid(
            &"they allow credentials of which the token's is none: is it still registered with the provider?",
        ));
    }
    Ok(options)
}

fn response(
    credential: &Credential,
    client_data_json: Vec<u8>,
    answer: get_assertion::Response,
) -> AuthenticationResponse {
    AuthenticationResponse {
        id: credential.id.clone(),
        client_data_json,
        authenticator_data: answer.auth_data.raw().to_vec(),
        signature: answer.signature,
        user_handle: answer.user_id,
    }
}
