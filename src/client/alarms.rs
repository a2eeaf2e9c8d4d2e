//! `claviger alarms` and `thaw`: what was out of the ordinary, and whose authority it froze.

use serde_json::json;

use crate::client::arguments::{ThawArgs, exit};
use crate::client::failure::Failure;
use crate::client::render::{cell, record, table};
use crate::client::session::{Session, no_options};

/// How many alarms are shown.
const SHOWN: u32 = 100;

/// Shows the last alarms and who is frozen.
pub async fn run(session: &Session) -> Result<u8, Failure> {
    let manager = session.manager().await?;
    let alarms = manager.alarms(0, SHOWN, &no_options()).await?;
    let frozen = manager.frozen(&no_options()).await?;
    if session.output.json {
        let all = |rows: &[crate::contract::proxy::Record]| rows.iter().map(record).collect::<Vec<_>>();
        session
            .output
            .object(&json!({"alarms": all(&alarms), "frozen": all(&frozen)}))?;
        return Ok(exit::DONE);
    }
    if alarms.is_empty() {
        session.output.say("No alarm.")?;
    } else {
        let rows: Vec<Vec<String>> = alarms
            .iter()
            .map(|alarm| {
                vec![
                    cell(alarm, "seq"),
                    cell(alarm, "at-ms"),
                    cell(alarm, "kind"),
                    cell(alarm, "operator"),
                    cell(alarm, "token"),
                ]
            })
            .collect();
        session
            .output
            .text(&table(&["ENTRY", "AT", "KIND", "OPERATOR", "TOKEN"], &rows))?;
    }
    for operator in &frozen {
        let (uid, why) = (cell(operator, "operator"), cell(operator, "why"));
        session.output.say(&format!(
            "Frozen: uid {uid} ({why}). Another person lifts it, once they know what happened: claviger thaw {uid}"
        ))?;
    }
    Ok(exit::DONE)
}

/// Gives an operator their authority back.
pub async fn thaw(session: &Session, args: &ThawArgs) -> Result<u8, Failure> {
    session.manager().await?.thaw(args.uid, &no_options()).await?;
    session.output.say(&format!("Uid {} may act again.", args.uid))?;
    Ok(exit::DONE)
}
