//! `claviger doctor --second-opinion`: what the daemon's engine reads from a key against what another engine reads.

use serde_json::{Map, Value};

use crate::client::arguments::SecondOpinionArgs;
use crate::client::doctor::Check;
use crate::client::failure::Failure;
use crate::client::render::clean;
use crate::client::session::{Session, no_options};
use crate::client::{lookup, second_opinion, show};

/// Members that both engines read.
const MEMBERS: &[&str] = &[
    "versions",
    "extensions",
    "aaguid",
    "options",
    "max-msg-size",
    "pin-uv-auth-protocols",
    "pin-retries",
];

/// Asks both and gives a check for each member that differs, or one that says they agree.
///
/// # Errors
/// As the daemon says; [`Failure::Usage`] for a device that has no hidraw face or is virtual.
pub async fn run(session: &Session, given: &str) -> Result<Vec<Check>, Failure> {
    let device = lookup::device(session, Some(given), "hid").await?;
    let name = format!("{} at {}", clean(device.text("Name")), clean(device.text("Place")));
    if !device.has_face("hid") {
        return Err(Failure::usage(format!(
            "{name} has no FIDO interface over USB: the second engine knows no other"
        )));
    }
    if device.text("Reality") == "virtual" {
        return Err(Failure::usage(format!(
            "{name} is virtual: the second engine reads only keys the kernel knows"
        )));
    }
    // The daemon holds a key for the length of an operation alone; what it must not do is talk to it meanwhile.
    if device.text("State") != "ready" {
        return Err(Failure::usage(format!(
            "{name} is {}: wait until it is ready",
            clean(device.text("State"))
        )));
    }
    let described = session
        .device(device.path.clone())
        .await?
        .describe(&no_options())
        .await?;
    let ours = show::embedded(&described, "fido");
    let theirs = second_opinion::ask(&SecondOpinionArgs {
        vendor: device.number_of("VendorId"),
        product: device.number_of("ProductId"),
        place: device.text("Place").to_owned(),
    })
    .await?;
    let differences = differences(&ours, &theirs);
    if differences.is_empty() {
        return Ok(vec![Check::ok(
            "second opinion",
            format!("both engines read the same from {name}"),
        )]);
    }
    let check = |(member, ours, theirs): (&str, String, String)| {
        let finding = format!("{member} of {name}: the daemon reads {ours}, the second engine {theirs}");
        Check::warn(
            "second opinion",
            finding,
            "keep both readings and report them; the key may answer at random",
        )
    };
    Ok(differences.into_iter().map(check).collect())
}

/// Members in which the two readings differ, with both values cleaned for a terminal. A member that only one of them
/// tells is not compared: the engines know different versions of the standard.
fn differences(ours: &Value, theirs: &Value) -> Vec<(&'static str, String, String)> {
    let (ours, theirs) = (by_plain_name(ours), by_plain_name(theirs));
    MEMBERS
        .iter()
        .filter_map(|member| {
            let key = plain_name(member);
            let (one, other) = (ours.get(&key)?, theirs.get(&key)?);
            let same = comparable(&key, one) == comparable(&key, other);
            (!same).then(|| (*member, clean(&one.to_string()), clean(&other.to_string())))
        })
        .collect()
}

/// `pinUvAuthProtocols`, `pin-uv-auth-protocols` and `pin_uv_auth_protocols` are one name.
fn plain_name(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

fn by_plain_name(value: &Value) -> Map<String, Value> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (plain_name(key), value.clone()))
        .collect()
}

/// An AAGUID is written with hyphens or without.
fn comparable(key: &str, value: &Value) -> Value {
    match value.as_str() {
        Some(text) if key == "aaguid" => Value::String(plain_name(text)),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spelling_is_no_difference_and_a_lie_is() {
        let ours = json!({"aaguid": "cb69481e-8ff7-4039-93ec-0a2729a154a8", "maxMsgSize": 1200, "options": {"rk": true},
                          "pin-retries": 8, "min-pin-length": 4});
        let theirs = json!({"aaguid": "cb69481e8ff7403993ec0a2729a154a8", "max-msg-size": 1200, "options": {"rk": true},
                            "pin-retries": 7});
        let found = differences(&ours, &theirs);
        assert_eq!(found, [("pin-retries", "8".to_owned(), "7".to_owned())]);
    }
}
