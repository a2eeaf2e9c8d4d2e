//! Emergency bypasses: what a commit wants, what is read back, and that the journal tells all of it.

use claviger::ledger::{
    BypassFilter, BypassRecord, BypassState, Ledger, LedgerError, Mutation, NewBypass, NewCase, SqliteLedger,
};
use claviger::types::cases::{BypassEnd, CaseKind, FoundAgain, Step};
use claviger::types::{Secret, UnixMillis};

use crate::cases::{case, close, keep_time, note, stamp};
use crate::desk::{event, open};

fn secret(code: &str) -> Secret {
    Secret::new(code.as_bytes().to_vec())
}

pub fn issue(case: &NewCase) -> Mutation {
    Mutation::IssueBypass(Box::new(NewBypass {
        case: case.id,
        by: 1001,
        issued: stamp(1_000),
        lasts_ms: 60_000,
        uses: 2,
        found_again: FoundAgain::End,
        code: secret("RIGHT"),
    }))
}

pub fn tried(case: &NewCase, passed: bool) -> Mutation {
    Mutation::TryBypass {
        case: case.id,
        at: UnixMillis(80),
        passed,
    }
}

pub fn ended(case: &NewCase) -> Mutation {
    Mutation::EndBypass {
        case: case.id,
        why: BypassEnd::ByHand,
        since: stamp(1_001),
        within_ms: 9_000,
    }
}

pub fn reviewed(case: &NewCase) -> Mutation {
    Mutation::ReviewBypass {
        case: case.id,
        by: 1002,
    }
}

async fn opened(ledger: &SqliteLedger, subject: Option<&str>) -> NewCase {
    let kind = if subject.is_some() {
        CaseKind::Recovery
    } else {
        CaseKind::Bench
    };
    let new = case(kind, subject);
    let changes = vec![Mutation::OpenCase(Box::new(new.clone())), keep_time(1)];
    ledger.commit(event(1), changes).await.unwrap();
    new
}

async fn of(ledger: &SqliteLedger, case: &NewCase) -> BypassRecord {
    let filter = BypassFilter {
        case: Some(case.id),
        ..BypassFilter::default()
    };
    let mut found = ledger.bypasses(&filter, None, 10).await.unwrap().items;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[tokio::test]
async fn a_bypass_is_used_as_often_as_it_may_and_looked_back_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let new = opened(&ledger, Some("ada")).await;
    assert_eq!(ledger.bypass_of("ada", &secret("RIGHT")).await, Ok(None));
    ledger.commit(event(2), vec![issue(&new)]).await.unwrap();
    let right = async |subject: &str, code: &str| {
        let found = ledger.bypass_of(subject, &secret(code)).await.unwrap();
        found.map(|(record, right)| (record.case, right))
    };
    assert_eq!(right("ada", "RIGHT").await, Some((new.id, true)));
    assert_eq!(right("ada", "WRONG").await, Some((new.id, false)));
    assert_eq!(right("eve", "RIGHT").await, None, "bound to its subject");

    for _ in 0..2 {
        ledger.commit(event(3), vec![tried(&new, true)]).await.unwrap();
    }
    let over = ledger.commit(event(4), vec![tried(&new, true)]).await;
    assert_eq!(over, Err(LedgerError::Stale("bypass")));
    ledger.commit(event(5), vec![tried(&new, false)]).await.unwrap();
    let record = of(&ledger, &new).await;
    assert_eq!(
        (record.used, record.wrong, record.last_used),
        (2, 1, Some(UnixMillis(80)))
    );
    assert_eq!(record.state(stamp(1_000)), BypassState::UsedUp);
    assert_eq!(record.subject.as_deref(), Some("ada"));

    // A case with a bypass that nobody looked back at is not closed, and it is done by the ledger itself.
    let early = ledger.commit(event(6), vec![close(&new)]).await;
    assert_eq!(early, Err(LedgerError::Stale("review")));
    ledger.commit(event(7), vec![reviewed(&new)]).await.unwrap();
    let again = ledger.commit(event(8), vec![reviewed(&new)]).await;
    assert_eq!(again, Err(LedgerError::Stale("review")));
    assert_eq!(right("ada", "RIGHT").await, None);
    ledger.commit(event(9), vec![close(&new)]).await.unwrap();
    assert_eq!(ledger.verify().await.unwrap().findings, []);
    ledger.close().await;
    let ledger = open(dir.path()).await.unwrap();
    let after = of(&ledger, &new).await;
    assert_eq!((after.used, after.reviewed), (2, Some((UnixMillis(7), 1002))));
}

#[tokio::test]
async fn nobody_gets_a_second_one_before_the_first_was_looked_back_at() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let (first, second) = (opened(&ledger, Some("ada")).await, opened(&ledger, Some("ada")).await);
    let (other, bench) = (opened(&ledger, Some("bob")).await, opened(&ledger, None).await);
    ledger.commit(event(2), vec![issue(&first)]).await.unwrap();
    for (case, fault) in [(&first, "bypass"), (&second, "bypass"), (&bench, "bypass")] {
        let refused = ledger.commit(event(3), vec![issue(case)]).await;
        assert_eq!(refused, Err(LedgerError::Stale(fault)));
    }
    ledger.commit(event(4), vec![issue(&other)]).await.unwrap();
    let counts = ledger.bypass_counts("ada", 1_000).await.unwrap();
    assert_eq!((counts.recent, counts.unreviewed), (1, 1));
    let counts = ledger.bypass_counts("ada", 1_001).await.unwrap();
    assert_eq!(
        (counts.recent, counts.unreviewed),
        (0, 1),
        "one that is open is open, however old"
    );

    ledger.commit(event(5), vec![ended(&first)]).await.unwrap();
    // Ending is done once, and what comes late is no fault of whoever wanted something else in the same commit.
    let twice = vec![
        ended(&first),
        note(&first, 90, None, claviger::ledger::Said::Worked, None),
    ];
    ledger.commit(event(6), twice).await.unwrap();
    let record = of(&ledger, &first).await;
    assert_eq!(record.ended, Some((UnixMillis(5), BypassEnd::ByHand)));
    let case = ledger.case(first.id).await.unwrap().unwrap();
    assert_eq!((case.step, case.within_ms), (Step::Review, 9_000));
    // Its code is gone with its end; a wrong one is counted all the same.
    assert!(!ledger.bypass_of("ada", &secret("RIGHT")).await.unwrap().unwrap().1);
    ledger.commit(event(7), vec![tried(&first, false)]).await.unwrap();
    let used = ledger.commit(event(8), vec![tried(&first, true)]).await;
    assert_eq!(used, Err(LedgerError::Stale("bypass")));
    ledger.commit(event(9), vec![reviewed(&first)]).await.unwrap();
    ledger.commit(event(10), vec![tried(&first, false)]).await.unwrap();
    ledger.commit(event(11), vec![issue(&second)]).await.unwrap();
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

/// Both cases say nothing of each other: whoever is faster has it.
#[tokio::test]
async fn of_two_that_are_issued_at_once_one_is() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = std::sync::Arc::new(open(dir.path()).await.unwrap());
    let mut cases = Vec::new();
    for _ in 0..8 {
        cases.push(opened(&ledger, Some("ada")).await);
    }
    let all: Vec<_> = cases
        .into_iter()
        .map(|case| {
            let ledger = std::sync::Arc::clone(&ledger);
            tokio::spawn(async move { ledger.commit(event(2), vec![issue(&case)]).await.is_ok() })
        })
        .collect();
    let mut issued = 0;
    for one in all {
        issued += usize::from(one.await.unwrap());
    }
    assert_eq!(issued, 1);
}
