//! The board: all words that workers and master share.

use super::layout::{self, Pool};
use super::steps::{Hand, How, Mark, Memory, Step, Take, Withdraw};
use super::word::{NOBODY, State, Unit};
use crate::timer::Time;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Rows: living workers, those that drain included.
pub const WORKERS: usize = 64;
/// Pools that may ever exist while the master lives.
pub const POOLS: usize = 512;
/// Processes of a pool, those that drain included.
pub const SLOTS: usize = 128;
/// Units of a process.
pub const THREADS: usize = 64;
/// Words the board needs; zeroed. Only touched pages cost memory.
pub const WORDS: usize = layout::WORDS;

/// The words of the whole tree. A pool, slot, thread or row that does not exist is nobody's: it is never claimed,
/// nothing is stored for it.
#[derive(Clone, Copy, Debug)]
pub struct Board<'a>(&'a [AtomicU64]);

/// The right to send one request to one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    /// Pool.
    pub pool: u16,
    /// Slot of the process in its pool.
    pub slot: u16,
    /// Thread of the process.
    pub thread: u16,
    /// Which process in that slot.
    pub generation: u32,
}

/// What became of a unit that was freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freed {
    /// It is idle, or somebody who looked for one has it.
    Idle,
    /// It waits for the worker of that row: poke its eventfd.
    Offered(u16),
    /// Its process leaves: tell the master (`ToMaster::Left`).
    Left,
    /// It was not ours any more: its process is gone, or somebody else gave it back.
    Stale,
}

/// A set of rows whose eventfds must be poked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "a worker that was offered a unit sleeps until it is poked"]
pub struct Rows(u64);

impl Rows {
    pub(super) fn add(&mut self, freed: Freed) {
        if let Freed::Offered(row) = freed {
            self.0 |= 1_u64.checked_shl(u32::from(row)).unwrap_or(0);
        }
    }

    /// The rows, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        (0..WORKERS as u16).filter(move |row| self.0 >> row & 1 == 1)
    }

    /// Both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nobody must be poked.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What requests that wait for a pool should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// Nothing runs; the master must be told that somebody waits.
    Asleep,
    /// Processes boot; wait.
    Booting,
    /// At least one process is open.
    Serving,
    /// The last boot failed; answer 503, the next attempt comes at that time.
    Failed {
        /// When.
        retry: Time,
    },
}

impl<'a> Board<'a> {
    /// The board in these words: [`WORDS`] of them, all zero at first. With fewer, the pools beyond do not exist.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// What a board of this layout is marked with.
    #[must_use]
    pub fn layout() -> u64 {
        layout::mark()
    }

    /// Marks zeroed words as a board of this layout. Once, before anybody else sees them.
    pub fn begin(self) {
        self.set(Some(layout::MARK), layout::mark());
    }

    /// Whether these are the words of a board of this layout.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self.get(Some(layout::MARK)) == layout::mark()
    }

    pub(super) fn get(self, at: Option<usize>) -> u64 {
        at.and_then(|at| self.0.get(at)).map_or(0, |word| word.load(SeqCst))
    }

    pub(super) fn set(self, at: Option<usize>, value: u64) {
        if let Some(word) = at.and_then(|at| self.0.get(at)) {
            word.store(value, SeqCst);
        }
    }

    pub(super) fn raise(self, at: Option<usize>, value: u64) {
        if let Some(word) = at.and_then(|at| self.0.get(at))
            && word.load(SeqCst) < value
        {
            word.fetch_max(value, SeqCst);
        }
    }

    pub(super) fn add(self, at: Option<usize>, value: u64) {
        if let Some(word) = at.and_then(|at| self.0.get(at)) {
            word.fetch_add(value, SeqCst);
        }
    }
}

