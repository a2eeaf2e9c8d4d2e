//! Ring 1: one token takes the place of another, told as stories to the shipped daemon: whatever ends it on the way, the person has
//! one of the two, never neither by our doing, and never both when it is said to be done.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Command;

use claviger::contract::proxy::{Case1Proxy, Cases1Proxy, Options, Record, Tokens1Proxy};
use house::{End, Figures, House, PIN, fob, none, path_of, secret, text, token};
use hw_fixtures::oath::{Hash, totp};
use shim::{Moment, Shim};
use zbus::{Fd, OwnedObjectPath, Variant};

/// A Friday morning, in the middle of a time step.
const NOON: i64 = 1_800_000_015;
const ALICE: &str = "alice";

/// An app on a phone, as the phone knows it.
struct App {
    id: String,
    seed: Vec<u8>,
}

impl App {
    fn code(&self, now: i64) -> String {
        totp(Hash::Sha1, &self.seed, now, 30, 6)
    }
}

/// A house whose clock the test sets. With a policy, nothing is changed without a case.
async fn house(policy: bool) -> (House, Shim) {
    let bus = std::sync::Arc::new(bus::PrivateBus::start());
    let mut house = House::unstarted(bus, &Figures::default()).await;
    let shim = Shim::into(&mut house);
    house.with_environment("TZ", "UTC");
    shim.set_clock(NOON);
    if policy {
        let file = house.path().join("policy.toml");
        std::fs::write(&file, include_str!("../policy/policy.toml")).expect("a policy");
        let more = format!("[authority]\npolicy = {:?}\nrole = \"staff\"\n", file.display());
        house.configure(&Figures {
            more,
            ..Figures::default()
        });
    }
    house.restart().await;
    (house, shim)
}

fn with<'o>(pairs: &[(&'static str, &'o str)]) -> Options<'o> {
    pairs.iter().map(|(key, value)| (*key, Variant::from(*value))).collect()
}

/// Registers an app, and reads the secret off what is handed out.
async fn register_app(house: &House, subject: &str, options: &Options<'_>) -> Result<App, End> {
    let path = house.path().join("letter");
    let file = File::create(&path).expect("a file");
    let end = house
        .run(async |tokens: &Tokens1Proxy<'static>| {
            tokens
                .register_app(subject, Fd::from(OwnedFd::from(file)), options)
                .await
        })
        .await;
    if !end.is_done() {
        return Err(end);
    }
    let mut uri = String::new();
    File::open(&path)
        .and_then(|mut file| file.read_to_string(&mut uri))
        .expect("a letter");
    let secret = uri.split(['?', '&']).find_map(|part| part.strip_prefix("secret="));
    let seed = data_encoding::BASE32_NOPAD
        .decode(secret.expect("a secret").trim().as_bytes())
        .expect("base32");
    Ok(App {
        id: text(&end.done(), "token"),
        seed,
    })
}

