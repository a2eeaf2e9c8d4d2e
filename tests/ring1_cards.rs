//! Ring 1: OATH applets of every make and fobs that are set over NFC, told as stories to the shipped daemon.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;
#[path = "harness/shim.rs"]
mod shim;

use claviger::contract::proxy::{Options, Record};
use house::{End, Figures, House, none, number, path_of, presence, secret, text, token};
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};
use shim::Shim;
use zbus::Variant;

const T0: i64 = 1_800_000_015;

/// A house, a fob in its reader, and a clock that stands still for both.
struct Bench {
    house: House,
    shim: Shim,
    fob: Token,
    plugged: Option<Plugged>,
    now: i64,
}

impl Bench {
    async fn with(profile: &str) -> Self {
        let bus = std::sync::Arc::new(bus::PrivateBus::start());
        let mut house = House::unstarted(bus, &Figures::default()).await;
        let shim = Shim::into(&mut house);
        shim.set_clock(T0);
        house.restart().await;
        let setup = TokenSetup {
            seed: Some(7),
            clock_unix_s: Some(T0),
            ..TokenSetup::named("fob")
        };
        let fob = Token::of_profile(profile, setup).expect("a fob");
        let plugged = Some(house.plug(&fob));
        Self {
            house,
            shim,
            fob,
            plugged,
            now: T0,
        }
    }

    fn at(&self) -> &Plugged {
        self.plugged.as_ref().expect("in its reader")
    }

    /// Time passes for the daemon and for the fob.
    fn pass(&mut self, seconds: i64) {
        self.now += seconds;
        self.shim.set_clock(self.now);
        self.move_clock(seconds);
    }

    /// The fob's clock alone moves.
    fn move_clock(&self, seconds: i64) {
        self.fob.with_nfc_fob(|nfc| {
            let shown = nfc.fob().shows(T0);
            nfc.fob_mut().set_clock(shown + seconds, T0);
        });
    }

    /// What its window shows.
    fn code(&self) -> String {
        self.fob.with_nfc_fob(|nfc| nfc.fob().code(T0)).expect("a fob")
    }

    async fn register(&self) -> End {
        let path = path_of(self.at());
        self.house
            .run(async |tokens| tokens.register_nfc_fob(&path, "erin", &none()).await)
            .await
    }

    async fn set_clock(&self, id: &str, reseed: bool) -> End {
        let options = Options::from([("reseed", Variant::Bool(reseed))]);
        self.house
            .run(async |tokens| tokens.set_clock(id, &options).await)
            .await
    }

    async fn read_clock(&self, id: &str, beyond_bound: bool) -> End {
        let options = Options::from([("beyond-bound", Variant::Bool(beyond_bound))]);
        self.house
            .run(async |tokens| tokens.resync(id, &[], &options).await)
            .await
    }
}

#[tokio::test]
async fn a_fob_over_nfc_from_the_shelf_to_the_bin() {
    let mut bench = Bench::with("token2-c301").await;
    bench.move_clock(-540);
    let told = bench.house.device(bench.at()).await.describe(&none()).await.unwrap();
    let clock: serde_json::Value = serde_json::from_str(&text(&told, "clock")).expect("JSON");
    assert_eq!(clock["model"], "Token2 C301-i");
    assert_eq!(clock["clockWipesSeed"], true);
    let off = clock["offsetSeconds"].as_i64().expect("a number");
    assert!(
        (-541..=-539).contains(&off),
        "nine minutes slow, with no key and no code: {off}"
    );
    assert!(text(&told, "serial").starts_with("8659610"));

    let made = bench.register().await.done();
    let id = text(&made, "token");
    assert!(number(&made, "offset-s").is_some_and(|s| s.abs() <= 1));
    let record = bench.house.get(&id).await;
    assert_eq!(
        (text(&record, "kind"), text(&record, "state")),
        ("nfc-fob".into(), "pending".into())
    );
    assert_eq!(text(&record, "serial"), text(&told, "serial"));
    // The same fob a second time.
    bench.register().await.refused("Duplicate");
    let wrong = if bench.code() == "000000" { "000001" } else { "000000" };
    bench.house.test_code(&id, wrong).await.refused("CodeRejected");
    bench.house.test_code(&id, &bench.code()).await.done();
    assert_eq!(bench.house.state_of(&id).await, "active");
    bench.house.test_code(&id, &bench.code()).await.refused("CodeRejected");

    // A year on, twenty seconds slow: read without a code, and the code shown then passes.
    bench.pass(365 * 86_400);
    bench.move_clock(-20);
    let read = bench.read_clock(&id, false).await.done();
    assert!(
        number(&read, "offset-s").is_some_and(|s| (-21..=-19).contains(&s)),
        "{read:?}"
    );
    bench.house.test_code(&id, &bench.code()).await.done();
    // A clock that somebody moved is not drift.
    bench.move_clock(7_200);
    bench.read_clock(&id, false).await.refused("OffsetImplausible");
    bench.read_clock(&id, true).await.done();

    // Setting it takes the seed with it, so nothing is done before that is said.
    let before = bench.code();
    bench.set_clock(&id, false).await.refused("ClockWipesSeed");
    assert_eq!(bench.code(), before, "untouched");
    assert_eq!(bench.house.state_of(&id).await, "active");
    bench.pass(60);
    bench.set_clock(&id, true).await.done();
    assert_eq!(bench.house.state_of(&id).await, "pending");
    bench.pass(7_200);
    bench.house.test_code(&id, &bench.code()).await.done();
    assert_eq!(bench.house.state_of(&id).await, "active");

    // Revoked with the fob in its reader: what it shows from now on is nobody's.
    bench.pass(60);
    let before = bench.code();
    bench.house.revoke_on(&id, bench.at(), None).await.done();
    assert_ne!(bench.code(), before, "its seed was overwritten");
    let owed = bench.house.obligations().await;
    assert!(owed.is_empty(), "{owed:?}");
    bench.house.assert_intact().await;
    bench.house.assert_no_panic();
}

