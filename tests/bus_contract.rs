//! The live objects against `dbus/*.xml`; what those see who may see nothing; what every method says to a wrong option.
mod harness;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use claviger::contract::error::{ACCESS_DENIED, ErrorName};
use claviger::contract::{
    BUS_NAME, BYPASSES_PATH, CASES_PATH, DEVICES_PATH, DRIFT_PATH, ROOT_PATH, SUBJECTS_PATH, TOKENS_PATH, VERIFY_PATH,
};
use claviger::guard::action::{self, Rule};
use claviger::lifecycle::operation::{Details, Outcome};
use futures_util::StreamExt;
use harness::bus::{refused, within};
use harness::contract::{Interface, Method, NOBODYS_TOKEN, OPEN_CASE, arguments, contract, parse};
use harness::desk::{SERIAL, World, device, introspect};
use harness::polkit::Temper;
use zbus::message::Type;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, Variant};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Calls a method with sound arguments and something extra in its dictionary.
async fn call(
    client: &Connection,
    path: &str,
    interface: &str,
    method: &Method,
    extra: HashMap<String, Variant<'static>>,
) -> zbus::Result<Message> {
    let call = async {
        match arguments(method, extra) {
            Some(body) => {
                client
                    .call_method(Some(BUS_NAME), path, Some(interface), &*method.name, &body)
                    .await
            }
            None => {
                client
                    .call_method(Some(BUS_NAME), path, Some(interface), &*method.name, &())
                    .await
            }
        }
    };
    within(&method.name, call).await
}

/// Starts an operation and returns its path.
async fn begin(world: &World) -> OwnedObjectPath {
    let suspend = &contract()["org.claviger.Tokens1"];
    let suspend = suspend.methods.iter().find(|m| m.name == "Suspend").expect("Suspend");
    let reply = call(
        &world.client,
        TOKENS_PATH,
        "org.claviger.Tokens1",
        suspend,
        HashMap::new(),
    )
    .await;
    reply.expect("an operation").body().deserialize().expect("a path")
}

