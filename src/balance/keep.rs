//! How many connections to a server are worth keeping, and which of them carry a request that cannot be sent twice. Pure.
//!
//! As many as were in use at one time in the last seconds will be again: so many are kept, in use and idle together. This
//! mark goes up at once; when less is in use, it halves every two seconds, down to one.

use crate::timer::Time;
use std::time::Duration;

/// So often the mark halves.
pub(crate) const WINDOW: Duration = Duration::from_secs(2);

/// A connection that was idle for so long may be about to be closed.
const FRESH: Duration = Duration::from_secs(1);

/// How long it counts that a server has closed an idle connection: it may have been its restart.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The connections of a worker to one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keep {
    busy: usize,
    /// The most that were in use at one time since `since`.
    most: usize,
    /// The mark at `since`.
    before: usize,
    since: Time,
    /// The server has closed one that was idle for so long, and when.
    closed: Option<(Duration, Time)>,
}

impl Keep {
    /// One more is in use.
    pub(crate) fn taken(&mut self, now: Time) {
        self.pass(now);
        self.busy += 1;
        self.most = self.most.max(self.busy);
    }

    /// One less is in use.
    pub(crate) fn freed(&mut self, now: Time) {
        self.pass(now);
        self.busy = self.busy.saturating_sub(1);
    }

    /// How many idle ones are worth keeping.
    pub(crate) fn spare(&mut self, now: Time) -> usize {
        self.pass(now);
        self.most.max(self.before) - self.busy
    }

    /// The server has closed one that was idle for so long.
    pub(crate) fn closed(&mut self, idle: Duration, now: Time) {
        if self.closes_after(now).is_none_or(|known| idle <= known) {
            self.closed = Some((idle, now));
        }
    }

    /// Whether one that has been idle for so long is hardly one that the server closes in this moment.
    pub(crate) fn is_fresh(&self, idle: Duration, now: Time) -> bool {
        idle < self.closes_after(now).map_or(FRESH, |closes| FRESH.min(closes / 2))
    }

    fn closes_after(&self, now: Time) -> Option<Duration> {
        self.closed.filter(|(_, when)| now.since(*when) < REMEMBERED).map(|(idle, _)| idle)
    }

    /// Halves the mark as time goes by.
    fn pass(&mut self, now: Time) {
        while now.since(self.since) >= WINDOW {
            let mark = self.most.max(self.before - self.before / 2);
            if mark == self.before && self.most == self.busy {
                // It stays there.
                self.since = now;
                return;
            }
            (self.before, self.most) = (mark, self.busy);
            self.since = self.since.after(WINDOW);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(3_600_000_000_000 + millis * 1_000_000)
    }

    fn after_a_burst(count: usize) -> Keep {
        let mut keep = Keep::default();
        (0..count).for_each(|_| keep.taken(at(0)));
        (0..count).for_each(|_| keep.freed(at(0)));
        keep
    }

    #[test]
    fn what_was_busy_stays_and_goes_by_halves() {
        let mut keep = after_a_burst(64);
        let marks = [0, 1_900, 3_999, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000, 86_400_000];
        assert_eq!(marks.map(|time| keep.spare(at(time))), [64, 64, 64, 32, 16, 8, 4, 2, 1, 1, 1]);
        assert_eq!(after_a_burst(64).spare(at(86_400_000)), 1, "in one step, too");
        assert_eq!(Keep::default().spare(at(5_000)), 0, "of a server that was never asked");
    }

    #[test]
    fn those_in_use_are_not_kept_idle_besides() {
        let mut keep = after_a_burst(3);
        keep.taken(at(1));
        assert_eq!(keep.spare(at(1)), 2);
        (0..5).for_each(|_| keep.taken(at(2)));
        assert_eq!((keep.busy, keep.spare(at(2))), (6, 0));
        assert_eq!(keep.spare(at(60_000)), 0, "what is in use for long is no reason to keep more");
        keep.freed(at(60_001));
        assert_eq!(keep.spare(at(60_001)), 1, "there is room for the one that came free");
    }

    #[test]
    fn a_load_that_goes_on_loses_none() {
        let mut keep = Keep::default();
        for time in (0..60_000).step_by(10) {
            (0..40).for_each(|_| keep.taken(at(time)));
            (0..40).for_each(|_| keep.freed(at(time + 5)));
            assert_eq!(keep.spare(at(time + 5)), 40, "{time}");
        }
    }

    #[test]
    fn more_given_back_than_taken_does_no_harm() {
        let mut keep = Keep::default();
        keep.freed(at(0));
        assert_eq!(keep.spare(at(0)), 0);
    }

    #[test]
    fn fresh_is_less_than_a_second_and_half_of_what_the_server_keeps_them() {
        let millis = Duration::from_millis;
        let mut keep = Keep::default();
        assert!(keep.is_fresh(millis(999), at(0)) && !keep.is_fresh(millis(1_000), at(0)));
        keep.closed(millis(50), at(0));
        assert!(keep.is_fresh(millis(24), at(1)) && !keep.is_fresh(millis(25), at(1)));
        keep.closed(millis(40), at(5_000));
        keep.closed(millis(60), at(6_000));
        assert!(keep.is_fresh(millis(19), at(14_999)) && !keep.is_fresh(millis(20), at(14_999)));
        // It was long ago: the server may have ended then.
        assert!(keep.is_fresh(millis(999), at(15_000)));
        keep.closed(millis(5_000), at(15_000));
        assert!(keep.is_fresh(millis(999), at(15_001)) && !keep.is_fresh(millis(1_000), at(15_001)));
    }
}
