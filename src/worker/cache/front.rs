//! What a worker has found in the cache lately, ready to be sent: a response that many ask for is decoded and encoded once, and
//! not copied for each of them. The store is asked each time whether it is still what is kept.

use crate::buf::{OpenFile, Segment};
use crate::cache::status::Note;
use crate::cache::stored::Head;
use crate::cache::{self, Millis, serve};
use crate::http::date::ImfDate;
use crate::worker::heads::SharedHead;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes of all of them, about; then those go that are on their way to nobody. The others take no more for being known here: all
/// clients that are sent one share it, however slow they are.
const MOST: usize = 16 << 20;

/// A response that is kept.
pub(in crate::worker) struct Kept {
    pub(in crate::worker) head: Head,
    pub(in crate::worker) body: Body,
    /// When it was made.
    pub(in crate::worker) date: ImfDate,
    /// The head as it leaves in this second.
    prepared: RefCell<Option<(u64, Rc<SharedHead>)>>,
}

/// Its body.
#[derive(Clone)]
pub(in crate::worker) enum Body {
    /// From `start` on.
    Memory { data: Rc<[u8]>, start: usize },
    /// So many bytes of a file, from there on.
    File { file: Rc<OpenFile>, offset: u64, len: u64 },
}

impl Body {
    /// In bytes.
    pub(in crate::worker) fn len(&self) -> u64 {
        match self {
            Self::Memory { data, start } => data.len().saturating_sub(*start) as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// All of it.
    pub(in crate::worker) fn whole(&self) -> Segment {
        self.part(0, self.len())
    }

    /// So many bytes of it.
    pub(in crate::worker) fn part(&self, first: u64, count: u64) -> Segment {
        let mut segment = match self {
            Self::Memory { data, start } => {
                Segment::Shared { data: Rc::clone(data), start: *start, end: data.len() }
            }
            Self::File { file, offset, len } => {
                Segment::File { file: Rc::clone(file), offset: *offset, len: *len, stamp: None }
            }
        };
        segment.advance(first);
        segment.truncate(count);
        segment
    }
}

impl Kept {
    pub(in crate::worker) fn new(head: Head, body: Body) -> Self {
        let date = ImfDate::new(head.life.date);
        Self { head, body, date, prepared: RefCell::default() }
    }

    /// The head for who is answered at once and in full, as it is in this second.
    pub(in crate::worker) fn prepared(&self, now: Millis) -> Rc<SharedHead> {
        let second = now / cache::SECOND;
        let mut prepared = self.prepared.borrow_mut();
        match &*prepared {
            Some((of, prepared)) if *of == second => Rc::clone(prepared),
            _ => {
                let note = Note { ttl: Some(self.head.life.ttl(now)), ..Note::default() };
                let length = self.body.len();
                let head = serve::response(self.head.clone(), &serve::Plan::Whole, length, &note, now);
                let made = Rc::new(SharedHead::new(&head, length));
                *prepared = Some((second, Rc::clone(&made)));
                made
            }
        }
    }

    /// Bytes that it takes, about.
    fn weight(&self) -> usize {
        let fields: usize = self.head.fields.iter().map(|(name, value)| name.len() + value.len() + 20).sum();
        let body = match &self.body {
            Body::Memory { data, .. } => data.len(),
            Body::File { .. } => 0,
        };
        // The fields, and their two encodings.
        body + 3 * fields + 512
    }

    /// Whether somebody is being sent it.
    fn is_on_its_way(&self) -> bool {
        matches!(&self.body, Body::Memory { data, .. } if Rc::strong_count(data) > 1)
    }
}

/// By the hash of its key, with what tells whether it is still the same.
pub(super) struct Front<S> {
    by_hash: HashMap<u128, (S, Rc<Kept>)>,
    weight: usize,
}

impl<S> Default for Front<S> {
    fn default() -> Self {
        Self { by_hash: HashMap::new(), weight: 0 }
    }
}

impl<S> Front<S> {
    /// What was found there the last time.
    pub(super) fn get(&self, hash: u128) -> Option<&(S, Rc<Kept>)> {
        self.by_hash.get(&hash)
    }

    /// Keeps it.
    pub(super) fn put(&mut self, hash: u128, seen: S, kept: &Rc<Kept>) {
        let weight = kept.weight();
        if self.weight.saturating_add(weight) > MOST {
            self.by_hash.retain(|_, (_, kept)| kept.is_on_its_way());
            self.weight = self.by_hash.values().map(|(_, kept)| kept.weight()).sum();
        }
        self.weight = self.weight.saturating_add(weight);
        if let Some((_, before)) = self.by_hash.insert(hash, (seen, Rc::clone(kept))) {
            self.weight = self.weight.saturating_sub(before.weight());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::stored::Life;
    use crate::http::{Fields, Status};

    fn kept(size: usize) -> Rc<Kept> {
        let (status, life) = (Status(200), Life::default());
        let head = Head { status, reason: None, fields: Fields::new(), life, tags: Vec::new() };
        Rc::new(Kept::new(head, Body::Memory { data: Rc::from(vec![0; size]), start: 0 }))
    }

    #[test]
    fn what_is_on_its_way_is_had_once_however_large_and_however_many_want_it() {
        let mut front = Front::default();
        front.put(1, 7, &kept(MOST));
        let sent: Vec<Segment> = (0..100).map(|_| front.get(1).unwrap().1.body.whole()).collect();
        // Others, more than there is room for.
        for hash in 2..40 {
            front.put(hash, 7, &kept(1 << 20));
        }
        let (seen, large) = front.get(1).unwrap();
        assert_eq!(*seen, 7);
        let Body::Memory { data, .. } = &large.body else { panic!("it is in memory") };
        assert_eq!(Rc::strong_count(data), 101, "all have the same");
        drop(sent);
        front.put(40, 7, &kept(1));
        assert!(front.get(1).is_none(), "nobody is sent it any more");
        assert!(front.get(40).is_some());
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut front = Front::default();
        for hash in 0..1000 {
            front.put(hash, (), &kept(100 << 10));
            let held: usize = front.by_hash.values().map(|(_, kept)| kept.weight()).sum();
            assert!(held <= MOST && held == front.weight, "{held} {}", front.weight);
        }
        assert!(front.by_hash.len() > 1);
        // One and the same again and again counts once.
        let weight = front.weight;
        for _ in 0..3 {
            front.put(999, (), &kept(100 << 10));
        }
        assert!(front.weight <= MOST.min(weight + (100 << 10) + 512), "{}", front.weight);
    }
}
