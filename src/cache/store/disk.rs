//! Objects in files, as far as it is words and bytes: how a file is laid out, which bytes are taken, which files have to go.
//! Who opens, writes and removes them is `sys::place::Files`, in threads that may wait.
//!
//! ```text
//!  magic 64 | checksum 64 | life 64 | bans 64 | kind 8, tags 24 | key 32 | head 32 | 0 32 | length 64 | sum 64 | key, tags, head | body
//! ```
//!
//! The first checksum is of all that comes before the body but itself, the second one of the body, which is `length` bytes. A
//! file gets its name when it is whole. One that was written by an earlier life of the server may have lost bytes with the
//! machine: of such a one the body is to be compared with its sum once, before it is sent.
//!
//! # The budget
//!
//! What a file will take is *pending* in the row of its worker before the first byte is written, and counted with its entry
//! afterwards. Files are removed until there is room, by a hand that goes round the index and passes over what was of use. So
//! what all files take is at most the budget, and by so much more as workers that died had under way; of that, the names
//! without an entry are found and removed by who tidies up ([`View::takes_upkeep`]), and the sum is made anew ([`View::reconcile`]).

use super::entry::{FileName, Size, Tags, Where};
use super::index::{Filed, millis};
use super::layout;
use super::object::{MOST_TAGS, Object};
use super::view::{Count, Named, View};
use crate::timer::Time;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

/// Bytes before the key.
pub const FIXED: usize = 64;
const MAGIC: u64 = 0x3165_7468_6148_7461;
/// More in front of the body is no file of ours.
pub const LONGEST_HEAD: usize = 1 << 20;
/// That the files of before are in the index.
const ENTERED: u64 = 1;
/// Sets that are looked at for room, for each file that is to be written.
const LOOK: usize = 64 * 1024;

/// A file that is being written: its name is free to be another one's until it is published.
#[derive(Debug)]
#[must_use]
pub struct Pending {
    bytes: u64,
}

/// What is in front of a body, and the sum of what was written of it.
pub struct Draft {
    front: Vec<u8>,
    sum: Xxh3,
    length: u64,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Draft").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Draft {
    /// Where the body begins. Write it there, and [`Self::front`] before it at the end.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.front.len() as u64
    }

    /// These bytes come next in the body.
    pub fn add(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
    }

    /// What is written at the beginning of the file when the body is whole.
    #[must_use]
    pub fn front(mut self, seed: u64) -> Vec<u8> {
        put(&mut self.front, 48, self.length);
        put(&mut self.front, 56, self.sum.digest());
        let sum = xxh3_64_with_seed(self.front.get(16..).unwrap_or_default(), seed);
        put(&mut self.front, 8, sum);
        self.front
    }
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(place) = bytes.get_mut(at..at + 8) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

/// What stands before a body, read from a file that may be anything.
#[derive(Clone, Debug)]
pub struct Front {
    bytes: Vec<u8>,
    key: usize,
    tags: usize,
}

impl Front {
    /// How long it is, by the first [`FIXED`] bytes of a file. `None`: it is none of ours.
    #[must_use]
    pub fn length(fixed: &[u8]) -> Option<usize> {
        let [tags, key, head] =
            [32, 36, 40].map(|at| fixed.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes));
        let tags = tags? as usize & 0xff_ffff;
        let all = (FIXED + tags * 8).checked_add(key? as usize)?.checked_add(head? as usize)?;
        (word(fixed, 0) == Some(MAGIC) && tags <= MOST_TAGS && all <= LONGEST_HEAD).then_some(all)
    }

    /// Of as many bytes.
    #[must_use]
    pub fn read(bytes: Vec<u8>, seed: u64) -> Option<Self> {
        let length = Self::length(&bytes)?;
        let sum = xxh3_64_with_seed(bytes.get(16..)?, seed);
        if bytes.len() != length || word(&bytes, 8)? != sum {
            return None;
        }
        let key = FIXED + u32::from_le_bytes(bytes.get(36..40)?.try_into().ok()?) as usize;
        let tags = u32::from_le_bytes(bytes.get(32..36)?.try_into().ok()?) as usize & 0xff_ffff;
        Some(Self { key, tags: key + tags * 8, bytes })
    }

    /// The key that it was kept under.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.bytes.get(FIXED..self.key).unwrap_or_default()
    }

    /// As it was given.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes.get(35).copied().unwrap_or(0)
    }

    /// As they were given.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        let words = self.bytes.get(self.key..self.tags).unwrap_or_default().chunks_exact(8);
        words.filter_map(|word| word.try_into().ok().map(u64::from_le_bytes))
    }

    /// As it was given.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        self.bytes.get(self.tags..).unwrap_or_default()
    }

    /// Where the body begins, and its length. A file that is shorter is none.
    #[must_use]
    pub fn body(&self) -> (u64, u64) {
        (self.bytes.len() as u64, word(&self.bytes, 48).unwrap_or(0))
    }

    /// What the checksum of the body must be.
    #[must_use]
    pub fn body_sum(&self) -> u64 {
        word(&self.bytes, 56).unwrap_or(0)
    }

    fn life(&self) -> u64 {
        word(&self.bytes, 16).unwrap_or(0)
    }

    /// The number of the last ban before it was fetched.
    #[must_use]
    pub fn bans(&self) -> u64 {
        word(&self.bytes, 24).unwrap_or(0)
    }
}

