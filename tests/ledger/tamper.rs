//! A stranger with the database file changes one thing; `verify` (or the opening) must say so. The cases are generated from
//! the schema, so that a table or column that comes later is in them by itself.

use std::path::Path;

use claviger::ledger::{Account, Binding, Frozen, Intent, Ledger, Mutation, Said, TokenRecord, VerifyReport};
use claviger::types::cases::{Anomaly, CaseKind, Method};
use claviger::types::{DriftSource, RevokeReason, Secret, TokenState, UnixMillis};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use sqlx::{AssertSqlSafe, Connection};

use crate::bypass::{ended as ended_bypass, issue, reviewed as reviewed_bypass, tried as tried_bypass};
use crate::cases::{case, close, keep_time, note, shown, step};
use crate::desk::{Dice, by_hand, event, fob, insert, intent, key, obligation, open, stranger};

/// Entries of the furnished journal.
const ENTRIES: u64 = 24;
/// Diagnostic columns of the migration tool, which nothing relies on.
const UNWATCHED: [&str; 2] = ["_sqlx_migrations.installed_on", "_sqlx_migrations.execution_time"];

fn ids(tokens: &[TokenRecord]) -> Vec<String> {
    tokens.iter().map(|token| token.id.to_string()).collect()
}

/// A ledger in which every table has rows and every column is filled in at least one of them.
async fn furnish(directory: &Path) -> Vec<String> {
    let ledger = open(directory).await.unwrap();
    let tokens: Vec<_> = ["S-1", "S-2", "S-3"]
        .map(fob)
        .into_iter()
        .chain([key("cred-1"), key("cred-2")])
        .collect();
    for (at, token) in (1..).zip(&tokens) {
        let unique = format!("fob:{at}");
        ledger
            .commit(event(at), vec![insert(token, Some(&unique))])
            .await
            .unwrap();
    }
    let (first, second, third) = (tokens[0].id, tokens[1].id, tokens[2].id);
    let advance = |to, source| Mutation::Advance {
        token: first,
        to,
        offset_ms: 12,
        seen: UnixMillis(20),
        source,
    };
    let revoke = Mutation::Transition {
        token: second,
        from: &[TokenState::Pending],
        to: TokenState::Revoked,
        reason: Some(RevokeReason::Lost),
    };
    let discharge = obligation(second, 31);
    let moved = Mutation::Bind {
        token: tokens[4].id,
        binding: Binding::None,
        unique: Some(crate::desk::unique("fido2:other")),
    };
    let (with, without) = (intent(Some(third)), intent(None));
    let phase = |of: &Intent| Mutation::Phase {
        operation: of.operation,
        phase: "written".to_owned(),
        detail: Some(serde_json::json!({"slot": 2})),
    };
    let counted = Mutation::Count {
        token: tokens[3].id,
        to: 9,
        seen: UnixMillis(40),
    };
    let seen = Mutation::Seen {
        token: tokens[3].id,
        seen: UnixMillis(41),
    };
    let done = Mutation::Discharge {
        id: discharge.id,
        at: UnixMillis(50),
    };
    let tried = |caller, passed| Mutation::Try {
        account: Account::Subject("ada".to_owned()),
        caller,
        at: UnixMillis(60),
        spent: UnixMillis(61),
        passed,
    };
    let keep = Mutation::KeepCodes {
        token: tokens[4].id,
        codes: ["one", "two"].map(|code| Secret::new(code.as_bytes().to_vec())).into(),
    };
    let used = Mutation::UseCode {
        token: tokens[4].id,
        slot: 1,
        seen: UnixMillis(62),
    };
    let put_off = Mutation::Defer {
        account: Account::Subject("ada".to_owned()),
        below: 3,
        at: UnixMillis(63),
    };
    let frozen = Mutation::Freeze(Frozen {
        operator: 1003,
        since: UnixMillis(64),
        why: Anomaly::OperatorBurst,
    });
    let (lent, lending) = (
        case(CaseKind::Recovery, Some("bob")),
        case(CaseKind::Recovery, Some("bob")),
    );
    let (case, closed) = (case(CaseKind::Support, Some("ada")), case(CaseKind::Bench, None));
    let commits = vec![
        vec![advance(100, Some(DriftSource::First)), advance(101, None)],
        vec![advance(102, Some(DriftSource::Test))],
        vec![Mutation::Correct {
            token: first,
            expect_ms: 12,
            offset_ms: -3,
            seen: Some(UnixMillis(21)),
            source: DriftSource::Undo,
        }],
        vec![Mutation::Fail { token: third }, Mutation::Fail { token: third }],
        vec![revoke, Mutation::DestroySeed { token: second }],
        vec![Mutation::Oblige(obligation(second, 30)), Mutation::Oblige(discharge)],
        vec![done, counted, seen, moved],
        vec![Mutation::Begin(with.clone()), Mutation::Begin(without.clone())],
        vec![phase(&with)],
        vec![tried(7, false), tried(8, false), keep],
        vec![tried(7, true), tried(7, false), used, put_off, frozen],
        vec![Mutation::OpenCase(Box::new(case.clone())), keep_time(70)],
        vec![
            note(&case, 71, Some(1001), Said::Worked, None),
            note(&case, 71, Some(1001), shown(Method::CallBack), Some("0351 2718")),
            step(&case),
        ],
        vec![
            Mutation::OpenCase(Box::new(closed.clone())),
            note(&closed, 72, None, Said::Denied, None),
            Mutation::Escalate {
                case: closed.id,
                step: closed.step,
            },
            close(&closed),
            keep_time(73),
        ],
        vec![Mutation::OpenCase(Box::new(lent.clone())), issue(&lent)],
        vec![tried_bypass(&lent, true), tried_bypass(&lent, false)],
        vec![ended_bypass(&lent), reviewed_bypass(&lent)],
        vec![Mutation::OpenCase(Box::new(lending.clone())), issue(&lending)],
        vec![],
    ];
    for (at, mutations) in (10..).zip(commits) {
        ledger.commit(event(at), mutations).await.unwrap();
    }
    let report = ledger.verify().await.unwrap();
    assert_eq!(report.findings, [], "an honest ledger");
    assert_eq!((report.entries, report.tokens), (ENTRIES, 5));
    ledger.close().await;
    ids(&tokens)
}

