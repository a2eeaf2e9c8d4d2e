//! Whom session mode keeps out: other users, and itself from the system bus. These need other uids or an environment of
//! their own, so each plays its part in a child process: this same test program, started again.
mod harness;

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use claviger::contract::error::ACCESS_DENIED;
use claviger::contract::{BUS_NAME, ROOT_PATH};
use claviger::guard::{Guard, ModeError};
use harness::bus::{PrivateBus, refused};
use harness::desk::{World, no_policy};
use zbus::OwnedVariant;

const ADDRESS: &str = "CLAVIGER_TEST_BUS";

/// Starts one of the ignored tests below as a program of its own.
fn play(program: &Path, part: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", part, "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

async fn played(mut command: Command) {
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("joined")
        .expect("a child");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_not_admitted() {
    if !nix::unistd::Uid::effective().is_root() {
        let _ = std::io::Write::write_fmt(
            &mut std::io::stderr(),
            format_args!("skipped: becoming another user needs root\n"),
        );
        return;
    }
    let world = World::session().await;
    world.bus.open_to_others();
    let mut other = play(&world.bus.program(), "part_of_another_user");
    other
        .env(ADDRESS, world.bus.address())
        .current_dir("/")
        .uid(65534)
        .gid(65534);
    played(other).await;
    assert_eq!(world.verbs.reached(), 0);
}

#[tokio::test]
#[ignore = "a part, played in a child process"]
async fn part_of_another_user() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let client = zbus::connection::Builder::address(address.as_str())
        .build()
        .await
        .expect("a connection");
    let options = HashMap::<String, OwnedVariant>::new();
    let reply = client
        .call_method(
            Some(BUS_NAME),
            ROOT_PATH,
            Some("org.claviger.Manager1"),
            "Status",
            &(options,),
        )
        .await;
    let (name, text) = refused(reply);
    assert_eq!(name, ACCESS_DENIED);
    assert!(text.contains("65534"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_mode_is_refused_on_the_system_bus() {
    let bus = PrivateBus::start();
    let mut daemon = play(&this_program(), "part_of_a_daemon_on_the_system_bus");
    daemon
        .env(ADDRESS, bus.address())
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
    played(daemon).await;
}

#[tokio::test]
#[ignore = "a part, played in a child process"]
async fn part_of_a_daemon_on_the_system_bus() {
    let Ok(address) = std::env::var(ADDRESS) else { return };
    let connection = zbus::connection::Builder::address(address.as_str())
        .build()
        .await
        .expect("a connection");
    assert_eq!(
        Guard::session(&connection, no_policy()).await.err(),
        Some(ModeError::SystemBus)
    );
}
