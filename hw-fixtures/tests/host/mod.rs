//! A host for the tests: it frames CTAPHID, speaks both PIN protocols and passes time by hand.
#![allow(dead_code)] // every test file uses its own part

use ciborium::Value;
use hw_fixtures::entropy::Entropy;
use hw_fixtures::fido::Authenticator;
use hw_fixtures::fido::cbor::{self, bytes, int_map, text, text_map, uint};
use hw_fixtures::fido::ctaphid::{CtapHid, Report, fragment};
use hw_fixtures::{Millis, Profile, TouchMode, crypto};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::{PublicKey, SecretKey};

pub const CBOR: u8 = 0x10;
pub const HASH: [u8; 32] = [0x11; 32];
pub const RP: &str = "example.org";

pub struct Host {
    pub hid: CtapHid,
    pub now: Millis,
    pub channel: u32,
    pub keepalives: Vec<u8>,
    entropy: Entropy,
}

pub struct Pin {
    pub protocol: u64,
    agreement: Value,
    shared: Vec<u8>,
}

pub fn host(profile: &str, mode: TouchMode) -> Host {
    let mut profile = Profile::named(profile).unwrap().fido.unwrap();
    profile.max_msg_size = 7000;
    with(&profile, mode)
}

pub fn with(profile: &hw_fixtures::profile::FidoProfile, mode: TouchMode) -> Host {
    let authenticator = Authenticator::new(profile, "SIM-7", Entropy::seeded(7, "authenticator"), 0);
    let hid = CtapHid::new(authenticator, mode);
    let mut host = Host {
        hid,
        now: 0,
        channel: 0,
        keepalives: vec![],
        entropy: Entropy::seeded(9, "host"),
    };
    host.open();
    host
}

/// The messages in a row of reports: channel, command, data.
pub fn assemble(reports: &[Report]) -> Vec<(u32, u8, Vec<u8>)> {
    let mut messages: Vec<(u32, u8, Vec<u8>, usize)> = Vec::new();
    for report in reports {
        let channel = u32::from_be_bytes(report[..4].try_into().unwrap());
        if report[4] & 0x80 != 0 {
            let length = usize::from(u16::from_be_bytes([report[5], report[6]]));
            messages.push((channel, report[4] & 0x7f, report[7..].to_vec(), length));
        } else {
            messages.last_mut().unwrap().2.extend(&report[5..]);
        }
    }
    messages
        .into_iter()
        .map(|(channel, command, mut data, length)| {
            assert!(data.len() >= length, "a message ends short");
            data.truncate(length);
            (channel, command, data)
        })
        .collect()
}

impl Host {
    /// Whatever the key says now.
    pub fn listen(&mut self) -> Vec<(u32, u8, Vec<u8>)> {
        let mut reports = Vec::new();
        while let Some(report) = self.hid.pop() {
            reports.push(report);
        }
        assemble(&reports)
    }

    pub fn say(&mut self, channel: u32, command: u8, data: &[u8]) -> Vec<(u32, u8, Vec<u8>)> {
        for report in fragment(channel, command, data) {
            self.hid.receive(&report, self.now);
        }
        self.listen()
    }