/// What is said about a copy of the ledger after `sql`; `None` when nothing is.
async fn said(template: &Path, sql: &str) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("state")).unwrap();
    for file in ["claviger.key", "state/ledger.db"] {
        std::fs::copy(template.join(file), dir.path().join(file)).unwrap();
    }
    let touched = by_hand(dir.path(), sql)
        .await
        .unwrap_or_else(|why| panic!("{sql}: {why}"));
    assert!(touched > 0, "{sql} touched nothing");
    let ledger = match open(dir.path()).await {
        Ok(ledger) => ledger,
        Err(refusal) => return Some(refusal.to_string()),
    };
    let report: VerifyReport = ledger.verify().await.unwrap();
    ledger.close().await;
    report.findings.first().map(|finding| finding.what.clone())
}

/// Runs all cases, prints how many, and fails naming those that nobody noticed.
async fn all_found(what: &str, template: &Path, cases: Vec<String>) {
    assert!(!cases.is_empty());
    let control = said(
        template,
        "UPDATE tokens SET model = model; UPDATE journal SET seq = seq",
    )
    .await;
    assert_eq!(control, None, "an edit that changes nothing");
    let mut missed = Vec::new();
    for sql in &cases {
        match said(template, sql).await {
            None => missed.push(sql),
            Some(sentence) => println!("{sql}\n    {sentence}"),
        }
    }
    println!("{what}: {} cases, {} missed", cases.len(), missed.len());
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

/// One statement for every column of every row of every table: another value, and none where none is allowed.
async fn column_edits(directory: &Path) -> Vec<String> {
    let mut conn = stranger(directory).await;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    let mut edits = Vec::new();
    for table in tables {
        let columns: Vec<(String, String, bool, bool)> =
            sqlx::query_as("SELECT name, type, \"notnull\", pk > 0 FROM pragma_table_info(?) ORDER BY pk DESC")
                .bind(&table)
                .fetch_all(&mut conn)
                .await
                .unwrap();
        let (pk, ..) = columns[0].clone();
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT quote({pk}) FROM {table}")))
            .fetch_all(&mut conn)
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{table} is empty: nothing would be tried on it");
        for row in &rows {
            for (column, kind, not_null, _) in &columns {
                if UNWATCHED.contains(&format!("{table}.{column}").as_str()) {
                    continue;
                }
                let other = match kind.as_str() {
                    // The id of a table of one row is held to 1 by a CHECK; a stranger would have to rewrite the schema.
                    "INTEGER" if matches!(table.as_str(), "head" | "timekeeper") && column == "id" => continue,
                    "INTEGER" | "BIGINT" => format!("COALESCE({column}, 0) + 1"),
                    "BOOLEAN" => format!("1 - {column}"),
                    "TEXT" => format!("COALESCE({column}, '') || 'x'"),
                    "BLOB" => format!("CAST(COALESCE(substr({column}, 2), x'') || x'5a' AS BLOB)"),
                    "TIMESTAMP" => continue,
                    other => panic!("{table}.{column} is a {other}"),
                };
                edits.push(format!(
                    "UPDATE OR REPLACE {table} SET {column} = {other} WHERE {pk} = {row}"
                ));
                let filled: bool = sqlx::query_scalar(AssertSqlSafe(format!(
                    "SELECT {column} IS NOT NULL FROM {table} WHERE {pk} = {row}"
                )))
                .fetch_one(&mut conn)
                .await
                .unwrap();
                if !not_null && filled {
                    edits.push(format!("UPDATE {table} SET {column} = NULL WHERE {pk} = {row}"));
                }
            }
            edits.push(format!("DELETE FROM {table} WHERE {pk} = {row}"));
        }
    }
    conn.close().await.unwrap();
    edits
}

#[tokio::test]
async fn every_column_of_every_row_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let cases = column_edits(dir.path()).await;
    all_found("columns edited and rows deleted", dir.path(), cases).await;
}

