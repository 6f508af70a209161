//! `cron: […]`.

use super::located::{At, Given, Report};
use super::problem::{Complaint, Place};
use super::read::{command, env};
use super::walk::{By, Choice, Section, Walk};
use super::{Config, resources};
use crate::cron::{Overlap, Schedule};
use crate::sys::resources::Resources;
use std::path::PathBuf;
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
    /// Program and arguments. A bare program name is looked for in the app's virtualenv first.
    pub(crate) command: Vec<String>,
    /// Index into [`Config::apps`](super::Config::apps): its virtualenv, directory, user and environment are used.
    pub(crate) app: Option<usize>,
    /// Working directory; the app's unless given.
    pub(crate) chdir: Option<PathBuf>,
    /// Added to the environment.
    pub(crate) env: Vec<(String, String)>,
    /// A user of its own.
    pub(crate) user: Option<String>,
    /// TERM after this long, KILL ten seconds later; `None`: no limit.
    pub(crate) timeout: Option<Duration>,
    /// What happens when the last run has not ended.
    pub overlap: crate::cron::Overlap,
    /// What a run may use of the machine.
    pub(crate) resources: Resources,
}

/// A job whose app is still a name.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    /// Of its name.
    pub(crate) place: Place,
    pub(crate) app: Option<At<String>>,
    /// Without its app.
    pub(crate) job: CronJob,
}

impl Draft {
    /// As it would be written for this job.
    pub(crate) fn of(job: &CronJob, config: &Config) -> Self {
        let app = job.app.and_then(|at| config.app_name(at));
        Self { place: Place::default(), app, job: job.clone() }
    }
}

impl Section for Draft {
    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.job;
        keys.need("name", "\"clearsessions\"", &mut of.name);
        keys.need("at", "\"17 3 * * *\"", &mut of.at);
        keys.key("timezone", &mut of.timezone);
        let example = "[\"python\", \"manage.py\", \"clearsessions\"]";
        keys.need("command", example, &mut By(&mut of.command, command));
        keys.key("app", &mut self.app);
        keys.key("chdir", &mut of.chdir);
        keys.key("env", &mut By(&mut of.env, env));
        keys.key("user", &mut of.user);
        keys.key("timeout", &mut of.timeout);
        keys.key("overlap", &mut Choice(&mut of.overlap, &OVERLAPS, &[]));
        resources::walk(&mut of.resources, keys);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        self.place = given.place_of("name");
        if given.is_good("name") && self.job.name.is_empty() {
            report.add(&self.place, Complaint::new("an empty name", ""));
        }
        if given.is_good("at") {
            check(&self.job.at, self.job.timezone.as_deref(), given, report);
        }
    }
}

/// Names of the ways to overlap.
const OVERLAPS: [(&str, Overlap); 4] = [
    ("Skip", Overlap::Skip),
    ("Queue", Overlap::Queue),
    ("Allow", Overlap::Allow),
    ("Replace", Overlap::Replace),
];

/// A wrong zone must not hide a wrong schedule.
fn check(at: &str, timezone: Option<&str>, given: &Given<'_>, report: &mut Report<'_>) {
    match check_schedule(at, timezone) {
        Ok(()) => {}
        Err(Fault::Zone(complaint)) if timezone.is_some() => {
            report.add(&given.place_of("timezone"), complaint);
            check(at, None, given, report);
        }
        Err(Fault::Zone(complaint) | Fault::Schedule(complaint)) => {
            report.add(&given.place_of("at"), complaint);
        }
    }
}

/// Whether it is the zone that is wrong, or the schedule.
enum Fault {
    Schedule(Complaint),
    Zone(Complaint),
}

/// The schedule parses and can fire, in a zone that exists.
fn check_schedule(at: &str, timezone: Option<&str>) -> Result<(), Fault> {
    Schedule::parse(at, timezone).map(|_| ()).map_err(|error| {
        let complaint = Complaint::new(error.what, error.hint);
        if error.zone { Fault::Zone(complaint) } else { Fault::Schedule(complaint) }
    })
}
