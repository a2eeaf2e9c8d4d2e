//! A daemon without devices and without a store, which notes what reaches it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use claviger::bus::{
    self, AccountStanding, Description, DeviceEvent, DeviceView, Limits, OathCredential, PinStatus, Served, Status,
    Verbs, Verified,
};
use claviger::contract::{BUS_NAME, DEVICES_PATH};
use claviger::grant::{Action, Grant, Object};
use claviger::guard::cases::Cases;
use claviger::guard::law::{Law, PolicySource};
use claviger::guard::people::{Known, People, Unanswered};
use claviger::guard::time::Timepiece;
use claviger::guard::{Guard, PolkitDeadlines};
use claviger::ledger::{
    Account, CaseFilter, CaseHistory, CaseNote, CasePersonal, CaseRecord, Commits, Event, Filter, Frozen, Intent,
    JournalEntry, Ledger, LedgerError, Mutation, Obligation, Page, Standing, TokenRecord, VerifyReport,
};
use claviger::lifecycle::alarms::{Consequence, Raised};
use claviger::lifecycle::operation::{Operation, Step};
use claviger::lifecycle::subjects::{Coverage, SubjectStatus};
use claviger::lifecycle::{Refusal, Request};
use claviger::types::cases::{self, CaseKind, Channel};
use claviger::types::stamp::{Reading, Stamp};
use claviger::types::{CaseId, DeviceId, ObligationId, Reality, Secret, TokenId, UnixMillis};
use tokio::sync::broadcast;
use zbus::Connection;

use super::bus::{PrivateBus, within};
use super::contract::OPEN_CASE;
use super::polkit::{FakePolkit, Temper};

/// A serial that must be shown to nobody who was not admitted.
pub const SERIAL: &str = "0031415926";

/// The one case that is open.
fn open_case() -> CaseRecord {
    CaseRecord {
        id: OPEN_CASE.parse().expect("an id"),
        kind: CaseKind::Support,
        channel: Channel::Phone,
        opener: 4_200_001,
        opened_at: UnixMillis(1),
        opened: Stamp::default(),
        step: cases::Step::Identity,
        since: Stamp::default(),
        within_ms: 1,
        escalated: false,
        outcome: None,
        closed_at: None,
        personal: CasePersonal {
            subject: Some("someone".to_owned()),
            ticket: Some(SERIAL.to_owned()),
            reason: None,
        },
    }
}

/// Nobody.
struct Nobody;

#[async_trait]
impl People for Nobody {
    async fn subject(&self, _: &str) -> Result<Option<Known>, Unanswered> {
        Ok(None)
    }

    fn account(&self, _: u32) -> Option<String> {
        None
    }
}

/// Cases where no policy is in force: what is tested is something else.
pub fn no_policy() -> Arc<Cases> {
    let law = Law::read(PolicySource::Off, true).expect("no policy");
    let reading = || Reading {
        wall: UnixMillis::now(),
        boot_ms: 1,
        boot: 1,
    };
    let time = Timepiece::new(Box::new(reading), None);
    let ledger: Arc<dyn Ledger> = Arc::new(EmptyLedger::default());
    Arc::new(Cases::new(ledger, law, time, Box::new(Nobody)))
}

/// Remembers nothing.
#[derive(Default)]
pub struct EmptyLedger {
    reached: AtomicUsize,
    /// What `token` answers.
    pub token: Mutex<Option<TokenRecord>>,
}

