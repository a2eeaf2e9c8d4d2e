//! Operations on the bus: whom they tell, whom they obey, what ends them.
mod harness;

use std::collections::HashMap;
use std::time::Duration;

use claviger::bus::Limits;
use claviger::contract::error::{ACCESS_DENIED, ErrorName};
use claviger::contract::{BUS_NAME, ROOT_PATH, TOKENS_PATH};
use claviger::device::DeviceError;
use claviger::guard::PolkitDeadlines;
use claviger::lifecycle::Refusal;
use claviger::lifecycle::operation::{Details, Outcome, Phase, UserAction, UserActionKind};
use claviger::link::Holder;
use claviger::types::{DeviceId, UnixMillis};
use futures_util::StreamExt;
use harness::bus::{refused, until, within};
use harness::contract::NOBODYS_TOKEN;
use harness::desk::{World, introspect};
use harness::polkit::Temper;
use zbus::message::Type;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, OwnedVariant};

const OPERATION: &str = "org.claviger.Operation1";

type Dict = HashMap<String, OwnedVariant>;

async fn begin(client: &Connection) -> zbus::Result<OwnedObjectPath> {
    let body = (NOBODYS_TOKEN, HashMap::<String, OwnedVariant>::new());
    let reply = client
        .call_method(
            Some(BUS_NAME),
            TOKENS_PATH,
            Some("org.claviger.Tokens1"),
            "Suspend",
            &body,
        )
        .await?;
    reply.body().deserialize()
}

async fn owner_call(client: &Connection, path: &str, method: &str) -> zbus::Result<zbus::Message> {
    within(
        method,
        client.call_method(Some(BUS_NAME), path, Some(OPERATION), method, &()),
    )
    .await
}

async fn signals(client: &Connection) -> MessageStream {
    let rule = MatchRule::builder().msg_type(Type::Signal).build().expect("a rule");
    MessageStream::for_match_rule(rule, client, None)
        .await
        .expect("a stream")
}

/// The next signal of an operation: its name, outcome or phase, and its dictionary.
async fn next(stream: &mut MessageStream) -> (String, String, Dict) {
    within("a signal", async {
        loop {
            let message = stream.next().await.expect("the bus").expect("a message");
            let header = message.header();
            if header.interface().is_none_or(|i| i.as_str() != OPERATION) {
                continue;
            }
            let member = header.member().expect("a member").to_string();
            let body = message.body();
            if member == "Completed" {
                let (outcome, details): (String, Dict) = body.deserialize().expect("its body");
                return (member, outcome, details);
            }
            let (phase, _, action): (String, u32, Dict) = body.deserialize().expect("its body");
            return (member, phase, action);
        }
    })
    .await
}

fn text(details: &Dict, key: &str) -> String {
    <&str>::try_from(&details[key]).expect("a string").to_owned()
}

fn short(linger: Duration) -> Limits {
    Limits {
        linger,
        ..Limits::default()
    }
}

