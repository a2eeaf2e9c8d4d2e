//! Cards by PC/SC: the only file that names `pcsc`.
//!
//! One thread sleeps in `SCardGetStatusChange` and counts as pcscd's client, so that a pcscd that exits when idle stays
//! while we watch. Every open card has its own context. When pcscd dies every call fails for good: all contexts are dropped
//! and `card_service.rs` waits for it to come back.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::mem::ManuallyDrop;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pcsc::{Attribute, Card, Context, Disposition, Error, Protocols, ReaderState, Scope, ShareMode, State};

use super::card_service::{Absence, Bell, Patience, socket_path};
use super::watch::{Sink, Source, Stop, clean, next_attachment, usb_body};
use super::{CardLink, Face, FaceHandle, FaceKind, HidLink, LinkError, LinkEvent, Opener, holder};
use crate::types::Reality;

/// pcscd's most readers (`PCSCLITE_MAX_READERS_CONTEXTS`). With that many, the pseudo-reader that tells of new readers
/// would be one too many, and there can be no new ones.
const MAX_READERS: usize = 16;
/// Longest response: 65,536 bytes and the status word (ISO 7816-4 section 5.1).
const MAX_RESPONSE: usize = 65_538;
/// How long after a failed command we wait for pcscd to notice that the card was taken; it looks every 400 ms.
const REMOVAL_NOTICE: Duration = Duration::from_millis(600);
/// How long a reader may take to say where on the USB it is.
const CHANNEL_PATIENCE: Duration = Duration::from_millis(500);
/// How often and how long `stop` calls the watcher out of its sleep.
const STOP_CALLS: u32 = 40;
const STOP_CALL: Duration = Duration::from_millis(25);

/// The cards in all readers.
pub struct CardSource {
    shared: Arc<Shared>,
    /// Readers that a thread of ours is still opening.
    queueing: Arc<Mutex<HashSet<String>>>,
}

struct Shared {
    stop: Stop,
    /// The watcher's context, to cancel its sleep.
    context: Mutex<Option<Context>>,
    running: Mutex<bool>,
    ended: Condvar,
}

impl CardSource {
    /// A source that has not been started.
    ///
    /// # Errors
    /// [`LinkError::Io`] when the process is out of descriptors.
    pub fn new() -> Result<Self, LinkError> {
        let shared = Shared {
            stop: Stop::new()?,
            context: Mutex::default(),
            running: Mutex::default(),
            ended: Condvar::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            queueing: Arc::default(),
        })
    }
}

impl Source for CardSource {
    fn name(&self) -> &'static str {
        "card"
    }

    fn start(&self, sink: Sink) -> Result<(), LinkError> {
        let shared = Arc::clone(&self.shared);
        *lock(&shared.running) = true;
        let spawned = thread::Builder::new().name("link-card".into()).spawn(move || {
            watch(&shared, &sink);
            *lock(&shared.running) = false;
            shared.ended.notify_all();
        });
        if let Err(error) = spawned {
            *lock(&self.shared.running) = false;
            return Err(LinkError::Io(error.to_string()));
        }
        Ok(())
    }

    fn stop(&self) {
        self.shared.stop.stop();
        let mut running = lock(&self.shared.running);
        for _ in 0..STOP_CALLS {
            if !*running {
                return;
            }
            // A cancel that comes just before the sleep begins is lost: call until somebody answers.
            if let Some(context) = &*lock(&self.shared.context) {
                let _ = context.cancel();
            }
            running = self
                .shared
                .ended
                .wait_timeout(running, STOP_CALL)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for CardSource {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The watcher's life: find pcscd, watch until it is lost, and again.
fn watch(shared: &Shared, sink: &Sink) {
    let socket = socket_path();
    let mut patience = Patience::default();
    let mut settled = Once(Some(sink));
    while !shared.stop.is_stopped() {
        let bell = Bell::hang(&socket);
        match Context::establish(Scope::System) {
            Ok(context) => {
                drop(bell);
                *lock(&shared.context) = Some(context.clone());
                sink(LinkEvent::CardService { running: true });
                let begun = Instant::now();
                let mut readers = Readers::new(sink);
                let error = readers.follow(&context, shared, &mut settled);
                lock(&shared.context).take();
                readers.all_left();
                if shared.stop.is_stopped() {
                    return;
                }
                tracing::warn!(%error, "pcscd was lost; waiting for it to come back");
                sink(LinkEvent::CardService { running: false });
                drop(context);
                patience.lost(begun, &shared.stop);
            }
            Err(error) => {
                settled.tell();
                let absence = match error {
                    Error::NoService | Error::ServiceStopped => Absence::NotRunning,
                    _ => Absence::Refusing,
                };
                if absence == Absence::Refusing {
                    tracing::warn!(%error, "pcscd refuses us (its polkit rule for the daemon's user may be missing)");
                }
                patience.wait(&bell, absence, &shared.stop);
            }
        }
    }
}

/// Tells [`LinkEvent::Settled`] once.
struct Once<'a>(Option<&'a Sink>);

impl Once<'_> {
    fn tell(&mut self) {
        if let Some(sink) = self.0.take() {
            sink(LinkEvent::Settled);
        }
    }
}

/// The readers of one pcscd and the cards that were told.
struct Readers<'a> {
    sink: &'a Sink,
    states: Vec<ReaderState>,
    told: HashMap<CString, Told>,
}

