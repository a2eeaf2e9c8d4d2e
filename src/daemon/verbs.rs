//! What joins the bus to the house: the bus knows neither lanes nor links.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::bus::{DeviceView, OathCredential, PinStatus, Verbs};
use crate::device::handle::{DeviceInfo, DeviceState};
use crate::grant::Grant;
use crate::ledger::{CaseRecord, Frozen, Intent, Ledger, TokenRecord};
use crate::lifecycle::alarms::{Consequence, Raised};
use crate::lifecycle::bypass::{BypassNews, BypassTerms, BypassWish};
use crate::lifecycle::drift::Drift;
use crate::lifecycle::operation::Operation;
use crate::lifecycle::subjects::{Coverage, SubjectStatus};
use crate::lifecycle::verify::{self, AccountStanding, Verified};
use crate::lifecycle::{Delivery, Description, Lifecycle, Refusal, Request, Status};
use crate::link::FaceKind;
use crate::types::{CaseId, DeviceEvent, DeviceId, ObligationId, Secret, TokenId};

/// The house as the bus sees it.
pub struct House {
    lifecycle: Arc<Lifecycle>,
}

impl House {
    /// Shows a house to the bus.
    #[must_use]
    pub fn new(lifecycle: Arc<Lifecycle>) -> Arc<Self> {
        Arc::new(Self { lifecycle })
    }
}

#[async_trait]
impl Verbs for House {
    fn start(self: Arc<Self>, grant: Grant, request: Request) -> Result<Arc<Operation>, Refusal> {
        self.lifecycle.start(grant, request)
    }

    async fn describe(&self, grant: &Grant, device: DeviceId) -> Result<Description, Refusal> {
        self.lifecycle.describe(grant, device).await
    }

    async fn verify(&self, grant: &Grant, subject: &str, code: &Secret, real_only: bool) -> Result<Verified, Refusal> {
        verify::verify(&self.lifecycle, grant, subject, code, real_only).await
    }

    async fn standing(&self, grant: &Grant, subject: &str) -> Result<AccountStanding, Refusal> {
        verify::standing(&self.lifecycle, grant, subject).await
    }

    async fn unlock(&self, grant: &Grant, subject: &str) -> Result<(), Refusal> {
        verify::unlock(&self.lifecycle, grant, subject).await
    }

    async fn issue_bypass(
        &self,
        grant: &Grant,
        subject: &str,
        wish: BypassWish,
        code: Delivery,
    ) -> Result<BypassTerms, Refusal> {
        self.lifecycle.issue_bypass(grant, subject, wish, code).await
    }

    async fn end_bypass(&self, grant: &Grant, case: CaseId) -> Result<(), Refusal> {
        self.lifecycle.end_bypass(grant, case).await
    }

    fn bypass_news(&self) -> broadcast::Receiver<BypassNews> {
        self.lifecycle.bypasses().subscribe()
    }

    async fn enforcement_for(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.lifecycle.enforcement_for(grant, subject).await
    }

    async fn defer(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.lifecycle.defer(grant, subject).await
    }

    async fn subject_status(&self, grant: &Grant, subject: &str) -> Result<SubjectStatus, Refusal> {
        self.lifecycle.subject_status(grant, subject).await
    }

    async fn coverage(&self, grant: &Grant) -> Result<Coverage, Refusal> {
        self.lifecycle.coverage(grant).await
    }

    async fn oath_credentials(
        &self,
        grant: &Grant,
        device: DeviceId,
        password: Option<Secret>,
    ) -> Result<Vec<OathCredential>, Refusal> {
        self.lifecycle.oath_credentials(grant, device, password).await
    }

    async fn pin_status(&self, grant: &Grant, device: DeviceId) -> Result<PinStatus, Refusal> {
        self.lifecycle.pin_status(grant, device).await
    }

    async fn alarms_before(&self, grant: &Grant, before: u64, limit: u32) -> Result<Vec<Raised>, Refusal> {
        self.lifecycle.alarms_before(grant, before, limit).await
    }

    async fn frozen(&self, grant: &Grant) -> Result<Vec<Frozen>, Refusal> {
        self.lifecycle.frozen(grant).await
    }

    async fn thaw(&self, grant: &Grant, operator: u32) -> Result<(), Refusal> {
        self.lifecycle.thaw(grant, operator).await
    }

    async fn was_denied(&self, operator: u32, subject: Option<String>) {
        self.lifecycle.denied(operator, subject).await;
    }

    fn alarms_raised(&self) -> broadcast::Receiver<Consequence> {
        self.lifecycle.alarms().subscribe()
    }

    fn untold_of(&self, token: TokenId) -> u32 {
        self.lifecycle.outbox().failing_of(token)
    }

    fn untold_in(&self, case: CaseId) -> u32 {
        self.lifecycle.outbox().failing_in(case)
    }

    fn overdue_letter(&self, case: &CaseRecord) -> Option<Intent> {
        self.lifecycle.overdue_letter(case)
    }

    fn post(&self, letters: Vec<Intent>) {
        self.lifecycle.outbox().post(letters);
    }

    async fn status(&self) -> Status {
        self.lifecycle.status().await
    }

    fn ledger(&self) -> &Arc<dyn Ledger> {
        self.lifecycle.ledger()
    }

    fn drift(&self) -> Drift {
        self.lifecycle.drift()
    }

    fn devices(&self) -> Vec<DeviceView> {
        self.lifecycle
            .devices()
            .devices()
            .iter()
            .map(|handle| view(handle.info()))
            .collect()
    }

    fn device(&self, id: DeviceId) -> Option<DeviceView> {
        self.lifecycle.devices().get(id).map(|handle| view(handle.info()))
    }

    fn device_events(&self) -> broadcast::Receiver<DeviceEvent> {
        self.lifecycle.devices().subscribe()
    }

    fn obligations_seen(&self) -> broadcast::Receiver<(DeviceId, ObligationId)> {
        self.lifecycle.obligations_seen()
    }

    fn revoked_keys_seen(&self) -> broadcast::Receiver<(DeviceId, TokenId)> {
        self.lifecycle.revoked_keys_seen()
    }

    async fn trusted_by(&self, record: &TokenRecord) -> Result<Vec<String>, Refusal> {
        self.lifecycle.trusted_by(record).await
    }

    fn device_of(&self, obligation: ObligationId) -> Option<DeviceId> {
        self.lifecycle.device_of(obligation)
    }
}

fn view(info: DeviceInfo) -> DeviceView {
    DeviceView {
        id: info.id,
        name: info.name,
        place: info.place,
        vendor: info.usb.map_or(0, |usb| usb.vendor),
        product: info.usb.map_or(0, |usb| usb.product),
        serial: info.serial,
        reality: info.reality,
        faces: info
            .faces
            .iter()
            .map(|face| match face {
                FaceKind::Hid => "hid".to_owned(),
                FaceKind::Card => "card".to_owned(),
            })
            .collect(),
        state: match info.state {
            DeviceState::Ready => "ready",
            DeviceState::Busy => "busy",
            DeviceState::Unresponsive => "unresponsive",
        },
    }
}
