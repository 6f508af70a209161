//! The store as a worker has it.

use super::arena::Filling;
use super::disk::Pending;
use super::entry::{Entry, FileName, Size, Tags, Where};
use super::index::{Filed, millis};
use super::layout::{self, OPEN, Sizes};
use super::object::{Kept, Object};
use super::view::{Count, Named, View};
use crate::timer::Time;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// An object whose last ban is so many bans ago is sealed anew, so that it is not compared with all of them each time.
const MANY_BANS: u64 = 16;

/// See the module. What its [`View`] can do needs no worker: it may be copied to threads.
#[derive(Debug)]
pub struct WorkerStore<'a> {
    view: View<'a>,
    open: [Option<Filling>; OPEN],
    scratch: Vec<u8>,
}

impl<'a> Deref for WorkerStore<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

/// What is there under a key. Whether it is fresh, the store does not know.
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What is fetched under this key was found not to be storable a moment ago: nobody need wait for another one's fetch.
    Declined,
    /// An object, and how the store was when it was found.
    Memory(Kept, Seen),
    /// A file: open it, read its [`super::Front`], and ask [`View::is_good`].
    Disk(Filed),
}

/// That an object was found: as long as the store is so, it is still what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    at: usize,
    entry: Entry,
    bans: u64,
}

/// The state of the store when a fetch begins: what it brings is kept only if nothing has invalidated it meanwhile. One of the
/// key without its variants, whichever of them is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    at: usize,
    epoch: u64,
    bans: u64,
}

impl Fetch {
    /// The number of the last ban before.
    #[must_use]
    pub fn bans(&self) -> u64 {
        self.bans
    }
}

/// What came of [`WorkerStore::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It is kept.
    Kept,
    /// It is longer than what has room in memory.
    TooLong,
    /// A request has invalidated it, or a purge, since the fetch began.
    Invalidated,
    /// Other workers fill all of the memory at this moment.
    Full,
}

impl<'a> WorkerStore<'a> {
    /// For the worker of that row. `own` are the words of its area, `shared` those of [`super::Layout::shared`], in memory
    /// that it may write.
    #[must_use]
    pub fn new(
        sizes: Sizes,
        words: &'a [AtomicU64],
        row: u16,
        own: &'a [AtomicU64],
        shared: &'a [AtomicU64],
    ) -> Self {
        Self { view: View::of(sizes, words, shared, own, row), open: [None; OPEN], scratch: Vec::new() }
    }

