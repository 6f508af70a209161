//! The two clocks. Nothing else in the crate reads the time.

use crate::timer::{Time, Wall};
use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC. The call cannot fail on Linux; if it did, time would stand still.
#[must_use]
pub(crate) fn now() -> Time {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(Time::ZERO, |spec| Time(spec.tv_sec() as u64 * 1_000_000_000 + spec.tv_nsec() as u64))
}

/// CLOCK_REALTIME.
#[must_use]
pub fn wall() -> Wall {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .map_or(Wall::default(), |spec| Wall { seconds: spec.tv_sec(), nanos: spec.tv_nsec() as u32 })
}
