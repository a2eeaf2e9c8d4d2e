//! Ring 1: codes of a person told to the shipped daemon, right and wrong ones; apps and recovery codes from their making to
//! their end.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::io::Read;
use std::process::Command;

use claviger::contract::proxy::{Record, Tokens1Proxy, Verify1Proxy};
use house::{End, Figures, House, fob, none, number, text};
use hw_fixtures::fob::Fob;
use hw_fixtures::oath::{Hash, totp};
use shim::Shim;
use zbus::OwnedObjectPath;

/// A second in the middle of a step.
const NOON: i64 = 1_800_000_015;
const HOUR: i64 = 3_600;
/// A code that none of the fobs here shows.
const WRONG: &str = "000000";

async fn house_with_a_clock() -> (House, Shim) {
    let mut house = House::unstarted(std::sync::Arc::new(bus::PrivateBus::start()), &Figures::default()).await;
    let shim = Shim::into(&mut house);
    shim.set_clock(NOON);
    house.restart().await;
    (house, shim)
}

async fn verifier(house: &House) -> Verify1Proxy<'static> {
    Verify1Proxy::builder(&house.client)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .expect("a proxy")
}

/// Accepted or not with the details, or the name of the error.
async fn verify(house: &House, subject: &str, code: &str) -> Result<(bool, Record), String> {
    match verifier(house).await.verify(subject, code, &none()).await {
        Ok(told) => Ok(told),
        Err(zbus::Error::MethodError(name, ..)) => Err(name.replace("org.claviger.Error.", "")),
        Err(other) => panic!("an error that is no reply: {other}"),
    }
}

/// The token that a right code was of.
async fn accepted(house: &House, subject: &str, code: &str) -> String {
    let (accepted, details) = verify(house, subject, code).await.expect("looked at");
    assert!(accepted, "a right code was not accepted: {details:?}");
    text(&details, "token")
}

/// Not accepted, and nothing is told of why.
async fn rejected(house: &House, subject: &str, code: &str) {
    let (accepted, details) = verify(house, subject, code).await.expect("looked at");
    assert!(!accepted, "accepted: {details:?}");
    assert!(details.is_empty(), "more than “no” was told: {details:?}");
}

/// The code was not looked at, for this reason.
async fn kept_out(house: &House, subject: &str, code: &str, why: &str) {
    assert_eq!(verify(house, subject, code).await.expect_err("kept out"), why);
}

async fn standing(house: &House, subject: &str) -> (String, i64, i64) {
    let told = verifier(house)
        .await
        .standing(subject, &none())
        .await
        .expect("a standing");
    let of_the_caller = told.get("callers").expect("callers");
    let callers = Vec::<Record>::try_from(of_the_caller.try_clone().expect("a value")).expect("records");
    let ours = callers.first();
    (
        ours.map_or("open".to_owned(), |caller| text(caller, "state")),
        ours.and_then(|caller| number(caller, "wait-s")).unwrap_or(0),
        number(&told, "failures").expect("failures"),
    )
}

async fn register(house: &House, fob: &Fob, subject: &str) -> String {
    text(&house.register_fob_at(fob, subject, NOON).await.done(), "token")
}

/// Runs an operation that hands out a secret through a pipe: its details and the secret.
async fn handed_out(
    house: &House,
    call: impl AsyncFnOnce(&Tokens1Proxy<'static>, zbus::Fd<'static>) -> zbus::Result<OwnedObjectPath>,
) -> (Record, String) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let end = house
        .run(async |tokens| call(tokens, zbus::Fd::from(std::os::fd::OwnedFd::from(writer))).await)
        .await;
    let mut secret = String::new();
    reader.read_to_string(&mut secret).expect("its end");
    (end.done(), secret)
}

async fn sheet(house: &House, subject: &str) -> (String, Vec<String>) {
    let (details, text_of_sheet) = handed_out(house, async |tokens, fd| {
        tokens.register_recovery_codes(subject, fd, &none()).await
    })
    .await;
    let codes = text_of_sheet.lines().map(str::to_owned).collect();
    (text(&details, "token"), codes)
}

