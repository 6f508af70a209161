//! What the master does on the board.

use super::board::{Board, Freed, Lease, Rows};
use super::layout::{self, Address, MasterAt, OwnAt, POOLS, PoolWord, STOPPED, THREADS};
use super::steps::{Hand, How, Machine, Mark, Memory, Withdraw};
use super::word::{NOBODY, Unit, UnitState};
use crate::control::pool::PoolState;
use crate::timer::Time;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The board as the master has it. It writes its own words, exchanges those of the units, and clears those of a worker
/// that was reaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MasterBoard<'a>(Board<'a>);

impl<'a> Deref for MasterBoard<'a> {
    type Target = Board<'a>;

    fn deref(&self) -> &Board<'a> {
        &self.0
    }
}

impl<'a> MasterBoard<'a> {
    /// The board in these words, all of which can be written.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(Board::new(words))
    }

    /// Marks zeroed words as a board of this layout. Once, before anybody else sees them.
    pub(crate) fn begin(self) {
        self.set(Some(layout::MARK), layout::mark());
    }

    fn set(self, at: Option<MasterAt>, value: u64) {
        if let Some(word) = at.and_then(|at| self.words().get(at.index())) {
            word.store(value, SeqCst);
        }
    }

    /// Raises a word of the master's; it has no other writer, who could come between the look and the store.
    fn raise(self, at: Option<MasterAt>, value: u64) {
        if self.get(at) < value {
            self.set(at, value);
        }
    }
}

impl MasterBoard<'_> {
    /// A worker of this program is about to be forked for that row.
    pub(crate) fn seat(self, row: u16) {
        if let Some(at) = layout::counting(row) {
            self.raise(Some(layout::ROWS_USED), u64::from(row) + 1);
            self.set(Some(at), layout::COUNTERS);
        }
    }

    /// Opens the units of a process that is ready, one for each thread. `incarnation` is greater than any that this
    /// slot had; `port` is where it is connected to, 0 if by its socket. Poke the rows that come back.
    pub(crate) fn open(mut self, pool: u16, slot: u16, incarnation: u32, threads: u16, port: u16) -> Rows {
        let mut poke = Rows::default();
        let (Some(header), Some(())) = (layout::slot(pool, slot), self.valid(pool, 0)) else { return poke };
        let threads = threads.min(THREADS as u16);
        self.use_pool(pool);
        self.set(Some(header), u64::from(incarnation) << 32 | u64::from(port) << 16 | u64::from(threads));
        self.raise(layout::pool(pool, PoolWord::SlotsUsed), u64::from(slot) + 1);
        for at in (0..threads).filter_map(|thread| layout::unit(pool, slot, thread)) {
            let idle = Unit::new(incarnation, UnitState::Idle, NOBODY);
            self.overwrite(at, idle);
            poke.add(Hand::loose(pool, at, idle).run(&mut self));
        }
        poke
    }

    /// Takes the units of a process out of use; how many still run a request. Those come back through
    /// [`Freed::Left`]; at 0 the process can be told to leave.
    pub(crate) fn leave(mut self, pool: u16, slot: u16) -> usize {
        let units: Vec<layout::UnitAt> = self.units_of(pool, slot).collect();
        units.into_iter().filter(|at| Mark::new(*at, How::Leave).run(&mut self).is_running()).count()
    }

    /// The process was reaped: its units are gone. What workers still do with their leases fails.
    pub(crate) fn close(self, pool: u16, slot: u16) {
        for at in self.units_of(pool, slot) {
            self.overwrite(at, Unit::decode(self.get(Some(at))).to(UnitState::Gone, NOBODY));
        }
    }

    /// A worker was reaped: its heads are cleared, what was offered to it is passed on, its claims become orphans
    /// (ask the hosts with GONE), what it counted is not read any more. Then release the words of [`Board::area`]: it
    /// may have written where nobody looked. Poke the rows that come back.
    pub(crate) fn worker_left(mut self, row: u16, now: Time) -> Rows {
        let mut poke = Rows::default();
        self.set(layout::counting(row), 0);
        for pool in 0..self.get(Some(layout::POOLS_USED)).min(POOLS as u64) as u16 {
            if self.valid(pool, row).is_some() {
                let last = self.get(layout::activity(pool, row)).min(now.0);
                self.raise(layout::pool(pool, PoolWord::Activity), last);
                layout::activity(pool, row).into_iter().for_each(|at| self.store(at, 0));
                poke = poke.and(Withdraw::new(pool, row, true).run(&mut self));
                // `held` is cleared after the claims that it counts: see `sweep`.
                layout::held(pool, row).into_iter().for_each(|at| self.store(at, 0));
                layout::slow(pool, row).into_iter().for_each(|at| self.store(at, 0));
            }
        }
        poke
    }

    /// The host of a process reports that no request of the worker of that row runs on the unit. Acts only on an
    /// orphan; anything else is [`Freed::Stale`], which is harmless.
    #[must_use]
    pub(crate) fn freed(mut self, lease: Lease, row: u16, now: Time) -> Freed {
        self.raise(layout::pool(lease.pool, PoolWord::Activity), now.0);
        match layout::unit(lease.pool, lease.slot, lease.thread) {
            Some(at) => Hand::owned(lease, at, UnitState::Orphaned, row).run(&mut self),
            None => Freed::Stale,
        }
    }

    /// Tells waiting requests how the pool is.
    pub(crate) fn publish(self, pool: u16, state: PoolState) {
        let word = match state {
            PoolState::Asleep => 0,
            PoolState::Booting => 1,
            PoolState::Serving => 2,
            PoolState::Stopped => STOPPED,
            PoolState::Failed { retry } => retry.0.saturating_mul(4) | 3,
        };
        self.use_pool(pool);
        self.set(layout::pool(pool, PoolWord::State), word);
    }

    fn use_pool(self, pool: u16) {
        self.raise(Some(layout::POOLS_USED), u64::from(pool) + 1);
    }

    fn overwrite(self, at: layout::UnitAt, unit: Unit) {
        if let Some(word) = self.words().get(at.index()) {
            word.store(unit.encode(), SeqCst);
        }
    }
}

impl Memory for MasterBoard<'_> {
    fn load(&mut self, at: impl Address) -> u64 {
        self.get(Some(at))
    }

    fn store(&mut self, at: OwnAt, value: u64) {
        if let Some(word) = self.words().get(at.index()) {
            word.store(value, SeqCst);
        }
    }

    fn exchange(&mut self, at: layout::UnitAt, seen: u64, value: u64) -> bool {
        let word = self.words().get(at.index());
        word.is_some_and(|word| word.compare_exchange(seen, value, SeqCst, SeqCst).is_ok())
    }
}
