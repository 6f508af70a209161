//! One server-side connection: Reading × Writing, and whether it persists.
//!
//! An exchange is open while `reading` is not `Head`. Writing moves only by calls of the owner:
//!
//! | writing | `respond` | `send` | `finish` |
//! |---|---|---|---|
//! | `Await` | `Sized`, `Chunked`, `UntilClose` or `Bodiless`; by `switch`: `Tunnel` | – | aborts: no response |
//! | `Sized { left }` | – | queues at most `left` | `Done`; breaks off if `left > 0` |
//! | `Chunked` | – | queues a chunk | queues the last chunk; `Done` |
//! | `UntilClose` | – | queues | `Done` |
//! | `Bodiless` (HEAD, 204, 304, empty) | – | drops | `Done` |
//! | `Tunnel` | – | queues; by `shut`: `Shut` | closes |
//! | `Shut` | – | – | closes |
//! | `Done` | – | – | – |
//!
//! Reading moves only by the client's bytes, in `poll`:
//!
//! | reading | its bytes | end of input |
//! |---|---|---|
//! | `Head` | a whole head: `Sized`, `Chunked` or `Done`; a bad one: `Discard` | closes |
//! | `Sized`, `Chunked` | body events, then `Done`; a bad or too long one: `Discard` | `Gone`, aborts |
//! | `Done` | kept for the next request, up to a cap | no further request after those received |
//! | `Tunnel`, from `Done` by `switch` | body events, one read at a time | `BodyEnd`, then `Done` |
//! | `Discard` | dropped | – |
//!
//! Both together, once `writing` is `Done` (`settle`):
//!
//! | reading | connection persists | it does not |
//! |---|---|---|
//! | body complete | `(Head, Await)`: the next request | closes; lingers if more has come |
//! | rest of the body ≤ 64 KiB | drops the rest, then the next request | lingers |
//! | longer, `Discard` | lingers | lingers |
//!
//! To a front server each response is one of HTTP/1.0, and the connection ends with it.
//!
//! What the client's bytes do is in `reading`, what time does in `timers`, another protocol in `tunnel`.

mod prepared;
mod reading;
mod timers;
mod tunnel;

use super::chunked::{self, Decoder};
use super::encode::{self, Connection, Framing};
use super::parse::Scan;
use super::{Common, End, Event, Settings, Wants, packet};
use crate::buf::{Queue, Segment};
use crate::http::fault::Refusal;
use crate::http::phase::Phase;
use crate::http::{BodyLength, Fields, Pace, ResponseHead, Scheme, Status, Version};
use crate::timer::Time;
use std::rc::Rc;
use std::time::Duration;

/// One HTTP/1.x connection of a client.
///
/// After every `feed`, `eof`, `finish`, `wrote` and `on_timeout` call [`Self::poll`] until it returns `None`. Leaving
/// body events unpolled is how back-pressure reaches the client: `wants().read` becomes false and no body deadline
/// runs; call [`Self::resume`] when polling again. Calls without a time happen at the time of the last call that had
/// one, so begin with [`Self::turn`].
#[derive(Debug)]
pub struct Conn {
    settings: Rc<Settings>,
    scheme: Scheme,
    /// The client is a front server, which sends its one request as a packet of the uwsgi protocol.
    front: bool,
    phase: Phase,
    reading: Reading,
    writing: Writing,
    exchange: Exchange,
    /// What came and was not taken yet.
    input: Vec<u8>,
    out: Queue,
    /// An event that no byte of input gives rise to.
    notice: Option<Notice>,
    requests: u32,
    draining: bool,
    eof: bool,
    /// The latest time heard of.
    clock: Time,
    /// Since when a head is awaited: the accept, the end of the previous exchange, or the first byte.
    head_since: Time,
    /// When the client sent something last, or the wait for it began.
    read: Time,
    /// When a body that comes at the lowest rate allowed would be at its end for now.
    body_due: Time,
    /// When something was written last, or the wait for it began; never while there is nothing to write.
    write: Time,
    /// How fast what is queued leaves, and how much of it was there when it was looked at.
    pace: Option<Box<Paced>>,
}

