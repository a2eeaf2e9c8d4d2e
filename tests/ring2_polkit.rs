//! Ring 2: who may do what, decided by the real polkitd on a real system bus, for callers under uids of their own. The daemon
//! is the shipped one under the service's user, the policy files are the shipped ones.
#[path = "harness/contract.rs"]
#[allow(dead_code, missing_docs)]
mod contract;
#[path = "harness/host/mod.rs"]
mod host;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use claviger::contract::error::{ACCESS_DENIED, ErrorName};
use claviger::contract::{
    BYPASSES_PATH, CASES_PATH, DEVICES_PATH, DRIFT_PATH, ROOT_PATH, SUBJECTS_PATH, TOKENS_PATH, VERIFY_PATH,
};
use claviger::grant::Action;
use claviger::guard::action::{self, Rule};
use contract::{Method, NOBODYS_TOKEN};
use futures_util::StreamExt;
use host::daemon::{Daemon, standing, virtual_socket};
use host::people::{Caller, Refused, call};
use host::polkit::{self, Agent, Temper};
use host::tokens::world;
use host::{Host, Person, until, within};
use hw_fixtures::TouchMode;
use hw_fixtures::world::World;
use zbus::wire::StructureBuilder;
use zbus::{Connection, Fd, Message, MessageStream, ObjectPath, OwnedObjectPath, Structure, Variant};

const SUBJECT: &str = "trillian@example.org";
const SERIAL: &str = "SN-4711-0815";
const FOB_SERIAL: &str = "FB-20051109";
const PIN: &str = "271828";

/// One of each, on the virtual link: what is below does not matter to who may.
fn tokens(host: &Host) -> Arc<World> {
    let text = format!(
        r#"
seed = 7
[[token]]
name = "key"
profile = "nitrokey-3"
serial = "{SERIAL}"
[[token]]
name = "card"
profile = "oath-card"
[[token]]
name = "fob"
profile = "fob-sha1"
serial = "{FOB_SERIAL}"
"#
    );
    world(host, &text, None, None)
}

fn daemon(host: &Host) -> Daemon {
    let sections = format!(
        "[virtual]\nsocket = {:?}\n[devices]\nhid = false\ncards = false\n",
        virtual_socket(host).display()
    );
    Daemon::start(host, &sections, &[])
}

/// What methods are called with.
#[derive(Clone, Copy)]
struct Arguments<'a> {
    token: &'a str,
    device: &'a str,
}

const NOBODYS: Arguments<'_> = Arguments {
    token: NOBODYS_TOKEN,
    device: "/org/claviger/Claviger1/devices/4711",
};

impl Arguments<'_> {
    /// Sound arguments for a method, made up from names and types in the contract.
    fn of(self, method: &Method) -> Option<Structure<'static>> {
        let mut builder = StructureBuilder::new();
        for (name, signature) in &method.input {
            let value: Variant<'static> = match (name.as_str(), signature.as_str()) {
                ("token" | "obligation", "s") => self.token.to_owned().into(),
                ("reason", "s") => "lost".into(),
                ("kind", "s") => "bench".into(),
                ("channel", "s") => "desk".into(),
                ("method", "s") => "call-back".into(),
                ("outcome", "s") => "withdrawn".into(),
                ("case", "s") => NOBODYS_TOKEN.into(),
                ("checks", "as") => Vec::<&str>::new().into(),
                ("format", "s") => "entra".into(),
                ("by", "s") => "model".into(),
                ("cursor", "s") => "".into(),
                ("credential", "s") => "AAECAw".into(),
                ("fingerprint", "s") => "00ff".into(),
                (_, "s") => "someone".into(),
                ("limit" | "length", "u") => 10_u32.into(),
                ("operator", "u") => 61_839_u32.into(),
                (_, "b") => true.into(),
                (_, "t") => 0_u64.into(),
                ("codes", "as") => vec!["123456", "654321"].into(),
                ("device", "o") => ObjectPath::try_from(self.device.to_owned()).expect("a path").into(),
                (_, "h") => Variant::Fd(Fd::from(contract::descriptor(PIN.as_bytes()))),
                (_, "a{sv}") => HashMap::<String, Variant<'static>>::new().into(),
                (name, signature) => panic!("no example for argument {name} of type {signature}: add one"),
            };
            builder = builder.append_field(value);
        }
        (!method.input.is_empty()).then(|| builder.build().expect("a structure"))
    }
}

