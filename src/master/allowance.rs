//! How much of something a child may cause: so much at once, and so much a second in the long run (the leaky bucket as a
//! meter of ITU-T I.371). Pure.

use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is allowed, in any unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// In the long run.
    pub(super) second: u64,
    /// At once, after a quiet time.
    pub(super) burst: u64,
}

/// What of a [`Rate`] is used up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Allowance {
    /// When everything that was spent will have been earned.
    earned: Time,
}

impl Rate {
    /// How long it takes to earn so much.
    fn time(self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(self.second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Allowance {
    /// Whether so much may be spent now.
    pub(super) fn has(self, rate: Rate, amount: u64, now: Time) -> bool {
        self.spent(rate, amount, now).since(now) <= rate.time(rate.burst)
    }

    /// Spends so much, whether it is there or not.
    pub(super) fn spend(&mut self, rate: Rate, amount: u64, now: Time) {
        self.earned = self.spent(rate, amount, now);
    }

    /// From when on so much may be spent, if nothing is until then.
    pub(super) fn has_from(self, rate: Rate, amount: u64) -> Time {
        let earned = self.earned.after(rate.time(amount));
        Time(earned.since(Time::ZERO.after(rate.time(rate.burst))).as_nanos().try_into().unwrap_or(u64::MAX))
    }

    fn spent(self, rate: Rate, amount: u64, now: Time) -> Time {
        self.earned.max(now).after(rate.time(amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { second: 10, burst: 30 };

    fn at(milliseconds: u64) -> Time {
        Time(1_000_000_000_000 + milliseconds * 1_000_000)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut allowance = Allowance::default();
        assert!(!allowance.has(RATE, 31, at(0)), "never more than a burst");
        assert!(allowance.has(RATE, 30, at(0)));
        allowance.spend(RATE, 30, at(0));
        assert!(!allowance.has(RATE, 1, at(99)) && allowance.has(RATE, 1, at(100)));
        assert_eq!(allowance.has_from(RATE, 1), at(100));
        assert_eq!(allowance.has_from(RATE, 5), at(500));
        assert!(allowance.has(RATE, 30, at(3000)) && !allowance.has(RATE, 31, at(60_000)));
    }

    #[test]
    fn what_was_spent_beyond_it_is_earned_first() {
        let mut allowance = Allowance::default();
        allowance.spend(RATE, 40, at(0));
        assert!(!allowance.has(RATE, 0, at(999)) && allowance.has(RATE, 0, at(1000)));
        allowance.spend(RATE, u64::MAX, at(0));
        assert!(!allowance.has(RATE, 1, at(1_000_000)), "it does not wrap around");
        assert_eq!(Allowance::default().has_from(RATE, 1), Time::ZERO);
    }
}
