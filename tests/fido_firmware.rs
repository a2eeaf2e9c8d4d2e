//! Our FIDO2 engine against firmware nobody here wrote: the Trussed FIDO authenticator, run in this process.
//!
//! Everything below our `HidLink` is theirs: the CTAPHID device side (`usbd-ctaphid`), its dispatch, and the authenticator on
//! a RAM file system. `key.rs` only carries reports and plays the finger.

#[path = "fido_firmware/card.rs"]
mod card;
#[path = "fido_firmware/key.rs"]
mod key;

use std::time::{Duration, Instant};

use claviger::codec::cbor::{self, Limits, Value};
use claviger::codec::ctap2::assertion::{self, AssertionError, Counter, Expected};
use claviger::codec::ctap2::client_pin::Permissions;
use claviger::codec::ctap2::config::Subcommand;
use claviger::codec::ctap2::cose::CoseError;
use claviger::codec::ctap2::pin_protocol::{PinProtocol, PinUvAuthToken};
use claviger::codec::ctap2::{Command, get_assertion, make_credential, sha256};
use claviger::codec::ctaphid::KeepAlive;
use claviger::device::ctap_card::CardChannel;
use claviger::device::ctap_hid::HidChannel;
use claviger::device::fido::{Carrier, CtapTransport, FidoContext, FidoSession, GetAssertion, MakeCredential};
use claviger::device::{Deadlines, DeviceError};
use claviger::types::{Cancel, Secret};

use key::{Finger, Key, SeededEntropy, with_card, with_key};

const RP: &str = "claviger.example";
const PIN: &str = "pässword"; // nine bytes, eight code points

const DEADLINES: Deadlines = Deadlines {
    exchange: Duration::from_secs(5),
    touch: Duration::from_secs(10),
    lock: Duration::from_secs(4),
    grace: Duration::from_secs(1),
};

/// What a test does with the key: one session, in circumstances it may change.
struct Host<'k> {
    key: &'k Key,
    transport: Box<dyn CtapTransport>,
    entropy: SeededEntropy,
    cancel: Cancel,
    deadlines: Deadlines,
    touches_asked: u32,
    /// What the person does when asked to touch.
    on_touch: fn(&Key),
    /// Where the finger is when nobody asks.
    resting: Finger,
}

impl<'k> Host<'k> {
    fn new(key: &'k Key) -> Self {
        let end = Instant::now() + DEADLINES.exchange;
        let entropy = Box::new(SeededEntropy::new(1));
        let channel = HidChannel::open(key.link(), entropy, DEADLINES.lock, end, &Cancel::new()).expect("open");
        Self::over(key, Box::new(channel))
    }

    fn over(key: &'k Key, transport: Box<dyn CtapTransport>) -> Self {
        Self {
            key,
            transport,
            entropy: SeededEntropy::new(2),
            cancel: Cancel::new(),
            deadlines: DEADLINES,
            touches_asked: 0,
            on_touch: |key| key.put_finger(Finger::Touch),
            resting: Finger::Away,
        }
    }

    /// Over the reader the key lies on. The firmware answers a request whole, so nobody is asked: the finger is there already, as
    /// laying the key there is the touch.
    fn tapped(key: &'k Key) -> Self {
        let end = Instant::now() + DEADLINES.exchange;
        let channel = CardChannel::open(key.card(), Carrier::Nfc, end, &Cancel::new()).expect("open");
        key.put_finger(Finger::Touch);
        Self {
            resting: Finger::Touch,
            ..Self::over(key, Box::new(channel))
        }
    }

    fn run<T>(
        &mut self,
        verb: impl FnOnce(&mut FidoSession<'_>, &mut FidoContext<'_>) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let (key, on_touch, asked) = (self.key, self.on_touch, &mut self.touches_asked);
        let mut on_touch_needed = |until: Instant| {
            assert!(until > Instant::now(), "the touch is waited for");
            *asked += 1;
            on_touch(key);
        };
        let mut context = FidoContext {
            deadlines: self.deadlines,
            end: Instant::now() + Duration::from_secs(60),
            cancel: &self.cancel,
            on_touch_needed: &mut on_touch_needed,
        };
        let mut session = FidoSession::new(self.transport.as_mut(), &mut self.entropy);
        let result = verb(&mut session, &mut context);
        key.put_finger(self.resting);
        result
    }

