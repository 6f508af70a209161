//! A token bucket in one number: the generic cell rate algorithm (ITU-T I.371), with the time at which the bucket would be full
//! again, its *theoretical arrival time*. A bucket that is full says nothing: it need not be kept.
//!
//! Time is counted in ticks of 1.024 µs, in 44 bits: they wrap after 208 days. What is further ahead than any bucket can be
//! lies in the past.

use crate::timer::Time;
use std::time::Duration;

/// Nanoseconds of a tick, as a power of two.
const TICK: u32 = 10;

/// Bits of a time.
pub(crate) const BITS: u32 = 44;

/// All of them.
pub(crate) const MASK: u64 = (1 << BITS) - 1;

/// No bucket takes longer to fill: 7 days. What is less than that ahead is a debt.
pub(crate) const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// So many requests in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many.
    pub(crate) count: u32,
    /// In which time.
    pub(crate) per: Duration,
}

/// A bucket of tokens, one of which each request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Ticks in which one token comes.
    every: u64,
    /// Ticks in which an empty one fills.
    full: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was a token for it, and so many are left; the bucket is full again after a while.
    Allowed {
        /// Tokens.
        left: u32,
        /// When it is full.
        full: Duration,
    },
    /// There is none before this time has passed.
    Refused {
        /// When there is one.
        after: Duration,
    },
}

/// A time in ticks.
#[must_use]
pub(crate) fn ticks(now: Time) -> u64 {
    now.0 >> TICK & MASK
}

/// How far in ticks a bucket is from being full at `now`, by what is kept of it; `longest`: no bucket is further.
#[must_use]
pub(crate) fn debt(kept: u64, now: u64, longest: u64) -> u64 {
    let ahead = kept.wrapping_sub(now) & MASK;
    if ahead > longest { 0 } else { ahead }
}

/// Ticks of a duration, rounded up.
#[must_use]
pub(crate) fn length(of: Duration) -> u64 {
    let nanos = u64::try_from(of.as_nanos()).unwrap_or(u64::MAX);
    (nanos.div_ceil(1 << TICK)).min(MASK >> 1)
}

fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(ticks << TICK)
}

impl Bucket {
    /// One with room for `burst` tokens.
    #[must_use]
    pub(crate) fn new(rate: Rate, burst: u32) -> Self {
        let nanos = u64::try_from(rate.per.as_nanos()).unwrap_or(u64::MAX);
        let every = (nanos / u64::from(rate.count.max(1))).div_ceil(1 << TICK).clamp(1, length(LONGEST));
        Self { every, full: every.saturating_mul(u64::from(burst.max(1))).min(length(LONGEST)) }
    }

    /// How long an empty one takes to fill.
    #[must_use]
    pub(crate) fn fills_in(self) -> Duration {
        duration(self.full)
    }

    /// In ticks.
    #[must_use]
    pub(crate) fn full(self) -> u64 {
        self.full
    }

