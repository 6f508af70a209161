//! What a worker has found in the cache lately, ready to be sent: a response that many ask for is decoded and encoded once, and
//! not copied for each of them. The store is asked each time whether it is still what is kept.

use crate::buf::{OpenFile, Segment};
use crate::cache::status::Note;
use crate::cache::store::Seen;
use crate::cache::stored::Head;
use crate::cache::{self, Millis, serve};
use crate::http::date::ImfDate;
use crate::worker::heads::SharedHead;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes of all of them, about; then it begins anew.
const MOST: usize = 16 << 20;
/// Of one of them: a larger one is copied for each client.
const LARGEST: usize = 64 << 10;

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
}

/// By the hash of its key, with what tells whether it is still the same.
#[derive(Default)]
pub(super) struct Front {
    by_hash: HashMap<u128, (Seen, Rc<Kept>)>,
    weight: usize,
}

impl Front {
    /// What was found there the last time.
    pub(super) fn get(&self, hash: u128) -> Option<&(Seen, Rc<Kept>)> {
        self.by_hash.get(&hash)
    }

    /// Keeps it, if it is not large.
    pub(super) fn put(&mut self, hash: u128, seen: Seen, kept: &Rc<Kept>) {
        let weight = kept.weight();
        if weight > LARGEST {
            return;
        }
        if self.weight + weight > MOST {
            self.by_hash.clear();
            self.weight = 0;
        }
        self.weight += weight;
        if let Some((_, before)) = self.by_hash.insert(hash, (seen, Rc::clone(kept))) {
            self.weight = self.weight.saturating_sub(before.weight());
        }
    }
}
