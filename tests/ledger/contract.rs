//! What the trait promises, one promise a test.

use claviger::ledger::{
    BatchFailure, Commits, Event, Filter, IntentEnd, Ledger, LedgerError, Mutation, ObligationFilter,
};
use claviger::types::{DriftSource, RevokeReason, TokenId, TokenKind, TokenState, UnixMillis};

use crate::desk::{OPEN, SEED, event, fob, insert, intent, key, obligation, open, unique};

#[tokio::test]
async fn a_token_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut record = fob("S-1");
    assert_eq!(
        ledger.commit(event(7), vec![insert(&record, Some("fob:S-1"))]).await,
        Ok(1)
    );
    record.has_seed = true;
    record.created = UnixMillis(7);
    record.updated = UnixMillis(7);
    assert_eq!(ledger.token(record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(ledger.seed(record.id).await.unwrap().expose(), SEED);
    ledger.close().await;
    let again = open(dir.path()).await.unwrap();
    assert_eq!(again.token(record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(again.head().unwrap().0, 1);
    assert!(matches!(
        again.seed(TokenId::generate()).await,
        Err(LedgerError::NotFound("seed"))
    ));
}

#[tokio::test]
async fn a_commit_is_whole_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let record = fob("S-1");
    let advance = |to| Mutation::Advance {
        token: record.id,
        to,
        offset_ms: 1,
        seen: UnixMillis(1),
        source: None,
    };
    let refused = ledger
        .commit(event(1), vec![insert(&record, None), advance(5), advance(5)])
        .await;
    assert_eq!(refused, Err(LedgerError::Stale("watermark")));
    assert_eq!(ledger.token(record.id).await.unwrap(), None);
    assert_eq!(ledger.head().unwrap().0, 0);
    assert_eq!(
        ledger
            .commit(event(1), vec![insert(&record, None), advance(5), advance(6)])
            .await,
        Ok(1)
    );
}

#[tokio::test]
async fn of_two_advances_to_one_step_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = std::sync::Arc::new(open(dir.path()).await.unwrap());
    let record = fob("S-1");
    ledger.commit(event(1), vec![insert(&record, None)]).await.unwrap();
    for step in 1..=50 {
        let tries: Vec<_> = (0..2)
            .map(|_| {
                let ledger = ledger.clone();
                let advance = Mutation::Advance {
                    token: record.id,
                    to: step,
                    offset_ms: 0,
                    seen: UnixMillis(2),
                    source: Some(DriftSource::Test),
                };
                tokio::spawn(async move { ledger.commit(event(2), vec![advance]).await })
            })
            .collect();
        let mut won = 0;
        for one in tries {
            match one.await.unwrap() {
                Ok(_) => won += 1,
                Err(refusal) => assert_eq!(refusal, LedgerError::Stale("watermark")),
            }
        }
        assert_eq!(won, 1, "step {step}");
    }
}

#[tokio::test]
async fn unique_is_held_by_the_living_only() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let (first, second) = (fob("S-1"), fob("S-1"));
    ledger
        .commit(event(1), vec![insert(&first, Some("fob:S-1"))])
        .await
        .unwrap();
    let refused = ledger.commit(event(2), vec![insert(&second, Some("fob:S-1"))]).await;
    let (what, token) = ("serial", first.id);
    assert_eq!(refused, Err(LedgerError::Duplicate { what, token }));
    let revoke = |token| Mutation::Transition {
        token,
        from: &[TokenState::Pending, TokenState::Active],
        to: TokenState::Revoked,
        reason: Some(RevokeReason::Lost),
    };
    ledger
        .commit(event(3), vec![revoke(first.id), insert(&second, Some("fob:S-1"))])
        .await
        .unwrap();
    let refused = ledger.commit(event(4), vec![revoke(first.id)]).await;
    let needs = "pending or active".to_owned();
    let is = TokenState::Revoked;
    assert_eq!(refused, Err(LedgerError::WrongState { is, needs }));
    assert_eq!(
        ledger.commit(event(5), vec![revoke(TokenId::generate())]).await,
        Err(LedgerError::NotFound("token"))
    );
}

