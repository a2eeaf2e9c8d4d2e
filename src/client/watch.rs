//! `claviger watch`

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use zbus::names::InterfaceName;
use zbus::{MatchRule, MessageStream, OwnedObjectPath, message};

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::lookup::{self, DeviceRecord};
use crate::client::render::{cell, clean};
use crate::client::session::Session;
use crate::client::{devices, render};
use crate::contract::proxy::Record;
use crate::contract::{DEVICES_PATH, ROOT_PATH};

const DEVICE_INTERFACE: &str = "org.claviger.Device1";

/// Tells when devices come, go and change and when a device may owe something. Ends on Ctrl-C or with `--timeout`.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    let objects = session.objects().await?;
    let mut added = objects.receive_interfaces_added().await?;
    let mut removed = objects.receive_interfaces_removed().await?;
    let manager = session.manager().await?;
    let mut obligations = manager.receive_obligation_seen().await?;
    let mut revoked = manager.receive_revoked_seen().await?;
    let mut changes = property_changes(session).await?;
    let bus = zbus::fdo::DBusProxy::new(&session.connection).await?;
    let mut gone = bus
        .receive_name_owner_changed_with_args(&[(0, session.daemon.as_str())])
        .await?;
    let listen = |kind| signal(kind).map_err(|e| Failure::local(format!("cannot listen to signals: {e}")));
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;

    // Subscribed first, listed second: a device that comes in between is told twice rather than never.
    for device in lookup::devices(session).await? {
        tell_device(session, "device-present", "here", &device)?;
    }
    let end = session.timeout.map(|timeout| tokio::time::Instant::now() + timeout);
    let time_is_up = async {
        match end {
            Some(end) => tokio::time::sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    let mut time_is_up = std::pin::pin!(time_is_up);
    loop {
        tokio::select! {
            Some(signal) = added.next() => {
                let args = signal.args()?;
                let Some(path) = device_path(args.object_path.as_str()) else { continue };
                let interface = InterfaceName::from_static_str_unchecked(DEVICE_INTERFACE);
                if let Some(properties) = args.interfaces_and_properties.get(&interface) {
                    let properties = properties.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.try_to_owned().ok()?)));
                    let device = DeviceRecord { path: path.into_inner(), properties: properties.collect() };
                    tell_device(session, "device-added", "plugged in", &device)?;
                }
            }
            Some(signal) = removed.next() => {
                let args = signal.args()?;
                // A key leaves once for each of its interfaces.
                let itself = args.interfaces.iter().any(|name| name.as_str() == DEVICE_INTERFACE);
                if let Some(path) = device_path(args.object_path.as_str()).filter(|_| itself) {
                    let number = path.as_str().rsplit('/').next().unwrap_or_default();
                    session.output.object(&json!({ "event": "device-removed", "path": path.as_str(), "device": number.parse::<u64>().ok() }))?;
                    session.output.text(&format!("device {number} unplugged"))?;
                }
            }
            Some(message) = changes.next() => tell_change(session, &message?)?,
            Some(signal) = obligations.next() => {
                let args = signal.args()?;
                let (device, obligation) = (args.device.as_str(), args.obligation);
                session.output.object(&json!({ "event": "obligation-seen", "path": device, "obligation": obligation }))?;
                let number = device.rsplit('/').next().unwrap_or_default();
                session.output.text(&format!("device {} may owe something: “claviger discharge {}”", clean(number), clean(obligation)))?;
            }
            Some(signal) = revoked.next() => {
                let args = signal.args()?;
                let (device, token) = (args.device.as_str(), args.token);
                session.output.object(&json!({ "event": "revoked-seen", "path": device, "token": token }))?;
                let number = device.rsplit('/').next().unwrap_or_default();
                session.output.text(&format!("device {} is a revoked key: “claviger show {}”", clean(number), clean(token)))?;
            }
            _ = gone.next() => return Err(Failure::Unreachable("it has stopped".to_owned())),
            _ = interrupt.recv() => return Ok(exit::DONE),
            _ = terminate.recv() => return Ok(exit::DONE),
            () = &mut time_is_up => return Ok(exit::DONE),
            else => return Err(Failure::Unreachable("the bus has closed the connection".to_owned())),
        }
    }
}

async fn property_changes(session: &Session) -> Result<MessageStream, Failure> {
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(session.daemon.as_str().to_owned())
        .interface("org.freedesktop.DBus.Properties")
        .member("PropertiesChanged")
        .path_namespace(ROOT_PATH)
        .build()?;
    Ok(MessageStream::for_match_rule(rule, &session.connection, None).await?)
}

fn device_path(path: &str) -> Option<OwnedObjectPath> {
    path.starts_with(DEVICES_PATH)
        .then(|| OwnedObjectPath::try_from(path).ok())?
}

fn tell_device(session: &Session, event: &str, words: &str, device: &DeviceRecord) -> Result<(), Failure> {
    session
        .output
        .object(&json!({ "event": event, "device": devices::object(device) }))?;
    session.output.text(&format!(
        "device {} {words}: {} at {} {}",
        device.number(),
        clean(device.text("Name")),
        clean(device.text("Place")),
        devices::usb_id(device)
    ))
}

fn tell_change(session: &Session, message: &zbus::Message) -> Result<(), Failure> {
    let header = message.header();
    let path = header.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
    if !path.starts_with(DEVICES_PATH) {
        return Ok(());
    }
    let (_, changed, _): (String, Record, Vec<String>) = message.body().deserialize()?;
    session
        .output
        .object(&json!({ "event": "device-changed", "path": path, "changed": render::record(&changed) }))?;
    let number = path.rsplit('/').next().unwrap_or_default();
    let mut keys: Vec<&String> = changed.keys().collect();
    keys.sort_unstable();
    let words: Vec<String> = keys
        .iter()
        .map(|key| format!("{} {}", clean(key).to_lowercase(), cell(&changed, key)))
        .collect();
    session.output.text(&format!("device {number}: {}", words.join(", ")))
}
