//! `hatchery helper`.

use super::Failure;
use crate::helper;
use clap::Args;

/// What the server starts for itself, to order certificates and to look up names
///
/// It is of no use by hand.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// TCP ports that it may connect to
    ports: Vec<u16>,
}

/// Runs in the process that the master has started.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    helper::run(&arguments.ports).map_err(Failure::Failed)
}
