//! What the CTAP engine itself costs, apart from the link: framing, encoding, the PIN protocol, decoding, verifying.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use claviger::codec::ctap2::assertion::{self, Expected};
use claviger::codec::ctap2::client_pin::Permissions;
use claviger::codec::ctap2::cose::{CoseError, CoseKey};
use claviger::codec::ctap2::make_credential::{Particulars, Response};
use claviger::codec::ctaphid::{Channel, Command, KeepAlive, REPORT_LEN, Report, reports};
use claviger::device::ctap_hid::HidChannel;
use claviger::device::fido::{CtapTransport, Entropy, FidoContext, FidoSession, GetAssertion, MakeCredential};
use claviger::device::{Deadlines, DeviceError};
use claviger::link::{HidLink, LinkError};
use claviger::trust::signature::by_credential;
use claviger::trust::statement::{self, Attested};
use claviger::types::{Cancel, Secret};
use hw_fixtures::Token;
use hw_fixtures::fido::Outcome;
use hw_fixtures::person::Presence;
use hw_fixtures::token::TokenSetup;
use nix::time::{ClockId, clock_gettime};

use crate::report::{Measured, median, quantile};

const ROUNDS: usize = 201;
const WARM_UP: usize = 20;
const PROFILE: &str = "yubikey-5-7";
const RP: &str = "login.example.org";
const HASH: [u8; 32] = [3; 32];
const CHANNEL: Channel = Channel(0x0022_0002);

/// The same bytes each time: so a key that only repeats itself understands us, and is understood.
struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        buffer.fill(7);
        Ok(())
    }
}

/// A simulated key with a finger on it, and what it said.
struct Recorded {
    token: Token,
    said: Vec<Vec<u8>>,
}

impl CtapTransport for Recorded {
    fn exchange(
        &mut self,
        request: &[u8],
        _: Instant,
        _: &Cancel,
        _: &mut dyn FnMut(KeepAlive),
    ) -> Result<Vec<u8>, DeviceError> {
        let now = self.token.now();
        let outcome = self
            .token
            .with_authenticator(|key| key.run(request, Presence::Touching, now));
        let Some(Outcome::Answer(answer)) = outcome else {
            panic!("a key that was touched answers");
        };
        self.said.push(answer.clone());
        Ok(answer)
    }
}

/// A link in this process: whatever is written, what was recorded is read.
struct Repeated {
    left: VecDeque<Report>,
}

impl Repeated {
    fn new(said: &[Vec<u8>]) -> Self {
        let framed = said
            .iter()
            .flat_map(|message| reports(CHANNEL, Command::Cbor, message).expect("short"));
        Self { left: framed.collect() }
    }
}

impl HidLink for Repeated {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        if report[4] == Command::Init as u8 | 0x80 {
            let answer = [&[7; 8][..], &CHANNEL.0.to_be_bytes(), &[2, 5, 7, 0, 0x05]].concat();
            let framed = reports(Channel::BROADCAST, Command::Init, &answer).expect("short");
            framed.into_iter().rev().for_each(|report| self.left.push_front(report));
        }
        Ok(())
    }

    fn read_report(&mut self, _: Duration) -> Result<Option<Report>, LinkError> {
        self.left.pop_front().map(Some).ok_or(LinkError::Gone)
    }
}

/// What is measured: a job on a session that has sent nothing yet.
type Job<'j> = &'j dyn Fn(&mut FidoSession<'_>, &mut FidoContext<'_>);