#[tokio::test]
async fn the_journal_is_watched_from_end_to_end() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let mut cases = Vec::new();
    for seq in 1..=ENTRIES {
        let columns = "payload, mac";
        cases.push(format!("DELETE FROM journal WHERE seq >= {seq}"));
        cases.push(format!(
            "DELETE FROM journal WHERE seq = {seq}; UPDATE journal SET seq = seq - 1 WHERE seq > {seq}"
        ));
        cases.push(format!(
            "UPDATE journal SET payload = replace(payload, 'polkit', 'session') WHERE seq = {seq}"
        ));
        cases.push(format!(
            "INSERT INTO journal SELECT {ENTRIES} + {seq}, {columns} FROM journal WHERE seq = {seq}"
        ));
        for other in seq + 1..=ENTRIES {
            cases.push(format!(
                "UPDATE journal SET seq = -seq WHERE seq IN ({seq}, {other}); \
                 UPDATE journal SET seq = CASE seq WHEN -{seq} THEN {other} ELSE {seq} END WHERE seq < 0"
            ));
        }
    }
    cases.push("INSERT INTO journal VALUES (0, '{}', x'00')".to_owned());
    cases.push("INSERT INTO journal VALUES (-1, CAST(x'ff' AS TEXT), x'00')".to_owned());
    cases.push("DELETE FROM journal; UPDATE head SET count = 0".to_owned());
    all_found("journal edits", dir.path(), cases).await;
}