/// Where the objects of each interface are.
fn places(operation: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("org.claviger.Manager1", ROOT_PATH.to_owned()),
        ("org.claviger.Tokens1", TOKENS_PATH.to_owned()),
        ("org.claviger.Drift1", DRIFT_PATH.to_owned()),
        ("org.claviger.Verify1", VERIFY_PATH.to_owned()),
        ("org.claviger.Subjects1", SUBJECTS_PATH.to_owned()),
        ("org.claviger.Device1", format!("{DEVICES_PATH}/1")),
        ("org.claviger.Fido1", format!("{DEVICES_PATH}/1")),
        ("org.claviger.Cases1", CASES_PATH.to_owned()),
        ("org.claviger.Bypasses1", BYPASSES_PATH.to_owned()),
        (
            "org.claviger.Case1",
            format!("{CASES_PATH}/{}", OPEN_CASE.replace('-', "")),
        ),
        ("org.claviger.Operation1", operation.to_owned()),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_equals_the_contract() {
    let world = World::system(Temper::Yes).await;
    let operation = begin(&world).await;
    let contract = contract();
    let places = places(&operation);
    assert_eq!(
        contract.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        places.keys().copied().collect()
    );
    for (name, path) in &places {
        let live = parse(&introspect(&world.client, path).await);
        let ours: Vec<&Interface> = live.iter().filter(|i| i.name.starts_with("org.claviger.")).collect();
        let expected = places.values().filter(|other| *other == path).count();
        assert_eq!(
            ours.len(),
            expected,
            "{path} has the interfaces of ours that it shall have"
        );
        let own = ours.iter().find(|interface| interface.name == *name).expect("it");
        assert_eq!(**own, contract[*name], "{name} at {path}");
        let silent = own.documentation.iter().find(|(_, text)| text.is_empty());
        assert_eq!(silent, None, "a member of {name} without documentation");
        // What else is there must be known to the guard's table as open.
        for standard in live.iter().filter(|i| !i.name.starts_with("org.claviger.")) {
            for method in &standard.methods {
                let rule = action::rule(&standard.name, &method.name);
                assert_eq!(rule, Some(Rule::Open), "{}.{}", standard.name, method.name);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_denied_reaches_nothing() {
    let world = World::system(Temper::Yes).await;
    let operation = begin(&world).await;
    let before = world.verbs.reached();
    let polkit = world.polkit.as_ref().expect("polkit");
    let stranger = world.bus.connect().await;
    let places = places(&operation);
    for temper in [Temper::No, Temper::Challenge, Temper::Dismissed, Temper::Broken] {
        polkit.set(temper);
        let mut denied = 0;
        for interface in contract().values() {
            for method in &interface.methods {
                let path = &places[interface.name.as_str()];
                let reply = call(&stranger, path, &interface.name, method, HashMap::new()).await;
                let (name, text) = refused(reply);
                assert_eq!(
                    name, ACCESS_DENIED,
                    "{}.{} ({temper:?}): {text}",
                    interface.name, method.name
                );
                assert!(text.len() > 20, "a sentence, not “{text}”");
                denied += 1;
            }
        }
        assert_eq!(denied, 88, "methods called");
    }
    assert_eq!(world.verbs.reached(), before, "something behind the guard was reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_options_are_named() {
    let world = World::system(Temper::Yes).await;
    let operation = begin(&world).await;
    let before = world.verbs.reached();
    let asked = world.polkit.as_ref().expect("polkit").questions().len();
    let places = places(&operation);
    let mut tried = 0;
    for interface in contract().values() {
        for method in interface
            .methods
            .iter()
            .filter(|m| m.input.iter().any(|(_, t)| t == "a{sv}"))
        {
            let extra = HashMap::from([("colour".to_owned(), Variant::from("blue"))]);
            let path = &places[interface.name.as_str()];
            let (name, text) = refused(call(&world.client, path, &interface.name, method, extra).await);
            assert_eq!(name, ErrorName::UnknownOption.as_str(), "{}: {text}", method.name);
            assert!(text.contains("colour"), "{}: {text}", method.name);
            tried += 1;
        }
    }
    assert_eq!(tried, 86, "methods with a dictionary");
    assert_eq!(world.verbs.reached(), before);
    let polkit = world.polkit.as_ref().expect("polkit");
    assert_eq!(
        polkit.questions().len(),
        asked,
        "nobody is asked for a password before that"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_nobody_opened_is_refused_and_so_is_a_malformed_one() {
    let world = World::system(Temper::Yes).await;
    let tokens = &contract()["org.claviger.Tokens1"];
    let test = tokens.methods.iter().find(|m| m.name == "Test").expect("Test");
    let before = world.verbs.reached();
    let unopened = HashMap::from([("case".to_owned(), Variant::from(NOBODYS_TOKEN))]);
    let (name, text) = refused(call(&world.client, TOKENS_PATH, &tokens.name, test, unopened).await);
    assert_eq!(name, ErrorName::UnknownCase.as_str(), "{text}");
    assert_eq!(world.verbs.reached(), before);
    for malformed in [Variant::from("not-a-case"), Variant::from(7_u32)] {
        let extra = HashMap::from([("case".to_owned(), malformed)]);
        let (name, text) = refused(call(&world.client, TOKENS_PATH, &tokens.name, test, extra).await);
        assert_eq!(name, ErrorName::InvalidArgument.as_str(), "{text}");
        assert!(text.contains("case"), "{text}");
    }
}

/// Everything that anybody can read without being admitted, as one text.
async fn everything_open(stranger: &Connection, operation: &str) -> String {
    let mut seen = String::new();
    let managed = stranger
        .call_method(
            Some(BUS_NAME),
            ROOT_PATH,
            Some("org.freedesktop.DBus.ObjectManager"),
            "GetManagedObjects",
            &(),
        )
        .await
        .expect("objects");
    seen.push_str(&format!(
        "{:?}",
        managed
            .body()
            .deserialize::<zbus::fdo::ManagedObjects>()
            .expect("objects")
    ));
    for (interface, path) in places(operation) {
        seen.push_str(&introspect(stranger, &path).await);
        let all = stranger
            .call_method(Some(BUS_NAME), path.as_str(), Some(PROPERTIES), "GetAll", &(interface,))
            .await
            .expect("properties");
        let all: HashMap<String, zbus::OwnedVariant> = all.body().deserialize().expect("properties");
        let written = contract()[interface].properties.len();
        assert_eq!(all.len(), written, "properties of {interface}");
        seen.push_str(&format!("{all:?}"));
        for name in all.keys() {
            let set = (interface, name.as_str(), Variant::from("x"));
            let reply = stranger
                .call_method(Some(BUS_NAME), path.as_str(), Some(PROPERTIES), "Set", &set)
                .await;
            let (_, text) = refused(reply);
            seen.push_str(&text);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_a_person_or_a_serial_without_being_admitted() {
    let world = World::system(Temper::Yes).await;
    let stranger = world.bus.connect().await;
    let rule = MatchRule::builder().msg_type(Type::Signal).build().expect("a rule");
    let mut overheard = MessageStream::for_match_rule(rule, &stranger, None)
        .await
        .expect("a stream");

    // An operation about a person, and a second device, come and go under the stranger's ears.
    let register = &contract()["org.claviger.Tokens1"];
    let register = register
        .methods
        .iter()
        .find(|m| m.name == "RegisterFob")
        .expect("RegisterFob");
    let reply = call(
        &world.client,
        TOKENS_PATH,
        "org.claviger.Tokens1",
        register,
        HashMap::new(),
    )
    .await;
    let operation: OwnedObjectPath = reply.expect("an operation").body().deserialize().expect("a path");
    let mut changed = device(1);
    changed.place = format!("reader ACME CCID [Main] ({SERIAL}) 01 00");
    changed.state = "busy";
    world.verbs.plug(device(2));
    world.verbs.plug(changed);
    let step = world.verbs.step();
    step.finish(Outcome::Done(Details {
        oath_name: Some("someone".to_owned()),
        ..Details::default()
    }));
    let mut heard = String::new();
    let mut second_shown = false;
    within("the second device coming and leaving", async {
        loop {
            let message = overheard.next().await.expect("the bus").expect("a message");
            let header = message.header();
            let member = header.member().map(ToString::to_string).unwrap_or_default();
            let body = message.body();
            let body: zbus::Structure<'_> = body.deserialize().expect("a body");
            let about = format!("{:?} {member} {body:?}\n", header.interface());
            heard.push_str(&about);
            if !second_shown && about.contains("devices/2") {
                second_shown = true;
                world.verbs.unplug(2);
            }
            if member == "InterfacesRemoved" && about.contains("devices/2") {
                break;
            }
        }
    })
    .await;
    assert!(
        heard.contains("InterfacesAdded") && heard.contains("operations/"),
        "{heard}"
    );
    assert!(heard.contains("busy"), "a changed state is told: {heard}");
    assert!(!heard.contains("Completed") && !heard.contains("Progressed"), "{heard}");

    let open = everything_open(&stranger, &operation).await;
    for (what, text) in [("signals", &heard), ("properties and introspection", &open)] {
        assert!(!text.contains(SERIAL), "a serial in {what}: {text}");
        assert!(!text.contains("someone"), "a person in {what}: {text}");
    }
}
