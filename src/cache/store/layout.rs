//! Where each word of the store is, and who writes it. What the sizes say is known to every process from the configuration
//! that it was started with: nobody reads from the memory where the memory is.
//!
//! ```text
//!  master  the mark, rows in use, the secret, what workers that were reaped have counted; the ring of bans
//!  own     an area for each worker's row: what it counts, the chunks that it fills
//!  shared  hands, claims, epochs, chunks, the index: words that all workers exchange; then the arena, the chunks themselves
//! ```
//!
//! The parts begin and end at multiples of [`ALIGNED`], so that each can be mapped by itself; pages cost memory once touched.

use std::ops::Range;

/// Rows: as many as there are on the board.
pub const ROWS: usize = 64;
/// Bans that are remembered one by one: what is older than all of them is taken for banned.
pub(super) const BANS: usize = 256;
/// Fetches that may be told of at a time, so many in a set.
pub(super) const CLAIM_SETS: usize = 1024;
pub(super) const WAYS: usize = 8;
/// By which fetches learn that what they fetch has been invalidated meanwhile.
pub(super) const EPOCHS: usize = 4096;
/// Chunks that a worker fills at a time: one with small objects, one with large ones.
pub(super) const OPEN: usize = 2;
/// Objects begin at multiples of so many words: a line of the CPU's cache.
pub(super) const LINE: usize = 8;

/// Words in the largest page that Linux has (64 KiB, on arm64).
const ALIGNED: usize = 64 * 1024 / WORD;
pub(super) const WORD: usize = size_of::<u64>();

pub(super) const MARK: usize = 0;
pub(super) const ROWS_USED: usize = 1;
pub(super) const SECRET: usize = 2;
/// Which life of the server made the memory: files of another one are read whole before they are believed.
pub(super) const LIFE: usize = 4;
pub(super) const NEXT_BAN: usize = 5;
/// What rows counted whose workers were reaped.
pub(super) const PAST: usize = 16;
const FIRST_BAN: usize = 64;
/// A ban: its number, what it names, and a text.
pub(super) const BAN: usize = 128;
const FIRST_AREA: usize = (FIRST_BAN + BANS * BAN).next_multiple_of(ALIGNED);
const AREA: usize = ALIGNED;
const FIRST_SHARED: usize = FIRST_AREA + ROWS * AREA;

/// Of the shared words: the hand that gives out chunks, that which looks for files to be removed, who tidies up, and whether
/// the files of before have been entered.
pub(super) const HAND: usize = 0;
pub(super) const DISK_HAND: usize = 1;
pub(super) const UPKEEP: usize = 2;
pub(super) const ENTERED: usize = 3;
const FIRST_CLAIM: usize = 64;
const FIRST_EPOCH: usize = FIRST_CLAIM + CLAIM_SETS * WAYS * 2;
const FIRST_CHUNK: usize = FIRST_EPOCH + EPOCHS;

/// Another one whenever words move or change their meaning.
const LAYOUT: u64 = 1;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// The least memory of a store.
pub(super) const LEAST: u64 = MIB;
/// The most: an object is found by the number of its chunk.
pub(super) const MOST: u64 = MIB * MIB;

/// What the configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sizes {
    /// Bytes of objects in memory.
    pub memory: u64,
    /// Bytes of files; 0: there are none.
    pub disk: u64,
}

/// Where the words are for certain sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Words of a chunk, and how many chunks there are.
    pub(super) chunk: usize,
    pub(super) chunks: usize,
    /// The index has two to the power of this many sets.
    pub(super) sets: u32,
    /// First word of the index and of the arena, of the shared ones.
    index: usize,
    arena: usize,
    /// Words of all.
    words: usize,
}

impl Layout {
    /// Where they are. Sizes that are out of range are brought into it.
    #[must_use]
    pub fn of(sizes: Sizes) -> Self {
        let memory = sizes.memory.clamp(LEAST, MOST);
        // The larger, the larger is the largest object and the coarser what is forgotten at a time.
        let chunk = (memory / 64).next_power_of_two().clamp(64 * KIB, 16 * MIB);
        let chunks = (memory / chunk) as usize;
        let entries = memory / KIB + sizes.disk.min(1 << 44) / (16 * KIB);
        // Each entry of a file has the bits of its name that its set does not say: there must be so many sets.
        let sets = (entries / WAYS as u64).next_power_of_two().ilog2().clamp(super::entry::LEAST_SETS, 26);
        let chunk = chunk as usize / WORD;
        let index = (FIRST_CHUNK + chunks).next_multiple_of(LINE);
        let arena = (index + (WAYS << sets)).next_multiple_of(ALIGNED);
        Self { chunk, chunks, sets, index, arena, words: FIRST_SHARED + arena + chunk * chunks }
    }

    /// Words of all.
    #[must_use]
    pub fn words(self) -> usize {
        self.words
    }

