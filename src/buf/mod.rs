//! The one currency between handler and socket: a [`Segment`] of bytes, of a file or in a pipe, and a [`Queue`] of segments.
//! Pure: a file segment names a descriptor and never reads it; `sys::transfer` moves the bytes.

mod file;
mod pipe;

pub(crate) use file::{Far, OpenFile};
pub(crate) use pipe::Pipe;

use std::collections::VecDeque;
use std::rc::Rc;

/// A piece of a body or of an encoded head.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Bytes of its own, from `start` on.
    Owned {
        /// The allocation.
        data: Vec<u8>,
        /// How much of it has been consumed.
        start: usize,
    },
    /// Bytes shared with others, such as a cached file.
    Shared {
        /// The allocation.
        data: Rc<[u8]>,
        /// First byte not consumed.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// `len` bytes of a file from `offset` on.
    File {
        /// The open file.
        file: Rc<OpenFile>,
        /// First byte not consumed.
        offset: u64,
        /// How many bytes are left.
        len: u64,
        /// What the file must still be whenever a part of it is sent; `None` where nobody else can change it.
        stamp: Option<Stamp>,
    },
    /// The next `len` bytes in a pipe, which nobody has read.
    Pipe {
        /// The pipe, in which nothing else is queued.
        pipe: Rc<Pipe>,
        /// How many bytes are left.
        len: u64,
    },
}

/// What tells that the content of a file has changed: plain data, compared before each slice of it is sent, so that a
/// response does not mix two states of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    /// Last modification: seconds and nanoseconds.
    pub(crate) modified: (i64, u32),
}

impl Segment {
    /// How many bytes are left.
    #[must_use]
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::File { len, .. } | Self::Pipe { len, .. } => *len,
            bytes => bytes.as_bytes().len() as u64,
        }
    }

    /// Whether nothing is left.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes in memory; empty for a file and a pipe.
    #[must_use]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Owned { data, start } => data.get(*start..).unwrap_or_default(),
            Self::Shared { data, start, end } => data.get(*start..*end).unwrap_or_default(),
            Self::File { .. } | Self::Pipe { .. } => &[],
        }
    }

    /// Bytes of memory that are its own, or the kernel's on its account.
    fn own(&self) -> u64 {
        match self {
            Self::Owned { data, .. } => data.capacity() as u64,
            Self::Pipe { len, .. } => *len,
            Self::Shared { .. } | Self::File { .. } => 0,
        }
    }

    /// The same bytes, to be had more than once without a copy.
    fn shared(self) -> Self {
        match self {
            Self::Owned { data, start } => {
                let end = data.len();
                Self::Shared { data: Rc::from(data), start, end }
            }
            other => other,
        }
    }

    /// Drops the first `count` bytes, or all there are.
    pub(crate) fn advance(&mut self, count: u64) {
        match self {
            Self::Owned { start, .. } | Self::Shared { start, .. } => {
                *start = start.saturating_add(size(count))
            }
            Self::File { offset, len, .. } => {
                let count = count.min(*len);
                *offset = offset.saturating_add(count);
                *len -= count;
            }
            Self::Pipe { pipe, len } => {
                let count = count.min(*len);
                pipe.drained(count);
                *len -= count;
            }
        }
    }

    /// Keeps only the first `count` bytes. What is cut off in a pipe stays there: nothing may follow it.
    pub(crate) fn truncate(&mut self, count: u64) {
        match self {
            Self::Owned { data, start } => data.truncate(start.saturating_add(size(count))),
            Self::Shared { start, end, .. } => *end = (*end).min(start.saturating_add(size(count))),
            Self::File { len, .. } | Self::Pipe { len, .. } => *len = (*len).min(count),
        }
    }
}

/// A number of bytes as one of bytes in memory: what does not fit is more than there can be.
fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

impl From<Vec<u8>> for Segment {
    fn from(data: Vec<u8>) -> Self {
        Self::Owned { data, start: 0 }
    }
}

