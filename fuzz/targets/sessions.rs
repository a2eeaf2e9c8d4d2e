//! Sessions with FIDO2 keys that answer anything at all, over either carrier.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use claviger::codec::ctap2::client_pin::Permissions;
use claviger::codec::ctap2::config::Subcommand;
use claviger::codec::ctap2::make_credential::Particulars;
use claviger::codec::ctap2::pin_protocol::{PinProtocol, PinUvAuthToken};
use claviger::codec::ctaphid::{Channel, Command, REPORT_LEN, reports};
use claviger::device::ctap_card::CardChannel;
use claviger::device::ctap_hid::HidChannel;
use claviger::device::fido::{
    Carrier, Ctap1, CtapTransport, Entropy, FidoContext, FidoSession, GetAssertion, MakeCredential,
};
use claviger::device::{Deadlines, DeviceError};
use claviger::link::{CardLink, HidLink, LinkError};
use claviger::types::{Cancel, Secret};

/// The channel of every conversation here.
const CHANNEL: Channel = Channel(0x0022_0002);
/// What stands for random bytes, nonces among them.
const RANDOM: u8 = 7;
/// How long an exchange may take. A card that says that it is at work is asked again after a pause, so that more would make few runs.
const SHORT: Duration = Duration::from_millis(2);
/// The most APDUs or reports that one run may take: twice what the longest message and the most credentials come to.
const MOST_SENT: usize = 200_000;

struct Fixed;

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        buffer.fill(RANDOM);
        Ok(())
    }
}

/// The responses of a key in a row, each with two bytes of length before it.
fn messages(mut data: &[u8]) -> VecDeque<Vec<u8>> {
    let mut found = VecDeque::new();
    while let Some(([high, low], rest)) = data.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]) & 0x1FFF);
        let (message, rest) = rest.split_at(rest.len().min(length));
        found.push_back(message.to_vec());
        data = rest;
    }
    found
}

/// A key that answers INIT as it should and everything else from a script. After the last it is gone.
struct Reports {
    left: VecDeque<[u8; REPORT_LEN]>,
    capabilities: u8,
    sent: usize,
}

impl HidLink for Reports {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        self.sent += 1;
        assert!(self.sent < MOST_SENT, "work without end");
        if report[4] == Command::Init as u8 | 0x80 {
            let asked_on = Channel(u32::from_be_bytes([report[0], report[1], report[2], report[3]]));
            let answer = [
                &[RANDOM; 8][..],
                &CHANNEL.0.to_be_bytes(),
                &[2, 5, 7, 0, self.capabilities],
            ]
            .concat();
            for report in reports(asked_on, Command::Init, &answer).into_iter().flatten().rev() {
                self.left.push_front(report);
            }
        }
        Ok(())
    }

    fn read_report(&mut self, _: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        self.left.pop_front().map(Some).ok_or(LinkError::Gone)
    }
}

/// A session with a key on USB that answers anything. The first byte chooses: its low bit whether the script is reports or messages
/// that are framed as they should be, its high bit whether the key has nothing newer than U2F, the rest what is asked.
pub fn hid_key(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let is_u2f = choice & 0x80 != 0;
    let command = if is_u2f { Command::Msg } else { Command::Cbor };
    let left = if choice & 1 == 0 {
        let framed = messages(rest)
            .into_iter()
            .filter_map(|message| reports(CHANNEL, command, &message).ok());
        framed.flatten().collect()
    } else {
        let cut = rest.chunks(REPORT_LEN).map(|chunk| {
            let mut report = [0; REPORT_LEN];
            report[..chunk.len()].copy_from_slice(chunk);
            report
        });
        cut.collect()
    };
    let link = Box::new(Reports {
        left,
        // CTAPHID's own flags: WINK, CBOR, NMSG.
        capabilities: if is_u2f { 0x01 } else { 0x05 },
        sent: 0,
    });
    let (cancel, long) = (Cancel::new(), Duration::from_secs(600));
    let deadline = Instant::now() + long;
    let Ok(mut channel) = HidChannel::open(link, Box::new(Fixed), Duration::ZERO, deadline, &cancel) else {
        return;
    };
    let asked = (choice & 0x7F) >> 1;
    if !is_u2f {
        return ask(&mut channel, asked, long, false);
    }
    if let Ok(mut key) = Ctap1::open(channel, deadline, &cancel) {
        // Such a key is asked again after a pause until it is touched.
        ask(&mut key, asked, SHORT, true);
    }
}

/// A card that answers from a script: each response two bytes of length and so many bytes. After the last it is gone.
struct Responses {
    left: VecDeque<Vec<u8>>,
    atr: &'static [u8],
    sent: usize,
}

impl CardLink for Responses {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        assert!((4..=65_544).contains(&command.len()), "an APDU");
        self.sent += 1;
        assert!(self.sent < MOST_SENT, "work without end");
        self.left.pop_front().ok_or(LinkError::Gone)
    }

    fn atr(&self) -> &[u8] {
        self.atr
    }
}

/// A session with a key on a reader that answers anything, chains and waits among it. The first byte chooses: its low bit whether the
/// card offers extended lengths, the rest what is asked.
pub fn nfc_key(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let link = Box::new(Responses {
        left: messages(rest),
        atr: if choice & 1 == 0 {
            &[]
        } else {
            b"\x3B\x8D\x80\x01\x80\x73\xC0\x21\xC0\x57\x59\x75\x62\x69\x4B\x65\x79\xF9"
        },
        sent: 0,
    });
    let (cancel, deadline) = (Cancel::new(), Instant::now() + Duration::from_secs(600));
    let Ok(mut channel) = CardChannel::open(link, Carrier::Nfc, deadline, &cancel) else {
        return;
    };
    match channel.speaks_ctap2(Instant::now() + SHORT, &cancel) {
        Ok(true) => ask(&mut channel, choice >> 1, SHORT, false),
        Ok(false) => {
            if let Ok(mut key) = Ctap1::open(channel, deadline, &cancel) {
                ask(&mut key, choice >> 1, SHORT, true);
            }
        }
        Err(error) => drop(black_box(error.to_string())),
    }
}

