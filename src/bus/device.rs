//! `org.claviger.Device1`, and how devices come and go on the bus.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use zbus::message::Header;
use zbus::{Connection, interface};

use super::call::Call;
use super::error::BusError;
use super::fido::FidoObject;
use super::operation::Accepted;
use super::sealed::{Opened, Sealed, required};
use super::values::{Dict, Options, Put, TextRule, path_of};
use super::{Desk, DeviceEvent, DeviceView, OathCredential};
use crate::contract::options as key;
use crate::grant::Object;
use crate::guard::Deed;
use crate::lifecycle::{OathDeed, Request};
use crate::types::DeviceId;
use crate::types::shown::{printable, without_serial};

/// What a deed on an applet that destroys nothing takes.
const PASSWORD_ALONE: &[&str] = &[key::PASSWORD];

/// What is shown of a device: never its serial.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    name: String,
    place: String,
    vendor: u16,
    product: u16,
    faces: Vec<String>,
    reality: &'static str,
    state: &'static str,
}

impl From<&DeviceView> for Shown {
    fn from(view: &DeviceView) -> Self {
        let serial = view.serial.as_deref();
        Self {
            name: without_serial(&view.name, serial),
            place: without_serial(&view.place, serial),
            vendor: view.vendor,
            product: view.product,
            faces: view.faces.clone(),
            reality: view.reality.as_str(),
            state: view.state,
        }
    }
}

/// Keeps the bus's devices the same as the registry's.
pub(super) struct Devices {
    connection: Connection,
    desk: Arc<Desk>,
    shown: HashMap<DeviceId, Arc<Mutex<Shown>>>,
    /// Which devices are on the bus, for those who wait for one to be.
    exported: watch::Sender<HashSet<DeviceId>>,
}

impl Devices {
    pub(super) fn new(connection: &Connection, desk: Arc<Desk>) -> Self {
        Self {
            connection: connection.clone(),
            desk,
            shown: HashMap::new(),
            exported: watch::Sender::default(),
        }
    }

    /// Tells which devices are on the bus.
    pub(super) fn exported(&self) -> watch::Receiver<HashSet<DeviceId>> {
        self.exported.subscribe()
    }

