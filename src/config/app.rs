//! `apps: {…}`.

use super::host::{Host, Keys, Target};
use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::{Env, Positive, Size};
use super::ready::Ready;
use super::resources::OomScore;
use super::workers::{IDLE, Processes};
use crate::sys::resources::Resources;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A web application.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its key in the file.
    pub name: String,
    /// What hosts it.
    pub kind: Host,
    /// Working directory, first on `sys.path`.
    pub chdir: PathBuf,
    /// The virtualenv.
    pub home: Option<PathBuf>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// How many processes.
    pub processes: Processes,
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
    /// The processes are forked from one that has imported the app.
    pub preload: bool,
    /// What stays of a preloaded app while it sleeps.
    pub keep: Keep,
    /// What each new process must answer before it counts as ready.
    pub ready: Option<Ready>,
    /// A process is replaced after about so many requests.
    pub max_requests: Option<u32>,
    /// A process whose resident memory is above so many bytes is replaced.
    pub max_rss: Option<u64>,
    /// A process is replaced when it has served for about so long.
    pub max_lifetime: Option<Duration>,
    /// A user of its own.
    pub user: Option<String>,
    /// What a process may use of the machine.
    pub resources: Resources,
    /// A response is taken from the app into this much memory, then into a file, then the app waits.
    pub response_buffer: ResponseBuffer,
}

/// What stays of a preloaded app while none of its processes runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: waking imports the app.
    Nothing,
    /// The process that the others are forked from, from the start on.
    Template,
}

/// As they are written.
const KEEPS: [(&str, Keep); 2] = [("Nothing", Keep::Nothing), ("Template", Keep::Template)];

impl Read for Keep {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &KEEPS, &[])
    }
}

impl Keep {
    /// As it is written.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        KEEPS.iter().find(|(_, keep)| *keep == self).map_or("", |(name, _)| name)
    }
}

/// See [`App::response_buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseBuffer {
    /// Bytes in memory; 64 KiB.
    pub(crate) memory: u64,
    /// Bytes in an unlinked file; 1 GiB.
    pub(crate) file: u64,
}

/// An app as written.
#[derive(Deserialize)]
pub(crate) struct RawApp<'a> {
    #[serde(borrow)]
    module: Option<Located<'a, Target>>,
    chdir: Option<Located<'a, PathBuf>>,
    home: Option<Located<'a, PathBuf>>,
    python: Option<Located<'a, PathBuf>>,
    env: Option<Located<'a, Env>>,
    processes: Option<Located<'a, Processes>>,
    threads: Option<Located<'a, u32>>,
    idle: Option<Located<'a, Positive>>,
    timeout: Option<Located<'a, Positive>>,
    queue_timeout: Option<Located<'a, Positive>>,
    boot_timeout: Option<Located<'a, Positive>>,
    prove: Option<Located<'a, bool>>,
    preload: Option<Located<'a, bool>>,
    keep: Option<Located<'a, Keep>>,
    ready: Option<Located<'a, Ready>>,
    max_requests: Option<Located<'a, u32>>,
    max_rss: Option<Located<'a, Size>>,
    max_lifetime: Option<Located<'a, Positive>>,
    user: Option<Located<'a, String>>,
    limits: Option<Located<'a, Resources>>,
    oom_score_adj: Option<Located<'a, OomScore>>,
    response_buffer: Option<Located<'a, ResponseBuffer>>,
}

impl<'a> Raw<'a> for RawApp<'a> {
    const LATER: &'static [&'static str] = &["env_file"];
}

/// `response_buffer` as written.
#[derive(Deserialize)]
pub(crate) struct RawResponseBuffer<'a> {
    #[serde(borrow)]
    memory: Option<Located<'a, Size>>,
    file: Option<Located<'a, Size>>,
}

impl<'a> Raw<'a> for RawResponseBuffer<'a> {}

impl Default for ResponseBuffer {
    fn default() -> Self {
        Self { memory: 64 << 10, file: 1 << 30 }
    }
}

impl App {
    /// The defaults for an app of this kind in this directory.
    pub(crate) fn new(name: &str, kind: Host, chdir: PathBuf, home: Option<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            chdir,
            home,
            env: Vec::new(),
            processes: Processes { min: 1, max: 1 },
            idle: IDLE,
            timeout: Duration::from_secs(60),
            queue_timeout: Duration::from_secs(10),
            boot_timeout: Duration::from_secs(90),
            prove: false,
            preload: false,
            keep: Keep::Nothing,
            ready: None,
            max_requests: None,
            max_rss: None,
            max_lifetime: None,
            user: None,
            resources: Resources::default(),
            response_buffer: ResponseBuffer::default(),
        }
    }

    /// The app of this name.
    pub(crate) fn read(name: &str, node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawApp<'_>>(report)?;
        let chdir = at.or(raw.chdir, node.file.dir.clone(), report);
        let home = at.read(raw.home, report);
        let keys = Keys { module: raw.module, python: raw.python, threads: raw.threads };
        let kind = Host::read(keys, &at, home.as_deref(), report);
        let default = Self::new(name, kind, chdir, home);
        let (preload, keep) =
            (at.or(raw.preload, default.preload, report), at.or(raw.keep, default.keep, report));
        if keep == Keep::Template && !preload {
            let hint = "add preload: true, or leave keep out";
            node.complain(
                report,
                Complaint::new("keep: Template without preload: there is no template", hint),
            );
        }
        Some(Self {
            env: at.or(raw.env, Env::default(), report).0,
            processes: at.or(raw.processes, default.processes, report),
            idle: at.or(raw.idle, Positive(default.idle), report).0,
            timeout: at.or(raw.timeout, Positive(default.timeout), report).0,
            queue_timeout: at.or(raw.queue_timeout, Positive(default.queue_timeout), report).0,
            boot_timeout: at.or(raw.boot_timeout, Positive(default.boot_timeout), report).0,
            prove: at.or(raw.prove, default.prove, report),
            preload,
            keep,
            ready: at.read(raw.ready, report),
            max_requests: at.read(raw.max_requests, report),
            max_rss: at.read(raw.max_rss, report).map(|Size(bytes)| bytes),
            max_lifetime: at.read(raw.max_lifetime, report).map(|Positive(time)| time),
            user: at.read(raw.user, report),
            resources: Resources {
                oom_score_adj: at.read(raw.oom_score_adj, report).map(|score| score.0),
                ..at.or(raw.limits, default.resources, report)
            },
            response_buffer: at.or(raw.response_buffer, default.response_buffer, report),
            ..default
        })
    }
}

impl Read for ResponseBuffer {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawResponseBuffer<'_>>(report)?;
        let default = Self::default();
        let memory = at.or(raw.memory, Size(default.memory), report).0;
        let file = at.or(raw.file, Size(default.file), report).0;
        Some(Self { memory, file })
    }
}
