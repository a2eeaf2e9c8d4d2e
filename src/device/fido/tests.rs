use proptest::prelude::*;

use super::*;
use crate::codec::cbor::{self, Limits, Map, Value};
use crate::codec::ctap2::client_pin::Permissions;
use crate::codec::ctap2::make_credential::Particulars;
use crate::codec::ctap2::pin_protocol::{PinProtocol, PinUvAuthToken};
use crate::device::fake::CountingEntropy;
use crate::types::Secret;

const DEADLINES: Deadlines = Deadlines {
    exchange: Duration::from_secs(1),
    touch: Duration::from_secs(20),
    lock: Duration::from_secs(1),
    grace: Duration::from_secs(1),
};

type Answer = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// A key that is a function from request to response.
struct FakeKey {
    answer: Answer,
    requests: Vec<Vec<u8>>,
    deadlines: Vec<Instant>,
}

impl FakeKey {
    fn new(answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        Self {
            answer: Box::new(answer),
            requests: Vec::new(),
            deadlines: Vec::new(),
        }
    }

    fn run<T>(
        &mut self,
        verb: impl FnOnce(&mut FidoSession<'_>, &mut FidoContext<'_>) -> Result<T, DeviceError>,
    ) -> (Result<T, DeviceError>, usize) {
        let mut touches = 0;
        let mut entropy = CountingEntropy(0);
        let cancel = Cancel::new();
        let mut context = FidoContext {
            deadlines: DEADLINES,
            end: Instant::now() + Duration::from_secs(10),
            cancel: &cancel,
            on_touch_needed: &mut |_| touches += 1,
        };
        let result = verb(&mut FidoSession::new(self, &mut entropy), &mut context);
        (result, touches)
    }

    /// Requests of clientPIN with this sub-command.
    fn pin_requests(&self, subcommand: u8) -> Vec<Map> {
        let of = |request: &Vec<u8>| {
            let map = cbor::decode(request.get(1..)?, Limits::default())
                .ok()?
                .as_map()?
                .clone();
            (request[0] == 0x06 && map.get(2) == Some(&Value::from(subcommand))).then_some(map)
        };
        self.requests.iter().filter_map(of).collect()
    }
}

impl CtapTransport for FakeKey {
    fn exchange(
        &mut self,
        request: &[u8],
        deadline: Instant,
        _cancel: &Cancel,
        on_keepalive: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        self.requests.push(request.to_vec());
        self.deadlines.push(deadline);
        for state in [KeepAlive::Processing, KeepAlive::TouchNeeded, KeepAlive::TouchNeeded] {
            on_keepalive(state);
        }
        Ok((self.answer)(request))
    }
}

fn ok(map: Map) -> Vec<u8> {
    [vec![0], cbor::encode(&map.into())].concat()
}

fn info(options: &[(&str, bool)], protocols: &[u64]) -> Vec<u8> {
    let mut map = Map::new();
    map.insert(1, vec![Value::from("FIDO_2_1")]);
    map.insert(3, vec![0xAA; 16]);
    map.insert(4, Map::from_iter(options.iter().copied()));
    if !protocols.is_empty() {
        map.insert(6, protocols.iter().copied().map(Value::from).collect::<Vec<_>>());
    }
    map.insert(0x0D, 6);
    ok(map)
}

/// The base point of P-256: a valid key-agreement key whose secret is 1.
fn key_agreement() -> Vec<u8> {
    let secret = p256::SecretKey::from_slice(&[&[0; 31][..], &[1]].concat()).unwrap();
    let key = crate::codec::ctap2::cose::from_public_key(&secret.public_key(), -25);
    ok(Map::from_iter([(1, key)]))
}

/// A key with a PIN that answers token requests with `token`, and retries with 5.
fn key_with_pin(options: &'static [(&'static str, bool)], protocols: &'static [u64], token: Vec<u8>) -> FakeKey {
    FakeKey::new(move |request| match (request[0], request.get(1..)) {
        (0x04, _) => info(options, protocols),
        (0x06, Some(body)) => {
            let map = cbor::decode(body, Limits::default()).unwrap();
            match map.as_map().unwrap().get(2).and_then(Value::as_u64) {
                Some(1) => ok(Map::from_iter([(3, 5)])),
                Some(2) => key_agreement(),
                _ => token.clone(),
            }
        }
        _ => vec![0x01],
    })
}

fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

fn token() -> PinUvAuthToken {
    PinUvAuthToken::new(PinProtocol::Two, Secret::new(vec![7; 32])).unwrap()
}

const MODERN: &[(&str, bool)] = &[("clientPin", true), ("pinUvAuthToken", true)];

#[test]
fn every_status_lands_in_its_error() {
    let named: &[(u8, DeviceError)] = &[
        (0x01, DeviceError::Unsupported("this command")),
        (0x05, DeviceError::Deadline),
        (0x06, DeviceError::Busy(None)),
        (0x17, DeviceError::StorageFull),
        (0x19, DeviceError::CredentialExcluded),
        (0x22, DeviceError::NoCredential),
        (0x26, DeviceError::Unsupported("ES256 credentials")),
        (0x27, DeviceError::Declined),
        (0x28, DeviceError::StorageFull),
        (0x2B, DeviceError::Unsupported("an option of the request")),
        (0x2C, DeviceError::Unsupported("an option of the request")),
        (0x2D, DeviceError::Cancelled),
        (0x2E, DeviceError::NoCredential),
        (0x2F, DeviceError::TouchTimeout),
        (0x30, DeviceError::NotAllowed),
        (0x31, DeviceError::PinInvalid { tries_left: None }),
        (0x32, DeviceError::PinBlocked),
        (0x34, DeviceError::SoftBlocked { tries_left: None }),
        (0x35, DeviceError::PinNotSet),
        (0x36, DeviceError::PinRequired),
        (0x37, DeviceError::PinPolicy { min_length: 4 }),
        (0x3A, DeviceError::TouchTimeout),
        (0x3C, DeviceError::UvBlocked),
        (0x3E, DeviceError::Unsupported("this command")),
        (0x3F, DeviceError::UvInvalid { tries_left: None }),
    ];
    for code in 1..=255u8 {
        let expected = named
            .iter()
            .find(|(c, _)| *c == code)
            .map_or(DeviceError::Status(code.into()), |(_, error)| error.clone());
        let (result, _) = FakeKey::new(move |_| vec![code]).run(|s, c| s.reset(c));
        assert_eq!(result, Err(expected), "0x{code:02X}");
    }
}

#[test]
fn a_wrong_pin_is_tried_once_and_the_tries_left_are_told() {
    for (code, error) in [
        (0x31, DeviceError::PinInvalid { tries_left: Some(5) }),
        (0x34, DeviceError::SoftBlocked { tries_left: Some(5) }),
        (0x32, DeviceError::PinBlocked),
        (0x37, DeviceError::PinPolicy { min_length: 6 }),
    ] {
        let mut key = key_with_pin(MODERN, &[2, 1], vec![code]);
        let (result, touches) = key.run(|s, c| s.pin_uv_token(&secret("123456"), Permissions(3), Some("a.b"), c));
        assert_eq!(result.err(), Some(error));
        assert_eq!(key.pin_requests(9).len(), 1, "one try");
        assert!(touches <= key.requests.len(), "told once an exchange at most");
        let (result, _) = key.run(|s, c| s.change_pin(&secret("123456"), &secret("654321"), c));
        assert!(result.is_err());
        assert_eq!(key.pin_requests(4).len(), 1, "one try");
    }
}

#[test]
fn the_key_agreement_is_made_anew_for_each_try() {
    let mut key = key_with_pin(MODERN, &[2], vec![0x31]);
    let _ = key.run(|s, c| {
        for _ in 0..2 {
            let _ = s.pin_uv_token(&secret("123456"), Permissions(3), Some("a.b"), c);
        }
        Ok(())
    });
    assert_eq!(key.pin_requests(2).len(), 2);
    let tries = key.pin_requests(9);
    assert_ne!(tries[0].get(3), tries[1].get(3), "another ephemeral key");
}

