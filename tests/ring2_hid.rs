//! Ring 2: FIDO2 keys behind hidraw nodes, found by the real udev and spoken to by the real hidapi, by the shipped daemon under
//! its own user. The kernel's part is umockdev's.
#[path = "harness/host/mod.rs"]
mod host;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Stdio};
use std::sync::Arc;

use claviger::contract::ROOT_PATH;
use claviger::contract::proxy::Device1Proxy;
use futures_util::StreamExt;
use host::daemon::Daemon;
use host::tokens::{testbed, world};
use host::{Host, Need, Person, within};
use hw_fixtures::front::Testbed;
use hw_fixtures::world::World;
use zbus::fdo::{InterfacesAddedStream, InterfacesRemovedStream, ObjectManagerProxy};
use zbus::proxy::CacheProperties;

const PIN: &str = "314159";
const KEYS: &str = r#"
seed = 11
[[token]]
name = "one"
profile = "nitrokey-3"
serial = "HID-0001"
front = "umockdev"
[[token]]
name = "two"
profile = "solo-2"
serial = "HID-0002"
front = "umockdev"
plugged = false
"#;

/// Short enough for a test of what happens when nobody lets go.
const SECTIONS: &str = "[deadlines]\nlock = 300\n[devices]\ncards = false\n";

/// A host, its keys and a daemon that sees them.
struct Desk {
    // In the order of their end.
    daemon: Daemon,
    world: Arc<World>,
    bed: Arc<Testbed>,
    host: Arc<Host>,
}

impl Desk {
    async fn open() -> Option<Self> {
        let host = Arc::new(Host::open(&[Need::Hidraw]).await?);
        let bed = testbed(&host);
        let world = world(&host, KEYS, Some(&bed), None);
        let daemon = Daemon::start(&host, SECTIONS, &bed.environment());
        let desk = Self {
            daemon,
            world,
            bed,
            host,
        };
        desk.first_key_shown().await;
        Some(desk)
    }

