//! Cron: schedules, next runs, overlap. Pure: no I/O, no clock; the master carries out what it decides.

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
