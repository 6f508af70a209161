//! `workers: (…)`, and how many processes a pool has.

use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::{Positive, Size};
use super::resources::OomScore;
use super::shape::Shape;
use crate::dispatch::board;
use crate::sys::resources::Resources;
use serde::Deserialize;
use std::time::Duration;

/// How many of a pool's processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processes {
    /// Kept alive even if idle.
    pub(crate) min: u32,
    /// Never more.
    pub(crate) max: u32,
}

/// The event-loop workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// `min` is 0 in cheap mode; "auto" has become the number of usable CPUs.
    pub processes: Processes,
    /// How long none must have been busy until one more than `min` leaves; with `min` 0, how long without a connection
    /// until the last one does.
    pub idle: Duration,
    /// Client connections a worker holds at most.
    pub connections: u32,
    /// What each keeps of files.
    pub file_cache: FileCache,
    /// What each may use of the machine.
    pub resources: Resources,
}

/// What a worker keeps of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCache {
    /// Paths at most, those that lead to nothing among them; 0: nothing is kept.
    pub(crate) entries: u32,
    /// Bytes at most. A file takes no more than an eighth of it.
    pub(crate) memory: u64,
}

/// `workers` as written.
#[derive(Deserialize)]
pub(crate) struct RawWorkers<'a> {
    #[serde(borrow)]
    processes: Option<Located<'a, WorkerProcesses>>,
    cheap: Option<Located<'a, bool>>,
    idle: Option<Located<'a, Positive>>,
    connections: Option<Located<'a, u32>>,
    file_cache: Option<Located<'a, FileCache>>,
    limits: Option<Located<'a, Resources>>,
    oom_score_adj: Option<Located<'a, OomScore>>,
}

impl<'a> Raw<'a> for RawWorkers<'a> {}

#[derive(Deserialize)]
pub(crate) struct RawFileCache<'a> {
    #[serde(borrow)]
    entries: Option<Located<'a, u32>>,
    memory: Option<Located<'a, Size>>,
}

impl<'a> Raw<'a> for RawFileCache<'a> {}

#[derive(Deserialize)]
pub(crate) struct RawProcesses<'a> {
    #[serde(borrow)]
    min: Option<Located<'a, u32>>,
    max: Option<Located<'a, u32>>,
}

impl<'a> Raw<'a> for RawProcesses<'a> {}

/// Most processes of a pool: half of the rows or slots of the board, as a reload has two generations of them.
pub(crate) const MOST_WORKERS: u32 = board::WORKERS as u32 / 2;
pub(crate) const MOST_PROCESSES: u32 = board::SLOTS as u32 / 2;

/// Defaults of the two idle times.
pub(crate) const IDLE: Duration = Duration::from_secs(600);
const CONNECTIONS: u32 = 10_000;
/// What a worker has open before the first connection: an event descriptor for each row of the board, and sockets.
const LEAST_OPEN_FILES: u64 = board::WORKERS as u64 + 64;
const FILE_CACHE: FileCache = FileCache { entries: 2048, memory: 32 << 20 };

impl Workers {
    /// `"auto"`, not cheap.
    pub(crate) fn automatic(cpus: u32) -> Self {
        let count = cpus.clamp(1, MOST_WORKERS);
        Self {
            processes: Processes { min: count, max: count },
            idle: IDLE,
            connections: CONNECTIONS,
            file_cache: FILE_CACHE,
            resources: Resources::default(),
        }
    }
}

impl Read for Workers {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawWorkers<'_>>(report)?;
        let automatic = Self::automatic(report.source.cpus());
        let mut processes = at.or(raw.processes, WorkerProcesses(automatic.processes), report).0;
        if at.or(raw.cheap, false, report) {
            processes.min = 0;
        }
        let idle = at.or(raw.idle, Positive(automatic.idle), report).0;
        let connections = at.or(raw.connections, automatic.connections, report);
        if connections == 0 {
            node.complain(report, Complaint::new("`connections` must be at least 1", ""));
        }
        let file_cache = at.or(raw.file_cache, FILE_CACHE, report);
        let resources = Resources {
            oom_score_adj: at.read(raw.oom_score_adj, report).map(|score| score.0),
            ..at.or(raw.limits, Resources::default(), report)
        };
        if let Some(files) = resources.open_files {
            check_open_files(files, connections, node, report);
        }
        Some(Self { processes, idle, connections, file_cache, resources })
    }
}

fn check_open_files(files: u64, connections: u32, node: &Node<'_>, report: &mut Report<'_>) {
    if files < LEAST_OPEN_FILES {
        let hint = format!("at least {LEAST_OPEN_FILES}: a worker has {} of its own", board::WORKERS);
        node.complain(report, Complaint::new("`limits.open_files` is too low for a worker", hint));
    } else if files < u64::from(connections) {
        let what = format!("`limits.open_files` ({files}) is less than `connections` ({connections})");
        report.warn(&node.place(), Complaint::new(what, "raise it, or lower `connections`"));
    }
}

impl Read for FileCache {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawFileCache<'_>>(report)?;
        let entries = at.or(raw.entries, FILE_CACHE.entries, report);
        let memory = at.or(raw.memory, Size(FILE_CACHE.memory), report).0;
        Some(Self { entries, memory })
    }
}

/// A number or `(min: N, max: N)`.
impl Read for Processes {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let processes = match node.shape() {
            Shape::Struct(_) => {
                let (raw, at) = node.fields::<RawProcesses<'_>>(report)?;
                let min = at.need(raw.min, "min", "0", report);
                let max = at.need(raw.max, "max", "4", report);
                Self { min: min?, max: max? }
            }
            Shape::Tuple(values) if !values.is_empty() => {
                let hint = "name the two: (min: 0, max: 4)";
                return node.refuse(report, Complaint::new("expected a number or (min: N, max: N)", hint));
            }
            _ => {
                let count = u32::read(node, report)?;
                Self { min: count, max: count }
            }
        };
        if let Err(complaint) = processes.check(MOST_PROCESSES) {
            return node.refuse(report, complaint);
        }
        Some(processes)
    }
}

impl Processes {
    pub(crate) fn check(self, most: u32) -> Result<(), Complaint> {
        let Self { min, max } = self;
        if min > max {
            return Err(Complaint::new(format!("min {min} is more than max {max}"), ""));
        }
        if max == 0 {
            let hint = "for processes that leave when idle write (min: 0, max: 4)";
            return Err(Complaint::new("at least 1 process is needed", hint));
        }
        if max > most {
            return Err(Complaint::new(format!("{max} processes are too many"), format!("at most {most}")));
        }
        Ok(())
    }
}

/// Like [`Processes`], and `"auto"`.
#[derive(Clone, Copy)]
pub(crate) struct WorkerProcesses(pub(crate) Processes);

impl Read for WorkerProcesses {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        if let Shape::Text(text) = node.shape() {
            let automatic = Workers::automatic(report.source.cpus()).processes;
            if text == "auto" {
                return Some(Self(automatic));
            }
            if !node.has_variable() {
                let what =
                    format!("expected a number, \"auto\" or (min: N, max: N), found the string \"{text}\"");
                return node.refuse(report, Complaint::new(what, ""));
            }
            let expanded = node.text(report).ok()??;
            if expanded == "auto" {
                return Some(Self(automatic));
            }
        }
        let processes = Processes::read(node, report)?;
        if let Err(complaint) = processes.check(MOST_WORKERS) {
            return node.refuse(report, complaint);
        }
        Some(Self(processes))
    }
}