/// In a box, as most responses leave as fast as they can.
#[derive(Debug)]
struct Paced {
    pace: Pace,
    /// Bytes of [`Conn::out`] when some of them were released.
    before: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// Waiting for (the rest of) a head.
    Head(Scan),
    /// `left` bytes of a body are to come; 0: its end was not told yet.
    Sized { left: u64 },
    /// A chunked body.
    Chunked(Box<Chunked>),
    /// The request is complete.
    Done,
    /// What comes is of another protocol.
    Tunnel,
    /// Nothing is parsed any more, since this was refused.
    Discard(Option<Box<super::Line>>),
}

/// In a box, as most connections never have one.
#[derive(Debug, PartialEq, Eq)]
struct Chunked {
    decoder: Decoder,
    /// Bytes of it that may come yet.
    allowed: u64,
    /// The lines of its trailers, if they are wanted.
    trailers: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Await,
    Sized {
        left: u64,
    },
    Chunked,
    UntilClose,
    Bodiless,
    /// What leaves is of another protocol.
    Tunnel,
    /// That has ended: the client is told so once all is written.
    Shut,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Refused(Refusal),
    Gone,
}

/// What has to be remembered of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exchange {
    version: Version,
    head_only: bool,
    persist: bool,
    /// `100 Continue` is expected and neither it nor a byte of the body has passed.
    expects: bool,
}

impl Exchange {
    const NONE: Self = Self { version: Version::Http11, head_only: false, persist: true, expects: false };
}

/// Bytes of a request body kept for an owner that does not poll.
const BODY_MAX: usize = 64 * 1024;
/// Bytes of pipelined requests kept while one is served.
const PIPELINE_MAX: usize = 16 * 1024;
/// A pipelined request is taken up only when less than this waits to be written, files included.
const PIPELINE_OUT: u64 = 16 * 1024;
/// Bytes of a response kept in memory.
const OUT_MAX: usize = 256 * 1024;
/// An unread rest of a request body that is worth keeping the connection for.
const REST_MAX: u64 = 64 * 1024;

impl Conn {
    /// A connection that was accepted at `now`; allocates nothing.
    #[must_use]
    pub fn new(settings: Rc<Settings>, now: Time) -> Self {
        Self {
            settings,
            scheme: Scheme::Http,
            front: false,
            phase: Phase::Open,
            reading: Reading::Head(Scan::default()),
            writing: Writing::Await,
            exchange: Exchange::NONE,
            input: Vec::new(),
            out: Queue::new(),
            notice: None,
            requests: 0,
            draining: false,
            eof: false,
            clock: now,
            head_since: now,
            read: now,
            body_due: now,
            write: Time::NEVER,
            pace: None,
        }
    }

    /// What the client speaks it over, if that is TLS.
    pub(crate) fn set_scheme(&mut self, scheme: Scheme) {
        self.scheme = scheme;
    }

    /// The client is a front server that speaks the uwsgi protocol: one request comes, as a packet, and its response is that of
    /// HTTP/1.0, whatever the client of the front speaks: without chunks, and without interim ones.
    pub(crate) fn set_front(&mut self) {
        self.front = true;
    }

