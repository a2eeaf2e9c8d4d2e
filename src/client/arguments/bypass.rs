//! `bypass`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{CaseOnly, names};
use crate::types::cases::FoundAgain;

/// `bypass`.
#[derive(Debug, Subcommand)]
pub enum BypassVerb {
    /// Issue the bypass of a case (--case): a code that is accepted in place of a token's, for a while and a few uses
    Issue(IssueArgs),
    /// End the bypass of a case before its time
    End(CaseOnly),
    /// List bypasses: who has one, how often it was used, which wait for a review
    List {
        /// Reviewed ones too
        #[arg(long)]
        all: bool,
        /// Only those of this person
        #[arg(long)]
        subject: Option<String>,
    },
    /// Record what you found when you looked back at a bypass that is over; you had no part in its case
    Review {
        /// The case.
        #[command(flatten)]
        of: CaseOnly,
        /// What you found: where it was used, by whom, what became of the token
        found: String,
    },
}

/// `bypass issue`.
#[derive(Debug, Args)]
pub struct IssueArgs {
    /// Whom it is for: the case is about them
    pub subject: String,
    /// How long it is good [default, and at most: as the policy says]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=71_582_788))]
    pub minutes: Option<u32>,
    /// How often it may be used [default, and at most: as the policy says]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub uses: Option<u32>,
    /// What becomes of it when the token is found again [default: as the policy says, which cannot be made laxer]
    #[arg(long, value_parser = names(FoundAgain::ALL.iter().map(|it| it.as_str())))]
    pub found_again: Option<String>,
    /// Write the code to this new file, which nobody else can read, instead of the terminal
    #[arg(long)]
    pub file: Option<PathBuf>,
}
