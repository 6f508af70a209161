//! Commands to the running master over its control socket: one JSON object a line each way.

use super::maintenance::Maintenance;
use crate::timer::Wall;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One line from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What the client asks.
    #[serde(flatten)]
    pub request: Request,
    /// The master that the client means; `None`: whoever listens there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Identity>,
}

/// Which of several masters one is: by what it was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its configuration file, absolute, by the links it was named by; `None`: started with flags.
    pub(crate) config: Option<PathBuf>,
    /// Where it was started, without links; `None`: anywhere.
    pub(crate) directory: Option<PathBuf>,
}

impl Identity {
    /// Whether both mean one master: they have the same file, or none and the same directory. `same` tells of two paths
    /// whether they lead to one file.
    #[must_use]
    pub(crate) fn is(&self, other: &Self, same: impl Fn(&Path, &Path) -> bool) -> bool {
        match (&self.config, &other.config) {
            (Some(one), Some(other)) => one == other || same(one, other),
            (None, None) => self.directory.is_some() && self.directory == other.directory,
            _ => false,
        }
    }
}

/// `/srv/shop/hatchery.ron`, `a server without a file, started in /srv/shop`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.config, &self.directory) {
            (Some(file), _) => write!(f, "{}", file.display()),
            (None, Some(directory)) => {
                write!(f, "a server without a file, started in {}", directory.display())
            }
            (None, None) => write!(f, "a server without a file"),
        }
    }
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub enum Request {
    /// The process tree.
    Status,
    /// Like HUP.
    Reload {
        /// Answer only when the new generation serves or has failed.
        wait: bool,
        /// Boot sleeping apps too.
        prove: bool,
    },
    /// So many processes of a pool until the next reload; 0: asleep until wanted.
    Scale {
        /// App or daemon, or `workers`.
        name: String,
        /// How many.
        count: u32,
    },
    /// No processes of a pool until the next reload; answered when none lives. Not [`Request::Stop`] with a name: a master
    /// that did not know the name would stop.
    StopOne {
        /// App or daemon.
        name: String,
    },
    /// The end of a `StopOne`; answered when the pool serves.
    StartOne {
        /// App or daemon.
        name: String,
    },
    /// Replace the processes of a pool one after the other; answered at the end.
    Restart {
        /// App or daemon, or `workers`.
        name: String,
    },
    /// Take a server of an upstream out, or back in.
    Upstream {
        /// The upstream.
        name: String,
        /// The server's address, as configured.
        server: String,
        /// What it is to do.
        wish: ServerWish,
    },
    /// Close the sites of a name for maintenance, or open them.
    Maintenance {
        /// A name, or the label.
        site: String,
        /// `None`: they are open.
        closed: Option<Box<Maintenance>>,
    },
    /// Order certificates now: what waits for another try, or the one for a name.
    Renew {
        /// Of a site.
        name: Option<String>,
    },
    /// Take kept responses out of the cache.
    Purge {
        /// Which.
        what: Purged,
    },
    /// Run a cron job now; answered when it has begun.
    CronRun {
        /// Its name.
        name: String,
    },
    /// What children printed last.
    Logs {
        /// One app, daemon or job, or `hatchery` for the server's own messages; else all children.
        name: Option<String>,
        /// Only lines after the one of this number.
        after: u64,
        /// Answer only when there are some.
        wait: bool,
    },
    /// Have the processes of an app print their Python stacks.
    Stacks {
        /// The app.
        name: String,
    },
    /// Stop, gracefully unless `fast`.
    Stop {
        /// Do not wait for running requests.
        fast: bool,
    },
}

/// What is taken out of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purged {
    /// Everything.
    All,
    /// What a site has answered: one of its names.
    Site(String),
    /// One URL, with all that varies.
    Url(String),
    /// All URLs that begin like this.
    Prefix(String),
    /// What was answered with this tag.
    Tag(String),
}

/// What the master answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Response {
    /// Done, or begun where the command does not wait.
    Done {
        /// One line for the operator.
        text: String,
    },
    /// Refused or failed.
    Failed {
        /// Why, for the operator; may have several lines.
        text: String,
    },
    /// The answer to `logs`.
    Logs {
        /// In the order in which they came.
        lines: Vec<LogLine>,
        /// Number of the newest line of all.
        last: u64,
        /// How many of those that were asked for there have been; the oldest are not kept.
        #[serde(default)]
        count: u64,
    },
    /// The answer to `stacks`, which are among the lines that come from now on.
    Asked {
        /// The processes that were asked, as [`LogLine::child`].
        children: Vec<String>,
        /// Number of the newest line of all.
        last: u64,
    },
    /// The answer to `status`.
    Status(Box<Status>),
}

