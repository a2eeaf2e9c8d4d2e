//! `org.claviger.Operation1`, and how operations come, are followed and go.
//!
//! One task follows each operation: it tells the owner alone how it goes, cancels it when the owner leaves the bus, and takes
//! the object away when its time is up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::object_server::{ResponseDispatchListener, ResponseDispatchNotifier, SignalEmitter};
use zbus::{Connection, ObjectPath, OwnedObjectPath, interface};

use super::error::{BusError, Failure};
use super::values::{Dict, Put, path_of};
use crate::contract::OPERATIONS_PATH;
use crate::contract::error::ErrorName;
use crate::grant::Grant;
use crate::guard::{CallerWatch, Denied, Guard};
use crate::lifecycle::operation::{Details, Hint, Operation, Outcome, Phase, UserAction, View};
use crate::types::Worth;
use crate::types::shown::without_serial;

/// How many operations there may be, and how long a result stays.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Operations one user may have under way, over all of that user's connections.
    pub per_caller: usize,
    /// Operations under way in all.
    pub in_all: usize,
    /// Objects in all, results that are still readable included.
    pub objects: usize,
    /// How long a result stays readable.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_caller: 32,
            in_all: 256,
            objects: 4096,
            linger: Duration::from_secs(60),
        }
    }
}

/// The path of a new operation, sent before its first signal.
pub(super) type Accepted = ResponseDispatchNotifier<OwnedObjectPath>;

/// Operations under way by caller, and objects in all. Kept in a watch channel, so that the end of the last one can be
/// waited for.
#[derive(Default)]
struct Counts {
    open: HashMap<u32, usize>,
    objects: usize,
}

impl Counts {
    fn open(&self) -> usize {
        self.open.values().sum()
    }
}

/// All operations.
#[derive(Clone)]
pub(super) struct Operations {
    connection: Connection,
    guard: Arc<Guard>,
    limits: Limits,
    counts: Arc<watch::Sender<Counts>>,
}

impl Operations {
    pub(super) fn new(connection: &Connection, guard: Arc<Guard>, limits: Limits) -> Self {
        Self {
            connection: connection.clone(),
            guard,
            limits,
            counts: Arc::default(),
        }
    }

    /// How many are under way.
    pub(super) fn open(&self) -> usize {
        self.counts.borrow().open()
    }

    /// Waits until none is.
    pub(super) async fn drained(&self) {
        // An error would mean that the counts are gone, but we hold them.
        let _ = self.counts.subscribe().wait_for(|counts| counts.open() == 0).await;
    }

    /// Takes a place for one more operation of this caller, and begins to watch whether the caller stays.
    pub(super) async fn reserve(&self, header: &Header<'_>, grant: &Grant) -> Result<Slot, BusError> {
        let owner = header.sender().ok_or(Denied::NoSender)?.to_owned();
        // By uid, so that opening more connections gives nobody more places.
        let uid = grant.caller().ok_or(Denied::NoSender)?.uid;
        let place = Place::take(&self.counts, &self.limits, uid)?;
        let watch = self.guard.attend(&owner).await?;
        Ok(Slot { owner, place, watch })
    }

    /// Shows a started operation and follows it to its end.
    pub(super) async fn show(&self, operation: Arc<Operation>, slot: Slot) -> Result<Accepted, BusError> {
        let internal = |error: zbus::Error| BusError::new(ErrorName::Internal, error.to_string());
        let path = ObjectPath::try_from(format!("{OPERATIONS_PATH}/{}", operation.id.simple())).map_err(internal)?;
        let object = OperationObject {
            operation: Arc::clone(&operation),
            guard: Arc::clone(&self.guard),
        };
        if let Err(error) = self.connection.object_server().at(&path, object).await {
            // It cannot be shown, so it could be neither followed nor cancelled. The bus is as good as gone.
            let _ = operation.cancel();
            return Err(internal(error));
        }
        let (accepted, replied) = ResponseDispatchNotifier::new(OwnedObjectPath::from(path.clone()));
        let follower = Follower {
            operations: self.clone(),
            operation,
            path,
            owner: slot.owner,
            place: slot.place,
            watch: slot.watch,
        };
        tokio::spawn(follower.run(replied));
        Ok(accepted)
    }
}

