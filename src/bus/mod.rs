//! Thin D-Bus objects: they measure what comes in, have the guard admit it, hand it to the verbs and show how it goes.
//!
//! What holds for all of them:
//! - Properties, broadcast signals, object paths and introspection carry neither person nor serial: `GetManagedObjects` reads
//!   properties without a caller to ask about. What names a person or a serial is answered by guarded methods alone.
//! - Every method takes `&self`, for `&mut self` would hold the object's lock while a person types a password.
//! - Syntax is checked before polkit is asked (no dialog for a call that cannot succeed); whether something *exists* is looked
//!   up after, so that those who may not look learn nothing.

mod bypasses;
mod call;
mod cases;
mod device;
mod drift;
mod error;
mod fido;
mod filter;
mod manager;
mod operation;
mod record;
mod sealed;
mod secret_fd;
mod secret_out;
mod subjects;
mod tokens;
mod values;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use zbus::Connection;
use zbus::fdo::{ObjectManager, RequestNameFlags, RequestNameReply};

use self::bypasses::Bypasses;
use self::cases::Cases;
use self::device::Devices;
use self::drift::Clocks;
pub use self::error::{BusError, Failure};
use self::manager::Manager;
pub use self::operation::Limits;
use self::operation::Operations;
use self::subjects::Subjects;
use self::tokens::Tokens;
use self::verify::Verify;
use crate::contract::error::ErrorName;
use crate::contract::{
    BUS_NAME, BYPASSES_PATH, CASES_PATH, DRIFT_PATH, ROOT_PATH, SUBJECTS_PATH, TOKENS_PATH, VERIFY_PATH,
};
use crate::grant::Grant;
use crate::guard::Guard;
use crate::ledger::{CaseRecord, Frozen, Intent, Ledger, TokenRecord};
use crate::lifecycle::alarms::{Consequence, Raised};
use crate::lifecycle::bypass::{BypassNews, BypassTerms, BypassWish};
use crate::lifecycle::drift::Drift;
use crate::lifecycle::operation::Operation;
pub use crate::lifecycle::subjects::{Coverage, SubjectStatus};
pub use crate::lifecycle::verify::{AccountStanding, Verified};
use crate::lifecycle::{Delivery, Refusal, Request};
pub use crate::lifecycle::{Description, OathCredential, PinStatus, Status};
pub use crate::types::DeviceEvent;
use crate::types::{CaseId, DeviceId, ObligationId, Reality, Secret, TokenId};

