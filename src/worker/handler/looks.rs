//! When to look again at what a path names. A thread does that, as nobody knows what it leads to by then.

use crate::timer::Time;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Looks {
    at: Time,
    under_way: bool,
}

impl Looks {
    /// Whether it is time for a look, which is under way then.
    pub(super) fn is_due(&mut self, now: Time) -> bool {
        let due = now >= self.at && !self.under_way;
        if due {
            (self.at, self.under_way) = (now.after(EVERY), true);
        }
        due
    }

    /// It is over.
    pub(super) fn over(&mut self) {
        self.under_way = false;
    }
}
