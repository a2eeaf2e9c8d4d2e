//! The guard against the real polkitd: users who may, users who may not, and people who confirm or close the dialog.
//!
//! Clients are child processes under uids of their own: this same test program, started again.
mod harness;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use claviger::contract::error::ACCESS_DENIED;
use claviger::contract::{BUS_NAME, ROOT_PATH, TOKENS_PATH};
use claviger::grant::Origin;
use harness::bus::{PrivateBus, refused};
use harness::contract::NOBODYS_TOKEN;
use harness::desk::World;
use harness::polkitd::{Agent, Person, Polkitd, missing};
use zbus::message::Flags;
use zbus::{Message, OwnedVariant};

/// Of the help desk in these tests (Debian's `daemon`), and not (`nobody`).
const HELPER: u32 = 1;
const STRANGER: u32 = 65534;

const ADDRESS: &str = "CLAVIGER_TEST_BUS";
const METHOD: &str = "CLAVIGER_TEST_METHOD";

/// A client under another uid, waiting for the word to call.
struct Client {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(world: &World, uid: u32, method: &str) -> Self {
        let mut child = Command::new(world.bus.program())
            .args(["--exact", "part_of_a_client", "--ignored", "--nocapture"])
            .env(ADDRESS, world.bus.address())
            .env(METHOD, method)
            .current_dir("/")
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a client");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    /// Lets it call and returns what it was answered: “ok”, or an error's name and sentence.
    async fn call(mut self) -> String {
        let answer = tokio::task::spawn_blocking(move || {
            self.child
                .stdin
                .take()
                .expect("its input")
                .write_all(b"call\n")
                .expect("told");
            let answer = self
                .output
                .by_ref()
                .lines()
                .map_while(Result::ok)
                .find_map(|line| line.split_once("answer: ").map(|(_, answer)| answer.to_owned()));
            let _ = self.child.wait();
            answer
        });
        answer.await.expect("joined").expect("an answer")
    }
}

#[tokio::test]
#[ignore = "a part, played in a child process"]
async fn part_of_a_client() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let method = std::env::var(METHOD).expect("a method");
    std::io::stdin().lock().read_line(&mut String::new()).expect("the word");
    let client = zbus::connection::Builder::address(address.as_str())
        .build()
        .await
        .expect("a connection");
    let options = HashMap::<String, OwnedVariant>::new();
    let (path, interface) = match method.as_str() {
        "Status" => (ROOT_PATH, "org.claviger.Manager1"),
        _ => (TOKENS_PATH, "org.claviger.Tokens1"),
    };
    let message = Message::method_call(path, method.as_str())
        .destination(BUS_NAME)
        .interface(interface)
        .with_flags(Flags::ALLOW_INTERACTIVE_AUTH);
    let message = match method.as_str() {
        "Status" => message.build(&(options,)),
        "Revoke" => message.build(&(NOBODYS_TOKEN, "lost", options)),
        _ => message.build(&(NOBODYS_TOKEN, options)),
    };
    let message = message.expect("a message");
    let serial = message.primary_header().serial_num();
    let mut replies = zbus::MessageStream::from(&client);
    client.send(&message).await.expect("sent");
    let reply = loop {
        let reply = futures_util::StreamExt::next(&mut replies)
            .await
            .expect("the bus")
            .expect("a message");
        if reply.header().reply_serial() == Some(serial) {
            break reply;
        }
    };
    match reply.message_type() {
        zbus::message::Type::MethodReturn => println!("answer: ok"),
        _ => {
            let (name, text) = refused::<()>(Err(reply.into()));
            println!("answer: {name}: {text}");
        }
    }
}

/// A world with the real polkitd and the example rules; `None`, and a line that says so, where that cannot be.
async fn world() -> Option<(World, Polkitd)> {
    if let Some(why) = missing() {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("real polkitd: skipped, {why}\n"));
        return None;
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/polkit/50-claviger-helpdesk.rules.example");
    let example = std::fs::read_to_string(example).expect("the example");
    let bus = PrivateBus::system();
    let polkitd = Polkitd::start(&bus, &[("50-claviger-helpdesk.rules", example)], "root", "daemon").await;
    Some((World::on(bus).await, polkitd))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_help_desk_gets_its_verbs_and_no_more() {
    let Some((world, _polkitd)) = world().await else { return };
    for (method, given) in [
        ("Status", true),
        ("Test", true),
        ("Suspend", true),
        ("ReportLost", true),
        ("Resume", false),
        ("Revoke", false),
    ] {
        let before = world.verbs.reached();
        let answer = Client::start(&world, HELPER, method).call().await;
        if given {
            assert_eq!(answer, "ok", "{method}");
        } else {
            assert!(
                answer.starts_with(ACCESS_DENIED) && answer.contains("agent"),
                "{method}: {answer}"
            );
            assert_eq!(world.verbs.reached(), before);
        }
        let answer = Client::start(&world, STRANGER, method).call().await;
        assert!(answer.starts_with(ACCESS_DENIED), "{method} by a stranger: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_confirms_or_dismisses() {
    let Some((world, _polkitd)) = world().await else { return };
    let client = Client::start(&world, STRANGER, "Revoke");
    let agent = Agent::register(&world.bus, client.child.id(), Person::Confirms).await;
    assert_eq!(client.call().await, "ok");
    let asked = agent.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].0, "org.claviger.revoke");
    let shown = &asked[0].1;
    assert!(
        shown.keys().all(|key| key.starts_with("polkit.")),
        "shown to the agent: {shown:?}"
    );
    let (grant, _) = world.verbs.take_request();
    assert!(matches!(grant.origin(), Origin::Polkit(caller) if caller.uid == STRANGER));

    let client = Client::start(&world, STRANGER, "Revoke");
    let agent = Agent::register(&world.bus, client.child.id(), Person::Dismisses).await;
    let answer = client.call().await;
    assert!(
        answer.starts_with(ACCESS_DENIED) && answer.contains("dismissed"),
        "{answer}"
    );
    assert_eq!(agent.asked().len(), 1);
    assert_eq!(world.verbs.reached(), 0);
}
