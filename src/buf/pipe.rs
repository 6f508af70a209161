//! A pipe, by which bytes go from one socket to another without being read.

use std::cell::Cell;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// Both ends. Who holds it has something of it queued, or is about to.
#[derive(Debug)]
pub struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
    /// Bytes that are in it.
    held: Cell<u64>,
}

impl Pipe {
    /// Of an end to read from and one to write to.
    #[must_use]
    pub(crate) fn new((outlet, inlet): (OwnedFd, OwnedFd)) -> Self {
        Self { outlet, inlet, held: Cell::new(0) }
    }

    /// Where its bytes come out.
    #[must_use]
    pub(crate) fn outlet(&self) -> BorrowedFd<'_> {
        self.outlet.as_fd()
    }

    /// Where they go in.
    #[must_use]
    pub(crate) fn inlet(&self) -> BorrowedFd<'_> {
        self.inlet.as_fd()
    }

    /// So many bytes went in.
    pub(crate) fn filled(&self, count: u64) {
        self.held.set(self.held.get().saturating_add(count));
    }

    /// So many came out.
    pub(crate) fn drained(&self, count: u64) {
        self.held.set(self.held.get().saturating_sub(count));
    }

    /// How many are in it: what was queued of it, and was dropped there, still is.
    #[must_use]
    pub(crate) fn held(&self) -> u64 {
        self.held.get()
    }
}
