//! `hatchery stop`.

use super::locate::Master;
use super::{Failure, names, told};
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
    let response = found.ask(&Request::Stop { fast: arguments.fast })?;
    // It answers when nothing is left but to end itself. Without a pidfd that cannot be waited for.
    if matches!(response, Response::Done { .. }) {
        process.iter().for_each(wait);
    }
    told(response)
}

/// Until the process has ended; the master bounds that itself.
fn wait(process: &OwnedFd) {
    let ended = || {
        let mut set = Set::new();
        set.add(process.as_fd(), (), Interest::READ);
        set.wait(clock::now(), None).map_or(true, |ready| !ready.is_empty())
    };
    while !ended() {}
}