impl EmptyLedger {
    fn touch(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Ledger for EmptyLedger {
    fn head(&self) -> Result<(u64, String), LedgerError> {
        Ok((0, String::new()))
    }

    async fn commit(&self, _: Event, _: Vec<Mutation>) -> Result<u64, LedgerError> {
        self.touch();
        Ok(1)
    }
    async fn commit_all(&self, _: Commits) -> Result<u64, claviger::ledger::BatchFailure> {
        self.touch();
        Ok(1)
    }
    async fn holder(&self, _: &claviger::ledger::Unique) -> Result<Option<TokenId>, LedgerError> {
        self.touch();
        Ok(None)
    }
    async fn drift(&self, _: TokenId, _: u32) -> Result<Vec<claviger::ledger::DriftPoint>, LedgerError> {
        self.touch();
        Ok(Vec::new())
    }
    async fn token(&self, _: TokenId) -> Result<Option<TokenRecord>, LedgerError> {
        self.touch();
        Ok(self.token.lock().unwrap().clone())
    }
    async fn find(&self, _: &Filter, _: Option<&str>, _: u32) -> Result<Page<TokenRecord>, LedgerError> {
        self.touch();
        Ok(Page {
            items: Vec::new(),
            next: None,
        })
    }
    async fn seed(&self, _: TokenId) -> Result<Secret, LedgerError> {
        self.touch();
        Err(LedgerError::NotFound("seed"))
    }
    async fn obligations(
        &self,
        _: claviger::ledger::ObligationFilter,
        _: Option<&str>,
        _: u32,
    ) -> Result<Page<Obligation>, LedgerError> {
        self.touch();
        Ok(Page {
            items: Vec::new(),
            next: None,
        })
    }
    async fn obligation(&self, _: ObligationId) -> Result<Option<Obligation>, LedgerError> {
        self.touch();
        Ok(None)
    }
    async fn standing(&self, _: &Account, _: u32) -> Result<Standing, LedgerError> {
        self.touch();
        Ok(Standing::default())
    }
    async fn recovery_slot(&self, _: TokenId, _: &Secret) -> Result<Option<u16>, LedgerError> {
        self.touch();
        Ok(None)
    }
    async fn recovery_left(&self, _: TokenId) -> Result<u32, LedgerError> {
        self.touch();
        Ok(0)
    }
    // The guard reads these itself: they are not behind it.
    async fn case(&self, id: CaseId) -> Result<Option<CaseRecord>, LedgerError> {
        Ok(Some(open_case()).filter(|case| case.id == id))
    }
    async fn case_notes(&self, _: CaseId) -> Result<Vec<CaseNote>, LedgerError> {
        Ok(Vec::new())
    }
    async fn cases(&self, filter: &CaseFilter, _: Option<&str>, _: u32) -> Result<Page<CaseRecord>, LedgerError> {
        let items = if filter.overdue_at.is_none() {
            vec![open_case()]
        } else {
            Vec::new()
        };
        Ok(Page { items, next: None })
    }
    async fn case_history(&self, _: &str, _: u64) -> Result<CaseHistory, LedgerError> {
        self.touch();
        Ok(CaseHistory::default())
    }
    async fn next_deadline(&self) -> Result<Option<u64>, LedgerError> {
        Ok(None)
    }
    async fn kept_time(&self) -> Result<Option<(Reading, Stamp)>, LedgerError> {
        self.touch();
        Ok(None)
    }
    async fn bypasses(
        &self,
        _: &claviger::ledger::BypassFilter,
        _: Option<&str>,
        _: u32,
    ) -> Result<Page<claviger::ledger::BypassRecord>, LedgerError> {
        Ok(Page {
            items: Vec::new(),
            next: None,
        })
    }
    async fn bypass_counts(&self, _: &str, _: u64) -> Result<claviger::ledger::BypassCounts, LedgerError> {
        Ok(claviger::ledger::BypassCounts::default())
    }
    async fn bypass_of(
        &self,
        _: &str,
        _: &Secret,
    ) -> Result<Option<(claviger::ledger::BypassRecord, bool)>, LedgerError> {
        Ok(None)
    }
    async fn deferrals(&self, _: &Account) -> Result<u32, LedgerError> {
        Ok(0)
    }

    async fn freezes(&self) -> Result<Vec<Frozen>, LedgerError> {
        Ok(Vec::new())
    }

    async fn alarms(&self, _: u64, _: u32) -> Result<Vec<u64>, LedgerError> {
        Ok(Vec::new())
    }

    async fn open_intents(&self) -> Result<Vec<Intent>, LedgerError> {
        self.touch();
        Ok(Vec::new())
    }
    async fn journal(&self, _: u64, _: u32) -> Result<Vec<JournalEntry>, LedgerError> {
        self.touch();
        Ok(Vec::new())
    }
    async fn verify(&self) -> Result<VerifyReport, LedgerError> {
        self.touch();
        Ok(VerifyReport::default())
    }
    async fn close(&self) {}
}

/// Starts operations and lets the test play the verb.
pub struct FakeVerbs {
    ledger: Arc<dyn Ledger>,
    pub store: Arc<EmptyLedger>,
    devices: Mutex<Vec<DeviceView>>,
    pub events: broadcast::Sender<DeviceEvent>,
    pub seen: broadcast::Sender<(DeviceId, ObligationId)>,
    pub started: Mutex<Vec<(Grant, Request, Step)>>,
    described: AtomicUsize,
}

impl FakeVerbs {
    fn new() -> Arc<Self> {
        let store = Arc::new(EmptyLedger::default());
        Arc::new(Self {
            ledger: store.clone(),
            store,
            devices: Mutex::new(vec![device(1)]),
            events: broadcast::channel(16).0,
            seen: broadcast::channel(16).0,
            started: Mutex::default(),
            described: AtomicUsize::new(0),
        })
    }

    /// How often anything behind the guard was reached.
    pub fn reached(&self) -> usize {
        self.store.reached.load(Ordering::SeqCst)
            + self.described.load(Ordering::SeqCst)
            + self.started.lock().unwrap().len()
    }

    /// The verb's side of the latest operation.
    pub fn step(&self) -> Step {
        self.started.lock().unwrap().last().expect("an operation").2.clone()
    }

    /// Plugs a device in, or changes it.
    pub fn plug(&self, view: DeviceView) {
        let id = view.id;
        let mut devices = self.devices.lock().unwrap();
        let known = devices.iter().position(|device| device.id == id);
        let event = match known {
            Some(place) => {
                let before = std::mem::replace(&mut devices[place], view);
                if before.faces == devices[place].faces {
                    DeviceEvent::State(id)
                } else {
                    DeviceEvent::Faces(id)
                }
            }
            None => {
                devices.push(view);
                DeviceEvent::Arrived(id)
            }
        };
        self.events.send(event).expect("heard");
    }

    /// Unplugs a device.
    pub fn unplug(&self, id: u64) {
        self.devices.lock().unwrap().retain(|device| device.id != DeviceId(id));
        self.events.send(DeviceEvent::Left(DeviceId(id))).expect("heard");
    }

    /// Takes the latest request.
    pub fn take_request(&self) -> (Grant, Request) {
        let (grant, request, _) = self.started.lock().unwrap().pop().expect("an operation");
        (grant, request)
    }
}

/// A key whose reader's name holds its serial, as pcscd makes them.
pub fn device(id: u64) -> DeviceView {
    DeviceView {
        id: DeviceId(id),
        name: "ACME Key".to_owned(),
        place: format!("reader ACME CCID [Main] ({SERIAL}) 00 00"),
        vendor: 0x1209,
        product: 0x0001,
        serial: Some(SERIAL.to_owned()),
        reality: Reality::Virtual,
        faces: vec!["hid".to_owned()],
        state: "ready",
    }
}

/// Somebody no directory knows.
fn nobody(name: &str) -> SubjectStatus {
    SubjectStatus {
        name: name.to_owned(),
        role: None,
        privilege: None,
        account: None,
        contact: None,
        active: 0,
        pending: 0,
        deferred: 0,
        enforcement: None,
    }
}

#[async_trait]
impl Verbs for FakeVerbs {
    fn start(self: Arc<Self>, grant: Grant, request: Request) -> Result<Arc<Operation>, Refusal> {
        let verb = request.verb();
        let (operation, step) = Operation::begin(verb, grant.caller().map(|caller| caller.name.clone()));
        self.started.lock().unwrap().push((grant, request, step));
        Ok(operation)
    }

    async fn describe(&self, _: &Grant, _: DeviceId) -> Result<Description, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        Ok(Description {
            serial: Some(SERIAL.to_owned()),
            ..Description::default()
        })
    }

    async fn oath_credentials(
        &self,
        _: &Grant,
        _: DeviceId,
        _: Option<Secret>,
    ) -> Result<Vec<OathCredential>, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    }

