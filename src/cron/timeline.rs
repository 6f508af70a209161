//! Which stretches of wall time were lived through, so that no job runs twice for the same time when the clock is set
//! back, and so that a leap forward is told from time that passed.

use crate::timer::Wall;
use serde::{Deserialize, Serialize};

/// Closed stretches of wall time, the one that is being lived last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Timeline {
    lived: Vec<(Wall, Wall)>,
}

/// Older stretches are forgotten: nobody sets a clock back and forth so often.
const STRETCHES: usize = 16;

impl Timeline {
    /// Begins now; what was before counts as not lived.
    pub(super) fn new(wall: Wall) -> Self {
        Self { lived: vec![(wall, wall)] }
    }

    /// Time passed until `wall`; `leapt`: by more than really passed. Says whether the clock went back.
    pub(super) fn pass(&mut self, wall: Wall, leapt: bool) -> bool {
        let Some((_, end)) = self.lived.last_mut() else { return false };
        let back = wall < *end;
        if back || leapt {
            self.lived.push((wall, wall));
            if self.lived.len() > STRETCHES {
                self.lived.remove(0);
            }
        } else {
            *end = wall;
            self.absorb();
        }
        back
    }

    /// Stretches that the present one has outlived become part of it.
    fn absorb(&mut self) {
        let Some((mut from, to)) = self.lived.pop() else { return };
        self.lived.retain(|(earlier, end)| {
            let outlived = from <= *end && *end <= to;
            if outlived {
                from = from.min(*earlier);
            }
            !outlived
        });
        self.lived.push((from, to));
    }

    /// The end of the stretch that covers this moment, other than the one that is being lived.
    fn covered(&self, wall: Wall) -> Option<Wall> {
        let before = self.lived.len().saturating_sub(1);
        self.lived
            .iter()
            .take(before)
            .filter(|(from, to)| *from <= wall && wall <= *to)
            .map(|(_, to)| *to)
            .max()
    }

    /// Whether this moment was lived through before the stretch that is being lived.
    pub(super) fn was_lived(&self, wall: Wall) -> bool {
        self.covered(wall).is_some()
    }

    /// The first of the moments that `next` yields after `wall` which was not lived through.
    pub(super) fn first_new(&self, wall: Wall, next: impl Fn(Wall) -> Option<Wall>) -> Option<Wall> {
        let mut candidate = next(wall)?;
        // Each round leaves a stretch behind for good.
        for _ in 0..=STRETCHES {
            match self.covered(candidate) {
                Some(end) => candidate = next(end)?,
                None => return Some(candidate),
            }
        }
        Some(candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Wall {
        Wall { seconds, nanos: 0 }
    }

    fn every_ten(wall: Wall) -> Option<Wall> {
        Some(at(wall.seconds.div_euclid(10) * 10 + 10))
    }

    #[test]
    fn what_was_lived_is_not_new() {
        let mut time = Timeline::new(at(100));
        assert!(!time.pass(at(155), false));
        assert_eq!(time.first_new(at(155), every_ten), Some(at(160)));
        assert!(time.pass(at(120), false), "set back");
        assert_eq!(time.first_new(at(120), every_ten), Some(at(160)));
        assert!(!time.pass(at(159), false));
        assert_eq!(time.first_new(at(159), every_ten), Some(at(160)));
        assert_eq!(time.lived, [(at(100), at(159))], "one stretch again");
    }

    #[test]
    fn before_the_start_and_between_stretches_is_new() {
        let mut time = Timeline::new(at(100));
        time.pass(at(150), false);
        time.pass(at(1000), true);
        time.pass(at(1050), false);
        assert!(time.pass(at(80), false));
        assert_eq!(time.first_new(at(80), every_ten), Some(at(90)));
        assert_eq!(time.first_new(at(95), every_ten), Some(at(160)));
        assert_eq!(time.first_new(at(995), every_ten), Some(at(1060)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut time = Timeline::new(at(0));
        (0..1000).for_each(|round| {
            time.pass(at(500 - round % 2), false);
            time.pass(at(600), false);
        });
        assert!(time.lived.len() <= STRETCHES);
        assert!(time.pass(at(499), false));
        assert_eq!(time.first_new(at(499), every_ten), Some(at(610)));
    }
}
