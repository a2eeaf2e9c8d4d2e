//! “Later”, frozen operators and alarms: what a commit wants, and what is read back.

use claviger::ledger::{Account, Event, Frozen, Ledger, LedgerError, Mutation};
use claviger::types::UnixMillis;
use claviger::types::cases::Anomaly;

use crate::desk::{event, open};

fn later(subject: &str, below: u32, at: i64) -> Mutation {
    Mutation::Defer {
        account: Account::Subject(subject.to_owned()),
        below,
        at: UnixMillis(at),
    }
}

fn frozen(operator: u32) -> Frozen {
    Frozen {
        operator,
        since: UnixMillis(7),
        why: Anomaly::OperatorBurst,
    }
}

#[tokio::test]
async fn later_is_counted_by_person_and_stays_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ada = Account::Subject("ada".to_owned());
    {
        let ledger = open(dir.path()).await.unwrap();
        assert_eq!(ledger.deferrals(&ada).await, Ok(0));
        for at in 1..=2 {
            ledger.commit(event(at), vec![later("ada", 2, at)]).await.unwrap();
        }
        let stale = ledger.commit(event(3), vec![later("ada", 2, 3)]).await;
        assert!(matches!(stale, Err(LedgerError::Stale(_))), "{stale:?}");
        // Another's count is another's, and more may be allowed later on.
        ledger.commit(event(4), vec![later("bob", 1, 4)]).await.unwrap();
        ledger.commit(event(5), vec![later("ada", 3, 5)]).await.unwrap();
        ledger.close().await;
    }
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.deferrals(&ada).await, Ok(3));
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn the_last_later_is_said_once_however_many_say_it() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = std::sync::Arc::new(open(dir.path()).await.unwrap());
    let all: Vec<_> = (0..16)
        .map(|at| {
            let ledger = std::sync::Arc::clone(&ledger);
            tokio::spawn(async move { ledger.commit(event(at), vec![later("ada", 3, at)]).await.is_ok() })
        })
        .collect();
    let mut said = 0;
    for one in all {
        said += usize::from(one.await.unwrap());
    }
    assert_eq!(said, 3);
}

#[tokio::test]
async fn an_operator_is_frozen_once_and_thawed_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    ledger
        .commit(event(1), vec![Mutation::Freeze(frozen(1003))])
        .await
        .unwrap();
    ledger
        .commit(event(2), vec![Mutation::Freeze(frozen(1001))])
        .await
        .unwrap();
    let again = ledger.commit(event(3), vec![Mutation::Freeze(frozen(1003))]).await;
    assert!(matches!(again, Err(LedgerError::Stale(_))), "{again:?}");
    assert_eq!(ledger.freezes().await, Ok(vec![frozen(1001), frozen(1003)]));
    ledger.close().await;
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.freezes().await.unwrap().len(), 2, "a restart lifts nothing");
    ledger
        .commit(event(4), vec![Mutation::Thaw { operator: 1003 }])
        .await
        .unwrap();
    let again = ledger.commit(event(5), vec![Mutation::Thaw { operator: 1003 }]).await;
    assert!(matches!(again, Err(LedgerError::NotFound(_))), "{again:?}");
    assert_eq!(ledger.freezes().await, Ok(vec![frozen(1001)]));
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn alarms_are_found_among_all_entries_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut due = Vec::new();
    for at in 1..=60 {
        let name = if at % 7 == 0 { "anomaly.raised" } else { "test.passed" };
        // A text that looks like one does not make it one.
        let detail = [("kind", "\"event\":\"anomaly.raised\"".into())].into();
        let seq = ledger
            .commit(
                Event {
                    name,
                    detail,
                    ..event(at)
                },
                vec![],
            )
            .await
            .unwrap();
        if name == "anomaly.raised" {
            due.push(seq);
        }
    }
    due.reverse();
    assert_eq!(ledger.alarms(u64::MAX, 100).await.unwrap(), due);
    assert_eq!(ledger.alarms(due[2], 2).await.unwrap(), due[3..5]);
}
