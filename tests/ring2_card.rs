//! Ring 2: OATH cards in a reader of the real pcscd (vpcd's driver below it), which admits the daemon's own user by the rule we
//! ship.
#[path = "harness/host/mod.rs"]
mod host;

use std::ffi::CString;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use claviger::contract::{BUS_NAME, ROOT_PATH};
use futures_util::StreamExt;
use host::daemon::{Daemon, manager};
use host::tokens::{Pcscd, world};
use host::{Answer, Host, Need, Person, until, within};
use hw_fixtures::TouchMode;
use hw_fixtures::fault::{Direction, Fault, FaultKind};
use hw_fixtures::world::World;
use zbus::fdo::{InterfacesAddedStream, InterfacesRemovedStream, ObjectManagerProxy};
use zbus::proxy::CacheProperties;

const CARDS: &str = r#"
seed = 13
[[token]]
name = "card"
profile = "oath-card"
front = "vpcd"
[[token]]
name = "other"
profile = "oath-card"
front = "vpcd"
plugged = false
"#;

/// Short enough for a test of what happens when nobody lets go.
const SECTIONS: &str = "[deadlines]\nlock = 300\n[devices]\nhid = false\n";

struct Desk {
    // In the order of their end.
    daemon: Daemon,
    world: Arc<World>,
    readers: Pcscd,
    added: InterfacesAddedStream,
    removed: InterfacesRemovedStream,
    host: Arc<Host>,
}

impl Desk {
    /// A reader with one card in it, and a daemon that has seen it.
    async fn open() -> Option<Self> {
        Self::open_with(CARDS).await
    }

    /// The same with other cards.
    async fn open_with(cards: &str) -> Option<Self> {
        let host = Arc::new(Host::open(&[Need::Reader]).await?);
        let readers = Pcscd::start(&host);
        let builder = ObjectManagerProxy::builder(&host.root)
            .destination(BUS_NAME)
            .path(ROOT_PATH);
        let objects = builder
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .expect("a proxy");
        let added = objects.receive_interfaces_added().await.expect("a match rule");
        let removed = objects.receive_interfaces_removed().await.expect("a match rule");
        let daemon = Daemon::start(&host, SECTIONS, &[]);
        let world = world(&host, cards, None, Some(&readers));
        let mut desk = Self {
            daemon,
            world,
            readers,
            added,
            removed,
            host,
        };
        desk.appeared().await;
        Some(desk)
    }

    async fn appeared(&mut self) -> String {
        within("a card appearing", async {
            loop {
                let signal = self.added.next().await.expect("the bus");
                let args = signal.args().expect("arguments");
                let path = args.object_path.to_string();
                // A key is told of once for each of its interfaces.
                let itself = args.interfaces_and_properties.contains_key("org.claviger.Device1");
                if itself && path.contains("/devices/") {
                    return path;
                }
            }
        })
        .await
    }

    async fn disappeared(&mut self) -> String {
        within("a card disappearing", async {
            loop {
                let signal = self.removed.next().await.expect("the bus");
                let args = signal.args().expect("arguments");
                let path = args.object_path.to_string();
                // A key is told of once for each of its interfaces.
                let itself = args
                    .interfaces
                    .iter()
                    .any(|name| name.as_str() == "org.claviger.Device1");
                if itself && path.contains("/devices/") {
                    return path;
                }
            }
        })
        .await
    }

    fn claviger(&self, arguments: &[&str]) -> Answer {
        self.host.claviger(Person::Allowed, arguments, "")
    }

    fn register(&self, more: &[&str]) -> String {
        let arguments = [&["register", "oath-card", "slartibartfast"], more].concat();
        self.claviger(&arguments).done().text("token").to_owned()
    }

