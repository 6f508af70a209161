//! `cron: […]`.

use super::located::{At, Given, Node, Report};
use super::names::{SERVER, reserved};
use super::problem::Complaint;
use super::task::Task;
use super::walk::{By, Choice, Form, Section, Walk};
use crate::cron::{Overlap, Schedule};
use std::time::Duration;

/// A cron job.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CronJob {
    /// Unique.
    pub(crate) name: String,
    /// When; checked by `cron::Schedule::parse`.
    pub(crate) at: String,
    /// Zone of `at`, IANA name; `None`: the system's.
    pub(crate) timezone: Option<String>,
    /// What it runs.
    pub(crate) task: Task,
    /// TERM after this long, KILL ten seconds later; `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    /// What happens when the last run has not ended.
    pub overlap: Overlap,
}

impl Section for CronJob {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("name", "\"clearsessions\"", &mut By(&mut self.name, name));
        keys.need("at", "\"17 3 * * *\"", &mut self.at);
        keys.key("timezone", &mut self.timezone);
        self.task.walk("[\"python\", \"manage.py\", \"clearsessions\"]", keys);
        keys.key("timeout", &mut self.timeout);
        keys.key("overlap", &mut Choice(&mut self.overlap, &OVERLAPS, &[]));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if given.is_good("at") {
            check(&self.at, self.timezone.as_deref(), given, report);
        }
    }
}

/// Unique over all files.
fn name(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let name = At::<String>::read(node, report)?;
    if name.value.is_empty() {
        node.complain(report, Complaint::new("an empty name", ""));
    }
    if name.value == SERVER {
        node.complain(report, reserved("job", SERVER, "server itself"));
    }
    if let Some(first) = report.jobs.iter().find(|first| first.value == name.value) {
        let what = format!("the job `{}` is already at {}", name.value, first.place.mention());
        node.complain(report, Complaint::new(what, "names are unique"));
    }
    report.jobs.push(name.clone());
    Some(name.value)
}

/// Names of the ways to overlap.
const OVERLAPS: [(&str, Overlap); 4] = [
    ("Skip", Overlap::Skip),
    ("Queue", Overlap::Queue),
    ("Allow", Overlap::Allow),
    ("Replace", Overlap::Replace),
];

/// The schedule parses and can fire, in a zone that exists. A wrong zone must not hide a wrong schedule.
fn check(at: &str, timezone: Option<&str>, given: &Given<'_>, report: &mut Report<'_>) {
    let Err(error) = Schedule::parse(at, timezone) else { return };
    let zone = error.zone && timezone.is_some();
    let place = given.place_of(if zone { "timezone" } else { "at" });
    report.add(&place, Complaint::new(error.what, error.hint));
    if zone {
        check(at, None, given, report);
    }
}
