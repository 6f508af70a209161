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
mod tests {
    use super::*;

    const NOW: Time = Time(100);

    fn words() -> Vec<AtomicU64> {
        (0..layout::unit(2, SLOTS as u16 - 1, THREADS as u16 - 1).unwrap() + 1)
            .map(|_| AtomicU64::new(0))
            .collect()
    }

    #[test]
    fn a_unit_serves_one_request_at_a_time() {
        let words = words();
        let board = Board::new(&words);
        assert_eq!(board.claim(1, 0), None);
        assert!(board.open(1, 0, 1, 2).is_empty());
        let one = board.claim(1, 0).unwrap();
        let two = board.claim(1, 1).unwrap();
        assert_eq!((one.thread, two.thread, board.claim(1, 2)), (0, 1, None));
        assert_eq!(board.claimed(1, 0), 2);
        assert_eq!(board.free(one, 1, NOW), Freed::Stale, "not the owner");
        assert_eq!(board.free(one, 0, NOW), Freed::Idle);
        assert_eq!(board.free(one, 0, NOW), Freed::Stale, "twice");
        assert_eq!(board.claim(1, 2), Some(one));
    }

    #[test]
    fn a_freed_unit_goes_to_the_request_that_waited_longest() {
        let words = words();
        let board = Board::new(&words);
        assert!(board.open(0, 0, 1, 1).is_empty());
        let lease = board.claim(0, 0).unwrap();
        assert_eq!(board.wait(0, 3, Time(20)), None);
        assert_eq!(board.wait(0, 5, Time(10)), None);
        assert_eq!(board.free(lease, 0, NOW), Freed::Offered(5));
        assert_eq!((board.collect(0, 3), board.claim(0, 3)), (None, None));
        assert_eq!(board.collect(0, 5), Some(lease));
        assert!(board.head(0, 5, None).is_empty());
        assert_eq!(board.free(lease, 5, NOW), Freed::Offered(3));
        assert!(board.head(0, 3, None).is_empty(), "nobody else waits");
        assert_eq!(board.claim(0, 9), Some(lease), "what was offered is idle again");
    }

    #[test]
    fn an_offer_that_is_not_wanted_is_passed_on() {
        let words = words();
        let board = Board::new(&words);
        assert!(board.open(0, 0, 1, 1).is_empty());
        let lease = board.claim(0, 0).unwrap();
        assert_eq!((board.wait(0, 1, Time(1)), board.wait(0, 2, Time(2))), (None, None));
        assert_eq!(board.free(lease, 0, NOW), Freed::Offered(1));
        assert_eq!(board.head(0, 1, None).iter().collect::<Vec<_>>(), [2]);
        assert_eq!(board.wait(0, 2, Time(2)), Some(lease));
    }

    #[test]
    fn opening_a_process_serves_who_waits() {
        let words = words();
        let board = Board::new(&words);
        assert_eq!(board.wait(0, 4, Time(1)), None);
        assert_eq!(board.open(0, 2, 1, 3).iter().collect::<Vec<_>>(), [4]);
        assert!(board.collect(0, 4).is_some());
        let poke = board.head(0, 4, None);
        assert!(poke.is_empty());
        assert!(board.claim(0, 0).is_some() && board.claim(0, 0).is_some());
    }

    #[test]
    fn a_process_leaves_when_its_requests_are_done() {
        let words = words();
        let board = Board::new(&words);
        assert!(board.open(0, 0, 1, 3).is_empty());
        let (one, two) = (board.claim(0, 0).unwrap(), board.claim(0, 1).unwrap());
        assert_eq!(board.leave(0, 0), 2);
        assert_eq!(board.claim(0, 2), None);
        assert_eq!(board.free(one, 0, NOW), Freed::Left);
        assert_eq!((board.claimed(0, 0), board.leave(0, 0)), (1, 1));
        board.close(0, 0);
        assert_eq!(board.free(two, 1, NOW), Freed::Stale);
        assert!(board.open(0, 0, 2, 3).is_empty());
        assert_eq!(board.free(two, 1, NOW), Freed::Stale, "a late free does not reach the next process");
        let again = board.claim(0, 1).map(|lease| lease.generation);
        assert_eq!(again, Some(2));
    }

