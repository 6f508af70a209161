//! The words of the store as one process sees them, and the bounds that hold for each access.

use super::layout::{self, Layout, ROWS, Sizes};
use crate::cache::hash::Secret;
use crate::cache::key::Key;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

/// Under what something is kept: a hash, with a secret that nobody outside knows, and the text that it is of, which is
/// compared as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Of the text.
    pub hash: u128,
    /// All of it.
    pub text: &'a [u8],
}

impl<'a> From<&'a Key> for Named<'a> {
    fn from(key: &'a Key) -> Self {
        Self { hash: key.hash(), text: key.text() }
    }
}

/// The words. What is not there reads as zero and takes nothing.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub(super) layout: Layout,
    all: &'a [AtomicU64],
    shared: &'a [AtomicU64],
    own: &'a [AtomicU64],
    pub(super) row: u16,
    pub(super) seed: u64,
    /// Bytes that files may take.
    pub(super) disk: u64,
}

/// What a worker counts in its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Responses from memory or disk.
    Hits = 0,
    /// Looked for, and not there.
    Misses = 1,
    /// Put into memory or on disk.
    Stored = 2,
    /// Removed to make room, in the index or on disk; a chunk that begins anew counts as one.
    Evicted = 3,
    /// Removed by what a request has changed.
    Invalidated = 4,
    /// Objects that were not whole when they were read, or are of another key.
    Torn = 5,
    /// Bytes of files that have been added, and removed: more of the latter is a negative number.
    Files = 6,
    /// Bytes of files that are being written.
    Pending = 7,
}

/// Those that a status shows, and that go into a sum when a worker was reaped.
pub(super) const COUNTS: [Count; 7] = [
    Count::Hits,
    Count::Misses,
    Count::Stored,
    Count::Evicted,
    Count::Invalidated,
    Count::Torn,
    Count::Files,
];

/// In the row of a worker: the chunks that it fills.
const HELD: usize = 16;

impl<'a> View<'a> {
    /// For the master, or a test: all can be written.
    pub(super) fn whole(words: &'a [AtomicU64], sizes: Sizes) -> Self {
        let layout = Layout::of(sizes);
        let shared = words.get(layout.shared()).unwrap_or_default();
        Self::of(sizes, words, shared, &[], u16::MAX)
    }

    pub(super) fn of(
        sizes: Sizes,
        all: &'a [AtomicU64],
        shared: &'a [AtomicU64],
        own: &'a [AtomicU64],
        row: u16,
    ) -> Self {
        let mut view = Self { layout: Layout::of(sizes), all, shared, own, row, seed: 0, disk: sizes.disk };
        view.seed = view.read(layout::SECRET) ^ view.read(layout::SECRET + 1).rotate_left(32);
        view
    }

    /// What keys are hashed with.
    #[must_use]
    pub fn secret(&self) -> Secret {
        Secret([self.read(layout::SECRET), self.read(layout::SECRET + 1)])
    }

    /// A word of the master's or of a row.
    pub(super) fn read(&self, at: usize) -> u64 {
        self.all.get(at).map_or(0, |word| word.load(SeqCst))
    }

    /// The master's.
    pub(super) fn all(&self) -> &'a [AtomicU64] {
        self.all
    }

    /// One of those that all exchange.
    pub(super) fn shared(&self, at: usize) -> Option<&'a AtomicU64> {
        self.shared.get(at)
    }

    pub(super) fn load(&self, at: usize) -> u64 {
        self.shared(at).map_or(0, |word| word.load(SeqCst))
    }

    /// Whether the word was as seen, and is the new one now.
    pub(super) fn exchange(&self, at: usize, seen: u64, new: u64) -> bool {
        self.shared(at).is_some_and(|word| word.compare_exchange(seen, new, SeqCst, SeqCst).is_ok())
    }

    /// The words of a chunk.
    pub(super) fn chunk(&self, chunk: usize) -> &'a [AtomicU64] {
        self.layout.words_of(chunk).and_then(|words| self.shared.get(words)).unwrap_or_default()
    }

    /// Adds to a count of the own row; only this process writes there, by whichever of its threads.
    pub fn count(&self, what: Count, by: u64) {
        if let Some(word) = self.own.get(what as usize) {
            word.fetch_add(by, Relaxed);
        }
    }

    /// Rows that were ever given to a worker.
    pub(super) fn rows(&self) -> impl Iterator<Item = u16> {
        0..self.read(layout::ROWS_USED).min(ROWS as u64) as u16
    }

    /// The sum of all rows, with those of workers that were reaped.
    pub fn sum(&self, what: Count) -> u64 {
        let of_row = |row| Layout::area(row).map_or(0, |area| self.read(area.start + what as usize));
        let past = self.read(layout::PAST + what as usize);
        self.rows().map(of_row).fold(past, u64::wrapping_add)
    }

    /// The chunk that the row fills, of those with objects of one kind of length.
    pub(super) fn held(&self, row: u16, which: usize) -> Option<usize> {
        let word = self.read(Layout::area(row)?.start + HELD + which);
        usize::try_from(word).ok()?.checked_sub(1)
    }

    /// That it is filled by this worker from now on.
    pub(super) fn hold(&self, which: usize, chunk: usize) {
        if let Some(word) = self.own.get(HELD + which) {
            word.store(chunk as u64 + 1, SeqCst);
        }
    }
}
