//! `case` and `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::names;
use crate::types::cases::{CaseKind, Channel, Check, Method, Outcome, Tier};

/// `case`.
#[derive(Debug, Subcommand)]
pub enum CaseVerb {
    /// Open a case
    Open(OpenArgs),
    /// List the cases that are open
    List {
        /// Closed ones too
        #[arg(long)]
        all: bool,
        /// Only cases about this person
        #[arg(long)]
        subject: Option<String>,
    },
    /// Show all that was said and done in a case
    Show(CaseOnly),
    /// Say what is still missing in a case, and why
    Needs {
        /// The case.
        #[command(flatten)]
        of: CaseOnly,
        /// Before which tier [default: what such a case is usually for]
        #[arg(long, value_parser = names(Tier::ALL.iter().map(|t| t.as_str())))]
        tier: Option<String>,
    },
    /// Add evidence that you vouch for
    Evidence {
        /// The case.
        #[command(flatten)]
        of: CaseOnly,
        /// How you came to believe who it is; tests, recovery codes and sent codes the daemon adds itself
        #[arg(value_parser = names(Method::ALL.iter().map(|m| m.as_str())))]
        method: String,
        /// What it rests on: the number that was called, who was asked
        reference: String,
    },
    /// Say yes, as the second person
    Approve {
        /// The case.
        #[command(flatten)]
        of: CaseOnly,
        /// Up to this tier [default: what such a case is usually for]
        #[arg(long, value_parser = names(Tier::ALL.iter().map(|t| t.as_str())))]
        tier: Option<String>,
        /// Why
        #[arg(long)]
        remark: Option<String>,
    },
    /// Say no, as the second person; it stands
    Deny {
        /// The case.
        #[command(flatten)]
        of: CaseOnly,
        /// Why
        #[arg(long)]
        remark: Option<String>,
    },
    /// Close a case, for good
    Close(CloseArgs),
    /// Hold a session in a case: each line is a verb of this program, without its name
    Shell(CaseOnly),
}

/// A case and nothing else.
#[derive(Debug, Args)]
pub struct CaseOnly {
    /// The case's id, or its beginning or end
    #[arg(value_name = "CASE_ID")]
    pub id: String,
}

/// `case open`.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// What it is about
    #[arg(value_parser = names(CaseKind::ALL.iter().map(|k| k.as_str())))]
    pub kind: String,
    /// How the person reached you [default: own for self-service, desk at the bench]
    #[arg(long, short, value_parser = names(Channel::ALL.iter().map(|c| c.as_str())))]
    pub channel: Option<String>,
    /// Whom it is about
    #[arg(long, short)]
    pub subject: Option<String>,
    /// What the matter is
    #[arg(long, short)]
    pub reason: Option<String>,
    /// Your help desk's own number
    #[arg(long, short)]
    pub ticket: Option<String>,
}

/// `case close`.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// The case.
    #[command(flatten)]
    pub of: CaseOnly,
    /// How it ended
    #[arg(long, short, default_value = "done", value_parser = names(Outcome::ALL.iter().map(|o| o.as_str())))]
    pub outcome: String,
    /// What can be answered with yes; asked for at the terminal when left out
    #[arg(long, short, value_parser = names(Check::ALL.iter().map(|c| c.as_str())))]
    pub check: Vec<String>,
}

/// `policy`.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Say what is wrong with a policy, by line, or else what it means, in sentences
    Check {
        /// The file [default: the policy that ships with Claviger]
        file: Option<PathBuf>,
    },
    /// Have the daemon read its policy anew
    Reload,
}
