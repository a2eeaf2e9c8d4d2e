//! The PIN protocols on the first P-256 vector of NIST's CAVP for ECC CDH (`KAS_ECC_CDH_PrimitiveTest`). What follows from its
//! shared secret was computed with an unrelated implementation (OpenSSL through Python's `cryptography`).

use super::super::ResponseError;
use super::super::client_pin::{self, Permissions, PinRetries, Scope};
use super::super::pin_protocol::{IV_LEN, PinError, PinProtocol, PinUvAuthToken, SharedSecret};
use super::{hex, unhex};
use crate::codec::cbor::{self, Limits, Map, Value};
use crate::types::Secret;

const EPHEMERAL: &str = "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534";
const PEER_X: &str = "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287";
const PEER_Y: &str = "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac";
const OUR_X: &str = "ead218590119e8876b29146ff89ca61770c4edbbf97d38ce385ed281d8a6b230";
const OUR_Y: &str = "28af61281fd35e2fa7002523acc85a429cb06ee6648325389f59edfce1405141";
const IV: [u8; IV_LEN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

fn peer() -> Map {
    Map::from_iter([
        (1, Value::from(2)),
        (3, Value::from(-25)),
        (-1, Value::from(1)),
        (-2, Value::from(unhex(PEER_X))),
        (-3, Value::from(unhex(PEER_Y))),
    ])
}

pub(super) fn agree(protocol: PinProtocol) -> SharedSecret {
    SharedSecret::agree(protocol, &unhex(EPHEMERAL).try_into().unwrap(), &peer()).unwrap()
}

fn pin(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

/// The parameters of a request, without the command byte.
fn parameters(request: &[u8]) -> Map {
    assert_eq!(request[0], 0x06);
    cbor::decode(&request[1..], Limits::default())
        .unwrap()
        .as_map()
        .unwrap()
        .clone()
}

fn member(request: &[u8], key: u8) -> String {
    hex(parameters(request).get(key).unwrap().as_bytes().unwrap())
}

#[test]
fn the_public_key_is_sent_as_cose() {
    let shared = agree(PinProtocol::Two);
    let expected = format!("a5010203381820012158{:02x}{OUR_X}2258{:02x}{OUR_Y}", 32, 32);
    assert_eq!(hex(&cbor::encode(&shared.platform_key().clone().into())), expected);
}

#[test]
fn a_new_pin_is_sealed_by_protocol_one() {
    let request = client_pin::set_pin_request(&agree(PinProtocol::One), &pin("1234"), &IV).unwrap();
    assert_eq!(parameters(&request).get(1), Some(&Value::from(1)));
    assert_eq!(parameters(&request).get(2), Some(&Value::from(3)));
    assert_eq!(
        member(&request, 5),
        concat!(
            "96a8eccc5407539d34600eb83501b276a394416a326c8b4b84deee1b71d63a72",
            "e01f0afbbb9390d39d99b56bdab6ee0f98c8e3e8e985741721966dd390bfc919"
        )
    );
    assert_eq!(member(&request, 4), "c4670775b86f9944ac92f840f57061e8");
}

#[test]
fn a_new_pin_is_sealed_by_protocol_two() {
    let request = client_pin::set_pin_request(&agree(PinProtocol::Two), &pin("1234"), &IV).unwrap();
    assert_eq!(
        member(&request, 5),
        concat!(
            "000102030405060708090a0b0c0d0e0f9ef735d10a015d105ddaa553c8d7456e8571e23bdc2bf51fb586247650de6432",
            "46fcd10b900bfde4e840d7aecc8fc774fca30a1a4e5206d9133255e4fc24c9bd"
        )
    );
    assert_eq!(
        member(&request, 4),
        "b6d32e3707c5e8031d0c64f663a5a8be0504aada3c3b408e7455f5696bfc4f88"
    );
}

#[test]
fn a_pin_is_exchanged_by_its_sealed_hash() {
    let scope = Scope::Permitted {
        permissions: Permissions::MAKE_CREDENTIAL | Permissions::GET_ASSERTION,
        rp_id: Some("example.org"),
    };
    let request = client_pin::token_request(&agree(PinProtocol::Two), &pin("1234"), &IV, scope).unwrap();
    assert_eq!(
        member(&request, 6),
        "000102030405060708090a0b0c0d0e0f0bf1b0729b3d4daca5d242e6308082fa"
    );
    let map = parameters(&request);
    assert_eq!(map.get(2), Some(&Value::from(9)));
    assert_eq!(map.get(9), Some(&Value::from(3)));
    assert_eq!(map.get(10), Some(&Value::from("example.org")));

    let request = client_pin::token_request(&agree(PinProtocol::One), &pin("1234"), &IV, Scope::Legacy).unwrap();
    assert_eq!(member(&request, 6), "42981a7639c2a1660b267df770ce779a");
    let map = parameters(&request);
    assert_eq!(
        (map.get(2), map.get(9), map.get(10)),
        (Some(&Value::from(5)), None, None)
    );
}

#[test]
fn a_change_proves_both_parts_in_order() {
    for protocol in [PinProtocol::One, PinProtocol::Two] {
        let shared = agree(protocol);
        let request = client_pin::change_pin_request(&shared, &pin("1234"), &pin("5678"), &[IV, [9; 16]]).unwrap();
        let both = unhex(&(member(&request, 5) + &member(&request, 6)));
        assert_eq!(member(&request, 4), hex(&shared.authenticate(&both).unwrap().bytes));
        assert_eq!(parameters(&request).get(2), Some(&Value::from(4)));
    }
}

#[test]
fn a_token_comes_out_as_it_went_in_and_its_length_is_checked() {
    for (protocol, lengths) in [(PinProtocol::One, [16, 32].as_slice()), (PinProtocol::Two, &[32])] {
        let shared = agree(protocol);
        for length in [0, 16, 32, 48] {
            let sealed = shared.encrypt(&vec![0x5A; length], &IV).unwrap();
            let mut map = Map::new();
            map.insert(2, sealed);
            let response = [vec![0], cbor::encode(&map.into())].concat();
            match client_pin::parse_token(&response, &shared) {
                Ok(token) => {
                    assert!(lengths.contains(&length), "{protocol:?} {length}");
                    let same = PinUvAuthToken::new(protocol, Secret::new(vec![0x5A; length])).unwrap();
                    assert_eq!(token.authenticate(b"x").unwrap(), same.authenticate(b"x").unwrap());
                }
                Err(error) => {
                    assert!(!lengths.contains(&length), "{protocol:?} {length}");
                    assert!(matches!(error, ResponseError::Malformed(_)));
                }
            }
        }
        for length in [1, 15, 17, 31, 33] {
            assert!(shared.decrypt(&vec![0; length]).is_err(), "{protocol:?} {length}");
        }
    }
}

/// RFC 4231, test case 2, whose key is not of a length a token has: keyed through the token with a padded key, which HMAC
/// defines to be the same.
#[test]
fn the_proof_is_hmac_sha_256_cut_to_sixteen_bytes_in_protocol_one() {
    let mut key = b"Jefe".to_vec();
    key.resize(32, 0);
    let whole = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    for (protocol, length) in [(PinProtocol::One, 32), (PinProtocol::Two, 64)] {
        let token = PinUvAuthToken::new(protocol, Secret::new(key.clone())).unwrap();
        let proof = token.authenticate(b"what do ya want for nothing?").unwrap();
        assert_eq!(
            (proof.protocol, hex(&proof.bytes).as_str()),
            (protocol, &whole[..length])
        );
    }
}

#[test]
fn what_is_not_a_key_is_refused() {
    let good: [u8; 32] = unhex(EPHEMERAL).try_into().unwrap();
    let refused = |secret: &[u8; 32], peer: &Map| SharedSecret::agree(PinProtocol::Two, secret, peer).err();
    assert_eq!(refused(&[0; 32], &peer()), Some(PinError::BadEphemeralSecret));
    assert_eq!(refused(&[0xFF; 32], &peer()), Some(PinError::BadEphemeralSecret));
    for (key, bad) in [
        (-2, Value::from(unhex(PEER_Y))),
        (-3, Value::from(vec![0; 31])),
        (-3, Value::from(vec![0; 33])),
        (-1, Value::from(2)),
        (1, Value::from("EC2")),
    ] {
        let mut bent = peer();
        bent.take(key);
        bent.insert(key, bad);
        assert_eq!(refused(&good, &bent), Some(PinError::BadPeerKey), "member {key}");
    }
    assert_eq!(refused(&good, &Map::new()), Some(PinError::BadPeerKey));
}

#[test]
fn the_better_protocol_is_chosen() {
    assert_eq!(PinProtocol::choose(&[1, 2]), Some(PinProtocol::Two));
    assert_eq!(PinProtocol::choose(&[1]), Some(PinProtocol::One));
    assert_eq!(PinProtocol::choose(&[3]), None);
}

#[test]
fn retries_are_read() {
    assert_eq!(hex(&client_pin::retries_request()), "06a10201");
    assert_eq!(
        hex(&client_pin::key_agreement_request(PinProtocol::One)),
        "06a201010202"
    );
    let read = |text: &str| PinRetries::parse(&unhex(text)).map(|r| (r.left, r.power_cycle_needed));
    assert_eq!(read("00a10308"), Ok((8, false)));
    assert_eq!(read("00a2030504f5"), Ok((5, true)));
    assert!(read("00a103190100").is_err(), "256 tries");
    assert!(read("00a0").is_err());
    assert!(read("").is_err());
}
