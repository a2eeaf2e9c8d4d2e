//! A display fob of the Token2 family with its NFC side: serial number and clock are readable by everyone, clock, algorithm and
//! seed are written by whoever knows the published key. The seed and the codes never leave it but by the window.
//!
//! There is no applet to select. Bytes: `docs/simulator.md`, "NFC fobs".

use crate::entropy::Entropy;
use crate::fob::{Fob, Moving};
use crate::oath::Hash;
use crate::person::TouchMode;
use crate::profile::{FobProfile, NfcProfile};
use crate::ykoath::{Apdu, Reply, StatusWord};
use crate::{Millis, crypto};

/// The key of all fobs of this family; its makers publish it.
pub const KEY: [u8; 16] = [
    0x8a, 0xd2, 0x06, 0x88, 0x3c, 0xa3, 0x69, 0x48, 0x2a, 0xb2, 0x71, 0x82, 0xb6, 0xe8, 0x32, 0x24,
];

const MAX_SEED: usize = 63;
const BLOCK: usize = 16;

/// A fob that a reader can talk to while it is switched on.
pub struct NfcFob {
    profile: NfcProfile,
    fob: Fob,
    entropy: Entropy,
    mode: TouchMode,
    on_until: Option<Millis>,
    /// A command came while it was off.
    missed: bool,
    challenge: Option<[u8; 8]>,
    authenticated: bool,
    failed: u8,
    /// Seconds the window stays lit, as the configuration says it: 0 to 3 for 15, 30, 60, 120.
    display: u8,
    remaining: Vec<u8>,
}

impl NfcFob {
    /// A fob of this make, right in time, with a random seed. `serial` should begin with the model's digits.
    pub fn new(
        nfc: &NfcProfile,
        make: &FobProfile,
        serial: Option<String>,
        mut entropy: Entropy,
        mode: TouchMode,
    ) -> Self {
        let number = u32::from_be_bytes(entropy.bytes()) % 1_000_000;
        let serial = serial.unwrap_or_else(|| format!("{}{number:06}", nfc.serial_prefix));
        let moving = Moving::Totp {
            period_s: make.period_s.unwrap_or(30),
        };
        let mut fob = Fob::new(serial, make.hash, make.digits, moving, &mut entropy);
        fob.factory_unix_s = make.factory_unix_s;
        Self {
            profile: nfc.clone(),
            fob,
            entropy,
            mode,
            on_until: None,
            missed: false,
            challenge: None,
            authenticated: false,
            failed: 0,
            display: 0,
            remaining: Vec::new(),
        }
    }

    /// The fob as its holder sees it: serial number, window, clock.
    pub fn fob(&self) -> &Fob {
        &self.fob
    }

    /// The same, to be changed behind its firmware's back.
    pub fn fob_mut(&mut self) -> &mut Fob {
        &mut self.fob
    }

    /// Whether failed authentications have locked it for good.
    pub fn is_locked(&self) -> bool {
        self.profile.lock_after.is_some_and(|limit| self.failed >= limit)
    }

    /// The lighting time last configured: 0 to 3 for 15, 30, 60, 120 seconds.
    pub fn display(&self) -> u8 {
        self.display
    }

    /// Out of the reader's field.
    pub fn power_cycle(&mut self) {
        self.challenge = None;
        self.authenticated = false;
        self.remaining.clear();
    }

    /// Changes how the person behaves: one who touches at once keeps it switched on.
    pub fn set_touch_mode(&mut self, mode: TouchMode) {
        self.mode = mode;
    }

    /// The person presses the button. Answers whether a command had been missed.
    pub fn press(&mut self, now: Millis) -> bool {
        self.on_until = Some(now.saturating_add(self.profile.on_s.saturating_mul(1000)));
        std::mem::take(&mut self.missed)
    }

    /// Whether a command came while it was off.
    pub fn wants_touch(&self) -> bool {
        self.missed
    }

    fn is_on(&self, now: Millis) -> bool {
        self.mode == TouchMode::Auto || self.on_until.is_some_and(|end| now < end)
    }

    /// Takes one command APDU at true time `unix_s`.
    pub fn command(&mut self, raw: &[u8], now: Millis, unix_s: i64) -> Reply {
        if !self.is_on(now) || self.fob.is_dead() {
            self.power_cycle();
            self.missed = !self.fob.is_dead();
            return Reply::Silence;
        }
        let (mut response, status) = self.answer(raw, unix_s).unwrap_or_else(|status| (Vec::new(), status));
        response.extend(status);
        Reply::Response(response)
    }

