//! The ways a token reaches a host, and the pump that drives a token through any of them.

mod bridge;
pub mod ccid;
pub mod gadget;
pub mod umockdev;
pub mod virtual_socket;
pub mod vpcd;
pub mod wire;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::fault::{Direction, Fault};
use crate::fido::ctaphid::Report;
use crate::token::{Action, Event, Faces, Token};
use crate::{Millis, SimError};
pub use ccid::plug_ccid;
pub use gadget::Gadgets;
pub use umockdev::Testbed;
pub use virtual_socket::plug_virtual;
pub use vpcd::{VpcdSetup, plug_vpcd};

/// What a front can send to its host.
pub(crate) trait Port: Send {
    fn report(&mut self, report: &Report) -> io::Result<()>;
    fn atr(&mut self, atr: &[u8]) -> io::Result<()>;
    fn response(&mut self, response: &[u8]) -> io::Result<()>;
}

/// A token that is plugged in; dropping it pulls it out.
pub struct Plugged {
    token: Token,
    id: String,
    events: Sender<Event>,
    gone: Arc<AtomicBool>,
    /// Breaks off what the front's threads wait for.
    hang_up: Box<dyn Fn() + Send + Sync>,
    threads: Vec<JoinHandle<()>>,
}

impl Plugged {
    /// The token.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What the other side calls it: the daemon's device number, a device node, a reader's port.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it is still plugged in; a fault or the host may have ended that.
    pub fn is_plugged(&self) -> bool {
        !self.gone.load(Ordering::SeqCst)
    }

    /// Waits until it is no longer plugged in; false when that did not happen in time.
    pub fn wait_unplugged(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while self.is_plugged() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        !self.is_plugged()
    }

    /// Pulls it out and waits until its front is closed.
    pub fn unplug(self) {
        drop(self);
    }

    /// See [`Token::frames`].
    pub fn frames(&self) -> Vec<Direction> {
        self.token.frames()
    }

    /// See [`Token::record`].
    pub fn record(&self) {
        self.token.record();
    }

    /// See [`Token::inject`].
    pub fn inject(&self, fault: Fault) {
        self.token.inject(fault);
    }

    /// See [`Token::touch`].
    pub fn touch(&self) -> bool {
        self.token.touch()
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        // When the pump is gone already there is nobody to tell.
        let _ = self.events.send(Event::Unplug);
        self.gone.store(true, Ordering::SeqCst);
        (self.hang_up)();
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended, which is all that is wanted here.
            let _ = thread.join();
        }
    }
}

/// Drives a token: events in, actions out, until it is pulled out.
pub(crate) struct Pump {
    pub token: Token,
    pub faces: Faces,
    pub events: Receiver<Event>,
    pub gone: Arc<AtomicBool>,
}

impl Pump {
    pub(crate) fn channel() -> (Sender<Event>, Receiver<Event>) {
        mpsc::channel()
    }

    /// Runs until the token is unplugged, or, with `until_host_gone`, until the host is gone. Answers whether the
    /// token is still plugged in.
    pub(crate) fn run(&self, port: &mut dyn Port) -> bool {
        loop {
            let event = match self.next_event() {
                Some(Event::HostGone) => return !self.gone.load(Ordering::SeqCst),
                Some(event) => event,
                None => return self.finish(),
            };
            let mut actions = std::collections::VecDeque::from(self.token.turn(event, self.faces));
            while let Some(action) = actions.pop_front() {
                let sent = match action {
                    Action::Report(report) => port.report(&report),
                    Action::Atr(atr) => port.atr(&atr),
                    Action::Response(response) => port.response(&response),
                    Action::Wait(ms) => {
                        self.wait(ms);
                        Ok(())
                    }
                    Action::Late(frame) => {
                        actions.extend(self.token.deliver(frame, self.faces));
                        Ok(())
                    }
                    Action::Unplug => return self.finish(),
                };
                if sent.is_err() {
                    return !self.gone.load(Ordering::SeqCst);
                }
            }
        }
    }

    fn finish(&self) -> bool {
        self.gone.store(true, Ordering::SeqCst);
        self.token.pull();
        false
    }

    fn next_event(&self) -> Option<Event> {
        let received = match self.token.next_tick(self.faces) {
            None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => {
                let wait = Duration::from_millis(at.saturating_sub(self.token.now()));
                self.events.recv_timeout(wait)
            }
        };
        match received {
            Err(RecvTimeoutError::Timeout) => Some(Event::Wake),
            Ok(Event::Unplug) | Err(RecvTimeoutError::Disconnected) => None,
            Ok(event) => Some(event),
        }
    }

    /// A delay is a fault on purpose; only pulling the token out and clearing its faults cut it short.
    fn wait(&self, ms: Millis) {
        let until = Instant::now() + Duration::from_millis(ms);
        while Instant::now() < until && !self.gone.load(Ordering::SeqCst) && self.token.is_delaying() {
            std::thread::sleep(Duration::from_millis(2).min(until.saturating_duration_since(Instant::now())));
        }
    }
}

pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, SimError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(SimError::io("starting a thread"))
}
