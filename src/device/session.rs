//! What a job sees of its device: links to open, a deadline, a cancel flag.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Deadlines, DeviceError};
use crate::link::{CardLink, Face, FaceKind, HidLink, LinkError, Opener, REPORT_LEN};
use crate::types::{Cancel, time_left};

/// The longest sleep in a read or in front of a lock. Bounds how late a removal or a cancel is seen when the kernel does
/// not wake us itself.
const SLICE: Duration = Duration::from_millis(50);

/// A face that is attached now, and who can open it.
#[derive(Clone)]
pub(super) struct Attached {
    pub(super) face: Face,
    pub(super) opener: Arc<dyn Opener>,
    /// Raised when the face leaves.
    pub(super) gone: Arc<AtomicBool>,
}

impl Attached {
    pub(super) fn new(face: Face, opener: Arc<dyn Opener>) -> Self {
        Self {
            face,
            opener,
            gone: Arc::default(),
        }
    }
}

/// One job's view of one device. Lives as long as the job.
pub struct Session {
    attached: Vec<Attached>,
    faces: Vec<Face>,
    deadline: Instant,
    cancel: Cancel,
    deadlines: Deadlines,
    waits: Option<Waits>,
}

/// Told when the job begins to wait for another program, and when that is over.
pub type Waits = Box<dyn Fn(bool) + Send>;

/// Waits shorter than this are not told: every open takes a moment, and powering a contactless card up takes longer.
const WORTH_TELLING: Duration = Duration::from_millis(300);
const WORTH_TELLING_OF_A_CARD: Duration = Duration::from_secs(2);

impl Session {
    pub(super) fn new(attached: Vec<Attached>, deadline: Instant, cancel: Cancel, deadlines: Deadlines) -> Self {
        let faces = attached.iter().map(|one| one.face.clone()).collect();
        Self {
            attached,
            faces,
            deadline,
            cancel,
            deadlines,
            waits: None,
        }
    }

    /// Waits so long for another program that has the device, instead of [`Deadlines::lock`], and tells when it does.
    pub fn wait_for_others(&mut self, patience: Option<Duration>, waits: Waits) {
        if let Some(patience) = patience {
            self.deadlines.lock = patience;
        }
        self.waits = Some(waits);
    }