/// Asks a key for four things, beginning with the one that is chosen. Of a U2F key nothing is wanted that it cannot do.
fn ask(transport: &mut dyn CtapTransport, choice: u8, patience: Duration, is_u2f: bool) {
    let cancel = Cancel::new();
    let mut context = FidoContext {
        deadlines: Deadlines {
            exchange: patience,
            touch: patience,
            lock: Duration::ZERO,
            grace: Duration::ZERO,
        },
        end: Instant::now() + Duration::from_secs(600),
        cancel: &cancel,
        on_touch_needed: &mut |_| {},
    };
    let mut entropy = Fixed;
    let mut session = FidoSession::new(transport, &mut entropy);
    let Ok(proof) = PinUvAuthToken::new(PinProtocol::Two, Secret::new(vec![9; 32])) else {
        return;
    };
    for turn in 0..4 {
        let verified = (!is_u2f).then_some(&proof);
        if let Err(error) = one(
            &mut session,
            choice.wrapping_add(turn) % CHOICES,
            verified,
            &mut context,
        ) {
            black_box((session.has_refused(&error), error.to_string()));
        }
    }
}

/// How many things a session can be asked.
pub const CHOICES: u8 = 20;

/// Asks for one thing, with a proof of the person where the key takes any.
pub fn one(
    session: &mut FidoSession<'_>,
    choice: u8,
    verified: Option<&PinUvAuthToken>,
    context: &mut FidoContext<'_>,
) -> Result<(), DeviceError> {
    let needed = || verified.ok_or(DeviceError::Unsupported("a PIN"));
    let (pin, other) = (Secret::new(b"4711-key".to_vec()), Secret::new(b"0815-key".to_vec()));
    let (rp_id, hash, some) = ("claviger.example", [3; 32], [vec![5; 32], vec![6; 64]]);
    let parties = ["claviger.example".to_owned()];
    match choice {
        0 => drop(black_box(session.get_info(context)?.to_json())),
        1 => drop(black_box(session.pin_retries(context)?)),
        2 => session.set_pin(&pin, context)?,
        3 => {
            let proof = session.pin_uv_token(&pin, Permissions::MAKE_CREDENTIAL, Some(rp_id), context)?;
            black_box(proof.protocol());
        }
        4 => {
            let wanted = MakeCredential {
                rp_id,
                rp_name: "Claviger",
                user_id: &[1; 16],
                user_name: "ada",
                resident: verified.is_some(),
                client_data_hash: &hash,
                pin_uv_auth_token: verified,
                exclude: &some,
                particulars: Particulars::default(),
            };
            let made = session.make_credential(&wanted, context)?;
            assert!(made.auth_data.attested.is_some());
        }
        5 => {
            let wanted = GetAssertion {
                rp_id,
                client_data_hash: &hash,
                allow: &some,
                user_presence: true,
                pin_uv_auth_token: verified,
            };
            drop(black_box(session.get_assertion(&wanted, context)?));
        }
        6 => drop(black_box(session.credential_metadata(needed()?, context)?)),
        7 => assert!(session.stored_credentials(rp_id, needed()?, context)?.len() <= 1_000),
        8 => session.select(context)?,
        9 => session.reset(context)?,
        10 => {
            // The last relying party may have as many as a key can hold.
            let stored = session.all_credentials(needed()?, context)?;
            assert!(stored.len() <= 1_000);
            if let Some(first) = stored.first() {
                session.rename_credential(&first.credential, (Some("ada"), None), needed()?, context)?;
                session.delete_credential(&first.credential.credential_id, needed()?, context)?;
            }
        }
        11 => session.change_pin(&pin, &other, context)?,
        12 => drop(black_box(session.uv_token(
            Permissions::GET_ASSERTION,
            Some(rp_id),
            context,
        )?)),
        13 => drop(black_box((
            session.uv_retries(context)?,
            session.fingerprint_sensor(context)?,
        ))),
        14 => {
            for finger in session.fingerprints(needed()?, context)? {
                session.name_fingerprint(&finger.id, "left thumb", needed()?, context)?;
                session.remove_fingerprint(&finger.id, needed()?, context)?;
            }
        }
        15 => {
            let mut samples = 0;
            let id = session.enrol_fingerprint(needed()?, context, &mut |_| samples += 1)?;
            assert!(!id.is_empty() && samples <= 100);
        }
        16 => {
            black_box(session.large_blobs(context)?);
            session.clear_large_blobs(verified, context)?;
        }
        17 => {
            let raised = Subcommand::SetMinPinLength {
                length: Some(8),
                rp_ids: &parties,
                force_change: true,
            };
            for wanted in [
                raised,
                Subcommand::EnableEnterpriseAttestation,
                Subcommand::ToggleAlwaysUv,
                Subcommand::EnableLongTouchForReset,
            ] {
                session.configure(wanted, verified, context)?;
            }
        }
        18 => drop(black_box(session.exclude_list(rp_id, &some, verified, context)?)),
        _ => drop(black_box(session.wink(context)?)),
    }
    Ok(())
}
