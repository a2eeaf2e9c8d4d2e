//! One simulated token: its faces, its person, its faults. Fronts come and go; the token and its memory stay.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::card::{Applet, Card, Touched};
use crate::entropy::Entropy;
use crate::fault::{Armed, Direction, Fault, Frame, Passage, Tape};
use crate::fido::Authenticator;
use crate::fido::card::FidoApplet;
use crate::fido::ctaphid::{CtapHid, Report};
use crate::management::Management;
use crate::nfc_fob::NfcFob;
use crate::person::TouchMode;
use crate::profile::Profile;
use crate::ykoath::{OathCard, Reply};
use crate::{Millis, SimError};

/// How a token comes to be.
#[derive(Clone, Debug)]
pub struct TokenSetup {
    /// Its name in commands and in HELLO's place.
    pub name: String,
    /// Its serial number, where the profile lets USB tell one.
    pub serial: Option<String>,
    /// Fixes its random bytes; `None` draws them from the system.
    pub seed: Option<u64>,
    /// How its person behaves.
    pub touch: TouchMode,
    /// Stops the clock that an NFC fob's own is measured against, in seconds since 1970; `None` is the system's.
    pub clock_unix_s: Option<i64>,
}

impl TokenSetup {
    /// A token called `name` with fixed random bytes and a person who touches at once.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            serial: None,
            seed: Some(1),
            touch: TouchMode::Auto,
            clock_unix_s: None,
        }
    }
}

/// What a front tells a token.
#[derive(Debug)]
pub(crate) enum Event {
    /// A report from the host.
    Report(Report),
    /// The reader powers the card up and wants its answer to reset.
    CardPower,
    /// The reader only asks whether the card is there: its answer to reset, without a reset.
    CardThere,
    /// The host lets go of the card.
    CardRelease,
    /// A command APDU.
    Command(Vec<u8>),
    /// Something changed; look again.
    Wake,
    /// The host is gone.
    HostGone,
    /// The token is to be pulled out.
    Unplug,
}

/// What a token has a front do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sends a report.
    Report(Report),
    /// Sends an answer to reset.
    Atr(Vec<u8>),
    /// Sends a response APDU.
    Response(Vec<u8>),
    /// Lets so many milliseconds pass.
    Wait(Millis),
    /// Hands a late frame from the host to the token after all.
    Late(Frame),
    /// Pulls the token out.
    Unplug,
}

/// The faces a front shows to its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Faces {
    /// HID reports.
    pub hid: bool,
    /// APDUs.
    pub card: bool,
}

/// The serial printed on a token that was given none: eight digits that follow from its name.
fn printed_serial(name: &str) -> u32 {
    let mixed = name
        .bytes()
        .fold(17_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    10_000_000 + mixed % 90_000_000
}

struct Body {
    hid: Option<CtapHid>,
    card: Option<Card>,
    /// True time, for a face with a clock of its own.
    unix_s: i64,
    /// Card responses that a touch set free.
    freed: Vec<Vec<u8>>,
    tape: Tape,
    wakers: Vec<Sender<Event>>,
}

struct Inner {
    setup: TokenSetup,
    profile: Profile,
    born: Instant,
    /// Milliseconds that [`Token::advance`] added to its age.
    ahead: AtomicU64,
    body: Mutex<Body>,
}

/// A simulated token; clones are the same token.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Token({}, {})", self.name(), self.profile().name)
    }
}