/// What a worker does. `me` is its row.
impl Board<'_> {
    /// Claims an idle unit.
    #[must_use]
    pub fn claim(mut self, pool: u16, me: u16) -> Option<Lease> {
        self.valid(pool, me)?;
        Take::new(pool, me, true, None).run(&mut self)
    }

    /// Publishes `head`, the arrival of the oldest request in the queue, and looks once more for a unit that is idle
    /// or offered. With `None`, the caller is poked once a unit is offered to it.
    ///
    /// With a lease, take the oldest request out of the queue and publish what is left: call this again for the next
    /// request, or [`Board::head`] with `None` when the queue is empty. Do the same after a poke.
    #[must_use]
    pub fn wait(mut self, pool: u16, me: u16, head: Time) -> Option<Lease> {
        self.valid(pool, me)?;
        self.use_pool(pool);
        Take::new(pool, me, true, Some(head.0.max(1))).run(&mut self)
    }

    /// Publishes that the oldest request in the queue came at `head`, or with `None` that nothing waits; then passes
    /// on what was offered in the meantime. Poke the rows that come back.
    pub fn head(mut self, pool: u16, me: u16, head: Option<Time>) -> Rows {
        if self.valid(pool, me).is_none() {
            return Rows::default();
        }
        match head {
            None => Withdraw::new(pool, me, false).run(&mut self),
            Some(head) => {
                self.use_pool(pool);
                self.raise(Some(layout::ROWS_USED), u64::from(me) + 1);
                self.set(layout::head(pool, me), head.0.max(1));
                Rows::default()
            }
        }
    }

    /// Takes a unit that was offered to this worker.
    #[must_use]
    pub fn collect(mut self, pool: u16, me: u16) -> Option<Lease> {
        self.valid(pool, me)?;
        Take::new(pool, me, false, None).run(&mut self)
    }

    /// Gives a unit back after the app said FREE.
    #[must_use]
    pub fn free(self, lease: Lease, me: u16, now: Time) -> Freed {
        self.give(lease, State::Claimed, me, now)
    }

    /// Gives a claim up without knowing whether the request still runs, *before* the stream is closed: the unit is
    /// freed by the master when the host reports that the request is over.
    pub fn abandon(mut self, lease: Lease, me: u16) {
        if let Some(at) = layout::unit(lease.pool, lease.slot, lease.thread) {
            let how = How::Abandon { generation: lease.generation, owner: me };
            Mark::new(at, how).run(&mut self);
        }
    }

    /// Notes that the pool had something to do.
    pub fn touch(self, pool: u16, now: Time) {
        self.raise(layout::pool(pool, Pool::Activity), now.0);
    }

    /// What the master published about a pool.
    #[must_use]
    pub fn state(self, pool: u16) -> PoolState {
        let word = self.get(layout::pool(pool, Pool::State));
        match word & 3 {
            0 => PoolState::Asleep,
            1 => PoolState::Booting,
            2 => PoolState::Serving,
            _ => PoolState::Failed { retry: Time(word >> 2) },
        }
    }

    fn give(mut self, lease: Lease, state: State, owner: u16, now: Time) -> Freed {
        self.touch(lease.pool, now);
        match layout::unit(lease.pool, lease.slot, lease.thread) {
            Some(at) => Hand::owned(lease, at, state, owner).run(&mut self),
            None => Freed::Stale,
        }
    }

    fn valid(self, pool: u16, row: u16) -> Option<()> {
        let last = layout::head(pool, row)?.max(layout::unit(pool, SLOTS as u16 - 1, THREADS as u16 - 1)?);
        (last < self.0.len()).then_some(())
    }

    fn use_pool(self, pool: u16) {
        self.raise(Some(layout::POOLS_USED), u64::from(pool) + 1);
    }
}

