//! `claviger policy`: what a policy means, and what is wrong with one.

use std::path::Path;

use serde_json::json;

use crate::authority::load;
use crate::client::arguments::exit;
use crate::client::failure::Failure;
use crate::client::render::Output;
use crate::client::session::{Session, no_options};

/// Explains a policy, or says by line what is wrong with it. Needs no daemon.
///
/// # Errors
/// The file cannot be read.
pub fn check(output: Output, file: Option<&Path>) -> Result<u8, Failure> {
    let (name, text) = match file {
        Some(path) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path);
            (
                shown.clone(),
                text.map_err(|why| Failure::local(format!("cannot read {shown}: {why}")))?,
            )
        }
        None => ("the shipped policy".to_owned(), load::SHIPPED.to_owned()),
    };
    match load::load(&text) {
        Ok(policy) => {
            let sentences = policy.sentences();
            output.object(&json!({ "policy": name, "sentences": sentences }))?;
            output.text(&sentences.join("\n"))?;
            Ok(exit::DONE)
        }
        Err(faults) => {
            let told: Vec<_> = faults
                .iter()
                .map(|fault| json!({ "line": fault.line, "column": fault.column, "what": fault.what }))
                .collect();
            output.object(&json!({ "policy": name, "faults": told }))?;
            let lines: Vec<String> = faults
                .iter()
                .map(|fault| format!("{name}:{}:{}: {}", fault.line, fault.column, fault.what))
                .collect();
            output.text(&lines.join("\n"))?;
            Ok(exit::FINDINGS)
        }
    }
}

/// Has the daemon read its policy anew.
///
/// # Errors
/// The daemon's: a policy that is refused leaves the old one in force.
pub async fn reload(session: &Session) -> Result<u8, Failure> {
    session.manager().await?.reload(&no_options()).await?;
    session.output.say("The policy was read anew and is in force.")?;
    Ok(exit::DONE)
}
