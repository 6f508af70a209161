//! `workers: (…)`, and how many processes a pool has.

use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::resources;
use super::shape::Shape;
use super::walk::{By, Form, Section, Walk};
use super::written::Written;
use crate::dispatch::board;
use crate::supervisor::{Processes, Upkeep};
use crate::sys::resources::Resources;
use std::time::Duration;

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
    /// Bytes that wait in the memory of each for clients and servers that are slow; 64 MiB.
    pub buffers: u64,
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

/// Most processes of a pool: half of the rows or slots of the board, as a reload has two generations of them.
pub(crate) const MOST_WORKERS: u32 = board::WORKERS as u32 / 2;
pub(crate) const MOST_PROCESSES: u32 = board::SLOTS as u32 / 2;

/// What a worker has open before the first connection: an event descriptor for each row of the board, and sockets.
const LEAST_OPEN_FILES: u32 = board::WORKERS as u32 + 64;

impl Default for Workers {
    fn default() -> Self {
        Self {
            processes: Processes { min: 1, max: 1 },
            idle: Upkeep::default().idle,
            connections: 10_000,
            buffers: 64 << 20,
            file_cache: FileCache::default(),
            resources: Resources::default(),
        }
    }
}

impl Default for FileCache {
    fn default() -> Self {
        Self { entries: 2048, memory: 32 << 20 }
    }
}

impl Workers {
    /// `"auto"`, not cheap.
    pub(crate) fn automatic(cpus: u32) -> Self {
        let count = cpus.clamp(1, MOST_WORKERS);
        Self { processes: Processes { min: count, max: count }, ..Self::default() }
    }
}

impl Section for Workers {
    const MEANT: Option<&'static str> = Some("processes");

    fn start(_node: &Node<'_>, report: &Report<'_>) -> Self {
        Self::automatic(report.source.cpus())
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("processes", &mut By(&mut self.processes, worker_processes));
        let mut cheap = None;
        keys.key("cheap", &mut cheap);
        if cheap == Some(true) {
            self.processes.min = 0;
        }
        keys.key("idle", &mut self.idle);
        keys.key("connections", &mut self.connections);
        keys.key("buffers", &mut self.buffers);
        keys.key("file_cache", &mut self.file_cache);
        resources::walk(&mut self.resources, keys);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.connections == 0 {
            given.complain(report, Complaint::new("`connections` must be at least 1", ""));
        }
        if let Some(files) = self.resources.open_files {
            check_open_files(files, self.connections, given, report);
        }
    }
}

fn check_open_files(files: u32, connections: u32, given: &Given<'_>, report: &mut Report<'_>) {
    if files < LEAST_OPEN_FILES {
        let hint = format!("at least {LEAST_OPEN_FILES}: a worker has {} of its own", board::WORKERS);
        given.complain(report, Complaint::new("`limits.open_files` is too low for a worker", hint));
    } else if files < connections {
        let what = format!("`limits.open_files` ({files}) is less than `connections` ({connections})");
        report.warn(&given.node.place(), Complaint::new(what, "raise it, or lower `connections`"));
    }
}

impl Section for FileCache {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("entries", &mut self.entries);
        keys.key("memory", &mut self.memory);
    }
}

/// `(min: N, max: N)`.
#[derive(Clone, Default)]
struct Range(Processes);

impl Section for Range {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("min", "0", &mut self.0.min);
        keys.need("max", "4", &mut self.0.max);
    }
}

/// A number or a [`Range`].
impl Form for Processes {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        processes(node, MOST_PROCESSES, report)
    }

    fn write(&self) -> Written {
        if self.min == self.max { self.max.write() } else { Range(*self).write() }
    }
}

fn processes(node: &Node<'_>, most: u32, report: &mut Report<'_>) -> Option<Processes> {
    let processes = match node.shape() {
        Shape::Struct(_) => Range::read(node, report)?.0,
        Shape::Tuple(values) if !values.is_empty() => {
            let hint = "name the two: (min: 0, max: 4)";
            return node.refuse(report, Complaint::new("expected a number or (min: N, max: N)", hint));
        }
        other => {
            let complaint = match other {
                Shape::Map(_) => Complaint::new(
                    "expected a number or (min: N, max: N), found a map { … }",
                    "write (min: 0, max: 4)",
                ),
                Shape::Variant(name, None) if name.eq_ignore_ascii_case("auto") => Complaint::new(
                    format!("expected a number, found `{name}`"),
                    "workers may have \"auto\", in quotes",
                ),
                Shape::Integer(count) if count < 0 => {
                    Complaint::new(format!("{count} is no number of processes"), format!("from 1 to {most}"))
                }
                _ => {
                    let count = u32::read(node, report)?;
                    return checked(Processes { min: count, max: count }, node, most, report);
                }
            };
            return node.refuse(report, complaint);
        }
    };
    checked(processes, node, most, report)
}

fn checked(processes: Processes, node: &Node<'_>, most: u32, report: &mut Report<'_>) -> Option<Processes> {
    match processes.check(most) {
        Ok(()) => Some(processes),
        Err(complaint) => node.refuse(report, complaint),
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

/// Like those of an app, and `"auto"`.
fn worker_processes(node: &Node<'_>, report: &mut Report<'_>) -> Option<Processes> {
    if let Shape::Text(text) = node.shape() {
        if text != "auto" && !node.has_variable() {
            let what =
                format!("expected a number, \"auto\" or (min: N, max: N), found the string \"{text}\"");
            return node.refuse(report, Complaint::new(what, ""));
        }
        if node.text(report).ok()?? == "auto" {
            return Some(Workers::automatic(report.source.cpus()).processes);
        }
    }
    processes(node, MOST_WORKERS, report)
}
