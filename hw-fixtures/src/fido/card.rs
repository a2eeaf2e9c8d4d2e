//! The authenticator's side of CTAP in APDUs (CTAP 2.1 section 11.3): one application of a card, over NFC or a contact.
//!
//! Written from the standard. The bytes: SELECT answers `FIDO_2_0`; 80 10 carries a request; while it waits, a host that can ask
//! again (P1 bit 80) is answered `9100` and a status byte and asks by 80 11, ending the wait with P1 = 11. Whoever cannot is kept
//! waiting. Answers beyond a short APDU are fetched by GET RESPONSE of either class.

use super::{Authenticator, Outcome, Status};
use crate::Millis;
use crate::person::{Presence, TouchMode};
use crate::profile::FidoCardProfile;
use crate::ykoath::{Apdu, Reply, StatusWord};

/// The FIDO application identifier.
pub const AID: &[u8] = &[0xa0, 0x00, 0x00, 0x06, 0x47, 0x2f, 0x00, 0x01];

const SHORT_RESPONSE: usize = 256;
/// No message is longer than one CTAPHID message.
const MAX_MESSAGE: usize = 7609;
/// How long laying the key on the reader counts as a touch.
const TAP_MS: Millis = 120_000;

struct Pending {
    request: Vec<u8>,
    arrived: Millis,
    extended: bool,
    /// Whether the host asks again.
    polled: bool,
    /// The finished answer and when it may leave; `None` while the person is awaited.
    ready: Option<(Millis, Vec<u8>)>,
}

/// The FIDO application of a card.
pub struct FidoApplet {
    profile: FidoCardProfile,
    mode: TouchMode,
    chained: Vec<u8>,
    remaining: Vec<u8>,
    pending: Option<Pending>,
    /// Since when a tap is unspent.
    tapped: Option<Millis>,
}

impl FidoApplet {
    /// An application of this model.
    pub fn new(profile: &FidoCardProfile, mode: TouchMode) -> Self {
        Self {
            profile: profile.clone(),
            mode,
            chained: Vec::new(),
            remaining: Vec::new(),
            pending: None,
            tapped: None,
        }
    }

    /// Power off and on. On a contactless reader that is a tap.
    pub fn power_cycle(&mut self, now: Millis) {
        self.chained.clear();
        self.remaining.clear();
        self.pending = None;
        self.tapped = self.profile.tap_is_touch.then_some(now);
    }

    /// Changes how the person behaves.
    pub fn set_touch_mode(&mut self, mode: TouchMode) {
        self.mode = mode;
    }

    /// Whether a request waits for the person.
    pub fn wants_touch(&self) -> bool {
        matches!(self.pending, Some(Pending { ready: None, .. }))
    }

    /// When [`Self::tick`] wants to be called: only for a host that does not ask again.
    pub fn next_tick(&self, authenticator: &Authenticator) -> Option<Millis> {
        let pending = self.pending.as_ref().filter(|pending| !pending.polled)?;
        Some(
            pending
                .ready
                .as_ref()
                .map_or_else(|| end(pending, authenticator), |(at, _)| *at),
        )
    }

    /// Lets time pass: the response of a request whose time has come, for a host that does not ask again.
    pub fn tick(&mut self, authenticator: &Authenticator, now: Millis) -> Option<Vec<u8>> {
        if self.next_tick(authenticator).is_none_or(|at| now < at) {
            return None;
        }
        self.finish()
    }

    /// The person touches: whether a request waited for it, and the response for a host that does not ask again.
    pub fn touch(&mut self, authenticator: &mut Authenticator, now: Millis) -> (bool, Option<Vec<u8>>) {
        if !self.wants_touch() {
            return (false, None);
        }
        if let Some(pending) = &mut self.pending
            && let Outcome::Answer(answer) = authenticator.run(&pending.request, Presence::Touching, pending.arrived)
        {
            pending.ready = Some((now, answer));
        }
        (true, self.tick(authenticator, now))
    }

    /// The application is selected.
    pub fn select(&mut self, apdu: &Apdu) -> Reply {
        if apdu.extended && !self.profile.extended {
            return refuse(StatusWord::WrongLength);
        }
        self.chained.clear();
        self.pending = None;
        self.respond(b"FIDO_2_0".to_vec(), apdu.extended)
    }

