//! The table: the words in shared memory of all limits, of a fixed size. Pure: it sees memory as `&[AtomicU64]`.
//!
//! ```text
//!  master  the mark, how many sets of buckets there are, the key, rows in use; what workers that have left have counted
//!  own     an area for each worker's row: its counters, then sets of counts
//!  shared  sets of buckets, which every worker exchanges
//! ```
//!
//! The parts begin and end at multiples of [`ALIGNED`], so that each can be mapped by itself; pages cost memory once touched.
//!
//! # Buckets
//!
//! A set is a line of the cache with eight words `{tag 20 | time 44}`; a keyed hash of limit and key says which set and which
//! tag, so that nobody outside knows who shares his. A word is free once its bucket is full again. Where none is free, the one
//! that is closest to being full leaves: what is given away by that is less than anything else in the set could. So the newest,
//! who has asked once, never frees somebody who has asked for too much: he takes the place of another who has asked once.
//! Nothing is locked: each word is exchanged by itself, and says all that there is to know.
//!
//! # What a liar can reach
//!
//! | it writes | what comes of it |
//! |---|---|
//! | a time in a bucket | a client is refused for as long as its bucket takes to fill, or has a full one |
//! | tags that nobody has | sets have fewer words for others, for as long as the slowest bucket takes to fill |
//! | its own counts | others take less of what is counted, until it has ended |
//! | its counters | `status` shows them |

use super::counts::{self, WAYS};
use super::hash;
use super::rate::{self, BITS, Bucket, LONGEST, MASK, Outcome};
use crate::timer::Time;
use std::ops::Range;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, Release, SeqCst},
};

/// Rows: as many as there are on the board.
pub(crate) const ROWS: usize = 64;

/// Words in the largest page that Linux has (64 KiB, on arm64).
const ALIGNED: usize = 64 * 1024 / size_of::<u64>();
/// The master's words.
const MARK: usize = 0;
const SETS: usize = 1;
const KEY: usize = 2;
const SLOWEST: usize = 4;
const ROWS_USED: usize = 5;
const LEFT: usize = 8;
const FIRST_AREA: usize = ALIGNED;
/// A worker's area: its counters, a line of the cache, then its counts.
const AREA: usize = ALIGNED;
const COUNTERS: usize = 8;
const COUNT_SETS: usize = (AREA - COUNTERS) / WAYS;
const FIRST_SHARED: usize = FIRST_AREA + ROWS * AREA;

/// Bytes that buckets may have.
pub(crate) const SMALLEST: u64 = 64 * 1024;
pub(crate) const LARGEST: u64 = 4 << 30;

/// `{magic 32 | layout 32}`: another layout whenever a word means something else, or is elsewhere.
const LAID_OUT: u64 = 0x6c69_6d74 << 32 | 1;

/// How often others may come between; then what was seen last is as good.
const TRIES: u32 = 64;

/// What a worker counts, for `status`.
#[derive(Clone, Copy)]
enum Counter {
    /// Words that were free from the beginning.
    Taken = 0,
    /// Words whose bucket was not full when another took its place.
    Evicted = 1,
}

/// How the table is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Words of buckets.
    pub(crate) size: u64,
    /// Of these how many were ever used.
    pub(crate) used: u64,
    /// How many left before they were full.
    pub(crate) evicted: u64,
}

/// Words of a table whose buckets take so many bytes.
#[must_use]
pub(crate) fn words(bytes: u64) -> usize {
    let bytes = bytes.clamp(SMALLEST, LARGEST);
    FIRST_SHARED + ((bytes / size_of::<u64>() as u64) as usize).next_multiple_of(ALIGNED)
}

/// Which words only the worker of that row writes.
#[must_use]
pub(crate) fn area(row: u16) -> Option<Range<usize>> {
    let start = FIRST_AREA + usize::from(row) * AREA;
    (usize::from(row) < ROWS).then_some(start..start + AREA)
}