/// The sum of a body, to which bytes are added by `update`.
#[must_use]
pub fn body_sum(seed: u64) -> Xxh3 {
    Xxh3::with_seed(seed)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

impl View<'_> {
    /// What all files take, those that are being written included.
    #[must_use]
    pub fn disk_used(&self) -> u64 {
        // A sum that was lied about may be below zero.
        let kept = self.sum(Count::Files).cast_signed().max(0).cast_unsigned();
        kept.saturating_add(self.sum(Count::Pending).cast_signed().max(0).cast_unsigned())
    }

    /// Room for a file of so many bytes, and which files have to be removed for it. `None`: there is none.
    pub fn reserve(&self, bytes: u64) -> (Option<Pending>, Vec<FileName>) {
        let bytes = Size::of(bytes).bytes();
        if bytes > self.disk {
            return (None, Vec::new());
        }
        self.count(Count::Pending, bytes);
        let over = self.disk_used().saturating_sub(self.disk);
        let files = if over > 0 { self.evict_files(over, LOOK) } else { Vec::new() };
        let pending = Pending { bytes };
        if self.disk_used() <= self.disk {
            return (Some(pending), files);
        }
        self.give_back(pending);
        (None, files)
    }

    /// The file will not be.
    pub fn give_back(&self, pending: Pending) {
        self.count(Count::Pending, pending.bytes.wrapping_neg());
    }

    /// What a file of this key begins with. `bans`: those before it was fetched.
    pub fn draft(&self, key: &[u8], bans: u64, object: &Object<'_>) -> Option<Draft> {
        let mut front = Vec::with_capacity(FIXED + key.len() + object.tags.len() * 8 + object.head.len());
        front.extend_from_slice(&MAGIC.to_le_bytes());
        front.extend_from_slice(&[0; 8]);
        front.extend_from_slice(&self.read(layout::LIFE).to_le_bytes());
        front.extend_from_slice(&bans.to_le_bytes());
        front.extend_from_slice(&(object.tags.len() as u32 | u32::from(object.kind) << 24).to_le_bytes());
        for part in [key.len(), object.head.len(), 0] {
            front.extend_from_slice(&u32::try_from(part).ok()?.to_le_bytes());
        }
        front.extend_from_slice(&[0; 16]);
        front.extend_from_slice(key);
        object.tags.iter().for_each(|tag| front.extend_from_slice(&tag.to_le_bytes()));
        front.extend_from_slice(object.head);
        let fits = object.tags.len() <= MOST_TAGS && front.len() <= LONGEST_HEAD;
        let mut draft = Draft { front, sum: body_sum(self.seed), length: 0 };
        object.body.iter().for_each(|piece| draft.add(piece));
        fits.then_some(draft)
    }

    /// Whether a file is what was looked for, and was not purged.
    #[must_use]
    pub fn is_good(&self, named: &Named<'_>, front: &Front) -> bool {
        front.key() == named.text && self.unbanned(front.key(), front.bans(), || front.tags()).is_some()
    }

    /// Whether the body of a file has to be compared with its sum before it is sent.
    #[must_use]
    pub fn is_unproven(&self, filed: &Filed, front: &Front) -> bool {
        filed.unproven && front.life() != self.read(layout::LIFE)
    }

    /// It was compared.
    pub fn proven(&self, filed: &Filed) {
        if let Where::Disk { size, .. } = filed.entry.place() {
            let tags = filed.name.tags();
            let proven = tags.entry(Where::Disk { size, found: false }, filed.entry.used() + 1);
            let _ = self.change(filed.at, filed.entry, proven);
        }
    }

    /// The file was of use.
    pub fn used(&self, filed: &Filed) {
        self.touch(filed.at, filed.entry);
    }

    /// The file is not what its entry says: it is another one's, purged, or cannot be read. Remove it.
    pub fn lost(&self, filed: &Filed) {
        let _ = self.remove_entry(filed.at, filed.entry);
    }

    /// A file was found in the directory, of so many bytes. False: nothing will ever lead to it, so it is to be removed. Only
    /// until all those of before have been entered ([`Self::reconcile`]) may one be of use that has no entry: from then on it
    /// has lost that.
    #[must_use]
    pub fn found_file(&self, name: FileName, bytes: u64, now: Time) -> bool {
        let may_enter =
            || !self.has_entered() && self.disk_used().saturating_add(Size::of(bytes).bytes()) <= self.disk;
        self.has_file(name) || may_enter() && self.admit(name, bytes, now)
    }

    /// Whether the files that were there at the start are in the index. Until then a file may lie there without an entry.
    pub(super) fn has_entered(&self) -> bool {
        self.disk == 0 || self.load(layout::ENTERED) == ENTERED
    }

    /// What a file of this hash is called.
    #[must_use]
    pub fn file_name(&self, hash: u128) -> FileName {
        Tags::of(hash).file_name()
    }

    /// A number of this life of the server, for names of files that are not whole.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.read(layout::LIFE)
    }

    /// What checksums begin with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether it is for this worker to tidy up now: it is so every `every`, for one worker.
    #[must_use]
    pub fn takes_upkeep(&self, now: Time, every: Duration) -> bool {
        let seen = self.load(layout::UPKEEP);
        let now = millis(now).max(1);
        let since = now.saturating_sub(seen);
        // What lies in the future is a lie.
        let is_due = seen == 0 || seen > now || u128::from(since) >= every.as_millis();
        is_due && self.exchange(layout::UPKEEP, seen, now)
    }

    /// All files of the directory have been told ([`Self::found_file`]). Has the sum of what they take be that of the entries,
    /// whatever was counted wrongly before.
    pub fn reconcile(&self) {
        if let Some(entered) = self.shared(layout::ENTERED) {
            entered.store(ENTERED, SeqCst);
        }
        let truth = self.census(0..self.sets()).disk_bytes;
        self.count(Count::Files, truth.wrapping_sub(self.sum(Count::Files)));
    }
}

impl Pending {
    /// What is counted for it.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