#[tokio::test]
async fn find_pages_by_every_filter() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..25 {
        let record = if number % 5 == 0 {
            key(&format!("cred-{number}"))
        } else {
            fob(&format!("S-{number}"))
        };
        ids.push(record.id);
        ledger.commit(event(number), vec![insert(&record, None)]).await.unwrap();
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = ledger.find(&Filter::default(), cursor.as_deref(), 7).await.unwrap();
        assert!(page.items.len() <= 7);
        found.extend(page.items.iter().map(|token| token.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    ids.sort();
    assert_eq!(found, ids);
    let count = async |filter: Filter| ledger.find(&filter, None, 100).await.unwrap().items.len();
    let none = Filter::default;
    assert_eq!(
        count(Filter {
            kind: Some(TokenKind::Fido2),
            ..none()
        })
        .await,
        5
    );
    assert_eq!(
        count(Filter {
            state: Some(TokenState::Pending),
            ..none()
        })
        .await,
        25
    );
    assert_eq!(
        count(Filter {
            subject: Some("ada".to_owned()),
            ..none()
        })
        .await,
        25
    );
    assert_eq!(
        count(Filter {
            subject: Some("bob".to_owned()),
            ..none()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            serial: Some("S-3".to_owned()),
            ..none()
        })
        .await,
        1
    );
    assert_eq!(
        count(Filter {
            body: Some("cred-10".to_owned()),
            ..none()
        })
        .await,
        1
    );
    let refused = ledger.find(&none(), Some("no cursor"), 5).await;
    assert_eq!(refused, Err(LedgerError::NotFound("cursor")));
}

#[tokio::test]
async fn obligations_come_oldest_first_and_are_discharged_once() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let record = fob("S-1");
    ledger.commit(event(1), vec![insert(&record, None)]).await.unwrap();
    let duties: Vec<_> = (0..5).map(|n| obligation(record.id, 100 - n)).collect();
    for duty in &duties {
        ledger
            .commit(event(2), vec![Mutation::Oblige(duty.clone())])
            .await
            .unwrap();
    }
    let page = ledger.obligations(OPEN, None, 3).await.unwrap();
    assert_eq!(page.items.iter().map(|o| o.created.0).collect::<Vec<_>>(), [96, 97, 98]);
    let rest = ledger.obligations(OPEN, page.next.as_deref(), 3).await.unwrap();
    assert_eq!(rest.items.iter().map(|o| o.created.0).collect::<Vec<_>>(), [99, 100]);
    assert_eq!(rest.next, None);
    let done = || Mutation::Discharge {
        id: duties[0].id,
        at: UnixMillis(9),
    };
    ledger.commit(event(3), vec![done()]).await.unwrap();
    assert_eq!(
        ledger.commit(event(3), vec![done()]).await,
        Err(LedgerError::Stale("obligation"))
    );
    assert_eq!(ledger.obligations(OPEN, None, 9).await.unwrap().items.len(), 4);
    assert_eq!(
        ledger
            .obligations(ObligationFilter::default(), None, 9)
            .await
            .unwrap()
            .items
            .len(),
        5
    );
    assert_eq!(
        ledger.obligation(duties[0].id).await.unwrap().unwrap().discharged,
        Some(UnixMillis(9))
    );
    let stray = Mutation::Oblige(obligation(TokenId::generate(), 1));
    assert_eq!(
        ledger.commit(event(4), vec![stray]).await,
        Err(LedgerError::NotFound("token"))
    );
}

#[tokio::test]
async fn intents_are_open_until_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let mut intent = intent(None);
    ledger
        .commit(event(1), vec![Mutation::Begin(intent.clone())])
        .await
        .unwrap();
    let again = ledger.commit(event(1), vec![Mutation::Begin(intent.clone())]).await;
    assert_eq!(again, Err(LedgerError::Stale("operation")));
    let phase = Mutation::Phase {
        operation: intent.operation,
        phase: "written".to_owned(),
        detail: None,
    };
    ledger.commit(event(2), vec![phase]).await.unwrap();
    intent.phase = "written".to_owned();
    assert_eq!(ledger.open_intents().await.unwrap(), [intent.clone()]);
    let end = || Mutation::End {
        operation: intent.operation,
        end: IntentEnd::Completed,
    };
    ledger.commit(event(3), vec![end()]).await.unwrap();
    assert_eq!(ledger.open_intents().await.unwrap(), []);
    assert_eq!(
        ledger.commit(event(4), vec![end()]).await,
        Err(LedgerError::NotFound("open operation"))
    );
    let entries = ledger.journal(1, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
    assert!(
        !entries[0].payload.to_string().contains("ada"),
        "the chain names nobody"
    );
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    assert!(matches!(open(dir.path()).await.err(), Some(LedgerError::Owned(_))));
    ledger.close().await;
    let again = open(dir.path()).await.unwrap();
    let closed = ledger.commit(event(1), vec![]).await;
    assert_eq!(closed, Err(LedgerError::Storage("the ledger is closed".to_owned())));
    again.commit(event(1), vec![]).await.unwrap();
}

#[tokio::test]
async fn commits_that_share_a_transaction_do_not_share_their_fate() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = std::sync::Arc::new(open(dir.path()).await.unwrap());
    let record = fob("S-1");
    ledger.commit(event(0), vec![insert(&record, None)]).await.unwrap();
    // All are in the queue before the writer runs: this runtime has one thread.
    let tries: Vec<_> = (1..=60)
        .map(|number: i64| {
            let ledger = ledger.clone();
            let good = Mutation::Fail { token: record.id };
            let bad = Mutation::Fail {
                token: TokenId::generate(),
            };
            let mutations = if number % 3 == 0 { vec![good, bad] } else { vec![good] };
            tokio::spawn(async move { (number, ledger.commit(event(number), mutations).await) })
        })
        .collect();
    let mut entries = Vec::new();
    for one in tries {
        match one.await.unwrap() {
            (number, Ok(seq)) => {
                assert_ne!(number % 3, 0);
                entries.push(seq);
            }
            (number, refused) => {
                assert_eq!(number % 3, 0);
                assert_eq!(refused, Err(LedgerError::NotFound("token")));
            }
        }
    }
    entries.sort();
    assert_eq!(entries, (2..=41).collect::<Vec<_>>());
    assert_eq!(ledger.token(record.id).await.unwrap().unwrap().failures, 40);
    assert_eq!(ledger.verify().await.unwrap().findings, []);
}

