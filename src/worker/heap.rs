//! When memory is worth to be given back: once most of very many connections and requests have left, what they took lies
//! scattered in the heap. Giving it back holds up the loop for as long as there is much of it, and clients decide when it is
//! due; so it is not done more than once in [`REST`]. Pure.

use crate::timer::Time;
use std::time::Duration;

/// Below, there is little to give back.
const MANY: usize = 256;

/// For so long after one time it is not done again.
const REST: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Default)]
pub(super) struct Heap {
    /// The most connections and requests since memory was given back.
    most: usize,
    /// When that was.
    given: Option<Time>,
}

impl Heap {
    /// Whether memory is to be given back now, where so many connections and requests are held.
    pub(super) fn is_sparse(&mut self, held: usize, now: Time) -> bool {
        self.most = self.most.max(held);
        let is_sparse = self.most >= MANY
            && held <= self.most / 4
            && self.given.is_none_or(|given| now.since(given) >= REST);
        if is_sparse {
            (self.most, self.given) = (held, Some(now));
        }
        is_sparse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_when_most_of_many_have_left() {
        let (mut heap, now) = (Heap::default(), Time(0));
        assert!(!heap.is_sparse(MANY - 1, now) && !heap.is_sparse(0, now), "few");
        assert!(!heap.is_sparse(MANY, now) && !heap.is_sparse(MANY / 4 + 1, now), "too many are left");
        assert!(heap.is_sparse(MANY / 4, now));
        assert!(!heap.is_sparse(0, now.after(REST)), "few since");
    }

    #[test]
    fn who_comes_and_goes_has_memory_given_back_once_in_a_while() {
        let mut heap = Heap::default();
        let mut given = 0;
        for second in 0..60 {
            let now = Time(0).after(Duration::from_secs(second));
            assert!(!heap.is_sparse(MANY, now));
            given += u32::from(heap.is_sparse(0, now));
        }
        assert_eq!(given, 6);
    }

    #[test]
    fn what_had_to_wait_is_given_back_later() {
        let mut heap = Heap::default();
        for _ in 0..2 {
            heap.is_sparse(MANY, Time(0));
            heap.is_sparse(0, Time(0));
        }
        assert!(!heap.is_sparse(1, Time(0).after(REST / 2)));
        assert!(heap.is_sparse(1, Time(0).after(REST)));
    }
}
