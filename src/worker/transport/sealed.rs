//! Writing where TLS ends: what is queued is sealed some records at a time, head and body together, and files are read for
//! it. What was sealed leaves the queue when the socket has taken the whole of it.

use super::tls::RECORD;
use super::{Transport, ahead, is_near};
use crate::buf::{Front, Queue, Segment};
use crate::slab::Key;
use crate::sys::transfer;
use crate::timer::Time;
use crate::worker::context::Context;
use std::io;
use std::os::fd::AsFd as _;

impl Transport {
    /// As [`Transport::write`].
    pub(super) fn write_sealed(&mut self, queue: &mut Queue, key: Key, cx: &mut Context) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let taken = tls.flush(&mut self.endpoint)?;
        if tls.owes() {
            return Ok(taken);
        }
        let left = tls.take_sealed();
        self.left(queue, left);
        let is_open = self.tls.as_ref().is_some_and(|tls| tls.is_open());
        if !is_open || matches!(queue.front(), Front::Empty) || self.must_read_first(queue, key, cx)? {
            return Ok(taken);
        }
        Ok(self.seal_next(queue, cx)? || taken)
    }

    /// Seals what stands first in the queue, and writes it; whether the socket has taken something.
    fn seal_next(&mut self, queue: &mut Queue, cx: &mut Context) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        let first = queue.segments().next().map(Segment::as_bytes).unwrap_or_default();
        let plain = if first.len() >= RECORD {
            first.get(..tls.stride()).unwrap_or(first)
        } else {
            let most = cx.scratch.len().min(tls.stride());
            let room = cx.scratch.get_mut(..most).unwrap_or_default();
            let gathered = gather(queue, room, cx.now)
                .inspect_err(|error| log::debug!("worker: a response is broken off: {error}"))?;
            cx.scratch.get(..gathered).unwrap_or_default()
        };
        let (count, out) = (plain.len(), cx.keyring.outgoing());
        let sealed = tls.seal(plain, out)?;
        let out = out.get(..sealed).unwrap_or_default();
        let taken = self.endpoint.write_bytes(out)?;
        match out.get(taken..) {
            None | Some([]) => {
                tls.widen();
                self.left(queue, count);
            }
            Some(rest) => tls.keep(rest, count),
        }
        Ok(taken > 0)
    }

    /// So many bytes of the queue were written.
    fn left(&mut self, queue: &mut Queue, count: usize) {
        queue.consume(count as u64);
        self.written = self.written.saturating_add(count as u64);
    }
}

/// Copies what stands first in the queue, as far as there is room and nothing has to come from a disk; how much.
pub(super) fn gather(queue: &Queue, room: &mut [u8], now: Time) -> io::Result<usize> {
    let mut filled = 0;
    for segment in queue.segments() {
        let room = room.get_mut(filled..).unwrap_or_default();
        let most = room.len().min(usize::try_from(segment.len()).unwrap_or(usize::MAX));
        let Some(room) = room.get_mut(..most).filter(|room| !room.is_empty()) else { break };
        let copied = match segment {
            Segment::File { file, offset, stamp, .. } => {
                let part = *offset..offset.saturating_add(most as u64);
                // The one that stands first was looked at.
                let near = filled == 0
                    || file.far().is_none()
                        && is_near(file, &ahead(file.unknown(&part, now), *stamp), *stamp, now);
                if !near {
                    break;
                }
                match transfer::copy(file.as_fd(), *offset, *stamp, room) {
                    Ok(read) => read,
                    // What stands before it leaves first.
                    Err(_) if filled > 0 => break,
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
