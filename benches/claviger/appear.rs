//! How soon a client hears of a device.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hw_fixtures::front::{Plugged, Testbed, plug_virtual};
use hw_fixtures::token::{Token, TokenSetup};
use hw_fixtures::{Profile, SimError};

use crate::daemon::{Daemon, Setup, state_directory};
use crate::harness::bus::within;
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

const ROUNDS: usize = 40;
/// Each makes a new node by way of a script.
const HIDRAW_ROUNDS: usize = 10;

/// `device_appeared_ms`: through the virtual link. What a hidraw node takes is told below it.
pub async fn appeared() -> Result<Measured, String> {
    let stage = Stage::open().await;
    let state = state_directory();
    let daemon = Daemon::start(&stage, state.path(), &Setup::default()).await;
    let socket = daemon.socket.clone();
    let times = times(&stage, ROUNDS, move |token| plug_virtual(&socket, token)).await;
    daemon.stop().await;
    Ok(Measured {
        value: median(&times),
        notes: vec![
            format!(
                "virtual link, {} mode, {ROUNDS} times; nine in ten under {:.1} ms",
                stage.mode(),
                quantile(&times, 0.9)
            ),
            hidraw(&stage, state.path()).await,
        ],
    })
}

/// From the order to umockdev to make a node. Most of it is the making.
async fn hidraw(stage: &Stage, state: &Path) -> String {
    if !Path::new("/usr/bin/umockdev-wrapper").exists() {
        return "hidraw: not measured, no umockdev (Debian: umockdev, gir1.2-umockdev-1.0, python3-gi)".to_owned();
    }
    let bed = match Testbed::start(Some(stage.directory())) {
        Ok(bed) if bed.has_shim() => bed,
        Ok(_) => return "hidraw: not measured, no C compiler for umockdev's shim".to_owned(),
        Err(error) => return format!("hidraw: not measured, {error}"),
    };
    let setup = Setup {
        hid: true,
        environment: bed.environment(),
        ..Setup::default()
    };
    let daemon = Daemon::start(stage, state, &setup).await;
    let plugging = std::sync::Arc::clone(&bed);
    let times = times(stage, HIDRAW_ROUNDS, move |token| plugging.plug(token)).await;
    daemon.stop().await;
    format!(
        "hidraw node by umockdev, the making of the node included: {:.1} ms, {HIDRAW_ROUNDS} times",
        median(&times)
    )
}

/// Plugs a key in and pulls it out again, and again. Milliseconds from just before it is plugged in to the signal.
async fn times(
    stage: &Stage,
    rounds: usize,
    plug: impl Fn(&Token) -> Result<Plugged, SimError> + Clone + Send + 'static,
) -> Vec<f64> {
    let objects = stage.objects().await;
    let mut added = objects.receive_interfaces_added().await.expect("a match rule");
    let mut removed = objects.receive_interfaces_removed().await.expect("a match rule");
    let profile = Profile::named("solo-2").expect("a profile");
    let mut times = Vec::new();
    for round in 0..rounds {
        let token = Token::new(&profile, TokenSetup::named(&format!("key-{round}"))).expect("a token");
        let plug = plug.clone();
        let plugging = tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            (begun, plug(&token))
        });
        within("InterfacesAdded", async {
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
        let heard = Instant::now();
        let (begun, plugged) = plugging.await.expect("joined");
        times.push((heard - begun).as_secs_f64() * 1000.0);
        let plugged = plugged.expect("plugged in");
        tokio::task::spawn_blocking(move || plugged.unplug())
            .await
            .expect("joined");
        within("InterfacesRemoved", async {
            while let Some(signal) = removed.next().await {
                let args = signal.args().expect("arguments");
                if args
                    .interfaces
                    .iter()
                    .any(|name| name.as_str() == "org.claviger.Device1")
                {
                    return;
                }
            }
            panic!("the bus is gone");
        })
        .await;
        // Nothing of the last round may run into the next.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    times
}
