//! Export: seeds leave the ledger, for a verifier that cannot ask us. They go into a descriptor of the caller's and nowhere else,
//! and for every one of them the journal says so before it does.

use std::fmt::Write as _;

use data_encoding::{BASE32, HEXLOWER};
use serde_json::json;
use zeroize::Zeroizing;

use crate::codec::delivery::Moving;
use crate::codec::pskc::{EXPORT_ITERATIONS, Outgoing, randomness_needed, write};
use crate::grant::{Action, Object};
use crate::ledger::{Factor, Filter, Oath, TokenRecord};
use crate::lifecycle::act::{Act, facts};
use crate::lifecycle::code::next_counter;
use crate::lifecycle::operation::{Details, Outcome, Phase};
use crate::lifecycle::request::Delivery;
use crate::lifecycle::{Refusal, export_keys, validity};
use crate::types::{ExportFormat, OathAlgorithm, Secret, TokenKind, TokenState, UnixMillis};

/// Most tokens of one file.
const MOST: usize = 100_000;
/// Tokens read at a time.
const PAGE: u32 = 1_000;
/// Characters of a field of values (RFC 4180) that a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];

/// What a line has at most besides its seed and texts: an id in their place, commas, quotes, a counter.
const LINE: usize = 160;

/// A token with the seed that goes out.
struct Leaving {
    record: TokenRecord,
    oath: Oath,
    seed: Secret,
}

/// Writes the tokens that `filter` finds. Cards, keys and paper have no seed that could be exported.
///
/// # Errors
/// [`Refusal::Invalid`] for a format without its passphrase, or with one it has no use for; [`Refusal::Undelivered`]; storage.
pub async fn export(
    act: &Act,
    format: ExportFormat,
    mut filter: Filter,
    passphrase: Option<Secret>,
    rp_id: Option<String>,
    into: Delivery,
) -> Result<Outcome, Refusal> {
    act.require(Action::Configure, &Object::Whole)?;
    let of_keys = matches!(format, ExportFormat::PamU2f | ExportFormat::SssdPasskey);
    if rp_id.is_some() && !of_keys {
        return Err(Refusal::Invalid("“rp-id” is for formats of FIDO2 keys".to_owned()));
    }
    if (format == ExportFormat::Pskc) != passphrase.is_some() {
        return Err(Refusal::Invalid(
            match format {
                ExportFormat::Pskc => "a PSKC file is encrypted: give “passphrase”",
                _ => "this format cannot be encrypted: leave “passphrase” out",
            }
            .to_owned(),
        ));
    }
    if of_keys {
        return export_keys::export(act, format, filter, rp_id, into).await;
    }
    filter.alive = true;
    act.phase(Phase::Proving, 10);
    let (leaving, left_out) = gather(act, format, &filter).await?;
    act.phase(Phase::Writing, 40);
    let ids: Vec<_> = leaving.iter().map(|token| token.record.id).collect();
    let file = tokio::task::spawn_blocking(move || match (format, passphrase) {
        (ExportFormat::Pskc, Some(passphrase)) => pskc(&leaving, &passphrase),
        (ExportFormat::Entra, _) => Ok(entra(&leaving)),
        (ExportFormat::UsersOath, _) => Ok(users_oath(&leaving)),
        (ExportFormat::Pskc | ExportFormat::PamU2f | ExportFormat::SssdPasskey, _) => {
            Err(Refusal::Internal("an export without its passphrase"))
        }
    })
    .await
    .map_err(|_| Refusal::Internal("the export ended unexpectedly"))??;
    act.phase(Phase::Committing, 80);
    act.step.point_of_no_return().map_err(|_| Refusal::Cancelled)?;
    // Before: what went out and is not in the journal would be worse than what is in the journal and did not.
    let told = ids
        .iter()
        .map(|id| {
            act.order(
                "token.exported",
                Some(*id),
                facts([("format", json!(format))]),
                Vec::new(),
            )
        })
        .collect::<Vec<_>>();
    act.house
        .ledger()
        .commit_all(Box::new(told.into_iter()))
        .await
        .map_err(|failure| failure.error)?;
    if let Err(refusal) = into.deliver(file).await {
        act.commit(
            "export.undelivered",
            None,
            facts([("format", json!(format))]),
            Vec::new(),
        )
        .await?;
        return Err(refusal);
    }
    Ok(Outcome::Done(Details {
        exported: Some(u64::try_from(ids.len()).unwrap_or(u64::MAX)),
        left_out: Some(left_out),
        ..Details::default()
    }))
}

/// The tokens that this format can tell, and how many of those found it cannot.
async fn gather(act: &Act, format: ExportFormat, filter: &Filter) -> Result<(Vec<Leaving>, u64), Refusal> {
    let ledger = act.house.ledger();
    let now = act.house.clock().now();
    let (mut leaving, mut left_out, mut cursor) = (Vec::new(), 0, None);
    loop {
        let page = ledger.find(filter, cursor.as_deref(), PAGE).await?;
        for record in page.items {
            if !matches!(record.kind, TokenKind::Fob | TokenKind::NfcFob | TokenKind::App) {
                continue;
            }
            match record.binding.oath().filter(|oath| tells(format, &record, *oath, now)) {
                Some(oath) if record.has_seed => {
                    let seed = ledger.seed(record.id).await?;
                    leaving.push(Leaving { record, oath, seed });
                }
                _ => left_out += 1,
            }
        }
        if leaving.len() > MOST {
            return Err(Refusal::Invalid(format!(
                "more than {MOST} tokens are too many for one file: narrow the filter"
            )));
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok((leaving, left_out));
        }
    }
}