impl Token {
    /// A new token of this model.
    ///
    /// # Errors
    /// When the model has neither a HID nor a card face (a fob that only shows codes is a [`crate::fob::Fob`]).
    pub fn new(profile: &Profile, setup: TokenSetup) -> Result<Self, SimError> {
        if profile.fido.is_none() && !profile.has_card() {
            return Err(SimError::Invalid(format!(
                "profile {} has nothing to plug in",
                profile.name
            )));
        }
        let entropy = |part: &str| match setup.seed {
            Some(seed) => Entropy::seeded(seed, &format!("{}/{part}", setup.name)),
            None => Entropy::system(),
        };
        let hid = profile
            .fido
            .as_ref()
            .map(|fido| CtapHid::new(Authenticator::new(fido, entropy("fido"), 0), setup.touch));
        let applet = match (&profile.oath, &profile.nfc, &profile.fob) {
            (Some(oath), ..) => {
                let card = OathCard::new(oath, profile.contactless, entropy("oath"), setup.touch);
                Some(Applet::Oath(Box::new(card)))
            }
            (None, Some(nfc), Some(make)) => {
                let fob = NfcFob::new(nfc, make, setup.serial.clone(), entropy("fob"), setup.touch);
                Some(Applet::Fob(Box::new(fob)))
            }
            _ => None,
        };
        let on_card = profile.fido.as_ref().and_then(|fido| fido.card.as_ref());
        let management = profile.management.as_ref().map(|management| {
            let printed = setup.serial.as_ref().and_then(|serial| serial.parse().ok());
            Management::new(management, printed.or_else(|| Some(printed_serial(&setup.name))))
        });
        let on_card = on_card.map(|card| FidoApplet::new(card, setup.touch));
        let card = Card::new(applet, on_card, management);
        let body = Body {
            hid,
            card,
            unix_s: 0,
            freed: Vec::new(),
            tape: Tape::new(entropy("faults")),
            wakers: Vec::new(),
        };
        let inner = Inner {
            profile: profile.clone(),
            born: Instant::now(),
            ahead: AtomicU64::new(0),
            body: Mutex::new(body),
            setup,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// A new token of an embedded model.
    ///
    /// # Errors
    /// As [`Profile::named`] and [`Token::new`].
    pub fn of_profile(profile: &str, setup: TokenSetup) -> Result<Self, SimError> {
        Self::new(&Profile::named(profile)?, setup)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.setup.name
    }

    /// Its model.
    pub fn profile(&self) -> &Profile {
        &self.0.profile
    }

    /// The serial number USB tells, if this model tells one.
    pub fn serial(&self) -> Option<String> {
        if !self.profile().usb_serial {
            return None;
        }
        Some(
            self.0
                .setup
                .serial
                .clone()
                .unwrap_or_else(|| format!("SIM-{}", self.name())),
        )
    }

    /// Milliseconds of this token's life.
    pub fn now(&self) -> Millis {
        let lived = Millis::try_from(self.0.born.elapsed().as_millis()).unwrap_or(Millis::MAX);
        lived.saturating_add(self.0.ahead.load(Ordering::SeqCst))
    }

    /// True time as this token's world has it, in seconds since 1970.
    pub fn unix_s(&self) -> i64 {
        self.0.setup.clock_unix_s.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    }

    /// Makes time pass for this token alone, but not for an NFC fob's clock: its reset window closes, its PIN tokens run out, a wait for a touch ends.
    pub fn advance(&self, time: std::time::Duration) {
        let ms = Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX);
        self.0.ahead.fetch_add(ms, Ordering::SeqCst);
        self.wake();
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        // A panic elsewhere does not make the token's memory any worse.
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has every front look at the token again.
    fn wake(&self) {
        self.body().wakers.retain(|waker| waker.send(Event::Wake).is_ok());
    }

    /// Adds a front. The first one brings power; a second one shows another face of a device that already has it.
    pub(crate) fn attach(&self, waker: Sender<Event>) {
        self.wake();
        if self.body().wakers.is_empty() {
            self.power_up();
        }
        self.body().wakers.push(waker);
    }

    /// Pulls the token out of every front.
    pub(crate) fn pull(&self) {
        let now = self.now();
        let mut body = self.body();
        // Out of its reader a card has no power: what it was about to answer is lost.
        if let Some(card) = &mut body.card {
            card.power_cycle(now);
        }
        body.freed.clear();
        for waker in body.wakers.drain(..) {
            // A front that is gone already is as unplugged as can be.
            let _ = waker.send(Event::Unplug);
        }
    }

    /// Works on the FIDO2 authenticator directly, to prepare a state or look at one.
    pub fn with_authenticator<T>(&self, work: impl FnOnce(&mut Authenticator) -> T) -> Option<T> {
        self.body().hid.as_mut().map(|hid| work(hid.authenticator_mut()))
    }

    /// Works on the OATH card directly.
    pub fn with_card<T>(&self, work: impl FnOnce(&mut OathCard) -> T) -> Option<T> {
        self.body().card.as_mut().and_then(Card::oath_mut).map(work)
    }

    /// Works on the NFC fob directly: looks at its window, sets its clock wrong.
    pub fn with_nfc_fob<T>(&self, work: impl FnOnce(&mut NfcFob) -> T) -> Option<T> {
        self.body().card.as_mut().and_then(Card::fob_mut).map(work)
    }

    /// Power off and on without a change of front.
    pub fn power_cycle(&self) {
        let now = self.now();
        let mut body = self.body();
        if let Some(hid) = &mut body.hid {
            hid.power_cycle(now);
        }
        if let Some(card) = &mut body.card {
            card.power_cycle(now);
        }
    }

    /// What plugging in does to the token: power comes up, frames count from 1.
    pub(crate) fn power_up(&self) {
        self.power_cycle();
        self.body().tape.replug();
    }

    /// Changes how the person behaves.
    pub fn set_touch_mode(&self, mode: TouchMode) {
        let now = self.now();
        let mut body = self.body();
        if let Some(hid) = &mut body.hid {
            hid.set_touch_mode(mode, now);
        }
        let response = body.card.as_mut().and_then(|card| card.set_touch_mode(mode));
        drop(body);
        self.card_answers(response);
        self.wake();
    }

    /// The person touches. Answers whether a request was waiting for it.
    pub fn touch(&self) -> bool {
        let now = self.now();
        let mut body = self.body();
        let hid = body.hid.as_mut().is_some_and(|hid| hid.touch(now));
        let Body { hid: own, card, .. } = &mut *body;
        let touched = match card {
            Some(card) if !hid => card.touch(own.as_mut().map(CtapHid::authenticator_mut), now),
            _ => Touched::default(),
        };
        drop(body);
        self.card_answers(touched.response);
        self.wake();
        hid || touched.asked
    }

    /// Waits until a request asks for the person, then touches. Answers false when none asked for so long.
    pub fn touch_when_asked(&self, patience: std::time::Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            if self.touch() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Whether a request waits for the person.
    pub fn wants_touch(&self) -> bool {
        let body = self.body();
        body.hid.as_ref().is_some_and(CtapHid::wants_touch) || body.card.as_ref().is_some_and(Card::wants_touch)
    }

    /// How many frames have passed since it was plugged in or recording began, and which way each went.
    pub fn frames(&self) -> Vec<Direction> {
        self.body().tape.frames().to_vec()
    }

    /// Counts frames from 1 again.
    pub fn record(&self) {
        self.body().tape.record();
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.body().tape.arm(fault);
    }

    /// Armed faults, and which of them have struck.
    pub fn faults(&self) -> Vec<Armed> {
        self.body().tape.armed().to_vec()
    }

    /// Disarms every fault and ends what they left behind; a frame that a delay holds back goes on at once.
    pub fn clear_faults(&self) {
        self.body().tape.clear();
        self.wake();
    }

    /// Whether the delay that struck last still holds.
    pub(crate) fn is_delaying(&self) -> bool {
        self.body().tape.is_delaying()
    }

    /// When this token wants [`Self::turn`] called again without an event.
    pub(crate) fn next_tick(&self, faces: Faces) -> Option<Millis> {
        let body = self.body();
        let hid = body.hid.as_ref().filter(|_| faces.hid).and_then(CtapHid::next_tick);
        let own = body.hid.as_ref().map(CtapHid::authenticator);
        let card = body
            .card
            .as_ref()
            .filter(|_| faces.card)
            .and_then(|card| card.next_tick(own));
        let tape = if faces.hid { body.tape.next_tick() } else { None };
        [hid, card, tape].into_iter().flatten().min()
    }

    /// Lets an event and the time work on the token; answers what its front has to do.
    pub(crate) fn turn(&self, event: Event, faces: Faces) -> Vec<Action> {
        let now = self.now();
        let mut body = self.body();
        body.unix_s = self.unix_s();
        let mut actions = Vec::new();
        match event {
            Event::Report(report) => body.arrive(Frame::Hid(report), now, &mut actions),
            Event::Command(command) => body.arrive(Frame::Card(command), now, &mut actions),
            Event::CardPower => {
                body.power_card(self.profile().contactless, now);
                if body.card.is_some() {
                    actions.push(Action::Atr(self.profile().atr_bytes()));
                }
            }
            Event::CardThere => actions.push(Action::Atr(self.profile().atr_bytes())),
            Event::CardRelease => body.power_card(self.profile().contactless, now),
            Event::Wake => {}
            Event::HostGone | Event::Unplug => actions.push(Action::Unplug),
        }
        body.collect(faces, now, &mut actions);
        actions
    }

    /// Takes a frame that was held back, past the faults.
    pub(crate) fn deliver(&self, frame: Frame, faces: Faces) -> Vec<Action> {
        let now = self.now();
        let mut body = self.body();
        body.unix_s = self.unix_s();
        let mut actions = Vec::new();
        body.take_in(frame, now, &mut actions);
        body.collect(faces, now, &mut actions);
        actions
    }

    /// A response that a touch set free goes out by whichever front asks next.
    fn card_answers(&self, response: Option<Vec<u8>>) {
        if let Some(response) = response {
            self.body().freed.push(response);
        }
    }
}

impl Body {
    /// The reader cuts the card's power. A key that has no other loses what its authenticator remembered.
    fn power_card(&mut self, contactless: bool, now: Millis) {
        if let Some(card) = &mut self.card {
            card.power_cycle(now);
        }
        if let Some(hid) = self.hid.as_mut().filter(|_| contactless) {
            hid.power_cycle(now);
        }
    }

    fn arrive(&mut self, frame: Frame, now: Millis, actions: &mut Vec<Action>) {
        match self.tape.pass(Direction::Out, frame, now) {
            Passage::Deliver(frame) => self.take_in(frame, now, actions),
            Passage::Late(ms, frame) => actions.extend([Action::Wait(ms), Action::Late(frame)]),
            Passage::Lost => {}
            Passage::Unplug => actions.push(Action::Unplug),
        }
    }

    fn take_in(&mut self, frame: Frame, now: Millis, actions: &mut Vec<Action>) {
        match frame {
            Frame::Hid(report) => {
                if let Some(hid) = &mut self.hid {
                    hid.receive(&report, now);
                }
            }
            Frame::Card(command) => {
                let unix_s = self.unix_s;
                let own = self.hid.as_mut().map(CtapHid::authenticator_mut);
                let reply = self.card.as_mut().map(|card| card.command(&command, own, now, unix_s));
                if let Some(Reply::Response(response)) = reply {
                    self.depart(Frame::Card(response), now, actions);
                }
            }
        }
    }

    /// What the faces have to say by now.
    fn collect(&mut self, faces: Faces, now: Millis, actions: &mut Vec<Action>) {
        if faces.hid {
            if let Some(hid) = &mut self.hid {
                hid.tick(now);
            }
            while let Some(report) = self.hid.as_mut().and_then(CtapHid::pop) {
                self.depart(Frame::Hid(report), now, actions);
            }
            if let Some(report) = self.tape.tick(now) {
                actions.push(Action::Report(report));
            }
        }
        if !faces.card {
            return;
        }
        if let Some(response) = self
            .card
            .as_mut()
            .and_then(|card| card.tick(self.hid.as_ref().map(CtapHid::authenticator), now))
        {
            self.depart(Frame::Card(response), now, actions);
        }
        for response in std::mem::take(&mut self.freed) {
            self.depart(Frame::Card(response), now, actions);
        }
    }

    fn depart(&mut self, frame: Frame, now: Millis, actions: &mut Vec<Action>) {
        let send = |frame| match frame {
            Frame::Hid(report) => Action::Report(report),
            Frame::Card(response) => Action::Response(response),
        };
        match self.tape.pass(Direction::In, frame, now) {
            Passage::Deliver(frame) => actions.push(send(frame)),
            Passage::Late(ms, frame) => actions.extend([Action::Wait(ms), send(frame)]),
            Passage::Lost => {}
            Passage::Unplug => actions.push(Action::Unplug),
        }
    }
}
