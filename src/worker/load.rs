//! How busy this worker is: the part of a window of time in which its loop does not rest. The master starts another
//! worker when all of them are busy, and lets one go when none is. Pure.

use crate::control::worker::Load;
use crate::timer::Time;
use std::time::Duration;

/// Looked at once such a time: shorter, and one long turn counts as load; longer, and clients wait for help.
const WINDOW: Duration = Duration::from_millis(250);
/// From this part of the window on, in percent, the worker is busy.
const HIGH: u128 = 80;
/// Below this part one worker fewer would do: the others become no busier than `HIGH` by what it did.
const LOW: u128 = 40;

/// See the module.
#[derive(Debug)]
pub(super) struct Meter {
    /// Beginning of the window.
    since: Time,
    /// Time in it that turns took.
    busy: Duration,
    /// How the last whole window was.
    last: Load,
    /// What the master knows.
    told: Load,
}

impl Meter {
    /// A window begins.
    pub(super) fn new(now: Time) -> Self {
        Self { since: now, busy: Duration::ZERO, last: Load::Low, told: Load::Low }
    }

    /// A turn took from `begun` to `ended`. `full`: no connection can be taken at the moment. What to tell the master,
    /// if that has changed.
    pub(super) fn note(&mut self, begun: Time, ended: Time, full: bool) -> Option<Load> {
        self.busy += ended.since(begun);
        let span = ended.since(self.since);
        if span >= WINDOW {
            let percent = self.busy.as_nanos().saturating_mul(100) / span.as_nanos().max(1);
            self.last = match percent {
                HIGH.. => Load::High,
                LOW.. => Load::Middle,
                _ => Load::Low,
            };
            (self.since, self.busy) = (ended, Duration::ZERO);
        }
        let load = if full { Load::High } else { self.last };
        (std::mem::replace(&mut self.told, load) != load).then_some(load)
    }

    /// When to look again although nothing happens: a busy worker must say when it is not any more.
    pub(super) fn deadline(&self) -> Option<Time> {
        (self.last != Load::Low).then(|| self.since.after(WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time(1_000_000_000).after(Duration::from_millis(millis))
    }

    #[test]
    fn the_master_is_told_of_changes_and_of_nothing_else() {
        let mut meter = Meter::new(at(0));
        assert_eq!(meter.deadline(), None);
        assert_eq!(meter.note(at(0), at(249), false), None, "the window is not over");
        assert_eq!(meter.note(at(249), at(250), false), Some(Load::High));
        assert_eq!(meter.note(at(250), at(500), false), None, "it knows");
        assert_eq!(meter.deadline(), Some(at(750)));
        assert_eq!(meter.note(at(500), at(650), false), None);
        assert_eq!(meter.note(at(750), at(750), false), Some(Load::Middle), "150 of 250 ms");
        assert_eq!(meter.note(at(1000), at(1000), false), Some(Load::Low));
        assert_eq!(meter.deadline(), None, "who rests is not woken for this");
        assert_eq!(meter.note(at(9000), at(9010), false), None, "a moment of work after a long rest");
    }

    #[test]
    fn a_worker_that_takes_no_more_is_busy_whatever_it_does() {
        let mut meter = Meter::new(at(0));
        assert_eq!(meter.note(at(0), at(1), true), Some(Load::High));
        assert_eq!(meter.note(at(500), at(501), true), None);
        assert_eq!(meter.deadline(), None);
        assert_eq!(meter.note(at(502), at(503), false), Some(Load::Low));
    }
}