    /// A request comes while the bucket is so far from being full: what becomes of it, and how far it is then.
    #[must_use]
    pub(crate) fn take(self, debt: u64) -> (Outcome, u64) {
        // More than this bucket can hold: it was larger, or somebody has written what he liked. It empties by itself then.
        let debt = debt.min(self.full);
        let then = debt + self.every;
        if then <= self.full {
            let left = u32::try_from((self.full - then) / self.every).unwrap_or(u32::MAX);
            (Outcome::Allowed { left, full: duration(then) }, then)
        } else {
            (Outcome::Refused { after: duration(then - self.full) }, debt)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    /// The times in milliseconds at which requests are allowed, of those that come every so many.
    fn allowed(bucket: Bucket, step: u64, until: u64) -> Vec<u64> {
        let mut kept = 0;
        let at = |milliseconds: u64| ticks(Time(milliseconds * 1_000_000));
        let come = (0..until).step_by(step as usize);
        come.filter(|moment| {
            let now = at(*moment);
            let (outcome, debt) = bucket.take(debt(kept, now, bucket.full()));
            kept = now.wrapping_add(debt) & MASK;
            matches!(outcome, Outcome::Allowed { .. })
        })
        .collect()
    }

    #[test]
    fn a_burst_at_once_and_then_the_rate() {
        // Ten a second, three at once.
        let times = allowed(Bucket::new(rate(10, 1), 3), 1, 1000);
        assert_eq!(times[..3], [0, 1, 2]);
        assert_eq!(times.len(), 12, "{times:?}");
        let gaps: Vec<u64> = times[3..].windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (100..=101).contains(gap)), "{gaps:?}");
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_refused() {
        for (count, seconds, burst) in [(5, 60, 5), (100, 1, 1), (20, 1, 40), (1, 3600, 1)] {
            let step = seconds * 1000 / u64::from(count) + 1;
            let times = allowed(Bucket::new(rate(count, seconds), burst), step, step * 50);
            assert_eq!(times.len(), 50, "{count}/{seconds}");
        }
    }

    #[test]
    fn in_the_long_run_the_rate_holds_and_no_window_has_more() {
        for (count, seconds, burst) in [(7, 1, 3), (100, 1, 100), (3, 2, 9)] {
            let times = allowed(Bucket::new(rate(count, seconds), burst), 1, 10_000);
            let most = u64::from(count) * 10 / seconds + u64::from(burst);
            let few = most * 98 / 100 - u64::from(burst);
            assert!((few..=most).contains(&(times.len() as u64)), "{count}/{seconds}: {}", times.len());
            let window = 1000 * seconds;
            for first in &times {
                let within = times.iter().filter(|at| (*first..first + window).contains(at)).count();
                assert!(within as u32 <= count + burst + 1, "{within}");
            }
        }
    }

    #[test]
    fn it_says_what_is_left_and_when_to_come_back() {
        let bucket = Bucket::new(rate(2, 1), 2);
        let (first, debt) = bucket.take(0);
        let (second, debt_then) = bucket.take(debt);
        let left = |outcome| match outcome {
            Outcome::Allowed { left, .. } => left,
            Outcome::Refused { .. } => panic!("refused"),
        };
        assert_eq!((left(first), left(second)), (1, 0));
        let (third, same) = bucket.take(debt_then);
        let Outcome::Refused { after } = third else { panic!("{third:?}") };
        assert!((499..=501).contains(&after.as_millis()), "{after:?}");
        assert_eq!(same, debt_then, "a refused one takes nothing");
    }

    #[test]
    fn what_cannot_be_is_no_debt_and_what_is_too_much_is_as_much_as_there_can_be() {
        let longest = length(LONGEST);
        let now = ticks(Time(5_000_000_000_000));
        assert_eq!(debt(now.wrapping_sub(1) & MASK, now, longest), 0, "the past");
        assert_eq!(debt((now + longest + 1) & MASK, now, longest), 0);
        assert_eq!(debt((now + longest) & MASK, now, longest), longest);
        // Over the end of the ticks.
        assert_eq!(debt(4, MASK - 5, longest), 10);
        let bucket = Bucket::new(rate(1, 1), 4);
        let (outcome, then) = bucket.take(longest);
        assert_eq!(then, bucket.full());
        let Outcome::Refused { after } = outcome else { panic!("{outcome:?}") };
        assert!(after <= Duration::from_secs(2), "{after:?}");
    }

    #[test]
    fn no_rate_makes_a_bucket_that_does_harm() {
        for (count, per) in [
            (0, Duration::ZERO),
            (u32::MAX, Duration::from_nanos(1)),
            (1, Duration::MAX),
            (u32::MAX, Duration::MAX),
        ] {
            for burst in [0, 1, u32::MAX] {
                let bucket = Bucket::new(Rate { count, per }, burst);
                let (first, debt) = bucket.take(0);
                assert!(matches!(first, Outcome::Allowed { .. }), "{count} {per:?} {burst}");
                assert!(debt <= length(LONGEST) && bucket.fills_in() <= LONGEST + Duration::from_secs(1));
            }
        }
    }
}
