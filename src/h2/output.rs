//! What waits to be written, and whose it is.

use super::StreamId;
use crate::buf::Queue;
use std::collections::VecDeque;

/// A queue that knows how much of it was written.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: Queue,
    /// How long it was when somebody looked last; what is missing since then was written.
    seen: u64,
    /// Bytes that were written since the connection began.
    written: u64,
    /// Whose bytes end where, in the order in which they leave.
    marks: VecDeque<Mark>,
}

/// That bytes of a stream end at a place in all that was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    end: u64,
    pub(super) stream: StreamId,
    /// Of its body; they are the last ones of their frame.
    pub(super) body: u64,
    /// Nothing of it follows.
    pub(super) last: bool,
}

impl Output {
    /// What is queued.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues what `write` adds.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Queue)) {
        self.look();
        write(&mut self.queue);
        self.seen = self.queue.len();
    }

    /// To be written from.
    pub(super) fn lend(&mut self) -> &mut Queue {
        self.look();
        &mut self.queue
    }

    /// Takes note of what was written.
    pub(super) fn look(&mut self) {
        let left = self.queue.len();
        self.written += self.seen.saturating_sub(left);
        self.seen = left;
    }

    /// What was queued last is of that stream.
    pub(super) fn mark(&mut self, stream: StreamId, body: u64, last: bool) {
        let end = self.written + self.seen;
        match self.marks.back_mut() {
            Some(mark) if mark.end == end && mark.stream == stream && body == 0 => mark.last |= last,
            _ => self.marks.push_back(Mark { end, stream, body, last }),
        }
    }

    /// The next mark up to which all was written.
    pub(super) fn pass(&mut self) -> Option<Mark> {
        let written = self.written;
        let passed = self.marks.front().is_some_and(|mark| mark.end <= written);
        if passed { self.marks.pop_front() } else { None }
    }

    /// Bytes of the stream's body that were written of a frame that was not written whole.
    pub(super) fn partly(&self, stream: StreamId) -> u64 {
        let first = self.marks.front().filter(|mark| mark.stream == stream);
        first.map_or(0, |mark| mark.body.saturating_sub(mark.end.saturating_sub(self.written)))
    }

    /// Gives memory back, if nothing waits.
    pub(super) fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue.clear();
        }
        if self.marks.is_empty() {
            self.marks = VecDeque::new();
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.seen = 0;
        self.marks = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_told_by_stream_whenever_somebody_looks() {
        let mut output = Output::default();
        let add = |output: &mut Output, bytes: &[u8]| output.add(|queue| queue.extend(bytes));
        add(&mut output, b"head");
        output.mark(1, 0, false);
        add(&mut output, b"frame-body");
        output.mark(1, 4, false);
        output.mark(1, 0, true);
        assert_eq!(output.pass(), None);
        output.lend().consume(4 + 6 + 1);
        add(&mut output, b"more");
        output.mark(3, 0, true);
        assert_eq!(output.pass(), Some(Mark { end: 4, stream: 1, body: 0, last: false }));
        assert_eq!((output.pass(), output.partly(1), output.partly(3)), (None, 1, 0));
        output.lend().consume(3);
        output.look();
        assert_eq!(output.pass(), Some(Mark { end: 14, stream: 1, body: 4, last: true }));
        output.lend().consume(4);
        output.look();
        assert_eq!(output.pass(), Some(Mark { end: 18, stream: 3, body: 0, last: true }));
        assert!(output.is_empty() && output.pass().is_none());
    }
}
