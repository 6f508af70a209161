//! `hatchery upstream`.

use super::locate::Master;
use super::{Failure, names, told};
use crate::control::command::{Request, ServerWish};
use clap::{Args, ValueEnum};

/// Take a server of an upstream out, or back in
///
/// Holds over reloads, until it is enabled or the server is restarted.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Name of an upstream
    #[arg(add = names::of(&["upstream"]))]
    name: String,
    /// Address of one of its servers, as in the configuration
    server: String,
    /// What it is to do
    #[arg(value_name = "ACTION")]
    wish: Wish,
    #[command(flatten)]
    master: Master,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Wish {
    /// Take only requests of sessions that it has
    Drain,
    /// Take requests again
    Enable,
    /// Take no requests
    Disable,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let wish = match arguments.wish {
        Wish::Drain => ServerWish::Drain,
        Wish::Enable => ServerWish::Enable,
        Wish::Disable => ServerWish::Disable,
    };
    let (name, server) = (arguments.name.clone(), arguments.server.clone());
    told(arguments.master.ask(&Request::Upstream { name, server, wish })?)
}
