//! Exporting what login modules know FIDO2 keys by. The file is a function of the ledger: written anew after a revocation it no longer
//! has the key ([ADR 12](../../../docs/adr/0012-login-files-are-exports.md)).

use serde_json::json;

use crate::codec::login::{MOST_KEYS, Passkey, pam_u2f, sssd_passkey};
use crate::ledger::{Binding, Filter};
use crate::lifecycle::Refusal;
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::key::Credential;
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::request::Delivery;
use crate::types::{ExportFormat, Secret, TokenId, TokenKind, TokenState};

/// Tokens read at a time.
const PAGE: u32 = 1_000;
/// Most keys of one file.
const MOST: usize = 100_000;

/// Writes the active keys that `filter` finds and that are registered with `rp_id`.
///
/// # Errors
/// [`Refusal::Invalid`] without an RP ID, or when one person has more keys than the module reads; [`Refusal::Undelivered`]; storage.
pub async fn export(
    act: &Act,
    format: ExportFormat,
    filter: Filter,
    rp_id: Option<String>,
    into: Delivery,
) -> Result<Outcome, Refusal> {
    let rp_id = rp_id.ok_or_else(|| {
        Refusal::Invalid("say with which relying party the keys are registered: give “rp-id”".to_owned())
    })?;
    act.phase(Phase::Proving, 10);
    let (keys, left_out) = gather(act, format, filter, &rp_id).await?;
    act.phase(Phase::Writing, 40);
    let lines: Vec<Passkey> = keys.iter().map(|(_, key)| key.clone()).collect();
    let file = match format {
        ExportFormat::PamU2f => pam_u2f(&lines),
        _ => sssd_passkey(&lines),
    };
    if format == ExportFormat::PamU2f && file.lines().any(|line| line.split(':').count() > MOST_KEYS + 1) {
        return Err(Refusal::Invalid(format!(
            "somebody has more than the {MOST_KEYS} keys that pam_u2f reads"
        )));
    }
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    let told = facts([("format", json!(format))]);
    let orders = keys
        .iter()
        .map(|(id, _)| act.order("token.exported", Some(*id), told.clone(), Vec::new()))
        .collect::<Vec<_>>();
    let written = act.house.ledger().commit_all(Box::new(orders.into_iter())).await;
    written.map_err(|failure| failure.error)?;
    if let Err(refusal) = into.deliver(Secret::new(file.into_bytes())).await {
        act.commit("export.undelivered", None, told, Vec::new()).await?;
        return Err(refusal);
    }
    Ok(Outcome::Done(Details {
        exported: Some(u64::try_from(keys.len()).unwrap_or(u64::MAX)),
        left_out: Some(left_out),
        ..Details::default()
    }))
}

/// The keys that the format can tell, and how many it cannot.
async fn gather(
    act: &Act,
    format: ExportFormat,
    filter: Filter,
    rp_id: &str,
) -> Result<(Vec<(TokenId, Passkey)>, u64), Refusal> {
    // A key that is suspended or lost opens nothing.
    let filter = Filter {
        kind: Some(TokenKind::Fido2),
        state: Some(TokenState::Active),
        ..filter
    };
    let (mut keys, mut left_out, mut cursor) = (Vec::new(), 0_u64, None);
    loop {
        let page = act.house.ledger().find(&filter, cursor.as_deref(), PAGE).await?;
        for record in page.items {
            let theirs = matches!(&record.binding, Binding::Fido2 { rp_id: with, .. } if with == rp_id);
            if !theirs {
                continue;
            }
            let credential = Credential::of(&record.binding)?;
            let key = Passkey {
                account: record.personal.subject.unwrap_or_default(),
                credential_id: credential.id,
                key: credential.key,
            };
            let told = match format {
                ExportFormat::PamU2f => key.mapping(),
                _ => key.passkey(),
            };
            match told {
                Some(_) => keys.push((record.id, key)),
                None => left_out += 1,
            }
        }
        if keys.len() > MOST {
            return Err(Refusal::Invalid(format!(
                "more than {MOST} keys are too many for one file: narrow the filter"
            )));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok((keys, left_out));
        }
    }
}
