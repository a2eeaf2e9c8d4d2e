//! `claviger discharge`

use zbus::Variant;

use crate::client::arguments::DischargeArgs;
use crate::client::failure::Failure;
use crate::client::presence::Presence;
use crate::client::session::Session;
use crate::client::{follow, lookup};
use crate::contract::options;

/// Settles an obligation on the device that is plugged in now.
pub async fn run(session: &Session, args: &DischargeArgs) -> Result<u8, Failure> {
    let id = lookup::obligation(session, &args.obligation).await?;
    let tokens = session.tokens().await?;
    let mut presence = Presence::gather(&args.at)?;
    let ended = loop {
        let mut options = session.options();
        if args.collected {
            options.insert(options::COLLECTED, Variant::Bool(true));
        }
        if args.reset {
            options.insert(options::RESET, Variant::Bool(true));
        }
        presence.insert_into(&mut options)?;
        match follow::run(session, tokens.discharge(&id, &options)).await {
            Ok(ended) => break ended,
            Err(refusal) => presence.supply(refusal)?,
        }
    };
    ended.report(session, "discharge", &format!("Obligation {id} is settled."))
}