    /// Opens the CTAPHID face. Waits for another program to let go, at most [`Deadlines::lock`]; the lock is ours until the
    /// link is dropped.
    ///
    /// # Errors
    /// [`DeviceError::Unsupported`] when the device has no such face, [`DeviceError::Busy`], [`DeviceError::Permission`],
    /// [`DeviceError::Gone`], [`DeviceError::Cancelled`], [`DeviceError::Deadline`].
    pub fn open_hid(&self) -> Result<Box<dyn HidLink>, DeviceError> {
        let one = self
            .find(FaceKind::Hid)
            .ok_or(DeviceError::Unsupported("FIDO over USB"))?;
        let now = Instant::now();
        let until = now
            .checked_add(self.deadlines.lock)
            .map_or(self.deadline, |lock| lock.min(self.deadline));
        let mut waiting = Waiting::new(self.waits.as_ref(), WORTH_TELLING);
        loop {
            self.proceed(one)?;
            waiting.glance();
            let begun = Instant::now();
            let patience = until.saturating_duration_since(begun).min(SLICE);
            match one.opener.open_hid(&one.face, patience) {
                Ok(link) => {
                    return Ok(Box::new(Attended {
                        link,
                        gone: Arc::clone(&one.gone),
                    }));
                }
                Err(LinkError::Busy { .. }) if Instant::now() < until => {
                    // An opener that cannot wait says so at once.
                    thread::sleep(patience.saturating_sub(begun.elapsed()));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Connects to the card face and holds the card for this job alone until the link is dropped.
    ///
    /// # Errors
    /// As [`Session::open_hid`], and [`DeviceError::NoCardService`].
    pub fn open_card(&self) -> Result<Box<dyn CardLink>, DeviceError> {
        let one = self
            .find(FaceKind::Card)
            .ok_or(DeviceError::Unsupported("smart card commands"))?;
        self.proceed(one)?;
        // Powering a contactless card up takes as long as an exchange, also when nobody is in the way.
        let patience = self
            .deadlines
            .lock
            .saturating_add(self.deadlines.exchange)
            .min(time_left(self.deadline));
        let mut waiting = Waiting::new(self.waits.as_ref(), WORTH_TELLING_OF_A_CARD);
        let mut keep = || {
            waiting.glance();
            self.proceed(one).is_ok()
        };
        let link = match one.opener.open_card_while(&one.face, patience, &mut keep) {
            // What ended the wait counts, not whom it was for.
            Err(LinkError::Busy { holder }) => {
                self.proceed(one)?;
                return Err(DeviceError::Busy(holder));
            }
            other => other?,
        };
        Ok(Box::new(Attended {
            link,
            gone: Arc::clone(&one.gone),
        }))
    }

    /// When the job must be over.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Raised when somebody wants the job to end.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// The configured deadlines, for the job's single exchanges.
    #[must_use]
    pub fn deadlines(&self) -> &Deadlines {
        &self.deadlines
    }

    /// Whether the device had such a face when the job began.
    #[must_use]
    pub fn has(&self, kind: FaceKind) -> bool {
        self.find(kind).is_some()
    }

    /// The faces the device had when the job began.
    #[must_use]
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    fn find(&self, kind: FaceKind) -> Option<&Attached> {
        self.attached.iter().find(|one| one.face.kind == kind)
    }

    fn proceed(&self, one: &Attached) -> Result<(), DeviceError> {
        if one.gone.load(Ordering::SeqCst) {
            Err(DeviceError::Gone)
        } else if self.cancel.is_cancelled() {
            Err(DeviceError::Cancelled)
        } else if time_left(self.deadline).is_zero() {
            Err(DeviceError::Deadline)
        } else {
            Ok(())
        }
    }
}

/// One wait for another program: told once it is worth telling, and its end with it.
struct Waiting<'w> {
    waits: Option<&'w Waits>,
    since: Instant,
    worth: Duration,
    told: bool,
}

impl<'w> Waiting<'w> {
    fn new(waits: Option<&'w Waits>, worth: Duration) -> Self {
        Self {
            waits,
            worth,
            since: Instant::now(),
            told: false,
        }
    }

    fn glance(&mut self) {
        if let Some(waits) = self.waits.filter(|_| !self.told && self.since.elapsed() > self.worth) {
            self.told = true;
            waits(true);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(waits) = self.waits.filter(|_| self.told) {
            waits(false);
        }
    }
}

/// A link that also ends when the watcher has seen its face leave: the removal event may come before the read returns, or
/// without it.
struct Attended<L> {
    link: L,
    gone: Arc<AtomicBool>,
}

impl<L> Attended<L> {
    fn here(&self) -> Result<(), LinkError> {
        if self.gone.load(Ordering::SeqCst) {
            Err(LinkError::Gone)
        } else {
            Ok(())
        }
    }

    /// The reason that counts once the face has left is that it left.
    fn explain<T>(&self, result: Result<T, LinkError>) -> Result<T, LinkError> {
        result.map_err(|error| {
            if self.gone.load(Ordering::SeqCst) {
                LinkError::Gone
            } else {
                error
            }
        })
    }
}

impl HidLink for Attended<Box<dyn HidLink>> {
    fn write_report(&mut self, report: &[u8; REPORT_LEN]) -> Result<(), LinkError> {
        self.here()?;
        let result = self.link.write_report(report);
        self.explain(result)
    }

    fn read_report(&mut self, timeout: Duration) -> Result<Option<[u8; REPORT_LEN]>, LinkError> {
        let begun = Instant::now();
        loop {
            self.here()?;
            let left = timeout.saturating_sub(begun.elapsed());
            let result = self.link.read_report(left.min(SLICE));
            match self.explain(result)? {
                Some(report) => return Ok(Some(report)),
                None if left <= SLICE => return Ok(None),
                None => {}
            }
        }
    }
}

impl CardLink for Attended<Box<dyn CardLink>> {
    fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, LinkError> {
        self.here()?;
        let result = self.link.transmit(command);
        self.explain(result)
    }

    fn atr(&self) -> &[u8] {
        self.link.atr()
    }
}