    fn token(&mut self, pin: &str, permissions: Permissions) -> Result<PinUvAuthToken, DeviceError> {
        let for_credentials = permissions.0 & 0x03 != 0;
        self.run(|s, c| s.pin_uv_token(&secret(pin), permissions, for_credentials.then_some(RP), c))
    }

    fn register(&mut self, exclude: &[Vec<u8>]) -> Result<make_credential::Response, DeviceError> {
        let token = self.token(PIN, Permissions::MAKE_CREDENTIAL)?;
        let wanted = MakeCredential {
            rp_id: RP,
            rp_name: "Claviger",
            user_id: &[7; 32],
            user_name: "somebody",
            resident: true,
            client_data_hash: &sha256(b"register"),
            pin_uv_auth_token: Some(&token),
            exclude,
            particulars: make_credential::Particulars::default(),
        };
        self.run(|s, c| s.make_credential(&wanted, c))
    }

    fn assert(&mut self, credential_id: &[u8], verified: bool) -> Result<get_assertion::Response, DeviceError> {
        let token = verified
            .then(|| self.token(PIN, Permissions::GET_ASSERTION))
            .transpose()?;
        let wanted = GetAssertion {
            rp_id: RP,
            client_data_hash: &sha256(b"test"),
            allow: &[credential_id.to_vec()],
            user_presence: true,
            pin_uv_auth_token: token.as_ref(),
        };
        self.run(|s, c| s.get_assertion(&wanted, c))
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// PIN set, credential made, assertion verified: what registering and testing a token is made of.
fn registers_and_tests(host: &mut Host<'_>) {
    let info = host.run(|s, c| s.get_info(c)).expect("getInfo");
    assert_eq!(info.option("clientPin"), Some(false));
    assert_eq!(
        host.token(PIN, Permissions::MAKE_CREDENTIAL).err(),
        Some(DeviceError::PinNotSet)
    );
    host.run(|s, c| s.set_pin(&secret(PIN), c)).expect("setPIN");
    assert_eq!(host.run(|s, c| s.get_info(c)).unwrap().option("clientPin"), Some(true));

    let made = host.register(&[]).expect("makeCredential");
    let credential = made.auth_data.attested.clone().expect("credential");
    assert!(made.auth_data.flags.user_present() && made.auth_data.flags.user_verified());
    assert_eq!(credential.aaguid, info.aaguid);
    assert_eq!(
        host.touches_asked,
        u32::from(matches!(host.resting, Finger::Away)),
        "the touch was asked for, once, where nobody touches unasked"
    );

    let response = host.assert(&credential.credential_id, true).expect("getAssertion");
    let hash = sha256(b"test");
    let expected = Expected {
        rp_id: RP,
        credential_id: &credential.credential_id,
        public_key: &credential.public_key,
        client_data_hash: &hash,
        user_verification: true,
        last_sign_count: made.auth_data.sign_count,
    };
    let verified = assertion::verify(&response, &expected).expect("assertion");
    assert_eq!(verified.counter, Counter::Advanced);
    assert!(verified.user_verified);

    let other_data = Expected {
        client_data_hash: &sha256(b"tset"),
        ..expected
    };
    let refused = Err(AssertionError::Signature(CoseError::BadSignature));
    assert_eq!(assertion::verify(&response, &other_data), refused);
    let other_party = Expected {
        rp_id: "elsewhere.example",
        ..expected
    };
    assert_eq!(
        assertion::verify(&response, &other_party),
        Err(AssertionError::OtherRelyingParty)
    );
    let replayed = Expected {
        last_sign_count: verified.sign_count,
        ..expected
    };
    assert_eq!(
        assertion::verify(&response, &replayed).map(|v| v.counter),
        Ok(Counter::MaybeCloned)
    );

    let unverified = host.assert(&credential.credential_id, false).expect("without PIN");
    assert_eq!(
        assertion::verify(&unverified, &expected),
        Err(AssertionError::NotVerified)
    );
}

#[test]
fn a_key_is_registered_and_tested() {
    with_key(|key| registers_and_tests(&mut Host::new(key)));
}

/// Rewrites getInfo so that the key seems to know PIN protocol one alone.
struct OnlyProtocolOne {
    inner: HidChannel,
    rewritten: bool,
}

impl CtapTransport for OnlyProtocolOne {
    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        let response = self.inner.exchange(request, deadline, cancel, on_keepalive)?;
        if request != [Command::GetInfo as u8] {
            return Ok(response);
        }
        let Value::Map(mut map) = cbor::decode(&response[1..], Limits::default()).unwrap() else {
            panic!("getInfo is a map");
        };
        let offered = map.take(6).expect("pinUvAuthProtocols");
        assert!(
            offered.as_array().unwrap().contains(&Value::from(1)),
            "the key does offer protocol one"
        );
        map.insert(6, vec![Value::from(1)]);
        self.rewritten = true;
        Ok([&[0], cbor::encode(&Value::Map(map)).as_slice()].concat())
    }
}

#[test]
fn a_key_is_registered_and_tested_over_nfc() {
    with_card(|key| registers_and_tests(&mut Host::tapped(key)));
}

/// It resets over NFC too, and as late as over USB it refuses.
#[test]
fn a_reset_over_nfc_erases_and_is_refused_when_late() {
    with_card(|key| {
        let mut host = Host::tapped(key);
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let id = host.register(&[]).unwrap().auth_data.attested.unwrap().credential_id;
        host.run(|s, c| s.reset(c)).expect("reset");
        assert_eq!(host.assert(&id, false).err(), Some(DeviceError::NoCredential));
        key.let_time_pass(Duration::from_secs(11));
        assert_eq!(
            host.run(|s, c| s.reset(c)).err(),
            Some(DeviceError::NotAllowed),
            "too late"
        );
    });
}

#[test]
fn a_key_is_registered_and_tested_by_pin_protocol_one() {
    with_key(|key| {
        let end = Instant::now() + DEADLINES.exchange;
        let entropy = Box::new(SeededEntropy::new(3));
        let inner = HidChannel::open(key.link(), entropy, DEADLINES.lock, end, &Cancel::new()).unwrap();
        let mut host = Host::over(
            key,
            Box::new(OnlyProtocolOne {
                inner,
                rewritten: false,
            }),
        );
        registers_and_tests(&mut host);
        let token = host.token(PIN, Permissions::GET_ASSERTION).unwrap();
        assert_eq!(token.protocol(), PinProtocol::One);
    });
}

#[test]
fn a_registered_key_is_not_registered_again() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let id = host.register(&[]).unwrap().auth_data.attested.unwrap().credential_id;
        assert_eq!(host.register(&[id]).err(), Some(DeviceError::CredentialExcluded));
    });
}

