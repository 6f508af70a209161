//! The store as the master has it: it makes the memory, clears what dead workers left, and purges.

use super::bans::Ban;
use super::layout::{self, Layout, Sizes};
use super::view::{COUNTS, View};
use crate::cache::hash::Secret;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct MasterStore<'a>(View<'a>);

impl<'a> Deref for MasterStore<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.0
    }
}

impl<'a> MasterStore<'a> {
    /// The store in these words, all of which can be written.
    #[must_use]
    pub fn new(words: &'a [AtomicU64], sizes: Sizes) -> Self {
        Self(View::whole(words, sizes))
    }

    /// Whether the words are a store of these sizes, laid out as this program does.
    #[must_use]
    pub fn is_ours(self) -> bool {
        self.0.read(layout::MARK) == self.0.layout.mark()
    }

    /// Marks zeroed words as a store. Once, before anybody else sees them. `secret`: what hashes begin with; another one than
    /// before finds no file again. `life`: a number that no other life of the server has.
    pub fn begin(self, Secret(secret): Secret, life: u64) {
        self.set(layout::SECRET, secret[0]);
        self.set(layout::SECRET + 1, secret[1]);
        self.set(layout::LIFE, life.max(1));
        if let Some(hand) = self.0.shared(layout::HAND) {
            hand.store(self.0.layout.chunks as u64, SeqCst);
        }
        self.set(layout::MARK, self.0.layout.mark());
    }

    fn set(self, at: usize, value: u64) {
        if let Some(word) = self.0.all().get(at) {
            word.store(value, SeqCst);
        }
    }

    /// A worker is about to be forked for that row.
    pub fn seat(self, row: u16) {
        let used = self.0.read(layout::ROWS_USED);
        self.set(layout::ROWS_USED, used.max(u64::from(row) + 1));
    }

    /// A worker was reaped: what it counted goes into the sums, what it fetched may be fetched by others. Then release the
    /// words of [`Layout::area`]. Rows come back that are to be poked, as bits.
    pub fn worker_left(self, row: u16) -> u64 {
        if let Some(area) = Layout::area(row) {
            for what in COUNTS {
                let at = layout::PAST + what as usize;
                let sum = self.0.read(at).wrapping_add(self.0.read(area.start + what as usize));
                self.set(at, sum);
            }
        }
        self.0.release_all_of(row)
    }

    /// Purges what is kept and what is being fetched.
    pub fn ban(self, ban: &Ban<'_>) {
        self.0.write_ban(ban);
    }

    /// All bans, for a file that outlives this life.
    #[must_use]
    pub fn bans(self) -> Vec<u8> {
        self.0.bans_as_bytes()
    }

    /// Puts back what [`Self::bans`] has said. What is not whole purges all that is older.
    pub fn restore(self, bans: &[u8]) {
        self.0.restore_bans(bans);
    }
}