/// Which words every worker exchanges, of so many in all.
#[must_use]
pub(crate) fn shared(words: usize) -> Range<usize> {
    FIRST_SHARED..words.max(FIRST_SHARED)
}

/// The words, to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<'a>(&'a [AtomicU64]);

impl<'a> Table<'a> {
    /// The table in these words.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(words)
    }

    /// Whether it is laid out as this program does it.
    #[must_use]
    pub(crate) fn is_ours(self) -> bool {
        let sets = self.0.len().saturating_sub(FIRST_SHARED) / WAYS;
        self.get(MARK) == LAID_OUT && sets > 0 && self.get(SETS) == sets as u64
    }

    fn get(self, at: usize) -> u64 {
        self.0.get(at).map_or(0, |word| word.load(SeqCst))
    }

    fn rows(self) -> usize {
        self.get(ROWS_USED).min(ROWS as u64) as usize
    }

    /// How full it is.
    #[must_use]
    pub(crate) fn usage(self) -> Usage {
        let of = |counter: Counter| {
            let rows = (0..self.rows()).map(|row| self.get(FIRST_AREA + row * AREA + counter as usize));
            rows.fold(self.get(LEFT + counter as usize), u64::wrapping_add)
        };
        let size = (self.0.len().saturating_sub(FIRST_SHARED) / WAYS * WAYS) as u64;
        Usage { size, used: of(Counter::Taken).min(size), evicted: of(Counter::Evicted) }
    }
}

/// The table as a worker has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerTable<'a> {
    table: Table<'a>,
    row: usize,
    key: [u64; 2],
    own: &'a [AtomicU64],
    buckets: &'a [AtomicU64],
}

/// Where a bucket is, or may be.
struct Seen {
    at: usize,
    /// The word there.
    word: u64,
    /// It is of this key.
    is_own: bool,
    /// How far it is from being full.
    debt: u64,
}

impl<'a> WorkerTable<'a> {
    /// For the worker of that row. `own` are the words of [`area`], `buckets` those of [`shared`], in memory that it may write.
    #[must_use]
    pub(crate) fn new(
        words: &'a [AtomicU64],
        row: u16,
        own: &'a [AtomicU64],
        buckets: &'a [AtomicU64],
    ) -> Self {
        let table = Table::new(words);
        Self { table, row: usize::from(row), key: [table.get(KEY), table.get(KEY + 1)], own, buckets }
    }

    /// The keyed hash of a key of a limit.
    #[must_use]
    pub(crate) fn hash(self, seed: u64, kind: u8, key: &[u8]) -> u64 {
        hash::of(self.key, seed.wrapping_add(u64::from(kind)), key)
    }

    fn tally(self, counter: Counter) {
        if let Some(word) = self.own.get(counter as usize) {
            word.store(word.load(Relaxed).wrapping_add(1), Release);
        }
    }

