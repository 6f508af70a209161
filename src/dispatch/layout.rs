//! Where each word of the board is, and who writes it. Every function checks its bounds.
//!
//! ```text
//!  master  the mark, high-water marks; then of each pool its own words and the headers of its slots
//!  own     an area for each worker's row: room for its counters, then of each pool its head, its activity and what it
//!          holds
//!  units   of each pool, slot and thread
//! ```
//!
//! The areas begin and end at multiples of [`ALIGNED`], so that each can be mapped by itself: a worker may write its own
//! area and the units. Pages cost memory once touched, not before; what is used together lies together: an app of one
//! process touches one page of the master's, one of its units, and the first page of each worker's area.

use std::ops::Range;

/// Rows: living workers, those that drain included.
pub const WORKERS: usize = 64;
/// Pools that may ever exist while the master lives.
pub const POOLS: usize = 512;
/// Processes of a pool, those that drain included.
pub const SLOTS: usize = 128;
/// Units of a process: threads, or requests that one event loop runs beside one another.
pub const THREADS: usize = 1024;
/// In the place of a port: all units of the process share one stream to each worker.
pub(crate) const SHARED: u16 = 1;

/// Words in the largest page that Linux has (64 KiB, on arm64): what is mapped by itself is a multiple of it.
const ALIGNED: usize = 64 * 1024 / size_of::<u64>();
/// The master's words: one page (of 4 KiB) that is not a pool's, then the pools.
const FIRST_POOL: usize = 512;
/// By which layout the worker of each row counts, from here on.
const COUNTING: usize = 64;
/// A pool's own words, then its slots.
const POOL: usize = SLOT_WORDS + SLOTS;
const SLOT_WORDS: usize = 8;
const FIRST_AREA: usize = (FIRST_POOL + POOLS * POOL).next_multiple_of(ALIGNED);
/// A worker's area: its own words, then four of each pool.
const AREA: usize = (ROW_WORDS + POOLS * POOL_WORDS).next_multiple_of(ALIGNED);
/// Room for counters, however they are laid out: a line of the cache.
const ROW_WORDS: usize = 8;
const POOL_WORDS: usize = 4;
const FIRST_UNIT: usize = FIRST_AREA + WORKERS * AREA;

/// Words of the whole board; zeroed. Only touched pages cost memory.
pub const WORDS: usize = FIRST_UNIT + POOLS * SLOTS * THREADS;

/// `{magic 32 | layout 32}` in the first word.
pub(super) const MARK: MasterAt = MasterAt(0);
const MAGIC: u64 = 0x6861_7463;
/// Number of this layout: the next one whenever a word means something else, or is elsewhere, but for counters; and for those of the roster, which lies behind them in the same memory.
const LAYOUT: u64 = 5;
/// Number of the layout of counters: the next one whenever one of [`RowWord`] means something else, or is elsewhere. Each row
/// has its own, so that workers of the program before an upgrade may go on to count as they do. 0: nobody counts there.
pub(super) const COUNTERS: u64 = 1;

/// What tells a board of this layout; the numbers of pools, slots, threads and rows are part of it.
pub(super) const fn mark() -> u64 {
    let sizes = (POOLS as u64) << 20 ^ (SLOTS as u64) << 12 ^ (THREADS as u64) << 6 ^ WORKERS as u64;
    MAGIC << 32 | (LAYOUT << 24 ^ sizes) & 0xffff_ffff
}

/// One past the highest pool that the master has opened or published.
pub(super) const POOLS_USED: MasterAt = MasterAt(1);
/// One past the highest row that was ever given to a worker.
pub(super) const ROWS_USED: MasterAt = MasterAt(2);

/// Address of a word.
pub(super) trait Address: Copy {
    /// Which of the board's words it is.
    fn index(self) -> usize;
}

/// Address of a word that only the master writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct MasterAt(usize);

/// Address of a word that only the worker of its row writes; the master, once that worker was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnAt(usize);

/// Address of a unit's word, which everybody may exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct UnitAt(usize);

impl Address for MasterAt {
    fn index(self) -> usize {
        self.0
    }
}

