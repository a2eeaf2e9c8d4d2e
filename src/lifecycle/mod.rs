//! The verbs: register, test, resync, suspend, lost, resume, revoke, discharge. One file each.
//!
//! A verb gets a [`Grant`], talks to one device through its lane and to the ledger through the trait, and tells what it
//! does through its [`Step`](operation::Step). It knows neither bus nor polkit nor a concrete store.
//!
//! What every verb keeps to: the grant is consumed in the first line; an intent is durable before the first deed on
//! hardware; from the declared point of no return on, only waiting for people can be cancelled; whatever ends an act early,
//! a crash included, [`recover`] brings the record to one of three ends: completed, rolled back, or an obligation.

mod act;
pub mod advice;
pub mod alarms;
mod assert;
mod assign;
mod attempts;
pub mod bypass;
mod card;
pub mod code;
mod describe;
pub mod drift;
mod evidence;
mod export;
mod export_keys;
mod fido;
mod identity;
pub mod import;
mod key;
mod locate;
mod mark;
mod nfc_fob;
mod oath_admin;
pub mod operation;
pub mod organisation;
mod prompt;
mod read_clock;
mod recover;
mod refusal;
mod register;
mod replace;
mod request;
mod reset;
mod resync;
mod revoke;
mod revoked;
mod set_clock;
mod settle;
pub mod subjects;
mod suspend;
pub mod tell;
mod test;
mod throttle;
pub mod tries;
mod trusted;
mod undo;
mod validity;
pub mod verify;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

pub use self::describe::Description;
pub use self::fido::PinStatus;
pub use self::oath_admin::OathCredential;
pub use self::refusal::Refusal;
pub use self::request::{
    AppOptions, Commission, Delivery, Fido2Options, FidoDeed, FidoSetting, FobOptions, ImportOptions, Letter,
    NfcFobOptions, OathDeed, OathOptions, Presence, Query, Request, Unlocking,
};
pub use self::resync::Allowances;

use self::act::Act;
use self::operation::{Operation, Outcome, Step};
use self::organisation::Organisation;
use crate::device::Deadlines;
use crate::device::registry::Registry;
use crate::grant::Grant;
use crate::ledger::{Ledger, ObligationFilter};
use crate::trust::Rules;
use crate::types::{Clock, DeviceId, ObligationId, OperationId, TokenId};

/// Figures the verbs work by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long devices and people may take.
    pub deadlines: Deadlines,
    /// Relying party id when the client names none.
    pub rp_id: String,
    /// Whether the virtual link is configured.
    pub virtual_link: bool,
    /// Path of the ledger, for status.
    pub ledger_place: String,
    /// How forecasts are made.
    pub drift: drift::Settings,
    /// Resyncs that a token may have in vain in 24 hours.
    pub resyncs_in_vain: u32,
}

/// State of the host and the house, for `Manager1.Status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// pcscd answers.
    pub card_service: bool,
    /// The host clock is synchronised.
    pub clock_synchronised: bool,
    /// Devices plugged in.
    pub devices: u32,
    /// Those that do not answer.
    pub unresponsive: u32,
    /// Whether the virtual link is configured.
    pub virtual_link: bool,
    /// Where the ledger is.
    pub ledger: String,
    /// Last journal entry and its MAC, when the head is sound.
    pub journal_head: Option<String>,
    /// Operations under way.
    pub open_operations: u32,
    /// Obligations not discharged (counted up to 1,000).
    pub open_obligations: u32,
    /// How telling people goes.
    pub telling: tell::Telling,
}

/// Obligations that stand.
const OPEN: ObligationFilter = ObligationFilter {
    open: true,
    recognisable: None,
};