/// One line that a child printed, or of a message of the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Lines are numbered upwards as long as the master lives.
    pub(crate) number: u64,
    /// `app shop 0`, `daemon celery 0`, `cron clearsessions`; of the server itself `hatchery`, `worker 0`.
    pub(crate) child: String,
    /// Without control characters.
    pub(crate) text: String,
    /// When it came.
    #[serde(default)]
    pub(crate) at: Wall,
}

impl LogLine {
    /// Bytes that it takes, about.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.child.len() + self.text.len()
    }
}

/// The process tree as `status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Process id of the master.
    pub pid: u32,
    /// Its configuration file, if it has one.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// Current generation.
    pub generation: u32,
    /// `starting`, `running`, `asleep`, `reloading`, `upgrading` or `stopping`.
    pub mode: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Addresses bound.
    pub listeners: Vec<String>,
    /// Why the last reload failed, if it did.
    pub last_reload_error: Option<String>,
    /// Why the last upgrade failed, if it did.
    #[serde(default)]
    pub last_upgrade_error: Option<String>,
    /// What the sandbox has taken from workers.
    #[serde(default)]
    pub sandbox: SandboxStatus,
    /// Logs that cannot be written.
    #[serde(default)]
    pub logs: Vec<LogStatus>,
    /// Sites that are closed for maintenance.
    #[serde(default)]
    pub maintenance: Vec<MaintenanceStatus>,
    /// The sites by their labels.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Workers first, then apps, then daemons by name.
    pub pools: Vec<PoolStatus>,
    /// Cron jobs in the order of the file.
    pub cron: Vec<JobStatus>,
    /// Upstreams by name, as configured.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// The response cache, if a place uses it.
    #[serde(default)]
    pub cache: Option<CacheStatus>,
    /// Certificates, in the order of the sites.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    /// The table of limits, and what was refused.
    #[serde(default)]
    pub limits: LimitsStatus,
}

/// The limits of requests and connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsStatus {
    /// Buckets that the table has room for.
    pub size: u64,
    /// Of these how many were ever used; those that are full again are used anew.
    pub used: u64,
    /// How many buckets had to leave before they were full.
    pub evicted: u64,
    /// Each limit, by name.
    pub limits: Vec<LimitStatus>,
}

/// One limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// `class NAME`, or the place that it stands in.
    pub name: String,
    /// Requests that it has refused since the server was started.
    pub refused: u64,
    /// Requests that it would have refused, were it no `dry_run`.
    pub spared: u64,
}

/// A site that is closed for maintenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceStatus {
    /// The site, by its first name.
    pub site: String,
    /// For how long.
    pub seconds: u64,
    /// Blocks of addresses of clients that are served all the same.
    pub allow: Vec<String>,
    /// Seconds after which others may come again; 0: they are not told.
    pub retry_after: u64,
    /// What their page says, if the operator has said it.
    pub message: String,
}

/// The response cache, as all workers share it; counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStatus {
    /// Responses in memory.
    pub objects: u64,
    /// Bytes of memory that there are for them.
    pub memory: u64,
    /// Responses in files.
    pub files: u64,
    /// Bytes that these take.
    pub disk: u64,
    /// Requests that were answered from it.
    pub hits: u64,
    /// Requests that were not.
    pub misses: u64,
    /// Responses that were put into it.
    pub stored: u64,
    /// What had to leave to make room.
    pub evicted: u64,
}

/// A certificate of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The site, by its first name.
    pub site: String,
    /// What it is for.
    pub names: Vec<String>,
    /// Who has signed it.
    pub issuer: String,
    /// Kind and size of its key, `ECDSA P-256`.
    #[serde(default)]
    pub key: String,
    /// Its number at who has signed it, in hexadecimal digits.
    #[serde(default)]
    pub serial: String,
    /// SHA-256 of it, in hexadecimal digits.
    #[serde(default)]
    pub fingerprint: String,
    /// The file that it is from.
    #[serde(default)]
    pub file: Option<String>,
    /// A response of the authority goes along.
    #[serde(default)]
    pub stapled: bool,
    /// Its beginning, in seconds since 1970-01-01T00:00:00Z.
    #[serde(default)]
    pub not_before: i64,
    /// Its end, likewise.
    pub not_after: i64,
    /// Seconds until then; negative after it.
    pub expires_in_seconds: i64,
    /// How it was got: `file`, `self-signed` or `acme`.
    pub from: String,
    /// Why what the file says by now is not taken.
    #[serde(default)]
    pub fault: Option<String>,
    /// How it stands with the authority that gives it: `issued, renews in 58d`, `being ordered`, `waiting: …`.
    #[serde(default)]
    pub acme: Option<String>,
}

