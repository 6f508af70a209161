//! What a worker does on the board.

use super::board::{Board, Freed, Lease, Rows};
use super::layout::{self, Address, OwnAt, RowWord};
use super::steps::{Hand, How, Machine, Mark, Memory, Take, Withdraw};
use super::word::{Unit, UnitState, let_go};
use crate::timer::Time;
use std::ops::Deref;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release, SeqCst},
};

/// The board as a worker has it: it reads everything, writes the words of its row, and exchanges those of the units. It
/// holds nothing else that could be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerBoard<'a> {
    board: Board<'a>,
    row: u16,
    own: &'a [AtomicU64],
    units: &'a [AtomicU64],
}

impl<'a> Deref for WorkerBoard<'a> {
    type Target = Board<'a>;

    fn deref(&self) -> &Board<'a> {
        &self.board
    }
}

impl<'a> WorkerBoard<'a> {
    /// The board in `words`, for the worker of that row. `own` are those of [`Board::area`], `units` those of
    /// [`Board::units`], in memory that it may write.
    #[must_use]
    pub(crate) fn new(
        words: &'a [AtomicU64],
        row: u16,
        own: &'a [AtomicU64],
        units: &'a [AtomicU64],
    ) -> Self {
        Self { board: Board::new(words), row, own, units }
    }

    /// Its row.
    #[must_use]
    pub(crate) fn row(self) -> u16 {
        self.row
    }

    fn own(self, at: Option<OwnAt>) -> Option<&'a AtomicU64> {
        let start = layout::area(self.row)?.start;
        self.own.get(at?.index().checked_sub(start)?)
    }

    /// Stores a word that others only look at: it has one writer, and no order to any other word.
    fn note(self, at: Option<OwnAt>, value: u64) {
        if let Some(word) = self.own(at) {
            word.store(value, Release);
        }
    }

    fn noted(self, at: Option<OwnAt>) -> u64 {
        self.own(at).map_or(0, |word| word.load(Relaxed))
    }
}

