//! `hatchery explain`: the way of a request through a configuration, decided by what decides in a worker.

mod request;
mod steps;
mod way;

use super::{Failure, locate, print, print_json};
use clap::Args;
use request::Asked;
use std::net::IpAddr;
use std::path::PathBuf;
use steps::Steps;

/// Explain which site, location and file or app answers a URL, and why
///
/// Nothing is asked and nobody is told: the configuration is read, lists of networks, and for a location with files its directory.
/// A running server is not needed, and whether a site of it is closed for maintenance is not looked at. Exit code 0: something answers; 1: nothing does, or it is refused; 2: wrong usage, or the configuration
/// has mistakes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// URL, as a browser would ask for it
    url: String,
    /// Configuration file [default: ./hatchery.ron, then /etc/hatchery/hatchery.ron]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Method of the request
    #[arg(short, long, default_value = "GET")]
    method: String,
    /// A header field of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Address of the client
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the way.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let asked = Asked::of(&arguments.url, &arguments.method, &arguments.headers, arguments.from)
        .map_err(Failure::Usage)?;
    let file = locate::file(arguments.config.as_deref())?;
    let config = locate::load(&file).map_err(Failure::Usage)?;
    let mut steps = Steps::default();
    let status = way::explain(&config, asked, &mut steps);
    if arguments.json {
        print_json(&steps.told(&arguments.url, status))?;
    } else {
        print(&steps.lines())?;
    }
    Ok(u8::from(status.is_some_and(|status| status >= 400)))
}
