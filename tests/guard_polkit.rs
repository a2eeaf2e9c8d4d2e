//! What the guard asks polkit, and what it makes of every answer and of none. (The real polkitd has tests of its own.)
mod harness;

use std::collections::HashMap;
use std::time::Duration;

use claviger::bus::Limits;
use claviger::contract::error::ACCESS_DENIED;
use claviger::contract::{BUS_NAME, ROOT_PATH, TOKENS_PATH};
use claviger::grant::{Action, Object, Origin};
use claviger::guard::PolkitDeadlines;
use harness::bus::{refused, until, within};
use harness::contract::NOBODYS_TOKEN;
use harness::desk::World;
use harness::polkit::Temper;
use zbus::message::Flags;
use zbus::{Connection, Message, OwnedVariant};

const TOKENS: &str = "org.claviger.Tokens1";

type Dict = HashMap<String, OwnedVariant>;

async fn revoke(client: &Connection) -> zbus::Result<Message> {
    let body = (NOBODYS_TOKEN, "lost", Dict::new());
    client
        .call_method(Some(BUS_NAME), TOKENS_PATH, Some(TOKENS), "Revoke", &body)
        .await
}

/// The same, with a person willing to be asked. Does not wait for the answer.
async fn revoke_interactively(client: &Connection) {
    let message = Message::method_call(TOKENS_PATH, "Revoke")
        .destination(BUS_NAME)
        .interface(TOKENS)
        .with_flags(Flags::ALLOW_INTERACTIVE_AUTH)
        .build(&(NOBODYS_TOKEN, "lost", Dict::new()))
        .expect("a message");
    client.send(&message).await.expect("sent");
}

fn quick() -> PolkitDeadlines {
    PolkitDeadlines {
        plain: Duration::from_millis(200),
        interactive: Duration::from_millis(600),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subject_is_the_sender_and_the_details_are_not_personal() {
    let world = World::system(Temper::Yes).await;
    revoke(&world.client).await.expect("an operation");
    let questions = world.polkit.as_ref().expect("polkit").questions();
    assert_eq!(questions.len(), 1);
    let question = &questions[0];
    assert_eq!(question.kind, "system-bus-name");
    assert_eq!(question.name, world.client.unique_name().expect("a name").as_str());
    assert_eq!(question.action, "org.claviger.revoke");
    let details = HashMap::from([
        ("verb".to_owned(), "Revoke".to_owned()),
        ("token".to_owned(), NOBODYS_TOKEN.to_owned()),
    ]);
    assert_eq!(question.details, details);
    assert!(!question.interactive, "nobody may be disturbed who did not allow it");

    let (grant, _) = world.verbs.take_request();
    let token = NOBODYS_TOKEN.parse().expect("an id");
    assert!(grant.require(Action::Revoke, &Object::Token(token)).is_ok());
    match grant.origin() {
        Origin::Polkit(caller) => {
            assert_eq!(caller.uid, nix::unistd::Uid::effective().as_raw());
            assert_eq!(caller.name, question.name);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interaction_is_allowed_when_the_message_allows_it() {
    let world = World::system(Temper::No).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    revoke_interactively(&world.client).await;
    within("the question", polkit.asked()).await;
    assert!(polkit.questions()[0].interactive);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_no_has_its_sentence() {
    let world = World::system(Temper::Yes).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    for (temper, word) in [
        (Temper::No, "does not allow org.claviger.revoke"),
        (Temper::Challenge, "interactive"),
        (Temper::Dismissed, "dismissed"),
        (Temper::Broken, "could not be asked (org.freedesktop.DBus.Error.Failed)"),
    ] {
        polkit.set(temper);
        let (name, text) = refused(revoke(&world.client).await);
        assert_eq!(name, ACCESS_DENIED);
        assert!(text.contains(word), "{temper:?}: {text}");
    }
    assert_eq!(world.verbs.reached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_polkit_nobody_is_admitted() {
    let world = World::with(None, Limits::default(), PolkitDeadlines::default()).await;
    let (name, text) = refused(revoke(&world.client).await);
    assert_eq!(name, ACCESS_DENIED);
    assert!(
        text.contains("could not be asked") && text.contains("ServiceUnknown"),
        "{text}"
    );
    assert_eq!(world.verbs.reached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polkit_that_does_not_answer_is_given_up_and_the_check_cancelled() {
    let world = World::with(Some(Temper::Silent), Limits::default(), quick()).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    let (name, text) = refused(within("an answer", revoke(&world.client)).await);
    assert_eq!(name, ACCESS_DENIED);
    assert!(text.contains("did not answer"), "{text}");
    assert_eq!(polkit.cancelled(), [polkit.questions()[0].cancellation.clone()]);
    assert_eq!(world.verbs.reached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_while_polkit_asks_takes_the_dialog_along() {
    let world = World::system(Temper::Silent).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    let leaver = world.bus.connect().await;
    revoke_interactively(&leaver).await;
    within("the question", polkit.asked()).await;
    leaver.close().await.expect("left");
    within("the cancellation", polkit.stopped()).await;
    assert_eq!(polkit.cancelled(), [polkit.questions()[0].cancellation.clone()]);
    assert_eq!(world.verbs.reached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_is_asked_others_are_served() {
    let world = World::system(Temper::Silent).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    revoke_interactively(&world.client).await;
    within("the question", polkit.asked()).await;
    polkit.set(Temper::Yes);
    let other = world.bus.connect().await;
    within("another caller's operation", revoke(&other))
        .await
        .expect("an operation");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_questions_are_capped() {
    let world = World::system(Temper::Silent).await;
    let polkit = world.polkit.as_ref().expect("polkit");
    for _ in 0..32 {
        revoke_interactively(&world.client).await;
    }
    until("the questions", || polkit.questions().len() == 32).await;
    let other = world.bus.connect().await;
    let (name, text) = refused(within("an answer", revoke(&other)).await);
    assert_eq!(name, ACCESS_DENIED);
    assert!(
        text.contains("waiting for authorisation"),
        "more connections of one user do not help: {text}"
    );
    assert_eq!(polkit.questions().len(), 32);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_mode_admits_the_user_who_runs_the_daemon() {
    let world = World::session().await;
    revoke(&world.client).await.expect("an operation");
    let (grant, _) = world.verbs.take_request();
    assert!(matches!(grant.origin(), Origin::Session(caller) if caller.uid == nix::unistd::Uid::effective().as_raw()));
    let mode = world
        .client
        .call_method(
            Some(BUS_NAME),
            ROOT_PATH,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &("org.claviger.Manager1", "Mode"),
        )
        .await
        .expect("a property");
    let mode: OwnedVariant = mode.body().deserialize().expect("a value");
    assert_eq!(<&str>::try_from(&mode).expect("a string"), "session");
}
