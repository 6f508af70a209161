//! `hatchery config`.

use super::{Failure, locate, print};
use crate::config;
use clap::Args;

/// Print the configuration as it is understood, with every default filled in
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: locate::File,
}

/// Prints the configuration.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let file = arguments.file.find()?;
    let config = locate::load(&file).map_err(Failure::Usage)?;
    let mut text = config::to_ron(&config);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    print(&text)
}
