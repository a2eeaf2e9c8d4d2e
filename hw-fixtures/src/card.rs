//! What sits behind a card face: an OATH applet or the NFC side of a display fob, and a FIDO application beside it or alone.

use crate::Millis;
use crate::fido::Authenticator;
use crate::fido::card::{self, FidoApplet};
use crate::management::{self, Management};
use crate::nfc_fob::NfcFob;
use crate::person::TouchMode;
use crate::ykoath::{Apdu, OathCard, Reply, StatusWord};

pub(crate) enum Applet {
    Oath(Box<OathCard>),
    Fob(Box<NfcFob>),
}

/// The card face of a token. The authenticator behind its FIDO application is the token's own, which may have a HID face, too.
pub(crate) struct Card {
    applet: Option<Applet>,
    fido: Option<FidoApplet>,
    fido_selected: bool,
    management: Option<Management>,
    management_selected: bool,
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
    /// A card with these on it; `None` when there is nothing on it.
    pub fn new(applet: Option<Applet>, fido: Option<FidoApplet>, management: Option<Management>) -> Option<Self> {
        (applet.is_some() || fido.is_some()).then_some(Self {
            applet,
            fido,
            fido_selected: false,
            management,
            management_selected: false,
        })
    }

    pub fn oath_mut(&mut self) -> Option<&mut OathCard> {
        match &mut self.applet {
            Some(Applet::Oath(card)) => Some(card),
            _ => None,
        }
    }

    pub fn fob_mut(&mut self) -> Option<&mut NfcFob> {
        match &mut self.applet {
            Some(Applet::Fob(fob)) => Some(fob),
            _ => None,
        }
    }

    /// Power off and on.
    pub fn power_cycle(&mut self, now: Millis) {
        self.fido_selected = false;
        self.management_selected = false;
        self.leave_applet();
        if let Some(fido) = &mut self.fido {
            fido.power_cycle(now);
        }
    }

    /// What selecting another application does to the one before.
    fn leave_applet(&mut self) {
        match &mut self.applet {
            Some(Applet::Oath(card)) => card.power_cycle(),
            Some(Applet::Fob(fob)) => fob.power_cycle(),
            None => {}
        }
    }

    pub fn set_touch_mode(&mut self, mode: TouchMode) -> Option<Vec<u8>> {
        if let Some(fido) = &mut self.fido {
            fido.set_touch_mode(mode);
        }
        match &mut self.applet {
            Some(Applet::Oath(card)) => card.set_touch_mode(mode),
            Some(Applet::Fob(fob)) => {
                fob.set_touch_mode(mode);
                None
            }
            None => None,
        }
    }

    pub fn touch(&mut self, authenticator: Option<&mut Authenticator>, now: Millis) -> Touched {
        if let (Some(fido), Some(authenticator)) = (&mut self.fido, authenticator) {
            let (asked, response) = fido.touch(authenticator, now);
            if asked {
                return Touched { asked, response };
            }
        }
        match &mut self.applet {
            Some(Applet::Oath(card)) => {
                let response = card.touch();
                Touched {
                    asked: response.is_some(),
                    response,
                }
            }
            Some(Applet::Fob(fob)) => Touched {
                asked: fob.press(now),
                response: None,
            },
            None => Touched::default(),
        }
    }

    pub fn wants_touch(&self) -> bool {
        self.fido.as_ref().is_some_and(FidoApplet::wants_touch)
            || match &self.applet {
                Some(Applet::Oath(card)) => card.wants_touch(),
                Some(Applet::Fob(fob)) => fob.wants_touch(),
                None => false,
            }
    }

    pub fn next_tick(&self, authenticator: Option<&Authenticator>) -> Option<Millis> {
        let fido = self
            .fido
            .as_ref()
            .zip(authenticator)
            .and_then(|(fido, own)| fido.next_tick(own));
        let oath = match &self.applet {
            Some(Applet::Oath(card)) => card.next_tick(),
            _ => None,
        };
        [fido, oath].into_iter().flatten().min()
    }

    pub fn tick(&mut self, authenticator: Option<&Authenticator>, now: Millis) -> Option<Vec<u8>> {
        let fido = self
            .fido
            .as_mut()
            .zip(authenticator)
            .and_then(|(fido, own)| fido.tick(own, now));
        fido.or_else(|| self.oath_mut().and_then(|card| card.tick(now)))
    }

    pub fn command(
        &mut self,
        raw: &[u8],
        authenticator: Option<&mut Authenticator>,
        now: Millis,
        unix_s: i64,
    ) -> Reply {
        if let (Some(management), Some(apdu)) = (&self.management, Apdu::parse(raw)) {
            let selects = (apdu.class, apdu.instruction, apdu.p1) == (0x00, 0xa4, 0x04);
            if selects && apdu.data == management::AID {
                self.management_selected = true;
                self.fido_selected = false;
                let reply = management.select();
                self.leave_applet();
                return reply;
            }
            if selects {
                self.management_selected = false;
            } else if self.management_selected {
                return management.command(&apdu);
            }
        }
        if let (Some(fido), Some(authenticator), Some(apdu)) = (&mut self.fido, authenticator, Apdu::parse(raw)) {
            let selects = (apdu.class, apdu.instruction, apdu.p1) == (0x00, 0xa4, 0x04);
            if selects && apdu.data == card::AID {
                self.fido_selected = true;
                let reply = fido.select(&apdu);
                self.leave_applet();
                return reply;
            }
            if selects {
                self.fido_selected = false;
            } else if self.fido_selected {
                return fido.command(apdu, authenticator, now);
            }
        }
        match &mut self.applet {
            Some(Applet::Oath(card)) => card.command(raw, now),
            Some(Applet::Fob(fob)) => fob.command(raw, now, unix_s),
            None => Reply::Response(StatusWord::FileNotFound.bytes().to_vec()),
        }
    }
}