/// A card that was told.
struct Told {
    key: String,
    /// pcscd's count of insertions and removals in this reader.
    count: u32,
    /// Another program had the reader for itself, so that it could not be asked where on the USB it is.
    unasked: bool,
}

impl<'a> Readers<'a> {
    fn new(sink: &'a Sink) -> Self {
        Self {
            sink,
            states: Vec::new(),
            told: HashMap::new(),
        }
    }

    /// Follows what happens until pcscd is lost or the source stops; the error says why it ended.
    ///
    /// libpcsclite 1.9 counts the readers anew when the sleep begins: one that came between our listing and our sleep is
    /// seen only at the next change. The window is some microseconds, and pcscd itself takes longer to say that it is new.
    fn follow(&mut self, context: &Context, shared: &Shared, settled: &mut Once<'_>) -> Error {
        loop {
            let fresh = match self.list(context) {
                Ok(fresh) => fresh,
                Err(error) => return error,
            };
            if shared.stop.is_stopped() {
                return Error::Cancelled;
            }
            if !fresh {
                settled.tell();
            }
            // New readers answer at once, and then the list is read again.
            match context.get_status_change(None, &mut self.states) {
                Ok(()) | Err(Error::Timeout | Error::Cancelled | Error::UnknownReader) => self.compare(),
                Err(error) => return error,
            }
        }
    }

    /// Brings the list of readers up to date; true when there are new ones.
    fn list(&mut self, context: &Context) -> Result<bool, Error> {
        let names = match context.list_readers_owned() {
            Ok(names) => names,
            Err(Error::NoReadersAvailable) => Vec::new(),
            Err(error) => return Err(error),
        };
        let gone: Vec<CString> = self.told.keys().filter(|name| !names.contains(name)).cloned().collect();
        gone.iter().for_each(|name| self.left(name));
        self.states
            .retain(|state| is_pnp(state) || names.iter().any(|name| name.as_c_str() == state.name()));
        let mut fresh = false;
        for name in &names {
            if !self.states.iter().any(|state| state.name() == name.as_c_str()) {
                self.states.push(ReaderState::new(name.clone(), State::UNAWARE));
                fresh = true;
            }
        }
        let pnp = self.states.iter().position(is_pnp);
        match pnp {
            None if names.len() < MAX_READERS => {
                self.states
                    .push(ReaderState::new(pcsc::PNP_NOTIFICATION(), State::UNAWARE));
            }
            Some(at) if names.len() >= MAX_READERS => drop(self.states.remove(at)),
            _ => {}
        }
        Ok(fresh)
    }