#[tokio::test]
async fn rows_put_there_or_put_back_by_hand_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = furnish(dir.path()).await;
    let (first, second, third) = (&tokens[0], &tokens[1], &tokens[2]);
    let columns = "kind, state, revoke_reason, reality, model, binding, body, NULL, offset_ms, watermark, sign_count, \
                   last_seen, failures, created, updated, NULL, NULL, NULL, NULL FROM tokens";
    let other = "01900000-0000-7000-8000-000000000000";
    let mut cases = vec![
        format!("UPDATE tokens SET watermark = 100 WHERE id = '{first}'"),
        format!("UPDATE tokens SET watermark = NULL WHERE id = '{first}'"),
        format!("UPDATE tokens SET state = 'active' WHERE id = '{third}'"),
        format!("UPDATE tokens SET state = 'pending', revoke_reason = NULL WHERE id = '{second}'"),
        format!("UPDATE tokens SET failures = 0 WHERE id = '{third}'"),
        format!("UPDATE drift SET after_ms = 13 WHERE token = '{first}' AND seq = 6"),
        format!("DELETE FROM drift WHERE token = '{first}' AND seq = 6"),
        format!("DELETE FROM drift WHERE token = '{first}'"),
        format!("INSERT INTO drift VALUES ('{second}', 6, 10, 'test', NULL, 1, NULL)"),
        format!("INSERT INTO drift VALUES ('{first}', 99, 10, 'test', NULL, 1, NULL)"),
        format!("UPDATE personal SET subject = 'mallory' WHERE token = '{first}'"),
        format!("INSERT INTO tokens SELECT '{other}', {columns} WHERE id = '{first}'"),
        format!("INSERT INTO tokens SELECT '', {columns} WHERE id = '{first}'"),
        format!("INSERT INTO tokens SELECT upper(id), {columns} WHERE id = '{first}'"),
        format!("INSERT INTO tokens SELECT CAST(x'ff' AS TEXT), {columns} WHERE id = '{first}'"),
        format!("INSERT INTO personal SELECT '{other}', subject, serial, label, salt FROM personal LIMIT 1"),
        format!("INSERT INTO seeds SELECT '{second}', key_id, key_version, nonce, sealed FROM seeds LIMIT 1"),
        format!("INSERT INTO seeds SELECT '{other}', key_id, key_version, nonce, sealed FROM seeds LIMIT 1"),
        format!(
            "UPDATE seeds SET (nonce, sealed) = (SELECT nonce, sealed FROM seeds WHERE token = '{third}') \
             WHERE token = '{first}'"
        ),
        format!(
            "INSERT INTO obligations SELECT '{other}', token, duty, reality, created, NULL, NULL FROM obligations LIMIT 1"
        ),
        format!("INSERT INTO intents SELECT '{other}', verb, token, phase, detail, salt, started FROM intents LIMIT 1"),
        "UPDATE obligations SET discharged = NULL WHERE discharged IS NOT NULL".to_owned(),
        "UPDATE cases SET outcome = NULL, closed_at = NULL WHERE outcome IS NOT NULL".to_owned(),
        "UPDATE case_notes SET most = most + 1 WHERE no = 1".to_owned(),
        "UPDATE case_notes SET said = '{\"what\":\"worked\"}' WHERE said LIKE '%denied%'".to_owned(),
        "INSERT INTO case_notes SELECT case_id, seq, no + 7, by, at, most, least, said, reference, salt FROM case_notes \
         WHERE said LIKE '%evidence%'"
            .to_owned(),
        format!(
            "INSERT INTO cases SELECT '{other}', kind, channel, opener, opened_at, opened_most, opened_least, step, \
             since_most, since_least, within_ms, escalated, outcome, closed_at FROM cases LIMIT 1"
        ),
        format!("INSERT INTO case_personal SELECT '{other}', subject, ticket, reason, salt FROM case_personal LIMIT 1"),
        "UPDATE case_personal SET subject = 'mallory' WHERE subject IS NOT NULL".to_owned(),
        "UPDATE timekeeper SET most = 0, least = 0".to_owned(),
        "DELETE FROM timekeeper".to_owned(),
        "INSERT INTO meta VALUES ('more', x'00')".to_owned(),
        "DELETE FROM meta".to_owned(),
        "INSERT INTO _sqlx_migrations VALUES (99, 'later', '2030-01-01', TRUE, x'00', 1)".to_owned(),
    ];
    // Guards and indexes are part of it; `PRAGMA` counts no rows, so each comes with an edit that changes nothing.
    for schema in [
        "CREATE TRIGGER back AFTER UPDATE ON tokens BEGIN UPDATE tokens SET failures = 0; END",
        "CREATE TABLE more (id INTEGER)",
        "DROP INDEX tokens_unique",
        "CREATE VIEW live AS SELECT * FROM tokens",
    ] {
        cases.push(format!("UPDATE head SET count = count; {schema}"));
    }
    all_found("rows by hand", dir.path(), cases).await;
}

#[tokio::test]
async fn the_guards_stop_accidents_and_their_loss_is_found() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let mut conn = stranger(dir.path()).await;
    for accident in [
        "DELETE FROM journal WHERE seq = 17",
        "UPDATE journal SET payload = ''",
        "DELETE FROM tokens",
        "UPDATE tokens SET watermark = 3 WHERE watermark IS NOT NULL",
        "UPDATE tokens SET state = 'active'",
        "UPDATE tokens SET reality = 'virtual'",
        "DELETE FROM cases",
        "UPDATE cases SET outcome = NULL",
        "UPDATE cases SET opened_most = 0",
        "DELETE FROM case_notes",
        "UPDATE case_notes SET most = 0",
        "UPDATE timekeeper SET most = 0",
    ] {
        assert!(sqlx::query(accident).execute(&mut conn).await.is_err(), "{accident}");
    }
    sqlx::query("DROP TRIGGER journal_no_delete")
        .execute(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let report = ledger.verify().await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].what, "the trigger journal_no_delete is missing");
}

