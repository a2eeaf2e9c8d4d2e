//! One act: a grant, a step and the house it happens in. Every commit of a verb goes through here, so that no journal entry
//! can lack its authority.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::device::handle::DeviceHandle;
use crate::device::session::Session;

use crate::grant::{Action, Authority, Grant, Object};
use crate::ledger::{Account, Event, Intent, IntentEnd, LedgerError, Mutation, TokenRecord};
use crate::lifecycle::operation::{Hint, Phase, Step, UserAction, UserActionKind};
use crate::lifecycle::replace::{self, Finished};
use crate::lifecycle::tries::Admitted;
use crate::lifecycle::{Lifecycle, Refusal};
use crate::types::{DeviceId, TokenId, TokenState, time_left};

/// Facts for a journal entry; never personal, never secret.
pub type Facts = BTreeMap<&'static str, Value>;

/// What a verb works with. Cheap to clone into a lane.
#[derive(Clone)]
pub struct Act {
    grant: Arc<Grant>,
    /// The visible side.
    pub step: Step,
    /// The house.
    pub house: Arc<Lifecycle>,
    /// Whether one of the last tries of a PIN may be used.
    pub last_tries: bool,
    /// How long another program that has the device is waited for; as configured when the caller did not say.
    patience: Option<Duration>,
    /// The token whose place is taken by the one that this act puts in somebody's hands.
    replaces: Option<TokenId>,
    /// The replacement that came to its end in this act.
    finished: Arc<Mutex<Option<Finished>>>,
}

impl Act {
    /// The grant it is done under.
    #[must_use]
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// An act under a grant.
    #[must_use]
    pub fn new(grant: Grant, step: Step, house: Arc<Lifecycle>, patience: Option<Duration>, last_tries: bool) -> Self {
        Self {
            grant: Arc::new(grant),
            step,
            house,
            last_tries,
            patience,
            replaces: None,
            finished: Arc::default(),
        }
    }

    /// The same act, by which a token takes the place of another.
    #[must_use]
    pub fn replacing(self, old: Option<TokenId>) -> Self {
        Self { replaces: old, ..self }
    }

    /// The token whose place is taken.
    #[must_use]
    pub const fn replaces(&self) -> Option<TokenId> {
        self.replaces
    }