    /// Tells what the last status change means.
    fn compare(&mut self) {
        for at in 0..self.states.len() {
            let Some(state) = self.states.get_mut(at) else { continue };
            state.sync_current_state();
            if is_pnp(state) {
                continue;
            }
            let (name, seen, count) = (state.name().to_owned(), state.event_state(), state.event_count());
            let atr = state.atr().to_vec();
            // A mute card cannot be used and often becomes a good one when it is turned round.
            let usable = seen.contains(State::PRESENT) && !seen.contains(State::MUTE);
            let exclusive = seen.contains(State::EXCLUSIVE);
            let same = self.told.get_mut(&name).is_some_and(|told| {
                // Asked once more when the reader is free, so that a key is not shown as two devices for ever.
                let ask_now = told.unasked && !exclusive && std::mem::take(&mut told.unasked);
                told.count == count && !(ask_now && usb_address(&name).is_some())
            });
            if !usable || !same {
                self.left(&name);
            }
            if usable && !same {
                self.arrived(name, count, &atr, exclusive);
            }
        }
    }

    fn arrived(&mut self, name: CString, count: u32, atr: &[u8], exclusive: bool) {
        let number = next_attachment();
        let reader = clean(&name.to_string_lossy(), 128);
        let key = format!("card:{reader}#{number}");
        let address = usb_address(&name);
        let body = address.map_or_else(|| key.clone(), |(bus, device)| usb_body(bus, device));
        let face = Face {
            key: key.clone(),
            kind: FaceKind::Card,
            body,
            place: format!("reader {reader}"),
            name: product_name(&reader).to_owned(),
            usb: None,
            serial: None,
            contactless: is_contactless(atr),
            reality: Reality::Hardware,
            handle: FaceHandle::Reader {
                reader: name.to_string_lossy().into_owned(),
            },
        };
        let unasked = exclusive && address.is_none();
        self.told.insert(name, Told { key, count, unasked });
        (self.sink)(LinkEvent::Arrived(face));
    }

    fn left(&mut self, name: &CStr) {
        if let Some(told) = self.told.remove(name) {
            (self.sink)(LinkEvent::Left(told.key));
        }
    }

    fn all_left(&mut self) {
        for (_, told) in self.told.drain() {
            (self.sink)(LinkEvent::Left(told.key));
        }
    }
}

fn is_pnp(state: &ReaderState) -> bool {
    state.name() == pcsc::PNP_NOTIFICATION()
}

/// The bus and device number of a USB reader: `SCARD_ATTR_CHANNEL_ID` is 0x0020bbdd then (PC/SC part 3 section 3.1.1).
/// `None` for other readers, and when another program has a transaction and does not end it soon.
fn usb_address(reader: &CStr) -> Option<(u32, u32)> {
    let (give, take) = mpsc::sync_channel(1);
    let reader = reader.to_owned();
    // Connecting waits without end for a transaction; the watcher must not.
    let ask = move || {
        let context = Context::establish(Scope::System).ok()?;
        // Direct mode neither powers the card nor minds who else uses it.
        let card = context.connect(&reader, ShareMode::Direct, Protocols::UNDEFINED).ok()?;
        let answer = card.get_attribute_owned(Attribute::ChannelId);
        let _ = card.disconnect(Disposition::LeaveCard);
        Some(u32::from_ne_bytes(answer.ok()?.get(..4)?.try_into().ok()?))
    };
    let asking = thread::Builder::new()
        .name("link-card-usb".into())
        .spawn(move || give.send(ask()));
    drop(asking.ok()?);
    let channel = take.recv_timeout(CHANNEL_PATIENCE).ok()??;
    (channel >> 16 == 0x0020).then_some(((channel >> 8) & 0xFF, channel & 0xFF))
}

/// pcscd ends a reader's name with two numbers of its own: “ACME Reader 00 00”.
fn product_name(reader: &str) -> &str {
    let number = |text: &str| text.len() == 2 && text.chars().all(|c| c.is_ascii_hexdigit());
    match reader.rsplitn(3, ' ').collect::<Vec<_>>().as_slice() {
        [slot, index, name] if number(slot) && number(index) && !name.is_empty() => name,
        _ => reader,
    }
}

/// A contactless reader makes up an ATR of this form (PC/SC part 3 section 3.1.3.2.3): 3B 8N 80 01.
fn is_contactless(atr: &[u8]) -> bool {
    matches!(atr, [0x3B, 0x80..=0x8F, 0x80, 0x01, ..])
}

