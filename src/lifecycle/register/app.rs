//! Registering a software authenticator: the seed is made here and handed out once, as an `otpauth` URI. The app is pending until
//! its first code has passed a test.

use data_encoding::BASE32_NOPAD;
use serde_json::json;
use zeroize::Zeroizing;

use crate::grant::{Action, Object};
use crate::ledger::{Binding, Mutation, Personal};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::register::{checked_parameters, fresh};
use crate::lifecycle::request::{AppOptions, Delivery};
use crate::types::{OathAlgorithm, Reality, Secret, TokenId, TokenKind};

/// Who issues the codes, when nobody says.
const ISSUER: &str = "Claviger";

/// Registers an app. The URI is delivered before anything is written: what nobody received is no token.
///
/// # Errors
/// [`Refusal::Undelivered`]; [`Refusal::Invalid`]; storage.
pub async fn register(act: &Act, subject: String, pairing: Delivery, options: AppOptions) -> Result<Outcome, Refusal> {
    act.require(Action::Register, &Object::NewFob)?;
    let parameters = checked_parameters(options.algorithm, options.digits, options.period_s)?;
    let (algorithm, digits, period_s) = (parameters.algorithm(), parameters.digits(), parameters.period_s());
    // As long as the hash (RFC 4226 section 4, R6; RFC 6238 section 5.1).
    let length = match algorithm {
        OathAlgorithm::Sha1 => 20,
        OathAlgorithm::Sha256 => 32,
        OathAlgorithm::Sha512 => 64,
    };
    let mut bytes = Zeroizing::new(vec![0; length]);
    getrandom::fill(&mut bytes).map_err(|_| Refusal::Internal("the kernel gives no random bytes"))?;
    let account = options.account.unwrap_or_else(|| subject.clone());
    let issuer = options.issuer.unwrap_or_else(|| ISSUER.to_owned());
    let secret = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
    let uri = Zeroizing::new(format!(
        "otpauth://totp/{}:{}?secret={}&issuer={}&algorithm={algorithm}&digits={digits}&period={period_s}",
        escaped(&issuer),
        escaped(&account),
        &*secret,
        escaped(&issuer),
    ));
    let id = TokenId::generate();
    let mut record = fresh(
        id,
        TokenKind::App,
        Reality::Hardware,
        Personal {
            subject: Some(subject),
            serial: None,
            label: options.label,
        },
    );
    record.model = "software authenticator".to_owned();
    record.binding = Binding::App {
        algorithm,
        digits,
        period_s,
    };
    // A phone takes its time from the network: there is no offset to learn, and the window of one code is the narrow one from
    // the start.
    record.last_seen = Some(act.house.clock().now());
    act.phase(Phase::Proving, 30);
    pairing.deliver(Secret::new(uri.as_bytes().to_vec())).await?;
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let insert = Mutation::Insert {
        record: Box::new(record),
        seed: Some(Secret::new(std::mem::take(&mut *bytes))),
        unique: None,
    };
    let detail = facts([("kind", json!(TokenKind::App))]);
    act.commit("token.registered", Some(id), detail, vec![insert]).await?;
    Ok(Outcome::Done(Details {
        token: Some(id),
        ..Details::default()
    }))
}

/// A part of a URI: everything but unreserved characters is escaped (RFC 3986 section 2.3), byte by byte of its UTF-8. A colon
/// in a name would otherwise end the issuer.
fn escaped(text: &str) -> String {
    let mut uri = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_so_that_they_end_where_they_end() {
        assert_eq!(escaped("Ada@example.org"), "Ada%40example.org");
        assert_eq!(escaped("A: B & C?#é"), "A%3A%20B%20%26%20C%3F%23%C3%A9");
    }
}
