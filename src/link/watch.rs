//! What finds faces and tells about them: one [`Source`] for each kind of link.
//!
//! A source has its own thread, which sleeps in the kernel until something is plugged in or out. No source polls.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{LinkError, LinkEvent, Opener};
use crate::types::DeviceId;

/// Where a source puts its events; called on the source's own thread, in the order in which things happened.
///
/// For [`LinkEvent::Arrived`] the answer is the device that now has the face, or `None` when it was refused because too
/// many devices are stuck. For all other events it means nothing.
pub type Sink = Arc<dyn Fn(LinkEvent) -> Option<DeviceId> + Send + Sync>;

/// One kind of link: finds its faces and opens them.
pub trait Source: Opener {
    /// For the log: `hid`, `card`, `virtual`.
    fn name(&self) -> &'static str;

    /// Begins to watch. What is there already is told first, then [`LinkEvent::Settled`], then what changes.
    ///
    /// # Errors
    /// When the watcher cannot run at all. What comes and goes (pcscd) is not an error but an event.
    fn start(&self, sink: Sink) -> Result<(), LinkError>;

    /// Ends the watcher and waits for its thread a moment. Tells nothing more. May be called twice.
    fn stop(&self);
}

/// The number of an attachment: unique for the lifetime of the daemon, so that a node or reader name that is used again
/// is never taken for the one before.
pub(crate) fn next_attachment() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The body of a USB device: HID and card faces of one key meet here. The kernel does not give a number out again before
/// it has been through all others, and by then both faces have left.
pub(crate) fn usb_body(bus: u32, device: u32) -> String {
    format!("usb:{bus}:{device}")
}

/// A way to wake a thread that sleeps in `poll`: the reading end hangs up when [`Stop::stop`] is called.
#[derive(Debug)]
pub(crate) struct Stop {
    reader: PipeReader,
    writer: Mutex<Option<PipeWriter>>,
}

impl Stop {
    /// A signal nobody has given yet.
    ///
    /// # Errors
    /// [`LinkError::Io`] when the process is out of descriptors.
    pub(crate) fn new() -> Result<Self, LinkError> {
        let (reader, writer) = pipe().map_err(|error| LinkError::Io(error.to_string()))?;
        Ok(Self {
            reader,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Gives the signal. There is no way back.
    pub(crate) fn stop(&self) {
        drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether the signal was given.
    pub(crate) fn is_stopped(&self) -> bool {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Sleeps until the signal is given.
    #[cfg(test)]
    pub(crate) fn wait(&self) {
        let mut byte = [0];
        let _ = std::io::Read::read(&mut &self.reader, &mut byte);
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Text from outside (a USB string, a simulator's greeting) made fit for a log line and a terminal: control characters
/// and the invisible direction marks go, white space at the ends goes, and no more than `most` characters stay.
pub(crate) fn clean(text: &str, most: usize) -> String {
    let direction_mark =
        |c: char| matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let shown: String = text
        .chars()
        .filter(|c| !c.is_control() && !direction_mark(*c))
        .take(most)
        .collect();
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_made_plain() {
        assert_eq!(clean("  Solo\u{1b}[2J\n 2\u{202e}  ", 64), "Solo[2J 2");
        assert_eq!(clean("abcdef", 3), "abc");
    }

    #[test]
    fn attachments_are_never_numbered_twice() {
        let first = next_attachment();
        assert!(next_attachment() > first);
    }

    #[test]
    fn a_stop_is_seen_by_a_sleeping_thread() {
        let stop = Arc::new(Stop::new().expect("pipe"));
        let sleeper = {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || stop.wait())
        };
        assert!(!stop.is_stopped());
        stop.stop();
        sleeper.join().expect("the sleeper wakes");
        assert!(stop.is_stopped());
    }
}
