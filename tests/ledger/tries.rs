//! Wrong tries and recovery codes: what is counted, that it survives, and that a change by hand is found.

use claviger::ledger::{Account, Ledger, LedgerError, Mutation, SqliteLedger, Standing};
use claviger::types::{Secret, TokenState, UnixMillis};

use crate::desk::{event, fob, insert, open};

fn ada() -> Account {
    Account::Subject("ada".to_owned())
}

async fn try_of(ledger: &SqliteLedger, account: Account, caller: u32, at: i64, passed: bool) {
    let change = Mutation::Try {
        account,
        caller,
        at: UnixMillis(at),
        spent: UnixMillis(at + 100),
        passed,
    };
    ledger.commit(event(at), vec![change]).await.unwrap();
}

fn counts(standing: &Standing) -> Vec<(u32, u32, u32)> {
    let row = |tries: &claviger::ledger::CallerTries| (tries.caller, tries.count, tries.share);
    standing.callers.iter().map(row).collect()
}

#[tokio::test]
async fn tries_are_counted_by_account_and_caller_and_survive() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.standing(&ada(), 7).await.unwrap(), Standing::default());
    for at in 0..3 {
        try_of(&ledger, ada(), 7, at, false).await;
    }
    try_of(&ledger, ada(), 8, 3, false).await;
    try_of(&ledger, Account::Subject("bob".to_owned()), 7, 4, false).await;
    ledger.close().await;
    let ledger = open(dir.path()).await.unwrap();
    let standing = ledger.standing(&ada(), 7).await.unwrap();
    assert_eq!(counts(&standing), [(7, 3, 3), (8, 1, 1)]);
    assert_eq!((standing.run(), standing.spent), (4, UnixMillis(103)));
    assert_eq!(standing.sweep.map(|sweep| sweep.count), Some(4));
    // A pass ends the account's run, and of the callers' own the one's who passed.
    try_of(&ledger, ada(), 8, 5, true).await;
    let standing = ledger.standing(&ada(), 8).await.unwrap();
    assert_eq!(counts(&standing), [(7, 3, 0), (8, 0, 0)]);
    assert_eq!(standing.sweep.map(|sweep| sweep.count), Some(0));
    let unlock = Mutation::Unlock { account: ada() };
    ledger.commit(event(6), vec![unlock]).await.unwrap();
    let standing = ledger.standing(&ada(), 8).await.unwrap();
    assert_eq!(counts(&standing), [(7, 0, 0), (8, 0, 0)]);
    assert_eq!(standing.spent, UnixMillis(0));
    let nobody = Mutation::Unlock {
        account: Account::Subject("nobody".to_owned()),
    };
    let refused = ledger.commit(event(7), vec![nobody]).await;
    assert_eq!(refused, Err(LedgerError::NotFound("wrong try")));
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_dies_with_the_sheet() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut record = fob("1");
    record.state = TokenState::Active;
    let token = record.id;
    let code = |text: &str| Secret::new(text.as_bytes().to_vec());
    let keep = Mutation::KeepCodes {
        token,
        codes: vec![code("FIRST"), code("SECOND")],
    };
    ledger
        .commit(event(1), vec![insert(&record, None), keep])
        .await
        .unwrap();
    assert_eq!(ledger.recovery_slot(token, &code("THIRD")).await.unwrap(), None);
    assert_eq!(ledger.recovery_slot(token, &code("SECOND")).await.unwrap(), Some(1));
    let used = |at| Mutation::UseCode {
        token,
        slot: 1,
        seen: UnixMillis(at),
    };
    ledger.commit(event(2), vec![used(2)]).await.unwrap();
    assert_eq!(
        ledger.commit(event(3), vec![used(3)]).await,
        Err(LedgerError::Stale("recovery code"))
    );
    assert_eq!(ledger.recovery_slot(token, &code("SECOND")).await.unwrap(), None);
    assert_eq!(ledger.recovery_left(token).await.unwrap(), 1);
    assert_eq!(ledger.verify().await.unwrap().findings, []);
    ledger
        .commit(event(4), vec![Mutation::DestroySeed { token }])
        .await
        .unwrap();
    assert_eq!(ledger.recovery_slot(token, &code("FIRST")).await.unwrap(), None);
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}