/// What the objects need of the daemon behind them.
#[async_trait]
pub trait Verbs: Send + Sync + 'static {
    /// Starts a verb in the background and returns at once. The verb checks the grant where it uses it.
    ///
    /// # Errors
    /// What is known before anything is done.
    fn start(self: Arc<Self>, grant: Grant, request: Request) -> Result<Arc<Operation>, Refusal>;

    /// Asks a device what it is. Ends by its own deadline.
    ///
    /// # Errors
    /// The device's, or [`Refusal::UnknownDevice`].
    async fn describe(&self, grant: &Grant, device: DeviceId) -> Result<Description, Refusal>;

    /// Judges a code for a person.
    ///
    /// # Errors
    /// As `lifecycle::verify::verify`.
    async fn verify(&self, grant: &Grant, subject: &str, code: &Secret, real_only: bool) -> Result<Verified, Refusal>;

    /// How a person's account stands.
    ///
    /// # Errors
    /// Storage.
    async fn standing(&self, grant: &Grant, subject: &str) -> Result<AccountStanding, Refusal>;

    /// Lifts the locks on a person's account.
    ///
    /// # Errors
    /// As `lifecycle::verify::unlock`.
    async fn unlock(&self, grant: &Grant, subject: &str) -> Result<(), Refusal>;

    /// Issues the bypass of a case.
    ///
    /// # Errors
    /// As `Lifecycle::issue_bypass`.
    async fn issue_bypass(
        &self,
        grant: &Grant,
        subject: &str,
        wish: BypassWish,
        code: Delivery,
    ) -> Result<BypassTerms, Refusal>;

    /// Ends the bypass of a case.
    ///
    /// # Errors
    /// As `Lifecycle::end_bypass`.
    async fn end_bypass(&self, grant: &Grant, case: CaseId) -> Result<(), Refusal>;

    /// What becomes of bypasses.
    fn bypass_news(&self) -> broadcast::Receiver<BypassNews>;

    /// What is required of a person.
    ///
    /// # Errors
    /// The directory's; storage.
    async fn enforcement_for(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal>;

    /// Says “later” for a person.
    ///
    /// # Errors
    /// As `Lifecycle::defer`.
    async fn defer(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal>;

    /// Who a person is and how far they have come.
    ///
    /// # Errors
    /// The directory's; storage.
    async fn subject_status(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal>;

    /// How everybody has come along.
    ///
    /// # Errors
    /// The directory's; storage.
    async fn coverage(&self, grant: &Grant) -> Result<Coverage, Refusal>;

    /// What is on a device's OATH applet. Ends by its own deadline.
    ///
    /// # Errors
    /// The device's, or [`Refusal::UnknownDevice`].
    async fn oath_credentials(
        &self,
        grant: &Grant,
        device: DeviceId,
        password: Option<Secret>,
    ) -> Result<Vec<OathCredential>, Refusal>;

    /// How the PIN of a key stands. Ends by its own deadline.
    ///
    /// # Errors
    /// The device's, or [`Refusal::UnknownDevice`].
    async fn pin_status(&self, grant: &Grant, device: DeviceId) -> Result<PinStatus, Refusal>;
    /// Alarms before an entry of the journal, the newest first.
    ///
    /// # Errors
    /// Storage.
    async fn alarms_before(&self, grant: &Grant, before: u64, limit: u32) -> Result<Vec<Raised>, Refusal>;

    /// Operators whose authority is frozen.
    ///
    /// # Errors
    /// Storage.
    async fn frozen(&self, grant: &Grant) -> Result<Vec<Frozen>, Refusal>;

    /// Gives an operator their authority back.
    ///
    /// # Errors
    /// As `Lifecycle::thaw`.
    async fn thaw(&self, grant: &Grant, operator: u32) -> Result<(), Refusal>;

    /// A second person said no in a case that this operator opened.
    async fn was_denied(&self, operator: u32, subject: Option<String>);

    /// Alarms, as they are raised.
    fn alarms_raised(&self) -> broadcast::Receiver<Consequence>;

    /// Letters about a token that could not be delivered so far.
    fn untold_of(&self, token: TokenId) -> u32;

    /// Letters about what was done in a case that could not be delivered so far.
    fn untold_in(&self, case: CaseId) -> u32;

    /// The letter to those who look after cases that have waited too long, where there is anybody to tell.
    fn overdue_letter(&self, case: &CaseRecord) -> Option<Intent>;

    /// Takes in letters that are durable by now.
    fn post(&self, letters: Vec<Intent>);

    /// State of the host.
    async fn status(&self) -> Status;

    /// The memory.
    fn ledger(&self) -> &Arc<dyn Ledger>;

    /// What is known of the tokens' clocks, now.
    fn drift(&self) -> Drift;

    /// The devices plugged in now.
    fn devices(&self) -> Vec<DeviceView>;

    /// One of them, if it is still plugged in.
    fn device(&self, id: DeviceId) -> Option<DeviceView>;

    /// What happens to devices. Subscribe before reading [`Verbs::devices`]; hearing of a device twice is fine.
    fn device_events(&self) -> broadcast::Receiver<DeviceEvent>;

    /// Devices that may owe something, when they are plugged in.
    fn obligations_seen(&self) -> broadcast::Receiver<(DeviceId, ObligationId)>;
    /// Revoked keys, as they are plugged in.
    fn revoked_keys_seen(&self) -> broadcast::Receiver<(DeviceId, TokenId)>;
    /// The relying parties that still accept a token's key.
    ///
    /// # Errors
    /// [`Refusal::Ledger`].
    async fn trusted_by(&self, record: &TokenRecord) -> Result<Vec<String>, Refusal>;

    /// The device plugged in now that an obligation is about, when that is known.
    fn device_of(&self, obligation: ObligationId) -> Option<DeviceId>;
}

/// A device as the bus shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its id.
    pub id: DeviceId,
    /// Product name.
    pub name: String,
    /// Where a person finds it.
    pub place: String,
    /// USB idVendor, 0 when unknown.
    pub vendor: u16,
    /// USB idProduct, 0 when unknown.
    pub product: u16,
    /// Its serial: never shown, only cut out of name and place.
    pub serial: Option<String>,
    /// Matter or not.
    pub reality: Reality,
    /// Ways in: `hid`, `card`.
    pub faces: Vec<String>,
    /// `ready`, `busy`, `unresponsive`.
    pub state: &'static str,
}

/// What every object stands on.
pub(crate) struct Desk {
    verbs: Arc<dyn Verbs>,
    guard: Arc<Guard>,
    operations: Operations,
    file_reads: Arc<Semaphore>,
    ready: AtomicBool,
}

impl Desk {
    /// Refuses what changes something while the daemon is starting or stopping. Asked after admission.
    fn require_ready(&self) -> Result<(), BusError> {
        if self.ready.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(BusError::new(
                ErrorName::NotReady,
                "the daemon is starting or stopping: wait until the property “Ready” is true",
            ))
        }
    }
}

/// How long the bus may take to show what is plugged in.
const SHOWING: std::time::Duration = std::time::Duration::from_secs(2);

