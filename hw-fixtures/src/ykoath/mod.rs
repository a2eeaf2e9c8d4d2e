//! The YKOATH applet on a card, by Yubico's public command reference.
//!
//! [`OathCard`] takes one command APDU at a time. A CALCULATE that needs a touch answers [`Reply::NeedsTouch`] and is
//! run again when the person touches, like a FIDO2 command.

mod apdu;
mod applet;
mod credential;
mod secrets;
pub mod tlv;

use crate::Millis;
use crate::entropy::Entropy;
use crate::person::{Presence, TouchMode};
use crate::profile::OathProfile;
pub use apdu::{Apdu, StatusWord};
use applet::Applet;

/// The applet's AID.
pub const AID: &[u8] = &[0xa0, 0x00, 0x00, 0x05, 0x27, 0x21, 0x01];

/// Bytes that fit a short response; the rest is fetched piece by piece.
const SHORT_RESPONSE: usize = 256;

/// The elements' tags.
mod tag {
    pub const NAME: u8 = 0x71;
    pub const NAME_LIST: u8 = 0x72;
    pub const KEY: u8 = 0x73;
    pub const CHALLENGE: u8 = 0x74;
    pub const RESPONSE: u8 = 0x75;
    pub const TRUNCATED: u8 = 0x76;
    pub const HOTP: u8 = 0x77;
    pub const PROPERTY: u8 = 0x78;
    pub const VERSION: u8 = 0x79;
    pub const MOVING_FACTOR: u8 = 0x7a;
    pub const ALGORITHM: u8 = 0x7b;
    pub const TOUCH: u8 = 0x7c;
    // Nitrokey's own.
    pub const PIN: u8 = 0x80;
    pub const NEW_PIN: u8 = 0x81;
    pub const PIN_COUNTER: u8 = 0x82;
    pub const LOGIN: u8 = 0x83;
    pub const PASSWORD: u8 = 0x84;
    pub const METADATA: u8 = 0x85;
    pub const SERIAL: u8 = 0x8f;
}

/// What a command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A response APDU with its status word.
    Response(Vec<u8>),
    /// The card waits for the person.
    NeedsTouch,
    /// Nothing at all: a fob that is switched off.
    Silence,
}

/// The card face of a token: selection, chaining, and the applet behind them.
pub struct OathCard {
    profile: OathProfile,
    contactless: bool,
    applet: Applet,
    selected: bool,
    chained: Vec<u8>,
    remaining: Vec<u8>,
    /// Hostile: what is left never ends.
    endless: bool,
    pending: Option<(Millis, Apdu)>,
    mode: TouchMode,
}

impl OathCard {
    /// A card of this model with an empty applet.
    pub fn new(profile: &OathProfile, contactless: bool, entropy: Entropy, mode: TouchMode) -> Self {
        Self {
            profile: profile.clone(),
            contactless,
            applet: Applet::new(profile, entropy),
            selected: false,
            chained: Vec::new(),
            remaining: Vec::new(),
            endless: false,
            pending: None,
            mode,
        }
    }

    /// Power off and on: no applet is selected, and selecting it anew asks for the password anew.
    pub fn power_cycle(&mut self) {
        self.selected = false;
        self.chained.clear();
        self.remaining.clear();
        self.endless = false;
        self.pending = None;
    }

    /// Changes how the person behaves.
    pub fn set_touch_mode(&mut self, mode: TouchMode) -> Option<Vec<u8>> {
        self.mode = mode;
        if mode == TouchMode::Auto { self.touch() } else { None }
    }

    /// Credentials on the card.
    pub fn credential_count(&self) -> usize {
        self.applet.len()
    }

    /// Whether a command waits for the person.
    pub fn wants_touch(&self) -> bool {
        self.pending.is_some()
    }

    /// When [`Self::tick`] wants to be called: the end of a wait for a touch.
    pub fn next_tick(&self) -> Option<Millis> {
        self.pending
            .as_ref()
            .map(|(since, _)| since + self.profile.touch_timeout_s.saturating_mul(1000))
    }

