//! How much waits in the memory of a worker on account of clients and servers that are slow, all of it together, and how much
//! may. Pure. Who has something waiting holds a [`Share`] of it, and gives it back however it ends.

use std::cell::Cell;
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    most: u64,
    held: Rc<Cell<u64>>,
}

/// What one of those holds.
#[derive(Debug)]
pub(super) struct Share {
    of: Rc<Cell<u64>>,
    bytes: u64,
}

impl Budget {
    /// Of so many bytes.
    pub(super) fn new(most: u64) -> Self {
        Self { most, held: Rc::default() }
    }

    /// All that is held.
    pub(super) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Whether half of it is free.
    pub(super) fn has_plenty(&self) -> bool {
        self.held.get() < self.most / 2
    }

    /// Whether more may be held.
    pub(super) fn has_room(&self) -> bool {
        self.held.get() < self.most
    }

    /// A share of it, of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { of: Rc::clone(&self.held), bytes: 0 }
    }

    /// What held so many bytes before holds so many now; for who cannot have a [`Share`], and gives all back in the end.
    pub(super) fn change(&self, before: &mut u32, now: u64) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let before = std::mem::replace(before, now);
        self.held.set((self.held.get() + u64::from(now)).saturating_sub(before.into()));
    }
}

impl Share {
    /// It is of so many bytes from now on.
    pub(super) fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.of.set(self.of.get().saturating_add(bytes).saturating_sub(before));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_the_sum_of_all_shares_that_there_are() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (budget.share(), budget.share());
        let mut plain = 0;
        one.set(60);
        other.set(30);
        budget.change(&mut plain, 9);
        assert!((budget.held(), budget.has_room()) == (99, true));
        other.set(31);
        assert!((budget.held(), budget.has_room()) == (100, false));
        drop(one);
        assert_eq!(budget.held(), 40);
        budget.change(&mut plain, 0);
        other.set(0);
        drop(other);
        assert_eq!(budget.held(), 0);
    }
}