/// Whether a format has the words for this token. Where it has none for dates, a token goes out only while it is valid.
fn tells(format: ExportFormat, record: &TokenRecord, oath: Oath, now: UnixMillis) -> bool {
    let subject = record.personal.subject.as_deref();
    if format != ExportFormat::Pskc && validity::require(record, now).is_err() {
        return false;
    }
    match format {
        ExportFormat::Pskc => true,
        // Of keys, which have no codes.
        ExportFormat::PamU2f | ExportFormat::SssdPasskey => false,
        // Entra computes SHA-1 and SHA-256, six digits, by time (its column “Time Interval” takes 30 and 60).
        ExportFormat::Entra => {
            subject.is_some()
                && oath.digits == 6
                && oath.algorithm != OathAlgorithm::Sha512
                && matches!(oath.factor, Factor::Time { period_s: 30 | 60 })
        }
        // liboath reads names without blanks, computes SHA-1 alone, and believes every clock: only what is in use goes there.
        ExportFormat::UsersOath => {
            record.state == TokenState::Active
                && oath.algorithm == OathAlgorithm::Sha1
                && subject
                    .is_some_and(|name| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '#'))
        }
    }
}

fn moving(token: &Leaving) -> Moving {
    match token.oath.factor {
        Factor::Time { period_s } => {
            let step_ms = i64::from(period_s).saturating_mul(1000).max(1);
            Moving::Time {
                period_s,
                // To the nearest step.
                drift_steps: token.record.offset_ms.saturating_add(step_ms / 2).div_euclid(step_ms),
            }
        }
        Factor::Event => Moving::Event {
            counter: next_counter(&token.record),
        },
    }
}

fn pskc(leaving: &[Leaving], passphrase: &Secret) -> Result<Secret, Refusal> {
    let ids: Vec<String> = leaving.iter().map(|token| token.record.id.to_string()).collect();
    let tokens: Vec<Outgoing<'_>> = leaving
        .iter()
        .zip(&ids)
        .map(|(token, id)| Outgoing {
            id,
            moving: moving(token),
            algorithm: token.oath.algorithm,
            digits: token.oath.digits,
            seed: &token.seed,
            serial: token.record.personal.serial.as_deref(),
            maker: token.record.maker.as_deref(),
            model: Some(token.record.model.as_str()).filter(|model| !model.is_empty()),
            subject: token.record.personal.subject.as_deref(),
            valid_from: token.record.valid_from,
            valid_until: token.record.valid_until,
        })
        .collect();
    let mut randomness = Zeroizing::new(vec![0; randomness_needed(tokens.len())]);
    getrandom::fill(&mut randomness).map_err(|_| Refusal::Internal("the kernel gives no random bytes"))?;
    write(&tokens, passphrase, EXPORT_ITERATIONS, &randomness).ok_or(Refusal::Internal("the file cannot be written"))
}

/// Room for all lines: a buffer that does not grow leaves no copy of a seed behind. A seed is written in at most twice its length,
/// as is a text whose every character is a quote.
fn buffer(leaving: &[Leaving]) -> Zeroizing<String> {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let line = |Leaving { record, seed, .. }: &Leaving| {
        let texts = text(&record.personal.subject) + text(&record.personal.serial) + text(&record.maker);
        2 * (seed.len() + texts + record.model.len()) + LINE
    };
    Zeroizing::new(String::with_capacity(LINE + leaving.iter().map(line).sum::<usize>()))
}

/// The columns that Entra's upload of hardware OATH tokens reads.
fn entra(leaving: &[Leaving]) -> Secret {
    let mut file = buffer(leaving);
    file.push_str("upn,serial number,secret key,time interval,manufacturer,model\r\n");
    for token in leaving {
        let Factor::Time { period_s } = token.oath.factor else {
            continue;
        };
        let record = &token.record;
        // Exposed to be handed out: that is what an export is.
        let seed = Zeroizing::new(BASE32.encode(token.seed.expose()));
        let serial = record.personal.serial.clone().unwrap_or_else(|| record.id.simple());
        let _ = write!(
            file,
            "{},{},{},{period_s},{},{}\r\n",
            field(record.personal.subject.as_deref().unwrap_or_default()),
            field(&serial),
            &*seed,
            field(record.maker.as_deref().unwrap_or("unknown")),
            field(&record.model),
        );
    }
    Secret::new(std::mem::take(&mut *file).into_bytes())
}

/// A field of values (RFC 4180 section 2), which no spreadsheet takes for a formula.
fn field(text: &str) -> String {
    let text = if text.starts_with(FORMULA) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// The file that `pam_oath` reads and writes: type, user, no PIN, seed in hexadecimal digits, and for an event token the counter
/// of its next code.
fn users_oath(leaving: &[Leaving]) -> Secret {
    let mut file = buffer(leaving);
    for token in leaving {
        let user = token.record.personal.subject.as_deref().unwrap_or_default();
        // Exposed to be handed out: that is what an export is.
        let seed = Zeroizing::new(HEXLOWER.encode(token.seed.expose()));
        let digits = token.oath.digits;
        let _ = match token.oath.factor {
            Factor::Time { period_s } => writeln!(file, "HOTP/T{period_s}/{digits}\t{user}\t-\t{}", &*seed),
            Factor::Event => writeln!(
                file,
                "HOTP/E/{digits}\t{user}\t-\t{}\t{}",
                &*seed,
                next_counter(&token.record)
            ),
        };
    }
    Secret::new(std::mem::take(&mut *file).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_quoted_where_it_must_be_and_is_never_a_formula() {
        for (text, written) in [
            ("ada", "ada"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2", "'-2"),
        ] {
            assert_eq!(field(text), written);
        }
    }
}