    async fn pin_status(&self, _: &Grant, _: DeviceId) -> Result<PinStatus, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        Err(Refusal::UnknownDevice)
    }

    async fn verify(&self, grant: &Grant, subject: &str, _: &Secret, _: bool) -> Result<Verified, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Verify, &Object::Subject(subject.to_owned()))?;
        match subject {
            "locked" => Err(Refusal::SoftLocked { wait_s: 900 }),
            _ => Ok(Verified::default()),
        }
    }

    async fn standing(&self, grant: &Grant, subject: &str) -> Result<AccountStanding, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Inspect, &Object::Subject(subject.to_owned()))?;
        Ok(AccountStanding {
            standing: claviger::ledger::Standing::default(),
            now: UnixMillis(0),
            state: claviger::lifecycle::tries::Admission::Open,
            callers: Vec::new(),
            in_hand: 30,
        })
    }

    async fn unlock(&self, grant: &Grant, subject: &str) -> Result<(), Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        Ok(grant.require(Action::Suspend, &Object::Subject(subject.to_owned()))?)
    }

    async fn issue_bypass(
        &self,
        grant: &Grant,
        subject: &str,
        _: claviger::lifecycle::bypass::BypassWish,
        _: claviger::lifecycle::Delivery,
    ) -> Result<claviger::lifecycle::bypass::BypassTerms, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Bypass, &Object::Subject(subject.to_owned()))?;
        Err(claviger::lifecycle::bypass::BypassRefusal::NoPolicy.into())
    }

    async fn end_bypass(&self, grant: &Grant, case: CaseId) -> Result<(), Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Suspend, &Object::Case(case))?;
        Err(claviger::lifecycle::bypass::BypassRefusal::None.into())
    }

    fn bypass_news(&self) -> broadcast::Receiver<claviger::lifecycle::bypass::BypassNews> {
        broadcast::channel(1).1
    }

    async fn enforcement_for(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Verify, &Object::Subject(subject.to_owned()))?;
        Ok(nobody(subject))
    }

    async fn defer(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Verify, &Object::Subject(subject.to_owned()))?;
        Ok(nobody(subject))
    }

    async fn subject_status(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Inspect, &Object::Subject(subject.to_owned()))?;
        Ok(nobody(subject))
    }

    async fn coverage(&self, grant: &Grant) -> Result<Coverage, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Inspect, &Object::Whole)?;
        Ok(Coverage::default())
    }

    async fn alarms_before(&self, grant: &Grant, _: u64, _: u32) -> Result<Vec<Raised>, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Audit, &Object::Whole)?;
        Ok(Vec::new())
    }

    async fn frozen(&self, grant: &Grant) -> Result<Vec<Frozen>, Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        grant.require(Action::Audit, &Object::Whole)?;
        Ok(Vec::new())
    }

    async fn thaw(&self, grant: &Grant, _: u32) -> Result<(), Refusal> {
        self.described.fetch_add(1, Ordering::SeqCst);
        Ok(grant.require(Action::Approve, &Object::Whole)?)
    }

    async fn was_denied(&self, _: u32, _: Option<String>) {}

    fn alarms_raised(&self) -> broadcast::Receiver<Consequence> {
        broadcast::channel(1).1
    }

    fn untold_of(&self, _: TokenId) -> u32 {
        0
    }

    fn overdue_letter(&self, _: &CaseRecord) -> Option<Intent> {
        None
    }

    fn post(&self, _: Vec<Intent>) {}

    fn untold_in(&self, _: CaseId) -> u32 {
        0
    }

    async fn status(&self) -> Status {
        self.described.fetch_add(1, Ordering::SeqCst);
        Status::default()
    }

    fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    fn drift(&self) -> claviger::lifecycle::drift::Drift {
        claviger::lifecycle::drift::Drift::new(
            self.ledger.clone(),
            claviger::lifecycle::drift::Settings::default(),
            claviger::types::UnixMillis(0),
        )
    }

    fn devices(&self) -> Vec<DeviceView> {
        self.devices.lock().unwrap().clone()
    }

    fn device(&self, id: DeviceId) -> Option<DeviceView> {
        self.devices().into_iter().find(|view| view.id == id)
    }

    fn device_events(&self) -> broadcast::Receiver<DeviceEvent> {
        self.events.subscribe()
    }

    fn obligations_seen(&self) -> broadcast::Receiver<(DeviceId, ObligationId)> {
        self.seen.subscribe()
    }

    fn revoked_keys_seen(&self) -> broadcast::Receiver<(DeviceId, TokenId)> {
        broadcast::channel(1).1
    }

    async fn trusted_by(&self, _: &TokenRecord) -> Result<Vec<String>, Refusal> {
        Ok(Vec::new())
    }

    fn device_of(&self, _: ObligationId) -> Option<DeviceId> {
        None
    }
}