fn counts_wrong_pins(_: &Key, host: &mut Host<'_>) {
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    let wrong = |host: &mut Host<'_>| host.token("wrong PIN", Permissions::GET_ASSERTION).err();
    assert_eq!(wrong(host), Some(DeviceError::PinInvalid { tries_left: Some(7) }));
    host.token(PIN, Permissions::GET_ASSERTION)
        .expect("the right PIN in between");
    assert_eq!(host.run(|s, c| s.pin_retries(c)).unwrap().left, 8);
    assert_eq!(wrong(host), Some(DeviceError::PinInvalid { tries_left: Some(7) }));
    assert_eq!(wrong(host), Some(DeviceError::PinInvalid { tries_left: Some(6) }));
    assert_eq!(wrong(host), Some(DeviceError::SoftBlocked { tries_left: Some(5) }));
    let right = host.token(PIN, Permissions::GET_ASSERTION).err();
    assert_eq!(
        right,
        Some(DeviceError::SoftBlocked { tries_left: Some(5) }),
        "costs no try"
    );
}

#[test]
fn wrong_pins_are_counted_and_three_in_a_row_want_a_replug() {
    with_key(|key| counts_wrong_pins(key, &mut Host::new(key)));
}

#[test]
fn wrong_pins_are_counted_over_nfc() {
    with_card(|key| counts_wrong_pins(key, &mut Host::tapped(key)));
}