    /// A turn begins: it is `now`, and what is overdue expires; as [`Self::on_timeout`].
    pub(crate) fn turn(&mut self, now: Time) -> Option<&'static str> {
        let overdue = self.deadline().is_some_and(|deadline| deadline <= now);
        let why = if overdue { self.on_timeout(now) } else { None };
        let paused = self.pace.is_some() && self.is_paused();
        self.clock = now;
        if paused && !self.is_paused() {
            // It was we who let the client wait.
            self.write = now;
        }
        why
    }

    /// Bytes read from the socket.
    pub fn feed(&mut self, bytes: &[u8], now: Time) {
        self.clock = now;
        if bytes.is_empty() {
            return;
        }
        self.read = now;
        match (self.phase, &self.reading) {
            (Phase::Aborted, _) => return,
            (Phase::Closing(_), _) => return self.phase.dropped(bytes.len(), now),
            (Phase::Open, Reading::Discard(_)) => return,
            (Phase::Open, Reading::Head(_)) => {
                if self.input.is_empty() && self.requests > 0 {
                    self.head_since = now;
                }
            }
            (Phase::Open, Reading::Sized { .. } | Reading::Chunked(_)) => {
                self.exchange.expects = false;
                self.gain(bytes.len());
            }
            (Phase::Open, Reading::Done | Reading::Tunnel) => {}
        }
        if self.input.capacity() == 0 {
            self.input = bytes.to_vec();
        } else {
            self.input.extend_from_slice(bytes);
        }
        if self.writing == Writing::Done {
            self.settle(now);
        }
    }

    /// The client closed its writing side. A request received whole is still served: the client may be reading.
    pub fn eof(&mut self, now: Time) {
        self.clock = now;
        self.eof = true;
        let idle = matches!(self.reading, Reading::Head(_)) && self.input.is_empty();
        if self.phase == Phase::Open && (idle || self.writing == Writing::Done) {
            self.close(false);
        }
    }

    /// What was fed and not taken yet.
    pub(crate) fn input(&self) -> &[u8] {
        &self.input
    }

    /// The next event; `None` if more input, output or time is needed.
    pub fn poll(&mut self) -> Option<Event> {
        match self.notice.take() {
            Some(Notice::Refused(refusal)) => return Some(Event::Refused(refusal)),
            Some(Notice::Gone) => return Some(Event::Gone),
            None => {}
        }
        if self.phase != Phase::Open || self.writing == Writing::Done {
            return None;
        }
        match self.reading {
            Reading::Head(_) => self.poll_head(),
            Reading::Sized { .. } => self.poll_sized(),
            Reading::Chunked(_) => self.poll_chunked(),
            Reading::Tunnel => self.poll_tunnel(),
            Reading::Done | Reading::Discard(_) => None,
        }
    }

    /// The first line of the request that was refused before its head was understood, if that was complete.
    pub(crate) fn take_refused(&mut self) -> Option<Box<super::Line>> {
        match &mut self.reading {
            Reading::Discard(line) => line.take(),
            _ => None,
        }
    }

    /// Bounds the body of the request that just came out of [`Self::poll`], before any more is polled.
    ///
    /// # Errors
    /// 413 if the length announced is over `max`; answer it, nothing of the body will come. A chunked body that turns
    /// out too long is [`Event::Refused`] later.
    pub fn limit_body(&mut self, max: u64) -> Result<(), Refusal> {
        match &mut self.reading {
            Reading::Sized { left } if *left > max => {
                self.stop_reading();
                Err(Refusal::BODY_TOO_LARGE)
            }
            Reading::Chunked(body) => {
                body.allowed = max;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What follows the body of the request that just came out of [`Self::poll`] is wanted, too, if that is chunked.
    pub(crate) fn keep_trailers(&mut self) {
        if let Reading::Chunked(body) = &mut self.reading {
            body.trailers = Some(Vec::new());
        }
    }

    /// The request was admitted and its body is wanted: queues `100 Continue` if the client waits for it
    /// (RFC 9110 §10.1.1).
    pub fn proceed(&mut self) {
        if self.phase == Phase::Open && self.writing == Writing::Await && self.exchange.expects {
            self.exchange.expects = false;
            self.await_body();
            self.will_write();
            self.out.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Refuses whatever the client may send next, for a reason that does not lie in it.
    pub(crate) fn refuse_early(&mut self, refusal: Refusal) {
        if self.phase == Phase::Open && self.writing == Writing::Await {
            self.stop_reading();
            self.notice = Some(Notice::Refused(refusal));
        }
    }

    /// Queues an interim response of an upstream, such as 103. Dropped where it would mean nothing: to HTTP/1.0
    /// clients, after the final head, and 100 and 101, which concern one connection only.
    pub(crate) fn interim(&mut self, head: &ResponseHead) {
        let sendable = matches!(head.status.0, 102..=199) && self.exchange.version == Version::Http11;
        if sendable && self.is_exchange_open() && self.writing == Writing::Await {
            self.will_write();
            self.out.encode(|out| encode::interim(head, out));
        }
    }

    /// Queues the head of the response. It may come before the request's body is
    /// complete; then the client is told that the connection closes, if the rest is long. Whether a body leaves after it:
    /// not for HEAD, nor with a status that forbids one.
    pub fn respond<'a>(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        common: impl Into<Common<'a>>,
        now: Time,
    ) -> bool {
        let Some((framing, connection)) = self.open_response(head.status, body, now) else { return false };
        self.out.encode(|out| encode::head(head, framing, connection, common.into(), out));
        self.writing != Writing::Bodiless
    }

    /// The response begins: how its body is framed and what is said of the connection. `None`: nobody wants it.
    fn open_response(
        &mut self,
        status: Status,
        body: BodyLength,
        now: Time,
    ) -> Option<(Framing, Connection)> {
        self.clock = now;
        if self.phase != Phase::Open {
            return None;
        }
        debug_assert!(self.is_exchange_open() && self.writing == Writing::Await, "one response a request");
        if !self.is_exchange_open() || self.writing != Writing::Await {
            return None;
        }
        // Answered before a refusal was polled: this is the answer then.
        self.notice = None;
        let Exchange { version, head_only, expects, .. } = self.exchange;
        let (framing, writing) = match body {
            _ if status.forbids_body() => (Framing::Unsaid, Writing::Bodiless),
            BodyLength::None => (Framing::Length(0), Writing::Bodiless),
            BodyLength::Known(length) => (Framing::Length(length), Writing::Sized { left: length }),
            BodyLength::Unknown if version == Version::Http10 => (Framing::Unsaid, Writing::UntilClose),
            BodyLength::Unknown => (Framing::Chunked, Writing::Chunked),
        };
        self.writing = if head_only { Writing::Bodiless } else { writing };
        // A client that was never told to continue may or may not send its body: only closing is unambiguous.
        let last = self.draining
            || expects
            || self.rest() > REST_MAX
            || self.writing == Writing::UntilClose
            || (self.eof && self.input.is_empty());
        self.exchange.persist &= !last;
        let connection = match (self.exchange.persist, version) {
            (false, _) => Connection::Close,
            (true, Version::Http10) => Connection::KeepAlive,
            (true, Version::Http11 | Version::Http2) => Connection::Unsaid,
        };
        self.will_write();
        Some((framing, connection))
    }

    /// Queues a piece of the response body. Framing is added; what exceeds the announced length is cut.
    pub fn send(&mut self, mut segment: Segment) {
        let length = segment.len();
        if self.phase != Phase::Open || length == 0 {
            return;
        }
        self.will_write();
        match &mut self.writing {
            Writing::Sized { left } => {
                segment.truncate(*left);
                *left -= length.min(*left);
                self.out.push(segment);
            }
            Writing::Chunked => {
                self.out.encode(|out| chunked::write_size(length, out));
                self.out.push(segment);
                self.out.extend(chunked::CHUNK_END);
            }
            Writing::UntilClose | Writing::Tunnel => self.out.push(segment),
            Writing::Bodiless => {}
            Writing::Await | Writing::Shut | Writing::Done => {
                debug_assert!(false, "send belongs between respond and finish")
            }
        }
    }

    /// The response is complete. One that is shorter than announced breaks off, one without a head aborts the connection:
    /// the client sees that it is truncated.
    pub fn finish(&mut self, now: Time) {
        self.finish_with(&Fields::new(), now);
    }

    /// The same, with trailers, which only a chunked body can have.
    pub(crate) fn finish_with(&mut self, trailers: &Fields, now: Time) {
        self.clock = now;
        if self.phase != Phase::Open || !self.is_exchange_open() {
            return;
        }
        match self.writing {
            Writing::Await => return self.abort(),
            Writing::Sized { left } if left > 0 => return self.break_off(),
            Writing::Tunnel | Writing::Shut => return self.close(true),
            Writing::Chunked => {
                self.will_write();
                self.out.encode(|out| encode::trailers(trailers, out));
            }
            Writing::Sized { .. } | Writing::UntilClose | Writing::Bodiless => {}
            Writing::Done => return,
        }
        self.writing = Writing::Done;
        self.settle(now);
    }

    /// The response cannot be completed. What there is of it is written, and the connection closes: the length or the
    /// missing last chunk shows that the rest is not there (RFC 9112 §8). Where the close would be the end of the body,
    /// the connection is aborted, behind what can be written at once.
    pub fn break_off(&mut self) {
        match self.writing {
            Writing::Await => self.abort(),
            Writing::UntilClose => self.give_up(),
            Writing::Tunnel | Writing::Shut => self.finish(self.clock),
            Writing::Sized { .. } | Writing::Chunked | Writing::Bodiless | Writing::Done => {
                if self.phase == Phase::Open {
                    self.close(!self.is_body_complete() || !self.input.is_empty());
                }
            }
        }
    }

    /// Breaks the connection off: nothing more is written, no clean end.
    pub(crate) fn abort(&mut self) {
        self.out.clear();
        self.give_up();
    }

    fn give_up(&mut self) {
        self.phase = Phase::Aborted;
        self.reading = Reading::Discard(None);
        self.input = Vec::new();
    }

    /// Nothing more is written; what still comes is dropped for as long as the client may take to read what it was told.
    pub(crate) fn hang_up(&mut self, now: Time) {
        self.clock = now;
        self.out.clear();
        self.close(true);
    }

    /// The next response carries `Connection: close`. An idle connection stays until its next request or the end of
    /// its keep-alive time; the rest of a body that was answered early is not waited for.
    pub fn drain(&mut self) {
        self.draining = true;
        if self.phase == Phase::Open && self.writing == Writing::Done {
            // Nobody waits for the rest of a body that was answered already.
            self.close(true);
        }
    }

    /// As [`Self::drain`], at `now`, between two turns.
    pub(crate) fn leave(&mut self, now: Time) {
        self.clock = now;
        self.drain();
    }

    /// Polling goes on after body events were left unpolled: the client's time begins anew.
    pub fn resume(&mut self, now: Time) {
        self.clock = now;
        self.await_body();
    }

    /// How fast the response leaves that comes next, if it may not leave as fast as it can.
    pub(crate) fn set_pace(&mut self, pace: Option<Pace>) {
        if pace.is_some() || self.pace.is_some() {
            self.out.release(u64::MAX);
            self.pace = pace.map(|pace| Box::new(Paced { pace, before: 0 }));
        }
    }

    /// Whether there is something to write that may not leave yet.
    fn is_paused(&self) -> bool {
        let paced = self.pace.as_ref().filter(|_| !self.out.is_empty());
        paced.is_some_and(|paced| paced.pace.room(self.clock) == 0)
    }

    /// When more of what is queued may leave.
    #[must_use]
    pub(crate) fn paused_until(&self) -> Option<Time> {
        let paced = self.pace.as_ref().filter(|_| !self.out.is_empty())?;
        paced.pace.next(self.clock)
    }

    /// What is to be written.
    pub fn out(&mut self) -> &mut Queue {
        if let Some(paced) = &mut self.pace {
            paced.before = self.out.len();
            self.out.release(paced.pace.room(self.clock));
        }
        &mut self.out
    }

    /// As [`Self::out`], to be looked at.
    #[must_use]
    pub(crate) fn waiting(&self) -> &Queue {
        &self.out
    }

    /// Something of [`Self::out`] was written.
    pub fn wrote(&mut self, now: Time) {
        self.clock = now;
        if let Some(paced) = &mut self.pace {
            let left = paced.before.saturating_sub(self.out.len());
            paced.pace.took(left, now);
            paced.before = self.out.len();
        }
        let waited = self.write != Time::NEVER;
        self.write = if self.out.is_empty() { Time::NEVER } else { now };
        if !self.out.is_empty() {
            return;
        }
        self.phase.all_written(now);
        if self.phase == Phase::Open && matches!(self.reading, Reading::Head(_)) {
            // An idle connection keeps no buffers, and its idle time begins now.
            self.out.clear();
            if waited {
                self.head_since = now;
            }
        }
    }

    /// What it waits for.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let read = match (self.phase, &self.reading) {
            (Phase::Closing(_) | Phase::Aborted, _) => self.phase.drops_more(!self.out.is_empty()),
            (Phase::Open, Reading::Discard(_)) => true,
            (Phase::Open, Reading::Head(_)) if self.front => self.input.len() < packet::MOST,
            (Phase::Open, Reading::Head(_)) => self.input.len() <= self.settings.head,
            (Phase::Open, Reading::Sized { .. } | Reading::Chunked(_)) => self.input.len() < BODY_MAX,
            (Phase::Open, Reading::Done) => self.input.len() < PIPELINE_MAX,
            (Phase::Open, Reading::Tunnel) => self.input.is_empty(),
        };
        Wants {
            read: read && !self.eof,
            write: self.may_write(),
            last: matches!(self.phase, Phase::Closing { .. }),
            body: self.has_room(),
        }
    }

    /// Whether there is something to be written, and its pace allows that now.
    fn may_write(&self) -> bool {
        !self.out.is_empty() && (self.pace.is_none() || !self.is_paused())
    }

    /// Whether there is room for more of the response.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        let is_open = self.phase == Phase::Open && self.is_exchange_open();
        is_open
            && match self.writing {
                Writing::Done => false,
                Writing::Tunnel | Writing::Shut => self.out.is_empty(),
                _ => self.out.memory() < OUT_MAX,
            }
    }

    /// Whether and how it ends now.
    #[must_use]
    pub fn end(&self) -> End {
        let shut = self.is_tunnel() && self.writing == Writing::Shut && self.out.is_empty();
        if shut { End::Shut } else { self.phase.end(!self.out.is_empty(), self.eof) }
    }

    /// Between requests, with nothing buffered: it can be closed without loss.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Open
            && matches!(self.reading, Reading::Head(_))
            && self.input.is_empty()
            && self.out.is_empty()
    }

    /// Between requests, whether or not a part of the next head is there.
    #[must_use]
    pub(crate) fn awaits_head(&self) -> bool {
        self.phase == Phase::Open && matches!(self.reading, Reading::Head(_)) && self.out.is_empty()
    }

    /// How long the head that it awaits has taken so far.
    #[must_use]
    pub(crate) fn silence(&self, now: Time) -> Duration {
        now.since(self.head_since)
    }

    /// Whether the client has closed its side, and all it sent before was read.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.eof
    }

    /// Idle after a request, rather than new.
    #[must_use]
    pub(crate) fn is_kept(&self) -> bool {
        self.is_idle() && self.requests > 0
    }

    /// The client is given no more time to read the last answer.
    pub(crate) fn stop_lingering(&mut self) {
        self.phase.stop_lingering();
    }
}

