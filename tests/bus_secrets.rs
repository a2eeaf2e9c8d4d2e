//! Secrets come as descriptors: what is read, what is refused, and that nobody can make the daemon wait.
mod harness;

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use claviger::contract::error::{ACCESS_DENIED, ErrorName};
use claviger::contract::{BUS_NAME, DEVICES_PATH, TOKENS_PATH};
use claviger::lifecycle::Request;
use harness::bus::{refused, within};
use harness::contract::{NOBODYS_TOKEN, descriptor};
use harness::desk::World;
use harness::polkit::Temper;
use zbus::{Fd, ObjectPath, Variant};

const TOKENS: &str = "org.claviger.Tokens1";

/// Registers a key with this descriptor as its PIN.
async fn register(world: &World, pin: OwnedFd) -> zbus::Result<zbus::Message> {
    let device = ObjectPath::try_from(format!("{DEVICES_PATH}/1")).expect("a path");
    let options = HashMap::<String, Variant<'_>>::new();
    let body = (device, "alice", Fd::from(pin), options);
    let call = world
        .client
        .call_method(Some(BUS_NAME), TOKENS_PATH, Some(TOKENS), "RegisterFido2", &body);
    within("an answer", call).await
}

fn pin(world: &World) -> Vec<u8> {
    match world.verbs.take_request().1 {
        Request::RegisterFido2 { pin, .. } => pin.expose().to_vec(),
        _ => panic!("another request"),
    }
}

async fn unreadable(world: &World, fd: OwnedFd) -> String {
    let (name, text) = refused(register(world, fd).await);
    assert_eq!(name, ErrorName::SecretUnreadable.as_str(), "{text}");
    assert!(text.contains("“pin”"), "{text}");
    assert_eq!(world.verbs.reached(), 0);
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_files_and_memfds_are_read_to_their_end() {
    let world = World::system(Temper::Yes).await;
    register(&world, descriptor(b"1234\n")).await.expect("a pipe");
    assert_eq!(pin(&world), b"1234");
    // One line feed is dropped, not two; white space is part of a PIN.
    register(&world, descriptor(b" 12 34\n\n")).await.expect("a pipe");
    assert_eq!(pin(&world), b" 12 34\n");

    let mut file = tempfile::tempfile().expect("a file");
    file.write_all("pässwörd".as_bytes()).expect("written");
    register(&world, file.into())
        .await
        .expect("a file whose offset is at its end");
    assert_eq!(pin(&world), "pässwörd".as_bytes());

    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let memfd = nix::sys::memfd::memfd_create("pin", flags).expect("a memfd");
    nix::unistd::write(&memfd, b"123456").expect("written");
    register(&world, memfd).await.expect("a memfd");
    assert_eq!(pin(&world), b"123456");

    register(&world, descriptor(&[b'7'; 4096]))
        .await
        .expect("as much as may be");
    assert_eq!(pin(&world).len(), 4096);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descriptor_that_never_ends_is_given_up() {
    let world = World::system(Temper::Yes).await;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(b"1234").expect("written");
    let begun = Instant::now();
    let text = unreadable(&world, reader.into()).await;
    let took = begun.elapsed();
    assert!(text.contains("2 s") && text.contains("close"), "{text}");
    assert!(
        (Duration::from_secs(2)..Duration::from_secs(4)).contains(&took),
        "{took:?}"
    );
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_secret_is_refused_with_a_sentence() {
    let world = World::system(Temper::Yes).await;
    assert!(unreadable(&world, descriptor(&[b'7'; 4097])).await.contains("4096"));
    let mut long = tempfile::tempfile().expect("a file");
    long.write_all(&[b'7'; 10_000]).expect("written");
    assert!(unreadable(&world, long.into()).await.contains("4096"));
    assert!(unreadable(&world, descriptor(b"")).await.contains("empty"));
    assert!(unreadable(&world, descriptor(b"\n")).await.contains("empty"));
    for path in ["/", "/dev/zero", "/dev/null"] {
        let file = std::fs::File::open(path).expect("open");
        let text = unreadable(&world, file.into()).await;
        assert!(text.contains("neither a pipe nor a regular file"), "{path}: {text}");
    }
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    assert!(unreadable(&world, writer.into()).await.contains("writing"));
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("sockets");
    unreadable(&world, one.into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_that_is_no_text_is_refused_without_being_quoted() {
    let world = World::system(Temper::Yes).await;
    let (name, text) = refused(register(&world, descriptor(b"12\xff34")).await);
    assert_eq!(name, ErrorName::InvalidArgument.as_str());
    assert!(!text.contains("12") && text.contains("UTF-8"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_before_admission() {
    let world = World::system(Temper::No).await;
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let kept = reader.try_clone().expect("a second end");
    writer.write_all(b"1234").expect("written");
    drop(writer);
    let (name, _) = refused(register(&world, reader.into()).await);
    assert_eq!(name, ACCESS_DENIED);
    let mut left = Vec::new();
    std::io::Read::read_to_end(&mut &kept, &mut left).expect("readable");
    assert_eq!(left, b"1234", "the secret is still in the pipe");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_take_descriptors_and_nothing_else_for_secrets() {
    let world = World::system(Temper::Yes).await;
    let call = async |value: Variant<'_>| {
        let options = HashMap::from([("pin", value)]);
        let body = (NOBODYS_TOKEN, options);
        let call = world
            .client
            .call_method(Some(BUS_NAME), TOKENS_PATH, Some(TOKENS), "Test", &body);
        within("an answer", call).await
    };
    let (name, text) = refused(call(Variant::from("1234")).await);
    assert_eq!(name, ErrorName::InvalidArgument.as_str());
    assert!(text.contains("(h)") && !text.contains("1234"), "{text}");
    call(Variant::Fd(Fd::from(descriptor(b"1234")))).await.expect("taken");
    match world.verbs.take_request().1 {
        Request::Test { at, .. } => assert_eq!(at.pin.expect("a PIN").expose(), b"1234"),
        _ => panic!("another request"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raw_seed_keeps_a_last_byte_that_is_a_line_feed() {
    let world = World::system(Temper::Yes).await;
    let mut seed = [7_u8; 20];
    seed[19] = b'\n';
    let options = HashMap::from([("encoding", Variant::from("raw"))]);
    let body = (
        "alice",
        "123",
        Fd::from(descriptor(&seed)),
        vec!["123456", "654321"],
        options,
    );
    let call = world
        .client
        .call_method(Some(BUS_NAME), TOKENS_PATH, Some(TOKENS), "RegisterFob", &body);
    within("an answer", call).await.expect("taken");
    match world.verbs.take_request().1 {
        Request::RegisterFob { seed: read, .. } => assert_eq!(read.expose(), seed),
        _ => panic!("another request"),
    }
}
