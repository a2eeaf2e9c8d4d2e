//! What the daemon adds to a test of an OATH card.

use crate::daemon::{Daemon, Setup, state_directory};
use crate::part::Player;
use crate::pcscd::{self, CARD_DELAY_MS, Pcscd};
use crate::report::{Measured, median, quantile};
use crate::stage::Stage;

/// Not counted: caches fill, the card is powered.
const WARM_UP: usize = 5;
const ROUNDS: usize = 60;

/// `dbus_test_over_bare_exchange`: each round one test by an unprivileged caller and one bare exchange, one after the other,
/// so that whatever else the machine does hits both.
pub async fn ratio() -> Result<Measured, String> {
    if let Some(why) = pcscd::missing() {
        return Err(why.to_owned());
    }
    let stage = Stage::system().await?;
    let pcscd = Pcscd::start();
    let _card = pcscd.insert_card();
    let state = state_directory();
    let setup = Setup {
        cards: true,
        environment: vec![pcscd.variable()],
        ..Setup::default()
    };
    let daemon = Daemon::start(&stage, state.path(), &setup).await;
    let device = stage.device().await;

    let mut person = Player::person(&stage);
    let mut bare = Player::bare(pcscd.variable());
    let registered = person.ask(&format!("register {device}"));
    let (token, name) = registered.split_once(' ').expect("a token and its name");
    let (test, exchange) = (format!("test {token}"), format!("exchange {name}"));

    let (mut tests, mut exchanges, mut connects) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..WARM_UP + ROUNDS {
        let (one, other, connect) = (person.time(&test), bare.time(&exchange), bare.time("connect"));
        if round >= WARM_UP {
            tests.push(one);
            exchanges.push(other);
            connects.push(connect);
        }
    }
    daemon.stop().await;

    let (test, exchange) = (median(&tests), median(&exchanges));
    let shares: Vec<f64> = tests.iter().zip(&exchanges).map(|(one, other)| one / other).collect();
    Ok(Measured {
        value: test / exchange,
        notes: vec![
            format!(
                "test {test:.1} ms (nine in ten under {:.1}, slowest {:.1}), exchange {exchange:.1} ms; {ROUNDS} rounds, middle of the \
                 rounds' own ratios {:.2}",
                quantile(&tests, 0.9),
                quantile(&tests, 1.0),
                median(&shares)
            ),
            format!(
                "link: vpcd under a private pcscd, {CARD_DELAY_MS} ms an APDU; connecting, which the exchange leaves out, \
                 takes {:.1} ms",
                median(&connects)
            ),
        ],
    })
}