impl WorkerBoard<'_> {
    /// Claims an idle unit.
    #[must_use]
    pub(crate) fn claim(self, pool: u16) -> Option<Lease> {
        self.take(pool, None)
    }

    /// Claims an idle unit of the process in this slot.
    #[must_use]
    pub(crate) fn claim_in(mut self, pool: u16, slot: u16) -> Option<Lease> {
        self.valid(pool, self.row)?;
        let held = self.noted(layout::held(pool, self.row));
        Take::in_slot(pool, slot, self.row, held).run(&mut self)
    }

    /// Publishes `head`, the arrival of the oldest request in the queue, and looks once more for a unit that is idle
    /// or offered. With `None`, the caller is poked once a unit is offered to it.
    ///
    /// With a lease, take the oldest request out of the queue and publish what is left: call this again for the next
    /// request, or [`WorkerBoard::head`] with `None` when the queue is empty. Do the same after a poke.
    #[must_use]
    pub(crate) fn wait(self, pool: u16, head: Time) -> Option<Lease> {
        self.take(pool, Some(head.0.max(1)))
    }

    fn take(mut self, pool: u16, head: Option<u64>) -> Option<Lease> {
        self.valid(pool, self.row)?;
        let held = self.noted(layout::held(pool, self.row));
        Take::new(pool, self.row, head, held).run(&mut self)
    }

    /// Publishes that the oldest request in the queue came at `head`, or with `None` that nothing waits; then passes
    /// on what was offered in the meantime. Poke the rows that come back.
    pub(crate) fn head(mut self, pool: u16, head: Option<Time>) -> Rows {
        if self.valid(pool, self.row).is_none() {
            return Rows::default();
        }
        match (head, layout::head(pool, self.row)) {
            (Some(head), Some(at)) => {
                self.store(at, head.0.max(1));
                Rows::default()
            }
            _ => Withdraw::new(pool, self.row, false).run(&mut self),
        }
    }

    /// Gives a unit back after the app said FREE.
    #[must_use]
    pub(crate) fn free(mut self, lease: Lease, now: Time) -> Freed {
        self.touch(lease.pool, now);
        let Some(at) = layout::unit(lease.pool, lease.slot, lease.thread) else { return Freed::Stale };
        let freed = Hand::owned(lease, at, UnitState::Claimed, self.row).run(&mut self);
        self.holds_one_fewer(lease.pool);
        freed
    }

    /// Gives a claim up without knowing whether the request still runs, *before* the stream is closed: the unit is
    /// freed by the master when the host reports that the request is over.
    pub(crate) fn abandon(mut self, lease: Lease) {
        if let Some(at) = layout::unit(lease.pool, lease.slot, lease.thread) {
            let how = How::Abandon { incarnation: lease.incarnation, owner: self.row };
            Mark::new(at, how).run(&mut self);
            self.holds_one_fewer(lease.pool);
        }
    }

    fn holds_one_fewer(self, pool: u16) {
        let at = layout::held(pool, self.row);
        self.note(at, let_go(self.noted(at)));
    }

    /// Whether the unit of a lease may be sent more: it is ours, and does not leave.
    pub(crate) fn keeps(self, lease: Lease) -> bool {
        let claimed = Unit::new(lease.incarnation, UnitState::Claimed, self.row).encode();
        layout::unit(lease.pool, lease.slot, lease.thread).is_some_and(|at| self.get(Some(at)) == claimed)
    }

    /// Whether no other worker has a request waiting that came before `head`.
    pub(crate) fn is_oldest(self, pool: u16, head: Time) -> bool {
        let others = self.rows().filter(|row| *row != self.row);
        let mut heads = others.map(|row| self.get(layout::head(pool, row)));
        heads.all(|other| other == 0 || other >= head.0)
    }

    /// Notes that a request of the pool was slow.
    pub(crate) fn note_slow(self, pool: u16, now: Time) {
        self.note(layout::slow(pool, self.row), now.0);
    }

    /// Notes that the pool had something to do.
    pub(crate) fn touch(self, pool: u16, now: Time) {
        self.note(layout::activity(pool, self.row), now.0);
    }

    /// Stores how many client connections the worker has.
    pub(crate) fn set_connections(self, connections: u64) {
        self.note(layout::row(self.row, RowWord::Connections), connections);
    }

    /// Stores how many of them are tunnels.
    pub(crate) fn set_tunnels(self, tunnels: u64) {
        self.note(layout::row(self.row, RowWord::Tunnels), tunnels);
    }

    /// Stores how many bytes wait in its memory for clients and servers that are slow.
    pub(crate) fn set_buffered(self, bytes: u64) {
        self.note(layout::row(self.row, RowWord::Buffered), bytes);
    }

    /// Counts requests that were answered.
    pub(crate) fn count_requests(self, requests: u64) {
        let at = layout::row(self.row, RowWord::Requests);
        self.note(at, self.noted(at).wrapping_add(requests));
    }

    /// Stores whether the worker accepts connections.
    pub(crate) fn set_accepting(mut self, accepting: bool) {
        layout::row(self.row, RowWord::Accepting)
            .into_iter()
            .for_each(|at| self.store(at, u64::from(accepting)));
    }

    /// The worker begins to run its turn of that number.
    pub(crate) fn beat(self, turn: u64) {
        self.note(layout::row(self.row, RowWord::Beat), turn << 1 | 1);
    }

    /// The worker is about to poll.
    pub(crate) fn rest(self) {
        self.note(layout::row(self.row, RowWord::Beat), 0);
    }
}

impl Memory for WorkerBoard<'_> {
    fn load(&mut self, at: impl Address) -> u64 {
        self.get(Some(at))
    }

    fn store(&mut self, at: OwnAt, value: u64) {
        if let Some(word) = self.own(Some(at)) {
            word.store(value, SeqCst);
        }
    }

    fn exchange(&mut self, at: layout::UnitAt, seen: u64, value: u64) -> bool {
        let word = at.index().checked_sub(layout::units().start).and_then(|at| self.units.get(at));
        word.is_some_and(|word| word.compare_exchange(seen, value, SeqCst, SeqCst).is_ok())
    }
}