/// What may be written next.
#[derive(Debug)]
pub(crate) enum Front<'a> {
    /// Nothing.
    Empty,
    /// Bytes, the only segment.
    Only(&'a [u8]),
    /// Bytes, and more after them, so many segments in all; gather them with [`Queue::slices`].
    Bytes(usize),
    /// So many bytes in a pipe.
    Pipe(&'a Pipe, u64),
    /// A slice of a file.
    File {
        /// The open file.
        file: &'a Rc<OpenFile>,
        /// Where to begin.
        offset: u64,
        /// How much is left of it.
        len: u64,
        /// What the file must still be.
        stamp: Option<Stamp>,
    },
}

/// Segments in the order in which they leave.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    segments: VecDeque<Segment>,
    /// Bytes left, files included. An app may announce a file of any length, and several of them; so many segments that
    /// this wraps do not fit into memory.
    length: u128,
    /// Bytes left in memory; what is shared counts each time.
    memory: u64,
    /// So many bytes at the end may not be written yet.
    later: u64,
}

/// Small writes are merged into the last owned segment while it stays below this.
const MERGE_BELOW: usize = 16 * 1024;

/// Shorter pieces are cheaper to copy than to write as segments of their own.
pub(crate) const SHARE_FROM: u64 = 8 * 1024;

/// The first `count` bytes of what is in memory.
fn first(segment: &Segment, count: u64) -> &[u8] {
    let bytes = segment.as_bytes();
    bytes.get(..size(count)).unwrap_or(bytes)
}