/// What the master does.
impl Board<'_> {
    /// Opens the units of a process that is ready, one for each thread. `generation` is greater than any that this
    /// slot had. Poke the rows that come back.
    pub fn open(mut self, pool: u16, slot: u16, generation: u32, threads: u16) -> Rows {
        let mut poke = Rows::default();
        let (Some(header), Some(())) = (layout::slot(pool, slot), self.valid(pool, 0)) else { return poke };
        let threads = threads.min(THREADS as u16);
        self.use_pool(pool);
        self.set(Some(header), u64::from(generation) << 32 | u64::from(threads));
        self.raise(layout::pool(pool, Pool::SlotsUsed), u64::from(slot) + 1);
        for at in (0..threads).filter_map(|thread| layout::unit(pool, slot, thread)) {
            let idle = Unit::new(generation, State::Idle, NOBODY);
            self.set(Some(at), idle.encode());
            poke.add(Hand::loose(pool, at, idle).run(&mut self));
        }
        poke
    }

    /// Takes the units of a process out of use; how many still run a request. Those come back through
    /// [`Freed::Left`]; at 0 the process can be told to leave.
    pub fn leave(mut self, pool: u16, slot: u16) -> usize {
        let places: Vec<usize> = self.places(pool, slot).collect();
        places.into_iter().filter(|at| Mark::new(*at, How::Leave).run(&mut self).is_running()).count()
    }

    /// How many units of a process may be running a request.
    #[must_use]
    pub fn claimed(self, pool: u16, slot: u16) -> usize {
        self.places(pool, slot).filter(|at| Unit::decode(self.get(Some(*at))).is_running()).count()
    }

    /// The process was reaped: its units are gone. What workers still do with their leases fails.
    pub fn close(self, pool: u16, slot: u16) {
        for at in self.places(pool, slot) {
            let unit = Unit::decode(self.get(Some(at)));
            self.set(Some(at), unit.to(State::Gone, NOBODY).encode());
        }
    }

    /// A worker was reaped: its heads are cleared, what was offered to it is passed on, its claims become orphans
    /// (ask the hosts with GONE), its counters of the moment are zero. Poke the rows that come back.
    pub fn worker_left(mut self, row: u16) -> Rows {
        let mut poke = Rows::default();
        self.clear_row(row);
        for pool in 0..self.get(Some(layout::POOLS_USED)).min(POOLS as u64) as u16 {
            if self.valid(pool, row).is_some() {
                poke = poke.and(Withdraw::new(pool, row, true).run(&mut self));
            }
        }
        poke
    }

    /// The host of a process reports that no request of the worker of that row runs on the unit. Acts only on an
    /// orphan; anything else is [`Freed::Stale`], which is harmless.
    #[must_use]
    pub fn freed(self, lease: Lease, row: u16, now: Time) -> Freed {
        self.give(lease, State::Orphaned, row, now)
    }

    /// Tells waiting requests how the pool is.
    pub fn publish(self, pool: u16, state: PoolState) {
        let word = match state {
            PoolState::Asleep => 0,
            PoolState::Booting => 1,
            PoolState::Serving => 2,
            PoolState::Failed { retry } => retry.0.saturating_mul(4) | 3,
        };
        self.use_pool(pool);
        self.set(layout::pool(pool, Pool::State), word);
    }

    /// When the pool last had something to do: `now` if a request runs or waits.
    #[must_use]
    pub fn last_activity(self, pool: u16, now: Time) -> Time {
        let rows = self.get(Some(layout::ROWS_USED)).min(WORKERS as u64) as u16;
        let waits = (0..rows).any(|row| self.get(layout::head(pool, row)) != 0);
        let slots = self.get(layout::pool(pool, Pool::SlotsUsed)).min(SLOTS as u64) as u16;
        let busy = |unit: Unit| unit.is_running() || unit.state == State::Offered;
        let runs = || {
            (0..slots).any(|slot| self.places(pool, slot).any(|at| busy(Unit::decode(self.get(Some(at))))))
        };
        if waits || runs() { now } else { Time(self.get(layout::pool(pool, Pool::Activity))).min(now) }
    }

    /// The units of a slot that were ever opened.
    fn places(self, pool: u16, slot: u16) -> impl Iterator<Item = usize> {
        let header = self.get(layout::slot(pool, slot)) as u32;
        (0..header.min(THREADS as u32) as u16).filter_map(move |thread| layout::unit(pool, slot, thread))
    }
}

impl Memory for Board<'_> {
    fn load(&mut self, at: usize) -> u64 {
        self.get(Some(at))
    }

    fn store(&mut self, at: usize, value: u64) {
        self.set(Some(at), value);
    }

    fn exchange(&mut self, at: usize, seen: u64, value: u64) -> bool {
        self.0.get(at).is_some_and(|word| word.compare_exchange(seen, value, SeqCst, SeqCst).is_ok())
    }

    fn raise(&mut self, at: usize, value: u64) {
        Board::raise(*self, Some(at), value);
    }
}

#[cfg(test)]
mod tests;
