//! `hatchery renew`.

use super::locate::Master;
use super::{Failure, told};
use crate::control::command::Request;
use clap::Args;

/// Order certificates now, instead of when they are due
///
/// For sites with `tls: Acme`. Without a name: what could not be had and waits for its next try, say because DNS did not lead here yet. With a name: the
/// certificate for it, even if the one that serves is good for long. Authorities bound how often one may ask. `hatchery status` shows what comes of it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A name of the site
    name: Option<String>,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master, which does not wait for the authority.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    told(arguments.master.ask(&Request::Renew { name: arguments.name.clone() })?)
}
