//! Log lines that clients can cause at will: of each kind a few a second are written, the rest are counted and the
//! number is told when the second is over. Pure. What is held back is still in the access log, request by request.

use crate::timer::Time;
use std::time::Duration;

/// Lines of one kind that are written within a window.
const LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    what: &'static str,
    until: Time,
    written: u32,
    held: u64,
}

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Write,
    /// Do not write it. It is the first of its window: call [`Throttle::told`] then.
    HoldUntil(Time),
    Hold,
}

impl Throttle {
    /// A line of the kind `what` is to be written.
    pub(super) fn judge(&mut self, what: &'static str, now: Time) -> Verdict {
        let at = self.kinds.iter().position(|kind| kind.what == what).unwrap_or(self.kinds.len());
        if at == self.kinds.len() {
            self.kinds.push(Kind { what, until: now.after(WINDOW), written: 0, held: 0 });
        }
        let Some(kind) = self.kinds.get_mut(at) else { return Verdict::Write };
        if kind.until <= now && kind.held == 0 {
            (kind.until, kind.written) = (now.after(WINDOW), 0);
        }
        if kind.written < LINES {
            kind.written += 1;
            return Verdict::Write;
        }
        kind.held += 1;
        if kind.held == 1 { Verdict::HoldUntil(kind.until) } else { Verdict::Hold }
    }

    /// The kinds whose window is over, or all, and how many lines of each were held back.
    pub(super) fn told(&mut self, now: Time, all: bool) -> Vec<(&'static str, u64)> {
        let mut told = Vec::new();
        self.kinds.retain(|kind| {
            let over = all || kind.until <= now;
            if over && kind.held > 0 {
                told.push((kind.what, kind.held));
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

    #[test]
    fn a_few_lines_are_written_and_the_rest_is_counted() {
        let mut throttle = Throttle::default();
        for _ in 0..LINES {
            assert_eq!(throttle.judge("a", at(100)), Verdict::Write);
        }
        assert_eq!(throttle.judge("a", at(200)), Verdict::HoldUntil(at(1100)));
        assert_eq!(throttle.judge("a", at(300)), Verdict::Hold);
        assert_eq!(throttle.judge("b", at(300)), Verdict::Write, "kinds do not share");
        assert_eq!(throttle.told(at(1099), false), []);
        assert_eq!(throttle.told(at(1100), false), [("a", 2)]);
        assert_eq!(throttle.told(at(1100), false), [], "told once");
        assert_eq!(throttle.judge("a", at(1100)), Verdict::Write);
        assert_eq!(throttle.told(at(5000), false), []);
        assert!(throttle.kinds.is_empty(), "what is over takes no room");
    }

    #[test]
    fn nothing_is_lost_if_the_end_of_a_window_is_noticed_late() {
        let mut throttle = Throttle::default();
        let verdicts: Vec<_> = (0..8).map(|_| throttle.judge("a", at(0))).collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Write).count(), 5);
        assert_eq!(throttle.judge("a", at(2000)), Verdict::Hold);
        assert_eq!(throttle.told(at(2000), true), [("a", 4)]);
    }

    #[test]
    fn few_lines_are_never_held() {
        let mut throttle = Throttle::default();
        assert!((0..100).all(|number| throttle.judge("a", at(number * 250)) == Verdict::Write));
    }
}
