//! The stream to a client, and exactly what its connection may ask of it: whether it can be read or written now, to
//! read, to write what is queued. It is plain, or TLS ends in it ([`tls`]). A part of a file leaves by `sendfile`, from
//! memory: what lies on a disk is read by a thread first, and what is far comes from a thread as bytes.
//!
//! `sendfile` queues the pages of a file, and whoever writes to it changes what was sent and is not acknowledged. So the
//! end of a file that others may change leaves as a copy, and the last of it only when nothing that left by `sendfile` is
//! in the queue any more and the file still is what it was: a response that is complete is of one state. No event tells
//! of that moment, hence a timer.

mod hello;
mod keyring;
mod outgoing;
mod reasons;
mod records;
mod sealed;
mod session;
mod tickets;
mod tls;
mod trust;

pub(super) use keyring::Keyring;
pub(super) use outgoing::Outgoing;
pub(super) use session::Session;

use super::context::{Context, ReadFirst};
use super::exchange::Peer;
use super::handshakes::Message;
use super::reader;
use crate::buf::{Front, OpenFile, Queue, SHARE_FROM, Segment, Stamp};
use crate::event::{Endpoint, Poll, Read, Readiness, Source};
use crate::http::Scheme;
use crate::slab::Key;
use crate::sys::page_cache;
use crate::sys::transfer::{COPIED, FILE_SLICE};
use crate::timer::Time;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// A file or pipe that stands still is tried so soon: `sendfile` or `splice` may have ended early without the socket being full.
const NUDGE: Duration = Duration::from_secs(1);

/// How long a part of a file that was found in memory is believed to stay there.
const NEAR_FOR: Duration = Duration::from_secs(1);

/// So many times as much of a file as is to be sent now is looked up.
const AHEAD: u64 = 64;

/// Of a file that others may change, so much waits for acknowledgements. The 64 KiB that are copied before it are more
/// than a segment even on loopback, which makes the client's kernel acknowledge what came before: it would wait for more
/// else.
const HELD: u64 = 4 * 1024;

/// What is not longer is copied as a whole: the wait would cost its client more than the copy costs us. (The kernel takes
/// less than that from a test that does not read.)
const WHOLE: u64 = if cfg!(test) { COPIED } else { 1 << 20 };

/// Between two looks whether it still waits: the first pause, each later one twice as long, and the longest.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(8);

/// See the module.
pub(super) struct Transport {
    endpoint: Endpoint,
    disk: Disk,
    /// When to try again although no event has told that the socket has room.
    nudge: Option<Time>,
    /// Nothing is written before that: the end of a file waits.
    holds: bool,
    /// The writing side is closed.
    shut: bool,
    /// What left by `sendfile` of files that others may change, while it may be in the queue of the socket.
    lent: Option<Box<Lent>>,
    /// Bytes written since the beginning.
    written: u64,
    tls: Option<Box<tls::Tls>>,
}

/// What reading gave.
#[derive(Debug)]
pub(super) enum Came {
    /// So many bytes, at the beginning of the worker's scratch buffer; nothing for the client's connection if 0.
    Bytes(usize),
    /// The handshake is over, and so many bytes came with its end.
    Open(Rc<Session>, usize),
    /// The handshake has failed, and an alert says why: the client is to read it.
    Failed,
    /// The client closed its writing side.
    Eof,
    /// A message of the handshake, which goes on in its turn: see [`Transport::take_turn`].
    Waits(Message),
    /// Nothing now; an event will come.
    Blocked,
}

#[derive(Clone, Copy, Debug)]
struct Lent {
    /// Where it ends, in bytes written.
    end: u64,
    /// How much was in the queue at the last look, and when to look again.
    left: u64,
    pause: Duration,
}

/// Whether what is to be sent next is being read from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Idle,
    /// Nothing is written before it is in memory.
    Reads,
    /// It is, whatever the kernel says a moment later.
    HasRead,
    /// It cannot be had: the response is broken off.
    Failed,
}

