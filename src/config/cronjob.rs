//! `cron: […]`.

use super::located::{At, Located, Node, Raw, Read, Report};
use super::problem::{Complaint, Place};
use super::read::{Command, Env, Positive};
use super::resources::OomScore;
use crate::cron::{Overlap, Schedule};
use crate::sys::resources::Resources;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A cron job.
#[derive(Clone, Debug, PartialEq)]
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
pub(crate) struct Draft {
    pub(crate) place: Place,
    pub(crate) app: Option<At<String>>,
    /// Without its app.
    pub(crate) job: CronJob,
}

/// A job as written.
#[derive(Deserialize)]
pub(crate) struct RawCronJob<'a> {
    #[serde(borrow)]
    name: Option<Located<'a, At<String>>>,
    at: Option<Located<'a, At<String>>>,
    timezone: Option<Located<'a, At<String>>>,
    command: Option<Located<'a, Command>>,
    app: Option<Located<'a, At<String>>>,
    chdir: Option<Located<'a, PathBuf>>,
    env: Option<Located<'a, Env>>,
    user: Option<Located<'a, String>>,
    timeout: Option<Located<'a, Positive>>,
    overlap: Option<Located<'a, Overlap>>,
    limits: Option<Located<'a, Resources>>,
    oom_score_adj: Option<Located<'a, OomScore>>,
}

impl<'a> Raw<'a> for RawCronJob<'a> {}

impl Read for Draft {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawCronJob<'_>>(report)?;
        let name: Option<At<String>> = at.need(raw.name, "name", "\"clearsessions\"", report);
        let when: Option<At<String>> = at.need(raw.at, "at", "\"17 3 * * *\"", report);
        let command =
            at.need(raw.command, "command", "[\"python\", \"manage.py\", \"clearsessions\"]", report);
        let timezone: Option<At<String>> = at.read(raw.timezone, report);
        if let Some(when) = &when {
            check(when, timezone.as_ref(), report);
        }
        let app = at.read(raw.app, report);
        let job = CronJob {
            name: String::new(),
            at: String::new(),
            timezone: timezone.map(|timezone| timezone.value),
            command: Vec::new(),
            app: None,
            chdir: at.read(raw.chdir, report),
            env: at.or(raw.env, Env::default(), report).0,
            user: at.read(raw.user, report),
            timeout: at.read(raw.timeout, report).map(|timeout| timeout.0),
            overlap: at.or(raw.overlap, Overlap::default(), report),
            resources: Resources {
                oom_score_adj: at.read(raw.oom_score_adj, report).map(|score| score.0),
                ..at.or(raw.limits, Resources::default(), report)
            },
        };
        let At { value: name, place } = name?;
        if name.is_empty() {
            report.add(&place, Complaint::new("an empty name", ""));
        }
        Some(Self { place, app, job: CronJob { name, at: when?.value, command: command?.0, ..job } })
    }
}

/// Names of the ways to overlap.
pub(crate) const OVERLAPS: [(&str, Overlap); 4] = [
    ("Skip", Overlap::Skip),
    ("Queue", Overlap::Queue),
    ("Allow", Overlap::Allow),
    ("Replace", Overlap::Replace),
];

impl Read for Overlap {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.choice(report, &OVERLAPS, &[])
    }
}

/// A wrong zone must not hide a wrong schedule.
fn check(when: &At<String>, timezone: Option<&At<String>>, report: &mut Report<'_>) {
    match (check_schedule(&when.value, timezone.map(|zone| zone.value.as_str())), timezone) {
        (Ok(()), _) => {}
        (Err(Fault::Zone(complaint)), Some(timezone)) => {
            report.add(&timezone.place, complaint);
            check(when, None, report);
        }
        (Err(Fault::Zone(complaint) | Fault::Schedule(complaint)), _) => report.add(&when.place, complaint),
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