    fn set(self, hash: u64) -> &'a [AtomicU64] {
        let first = counts::set(hash, self.buckets.len() / WAYS) * WAYS;
        self.buckets.get(first..first + WAYS).unwrap_or_default()
    }

    /// Takes a token for a request.
    pub(crate) fn take(self, hash: u64, bucket: Bucket, now: Time) -> Outcome {
        let set = self.set(hash);
        let now = rate::ticks(now);
        let mut outcome = bucket.take(0).0;
        for _ in 0..TRIES {
            let Some(seen) = self.look(set, hash, now) else { return outcome };
            let (what, debt) = bucket.take(if seen.is_own { seen.debt } else { 0 });
            outcome = what;
            let is_refused = matches!(outcome, Outcome::Refused { .. });
            if is_refused && debt == seen.debt {
                return outcome;
            }
            let word = tag(hash) | now.wrapping_add(debt) & MASK;
            let Some(place) = set.get(seen.at) else { return outcome };
            if place.compare_exchange(seen.word, word.max(1), Relaxed, Relaxed).is_ok() {
                if seen.word == 0 {
                    self.tally(Counter::Taken);
                } else if !seen.is_own && seen.debt > 0 {
                    self.tally(Counter::Evicted);
                }
                return outcome;
            }
        }
        outcome
    }

    /// What would become of a request, which takes nothing.
    #[must_use]
    pub(crate) fn peek(self, hash: u64, bucket: Bucket, now: Time) -> Outcome {
        let seen = self.look(self.set(hash), hash, rate::ticks(now)).filter(|seen| seen.is_own);
        bucket.take(seen.map_or(0, |seen| seen.debt)).0
    }

    /// The bucket of a key; else the place for it: the one that is closest to being full, a free one before others.
    fn look(self, set: &[AtomicU64], hash: u64, now: u64) -> Option<Seen> {
        let (longest, slowest) = (rate::length(LONGEST), self.table.get(SLOWEST));
        let mut place: Option<Seen> = None;
        for (at, word) in set.iter().enumerate() {
            let word = word.load(Relaxed);
            let is_own = word & !MASK == tag(hash) && word != 0;
            let debt = if word == 0 { 0 } else { rate::debt(word & MASK, now, longest) };
            if is_own {
                return Some(Seen { at, word, is_own, debt });
            }
            // A debt that no limit has is none.
            let debt = if debt > slowest { 0 } else { debt };
            if place.as_ref().is_none_or(|best| (debt, word) < (best.debt, best.word)) {
                place = Some(Seen { at, word, is_own, debt });
            }
        }
        place
    }

    /// The words in which this worker counts that key.
    pub(super) fn counts(self, hash: u64) -> &'a [AtomicU64] {
        self.own.get(place_of_counts(hash)).unwrap_or_default()
    }

    /// Those in which others do.
    pub(super) fn others(self, hash: u64) -> impl Iterator<Item = &'a [AtomicU64]> {
        let Range { start, end } = place_of_counts(hash);
        let rows = (0..self.table.rows()).filter(move |row| *row != self.row);
        rows.filter_map(move |row| {
            let area = FIRST_AREA + row * AREA;
            self.table.0.get(area + start..area + end)
        })
    }
}

fn place_of_counts(hash: u64) -> Range<usize> {
    let first = COUNTERS + counts::set(hash, COUNT_SETS) * WAYS;
    first..first + WAYS
}

fn tag(hash: u64) -> u64 {
    hash << BITS
}

/// The table as the master has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MasterTable<'a>(Table<'a>);

impl<'a> MasterTable<'a> {
    /// The table in these words, all of which can be written.
    #[must_use]
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        Self(Table::new(words))
    }

    fn set(self, at: usize, value: u64) {
        if let Some(word) = (self.0).0.get(at) {
            word.store(value, SeqCst);
        }
    }

    /// The words are new: zeros. `key` is what nobody can guess.
    pub(crate) fn begin(self, key: [u64; 2]) {
        let [first, second] = key;
        self.set(KEY, first);
        self.set(KEY + 1, second);
        self.set(SETS, ((self.0).0.len().saturating_sub(FIRST_SHARED) / WAYS) as u64);
        self.set(MARK, LAID_OUT);
    }

    /// A configuration comes into use, and none of its buckets takes longer to fill.
    pub(crate) fn slowest(self, full: Option<u64>) {
        self.set(SLOWEST, full.unwrap_or(0).max(self.0.get(SLOWEST)));
    }

    /// A worker is about to be forked for that row.
    pub(crate) fn seat(self, row: u16) {
        if self.0.get(ROWS_USED) <= u64::from(row) {
            self.set(ROWS_USED, u64::from(row) + 1);
        }
    }

    /// The worker of that row was reaped, and its words will be cleared: what it has counted is kept.
    pub(crate) fn fold(self, row: u16) {
        let Some(area) = area(row) else { return };
        for counter in [Counter::Taken, Counter::Evicted] {
            let own = self.0.get(area.start + counter as usize);
            self.set(LEFT + counter as usize, self.0.get(LEFT + counter as usize).wrapping_add(own));
        }
    }

    /// How full it is.
    #[must_use]
    pub(crate) fn usage(self) -> Usage {
        self.0.usage()
    }
}
