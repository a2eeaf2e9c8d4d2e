//! What every ledger test needs: a directory, a ledger in it, tokens and events.

use std::collections::BTreeMap;
use std::path::Path;

use claviger::grant::Authority;
use claviger::ledger::{
    Binding, Duty, Event, Intent, KeySource, LedgerError, Mutation, Obligation, ObligationFilter, OpenOptions,
    Personal, SqliteLedger, TokenRecord, Unique,
};
use claviger::types::{
    OathAlgorithm, ObligationId, OperationId, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis,
};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, SqliteConnection};

/// Obligations that stand.
pub const OPEN: ObligationFilter = ObligationFilter {
    open: true,
    recognisable: None,
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
        authority: authority(),
        token: None,
        at: UnixMillis(at),
        detail: BTreeMap::from([("device", "usb 1-2".into())]),
    }
}

/// As it stands in a journal: only a grant makes one in the daemon.
fn authority() -> Authority {
    let text = r#"{"uid": 1000, "origin": "polkit", "action": "register", "case": null, "operation": null}"#;
    serde_json::from_str(text).expect("an authority")
}

/// `fob:SERIAL` or `fido2:CREDENTIAL`.
pub fn unique(text: &str) -> Unique {
    match text.split_once(':') {
        Some(("fob", serial)) => Unique::Fob {
            manufacturer: None,
            serial: serial.to_owned(),
        },
        Some(("fido2", id)) => Unique::Credential(id.to_owned()),
        _ => panic!("not a unique: {text}"),
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
        maker: None,
        batch: None,
        valid_from: None,
        valid_until: None,
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
            identity: None,
            organisation: false,
        },
        ..fob("K-1")
    }
}

pub fn insert(record: &TokenRecord, unique: Option<&str>) -> Mutation {
    Mutation::Insert {
        record: Box::new(record.clone()),
        seed: Some(Secret::new(SEED.to_vec())),
        unique: unique.map(self::unique),
    }
}

pub fn obligation(token: TokenId, created: i64) -> Obligation {
    Obligation {
        id: ObligationId::generate(),
        token,
        duty: Duty::CollectFob,
        reality: Reality::Hardware,
        created: UnixMillis(created),
        proven: None,
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

/// The database as a stranger with the file in hand opens it.
pub async fn stranger(directory: &Path) -> SqliteConnection {
    let file = directory.join("state/ledger.db");
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(false)
        .connect()
        .await
        .unwrap()
}

/// Runs SQL as that stranger, with the guards against accidents lifted and put back.
pub async fn by_hand(directory: &Path, sql: &str) -> Result<u64, sqlx::Error> {
    let mut conn = stranger(directory).await;
    let triggers: Vec<(String, String)> = sqlx::query_as("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
        .fetch_all(&mut conn)
        .await?;
    for (name, _) in &triggers {
        conn.execute(AssertSqlSafe(format!("DROP TRIGGER {name}"))).await?;
    }
    let done = conn.execute(AssertSqlSafe(sql.to_owned())).await;
    for (_, sql) in triggers {
        conn.execute(AssertSqlSafe(sql)).await?;
    }
    conn.close().await?;
    done.map(|done| done.rows_affected())
}

/// Numbers that look random and are the same every time (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = self.roll(from.len() as u64);
        &from[usize::try_from(at).unwrap()]
    }
}
