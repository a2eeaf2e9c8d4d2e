//! A ledger of 10,000 tokens, written through the ledger's own door.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use claviger::grant::Authority;
use claviger::ledger::{
    Binding, Event, KeySource, Ledger, Mutation, OpenOptions, Personal, SqliteLedger, TokenRecord, Unique,
};
use claviger::types::{OathAlgorithm, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};

pub const TOKENS: u32 = 10_000;
const CALLERS: u32 = 32;
const CREATED: UnixMillis = UnixMillis(1_760_000_000_000);

/// Writes it, where the daemon will look for it.
pub async fn build(directory: &Path) {
    let ledger = SqliteLedger::open(OpenOptions {
        directory: directory.to_owned(),
        key: KeySource::File(directory.join("sealing.key")),
    })
    .await
    .expect("a ledger");
    let ledger = Arc::new(ledger);
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let ledger = Arc::clone(&ledger);
            tokio::spawn(async move {
                for number in (caller..TOKENS).step_by(CALLERS as usize) {
                    let (record, seed) = token(number);
                    let insert = Mutation::Insert {
                        unique: Some(Unique::Credential(format!("bench:{number}"))),
                        record: Box::new(record),
                        seed,
                    };
                    ledger.commit(registered(), vec![insert]).await.expect("a commit");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("joined");
    }
    ledger.close().await;
}

fn registered() -> Event {
    Event {
        name: "token.registered",
        authority: authority(),
        token: None,
        at: CREATED,
        detail: BTreeMap::from([("device", "usb 1-2".into())]),
    }
}

/// Somebody's who was let in.
pub fn authority() -> Authority {
    serde_json::from_str(r#"{"uid": 1000, "origin": "polkit", "action": "register", "case": null, "operation": null}"#)
        .expect("an authority as a journal holds it")
}

/// Keys, cards and fobs in turn.
fn token(number: u32) -> (TokenRecord, Option<Secret>) {
    let code = (OathAlgorithm::Sha1, 6, 30);
    let (kind, model, binding) = match number % 3 {
        0 => (
            TokenKind::Fido2,
            "Key",
            Binding::Fido2 {
                rp_id: "claviger.invalid".to_owned(),
                credential_id: format!("{number:086}"),
                public_key: "A".repeat(103),
                aaguid: "00000000-0000-0000-0000-000000000000".to_owned(),
                discoverable: true,
                identity: None,
                organisation: false,
            },
        ),
        1 => (
            TokenKind::OathCard,
            "Card",
            Binding::OathCard {
                name: format!("claviger:user-{number}"),
                device_id: format!("{number:022}"),
                algorithm: code.0,
                digits: code.1,
                period_s: code.2,
                only_increasing: false,
            },
        ),
        _ => (
            TokenKind::Fob,
            "Fob",
            Binding::Fob {
                algorithm: code.0,
                digits: code.1,
                period_s: code.2,
            },
        ),
    };
    let seed = (kind != TokenKind::Fido2).then(|| Secret::new(format!("{number:020}").into_bytes()));
    let record = TokenRecord {
        id: TokenId::generate(),
        kind,
        state: TokenState::Active,
        revoke_reason: None,
        reality: Reality::Hardware,
        model: model.to_owned(),
        maker: None,
        batch: None,
        valid_from: None,
        valid_until: None,
        binding,
        has_seed: false,
        offset_ms: 0,
        watermark: None,
        sign_count: 0,
        last_seen: Some(CREATED),
        failures: 0,
        personal: Personal {
            subject: Some(format!("user-{number}@example.org")),
            serial: Some(format!("S{number:08}")),
            label: None,
        },
        created: CREATED,
        updated: CREATED,
    };
    (record, seed)
}
