//! A HID link for unit tests: a key that is a function from one report to the reports it answers with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::DeviceError;
use super::fido::Entropy;
use crate::codec::ctaphid::{self, Channel, Command, Report};
use crate::link::{HidLink, LinkError};

/// Channel the fake key gives out.
pub(super) const OURS: Channel = Channel(0x0A0B_0C0D);

/// One step of the script.
#[derive(Clone)]
pub(super) enum Step {
    /// The host sees this report.
    Report(Report),
    /// The read or write fails.
    Fail(LinkError),
    /// This report again and again, for ever.
    Endless(Report),
}

type Script = Box<dyn FnMut(&Report) -> Vec<Step> + Send>;

/// What went over the link, for the test to look at.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<Report>>>);

impl Written {
    /// How many reports with this command byte (bit 7 cleared) were written.
    pub(super) fn count(&self, command: Command) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|r| r[4] == command as u8 | 0x80)
            .count()
    }

    /// The last report.
    pub(super) fn last(&self) -> Report {
        *self.0.lock().unwrap().last().unwrap()
    }
}

pub(super) struct FakeLink {
    script: Script,
    queue: VecDeque<Step>,
    written: Written,
}

impl FakeLink {
    /// A key that answers INIT by itself and everything else by `script`.
    pub(super) fn answering(
        mut script: impl FnMut(&Report) -> Vec<Step> + Send + 'static,
    ) -> (Box<dyn HidLink>, Written) {
        Self::bare(move |report| {
            if report[4] == 0x86 {
                init_answer(report)
            } else {
                script(report)
            }
        })
    }

    /// A key that answers everything by `script`.
    pub(super) fn bare(script: impl FnMut(&Report) -> Vec<Step> + Send + 'static) -> (Box<dyn HidLink>, Written) {
        let written = Written::default();
        let link = Self {
            script: Box::new(script),
            queue: VecDeque::new(),
            written: written.clone(),
        };
        (Box::new(link), written)
    }
}

impl HidLink for FakeLink {
    fn write_report(&mut self, report: &Report) -> Result<(), LinkError> {
        self.written.0.lock().unwrap().push(*report);
        let steps = (self.script)(report);
        if report[4] & 0x80 != 0 && !steps.is_empty() {
            // A key that speaks again has ended its endless story.
            self.queue.retain(|step| !matches!(step, Step::Endless(_)));
        }
        self.queue.extend(steps);
        Ok(())
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<Report>, LinkError> {
        match self.queue.pop_front() {
            Some(Step::Report(report)) => Ok(Some(report)),
            Some(Step::Fail(error)) => Err(error),
            Some(Step::Endless(report)) => {
                self.queue.push_front(Step::Endless(report));
                // As fast as a full-speed interrupt endpoint can be.
                std::thread::sleep(timeout.min(Duration::from_millis(1)));
                Ok(Some(report))
            }
            None => {
                std::thread::sleep(timeout);
                Ok(None)
            }
        }
    }
}

/// One report, with a command byte or a sequence number in `head`.
pub(super) fn report(channel: Channel, head: &[u8], data: &[u8]) -> Step {
    Step::Report(raw_report(channel, head, data))
}

pub(super) fn raw_report(channel: Channel, head: &[u8], data: &[u8]) -> Report {
    let mut report = [0; 64];
    let bytes = [&channel.0.to_be_bytes(), head, data].concat();
    report[..bytes.len()].copy_from_slice(&bytes);
    report
}

/// A whole CTAP2 answer on our channel.
pub(super) fn answer(bytes: &[u8]) -> Vec<Step> {
    ctaphid::reports(OURS, Command::Cbor, bytes)
        .unwrap()
        .into_iter()
        .map(Step::Report)
        .collect()
}

/// The answer to an INIT: nonce, [`OURS`], protocol 2, version 1.2.3, CBOR and wink.
pub(super) fn init_answer(request: &Report) -> Vec<Step> {
    let on = Channel(u32::from_be_bytes(request[..4].try_into().unwrap()));
    let data = [&request[7..15], &OURS.0.to_be_bytes(), &[2, 1, 2, 3, 0x05]].concat();
    vec![report(on, &[0x86, 0, 17], &data)]
}

/// Counts upwards: reproducible, and never twice the same nonce.
pub(super) struct CountingEntropy(pub(super) u8);

impl Entropy for CountingEntropy {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), DeviceError> {
        for byte in buffer {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}
