//! The FIDO2 authenticator against the standard, with time passed by hand.

mod host;

use std::io::Write;
use std::process::{Command, Stdio};

use ciborium::Value;
use host::{Get, Make, check_assertion, descriptor, get, host, read_made, tag, with};
use hw_fixtures::fido::cbor::{self, bytes, int_map, uint};
use hw_fixtures::{Profile, TouchMode};
use p256::ecdsa::signature::Verifier;
use proptest::prelude::*;

const MODERN: &str = "nitrokey-3";
const KEEPALIVE_TOUCH: u8 = 2;

#[test]
fn a_credential_signs_and_counts() {
    for profile in ["yubikey-5", "solo-2", "nitrokey-3", "fido20"] {
        let mut host = host(profile, TouchMode::Auto);
        let (status, answer) = host.make(Make::default());
        assert_eq!(status, 0, "{profile}");
        let made = read_made(&answer);
        assert_eq!(made.flags, 0x41);
        assert_eq!(Some(made.aaguid), Profile::named(profile).unwrap().aaguid());
        let mut last = 0;
        for _ in 0..3 {
            let (status, answer) = host.assertion(Get {
                allow: Some(made.id.clone()),
                ..Get::default()
            });
            assert_eq!(status, 0);
            let (flags, counter) = check_assertion(&answer, &made.key);
            assert_eq!(flags, 0x01);
            assert!(counter > last);
            last = counter;
        }
        let (status, answer) = host.assertion(Get {
            allow: Some(made.id.clone()),
            silent: true,
            ..Get::default()
        });
        assert_eq!((status, check_assertion(&answer, &made.key).0), (0, 0x00));
        let other = Get {
            allow: Some(made.id),
            rp: Some("other.org"),
            ..Get::default()
        };
        assert_eq!(host.assertion(other).0, 0x2e);
    }
}

