//! Which relying parties trust something of a key. A provider that a key was registered with goes on accepting it whatever the ledger
//! says, until somebody deletes it there: so revoking tells whom to tell.

use std::collections::BTreeSet;

use crate::ledger::{Binding, Filter, TokenRecord};
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::TokenKind;

/// Most other tokens of one key that are looked at.
const MOST: u32 = 100;

/// RP IDs of those who still trust the key of this token once the token is revoked: its own relying party, unless that is us, and those
/// of the key's other live tokens. A key is known by its serial number; one that tells none has this token only.
///
/// # Errors
/// Storage.
pub async fn still_trusting(house: &Lifecycle, record: &TokenRecord) -> Result<BTreeSet<String>, Refusal> {
    let mut parties = BTreeSet::new();
    if record.kind != TokenKind::Fido2 {
        return Ok(parties);
    }
    let ours = &house.settings().rp_id;
    parties.extend(party(record).filter(|rp_id| rp_id != ours));
    if let Some(serial) = record.personal.serial.clone() {
        let filter = Filter {
            kind: Some(TokenKind::Fido2),
            serial: Some(serial),
            alive: true,
            ..Filter::default()
        };
        let others = house.ledger().find(&filter, None, MOST).await?.items;
        let others = others
            .iter()
            .filter(|other| other.id != record.id && other.reality == record.reality);
        parties.extend(others.filter_map(party));
    }
    Ok(parties)
}

fn party(record: &TokenRecord) -> Option<String> {
    match &record.binding {
        Binding::Fido2 { rp_id, .. } => Some(rp_id.clone()),
        _ => None,
    }
}
