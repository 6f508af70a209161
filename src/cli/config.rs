//! `hatchery config`.

use super::{Failure, locate, print};
use crate::config;
use clap::Args;
use std::path::PathBuf;

/// Print the configuration as it is understood, with every default filled in
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints the configuration.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = locate::file(arguments.config.as_deref())?;
    let config = locate::load(&file).map_err(Failure::Usage)?;
    let mut text = config::to_ron(&config);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    print(&text)
}
