//! `claviger devices`

use serde_json::{Value, json};

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::lookup::{self, DeviceRecord};
use crate::client::render::{cell, clean, table, variant};
use crate::client::session::Session;

/// Lists what is plugged in now. Needs no permission: none of it names a person or a serial.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    let devices = lookup::devices(session).await?;
    session
        .output
        .object(&json!({ "devices": devices.iter().map(object).collect::<Vec<_>>() }))?;
    if devices.is_empty() {
        session.output.say("No device is plugged in.")?;
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = devices
        .iter()
        .map(|device| {
            vec![
                device.number().to_owned(),
                clean(device.text("Name")),
                clean(device.text("Place")),
                cell(&device.properties, "Faces"),
                usb_id(device),
                remarks(device),
            ]
        })
        .collect();
    session
        .output
        .text(&table(&["DEVICE", "NAME", "PLACE", "WAYS IN", "USB", "STATE"], &rows))?;
    Ok(exit::DONE)
}

/// A device as JSON, keys as everywhere else on the interface.
pub fn object(device: &DeviceRecord) -> Value {
    let property = |name: &str| device.properties.get(name).map_or(Value::Null, |value| variant(value));
    json!({
        "device": device.number().parse::<u64>().ok(),
        "path": device.path.as_str(),
        "name": property("Name"),
        "place": property("Place"),
        "vendor-id": property("VendorId"),
        "product-id": property("ProductId"),
        "faces": property("Faces"),
        "reality": property("Reality"),
        "state": property("State"),
    })
}

/// `1050:0407`, empty when unknown.
pub fn usb_id(device: &DeviceRecord) -> String {
    match (device.number_of("VendorId"), device.number_of("ProductId")) {
        (0, _) => String::new(),
        (vendor, product) => format!("{vendor:04x}:{product:04x}"),
    }
}

fn remarks(device: &DeviceRecord) -> String {
    let state = clean(device.text("State"));
    if device.text("Reality") == "virtual" {
        format!("{state}, virtual")
    } else {
        state
    }
}
