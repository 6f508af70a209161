//! What came and was not taken yet. What is taken stays where it is until nothing more can be, so that it need not be copied.

use std::ops::Range;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// Nothing can be taken of it before more comes.
    pub(super) starved: bool,
}

impl Input {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self { starved: true, ..Self::default() }
    }

    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        self.starved = false;
        if self.rest().is_empty() {
            (self.bytes, self.start) = (bytes, 0);
        } else {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.bytes.extend_from_slice(&bytes);
        }
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The next `count` bytes, or all there are, are taken: where they are.
    pub(super) fn take(&mut self, count: usize) -> Range<usize> {
        let start = self.start;
        self.start = self.bytes.len().min(start.saturating_add(count));
        start..self.start
    }

    /// Nothing can be done before more comes. Kept is what a frame has begun with, and no memory for what came before it.
    pub(super) fn starve(&mut self) {
        (self.bytes, self.start, self.starved) = (self.rest().to_vec(), 0, true);
    }

    /// Bytes that were taken.
    pub(super) fn at(&self, at: Range<usize>) -> &[u8] {
        self.bytes.get(at).unwrap_or_default()
    }

    /// The same, to take their mask off.
    pub(super) fn at_mut(&mut self, at: Range<usize>) -> &mut [u8] {
        self.bytes.get_mut(at).unwrap_or_default()
    }

    /// Bytes of memory that it takes.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.bytes.capacity()
    }
}
