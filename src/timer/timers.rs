//! The timers of a worker: a heap, the earliest first, in ticks of a millisecond. There is no cancel: owners compare with
//! their real deadline when an entry fires, and re-arm, so a deadline moved later costs nothing. That leaves about one entry
//! for each connection, and hardly any is set for a request.
//!
//! A hierarchical wheel, whose every step is O(1), was 75 lines more and saved nothing. Counted with 5,000 kept connections,
//! in instructions of a worker: 67 of 15,200 for a request (49 here), 92 for opening a connection (82 here), and when all of
//! them were opened, had answered 25,000 requests and run out, 3.1 million of 405 (3.5 here).

use super::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

const TICK_NANOS: u64 = 1_000_000;

/// Entries of type `K` ordered by the tick at which they fire.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    /// The last tick that was expired.
    now: u64,
    entries: BinaryHeap<Reverse<(u64, K)>>,
}

impl<K: Ord> Timers<K> {
    /// No timers, with a clock that stands at `now`.
    #[must_use]
    pub(crate) fn new(now: Time) -> Self {
        Self { now: now.0 / TICK_NANOS, entries: BinaryHeap::new() }
    }

    /// Fires `key` at the first `expire` at or after `at`, never earlier than `at`, nor in the tick that was expired last.
    pub(crate) fn insert(&mut self, at: Time, key: K) {
        self.entries.push(Reverse((at.0.div_ceil(TICK_NANOS).max(self.now + 1), key)));
    }

    /// Fires every entry due at `now`, in no particular order among those of one tick.
    pub(crate) fn expire(&mut self, now: Time, mut fire: impl FnMut(K)) {
        self.now = now.0 / TICK_NANOS;
        while let Some(first) = self.entries.peek_mut().filter(|first| first.0.0 <= self.now) {
            fire(PeekMut::pop(first).0.1);
        }
    }

    /// When `expire` must be called next.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Time> {
        self.entries.peek().map(|Reverse((tick, _))| Time(tick.saturating_mul(TICK_NANOS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(value: u64) -> Time {
        Time(value * TICK_NANOS)
    }

    #[test]
    fn fires_once_never_early_and_by_the_next_wake_up() {
        let mut timers = Timers::new(millis(1_000));
        let mut seed = 7u64;
        let mut want = Vec::new();
        for key in 0..2_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = 1_000 + (seed >> 33) % [50, 5_000, 400_000, 30_000_000][(key % 4) as usize];
            want.push((at.max(1_001), key));
            timers.insert(millis(at), key);
        }
        want.sort_unstable();
        let mut fired = Vec::new();
        while let Some(next) = timers.next() {
            timers.expire(next, |key| fired.push((next.0 / TICK_NANOS, key)));
        }
        fired.sort_unstable();
        assert_eq!(fired, want);
        assert!(timers.entries.is_empty());
    }

    #[test]
    fn a_late_expire_fires_everything_that_was_due() {
        let mut timers = Timers::new(Time::ZERO);
        (1..500u64).for_each(|at| timers.insert(millis(at * 37), at));
        let mut fired = Vec::new();
        timers.expire(millis(37 * 250), |key| fired.push(key));
        fired.sort_unstable();
        assert_eq!(fired, (1..=250).collect::<Vec<_>>());
        assert_eq!(timers.entries.len(), 249);
    }

    #[test]
    fn the_end_of_time_never_comes() {
        let mut timers = Timers::new(Time::ZERO);
        timers.insert(Time(u64::MAX), ());
        assert_eq!(timers.next(), Some(Time(u64::MAX)));
        timers.expire(Time(u64::MAX), |()| panic!("it has come"));
    }

    #[test]
    fn a_time_in_the_past_fires_at_the_next_tick() {
        let mut timers = Timers::new(millis(10));
        timers.insert(millis(3), ());
        let mut count = 0;
        timers.expire(millis(10), |()| count += 1);
        assert_eq!(count, 0);
        timers.expire(millis(11), |()| count += 1);
        assert_eq!(count, 1);
    }
}
