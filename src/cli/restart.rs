//! `hatchery restart`.

use super::locate::Master;
use super::{Failure, names, told};
use crate::control::command::Request;
use clap::Args;

/// Replace the processes of one app or daemon, or of the workers
///
/// One after the other, each serving until its replacement is ready, so no request is lost. If one does not become ready,
/// the rest stays as it is and the reason is printed. Processes of a daemon are ended first. The configuration is not read again: that is what `reload` does.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of an app or daemon, or `workers`
    #[arg(add = names::of(&["workers", "app", "daemon"]))]
    name: String,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master, and waits until the last process is replaced.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    told(arguments.master.ask(&Request::Restart { name: arguments.name.clone() })?)
}
