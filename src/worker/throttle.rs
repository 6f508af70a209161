//! Log lines that others can cause at will, clients or a broken upstream: of each kind a few a second are written, the
//! rest are counted and the number is told when the second is over. Pure. What is held back is still in the access log,
//! request by request.

use crate::timer::Time;
use log::Level;
use std::time::Duration;

/// Over which alike lines are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Kinds told apart at a time; what comes beyond them is one kind.
const KINDS: usize = 256;
const OTHERS: &str = "messages of other kinds";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    level: Level,
    what: String,
    until: Time,
    written: u32,
    held: u64,
}

/// What was held back of one kind.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Level of the lines.
    pub(super) level: Level,
    /// Their kind.
    pub(super) what: String,
    /// How many.
    pub(super) count: u64,
}

impl Throttle {
    /// A line of the kind `what` is there: whether to write it, at most `most` of them within a window.
    pub(super) fn judge(&mut self, level: Level, what: &str, most: u32, now: Time) -> bool {
        let place = |kinds: &[Kind], what| kinds.iter().position(|kind| kind.what == what);
        let mut at = place(&self.kinds, what);
        if at.is_none() {
            // What is over and has nothing to tell takes no room.
            self.kinds.retain(|kind| now < kind.until || kind.held > 0);
            let what = if self.kinds.len() < KINDS { what } else { OTHERS };
            at = place(&self.kinds, what);
            if at.is_none() {
                let what = what.to_owned();
                self.kinds.push(Kind { level, what, until: now.after(WINDOW), written: 1, held: 0 });
                return true;
            }
        }
        let Some(kind) = at.and_then(|at| self.kinds.get_mut(at)) else { return true };
        if kind.until <= now && kind.held == 0 {
            (kind.until, kind.written) = (now.after(WINDOW), 0);
        }
        let writes = kind.written < most;
        if writes {
            kind.written += 1;
        } else {
            kind.held += 1;
        }
        writes
    }

    /// When [`Self::told`] has something to tell.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.kinds.iter().filter(|kind| kind.held > 0).map(|kind| kind.until).min()
    }

    /// What was held back in windows that are over, or in all.
    pub(super) fn told(&mut self, now: Time, all: bool) -> Vec<Held> {
        let mut told = Vec::new();
        self.kinds.retain_mut(|kind| {
            let over = all || kind.until <= now;
            if over && kind.held > 0 {
                let what = std::mem::take(&mut kind.what);
                told.push(Held { level: kind.level, what, count: kind.held });
            }
            !over
        });
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Time {
        Time(milliseconds * 1_000_000)
    }

    fn info(throttle: &mut Throttle, what: &str, milliseconds: u64) -> bool {
        throttle.judge(Level::Info, what, 5, at(milliseconds))
    }

    fn counts(told: Vec<Held>) -> Vec<(String, u64)> {
        told.into_iter().map(|held| (held.what, held.count)).collect()
    }

    #[test]
    fn a_few_lines_are_written_and_the_rest_is_counted() {
        let mut throttle = Throttle::default();
        for _ in 0..5 {
            assert!(info(&mut throttle, "a", 100));
        }
        assert_eq!(throttle.deadline(), None, "nothing is held back");
        assert!(!info(&mut throttle, "a", 200));
        assert!(!info(&mut throttle, "a", 300));
        assert!(info(&mut throttle, "b", 300), "kinds do not share");
        assert_eq!(throttle.deadline(), Some(at(1100)));
        assert_eq!(throttle.told(at(1099), false), []);
        assert_eq!(counts(throttle.told(at(1100), false)), [("a".to_owned(), 2)]);
        assert_eq!(throttle.told(at(1100), false), [], "told once");
        assert_eq!(throttle.deadline(), None);
        assert!(info(&mut throttle, "a", 1100));
        assert_eq!(throttle.told(at(5000), false), []);
        assert!(throttle.kinds.is_empty(), "what is over takes no room");
    }

    #[test]
    fn nothing_is_lost_if_the_end_of_a_window_is_noticed_late() {
        let mut throttle = Throttle::default();
        let written = (0..8).filter(|_| info(&mut throttle, "a", 0)).count();
        assert_eq!(written, 5);
        assert!(!info(&mut throttle, "a", 2000));
        assert!(info(&mut throttle, "b", 3000), "a new kind leaves what is to be told");
        assert_eq!(counts(throttle.told(at(3000), true)), [("a".to_owned(), 4)]);
    }

    #[test]
    fn few_lines_are_never_held() {
        let mut throttle = Throttle::default();
        assert!((0..100).all(|number| info(&mut throttle, "a", number * 250)));
    }

    #[test]
    fn of_faults_each_reason_is_told_at_once_and_then_counted() {
        let mut throttle = Throttle::default();
        let mut broken = |what: &str, milliseconds| throttle.judge(Level::Error, what, 1, at(milliseconds));
        // Two upstreams, one of them broken in two ways: whoever reads the log sees each at once.
        let refused = ["proxy a: refused", "proxy b: refused", "proxy a: no response in time"];
        assert!(refused.iter().all(|what| broken(what, 0)));
        for millisecond in 1..3000 {
            assert!(!broken(refused[0], millisecond), "the count is not told yet");
        }
        let told = throttle.told(at(3000), false);
        assert_eq!(told, [Held { level: Level::Error, what: refused[0].to_owned(), count: 2999 }]);
    }

    #[test]
    fn kinds_without_end_become_one() {
        let mut throttle = Throttle::default();
        for number in 0..1000 {
            throttle.judge(Level::Error, &number.to_string(), 1, at(0));
        }
        assert_eq!(throttle.kinds.len(), KINDS + 1);
        assert_eq!(counts(throttle.told(at(1000), false)), [(OTHERS.to_owned(), 1000 - 257)]);
    }

    #[test]
    fn reasons_that_come_once_leave_no_trace() {
        let mut throttle = Throttle::default();
        for number in 0..1000 {
            assert!(throttle.judge(Level::Error, &number.to_string(), 1, at(number * 100)));
        }
        assert!(throttle.kinds.len() <= 11, "{}", throttle.kinds.len());
    }
}
