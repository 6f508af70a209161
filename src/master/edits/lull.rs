//! When a storm of edits is over: an editor that saves, or a checkout of hundreds of files, is one edit. Pure.

use crate::timer::Time;
use std::time::Duration;

/// So long nothing more comes.
const QUIET: Duration = Duration::from_millis(150);

/// What never ends is looked at all the same.
const LONGEST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lull {
    /// When the first edit came, and when all are looked at.
    storm: Option<(Time, Time)>,
}

impl Lull {
    /// An edit came.
    pub(super) fn note(&mut self, now: Time) {
        let first = self.storm.map_or(now, |(first, _)| first);
        self.storm = Some((first, now.after(QUIET).min(first.after(LONGEST))));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.storm.map(|(_, due)| due)
    }

    /// Whether it is time to look; once.
    pub(super) fn is_over(&mut self, now: Time) -> bool {
        let over = self.storm.is_some_and(|(_, due)| due <= now);
        if over {
            self.storm = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_one_until_nothing_comes_for_a_moment_and_for_two_seconds_at_most() {
        let at = |millis| Time::ZERO.after(Duration::from_millis(millis));
        let mut lull = Lull::default();
        assert!(lull.deadline().is_none() && !lull.is_over(at(9000)));
        lull.note(at(1000));
        lull.note(at(1100));
        assert!(!lull.is_over(at(1249)), "something came 149 ms ago");
        assert_eq!(lull.deadline(), Some(at(1250)));
        assert!(lull.is_over(at(1250)) && !lull.is_over(at(1250)), "once");
        (2000..4000).step_by(100).for_each(|now| {
            lull.note(at(now));
            assert!(!lull.is_over(at(now)), "{now}");
        });
        assert!(lull.is_over(at(4000)), "it has not ended");
    }
}