    pub fn open(&mut self) {
        let answer = self.say(0xffff_ffff, 0x06, &[1, 2, 3, 4, 5, 6, 7, 8]);
        let [(0xffff_ffff, 0x06, data)] = answer.as_slice() else {
            panic!("{answer:?}")
        };
        assert_eq!(data[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(data.len(), 17);
        self.channel = u32::from_be_bytes(data[8..12].try_into().unwrap());
    }

    /// Sends a CBOR command and notes the keep-alives; `None` while the key waits for a touch.
    pub fn start(&mut self, request: &[u8]) -> Option<(u8, Value)> {
        let messages = self.say(self.channel, CBOR, request);
        self.finish(messages)
    }

    pub fn finish(&mut self, messages: Vec<(u32, u8, Vec<u8>)>) -> Option<(u8, Value)> {
        let mut answer = None;
        for (channel, command, data) in messages {
            assert_eq!(channel, self.channel);
            match command {
                0x3b => self.keepalives.push(data[0]),
                CBOR => {
                    let body = if data.len() > 1 {
                        cbor::decode(&data[1..], true).unwrap()
                    } else {
                        Value::Null
                    };
                    answer = Some((data[0], body));
                }
                other => panic!("command {other:#x} {data:?}"),
            }
        }
        answer
    }

    pub fn command(&mut self, number: u8, params: &Value) -> (u8, Value) {
        let request = [&[number][..], &cbor::encode(params)].concat();
        self.start(&request).expect("the key waits for a touch")
    }

    pub fn info(&mut self) -> Vec<(Value, Value)> {
        let (status, value) = self.start(&[0x04]).unwrap();
        assert_eq!(status, 0);
        value.into_map().unwrap()
    }

    pub fn option(&mut self, name: &str) -> Option<bool> {
        let info = self.info();
        let options = get(&Value::Map(info), 4).into_map().unwrap();
        cbor::field(&options, name).and_then(Value::as_bool)
    }

    // -- PIN ---------------------------------------------------------------------------------------------------

    pub fn agree(&mut self, protocol: u64) -> Pin {
        let (status, answer) = self.command(0x06, &int_map([(1, uint(protocol)), (2, uint(2))]));
        assert_eq!(status, 0);
        let theirs = get(&answer, 1);
        let sec1 = [
            &[4][..],
            get(&theirs, -2).as_bytes().unwrap(),
            get(&theirs, -3).as_bytes().unwrap(),
        ]
        .concat();
        let own = self.entropy.p256();
        let z = own.diffie_hellman(&PublicKey::from_sec1_bytes(&sec1).unwrap());
        let z = z.raw_secret_bytes();
        let shared = match protocol {
            1 => crypto::sha256(z).to_vec(),
            _ => [
                crypto::hkdf_sha256(z, b"CTAP2 HMAC key"),
                crypto::hkdf_sha256(z, b"CTAP2 AES key"),
            ]
            .concat(),
        };
        Pin {
            protocol,
            agreement: cose(&own),
            shared,
        }
    }

    pub fn set_pin(&mut self, protocol: u64, new: &str) -> u8 {
        let pin = self.agree(protocol);
        let sealed = pin.encrypt(&pad(new), &mut self.entropy);
        let tag = pin.authenticate(&sealed);
        self.command(
            0x06,
            &pin.params(
                3,
                [(4, bytes(&tag)), (5, bytes(&sealed)), (6, None), (9, None), (10, None)],
            ),
        )
        .0
    }

    pub fn change_pin(&mut self, protocol: u64, old: &str, new: &str) -> u8 {
        let pin = self.agree(protocol);
        let sealed = pin.encrypt(&pad(new), &mut self.entropy);
        let hash = pin.encrypt(&crypto::sha256(old.as_bytes())[..16], &mut self.entropy);
        let tag = pin.authenticate(&[sealed.as_slice(), &hash].concat());
        let params = pin.params(
            4,
            [
                (4, bytes(&tag)),
                (5, bytes(&sealed)),
                (6, bytes(&hash)),
                (9, None),
                (10, None),
            ],
        );
        self.command(0x06, &params).0
    }

    /// A pinUvAuthToken: by subcommand 9 with permissions, or by 5 without.
    pub fn token(&mut self, protocol: u64, pin: &str, permissions: Option<(u8, Option<&str>)>) -> Result<Vec<u8>, u8> {
        let agreed = self.agree(protocol);
        let hash = agreed.encrypt(&crypto::sha256(pin.as_bytes())[..16], &mut self.entropy);
        let (subcommand, wanted, rp) = match permissions {
            None => (5, None, None),
            Some((wanted, rp)) => (9, uint(u64::from(wanted)), rp.and_then(text)),
        };
        let params = agreed.params(
            subcommand,
            [(4, None), (5, None), (6, bytes(&hash)), (9, wanted), (10, rp)],
        );
        let (status, answer) = self.command(0x06, &params);
        if status != 0 {
            return Err(status);
        }
        Ok(agreed.decrypt(get(&answer, 2).as_bytes().unwrap()))
    }

    pub fn retries(&mut self) -> (u64, bool) {
        let (status, answer) = self.command(0x06, &int_map([(2, uint(1))]));
        assert_eq!(status, 0);
        let map = answer.as_map().unwrap();
        let cycle = cbor::find(map, &Value::from(4))
            .and_then(Value::as_bool)
            .unwrap_or(false);
        (cbor::as_uint(&get(&answer, 3)).unwrap(), cycle)
    }

    // -- credentials -------------------------------------------------------------------------------------------

    pub fn make(&mut self, request: Make) -> (u8, Value) {
        self.command(0x01, &request.params())
    }

    pub fn assertion(&mut self, request: Get) -> (u8, Value) {
        self.command(0x02, &request.params())
    }
}

impl Pin {
    fn params(&self, subcommand: u64, rest: [(i64, Option<Value>); 5]) -> Value {
        let mut all = vec![
            (Value::from(1), uint(self.protocol).unwrap()),
            (Value::from(2), uint(subcommand).unwrap()),
            (Value::from(3), self.agreement.clone()),
        ];
        all.extend(
            rest.into_iter()
                .filter_map(|(key, value)| Some((Value::from(key), value?))),
        );
        Value::Map(all)
    }

    fn keys(&self) -> (&[u8], &[u8; 32]) {
        match self.protocol {
            1 => (&self.shared, self.shared.as_slice().try_into().unwrap()),
            _ => (&self.shared[..32], self.shared[32..].try_into().unwrap()),
        }
    }

    fn encrypt(&self, plain: &[u8], entropy: &mut Entropy) -> Vec<u8> {
        let iv = if self.protocol == 1 { [0; 16] } else { entropy.bytes() };
        let sealed = crypto::aes256_cbc_encrypt(self.keys().1, &iv, plain).unwrap();
        if self.protocol == 1 {
            sealed
        } else {
            [&iv[..], &sealed].concat()
        }
    }

    fn decrypt(&self, sealed: &[u8]) -> Vec<u8> {
        let (iv, rest) = if self.protocol == 1 {
            ([0; 16], sealed)
        } else {
            (sealed[..16].try_into().unwrap(), &sealed[16..])
        };
        crypto::aes256_cbc_decrypt(self.keys().1, &iv, rest).unwrap()
    }

    fn authenticate(&self, message: &[u8]) -> Vec<u8> {
        tag(self.protocol, self.keys().0, message)
    }
}

pub fn tag(protocol: u64, key: &[u8], message: &[u8]) -> Vec<u8> {
    let full = crypto::hmac_sha256(key, &[message]);
    full[..if protocol == 1 { 16 } else { 32 }].to_vec()
}

fn pad(pin: &str) -> Vec<u8> {
    let mut padded = pin.as_bytes().to_vec();
    padded.resize(64, 0);
    padded
}

fn cose(key: &SecretKey) -> Value {
    hw_fixtures::fido::pinprotocol::cose_key(&key.public_key(), -25)
}

/// The value under an integer key.
pub fn get(value: &Value, key: i64) -> Value {
    cbor::find(value.as_map().unwrap(), &Value::from(key))
        .unwrap_or_else(|| panic!("no {key} in {value:?}"))
        .clone()
}

#[derive(Clone, Default)]
pub struct Make {
    pub rk: bool,
    pub user: u8,
    pub exclude: Option<Vec<u8>>,
    pub auth: Option<(u64, Vec<u8>)>,
    pub rp: Option<&'static str>,
    pub algorithm: Option<i64>,
}

impl Make {
    pub fn params(&self) -> Value {
        let rp = self.rp.unwrap_or(RP);
        let algorithm = text_map([
            ("alg", Some(Value::from(self.algorithm.unwrap_or(-7)))),
            ("type", text("public-key")),
        ]);
        let user = text_map([
            ("id", bytes(&[self.user; 8])),
            ("name", text("alice")),
            ("displayName", text("Alice")),
        ]);
        int_map([
            (1, bytes(&HASH)),
            (2, Some(text_map([("id", text(rp)), ("name", text("Example"))]))),
            (3, Some(user)),
            (4, Some(Value::Array(vec![algorithm]))),
            (5, self.exclude.as_ref().map(|id| Value::Array(vec![descriptor(id)]))),
            (7, self.rk.then(|| text_map([("rk", Some(true.into()))]))),
            (
                8,
                self.auth
                    .as_ref()
                    .map(|(protocol, token)| Value::Bytes(tag(*protocol, token, &HASH))),
            ),
            (9, self.auth.as_ref().and_then(|(protocol, _)| uint(*protocol))),
        ])
    }
}

#[derive(Clone, Default)]
pub struct Get {
    pub allow: Option<Vec<u8>>,
    pub auth: Option<(u64, Vec<u8>)>,
    pub rp: Option<&'static str>,
    pub silent: bool,
}

impl Get {
    pub fn params(&self) -> Value {
        int_map([
            (1, text(self.rp.unwrap_or(RP))),
            (2, bytes(&HASH)),
            (3, self.allow.as_ref().map(|id| Value::Array(vec![descriptor(id)]))),
            (5, self.silent.then(|| text_map([("up", Some(false.into()))]))),
            (
                6,
                self.auth
                    .as_ref()
                    .map(|(protocol, token)| Value::Bytes(tag(*protocol, token, &HASH))),
            ),
            (7, self.auth.as_ref().and_then(|(protocol, _)| uint(*protocol))),
        ])
    }
}

pub fn descriptor(id: &[u8]) -> Value {
    text_map([("id", bytes(id)), ("type", text("public-key"))])
}

/// What a makeCredential answer holds: flags, credential id, public key.
pub struct Made {
    pub flags: u8,
    pub id: Vec<u8>,
    pub key: VerifyingKey,
    pub aaguid: [u8; 16],
}

pub fn read_made(answer: &Value) -> Made {
    let data = get(answer, 2).into_bytes().unwrap();
    assert_eq!(data[..32], crypto::sha256(RP.as_bytes()));
    let length = usize::from(u16::from_be_bytes([data[53], data[54]]));
    let id = data[55..55 + length].to_vec();
    let cose = cbor::decode(&data[55 + length..], true).unwrap();
    let sec1 = [
        &[4][..],
        get(&cose, -2).as_bytes().unwrap(),
        get(&cose, -3).as_bytes().unwrap(),
    ]
    .concat();
    Made {
        flags: data[32],
        id,
        key: VerifyingKey::from_sec1_bytes(&sec1).unwrap(),
        aaguid: data[37..53].try_into().unwrap(),
    }
}

/// Verifies an assertion; answers its flags and counter.
pub fn check_assertion(answer: &Value, key: &VerifyingKey) -> (u8, u32) {
    let data = get(answer, 2).into_bytes().unwrap();
    let signature = Signature::from_der(get(answer, 3).as_bytes().unwrap()).unwrap();
    key.verify(&[data.as_slice(), &HASH].concat(), &signature)
        .expect("the signature");
    assert_eq!(data.len(), 37);
    (data[32], u32::from_be_bytes(data[33..37].try_into().unwrap()))
}
