//! `hatchery reload`.

use super::locate::Master;
use super::{Failure, told};
use crate::control::command::Request;
use clap::Args;

/// Read the configuration again and start new app processes, without losing a request
///
/// The running server goes on as it is until the new processes are ready, and keeps going if they fail.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Return only when the new processes serve (exit code 0), or say why they do not (exit code 1)
    #[arg(long)]
    wait: bool,
    /// Start sleeping apps too, to prove that they work
    #[arg(long)]
    prove: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let request = Request::Reload { wait: arguments.wait, prove: arguments.prove };
    told(arguments.master.ask(&request)?)
}