fn changes_a_pin(_: &Key, host: &mut Host<'_>) {
    assert_eq!(
        host.run(|s, c| s.change_pin(&secret(PIN), &secret("another"), c)).err(),
        Some(DeviceError::PinNotSet)
    );
    let short = host.run(|s, c| s.set_pin(&secret("äöü"), c)).err();
    assert_eq!(
        short,
        Some(DeviceError::PinPolicy { min_length: 4 }),
        "six bytes are three characters"
    );
    let long = host.run(|s, c| s.set_pin(&Secret::new(vec![b'1'; 64]), c)).err();
    assert_eq!(long, Some(DeviceError::PinPolicy { min_length: 4 }));
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    assert_eq!(
        host.run(|s, c| s.set_pin(&secret(PIN), c)).err(),
        Some(DeviceError::NotAllowed)
    );
    host.run(|s, c| s.change_pin(&secret(PIN), &secret("another"), c))
        .expect("changePIN");
    let old = host
        .run(|s, c| s.change_pin(&secret(PIN), &secret("third one"), c))
        .err();
    assert_eq!(old, Some(DeviceError::PinInvalid { tries_left: Some(7) }));
    host.token("another", Permissions::GET_ASSERTION).expect("the new PIN");
}

#[test]
fn a_pin_is_changed_and_its_rules_are_kept() {
    with_key(|key| changes_a_pin(key, &mut Host::new(key)));
}

#[test]
fn a_pin_is_changed_over_nfc() {
    with_card(|key| changes_a_pin(key, &mut Host::tapped(key)));
}

fn deletes_a_credential(_: &Key, host: &mut Host<'_>) {
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    let id = host.register(&[]).unwrap().auth_data.attested.unwrap().credential_id;
    let token = host.token(PIN, Permissions::CREDENTIAL_MANAGEMENT).unwrap();
    assert_eq!(host.run(|s, c| s.credential_metadata(&token, c)).unwrap().existing, 1);
    let stored = host.run(|s, c| s.stored_credentials(RP, &token, c)).expect("enumerate");
    assert_eq!(
        stored.iter().map(|s| s.credential_id.as_slice()).collect::<Vec<_>>(),
        [&id[..]]
    );
    assert_eq!(stored[0].user_id, [7; 32]);
    host.run(|s, c| s.delete_credential(&id, &token, c)).expect("delete");
    assert!(host.run(|s, c| s.stored_credentials(RP, &token, c)).unwrap().is_empty());
    assert_eq!(host.run(|s, c| s.credential_metadata(&token, c)).unwrap().existing, 0);
    assert_eq!(
        host.run(|s, c| s.delete_credential(&id, &token, c)).err(),
        Some(DeviceError::NoCredential)
    );
    assert_eq!(host.assert(&id, true).err(), Some(DeviceError::NoCredential));
}

#[test]
fn a_credential_is_deleted() {
    with_key(|key| deletes_a_credential(key, &mut Host::new(key)));
}

#[test]
fn a_credential_is_deleted_over_nfc() {
    with_card(|key| deletes_a_credential(key, &mut Host::tapped(key)));
}

#[test]
fn a_reset_erases_pin_and_credentials_and_is_refused_when_late() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let id = host.register(&[]).unwrap().auth_data.attested.unwrap().credential_id;
        host.run(|s, c| s.reset(c)).expect("reset");
        assert_eq!(host.run(|s, c| s.get_info(c)).unwrap().option("clientPin"), Some(false));
        assert_eq!(host.assert(&id, false).err(), Some(DeviceError::NoCredential));
        key.let_time_pass(Duration::from_secs(11));
        assert_eq!(host.run(|s, c| s.reset(c)).err(), Some(DeviceError::NotAllowed));
    });
}

