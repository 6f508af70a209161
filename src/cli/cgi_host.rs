//! `hatchery cgi-host`.

use super::Failure;
use crate::scripts;
use clap::Args;

/// What the server starts for itself, to run CGI scripts
///
/// It is of no use by hand.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Room for what `ps` shows
    room: Vec<String>,
}

/// Runs in the process that the master has started.
pub(super) fn execute(_: &Arguments) -> Result<u8, Failure> {
    scripts::run().map_err(Failure::Failed)
}