#[tokio::test]
async fn a_cut_journal_is_not_written_on() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    by_hand(dir.path(), &format!("DELETE FROM journal WHERE seq = {ENTRIES}"))
        .await
        .unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let refused = ledger.commit(event(1), vec![]).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be continued"), "{refused}");
    assert!(ledger.head().is_err());
    let report = ledger.verify().await.unwrap();
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(ledger.journal(0, 100).await.unwrap().len() as u64, ENTRIES - 1);
}

/// The chain recomputed from `docs/journal.md` alone, with none of the daemon's code.
#[tokio::test]
async fn the_chain_is_the_documented_one() {
    let dir = tempfile::tempdir().unwrap();
    furnish(dir.path()).await;
    let key = std::fs::read(dir.path().join("claviger.key")).unwrap();
    let subkey = |info: &str| {
        let mut okm = [0; 64];
        Hkdf::<Sha256>::new(Some(b"claviger ledger 1"), &key)
            .expand(info.as_bytes(), &mut okm)
            .unwrap();
        okm
    };
    let hmac = |key: &[u8], parts: &[&[u8]]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(&parts.concat());
        mac.finalize().into_bytes().to_vec()
    };
    let (journal, personal) = (subkey("journal"), subkey("personal"));
    let mut conn = stranger(dir.path()).await;
    let id: Vec<u8> = sqlx::query_scalar("SELECT value FROM meta WHERE name = 'ledger_id'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let mut last = hmac(&journal, &[b"opening", &16_u64.to_be_bytes(), &id]);
    let entries: Vec<(i64, String, Vec<u8>)> = sqlx::query_as("SELECT seq, payload, mac FROM journal ORDER BY seq")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    for (seq, payload, mac) in &entries {
        assert!(payload.len() > 100);
        last = hmac(
            &journal,
            &[&last, &(payload.len() as u64).to_be_bytes(), payload.as_bytes()],
        );
        assert_eq!(last, *mac, "entry {seq}");
    }
    let head: Vec<u8> = sqlx::query_scalar("SELECT mac FROM head")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(
        head,
        hmac(&journal, &[b"head", &(entries.len() as u64).to_be_bytes(), &last])
    );

    let salt: Vec<u8> = sqlx::query_scalar("SELECT salt FROM personal WHERE serial = 'S-1'")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    let person = r#"{"label":null,"serial":"S-1","subject":"ada"}"#;
    let sized = |part: &[u8]| [&(part.len() as u64).to_be_bytes(), part].concat();
    let tag = hmac(
        &personal,
        &[&sized(b"personal"), &sized(&salt), &sized(person.as_bytes())],
    );
    let first: serde_json::Value = serde_json::from_str(&entries[0].1).unwrap();
    assert_eq!(first["mutations"][0]["personal"], data_encoding::HEXLOWER.encode(&tag));
    assert!(
        entries
            .iter()
            .all(|(_, payload, _)| !payload.contains("\"ada\"") && !payload.contains("S-1")),
        "nobody is named"
    );
}

#[tokio::test]
async fn a_large_ledger_is_verified_in_shares() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut tokens = Vec::new();
    for _ in 0..9 {
        let batch: Vec<_> = (0..1000).map(|number| fob(&format!("S-{number}"))).collect();
        let mutations = batch.iter().map(|token| insert(token, None)).collect();
        ledger.commit(event(1), mutations).await.unwrap();
        tokens.extend(batch.iter().map(|token| token.id));
    }
    let report = ledger.verify().await.unwrap();
    assert_eq!(
        (report.findings.as_slice(), report.tokens, report.entries),
        ([].as_slice(), 9000, 9)
    );
    ledger.close().await;
    let edited: Vec<_> = tokens.iter().step_by(700).copied().collect();
    for token in &edited {
        let edit = format!("UPDATE tokens SET offset_ms = 1 WHERE id = '{token}'");
        by_hand(dir.path(), &edit).await.unwrap();
    }
    let deleted = tokens[1];
    let edit = format!("DELETE FROM personal WHERE token = '{deleted}'; DELETE FROM seeds WHERE token = '{deleted}'");
    by_hand(
        dir.path(),
        &format!("{edit}; DELETE FROM tokens WHERE id = '{deleted}'"),
    )
    .await
    .unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let report = ledger.verify().await.unwrap();
    let mut found: Vec<_> = report.findings.iter().filter_map(|finding| finding.token).collect();
    found.sort();
    let mut due = [edited, vec![deleted]].concat();
    due.sort();
    assert_eq!(found, due, "each once");
    // A flood of findings is cut, not gathered without end.
    ledger.close().await;
    by_hand(dir.path(), "UPDATE tokens SET model = 'other'").await.unwrap();
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.verify().await.unwrap().findings.len(), 1000);
}

