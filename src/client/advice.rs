//! `claviger advice`: what to do when something is refused. Needs no daemon.

use serde_json::{Value, json};

use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::render::{Output, table};
use crate::contract::advice::{self, Entry};

/// Tells one row of the table, or all of them.
pub fn run(output: &Output, what: Option<&str>) -> Result<u8, Failure> {
    let Some(what) = what else {
        for entry in advice::entries() {
            output.object(&object(entry))?;
        }
        let rows: Vec<Vec<String>> = advice::entries()
            .map(|entry| {
                let name = entry.name.to_owned();
                vec![name, entry.status.told(), entry.plain_desk().into_owned()]
            })
            .collect();
        output.text(&table(&["NAME", "STATUS OF A KEY", "WHAT TO DO"], &rows))?;
        return Ok(exit::DONE);
    };
    let entry = advice::find(what).ok_or_else(|| {
        Failure::usage(format!(
            "nothing is refused by the name of “{what}”: give a name or a status as the refusal has it; “claviger advice” lists all"
        ))
    })?;
    output.object(&object(entry))?;
    let mut lines = vec![entry.name.to_owned()];
    lines.extend(entry.wire.as_str().map(|name| format!("error: {name}")));
    let status = entry.status.told();
    if !status.is_empty() {
        lines.push(format!("status of a key: {status}"));
    }
    lines.push(format!("what to do: {}", entry.plain_desk()));
    lines.push(format!("tell the person: {}", entry.subject));
    output.text(&lines.join("\n"))?;
    Ok(exit::DONE)
}

fn object(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "error": entry.wire.as_str(),
        "status": entry.status.told(),
        "desk-message": entry.plain_desk(),
        "subject-message": entry.subject,
    })
}
