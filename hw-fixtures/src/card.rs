//! What sits behind a card face: an OATH applet, or the NFC side of a display fob.

use crate::Millis;
use crate::nfc_fob::NfcFob;
use crate::person::TouchMode;
use crate::ykoath::{OathCard, Reply};

pub(crate) enum Card {
    Oath(Box<OathCard>),
    Fob(Box<NfcFob>),
}

/// What a touch led to.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Whether the person had been waited for.
    pub asked: bool,
    /// The response that waited.
    pub response: Option<Vec<u8>>,
}

impl Card {
    pub fn oath_mut(&mut self) -> Option<&mut OathCard> {
        match self {
            Self::Oath(card) => Some(card),
            Self::Fob(_) => None,
        }
    }

    pub fn fob_mut(&mut self) -> Option<&mut NfcFob> {
        match self {
            Self::Oath(_) => None,
            Self::Fob(fob) => Some(fob),
        }
    }

    pub fn power_cycle(&mut self) {
        match self {
            Self::Oath(card) => card.power_cycle(),
            Self::Fob(fob) => fob.power_cycle(),
        }
    }

    pub fn set_touch_mode(&mut self, mode: TouchMode) -> Option<Vec<u8>> {
        match self {
            Self::Oath(card) => card.set_touch_mode(mode),
            Self::Fob(fob) => {
                fob.set_touch_mode(mode);
                None
            }
        }
    }

    pub fn touch(&mut self, now: Millis) -> Touched {
        match self {
            Self::Oath(card) => {
                let response = card.touch();
                Touched {
                    asked: response.is_some(),
                    response,
                }
            }
            Self::Fob(fob) => Touched {
                asked: fob.press(now),
                response: None,
            },
        }
    }

    pub fn wants_touch(&self) -> bool {
        match self {
            Self::Oath(card) => card.wants_touch(),
            Self::Fob(fob) => fob.wants_touch(),
        }
    }

    pub fn next_tick(&self) -> Option<Millis> {
        match self {
            Self::Oath(card) => card.next_tick(),
            Self::Fob(_) => None,
        }
    }

    pub fn tick(&mut self, now: Millis) -> Option<Vec<u8>> {
        match self {
            Self::Oath(card) => card.tick(now),
            Self::Fob(_) => None,
        }
    }

    pub fn command(&mut self, raw: &[u8], now: Millis, unix_s: i64) -> Reply {
        match self {
            Self::Oath(card) => card.command(raw, now),
            Self::Fob(fob) => fob.command(raw, now, unix_s),
        }
    }
}
