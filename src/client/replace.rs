//! `claviger replace`, and `--replaces` of what registers a token.

use zbus::Variant;

use crate::client::arguments::{ReplaceArgs, ReplacesArgs};
use crate::client::failure::Failure;
use crate::client::session::Session;
use crate::client::{follow, lookup};
use crate::contract::options;
use crate::contract::proxy::Options;

/// Has a token replaced. What is lost is out of use at once, even where more must be shown before it may be replaced.
pub async fn run(session: &Session, args: &ReplaceArgs) -> Result<u8, Failure> {
    let id = lookup::token(session, &args.token).await?;
    let tokens = session.tokens().await?;
    let mut given = session.options();
    for (key, said) in [(options::LOST, args.lost), (options::WITHDRAW, args.withdraw)] {
        if said {
            given.insert(key, Variant::Bool(true));
        }
    }
    let ended = match follow::run(session, tokens.replace(&id, &given)).await {
        Err(failure) if args.lost => {
            // Taking it out of use needs less than having it replaced.
            if follow::run(session, tokens.report_lost(&id, &session.options()))
                .await
                .is_ok()
            {
                session
                    .output
                    .say(&format!("Token {id} is out of use. It could not be replaced yet:"))?;
            }
            return Err(failure);
        }
        ended => ended?,
    };
    let sentence = if args.withdraw {
        format!("Token {id} is not replaced after all.")
    } else {
        let until = if args.lost {
            "It is out of use from now on"
        } else {
            "It works until then"
        };
        format!(
            "Token {id} dies when another has taken its place. {until}.\nNow register the new one with: --replaces {id}"
        )
    };
    ended.report(session, "replace", &sentence)
}

/// Says in the options of a call whose place the new token takes.
pub async fn insert(session: &Session, given: &mut Options<'_>, place: &ReplacesArgs) -> Result<(), Failure> {
    if let Some(old) = &place.replaces {
        given.insert(options::REPLACES, Variant::from(lookup::token(session, old).await?));
    }
    Ok(())
}

/// What became of the old token, if one died of this.
pub fn told(ended: &follow::Ended) -> String {
    let old = ended.text("replaced");
    if old.is_empty() {
        return String::new();
    }
    let owed = if ended.text("obligation").is_empty() {
        ""
    } else {
        " Something is left to do on its device: “claviger obligations” tells what."
    };
    format!(" Token {old}, whose place it took, is revoked.{owed}")
}
