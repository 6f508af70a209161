//! How much waits in the memory of a worker on account of clients and servers that are slow, all of it together, and how much
//! may. Pure. Who has something waiting holds a [`Share`] of it, and gives it back however it ends.

use std::cell::Cell;
use std::rc::Rc;

/// See the module.
#[derive(Debug)]
pub(super) struct Budget(Rc<Held>);

#[derive(Debug)]
struct Held {
    most: u64,
    bytes: Cell<u64>,
}

/// What one of those holds.
#[derive(Debug)]
pub(super) struct Share {
    of: Rc<Held>,
    bytes: u64,
}

impl Budget {
    /// Of so many bytes.
    pub(super) fn new(most: u64) -> Self {
        Self(Rc::new(Held { most, bytes: Cell::default() }))
    }

    /// All that is held.
    pub(super) fn held(&self) -> u64 {
        self.0.bytes.get()
    }

    /// Whether half of it is free.
    pub(super) fn has_plenty(&self) -> bool {
        self.held() < self.0.most / 2
    }

    /// Whether more may be held.
    pub(super) fn has_room(&self) -> bool {
        self.held() < self.0.most
    }

    /// A share of it, of nothing yet.
    pub(super) fn share(&self) -> Share {
        Share { of: Rc::clone(&self.0), bytes: 0 }
    }

    /// What held so many bytes before holds so many now; for who cannot have a [`Share`], and gives all back in the end.
    pub(super) fn change(&self, before: &mut u32, now: u64) {
        let now = u32::try_from(now).unwrap_or(u32::MAX);
        let before = std::mem::replace(before, now);
        self.0.bytes.set((self.held() + u64::from(now)).saturating_sub(before.into()));
    }
}

impl Share {
    /// Whether more may be held, by anybody.
    pub(super) fn has_room(&self) -> bool {
        self.of.bytes.get() < self.of.most
    }

    /// It is of so many bytes from now on.
    pub(super) fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let held = &self.of.bytes;
        held.set(held.get().saturating_add(bytes).saturating_sub(before));
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
