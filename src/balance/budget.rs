//! How many of an upstream's requests may be sent once more: a part of those that came, so that servers that fail under load
//! do not get twice the load. Pure; a worker has one for each upstream.

/// Requests that earn one repetition.
const EACH: u32 = 5;

/// So many may be repeated at once, at most.
const MOST: u32 = 100;

/// What is left of it, in fifths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(MOST * EACH)
    }
}

impl Budget {
    /// A request came.
    pub(crate) fn earn(&mut self) {
        self.0 = (self.0 + 1).min(MOST * EACH);
    }

    /// A request that a server may have begun is to be repeated: whether it may.
    #[must_use]
    pub(crate) fn spend(&mut self) -> bool {
        let may = self.0 >= EACH;
        self.0 -= if may { EACH } else { 0 };
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_is_repeated_and_a_burst_at_once() {
        let mut budget = Budget::default();
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100);
        let mut repeated = 0;
        for _ in 0..1_000 {
            budget.earn();
            repeated += u32::from(budget.spend());
        }
        assert_eq!(repeated, 200);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..200).filter(|_| budget.spend()).count(), 100, "it is not saved up");
    }
}