impl Address for OwnAt {
    fn index(self) -> usize {
        self.0
    }
}

impl Address for UnitAt {
    fn index(self) -> usize {
        self.0
    }
}

/// What [`PoolWord::State`] is of a pool that is stopped by hand: as if it had failed, without an end.
pub(super) const STOPPED: u64 = u64::MAX;

/// The words of a pool's own.
#[derive(Clone, Copy)]
pub(super) enum PoolWord {
    /// `PoolState`, encoded.
    State = 0,
    /// Last activity of workers that were reaped.
    Activity = 1,
    /// One past the highest slot that was ever opened.
    SlotsUsed = 2,
}

/// The counters of a worker's row: see [`COUNTERS`].
#[derive(Clone, Copy)]
pub(super) enum RowWord {
    Connections = 0,
    Requests = 1,
    Accepting = 2,
    /// `turn << 1 | busy`.
    Beat = 3,
    Tunnels = 4,
    Buffered = 5,
}

/// The words that a worker has for a pool.
#[derive(Clone, Copy)]
enum ShareWord {
    Head = 0,
    Activity = 1,
    Held = 2,
    Slow = 3,
}

fn base(pool: u16) -> Option<usize> {
    (usize::from(pool) < POOLS).then(|| FIRST_POOL + usize::from(pool) * POOL)
}

pub(super) fn pool(pool: u16, word: PoolWord) -> Option<MasterAt> {
    Some(MasterAt(base(pool)? + word as usize))
}

/// `{incarnation 32 | port 16 | threads 16}` of a slot: which process its units belong to, where that is connected to if it is
/// by a port ([`SHARED`]: by its socket, see there), and how many units are in use.
pub(super) fn slot(pool: u16, slot: u16) -> Option<MasterAt> {
    (usize::from(slot) < SLOTS).then_some(MasterAt(base(pool)? + SLOT_WORDS + usize::from(slot)))
}

/// By which layout the worker of that row counts: a number as [`COUNTERS`].
pub(super) fn counting(row: u16) -> Option<MasterAt> {
    (usize::from(row) < WORKERS).then(|| MasterAt(COUNTING + usize::from(row)))
}

pub(super) fn row(row: u16, word: RowWord) -> Option<OwnAt> {
    (usize::from(row) < WORKERS).then(|| OwnAt(FIRST_AREA + usize::from(row) * AREA + word as usize))
}

fn own(pool: u16, row: u16, word: ShareWord) -> Option<OwnAt> {
    (usize::from(row) < WORKERS && usize::from(pool) < POOLS).then(|| {
        let area = FIRST_AREA + usize::from(row) * AREA;
        OwnAt(area + ROW_WORDS + usize::from(pool) * POOL_WORDS + word as usize)
    })
}

/// Arrival of the oldest request that waits in that worker for the pool; 0: none does.
pub(super) fn head(pool: u16, row: u16) -> Option<OwnAt> {
    own(pool, row, ShareWord::Head)
}

/// When that worker last had something to do with the pool.
pub(super) fn activity(pool: u16, row: u16) -> Option<OwnAt> {
    own(pool, row, ShareWord::Activity)
}

/// `{times 48 | units 16}`: how often that worker has set out to claim units of the pool, and how many it has.
pub(super) fn held(pool: u16, row: u16) -> Option<OwnAt> {
    own(pool, row, ShareWord::Held)
}

/// When that worker last saw a slow request of the pool; 0: never. Programs before an upgrade may leave it so.
pub(super) fn slow(pool: u16, row: u16) -> Option<OwnAt> {
    own(pool, row, ShareWord::Slow)
}

pub(super) fn unit(pool: u16, slot: u16, thread: u16) -> Option<UnitAt> {
    let exists = usize::from(pool) < POOLS && usize::from(slot) < SLOTS && usize::from(thread) < THREADS;
    let slots = usize::from(pool) * SLOTS + usize::from(slot);
    exists.then(|| UnitAt(FIRST_UNIT + slots * THREADS + usize::from(thread)))
}

