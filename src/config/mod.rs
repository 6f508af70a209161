//! The configuration, checked: what the rest of the program sees. No `Option` here has a default; a path is absolute;
//! a name has been resolved to an index. One file per section holds its struct, the defaults, and the [`walk`] over its
//! keys by which it is read and written. Files are read only through a [`Source`], so that everything here is tested
//! without a disk.
//!
//! ```text
//!  text ─ located (pieces of RON that know their place) ─ names (of all files) ─ walk ─ X, or problems ─ load ─ Config
//!  flags ────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!  Config ─ walk ─ written (RON again) · check (what the environment must have)
//! ```

mod access;
pub(crate) mod access_files;
mod address;
mod app;
mod balance;
pub(crate) mod boot;
mod cache;
mod cache_responses;
pub(crate) mod certificate;
pub(crate) mod certificate_files;
mod certificate_ocsp;
pub(crate) mod certificate_upstreams;
mod cgi;
mod changes;
pub(crate) mod check;
mod compress;
mod condition;
mod control;
mod cors;
pub(crate) mod credentials;
mod cronjob;
mod daemon;
mod develop;
pub(crate) mod env_file;
mod fallback;
mod files;
pub(crate) mod flags;
mod handler;
mod headers;
mod host;
pub(crate) mod limit;
mod limits;
mod listen;
mod lists;
mod load;
mod located;
mod location;
mod log;
mod names;
mod places;
mod problem;
mod proxy;
pub(crate) mod publish;
mod read;
mod ready;
mod resolver;
mod resources;
mod rewrite;
mod routes;
mod sandbox;
mod sending;
mod shape;
mod site;
mod source;
mod syntax;
mod task;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod trusted;
mod units;
mod upstream;
mod upstream_tls;
mod walk;
mod workers;
mod write;
mod written;

pub(crate) use crate::http::Network;
pub(crate) use address::Address;
pub use app::{App, Keep, ResponseBuffer};
pub(crate) use balance::{Common, Stick};
pub(crate) use cache::Cache as CacheSizes;
pub(crate) use cache_responses::CacheResponses;
pub(crate) use cgi::Cgi;
pub(crate) use control::Control;
pub(crate) use cronjob::CronJob;
pub(crate) use daemon::{Daemon, Dependency, Signal};
pub(crate) use fallback::Fallback;
pub(crate) use files::{Cache, Files, Symlinks};
pub(crate) use flags::{from_flags, from_serve};
pub(crate) use handler::{Handler, Redirect, Respond};
pub use host::{Command, HandOver, Host, HostProgram, Python, Scripts};
pub(crate) use host::{Listens, PORT, SOCKET};
pub(crate) use limits::Limits;
pub(crate) use listen::Listen;
pub(crate) use lists::{From as ListFrom, List};
pub use load::load_with_warnings;
pub(crate) use load::{Examined, examine, located};
pub(crate) use location::Location;
pub(crate) use log::{AccessLog, FieldName, Log};
pub(crate) use problem::{Complaint, Place, Problem, suggestion};
pub(crate) use proxy::Proxy;
pub(crate) use ready::Ready;
pub(crate) use resolver::{Name, Resolver, Where};
pub(crate) use sandbox::Sandbox;
pub(crate) use sending::{Sending, Unsent};
pub(crate) use site::{Site, render_host};
pub use source::{Disk, Source};
pub(crate) use task::Task;
pub(crate) use tls::{Certificates, Clients};
pub(crate) use units::{duration, size as bytes};
pub(crate) use upstream::{Server, Upstream};
pub(crate) use upstream_tls::UpstreamTls;
pub use workers::{FileCache, Workers};
pub(crate) use workers::{MOST_PROCESSES, MOST_WORKERS};
pub use write::{from_resolved, to_ron};

use crate::policy::DefaultSite;
use crate::policy::condition::Condition;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One reading of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it came from: the file, or `command line`.
    pub(crate) origin: String,
    /// User that workers (and, unless they say otherwise, apps, daemons and cron jobs) run as; `None`: the user of the master.
    pub(crate) user: Option<String>,
    /// File that holds the master's process id.
    pub(crate) pid_file: Option<PathBuf>,
    /// Control socket; `None`: the default place (contract, "Commands").
    pub(crate) control: Option<Control>,
    /// Files whose being touched, or made anew, reloads the server.
    pub(crate) touch_reload: Vec<PathBuf>,
    /// Bounds a graceful stop.
    pub shutdown_timeout: Duration,
    /// Bounds what an old generation may still do after a reload.
    pub drain_timeout: Duration,
    /// One failing app fails the start.
    pub all_or_nothing: bool,
    /// Where request bodies and responses that do not fit memory are kept (unlinked files).
    pub temp_dir: PathBuf,
    /// Whether workers give up what they do not need.
    pub sandbox: Sandbox,
    /// Who is asked for the names of servers.
    pub resolver: Resolver,
    /// The event-loop workers.
    pub workers: Workers,
    /// What is logged.
    pub log: Log,
    /// Limits of HTTP/1.1 and of bodies.
    pub limits: Limits,
    /// What kept responses may take.
    pub(crate) cache: CacheSizes,
    /// Which site answers a host no site names.
    pub default_site: DefaultSite,
    /// What locations and policies may depend on, by their names; sorted.
    pub(crate) conditions: Vec<(String, Condition)>,
    /// Sorted by name.
    pub(crate) lists: Vec<List>,
    /// In the order of the file.
    pub sites: Vec<Site>,
    /// Sorted by name, and behind them those that `Cgi(…)` of locations makes.
    pub apps: Vec<App>,
    /// Sorted by name.
    pub upstreams: Vec<Upstream>,
    /// Sorted by name.
    pub(crate) daemons: Vec<Daemon>,
    /// In the order of the file.
    pub cron: Vec<CronJob>,
    /// Directories from which files are sent for apps and upstreams, sorted.
    pub(crate) sending: Vec<Sending>,
}

/// Everything in the file and in what it includes.
///
/// # Errors
/// Every problem found, in the order of the files and lines.
pub fn load(path: &Path, source: &dyn Source) -> Result<Config, Vec<Problem>> {
    load_with_warnings(path, source).map(|(config, _)| config)
}

/// How this product reads RON.
fn options() -> ron::Options {
    ron::Options::default().with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME)
}