    /// Body and status; or a status alone.
    fn answer(&mut self, raw: &[u8], unix_s: i64) -> Result<(Vec<u8>, [u8; 2]), [u8; 2]> {
        let apdu = Apdu::parse(raw)
            .filter(|apdu| !apdu.extended)
            .ok_or(StatusWord::WrongLength.bytes())?;
        if self.profile.t0 && (apdu.class, apdu.instruction) == (0x00, 0xc0) {
            return self.get_response(&apdu);
        }
        self.remaining.clear();
        let body = self.execute(&apdu, unix_s).map_err(StatusWord::bytes)?;
        if self.profile.t0 && !body.is_empty() {
            self.in_t0(&apdu, body)
        } else {
            Ok((body, StatusWord::Ok.bytes()))
        }
    }

    /// T=0 (ISO 7816-3 section 10.3): a command with data keeps its answer for GET RESPONSE, one without tells the right length.
    fn in_t0(&mut self, apdu: &Apdu, body: Vec<u8>) -> Result<(Vec<u8>, [u8; 2]), [u8; 2]> {
        let length = u8::try_from(body.len()).unwrap_or(0);
        if !apdu.data.is_empty() {
            self.remaining = body;
            return Err([0x61, length]);
        }
        if apdu.le != Some(body.len()) {
            return Err([0x6c, length]);
        }
        Ok((body, StatusWord::Ok.bytes()))
    }

    fn get_response(&mut self, apdu: &Apdu) -> Result<(Vec<u8>, [u8; 2]), [u8; 2]> {
        if self.remaining.is_empty() {
            return Err(StatusWord::ConditionsNotSatisfied.bytes());
        }
        let wanted = apdu.le.unwrap_or(0);
        if wanted == 0 || wanted > self.remaining.len() {
            return Err([0x6c, u8::try_from(self.remaining.len()).unwrap_or(0)]);
        }
        let piece: Vec<u8> = self.remaining.drain(..wanted).collect();
        let status = match self.remaining.len() {
            0 => StatusWord::Ok.bytes(),
            left => [0x61, u8::try_from(left).unwrap_or(0)],
        };
        Ok((piece, status))
    }

    fn execute(&mut self, apdu: &Apdu, unix_s: i64) -> Result<Vec<u8>, StatusWord> {
        match (apdu.class, apdu.instruction, apdu.p1, apdu.p2) {
            (0x80, 0x41, 0, 0) => self.info(&apdu.data, unix_s),
            (0x80, 0x4b, 0x08, 0) => self.give_challenge(&apdu.data),
            (0x80, 0xce, 0, 0) => self.authenticate(&apdu.data),
            (0x84, 0xc5, 0x01, 0) => self.write_seed(apdu),
            (0x84, 0xd4, 0, 0) => self.configure(apdu, unix_s),
            (0x80 | 0x84, 0x41 | 0x4b | 0xce | 0xc5 | 0xd4, _, _) => Err(StatusWord::WrongP1P2),
            (0x80 | 0x84, ..) => Err(StatusWord::InstructionNotSupported),
            _ => Err(StatusWord::ClassNotSupported),
        }
    }

    /// Serial number and clock, for everyone. The meaning of the first three bytes and of the two between is not published.
    fn info(&self, data: &[u8], unix_s: i64) -> Result<Vec<u8>, StatusWord> {
        match data {
            [0x02, 0x11] => {}
            [_, _] => return Err(StatusWord::WrongData),
            _ => return Err(StatusWord::WrongLength),
        }
        let serial = self.fob.serial.as_bytes();
        let length = u8::try_from(serial.len()).map_err(|_| StatusWord::MemoryFailure)?;
        let clock = u32::try_from(self.fob.shows(unix_s).max(0)).unwrap_or(u32::MAX);
        let mut out = vec![0x95, length.saturating_add(8), 0x02, length];
        out.extend(serial);
        out.extend([0x0f, 0x04]);
        out.extend(clock.to_be_bytes());
        Ok(out)
    }

    fn give_challenge(&mut self, data: &[u8]) -> Result<Vec<u8>, StatusWord> {
        // With one byte of data or without any: hosts do both.
        if data.len() > 1 {
            return Err(StatusWord::WrongLength);
        }
        let challenge = self.entropy.bytes();
        self.challenge = Some(challenge);
        self.authenticated = false;
        Ok(challenge.to_vec())
    }

