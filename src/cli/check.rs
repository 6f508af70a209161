//! `hatchery check`.

use super::{Failure, locate, print};
use crate::config::{self, Disk, check};
use clap::Args;
use std::path::PathBuf;

/// Check a configuration and everything that a start would need, and list every problem
///
/// Exit code 0: a start would work; 2: the file has problems; 1: the file is good, but something it needs is missing.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Lists the problems.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = locate::file(arguments.config.as_deref())?;
    let (config, warnings) = config::load_with_warnings(&file, &Disk)
        .map_err(|problems| Failure::Usage(locate::lines(&problems)))?;
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let problems = check::environment(&config);
    if problems.is_empty() {
        return print(&format!("{}: good\n", file.display()));
    }
    Err(Failure::Failed(locate::lines(&problems)))
}