    /// Those that all workers exchange.
    #[must_use]
    pub fn shared(self) -> Range<usize> {
        FIRST_SHARED..self.words
    }

    /// Those that only the worker of that row writes; the master clears them when it was reaped.
    #[must_use]
    pub fn area(row: u16) -> Option<Range<usize>> {
        (usize::from(row) < ROWS).then(|| {
            let start = FIRST_AREA + usize::from(row) * AREA;
            start..start + AREA
        })
    }

    /// What the first word of a memory of this layout says.
    #[must_use]
    pub(super) fn mark(self) -> u64 {
        let sizes = (self.words as u64) << 6 ^ u64::from(self.sets) << 48 ^ self.chunk as u64;
        0x4861_7463_6865_7279 ^ LAYOUT << 56 ^ sizes
    }

    /// First of the words of a set, of the shared ones.
    pub(super) fn set(self, set: u64) -> usize {
        self.index + (set as usize & ((1 << self.sets) - 1)) * WAYS
    }

    /// The word of a chunk, of the shared ones.
    pub(super) fn turn(self, chunk: usize) -> Option<usize> {
        (chunk < self.chunks).then_some(FIRST_CHUNK + chunk)
    }

    /// The words of a chunk, of the shared ones.
    pub(super) fn words_of(self, chunk: usize) -> Option<Range<usize>> {
        (chunk < self.chunks).then(|| {
            let start = self.arena + chunk * self.chunk;
            start..start + self.chunk
        })
    }
}

/// The first of the words of a ban.
pub(super) fn ban(number: u64) -> usize {
    FIRST_BAN + (number % BANS as u64) as usize * BAN
}

/// The words of a set of claims, of the shared ones: first the claims, then who waits for each.
pub(super) fn claims(set: usize) -> usize {
    FIRST_CLAIM + set % CLAIM_SETS * WAYS * 2
}

/// The epoch of a hash, of the shared ones.
pub(super) fn epoch(hash: u128) -> usize {
    FIRST_EPOCH + (hash >> 96) as usize % EPOCHS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(memory: u64, disk: u64) -> Sizes {
        Sizes { memory, disk }
    }

    #[test]
    fn what_one_writer_has_can_be_mapped_by_itself_and_lies_beside_the_rest() {
        for of in [sizes(0, 0), sizes(MIB, 0), sizes(64 * MIB, 10 << 30), sizes(3 * MIB + 1, 0)] {
            let layout = Layout::of(of);
            let mut end = FIRST_AREA;
            for row in 0..ROWS as u16 {
                let area = Layout::area(row).unwrap();
                assert_eq!((area.start, area.start % ALIGNED, area.end % ALIGNED), (end, 0, 0));
                end = area.end;
            }
            assert_eq!((layout.shared().start, layout.shared().end % ALIGNED), (end, 0), "{of:?}");
            assert!(ban(BANS as u64 - 1) + BAN <= FIRST_AREA && ban(BANS as u64) == FIRST_BAN);
            assert!(claims(CLAIM_SETS - 1) + 2 * WAYS <= FIRST_EPOCH && epoch(u128::MAX) < FIRST_CHUNK);
            assert!(layout.turn(layout.chunks - 1).unwrap() < layout.index);
            assert!(layout.set(u64::MAX) + WAYS <= layout.arena);
            assert_eq!(layout.words_of(layout.chunks - 1).unwrap().end, layout.shared().len());
        }
        assert!(Layout::area(ROWS as u16).is_none());
        let layout = Layout::of(sizes(MIB, 0));
        assert!(layout.turn(layout.chunks).is_none() && layout.words_of(layout.chunks).is_none());
    }

    #[test]
    fn objects_take_no_more_than_the_memory_and_the_index_little_beside() {
        for (memory, disk) in
            [(MIB, 0), (64 * MIB, 0), (100 * MIB, 10 << 30), (5 << 30, 0), (1 << 40, 1 << 40)]
        {
            let layout = Layout::of(sizes(memory, disk));
            let arena = (layout.chunk * layout.chunks * WORD) as u64;
            assert!(arena <= memory && arena > memory - memory / 16, "{memory}: {arena}");
            let index = (WAYS << layout.sets) as u64 * WORD as u64;
            assert!(index <= 256 * KIB + memory / 64 + disk / 1024, "{memory}: {index}");
            assert!(layout.chunks >= 16 && layout.chunks <= 1 << 16 && layout.chunk / LINE <= 1 << 18);
        }
    }

    #[test]
    fn memories_of_other_sizes_have_other_marks() {
        let marks = [(MIB, 0), (2 * MIB, 0), (2 * MIB, 1 << 40), (65 * MIB, 0)];
        let mut marks: Vec<_> = marks.map(|(memory, disk)| Layout::of(sizes(memory, disk)).mark()).into();
        marks.dedup();
        assert_eq!(marks.len(), 4);
    }
}
