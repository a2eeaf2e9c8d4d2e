//! A ledger of fobs, and tests of them as the verb `Test` does them between call and answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use claviger::codec::oath::{Generator, OathParameters};
use claviger::ledger::{
    Account, Binding, Event, Filter, KeySource, Ledger, Mutation, OpenOptions, Personal, SqliteLedger, TokenRecord,
    Unique,
};
use claviger::resync::{DriftState, Policy, Verdict, accept_one};
use claviger::types::{DriftSource, OathAlgorithm, Reality, Secret, TokenId, TokenKind, TokenState, UnixMillis};
use tempfile::TempDir;

use crate::daemon::state_directory;
use crate::full_ledger::authority;

/// Commits that are written together while a ledger is filled, and fobs of one delivery.
const BATCH: usize = 25_000;
const BEGIN: i64 = 1_800_000_000_000;
/// Who asks.
const CALLER: u32 = 1000;

/// An open ledger of active fobs. Its files go with it.
pub struct Fobs {
    pub ledger: SqliteLedger,
    pub tokens: Vec<TokenId>,
    /// Of the tests, in milliseconds: each is one step after the one before, whichever fob it is of.
    now: AtomicI64,
    directory: TempDir,
}

impl Fobs {
    pub async fn fill(count: usize) -> Self {
        let directory = state_directory();
        let options = OpenOptions {
            directory: directory.path().to_owned(),
            key: KeySource::File(directory.path().join("sealing.key")),
        };
        let ledger = SqliteLedger::open(options).await.expect("a ledger");
        let tokens: Vec<TokenId> = (0..count).map(|_| TokenId::generate()).collect();
        for begin in (0..count).step_by(BATCH) {
            let end = count.min(begin + BATCH);
            let commits: Vec<_> = (begin..end).map(|n| imported(n, tokens[n])).collect();
            ledger
                .commit_all(Box::new(commits.into_iter()))
                .await
                .expect("a delivery");
        }
        Self {
            ledger,
            tokens,
            now: AtomicI64::new(BEGIN),
            directory,
        }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the verb does from the call to the answer: reads the record, how the account stands and the seed, judges the code,
    /// and commits record and journal entry.
    pub async fn test(&self, n: usize) {
        let id = self.tokens[n];
        let now = UnixMillis(self.now.fetch_add(30_000, Ordering::Relaxed));
        let record = self.ledger.token(id).await.expect("a read").expect("a fob");
        let account = Account::of(&record);
        self.ledger.standing(&account, CALLER).await.expect("a read");
        let seed = self.ledger.seed(id).await.expect("a seed");
        let parameters = OathParameters::default();
        let generator = Generator::new(&seed, parameters).expect("a key");
        let code = generator.code(parameters.step_at(now));
        let state = DriftState {
            offset_ms: record.offset_ms,
            watermark_step: record.watermark,
            last_seen: record.last_seen,
        };
        let Verdict::Accepted { step, new_offset_ms } = accept_one(&state, &generator, &code, now, &Policy::default())
        else {
            panic!("a good code was refused");
        };
        let changes = vec![
            Mutation::Require {
                token: id,
                states: &[TokenState::Active],
            },
            Mutation::Advance {
                token: id,
                to: step,
                offset_ms: new_offset_ms,
                seen: now,
                source: Some(DriftSource::Test),
            },
            Mutation::Try {
                account,
                caller: CALLER,
                at: now,
                spent: now,
                passed: true,
            },
        ];
        let detail = BTreeMap::from([("offset_ms", new_offset_ms.into())]);
        let event = event("test.passed", id, now, detail);
        self.ledger.commit(event, changes).await.expect("a commit");
    }

    /// Finds of every kind that a help desk's tool makes by an index, each with what it is called. None of them depends on how many tokens there
    /// are: it answers with one record, or with a page of a hundred.
    pub fn finds(&self, n: usize) -> [(&'static str, Filter, Option<String>, u32); 6] {
        let cursor = Some(self.tokens[n / 2].to_string());
        let none = Filter::default;
        [
            (
                "subject",
                Filter {
                    subject: Some(subject(n)),
                    ..none()
                },
                None,
                100,
            ),
            (
                "serial",
                Filter {
                    serial: Some(serial(n)),
                    ..none()
                },
                None,
                100,
            ),
            (
                "subject and state",
                Filter {
                    kind: Some(TokenKind::Fob),
                    state: Some(TokenState::Active),
                    subject: Some(subject(n)),
                    ..none()
                },
                None,
                100,
            ),
            ("any page", none(), cursor.clone(), 100),
            (
                "page of a state",
                Filter {
                    state: Some(TokenState::Active),
                    ..none()
                },
                cursor,
                100,
            ),
            (
                "page of a delivery",
                Filter {
                    batch: Some(batch(n)),
                    ..none()
                },
                None,
                100,
            ),
        ]
    }
}

fn subject(n: usize) -> String {
    format!("user-{n}@example.org")
}

fn serial(n: usize) -> String {
    format!("8{n:08}")
}

/// Of 500, so that every ledger has more than one.
fn batch(n: usize) -> String {
    format!("delivery-{}", n / 500)
}

fn event(
    name: &'static str,
    token: TokenId,
    at: UnixMillis,
    detail: BTreeMap<&'static str, serde_json::Value>,
) -> Event {
    Event {
        name,
        authority: authority(),
        token: Some(token),
        at,
        detail,
    }
}

fn imported(n: usize, id: TokenId) -> (Event, Vec<Mutation>) {
    let created = UnixMillis(BEGIN - 86_400_000);
    let record = TokenRecord {
        id,
        kind: TokenKind::Fob,
        state: TokenState::Active,
        revoke_reason: None,
        reality: Reality::Hardware,
        model: "C1".to_owned(),
        maker: Some("Contoso".to_owned()),
        batch: Some(batch(n)),
        valid_from: None,
        valid_until: None,
        binding: Binding::Fob {
            algorithm: OathAlgorithm::Sha1,
            digits: 6,
            period_s: 30,
        },
        has_seed: false,
        offset_ms: 0,
        watermark: None,
        sign_count: 0,
        last_seen: Some(created),
        failures: 0,
        personal: Personal {
            subject: Some(subject(n)),
            serial: Some(serial(n)),
            label: None,
        },
        created,
        updated: created,
    };
    let insert = Mutation::Insert {
        record: Box::new(record),
        seed: Some(Secret::new(format!("{n:020}").into_bytes())),
        unique: Some(Unique::Fob {
            manufacturer: Some("Contoso".to_owned()),
            serial: serial(n),
        }),
    };
    (event("token.imported", id, created, BTreeMap::new()), vec![insert])
}
