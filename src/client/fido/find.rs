//! `claviger fido find`: all keys blink, one is touched.

use std::pin::Pin;

use futures_util::future::select_all;
use serde_json::json;

use crate::client::arguments::exit;
use crate::client::devices;
use crate::client::failure::Failure;
use crate::client::follow;
use crate::client::lookup::{self, DeviceRecord};
use crate::client::render::clean;
use crate::client::session::{Session, no_options};

type Waiting<'s> = Pin<Box<dyn Future<Output = (DeviceRecord, Result<(), Failure>)> + 's>>;

/// Asks every key at once for a touch; the first one ends it, and the others are let go.
pub(super) async fn find(session: &Session) -> Result<u8, Failure> {
    let keys = lookup::devices(session).await?;
    let mut waiting: Vec<Waiting<'_>> = Vec::new();
    for device in keys {
        // Cards that are no keys say so at once.
        waiting.push(Box::pin(async move {
            let touched = touched(session, &device).await;
            (device, touched)
        }));
    }
    if waiting.is_empty() {
        return Err(Failure::usage("no key is plugged in"));
    }
    session.output.say("Touch the key that is meant.")?;
    let mut why = None;
    while !waiting.is_empty() {
        let ((device, touched), _, rest) = select_all(waiting).await;
        waiting = rest;
        match touched {
            Ok(()) => {
                // Their futures are dropped, and the daemon ends what the connection leaves behind.
                drop(waiting);
                return tell(session, &device);
            }
            Err(Failure::Cancelled(reason)) => return Err(Failure::Cancelled(reason)),
            Err(failure) => {
                why.get_or_insert(failure);
            }
        }
    }
    Err(why.unwrap_or_else(|| Failure::local("no key was touched")))
}

async fn touched(session: &Session, device: &DeviceRecord) -> Result<(), Failure> {
    let key = session.fido(device.path.clone()).await?;
    follow::run(session, key.await_touch(&no_options())).await.map(|_| ())
}

fn tell(session: &Session, device: &DeviceRecord) -> Result<u8, Failure> {
    session.output.object(&json!({ "touched": devices::object(device) }))?;
    session.output.text(&format!(
        "{}  {}  {}",
        device.number(),
        clean(device.text("Name")),
        clean(device.text("Place"))
    ))?;
    Ok(exit::DONE)
}
