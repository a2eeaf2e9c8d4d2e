//! One lane for each physical device: a thread that runs jobs one after the other, callers by turns.
//!
//! Some calls below us cannot be interrupted. The lane's thread may then be stuck, but never its callers: at a job's
//! deadline plus [`Deadlines::grace`] the caller is answered, the device is declared unresponsive and its thread is left
//! behind (*quarantined*). [`Wards`] counts such threads and caps them.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::handle::{DeviceInfo, DeviceState};
use super::identify::{self, Identity};
use super::identity::Facts;
use super::session::{Attached, Session};
use super::wards::Wards;
use super::{Deadlines, DeviceError};
use crate::link::Face;
use crate::types::{Cancel, DeviceEvent, DeviceId, time_left};

/// Jobs that may wait for one device. Who comes then is told that it is busy: a queue without end starves those at its end.
const MAX_WAITING: usize = 64;
/// Jobs of one caller that may wait, so that nobody takes all the places.
const MAX_OF_ONE: usize = 16;

/// Whose a job is: a uid, or the daemon itself.
pub(super) type Caller = Option<u32>;

/// Hands the result to the caller; called after the lane has put its own books in order.
pub(super) type Deliver = Box<dyn FnOnce() + Send>;
/// One job, bound to who waits for it.
pub(super) type Work = Box<dyn FnOnce(Result<&mut Session, DeviceError>) -> Deliver + Send>;

struct Job {
    ticket: u64,
    caller: Caller,
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
    /// Turns so far, and when each caller that still waits had its last.
    turns: u64,
    served: HashMap<Caller, u64>,
    /// Ticket and cancel flag of the job that runs.
    running: Option<(u64, Cancel)>,
    /// The thread was given up and counts as a ward.
    given_up: bool,
}

impl Queue {
    /// The next job: of the caller whose last turn is longest ago, the one that came first. So each caller waits for one job of
    /// every other at most.
    fn take_turn(&mut self) -> Option<Job> {
        let turn = |(at, job): &(usize, &Job)| (self.served.get(&job.caller).copied().unwrap_or(0), *at);
        let (at, _) = self.waiting.iter().enumerate().min_by_key(turn)?;
        let job = self.waiting.remove(at)?;
        self.turns += 1;
        self.served.insert(job.caller, self.turns);
        let waiting = &self.waiting;
        self.served
            .retain(|caller, _| *caller == job.caller || waiting.iter().any(|job| job.caller == *caller));
        Some(job)
    }
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
    /// What it told of itself, once it was asked. Forgotten when its faces change.
    facts: Mutex<Option<Facts>>,
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
                turns: 0,
                served: HashMap::new(),
                running: None,
                given_up: false,
            }),
            wake: Condvar::new(),
            attached: Mutex::new(vec![first]),
            identity: Mutex::new(identity),
            facts: Mutex::new(None),
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

    pub(super) fn id(&self) -> DeviceId {
        self.id
    }

    /// How long a job may take to end after its deadline.
    pub(super) fn grace(&self) -> Duration {
        self.deadlines.grace
    }

    /// True once the device is gone.
    pub(super) fn watch_removal(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
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

    /// The device as it is now.
    pub(super) fn info(&self) -> DeviceInfo {
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

    /// Puts a job behind those of the same caller that wait.
    pub(super) fn enqueue(
        &self,
        caller: Caller,
        deadline: Instant,
        cancel: Cancel,
        work: Work,
    ) -> Result<u64, DeviceError> {
        let mut queue = self.queue();
        if let Some(refusal) = queue.fate.refusal() {
            return Err(refusal);
        }
        let own = queue.waiting.iter().filter(|job| job.caller == caller).count();
        if queue.waiting.len() >= MAX_WAITING || own >= MAX_OF_ONE {
            return Err(DeviceError::Busy(None));
        }
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.waiting.push_back(Job {
            ticket,
            caller,
            deadline,
            cancel,
            work,
        });
        drop(queue);
        self.wake.notify_one();
        Ok(ticket)
    }

    /// Whether a job has not begun.
    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.queue().waiting.iter().any(|job| job.ticket == ticket)
    }

    /// Takes a job that has not begun out of the queue; false when it has.
    pub(super) fn withdraw(&self, ticket: u64) -> bool {
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
    pub(super) fn quarantine(&self, ticket: u64) -> Option<DeviceError> {
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

    /// What the device told of itself, if it was asked.
    pub(super) fn facts(&self) -> Option<Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what the device told.
    pub(super) fn learn(&self, facts: Option<Facts>) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    fn describe_anew(&self) {
        // Another face may tell more.
        self.learn(None);
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
    pub(super) async fn over(&self, ticket: u64) {
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
            match queue.take_turn() {
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