    /// Takes one command while the application is selected.
    pub fn command(&mut self, mut apdu: Apdu, authenticator: &mut Authenticator, now: Millis) -> Reply {
        if apdu.extended && !self.profile.extended {
            return refuse(StatusWord::WrongLength);
        }
        let (chains, class) = (apdu.class & 0x10 != 0, apdu.class & !0x10);
        if apdu.instruction == 0xc0 {
            return if class == 0x80 || self.profile.iso_get_response {
                self.send_remaining(false)
            } else {
                refuse(StatusWord::ClassNotSupported)
            };
        }
        self.remaining.clear();
        match (class, apdu.instruction) {
            (0x80, 0x10) => {
                self.chained.append(&mut apdu.data);
                if self.chained.len() > MAX_MESSAGE {
                    self.chained.clear();
                    return refuse(StatusWord::WrongLength);
                }
                if chains {
                    return Reply::Response(StatusWord::Ok.bytes().to_vec());
                }
                let request = std::mem::take(&mut self.chained);
                self.message(request, &apdu, authenticator, now)
            }
            (0x80, 0x11) => {
                self.chained.clear();
                self.get_response(&apdu, authenticator, now)
            }
            (0x80, _) => refuse(StatusWord::InstructionNotSupported),
            _ => refuse(StatusWord::ClassNotSupported),
        }
    }

    fn message(&mut self, request: Vec<u8>, apdu: &Apdu, authenticator: &mut Authenticator, now: Millis) -> Reply {
        self.pending = None;
        if request.first() == Some(&0x07) && !self.profile.reset {
            if !authenticator.profile().transports_for_reset.is_empty() {
                // It says where it can be reset, and so refuses in the standard's words.
                return self.respond(vec![Status::NotAllowed as u8], apdu.extended);
            }
            // YubiKey's word for it.
            return Reply::Response(vec![0x6f, 0x27]);
        }
        let tap = self
            .tapped
            .filter(|since| now.saturating_sub(*since) <= TAP_MS)
            .is_some();
        let mut outcome = authenticator.run(&request, Presence::Absent, now);
        if outcome == Outcome::NeedsTouch && (tap || self.mode == TouchMode::Auto) {
            self.tapped = None;
            outcome = authenticator.run(&request, Presence::Touching, now);
        }
        let work = authenticator.profile().processing_ms;
        let ready = match outcome {
            Outcome::Answer(answer) if work == 0 => return self.respond(answer, apdu.extended),
            Outcome::Answer(answer) => Some((now + work, answer)),
            Outcome::NeedsTouch => None,
        };
        let polled = apdu.p1 & 0x80 != 0 && self.profile.keep_alives;
        self.pending = Some(Pending {
            request,
            arrived: now,
            extended: apdu.extended,
            polled,
            ready,
        });
        if polled { self.at_work() } else { Reply::NeedsTouch }
    }

    fn get_response(&mut self, apdu: &Apdu, authenticator: &Authenticator, now: Millis) -> Reply {
        let Some(pending) = &self.pending else {
            return refuse(StatusWord::ConditionsNotSatisfied);
        };
        if apdu.p1 == 0x11 {
            self.pending = None;
            return self.respond(vec![Status::KeepaliveCancel as u8], false);
        }
        let due = pending
            .ready
            .as_ref()
            .map_or_else(|| end(pending, authenticator), |(at, _)| *at);
        if now < due {
            return self.at_work();
        }
        self.finish()
            .map_or_else(|| refuse(StatusWord::ConditionsNotSatisfied), Reply::Response)
    }

    fn at_work(&self) -> Reply {
        Reply::Response(vec![if self.wants_touch() { 2 } else { 1 }, 0x91, 0x00])
    }

    /// Ends the request that was pending: with its answer, or because nobody touched in time.
    fn finish(&mut self) -> Option<Vec<u8>> {
        let pending = self.pending.take()?;
        let answer = pending
            .ready
            .map_or_else(|| vec![Status::UserActionTimeout as u8], |(_, answer)| answer);
        match self.respond(answer, pending.extended) {
            Reply::Response(response) => Some(response),
            Reply::NeedsTouch | Reply::Silence => None,
        }
    }

    fn respond(&mut self, answer: Vec<u8>, extended: bool) -> Reply {
        self.remaining = answer;
        self.send_remaining(extended)
    }

    fn send_remaining(&mut self, whole: bool) -> Reply {
        let length = if whole {
            self.remaining.len()
        } else {
            self.remaining.len().min(SHORT_RESPONSE)
        };
        let mut piece: Vec<u8> = self.remaining.drain(..length).collect();
        piece.extend(match self.remaining.len() {
            0 => StatusWord::Ok.bytes(),
            left => [0x61, u8::try_from(left).unwrap_or(0)],
        });
        Reply::Response(piece)
    }
}

/// When nobody is waited for any longer.
fn end(pending: &Pending, authenticator: &Authenticator) -> Millis {
    pending.arrived + authenticator.profile().touch_timeout_s.saturating_mul(1000)
}

fn refuse(status: StatusWord) -> Reply {
    Reply::Response(status.bytes().to_vec())
}