/// The house: ledger, devices and clock, and the operations under way.
pub struct Lifecycle {
    ledger: Arc<dyn Ledger>,
    devices: Registry,
    clock: Arc<dyn Clock>,
    settings: Settings,
    runtime: Handle,
    /// Those under way. Whoever wants a result keeps the operation.
    operations: Mutex<HashMap<OperationId, Arc<Operation>>>,
    running: watch::Sender<usize>,
    seen: broadcast::Sender<(DeviceId, ObligationId)>,
    revoked: broadcast::Sender<(DeviceId, TokenId)>,
    /// Revoked keys that are plugged in, so that each plug is told once.
    returned: Mutex<HashMap<DeviceId, TokenId>>,
    debtors: Mutex<HashMap<ObligationId, DeviceId>>,
    stopping: watch::Sender<bool>,
    /// Wrong passwords of cards.
    passwords: throttle::Throttle,
    /// Fobs that did not take the published key.
    refusers: nfc_fob::Refusers,
    waiting: code::Waiting,
    previewed: code::Waiting,
    attempts: attempts::Attempts,
    tries: tries::Tries,
    rules: RwLock<Arc<Rules>>,
    organisation: OnceLock<Organisation>,
    outbox: tell::Outbox,
    alarms: alarms::Alarms,
    bypasses: bypass::Bypasses,
    /// One commit after the other that a replacement depends on.
    replacing: tokio::sync::Mutex<()>,
}

