//! `claviger obligations`

use serde_json::json;

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::render::{cell, record, table};
use crate::client::session::Session;

/// Lists what is still owed to devices of revoked tokens.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    let found = lookup::obligations(session).await?;
    session
        .output
        .object(&json!({ "obligations": found.iter().map(record).collect::<Vec<_>>() }))?;
    if found.is_empty() {
        session.output.say("Nothing is owed.")?;
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|owed| {
            let device = cell(owed, "device");
            let here = device.rsplit('/').next().unwrap_or_default().to_owned();
            vec![
                cell(owed, "id"),
                cell(owed, "duty"),
                cell(owed, "token"),
                cell(owed, "created-ms"),
                here,
            ]
        })
        .collect();
    session
        .output
        .text(&table(&["OBLIGATION", "DUTY", "TOKEN", "SINCE", "DEVICE"], &rows))?;
    Ok(exit::DONE)
}