/// Every method of the contract with the object to call it on.
fn methods(device: &str, operation: &str, case: &str) -> Vec<(String, String, Method)> {
    let place = |interface: &str| match interface {
        "org.claviger.Manager1" => ROOT_PATH.to_owned(),
        "org.claviger.Tokens1" => TOKENS_PATH.to_owned(),
        "org.claviger.Drift1" => DRIFT_PATH.to_owned(),
        "org.claviger.Verify1" => VERIFY_PATH.to_owned(),
        "org.claviger.Subjects1" => SUBJECTS_PATH.to_owned(),
        "org.claviger.Device1" | "org.claviger.Fido1" => device.to_owned(),
        "org.claviger.Operation1" => operation.to_owned(),
        "org.claviger.Cases1" => CASES_PATH.to_owned(),
        "org.claviger.Bypasses1" => BYPASSES_PATH.to_owned(),
        "org.claviger.Case1" => format!("{CASES_PATH}/{}", case.replace('-', "")),
        other => panic!("where are objects with {other}?"),
    };
    let contract = contract::contract();
    let methods = contract.values().flat_map(|interface| {
        let at = place(&interface.name);
        interface
            .methods
            .iter()
            .map(move |method| (at.clone(), interface.name.clone(), method.clone()))
    });
    let mut methods: Vec<_> = methods.collect();
    // What closes the case comes last.
    methods.sort_by_key(|(_, _, method)| method.name == "Close");
    methods
}

async fn invoke(
    connection: &Connection,
    at: &(String, String, Method),
    with: Arguments<'_>,
    interactive: bool,
) -> Result<Message, Refused> {
    let (path, interface, method) = at;
    call(
        connection,
        (path, interface, &method.name),
        with.of(method).as_ref(),
        interactive,
    )
    .await
}

/// Has root register the key, and returns token and device.
fn registered(host: &Host) -> (String, String) {
    let devices = host.claviger(Person::Allowed, &["devices"], "").done();
    let key = devices.said["devices"]
        .as_array()
        .expect("devices")
        .iter()
        .find(|device| device["faces"][0] == "hid");
    let key = key.expect("the key")["path"].as_str().expect("a path").to_owned();
    let done = host
        .claviger(Person::Allowed, &["register", "fido2", SUBJECT, "--pin-stdin"], PIN)
        .done();
    (done.text("token").to_owned(), key)
}

/// A case that is open.
fn open_case(host: &Host) -> String {
    let opened = host.claviger(Person::Allowed, &["case", "open", "bench"], "").done();
    opened.text("case").to_owned()
}

/// An operation that root has started and that is over.
async fn operation(host: &Host, token: &str, verb: &str) -> String {
    let options = HashMap::<&str, Variant<'_>>::new();
    let path = call(
        &host.root,
        (TOKENS_PATH, "org.claviger.Tokens1", verb),
        Some(&(token, options)),
        false,
    )
    .await
    .expect("an operation");
    let path: OwnedObjectPath = path.body().deserialize().expect("a path");
    within("the operation's end", async {
        let mut signals = MessageStream::from(&host.root);
        loop {
            let over = call::<()>(
                &host.root,
                (path.as_str(), "org.claviger.Operation1", "Result"),
                None,
                false,
            )
            .await;
            match over {
                Ok(_) => return,
                Err(refused) => assert_eq!(refused.name, ErrorName::NotCompleted.as_str()),
            }
            // Something that concerns root has happened; it may be its end.
            signals.next().await.expect("the bus").expect("a message");
        }
    })
    .await;
    path.to_string()
}

