//! How many of something there are at a time, over all workers: each worker has its own count of a key in words that only it
//! writes, and what counts is their sum. Nothing is lost when a worker dies: the master clears its words.
//!
//! Who wants to be counted is so *first* and looks at the sum *then*; if that is too much, it takes its count back. Of two that
//! come at once at least the second sees the first; it may be that both stand back.
//!
//! What a worker has itself it knows without the table, so that no key is lost where a set is full: others do not see it then,
//! and each counts for itself.

use super::table::WorkerTable;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Words of a set: a line of the cache.
pub(crate) const WAYS: usize = 8;

/// Bits of a count; the rest of its word is the tag.
const COUNT: u32 = 24;
const MOST: u64 = (1 << COUNT) - 1;

/// Which of so many sets a key has its words in.
#[must_use]
pub(crate) fn set(hash: u64, sets: usize) -> usize {
    ((hash >> 32).wrapping_mul(sets as u64) >> 32) as usize
}

fn tag(hash: u64) -> u64 {
    // Never 0, so that no count of a key looks like a free word.
    hash << COUNT | 1 << 63
}

fn count_in(words: &[AtomicU64], hash: u64) -> u64 {
    let found = words.iter().map(|word| word.load(SeqCst)).find(|word| word & !MOST == tag(hash));
    found.map_or(0, |word| word & MOST)
}

/// Hashes are spread already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |all, byte| all << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// What a worker has, and sees of others.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    own: HashMap<u64, u32, BuildHasherDefault<Same>>,
}

impl Counts {
    /// Counts one more of the key, if that makes no more than `most` over all workers.
    #[must_use]
    pub(crate) fn enter(&mut self, hash: u64, most: u32, table: WorkerTable<'_>) -> bool {
        let own = self.own.entry(hash).or_insert(0);
        *own = own.saturating_add(1);
        let now = *own;
        show(hash, now, table.counts(hash));
        let sum =
            table.others(hash).fold(u64::from(now), |sum, words| sum.saturating_add(count_in(words, hash)));
        let fits = sum <= u64::from(most);
        if !fits {
            self.leave(hash, table);
        }
        fits
    }

    /// One has gone.
    pub(crate) fn leave(&mut self, hash: u64, table: WorkerTable<'_>) {
        let Some(own) = self.own.get_mut(&hash) else { return };
        *own = own.saturating_sub(1);
        let now = *own;
        if now == 0 {
            self.own.remove(&hash);
        }
        show(hash, now, table.counts(hash));
    }

    /// How many this worker has of the key.
    #[cfg(test)]
    pub(crate) fn held(&self, hash: u64) -> u32 {
        self.own.get(&hash).copied().unwrap_or(0)
    }

    /// How many keys it has something of.
    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.own.len()
    }
}

/// Writes a count where others see it: its own word, or a free one.
fn show(hash: u64, count: u32, words: &[AtomicU64]) {
    let is = |wanted: u64| move |word: &&AtomicU64| word.load(SeqCst) & !MOST == wanted;
    let known = words.iter().find(is(tag(hash)));
    let value = if count == 0 { 0 } else { tag(hash) | u64::from(count).min(MOST) };
    let free = || words.iter().find(|word| word.load(SeqCst) & MOST == 0).filter(|_| count > 0);
    if let Some(word) = known.or_else(free) {
        word.store(value, SeqCst);
    }
}