    /// A replacement came to its end.
    pub fn has_finished(&self, finished: Finished) {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner) = Some(finished);
    }

    /// The replacement that came to its end.
    #[must_use]
    pub fn finished(&self) -> Option<Finished> {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Consumes the grant for this action and object. First line of every verb.
    ///
    /// # Errors
    /// [`Refusal::Grant`] when it was minted for something else.
    pub fn require(&self, action: Action, object: &Object) -> Result<(), Refusal> {
        Ok(self.grant.require(action, object)?)
    }

    /// On whose authority this act is done.
    pub fn authority(&self) -> Authority {
        self.grant.authority(Some(self.step.id))
    }

    /// The event that a commit of this act carries.
    fn event(&self, name: &'static str, token: Option<TokenId>, detail: Facts) -> Event {
        Event {
            name,
            authority: self.authority(),
            token,
            at: self.house.clock().now(),
            detail,
        }
    }

    /// One of many commits that are written together.
    pub fn order(
        &self,
        name: &'static str,
        token: Option<TokenId>,
        detail: Facts,
        mutations: Vec<Mutation>,
    ) -> (Event, Vec<Mutation>) {
        (self.event(name, token, detail), mutations)
    }

    /// Writes record and journal entry.
    ///
    /// # Errors
    /// As the ledger.
    pub async fn commit(
        &self,
        name: &'static str,
        token: Option<TokenId>,
        detail: Facts,
        mutations: Vec<Mutation>,
    ) -> Result<(), LedgerError> {
        let event = self.event(name, token, detail);
        replace::commit(self, event, mutations).await
    }

    /// Whether nobody is spoken for here.
    #[must_use]
    pub fn bench(&self) -> bool {
        self.grant.subject().is_none() && self.grant.case().is_some()
    }

    /// The same from a lane, which is a thread of its own and may wait.
    ///
    /// # Errors
    /// As the ledger.
    pub fn commit_in_lane(
        &self,
        name: &'static str,
        token: Option<TokenId>,
        detail: Facts,
        mutations: Vec<Mutation>,
    ) -> Result<(), LedgerError> {
        self.house
            .runtime()
            .block_on(self.commit(name, token, detail, mutations))
    }

    /// The intent of this act, to be written before the first deed on hardware.
    #[must_use]
    pub fn intent(&self, token: TokenId, phase: &str, detail: Value) -> Intent {
        Intent {
            operation: self.step.id,
            verb: self.step.verb.as_str().to_owned(),
            token: Some(token),
            phase: phase.to_owned(),
            detail,
            started: self.house.clock().now(),
        }
    }

    /// The same for an act on a device that is no token's, or may be several's.
    #[must_use]
    pub fn device_intent(&self, phase: &str, detail: Value) -> Intent {
        Intent {
            operation: self.step.id,
            verb: self.step.verb.as_str().to_owned(),
            token: None,
            phase: phase.to_owned(),
            detail,
            started: self.house.clock().now(),
        }
    }

    /// Closes the intent of this act.
    #[must_use]
    pub fn end(&self, end: IntentEnd) -> Mutation {
        Mutation::End {
            operation: self.step.id,
            end,
        }
    }

    /// Moves the intent of this act to another phase.
    #[must_use]
    pub fn moved_to(&self, phase: &str) -> Mutation {
        Mutation::Phase {
            operation: self.step.id,
            phase: phase.to_owned(),
            detail: None,
        }
    }

    /// The same, with new detail.
    #[must_use]
    pub fn moved_with(&self, phase: &str, detail: Value) -> Mutation {
        Mutation::Phase {
            operation: self.step.id,
            phase: phase.to_owned(),
            detail: Some(detail),
        }
    }

    /// Brings what this act left open to an end: rolled back, or an obligation.
    ///
    /// # Errors
    /// Storage; then the next start does it.
    pub async fn conclude(&self) -> Result<(), Refusal> {
        self.house.conclude_open(self.step.id, self.authority()).await
    }

    /// After a registration's lane came back without success: brings it to an end, and says whether it had been completed all
    /// the same. A lane that was given up as stuck may have committed in the very last moment; the ledger knows.
    ///
    /// # Errors
    /// Storage; then the next start does it.
    pub async fn conclude_registration(&self, token: TokenId) -> Result<bool, Refusal> {
        self.conclude().await?;
        Ok(self.token(token).await?.state == TokenState::Active)
    }

    /// Admits one try with a code of the account that `record` belongs to ([`Tries::admit`](crate::lifecycle::tries::Tries::admit)).
    ///
    /// # Errors
    /// [`Refusal::TryLater`], [`Refusal::SoftLocked`], [`Refusal::Locked`]; storage.
    pub async fn admit_try(&self, record: &TokenRecord) -> Result<Admitted, Refusal> {
        let caller = self.grant.caller().ok_or(Refusal::Internal("nobody asked"))?.uid;
        let now = self.house.clock().now();
        let ledger = &**self.house.ledger();
        self.house.tries().admit(ledger, Account::of(record), caller, now).await
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`Refusal::UnknownToken`]; storage.
    pub async fn token(&self, id: TokenId) -> Result<TokenRecord, Refusal> {
        self.house.ledger().token(id).await?.ok_or(Refusal::UnknownToken)
    }

    /// Moves the visible side on.
    pub fn phase(&self, phase: Phase, progress: u8) {
        self.step.phase(phase, progress);
    }

    /// Asks a person for something at a device, until an instant.
    pub fn ask(&self, kind: UserActionKind, device: DeviceId, until: Instant, tries_left: Option<u8>) {
        self.ask_with(kind, device, until, tries_left, None);
    }

    /// The same, with more about how it is done.
    pub fn ask_with(
        &self,
        kind: UserActionKind,
        device: DeviceId,
        until: Instant,
        tries_left: Option<u8>,
        hint: Option<Hint>,
    ) {
        let (name, place) = self
            .house
            .devices()
            .get(device)
            .map(|handle| handle.info())
            .map_or_else(|| (String::new(), String::new()), |info| (info.name, info.place));
        let patience = i64::try_from(time_left(until).as_millis()).unwrap_or(i64::MAX);
        let until = self.house.clock().now().plus_ms(patience);
        self.step.ask(UserAction {
            kind,
            device,
            name,
            place,
            until,
            tries_left,
            hint,
        });
    }
}

impl Act {
    /// Runs a job in the lane of a device, at most `budget` long. The job stops when the operation is cancelled.
    ///
    /// # Errors
    /// [`Refusal::Device`] from lane and link; what the job itself says.
    pub async fn in_lane<T: Send + 'static>(
        &self,
        device: &DeviceHandle,
        budget: Duration,
        job: impl FnOnce(&mut Session, &Self) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let act = self.clone();
        let cancel = self.step.cancel_flag().clone();
        let caller = self.grant.caller().map(|caller| caller.uid);
        let step = self.step.clone();
        device
            .run_for(caller, Instant::now() + budget, cancel, move |session| {
                session.wait_for_others(act.patience, Box::new(move |waits| step.waits(waits)));
                Ok(job(session, &act))
            })
            .await?
    }

    /// Time for `exchanges` without a person and `touches` with one.
    #[must_use]
    pub fn budget(&self, exchanges: u32, touches: u32) -> Duration {
        let figures = &self.house.settings().deadlines;
        self.patience.unwrap_or(figures.lock) + figures.exchange * exchanges + figures.touch * touches
    }
}

/// Facts from pairs.
pub fn facts<const N: usize>(pairs: [(&'static str, Value); N]) -> Facts {
    pairs.into_iter().collect()
}