/// A log that cannot be written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogStatus {
    /// `access`, or `error` for the messages of the server and what children print.
    pub log: String,
    /// The file.
    pub path: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Why, the last time.
    pub error: String,
    /// So many lines, or more, were lost; 0: it works again.
    pub lines: u64,
    /// The same in bytes.
    pub bytes: u64,
}

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// How a server is chosen, as configured.
    #[serde(default)]
    pub balance: String,
    /// Its servers, in the order of the file; of a name each of its addresses.
    pub servers: Vec<ServerStatus>,
    /// How often a server was at fault since the server was started, by the word of the reason.
    #[serde(default)]
    pub faults: BTreeMap<String, u64>,
}

/// One server of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Its address; of a name that leads to none, the name.
    pub address: String,
    /// The name that has led to it.
    #[serde(default)]
    pub name: Option<String>,
    /// `up`, `down`; by hand `draining`, `disabled`; of a name that leads to no address `unresolved`.
    pub state: String,
    /// Why it is down or unresolved, or its name is not found any more.
    pub reason: Option<String>,
    /// For how long its state has been so; `None`: since the start.
    pub seconds: Option<u64>,
    /// Its share.
    pub weight: u32,
    /// It is only for when no other is up.
    pub backup: bool,
    /// Requests that are there now.
    pub in_flight: u64,
    /// So many at most.
    pub max_connections: Option<u32>,
    /// Requests that it was given, by workers that live.
    pub requests: u64,
    /// How many of them failed before a response began.
    pub failures: u64,
}

/// What a server of an upstream is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerWish {
    /// Take only requests of sessions that it has.
    Drain,
    /// Take requests.
    Enable,
    /// Take none.
    Disable,
}

/// What the sandbox has taken from workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxStatus {
    /// `Require`, `Try` or `Off`, as configured.
    pub mode: String,
    /// Parts of the sandbox that took effect in every worker that lives; without one, those that would.
    pub applied: Vec<String>,
    /// Parts that did not.
    pub missing: Vec<String>,
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// `worker`, or the name of the app or daemon.
    pub name: String,
    /// `workers`, `app` or `daemon`.
    pub kind: String,
    /// `asleep`, `starting`, `ready`, `failed`; also `stopped`, by hand, and of a daemon `waiting` (for what it
    /// comes after).
    pub state: String,
    /// What must be ready before it starts.
    #[serde(default)]
    pub waits_for: Vec<String>,
    /// Wanted at least and at most.
    pub processes: (u32, u32),
    /// Processes that are to be replaced although they serve.
    #[serde(default)]
    pub worn: u32,
    /// Processes started in place of one that died or hung, since the master started.
    pub restarts: u64,
    /// How the last process that ended unexpectedly did so.
    pub last_exit: Option<String>,
    /// Milliseconds until the next attempt, while backing off.
    pub retry_in_ms: Option<u64>,
    /// Requests served since the server was started (workers only), also by processes that have left.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Its processes.
    pub children: Vec<ChildStatus>,
    /// Processes that KILL has not ended.
    #[serde(default)]
    pub unkillable: Vec<Unkillable>,
    /// With `preload`: the processes that these are forked from, one for each generation.
    #[serde(default)]
    pub templates: Vec<TemplateStatus>,
}

/// A process that was killed and does not die; another one has its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unkillable {
    /// Process id.
    pub pid: u32,
    /// The number it had in its pool; `None`: a template.
    pub(crate) number: Option<u16>,
    /// Generation it belongs to.
    pub(crate) generation: u32,
    /// Seconds since it was given up, some after KILL.
    pub(crate) seconds: u64,
    /// What keeps the process from ending, as far as the kernel tells.
    pub reason: String,
}