impl Lifecycle {
    /// Puts the house together. Call it inside a tokio runtime: lanes use its handle to reach the ledger.
    #[must_use]
    pub fn new(ledger: Arc<dyn Ledger>, devices: Registry, clock: Arc<dyn Clock>, settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            devices,
            clock,
            settings,
            runtime: Handle::current(),
            operations: Mutex::new(HashMap::new()),
            running: watch::channel(0).0,
            seen: broadcast::channel(64).0,
            revoked: broadcast::channel(64).0,
            returned: Mutex::new(HashMap::new()),
            debtors: Mutex::new(HashMap::new()),
            stopping: watch::channel(false).0,
            passwords: throttle::Throttle::default(),
            refusers: nfc_fob::Refusers::default(),
            waiting: code::Waiting::default(),
            previewed: code::Waiting::default(),
            attempts: attempts::Attempts::default(),
            tries: tries::Tries::default(),
            rules: RwLock::default(),
            organisation: OnceLock::new(),
            outbox: tell::Outbox::default(),
            alarms: alarms::Alarms::default(),
            bypasses: bypass::Bypasses::default(),
            replacing: tokio::sync::Mutex::default(),
        })
    }

    /// Makes the organisation known to the house, once, before it serves.
    pub fn belongs_to(&self, organisation: Organisation) {
        // A second one would be a fault of the composition root; the first stays.
        let _ = self.organisation.set(organisation);
    }

    /// What is known of the organisation.
    fn organisation(&self) -> &Organisation {
        static NONE: LazyLock<Organisation> = LazyLock::new(Organisation::default);
        self.organisation.get().unwrap_or(&NONE)
    }

    /// Letters on their way to the people they concern.
    #[must_use]
    pub const fn outbox(&self) -> &tell::Outbox {
        &self.outbox
    }

    /// The watch over what is done.
    #[must_use]
    pub const fn alarms(&self) -> &alarms::Alarms {
        &self.alarms
    }

    /// What becomes of bypasses.
    #[must_use]
    pub const fn bypasses(&self) -> &bypass::Bypasses {
        &self.bypasses
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// The devices plugged in.
    #[must_use]
    pub fn devices(&self) -> &Registry {
        &self.devices
    }

    /// The gate before every judgement of a code.
    #[must_use]
    pub fn tries(&self) -> &tries::Tries {
        &self.tries
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Codes that wait for the next one of their token.
    #[must_use]
    pub const fn waiting(&self) -> &code::Waiting {
        &self.waiting
    }

    /// Held while something is written that a replacement depends on.
    const fn replacing(&self) -> &tokio::sync::Mutex<()> {
        &self.replacing
    }

    /// Codes whose resync was previewed, with the time they came.
    const fn previewed(&self) -> &code::Waiting {
        &self.previewed
    }

    /// Resyncs in vain.
    const fn attempts(&self) -> &attempts::Attempts {
        &self.attempts
    }

    /// Which keys are believed and registered; a registration keeps to those it began with.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in their place.
    pub fn go_by(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// The figures.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is known of the tokens' clocks, now.
    #[must_use]
    pub fn drift(&self) -> drift::Drift {
        drift::Drift::new(Arc::clone(&self.ledger), self.settings.drift.clone(), self.clock.now())
    }

    /// For lanes that wait for the ledger.
    fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Devices that may owe something, as they are plugged in.
    #[must_use]
    pub fn obligations_seen(&self) -> broadcast::Receiver<(DeviceId, ObligationId)> {
        self.seen.subscribe()
    }

    /// Revoked keys, as they are plugged in.
    #[must_use]
    pub fn revoked_keys_seen(&self) -> broadcast::Receiver<(DeviceId, TokenId)> {
        self.revoked.subscribe()
    }

    fn returned(&self) -> std::sync::MutexGuard<'_, HashMap<DeviceId, TokenId>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device plugged in now that an obligation is about, when that is known.
    #[must_use]
    pub fn device_of(&self, obligation: ObligationId) -> Option<DeviceId> {
        self.debtors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&obligation)
            .copied()
    }

    /// Starts an operation in the background and returns it at once.
    ///
    /// # Errors
    /// [`Refusal::Stopping`]; everything else is the operation's outcome.
    pub fn start(self: &Arc<Self>, grant: Grant, request: Request) -> Result<Arc<Operation>, Refusal> {
        if *self.stopping.borrow() {
            return Err(Refusal::Stopping);
        }
        let (request, patience) = request.patience();
        let owner = grant.caller().map(|caller| caller.name.clone());
        let (operation, step) = Operation::begin(request.verb(), owner);
        self.table().insert(operation.id, Arc::clone(&operation));
        self.running.send_modify(|n| *n += 1);
        let house = Arc::clone(self);
        tokio::spawn(async move {
            let last_tries = request.last_tries();
            let act = Act::new(grant, step.clone(), Arc::clone(&house), patience, last_tries);
            // A task of its own, so that even a panic in a verb ends the operation with an outcome.
            let run = tokio::spawn(run(act, request));
            let outcome = match run.await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(Refusal::Cancelled | Refusal::Device(crate::device::DeviceError::Cancelled))) => {
                    Outcome::Cancelled
                }
                Ok(Err(refusal)) => Outcome::Refused(refusal),
                Err(_) => Outcome::Refused(Refusal::Internal("the operation ended unexpectedly")),
            };
            house.finish(&step, outcome);
        });
        Ok(operation)
    }

    fn finish(&self, step: &Step, outcome: Outcome) {
        let (verb, id) = (step.verb.as_str(), step.id);
        match &outcome {
            Outcome::Refused(refusal) => tracing::info!(%id, verb, %refusal, "operation refused"),
            Outcome::Cancelled => tracing::info!(%id, verb, "operation cancelled"),
            Outcome::Done(_) | Outcome::Obliged(_) => tracing::info!(%id, verb, "operation done"),
        }
        step.finish(outcome);
        self.table().remove(&id);
        self.running.send_modify(|n| *n = n.saturating_sub(1));
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<OperationId, Arc<Operation>>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// State of host and house.
    pub async fn status(&self) -> Status {
        let devices = self.devices.devices();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let unresponsive = devices
            .iter()
            .filter(|device| device.info().state == crate::device::handle::DeviceState::Unresponsive)
            .count();
        let open = self
            .ledger
            .obligations(OPEN, None, 1_000)
            .await
            .map_or(0, |page| page.items.len());
        Status {
            card_service: self.devices.card_service(),
            clock_synchronised: self.clock.synchronised(),
            devices: count(devices.len()),
            unresponsive: count(unresponsive),
            virtual_link: self.settings.virtual_link,
            ledger: self.settings.ledger_place.clone(),
            journal_head: self.ledger.head().ok().map(|(seq, mac)| format!("{seq}:{mac}")),
            open_operations: count(*self.running.borrow()),
            open_obligations: count(open),
            telling: self.outbox.telling(),
        }
    }

    /// Refuses new operations, lets those under way end within `grace`, then cancels them and waits as long again.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.send_replace(true);
        let mut running = self.running.subscribe();
        if tokio::time::timeout(grace, running.wait_for(|n| *n == 0)).await.is_ok() {
            return;
        }
        for operation in self.table().values() {
            if operation.cancel().is_err() {
                tracing::debug!(id = %operation.id, "past its point of no return, left to its deadline");
            }
        }
        if tokio::time::timeout(grace, running.wait_for(|n| *n == 0))
            .await
            .is_err()
        {
            tracing::warn!("operations still under way; the next start will bring them to an end");
        }
    }
}