async fn world(limits: Limits) -> World {
    World::with(Some(Temper::Yes), limits, PolkitDeadlines::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_told_and_nobody_else() {
    let world = World::system(Temper::Yes).await;
    let stranger = world.bus.connect().await;
    let mut overheard = signals(&stranger).await;
    let mut told = signals(&world.client).await;
    begin(&world.client).await.expect("an operation");
    assert_eq!(next(&mut told).await.1, "queued");

    let step = world.verbs.step();
    step.phase(Phase::Proving, 40);
    assert_eq!(next(&mut told).await.1, "proving");
    step.ask(UserAction {
        kind: UserActionKind::Touch,
        device: DeviceId(1),
        name: "ACME Key".to_owned(),
        place: "reader ACME (70D7E2EE) 00 00".to_owned(),
        until: UnixMillis(1_700_000_000_000),
        tries_left: Some(8),
        hint: None,
    });
    let (_, _, action) = next(&mut told).await;
    assert_eq!(text(&action, "kind"), "touch");
    assert_eq!(text(&action, "place"), "reader ACME 00 00");
    assert_eq!(u32::try_from(&action["tries-left"]).expect("a number"), 8);
    step.finish(Outcome::Refused(Refusal::Device(DeviceError::Busy(Some(Holder {
        sure: true,
        pid: 4711,
        program: "scdaemon".to_owned(),
    })))));
    let (member, outcome, details) = next(&mut told).await;
    assert_eq!((member.as_str(), outcome.as_str()), ("Completed", "refused"));
    assert_eq!(text(&details, "error"), ErrorName::DeviceBusy.as_str());
    assert_eq!(text(&details, "holder"), "scdaemon");
    assert_eq!(u32::try_from(&details["holder-pid"]).expect("a number"), 4711);
    assert!(text(&details, "message").contains("scdaemon"));

    // A broadcast sent last marks the end of what the stranger could have heard.
    world
        .daemon
        .emit_signal(Option::<&str>::None, ROOT_PATH, "org.claviger.Manager1", "End", &())
        .await
        .expect("sent");
    within("the end", async {
        loop {
            let message = overheard.next().await.expect("the bus").expect("a message");
            let header = message.header();
            assert!(
                header.interface().is_none_or(|i| i.as_str() != OPERATION),
                "the stranger heard {header:?}"
            );
            if header.member().is_some_and(|m| m.as_str() == "End") {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_is_obeyed() {
    let world = World::system(Temper::Yes).await;
    let path = begin(&world.client).await.expect("an operation");
    let stranger = world.bus.connect().await;
    for method in ["Cancel", "Result"] {
        let (name, _) = refused(owner_call(&stranger, &path, method).await);
        assert_eq!(name, ACCESS_DENIED, "{method}");
    }
    let step = world.verbs.step();
    assert!(!step.cancel_flag().is_cancelled());
    let (name, sentence) = refused(owner_call(&world.client, &path, "Result").await);
    assert_eq!(name, ErrorName::NotCompleted.as_str());
    assert!(sentence.contains("queued"), "{sentence}");
    owner_call(&world.client, &path, "Cancel").await.expect("obeyed");
    assert!(step.cancel_flag().is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_point_of_no_return_it_is_too_late() {
    let world = World::system(Temper::Yes).await;
    let path = begin(&world.client).await.expect("an operation");
    world.verbs.step().point_of_no_return().expect("in time");
    let (name, _) = refused(owner_call(&world.client, &path, "Cancel").await);
    assert_eq!(name, ErrorName::TooLate.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_cancels_and_takes_its_objects_along() {
    let world = World::system(Temper::Yes).await;
    let leaver = world.bus.connect().await;
    let path = begin(&leaver).await.expect("an operation");
    let step = world.verbs.step();
    assert!(!step.cancel_flag().is_cancelled());
    leaver.close().await.expect("left");
    until("cancelling", || step.cancel_flag().is_cancelled()).await;
    assert!(
        introspect(&world.client, &path).await.contains(OPERATION),
        "it is shown until it is over"
    );
    step.finish(Outcome::Cancelled);
    within("the object going", async {
        while introspect(&world.client, &path).await.contains(OPERATION) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(world.served.open_operations(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_stays_for_a_while() {
    let world = world(short(Duration::from_secs(2))).await;
    let mut told = signals(&world.client).await;
    let path = begin(&world.client).await.expect("an operation");
    world.verbs.step().finish(Outcome::Done(Details {
        offset_s: Some(-540),
        ..Details::default()
    }));
    while next(&mut told).await.0 != "Completed" {}
    let reply = owner_call(&world.client, &path, "Result").await.expect("readable");
    let (outcome, details): (String, Dict) = reply.body().deserialize().expect("its body");
    assert_eq!(outcome, "done");
    assert_eq!(i64::try_from(&details["offset-s"]).expect("a number"), -540);
    within("the object going", async {
        while introspect(&world.client, &path).await.contains(OPERATION) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_that_vanishes_is_told_as_a_fault_of_ours() {
    let world = World::system(Temper::Yes).await;
    let mut told = signals(&world.client).await;
    let path = begin(&world.client).await.expect("an operation");
    // Request, grant and the verb's side of the operation are dropped without a word.
    drop(world.verbs.take_request());
    let (outcome, details) = loop {
        let (member, outcome, details) = next(&mut told).await;
        if member == "Completed" {
            break (outcome, details);
        }
    };
    assert_eq!(outcome, "refused");
    assert_eq!(text(&details, "error"), ErrorName::Internal.as_str());
    owner_call(&world.client, &path, "Result")
        .await
        .expect("readable as well");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_capped_by_user() {
    let limits = Limits {
        per_caller: 2,
        ..Limits::default()
    };
    let world = world(limits).await;
    for _ in 0..2 {
        begin(&world.client).await.expect("an operation");
    }
    let (name, sentence) = refused(begin(&world.client).await);
    assert_eq!(name, ErrorName::TooManyOperations.as_str());
    assert!(sentence.contains('2'), "{sentence}");
    // Another connection gives the same user no more places.
    let other = world.bus.connect().await;
    assert_eq!(refused(begin(&other).await).0, ErrorName::TooManyOperations.as_str());
    // One that is over gives its place back.
    world.verbs.step().finish(Outcome::Cancelled);
    until("a place", || world.served.open_operations() == 1).await;
    begin(&other).await.expect("a place");
    for (_, _, step) in world.verbs.started.lock().unwrap().iter() {
        step.finish(Outcome::Cancelled);
    }
    within("the last one ending", world.served.drained()).await;
    assert_eq!(world.served.open_operations(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_before_the_daemon_is_ready() {
    let world = World::system(Temper::Yes).await;
    world.served.set_ready(false).await.expect("told");
    assert_eq!(refused(begin(&world.client).await).0, ErrorName::NotReady.as_str());
    assert_eq!(world.verbs.reached(), 0);
    world.served.set_ready(true).await.expect("told");
    begin(&world.client).await.expect("begun");
}
