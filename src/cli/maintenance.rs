//! `hatchery maintenance`.

use super::locate::Master;
use super::{Failure, names, told};
use crate::config::{self, Network};
use crate::control::command::Request;
use crate::control::maintenance::{self, Maintenance};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// Close a site for maintenance, or open it again
///
/// Its clients get 503 with Retry-After, and the page of the site for that, if it has one. Requests that run are completed, challenges of certificate
/// authorities and places with `probe` are answered. Holds over reloads, upgrades and restarts until it is switched off; `hatchery status` shows it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Close it, or open it
    action: Action,
    /// A name of the site
    #[arg(add = names::of(&["site"]))]
    site: String,
    /// Clients that are served all the same: an address or a block, 10.0.0.0/8; may be given several times
    #[arg(long, value_name = "CIDR", value_parser = block)]
    allow: Vec<String>,
    /// When clients may come again: 10m, 2h; 0s: they are not told
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    retry_after: Duration,
    /// What the page says, in place of the site's
    #[arg(long, value_name = "TEXT", value_parser = message)]
    message: Option<String>,
    #[command(flatten)]
    master: Master,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Action {
    /// Close it
    On,
    /// Open it
    Off,
}

fn block(text: &str) -> Result<String, String> {
    let told = |complaint: config::Complaint| format!("{}; {}", complaint.what, complaint.hint);
    Network::parse(text).map(|network| network.to_string()).map_err(told)
}

fn time(text: &str) -> Result<Duration, String> {
    config::duration(text).map_err(|complaint| format!("{}; {}", complaint.what, complaint.hint))
}

fn message(text: &str) -> Result<String, String> {
    match maintenance::is_message(text) {
        true => Ok(text.to_owned()),
        false => Err(format!("one line of at most {} characters", maintenance::CHARACTERS)),
    }
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let Arguments { action, site, allow, retry_after, message, master } = arguments;
    let closed = match action {
        Action::Off if !allow.is_empty() || message.is_some() => {
            return Err(Failure::Usage("--allow and --message go with `on`".to_owned()));
        }
        Action::Off => None,
        Action::On => Some(Box::new(Maintenance {
            allow: allow.clone(),
            retry_after: retry_after.as_secs(),
            message: message.clone().unwrap_or_default(),
            ..Maintenance::default()
        })),
    };
    told(master.ask(&Request::Maintenance { site: site.clone(), closed })?)
}
