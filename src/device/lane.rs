//! One lane for each physical device: a thread that runs jobs one after the other, in the order they came.
//!
//! Some calls below us cannot be interrupted. The lane's thread may then be stuck, but never its callers: at a job's
//! deadline plus [`Deadlines::grace`] the caller is answered, the device is declared unresponsive and its thread is left
//! behind (*quarantined*). `Wards` counts such threads and caps them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot, watch};

use super::identify::{self, Identity};
use super::session::{Attached, Session};
use super::{Deadlines, DeviceError};
use crate::link::{Face, FaceKind, UsbIds};
use crate::types::{Cancel, DeviceEvent, DeviceId, Reality, time_left};

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
        write!(f, "DeviceHandle({})", self.lane.id)
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
        self.lane.id
    }

    /// What is known about the device now.
    #[must_use]
    pub fn info(&self) -> DeviceInfo {
        self.lane.info()
    }

    /// Runs `job` on the device's own thread after those that came before, and waits for its result.
    ///
    /// The answer comes at the latest at `deadline` plus [`Deadlines::grace`], whatever the job does. A job that has not
    /// begun by its deadline never begins. When the returned future is dropped, `cancel` is raised.
    ///
    /// # Errors
    /// The job's own; [`DeviceError::Cancelled`] or [`DeviceError::Deadline`] when it never began;
    /// [`DeviceError::Unresponsive`] when it did not come back; [`DeviceError::Gone`] when the device was removed.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        cancel: Cancel,
        job: impl FnOnce(&mut Session) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        let (send, receive) = oneshot::channel();
        let work: Work = Box::new(move |session| {
            let result = session.and_then(job);
            Box::new(move || drop(send.send(result)))
        });
        let ticket = self.lane.enqueue(deadline, cancel.clone(), work)?;
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
        let mut gone = lane.gone.subscribe();
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
        if let Ok(answer) = tokio::time::timeout(lane.deadlines.grace, &mut receive).await {
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
            let end = time_left(self.deadline).saturating_add(lane.deadlines.grace);
            runtime.spawn(async move {
                if tokio::time::timeout(end, lane.over(ticket)).await.is_err() {
                    lane.quarantine(ticket);
                }
            });
        }
    }
}

/// Hands the result to the caller; called after the lane has put its own books in order.
type Deliver = Box<dyn FnOnce() + Send>;
type Work = Box<dyn FnOnce(Result<&mut Session, DeviceError>) -> Deliver + Send>;

struct Job {
    ticket: u64,
    deadline: Instant,
    cancel: Cancel,
    work: Work,
}

/// Whether the lane takes jobs, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Closing,
    Unresponsive,
    Gone,
}

impl Fate {
    fn refusal(self) -> Option<DeviceError> {
        match self {
            Self::Open => None,
            Self::Closing => Some(DeviceError::Cancelled),
            Self::Unresponsive => Some(DeviceError::Unresponsive),
            Self::Gone => Some(DeviceError::Gone),
        }
    }
}

struct Queue {
    fate: Fate,
    next_ticket: u64,
    waiting: VecDeque<Job>,
    /// Ticket and cancel flag of the job that runs.
    running: Option<(u64, Cancel)>,
    /// The thread was given up and counts as a ward.
    given_up: bool,
}

/// One device's queue, faces and thread.
pub(super) struct Lane {
    id: DeviceId,
    deadlines: Deadlines,
    queue: Mutex<Queue>,
    wake: Condvar,
    attached: Mutex<Vec<Attached>>,
    /// The last description, kept for handles that outlive the device.
    identity: Mutex<Identity>,
    gone: watch::Sender<bool>,
    /// Sounded when a job begins, ends or is given up. It carries nothing: what is true is in the queue, under its lock.
    turn: watch::Sender<()>,
    events: broadcast::Sender<DeviceEvent>,
    wards: Arc<Wards>,
}

/// What all lanes of one registry share.
pub(super) struct Shared {
    pub(super) deadlines: Deadlines,
    pub(super) events: broadcast::Sender<DeviceEvent>,
    pub(super) wards: Arc<Wards>,
}

