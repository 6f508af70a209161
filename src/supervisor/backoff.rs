//! How long a slot waits before its next process, so that what cannot run does not eat the machine: the first death
//! is replaced at once, the second waits 100 ms, doubling to 30 s. Ten seconds in Ready make everything good again.
//!
//! A process that became Ready and died later waits a second at most: its code runs, and what killed it may be one
//! request. With the long wait anybody who knows such a request could keep the whole app down with one in half a minute.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Wait after the second death in a row.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Never wait longer.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A slot never waits longer if its last process had been Ready.
pub(super) const LONGEST_AFTER_READY: Duration = Duration::from_secs(1);
/// A process that was Ready for so long was healthy: its death is the first of a new row.
pub(super) const HEALTHY: Duration = Duration::from_secs(10);

/// The deaths in a row of one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Backoff {
    deaths: u32,
    /// The last process had been Ready.
    was_ready: bool,
}

impl Backoff {
    /// Counts a death after so long in Ready (zero if it never was) and says how long to wait; zero: replace at once.
    pub(super) fn died(&mut self, ready_for: Duration) -> Duration {
        if ready_for >= HEALTHY {
            self.deaths = 0;
        }
        self.deaths = self.deaths.saturating_add(1);
        self.was_ready = !ready_for.is_zero();
        let longest = if self.was_ready { LONGEST_AFTER_READY } else { LONGEST_WAIT };
        match self.deaths {
            0 | 1 => Duration::ZERO,
            more => FIRST_WAIT.saturating_mul(1 << (more - 2).min(16)).min(longest),
        }
    }

    /// Whether the last process had been able to serve: the next one most likely is, too.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Forgets all deaths: other code runs in this slot from now on.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..13).map(|_| backoff.died(Duration::ZERO).as_millis() as u64).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
        (0..100_000).for_each(|_| assert_eq!(backoff.died(Duration::ZERO), LONGEST_WAIT));
    }

    #[test]
    fn what_became_ready_waits_a_second_at_most() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..8).map(|_| backoff.died(FIRST_WAIT).as_millis() as u64).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1000, 1000, 1000]);
    }

    #[test]
    fn ten_seconds_in_ready_reset_it() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.died(Duration::ZERO);
        }
        let barely = HEALTHY.saturating_sub(Duration::from_nanos(1));
        assert_eq!(backoff.died(barely), LONGEST_AFTER_READY);
        assert_eq!(backoff.died(Duration::ZERO), Duration::from_millis(3200));
        assert_eq!(backoff.died(HEALTHY), Duration::ZERO);
        assert_eq!(backoff.died(Duration::ZERO), FIRST_WAIT);
        backoff.reset();
        assert_eq!(backoff.died(Duration::ZERO), Duration::ZERO);
    }
}