async fn test(house: &House, app: &App, now: i64, options: &[(&'static str, &str)]) -> End {
    let code = app.code(now);
    let mut given = with(options);
    given.insert("code", Variant::from(code));
    house.run(async |tokens| tokens.test(&app.id, &given).await).await
}

/// An app that is in use, where no policy asks for a case.
async fn app_in_use(house: &House, subject: &str) -> App {
    let Ok(app) = register_app(house, subject, &none()).await else {
        panic!("not registered")
    };
    test(house, &app, NOON, &[]).await.done();
    app
}

async fn replace(house: &House, id: &str, words: &[&'static str]) -> End {
    let given: Options<'_> = words.iter().map(|word| (*word, Variant::Bool(true))).collect();
    house.run(async |tokens| tokens.replace(id, &given).await).await
}

async fn reason_of(house: &House, id: &str) -> String {
    text(&house.get(id).await, "revoke-reason")
}

/// A case, attached to for as long as the descriptor lives.
struct InCase {
    id: String,
    case: Case1Proxy<'static>,
    _session: zbus::OwnedFd,
}

impl InCase {
    async fn open(house: &House, kind: &str, channel: &str, subject: Option<&str>) -> Self {
        let cases = Cases1Proxy::new(&house.client).await.expect("a proxy");
        let mut given = with(&[("reason", "a story")]);
        if let Some(subject) = subject {
            given.insert("subject", Variant::from(subject));
        } else {
            given.clear();
        }
        let (id, path) = cases.open(kind, channel, &given).await.expect("a case");
        Self::attach(house, id, path).await
    }

    async fn attach(house: &House, id: String, path: OwnedObjectPath) -> Self {
        let case = Case1Proxy::builder(&house.client)
            .path(path)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .expect("a proxy");
        let (session, _) = case.attach(&none()).await.expect("a session");
        Self {
            id,
            case,
            _session: session,
        }
    }

    /// The same case, after a restart of the daemon ended the session.
    async fn again(self, house: &House) -> Self {
        let path = OwnedObjectPath::from(self.case.inner().path().to_owned());
        Self::attach(house, self.id, path).await
    }

    async fn shown(&self, methods: &[&str]) {
        for method in methods {
            let added = self.case.add_evidence(method, "a story", &none()).await;
            added.expect("evidence");
        }
    }

    async fn described(&self) -> Record {
        self.case.describe(&none()).await.expect("the case")
    }

    async fn close(&self) -> Result<(), zbus::Error> {
        self.case.close("done", &["works", "told", "settled"], &none()).await
    }
}

fn claviger(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_claviger"))
        .args(["--bus", house.bus().address()])
        .args(arguments)
        .output()
        .expect("the client");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("$ claviger {}\n{said}", arguments.join(" "));
    (output.status.code().unwrap_or(-1), said)
}

#[tokio::test]
async fn a_phone_takes_the_place_of_a_phone() {
    let (mut house, shim) = house(true).await;
    let bench = InCase::open(&house, "bench", "desk", None).await;
    let Ok(old) = register_app(&house, ALICE, &with(&[("case", &bench.id)])).await else {
        panic!("not registered")
    };
    test(&house, &old, NOON, &[("case", &bench.id)]).await.done();

    let mut now = NOON + 60;
    shim.set_clock(now);
    let case = InCase::open(&house, "replacement", "desk", Some(ALICE)).await;
    let (code, said) = claviger(&house, &["--case", &case.id, "replace", &old.id]);
    assert!(code != 0, "nobody was believed yet: {said}");
    case.shown(&["in-person", "call-back"]).await;
    let (code, said) = claviger(&house, &["--case", &case.id, "replace", &old.id]);
    assert!(code == 0 && said.contains("--replaces"), "{said}");
    assert_eq!(
        house.state_of(&old.id).await,
        "active",
        "the person has it until the other works"
    );

    // Half done is not done, whatever somebody answers.
    let open = case.close().await.expect_err("half done").to_string();
    assert!(open.contains("ReplacementOpen") && open.contains(&old.id), "{open}");
    // A case about somebody else's matter cannot slip in.
    let words = [("case", case.id.as_str()), ("replaces", old.id.as_str())];
    let Ok(new) = register_app(&house, ALICE, &with(&words)).await else {
        panic!("not registered")
    };
    assert_eq!(house.state_of(&new.id).await, "pending");

    // `kill -9` between the registration of the new one and the death of the old one.
    house.kill();
    house.restart().await;
    let case = case.again(&house).await;
    let (_, said) = claviger(&house, &["case", "show", &case.id]);
    assert!(said.contains("Half replaced") && said.contains(&new.id), "{said}");
    assert!(case.close().await.is_err(), "half done still");
    now += 30;
    shim.set_clock(now);
    test(&house, &old, now, &[("case", &case.id)]).await.done();

    test(&house, &new, NOON, &[("case", &case.id)])
        .await
        .refused("CodeRejected");
    assert_eq!(house.state_of(&old.id).await, "active", "a wrong code replaces nothing");
    now += 30;
    shim.set_clock(now);
    let done = test(&house, &new, now, &[("case", &case.id)]).await.done();
    assert_eq!(text(&done, "replaced"), old.id);
    assert_eq!(house.state_of(&new.id).await, "active");
    assert_eq!(house.state_of(&old.id).await, "revoked");
    assert_eq!(reason_of(&house, &old.id).await, "replaced");

    let told = case.described().await;
    assert!(!told.contains_key("replacing"), "{told:?}");
    let (_, said) = claviger(&house, &["case", "show", &case.id]);
    assert!(said.contains("has token") && said.contains("in the place of"), "{said}");
    case.close().await.expect("done");
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn a_lost_key_is_dead_when_another_works() {
    let (house, _shim) = house(false).await;
    let lost = token("nitrokey-3", "lost", 1);
    let plugged = house.plug(&lost);
    let old = text(&house.register_key(&plugged, ALICE).await.done(), "token");
    drop(plugged);

    replace(&house, &old, &["lost"]).await.done();
    assert_eq!(house.state_of(&old).await, "lost", "out of use at once");
    assert!(house.obligations().await.is_empty(), "and not dead");
    // Said twice it is the same.
    replace(&house, &old, &["lost"]).await.done();

    let other = token("nitrokey-3", "other", 2);
    let plugged = house.plug(&other);
    let register = async |subject: &str| {
        let path = path_of(&plugged);
        let options = with(&[("replaces", &old)]);
        house
            .run(async |tokens| {
                tokens
                    .register_fido2(&path, subject, secret(PIN.as_bytes()).into(), &options)
                    .await
            })
            .await
    };
    register("bob").await.refused("InvalidArgument");
    assert_eq!(house.all().await.len(), 1, "nothing was begun for another person");
    let done = register(ALICE).await.done();
    assert_eq!(text(&done, "replaced"), old);
    assert_eq!(house.state_of(&old).await, "revoked");
    assert_eq!(reason_of(&house, &old).await, "replaced");
    let owed = house.obligations().await;
    assert_eq!(owed.len(), 1, "{owed:?}");
    assert_eq!(text(&owed[0], "token"), old);
    assert_eq!(text(&done, "obligation"), text(&owed[0], "id"));
    drop(plugged);

    // Found again it owes, as every revoked key does.
    let plugged = house.plug(&lost);
    house
        .discharge_on(&text(&owed[0], "id"), &plugged, Some(PIN))
        .await
        .done();
    assert_eq!(lost.with_authenticator(|key| key.resident_count()), Some(0));
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn every_kind_takes_the_place_of_every_other() {
    let (house, shim) = house(false).await;
    let key = token("nitrokey-3", "key", 1);
    let plugged = house.plug(&key);
    let key = text(&house.register_key(&plugged, ALICE).await.done(), "token");
    drop(plugged);

    let card = token("oath-card", "card", 2);
    let plugged = house.plug(&card);
    replace(&house, &key, &[]).await.done();
    let path = path_of(&plugged);
    let options = with(&[("replaces", &key)]);
    let done = house
        .run(async |tokens| tokens.register_oath_card(&path, ALICE, &options).await)
        .await
        .done();
    let card = text(&done, "token");
    assert_eq!(text(&done, "replaced"), key);
    drop(plugged);

    // Active from its first commit on: link and death are in that one.
    let fob = fob("R-1", 3, 0.0);
    replace(&house, &card, &[]).await.done();
    let codes = [fob.code(NOON - 30), fob.code(NOON)];
    let codes = [codes[0].as_str(), codes[1].as_str()];
    let options = with(&[("replaces", &card), ("encoding", "raw")]);
    let done = house
        .run(async |tokens| {
            tokens
                .register_fob(ALICE, &fob.serial, secret(&fob.seed).into(), &codes, &options)
                .await
        })
        .await
        .done();
    let fob = text(&done, "token");
    assert_eq!(text(&done, "replaced"), card);

    replace(&house, &fob, &[]).await.done();
    let Ok(app) = register_app(&house, ALICE, &with(&[("replaces", &fob)])).await else {
        panic!("not registered")
    };
    // One at a time, and the one that is to take the place can be given up for another.
    let Err(end) = register_app(&house, ALICE, &with(&[("replaces", &fob)])).await else {
        panic!("two for one")
    };
    end.refused("InvalidArgument");
    house.revoke(&app.id).await.done();
    let Ok(app) = register_app(&house, ALICE, &with(&[("replaces", &fob)])).await else {
        panic!("not registered")
    };
    shim.set_clock(NOON + 30);
    let done = test(&house, &app, NOON + 30, &[]).await.done();
    assert_eq!(text(&done, "replaced"), fob);
    for dead in [&key, &card, &fob] {
        assert_eq!(reason_of(&house, dead).await, "replaced");
    }
    assert_eq!(
        house.obligations().await.len(),
        3,
        "key, card and fob are owed something"
    );

    // What is simulated stands for nothing real.
    replace(&house, &app.id, &[]).await.done();
    let other = token("nitrokey-3", "other", 4);
    let plugged = house.plug(&other);
    let path = path_of(&plugged);
    let options = with(&[("replaces", &app.id)]);
    let end = house
        .run(async |tokens| {
            tokens
                .register_fido2(&path, ALICE, secret(PIN.as_bytes()).into(), &options)
                .await
        })
        .await;
    assert!(end.refused("InvalidArgument").contains("simulated"));
    replace(&house, &app.id, &["withdraw"]).await.done();
    replace(&house, &app.id, &["withdraw"])
        .await
        .refused("NotBeingReplaced");
    assert_eq!(house.state_of(&app.id).await, "active");
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn killed_at_every_write_there_is_one_of_two() {
    let (mut house, shim) = house(false).await;
    let mut old = app_in_use(&house, ALICE).await;
    let mut now = NOON;
    let (mut before, mut after) = (0, 0);
    for nth in 1.. {
        assert!(nth < 60, "the test never came to its end");
        replace(&house, &old.id, &["lost"]).await.done();
        let Ok(new) = register_app(&house, ALICE, &with(&[("replaces", &old.id)])).await else {
            panic!("not registered")
        };
        now += 60;
        shim.set_clock(now);
        shim.arm(nth, Moment::After);
        let end = test(&house, &new, now, &[]).await;
        let died = !end.is_done();
        shim.disarm();
        if died {
            assert!(house.was_killed(), "{end}");
        }
        house.restart().await;
        let states = (house.state_of(&old.id).await, house.state_of(&new.id).await);
        match (states.0.as_str(), states.1.as_str()) {
            ("lost", "pending") => {
                assert!(died, "what was answered is done");
                before += 1;
                // It goes on from there.
                now += 60;
                shim.set_clock(now);
                let done = test(&house, &new, now, &[]).await.done();
                assert_eq!(text(&done, "replaced"), old.id);
            }
            ("revoked", "active") => after += 1,
            other => panic!("{other:?} after write {nth}"),
        }
        assert_eq!(reason_of(&house, &old.id).await, "replaced");
        house.assert_intact().await;
        old = new;
        if !died {
            break;
        }
    }
    println!("killed {before} times before and {after} times after the commit");
    assert!(before > 0 && after > 0);
    house.assert_no_panic();
}