    fn authenticate(&mut self, data: &[u8]) -> Result<Vec<u8>, StatusWord> {
        let proof: &[u8; BLOCK] = data.try_into().map_err(|_| StatusWord::WrongLength)?;
        let challenge = self.challenge.take();
        if self.is_locked() {
            return Err(StatusWord::AuthenticationBlocked);
        }
        let mut block = [0; BLOCK];
        block
            .iter_mut()
            .zip(challenge.unwrap_or_default())
            .for_each(|(to, from)| *to = from);
        if challenge.is_none() || !crypto::same(&crypto::sm4_encrypt_block(&KEY, &block), proof) {
            self.failed = self.failed.saturating_add(1);
            return Err(StatusWord::AuthenticationBlocked);
        }
        self.failed = 0;
        self.authenticated = true;
        Ok(Vec::new())
    }

    /// Takes the MAC off a protected command and insists on it.
    fn protected<'a>(&self, apdu: &'a Apdu) -> Result<&'a [u8], StatusWord> {
        let (body, mac) = apdu.data.split_last_chunk::<4>().ok_or(StatusWord::WrongLength)?;
        if !self.authenticated {
            return Err(StatusWord::AuthenticationBlocked);
        }
        let length = u8::try_from(body.len()).map_err(|_| StatusWord::WrongLength)?;
        let header = [0x80, apdu.instruction, apdu.p1, apdu.p2, length];
        if !crypto::same(&mac4(&[&header, body].concat()), mac) {
            return Err(StatusWord::AuthenticationBlocked);
        }
        Ok(body)
    }

    fn write_seed(&mut self, apdu: &Apdu) -> Result<Vec<u8>, StatusWord> {
        let body = self.protected(apdu)?;
        let (blocks, rest) = body.as_chunks::<BLOCK>();
        if blocks.is_empty() || !rest.is_empty() {
            return Err(StatusWord::WrongLength);
        }
        let plain: Vec<u8> = blocks
            .iter()
            .flat_map(|block| crypto::sm4_decrypt_block(&KEY, block))
            .collect();
        let seed = unpadded(&plain).ok_or(StatusWord::WrongData)?;
        if seed.is_empty() || seed.len() > MAX_SEED {
            return Err(StatusWord::WrongData);
        }
        self.fob.seed = seed.to_vec();
        Ok(Vec::new())
    }

    fn configure(&mut self, apdu: &Apdu, unix_s: i64) -> Result<Vec<u8>, StatusWord> {
        let [
            0x81,
            0x11,
            0x1f,
            0x01,
            display @ 0..=3,
            0x0f,
            0x04,
            clock @ ..,
            0x86,
            0x06,
            0x0a,
            0x01,
            algorithm @ 1..=2,
            0x0d,
            0x01,
            step @ (30 | 60),
        ] = self.protected(apdu)?
        else {
            return Err(StatusWord::WrongData);
        };
        let clock = u32::from_be_bytes(clock.try_into().map_err(|_| StatusWord::WrongLength)?);
        self.display = *display;
        self.fob.hash = if *algorithm == 1 { Hash::Sha1 } else { Hash::Sha256 };
        self.fob.moving = Moving::Totp {
            period_s: u32::from(*step),
        };
        self.fob.set_clock(i64::from(clock), unix_s);
        if self.profile.restricted_time_sync {
            self.fob.seed.clear();
        }
        Ok(Vec::new())
    }
}

/// The first four bytes of the last block of SM4-CBC with a zero vector; padded only where it does not fill its last block.
fn mac4(message: &[u8]) -> [u8; 4] {
    let mut message = message.to_vec();
    if !message.len().is_multiple_of(BLOCK) {
        message.push(0x80);
        message.resize(message.len().next_multiple_of(BLOCK), 0);
    }
    let mut state = [0; BLOCK];
    for block in message.as_chunks::<BLOCK>().0 {
        state.iter_mut().zip(block).for_each(|(state, byte)| *state ^= byte);
        state = crypto::sm4_encrypt_block(&KEY, &state);
    }
    let [a, b, c, d, ..] = state;
    [a, b, c, d]
}

/// What stands before `80 00 00 ..`.
fn unpadded(plain: &[u8]) -> Option<&[u8]> {
    let end = plain.iter().rposition(|byte| *byte != 0)?;
    let (seed, rest) = plain.split_at_checked(end)?;
    (rest.first() == Some(&0x80)).then_some(seed)
}