/// The words that only the worker of that row writes.
pub(super) fn area(row: u16) -> Option<Range<usize>> {
    (usize::from(row) < WORKERS).then(|| {
        let start = FIRST_AREA + usize::from(row) * AREA;
        start..start + AREA
    })
}

/// The words of all units.
pub(super) const fn units() -> Range<usize> {
    FIRST_UNIT..WORDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Words in a page of 4 KiB.
    const PAGE: usize = 512;

    #[test]
    fn no_two_words_share_a_place_and_all_are_where_their_writer_may_write() {
        let mut seen = HashSet::new();
        let mut take = |at: usize, place: Range<usize>| {
            assert!(seen.insert(at) && place.contains(&at), "{at} {place:?}");
        };
        let masters = 0..FIRST_AREA;
        [MARK, POOLS_USED, ROWS_USED].into_iter().for_each(|at| take(at.index(), masters.clone()));
        for row in 0..WORKERS as u16 {
            take(counting(row).unwrap().index(), masters.clone());
            for word in [
                RowWord::Connections,
                RowWord::Requests,
                RowWord::Accepting,
                RowWord::Beat,
                RowWord::Tunnels,
                RowWord::Buffered,
            ] {
                take(super::row(row, word).unwrap().index(), area(row).unwrap());
            }
        }
        for pool in [0, 1, POOLS as u16 - 1] {
            for word in [PoolWord::State, PoolWord::Activity, PoolWord::SlotsUsed] {
                take(super::pool(pool, word).unwrap().index(), masters.clone());
            }
            for row in 0..WORKERS as u16 {
                for place in [head, activity, held, slow] {
                    take(place(pool, row).unwrap().index(), area(row).unwrap());
                }
            }
            for slot in 0..SLOTS as u16 {
                take(super::slot(pool, slot).unwrap().index(), masters.clone());
                for thread in 0..THREADS as u16 {
                    take(unit(pool, slot, thread).unwrap().index(), units());
                }
            }
        }
        let last = unit(POOLS as u16 - 1, SLOTS as u16 - 1, THREADS as u16 - 1).unwrap();
        assert_eq!(last.index(), WORDS - 1);
    }

    #[test]
    fn what_one_writer_has_can_be_mapped_by_itself() {
        let mut end = FIRST_AREA;
        for row in 0..WORKERS as u16 {
            let area = area(row).unwrap();
            assert_eq!((area.start, area.start % ALIGNED, area.end % ALIGNED), (end, 0, 0));
            end = area.end;
        }
        assert_eq!((units().start, units().start % ALIGNED, units().end % ALIGNED), (end, 0, 0));
    }

    #[test]
    fn an_app_of_one_process_touches_few_pages() {
        let page = |at: usize| at / PAGE;
        let masters = [pool(1, PoolWord::State), slot(1, 0), slot(1, SLOTS as u16 - 1)]
            .map(|at| page(at.unwrap().index()));
        assert_eq!(HashSet::from(masters).len(), 1);
        let units = [unit(1, 0, 0), unit(1, 0, PAGE as u16 - 1)].map(|at| page(at.unwrap().index()));
        assert_eq!(HashSet::from(units).len(), 1);
        // Of each worker the first page, up to so many apps.
        let own = [row(3, RowWord::Beat), head(1, 3), held(125, 3)].map(|at| page(at.unwrap().index()));
        assert_eq!(HashSet::from(own).len(), 1);
    }

    #[test]
    fn what_is_outside_has_no_place() {
        let (pools, slots, threads, workers) = (POOLS as u16, SLOTS as u16, THREADS as u16, WORKERS as u16);
        assert_eq!(
            pool(pools, PoolWord::State).or(slot(pools, 0)).or(slot(0, slots)).or(counting(workers)),
            None
        );
        assert_eq!(head(pools, 0).or(head(0, workers)).or(row(workers, RowWord::Beat)), None);
        assert_eq!(unit(pools, 0, 0).or(unit(0, slots, 0)).or(unit(0, 0, threads)), None);
        assert_eq!((unit(0, u16::MAX, u16::MAX), area(workers)), (None, None));
    }
}