/// Frames that went to any token.
fn frames(world: &World) -> usize {
    world.list().iter().map(|token| token.frames).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn polkitd_knows_every_action_of_the_shipped_policy() {
    let Some(host) = Host::open(&[]).await else { return };
    let known = polkit::actions(&host.root).await;
    let ours: BTreeSet<&str> = known
        .keys()
        .map(String::as_str)
        .filter(|id| id.starts_with("org.claviger."))
        .collect();
    assert_eq!(ours, Action::ALL.iter().map(|action| action.polkit_id()).collect());
    for action in Action::ALL {
        let (description, message) = &known[action.polkit_id()];
        assert!(
            description.len() > 20 && message.starts_with("Authentication is required to "),
            "{action:?}: {message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_authorised_changes_nothing_by_any_method() {
    let Some(host) = Host::open(&[]).await else { return };
    let daemon = daemon(&host);
    let world = tokens(&host);
    let (token, device) = registered(&host);
    let operation = operation(&host, &token, "Suspend").await;
    let case = open_case(&host);
    let before = (standing(&host).await, daemon.ledger_bytes(), frames(&world));
    assert!(
        before.2 > 0
            && before
                .1
                .iter()
                .any(|(name, bytes)| name == "ledger.db" && !bytes.is_empty())
    );
    let methods = methods(&device, &operation, &case);
    let mut denied = 0;
    for who in [Person::Stranger, Person::Barred] {
        let caller = host.connect(who).await;
        for interactive in [false, true] {
            for at in &methods {
                let with = Arguments {
                    token: &token,
                    device: &device,
                };
                let (interface, method) = (&at.1, &at.2.name);
                let refused = invoke(&caller.connection, at, with, interactive).await;
                let refused = refused.expect_err(&format!("{interface}.{method} let {who:?} in"));
                assert_eq!(
                    refused.name, ACCESS_DENIED,
                    "{interface}.{method}: {}",
                    refused.sentence
                );
                let sentence = refused.sentence;
                let expected = match (who, interactive, interface.as_str()) {
                    (_, _, "org.claviger.Operation1") => "only the caller that started the operation",
                    (Person::Barred, _, _) => "polkit does not allow",
                    (_, true, _) => "no authentication agent is running",
                    (_, false, _) => "which this call did not allow",
                };
                assert!(
                    sentence.contains(expected),
                    "{interface}.{method} to {who:?}: {sentence}"
                );
                assert!(!sentence.contains(SUBJECT) && !sentence.contains(SERIAL), "{sentence}");
                denied += 1;
            }
        }
    }
    assert_eq!(denied, methods.len() * 4);
    println!("{denied} calls of {} methods denied", methods.len());
    // The files first: asking for the standing is itself a reading of them.
    assert!(daemon.ledger_bytes() == before.1, "a file of the ledger has changed");
    assert_eq!((standing(&host).await, frames(&world)), (before.0, before.2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_rule_lets_every_method_through() {
    let Some(host) = Host::open(&[]).await else { return };
    let _daemon = daemon(&host);
    let _world = tokens(&host);
    let (token, device) = registered(&host);
    let operation = operation(&host, &token, "Suspend").await;
    let case = open_case(&host);
    let caller = host.connect(Person::Allowed).await;
    for at in methods(&device, &operation, &case) {
        let (interface, method) = (&at.1, &at.2.name);
        let answer = invoke(&caller.connection, &at, NOBODYS, false).await;
        if interface == "org.claviger.Operation1" {
            // Not a matter of polkit: it is root's.
            assert_eq!(answer.expect_err("root's operation").name, ACCESS_DENIED, "{method}");
        } else if let Err(refused) = answer {
            assert_ne!(
                refused.name, ACCESS_DENIED,
                "{interface}.{method}: {}",
                refused.sentence
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_desk_gets_its_verbs_and_no_more() {
    let Some(host) = Host::open(&[]).await else { return };
    let _daemon = daemon(&host);
    let _world = tokens(&host);
    let (_, device) = registered(&host);
    let case = open_case(&host);
    let caller = host.connect(Person::HelpDesk).await;
    let mut given = BTreeSet::new();
    for at in methods(&device, "/org/claviger/Claviger1/operations/none", &case) {
        let (interface, method) = (&at.1, &at.2.name);
        let Some(Rule::Guarded { action, .. }) = action::rule(interface, method) else {
            continue;
        };
        // Whatever else is wrong with the call is found after admission.
        let admitted = match invoke(&caller.connection, &at, NOBODYS, true).await {
            Err(refused) if refused.name == ACCESS_DENIED => {
                assert!(
                    refused.sentence.contains("no authentication agent"),
                    "{method}: {}",
                    refused.sentence
                );
                false
            }
            _ => true,
        };
        if admitted {
            given.insert(method.clone());
        }
        println!(
            "{method} ({action:?}): {}",
            if admitted { "given" } else { "not given" }
        );
    }
    let expected = [
        "Status",
        "Describe",
        "ListOathCredentials",
        "Get",
        "Find",
        "Obligations",
        "History",
        "Forecast",
        "Fleet",
        "Groups",
        "Standing",
        "Verify",
        "Test",
        "Resync",
        "PreviewResync",
        "UndoResync",
        "SetClock",
        "Suspend",
        "ReportLost",
        "Open",
        "Needs",
        "AddEvidence",
        "Attach",
        "Close",
        "EnforcementFor",
        "Defer",
        "Coverage",
        "PinStatus",
        "ListCredentials",
        "ListFingerprints",
        "MeasureLargeBlobs",
        "AwaitTouch",
        "Wink",
    ];
    assert_eq!(given, expected.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_confirm_dismiss_and_fail() {
    let Some(host) = Host::open(&[]).await else { return };
    let daemon = daemon(&host);
    let world = tokens(&host);
    let (token, _) = registered(&host);
    let revoke = (TOKENS_PATH, "org.claviger.Tokens1", "Revoke");
    let arguments = || (token.as_str(), "lost", HashMap::<&str, Variant<'_>>::new());
    let before = (standing(&host).await, daemon.ledger_bytes(), frames(&world));

    for (temper, sentence) in [
        (Temper::Dismisses, "was dismissed"),
        (Temper::Fails, "polkit does not allow org.claviger.revoke"),
    ] {
        let caller = host.connect(Person::Stranger).await;
        let agent = Agent::register(&host, &caller, temper).await;
        let refused = caller.call(revoke, Some(&arguments()), true).await.expect_err("let in");
        assert_eq!(refused.name, ACCESS_DENIED);
        assert!(refused.sentence.contains(sentence), "{temper:?}: {}", refused.sentence);
        let shown = agent.shown();
        assert_eq!(shown.len(), 1, "{shown:?}");
        // Without leave to ask, nobody is asked.
        let refused = caller
            .call(revoke, Some(&arguments()), false)
            .await
            .expect_err("let in");
        assert!(
            refused.sentence.contains("which this call did not allow"),
            "{}",
            refused.sentence
        );
        assert!(agent.shown().is_empty());
    }
    assert!(daemon.ledger_bytes() == before.1, "a file of the ledger has changed");
    assert_eq!((standing(&host).await, frames(&world)), (before.0, before.2));

    let caller = host.connect(Person::Stranger).await;
    let agent = Agent::register(&host, &caller, Temper::Confirms).await;
    caller.call(revoke, Some(&arguments()), true).await.expect("admitted");
    let shown = agent.shown();
    let [dialog] = shown.as_slice() else {
        panic!("one dialog, not {shown:?}")
    };
    assert_eq!(dialog.action, "org.claviger.revoke");
    assert_eq!(
        dialog.message,
        "Authentication is required to revoke a hardware token for good"
    );
    let details = format!("{:?}", dialog.details);
    assert!(
        !details.contains(SUBJECT) && !details.contains(SERIAL),
        "shown: {details}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_polkitd_nobody_is_admitted_and_with_it_all_is_as_before() {
    let Some(mut host) = Host::open(&[]).await else { return };
    let _daemon = daemon(&host);
    let caller = host.connect(Person::Allowed).await;
    let status = (ROOT_PATH, "org.claviger.Manager1", "Status");
    let none = (HashMap::<&str, Variant<'_>>::new(),);
    caller.call(status, Some(&none), false).await.expect("admitted");
    host.kill_polkitd().await;
    for interactive in [false, true] {
        let refused = caller
            .call(status, Some(&none), interactive)
            .await
            .expect_err("admitted without polkit");
        assert_eq!(refused.name, ACCESS_DENIED);
        assert!(
            refused.sentence.contains("polkit could not be asked") && refused.sentence.contains("systemctl"),
            "{}",
            refused.sentence
        );
        // Root too: the daemon does not decide by itself.
        let refused = call(&host.root, status, Some(&none), interactive)
            .await
            .expect_err("root without polkit");
        assert_eq!(refused.name, ACCESS_DENIED);
    }
    host.start_polkitd().await;
    caller.call(status, Some(&none), false).await.expect("admitted again");
}

/// Everything that a connection receives, byte by byte.
struct Ear {
    heard: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Ear {
    fn at(connection: &Connection) -> Self {
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (mut stream, to) = (MessageStream::from(connection), Arc::clone(&heard));
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                to.lock().expect("no panic").extend_from_slice(message.data());
            }
        });
        Self { heard, task }
    }

    fn heard(&self, needle: &str) -> bool {
        self.heard
            .lock()
            .expect("no panic")
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn managed_objects(caller: &Caller) -> zbus::fdo::ManagedObjects {
    let managed = (ROOT_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects");
    let managed = caller.call::<()>(managed, None, false).await.expect("objects");
    managed.body().deserialize().expect("objects")
}

/// Waits until the operations of clients that have ended are gone, which is a moment after the client: nothing must go
/// while somebody looks around.
async fn no_operation_is_left(caller: &Caller) {
    within("the last operation going", async {
        while managed_objects(caller)
            .await
            .keys()
            .any(|path| path.contains("/operations/"))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Looks at everything that is open to anybody: introspection, managed objects, properties, and errors of `Set`.
async fn look_around(caller: &Caller) -> usize {
    let connection = &caller.connection;
    let managed = managed_objects(caller).await;
    let mut objects: BTreeMap<String, Vec<String>> = managed
        .iter()
        .map(|(path, interfaces)| (path.to_string(), interfaces.keys().map(ToString::to_string).collect()))
        .collect();
    objects.insert(ROOT_PATH.to_owned(), vec!["org.claviger.Manager1".to_owned()]);
    objects.insert(TOKENS_PATH.to_owned(), vec!["org.claviger.Tokens1".to_owned()]);
    objects.insert(DRIFT_PATH.to_owned(), vec!["org.claviger.Drift1".to_owned()]);
    for place in [
        "/",
        "/org",
        "/org/claviger",
        DEVICES_PATH,
        "/org/claviger/Claviger1/operations",
    ] {
        objects.entry(place.to_owned()).or_default();
    }
    let contract = contract::contract();
    let mut read = 0;
    for (path, interfaces) in &objects {
        let introspect = (path.as_str(), "org.freedesktop.DBus.Introspectable", "Introspect");
        // A parent whose last child has just gone is not there: what the refusal says is heard all the same.
        let introspected = caller.call::<()>(introspect, None, false).await;
        assert!(
            introspected.is_ok() || interfaces.is_empty(),
            "{path}: {introspected:?}"
        );
        for interface in interfaces.iter().filter(|name| contract.contains_key(*name)) {
            let properties = |member| (path.as_str(), "org.freedesktop.DBus.Properties", member);
            caller
                .call(properties("GetAll"), Some(&(interface,)), false)
                .await
                .expect("properties");
            for property in contract[interface].properties.keys() {
                caller
                    .call(properties("Get"), Some(&(interface, property)), false)
                    .await
                    .expect("a property");
                let set = (interface, property, Variant::from("x"));
                caller
                    .call(properties("Set"), Some(&set), false)
                    .await
                    .expect_err("a property was set");
                read += 1;
            }
        }
    }
    // An operation of somebody else, and whatever else is denied, must tell nothing either.
    let operations: Vec<&String> = objects.keys().filter(|path| path.contains("/operations/")).collect();
    for path in operations {
        for member in ["Result", "Cancel"] {
            let refused = call::<()>(connection, (path, "org.claviger.Operation1", member), None, false).await;
            assert_eq!(refused.expect_err("somebody else's operation").name, ACCESS_DENIED);
        }
    }
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_without_authority_learns_no_person_and_no_serial() {
    let Some(host) = Host::open(&[]).await.map(Arc::new) else {
        return;
    };
    let _daemon = daemon(&host);
    let world = tokens(&host);
    let stranger = host.connect(Person::Stranger).await;
    let ear = Ear::at(&stranger.connection);
    let bus = zbus::fdo::DBusProxy::new(&stranger.connection).await.expect("the bus");
    bus.add_match_rule("type='signal'".try_into().expect("a rule"))
        .await
        .expect("a match rule");
    for rule in [
        "eavesdrop='true'",
        "type='method_call',eavesdrop='true'",
        "type='method_return',eavesdrop='true'",
    ] {
        // The bus may refuse it or take it and give nothing.
        let _ = bus.add_match_rule(rule.try_into().expect("a rule")).await;
    }

    // The key waits for its touch while the stranger looks.
    let key = world.token("key").expect("the key");
    key.set_touch_mode(TouchMode::Manual);
    let client = {
        let host = Arc::clone(&host);
        let register = [
            "register",
            "fido2",
            SUBJECT,
            "--pin-stdin",
            "--label",
            SUBJECT,
            "--user-name",
            SUBJECT,
        ];
        tokio::task::spawn_blocking(move || host.claviger(Person::Allowed, &register, PIN))
    };
    until("the key asking for a touch", || key.wants_touch()).await;
    let mut read = look_around(&stranger).await;
    assert!(
        ear.heard("creating"),
        "the stranger may see the phase of an operation that waits"
    );
    key.set_touch_mode(TouchMode::Auto);
    key.touch();
    let register = within("the registration", client).await.expect("the client").done();
    let token = register.text("token").to_owned();
    let code = |step: i64| {
        world
            .with_fob("fob", |fob| fob.code(world.unix_s() + 30 * step))
            .expect("the fob")
    };
    let seed = world
        .with_fob("fob", |fob| hw_fixtures::crypto::to_hex(&fob.seed))
        .expect("the fob");
    let (first, second) = (code(-1), code(0));
    let fob = [
        "register",
        "fob",
        SUBJECT,
        &first,
        &second,
        "--serial",
        FOB_SERIAL,
        "--encoding",
        "hex",
        "--seed-stdin",
    ];
    let fob = host.claviger(Person::Allowed, &fob, &seed).done();
    host.claviger(Person::Allowed, &["test", &token], "").done();
    host.claviger(Person::Allowed, &["test", fob.text("token"), "--code", "000000"], "")
        .refused("CodeRejected");
    no_operation_is_left(&stranger).await;
    read += look_around(&stranger).await;
    host.claviger(
        Person::Allowed,
        &["revoke", &token, "--reason", "leaver", "--yes", "--pin-stdin"],
        PIN,
    )
    .done();
    world.unplug("key").expect("unplugged");
    world.plug("key").expect("plugged in");
    no_operation_is_left(&stranger).await;
    read += look_around(&stranger).await;
    println!("{read} properties read");
    assert!(read > 50, "{read}");

    // The ear works: it heard operations and devices come, and root's ear does find what is looked for.
    assert!(ear.heard("/org/claviger/Claviger1/operations/") && ear.heard("InterfacesAdded") && ear.heard("Nitrokey"));
    let roots = Ear::at(&host.root);
    let tokens = host::daemon::tokens(&host).await;
    tokens.get(&token, &HashMap::new()).await.expect("the record");
    tokens
        .get(fob.text("token"), &HashMap::new())
        .await
        .expect("the record");
    within("root hearing it", async {
        while !(roots.heard(SUBJECT) && roots.heard(SERIAL) && roots.heard(FOB_SERIAL)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for secret in [SUBJECT, SERIAL, FOB_SERIAL, PIN, &seed] {
        assert!(!ear.heard(secret), "the stranger heard “{secret}”");
    }
}
