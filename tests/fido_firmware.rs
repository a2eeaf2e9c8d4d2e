//! Our FIDO2 engine against firmware nobody here wrote: the Trussed FIDO authenticator, run in this process.
//!
//! Everything below our `HidLink` is theirs: the CTAPHID device side (`usbd-ctaphid`), its dispatch, and the authenticator on
//! a RAM file system. `key.rs` only carries reports and plays the finger.

#[path = "fido_firmware/key.rs"]
mod key;

use std::time::{Duration, Instant};

use claviger::codec::cbor::{self, Limits, Value};
use claviger::codec::ctap2::assertion::{self, AssertionError, Counter, Expected};
use claviger::codec::ctap2::client_pin::Permissions;
use claviger::codec::ctap2::cose::CoseError;
use claviger::codec::ctap2::pin_protocol::{PinProtocol, PinUvAuthToken};
use claviger::codec::ctap2::{Command, get_assertion, make_credential, sha256};
use claviger::codec::ctaphid::KeepAlive;
use claviger::device::ctap_hid::HidChannel;
use claviger::device::fido::{CtapTransport, FidoContext, FidoSession, GetAssertion, MakeCredential};
use claviger::device::{Deadlines, DeviceError};
use claviger::types::{Cancel, Secret};

use key::{Finger, Key, SeededEntropy, with_key};

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
        key.put_finger(Finger::Away);
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
    assert_eq!(host.touches_asked, 1, "the touch was asked for, once");

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

#[test]
fn wrong_pins_are_counted_and_three_in_a_row_want_a_replug() {
    with_key(|key| {
        let mut host = Host::new(key);
        host.run(|s, c| s.set_pin(&secret(PIN), c)).unwrap();
        let wrong = |host: &mut Host<'_>| host.token("wrong PIN", Permissions::GET_ASSERTION).err();
        assert_eq!(wrong(&mut host), Some(DeviceError::PinInvalid { tries_left: Some(7) }));
        host.token(PIN, Permissions::GET_ASSERTION)
            .expect("the right PIN in between");
        assert_eq!(host.run(|s, c| s.pin_retries(c)).unwrap().left, 8);
        assert_eq!(wrong(&mut host), Some(DeviceError::PinInvalid { tries_left: Some(7) }));
        assert_eq!(wrong(&mut host), Some(DeviceError::PinInvalid { tries_left: Some(6) }));
        assert_eq!(wrong(&mut host), Some(DeviceError::SoftBlocked { tries_left: Some(5) }));
        let right = host.token(PIN, Permissions::GET_ASSERTION).err();
        assert_eq!(
            right,
            Some(DeviceError::SoftBlocked { tries_left: Some(5) }),
            "costs no try"
        );
    });
}

#[test]
fn a_pin_is_changed_and_its_rules_are_kept() {
    with_key(|key| {
        let mut host = Host::new(key);
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
    });
}

#[test]
fn a_credential_is_deleted() {
    with_key(|key| {
        let mut host = Host::new(key);
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
    });
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