    /// Waits until the key that was there from the start is on the bus, which is a moment after the daemon is ready.
    async fn first_key_shown(&self) {
        within("the first key coming onto the bus", async {
            while !self.devices().await.contains_key("USB port 1-1") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn objects(&self) -> ObjectManagerProxy<'static> {
        let builder = ObjectManagerProxy::builder(&self.host.root).destination(claviger::contract::BUS_NAME);
        let builder = builder.path(ROOT_PATH);
        builder
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .expect("a proxy")
    }

    /// The devices on the bus, by place.
    async fn devices(&self) -> HashMap<String, String> {
        let objects = self.objects().await.get_managed_objects().await.expect("objects");
        let mut devices = HashMap::new();
        for (path, interfaces) in objects {
            if let Some(device) = interfaces
                .iter()
                .find(|(name, _)| name.as_str() == "org.claviger.Device1")
            {
                let place = device.1["Place"].downcast_ref::<&str>().expect("a place").to_owned();
                devices.insert(place, path.to_string());
            }
        }
        devices
    }

    fn register(&self, subject: &str, device: &str) -> String {
        let arguments = ["register", "fido2", subject, "--pin-stdin", "--device", device];
        self.host
            .claviger(Person::Allowed, &arguments, PIN)
            .done()
            .text("token")
            .to_owned()
    }
}

async fn appeared(added: &mut InterfacesAddedStream) -> String {
    within("a device appearing", async {
        loop {
            let signal = added.next().await.expect("the bus");
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

async fn disappeared(removed: &mut InterfacesRemovedStream) -> String {
    within("a device disappearing", async {
        loop {
            let signal = removed.next().await.expect("the bus");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_registered_tested_and_revoked() {
    let Some(desk) = Desk::open().await else { return };
    let devices = desk.host.claviger(Person::Allowed, &["devices"], "").done();
    let device = &devices.said["devices"][0];
    assert_eq!(
        (&device["reality"], &device["faces"][0], &device["place"]),
        (&"hardware".into(), &"hid".into(), &"USB port 1-1".into())
    );
    let token = desk.register("ford", device["path"].as_str().expect("a path"));
    let record = desk.host.claviger(Person::Allowed, &["show", &token], "").done();
    assert!(record.said.to_string().contains("HID-0001"), "{}", record.said);
    let before = desk.host.claviger(Person::Allowed, &["test", &token], "").done().said["sign-count"].as_u64();
    let after = desk.host.claviger(Person::Allowed, &["test", &token], "").done().said["sign-count"].as_u64();
    assert!(after > before, "{before:?} {after:?}");
    let credentials = || {
        desk.world
            .token("one")
            .expect("the key")
            .with_authenticator(|key| key.resident_count())
    };
    assert_eq!(credentials(), Some(1));
    desk.host
        .claviger(
            Person::Allowed,
            &["revoke", &token, "--reason", "lost", "--yes", "--pin-stdin"],
            PIN,
        )
        .done();
    assert_eq!(credentials(), Some(0), "our credential is still on the key");
    desk.host
        .claviger(Person::Allowed, &["test", &token], "")
        .refused("WrongState");
    desk.host.claviger(Person::Allowed, &["audit", "verify"], "").done();
    assert!(!desk.daemon.log().contains(PIN), "a PIN in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_and_go_and_are_told_apart() {
    let Some(desk) = Desk::open().await else { return };
    let objects = desk.objects().await;
    let mut added = objects.receive_interfaces_added().await.expect("a match rule");
    let mut removed = objects.receive_interfaces_removed().await.expect("a match rule");
    desk.world.plug("two").expect("plugged in");
    let second = appeared(&mut added).await;
    let devices = desk.devices().await;
    assert_eq!(devices.len(), 2, "{devices:?}");
    assert_eq!(devices["USB port 1-2"], second);
    let first = devices["USB port 1-1"].clone();
    let (of_first, of_second) = (desk.register("arthur", &first), desk.register("marvin", &second));

    // Each is found by what is on it.
    let frames = |name: &str| desk.world.token(name).expect("a key").frames().len();
    desk.host.claviger(Person::Allowed, &["test", &of_first], "").done();
    desk.host.claviger(Person::Allowed, &["test", &of_second], "").done();
    let still = frames("one");
    desk.host
        .claviger(Person::Allowed, &["test", &of_second, "--device", &second], "")
        .done();
    assert_eq!(frames("one"), still, "the other key was spoken to");
    desk.host
        .claviger(Person::Allowed, &["test", &of_second, "--device", &first], "")
        .refused("DeviceMismatch");

    desk.world.unplug("one").expect("unplugged");
    assert_eq!(disappeared(&mut removed).await, first);
    desk.host
        .claviger(Person::Allowed, &["test", &of_first], "")
        .refused("DeviceAbsent");
    // A path that was given once is not given again.
    desk.world.plug("one").expect("plugged in");
    let again = appeared(&mut added).await;
    assert!(again != first && again != second, "{again}");
    desk.host.claviger(Person::Allowed, &["test", &of_first], "").done();
    desk.host
        .claviger(Person::Allowed, &["test", &of_first, "--device", &first], "")
        .refused("UnknownDevice");

    // Revoked while it is away: what is owed is told when it is seen, and nothing is wiped unasked.
    desk.world.unplug("two").expect("unplugged");
    assert_eq!(disappeared(&mut removed).await, second);
    let revoked = desk.host.claviger(
        Person::Allowed,
        &["revoke", &of_second, "--reason", "leaver", "--yes"],
        "",
    );
    assert_eq!(
        (revoked.code, revoked.text("outcome")),
        (6, "obliged"),
        "{}",
        revoked.said
    );
    let manager = host::daemon::manager(&desk.host).await;
    let mut seen = manager.receive_obligation_seen().await.expect("a match rule");
    desk.world.plug("two").expect("plugged in");
    let seen = within("the obligation being seen", seen.next()).await.expect("the bus");
    let owed = seen.args().expect("arguments").obligation.to_string();
    let credentials = || {
        desk.world
            .token("two")
            .expect("the key")
            .with_authenticator(|key| key.resident_count())
    };
    assert_eq!(credentials(), Some(1), "wiped unasked");
    desk.host
        .claviger(Person::Allowed, &["discharge", &owed, "--pin-stdin"], PIN)
        .done();
    assert_eq!(credentials(), Some(0));
}

/// Opens a node as another program would, and locks it until its input ends.
const HOLD: &str = "import fcntl, os, sys
node = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(node, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_another_program_holds_is_busy_and_the_program_is_named() {
    let Some(desk) = Desk::open().await else { return };
    let device = desk.devices().await.remove("USB port 1-1").expect("the key");
    let token = desk.register("zaphod", &device);
    let frames = desk.world.token("one").expect("the key").frames().len();
    let mut holder = desk
        .host
        .command_as("root", &desk.bed.environment(), "python3")
        .args(["-c", HOLD, "/dev/hidraw0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another program");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    assert_eq!(line.trim(), "held");
    let busy = desk
        .host
        .claviger(Person::Allowed, &["test", &token], "")
        .refused("DeviceBusy");
    assert_eq!(
        busy.said["holder-pid"].as_u64(),
        Some(holder.id().into()),
        "{}",
        busy.said
    );
    assert!(busy.text("holder").starts_with("python3"), "{}", busy.said);
    assert!(busy.text("message").contains("python3"), "{}", busy.said);
    assert_eq!(
        desk.world.token("one").expect("the key").frames().len(),
        frames,
        "the key was spoken to"
    );
    drop(holder.stdin.take());
    holder.wait().expect("its end");
    desk.host.claviger(Person::Allowed, &["test", &token], "").done();
}

/// The client that tests `token` and waits for other programs, once it has said that it does.
fn waiting_client(desk: &Desk, token: &str) -> (Child, BufReader<ChildStderr>) {
    let mut client = desk
        .host
        .command_as(Person::Allowed.user(), &[], desk.host.dir().join("bin/claviger"))
        .args(["test", token, "--wait", "60"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client");
    let mut said = BufReader::new(client.stderr.take().expect("its progress"));
    let mut line = String::new();
    while !line.contains("Waiting for another program") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it did not wait");
    }
    (client, said)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_waited_for_and_the_wait_can_be_called_off() {
    let Some(desk) = Desk::open().await else { return };
    let device = desk.devices().await.remove("USB port 1-1").expect("the key");
    let token = desk.register("ford", &device);
    let mut holder = desk
        .host
        .command_as("root", &desk.bed.environment(), "python3")
        .args(["-c", HOLD, "/dev/hidraw0"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another program");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("its output"))
        .read_line(&mut line)
        .expect("a line");
    let at_once = desk
        .host
        .claviger(Person::Allowed, &["test", &token, "--wait", "0"], "");
    at_once.refused("DeviceBusy");

    let (mut client, _said) = waiting_client(&desk, &token);
    let pid = nix::unistd::Pid::from_raw(client.id().try_into().expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
    assert_eq!(client.wait().expect("its end").code(), Some(5), "cancelled");

    let (mut client, _said) = waiting_client(&desk, &token);
    drop(holder.stdin.take());
    holder.wait().expect("its end");
    assert_eq!(client.wait().expect("its end").code(), Some(0), "it had its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leads_to_another_key_is_not_mistaken_for_its_own() {
    let Some(desk) = Desk::open().await else { return };
    let first = desk.devices().await.remove("USB port 1-1").expect("the key");
    let token = desk.register("eddie", &first);
    desk.world.plug("two").expect("plugged in");
    let frames = || ["one", "two"].map(|name| desk.world.token(name).expect("a key").frames().len());
    let before = frames();
    // As when a key leaves and another gets its minor before anybody has noticed.
    let dev = desk.bed.root().join("dev");
    let swap = || {
        std::fs::rename(dev.join("hidraw0"), dev.join("aside")).expect("renamed");
        std::fs::rename(dev.join("hidraw1"), dev.join("hidraw0")).expect("renamed");
        std::fs::rename(dev.join("aside"), dev.join("hidraw1")).expect("renamed");
    };
    swap();
    desk.host
        .claviger(Person::Allowed, &["test", &token, "--device", &first], "")
        .refused("DeviceGone");
    desk.host
        .claviger(Person::Allowed, &["show", &first], "")
        .refused("DeviceGone");
    assert_eq!(frames(), before, "a key was spoken to");
    swap();
    desk.host
        .claviger(Person::Allowed, &["test", &token, "--device", &first], "")
        .done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_engine_reads_the_same() {
    let Some(desk) = Desk::open().await else { return };
    desk.world.plug("two").expect("plugged in");
    for device in ["1", "2"] {
        let arguments = ["doctor", "--second-opinion", device];
        let doctor = desk
            .host
            .claviger_in(Person::Allowed, &desk.bed.environment(), &arguments, "");
        let checks = doctor.said["checks"].as_array().expect("checks");
        let opinion: Vec<_> = checks
            .iter()
            .filter(|check| check["about"] == "second opinion")
            .collect();
        let [opinion] = opinion.as_slice() else {
            panic!("{checks:?}")
        };
        assert_eq!(opinion["grade"], "OK", "{opinion}");
        assert!(
            opinion["finding"]
                .as_str()
                .is_some_and(|finding| finding.contains("both engines read the same"))
        );
    }
    let device = Device1Proxy::builder(&desk.host.root).path(desk.devices().await["USB port 1-1"].clone());
    let device = device
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .expect("a proxy");
    assert_eq!(device.state().await.expect("a state"), "ready");
}
