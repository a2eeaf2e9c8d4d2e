//! `claviger show`

use serde_json::{Value, json};

use crate::client::arguments::exit;
use crate::client::devices;
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::render::{plain, record, sheet, variant};
use crate::client::session::{Session, no_options};
use crate::contract::DEVICES_PATH;
use crate::contract::proxy::Record;

/// Members of a token, the telling ones first.
const TOKEN_FIRST: &[&str] = &[
    "id",
    "kind",
    "state",
    "revoke-reason",
    "subject",
    "serial",
    "model",
    "label",
    "reality",
    "offset-ms",
    "last-seen-ms",
];

/// Digits of a device number; a longer number is a piece of a token's id.
const MAX_DEVICE_DIGITS: usize = 5;

/// Shows one device or one token.
pub async fn run(session: &Session, what: &str) -> Result<u8, Failure> {
    let is_number = what.len() <= MAX_DEVICE_DIGITS && what.parse::<u64>().is_ok();
    if is_number || what.starts_with(DEVICES_PATH) {
        device(session, what).await
    } else {
        token(session, what).await
    }
}

async fn token(session: &Session, given: &str) -> Result<u8, Failure> {
    let id = lookup::token(session, given).await?;
    let token = session.tokens().await?.get(&id, &no_options()).await?;
    session.output.object(&record(&token))?;
    session.output.text(&sheet(&token, TOKEN_FIRST))?;
    Ok(exit::DONE)
}

async fn device(session: &Session, given: &str) -> Result<u8, Failure> {
    let device = lookup::device(session, Some(given), "").await?;
    let described = session
        .device(device.path.clone())
        .await?
        .describe(&no_options())
        .await?;
    let mut object = devices::object(&device);
    if let Some(members) = object.as_object_mut() {
        for key in described.keys() {
            members.entry(key.clone()).or_insert_with(|| embedded(&described, key));
        }
    }
    session.output.object(&object)?;
    let mut lines = Vec::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::Object(members) => {
                lines.push(format!("{key}:"));
                lines.extend(
                    members
                        .iter()
                        .map(|(member, value)| format!("  {}", line(member, value))),
                );
            }
            value => lines.push(line(key, value)),
        }
    }
    session.output.text(&lines.join("\n"))?;
    Ok(exit::DONE)
}

fn line(key: &str, value: &Value) -> String {
    format!("{}: {}", crate::client::render::clean(key), plain(key, value))
}

/// A member of a description; `fido`, `oath`, `clock` and `identity` are JSON in a string and are unfolded.
pub fn embedded(described: &Record, key: &str) -> Value {
    let Some(value) = described.get(key) else {
        return Value::Null;
    };
    let value = variant(value);
    match (key, value.as_str()) {
        ("fido" | "oath" | "clock" | "identity", Some(text)) => {
            serde_json::from_str(text).unwrap_or_else(|_| json!(text))
        }
        _ => value,
    }
}
