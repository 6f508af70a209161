//! The configuration, checked: what the rest of the program sees. No `Option` here has a default; a path is absolute;
//! a name has been resolved to an index. One file per section holds `RawX` (one to one with the RON file), `X` and the
//! conversion. Files are read only through a [`Source`], so that everything here is tested without a disk.

pub mod boot;

use crate::route::{HostPattern, Matcher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One reading of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it came from: the file, or `command line`.
    pub origin: String,
    /// User that workers (and, unless they say otherwise, apps and cron jobs) run as; `None`: the user of the master.
    pub user: Option<String>,
    /// File that holds the master's process id.
    pub pid_file: Option<PathBuf>,
    /// Control socket; `None`: the default place (contract, "Commands").
    pub control: Option<PathBuf>,
    /// Bounds a graceful stop.
    pub shutdown_timeout: Duration,
    /// Bounds what an old generation may still do after a reload.
    pub drain_timeout: Duration,
    /// One failing app fails the start.
    pub all_or_nothing: bool,
    /// Where request bodies and responses that do not fit memory are kept (unlinked files).
    pub temp_dir: PathBuf,
    /// The event-loop workers.
    pub workers: Workers,
    /// What is logged.
    pub log: Log,
    /// Limits of HTTP/1.1 and of bodies.
    pub limits: Limits,
    /// Which site answers a host no site names.
    pub default_site: DefaultSite,
    /// In the order of the file.
    pub sites: Vec<Site>,
    /// Sorted by name.
    pub apps: Vec<App>,
    /// Sorted by name.
    pub upstreams: Vec<Upstream>,
    /// In the order of the file.
    pub cron: Vec<CronJob>,
}

/// How many of a pool's processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Kept alive even if idle.
    pub min: u32,
    /// Never more.
    pub max: u32,
}

/// The event-loop workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// `min` is 0 in cheap mode; "auto" has become the number of usable CPUs.
    pub processes: Processes,
    /// With `min` 0: how long without a connection until the workers leave.
    pub idle: Duration,
    /// Client connections a worker holds at most.
    pub connections: u32,
}

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Level of the server's own messages, on standard error.
    pub level: log::LevelFilter,
    /// The access log.
    pub access: Option<AccessLog>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// `None`: standard output (written `"-"`).
    pub path: Option<PathBuf>,
    /// How a line looks.
    pub format: crate::accesslog::Format,
}

/// Limits of what clients may send (research, web-servers §6.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the request line; 8 KiB, 414.
    pub request_line: u32,
    /// Bytes of the whole head; 32 KiB, 431.
    pub head: u32,
    /// Number of fields; 100, 431.
    pub fields: u32,
    /// From the first byte (or the accept) to the end of the head, absolute; 15 s, 408.
    pub header_timeout: Duration,
    /// Between two reads of a body, and between two writes of a response; 60 s.
    pub body_timeout: Duration,
    /// An idle kept-alive connection; 65 s.
    pub keepalive_timeout: Duration,
    /// Requests on one connection; 1000... 0: no limit.
    pub keepalive_requests: u32,
}

/// Which site answers a host that no site names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSite {
    /// 421 Misdirected Request.
    Refuse,
    /// The site of this index.
    Site(usize),
}

/// One site.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// First name, or `site N`; for logs.
    pub label: String,
    /// Hosts it answers; empty: any host on its addresses.
    pub names: Vec<HostPattern>,
    /// Where it listens.
    pub listen: Vec<Address>,
    /// Largest request body, 413.
    pub max_body: u64,
    /// Peers whose X-Forwarded-* are believed.
    pub trusted_proxies: Vec<Network>,
    /// In the order of the file.
    pub locations: Vec<Location>,
}

/// An address to listen on, or of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `:8000`: every interface, IPv4 and IPv6 (two sockets).
    Any(u16),
    /// `127.0.0.1:8000`, `[::1]:8000`.
    Tcp(std::net::SocketAddr),
    /// `unix:/run/x.sock`.
    Unix(PathBuf),
}

/// A block of IP addresses, `10.0.0.0/8`, or the peers of Unix listeners (`unix:`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// All peers of Unix listeners.
    Unix,
    /// `base/bits`.
    Block {
        /// First address.
        base: IpAddr,
        /// Length of the prefix.
        bits: u8,
    },
}

