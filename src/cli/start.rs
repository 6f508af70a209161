//! `hatchery start`.

use super::locate::Master;
use super::{Failure, names, told};
use crate::control::command::Request;
use clap::Args;

/// Start an app or daemon again that was stopped by `hatchery stop NAME`, and wait until it serves
///
/// The server itself is started by `hatchery run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of an app or daemon
    #[arg(add = names::of(&["app", "daemon"]))]
    name: Option<String>,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let Some(name) = arguments.name.clone() else {
        return Err(Failure::Usage(
            "`hatchery run` starts the server; `hatchery start NAME` starts an app or daemon of it that was stopped by \
             hand"
                .to_owned(),
        ));
    };
    told(arguments.master.ask(&Request::StartOne { name })?)
}
