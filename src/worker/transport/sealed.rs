//! Writing where TLS ends: what is queued is sealed some records at a time, head and body together, and files are read for
//! it. What was sealed leaves the queue when the socket has taken the whole of it.

use super::Transport;
use super::records::RECORD;
use crate::buf::{Front, Queue, Segment};
use crate::slab::Key;
use crate::sys::transfer;
use crate::worker::context::Context;
use std::io;
use std::os::fd::AsFd as _;

impl Transport {
    /// As [`Transport::write`].
    pub(super) fn write_sealed(
        &mut self,
        queue: &mut Queue,
        last: bool,
        key: Key,
        cx: &mut Context,
    ) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let records = &mut tls.records;
        let taken = records.owes() && records.flush(&mut self.endpoint)?;
        if records.owes() {
            return Ok(taken);
        }
        let (sealed, is_open) = (records.take_sealed(), tls.is_open());
        self.has_left(queue, sealed);
        if !is_open || matches!(queue.front(), Front::Empty) {
            return Ok(taken);
        }
        Ok(self.seal_next(queue, last, key, cx)? || taken)
    }

    /// Seals what stands first in the queue, and writes it; whether the socket has taken something.
    fn seal_next(&mut self, queue: &mut Queue, last: bool, key: Key, cx: &mut Context) -> io::Result<bool> {
        let most = self.tls.as_ref().map_or(RECORD, |tls| tls.records.stride());
        let most = most.min(usize::try_from(queue.released()).unwrap_or(usize::MAX));
        let first = queue.segments().next().map(Segment::as_bytes).unwrap_or_default();
        let plain = if first.len() >= RECORD {
            first.get(..most).unwrap_or(first)
        } else {
            let Some(gathered) = self.gather(queue, most, key, cx)? else { return Ok(false) };
            cx.scratch.get(..gathered).unwrap_or_default()
        };
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let (count, out) = (plain.len(), cx.keyring.outgoing());
        let last = last && count as u64 == queue.len();
        let (taken, left) = tls.send(plain, last, out, &mut self.endpoint)?;
        self.has_left(queue, left);
        Ok(taken)
    }

    /// Copies what stands first in the queue into the scratch buffer; how much. `None`: it has to come from a disk first.
    fn gather(
        &mut self,
        queue: &mut Queue,
        most: usize,
        key: Key,
        cx: &mut Context,
    ) -> io::Result<Option<usize>> {
        let told = |error: &io::Error| log::debug!("worker: a response is broken off: {error}");
        let most = cx.scratch.len().min(most);
        let mut waits = false;
        loop {
            let room = cx.scratch.get_mut(..most).unwrap_or_default();
            let gathered = copy(queue, waits, room).inspect_err(told)?;
            if gathered > 0 {
                return Ok(Some(gathered));
            }
            if std::mem::replace(&mut waits, true) || self.must_read_first(queue, key, cx)? {
                return Ok(None);
            }
        }
    }

    /// So many bytes of the queue were written.
    fn has_left(&mut self, queue: &mut Queue, count: usize) {
        queue.consume(count as u64);
        self.written = self.written.saturating_add(count as u64);
    }
}

/// Copies what stands first in the queue, as far as there is room; how much. Of files only what is in memory, unless it
/// `waits` for the first of them.
pub(super) fn copy(queue: &Queue, waits: bool, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    let released = room.len().min(usize::try_from(queue.released()).unwrap_or(usize::MAX));
    let room = room.get_mut(..released).unwrap_or_default();
    for segment in queue.segments() {
        let room = room.get_mut(filled..).unwrap_or_default();
        let most = room.len().min(usize::try_from(segment.len()).unwrap_or(usize::MAX));
        let Some(room) = room.get_mut(..most).filter(|room| !room.is_empty()) else { break };
        let copied = match segment {
            // Never of TLS: see `pass_unread`.
            Segment::Pipe { .. } => 0,
            Segment::File { file, .. } if file.far().is_some() => 0,
            Segment::File { file, offset, stamp, .. } => {
                match transfer::copy(file.as_fd(), *offset, *stamp, waits && filled == 0, room) {
                    Ok(read) => read.unwrap_or(0),
                    // What stands before it leaves first.
                    Err(_) if filled > 0 => 0,
                    Err(error) => return Err(error),
                }
            }
            bytes => {
                room.copy_from_slice(bytes.as_bytes().get(..most).unwrap_or_default());
                most
            }
        };
        filled += copied;
        if (copied as u64) < segment.len() {
            break;
        }
    }
    Ok(filled)
}