#[tokio::test]
async fn a_head_changed_under_a_running_daemon_stops_writing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let token = fob("S-1");
    ledger.commit(event(1), vec![insert(&token, None)]).await.unwrap();
    let mut conn = stranger(dir.path()).await;
    sqlx::query("UPDATE head SET count = 0")
        .execute(&mut conn)
        .await
        .unwrap();
    for _ in 0..3 {
        let refused = ledger
            .commit(event(2), vec![Mutation::Fail { token: token.id }])
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("cannot be continued"), "{refused}");
    }
    assert_eq!(ledger.token(token.id).await.unwrap().unwrap().failures, 0);
    assert_eq!(ledger.verify().await.unwrap().findings.len(), 1);
    sqlx::query("UPDATE head SET count = 1")
        .execute(&mut conn)
        .await
        .unwrap();
    sqlx::query("UPDATE tokens SET failures = 7")
        .execute(&mut conn)
        .await
        .unwrap();
    let report = ledger.verify().await.unwrap();
    let due = format!("token {}: failures is 7, but the journal says 0", token.id);
    assert_eq!(
        report
            .findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect::<Vec<_>>(),
        [due]
    );
}

/// All that the tables hold, as text.
async fn dump(directory: &Path) -> Result<String, sqlx::Error> {
    let mut conn = stranger(directory).await;
    let mut text = String::new();
    for table in [
        "meta",
        "tokens",
        "personal",
        "seeds",
        "obligations",
        "intents",
        "journal",
        "head",
    ] {
        let columns: Vec<String> = sqlx::query_scalar("SELECT 'quote(' || name || ')' FROM pragma_table_info(?)")
            .bind(table)
            .fetch_all(&mut conn)
            .await?;
        let sql = format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || ',' || "));
        for row in sqlx::query_scalar::<_, String>(AssertSqlSafe(sql))
            .fetch_all(&mut conn)
            .await?
        {
            text.push_str(&row);
            text.push('\n');
        }
    }
    conn.close().await?;
    Ok(text)
}

/// Bytes of the file changed by lot: said, or without effect on a single value; never a panic, never a hang.
#[tokio::test]
async fn garbled_bytes_are_found_or_without_effect() {
    let template = tempfile::tempdir().unwrap();
    furnish(template.path()).await;
    let due = dump(template.path()).await.unwrap();
    let good = std::fs::read(template.path().join("state/ledger.db")).unwrap();
    let mut dice = Dice(5);
    let (mut refused, mut found, mut without) = (0, 0, 0);
    for case in 0..300 {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        std::fs::copy(template.path().join("claviger.key"), dir.path().join("claviger.key")).unwrap();
        let mut bytes = good.clone();
        for _ in 0..=dice.roll(3) {
            let at = usize::try_from(dice.roll(bytes.len() as u64)).unwrap();
            bytes[at] ^= u8::try_from(1 + dice.roll(255)).unwrap();
        }
        std::fs::write(dir.path().join("state/ledger.db"), &bytes).unwrap();
        let Ok(ledger) = open(dir.path()).await else {
            refused += 1;
            continue;
        };
        let report = ledger.verify().await;
        ledger.close().await;
        match report {
            Ok(report) if report.findings.is_empty() => {
                assert_eq!(dump(dir.path()).await.ok().as_ref(), Some(&due), "case {case}");
                without += 1;
            }
            Ok(_) | Err(_) => found += 1,
        }
    }
    println!("garbled: {refused} refused at opening, {found} found, {without} in unused space");
    assert!(found > 20 && without > 0);
}