/// All of it on one private bus.
pub struct World {
    pub bus: PrivateBus,
    pub polkit: Option<FakePolkit>,
    pub verbs: Arc<FakeVerbs>,
    pub served: Served,
    /// The daemon's own connection.
    pub daemon: Connection,
    /// A client's.
    pub client: Connection,
}

impl World {
    /// System mode with a polkit of this temper.
    pub async fn system(temper: Temper) -> Self {
        Self::with(Some(temper), Limits::default(), PolkitDeadlines::default()).await
    }

    /// System mode; without a temper there is no polkit at all.
    pub async fn with(temper: Option<Temper>, limits: Limits, deadlines: PolkitDeadlines) -> Self {
        let bus = PrivateBus::start();
        let polkit = match temper {
            Some(temper) => Some(FakePolkit::start(&bus, temper).await),
            None => None,
        };
        let daemon = bus.connect_to_serve().await;
        let guard = Guard::system(&daemon, deadlines, no_policy()).await.expect("a guard");
        Self::serve(bus, polkit, daemon, guard, limits).await
    }

    /// Session mode.
    pub async fn session() -> Self {
        let bus = PrivateBus::start();
        let daemon = bus.connect_to_serve().await;
        let guard = Guard::session(&daemon, no_policy()).await.expect("a guard");
        Self::serve(bus, None, daemon, guard, Limits::default()).await
    }