impl Lane {
    /// Starts the thread of a new device.
    pub(super) fn start(id: DeviceId, first: Attached, shared: &Shared) -> std::io::Result<Arc<Self>> {
        let identity = identify::describe(std::slice::from_ref(&first.face))
            .ok_or_else(|| std::io::Error::other("a device without a face"))?;
        let lane = Arc::new(Self {
            id,
            deadlines: shared.deadlines,
            queue: Mutex::new(Queue {
                fate: Fate::Open,
                next_ticket: 0,
                waiting: VecDeque::new(),
                running: None,
                given_up: false,
            }),
            wake: Condvar::new(),
            attached: Mutex::new(vec![first]),
            identity: Mutex::new(identity),
            gone: watch::Sender::new(false),
            turn: watch::Sender::new(()),
            events: shared.events.clone(),
            wards: Arc::clone(&shared.wards),
        });
        let own = Arc::clone(&lane);
        std::thread::Builder::new()
            .name(format!("lane-{id}"))
            .spawn(move || own.serve())?;
        Ok(lane)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attached(&self) -> MutexGuard<'_, Vec<Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: DeviceEvent) {
        // No receiver is not an error: nobody watches.
        let _ = self.events.send(event);
    }

    fn info(&self) -> DeviceInfo {
        let state = {
            let queue = self.queue();
            match (queue.fate, &queue.running) {
                (Fate::Unresponsive, _) => DeviceState::Unresponsive,
                (_, Some(_)) => DeviceState::Busy,
                (_, None) => DeviceState::Ready,
            }
        };
        let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone();
        DeviceInfo {
            id: self.id,
            name: identity.name,
            place: identity.place,
            usb: identity.usb,
            serial: identity.serial,
            reality: identity.reality,
            contactless: identity.contactless,
            faces: identity.faces,
            state,
        }
    }

    fn enqueue(&self, deadline: Instant, cancel: Cancel, work: Work) -> Result<u64, DeviceError> {
        let mut queue = self.queue();
        if let Some(refusal) = queue.fate.refusal() {
            return Err(refusal);
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Job {
            ticket,
            deadline,
            cancel,
            work,
        });
        drop(queue);
        self.wake.notify_one();
        Ok(ticket)
    }

    fn is_waiting(&self, ticket: u64) -> bool {
        self.queue().waiting.iter().any(|job| job.ticket == ticket)
    }

    /// Takes a job that has not begun out of the queue; false when it has.
    fn withdraw(&self, ticket: u64) -> bool {
        let mut queue = self.queue();
        let Some(at) = queue.waiting.iter().position(|job| job.ticket == ticket) else {
            return false;
        };
        let job = queue.waiting.remove(at);
        drop(queue);
        // What the job owns is dropped outside the lock.
        drop(job);
        true
    }

    /// Gives the thread up that still runs `ticket`, and says why; `None` when the job has just ended after all.
    fn quarantine(&self, ticket: u64) -> Option<DeviceError> {
        let mut queue = self.queue();
        match &queue.running {
            Some((running, cancel)) if *running == ticket => cancel.cancel(),
            _ => return None,
        }
        if !queue.given_up {
            queue.given_up = true;
            self.wards.admit();
            tracing::error!(device = %self.id, stuck = self.wards.count(), "a call to the device did not return; its thread was left behind");
        }
        let error = if queue.fate == Fate::Gone {
            DeviceError::Gone
        } else {
            queue.fate = Fate::Unresponsive;
            DeviceError::Unresponsive
        };
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.turn.send_replace(());
        refuse(waiting, &error);
        if error == DeviceError::Unresponsive {
            self.tell(DeviceEvent::State(self.id));
        }
        Some(error)
    }

    /// Another face of the same body was found.
    pub(super) fn attach(&self, one: Attached) {
        self.attached().push(one);
        self.describe_anew();
        self.tell(DeviceEvent::Faces(self.id));
    }

    /// The face with this key left; true when it was the last one. `None` when the device has no such face.
    pub(super) fn detach(&self, key: &str) -> Option<bool> {
        let mut attached = self.attached();
        let at = attached.iter().position(|one| one.face.key == key)?;
        attached.remove(at).gone.store(true, Ordering::SeqCst);
        let last = attached.is_empty();
        drop(attached);
        if !last {
            self.describe_anew();
            self.tell(DeviceEvent::Faces(self.id));
        }
        Some(last)
    }

    /// Whether `face` belongs to this device.
    pub(super) fn has_body_of(&self, face: &Face) -> bool {
        self.attached().iter().any(|one| identify::same_body(&one.face, face))
    }

    fn describe_anew(&self) {
        let faces: Vec<Face> = self.attached().iter().map(|one| one.face.clone()).collect();
        if let Some(identity) = identify::describe(&faces) {
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        }
    }

