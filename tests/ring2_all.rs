//! Ring 2: the main job on all three tokens with everything real at once: polkitd decides, hidapi and pcscd carry, the bench
//! registers and revokes, the help desk tests and resyncs.
#[path = "harness/host/mod.rs"]
mod host;

use claviger::contract::error::ACCESS_DENIED;
use claviger::contract::{BUS_NAME, ROOT_PATH};
use futures_util::StreamExt;
use host::daemon::Daemon;
use host::tokens::{Pcscd, testbed, world};
use host::{Host, Need, Person, within};
use zbus::fdo::ObjectManagerProxy;
use zbus::proxy::CacheProperties;

const PIN: &str = "161803";
const TOKENS: &str = r#"
seed = 17
[[token]]
name = "key"
profile = "nitrokey-3"
serial = "ALL-1"
front = "umockdev"
[[token]]
name = "card"
profile = "oath-card"
front = "vpcd"
[[token]]
name = "fob"
profile = "fob-sha1"
serial = "ALL-3"
offset_s = -540.0
"#;

#[tokio::test(flavor = "multi_thread")]
async fn three_tokens_from_polkit_to_the_bytes_and_back() {
    let Some(host) = Host::open(&[Need::Hidraw, Need::Reader]).await else {
        return;
    };
    let readers = Pcscd::start(&host);
    let bed = testbed(&host);
    let objects = ObjectManagerProxy::builder(&host.root)
        .destination(BUS_NAME)
        .path(ROOT_PATH);
    let objects = objects
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    let mut added = objects.receive_interfaces_added().await.expect("a match rule");
    let daemon = Daemon::start(&host, "", &bed.environment());
    let world = world(&host, TOKENS, Some(&bed), Some(&readers));
    for _ in ["key", "card"] {
        within("a device appearing", async {
            // A key is told of once for each of its interfaces.
            while let Some(signal) = added.next().await {
                let args = signal.args().expect("arguments");
                if args.interfaces_and_properties.contains_key("org.claviger.Device1") {
                    return;
                }
            }
            panic!("the bus is gone");
        })
        .await;
    }
    let bench = |arguments: &[&str], input: &str| host.claviger(Person::Allowed, arguments, input);
    let desk = |arguments: &[&str], input: &str| host.claviger(Person::HelpDesk, arguments, input);
    let devices = desk(&["devices"], "").done();
    assert_eq!(
        devices.said["devices"].as_array().map(Vec::len),
        Some(2),
        "{}",
        devices.said
    );
    let now = world.unix_s();
    let code = |seconds: i64| world.with_fob("fob", |fob| fob.code(now + seconds)).expect("the fob");

    let key = bench(&["register", "fido2", "dent", "--pin-stdin"], PIN).done();
    let card = bench(&["register", "oath-card", "prefect"], "").done();
    let seed = world
        .with_fob("fob", |fob| hw_fixtures::crypto::to_hex(&fob.seed))
        .expect("the fob");
    let fob = [
        "register",
        "fob",
        "beeblebrox",
        "--serial",
        "ALL-3",
        "--encoding",
        "hex",
        "--seed-stdin",
        "--no-codes",
    ];
    let fob = bench(&fob, &seed).done();
    let (key, card, fob) = (key.text("token"), card.text("token"), fob.text("token"));

    desk(&["test", key], "").done();
    desk(&["test", card], "").done();
    // Nine minutes slow from the shelf: one code is not enough for a clock that nobody has seen.
    desk(&["test", fob, "--code", &code(0)], "").refused("NeedsResync");
    let (first, second) = (code(-30), code(0));
    let resynced = desk(&["resync", fob, &first, &second], "").done();
    let shift = resynced.said["shift-s"].as_i64().expect("a shift");
    assert!((-600..=-480).contains(&shift), "{shift}");
    desk(&["test", fob, "--code", &second], "").refused("CodeRejected");
    desk(&["test", fob, "--code", &code(30)], "").done();

    for token in [key, card, fob] {
        let denied = desk(&["revoke", token, "--reason", "leaver", "--yes"], "").refused(ACCESS_DENIED);
        assert_eq!(denied.code, 3);
    }
    bench(&["revoke", key, "--reason", "leaver", "--yes", "--pin-stdin"], PIN).done();
    bench(&["revoke", card, "--reason", "leaver", "--yes"], "").done();
    let owed = bench(&["revoke", fob, "--reason", "leaver", "--yes"], "");
    assert_eq!(owed.code, 6, "a fob is to be collected: {}", owed.said);
    bench(&["discharge", owed.text("obligation"), "--collected"], "").done();
    for token in [key, card] {
        desk(&["test", token], "").refused("WrongState");
    }
    desk(&["audit", "verify"], "").refused(ACCESS_DENIED);
    let verified = bench(&["audit", "verify"], "").done();
    assert_eq!(verified.said["intact"], true, "{}", verified.said);
    let log = daemon.log();
    for secret in [PIN, &seed, "beeblebrox", "ALL-1"] {
        assert!(!log.contains(secret), "“{secret}” in the log");
    }
}
