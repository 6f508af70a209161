//! The words of the index: `{kind 3 | used 2 | …}`.
//!
//! | kind | the rest | means |
//! |---|---|---|
//! | Empty | | nothing |
//! | Memory | `{tag 15 \| chunk 16 \| line 18 \| lap 10}` | an object in the arena |
//! | Disk | `{tag 44 \| size 15}` | a file, written in this life of the server |
//! | Found | as Disk | a file that was there before: read it whole before it is believed |
//! | Declined | `{tag 15 \| until 44}` | what is fetched under this key cannot be kept: nobody need wait for it |
//!
//! `used` says how often it was of use lately, up to three times: of a set that is full, who was not goes.

use std::fmt;

/// Fewer sets and the name of a file could not be made of its entry.
pub(super) const LEAST_SETS: u32 = NAME - TAG_OF_FILE;
/// Bits of the hash by which a file is named.
const NAME: u32 = 56;
const TAG_OF_FILE: u32 = 44;
const TAG: u32 = 15;

/// How often is counted.
pub(super) const MOST_USED: u64 = 3;

/// Where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Empty,
    Memory {
        chunk: usize,
        line: usize,
        lap: u64,
    },
    /// How large, in the units of [`Size`].
    Disk {
        size: Size,
        found: bool,
    },
    Declined {
        until: u64,
    },
}

/// The size of a file, as it fits into an entry: never less than it is, and at most a thousandth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(u64);

impl Size {
    /// Blocks of 4 KiB count, as on a disk.
    pub(super) fn of(bytes: u64) -> Self {
        let blocks = bytes.div_ceil(4096).clamp(1, 1 << 40);
        let shift = (u64::BITS - blocks.leading_zeros()).saturating_sub(10);
        let rounded = blocks.div_ceil(1 << shift);
        // 1024 is the first of the next order.
        Self(if rounded < 1024 { u64::from(shift) << 10 | rounded } else { u64::from(shift + 1) << 10 | 512 })
    }

    pub(super) fn bytes(self) -> u64 {
        // A stranger may have written any shift.
        (self.0 & 0x3ff) << (self.0 >> 10 & 0x1f).min(31) << 12
    }
}

/// Set and tags of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tags {
    name: u64,
}

impl Tags {
    pub(super) fn of(hash: u128) -> Self {
        Self { name: hash as u64 & ((1 << NAME) - 1) }
    }

    pub(super) fn set(self, sets: u32) -> u64 {
        self.name >> (NAME - sets)
    }

    fn memory(self) -> u64 {
        self.name & ((1 << TAG) - 1)
    }

    fn file(self) -> u64 {
        self.name & ((1 << TAG_OF_FILE) - 1)
    }

    pub(super) fn file_name(self) -> FileName {
        FileName(self.name)
    }

    /// Whether an entry may be of this hash.
    pub(super) fn fits(self, entry: Entry) -> bool {
        match entry.place() {
            Where::Empty => false,
            Where::Memory { .. } | Where::Declined { .. } => entry.0 >> 44 & 0x7fff == self.memory(),
            Where::Disk { .. } => entry.0 >> 15 & ((1 << TAG_OF_FILE) - 1) == self.file(),
        }
    }

    pub(super) fn entry(self, place: Where, used: u64) -> Entry {
        let used = used.min(MOST_USED) << 59;
        Entry(match place {
            Where::Empty => 0,
            Where::Memory { chunk, line, lap } => {
                let at = (chunk as u64 & 0xffff) << 28 | (line as u64 & 0x3ffff) << 10 | lap & 0x3ff;
                1 << 61 | used | self.memory() << 44 | at
            }
            Where::Disk { size, found } => {
                (2 + u64::from(found)) << 61 | used | self.file() << 15 | size.0 & 0x7fff
            }
            Where::Declined { until } => 4 << 61 | used | self.memory() << 44 | until & ((1 << 44) - 1),
        })
    }
}

/// The name of a file in the directory of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(u64);

