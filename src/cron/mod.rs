//! Cron: schedules, next runs, overlap. Pure: no I/O, no clock; the master carries out what it decides. One exception,
//! taken on purpose: the rules of time zones are read from the system's database (by `jiff`), once a zone is named.
//!
//! [`Schedule`] knows when; [`Scheduler`] keeps the jobs, decides which run starts, waits, is skipped or must end, and
//! remembers the last runs of each.

mod calendar;
mod fields;
mod job;
mod schedule;
mod scheduler;
mod timeline;

pub(crate) use job::{Decision, JobSpec, Kill, RunId};
pub(crate) use schedule::Schedule;
pub(crate) use scheduler::Scheduler;

use serde::{Deserialize, Serialize};

/// What happens when a job is due and its last run has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// The new run is skipped and noted.
    #[default]
    Skip,
    /// It starts when the last one ends; at most one waits.
    Queue,
    /// Both run.
    Allow,
    /// The last one gets TERM, then the new one starts.
    Replace,
}