    /// The device is gone: what waits is answered, what runs finds its links dead, the thread ends.
    pub(super) fn remove(&self) {
        self.end(Fate::Gone, &DeviceError::Gone);
        self.gone.send_replace(true);
        self.tell(DeviceEvent::Left(self.id));
    }

    /// The daemon ends: what waits is cancelled, what runs may finish.
    pub(super) fn close(&self) {
        self.end(Fate::Closing, &DeviceError::Cancelled);
    }

    fn end(&self, fate: Fate, error: &DeviceError) {
        let mut queue = self.queue();
        queue.fate = fate;
        let waiting = std::mem::take(&mut queue.waiting);
        drop(queue);
        self.wake.notify_one();
        refuse(waiting, error);
    }

    /// Raises the cancel flag of the running job.
    pub(super) fn cancel_running(&self) {
        if let Some((_, cancel)) = &self.queue().running {
            cancel.cancel();
        }
    }

    /// Waits until no job runs, or the running one was given up.
    pub(super) async fn idle(&self) {
        self.until(|queue| queue.running.is_none() || queue.given_up).await;
    }

    /// Waits until the job with this ticket no longer runs.
    async fn over(&self, ticket: u64) {
        self.until(|queue| queue.running.as_ref().is_none_or(|(running, _)| *running != ticket))
            .await;
    }

    /// Waits until something is true of the queue. Whoever makes it true sounds `turn` after letting go of the lock.
    async fn until(&self, reached: impl Fn(&Queue) -> bool) {
        // An error would mean that the lane is gone, but we hold it.
        let _ = self.turn.subscribe().wait_for(|()| reached(&self.queue())).await;
    }

    fn serve(&self) {
        while let Some(job) = self.next() {
            let attached = self.attached().clone();
            let mut session = Session::new(attached, job.deadline, job.cancel.clone(), self.deadlines);
            let begin = if job.cancel.is_cancelled() {
                Err(DeviceError::Cancelled)
            } else if time_left(job.deadline).is_zero() {
                Err(DeviceError::Deadline)
            } else {
                Ok(&mut session)
            };
            // The rooms above are written not to panic; if one does, its caller learns it and the device lives on.
            let deliver = catch_unwind(AssertUnwindSafe(|| (job.work)(begin)));
            self.finish();
            match deliver {
                Ok(deliver) => deliver(),
                Err(_) => tracing::error!(device = %self.id, "a job panicked"),
            }
        }
    }

    /// Sleeps until there is a job; `None` when the lane has ended.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue();
        let job = loop {
            if queue.fate != Fate::Open {
                return None;
            }
            match queue.waiting.pop_front() {
                Some(job) => break job,
                None => queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        queue.running = Some((job.ticket, job.cancel.clone()));
        drop(queue);
        self.turn.send_replace(());
        self.tell(DeviceEvent::State(self.id));
        Some(job)
    }

    fn finish(&self) {
        let mut queue = self.queue();
        queue.running = None;
        let (given_up, fate) = (queue.given_up, queue.fate);
        drop(queue);
        self.turn.send_replace(());
        if given_up {
            tracing::info!(device = %self.id, "the call that was stuck came back");
            self.wards.release();
        } else if fate != Fate::Gone {
            self.tell(DeviceEvent::State(self.id));
        }
    }
}

fn refuse(jobs: VecDeque<Job>, error: &DeviceError) {
    for job in jobs {
        (job.work)(Err(error.clone()))();
    }
}

/// Counts the threads that were left behind, and caps them.
pub(super) struct Wards {
    count: AtomicUsize,
    cap: usize,
    freed: Box<dyn Fn() + Send + Sync>,
    told: AtomicBool,
}

impl Wards {
    /// At most `cap` threads may be stuck at a time; `freed` is called when one came back.
    pub(super) fn new(cap: usize, freed: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            count: AtomicUsize::new(0),
            cap,
            freed: Box::new(freed),
            told: AtomicBool::new(false),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether another device may be taken on. Says it in the log once for each time the cap is reached.
    pub(super) fn has_room(&self) -> bool {
        let room = self.count() < self.cap;
        if room {
            self.told.store(false, Ordering::SeqCst);
        } else if !self.told.swap(true, Ordering::SeqCst) {
            tracing::error!(
                stuck = self.count(),
                "too many devices are stuck: new devices are refused until one of the stuck calls returns; unplug the \
                 unresponsive devices, then restart the daemon if that does not help"
            );
        }
        room
    }

    fn admit(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn release(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        (self.freed)();
    }
}