fn makes_rules_stricter(_: &Key, host: &mut Host<'_>) {
    let stricter = |length, force_change| Subcommand::SetMinPinLength {
        length,
        rp_ids: &[],
        force_change,
    };
    // A key without a PIN takes it unproven.
    host.run(|s, c| s.configure(stricter(Some(6), false), None, c))
        .expect("a longer least length");
    let info = host.run(|s, c| s.get_info(c)).unwrap();
    assert_eq!(info.min_pin_code_points(), 6);
    let short = host.run(|s, c| s.set_pin(&secret("12345"), c)).err();
    assert_eq!(short, Some(DeviceError::PinPolicy { min_length: 6 }));
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    let unproven = host.run(|s, c| s.configure(stricter(Some(7), false), None, c)).err();
    assert_eq!(unproven, Some(DeviceError::PinRequired));
    let token = host.token(PIN, Permissions::AUTHENTICATOR_CONFIG).unwrap();
    let lower = host
        .run(|s, c| s.configure(stricter(Some(5), false), Some(&token), c))
        .err();
    assert_eq!(lower, Some(DeviceError::PinPolicy { min_length: 6 }), "it cannot fall");
    let rp_ids = [RP.to_owned()];
    let told = Subcommand::SetMinPinLength {
        length: Some(6),
        rp_ids: &rp_ids,
        force_change: true,
    };
    host.run(|s, c| s.configure(told, Some(&token), c)).expect("configured");
    assert_eq!(host.run(|s, c| s.get_info(c)).unwrap().force_pin_change, Some(true));
    let refused = host.token(PIN, Permissions::CREDENTIAL_MANAGEMENT).err();
    assert_eq!(refused, Some(DeviceError::PinPolicy { min_length: 6 }), "0x37");
    host.run(|s, c| s.change_pin(&secret(PIN), &secret("another one"), c))
        .expect("changePIN");
    assert_ne!(host.run(|s, c| s.get_info(c)).unwrap().force_pin_change, Some(true));
    host.token("another one", Permissions::CREDENTIAL_MANAGEMENT)
        .expect("good for everything again");
}

#[test]
fn rules_for_pins_are_made_stricter_and_a_change_is_demanded() {
    with_key(|key| makes_rules_stricter(key, &mut Host::new(key)));
}

#[test]
fn rules_for_pins_are_made_stricter_over_nfc() {
    with_card(|key| makes_rules_stricter(key, &mut Host::tapped(key)));
}

fn toggles_always_uv(_: &Key, host: &mut Host<'_>) {
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    let id = host.register(&[]).unwrap().auth_data.attested.unwrap().credential_id;
    for on in [true, false] {
        let token = host.token(PIN, Permissions::AUTHENTICATOR_CONFIG).unwrap();
        host.run(|s, c| s.configure(Subcommand::ToggleAlwaysUv, Some(&token), c))
            .expect("toggled");
        assert_eq!(host.run(|s, c| s.get_info(c)).unwrap().option("alwaysUv"), Some(on));
        assert_eq!(host.assert(&id, false).is_err(), on, "without a PIN");
        host.assert(&id, true).expect("with a PIN");
    }
    let ep = host.run(|s, c| s.configure(Subcommand::EnableEnterpriseAttestation, None, c));
    assert_eq!(ep.err(), Some(DeviceError::Unsupported("enterprise attestation")));
}

#[test]
fn verification_for_every_use_is_turned_on_and_off() {
    with_key(|key| toggles_always_uv(key, &mut Host::new(key)));
}

#[test]
fn verification_for_every_use_is_turned_on_and_off_over_nfc() {
    with_card(|key| toggles_always_uv(key, &mut Host::tapped(key)));
}

fn lists_and_renames(_: &Key, host: &mut Host<'_>) {
    host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
    for (rp, user) in [(RP, 1), (RP, 2), ("another.example", 3)] {
        let token = host
            .run(|s, c| s.pin_uv_token(&secret(PIN), Permissions::MAKE_CREDENTIAL, Some(rp), c))
            .unwrap();
        let wanted = MakeCredential {
            rp_id: rp,
            rp_name: "Claviger",
            user_id: &[user; 16],
            user_name: "somebody",
            resident: true,
            client_data_hash: &sha256(b"register"),
            pin_uv_auth_token: Some(&token),
            exclude: &[],
            particulars: make_credential::Particulars::default(),
        };
        host.run(|s, c| s.make_credential(&wanted, c)).expect("made");
    }
    let token = host.token(PIN, Permissions::CREDENTIAL_MANAGEMENT).unwrap();
    let listed = host.run(|s, c| s.all_credentials(&token, c)).expect("listed");
    let of = |rp: &str| listed.iter().filter(|one| one.rp_id == rp).count();
    assert_eq!((of(RP), of("another.example"), listed.len()), (2, 1, 3));
    let one = listed.iter().find(|one| one.rp_id == "another.example").unwrap();
    host.run(|s, c| s.rename_credential(&one.credential, (Some("new"), Some("New Name")), &token, c))
        .expect("renamed");
    let again = host
        .run(|s, c| s.stored_credentials("another.example", &token, c))
        .unwrap();
    assert_eq!(again[0].user_name.as_deref(), Some("new"));
    assert_eq!(again[0].display_name.as_deref(), Some("New Name"));
    assert_eq!(again[0].user_id, [3; 16]);
}

