//! Ring 1: every getInfo statement of the FIDO metadata service, taken on by a simulated key, as `claviger show` shows it.
#[allow(dead_code, missing_docs)]
#[path = "harness/bus.rs"]
mod bus;
#[path = "harness/house.rs"]
mod house;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use house::{Figures, House, path_of};
use hw_fixtures::token::TokenSetup;
use hw_fixtures::{Profile, Token};
use serde_json::{Value, json};

/// What `describe` adds for a key with a PIN.
const ADDED: [&str; 2] = ["pinRetries", "powerCycleState"];

fn statements() -> Option<PathBuf> {
    let root = std::env::var_os("CLAVIGER_SHARED_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let path = root.join("getinfo");
    if path.is_dir() {
        return Some(path);
    }
    let _ = writeln!(
        std::io::stderr(),
        "every_statement_is_shown_as_it_was_made: skipped, no test data at {} (CLAVIGER_SHARED_DATA)",
        path.display()
    );
    None
}

async fn show(house: &House, device: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claviger"));
    command.args(["--bus", house.bus().address(), "--json", "show", device]);
    let output = tokio::task::spawn_blocking(move || command.output().expect("claviger"));
    let output = output.await.expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

async fn shown(house: &House, name: &str, stated: &Value) -> Value {
    let profile = Profile::stating(name, stated).expect("a profile");
    let token = Token::new(&profile, TokenSetup::named(name)).expect("a key");
    let plugged = house.plug(&token);
    house.device(&plugged).await;
    let path = path_of(&plugged);
    let mut told = show(house, path.as_str()).await["fido"].take();
    let members = told.as_object_mut().expect("getInfo");
    members.retain(|member, _| !ADDED.contains(&member.as_str()));
    told
}

#[tokio::test]
async fn every_statement_is_shown_as_it_was_made() {
    let Some(folder) = statements() else { return };
    let house = House::start(&Figures::default()).await;
    let mut count = 0;
    let mut members = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a statement");
        let statement: Value = serde_json::from_str(&text).expect("JSON");
        let mut stated = statement["authenticatorGetInfo"].clone();
        // Some statements write the AAGUID with hyphens; it is sixteen bytes.
        let aaguid = stated["aaguid"].as_str().expect("an AAGUID").replace('-', "");
        stated["aaguid"] = aaguid.to_lowercase().into();
        let told = shown(&house, &format!("stated-{count}"), &stated).await;
        assert_eq!(told, stated, "{}", path.display());
        members += stated.as_object().expect("a map").len();
        count += 1;
    }
    println!("{count} statements with {members} members are shown as they were made");
    assert_eq!(count, 151);
    house.assert_no_panic();
}

/// What no statement has: members of CTAP 2.2 and 2.3, ones that nobody knows, and one of a type it should not have.
#[tokio::test]
async fn members_that_came_later_are_named_and_unknown_ones_are_kept() {
    let house = House::start(&Figures::default()).await;
    let stated = json!({
        "versions": ["FIDO_2_1"],
        "aaguid": "23232323000040008000000000000023",
        "options": {"rk": true, "someNewOption": false},
        "vendorPrototypeConfigCommands": [1, 4_294_967_295_u32],
        "attestationFormats": ["packed"],
        "uvCountSinceLastPinEntry": 2,
        "longTouchForReset": true,
        "encIdentifier": "00ff00ff",
        "transportsForReset": ["usb"],
        "pinComplexityPolicy": true,
        "pinComplexityPolicyURL": "https://example.org/pins",
        "maxPINLength": 32,
        "encCredStoreState": "abcd",
        "authenticatorConfigCommands": [1, 2, 3],
        "firmwareVersion": "not a number",
        "77": {"of": ["another", "time"]},
    });
    let mut told = shown(&house, "later", &stated).await;
    // A member of the wrong type is kept, under its number, like one that nobody knows.
    let firmware = told.as_object_mut().expect("a map").remove("14");
    told["firmwareVersion"] = firmware.expect("member 14");
    assert_eq!(told, stated);
}
