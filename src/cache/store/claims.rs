//! One fetch for many: who fetches a key says so by a *claim*, and those who want the same wait for it.
//!
//! A claim is a word in a set of eight, `{tag 22 | state 2 | row 6 | since 34}`, and beside it a word with the rows in which
//! somebody waits. To claim is to *bid* in a free word and then to look at the rest of the set:
//!
//! - another one *holds* it: the bid is withdrawn;
//! - another one bids in a lower word: the bid is withdrawn;
//! - another one bids in a higher word: its bid is taken away;
//!
//! and then to turn the bid into a hold, which fails if the bid was taken away. Of two who bid, the second one sees the first,
//! as bids are made before others are looked for; so two never hold the same. All of it is done in a moment without waiting
//! for anybody. Who finds the claim of another one writes its row down *first* and *then* looks whether the claim is still
//! there; who gives a claim up does so first and then looks who waits: one of the two sees the other.
//!
//! The claims of a worker that died are cleared by the master; any claim ends after [`LASTS`]. Tags may
//! coincide: then somebody waits for the wrong fetch, and looks again when that is over.

use super::index::millis;
use super::layout::{self, CLAIM_SETS, WAYS};
use super::view::View;
use crate::timer::Time;
use std::sync::atomic::Ordering::SeqCst;

/// How long a claim holds, in milliseconds.
const LASTS: u64 = 60_000;
const SINCE: u64 = (1 << 34) - 1;
const BIDS: u64 = 1;
const HOLDS: u64 = 2;
const TRIES: usize = 4;

/// What came of [`View::claim`].
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// Fetch it, and give the claim up whatever comes of it.
    Mine(Claimed),
    /// Another request fetches it, perhaps of this worker. This worker is poked when that is over: then look again.
    Somebody,
    /// There are too many fetches to tell: fetch it, as if nobody else wanted it.
    Crowded,
}

/// The right to fetch something. It must be given up by [`View::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Claimed {
    at: usize,
    word: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Word {
    tag: u64,
    state: u64,
    row: u16,
    since: u64,
}

impl Word {
    /// The word is a number from a stranger: of an unknown state it holds, until its time is over.
    fn decode(word: u64) -> Option<Self> {
        let of = Self {
            tag: word >> 42,
            state: word >> 40 & 3,
            row: (word >> 34 & 63) as u16,
            since: word & SINCE,
        };
        (word != 0).then_some(of)
    }

    fn encode(self) -> u64 {
        self.tag << 42 | self.state << 40 | u64::from(self.row & 63) << 34 | self.since & SINCE
    }

    /// Also one that lies in the future, as a liar would have it.
    fn is_over(self, now: u64) -> bool {
        (now & SINCE).wrapping_sub(self.since) & SINCE > LASTS
    }
}

fn tag(hash: u128) -> u64 {
    (hash >> 64) as u64 & ((1 << 22) - 1)
}

fn set(hash: u128) -> usize {
    layout::claims((hash >> 86) as usize % CLAIM_SETS)
}

impl View<'_> {
    /// Asks for the right to fetch what has this hash. Adds to `poke` the rows that are to be poked, as bits: requests in them
    /// wait for a bid that was withdrawn.
    pub fn claim(&self, hash: u128, now: Time, poke: &mut u64) -> Claim {
        let (first, tag, now) = (set(hash), tag(hash), millis(now));
        for _ in 0..TRIES {
            if let Some(other) = self.other(first, tag, None, now) {
                if self.waits_for(other) {
                    return Claim::Somebody;
                }
                continue;
            }
            let free = |at: &usize| Word::decode(self.load(*at)).is_none_or(|word| word.is_over(now));
            let Some(at) = (first..first + WAYS).find(free) else { return Claim::Crowded };
            let seen = self.load(at);
            let bid = Word { tag, state: BIDS, row: self.row, since: now };
            let is_taken = Word::decode(seen).is_some_and(|word| !word.is_over(now));
            if is_taken || !self.exchange(at, seen, bid.encode()) {
                continue;
            }
            let hold = Word { state: HOLDS, ..bid }.encode();
            if self.outbids(first, at, tag, now, poke) && self.exchange(at, bid.encode(), hold) {
                return Claim::Mine(Claimed { at, word: hold });
            }
            if self.exchange(at, bid.encode(), 0) {
                *poke |= self.take_waiting(at);
            }
        }
        Claim::Crowded
    }

    /// Another word of that tag.
    fn other(&self, first: usize, tag: u64, own: Option<usize>, now: u64) -> Option<usize> {
        (first..first + WAYS)
            .filter(|at| Some(*at) != own)
            .find(|at| Word::decode(self.load(*at)).is_some_and(|word| word.tag == tag && !word.is_over(now)))
    }

    /// Whether no other bid or hold goes before the bid at `own`.
    fn outbids(&self, first: usize, own: usize, tag: u64, now: u64, poke: &mut u64) -> bool {
        (first..first + WAYS).filter(|at| *at != own).all(|at| {
            let seen = self.load(at);
            match Word::decode(seen).filter(|word| word.tag == tag && !word.is_over(now)) {
                None => true,
                Some(word) if word.state == BIDS && at > own => {
                    let taken = self.exchange(at, seen, 0);
                    *poke |= if taken { self.take_waiting(at) } else { 0 };
                    taken
                }
                Some(_) => false,
            }
        })
    }

    /// Writes down that this worker waits for that claim; whether it is still there.
    fn waits_for(&self, at: usize) -> bool {
        let seen = self.load(at);
        if let Some(waits) = self.shared(at + WAYS) {
            waits.fetch_or(1_u64.checked_shl(u32::from(self.row)).unwrap_or(0), SeqCst);
        }
        let now = self.load(at);
        // A bid that became a hold meanwhile is as good.
        now != 0 && (now ^ seen) & !(3 << 40) == 0
    }

    /// Gives it up: what was fetched is kept, or will not be. The rows come back that are to be poked, as bits: in them
    /// requests wait, also in this worker's own.
    pub fn release(&self, claimed: Claimed) -> u64 {
        // Whatever is there by now is another one's.
        if self.exchange(claimed.at, claimed.word, 0) { self.take_waiting(claimed.at) } else { 0 }
    }

    fn take_waiting(&self, at: usize) -> u64 {
        self.shared(at + WAYS).map_or(0, |waits| waits.swap(0, SeqCst))
    }

    /// Clears what a worker has left that was reaped. The rows come back that are to be poked.
    pub(super) fn release_all_of(&self, row: u16) -> u64 {
        let sets = (0..CLAIM_SETS).map(layout::claims);
        let mut poke = 0;
        for at in sets.flat_map(|first| first..first + WAYS) {
            let seen = self.load(at);
            if Word::decode(seen).is_some_and(|word| word.row == row) && self.exchange(at, seen, 0) {
                poke |= self.take_waiting(at);
            }
        }
        poke
    }
}