/// The objects, while they are served. Dropping it ends the tasks that keep them up to date.
pub struct Served {
    connection: Connection,
    desk: Arc<Desk>,
    exported: watch::Receiver<HashSet<DeviceId>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Served {
    /// Tells everybody whether recovery is over; while it is not, nothing that changes something is begun.
    ///
    /// # Errors
    /// The bus is gone.
    pub async fn set_ready(&self, ready: bool) -> zbus::Result<()> {
        self.desk.ready.store(ready, Ordering::SeqCst);
        self.desk.guard.cases().stir();
        let manager = self
            .connection
            .object_server()
            .interface::<_, Manager>(ROOT_PATH)
            .await?;
        manager.get().await.ready_changed(manager.signal_emitter()).await
    }

    /// Waits until every device that is plugged in now is on the bus, so that who starts when we are ready finds them all. A device
    /// that cannot be shown is not waited for longer than two seconds.
    pub async fn devices_shown(&self) {
        let mut exported = self.exported.clone();
        let all = exported.wait_for(|ids| self.desk.verbs.devices().iter().all(|view| ids.contains(&view.id)));
        if tokio::time::timeout(SHOWING, all).await.is_err() {
            tracing::warn!("not every device could be shown on the bus");
        }
    }

    /// Operations that are not over.
    #[must_use]
    pub fn open_operations(&self) -> usize {
        self.desk.operations.open()
    }

    /// Waits until every operation is over and its owner has been told. For shutdown, after `set_ready(false)`; bound it.
    pub async fn drained(&self) {
        self.desk.operations.drained().await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Connects for [`serve`]. A connection begins to listen for calls in a task of its own when it is given its first object; a
/// call that comes before that task runs is lost without an answer. Given the ObjectManager while it is built, it listens
/// before anybody can know of it.
///
/// # Errors
/// There is no bus, or it does not let us in.
pub async fn connect(builder: zbus::connection::Builder<'_>) -> zbus::Result<Connection> {
    builder.serve_at(ROOT_PATH, ObjectManager).build().await
}

/// Exports all objects: the ObjectManager first, so that whatever comes after is announced. `Ready` is false until
/// [`Served::set_ready`]. The name is not owned yet: [`own_name`] is the last step of starting.
///
/// # Errors
/// The bus is gone.
pub async fn serve(
    connection: &Connection,
    verbs: Arc<dyn Verbs>,
    guard: Arc<Guard>,
    limits: Limits,
) -> zbus::Result<Served> {
    let desk = Arc::new(Desk {
        verbs: Arc::clone(&verbs),
        guard: Arc::clone(&guard),
        operations: Operations::new(connection, guard, limits),
        file_reads: secret_fd::file_places(),
        ready: AtomicBool::new(false),
    });
    let server = connection.object_server();
    server.at(ROOT_PATH, ObjectManager).await?;
    server.at(ROOT_PATH, Manager::new(Arc::clone(&desk))).await?;
    server.at(TOKENS_PATH, Tokens::new(Arc::clone(&desk))).await?;
    server.at(VERIFY_PATH, Verify::new(Arc::clone(&desk))).await?;
    server.at(SUBJECTS_PATH, Subjects::new(Arc::clone(&desk))).await?;
    server.at(DRIFT_PATH, Clocks::new(Arc::clone(&desk))).await?;
    server.at(CASES_PATH, Cases::new(Arc::clone(&desk))).await?;
    server.at(BYPASSES_PATH, Bypasses::new(Arc::clone(&desk))).await?;
    cases::show_open(connection, &desk).await?;
    let devices = Devices::new(connection, Arc::clone(&desk));
    let exported = devices.exported();
    let events = verbs.device_events();
    let obligations = verbs.obligations_seen();
    let tasks = vec![
        tokio::spawn(devices.follow(events)),
        tokio::spawn(manager::tell_obligations(connection.clone(), obligations)),
        tokio::spawn(manager::tell_alarms(
            connection.clone(),
            Arc::clone(&desk),
            desk.verbs.alarms_raised(),
        )),
        tokio::spawn(bypasses::tell_news(connection.clone(), desk.verbs.bypass_news())),
        tokio::spawn(cases::tell_overdue(connection.clone(), Arc::clone(&desk))),
        tokio::spawn(manager::tell_revoked(connection.clone(), verbs.revoked_keys_seen())),
    ];
    Ok(Served {
        connection: connection.clone(),
        desk,
        exported,
        tasks,
    })
}

/// Why the name is not ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Somebody has it.
    #[error("another clavigerd owns {BUS_NAME} on this bus: only one may run")]
    Taken,
    /// The bus does not let us.
    #[error("the bus does not let this user own {BUS_NAME} ({0}): is org.claviger.Claviger1.conf installed?")]
    Refused(String),
}

/// Owns the well-known name, or says who else does. Never waits in a queue for it.
///
/// # Errors
/// [`NameError`].
pub async fn own_name(connection: &Connection) -> Result<(), NameError> {
    match connection
        .request_name_with_flags(BUS_NAME, RequestNameFlags::DO_NOT_QUEUE)
        .await
    {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok(()),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => Err(NameError::Taken),
        Err(error) => Err(NameError::Refused(error.to_string())),
    }
}
