//! One stream: a request and its response; and the table of those that are open.
//!
//! `reading` is what is still wanted of the request, moved by frames:
//!
//! | reading | DATA | END_STREAM, also by trailers |
//! |---|---|---|
//! | `Body { left, allowed }` | kept until it is polled; more than `left`: malformed; more than `allowed`: 413 | `Trailers`, if they are wanted, and `BodyEnd` are due, if nothing is left |
//! | `Discard` | dropped | – |
//!
//! `writing` is what there is of the response, moved by calls of the owner:
//!
//! | writing | `respond` | `send` | `finish` | `break_off` |
//! |---|---|---|---|---|
//! | `Await` | `Sized`, `Unsized` or `Bodiless` | – | `Broken` | `Broken` |
//! | `Sized { left }` | – | queues at most `left` | `Finished`; `Broken` if `left > 0` | `Broken` |
//! | `Unsized`; by `switch`, of a tunnel | – | queues; of a tunnel, by `shut`: `Shut` | `Finished` | `Broken` |
//! | `Shut`: END_STREAM is, or follows, behind what is queued | – | – | `Finished` | `Broken`, or `Finished` if it is on its way |
//! | `Bodiless` (HEAD, 204, 304, empty) | – | drops | `Finished` | `Finished` |
//! | `Finished`, `Broken` | – | – | – | – |
//!
//! Once `Finished` or `Broken` and all that is queued was cut into frames, the stream is concluded: END_STREAM was on the last
//! frame, or a reset follows it; and when that is written, the stream is over and out of the table. But a client that is
//! still sending a request which its window has room for is not disturbed with a reset, which some take for a failure of the
//! whole: the stream stays until the client has ended it, used its window up, or takes too long. A stream that either side
//! resets before it is concluded is gone: its owner is told, and then it is over.

use super::StreamId;
use super::flow::{Inflow, Outflow};
use super::priority::Priority;
use crate::buf::Queue;
use crate::http::serving::Line;
use crate::http::{Fields, Pace};
use crate::timer::Time;
use std::cell::Cell;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) reading: Reading,
    /// END_STREAM has come.
    pub(super) ended: bool,
    /// What came of the body and was not polled.
    pub(super) body: Vec<u8>,
    pub(super) inflow: Inflow,
    /// Its owner has no room for more of the body.
    pub(super) held: bool,
    /// It is among those that have something to tell.
    pub(super) listed: bool,
    /// Its owner was told of it.
    pub(super) known: bool,
    /// The request is wrong in itself: after the answer, that is said with a reset.
    pub(super) malformed: bool,
    /// It asks for a tunnel, or is one: what comes behind the request is no body of it, and only taken once there is one.
    pub(super) tunnel: bool,
    /// Its owner wants what follows the body of the request; and that, until the owner is told.
    pub(super) keeps_trailers: bool,
    pub(super) behind: Option<Box<Fields>>,
    /// The first line of a request that was refused.
    pub(super) line: Option<Box<Line>>,

    pub(super) writing: Writing,
    /// Bytes of the head of the request.
    pub(super) head: usize,
    pub(super) head_only: bool,
    /// `100 Continue` is expected and neither it nor a byte of the body has passed.
    pub(super) expects: bool,
    /// What of the body was not cut into frames yet.
    pub(super) queue: Queue,
    pub(super) outflow: Outflow,
    pub(super) priority: Priority,
    /// How fast the body leaves; as fast as it can.
    pub(super) pace: Option<Box<Pace>>,
    /// What follows the body.
    pub(super) trailers: Option<Box<Fields>>,
    /// END_STREAM is on its way.
    pub(super) shut: bool,
    /// Its last frame is on its way.
    pub(super) concluded: bool,
    /// Nobody waits for anything of it but the client, which has not ended its request.
    pub(super) over: bool,
    /// Bytes of the body that were cut into frames, and those of them that were written.
    pub(super) cut: u64,
    pub(super) written: u64,
    /// Reset: nothing of it matters any more.
    pub(super) gone: bool,

    /// When something of the body came last, or the wait for it began.
    pub(super) read: Time,
    /// When a body that comes at the lowest rate allowed would be at its end for now.
    pub(super) body_due: Time,
    /// Since when the window of the client is closed although there is something to send.
    pub(super) blocked: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A body of which `left` bytes are to come, if that is known, and `allowed` may.
    Body { left: Option<u64>, allowed: u64 },
    /// Nothing is wanted.
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    Await,
    Sized { left: u64 },
    Unsized,
    Shut,
    Bodiless,
    Finished,
    Broken,
}

