//! `hatchery stop`.

use super::locate::Master;
use super::{Failure, names, print, told};
use crate::control::command::{Request, Response};
use crate::master::control;
use crate::sys::clock;
use crate::sys::pidfd;
use crate::sys::poll::{Interest, Set};
use clap::Args;
use std::os::fd::{AsFd as _, OwnedFd};

/// Stop the running server, or one app or daemon of it, and wait until it is gone
///
/// Running requests are finished first, within `shutdown_timeout`. An app or daemon stays stopped until `hatchery start NAME` or
/// the next reload; requests for such an app get 503.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of an app or daemon; without one the server is stopped
    #[arg(conflicts_with = "fast")]
    #[arg(add = names::of(&["app", "daemon"]))]
    name: Option<String>,
    /// Do not wait for running requests
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master and waits for its end, or for that of an app or daemon.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let found = arguments.master.find()?;
    if let Some(name) = arguments.name.clone() {
        return told(found.ask(&Request::StopOne { name })?);
    }
    // Also where it lives in another pid namespace and counts its processes differently.
    let process = control::connect(&found.path).and_then(|(_, peer)| pidfd::open(peer.pid));
    match found.ask(&Request::Stop { fast: arguments.fast })? {
        Response::Done { .. } => {}
        Response::Failed { text } => return Err(Failure::Failed(text)),
        Response::Status(_) | Response::Logs { .. } | Response::Asked { .. } => {
            return Err(Failure::Failed("the master answered another question".to_owned()));
        }
    }
    // Without a pidfd its end cannot be waited for; it is stopping all the same.
    let text = if process.is_ok_and(|process| wait(&process)) { "stopped\n" } else { "stopping\n" };
    print(text)
}

/// Until the process has ended; the master bounds that itself.
fn wait(process: &OwnedFd) -> bool {
    loop {
        let mut set = Set::new();
        set.add(process.as_fd(), (), Interest::READ);
        match set.wait(clock::now(), None) {
            Ok(ready) if ready.is_empty() => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}