impl Transport {
    /// A connection that was just accepted, from a listener of that scheme.
    pub(super) fn new(fd: OwnedFd, scheme: Scheme) -> Self {
        Self {
            endpoint: Endpoint::new(fd),
            tls: (scheme == Scheme::Https).then(Box::default),
            disk: Disk::Idle,
            nudge: None,
            holds: false,
            shut: false,
            lent: None,
            written: 0,
        }
    }

    /// Whether TLS ends in it.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Asks for its events.
    ///
    /// # Errors
    /// ENOSPC, ENOMEM.
    pub(super) fn watch(&self, poll: &Poll, source: Source) -> io::Result<()> {
        poll.watch(self.endpoint.as_fd(), source)
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.endpoint.note(readiness);
    }

    /// A part of a file was read from disk.
    pub(super) fn note_read(&mut self, outcome: reader::Outcome, queue: &mut Queue) {
        self.disk = match outcome {
            reader::Outcome::Bytes(Ok(bytes)) => {
                queue.supply(bytes);
                Disk::Idle
            }
            reader::Outcome::Bytes(Err(error)) => {
                log::debug!("worker: a response is broken off: {error}");
                Disk::Failed
            }
            _ => Disk::HasRead,
        };
    }

    /// A turn begins.
    pub(super) fn turn(&mut self, now: Time) {
        if self.nudge.is_some_and(|at| at <= now) {
            self.nudge = None;
            self.holds = false;
            self.note(Readiness { write: true, ..Readiness::default() });
        }
    }

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.nudge
    }

    /// Whether reading may give something.
    pub(super) fn readable(&self) -> bool {
        let has_more = self.tls.as_ref().is_some_and(|tls| tls.has_more());
        has_more || self.endpoint.readable() && !self.waits()
    }

    /// Whether writing may take something.
    pub(super) fn writable(&self) -> bool {
        let takes = self.tls.as_ref().is_none_or(|tls| tls.is_open() || tls.records.owes());
        self.endpoint.writable() && self.disk != Disk::Reads && !self.holds && takes
    }

    /// Whether it has to write something of its own, whatever is queued.
    pub(super) fn owes(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.records.owes())
    }

    /// Nothing that is said soon takes along what it has to write of its own; whether there is something.
    pub(super) fn hasten(&mut self) -> bool {
        self.tls.as_mut().is_some_and(|tls| tls.records.hasten())
    }

    /// Whether its handshake waits for its turn.
    pub(super) fn waits(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.waits())
    }

    /// Whether its client has begun a handshake and closed its side since: the answer is of no use to it.
    pub(super) fn has_given_up(&self) -> bool {
        self.endpoint.read_closed() && self.tls.as_ref().is_some_and(|tls| tls.waits() && tls.is_new())
    }

    /// Its turn has come.
    pub(super) fn take_turn(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.take_turn();
        }
    }

    /// Whether the client has closed its side; what it has sent before may wait to be read.
    pub(super) fn read_closed(&self) -> bool {
        self.endpoint.read_closed() || self.tls.as_ref().is_some_and(|tls| tls.records.is_closed())
    }

    /// Whether nothing can be written to it any more; what it has sent before may wait to be read.
    pub(super) fn is_gone(&self) -> bool {
        self.endpoint.is_gone()
    }

    /// Bytes of memory in which something waits for the socket, beside what is queued.
    pub(super) fn held(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.held())
    }

    /// Bytes written since the beginning.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// The socket, for what comes before all else.
    pub(super) fn socket(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Reads once.
    ///
    /// # Errors
    /// ECONNRESET and the like; that what came is not TLS as it should be.
    #[inline(always)]
    pub(super) fn read(&mut self, peer: &Peer, cx: &mut Context) -> io::Result<Came> {
        if let Some(tls) = &mut self.tls {
            let came = tls.read(&mut self.endpoint, peer, cx)?;
            if tls.is_plain() {
                self.tls = None;
            }
            return Ok(came);
        }
        Ok(match self.endpoint.read(&mut cx.scratch)? {
            Read::Bytes(count) => Came::Bytes(count),
            Read::Eof => Came::Eof,
            Read::Blocked => Came::Blocked,
        })
    }

    /// Writes what stands first in the queue; whether the client has taken something, now or before. `last`: the end of the
    /// queue is the end of the connection. `key` is the client to be driven when a file was read that had to be read first.
    ///
    /// # Errors
    /// EPIPE, ECONNRESET; that a file is not what it was, or cannot be had.
    pub(super) fn write(
        &mut self,
        queue: &mut Queue,
        last: bool,
        key: Key,
        cx: &mut Context,
    ) -> io::Result<bool> {
        if self.tls.is_some() {
            return self.write_sealed(queue, last, key, cx);
        }
        let stamped = match queue.front() {
            Front::File { len, stamp: Some(_), .. } => Some(len),
            _ => None,
        };
        // The beginning has not left by `sendfile`.
        let whole = self.lent.as_ref().is_none_or(|lent| lent.end < self.written);
        let mut copy = stamped.filter(|len| *len <= if whole { WHOLE } else { COPIED });
        if let Some(len) = &mut copy {
            let lent = self.still_lent();
            if lent > 0 {
                *len = len.saturating_sub(HELD);
            }
            if *len == 0 {
                return Ok(self.hold(lent, cx.now));
            }
        }
        if self.must_read_first(queue, key, cx)? {
            return Ok(false);
        }
        let by_kernel = matches!(queue.front(), Front::File { .. } | Front::Pipe(..));
        let gathers = whole && is_framed(queue) || is_in_short_pieces(queue);
        let written = match copy {
            _ if gathers => self.write_gathered(queue, cx),
            Some(len) => {
                let most = cx.scratch.len().min(len as usize);
                self.endpoint.write_copy(queue, cx.scratch.get_mut(..most).unwrap_or_default())
            }
            None => self.endpoint.write(queue),
        }
        .inspect_err(|error| {
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                log::debug!("worker: a response is broken off: {error}");
            }
        })?;
        self.written = self.written.saturating_add(written);
        if stamped.is_some() && copy.is_none() && !gathers {
            self.lent = Some(Box::new(Lent { end: self.written, left: u64::MAX, pause: PAUSE }));
        }
        self.nudge = (by_kernel && !self.endpoint.writable()).then(|| cx.now.after(NUDGE));
        Ok(written > 0)
    }

    /// Writes a copy of what stands first in the queue, of bytes and files together.
    fn write_gathered(&mut self, queue: &mut Queue, cx: &mut Context) -> io::Result<u64> {
        let gathered = sealed::copy(queue, true, &mut cx.scratch)?;
        let taken = self.endpoint.write_bytes(cx.scratch.get(..gathered).unwrap_or_default())? as u64;
        queue.consume(taken);
        Ok(taken)
    }

    /// How much of what left by `sendfile` is in the queue of the socket: what is there beyond what was copied since.
    fn still_lent(&mut self) -> u64 {
        let Some(lent) = &self.lent else { return 0 };
        let copied = self.written.saturating_sub(lent.end);
        let left = self.endpoint.unacknowledged().saturating_sub(copied);
        if left == 0 {
            self.lent = None;
        }
        left
    }

    /// The end of a file waits, as so much is lent; whether that has become less.
    fn hold(&mut self, left: u64, now: Time) -> bool {
        let Some(lent) = &mut self.lent else { return false };
        let is_less = left < lent.left;
        self.nudge = Some(now.after(lent.pause));
        self.holds = true;
        lent.left = left;
        lent.pause = LONGEST.min(lent.pause.saturating_mul(2));
        is_less
    }

    /// Whether the next part of a file has to come from a disk: a thread reads it then, and the loop goes on. What was
    /// found in memory is not asked about again for a while. A far file is not touched at all: its bytes come instead.
    ///
    /// # Errors
    /// A far file cannot be had, or not in time.
    fn must_read_first(&mut self, queue: &mut Queue, key: Key, cx: &mut Context) -> io::Result<bool> {
        let has_read = match self.disk {
            Disk::Reads => return Ok(true),
            Disk::Failed => return Err(io::ErrorKind::BrokenPipe.into()),
            disk => disk == Disk::HasRead,
        };
        self.disk = Disk::Idle;
        let Front::File { file, offset, len, stamp } = queue.front() else { return Ok(false) };
        let part = offset..offset.saturating_add(len.min(FILE_SLICE));
        if let Some(far) = file.far() {
            let file = Rc::clone(file);
            if cx.fetch(reader::Whom::Connection(key), (&file, far), &part, stamp) != ReadFirst::Begun {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.disk = Disk::Reads;
            return Ok(true);
        }
        let asked = ahead(file.unknown(&part, cx.now), stamp);
        if has_read || is_near(file, &asked, stamp, cx.now) {
            return Ok(false);
        }
        let file = Rc::clone(file);
        if cx.read_first(reader::Whom::Connection(key), file.as_fd(), asked) != ReadFirst::Begun {
            return Ok(false);
        }
        self.disk = Disk::Reads;
        Ok(true)
    }

    /// Nothing more is written: what is being read for it is forgotten.
    pub(super) fn end(&mut self, key: Key, cx: &mut Context) {
        if self.disk == Disk::Reads {
            cx.forget_read(reader::Whom::Connection(key));
        }
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.endpoint);
        }
    }

    /// Closes the writing side, once.
    pub(super) fn shut_write(&mut self) {
        if std::mem::replace(&mut self.shut, true) {
            return;
        }
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.endpoint);
        }
        self.endpoint.shut_write();
    }

    /// Makes the coming close a reset, but where that could take away what was said last of why it ends.
    pub(super) fn reset_on_close(&mut self) {
        if self.tls.as_mut().is_none_or(|tls| tls.breaks_off()) {
            self.endpoint.reset_on_close();
        }
    }
}