impl Stream {
    pub(super) fn new(inflow: Inflow, outflow: Outflow, now: Time) -> Self {
        Self {
            reading: Reading::Discard,
            ended: false,
            body: Vec::new(),
            inflow,
            held: false,
            listed: false,
            known: false,
            malformed: false,
            tunnel: false,
            keeps_trailers: false,
            behind: None,
            line: None,
            writing: Writing::Await,
            head: 0,
            head_only: false,
            expects: false,
            queue: Queue::new(),
            outflow,
            priority: Priority::UNSAID,
            pace: None,
            trailers: None,
            shut: false,
            concluded: false,
            over: false,
            cut: 0,
            written: 0,
            gone: false,
            read: now,
            body_due: now,
            blocked: None,
        }
    }

    /// What the client has said of its response; a tunnel has no whole that could be waited for.
    pub(super) fn set_priority(&mut self, said: Priority) {
        self.priority = if self.tunnel { said.in_pieces() } else { said };
    }

    /// Whether there is something of the body, or its end, to be told now.
    pub(super) fn has_news(&self) -> bool {
        let body = matches!(self.reading, Reading::Body { .. });
        let waits = self.held || self.tunnel && self.writing == Writing::Await;
        body && !waits && !self.gone && (self.ended || !self.body.is_empty())
    }

    /// Whether what follows the body of the request may be wanted.
    pub(super) fn may_keep_trailers(&self) -> bool {
        let body = matches!(self.reading, Reading::Body { .. });
        body && !self.tunnel
    }

    /// Whether the client is to send more of a body now.
    pub(super) fn awaits_body(&self) -> bool {
        let body = matches!(self.reading, Reading::Body { .. });
        let is_due = !self.tunnel && !self.held && !self.expects && self.body.is_empty();
        body && is_due && !self.ended && !self.gone
    }

    /// Whether its response has not begun.
    pub(super) fn is_awaited(&self) -> bool {
        self.writing == Writing::Await && !self.gone
    }

    /// Whether the client may send the rest of the request although it is answered.
    pub(super) fn has_room_for_rest(&self) -> bool {
        let rest = match self.reading {
            Reading::Body { left: Some(left), .. } => left,
            Reading::Body { left: None, .. } | Reading::Discard => 1,
        };
        !self.malformed && !self.tunnel && !self.expects && rest <= self.inflow.open()
    }

    /// Whether only the end of the request is waited for.
    pub(super) fn lingers(&self) -> bool {
        self.concluded && !self.ended
    }

    /// Until when nothing more of the body may leave, as it would be too fast.
    pub(super) fn paused_until(&self, now: Time) -> Option<Time> {
        self.pace.as_ref().filter(|_| !self.queue.is_empty())?.next(now)
    }

    /// Whether nothing follows what is queued.
    pub(super) fn is_whole(&self) -> bool {
        let is_over = matches!(self.writing, Writing::Finished | Writing::Shut | Writing::Sized { left: 0 });
        is_over && self.trailers.is_none()
    }
}

/// The room of so many streams is kept.
const SPARE: usize = 32;

/// The streams that are open, by number; the newest has the highest one.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Vec<(StreamId, Box<Stream>)>,
    /// Where one was found last: what happens to a stream asks for it several times.
    found: Cell<usize>,
    /// Room of those that were open, for those to come.
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    spare: Vec<Box<Stream>>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn find(&self, id: StreamId) -> Option<usize> {
        let before = self.found.get();
        if self.open.get(before).is_some_and(|(there, _)| *there == id) {
            return Some(before);
        }
        let at = self.open.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.found.set(at);
        Some(at)
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.open.get(self.find(id)?).map(|(_, stream)| &**stream)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let at = self.find(id)?;
        self.open.get_mut(at).map(|(_, stream)| &mut **stream)
    }

    /// Adds the newest.
    pub(super) fn push(&mut self, id: StreamId, stream: Stream) {
        debug_assert!(self.open.last().is_none_or(|(last, _)| *last < id));
        self.found.set(self.open.len());
        let stream = match self.spare.pop() {
            None => Box::new(stream),
            Some(mut room) => {
                *room = stream;
                room
            }
        };
        self.open.push((id, stream));
    }

    /// Takes one out; how many bytes the head of its request had.
    pub(super) fn remove(&mut self, id: StreamId) -> usize {
        let Some(at) = self.find(id) else { return 0 };
        let (_, mut stream) = self.open.remove(at);
        (stream.body, stream.line, stream.behind) = (Vec::new(), None, None);
        stream.queue.clear();
        let head = stream.head;
        if self.spare.len() < SPARE {
            self.spare.push(stream);
        }
        head
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.open.iter().map(|(id, stream)| (*id, &**stream))
    }
}
