//! `hatchery scale`.

use super::locate::Master;
use super::{Failure, names, told};
use crate::control::command::Request;
use clap::Args;

/// Change how many processes an app, a daemon or the workers have now
///
/// Holds until the next reload. 0 puts it to sleep until the next request or connection; a daemon is stopped.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of an app or daemon, or `workers`
    #[arg(add = names::of(&["workers", "app", "daemon"]))]
    name: String,
    /// How many processes
    count: u32,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let request = Request::Scale { name: arguments.name.clone(), count: arguments.count };
    told(arguments.master.ask(&request)?)
}