#[test]
fn passkeys_are_listed_by_relying_party_and_renamed() {
    with_key(|key| lists_and_renames(key, &mut Host::new(key)));
}

#[test]
fn passkeys_are_listed_and_renamed_over_nfc() {
    with_card(|key| lists_and_renames(key, &mut Host::tapped(key)));
}

#[test]
fn what_the_firmware_lacks_is_said_before_anything_is_sent() {
    with_key(|key| {
        let mut host = Host::new(key);
        let sensor = host.run(|s, c| s.fingerprint_sensor(c)).err();
        assert_eq!(sensor, Some(DeviceError::Unsupported("fingerprints")));
        let blobs = host.run(|s, c| s.large_blobs(c)).err();
        assert_eq!(blobs, Some(DeviceError::Unsupported("large blobs")));
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let uv = host
            .run(|s, c| s.uv_token(Permissions::CREDENTIAL_MANAGEMENT, None, c))
            .err();
        assert!(matches!(uv, Some(DeviceError::Unsupported(_))), "{uv:?}");
        host.run(|s, c| s.wink(c)).expect("whether it can or not");
    });
}

#[test]
fn a_key_is_selected_by_touch() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.run(|s, c| s.select(c)).expect("selection");
        assert_eq!(host.touches_asked, 1);
    });
}

#[test]
fn without_a_touch_the_key_gives_up_by_itself() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.on_touch = |_| {};
        assert_eq!(host.run(|s, c| s.select(c)).err(), Some(DeviceError::TouchTimeout));
        assert_eq!(host.touches_asked, 1);
    });
}

/// The firmware in its virtual platform cannot be interrupted: after our deadline or a cancel it goes on waiting, and the
/// next command has to get past that.
#[test]
fn our_deadline_and_a_cancel_end_the_wait_and_the_key_serves_the_next_command() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.on_touch = |_| {};
        host.deadlines.touch = Duration::from_millis(800);
        let begun = Instant::now();
        assert_eq!(host.run(|s, c| s.select(c)).err(), Some(DeviceError::TouchTimeout));
        assert!(
            begun.elapsed() < Duration::from_millis(1400),
            "by our deadline, not by the key's"
        );
        host.run(|s, c| s.get_info(c)).expect("getInfo after a deadline");

        host.deadlines = DEADLINES;
        let cancel = host.cancel.clone();
        let begun = Instant::now();
        let mut entropy = SeededEntropy::new(4);
        let mut context = FidoContext {
            deadlines: DEADLINES,
            end: begun + Duration::from_secs(60),
            cancel: &cancel,
            on_touch_needed: &mut |_| cancel.cancel(),
        };
        let mut session = FidoSession::new(host.transport.as_mut(), &mut entropy);
        assert_eq!(session.select(&mut context).err(), Some(DeviceError::Cancelled));
        host.cancel = Cancel::new();
        host.run(|s, c| s.get_info(c)).expect("getInfo after a cancel");
    });
}

#[test]
fn requests_of_many_reports_pass() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let limit = host
            .run(|s, c| s.get_info(c))
            .unwrap()
            .max_credential_count_in_list
            .expect("list limit");
        let strangers: Vec<Vec<u8>> = (0..u8::try_from(limit).unwrap()).map(|n| vec![n; 200]).collect();
        host.register(&strangers).expect("none of them is on the key");
    });
}

/// Two programs at one key: hidraw shows every report to every reader.
#[test]
fn a_second_channel_does_not_disturb() {
    with_key(|key| {
        let mut first = Host::new(key);
        let mut second = Host::new(key);
        for _ in 0..3 {
            let a = first.run(|s, c| s.get_info(c)).unwrap();
            let b = second.run(|s, c| s.get_info(c)).unwrap();
            assert_eq!(a, b);
        }
    });
}
