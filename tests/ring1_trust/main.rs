//! Ring 1: which keys are registered, and for whom. Simulated keys that prove their model, a metadata BLOB of our making, and
//! python-fido2's server as the relying party that nobody here wrote.
#[allow(dead_code, missing_docs)]
#[path = "../harness/bus.rs"]
mod bus;
#[path = "../harness/house.rs"]
mod house;
#[path = "../../hw-fixtures/tests/judge/pypi.rs"]
mod pypi;

mod authorities;
mod providers;
mod rules;

use house::{Figures, House, text};
use hw_fixtures::profile::Profile;
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Plugged, Token};

/// The model of the simulated keys.
const MODEL: &str = "2cd2f727-f6ca-44da-8f48-5c2e5da000a2";

/// A key of that model, made different.
fn key(name: &str, seed: u64, change: impl FnOnce(&mut Profile)) -> Token {
    let mut profile = Profile::named("nitrokey-3").expect("a profile");
    change(&mut profile);
    let setup = TokenSetup {
        seed: Some(seed),
        ..TokenSetup::named(name)
    };
    Token::new(&profile, setup).expect("a token")
}

/// The FIDO part of a profile.
fn fido(profile: &mut Profile) -> &mut hw_fixtures::profile::FidoProfile {
    profile.fido.as_mut().expect("a key")
}

/// Credentials that the key keeps.
fn kept(key: &Token) -> usize {
    key.with_authenticator(|authenticator| authenticator.resident_count())
        .expect("a key")
}

/// A key of the person may owe nothing and hold nothing after a refusal.
async fn assert_nothing_left(house: &House, key: &Token, before: usize) {
    assert_eq!(kept(key), before, "a credential is left on the key");
    assert!(
        house.obligations().await.is_empty(),
        "nothing is left, so nothing is owed"
    );
    let pending = house.all().await;
    assert!(pending.iter().all(|one| text(one, "state") != "pending"), "{pending:?}");
    house.assert_intact().await;
    house.assert_no_panic();
}

async fn house_with(more: String) -> House {
    House::start(&Figures {
        more,
        ..Figures::default()
    })
    .await
}

fn plug(house: &House, key: &Token) -> Plugged {
    house.plug(key)
}
