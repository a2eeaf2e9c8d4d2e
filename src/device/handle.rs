//! What the rooms above hold of a device: a handle that runs jobs on the device's [`Lane`] and waits for their answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::DeviceError;
use super::identity::Facts;
use super::lane::{Lane, Work};
use super::session::Session;
use crate::link::{FaceKind, UsbIds};
use crate::types::{Cancel, DeviceId, Reality, time_left};

/// How often a job that waits for its turn looks at its cancel flag.
const QUEUE_GLANCE: Duration = Duration::from_millis(100);

/// Whether a device takes jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// Nothing runs.
    Ready,
    /// A job runs; others queue behind it.
    Busy,
    /// Stuck in a call that cannot be interrupted; only unplugging helps.
    Unresponsive,
}

/// A device as it was a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number since the daemon started.
    pub id: DeviceId,
    /// Product name.
    pub name: String,
    /// Where a person finds it.
    pub place: String,
    /// USB ids, when there is a USB device behind it.
    pub usb: Option<UsbIds>,
    /// Serial as the device tells it. Names a person's key: only guarded methods may pass it on.
    pub serial: Option<String>,
    /// Matter or not.
    pub reality: Reality,
    /// True when it lies on a contactless reader.
    pub contactless: bool,
    /// What it can speak.
    pub faces: Vec<FaceKind>,
    /// Whether it takes jobs.
    pub state: DeviceState,
}

/// A plugged-in device. Cheap to clone; outlives the device, whose jobs then fail with [`DeviceError::Gone`].
#[derive(Clone)]
pub struct DeviceHandle {
    lane: Arc<Lane>,
}

impl std::fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceHandle({})", self.lane.id())
    }
}

impl DeviceHandle {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        Self { lane }
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// The device's number.
    #[must_use]
    pub fn id(&self) -> DeviceId {
        self.lane.id()
    }

    /// What is known about the device now.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        self.lane.info()
    }

    /// What the device told of itself, as far as it was asked: at least what USB tells.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.lane.facts().unwrap_or_else(|| Facts::of(&self.info()))
    }

    /// Whether it was asked.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.lane.facts().is_some()
    }

    /// Keeps what the device told, until its faces change.
    pub fn learn(&self, facts: Facts) {
        self.lane.learn(Some(facts));
    }

    /// As [`DeviceHandle::run_for`], for the daemon itself.
    ///
    /// # Errors
    /// As there.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        cancel: Cancel,
        job: impl FnOnce(&mut Session) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        self.run_for(None, deadline, cancel, job).await
    }

    /// Runs `job` on the device's own thread when it is its turn, and waits for its result. Jobs of one `caller`, a uid, run in the order
    /// in which they came; callers take turns.
    ///
    /// The answer comes at the latest at `deadline` plus [`Deadlines::grace`], whatever the job does. A job that has not
    /// begun by its deadline never begins. When the returned future is dropped, `cancel` is raised.
    ///
    /// # Errors
    /// The job's own; [`DeviceError::Cancelled`] or [`DeviceError::Deadline`] when it never began;
    /// [`DeviceError::Unresponsive`] when it did not come back; [`DeviceError::Gone`] when the device was removed.
    pub async fn run_for<T: Send + 'static>(
        &self,
        caller: Option<u32>,
        deadline: Instant,
        cancel: Cancel,
        job: impl FnOnce(&mut Session) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        let (send, receive) = oneshot::channel();
        let work: Work = Box::new(move |session| {
            let result = session.and_then(job);
            Box::new(move || drop(send.send(result)))
        });
        let ticket = self.lane.enqueue(caller, deadline, cancel.clone(), work)?;
        let mut leash = Leash {
            lane: Arc::clone(&self.lane),
            ticket,
            deadline,
            cancel,
            done: false,
        };
        let result = leash.hold(receive).await;
        leash.done = true;
        result
    }
}

/// Ties a job to the future that waits for it.
struct Leash {
    lane: Arc<Lane>,
    ticket: u64,
    deadline: Instant,
    cancel: Cancel,
    done: bool,
}

impl Leash {
    async fn hold<T>(&mut self, mut receive: oneshot::Receiver<Result<T, DeviceError>>) -> Result<T, DeviceError> {
        let lane = Arc::clone(&self.lane);
        let mut gone = lane.watch_removal();
        // The lane drops the sender without an answer only when the job panicked.
        let broke_off = |_| Err(DeviceError::Protocol("the operation broke off"));
        let mut in_queue = true;
        loop {
            let left = time_left(self.deadline);
            let nap = if in_queue { left.min(QUEUE_GLANCE) } else { left };
            tokio::select! {
                biased;
                answer = &mut receive => return answer.unwrap_or_else(broke_off),
                _ = gone.wait_for(|gone| *gone) => break,
                () = tokio::time::sleep(nap) => {}
            }
            in_queue = lane.is_waiting(self.ticket);
            let late = time_left(self.deadline).is_zero();
            if in_queue && (late || self.cancel.is_cancelled()) && lane.withdraw(self.ticket) {
                return Err(if late {
                    DeviceError::Deadline
                } else {
                    DeviceError::Cancelled
                });
            }
            if late {
                break;
            }
        }
        // Late or removed: the job has the grace to notice.
        if let Ok(answer) = tokio::time::timeout(lane.grace(), &mut receive).await {
            return answer.unwrap_or_else(broke_off);
        }
        match lane.quarantine(self.ticket) {
            Some(error) => Err(error),
            None => receive.await.unwrap_or_else(broke_off),
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.cancel.cancel();
        if self.lane.withdraw(self.ticket) {
            return;
        }
        // Nobody waits for the running job any more, but somebody must notice if it never ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (lane, ticket) = (Arc::clone(&self.lane), self.ticket);
            let end = time_left(self.deadline).saturating_add(lane.grace());
            runtime.spawn(async move {
                if tokio::time::timeout(end, lane.over(ticket)).await.is_err() {
                    lane.quarantine(ticket);
                }
            });
        }
    }
}
