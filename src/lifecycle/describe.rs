//! Asking a device what it is. Needs neither touch nor PIN and changes nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::device::DeviceError;
use crate::device::handle::DeviceHandle;
use crate::device::identity::Facts;
use crate::device::oath::OathSession;
use crate::device::oath::maker::Hints;
use crate::device::session::Session;
use crate::grant::{Action, Grant, Object};
use crate::ledger::Filter;
use crate::lifecycle::key::with_key;
use crate::lifecycle::{Lifecycle, Refusal, nfc_fob};
use crate::link::FaceKind;
use crate::types::{Cancel, Clock, DeviceId, TokenId, TokenState};

/// What a device said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    /// Serial as USB tells it.
    pub serial: Option<String>,
    /// getInfo, with `pinRetries` and `powerCycleState` where the key has a PIN.
    pub fido: Option<Value>,
    /// The OATH applet: version, device id, whether it is locked, how many credentials.
    pub oath: Option<Value>,
    /// A fob whose clock can be read: maker, serial, model, its clock, how far it is off.
    pub clock: Option<Value>,
    /// The live token it is the body of, where its serial tells.
    pub token: Option<TokenId>,
    /// Who it is, and how sure that is.
    pub identity: Option<Value>,
}

impl Lifecycle {
    /// Describes a device.
    ///
    /// # Errors
    /// [`Refusal::UnknownDevice`], [`Refusal::Device`].
    pub async fn describe(&self, grant: &Grant, device: DeviceId) -> Result<Description, Refusal> {
        grant.require(Action::Inspect, &Object::Device(device))?;
        let handle = self.devices().get(device).ok_or(Refusal::UnknownDevice)?;
        let info = handle.info();
        let figures = self.settings().deadlines;
        let deadline = std::time::Instant::now() + figures.lock + figures.exchange * 4;
        let clock = Arc::clone(self.clock());
        let mut description = handle
            .run(deadline, Cancel::new(), move |session| {
                Ok(ask(session, device, clock.as_ref()))
            })
            .await??;
        let facts = self.identify(&handle, &Cancel::new()).await?;
        if let Some(serial) = &facts.serial {
            description.serial = Some(serial.text.clone());
        }
        description.identity = Some(self.identity_of(&handle, &facts));
        let constant = facts.serial.is_some() && facts.telling_serial().is_none();
        if let Some(serial) = description.serial.clone().filter(|_| !constant) {
            let filter = Filter {
                serial: Some(serial),
                ..Filter::default()
            };
            let found = self.ledger().find(&filter, None, 16).await?;
            let mut live = found
                .items
                .into_iter()
                .filter(|record| record.state != TokenState::Revoked && record.reality == info.reality);
            // Keys with the same constant serial exist: two candidates are none.
            description.token = match (live.next(), live.next()) {
                (Some(only), None) => Some(only.id),
                _ => None,
            };
        }
        Ok(description)
    }
}

impl Lifecycle {
    /// Who the device is, as JSON. Of its neighbours only what they told before is known: they are not asked.
    fn identity_of(&self, handle: &DeviceHandle, facts: &Facts) -> Value {
        let alike = self.lookalikes(handle, facts);
        let told: Vec<Facts> = alike.iter().map(DeviceHandle::facts).collect();
        json!({
            "confidence": facts.confidence(&told),
            "serial": facts.serial.as_ref().map(|serial| serial.text.as_str()),
            "serialFrom": facts.serial.as_ref().map(|serial| serial.source.as_str()),
            "serialIs": facts.serial.as_ref().map(|serial| serial.honesty.as_str()),
            "aaguid": facts.aaguid,
            "fingerprint": facts.fingerprint,
            "place": handle.info().place,
            "lookalikes": alike.iter().map(|other| other.id().0).collect::<Vec<_>>(),
        })
    }
}

fn ask(session: &mut Session, device: DeviceId, clock: &dyn Clock) -> Result<Description, Refusal> {
    let mut description = Description::default();
    if session.has(FaceKind::Hid) {
        description.fido = Some(ask_key(session, device)?);
    } else {
        // Most cards are no keys, and say so each in its own way.
        description.fido = match ask_key(session, device) {
            Ok(info) => Some(info),
            Err(Refusal::Device(DeviceError::Unsupported(_) | DeviceError::Status(_) | DeviceError::Protocol(_))) => {
                None
            }
            Err(error) => return Err(error),
        };
    }
    if session.has(FaceKind::Card) {
        match ask_card(session) {
            Ok(applet) => description.oath = Some(applet),
            // A fob of that sort knows no SELECT and answers it as it likes.
            Err(error @ (DeviceError::Unsupported(_) | DeviceError::Status(_) | DeviceError::Protocol(_))) => {
                match nfc_fob::with_fob(session, clock, |_, face| Ok(face)) {
                    Ok(face) => {
                        description.clock = Some(nfc_fob::to_json(&face));
                        description.serial = Some(face.serial);
                    }
                    Err(Refusal::Device(DeviceError::Unsupported(_)))
                        if matches!(error, DeviceError::Unsupported(_)) => {}
                    // A key that has FIDO and nothing else.
                    Err(_) if description.fido.is_some() => {}
                    Err(_) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(description)
}

fn ask_key(session: &mut Session, device: DeviceId) -> Result<Value, Refusal> {
    with_key(session, None, device, |key| {
        let info = key.session.get_info(&mut key.context)?;
        let mut value = info.to_json();
        if info.option("clientPin") == Some(true) {
            let retries = key.session.pin_retries(&mut key.context)?;
            if let Some(object) = value.as_object_mut() {
                object.insert("pinRetries".to_owned(), json!(retries.left));
                object.insert("powerCycleState".to_owned(), json!(retries.power_cycle_needed));
            }
        }
        Ok(value)
    })
}

fn ask_card(session: &mut Session) -> Result<Value, DeviceError> {
    let (deadline, cancel) = (session.deadline(), session.cancel().clone());
    let hints = Hints::of(session.faces());
    let mut link = session.open_card()?;
    let mut session = OathSession::open(link.as_mut(), &hints, deadline, &cancel)?;
    let [major, minor, patch] = session.applet().version;
    let device_id = session.applet().device_id();
    let locked = session.is_locked();
    let maker = session.habits().maker.as_str();
    let credentials = if locked { None } else { Some(session.list()?.len()) };
    Ok(json!({
        "maker": maker,
        "version": format!("{major}.{minor}.{patch}"),
        "deviceId": device_id,
        "passwordProtected": locked,
        "credentials": credentials,
    }))
}
