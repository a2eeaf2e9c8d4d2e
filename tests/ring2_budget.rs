//! Ring 2: the budget of wrong tries between callers that are several people to the kernel, each with a uid of their own, all
//! authorised by the real polkitd (docs/adr/0007-budget-of-wrong-tries.md).
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/host/mod.rs"]
mod host;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use claviger::contract::VERIFY_PATH;
use claviger::contract::proxy::Record;
use host::daemon::Daemon;
use host::people::{Refused, call};
use host::{Host, Person};
use house::{fob, number, text};
use hw_fixtures::fob::Fob;
use shim::{Shim, library};
use zbus::{Connection, Variant};

/// A second in the middle of a fob's step.
const NOON: i64 = 1_800_000_015;
const WRONG: &str = "000000";
/// Longer than any wait but a soft lock.
const LONG_ENOUGH: i64 = 64;

/// A clock that the test sets, for a daemon in system mode.
fn daemon(host: &Host) -> (Daemon, Shim) {
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    };
    let (page, preloaded) = (host.dir().join("page"), host.dir().join("daemon_shim.so"));
    let shim = Shim::on(&page);
    open(&page, 0o666);
    fs::copy(library(), &preloaded).expect("a copy");
    open(&preloaded, 0o755);
    shim.set_clock(NOON);
    let environment = [
        ("LD_PRELOAD", preloaded),
        ("CLAVIGER_SHIM_PAGE", page),
        ("CLAVIGER_SHIM_STATE", host.dir().join("state")),
    ];
    let environment = environment.map(|(name, path)| (name.to_owned(), path.display().to_string()));
    let daemon = Daemon::start(host, "[devices]\nhid = false\ncards = false\n", &environment);
    (daemon, shim)
}

fn register(host: &Host, fob: &Fob, subject: &str) {
    let seed = hw_fixtures::crypto::to_hex(&fob.seed);
    let (first, second) = (fob.code(NOON - 30), fob.code(NOON));
    let words = ["register", "fob", subject, &first, &second, "--serial", &fob.serial];
    let seeded = [&words[..], &["--encoding", "hex", "--seed-stdin"]].concat();
    host.claviger(Person::Allowed, &seeded, &seed).done();
}

/// Accepted or not, or the name of the error.
async fn verify(caller: &Connection, subject: &str, code: &str) -> Result<bool, String> {
    let options = HashMap::<&str, Variant<'_>>::new();
    let target = (VERIFY_PATH, "org.claviger.Verify1", "Verify");
    match call(caller, target, Some(&(subject, code, options)), false).await {
        Ok(reply) => Ok(reply.body().deserialize::<(bool, Record)>().expect("its body").0),
        Err(Refused { name, .. }) => Err(name.replace("org.claviger.Error.", "")),
    }
}

/// Uids that tried, with how each stands.
async fn callers(asker: &Connection, subject: &str) -> Vec<(i64, String, i64)> {
    let options = HashMap::<&str, Variant<'_>>::new();
    let target = (VERIFY_PATH, "org.claviger.Verify1", "Standing");
    let reply = call(asker, target, Some(&(subject, options)), false)
        .await
        .expect("a standing");
    let told: Record = reply.body().deserialize().expect("its body");
    let callers = told.get("callers").expect("callers").try_clone().expect("a value");
    let callers = Vec::<Record>::try_from(callers).expect("records");
    let told = |caller: &Record| {
        (
            number(caller, "uid").expect("a uid"),
            text(caller, "state"),
            number(caller, "failures").expect("failures"),
        )
    };
    callers.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_uid_guesses_is_kept_apart_from_what_another_types() {
    let Some(host) = Host::open(&[]).await else { return };
    let (_daemon, shim) = daemon(&host);
    let (of_ada, of_bob) = (fob("B-1", 1, 0.0), fob("B-2", 2, 0.0));
    register(&host, &of_ada, "ada");
    register(&host, &of_bob, "bob");
    let desk = host.connect(Person::HelpDesk).await;
    let other = host.connect(Person::Allowed).await;
    let (guesser, second) = (&desk.connection, &other.connection);
    // A log-in program runs as root.
    let login = &host.root;
    let mut now = NOON + 90;
    shim.set_clock(now);
    let mut later = |seconds: i64| {
        now += seconds;
        shim.set_clock(now);
        now
    };

    // One caller guesses until he is locked out of ada's account, by a lock that is his alone.
    for _ in 0..10 {
        later(LONG_ENOUGH);
        assert_eq!(verify(guesser, "ada", WRONG).await, Ok(false));
    }
    let at = later(LONG_ENOUGH);
    let right = of_ada.code(at);
    assert_eq!(verify(guesser, "ada", &right).await, Err("SoftLocked".to_owned()));
    assert_eq!(
        verify(login, "ada", &right).await,
        Ok(true),
        "nobody else is locked out"
    );
    // Her pass is not his, at her account; at bob's he is as free as anybody who never tried there.
    let at = later(LONG_ENOUGH);
    assert_eq!(
        verify(guesser, "ada", &of_ada.code(at)).await,
        Err("SoftLocked".to_owned())
    );
    assert_eq!(verify(guesser, "bob", WRONG).await, Ok(false));
    assert_eq!(
        callers(login, "bob").await,
        [(i64::from(Person::HelpDesk.uid()), "open".to_owned(), 1)]
    );
    // A restart or another connection makes nobody another caller.
    let again = host.connect(Person::HelpDesk).await;
    assert_eq!(
        verify(&again.connection, "ada", WRONG).await,
        Err("SoftLocked".to_owned())
    );

    // He goes on across accounts: from his twentieth wrong try in a row on he is slowed at every name, and he alone.
    for person in 0..9 {
        assert_eq!(verify(guesser, &format!("person-{person}"), WRONG).await, Ok(false));
    }
    assert_eq!(verify(guesser, "person-9", WRONG).await, Err("TryLater".to_owned()));
    assert_eq!(
        verify(guesser, "bob", &of_bob.code(at)).await,
        Err("TryLater".to_owned())
    );
    assert_eq!(verify(second, "person-9", WRONG).await, Ok(false));
    assert_eq!(verify(login, "bob", &of_bob.code(at)).await, Ok(true));
    later(LONG_ENOUGH);
    assert_eq!(
        verify(guesser, "person-9", WRONG).await,
        Ok(false),
        "slowed, not shut out"
    );

    // Two callers together lock an account for all; both are named, and somebody who may lifts it.
    for caller in [guesser, second] {
        for _ in 0..10 {
            later(LONG_ENOUGH);
            assert_eq!(verify(caller, "eve", WRONG).await, Ok(false));
        }
    }
    assert_eq!(verify(login, "eve", WRONG).await, Err("SoftLocked".to_owned()));
    let mut named = callers(login, "eve").await;
    named.sort();
    let locked = |person: Person| (i64::from(person.uid()), "soft-locked".to_owned(), 10);
    assert_eq!(named, [locked(Person::HelpDesk), locked(Person::Allowed)]);
    host.claviger(Person::Allowed, &["unlock", "eve"], "").done();
    assert_eq!(verify(login, "eve", WRONG).await, Ok(false));
    let journal = host.claviger(Person::Allowed, &["audit", "verify"], "").done();
    assert_eq!(journal.said["intact"], true, "{}", journal.said);
}
