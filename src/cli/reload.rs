//! `hatchery reload`.

use super::locate::Master;
use super::{Failure, told};
use crate::control::command::Request;
use crate::master::control::Asked;
use crate::sys::clock;
use crate::sys::poll::{Interest, Set};
use crate::sys::signals::{self, Signals};
use clap::Args;
use std::io;

/// Read the configuration again and start new app processes, without losing a request
///
/// The running server goes on as it is until the new processes are ready, and keeps going if they fail. Returns when they
/// serve (exit code 0), or says why they do not (exit code 1); that takes no longer than `before`, `boot_timeout` and `ready` let them.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not wait for the end: the log and `hatchery status` tell it
    #[arg(long)]
    no_wait: bool,
    /// As without --no-wait
    #[arg(long, hide = true, conflicts_with = "no_wait")]
    wait: bool,
    /// Start sleeping apps too, to prove that they work
    #[arg(long)]
    prove: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let found = arguments.master.find()?;
    // Caught before anything is asked: whoever interrupts then is told what goes on.
    let signals = Signals::new(&[signals::SIGINT, signals::SIGTERM]);
    let signals = signals.map_err(|error| Failure::Failed(format!("cannot catch signals: {error}")))?;
    let asked = found.send(&Request::Reload { wait: !arguments.no_wait, prove: arguments.prove })?;
    match is_interrupted(&asked, &signals) {
        Ok(false) => told(asked.answer().map_err(Failure::Failed)?),
        Ok(true) => Err(Failure::Failed(
            "interrupted, but the reload goes on: `hatchery status` and the log tell how it ends".to_owned(),
        )),
        Err(error) => Err(Failure::Failed(format!("cannot wait for the answer: {error}"))),
    }
}

/// Waits for the answer, or a signal.
fn is_interrupted(asked: &Asked, signals: &Signals) -> io::Result<bool> {
    loop {
        let mut set = Set::new();
        set.add(asked.descriptor(), false, Interest::READ);
        set.add(signals.descriptor(), true, Interest::READ);
        // What has been answered is not interrupted any more.
        if let Some(interrupted) = set.wait(clock::now(), None)?.iter().map(|ready| ready.token).min() {
            return Ok(interrupted);
        }
    }
}
