//! `claviger case`: a case from its opening to its checklist, for somebody with a person on the phone.

mod shell;
mod told;

use zbus::Variant;

use crate::client::arguments::{CaseOnly, CaseVerb, CloseArgs, OpenArgs, exit};
use crate::client::failure::Failure;
use crate::client::lookup;
use crate::client::render::{self, cell, record, table};
use crate::client::secret;
use crate::client::session::{Session, no_options};
use crate::contract::options;
use crate::contract::proxy::Options;
use crate::types::cases::{CaseKind, Channel, Outcome};

/// Does it.
pub async fn run(session: &Session, verb: &CaseVerb) -> Result<u8, Failure> {
    match verb {
        CaseVerb::Open(args) => open(session, args).await,
        CaseVerb::List { all, subject } => list(session, *all, subject.as_deref()).await,
        CaseVerb::Show(of) => show(session, of).await,
        CaseVerb::Needs { of, tier } => {
            let id = lookup::case(session, &of.id).await?;
            told::needs(session, &id, tier.as_deref()).await
        }
        CaseVerb::Evidence { of, method, reference } => {
            let id = lookup::case(session, &of.id).await?;
            let case = session.case(&id).await?;
            case.add_evidence(method, reference, &no_options()).await?;
            session
                .output
                .say(&format!("Noted: {method} ({}).", render::clean(reference)))?;
            told::next(session, &id).await
        }
        CaseVerb::Approve { of, tier, remark } => answer(session, of, Some(tier.as_deref()), remark.as_deref()).await,
        CaseVerb::Deny { of, remark } => answer(session, of, None, remark.as_deref()).await,
        CaseVerb::Close(args) => close(session, args).await,
        // Run above, where the verbs are.
        CaseVerb::Shell(_) => Ok(exit::DONE),
    }
}

pub use self::shell::run as shell;
pub use self::told::for_so_long;

async fn open(session: &Session, args: &OpenArgs) -> Result<u8, Failure> {
    let usual = match args.kind.parse() {
        Ok(CaseKind::SelfService) => Some(Channel::Own),
        Ok(CaseKind::Bench) => Some(Channel::Desk),
        _ => None,
    };
    let channel = args.channel.as_deref().or(usual.map(Channel::as_str));
    let channel = channel
        .ok_or_else(|| Failure::usage("say how the person reached you: --channel desk, phone, video, chat or mail"))?;
    let mut given = Options::new();
    for (name, value) in [
        (options::SUBJECT, &args.subject),
        (options::REASON, &args.reason),
        (options::TICKET, &args.ticket),
    ] {
        if let Some(value) = value {
            given.insert(name, Variant::from(value.as_str()));
        }
    }
    let (id, _) = session.cases().await?.open(&args.kind, channel, &given).await?;
    if session.output.json {
        session.output.object(&serde_json::json!({ "case": id }))?;
        return Ok(exit::DONE);
    }
    // The id alone goes through a pipe even when nothing else is said.
    session.output.text(&format!("Case {id}"))?;
    told::next(session, &id).await
}

async fn list(session: &Session, all: bool, subject: Option<&str>) -> Result<u8, Failure> {
    let found = lookup::cases(session, !all, subject).await?;
    session
        .output
        .object(&serde_json::json!({ "cases": found.iter().map(record).collect::<Vec<_>>() }))?;
    if found.is_empty() {
        session.output.say("No case is open.")?;
        return Ok(exit::DONE);
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|case| {
            let outcome = cell(case, "outcome");
            let waits = if outcome.is_empty() {
                cell(case, "step")
            } else {
                outcome
            };
            let late = if cell(case, "overdue") == "true" {
                " (overdue)"
            } else {
                ""
            };
            vec![
                cell(case, "id"),
                cell(case, "kind"),
                cell(case, "subject"),
                format!("{waits}{late}"),
                cell(case, "opened-ms"),
                cell(case, "ticket"),
            ]
        })
        .collect();
    session.output.text(&table(
        &["CASE", "KIND", "SUBJECT", "WAITS FOR", "OPENED", "TICKET"],
        &rows,
    ))?;
    Ok(exit::DONE)
}

async fn show(session: &Session, of: &CaseOnly) -> Result<u8, Failure> {
    let id = lookup::case(session, &of.id).await?;
    let case = session.cases().await?.get(&id, &no_options()).await?;
    session.output.object(&record(&case))?;
    session.output.text(&told::whole(&case))?;
    Ok(exit::DONE)
}

/// The second person's answer: a tier for yes.
async fn answer(
    session: &Session,
    of: &CaseOnly,
    yes: Option<Option<&str>>,
    remark: Option<&str>,
) -> Result<u8, Failure> {
    let id = lookup::case(session, &of.id).await?;
    let case = session.case(&id).await?;
    let mut given = Options::new();
    if let Some(remark) = remark {
        given.insert(options::REMARK, Variant::from(remark));
    }
    if let Some(tier) = yes {
        if let Some(tier) = tier {
            given.insert(options::TIER, Variant::from(tier));
        }
        case.approve(&given).await?;
        session
            .output
            .say("Your yes is noted. It does not hold for long: they should act now.")?;
    } else {
        case.deny(&given).await?;
        session
            .output
            .say("Your no is noted. It stands: only another case can begin again.")?;
    }
    Ok(exit::DONE)
}

async fn close(session: &Session, args: &CloseArgs) -> Result<u8, Failure> {
    let id = lookup::case(session, &args.of.id).await?;
    let case = session.case(&id).await?;
    let mut checks = args.check.clone();
    if args.outcome == Outcome::Done.as_str() && checks.is_empty() && secret::has_terminal() {
        let kind: CaseKind = case
            .kind()
            .await?
            .parse()
            .map_err(|_| Failure::local("the kind of the case is unknown"))?;
        for check in kind.checklist() {
            let reply = secret::ask_line(&format!("{} Type “yes” or “no”: ", check.question()), "--check")?;
            if reply.eq_ignore_ascii_case("yes") || reply.eq_ignore_ascii_case("y") {
                checks.push(check.as_str().to_owned());
            }
        }
    }
    let checks: Vec<&str> = checks.iter().map(String::as_str).collect();
    case.close(&args.outcome, &checks, &no_options()).await?;
    session.output.say(&format!("Closed case {id}: {}.", args.outcome))?;
    Ok(exit::DONE)
}
