//! Where each word of the board is. Pages cost memory once touched, so what is used together lies together: a pool of
//! one process touches two pages. Every function checks its bounds.

use super::board::{POOLS, SLOTS, THREADS, WORKERS};

/// Words in a page.
const PAGE: usize = 512;
/// Words of a worker's row: a cache line, since it alone writes there.
const ROW: usize = 8;
/// First page: the high-water marks.
const ROWS: usize = PAGE;
const FIRST_POOL: usize = ROWS + WORKERS * ROW;
/// A pool: a page of its own words, heads and slots; then the units.
const POOL: usize = PAGE + SLOTS * THREADS;
const HEADS: usize = 64;
const SLOT_WORDS: usize = HEADS + WORKERS;

/// Words of the whole board.
pub(super) const WORDS: usize = FIRST_POOL + POOLS * POOL;

/// `{magic 32 | layout 32}` in the first word.
pub(super) const MARK: usize = 0;
const MAGIC: u64 = 0x6861_7463;
/// Number of this layout: another one whenever a word means something else, or is elsewhere.
const LAYOUT: u64 = 1;

/// What tells a board of this layout; the numbers of pools, slots, threads and rows are part of it.
pub(super) const fn mark() -> u64 {
    let sizes = (POOLS as u64) << 20 ^ (SLOTS as u64) << 12 ^ (THREADS as u64) << 6 ^ WORKERS as u64;
    MAGIC << 32 | (LAYOUT << 24 ^ sizes) & 0xffff_ffff
}

/// One past the highest pool that was ever opened or waited for.
pub(super) const POOLS_USED: usize = 1;
/// One past the highest row that ever published a head.
pub(super) const ROWS_USED: usize = 2;

/// The words of a pool's own.
#[derive(Clone, Copy)]
pub(super) enum Pool {
    /// `PoolState`, encoded.
    State = 0,
    /// Last time a unit was freed.
    Activity = 1,
    /// One past the highest slot that was ever opened.
    SlotsUsed = 2,
}

/// The words of a worker's row.
#[derive(Clone, Copy)]
pub(super) enum Row {
    Connections = 0,
    Requests = 1,
    Accepting = 2,
    /// `turn << 1 | busy`.
    Beat = 3,
}

fn base(pool: u16) -> Option<usize> {
    (usize::from(pool) < POOLS).then(|| FIRST_POOL + usize::from(pool) * POOL)
}

pub(super) fn pool(pool: u16, word: Pool) -> Option<usize> {
    Some(base(pool)? + word as usize)
}

pub(super) fn head(pool: u16, row: u16) -> Option<usize> {
    (usize::from(row) < WORKERS).then_some(base(pool)? + HEADS + usize::from(row))
}

/// `{generation 32 | threads 32}` of a slot: how many of its units are in use.
pub(super) fn slot(pool: u16, slot: u16) -> Option<usize> {
    (usize::from(slot) < SLOTS).then_some(base(pool)? + SLOT_WORDS + usize::from(slot))
}

pub(super) fn unit(pool: u16, slot: u16, thread: u16) -> Option<usize> {
    (usize::from(slot) < SLOTS && usize::from(thread) < THREADS)
        .then_some(base(pool)? + PAGE + usize::from(slot) * THREADS + usize::from(thread))
}

pub(super) fn row(row: u16, word: Row) -> Option<usize> {
    (usize::from(row) < WORKERS).then(|| ROWS + usize::from(row) * ROW + word as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_words_share_a_place_and_all_are_inside() {
        let mut seen = HashSet::from([MARK, POOLS_USED, ROWS_USED]);
        let mut take = |at: Option<usize>| assert!(seen.insert(at.unwrap()) && at.unwrap() < WORDS);
        for row in 0..WORKERS as u16 {
            for word in [Row::Connections, Row::Requests, Row::Accepting, Row::Beat] {
                take(super::row(row, word));
            }
        }
        for pool in [0, 1, POOLS as u16 - 1] {
            for word in [Pool::State, Pool::Activity, Pool::SlotsUsed] {
                take(super::pool(pool, word));
            }
            (0..WORKERS as u16).for_each(|row| take(head(pool, row)));
            for slot in 0..SLOTS as u16 {
                take(super::slot(pool, slot));
                (0..THREADS as u16).for_each(|thread| take(unit(pool, slot, thread)));
            }
        }
        assert_eq!(unit(POOLS as u16 - 1, SLOTS as u16 - 1, THREADS as u16 - 1), Some(WORDS - 1));
    }

    #[test]
    fn a_pool_of_one_process_touches_two_pages() {
        let places = [
            pool(7, Pool::State),
            head(7, WORKERS as u16 - 1),
            slot(7, SLOTS as u16 - 1),
            unit(7, 0, 0),
            unit(7, 0, THREADS as u16 - 1),
        ];
        let pages: HashSet<_> = places.iter().map(|at| at.unwrap() / PAGE).collect();
        assert_eq!(pages.len(), 2);
    }

    #[test]
    fn what_is_outside_has_no_place() {
        let (pools, slots, threads, workers) = (POOLS as u16, SLOTS as u16, THREADS as u16, WORKERS as u16);
        assert_eq!(
            pool(pools, Pool::State).or(head(pools, 0)).or(slot(pools, 0)).or(unit(pools, 0, 0)),
            None
        );
        assert_eq!(head(0, workers).or(row(workers, Row::Beat)).or(slot(0, slots)), None);
        assert_eq!(unit(0, slots, 0).or(unit(0, 0, threads)).or(unit(0, u16::MAX, u16::MAX)), None);
    }
}