async fn run(act: Act, request: Request) -> Result<Outcome, Refusal> {
    let (request, old) = request.replaced();
    if let Some(old) = old {
        replace::ready(&act, old, &request).await?;
    }
    let act = act.replacing(old);
    let outcome = verb(&act, request).await?;
    Ok(replace::told(act.finished(), outcome))
}

async fn verb(act: &Act, request: Request) -> Result<Outcome, Refusal> {
    match request {
        Request::Replacing { .. } | Request::Patient { .. } => Err(Refusal::Internal("a wait within a wait")),
        Request::RegisterFido2 {
            device,
            subject,
            pin,
            options,
        } => register::fido2::register(act, device, subject, pin, options).await,
        Request::RegisterForProvider {
            device,
            pin,
            commission,
        } => register::provider::register(act, device, pin, *commission).await,
        Request::RegisterOathCard {
            device,
            subject,
            options,
        } => register::oath_card::register(act, device, subject, options).await,
        Request::RegisterFob {
            subject,
            serial,
            seed,
            codes,
            options,
        } => register::fob::register(act, subject, serial, seed, codes, options).await,
        Request::RegisterApp {
            subject,
            pairing,
            options,
        } => register::app::register(act, subject, pairing, options).await,
        Request::RegisterRecoveryCodes { subject, sheet, count } => {
            register::recovery_codes::register(act, subject, sheet, count).await
        }
        Request::RegisterNfcFob {
            device,
            subject,
            seed,
            options,
        } => register::nfc_fob::register(act, device, subject, seed, options).await,
        Request::ReadClock {
            token,
            device,
            allowances,
        } => read_clock::read_clock(act, token, device, allowances).await,
        Request::SetClock {
            token,
            device,
            reseed,
            unsynchronised,
        } => set_clock::set_clock(act, token, device, set_clock::Words { reseed, unsynchronised }).await,
        Request::Fido { device, deed, with } => fido::administer(act, device, deed, with).await,
        Request::Oath {
            device,
            deed,
            password,
            place,
        } => oath_admin::administer(act, (device, place), deed, password).await,
        Request::Test { token, code, at } => test::test(act, token, code, at).await,
        Request::TestForProvider { token, at, query } => assert::test(act, token, at, *query).await,
        Request::Resync {
            token,
            codes,
            allowances,
        } => resync::resync(act, token, &codes, allowances).await,
        Request::UndoResync(token) => undo::undo(act, token).await,
        Request::Suspend(token) | Request::Lost(token) | Request::Resume(token) => suspend::transfer(act, token).await,
        Request::Revoke {
            token,
            reason,
            at,
            reset,
            absent,
        } => revoke::revoke(act, token, reason, at, revoke::Extent { reset, absent }).await,
        Request::Replace { token, lost, withdraw } => {
            replace::replace(act, token, replace::Words { lost, withdraw }).await
        }
        Request::Import { file, options } => import::import(act, file, *options).await,
        Request::Mark { token, organisation } => mark::mark(act, token, organisation).await,
        Request::Assign { token, subject } => assign::assign(act, token, subject).await,
        Request::Export {
            format,
            filter,
            passphrase,
            rp_id,
            into,
        } => export::export(act, format, *filter, passphrase, rp_id, into).await,
        Request::Discharge {
            obligation,
            at,
            collected,
            reset,
        } => settle::discharge(act, obligation, at, settle::Words { collected, reset }).await,
    }
}