/// Whether a short part of a file stands between bytes, as in frames of HTTP/2: they leave together.
fn is_framed(queue: &Queue) -> bool {
    let mut segments = queue.segments();
    let part = segments.by_ref().take(2).find(|segment| segment.as_bytes().is_empty());
    let part = part.filter(|segment| matches!(segment, Segment::File { .. }));
    part.is_some_and(|part| part.len() <= COPIED) && segments.next().is_some()
}

/// Whether several pieces are queued that are cheaper to copy than to be told of each: a head and a short body.
fn is_in_short_pieces(queue: &Queue) -> bool {
    matches!(queue.front(), Front::Bytes(_))
        && queue.len() < SHARE_FROM
        && queue.segments().all(|piece| !piece.as_bytes().is_empty())
}

/// A part of a file with what will probably be asked for next, so that not each frame is looked up.
fn ahead(part: Range<u64>, stamp: Option<Stamp>) -> Range<u64> {
    let Some(stamp) = stamp else { return part };
    let more = part.end.saturating_sub(part.start).saturating_mul(AHEAD).min(FILE_SLICE);
    part.start..part.end.max(part.start.saturating_add(more).min(stamp.size))
}

/// Whether a part of a file is in memory.
fn is_near(file: &OpenFile, part: &Range<u64>, stamp: Option<Stamp>, now: Time) -> bool {
    let is_near = part.is_empty() || page_cache::is_cached(file.as_fd(), part);
    if is_near {
        let size = stamp.map_or(u64::MAX, |stamp| stamp.size);
        file.found_near(part, size, now.after(NEAR_FOR));
    }
    is_near
}