/// A process that has imported an app so that others are forked from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateStatus {
    /// Process id.
    pub pid: u32,
    /// Generation of its code.
    pub generation: u32,
    /// `booting`, `ready`, `leaving`.
    pub state: String,
    /// Seconds since it was started.
    pub(crate) uptime_seconds: u64,
    /// Attempts in place of one that died or did not boot.
    #[serde(default)]
    pub restarts: u64,
    /// How the last one ended that died or did not boot.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// Resident memory in bytes.
    pub(crate) rss_bytes: u64,
}

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// Process id.
    pub pid: u32,
    /// Number in its pool.
    pub number: u16,
    /// Generation it belongs to.
    pub generation: u32,
    /// `booting`, `ready`, `draining`, `killing`.
    pub state: String,
    /// Seconds since it was started.
    pub(crate) uptime_seconds: u64,
    /// Processes started in its place because the one before died.
    #[serde(default)]
    pub restarts: u64,
    /// How the last process in its place ended that was not told to.
    #[serde(default)]
    pub last_exit: Option<String>,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Time of processors that it has used, in milliseconds.
    #[serde(default)]
    pub(crate) cpu_ms: u64,
    /// Requests served (workers only).
    pub requests: Option<u64>,
    /// Open client connections (workers only).
    pub connections: Option<u64>,
    /// How many of them are tunnels, after an upgrade to WebSocket, say (workers only).
    #[serde(default)]
    pub tunnels: Option<u64>,
    /// Bytes that wait in its memory for clients and servers that are slow (workers only).
    #[serde(default)]
    pub buffered_bytes: Option<u64>,
    /// Requests that have run for a second or more (apps only), the longest first.
    #[serde(default)]
    pub running: Vec<Running>,
    /// Where its threads are, or why that is not known (apps only, if asked for).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stacks: Option<String>,
}

/// A request that runs in a process of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Method and path.
    pub request: String,
    /// For how long it has run.
    pub(crate) seconds: u64,
}

/// One cron job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Its schedule, as written.
    pub at: String,
    /// Next run, RFC 3339 in the job's zone.
    pub next: Option<String>,
    /// Seconds until then.
    #[serde(default)]
    pub next_in_seconds: Option<u64>,
    /// Process ids of running runs.
    pub running: Vec<u32>,
    /// When each of them started, RFC 3339.
    #[serde(default)]
    pub(crate) running_since: Vec<String>,
    /// The last runs, newest first, at most 20.
    pub history: Vec<RunStatus>,
}

/// One run of a cron job that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// When it started, RFC 3339.
    pub(crate) started: String,
    /// It was asked for by `hatchery cron run`.
    #[serde(default)]
    pub by_hand: bool,
    /// How long it ran.
    pub(crate) duration_ms: u64,
    /// `ok`, `exit 3`, `killed by SIGKILL`, `timed out`, `skipped: still running`, `could not start: …`.
    pub outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_request_with_the_master_that_it_means() {
        let plain = serde_json::from_str::<Order>(r#"{"command":"stop","fast":true}"#).unwrap();
        assert_eq!(plain, Order { request: Request::Stop { fast: true }, meant: None });
        let meant = Some(Identity { config: Some("/a.ron".into()), directory: None });
        let order = Order { request: Request::Status, meant };
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
        assert_eq!(
            serde_json::from_str::<Request>(&text).unwrap(),
            Request::Status,
            "older masters take it too"
        );
    }

    #[test]
    fn a_command_is_for_the_master_of_its_file_or_directory() {
        let identity = |config: &str, directory: &str| {
            let path = |text: &str| Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            Identity { config: path(config), directory: path(directory) }
        };
        for (meant, master, same) in [
            (identity("/a/h.ron", "/a"), identity("/a/h.ron", "/"), true),
            (identity("/a/h.ron", "/a"), identity("/b/h.ron", "/a"), false),
            (identity("", "/a"), identity("", "/a"), true),
            (identity("", "/a"), identity("", "/b"), false),
            (identity("/l/h.ron", ""), identity("/a/h.ron", ""), true),
            (identity("", "/a"), identity("/x.ron", "/a"), false),
            (identity("/etc/h.ron", "/a"), identity("", "/a"), false),
            (identity("", ""), identity("", ""), false),
        ] {
            let one_file =
                |one: &Path, other: &Path| one == Path::new("/l/h.ron") && other == Path::new("/a/h.ron");
            assert_eq!(meant.is(&master, one_file), same, "{meant:?} {master:?}");
        }
    }
}
