//! Who of the exchanges of this worker waits for a response that somebody else fetches.

use crate::worker::owner::Owner;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// By the hash of what they wait for.
#[derive(Clone, Default)]
pub(super) struct Waiting(Rc<RefCell<Queues>>);

#[derive(Default)]
struct Queues {
    by_hash: HashMap<u128, Vec<Owner>>,
    /// Those who may go on.
    woken: Vec<Owner>,
}

impl Waiting {
    /// One more waits.
    pub(super) fn join(&self, hash: u128, owner: Owner) {
        self.0.borrow_mut().by_hash.entry(hash).or_default().push(owner);
    }

    /// It waits no more.
    pub(super) fn leave(&self, hash: u128, owner: Owner) {
        let mut queues = self.0.borrow_mut();
        if let Some(queue) = queues.by_hash.get_mut(&hash) {
            queue.retain(|other| *other != owner);
            if queue.is_empty() {
                queues.by_hash.remove(&hash);
            }
        }
    }

    /// Whether it waits.
    pub(super) fn has(&self, hash: u128, owner: Owner) -> bool {
        self.0.borrow().by_hash.get(&hash).is_some_and(|queue| queue.contains(&owner))
    }

    /// What they wait for is there, or will not come.
    pub(super) fn wake(&self, hash: u128) {
        let mut queues = self.0.borrow_mut();
        if let Some(queue) = queues.by_hash.remove(&hash) {
            queues.woken.extend(queue);
        }
    }

    /// Something has happened in another worker: all look again.
    pub(super) fn wake_all(&self) {
        let mut queues = self.0.borrow_mut();
        let all = std::mem::take(&mut queues.by_hash);
        queues.woken.extend(all.into_values().flatten());
    }

    /// Those who may go on.
    pub(super) fn take_woken(&self) -> Vec<Owner> {
        let mut queues = self.0.borrow_mut();
        if queues.woken.is_empty() { Vec::new() } else { std::mem::take(&mut queues.woken) }
    }

    /// Whether some may.
    pub(super) fn has_woken(&self) -> bool {
        !self.0.borrow().woken.is_empty()
    }

    /// Whether somebody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().by_hash.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn those_who_wait_for_the_same_go_on_together() {
        let mut slab = Slab::new();
        let client = slab.insert_with(|_| ());
        let owner = |stream| Owner { client, stream };
        let waiting = Waiting::default();
        for (hash, stream) in [(1, 1), (1, 2), (2, 3), (1, 4)] {
            waiting.join(hash, owner(stream));
        }
        waiting.leave(1, owner(2));
        waiting.leave(9, owner(2));
        assert!(!waiting.has_woken());
        waiting.wake(1);
        waiting.wake(7);
        assert_eq!(waiting.take_woken(), [owner(1), owner(4)]);
        assert!(waiting.take_woken().is_empty() && !waiting.is_empty());
        waiting.wake_all();
        assert_eq!(waiting.take_woken(), [owner(3)]);
        assert!(waiting.is_empty());
    }
}