#[test]
fn attestation_is_what_the_profile_says() {
    // Self: the credential's own key signs.
    let mut own = host("solo-2", TouchMode::Auto);
    let (_, answer) = own.make(Make::default());
    let statement = get(&answer, 3).into_map().unwrap();
    assert!(cbor::field(&statement, "x5c").is_none());
    let signature = cbor::field(&statement, "sig").unwrap().as_bytes().unwrap().clone();
    let signature = p256::ecdsa::Signature::from_der(&signature).unwrap();
    let message = [get(&answer, 2).into_bytes().unwrap(), host::HASH.to_vec()].concat();
    read_made(&answer).key.verify(&message, &signature).unwrap();
    // Basic: a certificate comes along, and the key in it is another one.
    let mut basic = host(MODERN, TouchMode::Auto);
    let (_, answer) = basic.make(Make::default());
    let statement = get(&answer, 3).into_map().unwrap();
    let chain = cbor::field(&statement, "x5c").unwrap().as_array().unwrap();
    assert_eq!(chain.len(), 1);
    // The model's AAGUID stands in the certificate, as an octet string within the extension's (WebAuthn 8.2.1).
    let certificate = chain[0].as_bytes().unwrap();
    let aaguid = [
        &[0x04, 0x12, 0x04, 0x10][..],
        &Profile::named(MODERN).unwrap().aaguid().unwrap(),
    ]
    .concat();
    assert!(certificate.windows(aaguid.len()).any(|window| window == aaguid));
    if let Ok(mut openssl) = Command::new("openssl")
        .args(["x509", "-inform", "DER", "-noout", "-text"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        openssl.stdin.take().unwrap().write_all(certificate).unwrap();
        let text = String::from_utf8(openssl.wait_with_output().unwrap().stdout).unwrap();
        for fact in [
            "Version: 3",
            "OU = Authenticator Attestation",
            "1.3.6.1.4.1.45724.1.1.4",
            "CA:FALSE",
        ] {
            assert!(text.contains(fact), "no {fact} in {text}");
        }
    } else {
        eprintln!("attestation certificate: not shown to openssl, which is not installed");
    }
    // None: no statement at all.
    let mut profile = Profile::named(MODERN).unwrap().fido.unwrap();
    profile.attestation = hw_fixtures::profile::Attestation::None;
    let (_, answer) = with(&profile, TouchMode::Auto).make(Make::default());
    assert_eq!(get(&answer, 1), Value::from("none"));
    assert_eq!(get(&answer, 3), Value::Map(vec![]));
}

#[test]
fn an_excluded_credential_is_refused_after_the_touch() {
    let mut host = host(MODERN, TouchMode::Auto);
    let made = read_made(&host.make(Make::default()).1);
    assert_eq!(
        host.make(Make {
            exclude: Some(made.id.clone()),
            ..Make::default()
        })
        .0,
        0x19
    );
    assert_eq!(
        host.make(Make {
            exclude: Some(vec![0; 64]),
            ..Make::default()
        })
        .0,
        0
    );
    assert_eq!(
        host.make(Make {
            algorithm: Some(-257),
            ..Make::default()
        })
        .0,
        0x26
    );
    host.hid.set_touch_mode(TouchMode::Never, 0);
    let request = Make {
        exclude: Some(made.id),
        ..Make::default()
    }
    .params();
    assert_eq!(host.start(&[&[1][..], &cbor::encode(&request)].concat()), None);
}

#[test]
fn pin_protocols_one_and_two_set_change_and_verify() {
    for protocol in [1, 2] {
        let mut host = host(MODERN, TouchMode::Auto);
        assert_eq!(host.option("clientPin"), Some(false));
        assert_eq!(host.token(protocol, "1234", None).unwrap_err(), 0x35);
        assert_eq!(host.set_pin(protocol, "123"), 0x37);
        assert_eq!(host.set_pin(protocol, "1234"), 0);
        assert_eq!(host.option("clientPin"), Some(true));
        assert_eq!(host.set_pin(protocol, "9999"), 0x33);
        assert_eq!(host.make(Make::default()).0, 0x36);
        let token = host.token(protocol, "1234", Some((1, Some(host::RP)))).unwrap();
        let (status, answer) = host.make(Make {
            auth: Some((protocol, token.clone())),
            ..Make::default()
        });
        assert_eq!((status, read_made(&answer).flags), (0, 0x45));
        // The touch spent the token.
        assert_eq!(
            host.make(Make {
                auth: Some((protocol, token)),
                ..Make::default()
            })
            .0,
            0x33
        );
        // A token for one thing is none for another, nor for another site.
        let token = host.token(protocol, "1234", Some((2, Some(host::RP)))).unwrap();
        assert_eq!(
            host.make(Make {
                auth: Some((protocol, token)),
                ..Make::default()
            })
            .0,
            0x33
        );
        let token = host.token(protocol, "1234", Some((1, Some("other.org")))).unwrap();
        assert_eq!(
            host.make(Make {
                auth: Some((protocol, token)),
                ..Make::default()
            })
            .0,
            0x33
        );
        // Permissions that this model does not have, and the old way of asking.
        assert_eq!(host.token(protocol, "1234", Some((0x20, None))).unwrap_err(), 0x40);
        assert!(host.token(protocol, "1234", None).is_ok());
        assert_eq!(host.change_pin(protocol, "1234", "äöüß"), 0);
        assert_eq!(host.token(protocol, "1234", None).unwrap_err(), 0x31);
        assert!(host.token(protocol, "äöüß", None).is_ok());
    }
}

#[test]
fn a_pin_token_dies_unused_after_thirty_seconds() {
    let mut host = host(MODERN, TouchMode::Auto);
    assert_eq!(host.set_pin(2, "1234"), 0);
    let token = host.token(2, "1234", Some((1, Some(host::RP)))).unwrap();
    host.now += 30_001;
    assert_eq!(
        host.make(Make {
            auth: Some((2, token)),
            ..Make::default()
        })
        .0,
        0x33
    );
}

#[test]
fn three_wrong_pins_want_a_replug_and_eight_a_reset() {
    let mut host = host(MODERN, TouchMode::Auto);
    assert_eq!(host.set_pin(2, "1234"), 0);
    let wrong = |host: &mut host::Host| host.token(2, "4321", None).unwrap_err();
    assert_eq!(
        [wrong(&mut host), wrong(&mut host), wrong(&mut host)],
        [0x31, 0x31, 0x34]
    );
    assert_eq!(host.retries(), (5, true));
    // Blocked until the power goes: even the right one is refused, and costs nothing.
    assert_eq!(host.token(2, "1234", None).unwrap_err(), 0x34);
    assert_eq!(host.retries(), (5, true));
    host.hid.power_cycle(host.now);
    host.open();
    assert_eq!(host.retries(), (5, false));
    assert_eq!([wrong(&mut host), wrong(&mut host)], [0x31, 0x31]);
    assert!(host.token(2, "1234", None).is_ok());
    assert_eq!(host.retries(), (8, false));
    for expected in [0x31, 0x31, 0x34, 0x31, 0x31, 0x34, 0x31, 0x32] {
        if host.retries().1 {
            host.hid.power_cycle(host.now);
            host.open();
        }
        assert_eq!(wrong(&mut host), expected);
    }
    host.hid.power_cycle(host.now);
    host.open();
    assert_eq!(host.token(2, "1234", None).unwrap_err(), 0x32);
    // Only a reset helps, and it takes the credentials along.
    assert_eq!(host.start(&[0x07]).unwrap().0, 0);
    assert_eq!(host.option("clientPin"), Some(false));
}

#[test]
fn a_reset_is_obeyed_for_ten_seconds_after_power_up() {
    let mut host = host(MODERN, TouchMode::Auto);
    let made = read_made(
        &host
            .make(Make {
                rk: true,
                ..Make::default()
            })
            .1,
    );
    host.now = 10_001;
    assert_eq!(host.start(&[0x07]).unwrap().0, 0x30);
    host.hid.power_cycle(host.now);
    host.open();
    // Asked for in time is in time, also when the finger comes later.
    host.hid.set_touch_mode(TouchMode::Manual, host.now);
    host.now += 9_900;
    assert_eq!(host.start(&[0x07]), None);
    host.now += 5_000;
    assert!(host.hid.touch(host.now));
    let messages = host.listen();
    assert_eq!(host.finish(messages).unwrap().0, 0);
    host.hid.set_touch_mode(TouchMode::Auto, host.now);
    assert_eq!(
        host.assertion(Get {
            allow: Some(made.id),
            ..Get::default()
        })
        .0,
        0x2e
    );
    assert_eq!(host.hid.authenticator().resident_count(), 0);
}

#[test]
fn a_touch_is_waited_for_under_keepalives_and_can_be_cancelled() {
    let mut host = host(MODERN, TouchMode::Manual);
    let request = [&[1][..], &cbor::encode(&Make::default().params())].concat();
    assert_eq!(host.start(&request), None);
    for _ in 0..5 {
        host.now += 100;
        host.hid.tick(host.now);
        let messages = host.listen();
        assert_eq!(host.finish(messages), None);
    }
    assert_eq!(host.keepalives, [KEEPALIVE_TOUCH; 6]);
    assert!(host.hid.touch(host.now));
    let messages = host.listen();
    assert_eq!(host.finish(messages).unwrap().0, 0);
    assert!(!host.hid.touch(host.now));

    assert_eq!(host.start(&request), None);
    let messages = host.say(host.channel, 0x11, &[]);
    assert_eq!(host.finish(messages).unwrap().0, 0x2d);

    host.hid.set_touch_mode(TouchMode::Never, host.now);
    assert_eq!(host.start(&request), None);
    host.now += 30_000;
    host.hid.tick(host.now);
    let messages = host.listen();
    assert_eq!(host.finish(messages).unwrap().0, 0x2f);
}

#[test]
fn selection_only_wants_a_touch() {
    let mut host = host(MODERN, TouchMode::Auto);
    assert_eq!(host.start(&[0x0b]).unwrap().0, 0);
    assert_eq!(self::host("fido20", TouchMode::Auto).start(&[0x0b]).unwrap().0, 0x01);
}

#[test]
fn resident_credentials_are_found_listed_and_deleted() {
    let mut host = host(MODERN, TouchMode::Auto);
    for user in [1, 2, 2] {
        assert_eq!(
            host.make(Make {
                rk: true,
                user,
                ..Make::default()
            })
            .0,
            0
        );
    }
    assert_eq!(
        host.make(Make {
            rk: true,
            user: 3,
            rp: Some("other.org"),
            ..Make::default()
        })
        .0,
        0
    );
    assert_eq!(host.hid.authenticator().resident_count(), 3);
    // Two for this site, newest first; without a PIN nobody learns names.
    let (status, first) = host.assertion(Get::default());
    assert_eq!((status, get(&first, 5)), (0, Value::from(2)));
    assert_eq!(get(&first, 4), cbor::text_map([("id", bytes(&[2; 8]))]));
    let (status, second) = host.start(&[0x08]).unwrap();
    assert_eq!((status, get(&second, 4)), (0, cbor::text_map([("id", bytes(&[1; 8]))])));
    assert_eq!(host.start(&[0x08]).unwrap().0, 0x30);

    assert_eq!(host.set_pin(2, "1234"), 0);
    assert_eq!(manage(&mut host, 1, None).0, 0);
    let (_, metadata) = manage(&mut host, 1, None);
    assert_eq!(
        (get(&metadata, 1), get(&metadata, 2)),
        (Value::from(3), Value::from(47))
    );
    let (_, party) = manage(&mut host, 2, None);
    assert_eq!(get(&party, 5), Value::from(2));
    let (status, _) = host.command(0x0a, &int_map([(1, uint(3))]));
    assert_eq!(status, 0);
    assert_eq!(host.command(0x0a, &int_map([(1, uint(3))])).0, 0x30);
    let hash = hw_fixtures::crypto::sha256(host::RP.as_bytes());
    let (_, credential) = manage(&mut host, 4, Some(int_map([(1, bytes(&hash))])));
    assert_eq!(get(&credential, 9), Value::from(2));
    let id = get(&credential, 7);
    assert_eq!(manage(&mut host, 6, Some(int_map([(2, Some(id.clone()))]))).0, 0);
    assert_eq!(manage(&mut host, 6, Some(int_map([(2, Some(id.clone()))]))).0, 0x2e);
    let raw = cbor::field(id.as_map().unwrap(), "id")
        .unwrap()
        .as_bytes()
        .unwrap()
        .clone();
    assert_eq!(
        host.assertion(Get {
            allow: Some(raw),
            ..Get::default()
        })
        .0,
        0x2e
    );
    assert_eq!(
        manage(&mut host, 6, Some(int_map([(2, Some(descriptor(&[0; 64])))]))).0,
        0x2e
    );
}

/// Credential management under a fresh token.
fn manage(host: &mut host::Host, subcommand: u8, params: Option<Value>) -> (u8, Value) {
    let token = host.token(2, "1234", Some((4, None))).unwrap();
    let encoded = params.as_ref().map(cbor::encode).unwrap_or_default();
    let auth = tag(2, &token, &[&[subcommand][..], &encoded].concat());
    host.command(
        0x0a,
        &int_map([
            (1, uint(u64::from(subcommand))),
            (2, params),
            (3, uint(2)),
            (4, bytes(&auth)),
        ]),
    )
}

#[test]
fn a_full_key_says_so() {
    let mut host = host("fido20", TouchMode::Auto);
    for user in 0..5 {
        assert_eq!(
            host.make(Make {
                rk: true,
                user,
                ..Make::default()
            })
            .0,
            0
        );
    }
    assert_eq!(
        host.make(Make {
            rk: true,
            user: 9,
            ..Make::default()
        })
        .0,
        0x28
    );
}

#[test]
fn policy_can_force_a_longer_pin() {
    let mut host = host("yubikey-5", TouchMode::Auto);
    assert_eq!(host.set_pin(2, "1234"), 0);
    let configure = |host: &mut host::Host, subcommand: u8, params: Option<Value>| {
        let token = host.token(2, "1234", Some((0x20, None))).unwrap();
        let encoded = params.as_ref().map(cbor::encode).unwrap_or_default();
        let message = [&[0xff; 32][..], &[0x0d, subcommand], &encoded].concat();
        let auth = tag(2, &token, &message);
        let request = int_map([
            (1, uint(u64::from(subcommand))),
            (2, params),
            (3, uint(2)),
            (4, bytes(&auth)),
        ]);
        host.command(0x0d, &request).0
    };
    assert_eq!(configure(&mut host, 2, None), 0);
    assert_eq!(host.option("alwaysUv"), Some(true));
    assert_eq!(host.make(Make::default()).0, 0x36);
    assert_eq!(configure(&mut host, 3, Some(int_map([(1, uint(3))]))), 0x37);
    assert_eq!(configure(&mut host, 3, Some(int_map([(1, uint(6))]))), 0);
    // Four are too few now: the PIN is good for nothing but being changed, and not to itself.
    let info = Value::Map(host.info());
    assert_eq!(
        (get(&info, 0x0c), get(&info, 0x0d)),
        (Value::from(true), Value::from(6))
    );
    assert_eq!(host.token(2, "1234", Some((1, Some(host::RP)))).unwrap_err(), 0x37);
    assert_eq!(host.change_pin(2, "1234", "12345"), 0x37);
    assert_eq!(host.change_pin(2, "1234", "123456"), 0);
    assert!(host.token(2, "123456", Some((1, Some(host::RP)))).is_ok());
}

#[test]
fn an_empty_pin_auth_asks_which_key_is_meant() {
    let mut host = host("fido20", TouchMode::Auto);
    let mut params = Make::default().params();
    params
        .as_map_mut()
        .unwrap()
        .push((Value::from(8), Value::Bytes(vec![])));
    assert_eq!(host.command(0x01, &params).0, 0x35);
    assert_eq!(host.set_pin(1, "1234"), 0);
    assert_eq!(host.command(0x01, &params).0, 0x31);
}

#[test]
fn a_plain_key_of_ctap_2_0_knows_nothing_newer() {
    let mut host = host("fido20", TouchMode::Auto);
    let keys: Vec<u64> = host.info().iter().filter_map(|(key, _)| cbor::as_uint(key)).collect();
    assert_eq!(keys, [1, 3, 4, 5, 6]);
    assert_eq!(host.set_pin(1, "1234"), 0);
    assert_eq!(host.token(1, "1234", Some((1, Some(host::RP)))).unwrap_err(), 0x3e);
    assert_eq!(host.command(0x06, &int_map([(1, uint(2)), (2, uint(2))])).0, 0x02);
    // Its token lasts until the power goes.
    let token = host.token(1, "1234", None).unwrap();
    for _ in 0..2 {
        assert_eq!(
            host.make(Make {
                auth: Some((1, token.clone())),
                ..Make::default()
            })
            .0,
            0
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let mut first = host(MODERN, TouchMode::Auto);
    let mut second = host(MODERN, TouchMode::Auto);
    assert_eq!(first.make(Make::default()), second.make(Make::default()));
}

#[test]
fn framing_errors_have_their_codes() {
    let mut host = host(MODERN, TouchMode::Manual);
    let error = |code: u8, channel: u32| vec![(channel, 0x3f, vec![code])];
    let channel = host.channel;
    assert_eq!(host.say(0x1234, 0x10, &[4]), error(0x0b, 0x1234));
    assert_eq!(host.say(0, 0x06, &[0; 8]), error(0x0b, 0));
    assert_eq!(host.say(channel, 0x03, &[]), error(0x01, channel));
    assert_eq!(host.say(channel, 0x10, &[]), error(0x03, channel));
    assert_eq!(host.say(0xffff_ffff, 0x06, &[0; 7]), error(0x03, 0xffff_ffff));
    assert_eq!(host.say(channel, 0x01, &[7; 200]), vec![(channel, 0x01, vec![7; 200])]);
    assert_eq!(host.say(channel, 0x08, &[]), vec![(channel, 0x08, vec![])]);
    assert_eq!(host.hid.winks(), 1);

    // A continuation out of turn; one without a message is ignored.
    let reports = hw_fixtures::fido::ctaphid::fragment(channel, 0x01, &[7; 200]);
    host.hid.receive(&reports[0], 0);
    host.hid.receive(&reports[2], 0);
    assert_eq!(host.listen(), error(0x04, channel));
    host.hid.receive(&reports[1], 0);
    assert_eq!(host.listen(), vec![]);
    // A message that stops arriving.
    host.hid.receive(&reports[0], 0);
    host.now = 500;
    host.hid.tick(500);
    assert_eq!(host.listen(), error(0x05, channel));
    // A length that no message can have.
    let mut lie = reports[0];
    lie[5] = 0xff;
    host.hid.receive(&lie, 600);
    assert_eq!(host.listen(), error(0x03, channel));

    // While one channel is busy the others wait; INIT still gives channels, and aborts its own.
    assert_eq!(host.start(&[0x0b]), None);
    host.open();
    let second = host.channel;
    assert_ne!(second, channel);
    assert_eq!(host.say(second, 0x10, &[4]), error(0x06, second));
    assert_eq!(host.say(channel, 0x06, &[0; 8]).len(), 1);
    assert!(!host.hid.wants_touch());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_reports_are_survived(reports in proptest::collection::vec(any::<[u8; 32]>(), 1..40), own in any::<bool>()) {
        let mut host = host(MODERN, TouchMode::Auto);
        for (step, half) in (0_u64..).zip(reports) {
            let mut report = [0; 64];
            report[..32].copy_from_slice(&half);
            if own {
                report[..4].copy_from_slice(&host.channel.to_be_bytes());
            }
            host.hid.receive(&report, step * 50);
            while host.hid.pop().is_some() {}
        }
        // Whatever came, a fresh channel works.
        host.now = 1_000_000;
        host.hid.tick(host.now);
        host.listen();
        host.open();
        prop_assert_eq!(host.start(&[0x04]).unwrap().0, 0);
    }

    #[test]
    fn any_cbor_is_answered(command in 0_u8..0x45, body in proptest::collection::vec(any::<u8>(), 0..120)) {
        let mut host = host("yubikey-5", TouchMode::Auto);
        prop_assert!(host.start(&[&[command][..], &body].concat()).is_some());
    }

    #[test]
    fn a_damaged_request_is_answered(position in 0_usize..200, value in any::<u8>()) {
        let mut host = host("yubikey-5", TouchMode::Auto);
        let mut request = [&[1][..], &cbor::encode(&Make { rk: true, ..Make::default() }.params())].concat();
        let length = request.len();
        request[position % length] = value;
        prop_assert!(host.start(&request).is_some());
    }
}