/// Both `SCardConnect` and `SCardBeginTransaction` wait without end while another program has a transaction. So a thread of
/// its own opens, at most one for each reader, and we wait as long as we have patience. If it gets the card too late, it
/// lets go at once.
impl Opener for CardSource {
    fn open_hid(&self, _: &Face, _: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        Err(LinkError::NotTheSame)
    }

    fn open_card(&self, face: &Face, patience: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        self.open_card_while(face, patience, &mut || true)
    }

    fn open_card_while(
        &self,
        face: &Face,
        patience: Duration,
        keep: &mut dyn FnMut() -> bool,
    ) -> Result<Box<dyn CardLink>, LinkError> {
        let FaceHandle::Reader { reader } = &face.handle else {
            return Err(LinkError::NotTheSame);
        };
        let name = CString::new(reader.as_str()).map_err(|_| LinkError::NotTheSame)?;
        let (give, take) = mpsc::sync_channel(0);
        let queueing = Arc::clone(&self.queueing);
        let until = Instant::now() + patience;
        // Somebody who gave up left a call behind that cannot be interrupted: one at a time is enough.
        while !lock(&queueing).insert(reader.clone()) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !keep() {
                return Err(busy());
            }
            thread::sleep(left.min(GLANCE));
        }
        let (own, contactless) = (reader.clone(), face.contactless);
        let spawned = thread::Builder::new().name("link-card-open".into()).spawn(move || {
            let result = OpenCard::open(&name, contactless);
            lock(&queueing).remove(&own);
            // Nobody there any more: the card comes back with the error and is released by its drop.
            drop(give.send(result));
        });
        if let Err(error) = spawned {
            lock(&self.queueing).remove(reader);
            return Err(LinkError::Io(error.to_string()));
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match take.recv_timeout(left.min(GLANCE)) {
                Ok(result) => return Ok(Box::new(result?)),
                Err(mpsc::RecvTimeoutError::Timeout) if !left.is_zero() && keep() => {}
                Err(_) => return Err(busy()),
            }
        }
    }
}

/// How often somebody who waits for a card looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(50);

/// Another program has the card: which, as far as can be told.
fn busy() -> LinkError {
    LinkError::Busy {
        holder: holder::of_reader(),
    }
}

fn is_cold(error: Error) -> bool {
    matches!(
        error,
        Error::UnresponsiveCard | Error::UnpoweredCard | Error::ProtoMismatch | Error::CommError | Error::NotTransacted
    )
}

fn explain(error: Error) -> LinkError {
    match error {
        Error::SharingViolation => busy(),
        Error::RemovedCard | Error::NoSmartcard | Error::ReaderUnavailable | Error::UnknownReader => LinkError::Gone,
        Error::NoService | Error::ServiceStopped | Error::Shutdown => LinkError::NoService,
        // libpcsclite says so when the connection to pcscd broke, and pcscd when the one to the reader did.
        Error::CommError | Error::InvalidHandle | Error::InternalError
            if Context::establish(Scope::System).is_err() =>
        {
            LinkError::NoService
        }
        Error::SecurityViolation | Error::NoAccess => LinkError::Permission { node: "pcscd".into() },
        Error::Timeout => LinkError::Timeout,
        other => LinkError::Io(other.to_string()),
    }
}

/// A connected card with a transaction begun.
struct OpenCard {
    /// Always there until it is dropped.
    card: Option<Card>,
    context: Context,
    reader: CString,
    /// Whether a command has been sent: then a reset by somebody else cannot be mended quietly.
    sent: bool,
    atr: Vec<u8>,
    buffer: Vec<u8>,
}

impl OpenCard {
    /// Connects and takes the card for ourselves, so that no other program's SELECT comes between two of our commands.
    fn open(reader: &CStr, contactless: bool) -> Result<Self, LinkError> {
        let context = Context::establish(Scope::System).map_err(explain)?;
        let connect = || context.connect(reader, ShareMode::Shared, Protocols::ANY);
        let card = match connect() {
            // The field of a contactless reader may still be coming up.
            Err(error) if contactless && is_cold(error) => connect(),
            other => other,
        };
        let mut card = card.map_err(explain)?;
        let begun = match begin(&mut card) {
            Err(Error::ResetCard) => reconnect(&mut card).and_then(|()| begin(&mut card)),
            other => other,
        };
        // A card that does not tell is spoken to in short APDUs.
        let atr = card
            .status2_owned()
            .map_or_else(|_| Vec::new(), |status| status.atr().to_vec());
        let open = Self {
            atr,
            card: Some(card),
            context,
            reader: reader.to_owned(),
            sent: false,
            buffer: vec![0; MAX_RESPONSE],
        };
        begun.map_err(explain)?;
        Ok(open)
    }

