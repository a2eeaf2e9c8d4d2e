//! The command-line client. It sees the contract and the types, nothing of the daemon.
//!
//! [`arguments`] is the command line; [`session`] the connection; [`follow`] runs an operation to its end and [`progress`]
//! tells about it; [`render`] shows results; [`secret`] brings PINs and seeds to the daemon. The other modules are verbs, a
//! file each.

pub mod agent;
pub mod arguments;
pub mod failure;
pub mod follow;
pub mod lookup;
pub mod presence;
pub mod progress;
pub mod render;
pub mod second_opinion;
pub mod secret;
pub mod session;

mod advice;
mod alarms;
mod app;
mod assign;
mod audit;
mod bypass;
mod case;
mod clock;
mod devices;
mod discharge;
mod doctor;
mod doctor_compare;
mod doctor_daemon;
mod doctor_host;
mod drift;
pub mod drift_plot;
mod export;
mod fido;
mod generate;
mod import;
mod leaver;
mod mark;
mod new_file;
mod oath;
mod obligations;
mod policy;
mod provider;
mod qr;
mod register;
mod replace;
mod resync;
mod revoke;
mod show;
mod standing;
mod subjects;
mod test;
mod tokens;
mod trust;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use arguments::{BypassVerb, CaseVerb, Cli, PolicyVerb, Verb};
use failure::Failure;
use render::Output;
use session::Session;

/// Runs the client on the process's arguments and gives its exit code ([`arguments::exit`]).
///
/// `more_pages` are commands other than this one that `generate` shall write pages and completions for: the daemon's.
pub fn run(more_pages: impl FnOnce() -> Vec<clap::Command>) -> ExitCode {
    let cli = Cli::parse();
    let output = Output {
        json: cli.global.json,
        quiet: cli.global.quiet,
    };
    let done = match cli.verb {
        // These need neither bus nor runtime.
        Verb::Policy {
            what: PolicyVerb::Check { file },
        } => policy::check(output, file.as_deref()),
        Verb::Advice { what } => advice::run(&output, what.as_deref()),
        Verb::Generate { what } => generate::run(&what, more_pages()),
        Verb::SecondOpinion(args) => second_opinion::run(&args),
        Verb::Trust { what } => trust::run(output, &what),
        _ => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(verb(cli)),
            Err(error) => Err(Failure::local(format!("cannot start: {error}"))),
        },
    };
    let code = done.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit_code()
    });
    ExitCode::from(code)
}

async fn verb(cli: Cli) -> Result<u8, Failure> {
    if let Verb::Doctor(args) = &cli.verb {
        // The doctor works without a daemon: it is asked when there is none.
        return doctor::run(&cli.global, args).await;
    }
    let mut session = Session::open(&cli.global).await?;
    if let Verb::Case {
        what: CaseVerb::Shell(of),
    } = &cli.verb
    {
        return case::shell(&mut session, of, async |session, verb| one(session, verb).await).await;
    }
    // Who agrees to a case, or looks, has no part in it.
    if let (Some(case), true) = (&cli.global.case, acts(&cli.verb)) {
        session.attach(case).await?;
    }
    one(&session, cli.verb).await
}

/// Whether a verb can draw on a case.
const fn acts(verb: &Verb) -> bool {
    !matches!(
        verb,
        Verb::Devices
            | Verb::Tokens(_)
            | Verb::Show { .. }
            | Verb::Standing(_)
            | Verb::Drift(_)
            | Verb::Obligations
            | Verb::Watch
            | Verb::Audit { .. }
            | Verb::Case { .. }
            | Verb::Bypass {
                what: BypassVerb::End(_) | BypassVerb::List { .. } | BypassVerb::Review { .. },
            }
            | Verb::Policy { .. }
    )
}

/// One verb that needs the daemon.
async fn one(session: &Session, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Devices => devices::run(session).await,
        Verb::Tokens(args) => tokens::run(session, &args).await,
        Verb::Show { what } => show::run(session, &what).await,
        Verb::Register { kind } => register::run(session, &kind).await,
        Verb::Test(args) => test::run(session, &args).await,
        Verb::Verify(args) => verify::verify(session, &args).await,
        Verb::Standing(args) => verify::standing(session, &args).await,
        Verb::Unlock(args) => verify::unlock(session, &args).await,
        Verb::Alarms => alarms::run(session).await,
        Verb::Thaw(args) => alarms::thaw(session, &args).await,
        Verb::Subjects(args) => subjects::show(session, &args).await,
        Verb::Coverage => subjects::coverage(session).await,
        Verb::Defer(args) => subjects::defer(session, &args).await,
        Verb::Resync(args) => resync::run(session, &args).await,
        Verb::Import(args) => import::run(session, &args).await,
        Verb::Assign(args) => assign::run(session, &args).await,
        Verb::Mark(args) => mark::run(session, &args).await,
        Verb::Export(args) => export::run(session, &args).await,
        Verb::Clock(args) => clock::run(session, &args).await,
        Verb::Fido { what } => fido::run(session, &what).await,
        Verb::Oath { what } => oath::run(session, &what).await,
        Verb::Suspend(args) => standing::run(session, standing::Change::Suspend, &args).await,
        Verb::Resume(args) => standing::run(session, standing::Change::Resume, &args).await,
        Verb::Lost(args) => standing::run(session, standing::Change::Lost, &args).await,
        Verb::Replace(args) => replace::run(session, &args).await,
        Verb::Revoke(args) => revoke::run(session, &args).await,
        Verb::Leaver(args) => leaver::run(session, &args).await,
        Verb::Discharge(args) => discharge::run(session, &args).await,
        Verb::Drift(args) => drift::run(session, &args).await,
        Verb::Obligations => obligations::run(session).await,
        Verb::Watch => watch::run(session).await,
        Verb::Audit { what } => audit::run(session, &what).await,
        Verb::Case { what } => case::run(session, &what).await,
        Verb::Bypass { what } => bypass::run(session, &what).await,
        Verb::Policy { what } => match what {
            PolicyVerb::Check { file } => policy::check(session.output, file.as_deref()),
            PolicyVerb::Reload => policy::reload(session).await,
        },
        Verb::Advice { .. } | Verb::Doctor(_) | Verb::Generate { .. } | Verb::SecondOpinion(_) | Verb::Trust { .. } => {
            Ok(arguments::exit::DONE)
        }
    }
}