/// A place taken for an operation that is about to start.
pub(super) struct Slot {
    owner: UniqueName<'static>,
    place: Place,
    watch: CallerWatch,
}

/// One counted operation. Given back when dropped.
struct Place {
    counts: Arc<watch::Sender<Counts>>,
    uid: u32,
    open: bool,
}

impl Place {
    fn take(counts: &Arc<watch::Sender<Counts>>, limits: &Limits, uid: u32) -> Result<Self, BusError> {
        let mut refusal = None;
        counts.send_if_modified(|held| {
            let mine = held.open.get(&uid).copied().unwrap_or_default();
            if mine >= limits.per_caller {
                refusal = Some(format!(
                    "this user has {mine} operations under way: wait until one of them is over"
                ));
            } else if held.open() >= limits.in_all || held.objects >= limits.objects {
                refusal = Some("too many operations are under way in all: try again in a minute".to_owned());
            } else {
                held.open.insert(uid, mine + 1);
                held.objects += 1;
            }
            refusal.is_none()
        });
        match refusal {
            Some(why) => Err(BusError::new(ErrorName::TooManyOperations, why)),
            None => Ok(Self {
                counts: Arc::clone(counts),
                uid,
                open: true,
            }),
        }
    }

    /// The operation is over; only its result stays.
    fn over(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        self.counts.send_modify(|held| {
            if let Some(mine) = held.open.get_mut(&self.uid) {
                *mine = mine.saturating_sub(1);
                if *mine == 0 {
                    held.open.remove(&self.uid);
                }
            }
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.over();
        self.counts
            .send_modify(|held| held.objects = held.objects.saturating_sub(1));
    }
}

/// Follows one operation.
struct Follower {
    operations: Operations,
    operation: Arc<Operation>,
    path: ObjectPath<'static>,
    owner: UniqueName<'static>,
    place: Place,
    watch: CallerWatch,
}

impl Follower {
    async fn run(mut self, replied: ResponseDispatchListener) {
        // The reply with the path goes first, so that the owner knows what the signals are about.
        replied.await;
        let stayed = self.follow().await;
        self.place.over();
        if stayed {
            tokio::select! {
                () = tokio::time::sleep(self.operations.limits.linger) => {}
                () = self.watch.gone() => {}
            }
        }
        let server = self.operations.connection.object_server();
        if let Err(error) = server.remove::<OperationObject, _>(&self.path).await {
            tracing::warn!(%error, path = %self.path, "the object of an operation could not be taken away");
        }
    }

    /// Until it is over. Returns whether the owner is still there.
    async fn follow(&mut self) -> bool {
        let mut changes = self.operation.watch();
        let emitter = SignalEmitter::from_parts(self.operations.connection.clone(), self.path.clone())
            .set_destination(BusName::from(self.owner.clone()));
        let mut told = None;
        let mut stayed = true;
        loop {
            let last = is_last(&changes);
            let view = changes.borrow_and_update().clone();
            let ended = ended(&view, last);
            let over = ended.is_some();
            if stayed {
                let sent = match ended {
                    Some((outcome, details)) => OperationObject::completed(&emitter, outcome, details).await,
                    None => progressed(&emitter, &view, &mut told).await,
                };
                if let Err(error) = sent {
                    tracing::warn!(%error, "a signal to an operation's owner could not be sent");
                }
            }
            if over {
                return stayed;
            }
            tokio::select! {
                // An error means that the verb ended without an outcome; the next turn tells.
                _ = changes.changed() => {}
                () = self.watch.gone(), if stayed => {
                    stayed = false;
                    tracing::info!(operation = %self.operation.id, "its caller left the bus: the operation is cancelled");
                    let _ = self.operation.cancel();
                }
            }
        }
    }
}

/// Whether the verb is gone, so that what is read after this call is its last word. Asked before reading: a verb may say its
/// outcome and go between the two, and must not be taken for one that went without a word.
fn is_last(changes: &watch::Receiver<View>) -> bool {
    changes.has_changed().is_err()
}

/// Outcome and details, when it is over. A verb that vanished without a word is a fault of ours and said to be one.
fn ended(view: &View, last: bool) -> Option<(&'static str, Dict)> {
    match &view.outcome {
        Some(outcome) => Some(tell(outcome)),
        None if last => Some(("refused", vanished().details())),
        None => None,
    }
}

fn vanished() -> Failure {
    Failure::new(
        ErrorName::Internal,
        "the operation ended without a result; see the daemon's log, and look at the token before trying again",
    )
}

type Told = Option<(Phase, u8, Option<UserAction>)>;

/// Tells the owner, unless nothing that is told has changed.
async fn progressed(emitter: &SignalEmitter<'_>, view: &View, told: &mut Told) -> zbus::Result<()> {
    let now = (view.phase, view.progress, view.user_action.clone());
    if told.as_ref() == Some(&now) {
        return Ok(());
    }
    let action = user_action(view.user_action.as_ref());
    *told = Some(now);
    OperationObject::progressed(emitter, view.phase.as_str(), u32::from(view.progress), action).await
}

fn user_action(action: Option<&UserAction>) -> Dict {
    let mut shown = Dict::new();
    let Some(action) = action else { return shown };
    shown.put("kind", action.kind.as_str());
    if let Ok(path) = path_of(action.device) {
        shown.put("device", path);
    }
    shown.put("name", without_serial(&action.name, None));
    shown.put("place", without_serial(&action.place, None));
    shown.put("until-ms", action.until.0);
    shown.put_some("tries-left", action.tries_left.map(u32::from));
    match action.hint {
        Some(Hint::Hold { seconds }) => shown.put("hold-s", seconds),
        Some(Hint::Sample { left, last }) => {
            shown.put_some("samples-left", left.map(u32::from));
            shown.put_some("sample", last);
        }
        None => {}
    }
    shown
}

fn tell(outcome: &Outcome) -> (&'static str, Dict) {
    match outcome {
        Outcome::Done(details) => ("done", facts(details)),
        Outcome::Obliged(details) => ("obliged", facts(details)),
        Outcome::Refused(refusal) => ("refused", Failure::from(refusal).details()),
        Outcome::Cancelled => ("cancelled", Dict::new()),
    }
}

fn facts(details: &Details) -> Dict {
    // Taken apart by name, so that a new detail does not compile until it is told.
    let Details {
        token,
        obligation,
        replaced,
        sign_count,
        pin_set,
        attestation,
        attested_model,
        oath_name,
        offset_s,
        counter,
        shift_s,
        offset_before_s,
        skipped,
        import,
        exported,
        left_out,
        trusted_by,
        unsettled,
        fido,
    } = details;
    let mut told = Dict::new();
    told.put_some("token", token.map(|id| id.to_string()));
    told.put_some("obligation", obligation.map(|id| id.to_string()));
    told.put_some("replaced", replaced.map(|id| id.to_string()));
    told.put_some("sign-count", *sign_count);
    told.put_some("pin-set", *pin_set);
    told.put_some("attestation", attestation.map(Worth::as_str));
    told.put_some("attested-model", attested_model.clone());
    told.put_some("oath-name", oath_name.clone());
    told.put_some("offset-s", *offset_s);
    told.put_some("counter", *counter);
    told.put_some("shift-s", *shift_s);
    told.put_some("offset-before-s", *offset_before_s);
    told.put_some("skipped", *skipped);
    if let Some(import) = import {
        told.put("format", import.format);
        told.put("imported", import.imported);
        told.put("rejected", import.rejected);
        told.put("rejected-lines", import.rejected_lines.clone());
        told.put("protection", import.protection.as_str());
    }
    told.put_some("exported", *exported);
    told.put_some("left-out", *left_out);
    if let Some(report) = fido {
        super::fido::tell(report, &mut told);
    }
    if !trusted_by.is_empty() {
        told.put("trusted-by", trusted_by.clone());
    }
    if let Some(refusal) = unsettled {
        told.extend(Failure::from(refusal.as_ref()).details());
    }
    told
}

/// One run of one verb, on the bus.
pub(super) struct OperationObject {
    operation: Arc<Operation>,
    guard: Arc<Guard>,
}

impl OperationObject {
    fn admit(&self, header: &Header<'_>) -> Result<(), BusError> {
        Ok(self.guard.owner(header, self.operation.owner.as_deref())?)
    }
}

#[interface(name = "org.claviger.Operation1")]
impl OperationObject {
    /// register, test, resync, suspend, lost, resume, revoke, discharge, import, assign, export, set-clock, configure, erase, inspect.
    #[zbus(property(emits_changed_signal = "const"))]
    fn verb(&self) -> &str {
        self.operation.verb.as_str()
    }

    /// What it is doing: queued, identifying, pin, creating, proving, writing, committing, deleting, resetting, done.
    #[zbus(property(emits_changed_signal = "false"))]
    fn phase(&self) -> &str {
        self.operation.view().phase.as_str()
    }

    /// Percent, 0 to 100; never goes down.
    #[zbus(property(emits_changed_signal = "false"))]
    fn progress(&self) -> u32 {
        u32::from(self.operation.view().progress)
    }

    /// Whether Cancel still has an effect: false from the point of no return on.
    #[zbus(property(emits_changed_signal = "false"))]
    fn cancellable(&self) -> bool {
        self.operation.view().cancellable
    }

    /// What a person must do now; empty when nothing. kind (s: touch, replug, present, finger), device (o), name, place (s),
    /// until-ms (x, Unix time), tries-left (u), hold-s (u: keep the finger there so long), samples-left (u), sample (s: how the
    /// last sample of a finger came out).
    #[zbus(property(emits_changed_signal = "false"))]
    fn user_action(&self) -> Dict {
        user_action(self.operation.view().user_action.as_ref())
    }

    /// Ends the operation if it has not passed its point of no return; Completed follows. Error: TooLate.
    async fn cancel(&self, #[zbus(header)] header: Header<'_>) -> Result<(), BusError> {
        self.admit(&header)?;
        Ok(self.operation.cancel()?)
    }

    /// The result again, for a minute after Completed. Error: NotCompleted.
    /// outcome: `done`, `refused` (the device or the ledger said no; details have error and message), `cancelled`,
    /// `obliged` (done as far as it can be now; details have obligation).
    #[zbus(out_args("outcome", "details"))]
    async fn result(&self, #[zbus(header)] header: Header<'_>) -> Result<(String, Dict), BusError> {
        self.admit(&header)?;
        let changes = self.operation.watch();
        let last = is_last(&changes);
        let view = changes.borrow().clone();
        match ended(&view, last) {
            Some((outcome, details)) => Ok((outcome.to_owned(), details)),
            None => Err(BusError::new(
                ErrorName::NotCompleted,
                format!(
                    "the operation is not over yet ({}): wait for Completed",
                    view.phase.as_str()
                ),
            )),
        }
    }

    /// Phase, progress or what a person must do has changed. To the owner alone.
    #[zbus(signal)]
    async fn progressed(emitter: &SignalEmitter<'_>, phase: &str, progress: u32, user_action: Dict)
    -> zbus::Result<()>;

    /// It is over. To the owner alone. details of a refusal: error (s, an error name), message (s, a sentence for the help
    /// desk), tries-left (u), holder-pid (u), holder (s) as far as they apply.
    #[zbus(signal)]
    async fn completed(emitter: &SignalEmitter<'_>, outcome: &str, details: Dict) -> zbus::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_user_and_in_all() {
        let counts = Arc::new(watch::channel(Counts::default()).0);
        let limits = Limits {
            per_caller: 2,
            in_all: 3,
            ..Limits::default()
        };
        let take = |uid| Place::take(&counts, &limits, uid);
        let first = [take(1000).unwrap(), take(1000).unwrap()];
        assert!(take(1000).is_err(), "two for each user");
        let other = take(1001).unwrap();
        assert!(take(1002).is_err(), "three in all");
        drop(other);
        let third = take(1002).unwrap();
        drop((first, third));
        assert_eq!(counts.borrow().open(), 0);
    }
}
