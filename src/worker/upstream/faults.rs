//! How often servers of upstreams were at fault, by upstream and reason, since the master was told. Pure.

use crate::http::fault::Fault;
use crate::timer::Time;
use std::time::Duration;

/// How often the master is told.
const PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::worker) struct Faults {
    /// Index into `config.upstreams`, word of the reason, how often.
    counts: Vec<(usize, &'static str, u64)>,
    /// When the master was told last.
    told: Option<Time>,
}

impl Faults {
    /// One more.
    pub(super) fn count(&mut self, upstream: usize, fault: Fault) {
        let word = fault.row().word;
        match self.counts.iter_mut().find(|(of, known, _)| (*of, *known) == (upstream, word)) {
            Some((.., count)) => *count += 1,
            None => self.counts.push((upstream, word, 1)),
        }
    }

    /// When the master is to be told.
    pub(in crate::worker) fn deadline(&self) -> Option<Time> {
        (!self.counts.is_empty()).then(|| self.told.map_or(Time(0), |told| told.after(PAUSE)))
    }

    /// What to tell at `now`, or at once.
    pub(in crate::worker) fn take(&mut self, now: Time, at_once: bool) -> Vec<(usize, &'static str, u64)> {
        if !self.deadline().is_some_and(|deadline| at_once || deadline <= now) {
            return Vec::new();
        }
        self.told = Some(now);
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_is_told_at_once_then_in_steps() {
        let at = |milliseconds: u64| Time(milliseconds * 1_000_000);
        let mut faults = Faults::default();
        assert_eq!((faults.deadline(), faults.take(at(1), true)), (None, vec![]));
        faults.count(1, Fault::Closed);
        assert_eq!(faults.take(at(1000), false), [(1, "closed", 1)]);
        for _ in 0..3 {
            faults.count(0, Fault::Closed);
            faults.count(1, Fault::Silent);
            faults.count(1, Fault::Closed);
        }
        assert_eq!((faults.deadline(), faults.take(at(1499), false)), (Some(at(1500)), vec![]));
        assert_eq!(faults.take(at(1500), false), [(0, "closed", 3), (1, "silent", 3), (1, "closed", 3)]);
        faults.count(1, Fault::Closed);
        assert_eq!(faults.take(at(1501), true), [(1, "closed", 1)]);
        assert_eq!(faults.deadline(), None);
    }
}
