//! Keys whose nodes are made elsewhere: by umockdev in a process of its own, by USB device controllers of another machine.
//!
//! The token and its pump are here; reports and orders go over one stream. Messages go both ways: u32 BE length of what
//! follows, u8 kind, u16 BE number of the key, payload. Every plug has a new number.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Plugged, Port, Pump, spawn};
use crate::SimError;
use crate::fido::ctaphid::Report;
use crate::token::{Event, Faces, Token};

/// How long the other side may take for one order.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const ADD: u8 = 0x01;
pub(super) const REMOVE: u8 = 0x02;
pub(super) const TO_HOST: u8 = 0x11;
pub(super) const READY: u8 = 0x81;
pub(super) const ADDED: u8 = 0x82;
pub(super) const REMOVED: u8 = 0x83;
pub(super) const FROM_HOST: u8 = 0x84;
pub(super) const FAILED: u8 = 0x8f;

/// This end of the stream.
pub(super) struct Bridge {
    shared: Arc<Shared>,
}

struct Shared {
    /// What the other side is called in errors.
    name: &'static str,
    input: Mutex<Option<Box<dyn Write + Send>>>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    next: u16,
    pumps: BTreeMap<u16, Sender<Event>>,
    /// Who waits for the answer to an order.
    orders: BTreeMap<u16, Sender<Message>>,
    /// The other side has hung up.
    over: bool,
}

pub(super) struct Message {
    pub kind: u8,
    pub key: u16,
    pub payload: Vec<u8>,
}

impl Bridge {
    /// Speaks with what `name` is called over these two halves of a stream.
    pub(super) fn open(
        name: &'static str,
        input: impl Write + Send + 'static,
        output: impl Read + Send + 'static,
    ) -> Result<Self, SimError> {
        let shared = Arc::new(Shared {
            name,
            input: Mutex::new(Some(Box::new(input))),
            keys: Mutex::default(),
        });
        let reading = shared.clone();
        spawn("bridge-read", move || reading.read_all(output))?;
        Ok(Self { shared })
    }

    /// Tells the other side, by the end of its input, that this was all.
    pub(super) fn close(&self) {
        *self.shared.input.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Plugs `token` in; [`Plugged::id`] is what the other side calls its node. `more` goes along with what USB tells of it.
    pub(super) fn plug(&self, token: &Token, more: &[(&str, Value)]) -> Result<Plugged, SimError> {
        let profile = token.profile();
        if !profile.has_hid() {
            return Err(SimError::Invalid(format!(
                "{} has no HID face to plug in",
                token.name()
            )));
        }
        let (events, receiver) = Pump::channel();
        let number = {
            let mut keys = self.shared.keys();
            let number = keys.next;
            keys.next = number.wrapping_add(1);
            keys.pumps.insert(number, events.clone());
            number
        };
        token.attach(events.clone());
        let mut about = json!({
            "vendor_id": profile.vendor_id,
            "product_id": profile.product_id,
            "manufacturer": profile.manufacturer,
            "product": profile.product,
            "serial": token.serial().unwrap_or_default(),
        });
        if let Some(about) = about.as_object_mut() {
            about.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        }
        let answer = self.shared.order(ADD, number, about.to_string().as_bytes());
        let answer = answer.inspect_err(|_| drop(self.shared.keys().pumps.remove(&number)))?;
        let answer: Value = serde_json::from_slice(&answer)
            .map_err(|error| SimError::Peer(format!("{} answered nonsense: {error}", self.shared.name)))?;
        let node = answer
            .get("node")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let gone = Arc::new(AtomicBool::new(false));
        let pump = Pump {
            token: token.clone(),
            faces: Faces { hid: true, card: false },
            events: receiver,
            gone: gone.clone(),
        };
        let shared = self.shared.clone();
        let threads = vec![spawn("bridge-pump", move || {
            pump.run(&mut Node {
                shared: shared.clone(),
                number,
            });
            pump.gone.store(true, Ordering::SeqCst);
            shared.keys().pumps.remove(&number);
            // The other side may be gone already; then so is the node.
            let _ = shared.order(REMOVE, number, &[]);
        })?];
        Ok(Plugged {
            token: token.clone(),
            id: node,
            events,
            gone,
            hang_up: Box::new(|| {}),
            threads,
        })
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, kind: u8, key: u16, payload: &[u8]) -> io::Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(input) = &mut *input else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        Message {
            kind,
            key,
            payload: payload.to_vec(),
        }
        .write(input)
    }

    /// Gives an order and waits for its answer.
    fn order(&self, kind: u8, key: u16, payload: &[u8]) -> Result<Vec<u8>, SimError> {
        let (sender, receiver): (_, Receiver<Message>) = channel();
        {
            let mut keys = self.keys();
            if keys.over {
                return Err(SimError::Peer(format!("{} has hung up", self.name)));
            }
            keys.orders.insert(key, sender);
        }
        self.say(kind, key, payload)
            .map_err(SimError::io(format!("giving {} an order", self.name)))?;
        let answer = receiver
            .recv_timeout(PATIENCE)
            .map_err(|_| SimError::Peer(format!("{} does not answer", self.name)))?;
        match answer.kind {
            ADDED | REMOVED => Ok(answer.payload),
            _ => Err(SimError::Peer(format!(
                "{}: {}",
                self.name,
                String::from_utf8_lossy(&answer.payload)
            ))),
        }
    }

    fn read_all(&self, mut output: impl Read) {
        while let Ok(message) = Message::read(&mut output) {
            let mut keys = self.keys();
            if message.kind == FROM_HOST {
                if let (Some(pump), Ok(report)) = (keys.pumps.get(&message.key), Report::try_from(message.payload)) {
                    // A pump that ended has no use for it.
                    let _ = pump.send(Event::Report(report));
                }
            } else if let Some(waiting) = keys.orders.remove(&message.key) {
                let _ = waiting.send(message);
            }
        }
        let mut keys = self.keys();
        keys.over = true;
        // Nobody will answer them any more.
        keys.orders.clear();
        for pump in keys.pumps.values() {
            let _ = pump.send(Event::HostGone);
        }
    }
}

impl Message {
    pub(super) fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 7];
        input.read_exact(&mut head)?;
        let [l0, l1, l2, l3, kind, k0, k1] = head;
        let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        if !(3..=65_536).contains(&length) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; length - 3];
        input.read_exact(&mut payload)?;
        Ok(Self {
            kind,
            key: u16::from_be_bytes([k0, k1]),
            payload,
        })
    }

    pub(super) fn write(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let length = u32::try_from(self.payload.len() + 3).unwrap_or(u32::MAX);
        let head = [&length.to_be_bytes()[..], &[self.kind], &self.key.to_be_bytes()].concat();
        out.write_all(&[head, self.payload.clone()].concat())?;
        out.flush()
    }
}

struct Node {
    shared: Arc<Shared>,
    number: u16,
}

impl Port for Node {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.shared.say(TO_HOST, self.number, report)
    }

    fn atr(&mut self, _atr: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn response(&mut self, _response: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
