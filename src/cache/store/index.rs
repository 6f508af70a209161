//! The index: sets of eight words, each exchanged as a whole. Of an object there may be an entry in memory and one on disk;
//! the first is looked at first.

use super::entry::{Entry, FileName, MOST_USED, Size, Tags, Where};
use super::layout::{self, WAYS};
use super::object::Kept;
use super::view::{Count, Named, View};
use crate::timer::Time;

/// A file that the index names. It may be gone, or be another one's, when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filed {
    /// In the directory of the store.
    pub name: FileName,
    /// It was there before this life of the server: all of it is to be read and compared with its checksum before a byte of it
    /// is sent.
    pub unproven: bool,
    pub(super) at: usize,
    pub(super) entry: Entry,
}

/// Times each change of a word is tried again: others change it meanwhile.
const TRIES: usize = 4;

pub(super) fn millis(now: Time) -> u64 {
    now.0 / 1_000_000
}

impl View<'_> {
    /// The entries of a set, with the place of each.
    fn set(&self, set: u64) -> [(usize, Entry); WAYS] {
        let first = self.layout.set(set);
        std::array::from_fn(|way| (first + way, Entry(self.load(first + way))))
    }

    fn entries(&self, tags: Tags) -> impl Iterator<Item = (usize, Entry)> {
        let set = self.set(tags.set(self.layout.sets));
        set.into_iter().filter(move |(_, entry)| tags.fits(*entry))
    }

    /// The object in memory.
    pub(super) fn find_in_memory(&self, named: &Named<'_>) -> Option<(usize, Entry, Kept)> {
        for (at, entry) in self.entries(Tags::of(named.hash)) {
            let Where::Memory { chunk, line, lap } = entry.place() else { continue };
            if !self.is_there(chunk, lap) {
                continue;
            }
            match self.copy(chunk, line).and_then(|bytes| Kept::read(bytes, self.seed)) {
                Some(kept) if kept.key() == named.text => return Some((at, entry, kept)),
                // Another key with the same tag: as good as if it were not there.
                Some(_) => {}
                None => self.count(Count::Torn, 1),
            }
        }
        None
    }

    /// The file.
    pub(super) fn find_on_disk(&self, named: &Named<'_>) -> Option<Filed> {
        let tags = Tags::of(named.hash);
        self.entries(tags).find_map(|(at, entry)| match entry.place() {
            Where::Disk { found, .. } => Some(Filed { name: tags.file_name(), unproven: found, at, entry }),
            _ => None,
        })
    }

    /// Whether what is fetched under the key is known not to be kept.
    pub(super) fn is_declined(&self, named: &Named<'_>, now: Time) -> bool {
        let is_so = |entry: Entry| matches!(entry.place(), Where::Declined { until } if millis(now) < until);
        self.entries(Tags::of(named.hash)).any(|(_, entry)| is_so(entry))
    }

    /// It was of use.
    pub(super) fn touch(&self, at: usize, entry: Entry) {
        if entry.used() < MOST_USED {
            // Who loses against another one has been as good as counted.
            let _ = self.exchange(at, entry.0, entry.with_used(entry.used() + 1).0);
        }
    }

    /// Has an entry say something else, if it is still the same but for how often it was of use.
    pub(super) fn change(&self, at: usize, entry: Entry, new: Entry) -> bool {
        for _ in 0..TRIES {
            let now = Entry(self.load(at));
            if now.with_used(0) != entry.with_used(0) {
                return false;
            }
            if self.exchange(at, now.0, new.0) {
                return true;
            }
        }
        false
    }

    /// Puts an entry into its set: in place of one of the same key and kind, a free one, or that of least use, whose file is
    /// to be removed then. `None`: all has changed under our hands.
    pub(super) fn insert(&self, named: &Named<'_>, place: Where, now: Time) -> Option<Inserted> {
        let tags = Tags::of(named.hash);
        let set = tags.set(self.layout.sets);
        // What is new has been asked for once.
        let new = tags.entry(place, 0);
        for _ in 0..TRIES {
            let ways = self.set(set);
            let same =
                ways.iter().find(|(_, entry)| tags.fits(*entry) && self.is_same(*entry, place, named.text));
            let free = || ways.iter().find(|(_, entry)| self.is_free(*entry, now));
            let (at, old) =
                *same.or_else(free).or_else(|| ways.iter().min_by_key(|(_, entry)| worth(*entry)))?;
            if !self.exchange(at, old.0, new.0) {
                continue;
            }
            let is_other = same.is_none() && !self.is_free(old, now);
            if is_other {
                ways.iter().filter(|way| way.0 != at).for_each(|(at, entry)| self.age(*at, *entry));
                self.count(Count::Evicted, 1);
            }
            // What a file took is given back with its entry, also by one that takes its place.
            let displaced = self.forget_file(old, set);
            // Of two that were put there at once one is enough.
            let twins = ways.iter().filter(|way| way.0 != at && tags.fits(way.1));
            for (twin, entry) in twins.filter(|(_, entry)| self.is_same(*entry, place, named.text)) {
                let _ = self.remove_entry(*twin, *entry);
            }
            return Some(Inserted { at, entry: new, displaced: displaced.filter(|_| is_other) });
        }
        None
    }

    /// Whether an entry that fits is of what is to be put in its place.
    fn is_same(&self, entry: Entry, new: Where, key: &[u8]) -> bool {
        match (entry.place(), new) {
            (Where::Disk { .. }, Where::Disk { .. }) | (Where::Declined { .. }, _) => true,
            (Where::Memory { chunk, line, lap }, Where::Memory { .. } | Where::Declined { .. }) => {
                self.is_there(chunk, lap) && self.has_key(chunk, line, key)
            }
            _ => false,
        }
    }

    fn is_free(&self, entry: Entry, now: Time) -> bool {
        match entry.place() {
            Where::Empty => true,
            Where::Memory { chunk, lap, .. } => !self.is_there(chunk, lap),
            Where::Declined { until } => until <= millis(now),
            Where::Disk { .. } => false,
        }
    }

    fn age(&self, at: usize, entry: Entry) {
        if entry.used() > 0 {
            let _ = self.exchange(at, entry.0, entry.with_used(entry.used() - 1).0);
        }
    }

    /// If the entry, which is not there any more, was of a file: its bytes are not counted any more.
    pub(super) fn forget_file(&self, entry: Entry, set: u64) -> Option<FileName> {
        let Where::Disk { size, .. } = entry.place() else { return None };
        self.count(Count::Files, size.bytes().wrapping_neg());
        Some(FileName::from_entry(entry, set, self.layout.sets))
    }

    /// Removes all entries of a key, and of those that look like it; the file, if there was one.
    pub(super) fn remove(&self, hash: u128) -> Removed {
        let tags = Tags::of(hash);
        let mut removed = Removed::default();
        for (at, _) in self.entries(tags) {
            for _ in 0..TRIES {
                let entry = Entry(self.load(at));
                if !tags.fits(entry) {
                    break;
                }
                if self.exchange(at, entry.0, 0) {
                    removed.entries += 1;
                    removed.file = removed.file.or(self.forget_file(entry, tags.set(self.layout.sets)));
                    break;
                }
            }
        }
        removed
    }

    /// Removes one entry, if it still is the same.
    pub(super) fn remove_entry(&self, at: usize, entry: Entry) -> bool {
        let removed = self.change(at, entry, Entry(0));
        if removed {
            let _ = self.forget_file(entry, 0);
        }
        removed
    }

    /// Removes entries of files that were not of use lately, until as many bytes are free; it looks at so many sets at most.
    /// The files are to be removed.
    pub(super) fn evict_files(&self, bytes: u64, sets: usize) -> Vec<FileName> {
        let (mut files, mut freed) = (Vec::new(), 0_u64);
        let Some(hand) = self.shared(layout::DISK_HAND) else { return files };
        for _ in 0..sets {
            if freed >= bytes {
                break;
            }
            let set = hand.fetch_add(1, std::sync::atomic::Ordering::Relaxed) & ((1 << self.layout.sets) - 1);
            for (at, entry) in self.set(set) {
                let Where::Disk { size, .. } = entry.place() else { continue };
                if entry.used() > 0 {
                    self.age(at, entry);
                } else if freed < bytes && self.exchange(at, entry.0, 0) {
                    freed = freed.saturating_add(size.bytes());
                    self.count(Count::Evicted, 1);
                    files.extend(self.forget_file(entry, set));
                }
            }
        }
        files
    }

    /// What there is, over so many sets from the first one on.
    pub fn census(&self, sets: std::ops::Range<u64>) -> Census {
        let mut census = Census::default();
        for set in sets.start..sets.end.min(1 << self.layout.sets) {
            for (_, entry) in self.set(set) {
                match entry.place() {
                    Where::Memory { chunk, lap, .. } if self.is_there(chunk, lap) => census.in_memory += 1,
                    Where::Disk { size, .. } => {
                        census.on_disk += 1;
                        census.disk_bytes = census.disk_bytes.saturating_add(size.bytes());
                    }
                    _ => {}
                }
            }
        }
        census
    }

    /// How many sets there are.
    #[must_use]
    pub fn sets(&self) -> u64 {
        1 << self.layout.sets
    }

    /// Whether the index has a file of that name.
    #[must_use]
    pub fn has_file(&self, name: FileName) -> bool {
        self.entries(name.tags()).any(|(_, entry)| matches!(entry.place(), Where::Disk { .. }))
    }

    /// A file that was there at the start gets an entry, if there is room: nothing has to leave for it.
    pub(super) fn admit(&self, name: FileName, bytes: u64, now: Time) -> bool {
        let tags = name.tags();
        let size = Size::of(bytes);
        let new = tags.entry(Where::Disk { size, found: true }, 0);
        let free = |(_, entry): &(usize, Entry)| self.is_free(*entry, now);
        let place = self.set(tags.set(self.layout.sets)).into_iter().find(free);
        let admitted = place.is_some_and(|(at, old)| self.exchange(at, old.0, new.0));
        if admitted {
            self.count(Count::Files, size.bytes());
        }
        admitted
    }
}

/// What to lose first: the lowest.
fn worth(entry: Entry) -> u64 {
    let kind = match entry.place() {
        Where::Empty | Where::Declined { .. } => 0,
        Where::Memory { .. } => 1,
        Where::Disk { .. } => 2,
    };
    entry.used() * 4 + kind
}

/// An entry that was put into the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inserted {
    pub(super) at: usize,
    pub(super) entry: Entry,
    pub(super) displaced: Option<FileName>,
}

/// What [`View::remove`] has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) entries: usize,
    pub(super) file: Option<FileName>,
}

/// See [`View::census`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Objects in memory.
    pub in_memory: u64,
    /// Files.
    pub on_disk: u64,
    /// What these take.
    pub disk_bytes: u64,
}