fn with_context<T>(job: impl FnOnce(&mut FidoContext<'_>) -> T) -> T {
    let cancel = Cancel::new();
    let long = Duration::from_secs(600);
    job(&mut FidoContext {
        deadlines: Deadlines {
            exchange: long,
            touch: long,
            lock: Duration::ZERO,
            grace: Duration::ZERO,
        },
        end: Instant::now() + long,
        cancel: &cancel,
        on_touch_needed: &mut |_| {},
    })
}

/// `engine_us_getinfo`, `engine_us_makecredential`, `engine_us_getassertion`.
pub fn costs() -> Vec<Result<Measured, String>> {
    let pin = Secret::new(b"4711-key".to_vec());
    let token = Token::of_profile(PROFILE, TokenSetup::named("engine")).expect("a token");
    let mut key = Recorded {
        token,
        said: Vec::new(),
    };
    record(&mut key, &|session, context| {
        session.set_pin(&pin, context).expect("a PIN")
    });
    let get_info: Job<'_> = &|session, context| drop(black_box(session.get_info(context).expect("getInfo")));
    let make: Job<'_> = &|session, context| drop(black_box(made(session, context, &pin)));
    let (info, making) = (record(&mut key, get_info), record(&mut key, make));
    let credential = Response::parse(making.last().expect("a credential")).expect("a credential");
    let credential = credential.auth_data.attested.expect("a credential");
    let (id, public_key) = (credential.credential_id, credential.public_key);
    let assert: Job<'_> = &|session, context| asserted(session, context, (&pin, &id, &public_key));
    let asserting = record(&mut key, assert);

    [
        ("getInfo, encoded, framed and read", info, get_info),
        (
            "getInfo, PIN to pinUvAuthToken, makeCredential, attestation verified",
            making,
            make,
        ),
        (
            "getInfo, PIN to pinUvAuthToken, getAssertion, signature verified",
            asserting,
            assert,
        ),
    ]
    .map(|(what, said, job)| {
        let times: Vec<f64> = (0..WARM_UP + ROUNDS).map(|_| round(&said, job)).skip(WARM_UP).collect();
        Ok(Measured {
            value: median(&times),
            notes: vec![format!(
                "{what}; {} messages, {} bytes of answers; {ROUNDS} rounds, nine in ten under {:.1} us",
                said.len(),
                said.iter().map(Vec::len).sum::<usize>(),
                quantile(&times, 0.9)
            )],
        })
    })
    .into()
}

/// Does it once with the simulated key; what that said.
fn record(key: &mut Recorded, job: Job<'_>) -> Vec<Vec<u8>> {
    key.said.clear();
    with_context(|context| job(&mut FidoSession::new(key, &mut Fixed), context));
    std::mem::take(&mut key.said)
}

/// Does it once with what was recorded; microseconds of processor time.
fn round(said: &[Vec<u8>], job: Job<'_>) -> f64 {
    with_context(|context| {
        let link = Box::new(Repeated::new(said));
        let mut channel =
            HidChannel::open(link, Box::new(Fixed), Duration::ZERO, context.end, context.cancel).expect("a channel");
        let mut entropy = Fixed;
        let mut session = FidoSession::new(&mut channel, &mut entropy);
        cpu_us(|| job(&mut session, context))
    })
}

fn made(session: &mut FidoSession<'_>, context: &mut FidoContext<'_>, pin: &Secret) -> Response {
    let proof = session
        .pin_uv_token(pin, Permissions::MAKE_CREDENTIAL, Some(RP), context)
        .expect("a proof");
    let wanted = MakeCredential {
        rp_id: RP,
        rp_name: "Example",
        user_id: &[1; 16],
        user_name: "ada",
        resident: true,
        client_data_hash: &HASH,
        pin_uv_auth_token: Some(&proof),
        exclude: &[],
        particulars: Particulars::default(),
    };
    let made = session.make_credential(&wanted, context).expect("a credential");
    statement::verify(&Attested {
        format: &made.format,
        auth_data: &made.auth_data,
        statement: &made.statement,
        client_data_hash: &HASH,
    })
    .expect("a statement that verifies");
    made
}

fn asserted(
    session: &mut FidoSession<'_>,
    context: &mut FidoContext<'_>,
    (pin, id, public_key): (&Secret, &[u8], &CoseKey),
) {
    let proof = session
        .pin_uv_token(pin, Permissions::GET_ASSERTION, Some(RP), context)
        .expect("a proof");
    let wanted = GetAssertion {
        rp_id: RP,
        client_data_hash: &HASH,
        allow: &[id.to_vec()],
        user_presence: true,
        pin_uv_auth_token: Some(&proof),
    };
    let response = session.get_assertion(&wanted, context).expect("an assertion");
    let expected = Expected {
        rp_id: RP,
        credential_id: id,
        public_key,
        client_data_hash: &HASH,
        user_verification: true,
        last_sign_count: 0,
    };
    // As the daemon does it, whatever the algorithm (src/lifecycle).
    let verified = assertion::verify_by(&response, &expected, |message, signature| {
        by_credential(public_key.encoded(), message, signature).map_err(|_| CoseError::BadSignature)
    });
    black_box(verified.expect("a signature that verifies"));
}

/// Of this thread, whatever else the machine does.
fn cpu_us(job: impl FnOnce()) -> f64 {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock"));
    let begun = now();
    job();
    (now() - begun).as_secs_f64() * 1e6
}