#[tokio::test]
async fn a_fob_that_keeps_its_seed_is_set_and_stays_in_use() {
    let mut bench = Bench::with("token2-c302").await;
    let id = text(&bench.register().await.done(), "token");
    bench.house.test_code(&id, &bench.code()).await.done();
    bench.pass(90);
    bench.move_clock(-400);
    let set = bench.set_clock(&id, false).await.done();
    assert!(number(&set, "offset-s").is_some_and(|s| s.abs() <= 1), "{set:?}");
    assert_eq!(bench.house.state_of(&id).await, "active");
    bench.house.test_code(&id, &bench.code()).await.done();
    bench.house.assert_intact().await;
}

#[tokio::test]
async fn a_fob_that_refuses_the_key_is_asked_once() {
    let bench = Bench::with("token2-miniotp-2").await;
    // Somebody else has tried wrong keys until it locked itself.
    bench.fob.with_nfc_fob(|nfc| {
        for _ in 0..6 {
            nfc.command(&[0x80, 0x4B, 8, 0, 0], 0, T0);
            let wrong = [&[0x80, 0xCE, 0, 0, 16][..], &[9; 16]].concat();
            nfc.command(&wrong, 0, T0);
        }
        assert!(nfc.is_locked());
    });
    let before = bench.code();
    let frames = || bench.fob.frames().len();
    bench.register().await.refused("KeyRefused");
    let once = frames();
    bench.register().await.refused("KeyRefused");
    assert!(frames() - once < once, "the second time it was only looked at");
    assert_eq!(bench.code(), before, "nothing was written");
    let owed = bench.house.obligations().await;
    assert!(owed.is_empty(), "{owed:?}");
    bench.house.assert_intact().await;
}

#[tokio::test]
async fn a_fob_that_was_away_when_it_was_revoked() {
    let mut bench = Bench::with("token2-c301").await;
    let id = text(&bench.register().await.done(), "token");
    bench.house.test_code(&id, &bench.code()).await.done();
    bench.plugged = None;
    bench.house.revoke(&id).await.expect("obliged");
    let owed = bench.house.obligations().await;
    assert_eq!(owed.len(), 1);
    assert_eq!(text(&owed[0], "duty"), "overwrite-seed");
    // Another fob of the make does not settle it.
    let other = TokenSetup {
        seed: Some(8),
        clock_unix_s: Some(T0),
        ..TokenSetup::named("other")
    };
    let other = Token::of_profile("token2-c301", other).expect("a fob");
    let stranger = bench.house.plug(&other);
    let obligation = text(&owed[0], "id");
    bench
        .house
        .discharge_on(&obligation, &stranger, None)
        .await
        .refused("DeviceMismatch");
    drop(stranger);
    let before = bench.code();
    bench.plugged = Some(bench.house.plug(&bench.fob));
    bench.house.discharge_on(&obligation, bench.at(), None).await.done();
    assert_ne!(bench.code(), before);
    bench.house.assert_intact().await;
}

/// What an applet can do; the others refuse with `Unsupported`.
struct Make {
    profile: &'static str,
    renames: bool,
    resets: bool,
    password: bool,
}

const MAKES: [Make; 7] = [
    make("yubikey-neo", false, true, true),
    make("yubikey-4", false, true, true),
    make("yubikey-5", true, true, true),
    make("yubikey-5-7", true, true, true),
    make("nitrokey-3-secrets", false, true, false),
    make("canokey", true, false, true),
    make("solo-2-oath", false, true, true),
];