#[test]
fn permissions_and_protocol_follow_what_the_key_offers() {
    let ask = |options, protocols| {
        let mut key = key_with_pin(options, protocols, vec![0x7F]);
        let _ = key.run(|s, c| s.pin_uv_token(&secret("123456"), Permissions(1), Some("a.b"), c));
        key
    };
    let modern = ask(MODERN, &[1, 2]).pin_requests(9).remove(0);
    assert_eq!(
        (modern.get(1), modern.get(9)),
        (Some(&Value::from(2)), Some(&Value::from(1)))
    );
    let old = ask(&[("clientPin", true)], &[]).pin_requests(5).remove(0);
    assert_eq!(
        (old.get(1), old.get(9), old.get(10)),
        (Some(&Value::from(1)), None, None)
    );
    let unknown = ask(MODERN, &[3]);
    assert!(unknown.pin_requests(2).is_empty(), "a protocol nobody here knows");
}

#[test]
fn what_cannot_be_a_pin_never_reaches_the_key() {
    for bad in ["", "123", &"1".repeat(64)] {
        let mut key = key_with_pin(MODERN, &[2], vec![0x31]);
        let (result, _) = key.run(|s, c| s.pin_uv_token(&secret(bad), Permissions(3), Some("a.b"), c));
        assert!(matches!(result.err(), Some(DeviceError::PinPolicy { .. })), "{bad}");
        assert!(key.pin_requests(9).is_empty());
    }
    // The key wants six code points.
    for (bad, why) in [
        ("12345", "short"),
        ("äöüßé", "ten bytes, five code points"),
        ("12345\0", "ends in zero"),
    ] {
        let mut key = key_with_pin(&[("clientPin", false)], &[2], vec![0]);
        let (result, _) = key.run(|s, c| s.set_pin(&secret(bad), c));
        assert_eq!(result, Err(DeviceError::PinPolicy { min_length: 6 }), "{why}");
        assert!(key.pin_requests(3).is_empty());
    }
    let mut key = key_with_pin(&[("clientPin", false)], &[2], vec![0]);
    let (result, _) = key.run(|s, c| s.set_pin(&Secret::new(vec![0xFF; 8]), c));
    assert_eq!(result, Err(DeviceError::PinPolicy { min_length: 6 }), "not UTF-8");
    assert_eq!(key.run(|s, c| s.set_pin(&secret("äöüßéà"), c)).0, Ok(()));
}

#[test]
fn keys_without_a_pin_or_without_leave_to_use_it_say_so() {
    let ask = |options: &'static [(&str, bool)]| {
        let mut key = key_with_pin(options, &[2], vec![0x31]);
        key.run(|s, c| s.pin_uv_token(&secret("123456"), Permissions(3), Some("a.b"), c))
            .0
            .err()
    };
    assert_eq!(ask(&[]), Some(DeviceError::Unsupported("a PIN")));
    assert_eq!(ask(&[("clientPin", false)]), Some(DeviceError::PinNotSet));
    assert_eq!(
        ask(&[("clientPin", true), ("noMcGaPermissionsWithClientPin", true)]),
        Some(DeviceError::Unsupported("a PIN for credentials"))
    );
}

#[test]
fn deleting_speaks_the_dialect_of_the_key() {
    let dialect_of = |options: &'static [(&str, bool)]| {
        let mut key = FakeKey::new(move |request| {
            if request[0] == 0x04 {
                info(options, &[2])
            } else {
                vec![0]
            }
        });
        let (result, _) = key.run(|s, c| s.delete_credential(&[1], &token(), c));
        (result, key.requests.last().unwrap()[0])
    };
    assert_eq!(
        dialect_of(&[("credMgmt", true), ("credentialMgmtPreview", true)]),
        (Ok(()), 0x0A)
    );
    assert_eq!(dialect_of(&[("credentialMgmtPreview", true)]), (Ok(()), 0x41));
    assert_eq!(
        dialect_of(&[]).0,
        Err(DeviceError::Unsupported("credential management"))
    );
}