    /// System mode on a bus that has a polkit of its own.
    pub async fn on(bus: PrivateBus) -> Self {
        let daemon = bus.connect_to_serve().await;
        let guard = Guard::system(&daemon, PolkitDeadlines::default(), no_policy())
            .await
            .expect("a guard");
        Self::serve(bus, None, daemon, guard, Limits::default()).await
    }

    async fn serve(
        bus: PrivateBus,
        polkit: Option<FakePolkit>,
        daemon: Connection,
        guard: Guard,
        limits: Limits,
    ) -> Self {
        let verbs = FakeVerbs::new();
        let served = bus::serve(&daemon, verbs.clone(), Arc::new(guard), limits)
            .await
            .expect("objects");
        bus::own_name(&daemon).await.expect("the name");
        served.set_ready(true).await.expect("ready");
        let client = bus.connect().await;
        let world = Self {
            bus,
            polkit,
            verbs,
            served,
            daemon,
            client,
        };
        world.device_shown().await;
        world
    }

    /// Waits until the device is on the bus.
    async fn device_shown(&self) {
        let path = format!("{DEVICES_PATH}/1");
        within("the device coming onto the bus", async {
            while !introspect(&self.client, &path).await.contains("Device1") {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

/// Introspection of one of the daemon's objects; empty when there is none.
pub async fn introspect(client: &Connection, path: &str) -> String {
    let interface = "org.freedesktop.DBus.Introspectable";
    match client
        .call_method(Some(BUS_NAME), path, Some(interface), "Introspect", &())
        .await
    {
        Ok(reply) => reply.body().deserialize().expect("a string"),
        Err(_) => String::new(),
    }
}