    /// What threads may have.
    #[must_use]
    pub fn view(&self) -> View<'a> {
        self.view
    }

    /// Looks for what is kept under a key.
    pub fn find(&mut self, named: &Named<'_>, now: Time) -> Found {
        if let Some((at, entry, kept)) = self.view.find_in_memory(named) {
            match self.view.unbanned(named.text, kept.bans(), || kept.tags()) {
                Some(last) => {
                    self.view.touch(at, entry);
                    self.keep_alive((at, entry), named, &kept, last);
                    return Found::Memory(kept, Seen { at, entry: entry.with_used(0), bans: last });
                }
                None => {
                    let _ = self.view.remove_entry(at, entry);
                }
            }
        }
        match self.view.find_on_disk(named) {
            Some(filed) => Found::Disk(filed),
            None if self.view.is_declined(named, now) => Found::Declined,
            None => Found::Nothing,
        }
    }

    /// Whether what was found is still kept, and need not be looked for again; it is of use then.
    #[must_use]
    pub fn is_still(&self, seen: &Seen) -> bool {
        let entry = Entry(self.view.load(seen.at));
        let Where::Memory { chunk, lap, .. } = entry.place() else { return false };
        let is_so = entry.with_used(0) == seen.entry
            && self.view.last_ban() == seen.bans
            && self.view.is_there(chunk, lap)
            // Who looks for it gives it a new place.
            && !self.view.is_old(chunk);
        if is_so {
            self.view.touch(seen.at, entry);
        }
        is_so
    }

    /// Puts an object that was asked for into a new chunk, if its own is about to begin anew, or it is older than many bans.
    fn keep_alive(&mut self, (at, entry): (usize, Entry), named: &Named<'_>, kept: &Kept, last: u64) {
        let Where::Memory { chunk, .. } = entry.place() else { return };
        let length = kept.head().len() + kept.body().len();
        let is_small = length <= self.view.most_in_memory() / 8;
        if !is_small || !(self.view.is_old(chunk) || last.wrapping_sub(kept.bans()) > MANY_BANS) {
            return;
        }
        let bytes = kept.sealed_again(last, self.view.seed);
        if let Some(place) = self.view.append(&mut self.open, &bytes) {
            // If it was removed meanwhile, it stays so.
            let _ = self.view.change(at, entry, Tags::of(named.hash).entry(place, entry.used() + 1));
        }
    }

    /// Before a fetch; `hash` is that of the key without its variants.
    #[must_use]
    pub fn fetch(&self, hash: u128) -> Fetch {
        let at = layout::epoch(hash);
        Fetch { at, epoch: self.view.load(at), bans: self.view.last_ban() }
    }

    fn is_valid(&self, fetch: &Fetch, named: &Named<'_>, tags: &[u64]) -> bool {
        self.view.load(fetch.at) == fetch.epoch
            && self.view.unbanned(named.text, fetch.bans, || tags.iter().copied()).is_some()
    }

    /// Keeps an object in memory. The files that come back are to be removed.
    pub fn put(
        &mut self,
        named: &Named<'_>,
        fetch: &Fetch,
        object: &Object<'_>,
        now: Time,
    ) -> (Put, Vec<FileName>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let put = match object.length(named.text) {
            Some(length) if length <= self.view.most_in_memory() => {
                object.write(named.text, fetch.bans, self.view.seed, &mut scratch);
                self.put_bytes(named, fetch, object.tags, &scratch, now)
            }
            _ => (Put::TooLong, Vec::new()),
        };
        // What is rarely so long is not kept for the next one.
        if scratch.capacity() <= 64 * 1024 {
            self.scratch = scratch;
        }
        put
    }

    fn put_bytes(
        &mut self,
        named: &Named<'_>,
        fetch: &Fetch,
        tags: &[u64],
        bytes: &[u8],
        now: Time,
    ) -> (Put, Vec<FileName>) {
        if !self.is_valid(fetch, named, tags) {
            return (Put::Invalidated, Vec::new());
        }
        let Some(place) = self.view.append(&mut self.open, bytes) else { return (Put::Full, Vec::new()) };
        let Some(inserted) = self.view.insert(named, place, now) else { return (Put::Full, Vec::new()) };
        let mut files: Vec<FileName> = inserted.displaced.into_iter().collect();
        // The file has what was there before.
        if let Some(filed) = self.view.find_on_disk(named) {
            self.view.lost(&filed);
            files.push(filed.name);
        }
        // Who invalidates moves the epoch first and then removes what is there: one of both sees the other.
        if !self.is_valid(fetch, named, tags) {
            let _ = self.view.remove_entry(inserted.at, inserted.entry);
            return (Put::Invalidated, files);
        }
        self.view.count(Count::Stored, 1);
        (Put::Kept, files)
    }

    /// Puts what was read from a file into memory, too; the file stays. Files that come back are to be removed.
    pub fn put_copy(
        &mut self,
        named: &Named<'_>,
        filed: &Filed,
        (bans, object): (u64, &Object<'_>),
        now: Time,
    ) -> Option<FileName> {
        let mut bytes = Vec::new();
        let length = object.length(named.text)?;
        if length > self.view.most_in_memory() {
            return None;
        }
        object.write(named.text, bans, self.view.seed, &mut bytes)?;
        let place = self.view.append(&mut self.open, &bytes)?;
        let inserted = self.view.insert(named, place, now)?;
        let is_same = self.view.find_on_disk(named).is_some_and(|now| now.at == filed.at);
        if !is_same {
            let _ = self.view.remove_entry(inserted.at, inserted.entry);
        }
        inserted.displaced
    }

    /// The file of a key has been written and has its name. `in_memory`: the same was put there before; else what is there is
    /// older, and goes. The files that come back are to be removed, also this one if it must not be kept.
    pub fn publish(
        &self,
        named: &Named<'_>,
        fetch: &Fetch,
        tags: &[u64],
        (pending, in_memory): (Pending, bool),
        now: Time,
    ) -> (Put, Vec<FileName>) {
        let bytes = pending.bytes();
        let size = Size::of(bytes);
        let inserted = match self.is_valid(fetch, named, tags) {
            true => self.view.insert(named, Where::Disk { size, found: false }, now),
            false => None,
        };
        let Some(inserted) = inserted else {
            self.view.give_back(pending);
            let put = if self.is_valid(fetch, named, tags) { Put::Full } else { Put::Invalidated };
            return (put, vec![self.view.file_name(named.hash)]);
        };
        self.view.count(Count::Files, size.bytes());
        self.view.give_back(pending);
        let mut files: Vec<FileName> = inserted.displaced.into_iter().collect();
        if !in_memory && let Some((at, entry, _)) = self.view.find_in_memory(named) {
            let _ = self.view.remove_entry(at, entry);
        }
        if !self.is_valid(fetch, named, tags) {
            let _ = self.view.remove_entry(inserted.at, inserted.entry);
            files.push(self.view.file_name(named.hash));
            return (Put::Invalidated, files);
        }
        self.view.count(Count::Stored, u64::from(!in_memory));
        (Put::Kept, files)
    }

    /// What is fetched under this key is not to be kept: until then nobody need wait for it. The file that comes back is to be
    /// removed.
    pub fn decline(&self, named: &Named<'_>, until: Time, now: Time) -> Option<FileName> {
        let file = self.view.remove(named.hash).file;
        let file = file.or_else(|| (!self.view.has_entered()).then(|| self.view.file_name(named.hash)));
        let inserted = self.view.insert(named, Where::Declined { until: millis(until) }, now);
        file.or(inserted.and_then(|inserted| inserted.displaced))
    }

    /// A request has changed what is under this key: nothing of it is kept, nor what is being fetched. The file that comes
    /// back is to be removed.
    pub fn invalidate(&self, hash: u128) -> Option<FileName> {
        if let Some(epoch) = self.view.shared(layout::epoch(hash)) {
            epoch.fetch_add(1, SeqCst);
        }
        let removed = self.view.remove(hash);
        self.view.count(Count::Invalidated, removed.entries as u64);
        // One of before may lie there and have no entry yet.
        removed.file.or_else(|| (!self.view.has_entered()).then(|| self.view.file_name(hash)))
    }
}
