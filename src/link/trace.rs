//! A recorder between a link and whoever uses it: frames as JSON lines, to be replayed later.
//!
//! Off unless `[trace]` is configured, and in system mode only if that is said twice. A trace is sensitive: over CTAPHID a PIN is encrypted on the wire, but user names, credential
//! ids, card passwords' proofs and, when a seed is written to a card, *the seed itself* are not. The file is made with mode
//! 0600 and never overwritten.
//!
//! A line is `{"ms":12,"link":3,"dir":"out","face":"virtual:1:hid","hex":"…"}`: milliseconds since the trace began, the
//! number of the opened link, `out` to the device or `in` from it. `open`, `close` and `error` lines have a `text` instead.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use zeroize::Zeroizing;

use super::watch::{Sink, Source};
use super::{CardLink, Face, HidLink, LinkError, Opener, REPORT_LEN};

/// Where frames are written; shared by all sources of a daemon.
pub struct Trace {
    file: Mutex<File>,
    begun: Instant,
    links: AtomicU64,
}

#[derive(Serialize)]
struct Line<'a> {
    ms: u128,
    link: u64,
    dir: &'a str,
    face: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

impl Trace {
    /// Begins a trace in a new file.
    ///
    /// # Errors
    /// [`LinkError::Io`] with a sentence when the file exists or cannot be made.
    pub fn create(path: &Path) -> Result<Arc<Self>, LinkError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| LinkError::Io(format!("cannot begin a trace in {}: {error}", path.display())))?;
        tracing::warn!(path = %path.display(), "every frame is recorded: the trace is as sensitive as the tokens");
        Ok(Arc::new(Self {
            file: Mutex::new(file),
            begun: Instant::now(),
            links: AtomicU64::new(1),
        }))
    }

    fn frame(&self, link: u64, dir: &str, face: &str, bytes: &[u8]) {
        let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(bytes));
        self.line(&Line {
            ms: self.begun.elapsed().as_millis(),
            link,
            dir,
            face,
            hex: Some(hex.as_str()),
            text: None,
        });
    }

    fn note(&self, link: u64, dir: &str, face: &str, text: &str) {
        self.line(&Line {
            ms: self.begun.elapsed().as_millis(),
            link,
            dir,
            face,
            hex: None,
            text: Some(text),
        });
    }

    fn line(&self, line: &Line<'_>) {
        let Ok(text) = serde_json::to_vec(line) else { return };
        let mut text = Zeroizing::new(text);
        text.push(b'\n');
        // A full disk must not stop the work on the token; the trace then ends in the middle of a line.
        let _ = self
            .file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_all(&text);
    }
}

/// A source whose links are recorded.
pub struct Traced {
    source: Arc<dyn Source>,
    trace: Arc<Trace>,
}

impl Traced {
    /// Puts the recorder around `source`.
    #[must_use]
    pub fn new(source: Arc<dyn Source>, trace: Arc<Trace>) -> Self {
        Self { source, trace }
    }

    fn recorded<L>(&self, face: &Face, link: L) -> Recorded<L> {
        let number = self.trace.links.fetch_add(1, Ordering::Relaxed);
        self.trace.note(number, "open", &face.key, &face.name);
        Recorded {
            link,
            number,
            face: face.key.clone(),
            trace: Arc::clone(&self.trace),
        }
    }
}

impl Opener for Traced {
    fn open_hid(&self, face: &Face, patience: Duration) -> Result<Box<dyn HidLink>, LinkError> {
        Ok(Box::new(self.recorded(face, self.source.open_hid(face, patience)?)))
    }

    fn open_card(&self, face: &Face, patience: Duration) -> Result<Box<dyn CardLink>, LinkError> {
        Ok(Box::new(self.recorded(face, self.source.open_card(face, patience)?)))
    }

    fn open_card_while(
        &self,
        face: &Face,
        patience: Duration,
        keep: &mut dyn FnMut() -> bool,
    ) -> Result<Box<dyn CardLink>, LinkError> {
        let link = self.source.open_card_while(face, patience, keep)?;
        Ok(Box::new(self.recorded(face, link)))
    }
}

impl Source for Traced {
    fn name(&self) -> &'static str {
        self.source.name()
    }

    fn start(&self, sink: Sink) -> Result<(), LinkError> {
        self.source.start(sink)
    }

    fn stop(&self) {
        self.source.stop();
    }
}

struct Recorded<L> {
    link: L,
    number: u64,
    face: String,
    trace: Arc<Trace>,
}

impl<L> Recorded<L> {
    fn frame(&self, dir: &str, bytes: &[u8]) {
        self.trace.frame(self.number, dir, &self.face, bytes);
    }

    fn failed(&self, error: LinkError) -> LinkError {
        self.trace.note(self.number, "error", &self.face, &error.to_string());
        error
    }
}

impl<L> Drop for Recorded<L> {
    fn drop(&mut self) {
        self.trace.note(self.number, "close", &self.face, "");
    }
}

impl HidLink for Recorded<Box<dyn HidLink>> {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        self.frame("out", report);
        self.link.write_report(report).map_err(|error| self.failed(error))
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        let report = self.link.read_report(timeout).map_err(|error| self.failed(error))?;
        if let Some(report) = &report {
            self.frame("in", report);
        }
        Ok(report)
    }
}

impl CardLink for Recorded<Box<dyn CardLink>> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.frame("out", command);
        let response = self.link.transmit(command).map_err(|error| self.failed(error))?;
        self.frame("in", &response);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::link::{FaceHandle, FaceKind};
    use crate::types::Reality;

    struct Echo;

    impl CardLink for Echo {
        fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
            if command.is_empty() {
                Err(LinkError::Gone)
            } else {
                Ok(vec![0x90, 0x00])
            }
        }
    }

    impl Opener for Echo {
        fn open_hid(&self, _: &Face, _: Duration) -> Result<Box<dyn HidLink>, LinkError> {
            Err(LinkError::Gone)
        }
        fn open_card(&self, _: &Face, _: Duration) -> Result<Box<dyn CardLink>, LinkError> {
            Ok(Box::new(Self))
        }
    }

    impl Source for Echo {
        fn name(&self) -> &'static str {
            "echo"
        }
        fn start(&self, _: Sink) -> Result<(), LinkError> {
            Ok(())
        }
        fn stop(&self) {}
    }

    #[test]
    fn frames_and_errors_are_written_in_order() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("trace");
        let traced = Traced::new(Arc::new(Echo), Trace::create(&path).expect("new"));
        let face = Face {
            key: "k".into(),
            kind: FaceKind::Card,
            body: "b".into(),
            place: "p".into(),
            name: "Echo".into(),
            usb: None,
            serial: None,
            contactless: false,
            reality: Reality::Virtual,
            handle: FaceHandle::Virtual { connection: 1 },
        };
        let mut link = traced.open_card(&face, Duration::ZERO).expect("open");
        link.transmit(&[0x00, 0xA4]).expect("echo");
        link.transmit(&[]).expect_err("gone");
        drop(link);
        let text = std::fs::read_to_string(&path).expect("trace");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let dirs: Vec<_> = lines.iter().map(|line| line["dir"].as_str().expect("dir")).collect();
        assert_eq!(dirs, ["open", "out", "in", "out", "error", "close"]);
        assert_eq!(
            (lines[1]["hex"].as_str(), lines[2]["hex"].as_str()),
            (Some("00a4"), Some("9000"))
        );
        assert_eq!(
            std::fs::metadata(&path).expect("file").permissions().mode() & 0o777,
            0o600
        );
        assert!(Trace::create(&path).is_err(), "a trace is never overwritten");
    }
}
