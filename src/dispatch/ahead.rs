//! How many requests may lie ahead in a unit that is busy: the pace of a pool, as its requests have shown it lately. Why, and
//! what may go ahead: `docs/decisions/0027-look-ahead.md`.

use crate::timer::Time;
use std::time::Duration;

/// So long counts what was seen.
const LATELY: Duration = Duration::from_secs(1);
/// A request that takes so long is slow: none waits behind it that could go elsewhere.
pub(crate) const SLOW: Duration = Duration::from_millis(1);
/// One that takes less is fast.
const FAST: Duration = Duration::from_micros(250);

/// Requests ahead where all are fast; and where none is slow.
pub(crate) const MOST: usize = 8;
const SOME: usize = 4;

/// What one worker has seen of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// When any request was seen, one that was not fast, and one that was slow.
    any: Option<Time>,
    not_fast: Option<Time>,
    slow: Option<Time>,
}

impl Pace {
    /// A request has taken so long; whether that is slow, which all workers of the pool are to know.
    pub(crate) fn note(&mut self, took: Duration, now: Time) -> bool {
        self.any = Some(now);
        if took >= FAST {
            self.not_fast = Some(now);
        }
        if took >= SLOW {
            self.slow = Some(now);
        }
        took >= SLOW
    }

    /// How many requests may lie behind one that runs; 0 where too little is known. `elsewhere`: when any worker last saw a slow
    /// one.
    pub(crate) fn depth(&self, elsewhere: Option<Time>, now: Time) -> usize {
        let lately = |at: Option<Time>| at.is_some_and(|at| now.since(at) < LATELY);
        match () {
            () if !lately(self.any) || lately(self.slow) || lately(elsewhere) => 0,
            () if lately(self.not_fast) => SOME,
            () => MOST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(5_000_000_000);

    #[test]
    fn nothing_goes_ahead_before_a_fast_request_was_seen_or_long_after_it() {
        let mut pace = Pace::default();
        assert_eq!(pace.depth(None, START), 0);
        assert!(!pace.note(FAST / 2, START));
        assert_eq!(pace.depth(None, START), MOST);
        assert_eq!(pace.depth(None, START.after(LATELY - Duration::from_nanos(1))), MOST);
        assert_eq!(pace.depth(None, START.after(LATELY)), 0);
    }

    #[test]
    fn one_slow_request_of_the_last_second_keeps_all_back_wherever_it_was_seen() {
        let mut pace = Pace::default();
        assert!(pace.note(SLOW, START));
        assert!(!pace.note(FAST / 2, START.after(LATELY / 2)));
        assert_eq!(pace.depth(None, START.after(LATELY / 2)), 0);
        assert_eq!(pace.depth(None, START.after(LATELY)), MOST);
        assert_eq!(pace.depth(Some(START.after(LATELY / 2)), START.after(LATELY)), 0);
        assert_eq!(pace.depth(Some(START.after(LATELY * 9)), START.after(LATELY)), 0, "of a liar's future");
    }

    #[test]
    fn fewer_go_ahead_where_some_are_not_fast() {
        let mut pace = Pace::default();
        pace.note(SLOW - Duration::from_nanos(1), START);
        pace.note(Duration::ZERO, START.after(LATELY / 2));
        assert_eq!(pace.depth(None, START.after(LATELY / 2)), SOME);
        assert_eq!(pace.depth(None, START.after(LATELY)), MOST);
    }
}