/// The joint rules.
impl Conn {
    /// Something will be queued: if nothing waits yet, the wait begins now.
    fn will_write(&mut self) {
        if self.out.is_empty() {
            self.write = self.clock;
        }
    }

    fn is_exchange_open(&self) -> bool {
        !matches!(self.reading, Reading::Head(_))
    }

    fn is_body_complete(&self) -> bool {
        match &self.reading {
            Reading::Sized { left } => *left == 0,
            Reading::Chunked(body) => body.decoder.is_done(),
            Reading::Done => true,
            Reading::Head(_) | Reading::Tunnel | Reading::Discard(_) => false,
        }
    }

    /// What of the body has not arrived, as far as that is known.
    fn rest(&self) -> u64 {
        match &self.reading {
            Reading::Sized { left } => left.saturating_sub(self.input.len() as u64),
            _ => 0,
        }
    }

    /// The response is complete: the next request, or the end (the table above).
    fn settle(&mut self, now: Time) {
        let clean = self.drop_body();
        if clean && self.is_body_complete() && self.exchange.persist {
            self.next(now);
        } else if !clean || !self.exchange.persist || self.draining || self.rest() > REST_MAX || self.eof {
            self.close(!self.is_body_complete() || !self.input.is_empty());
        }
    }

    /// Drops what is there of the request's body; `false` if it is broken or not worth dropping.
    fn drop_body(&mut self) -> bool {
        match &mut self.reading {
            Reading::Sized { left } => {
                let here = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                self.input.drain(..here);
                true
            }
            Reading::Chunked(body) => {
                let Chunked { decoder, allowed, .. } = &mut **body;
                *allowed = (*allowed).min(REST_MAX);
                let mut data = Vec::new();
                let used = decoder.decode(&self.input, &mut data);
                let left = allowed.checked_sub(data.len() as u64);
                *allowed = left.unwrap_or(0);
                drop(self.input.drain(..used.unwrap_or(0)));
                used.is_ok() && left.is_some()
            }
            Reading::Head(_) | Reading::Done | Reading::Tunnel => true,
            Reading::Discard(_) => false,
        }
    }

    fn next(&mut self, now: Time) {
        self.reading = Reading::Head(Scan::default());
        self.writing = Writing::Await;
        self.exchange = Exchange::NONE;
        self.head_since = now;
        if self.input.is_empty() {
            self.input = Vec::new();
            if self.eof {
                self.close(false);
            }
        }
    }

    /// Closes once all is written. `linger`: the client may still be sending.
    fn close(&mut self, linger: bool) {
        self.phase = Phase::closing(linger, !self.out.is_empty(), self.clock);
        self.reading = Reading::Discard(None);
        self.input = Vec::new();
    }
}

#[cfg(test)]
mod tests;
