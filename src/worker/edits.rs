//! What the master tells of edits: what is wrong, which one was the last, and which exchanges tell browsers of the next one
//! (`live_reload`).

use super::owner::Owner;
use super::troubles::Troubles;
use std::collections::HashSet;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Edits {
    pub(super) troubles: Troubles,
    /// Of the last edit; 0: the master has told of none yet.
    serial: u64,
    listening: HashSet<Owner>,
}

impl Edits {
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// There was an edit: who is to tell of it.
    pub(super) fn note(&mut self, serial: u64) -> impl Iterator<Item = Owner> {
        self.serial = serial;
        self.listening.iter().copied()
    }

    /// The worker drains: who is to end.
    pub(super) fn listening(&self) -> impl Iterator<Item = Owner> {
        self.listening.iter().copied()
    }

    /// An exchange tells of edits from now on.
    pub(super) fn enter(&mut self, owner: Owner) {
        self.listening.insert(owner);
    }

    /// It does no more.
    pub(super) fn leave(&mut self, owner: Owner) {
        self.listening.remove(&owner);
    }
}
