//! CTAP1/U2F, the authenticator's side (“FIDO U2F Raw Message Formats” 1.2). A request that needs the person is refused with
//! `6985` until they touch; the host asks again, and a touch is good for the next request.

use p256::elliptic_curve::sec1::ToSec1Point;

use super::Authenticator;
use super::signer::Algorithm;
use crate::person::Presence;
use crate::ykoath::{Apdu, StatusWord};

const CHALLENGE: usize = 32;
const APPLICATION: usize = 32;

/// What a request led to.
pub(super) struct Answered {
    /// The response with its status word.
    pub response: Vec<u8>,
    /// Whether it waits for the person.
    pub wants_touch: bool,
    /// Whether it has used a touch.
    pub used_touch: bool,
}

impl Answered {
    fn refused(status: StatusWord) -> Self {
        Self {
            response: status.bytes().to_vec(),
            wants_touch: status == StatusWord::ConditionsNotSatisfied,
            used_touch: false,
        }
    }

    fn done(mut data: Vec<u8>, used_touch: bool) -> Self {
        data.extend(StatusWord::Ok.bytes());
        Self {
            response: data,
            wants_touch: false,
            used_touch,
        }
    }
}

impl Authenticator {
    /// Runs one request APDU.
    pub(super) fn u2f(&mut self, raw: &[u8], presence: Presence) -> Answered {
        // Some hosts (python-fido2 is one) send a length of zero where the standard leaves it out, and keys in the field take it.
        let raw = match raw {
            [_, 0x03, _, _, 0, 0, 0, 0, 0] => raw.get(..7).unwrap_or_default(),
            other => other,
        };
        let Some(apdu) = Apdu::parse(raw) else {
            return Answered::refused(StatusWord::WrongLength);
        };
        if apdu.class != 0 {
            return Answered::refused(StatusWord::ClassNotSupported);
        }
        match apdu.instruction {
            0x01 => self.u2f_register(&apdu, presence),
            0x02 => self.u2f_authenticate(&apdu, presence),
            0x03 if apdu.data.is_empty() => Answered::done(b"U2F_V2".to_vec(), false),
            0x03 => Answered::refused(StatusWord::WrongLength),
            _ => Answered::refused(StatusWord::InstructionNotSupported),
        }
    }

    /// Section 4: a key pair for this application, and a certificate to say whose make it is.
    fn u2f_register(&mut self, apdu: &Apdu, presence: Presence) -> Answered {
        let Some((challenge, application)) = halves(&apdu.data) else {
            return Answered::refused(StatusWord::WrongLength);
        };
        if presence != Presence::Touching {
            return Answered::refused(StatusWord::ConditionsNotSatisfied);
        }
        let handle = self.new_credential_id(false, Algorithm::Es256, &application);
        let point = self.credential_key(&handle).public_key().to_sec1_point(false);
        let point = point.as_bytes();
        let signed = [&[0][..], &application, &challenge, &handle, point].concat();
        let Some(attestor) = &self.attestation else {
            return Answered::refused(StatusWord::MemoryFailure);
        };
        let length = u8::try_from(handle.len()).unwrap_or(u8::MAX);
        let answer = [
            &[0x05][..],
            point,
            &[length],
            &handle,
            attestor.certificate(),
            &attestor.sign(&signed),
        ]
        .concat();
        Answered::done(answer, true)
    }

    /// Section 5: whether the handle is ours, or a signature over presence, counter and challenge.
    fn u2f_authenticate(&mut self, apdu: &Apdu, presence: Presence) -> Answered {
        let Some((fixed, [length, handle @ ..])) = apdu.data.split_at_checked(CHALLENGE + APPLICATION) else {
            return Answered::refused(StatusWord::WrongLength);
        };
        let Some((challenge, application)) = halves(fixed).filter(|_| usize::from(*length) == handle.len()) else {
            return Answered::refused(StatusWord::WrongLength);
        };
        if !self.owns(handle, &application) {
            return Answered::refused(StatusWord::WrongData);
        }
        let touched = presence == Presence::Touching;
        match apdu.p1 {
            // That the person is wanted says that the handle is known.
            0x07 => Answered {
                wants_touch: false,
                ..Answered::refused(StatusWord::ConditionsNotSatisfied)
            },
            0x03 if !touched => Answered::refused(StatusWord::ConditionsNotSatisfied),
            0x03 | 0x08 => {
                self.memory.counter = self.memory.counter.saturating_add(1);
                let told = [&[u8::from(touched)][..], &self.memory.counter.to_be_bytes()].concat();
                let signed = [&application[..], &told, &challenge].concat();
                Answered::done([told, self.sign(handle, &signed)].concat(), touched)
            }
            _ => Answered::refused(StatusWord::WrongP1P2),
        }
    }
}

fn halves(data: &[u8]) -> Option<([u8; CHALLENGE], [u8; APPLICATION])> {
    let (challenge, application) = data.split_at_checked(CHALLENGE)?;
    Some((challenge.try_into().ok()?, application.try_into().ok()?))
}