    /// Follows the registry until it is gone. What was missed (a flood of events) is made good from the list.
    pub(super) async fn follow(mut self, mut events: broadcast::Receiver<DeviceEvent>) {
        self.catch_up().await;
        loop {
            match events.recv().await {
                Ok(DeviceEvent::Arrived(id) | DeviceEvent::Faces(id) | DeviceEvent::State(id)) => {
                    // None: it has left meanwhile, and the event that says so is on its way.
                    if let Some(view) = self.desk.verbs.device(id) {
                        self.show(&view).await;
                    }
                }
                Ok(DeviceEvent::Left(id)) => self.hide(id).await,
                Err(RecvError::Lagged(_)) => self.catch_up().await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn catch_up(&mut self) {
        let present = self.desk.verbs.devices();
        let gone: Vec<DeviceId> = self
            .shown
            .keys()
            .filter(|id| present.iter().all(|view| view.id != **id))
            .copied()
            .collect();
        for id in gone {
            self.hide(id).await;
        }
        for view in &present {
            self.show(view).await;
        }
    }

    async fn show(&mut self, view: &DeviceView) {
        let done = match self.shown.get(&view.id) {
            Some(cell) => self.change(view, Arc::clone(cell)).await,
            None => self.add(view).await,
        };
        if let Err(error) = done {
            tracing::warn!(%error, device = %view.id, "a device could not be shown on the bus");
        }
    }

    async fn add(&mut self, view: &DeviceView) -> zbus::Result<()> {
        let cell = Arc::new(Mutex::new(Shown::from(view)));
        let object = DeviceObject {
            id: view.id,
            shown: Arc::clone(&cell),
            desk: Arc::clone(&self.desk),
        };
        let path = path_of(view.id).map_err(|error| zbus::Error::Failure(error.to_string()))?;
        let keys = FidoObject::new(view.id, Arc::clone(&self.desk));
        self.connection.object_server().at(&path, keys).await?;
        self.connection.object_server().at(path, object).await?;
        self.shown.insert(view.id, cell);
        self.exported.send_modify(|ids| {
            ids.insert(view.id);
        });
        Ok(())
    }

    /// Changes what is shown and tells which properties are different.
    async fn change(&self, view: &DeviceView, cell: Arc<Mutex<Shown>>) -> zbus::Result<()> {
        let new = Shown::from(view);
        let old = std::mem::replace(&mut *cell.lock().unwrap_or_else(PoisonError::into_inner), new.clone());
        if old == new {
            return Ok(());
        }
        let path = path_of(view.id).map_err(|error| zbus::Error::Failure(error.to_string()))?;
        let object = self
            .connection
            .object_server()
            .interface::<_, DeviceObject>(path)
            .await?;
        let emitter = object.signal_emitter();
        let device = object.get().await;
        if old.place != new.place {
            device.place_changed(emitter).await?;
        }
        if old.faces != new.faces {
            device.faces_changed(emitter).await?;
        }
        if old.state != new.state {
            device.state_changed(emitter).await?;
        }
        if old.vendor != new.vendor {
            device.vendor_id_changed(emitter).await?;
        }
        if old.product != new.product {
            device.product_id_changed(emitter).await?;
        }
        Ok(())
    }

    async fn hide(&mut self, id: DeviceId) {
        if self.shown.remove(&id).is_none() {
            return;
        }
        self.exported.send_modify(|ids| {
            ids.remove(&id);
        });
        let Ok(path) = path_of(id) else { return };
        let server = self.connection.object_server();
        if let Err(error) = server.remove::<FidoObject, _>(&path).await {
            tracing::warn!(%error, device = %id, "the FIDO2 side of a device that left could not be taken off the bus");
        }
        if let Err(error) = server.remove::<DeviceObject, _>(path).await {
            tracing::warn!(%error, device = %id, "a device that left could not be taken off the bus");
        }
    }
}

/// Hardware that is plugged in now, on the bus.
pub(super) struct DeviceObject {
    id: DeviceId,
    shown: Arc<Mutex<Shown>>,
    desk: Arc<Desk>,
}

impl DeviceObject {
    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[interface(name = "org.claviger.Device1")]
impl DeviceObject {
    /// Product name as the device tells it.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.shown().name
    }

    /// Where a person finds it: “USB port 1-4”, “reader ACME 00 00”.
    #[zbus(property)]
    fn place(&self) -> String {
        self.shown().place
    }

    /// USB idVendor, 0 when unknown.
    #[zbus(property)]
    fn vendor_id(&self) -> u16 {
        self.shown().vendor
    }

    /// USB idProduct, 0 when unknown.
    #[zbus(property)]
    fn product_id(&self) -> u16 {
        self.shown().product
    }

    /// Ways in: `hid`, `card`.
    #[zbus(property)]
    fn faces(&self) -> Vec<String> {
        self.shown().faces
    }

    /// `hardware` or `virtual`.
    #[zbus(property(emits_changed_signal = "const"))]
    fn reality(&self) -> String {
        self.shown().reality.to_owned()
    }

    /// `ready`, `busy` or `unresponsive` (unplug it and plug it in again).
    #[zbus(property)]
    fn state(&self) -> String {
        self.shown().state.to_owned()
    }

    /// Asks the device what it is and what it can do, serial included; needs neither touch nor PIN. [inspect]
    /// description: serial (s), fido (s, JSON of getInfo with pin-retries), oath (s, JSON of the applet), clock (s, JSON of a fob
    /// whose clock can be read: maker, serial, model, clock, offsetSeconds, clockWipesSeed), token (s, id of the token it is the body
    /// of, when that is known), identity (s, JSON: confidence, which is “serial”, “model” or “place”; serial, serialFrom (“management”,
    /// “usb”), serialIs (“own”, “claimed”, “constant”); aaguid, fingerprint; place; lookalikes: numbers of the devices it cannot be told
    /// from).
    #[zbus(out_args("description"))]
    async fn describe(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Dict, BusError> {
        let case = Options::new(options, &[])?.case()?;
        let grant = self
            .desk
            .guard
            .admit(&header, Deed::on(Object::Device(self.id), case))
            .await?;
        let said = self.desk.verbs.describe(&grant, self.id).await?;
        let mut description = Dict::new();
        description.put_some("serial", said.serial.as_deref().map(printable));
        description.put_some("fido", said.fido.map(|json| json.to_string()));
        description.put_some("oath", said.oath.map(|json| json.to_string()));
        description.put_some("clock", said.clock.map(|json| json.to_string()));
        description.put_some("token", said.token.map(|id| id.to_string()));
        description.put_some("identity", said.identity.map(|json| json.to_string()));
        Ok(description)
    }

    /// What is on the device's OATH applet. The names may name persons. [inspect]
    /// options: password (h, protected card), case (s).
    /// Each: name (s), event (b: it counts), algorithm (s), period-s (u), token (s, when it is the body of a live token).
    /// Errors: PasswordRequired, PasswordInvalid, PasswordThrottled (the card does not count wrong passwords, so the daemon does).
    #[zbus(out_args("credentials"))]
    async fn list_oath_credentials(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<Dict>, BusError> {
        let mut given = Options::new(options, &[key::PASSWORD])?;
        let sealed = Sealed {
            password: given.descriptor(key::PASSWORD)?,
            ..Sealed::default()
        };
        let deed = Deed::on(Object::Device(self.id), given.case()?);
        let grant = self.desk.guard.admit(&header, deed).await?;
        let opened = sealed.open(&self.desk.file_reads).await?;
        let credentials = self.desk.verbs.oath_credentials(&grant, self.id, opened.password);
        Ok(credentials.await?.iter().map(credential).collect())
    }

    /// Sets or changes the password of the applet; of a Nitrokey 3, its PIN. It is proved after it was set. [configure]
    /// new_password: descriptor, 1 to 127 bytes. options: password (h: the one it has), case (s).
    #[zbus(out_args("operation"))]
    async fn set_oath_password(
        &self,
        new_password: zbus::OwnedFd,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let more = Sealed {
            new_password: Some(new_password.into()),
            ..Sealed::default()
        };
        self.oath(&header, (options, PASSWORD_ALONE), more, |opened| {
            Ok(OathDeed::SetPassword(required(opened.new_password.take())?))
        })
        .await
    }

    /// Removes the password of the applet. [configure]
    /// options: password (h), case (s).
    #[zbus(out_args("operation"))]
    async fn remove_oath_password(
        &self,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        self.oath(&header, (options, PASSWORD_ALONE), Sealed::default(), |_| {
            Ok(OathDeed::RemovePassword)
        })
        .await
    }

    /// Renames a credential of the applet; when it is the body of a token, the token's record follows. [configure]
    /// options: password (h), case (s). Details on success: token (s, if it was one's body). Errors: NoCredential, Unsupported.
    #[zbus(out_args("operation"))]
    async fn rename_oath_credential(
        &self,
        from: String,
        to: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let from = TextRule::OATH_NAME.check("from", from)?;
        let to = TextRule::OATH_NAME.check("to", to)?;
        self.oath(&header, (options, PASSWORD_ALONE), Sealed::default(), |_| {
            Ok(OathDeed::Rename { from, to })
        })
        .await
    }

    /// Deletes a credential that is no token's body, by its name; what is a token's body is deleted by revoking that token. [revoke]
    /// options: password (h), place (s: where the device is, when another one cannot be told from it), case (s). Errors: NoCredential,
    /// DeviceAmbiguous, InvalidArgument.
    #[zbus(out_args("operation"))]
    async fn delete_oath_credential(
        &self,
        name: String,
        options: Dict,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Accepted, BusError> {
        let name = TextRule::OATH_NAME.check("name", name)?;
        let known = &[key::PASSWORD, key::PLACE];
        self.oath(&header, (options, known), Sealed::default(), |_| {
            Ok(OathDeed::Delete { name })
        })
        .await
    }

    /// Wipes the applet with all its credentials and its password, which is not needed for it. Without the option reset nothing is
    /// done, and the operation is refused with a sentence that tells what would be lost. The tokens whose credentials die are revoked
    /// first, and what was owed to the applet is settled with it. [revoke]
    /// options: reset (b), place (s: where the device is, when another one cannot be told from it), case (s). Errors: DeviceAmbiguous,
    /// Unsupported (a card without this command).
    #[zbus(out_args("operation"))]
    async fn reset_oath(&self, options: Dict, #[zbus(header)] header: Header<'_>) -> Result<Accepted, BusError> {
        let mut given = Options::new(options, &[key::RESET, key::PLACE])?;
        let confirmed = given.flag(key::RESET)?;
        let place = given.text(key::PLACE, TextRule::PLACE)?;
        let deed = Deed::on(Object::Device(self.id), given.case()?).with(key::RESET, confirmed);
        let device = self.id;
        let request = Request::Oath {
            device,
            deed: OathDeed::Reset { confirmed },
            password: None,
            place,
        };
        Call::plain(deed, request).launch(&self.desk, &header).await
    }
}

impl DeviceObject {
    /// A deed on the applet that may need its password.
    async fn oath(
        &self,
        header: &Header<'_>,
        (options, known): (Dict, &[&'static str]),
        more: Sealed,
        deed: impl FnOnce(&mut Opened) -> Result<OathDeed, BusError> + Send + 'static,
    ) -> Result<Accepted, BusError> {
        let mut given = Options::new(options, known)?;
        let place = given.text(key::PLACE, TextRule::PLACE)?;
        let sealed = Sealed {
            password: given.descriptor(key::PASSWORD)?,
            ..more
        };
        let asked = Deed::on(Object::Device(self.id), given.case()?);
        let device = self.id;
        Call::new(asked, sealed, move |mut opened| {
            Ok(Request::Oath {
                device,
                deed: deed(&mut opened)?,
                password: opened.password,
                place,
            })
        })
        .launch(&self.desk, header)
        .await
    }
}

/// A credential of an applet, as it is told.
fn credential(credential: &OathCredential) -> Dict {
    let mut told = Dict::new();
    told.put("name", printable(&credential.name));
    told.put("event", credential.event);
    told.put("algorithm", credential.algorithm.as_str());
    told.put_some("period-s", credential.period_s);
    told.put_some("token", credential.token.map(|id| id.to_string()));
    told
}