    /// Ends a wait that lasted too long; the response is 6982.
    pub fn tick(&mut self, now: Millis) -> Option<Vec<u8>> {
        if self.next_tick().is_some_and(|end| now >= end) {
            self.pending = None;
            return Some(StatusWord::SecurityNotSatisfied.bytes().to_vec());
        }
        None
    }

    /// The person touches: the response of the command that waited, if any.
    pub fn touch(&mut self) -> Option<Vec<u8>> {
        let (_, apdu) = self.pending.take()?;
        match self.run(&apdu, Presence::Touching) {
            Reply::Response(response) => Some(response),
            Reply::NeedsTouch | Reply::Silence => None,
        }
    }

    /// Takes one command APDU.
    pub fn command(&mut self, raw: &[u8], now: Millis) -> Reply {
        self.pending = None;
        let Some(mut apdu) = Apdu::parse(raw).filter(|apdu| self.profile.extended || !apdu.extended) else {
            return refuse(StatusWord::WrongLength);
        };
        if apdu.class & 0x03 != 0 || apdu.class & !0x1f & !0x80 != 0 {
            return refuse(StatusWord::ChannelNotSupported);
        }
        if apdu.class & 0x10 != 0 {
            self.chained.extend(&apdu.data);
            // No command of this applet is longer than one extended APDU.
            if self.chained.len() > usize::from(u16::MAX) {
                self.chained.clear();
                return refuse(StatusWord::WrongLength);
            }
            return Reply::Response(StatusWord::Ok.bytes().to_vec());
        }
        if !self.chained.is_empty() {
            self.chained.append(&mut apdu.data);
            apdu.data = std::mem::take(&mut self.chained);
        }
        let skip = self.contactless && !self.profile.touch_over_nfc;
        let presence = if self.mode == TouchMode::Auto || skip {
            Presence::Touching
        } else {
            Presence::Absent
        };
        let reply = self.run(&apdu, presence);
        if reply == Reply::NeedsTouch {
            self.pending = Some((now, apdu));
        }
        reply
    }

    fn run(&mut self, apdu: &Apdu, presence: Presence) -> Reply {
        let select = apdu.instruction == 0xa4 && apdu.p1 == 0x04;
        if apdu.instruction == 0xa5 {
            return self.send_remaining();
        }
        self.remaining.clear();
        self.endless = false;
        if select {
            return self.select(apdu);
        }
        if !self.selected {
            return refuse(StatusWord::InstructionNotSupported);
        }
        match self.applet.execute(apdu, presence) {
            Ok(body) => {
                self.endless = self.profile.endless_listing && matches!(apdu.instruction, 0xa1 | 0xa4);
                self.respond(body)
            }
            Err(applet::Halt::Status(status)) => refuse(status),
            Err(applet::Halt::Touch) => Reply::NeedsTouch,
        }
    }

    fn select(&mut self, apdu: &Apdu) -> Reply {
        // A prefix of the AID selects too (ISO 7816-4 section 8.2.1.2), as long as it names Yubico's registered part.
        if apdu.data.len() < 5 || !AID.starts_with(&apdu.data) {
            self.selected = false;
            return refuse(StatusWord::FileNotFound);
        }
        self.selected = true;
        let body = self.applet.select();
        self.respond(body)
    }

    fn respond(&mut self, body: Vec<u8>) -> Reply {
        self.remaining = body;
        self.send_remaining()
    }

    /// The next piece, with 61xx while more is left. Without anything left, SEND REMAINING has no sense.
    fn send_remaining(&mut self) -> Reply {
        if self.endless && self.remaining.len() <= SHORT_RESPONSE {
            tlv::push(&mut self.remaining, tag::NAME_LIST, &[b'!'; SHORT_RESPONSE]);
        }
        let piece: Vec<u8> = self
            .remaining
            .drain(..self.remaining.len().min(SHORT_RESPONSE))
            .collect();
        let status = match self.remaining.len() {
            0 => StatusWord::Ok.bytes(),
            left => [0x61, u8::try_from(left).unwrap_or(0)],
        };
        Reply::Response([piece.as_slice(), &status].concat())
    }
}

fn refuse(status: StatusWord) -> Reply {
    Reply::Response(status.bytes().to_vec())
}
