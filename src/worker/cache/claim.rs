//! The right to fetch what is kept under a key, for all who wait for it. However the fetch ends, they go on.

use super::waiting::Waiting;
use crate::cache::store::{Claimed, View};
use std::cell::Cell;
use std::rc::Rc;

/// See the module.
pub(in crate::worker) struct Claim {
    claimed: Option<Claimed>,
    view: View<'static>,
    /// In this worker they wait by this hash.
    waiting: (u128, Waiting),
    pokes: Pokes,
}

/// Rows that are to be poked, as bits, once the turn is over.
#[derive(Clone, Default)]
pub(super) struct Pokes(Rc<Cell<u64>>);

impl Claim {
    pub(super) fn new(claimed: Claimed, view: View<'static>, waiting: (u128, Waiting), pokes: Pokes) -> Self {
        Self { claimed: Some(claimed), view, waiting, pokes }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(claimed) = self.claimed.take() {
            self.pokes.add(self.view.release(claimed));
        }
        let (hash, waiting) = &self.waiting;
        waiting.wake(*hash);
    }
}

impl Pokes {
    pub(super) fn add(&self, rows: u64) {
        self.0.set(self.0.get() | rows);
    }

    pub(super) fn take(&self) -> u64 {
        self.0.take()
    }
}