    /// Whether the card leaves the reader within the time pcscd needs to notice.
    fn is_gone(&self) -> bool {
        let mut states = [ReaderState::new(self.reader.clone(), State::PRESENT)];
        let until = Instant::now() + REMOVAL_NOTICE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.context.get_status_change(left, &mut states) {
                Err(Error::Timeout) => return false,
                Err(error) => return matches!(error, Error::UnknownReader | Error::ReaderUnavailable),
                Ok(()) => {}
            }
            let [state] = &mut states;
            if !state.event_state().contains(State::PRESENT) {
                return true;
            }
            state.sync_current_state();
        }
    }
}

/// Begins a transaction that lasts until the card is disconnected.
fn begin(card: &mut Card) -> Result<(), Error> {
    // Ended by the disconnect; the guard would borrow the card for as long.
    let _guard = ManuallyDrop::new(card.transaction()?);
    Ok(())
}

fn reconnect(card: &mut Card) -> Result<(), Error> {
    card.reconnect(ShareMode::Shared, Protocols::ANY, Disposition::LeaveCard)
}

impl CardLink for OpenCard {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        let Some(card) = &mut self.card else {
            return Err(LinkError::Gone);
        };
        let mut result = card.transmit(command, &mut self.buffer).map(<[u8]>::to_vec);
        if result == Err(Error::ResetCard) && !self.sent {
            let again = reconnect(card).and_then(|()| begin(card));
            result = again.and_then(|()| card.transmit(command, &mut self.buffer).map(<[u8]>::to_vec));
        }
        self.sent = true;
        match result {
            // Some drivers answer so when the card was taken while it worked.
            Ok(response) if response.len() < 2 && self.is_gone() => Err(LinkError::Gone),
            Ok(response) => {
                if let Some(used) = self.buffer.get_mut(..response.len()) {
                    zeroize::Zeroize::zeroize(used);
                }
                Ok(response)
            }
            Err(Error::ResetCard) => Err(LinkError::Io("another program reset the card".into())),
            Err(Error::NotTransacted | Error::UnpoweredCard | Error::CommError) if self.is_gone() => {
                Err(LinkError::Gone)
            }
            Err(error) => Err(explain(error)),
        }
    }

    fn atr(&self) -> &[u8] {
        &self.atr
    }
}

impl Drop for OpenCard {
    fn drop(&mut self) {
        // Without this the crate would reset the card, and with it the state of whoever else uses it.
        if let Some(card) = self.card.take() {
            // It fails when pcscd or the card is gone: then there is nothing left to disconnect.
            let _ = card.disconnect(Disposition::LeaveCard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_names_lose_pcscds_own_numbers() {
        assert_eq!(
            product_name("Yubico YubiKey FIDO+CCID 00 00"),
            "Yubico YubiKey FIDO+CCID"
        );
        assert_eq!(
            product_name("ACME [Contactless] (123) 01 0A"),
            "ACME [Contactless] (123)"
        );
        assert_eq!(product_name("Plain"), "Plain");
        assert_eq!(product_name("00 00"), "00 00");
    }

    #[test]
    fn a_made_up_atr_means_contactless() {
        assert!(is_contactless(&[0x3B, 0x8D, 0x80, 0x01, 0x80]));
        assert!(!is_contactless(&[0x3B, 0xFD, 0x13, 0x00, 0x00]));
        assert!(!is_contactless(&[]));
    }

    #[test]
    fn errors_keep_their_meaning() {
        assert!(matches!(explain(Error::SharingViolation), LinkError::Busy { .. }));
        assert_eq!(explain(Error::RemovedCard), LinkError::Gone);
        assert_eq!(explain(Error::ReaderUnavailable), LinkError::Gone);
        assert_eq!(explain(Error::NoService), LinkError::NoService);
    }
}