    /// Begins a test of a card that wants a touch, and waits until the card has asked for it.
    async fn begin_test(&self, token: &str) -> tokio::task::JoinHandle<Answer> {
        let card = self.world.token("card").expect("the card");
        card.set_touch_mode(TouchMode::Never);
        let (host, token) = (Arc::clone(&self.host), token.to_owned());
        let client = tokio::task::spawn_blocking(move || host.claviger(Person::Allowed, &["test", &token], ""));
        until("the card asking for a touch", || card.wants_touch()).await;
        client
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_is_registered_tested_and_revoked() {
    let Some(desk) = Desk::open().await else { return };
    let devices = desk.claviger(&["devices"]).done();
    let device = &devices.said["devices"][0];
    assert_eq!(
        (&device["reality"], &device["faces"][0]),
        (&"hardware".into(), &"card".into())
    );
    assert_eq!(device["place"], "reader Test Reader 00 00");
    let token = desk.register(&["--serial", "OC-1"]);
    let entries = || {
        desk.world
            .token("card")
            .expect("the card")
            .with_card(|card| card.credential_count())
    };
    assert_eq!(entries(), Some(1));
    desk.claviger(&["test", &token]).done();
    desk.claviger(&["revoke", &token, "--reason", "damaged", "--yes"])
        .done();
    assert_eq!(entries(), Some(0), "our credential is still on the card");
    desk.claviger(&["test", &token]).refused("WrongState");
    // One that takes increasing challenges only: the time is such a one, and twice the same is no step back.
    let increasing = desk.register(&["--only-increasing"]);
    for _ in 0..2 {
        desk.claviger(&["test", &increasing]).done();
    }
    desk.claviger(&["revoke", &increasing, "--reason", "damaged", "--yes"])
        .done();
    assert_eq!(entries(), Some(0), "our credential is still on the card");
    desk.claviger(&["audit", "verify"]).done();
}

const MAKES: &str = r#"
seed = 13
[[token]]
name = "key"
profile = "yubikey-5"
front = "vpcd"
[[token]]
name = "fob"
profile = "token2-c301"
front = "vpcd"
plugged = false
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_s_applet_and_a_fob_over_nfc() {
    let Some(mut desk) = Desk::open_with(MAKES).await else {
        return;
    };
    let timed = desk.register(&[]);
    let counted = desk.register(&["--event"]);
    for token in [&timed, &counted] {
        desk.claviger(&["test", token]).done();
        desk.claviger(&["test", token]).done();
    }
    let devices = desk.claviger(&["devices"]).done();
    let number = devices.said["devices"][0]["device"].to_string();
    let listed = desk.claviger(&["oath", "list", &number]).done();
    assert_eq!(listed.said["credentials"].as_array().map(Vec::len), Some(2));
    desk.claviger(&["oath", "reset", &number, "--yes"]).done();
    let key = desk.world.token("key").expect("the key");
    assert_eq!(key.with_card(|card| card.credential_count()), Some(0));
    desk.claviger(&["test", &timed]).refused("WrongState");

    desk.world.plug("fob").expect("laid on the reader");
    let path = desk.appeared().await;
    let told = desk.claviger(&["show", &path]).done();
    assert_eq!(told.said["clock"]["model"], "Token2 C301-i", "{}", told.said);
    // The clock of the host may not be synchronised where tests run.
    let register = ["register", "nfc-fob", "ford", "--device", &path, "--unsynchronised"];
    let fob = desk.claviger(&register).done().text("token").to_owned();
    let token = desk.world.token("fob").expect("the fob");
    let code = || token.with_nfc_fob(|nfc| nfc.fob().code(token.unix_s())).expect("a fob");
    let shown = code();
    desk.claviger(&["test", &fob, "--code", &shown]).done();
    desk.claviger(&["clock", &fob, "--device", &path, "--unsynchronised"])
        .refused("ClockWipesSeed");
    desk.claviger(&["revoke", &fob, "--reason", "leaver", "--yes", "--device", &path])
        .done();
    assert_ne!(code(), shown, "its seed was overwritten");
    desk.claviger(&["audit", "verify"]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_cards_are_told_apart_and_may_change_places() {
    let Some(mut desk) = Desk::open().await else { return };
    let first = desk.register(&[]);
    desk.world.plug("other").expect("put into the reader");
    let path = desk.appeared().await;
    let second = desk.register(&["--device", &path]);
    desk.claviger(&["test", &first]).done();
    desk.claviger(&["test", &second]).done();
    desk.claviger(&["test", &first, "--device", &path])
        .refused("DeviceMismatch");
    for card in ["card", "other"] {
        desk.world.unplug(card).expect("taken out");
        desk.disappeared().await;
    }
    desk.claviger(&["test", &first]).refused("DeviceAbsent");
    // Into each other's slot.
    for card in ["other", "card"] {
        desk.world.plug(card).expect("put into the reader");
        desk.appeared().await;
    }
    desk.claviger(&["test", &first]).done();
    desk.claviger(&["test", &second]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_taken_out_in_the_middle_ends_the_operation() {
    let Some(mut desk) = Desk::open().await else { return };
    let token = desk.register(&["--touch"]);
    let client = desk.begin_test(&token).await;
    desk.world.unplug("card").expect("taken out");
    within("the client's end", client)
        .await
        .expect("the client")
        .refused("DeviceGone");
    desk.disappeared().await;
    let card = desk.world.token("card").expect("the card");
    card.set_touch_mode(TouchMode::Auto);
    desk.world.plug("card").expect("put back");
    desk.appeared().await;
    // In the middle of an answer, too.
    card.record();
    card.inject(Fault {
        kind: FaultKind::Unplug,
        frame: 1,
        direction: Some(Direction::In),
    });
    desk.claviger(&["test", &token]).refused("DeviceGone");
    desk.disappeared().await;
    card.clear_faults();
    desk.world.plug("card").expect("put back");
    desk.appeared().await;
    desk.claviger(&["test", &token]).done();
    desk.claviger(&["audit", "verify"]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn pcscd_may_die_and_come_back() {
    let Some(mut desk) = Desk::open().await else { return };
    let token = desk.register(&["--touch"]);
    for in_the_middle in [false, true] {
        let client = if in_the_middle {
            Some(desk.begin_test(&token).await)
        } else {
            None
        };
        desk.readers.kill();
        if let Some(client) = client {
            // The watcher and the lane notice it at the same time: the card has left, or its service has.
            let ended = within("the client's end", client).await.expect("the client");
            let error = ended.text("error");
            let known = error.ends_with("CardServiceUnavailable") || error.ends_with("DeviceGone");
            assert!(ended.code == 1 && known, "exit {}: {}", ended.code, ended.said);
        }
        desk.disappeared().await;
        let refused = desk.claviger(&["test", &token]).refused("CardServiceUnavailable");
        assert!(
            refused.text("message").contains("systemctl start pcscd"),
            "{}",
            refused.said
        );
        let status = manager(&desk.host)
            .await
            .status(&Default::default())
            .await
            .expect("a status");
        assert_eq!(bool::try_from(status["card-service"].clone()), Ok(false));

        desk.world
            .token("card")
            .expect("the card")
            .set_touch_mode(TouchMode::Auto);
        desk.readers.start_again(&desk.host);
        desk.appeared().await;
        desk.claviger(&["test", &token]).done();
    }
    assert!(desk.daemon.process.is_running());
    desk.claviger(&["audit", "verify"]).done();
}

const HOLD: &str = "CLAVIGER_TEST_HOLD";

/// Another program: holds the card in the first reader exclusively until its input ends.
#[test]
#[ignore = "a part, played in a child process"]
fn part_of_another_program() {
    if std::env::var_os(HOLD).is_none() {
        return;
    }
    let context = pcsc::Context::establish(pcsc::Scope::System).expect("pcscd");
    let reader = CString::new("Test Reader 00 00").expect("a name");
    let shared = std::env::var_os(HOLD).is_some_and(|how| how == "transaction");
    let mode = if shared {
        pcsc::ShareMode::Shared
    } else {
        pcsc::ShareMode::Exclusive
    };
    let mut card = context.connect(&reader, mode, pcsc::Protocols::ANY).expect("the card");
    let held = || {
        println!("\nheld");
        std::io::stdin().lock().read_line(&mut String::new()).expect("the end");
    };
    if shared {
        let transaction = card.transaction().expect("SCardBeginTransaction");
        held();
        transaction
            .end(pcsc::Disposition::LeaveCard)
            .map_err(|(_, error)| error)
            .expect("let go");
    } else {
        held();
    }
    card.disconnect(pcsc::Disposition::LeaveCard)
        .map_err(|(_, error)| error)
        .expect("let go");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_that_another_program_holds_is_busy() {
    let Some(desk) = Desk::open().await else { return };
    let token = desk.register(&[]);
    let mut other = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "part_of_another_program", "--ignored", "--nocapture"])
        .env(HOLD, "1")
        .env("PCSCLITE_CSOCK_NAME", desk.host.dir().join("run/pcscd/pcscd.comm"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another program");
    let output = BufReader::new(other.stdout.take().expect("its output"));
    assert!(
        output.lines().map_while(Result::ok).any(|line| line == "held"),
        "the other program could not take the card"
    );
    let busy = desk.claviger(&["test", &token]).refused("DeviceBusy");
    assert!(busy.text("message").contains("another program"), "{}", busy.said);
    drop(other.stdin.take());
    other.wait().expect("its end");
    desk.claviger(&["test", &token]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_program_is_named_and_waited_for() {
    let Some(desk) = Desk::open().await else { return };
    let token = desk.register(&[]);
    // Under the daemon's own user, whose processes it may look into.
    let environment = [
        (HOLD.to_owned(), "transaction".to_owned()),
        (
            "PCSCLITE_CSOCK_NAME".to_owned(),
            desk.host.dir().join("run/pcscd/pcscd.comm").display().to_string(),
        ),
    ];
    let program = std::env::current_exe().expect("this program");
    let mut other = desk
        .host
        .command_as(Person::Service.user(), &environment, program)
        .args(["--exact", "part_of_another_program", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another program");
    let output = BufReader::new(other.stdout.take().expect("its output"));
    assert!(
        output.lines().map_while(Result::ok).any(|line| line == "held"),
        "the other program could not take the card"
    );
    let busy = desk.claviger(&["test", &token, "--wait", "0"]).refused("DeviceBusy");
    assert_eq!(
        busy.said["holder-pid"].as_u64(),
        Some(other.id().into()),
        "{}",
        busy.said
    );
    assert!(busy.text("message").contains("ring2_card"), "{}", busy.said);

    let mut client = desk
        .host
        .command_as(Person::Allowed.user(), &[], desk.host.dir().join("bin/claviger"))
        .args(["test", &token, "--wait", "60"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client");
    let mut said = BufReader::new(client.stderr.take().expect("its progress"));
    let mut line = String::new();
    while !line.contains("Waiting for another program") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it did not wait");
    }
    drop(other.stdin.take());
    other.wait().expect("its end");
    assert_eq!(client.wait().expect("its end").code(), Some(0), "it had its turn");
}

const KEYS: &str = r#"
seed = 17
[[token]]
name = "card"
profile = "yubikey-5-nfc"
front = "vpcd"
[[token]]
name = "other"
profile = "fido-nfc"
front = "vpcd"
plugged = false
"#;
const PIN: &str = "4711-key";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_on_a_reader_is_registered_tested_and_revoked() {
    let Some(mut desk) = Desk::open_with(KEYS).await else {
        return;
    };
    for (name, subject) in [("card", "trillian"), ("other", "zarniwoop")] {
        if name == "other" {
            desk.world.unplug("card").expect("lifted off");
            desk.disappeared().await;
            desk.world.plug("other").expect("laid on");
            desk.appeared().await;
        }
        let devices = desk.claviger(&["devices"]).done();
        let device = devices.said["devices"][0]["path"].as_str().expect("a path").to_owned();
        let with_pin = |arguments: &[&str]| desk.host.claviger(Person::Allowed, arguments, PIN);
        let register = ["register", "fido2", subject, "--pin-stdin", "--device", &device];
        let token = with_pin(&register).done().text("token").to_owned();
        let residents = || {
            let key = desk.world.token(name).expect("the key");
            key.with_authenticator(|own| own.resident_count())
        };
        assert_eq!(residents(), Some(1), "{name}");
        with_pin(&["test", &token, "--pin-stdin"]).done();
        with_pin(&["revoke", &token, "--reason", "damaged", "--yes", "--pin-stdin"]).done();
        assert_eq!(residents(), Some(0), "{name}: our credential is still on the key");
    }
}
