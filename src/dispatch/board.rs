//! The board: all words that workers and master share, as anybody may read them.

use super::layout::{self, Address, PoolWord, RowWord, STOPPED};
use super::word::{Unit, UnitState, units_held};
use crate::control::pool::PoolState;
use crate::timer::Time;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub(crate) use super::layout::SHARED;
pub use super::layout::{POOLS, SLOTS, THREADS, WORDS, WORKERS};

/// The words of the whole tree, to be read. What may be written is in [`super::WorkerBoard`] and
/// [`super::MasterBoard`]. A pool, slot, thread or row that does not exist is nobody's: it is never claimed, nothing is
/// stored for it.
#[derive(Clone, Copy, Debug)]
pub struct Board<'a>(&'a [AtomicU64]);

/// The right to send one request to one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    /// Pool.
    pub(crate) pool: u16,
    /// Slot of the process in its pool.
    pub(crate) slot: u16,
    /// Thread of the process.
    pub(crate) thread: u16,
    /// Incarnation: which process in that slot.
    pub(crate) incarnation: u32,
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
    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        (0..WORKERS as u16).filter(move |row| self.0 >> row & 1 == 1)
    }

    /// The set of these rows.
    pub(crate) fn of(rows: impl Iterator<Item = u16>) -> Self {
        let mut set = Self::default();
        rows.for_each(|row| set.add(Freed::Offered(row)));
        set
    }

    /// Whether the row is among them.
    #[must_use]
    pub(crate) fn has(self, row: u16) -> bool {
        usize::from(row) < WORKERS && self.0 >> row & 1 == 1
    }

    /// Both sets.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl<'a> Board<'a> {
    /// The board in these words: [`WORDS`] of them, all zero at first. With fewer, the pools beyond do not exist.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// What a board of this layout is marked with.
    #[must_use]
    pub(crate) fn layout() -> u64 {
        layout::mark()
    }

    /// Whether these are the words of a board of this layout.
    #[must_use]
    pub(crate) fn is_ours(self) -> bool {
        self.get(Some(layout::MARK)) == layout::mark()
    }

    /// Which words only the worker of that row writes. Begins and ends at a page, however large pages are.
    #[must_use]
    pub fn area(row: u16) -> Option<Range<usize>> {
        layout::area(row)
    }

    /// Which words every worker writes. Begins and ends at a page, however large pages are.
    #[must_use]
    pub fn units() -> Range<usize> {
        layout::units()
    }

    pub(super) fn get(self, at: Option<impl Address>) -> u64 {
        at.and_then(|at| self.0.get(at.index())).map_or(0, |word| word.load(SeqCst))
    }

    /// A word itself, to try what may be done with it.
    #[cfg(test)]
    pub(crate) fn word(self, at: usize) -> &'a AtomicU64 {
        &self.0[at]
    }

    pub(super) fn words(self) -> &'a [AtomicU64] {
        self.0
    }

    pub(super) fn valid(self, pool: u16, row: u16) -> Option<()> {
        layout::head(pool, row)?;
        let last = layout::unit(pool, SLOTS as u16 - 1, THREADS as u16 - 1)?;
        (last.index() < self.0.len()).then_some(())
    }

    /// Rows that were ever given to a worker.
    pub(crate) fn rows(self) -> impl Iterator<Item = u16> {
        0..self.get(Some(layout::ROWS_USED)).min(WORKERS as u64) as u16
    }

    /// What the master published about a pool.
    #[must_use]
    pub(crate) fn state(self, pool: u16) -> PoolState {
        let word = self.get(layout::pool(pool, PoolWord::State));
        match word & 3 {
            0 => PoolState::Asleep,
            1 => PoolState::Booting,
            2 => PoolState::Serving,
            _ if word == STOPPED => PoolState::Stopped,
            _ => PoolState::Failed { retry: Time(word >> 2) },
        }
    }

    /// Which process has the units of a slot, or had them last.
    #[must_use]
    pub(crate) fn incarnation(self, pool: u16, slot: u16) -> u32 {
        (self.get(layout::slot(pool, slot)) >> 32) as u32
    }

    /// The same, with the port that it was opened with; 0: none.
    #[must_use]
    pub(crate) fn port(self, pool: u16, slot: u16, incarnation: u32) -> Option<u16> {
        let header = self.get(layout::slot(pool, slot));
        ((header >> 32) as u32 == incarnation).then_some((header >> 16) as u16)
    }

    /// Whether all units of that process share one stream to each worker.
    #[must_use]
    pub(crate) fn is_shared(self, pool: u16, slot: u16, incarnation: u32) -> bool {
        self.port(pool, slot, incarnation) == Some(SHARED)
    }

    /// Slots and incarnations of the processes of a pool of which that is so.
    pub(crate) fn shared(self, pool: u16) -> impl Iterator<Item = (u16, u32)> {
        let slots = self.get(layout::pool(pool, PoolWord::SlotsUsed)).min(SLOTS as u64) as u16;
        (0..slots)
            .map(move |slot| (slot, self.incarnation(pool, slot)))
            .filter(move |(slot, incarnation)| self.is_shared(pool, *slot, *incarnation))
    }

    /// How many units of a process may be running a request.
    #[must_use]
    pub(crate) fn claimed(self, pool: u16, slot: u16) -> usize {
        self.units_of(pool, slot).filter(|at| Unit::decode(self.get(Some(*at))).is_running()).count()
    }

    /// When the pool last had something to do: `now` if a request runs or waits. Every worker says that of itself, so
    /// that none can hide what the others do.
    #[must_use]
    pub(crate) fn last_activity(self, pool: u16, now: Time) -> Time {
        let busy = |row: u16| {
            self.get(layout::head(pool, row)) != 0 || units_held(self.get(layout::held(pool, row))) != 0
        };
        if self.rows().any(busy) || self.is_claimed(pool) {
            return now;
        }
        let before = self.get(layout::pool(pool, PoolWord::Activity));
        let rows = self.rows().map(|row| self.get(layout::activity(pool, row)));
        Time(rows.fold(before, u64::max)).min(now)
    }

    /// Whether a request may be running on any unit, whoever claimed it.
    fn is_claimed(self, pool: u16) -> bool {
        let slots = self.get(layout::pool(pool, PoolWord::SlotsUsed)).min(SLOTS as u64) as u16;
        let busy = |unit: Unit| unit.is_running() || unit.state == UnitState::Offered;
        (0..slots).any(|slot| self.units_of(pool, slot).any(|at| busy(Unit::decode(self.get(Some(at))))))
    }

    /// When any worker last saw a slow request of the pool.
    pub(crate) fn slow_at(self, pool: u16) -> Option<Time> {
        let last = self.rows().map(|row| self.get(layout::slow(pool, row))).max();
        last.filter(|at| *at > 0).map(Time)
    }

    /// The slots whose process has an idle unit, each with how many of its units may be running a request.
    pub(crate) fn loads(self, pool: u16) -> impl Iterator<Item = (u16, usize)> {
        let slots = self.get(layout::pool(pool, PoolWord::SlotsUsed)).min(SLOTS as u64) as u16;
        (0..slots).filter_map(move |slot| {
            let own = self.incarnation(pool, slot);
            let units = self.units_of(pool, slot).map(|at| Unit::decode(self.get(Some(at))));
            let (mut idle, mut running) = (false, 0);
            for unit in units.filter(|unit| unit.incarnation == own) {
                idle |= unit.state == UnitState::Idle;
                running += usize::from(unit.is_running());
            }
            idle.then_some((slot, running))
        })
    }

    /// The units of a slot that were ever opened.
    pub(super) fn units_of(self, pool: u16, slot: u16) -> impl Iterator<Item = layout::UnitAt> {
        let header = self.get(layout::slot(pool, slot)) as u16;
        (0..header.min(THREADS as u16)).filter_map(move |thread| layout::unit(pool, slot, thread))
    }
}

