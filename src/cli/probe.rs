//! `hatchery probe`.

use super::Failure;
use crate::helper;
use clap::Args;

/// What the server starts for itself, to see whether a process of an app serves
///
/// It is of no use by hand.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

/// Runs in the process that the master has started.
pub(super) fn execute(_: &Arguments) -> Result<u8, Failure> {
    helper::probe().map_err(Failure::Failed)
}