#[tokio::test]
async fn guesses_made_at_once_count_as_guesses_made_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    let token = fob("S-1");
    let id = token.id;
    ledger.commit(event(1), vec![insert(&token, None)]).await.unwrap();
    let below = |limit| Mutation::RequireFailuresBelow { token: id, limit };
    ledger.commit(event(2), vec![below(1)]).await.unwrap();
    ledger
        .commit(event(3), vec![Mutation::Fail { token: id }])
        .await
        .unwrap();
    let refused = ledger
        .commit(
            event(4),
            vec![
                below(1),
                Mutation::Seen {
                    token: id,
                    seen: UnixMillis(4),
                },
            ],
        )
        .await;
    assert_eq!(refused, Err(LedgerError::Stale("count of failures")));
    assert_eq!(
        ledger.token(id).await.unwrap().unwrap().failures,
        1,
        "nothing of it was written"
    );
    ledger
        .commit(event(5), vec![Mutation::Pardon { token: id }])
        .await
        .unwrap();
    ledger.commit(event(6), vec![below(1)]).await.unwrap();
}

fn list(commits: Vec<(Event, Vec<Mutation>)>) -> Commits {
    Box::new(commits.into_iter())
}

#[tokio::test]
async fn many_commits_stand_or_fall_together() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(dir.path()).await.unwrap();
    assert_eq!(ledger.commit_all(list(vec![])).await, Ok(0));
    let tokens: Vec<_> = (0..40).map(|n| fob(&format!("S-{n}"))).collect();
    let order = |at: usize, unique: usize| {
        let unique = format!("fob:{unique}");
        (event(1), vec![insert(&tokens[at], Some(&unique))])
    };
    let twice = (0..40).map(|at| order(at, at.min(30))).collect();
    assert_eq!(
        ledger.commit_all(list(twice)).await,
        Err(BatchFailure {
            at: 31,
            error: LedgerError::Duplicate {
                what: "serial",
                token: tokens[30].id
            }
        })
    );
    assert_eq!(ledger.find(&Filter::default(), None, 10).await.unwrap().items, []);
    assert_eq!(ledger.holder(&unique("fob:3")).await, Ok(None));
    assert_eq!(
        ledger.commit_all(list((0..40).map(|at| order(at, at)).collect())).await,
        Ok(40)
    );
    assert_eq!(ledger.holder(&unique("fob:3")).await, Ok(Some(tokens[3].id)));
    assert_eq!(ledger.commit(event(2), vec![]).await, Ok(41));
    let report = ledger.verify().await.unwrap();
    assert_eq!((report.findings, report.entries, report.tokens), (vec![], 41, 40));
    ledger.close().await;
    assert!(ledger.commit_all(list(vec![])).await.is_err());
}