/// What workers count. Of a row whose worker counts in another way, as one of the program before an upgrade may, nothing is
/// read.
impl Board<'_> {
    fn counter(self, row: u16, word: RowWord) -> Option<u64> {
        let known = self.get(layout::counting(row)) == layout::COUNTERS;
        known.then(|| self.get(layout::row(row, word)))
    }

    /// How many client connections the worker has.
    #[must_use]
    pub(crate) fn connections(self, row: u16) -> Option<u64> {
        self.counter(row, RowWord::Connections)
    }

    /// How many of them are tunnels.
    #[must_use]
    pub(crate) fn tunnels(self, row: u16) -> Option<u64> {
        self.counter(row, RowWord::Tunnels)
    }

    /// How many bytes wait in its memory for clients and servers that are slow.
    #[must_use]
    pub(crate) fn buffered(self, row: u16) -> Option<u64> {
        self.counter(row, RowWord::Buffered)
    }

    /// How many requests the worker has answered.
    #[must_use]
    pub(crate) fn requests(self, row: u16) -> Option<u64> {
        self.counter(row, RowWord::Requests)
    }

    /// Whether the worker accepts connections.
    #[must_use]
    pub(crate) fn accepting(self, row: u16) -> bool {
        self.counter(row, RowWord::Accepting).is_some_and(|accepting| accepting != 0)
    }

    /// The number of connections of the worker that accepts and has the fewest; `u64::MAX` if none accepts.
    #[must_use]
    pub(crate) fn least_connections(self) -> u64 {
        let accepting = self.rows().filter(|row| self.accepting(*row));
        accepting.filter_map(|row| self.connections(row)).min().unwrap_or(u64::MAX)
    }

    /// How many workers accept.
    #[must_use]
    pub(crate) fn accepting_workers(self) -> usize {
        self.rows().filter(|row| self.accepting(*row)).count()
    }

    /// The turn that the worker is running, `None` while it polls. A worker that hangs shows the same turn for long.
    #[must_use]
    pub(crate) fn turn(self, row: u16) -> Option<u64> {
        let word = self.counter(row, RowWord::Beat)?;
        (word & 1 == 1).then_some(word >> 1)
    }
}

#[cfg(test)]
pub(super) mod tests;