/// One location of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Which paths it takes.
    pub matcher: Matcher,
    /// What answers.
    pub action: Action,
    /// Largest request body here.
    pub max_body: u64,
}

/// What answers a location.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Files below a directory.
    Files(Files),
    /// An app.
    App {
        /// Index into [`Config::apps`].
        app: usize,
        /// SCRIPT_NAME, without a slash at the end; empty unless the location says `mount`.
        mount: String,
    },
    /// An upstream; index into [`Config::upstreams`].
    Proxy(usize),
    /// A redirect. `location` may contain `$rest` (what follows the prefix, as it was written), `$path`, `$query`,
    /// `$host`, `$scheme`.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The Location field.
        location: String,
    },
    /// A fixed answer.
    Respond {
        /// Any final status.
        status: u16,
        /// The body.
        body: String,
        /// Content-Type.
        content_type: String,
    },
}

/// Files below a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Files {
    /// The directory that stands for the location's prefix.
    pub root: PathBuf,
    /// Tried in order for a directory; `["index.html"]`.
    pub index: Vec<String>,
    /// Cache-Control.
    pub cache: Cache,
}

/// What Cache-Control says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// No Cache-Control.
    Unset,
    /// `no-cache`.
    Revalidate,
    /// `max-age=N`.
    For(Duration),
    /// `public, max-age=31536000, immutable` for names that carry a hash (`name.0123456789ab.ext`), `no-cache` otherwise.
    Immutable,
}

/// A Python web application.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its key in the file.
    pub name: String,
    /// Module, `config.wsgi`.
    pub module: String,
    /// Callable in it, `application`; may have dots.
    pub callable: String,
    /// Working directory, first on `sys.path`.
    pub chdir: PathBuf,
    /// The interpreter: `<home>/bin/python`, or `python3` found on PATH.
    pub python: PathBuf,
    /// The virtualenv.
    pub home: Option<PathBuf>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// How many processes.
    pub processes: Processes,
    /// Threads, that is requests at a time, per process.
    pub threads: u32,
    /// With `min` 0: how long without a request until the processes leave.
    pub idle: Duration,
    /// Longest time for one request, 504.
    pub timeout: Duration,
    /// How long a request may wait for a free process, 503.
    pub queue_timeout: Duration,
    /// Longest time to import the app.
    pub boot_timeout: Duration,
    /// Boot once at start although `min` is 0, to prove that it imports.
    pub prove: bool,
    /// A user of its own.
    pub user: Option<String>,
    /// A response is taken from the app into this much memory, then into a file, then the app waits.
    pub response_buffer: ResponseBuffer,
}

/// See [`App::response_buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseBuffer {
    /// Bytes in memory; 64 KiB.
    pub memory: u64,
    /// Bytes in an unlinked file; 1 GiB.
    pub file: u64,
}

/// Servers that requests are balanced over.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its key in the file.
    pub name: String,
    /// One or more.
    pub servers: Vec<Server>,
    /// To connect; 3 s, 502... 504 when it runs out.
    pub connect_timeout: Duration,
    /// Silence before the first byte of the response and between two reads; 60 s, 504.
    pub timeout: Duration,
    /// Idle connections kept per worker; 32.
    pub keepalive: u32,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens (never [`Address::Any`]).
    pub address: Address,
    /// Its share; 1.
    pub weight: u32,
}

/// A cron job.
#[derive(Clone, Debug, PartialEq)]
pub struct CronJob {
    /// Unique.
    pub name: String,
    /// When; checked by `cron::Schedule::parse`.
    pub at: String,
    /// Zone of `at`, IANA name; `None`: the system's.
    pub timezone: Option<String>,
    /// Program and arguments. A bare program name is looked for in the app's virtualenv first.
    pub command: Vec<String>,
    /// Index into [`Config::apps`]: its virtualenv, directory, user and environment are used.
    pub app: Option<usize>,
    /// Working directory; the app's unless given.
    pub chdir: Option<PathBuf>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// A user of its own.
    pub user: Option<String>,
    /// TERM after this long, KILL ten seconds later; `None`: no limit.
    pub timeout: Option<Duration>,
    /// What happens when the last run has not ended.
    pub overlap: crate::cron::Overlap,
}