    #[test]
    fn claims_of_a_dead_worker_wait_for_the_host() {
        let words = words();
        let board = Board::new(&words);
        assert!(board.open(0, 0, 1, 2).is_empty());
        assert!(board.open(1, 0, 1, 1).is_empty());
        let (one, two) = (board.claim(0, 7).unwrap(), board.claim(1, 7).unwrap());
        let other = board.claim(0, 1).unwrap();
        assert_eq!(board.freed(one, 7, NOW), Freed::Stale, "its worker lives");
        board.set_connections(7, 3);
        assert!(board.worker_left(7).is_empty());
        assert_eq!((board.claimed(0, 0), board.claimed(1, 0), board.connections(7)), (2, 1, 0));
        assert_eq!(board.free(one, 7, NOW), Freed::Stale, "a new worker in that row owns nothing");
        assert_eq!(board.freed(other, 7, NOW), Freed::Stale);
        assert_eq!(board.leave(1, 0), 1);
        assert_eq!(board.freed(two, 7, NOW), Freed::Left);
        assert_eq!(board.wait(0, 2, Time(5)), None);
        assert_eq!(board.freed(one, 7, NOW), Freed::Offered(2));
        assert_eq!(board.freed(one, 7, NOW), Freed::Stale);
    }

    #[test]
    fn an_abandoned_claim_waits_for_the_host_too() {
        let words = words();
        let board = Board::new(&words);
        assert!(board.open(0, 0, 1, 1).is_empty());
        let lease = board.claim(0, 0).unwrap();
        board.abandon(lease, 1);
        board.abandon(lease, 0);
        assert_eq!((board.claim(0, 0), board.free(lease, 0, NOW)), (None, Freed::Stale));
        assert_eq!(board.freed(lease, 0, NOW), Freed::Idle);
        assert_eq!(board.claim(0, 0), Some(lease));
    }

    #[test]
    fn a_pool_is_active_while_a_request_runs_or_waits() {
        let words = words();
        let board = Board::new(&words);
        assert_eq!(board.last_activity(0, NOW), Time(0));
        assert!(board.open(0, 0, 1, 1).is_empty());
        board.touch(0, Time(40));
        board.touch(0, Time(30));
        assert_eq!(board.last_activity(0, NOW), Time(40));
        let lease = board.claim(0, 0).unwrap();
        assert_eq!(board.last_activity(0, NOW), NOW);
        assert_eq!(board.free(lease, 0, Time(60)), Freed::Idle);
        assert_eq!(board.last_activity(0, NOW), Time(60));
        assert!(board.head(0, 3, Some(Time(70))).is_empty());
        assert_eq!(board.last_activity(0, NOW), NOW);
    }

    #[test]
    fn states_survive_the_word() {
        let words = words();
        let board = Board::new(&words);
        assert_eq!(board.state(0), PoolState::Asleep);
        for state in [
            PoolState::Booting,
            PoolState::Failed { retry: Time(86_400_000_000_000_000) },
            PoolState::Serving,
            PoolState::Asleep,
        ] {
            board.publish(0, state);
            assert_eq!(board.state(0), state);
        }
    }

    #[test]
    fn what_does_not_exist_is_never_claimed() {
        let words = words();
        let board = Board::new(&words);
        for (pool, row) in [(0, WORKERS as u16), (3, 0), (POOLS as u16, 0), (u16::MAX, u16::MAX)] {
            assert_eq!((board.claim(pool, row), board.wait(pool, row, NOW)), (None, None));
            assert_eq!(board.collect(pool, row), None);
            assert!(board.head(pool, row, Some(NOW)).is_empty() && board.head(pool, row, None).is_empty());
            assert!(board.worker_left(row).is_empty());
        }
        for (pool, slot) in [(0, SLOTS as u16), (3, 0), (u16::MAX, u16::MAX)] {
            assert!(board.open(pool, slot, 1, 1).is_empty());
            assert_eq!((board.leave(pool, slot), board.claimed(pool, slot)), (0, 0));
            board.close(pool, slot);
            let lease = Lease { pool, slot, thread: 0, generation: 1 };
            assert_eq!((board.free(lease, 0, NOW), board.freed(lease, 0, NOW)), (Freed::Stale, Freed::Stale));
            board.abandon(lease, 0);
        }
        assert!(board.open(0, 0, 1, u16::MAX).is_empty());
        assert_eq!((0..100).filter(|_| board.claim(0, 0).is_some()).count(), THREADS);
    }
}
