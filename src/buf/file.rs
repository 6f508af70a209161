//! An open file that is sent from, and which parts of it were found in memory lately.

use crate::timer::Time;
use std::cell::RefCell;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor, shared by all responses that send from it. Pure: others ask the kernel, this only remembers, block by
/// block, so that many clients at distant places of a file do not make each other ask again.
pub struct OpenFile {
    fd: Box<dyn AsFd>,
    /// Whose file system it lies on, if that may not answer.
    far: Option<Far>,
    /// Until when each block is believed to be in memory.
    near: RefCell<Vec<Time>>,
}

/// Who has brought a file of a file system that may not answer: one over a network, or one in user space. Only threads
/// that may wait touch such a file, and those of one origin do not hold up those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Far {
    /// A static root, by its number.
    Root(u32),
    /// An app, by its place in the configuration.
    App(usize),
}

/// Bytes that are remembered together.
const BLOCK: u64 = 512 * 1024;

/// Blocks beyond are not remembered: eight bytes each, and files of half a terabyte are rare.
const MOST: u64 = 1 << 20;

impl OpenFile {
    /// Of something that holds a descriptor, and says what becomes of it in the end.
    #[must_use]
    pub(crate) fn of(holder: impl AsFd + 'static) -> Self {
        Self { fd: Box::new(holder), far: None, near: RefCell::default() }
    }

    /// The same, of a file that may not answer.
    #[must_use]
    pub(crate) fn brought_by(mut self, far: Far) -> Self {
        self.far = Some(far);
        self
    }

    /// Who has brought it, if its file system may not answer: then it is read by a thread, and nothing else is done to it.
    #[must_use]
    pub(crate) fn far(&self) -> Option<Far> {
        self.far
    }

    /// The part of `range` that is not known to be in memory: without the blocks at its beginning that are.
    #[must_use]
    pub(crate) fn unknown(&self, range: &Range<u64>, now: Time) -> Range<u64> {
        let near = self.near.borrow();
        let mut from = range.start;
        while from < range.end {
            let block = from / BLOCK;
            let until = usize::try_from(block).ok().and_then(|block| near.get(block));
            if until.is_none_or(|until| *until <= now) {
                break;
            }
            from = (block + 1).saturating_mul(BLOCK);
        }
        from.min(range.end)..range.end
    }

    /// Remembers the blocks that lie in `range` as a whole: they are in memory. `size` is that of the file, whose last
    /// block ends there.
    pub(crate) fn found_near(&self, range: &Range<u64>, size: u64, until: Time) {
        let first = range.start.div_ceil(BLOCK);
        let end = if range.end >= size { range.end.div_ceil(BLOCK) } else { range.end / BLOCK };
        let mut near = self.near.borrow_mut();
        for block in first..end.min(MOST) {
            let block = block as usize;
            if near.len() <= block {
                near.resize(block + 1, Time::ZERO);
            }
            if let Some(place) = near.get_mut(block) {
                *place = until;
            }
        }
    }
}

impl From<OwnedFd> for OpenFile {
    fn from(fd: OwnedFd) -> Self {
        Self::of(fd)
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OpenFile").field(&self.as_fd()).finish()
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_are_remembered_for_a_while() {
        let file = OpenFile::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let (size, soon) = (3 * BLOCK + 7, Time(100));
        let unknown = |range: Range<u64>| file.unknown(&range, Time(50));
        assert_eq!(unknown(0..size), 0..size);
        // A part of a block says nothing of the rest of it.
        file.found_near(&(1..BLOCK), size, soon);
        assert_eq!(unknown(0..BLOCK), 0..BLOCK);
        file.found_near(&(BLOCK..2 * BLOCK + 5), size, soon);
        assert_eq!(unknown(BLOCK + 9..2 * BLOCK), 2 * BLOCK..2 * BLOCK, "known as a whole");
        assert_eq!(unknown(BLOCK + 9..2 * BLOCK + 1), 2 * BLOCK..2 * BLOCK + 1);
        assert_eq!(unknown(0..2 * BLOCK), 0..2 * BLOCK, "what is known behind a gap does not count");
        // The last block ends with the file.
        file.found_near(&(2 * BLOCK..size), size, soon);
        assert_eq!(unknown(BLOCK..size), size..size);
        assert_eq!(file.unknown(&(BLOCK..size), soon), BLOCK..size, "forgotten");
        assert_eq!(unknown(size..size), size..size);
        assert_eq!(unknown(u64::MAX - 1..u64::MAX), u64::MAX - 1..u64::MAX);
        file.found_near(&(MOST * BLOCK..(MOST + 1) * BLOCK), u64::MAX, soon);
        assert!(file.near.borrow().len() < 8, "far beyond is not remembered");
    }
}
