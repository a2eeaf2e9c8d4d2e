//! What every ledger test needs: a directory, a ledger in it, tokens and events.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use claviger::grant::{Action, Authority};
use claviger::ledger::{
    Binding, Duty, Event, Intent, KeySource, LedgerError, Mutation, Obligation, OpenOptions, Personal, SqliteLedger,
    TokenRecord,
};
use claviger::types::{
    OathAlgorithm, ObligationId, OperationId, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis,
};

pub const SEED: &[u8] = b"a seed of twenty byt";

pub async fn open(directory: &Path) -> Result<SqliteLedger, LedgerError> {
    SqliteLedger::open(OpenOptions {
        directory: directory.join("state"),
        key: KeySource::File(directory.join("claviger.key")),
    })
    .await
}

pub fn event(at: i64) -> Event {
    Event {
        name: "token.registered",
        authority: Authority {
            uid: Some(1000),
            origin: "polkit".to_owned(),
            action: Action::Register,
            case: None,
            operation: None,
        },
        token: None,
        at: UnixMillis(at),
        detail: BTreeMap::from([("device", "usb 1-2".into())]),
    }
}

pub fn fob(serial: &str) -> TokenRecord {
    TokenRecord {
        id: TokenId::generate(),
        kind: TokenKind::Fob,
        state: TokenState::Pending,
        revoke_reason: None,
        reality: Reality::Hardware,
        model: "Model F".to_owned(),
        binding: Binding::Fob {
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            period_s: 30,
        },
        has_seed: false,
        offset_ms: -540_000,
        watermark: None,
        sign_count: 0,
        last_seen: None,
        failures: 0,
        personal: Personal {
            subject: Some("ada".to_owned()),
            serial: Some(serial.to_owned()),
            label: None,
        },
        created: UnixMillis(0),
        updated: UnixMillis(0),
    }
}

pub fn key(credential: &str) -> TokenRecord {
    TokenRecord {
        kind: TokenKind::Fido2,
        binding: Binding::Fido2 {
            rp_id: "claviger.example".to_owned(),
            credential_id: credential.to_owned(),
            public_key: "pQECAyYgASFYIA".to_owned(),
            aaguid: "00000000-0000-0000-0000-000000000000".to_owned(),
            discoverable: false,
        },
        ..fob("K-1")
    }
}

pub fn insert(record: &TokenRecord, unique: Option<&str>) -> Mutation {
    Mutation::Insert {
        record: Box::new(record.clone()),
        seed: Some(Secret::new(SEED.to_vec())),
        unique: unique.map(str::to_owned),
    }
}

pub fn obligation(token: TokenId, created: i64) -> Obligation {
    Obligation {
        id: ObligationId::generate(),
        token,
        duty: Duty::CollectFob,
        reality: Reality::Hardware,
        created: UnixMillis(created),
        discharged: None,
    }
}

pub fn intent(token: Option<TokenId>) -> Intent {
    Intent {
        operation: OperationId::generate(),
        verb: "register".to_owned(),
        token,
        phase: "begun".to_owned(),
        detail: serde_json::json!({"subject": "ada"}),
        started: UnixMillis(5),
    }
}

/// Runs SQL as a stranger with the database file would.
pub fn by_hand(directory: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3")
        .arg(directory.join("state/ledger.db"))
        .arg(sql)
        .output()
        .expect("sqlite3");
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}
