//! `drift`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

/// What of `drift`.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// A token's id
    #[arg(required_unless_present = "fleet", conflicts_with = "fleet")]
    pub token: Option<String>,
    /// List the tokens to be replaced, the first ones first
    #[arg(long)]
    pub fleet: bool,
    /// With --fleet: put tokens together by model or delivery
    #[arg(long, requires = "fleet", value_parser = ["model", "batch"])]
    pub by: Option<String>,
    /// With --fleet: only what is to be replaced within so many days
    #[arg(long, requires = "fleet", value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_525))]
    pub within: Option<u32>,
    /// With --fleet: only tokens of this model
    #[arg(long, requires = "fleet")]
    pub model: Option<String>,
    /// With --fleet: only tokens of this delivery or import
    #[arg(long, requires = "fleet")]
    pub batch: Option<String>,
    /// Write the drawing to this file as SVG
    #[arg(long, value_name = "FILE", conflicts_with = "fleet", value_hint = ValueHint::FilePath)]
    pub svg: Option<PathBuf>,
    /// Write the drawing to this file as PNG
    #[arg(long, value_name = "FILE", conflicts_with = "fleet", value_hint = ValueHint::FilePath)]
    pub png: Option<PathBuf>,
}