impl FileName {
    /// Reads one; `None`: it is another file.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(name).ok().filter(|text| text.len() == 14)?;
        let is_ours = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        is_ours.then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    /// That of the file of a hash.
    #[must_use]
    pub fn of(hash: u128) -> Self {
        Tags::of(hash).file_name()
    }

    pub(super) fn tags(self) -> Tags {
        Tags { name: self.0 }
    }

    /// Of the entry of a file in that set.
    pub(super) fn from_entry(entry: Entry, set: u64, sets: u32) -> Self {
        let tag = entry.0 >> 15 & ((1 << TAG_OF_FILE) - 1);
        Self(set << (NAME - sets) & ((1 << NAME) - 1) | tag)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:014x}", self.0)
    }
}

/// A word of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    /// The word is a number from a stranger: an unknown kind is nothing.
    pub(super) fn place(self) -> Where {
        match self.0 >> 61 {
            1 => Where::Memory {
                chunk: (self.0 >> 28 & 0xffff) as usize,
                line: (self.0 >> 10 & 0x3ffff) as usize,
                lap: self.0 & 0x3ff,
            },
            kind @ (2 | 3) => Where::Disk { size: Size(self.0 & 0x7fff), found: kind == 3 },
            4 => Where::Declined { until: self.0 & ((1 << 44) - 1) },
            _ => Where::Empty,
        }
    }

    pub(super) fn used(self) -> u64 {
        self.0 >> 59 & MOST_USED
    }

    /// The same, having been of use so often.
    pub(super) fn with_used(self, used: u64) -> Self {
        Self(self.0 & !(MOST_USED << 59) | used.min(MOST_USED) << 59)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_they_were_made_of() {
        let hash = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        let places = [
            Where::Memory { chunk: 0xffff, line: 0x3ffff, lap: 0x3ff },
            Where::Memory { chunk: 1, line: 2, lap: 3 },
            Where::Disk { size: Size::of(1), found: false },
            Where::Disk { size: Size::of(1 << 40), found: true },
            Where::Declined { until: (1 << 44) - 1 },
        ];
        for place in places {
            for used in 0..=3 {
                let entry = Tags::of(hash).entry(place, used);
                assert_eq!((entry.place(), entry.used()), (place, used));
                assert!(Tags::of(hash).fits(entry) && !Tags::of(hash ^ 1).fits(entry));
                assert_eq!(entry.with_used(3 - used).place(), place);
            }
        }
        assert_eq!(Entry(0).place(), Where::Empty);
        assert_eq!(Entry(u64::MAX).place(), Where::Empty);
    }

    #[test]
    fn the_name_of_a_file_is_the_same_from_hash_and_entry_whatever_the_number_of_sets() {
        for hash in [0_u128, u128::MAX, 0xfedc_ba98_7654_3210, 0x0080_0000_0000_0001] {
            for sets in LEAST_SETS..=26 {
                let tags = Tags::of(hash);
                let entry = tags.entry(Where::Disk { size: Size::of(9), found: false }, 2);
                let name = FileName::from_entry(entry, tags.set(sets), sets);
                assert_eq!(name, FileName::of(hash), "{hash:x} {sets}");
                assert_eq!(FileName::parse(name.to_string().as_bytes()), Some(name));
                assert_eq!(name.tags(), tags);
            }
        }
        for wrong in
            ["", "0123456789abc", "0123456789abcde", "0123456789abcX", "0123456789ABCD", "+123456789abcd"]
        {
            assert_eq!(FileName::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_size_is_never_less_and_hardly_more() {
        for bytes in
            (0..50).flat_map(|shift| [1_u64 << shift, (1 << shift) + 1, (3 << shift) - 1, 1023 << shift])
        {
            let (size, whole) = (Size::of(bytes).bytes(), bytes.div_ceil(4096) * 4096);
            if bytes < 1 << 50 {
                assert!(size >= whole.max(4096), "{bytes}: {size}");
                assert!(size - whole.max(4096) <= whole / 500, "{bytes}: {size}");
            }
            assert!(Size::of(bytes).0 < 1 << 15);
        }
        assert!(Size(u64::MAX).bytes() > 0, "no overflow");
    }
}
