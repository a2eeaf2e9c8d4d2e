//! `claviger tokens`

use serde_json::json;
use zbus::Variant;

use crate::client::arguments::{TokensArgs, exit};
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::render::{cell, record, table};
use crate::client::session::Session;
use crate::contract::proxy::Options;

/// Lists the tokens that the filters find.
pub async fn run(session: &Session, args: &TokensArgs) -> Result<u8, Failure> {
    let filters = [
        ("kind", &args.kind),
        ("state", &args.state),
        ("subject", &args.subject),
        ("serial", &args.serial),
        ("maker", &args.maker),
        ("model", &args.model),
        ("batch", &args.batch),
    ];
    let filter: Options<'_> = filters
        .iter()
        .filter_map(|(key, value)| Some((*key, Variant::from(value.as_deref()?))))
        .collect();
    let found = lookup::find(session, &filter).await?;
    session
        .output
        .object(&json!({ "tokens": found.iter().map(record).collect::<Vec<_>>() }))?;
    if found.is_empty() {
        session.output.say("No token.")?;
        return Ok(exit::DONE);
    }
    let columns = ["id", "kind", "state", "subject", "serial", "model"];
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|token| {
            let mut row: Vec<String> = columns.iter().map(|key| cell(token, key)).collect();
            row.push(if cell(token, "reality") == "virtual" {
                "virtual".to_owned()
            } else {
                cell(token, "label")
            });
            row
        })
        .collect();
    session.output.text(&table(
        &["TOKEN", "KIND", "STATE", "SUBJECT", "SERIAL", "MODEL", "LABEL"],
        &rows,
    ))?;
    Ok(exit::DONE)
}
