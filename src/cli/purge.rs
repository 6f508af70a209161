//! `hatchery purge`.

use super::locate::Master;
use super::{Failure, told};
use crate::control::command::{Purged, Request};
use clap::{ArgGroup, Args};

/// Take kept responses out of the cache
///
/// For places with `cache_responses`. It holds at once, in all workers, and for what is being fetched at that moment, too.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true))]
pub(super) struct Arguments {
    /// A URL, with all of its variants; or a name of a site: all of it
    #[arg(value_name = "URL|SITE", group = "which")]
    what: Option<String>,
    /// All URLs that begin like this one
    #[arg(long, requires = "what")]
    prefix: bool,
    /// What was answered with this in `Cache-Tag` or `Surrogate-Key`
    #[arg(long, group = "which")]
    tag: Option<String>,
    /// Everything
    #[arg(long, group = "which")]
    all: bool,
    #[command(flatten)]
    master: Master,
}

/// Asks the running master.
pub(super) fn execute(arguments: &Arguments) -> Result<u8, Failure> {
    let what = match (&arguments.what, &arguments.tag) {
        (_, Some(tag)) => Purged::Tag(tag.clone()),
        (Some(url), _) if url.contains("://") && arguments.prefix => Purged::Prefix(url.clone()),
        (Some(url), _) if url.contains("://") => Purged::Url(url.clone()),
        (Some(name), _) if arguments.prefix => {
            let example = format!("--prefix https://{name}/");
            return Err(Failure::Usage(format!("`{name}` is no URL: write it whole, {example}")));
        }
        (Some(name), _) => Purged::Site(name.clone()),
        (None, None) => Purged::All,
    };
    told(arguments.master.ask(&Request::Purge { what })?)
}
