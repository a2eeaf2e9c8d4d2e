//! `claviger trust`: the rules by which keys are registered, in sentences. Reads the files that the daemon reads and asks nobody, so
//! that a change can be looked at before it is in force.

use std::path::Path;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::arguments::{TrustVerb, exit};
use crate::client::failure::Failure;
use crate::client::render::{Output, clean};
use crate::config::Config;
use crate::trust::{Metadata, Policy, Rules};
use crate::types::UnixMillis;

/// Runs one.
pub fn run(output: Output, what: &TrustVerb) -> Result<u8, Failure> {
    let TrustVerb::Check { file, model } = what;
    let local = |error: &dyn std::fmt::Display| Failure::local(error.to_string());
    let config = Config::load(file.as_deref(), None).map_err(|error| local(&error))?;
    let now = UnixMillis::now();
    let rules = config
        .rules(|path: &Path| std::fs::read(path), now)
        .map_err(|error| local(&error))?;
    let sentences = sentences(&rules, now);
    let models: Vec<(Uuid, Vec<String>)> = model.iter().map(|model| (*model, of_model(&rules, model))).collect();
    output.object(&object(&rules, &sentences, &models))?;
    output.text(&sentences.join("\n"))?;
    for (model, sentences) in &models {
        output.text(&format!("Model {model}:\n  {}", sentences.join("\n  ")))?;
    }
    match rules.metadata {
        Metadata::Unusable(_) => Ok(exit::FINDINGS),
        Metadata::Blob(blob) if blob.overdue(now) => Ok(exit::FINDINGS),
        Metadata::Blob(_) | Metadata::None => Ok(exit::DONE),
    }
}

fn object(rules: &Rules, sentences: &[String], models: &[(Uuid, Vec<String>)]) -> Value {
    let metadata = match &rules.metadata {
        Metadata::None => json!("none"),
        Metadata::Unusable(_) => json!("unusable"),
        Metadata::Blob(blob) => {
            json!({"number": blob.number, "next-update": blob.next_update, "models": blob.len()})
        }
    };
    let models: serde_json::Map<String, Value> = models
        .iter()
        .map(|(model, sentences)| (model.to_string(), json!(sentences)))
        .collect();
    json!({"metadata": metadata, "rules": sentences, "models": models})
}

/// The rules, one a sentence.
fn sentences(rules: &Rules, now: UnixMillis) -> Vec<String> {
    if rules.is_idle() {
        return vec!["Every key is registered: [trust] asks nothing.".to_owned()];
    }
    let Policy {
        attestation_required,
        authorities,
        allow,
        deny,
        least_firmware,
        required_options,
        serial_required,
        enterprise,
    } = &rules.policy;
    let mut told = Vec::new();
    match &rules.metadata {
        Metadata::None => {}
        Metadata::Unusable(why) => told.push(format!(
            "No key is registered at all until the metadata can be used: {}.",
            clean(why)
        )),
        Metadata::Blob(blob) => {
            told.push(format!(
                "Metadata number {} know {} models; those reported as revoked or compromised are refused.",
                blob.number,
                blob.len()
            ));
            if blob.overdue(now) {
                told.push(format!(
                    "They are old: newer ones have been there since {}. What became known since is not heeded.",
                    clean(&blob.next_update)
                ));
            }
        }
    }
    if !authorities.is_empty() {
        told.push(format!(
            "{} configured authorities vouch for keys besides.",
            authorities.len()
        ));
    }
    told.push(
        match attestation_required {
            true => "A key must prove its model: its attestation leads to the metadata or to an authority.",
            false => "A key need not prove its model; an attestation that is forged is refused all the same.",
        }
        .to_owned(),
    );
    match (allow.len(), deny.len()) {
        (0, 0) => {}
        (0, n) => told.push(format!("All models but {n} are registered.")),
        (n, _) => told.push(format!("{n} models are registered and no others.")),
    }
    for (model, least) in least_firmware {
        let model = Uuid::from_bytes(*model);
        told.push(format!("Of model {model} at least firmware {least} is asked."));
    }
    if !required_options.is_empty() {
        told.push(format!(
            "A key must have, and have on: {}.",
            required_options.join(", ")
        ));
    }
    if *serial_required {
        told.push("A key must name its serial number in an enterprise attestation.".to_owned());
    } else if *enterprise {
        told.push("A key that can is asked for its serial number by enterprise attestation.".to_owned());
    }
    told
}

/// What becomes of keys of a model, as far as it depends on the model.
fn of_model(rules: &Rules, model: &Uuid) -> Vec<String> {
    let key = model.as_bytes();
    let mut told = Vec::new();
    let mut refused = false;
    if rules.policy.deny.contains(key) {
        refused = true;
        told.push("Refused: it is denied.".to_owned());
    } else if !rules.policy.allow.is_empty() && !rules.policy.allow.contains(key) {
        refused = true;
        told.push("Refused: it is not among those allowed.".to_owned());
    }
    if let Metadata::Blob(blob) = &rules.metadata {
        match blob.by_aaguid(key) {
            None => told.push("The metadata do not know it.".to_owned()),
            Some(known) => {
                told.push(format!("The metadata know it as “{}”.", clean(&known.description)));
                for report in &known.reports {
                    refused = true;
                    let since = report.since.as_deref().unwrap_or("no date");
                    told.push(format!(
                        "Refused: reported as {} ({}): {}.",
                        report.compromise.name(),
                        clean(since),
                        report.compromise.meaning()
                    ));
                }
            }
        }
    }
    if !refused {
        told.push("Registered, if the single key keeps to the rules.".to_owned());
    }
    told
}
