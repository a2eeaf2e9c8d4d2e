//! One simulated device: its socket, and the two faces that share it.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wire::{self, MAX_FRAME, read_frame, write_frame};
use crate::link::{CardLink, FaceKind, HidLink, LinkError, REPORT_LEN};
use crate::types::DeviceId;

/// How long a simulator may leave our frames unread before it counts as unplugged.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Reports kept for a reader that is slow; more are lost, as in the kernel's hidraw (64).
const BACKLOG: usize = 64;
/// Longest ATR (ISO 7816-3 section 8.1: 33 bytes) with room.
const MAX_ATR: usize = 64;

enum CardAnswer {
    Atr(Vec<u8>),
    Response(Vec<u8>),
}

#[derive(Default)]
struct Inbox {
    closed: bool,
    hid_open: bool,
    card_open: bool,
    reports: VecDeque<[u8; REPORT_LEN]>,
    answers: VecDeque<CardAnswer>,
}

/// One simulated device.
pub(super) struct Connection {
    writer: Mutex<UnixStream>,
    /// The same socket, to shut it down while somebody is stuck writing.
    plug: UnixStream,
    inbox: Mutex<Inbox>,
    news: Condvar,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_TIME))?;
        let plug = stream.try_clone()?;
        Ok(Self {
            writer: Mutex::new(stream),
            plug,
            inbox: Mutex::default(),
            news: Condvar::new(),
        })
    }

    fn writer(&self) -> MutexGuard<'_, UnixStream> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, kind: u8, payload: &[u8]) -> Result<(), LinkError> {
        self.write(&mut self.writer(), kind, payload)
    }

    /// Sends WELCOME once `arrive` has said which device this is; until then nothing else is sent.
    pub(super) fn announce(&self, arrive: impl FnOnce() -> Option<DeviceId>) -> Option<DeviceId> {
        let mut writer = self.writer();
        let device = arrive()?;
        // If it cannot be sent, the connection is closed and the pump ends at once.
        let _ = self.write(&mut writer, wire::WELCOME, &wire::welcome(device));
        Some(device)
    }

    fn write(&self, writer: &mut UnixStream, kind: u8, payload: &[u8]) -> Result<(), LinkError> {
        write_frame(writer, kind, payload).map_err(|_| {
            // Half a frame may be out: the two sides would never agree again.
            self.hang_up();
            LinkError::Gone
        })
    }

    fn close(&self) {
        self.inbox().closed = true;
        self.news.notify_all();
    }

    /// Ends the connection; the reading thread wakes and cleans up.
    pub(super) fn hang_up(&self) {
        self.close();
        let _ = self.plug.shutdown(Shutdown::Both);
    }

    /// Sorts what the simulator sends until it closes or breaks the rules; says why it ended.
    pub(super) fn pump(&self, reader: &UnixStream) -> &'static str {
        loop {
            let frame = match read_frame(reader, MAX_FRAME, None) {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return "a frame of a length that is not allowed";
                }
                Err(_) => return "closed by the simulator",
            };
            let Some((&kind, payload)) = frame.split_first() else {
                return "an empty frame";
            };
            let mut inbox = self.inbox();
            match kind {
                wire::HID_IN => {
                    let Ok(report) = <[u8; REPORT_LEN]>::try_from(payload) else {
                        return "a report that is not 64 bytes";
                    };
                    if inbox.hid_open && inbox.reports.len() < BACKLOG {
                        inbox.reports.push_back(report);
                    }
                }
                wire::CARD_ATR if payload.len() <= MAX_ATR => inbox.answer(CardAnswer::Atr(payload.to_vec())),
                wire::CARD_RESPONSE => inbox.answer(CardAnswer::Response(payload.to_vec())),
                _ => return "a frame of an unknown kind",
            }
            drop(inbox);
            self.news.notify_all();
        }
    }

    /// Takes a face for one link; waits at most `patience` for the one before to let go.
    fn claim(&self, kind: FaceKind, patience: Duration) -> Result<(), LinkError> {
        let begun = Instant::now();
        let mut inbox = self.inbox();
        loop {
            if inbox.closed {
                return Err(LinkError::Gone);
            }
            let taken = match kind {
                FaceKind::Hid => &mut inbox.hid_open,
                FaceKind::Card => &mut inbox.card_open,
            };
            if !*taken {
                *taken = true;
                return Ok(());
            }
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(LinkError::Busy { holder: None });
            }
            inbox = self
                .news
                .wait_timeout(inbox, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn release(&self, kind: FaceKind) {
        let mut inbox = self.inbox();
        match kind {
            FaceKind::Hid => {
                inbox.hid_open = false;
                inbox.reports.clear();
            }
            FaceKind::Card => {
                inbox.card_open = false;
                inbox.answers.clear();
            }
        }
        drop(inbox);
        self.news.notify_all();
    }

    /// Waits for the card answer that `wanted` accepts and drops those before it: they belong to a link that gave up.
    fn wait_card(&self, wanted: impl Fn(&CardAnswer) -> bool) -> Result<CardAnswer, LinkError> {
        let mut inbox = self.inbox();
        loop {
            while let Some(answer) = inbox.answers.pop_front() {
                if wanted(&answer) {
                    return Ok(answer);
                }
            }
            if inbox.closed {
                return Err(LinkError::Gone);
            }
            inbox = self.news.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Inbox {
    /// A card answers one command at a time: of a flood the newest two stay.
    fn answer(&mut self, answer: CardAnswer) {
        if !self.card_open {
            return;
        }
        self.answers.push_back(answer);
        if self.answers.len() > 2 {
            self.answers.pop_front();
        }
    }
}

/// The CTAPHID pipe of a simulated device.
pub(super) struct VirtualHid {
    connection: Arc<Connection>,
}

impl VirtualHid {
    pub(super) fn open(connection: Arc<Connection>, patience: Duration) -> Result<Self, LinkError> {
        connection.claim(FaceKind::Hid, patience)?;
        let link = Self { connection };
        link.connection.send(wire::HID_OPEN, &[])?;
        Ok(link)
    }
}

impl HidLink for VirtualHid {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        self.connection.send(wire::HID_OUT, report)
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        let begun = Instant::now();
        let mut inbox = self.connection.inbox();
        loop {
            if let Some(report) = inbox.reports.pop_front() {
                return Ok(Some(report));
            }
            if inbox.closed {
                return Err(LinkError::Gone);
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            inbox = self
                .connection
                .news
                .wait_timeout(inbox, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Drop for VirtualHid {
    fn drop(&mut self) {
        let _ = self.connection.send(wire::HID_CLOSE, &[]);
        self.connection.release(FaceKind::Hid);
    }
}

/// The powered card of a simulated device.
pub(super) struct VirtualCard {
    connection: Arc<Connection>,
    atr: Vec<u8>,
}

impl VirtualCard {
    pub(super) fn open(connection: Arc<Connection>, patience: Duration) -> Result<Self, LinkError> {
        connection.claim(FaceKind::Card, patience)?;
        let mut link = Self {
            connection,
            atr: Vec::new(),
        };
        link.connection.send(wire::CARD_CONNECT, &[])?;
        // Like a real connect, this cannot be interrupted; unplugging ends it.
        let answer = link
            .connection
            .wait_card(|answer| matches!(answer, CardAnswer::Atr(_)))?;
        if let CardAnswer::Atr(atr) = answer {
            link.atr = atr;
        }
        Ok(link)
    }
}

impl CardLink for VirtualCard {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        if command.len() >= MAX_FRAME {
            return Err(LinkError::Io("the command is too long for the virtual link".into()));
        }
        self.connection.send(wire::CARD_COMMAND, command)?;
        match self
            .connection
            .wait_card(|answer| matches!(answer, CardAnswer::Response(_)))?
        {
            CardAnswer::Response(response) => Ok(response),
            CardAnswer::Atr(_) => Err(LinkError::Io("an ATR came instead of a response".into())),
        }
    }

    fn atr(&self) -> &[u8] {
        &self.atr
    }
}

impl Drop for VirtualCard {
    fn drop(&mut self) {
        let _ = self.connection.send(wire::CARD_DISCONNECT, &[]);
        self.connection.release(FaceKind::Card);
    }
}