#[test]
fn touches_get_their_own_deadline_and_none_outlives_the_operation() {
    let mut key = FakeKey::new(|request| if request[0] == 0x04 { info(&[], &[]) } else { vec![0] });
    let begun = Instant::now();
    let (result, touches) = key.run(|s, c| s.select(c));
    assert_eq!((result, touches), (Ok(()), 2));
    let allowed: Vec<u64> = key
        .deadlines
        .iter()
        .map(|deadline| (*deadline - begun).as_secs())
        .collect();
    assert_eq!(
        allowed,
        [1, 10],
        "one exchange; a touch of 20 s, cut at the operation's end"
    );
}

#[test]
fn an_old_key_is_selected_by_a_request_that_is_refused() {
    let old = |code: u8| {
        FakeKey::new(move |request| {
            if request[0] == 0x04 {
                ok(Map::from_iter([
                    (1, Value::Array(vec!["FIDO_2_0".into(), "FIDO_2_1_PRE".into()])),
                    (3, Value::Bytes(vec![0; 16])),
                ]))
            } else {
                vec![code]
            }
        })
        .run(|s, c| s.select(c))
        .0
    };
    assert_eq!((old(0x31), old(0x35), old(0x33)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(old(0x2F), Err(DeviceError::TouchTimeout));
    assert_eq!(old(0x27), Err(DeviceError::Declined));
}

/// An answer to makeCredential with the base point as public key.
fn made(rp_id: &str, flags: u8, alg: i64) -> Vec<u8> {
    let secret = p256::SecretKey::from_slice(&[&[0; 31][..], &[1]].concat()).unwrap();
    let key = crate::codec::ctap2::cose::from_public_key(&secret.public_key(), alg);
    let mut data = crate::codec::ctap2::sha256(rp_id.as_bytes()).to_vec();
    data.extend([flags, 0, 0, 0, 1]);
    data.extend([0xAA; 16]);
    data.extend([0, 1, 9]);
    data.extend(cbor::encode(&key.into()));
    let mut map = Map::new();
    map.insert(1, "none");
    map.insert(2, data);
    map.insert(3, Map::new());
    ok(map)
}

#[test]
fn a_credential_is_checked_against_what_was_asked_for() {
    let ask = |answer: Vec<u8>| {
        let wanted = MakeCredential {
            rp_id: "a.b",
            rp_name: "A",
            user_id: &[1],
            user_name: "u",
            resident: false,
            client_data_hash: &[0; 32],
            pin_uv_auth_token: Some(&token()),
            exclude: &[],
            particulars: Particulars::default(),
        };
        FakeKey::new(move |_| answer.clone())
            .run(|s, c| s.make_credential(&wanted, c))
            .0
    };
    assert!(ask(made("a.b", 0x45, -7)).is_ok());
    for (answer, why) in [
        (made("a.c", 0x45, -7), "another RP"),
        (made("a.b", 0x44, -7), "no touch"),
        (made("a.b", 0x41, -7), "no verification"),
        (made("a.b", 0x45, -35), "another algorithm"),
    ] {
        assert!(matches!(ask(answer), Err(DeviceError::Protocol(_))), "{why}");
    }
}

proptest! {
    #[test]
    fn arbitrary_answers_never_panic(answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..8)) {
        let mut turn = 0;
        let mut key = FakeKey::new(move |request| {
            turn += 1;
            match request[0] {
                0x04 => info(MODERN, &[1, 2]),
                0x06 if turn % 2 == 0 => key_agreement(),
                _ => [vec![0], answers[turn % answers.len()].clone()].concat(),
            }
        });
        let _ = key.run(|s, c| {
            let _ = s.pin_retries(c);
            let _ = s.pin_uv_token(&secret("123456"), Permissions(3), Some("a.b"), c);
            let _ = s.change_pin(&secret("123456"), &secret("654321"), c);
            let _ = s.delete_credential(&[1], &token(), c);
            s.select(c)
        });
    }
}