/// Insertions by the hundred are found, refused and written as insertions one by one are.
#[tokio::test]
async fn a_delivery_is_what_its_commits_are_one_by_one() {
    let tokens: Vec<_> = (0..600)
        .map(|n| match n % 3 {
            0 => key(&format!("C-{n}")),
            _ => fob(&format!("S-{n}")),
        })
        .collect();
    let order = |n: usize| {
        let mut mutations = vec![insert(&tokens[n], Some(&format!("fob:{n}")))];
        // One in the middle that does more than insert.
        if n == 70 {
            mutations.push(Mutation::Fail { token: tokens[n].id });
        }
        (event(i64::try_from(n).unwrap()), mutations)
    };
    let (one_dir, all_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, all) = (open(one_dir.path()).await.unwrap(), open(all_dir.path()).await.unwrap());
    for n in 0..tokens.len() {
        let (event, mutations) = order(n);
        one.commit(event, mutations).await.unwrap();
    }
    assert_eq!(
        all.commit_all(list((0..tokens.len()).map(order).collect())).await,
        Ok(600)
    );
    let filter = Filter::default();
    assert_eq!(
        one.find(&filter, None, 1000).await.unwrap().items,
        all.find(&filter, None, 1000).await.unwrap().items
    );
    for token in &tokens {
        assert_eq!(all.seed(token.id).await.unwrap().expose(), SEED);
    }
    for ledger in [&one, &all] {
        let report = ledger.verify().await.unwrap();
        assert_eq!((report.findings, report.entries, report.tokens), (vec![], 600, 600));
    }
    let wanted: Vec<_> = [3, 1_000, 149, 70].map(|n| unique(&format!("fob:{n}"))).into();
    assert_eq!(
        all.holders(&wanted).await,
        Ok(vec![
            Some(tokens[3].id),
            None,
            Some(tokens[149].id),
            Some(tokens[70].id)
        ])
    );

    // Refused: in another round than the one that holds it, by an id, and after one that does more than insert.
    let again = |n: usize| (event(9), vec![insert(&fob("new"), Some(&format!("fob:{n}")))]);
    let fresh = |n: usize| (event(9), vec![insert(&fob("new"), Some(&format!("fob:new-{n}")))]);
    for at in [0, 255, 256, 540] {
        let mut orders: Vec<_> = (0..600).map(fresh).collect();
        orders[at] = again(5);
        let error = LedgerError::Duplicate {
            what: "serial",
            token: tokens[5].id,
        };
        assert_eq!(all.commit_all(list(orders)).await, Err(BatchFailure { at, error }));
        let mut orders: Vec<_> = (0..600).map(fresh).collect();
        orders[at] = (event(9), vec![insert(&tokens[7], None)]);
        let error = LedgerError::Duplicate {
            what: "id",
            token: tokens[7].id,
        };
        assert_eq!(all.commit_all(list(orders)).await, Err(BatchFailure { at, error }));
    }
    assert_eq!(all.head().unwrap().0, 600);
    assert_eq!(all.commit_all(list((0..600).map(fresh).collect())).await, Ok(1200));
    let report = all.verify().await.unwrap();
    assert_eq!((report.findings, report.entries, report.tokens), (vec![], 1200, 1200));
}