/// So many wrong tries, each as soon as it is admitted.
async fn miss(house: &House, shim: &Shim, subject: &str, times: i64, now: &mut i64) {
    for _ in 0..times {
        let (_, wait_s, _) = standing(house, subject).await;
        *now += wait_s;
        shim.set_clock(*now);
        rejected(house, subject, WRONG).await;
    }
}

#[tokio::test]
async fn a_code_passes_once_whichever_token_it_is_of() {
    let (house, shim) = house_with_a_clock().await;
    let (one, two) = (fob("V-1", 1, 0.0), fob("V-2", 2, 20.0));
    let (first, second) = (
        register(&house, &one, "carol").await,
        register(&house, &two, "carol").await,
    );
    let now = NOON + 90;
    shim.set_clock(now);
    assert_eq!(accepted(&house, "carol", &one.code(now)).await, first);
    rejected(&house, "carol", &one.code(now)).await;
    house.test_code(&first, &one.code(now)).await.refused("CodeRejected");
    assert_eq!(accepted(&house, "carol", &two.code(now)).await, second);
    rejected(&house, "carol", &two.code(now)).await;
    // What a test used up no verification accepts, and somebody else's code is nobody's.
    let now = now + 60;
    shim.set_clock(now);
    house.test_code(&first, &one.code(now)).await.done();
    rejected(&house, "carol", &one.code(now)).await;
    rejected(&house, "dave", &two.code(now)).await;
    assert_eq!(accepted(&house, "carol", &two.code(now)).await, second);
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn every_verb_that_judges_a_code_draws_on_one_budget() {
    let (house, shim) = house_with_a_clock().await;
    let (one, two) = (fob("V-1", 1, 0.0), fob("V-2", 2, 0.0));
    let (first, second) = (
        register(&house, &one, "carol").await,
        register(&house, &two, "carol").await,
    );
    let mut now = NOON + 90;
    shim.set_clock(now);
    rejected(&house, "carol", WRONG).await;
    house.test_code(&first, WRONG).await.refused("CodeRejected");
    house.test_code(&second, WRONG).await.refused("CodeRejected");
    let wrong = [WRONG, "000001"];
    let previewed: End = house
        .run(async |tokens| tokens.preview_resync(&first, &wrong, &none()).await)
        .await;
    previewed.refused("CodeRejected");
    assert_eq!(standing(&house, "carol").await, ("waiting".to_owned(), 1, 4));
    // Whichever of the person's tokens, whichever verb, right or wrong: not now.
    for code in [WRONG, &one.code(now), &two.code(now)] {
        kept_out(&house, "carol", code, "TryLater").await;
    }
    house.test_code(&second, &two.code(now)).await.refused("TryLater");
    house.resync(&second, &wrong).await.refused("TryLater");
    // What was not looked at was not counted.
    assert_eq!(standing(&house, "carol").await.2, 4);
    now += 1;
    shim.set_clock(now);
    house.resync(&second, &wrong).await.refused("CodeRejected");
    assert_eq!(standing(&house, "carol").await, ("waiting".to_owned(), 2, 5));
    now += 2;
    shim.set_clock(now);
    // Nobody else waits.
    rejected(&house, "dave", WRONG).await;
    assert_eq!(accepted(&house, "carol", &two.code(now)).await, second);
    assert_eq!(standing(&house, "carol").await, ("open".to_owned(), 0, 0));
    // A text that is no code costs nothing.
    kept_out(&house, "carol", "no code", "InvalidArgument").await;
    assert_eq!(standing(&house, "carol").await.2, 0);
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_soft_lock_outlives_a_restart_and_a_clock_set_back_and_ends_by_itself() {
    let (mut house, shim) = house_with_a_clock().await;
    let fob = fob("V-1", 1, 0.0);
    let id = register(&house, &fob, "carol").await;
    let mut now = NOON + 90;
    shim.set_clock(now);
    miss(&house, &shim, "carol", 10, &mut now).await;
    assert_eq!(standing(&house, "carol").await, ("soft-locked".to_owned(), 900, 10));
    kept_out(&house, "carol", &fob.code(now), "SoftLocked").await;
    house.restart().await;
    kept_out(&house, "carol", &fob.code(now), "SoftLocked").await;
    shim.set_clock(now - 24 * HOUR);
    kept_out(&house, "carol", &fob.code(now), "SoftLocked").await;
    assert_eq!(
        standing(&house, "carol").await.1,
        900,
        "a day more would be a lock for a day"
    );
    shim.set_clock(now + 899);
    kept_out(&house, "carol", &fob.code(now + 899), "SoftLocked").await;
    now += 900;
    shim.set_clock(now);
    assert_eq!(accepted(&house, "carol", &fob.code(now)).await, id);
    assert_eq!(standing(&house, "carol").await, ("open".to_owned(), 0, 0));
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_hundred_wrong_tries_lock_until_somebody_unlocks() {
    let (mut house, shim) = house_with_a_clock().await;
    let (id, codes) = sheet(&house, "carol").await;
    let mut now = NOON;
    for _ in 0..100 {
        // A day later each time: the longest soft lock, and tries in hand have grown again.
        now += 24 * HOUR;
        shim.set_clock(now);
        rejected(&house, "carol", WRONG).await;
    }
    kept_out(&house, "carol", &codes[0], "Locked").await;
    shim.set_clock(now + 365 * 24 * HOUR);
    kept_out(&house, "carol", &codes[0], "Locked").await;
    house.restart().await;
    kept_out(&house, "carol", &codes[0], "Locked").await;
    verifier(&house).await.unlock("carol", &none()).await.expect("unlocked");
    assert_eq!(accepted(&house, "carol", &codes[0]).await, id);
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn an_app_is_active_by_its_first_code() {
    let (house, shim) = house_with_a_clock().await;
    let (details, uri) = handed_out(&house, async |tokens, fd| {
        tokens.register_app("carol", fd, &none()).await
    })
    .await;
    let id = text(&details, "token");
    assert!(uri.starts_with("otpauth://totp/Claviger:carol?"), "another URI");
    let secret = uri
        .split(['?', '&'])
        .find_map(|part| part.strip_prefix("secret="))
        .expect("a secret");
    let seed = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).expect("base32");
    assert_eq!(seed.len(), 20);
    let code = |now: i64| totp(Hash::Sha1, &seed, now, 30, 6);
    let theirs = Command::new("oathtool")
        .args(["--totp", "--base32", &format!("--now=@{NOON}"), secret])
        .output();
    match theirs {
        Ok(theirs) => assert_eq!(String::from_utf8_lossy(&theirs.stdout).trim_end(), code(NOON)),
        Err(_) => eprintln!("skipped: the code by oathtool, which is not installed"),
    }
    assert_eq!(house.state_of(&id).await, "pending");
    rejected(&house, "carol", &code(NOON)).await;
    house.test_code(&id, WRONG).await.refused("CodeRejected");
    assert_eq!(house.state_of(&id).await, "pending");
    house.test_code(&id, &code(NOON)).await.done();
    assert_eq!(house.state_of(&id).await, "active");
    rejected(&house, "carol", &code(NOON)).await;
    shim.set_clock(NOON + 30);
    assert_eq!(accepted(&house, "carol", &code(NOON + 30)).await, id);
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_recovery_code_is_good_once_and_a_sheet_until_the_next() {
    let (house, _shim) = house_with_a_clock().await;
    let (first, old) = sheet(&house, "carol").await;
    assert_eq!(old.len(), 10);
    for (used, code) in (1..).zip(&old[..3]) {
        let (accepted, details) = verify(&house, "carol", code).await.expect("looked at");
        assert!(accepted);
        assert_eq!(text(&details, "kind"), "recovery-codes");
        assert_eq!(number(&details, "recovery-left"), Some(10 - used));
        rejected(&house, "carol", code).await;
    }
    // Typed as people type: small letters, no groups.
    let typed = old[3].replace(['-', ' '], "").to_lowercase();
    assert_eq!(accepted(&house, "carol", &typed).await, first);
    // A slip is told as one, and costs no try.
    let slip: String = old[4]
        .chars()
        .enumerate()
        .map(|(at, symbol)| match (at, symbol) {
            (0, 'Z') => 'Y',
            (0, _) => 'Z',
            (_, other) => other,
        })
        .collect();
    kept_out(&house, "carol", &slip, "InvalidArgument").await;
    assert_eq!(standing(&house, "carol").await.2, 0);
    rejected(&house, "dave", &old[4]).await;

    let (second, new) = sheet(&house, "carol").await;
    assert_eq!(house.state_of(&first).await, "revoked");
    rejected(&house, "carol", &old[4]).await;
    assert_eq!(accepted(&house, "carol", &new[0]).await, second);
    house.revoke(&second).await.done();
    rejected(&house, "carol", &new[1]).await;
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn what_is_not_active_is_never_accepted() {
    let (house, shim) = house_with_a_clock().await;
    let now = NOON + 90;
    for (seed, fate) in (1..).zip(["suspended", "lost", "revoked"]) {
        let subject = format!("carol-{fate}");
        let fob = fob(&format!("V-{seed}"), seed, 0.0);
        shim.set_clock(NOON);
        let id = register(&house, &fob, &subject).await;
        shim.set_clock(now);
        match fate {
            "suspended" => house
                .run(async |tokens| tokens.suspend(&id, &none()).await)
                .await
                .done(),
            "lost" => house
                .run(async |tokens| tokens.report_lost(&id, &none()).await)
                .await
                .done(),
            // Done, but the fob is still to be collected.
            _ => house.revoke(&id).await.expect("obliged"),
        };
        assert_eq!(house.state_of(&id).await, fate);
        rejected(&house, &subject, &fob.code(now)).await;
        if fate == "suspended" {
            house.run(async |tokens| tokens.resume(&id, &none()).await).await.done();
            assert_eq!(
                accepted(&house, &subject, &fob.code(now)).await,
                id,
                "it was not used up"
            );
        }
    }
    house.assert_intact().await;
    house.assert_no_panic();
}

/// Counted are journal entries, which are commits, and calls of the daemon that write to its files. A right code, a wrong one and
/// one that was used already cost the same of both; a name that nobody has costs one commit, too, and the page of a token less.
/// HMACs are counted in `lifecycle/verify_tests.rs`.
#[tokio::test]
async fn every_answer_is_one_commit_and_as_many_writes() {
    let (house, shim) = house_with_a_clock().await;
    let fob = fob("V-1", 1, 0.0);
    register(&house, &fob, "carol").await;
    let now = NOON + 90;
    shim.set_clock(now);
    let entries = async || {
        let all = house.manager().await.read_journal(0, 1000, &none()).await;
        all.expect("entries").len()
    };
    let right = fob.code(now);
    let mut costs = std::collections::BTreeMap::new();
    for (what, subject, code) in [
        ("wrong", "carol", WRONG),
        ("right", "carol", right.as_str()),
        ("used", "carol", right.as_str()),
        ("nobody's", "nobody", right.as_str()),
        ("nobody's again", "nobody", WRONG),
    ] {
        let before = entries().await;
        shim.count_from_here();
        let (accepted, _) = verify(&house, subject, code).await.expect("looked at");
        let writes = shim.counted();
        assert_eq!(accepted, what == "right", "{what}");
        assert_eq!(entries().await - before, 1, "{what}");
        costs.insert(what, writes);
    }
    println!("writes to files: {costs:?}");
    assert!(costs["wrong"] > 0, "nothing was counted");
    assert_eq!((costs["right"], costs["used"]), (costs["wrong"], costs["wrong"]));
    assert_eq!(costs["nobody's"], costs["nobody's again"]);
    assert!(costs["nobody's"] <= costs["wrong"]);
}
