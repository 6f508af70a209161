//! Time as the cores see it, and the timers of a worker. Pure: the clock is read in `sys::clock` only.

mod timers;

pub(crate) use timers::Timers;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point on CLOCK_MONOTONIC, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub u64);

impl Time {
    /// The origin of the clock; also "never" in shared memory.
    pub const ZERO: Self = Self(0);

    /// The end of time.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// This point plus `delay`; saturates at the end of time.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long it is from `earlier` to this point; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A point on CLOCK_REALTIME: seconds since the Unix epoch and nanoseconds. Only for cron, `Date` and logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// 0..1_000_000_000.
    pub(crate) nanos: u32,
}

/// The earlier of two optional deadlines.
#[must_use]
pub(crate) fn earliest(one: Option<Time>, other: Option<Time>) -> Option<Time> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (deadline, None) | (None, deadline) => deadline,
    }
}