impl Queue {
    /// An empty queue; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes left, files included; `u64::MAX` if they are more.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.length).unwrap_or(u64::MAX)
    }

    /// Bytes left that occupy memory (files do not, what is in a pipe does).
    #[must_use]
    pub fn memory(&self) -> usize {
        usize::try_from(self.memory).unwrap_or(usize::MAX)
    }

    /// Bytes of memory that are its own, pipes included: all of an allocation until the last of it has left, and nothing of what
    /// is shared.
    #[must_use]
    pub(crate) fn own(&self) -> u64 {
        // Mostly there is nothing.
        if self.memory == 0 { 0 } else { self.segments.iter().map(Segment::own).sum() }
    }

    /// Only so many bytes may be written now; the others are left all the same.
    pub(crate) fn release(&mut self, count: u64) {
        self.later = self.len().saturating_sub(count);
    }

    /// Bytes that may be written now.
    #[must_use]
    pub(crate) fn released(&self) -> u64 {
        self.len().saturating_sub(self.later)
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a segment at the end; an empty one is dropped, and a short one joins the last where that has room for it.
    pub(crate) fn push(&mut self, segment: Segment) {
        let len = segment.len();
        if len == 0 {
            return;
        }
        if let (true, Some(Segment::Owned { data, .. }), Segment::Owned { .. }) =
            (len < SHARE_FROM, self.segments.back_mut(), &segment)
            && data.capacity() - data.len() >= size(len)
        {
            data.extend_from_slice(segment.as_bytes());
            self.length += u128::from(len);
            self.memory += len;
            return;
        }
        self.length += u128::from(len);
        if !matches!(segment, Segment::File { .. }) {
            self.memory += len;
        }
        self.segments.push_back(segment);
    }

    /// Adds a copy of `bytes`, merged into the last segment if that is small and owned.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.segments.back_mut() {
            Some(Segment::Owned { data, .. }) if data.len().saturating_add(bytes.len()) <= MERGE_BELOW => {
                data.extend_from_slice(bytes);
                self.length += bytes.len() as u128;
                self.memory += bytes.len() as u64;
            }
            _ => self.push(Segment::from(bytes.to_vec())),
        }
    }

    /// A buffer to encode into: `write` appends to the last small owned segment, or to a new one.
    pub(crate) fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.encode_with(512, write);
    }

    /// As [`Self::encode`], for about `expected` bytes.
    pub(crate) fn encode_with(&mut self, expected: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let reuse =
            matches!(self.segments.back(), Some(Segment::Owned { data, .. }) if data.len() < MERGE_BELOW);
        if !reuse {
            self.segments.push_back(Segment::from(Vec::with_capacity(expected)));
        }
        if let Some(Segment::Owned { data, .. }) = self.segments.back_mut() {
            let before = data.len();
            write(data);
            let added = data.len().saturating_sub(before);
            self.length += added as u128;
            self.memory += added as u64;
        }
        if self.segments.back().is_some_and(Segment::is_empty) {
            self.segments.pop_back();
        }
    }

    /// The first segment, which leaves it.
    pub(crate) fn pop(&mut self) -> Option<Segment> {
        let first = self.segments.pop_front()?;
        self.length -= u128::from(first.len());
        if !matches!(first, Segment::File { .. }) {
            self.memory -= first.len();
        }
        Some(first)
    }

    /// Has all bytes to be had more than once: the queue can be cloned without a copy of them.
    pub(crate) fn share(&mut self) {
        let segments = std::mem::take(&mut self.segments);
        self.segments = segments.into_iter().map(Segment::shared).collect();
    }

    /// Moves everything of `other` to the end of this queue.
    pub fn append(&mut self, other: &mut Self) {
        self.segments.append(&mut other.segments);
        self.length += std::mem::take(&mut other.length);
        self.memory += std::mem::take(&mut other.memory);
    }

    /// Moves the first `count` bytes, or all there are, to the end of `out`. Of what has one owner and is parted, and of what
    /// is short, the bytes are copied.
    pub(crate) fn move_to(&mut self, out: &mut Self, mut count: u64) {
        while let Some(front) = self.segments.front().filter(|_| count > 0) {
            let take = front.len().min(count);
            match front {
                Segment::Shared { .. } if take < SHARE_FROM => {
                    out.encode_with(size(take), |out| out.extend_from_slice(first(front, take)))
                }
                Segment::File { .. } | Segment::Shared { .. } | Segment::Pipe { .. } => {
                    if let Segment::Pipe { pipe, .. } = front {
                        // It stays there, though it leaves this queue.
                        pipe.filled(take);
                    }
                    let mut part = front.clone();
                    part.truncate(take);
                    out.push(part);
                }
                Segment::Owned { .. } => {
                    out.encode_with(size(take), |out| out.extend_from_slice(first(front, take)))
                }
            }
            self.consume(take);
            count -= take;
        }
    }

    /// Whether a part of a file is first.
    pub(crate) fn begins_with_file(&self) -> bool {
        matches!(self.segments.front(), Some(Segment::File { .. }))
    }

    /// What may be written next.
    #[must_use]
    pub(crate) fn front(&self) -> Front<'_> {
        let most = self.released();
        match self.segments.front().filter(|_| most > 0) {
            None => Front::Empty,
            Some(Segment::File { file, offset, len, stamp }) => {
                Front::File { file, offset: *offset, len: (*len).min(most), stamp: *stamp }
            }
            Some(Segment::Pipe { pipe, len }) => Front::Pipe(pipe, (*len).min(most)),
            Some(bytes) if self.segments.len() == 1 => Front::Only(first(bytes, most)),
            Some(_) => Front::Bytes(self.segments.len()),
        }
    }

    /// The byte slices before the first file or pipe, at most `most`, and whether more (of anything) follows them.
    pub fn slices<'a>(&'a self, most: usize, mut each: impl FnMut(&'a [u8])) -> bool {
        let mut left = self.released();
        for (index, segment) in self.segments.iter().enumerate() {
            if index == most || left == 0 || matches!(segment, Segment::File { .. } | Segment::Pipe { .. }) {
                return true;
            }
            let bytes = first(segment, left);
            left -= bytes.len() as u64;
            each(bytes);
        }
        false
    }

    /// What is left, in order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Drops the first `count` bytes: they were written.
    pub fn consume(&mut self, mut count: u64) {
        if u128::from(count) >= self.length {
            // Mostly.
            for segment in self.segments.drain(..) {
                if let Segment::Pipe { pipe, len } = segment {
                    pipe.drained(len);
                }
            }
            (self.length, self.memory) = (0, 0);
            return;
        }
        while count > 0 {
            let Some(front) = self.segments.front_mut() else { return };
            let take = front.len().min(count);
            let in_memory = !matches!(front, Segment::File { .. });
            front.advance(take);
            if front.is_empty() {
                self.segments.pop_front();
            }
            self.length -= u128::from(take);
            if in_memory {
                self.memory -= take;
            }
            count -= take;
        }
    }

    /// Puts bytes that were read from the file which stands first in the place of that part of it.
    pub(crate) fn supply(&mut self, bytes: Vec<u8>) {
        let Some(Segment::File { len, .. }) = self.segments.front() else { return };
        let taken = (*len).min(bytes.len() as u64);
        if let Some(file) = self.segments.front_mut() {
            file.advance(taken);
            if file.is_empty() {
                self.segments.pop_front();
            }
        }
        let mut segment = Segment::from(bytes);
        segment.truncate(taken);
        self.memory += segment.as_bytes().len() as u64;
        self.segments.push_front(segment);
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(queue: &Queue) -> Vec<u8> {
        let mut all = Vec::new();
        queue.slices(usize::MAX, |slice| all.extend_from_slice(slice));
        all
    }

    #[test]
    fn what_goes_in_comes_out_whatever_the_cuts() {
        for step in 1..20 {
            let mut queue = Queue::new();
            queue.extend(b"HTTP/1.1 200 OK\r\n");
            queue.push(Segment::from(b"static".to_vec()));
            queue.push(Segment::Shared { data: Rc::from(&b"xxsharedxx"[..]), start: 2, end: 8 });
            queue.push(Segment::from(b"".to_vec()));
            queue.extend(b"end");
            queue.encode(|out| out.extend_from_slice(b"ing"));
            let whole = bytes(&queue);
            assert_eq!(whole, b"HTTP/1.1 200 OK\r\nstaticsharedending");
            let mut out = Vec::new();
            while !queue.is_empty() {
                let now = bytes(&queue);
                let take = step.min(now.len());
                out.extend_from_slice(&now[..take]);
                queue.consume(take as u64);
                assert_eq!(queue.memory() as u64, queue.len());
            }
            assert_eq!(out, whole);
        }
    }

    #[test]
    fn what_was_read_from_a_file_stands_in_its_place() {
        let file = || Rc::new(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into());
        let mut queue = Queue::new();
        queue.push(Segment::File { file: file(), offset: 10, len: 6, stamp: None });
        queue.extend(b" tail");
        queue.supply(b"1234".to_vec());
        assert_eq!((queue.len(), queue.memory(), bytes(&queue)), (11, 9, b"1234".to_vec()));
        queue.consume(4);
        assert!(matches!(queue.front(), Front::File { offset: 14, len: 2, .. }));
        queue.supply(b"567".to_vec());
        assert_eq!((queue.len(), queue.memory(), bytes(&queue)), (7, 7, b"56 tail".to_vec()));
        queue.supply(b"no file".to_vec());
        assert_eq!(queue.len(), 7);
    }

    #[test]
    fn what_is_in_a_pipe_is_counted_until_it_has_left() {
        let pipe = Rc::new(Pipe::new(crate::sys::fd::pipe().unwrap()));
        pipe.filled(10);
        let (mut queue, mut out) = (Queue::new(), Queue::new());
        queue.extend(b"head");
        queue.push(Segment::Pipe { pipe: Rc::clone(&pipe), len: 10 });
        queue.extend(b"tail");
        assert_eq!((queue.len(), queue.memory(), bytes(&queue)), (18, 18, b"head".to_vec()));
        queue.consume(7);
        assert!(matches!(queue.front(), Front::Pipe(_, 7)) && pipe.held() == 7);
        queue.move_to(&mut out, 3);
        assert_eq!((queue.len(), out.len(), pipe.held()), (8, 3, 7));
        out.consume(3);
        queue.consume(5);
        assert_eq!((pipe.held(), Rc::strong_count(&pipe), bytes(&queue)), (0, 1, b"ail".to_vec()));
        // What is dropped in a queue stays in the pipe.
        pipe.filled(4);
        queue.push(Segment::Pipe { pipe: Rc::clone(&pipe), len: 4 });
        queue.clear();
        assert_eq!((pipe.held(), Rc::strong_count(&pipe)), (4, 1));
        // So does what leaves it as it is.
        queue.push(Segment::Pipe { pipe: Rc::clone(&pipe), len: 4 });
        let popped = queue.pop();
        assert_eq!((queue.len(), queue.memory(), pipe.held()), (0, 0, 4));
        drop(popped);
    }

    #[test]
    fn what_may_not_leave_yet_is_not_shown_and_is_left() {
        let file = || Rc::new(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into());
        let mut queue = Queue::new();
        queue.extend(b"head");
        queue.push(Segment::File { file: file(), offset: 0, len: 100, stamp: None });
        queue.extend(b"tail");
        let mut sent = 0;
        while !queue.is_empty() {
            queue.release(3);
            let before = queue.len();
            let mut shown = 0;
            match queue.front() {
                Front::File { len, .. } => shown = len,
                Front::Only(bytes) => shown = bytes.len() as u64,
                _ => _ = queue.slices(9, |slice| shown += slice.len() as u64),
            }
            assert!((1..=3).contains(&shown) && queue.released() == 3.min(before), "{shown}");
            queue.consume(shown);
            sent += shown;
            assert_eq!(queue.len(), before - shown);
            queue.release(0);
            assert!(matches!(queue.front(), Front::Empty));
        }
        assert_eq!(sent, 108);
        queue.extend(b"more");
        assert_eq!(queue.released(), 4, "of what comes anew nothing is held back");
    }

    #[test]
    fn what_is_moved_is_the_same_whatever_the_cuts() {
        let file = || Rc::new(std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into());
        let long = vec![7; 40_000];
        for step in [1, 9, 5_000, 16_384, 100_000] {
            let mut queue = Queue::new();
            queue.push(Segment::from(b"owned".to_vec()));
            queue.push(Segment::Shared { data: Rc::from(&long[..]), start: 1, end: 39_999 });
            queue.push(Segment::from(long.clone()));
            let (mut out, whole) = (Queue::new(), bytes(&queue));
            while !queue.is_empty() {
                let (before, moved) = (queue.len(), out.len());
                queue.move_to(&mut out, step);
                assert_eq!(before - queue.len(), step.min(before));
                assert_eq!((out.len() - moved, out.memory() as u64), (step.min(before), out.len()));
            }
            assert_eq!(bytes(&out), whole, "{step}");
        }
        let mut queue = Queue::new();
        queue.push(Segment::File { file: file(), offset: 10, len: 100, stamp: None });
        let mut out = Queue::new();
        queue.move_to(&mut out, 40);
        assert!(matches!(out.front(), Front::File { offset: 10, len: 40, .. }) && queue.begins_with_file());
        assert!(matches!(queue.front(), Front::File { offset: 50, len: 60, .. }));
        queue.move_to(&mut out, 1000);
        assert_eq!((queue.len(), out.len(), out.memory()), (0, 100, 0));
    }

    #[test]
    fn a_file_is_not_memory_and_stops_the_slices() {
        let file = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let mut queue = Queue::new();
        queue.extend(b"head");
        queue.push(Segment::File { file: Rc::new(file.into()), offset: 10, len: 1000, stamp: None });
        assert_eq!((queue.len(), queue.memory()), (1004, 4));
        assert!(queue.slices(8, |slice| assert_eq!(slice, b"head")));
        queue.consume(104);
        match queue.front() {
            Front::File { offset, len, .. } => assert_eq!((offset, len), (110, 900)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_allocation_counts_until_the_last_of_it_has_left() {
        let mut queue = Queue::new();
        queue.push(Segment::from(vec![7; 1000]));
        queue.push(Segment::from(vec![8; 500]).shared());
        assert_eq!((queue.own(), queue.memory()), (1000, 1500));
        queue.consume(999);
        assert_eq!((queue.own(), queue.memory()), (1000, 501));
        queue.consume(1);
        assert_eq!((queue.own(), queue.memory(), bytes(&queue)), (0, 500, vec![8; 500]));
    }

    #[test]
    fn lengths_that_an_app_makes_up_do_not_wrap() {
        let file = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let file = Rc::new(OpenFile::from(file));
        let part = |offset, len| Segment::File { file: Rc::clone(&file), offset, len, stamp: None };
        let mut queue = Queue::new();
        queue.push(part(0, u64::MAX));
        queue.push(part(1, u64::MAX - 1));
        queue.extend(b"end");
        assert_eq!((queue.len(), queue.memory(), queue.is_empty()), (u64::MAX, 3, false));
        let mut other = Queue::new();
        other.push(part(0, u64::MAX));
        queue.append(&mut other);
        assert_eq!((other.is_empty(), other.len()), (true, 0));
        queue.consume(u64::MAX);
        queue.consume(u64::MAX - 2);
        assert_eq!(queue.len(), u64::MAX);
        match queue.front() {
            Front::File { offset, len, .. } => assert_eq!((offset, len), (u64::MAX - 1, 1)),
            other => panic!("{other:?}"),
        }
        queue.consume(4);
        assert_eq!((queue.len(), queue.memory()), (u64::MAX, 0));
        queue.consume(u64::MAX);
        queue.consume(u64::MAX);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_segment_ends_where_it_ends_whatever_it_is_told() {
        let file = std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let segments = [
            Segment::from(b"owned".to_vec()),
            Segment::Shared { data: Rc::from(&b"shared"[..]), start: 1, end: 5 },
            Segment::from(b"static".to_vec()),
            Segment::File { file: Rc::new(file.into()), offset: u64::MAX - 5, len: 5, stamp: None },
        ];
        for mut segment in segments {
            segment.truncate(u64::MAX);
            assert!(segment.len() >= 4);
            segment.advance(1);
            segment.advance(u64::MAX);
            segment.advance(u64::MAX);
            assert!(segment.is_empty() && segment.as_bytes().is_empty(), "{segment:?}");
        }
    }
}
