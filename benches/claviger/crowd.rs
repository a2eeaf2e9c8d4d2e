//! Sixteen keys at once.

use std::time::{Duration, Instant};

use claviger::contract::DEVICES_PATH;
use futures_util::future::join_all;
use hw_fixtures::fault::{Fault, FaultKind};
use hw_fixtures::front::{Plugged, plug_virtual};
use hw_fixtures::token::{Token, TokenSetup};

use crate::daemon::{Daemon, Setup, state_directory};
use crate::listings::until_there;
use crate::part::Caller;
use crate::report::{Measured, median};
use crate::stage::Stage;

const KEYS: usize = 16;
const ROUNDS: usize = 5;
/// How long a key thinks, once in a test: as long as a slow one takes for a signature.
const THINKS_MS: u64 = 400;
/// A frame in the middle of a test.
const MIDDLE: u64 = 6;

/// A key with its token and its own caller.
struct Desk {
    key: Plugged,
    device: String,
    token: String,
    caller: Caller,
}

impl Desk {
    async fn open(stage: &Stage, key: Plugged) -> Self {
        let caller = Caller::connect(stage.bus.address()).await;
        let device = format!("{DEVICES_PATH}/{}", key.id());
        let token = caller.register_key(&device).await;
        Self {
            key,
            device,
            token,
            caller,
        }
    }

    /// How long a test took.
    async fn test(&self) -> Duration {
        self.key.token().clear_faults();
        self.key.record();
        self.key.inject(Fault::at(MIDDLE, FaultKind::Delay(THINKS_MS)));
        let took = self.caller.test_on(&self.token, &self.device).await;
        assert!(
            took >= Duration::from_millis(THINKS_MS),
            "frame {MIDDLE} is none of a test"
        );
        took
    }
}

/// `parallel_16_over_slowest`: sixteen tests one after the other, of which the slowest counts, then all sixteen at once.
pub async fn ratio() -> Result<Measured, String> {
    let stage = Stage::session().await;
    let state = state_directory();
    let daemon = Daemon::start(&stage, state.path(), &Setup::default()).await;
    let (mut ratios, mut alone, mut together) = (Vec::new(), Vec::new(), Vec::new());
    let keys: Vec<Plugged> = (0..KEYS)
        .map(|n| {
            let setup = TokenSetup {
                seed: u64::try_from(n).ok(),
                ..TokenSetup::named(&format!("key-{n}"))
            };
            let token = Token::of_profile("nitrokey-3", setup).expect("a token");
            plug_virtual(&daemon.socket, &token).expect("plugged in")
        })
        .collect();
    until_there(&stage, KEYS).await;
    let mut desks = Vec::new();
    for key in keys {
        desks.push(Desk::open(&stage, key).await);
    }
    for _ in 0..ROUNDS {
        let mut slowest = Duration::ZERO;
        for desk in &desks {
            slowest = slowest.max(desk.test().await);
        }
        let begun = Instant::now();
        join_all(desks.iter().map(Desk::test)).await;
        let all = begun.elapsed();
        ratios.push(all.as_secs_f64() / slowest.as_secs_f64());
        alone.push(slowest.as_secs_f64() * 1000.0);
        together.push(all.as_secs_f64() * 1000.0);
    }
    drop(desks);
    daemon.stop().await;
    Ok(Measured {
        value: median(&ratios),
        notes: vec![format!(
            "sixteen at once {:.0} ms, the slowest of them alone {:.0} ms, {THINKS_MS} of which the key thinks; {ROUNDS} rounds, each with \
             its own ratio",
            median(&together),
            median(&alone)
        )],
    })
}