const fn make(profile: &'static str, renames: bool, resets: bool, password: bool) -> Make {
    Make {
        profile,
        renames,
        resets,
        password,
    }
}

fn with_password(password: &str) -> Options<'static> {
    Options::from([("password", Variant::Fd(zbus::Fd::from(secret(password.as_bytes()))))])
}

async fn names(house: &House, plugged: &Plugged, options: &Options<'_>) -> Vec<Record> {
    let device = house.device(plugged).await;
    device.list_oath_credentials(options).await.expect("a list")
}

async fn register(house: &House, plugged: &Plugged, options: Options<'_>) -> End {
    let path = path_of(plugged);
    house
        .run(async |tokens| tokens.register_oath_card(&path, "frank", &options).await)
        .await
}

#[tokio::test]
async fn every_make_of_applet_is_registered_tested_and_revoked() {
    let house = House::start(&Figures::default()).await;
    for make in &MAKES {
        let profile = make.profile;
        eprintln!("{profile}");
        let card = token(profile, profile, 3);
        let plugged = house.plug(&card);
        let timed = text(&register(&house, &plugged, none()).await.done(), "token");
        let event = Options::from([("event", Variant::Bool(true))]);
        let counted = text(&register(&house, &plugged, event).await.done(), "token");
        for id in [&timed, &counted] {
            for _ in 0..3 {
                house.test_on(id, &plugged, None).await.done();
            }
        }
        let record = house.get(&counted).await;
        assert_eq!(text(&record, "factor"), "event");
        let expected = if profile == "canokey" { 4 } else { 3 };
        assert_eq!(
            number(&record, "watermark"),
            Some(expected),
            "{profile}: the counter of the fourth code"
        );
        let listed = names(&house, &plugged, &none()).await;
        let mut tokens: Vec<String> = listed.iter().map(|one| text(one, "token")).collect();
        let mut ours = vec![timed.clone(), counted.clone()];
        tokens.sort();
        ours.sort();
        assert_eq!(tokens, ours, "{profile}");
        for id in [&timed, &counted] {
            house.revoke_on(id, &plugged, None).await.done();
        }
        assert_eq!(card.with_card(|card| card.credential_count()), Some(0), "{profile}");
        drop(plugged);
    }
    let owed = house.obligations().await;
    assert!(owed.is_empty(), "{owed:?}");
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn every_make_of_applet_is_looked_after() {
    let house = House::start(&Figures::default()).await;
    for make in &MAKES {
        let profile = make.profile;
        eprintln!("{profile}");
        let card = token(profile, profile, 4);
        let plugged = house.plug(&card);
        let device = house.device(&plugged).await;
        let id = text(&register(&house, &plugged, none()).await.done(), "token");
        let name = text(&house.get(&id).await, "oath-name");

        let renamed = house
            .run(async |_| device.rename_oath_credential(&name, "Claviger:desk", &none()).await)
            .await;
        let name = if make.renames {
            renamed.done();
            assert_eq!(text(&house.get(&id).await, "oath-name"), "Claviger:desk");
            "Claviger:desk".to_owned()
        } else {
            renamed.refused("Unsupported");
            name
        };
        house.test_on(&id, &plugged, None).await.done();
        // What is a token's body is not deleted by its name.
        let refused = house
            .run(async |_| device.delete_oath_credential(&name, &none()).await)
            .await;
        assert!(refused.refused("InvalidArgument").contains(&id));

        if make.password {
            house
                .run(async |_| device.set_oath_password(secret(b"correct").into(), &none()).await)
                .await
                .done();
            house.test_on(&id, &plugged, None).await.refused("PasswordRequired");
            let mut right = presence(&plugged, None);
            right.extend(with_password("correct"));
            house.run(async |tokens| tokens.test(&id, &right).await).await.done();
            house
                .run(async |_| device.remove_oath_password(&with_password("correct")).await)
                .await
                .done();
            house.test_on(&id, &plugged, None).await.done();
        }

        let asked = house.run(async |_| device.reset_oath(&none()).await).await;
        if !make.resets {
            asked.refused("Unsupported");
            house.revoke_on(&id, &plugged, None).await.done();
            continue;
        }
        let sentence = asked.refused("InvalidArgument");
        assert!(sentence.contains(&id) && sentence.contains("all 1 "), "{sentence}");
        assert_eq!(house.state_of(&id).await, "active", "only told");
        let word = Options::from([("reset", Variant::Bool(true))]);
        house.run(async |_| device.reset_oath(&word).await).await.done();
        assert_eq!(card.with_card(|card| card.credential_count()), Some(0), "{profile}");
        assert_eq!(house.state_of(&id).await, "revoked");
        drop(plugged);
    }
    let owed = house.obligations().await;
    assert!(owed.is_empty(), "{owed:?}");
    house.assert_intact().await;
    house.assert_no_panic();
}

#[tokio::test]
async fn wrong_passwords_cost_time() {
    let house = House::start(&Figures::default()).await;
    let card = token("yubikey-5", "card", 5);
    let plugged = house.plug(&card);
    let device = house.device(&plugged).await;
    house
        .run(async |_| device.set_oath_password(secret(b"correct").into(), &none()).await)
        .await
        .done();
    for _ in 0..4 {
        let options = with_password("wrong");
        register(&house, &plugged, options).await.refused("PasswordInvalid");
    }
    // Not even the right one is tried now.
    let sentence = register(&house, &plugged, with_password("correct"))
        .await
        .refused("PasswordThrottled");
    assert!(sentence.contains("seconds"), "{sentence}");
    let listed = device.list_oath_credentials(&with_password("correct")).await;
    assert!(listed.is_err_and(|error| error.to_string().contains("Throttled")));
    // A reset needs no password.
    let word = Options::from([("reset", Variant::Bool(true))]);
    house.run(async |_| device.reset_oath(&word).await).await.done();
    register(&house, &plugged, none()).await.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn a_credential_that_somebody_renamed_is_found_by_its_codes() {
    let house = House::start(&Figures::default()).await;
    let card = token("yubikey-5", "card", 6);
    let plugged = house.plug(&card);
    let id = text(&register(&house, &plugged, none()).await.done(), "token");
    let strange = text(&register(&house, &plugged, none()).await.done(), "token");
    let rename = |from: &str, to: &str| {
        let field = |name: &str| [&[0x71, u8::try_from(name.len()).expect("short")], name.as_bytes()].concat();
        let data = [field(from), field(to)].concat();
        let command = [&[0, 5, 0, 0, u8::try_from(data.len()).expect("short")], data.as_slice()].concat();
        card.with_card(|card| {
            card.command(&[0, 0xA4, 4, 0, 7, 0xA0, 0, 0, 5, 0x27, 0x21, 1], 0);
            let answer = card.command(&command, 0);
            assert_eq!(answer, hw_fixtures::ykoath::Reply::Response(vec![0x90, 0]));
        });
    };
    for (token, to) in [(&id, "mine"), (&strange, "other")] {
        let name = text(&house.get(token).await, "oath-name");
        rename(&name, to);
    }
    house.test_on(&id, &plugged, None).await.done();
    assert_eq!(text(&house.get(&id).await, "oath-name"), "mine");
    // Revoked without a test in between: the obligation finds it, too, and takes no other.
    house.revoke_on(&strange, &plugged, None).await.done();
    assert_eq!(card.with_card(|card| card.credential_count()), Some(1));
    house.test_on(&id, &plugged, None).await.done();
    house.assert_intact().await;
}

#[tokio::test]
async fn a_card_without_end_ends() {
    let house = House::start(&Figures::default()).await;
    let plugged = house.plug(&token("endless-card", "card", 9));
    let begun = std::time::Instant::now();
    let end = register(&house, &plugged, none()).await;
    assert!(!end.is_done(), "{end}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
    house.assert_intact().await;
    house.assert_no_panic();
}

/// A credential that takes increasing challenges only tests again and again, and what is owed for it can be settled wherever the
/// first settling was cut short, although each proof is a challenge that it does not go back behind.
#[tokio::test]
async fn a_credential_that_takes_increasing_challenges_only() {
    let house = House::start(&Figures::default()).await;
    let mut cut_short = 0;
    for frame in 1..=14 {
        let card = token("yubikey-5-7", &format!("card-{frame}"), frame);
        let plugged = house.plug(&card);
        let increasing = Options::from([("only-increasing", Variant::Bool(true))]);
        let id = text(&register(&house, &plugged, increasing).await.done(), "token");
        for _ in 0..2 {
            house.test_on(&id, &plugged, None).await.done();
        }
        drop(plugged);
        house.revoke(&id).await.expect("obliged");
        let obligation = text(&house.obligations().await[0], "id");
        let plugged = house.plug(&card);
        card.record();
        card.inject(Fault::at(frame, FaultKind::Unplug));
        let first = house.discharge_on(&obligation, &plugged, None).await;
        drop(plugged);
        card.clear_faults();
        if !first.is_done() {
            cut_short += 1;
            let plugged = house.plug(&card);
            let second = house.discharge_on(&obligation, &plugged, None).await;
            assert!(second.is_done(), "after {first} at frame {frame}: {second}");
        }
        assert_eq!(card.with_card(|card| card.credential_count()), Some(0), "frame {frame}");
    }
    assert!(cut_short >= 5, "cut short {cut_short} times");
    house.assert_intact().await;
    house.assert_no_panic();
}
