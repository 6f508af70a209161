//! The tables behind an index (RFC 7541 §2.3, §4): the static one, then the dynamic one, its newest entry first.

use super::{OVERHEAD, static_table};
use std::cell::Cell;
use std::collections::VecDeque;

/// The dynamic table of one direction of a connection.
#[derive(Debug)]
pub(super) struct Table {
    /// Names and values of the entries, the oldest first, behind the bytes of some that were evicted.
    bytes: Vec<u8>,
    /// How many bytes of evicted entries were dropped from `bytes` so far.
    dropped: u32,
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// What the entries count.
    size: usize,
    /// What they may count.
    max: usize,
    /// Behind the entry that was looked for last: blocks say the same in the same order.
    next: Cell<usize>,
}

/// An entry: its name, and behind it its value.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it begins, counted from the first byte that ever was in the table; wraps.
    start: u32,
    name: u16,
    value: u16,
}

impl Entry {
    fn size(self) -> usize {
        usize::from(self.name) + usize::from(self.value) + OVERHEAD
    }
}

/// What is in the tables of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The field, at this index.
    Field(usize),
    /// Its name, at this index.
    Name(usize),
    /// Neither.
    Nothing,
}

impl Table {
    /// An empty table. `max` is at most [`super::TABLE_SIZE`], here and in `resize`.
    pub(super) fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), dropped: 0, entries: VecDeque::new(), size: 0, max, next: Cell::new(0) }
    }

    /// What the entries may count.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Name and value at that index of both tables.
    pub(super) fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let at = index.checked_sub(1)?;
        match at.checked_sub(static_table::ENTRIES.len()) {
            None => static_table::ENTRIES.get(at).copied(),
            Some(age) => {
                let at = self.entries.len().checked_sub(age)?.checked_sub(1)?;
                self.entries.get(at).map(|entry| self.read(*entry))
            }
        }
    }

    /// Looks for a field, its name in lower case.
    pub(super) fn find(&self, name: &[u8], value: &[u8]) -> Found {
        let lengths = (name.len(), value.len());
        let same = |entry: &Entry| {
            (usize::from(entry.name), usize::from(entry.value)) == lengths
                && self.read(*entry) == (name, value)
        };
        let expected = self.next.get();
        let at = match self.entries.get(expected).filter(|entry| same(entry)) {
            Some(_) => Some(expected),
            None => self.entries.iter().rposition(same),
        };
        match at {
            Some(at) => {
                self.next.set(at + 1);
                Found::Field(self.index(at))
            }
            None => self.name(name).map_or(Found::Nothing, Found::Name),
        }
    }

    /// Looks for a name in lower case.
    pub(super) fn name(&self, name: &[u8]) -> Option<usize> {
        let same = |entry: &Entry| usize::from(entry.name) == name.len() && self.read(*entry).0 == name;
        static_table::index(name).or_else(|| self.entries.iter().rposition(same).map(|at| self.index(at)))
    }

    /// The index of the entry at that place of the dynamic table.
    fn index(&self, at: usize) -> usize {
        static_table::ENTRIES.len() + self.entries.len() - at
    }

    /// Adds an entry. One that is larger than the table leaves it empty (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = name.len() + value.len() + OVERHEAD;
        self.evict(self.max.saturating_sub(size));
        let (true, Ok(name_length), Ok(value_length)) =
            (size <= self.max, name.len().try_into(), value.len().try_into())
        else {
            return;
        };
        self.drop_evicted();
        let start = self.dropped.wrapping_add(self.bytes.len() as u32);
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry { start, name: name_length, value: value_length });
        self.size += size;
    }

    /// Changes what the entries may count.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.evict(max);
    }

    /// All entries, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| self.read(*entry))
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
        }
    }

    /// Drops the bytes of evicted entries once they are a quarter: each byte is moved about three times in its life, and
    /// a table takes little more room than its entries.
    fn drop_evicted(&mut self) {
        let evicted = self.entries.front().map_or(self.bytes.len(), |oldest| self.place(*oldest));
        if evicted > self.bytes.len() / 4 {
            self.bytes.drain(..evicted);
            self.dropped = self.dropped.wrapping_add(evicted as u32);
        }
    }

    fn place(&self, entry: Entry) -> usize {
        entry.start.wrapping_sub(self.dropped) as usize
    }

    fn read(&self, entry: Entry) -> (&[u8], &[u8]) {
        let of = self.bytes.get(self.place(entry)..).unwrap_or_default();
        let (name, behind) = of.split_at_checked(entry.name.into()).unwrap_or_default();
        (name, behind.get(..entry.value.into()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(table: &Table) -> Vec<(String, usize)> {
        table.iter().map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.len())).collect()
    }

    #[test]
    fn the_oldest_leave() {
        let mut table = Table::new(100);
        table.insert(b"a", &[b'x'; 17]);
        table.insert(b"b", &[b'y'; 17]);
        assert_eq!(entries(&table), [("a".to_owned(), 17), ("b".to_owned(), 17)]);
        assert_eq!(table.field(62), Some((&b"b"[..], &[b'y'; 17][..])));
        assert_eq!(table.field(63), Some((&b"a"[..], &[b'x'; 17][..])));
        table.insert(b"c", b"");
        assert_eq!(entries(&table), [("b".to_owned(), 17), ("c".to_owned(), 0)]);
        table.resize(50);
        assert_eq!(entries(&table), [("c".to_owned(), 0)]);
        table.insert(b"d", &[b'z'; 18]);
        assert!(entries(&table).is_empty(), "larger than the table");
        table.insert(b"d", &[b'z'; 17]);
        assert_eq!(entries(&table), [("d".to_owned(), 17)]);
        table.resize(0);
        table.insert(b"", b"");
        assert!(entries(&table).is_empty());
        for beyond in [0, 62, 63, usize::MAX] {
            assert_eq!(table.field(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn the_newest_of_a_name_is_found_and_the_static_table_first() {
        let mut table = Table::new(4096);
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("etag", "3")] {
            table.insert(name.as_bytes(), value.as_bytes());
        }
        assert_eq!(table.find(b"x-a", b"1"), Found::Field(64));
        assert_eq!(table.find(b"x-a", b"2"), Found::Field(63));
        assert_eq!(table.find(b"x-a", b"3"), Found::Name(63));
        assert_eq!(table.find(b"etag", b"3"), Found::Field(62));
        assert_eq!(table.find(b"etag", b"4"), Found::Name(34));
        assert_eq!(table.find(b"x-b", b"3"), Found::Nothing);
    }

    #[test]
    fn it_takes_no_more_room_than_its_entries_need() {
        let mut table = Table::new(4096);
        // Starts wrap here.
        table.dropped = u32::MAX - 5000;
        for count in 0..5000_usize {
            let value = vec![b'v'; count * 7 % 300];
            table.insert(b"name", &value);
            assert_eq!(table.field(62), Some((&b"name"[..], &value[..])));
            let live: usize = table.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(table.bytes.len() <= live * 4 / 3 + 304, "{} for {live}", table.bytes.len());
            assert_eq!(table.size, table.iter().count() * OVERHEAD + live);
            assert!(
                table.iter().all(|(name, value)| name == b"name" && value.iter().all(|byte| *byte == b'v'))
            );
        }
    }
}
