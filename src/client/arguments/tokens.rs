//! `tokens`, and the verbs that need a token or a person alone.

use clap::{Args, ValueEnum};

use super::names;
use crate::types::{TokenKind, TokenState};

/// Filters of `tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    /// Only tokens of this kind
    #[arg(long, value_parser = names(TokenKind::ALL.iter().map(|k| k.as_str())))]
    pub kind: Option<String>,
    /// Only tokens in this state
    #[arg(long, value_parser = names(TokenState::ALL.iter().map(|s| s.as_str())))]
    pub state: Option<String>,
    /// Only tokens of this person
    #[arg(long)]
    pub subject: Option<String>,
    /// Only tokens with this serial
    #[arg(long)]
    pub serial: Option<String>,
    /// Only tokens of this manufacturer
    #[arg(long)]
    pub maker: Option<String>,
    /// Only tokens of this model
    #[arg(long)]
    pub model: Option<String>,
    /// Only tokens of this delivery
    #[arg(long)]
    pub batch: Option<String>,
}

/// Verbs that need a token alone.
#[derive(Debug, Args)]
pub struct TokenOnly {
    /// The token
    pub token: String,
}

/// A person and nothing else.
#[derive(Debug, Args)]
pub struct SubjectOnly {
    /// Whose
    pub subject: String,
}

/// `claviger thaw`
#[derive(Debug, Args)]
pub struct ThawArgs {
    /// The operator's uid, as “claviger alarms” shows it
    #[arg(value_name = "UID")]
    pub uid: u32,
}

/// `claviger replace`
#[derive(Debug, Args)]
pub struct ReplaceArgs {
    /// The token that is to go
    pub token: String,
    /// It is lost: out of use at once
    #[arg(long)]
    pub lost: bool,
    /// It is not replaced after all; what is lost stays lost
    #[arg(long, conflicts_with = "lost")]
    pub withdraw: bool,
}

/// What takes the place of another token.
#[derive(Debug, Args)]
pub struct ReplacesArgs {
    /// The token whose place this one takes, as “claviger replace” said; that one dies when this one has passed its first test
    #[arg(long, value_name = "TOKEN")]
    pub replaces: Option<String>,
}

/// `claviger leaver`
#[derive(Debug, Args)]
pub struct LeaverArgs {
    /// Who leaves
    pub subject: String,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

/// `mark`.
#[derive(Debug, Args)]
pub struct MarkArgs {
    /// The token
    pub token: String,
    /// Whose its key is
    #[arg(value_enum)]
    pub owner: Owner,
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Owner {
    /// The organisation's: it may be reset
    Organisation,
    /// The person's own: it is never reset
    Person,
}
