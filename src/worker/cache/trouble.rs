//! Keys for which it is not worth waiting: what is fetched has failed a moment ago, or turned out to be too large on its way.

use super::claim::Claim;
use crate::cache::key::Key;
use crate::timer::Time;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// So long everybody fetches for itself after a fault: else those who wait would see it one after the other.
const FAILED: Duration = Duration::from_secs(1);

/// So many are remembered; they are named by clients.
const MOST: usize = 4096;

/// Fetches that have failed lately, by the hash of their key.
#[derive(Default)]
pub(super) struct Failed(HashMap<u128, Time>);

impl Failed {
    /// One has.
    pub(super) fn add(&mut self, hash: u128, now: Time) {
        if self.0.len() >= MOST {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(hash, now.after(FAILED));
    }

    /// Whether one has, a moment ago.
    pub(super) fn has(&self, hash: u128, now: Time) -> bool {
        self.0.get(&hash).is_some_and(|until| *until > now)
    }
}

/// What was found on its way not to be kept; those who wait are told once the turn is over.
#[derive(Clone, Default)]
pub(in crate::worker) struct GivenUp(Rc<RefCell<Vec<Wanted>>>);

/// Under which key others look for it, and the right to fetch it.
type Wanted = (Key, Option<Claim>);

impl GivenUp {
    /// One more. The claim holds until they are told.
    pub(super) fn add(&self, key: Key, claim: Option<Claim>) {
        self.0.borrow_mut().push((key, claim));
    }

    pub(super) fn take(&self) -> Vec<Wanted> {
        std::mem::take(&mut *self.0.borrow_mut())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_forgotten_soon_and_no_more_than_so_many_are_remembered() {
        let (mut failed, now) = (Failed::default(), Time::ZERO);
        failed.add(1, now);
        assert!(failed.has(1, now) && !failed.has(2, now));
        assert!(!failed.has(1, now.after(FAILED)));
        for hash in 0..3 * MOST as u128 {
            failed.add(hash, now);
        }
        assert!(failed.0.len() <= MOST && failed.has(3 * MOST as u128 - 1, now));
    }
}
