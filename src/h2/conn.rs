//! One server-side connection: its streams, and what is said of it as a whole. The states of a stream are in `stream`.
//!
//! It is open until it was idle for too long, `leave` is complete, or a GOAWAY tells of an error; then it closes (`http::phase`).
//!
//! Leaving takes two steps (RFC 9113 §6.8), so that no request is lost that was on its way when the first was taken:
//!
//! | leave | new requests | next |
//! |---|---|---|
//! | `No` | served | `drain`: GOAWAY of the highest number, and a PING |
//! | `Asked` | served | the PING is answered, as many requests have come as may be open, or a second has passed: GOAWAY of the last request |
//! | `Told` | refused | no stream is open: closes |
//!
//! What the client's frames do is in `reading`, what the owner's answers do in `writing`, what time does in `timers`.

mod reading;
mod timers;
mod writing;

use super::budget::{Budget, Work};
use super::flow::{INITIAL, Inflow, Outflow};
use super::frame::{self, Code, Error, PAYLOAD_MAX, Reader, setting};
use super::hpack::{Decoder, Encoder};
use super::output::Output;
use super::priority::Turns;
use super::requests::Scratch;
use super::stream::{Reading, Stream, Streams, Writing};
use super::{Settings, StreamId};
use crate::http::Scheme;
use crate::http::fault::Refusal;
use crate::http::phase::Phase;
use crate::http::serving::{End, Event, Line, Settings as Limits, Wants};
use crate::timer::Time;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// One HTTP/2 connection of a client.
///
/// After every `feed`, `eof`, `finish`, `wrote` and `on_timeout` call [`Self::poll`] until it returns `None`, then
/// [`Self::poll_done`]. Bodies of streams that are [held](Self::hold) are not polled, and the client's windows of them stay
/// closed. Calls without a time happen at the time of the last call that had one, so begin with [`Self::turn`]. Calls
/// for a stream that is gone do nothing.
#[derive(Debug)]
pub struct Conn {
    limits: Rc<Limits>,
    settings: Rc<Settings>,
    /// Requests that may run now.
    allowed: usize,
    /// Those that do: their owner knows of them.
    begun: usize,
    scheme: Scheme,
    phase: Phase,
    leave: Leave,
    eof: bool,
    /// The latest time heard of.
    clock: Time,

    reader: Reader,
    /// A block of fields that has begun.
    block: Option<Box<Block>>,
    decoder: Decoder,
    /// Where requests are put together, while there are some.
    scratch: Option<Box<Scratch>>,
    streams: Streams,
    /// The newest stream.
    last: StreamId,
    /// The newest stream that is served, once the client was told so.
    promised: StreamId,
    /// No stream above was reset by us: what still comes for one below may have been on its way.
    reset_up_to: StreamId,
    requests: u32,
    /// Bytes of the heads of open streams.
    heads: usize,
    greeting: Greeting,
    inflow: Inflow,
    /// Bytes of bodies that were not polled.
    kept: usize,
    budget: Budget,
    events: VecDeque<(StreamId, Event)>,
    /// Streams that have something of a body to tell.
    news: VecDeque<StreamId>,

    out: Output,
    encoder: Encoder,
    outflow: Outflow,
    /// What the client takes: of a stream that begins, and in a frame.
    window: u32,
    frame_max: usize,
    turns: Turns,
    done: VecDeque<(StreamId, u64)>,
    /// Bytes in memory of all bodies that were not cut into frames.
    queued: u64,

    /// The accept, or the end of the last stream.
    idle_since: Time,
    /// Since then it has kept room for the next ones.
    roomy: bool,
    /// When something was written last, or the wait for it began; `None` while there is nothing to write.
    write: Option<Time>,
    /// Since when the client's window for the connection is closed although there is something to send.
    blocked: Option<Time>,
    /// No stream is overdue before.
    streams_due: Option<Time>,
    /// What the client did that ended the connection, until the owner is told.
    offence: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    /// `until` so many requests have come in all: more cannot have been on their way.
    Asked {
        since: Time,
        until: u32,
    },
    Told,
}

/// What the client owes at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Greeting {
    since: Time,
    /// Its settings.
    settings: bool,
    /// Its word that it has ours.
    ack: bool,
}

/// A block of fields whose end has not come.
#[derive(Debug)]
struct Block {
    stream: StreamId,
    end_stream: bool,
    bytes: Vec<u8>,
    since: Time,
}

/// What we take at once of one body, and of all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Up to here bodies that nobody polls do not close the window of the connection, which is there for the others, too.
const KEPT_FREE: usize = 4 * 1024 * 1024;
/// Requests are refused while those that are open have heads of so many bytes: their owners keep them.
const HEADS_MAX: usize = 512 * 1024;
/// Those that may not run yet wait while all have less than that.
const HEADS_WAITING: usize = 32 * 1024;
/// Frames are read only while less than this waits to be written: each may need an answer.
const OUT_MAX: usize = 256 * 1024;
/// DATA is cut only while less than this waits to be written: until then a reset or another urgency changes what is next.
const OUT_LOW: u64 = 64 * 1024;
/// Bytes of a response kept in memory; and of all of them, beyond which each has only what it was given last.
const STREAM_MAX: u64 = 256 * 1024;
const STREAMS_MAX: u64 = 1024 * 1024;
/// The PING that goes with the first GOAWAY.
const FAREWELL: [u8; 8] = *b"farewell";
/// Above the highest number of a stream.
const ANY: StreamId = u32::MAX >> 1;

impl Conn {
    /// A connection of which everything from the client's preface on is still to be fed; what we say first waits to be
    /// written. `secure`: over TLS.
    #[must_use]
    pub fn new(limits: Rc<Limits>, settings: Rc<Settings>, secure: bool, now: Time) -> Self {
        let mut conn = Self {
            allowed: settings.streams as usize,
            begun: 0,
            scheme: if secure { Scheme::Https } else { Scheme::Http },
            phase: Phase::Open,
            leave: Leave::No,
            eof: false,
            clock: now,
            reader: Reader::default(),
            block: None,
            decoder: Decoder::new(),
            scratch: None,
            streams: Streams::default(),
            last: 0,
            promised: 0,
            reset_up_to: 0,
            requests: 0,
            heads: 0,
            greeting: Greeting { since: now, settings: false, ack: false },
            inflow: Inflow::new(CONNECTION_WINDOW),
            kept: 0,
            budget: Budget::new(now),
            events: VecDeque::new(),
            news: VecDeque::new(),
            out: Output::default(),
            encoder: Encoder::new(),
            outflow: Outflow::new(INITIAL),
            window: INITIAL,
            frame_max: PAYLOAD_MAX,
            turns: Turns::default(),
            done: VecDeque::new(),
            queued: 0,
            idle_since: now,
            roomy: false,
            write: None,
            blocked: None,
            streams_due: None,
            offence: None,
            limits,
            settings,
        };
        conn.greet();
        conn
    }

    fn greet(&mut self) {
        let mut values = vec![
            (setting::MAX_CONCURRENT_STREAMS, self.settings.streams),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (setting::MAX_HEADER_LIST_SIZE, u32::try_from(self.limits.head).unwrap_or(u32::MAX)),
            (setting::NO_RFC7540_PRIORITIES, 1),
        ];
        if self.settings.connect {
            values.push((setting::ENABLE_CONNECT_PROTOCOL, 1));
        }
        self.say(|out| {
            frame::write_settings(&values, out);
            frame::write_window_update(0, CONNECTION_WINDOW - INITIAL, out);
        });
    }

    /// A turn begins: it is `now`, and what is overdue expires; as [`Self::on_timeout`].
    pub(crate) fn turn(&mut self, now: Time) -> Option<&'static str> {
        let overdue = self.deadline().is_some_and(|deadline| deadline <= now);
        let why = if overdue { self.on_timeout(now) } else { None };
        self.clock = now;
        why
    }

    /// So many requests may run now; those that do stay. What comes beyond waits to be polled, or is refused if it has a body
    /// or much waits.
    pub(crate) fn allow(&mut self, requests: usize) {
        self.allowed = requests.max(1);
    }

    /// Bytes read from the socket.
    pub fn feed(&mut self, bytes: &[u8], now: Time) {
        self.clock = now;
        let mut reader = std::mem::take(&mut self.reader);
        let mut rest = bytes;
        while self.phase == Phase::Open {
            let (used, frame) = reader.next(rest);
            rest = rest.get(used..).unwrap_or_default();
            let Some(frame) = frame else { break };
            if let Err(error) = frame.and_then(|frame| self.on_frame(frame)) {
                self.fail(error);
            }
        }
        self.reader = reader;
        self.phase.dropped(rest.len(), now);
    }

    /// The client closed its writing side. Requests received whole are still served: the client may be reading.
    pub fn eof(&mut self, now: Time) {
        self.clock = now;
        self.eof = true;
        let incomplete: Vec<_> =
            self.streams.iter().filter(|(_, stream)| !stream.ended).map(|(id, _)| id).collect();
        incomplete.into_iter().for_each(|id| self.lose(id));
        self.lose_unsendable();
        self.settle();
    }

    /// The next event of any stream; `None` if more input, output or time is needed. [`Event::Gone`]: the client or we have
    /// reset the stream, or the connection has ended.
    pub fn poll(&mut self) -> Option<(StreamId, Event)> {
        if let Some((id, event)) = self.take_event() {
            if matches!(event, Event::Gone) {
                self.over(id);
            } else if let Some(stream) = self.streams.get_mut(id) {
                self.begun += usize::from(!std::mem::replace(&mut stream.known, true));
            }
            return Some((id, event));
        }
        while let Some(id) = self.news.pop_front() {
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.listed = false;
            if !stream.has_news() {
                continue;
            }
            if stream.body.is_empty() {
                if let Some(fields) = stream.behind.take().filter(|_| stream.keeps_trailers) {
                    self.list(id);
                    return Some((id, Event::Trailers(*fields)));
                }
                stream.reading = Reading::Discard;
                return Some((id, Event::BodyEnd));
            }
            let body = std::mem::take(&mut stream.body);
            stream.read = self.clock;
            self.kept -= body.len();
            self.list(id);
            self.watch(id);
            self.give_back(id);
            return Some((id, Event::Body(body)));
        }
        None
    }

    /// The next event that a stream began or ended with. A request waits until it may run; nothing else waits for it.
    fn take_event(&mut self) -> Option<(StreamId, Event)> {
        let waits = |(_, event): &(StreamId, Event)| matches!(event, Event::Request(_));
        let at =
            if self.begun < self.allowed { 0 } else { self.events.iter().position(|event| !waits(event))? };
        self.events.remove(at)
    }

    /// What the client did that ended the connection; once.
    pub(crate) fn take_offence(&mut self) -> Option<&'static str> {
        self.offence.take()
    }

    /// The first line of the request that was refused before it was understood, if that much was there.
    pub(crate) fn take_refused(&mut self, stream: StreamId) -> Option<Box<Line>> {
        self.streams.get_mut(stream)?.line.take()
    }

    /// The owner of the stream has (no) room for more of its body.
    pub fn hold(&mut self, stream: StreamId, held: bool, now: Time) {
        self.clock = now;
        let Some(found) = self.streams.get_mut(stream) else { return };
        if std::mem::replace(&mut found.held, held) && !held {
            self.await_body(stream);
            self.list(stream);
            self.give_back(stream);
        }
    }

    /// Bounds the body of the request that just came out of [`Self::poll`], before any more is polled.
    ///
    /// # Errors
    /// 413 if the length announced, or what came already, is over `max`; answer it, nothing of the body will come. A body
    /// that turns out too long is [`Event::Refused`] later.
    pub fn limit_body(&mut self, stream: StreamId, max: u64) -> Result<(), Refusal> {
        let Some(found) = self.streams.get_mut(stream).filter(|found| !found.tunnel) else { return Ok(()) };
        let Reading::Body { left, allowed } = &mut found.reading else { return Ok(()) };
        let came = found.body.len() as u64;
        if came.saturating_add(left.unwrap_or(0)) > max {
            self.discard(stream);
            return Err(Refusal::BODY_TOO_LARGE);
        }
        *allowed = max - came;
        Ok(())
    }

    /// What follows the body of the request that just came out of [`Self::poll`] is wanted, too.
    pub(crate) fn keep_trailers(&mut self, stream: StreamId) {
        if let Some(found) = self.streams.get_mut(stream) {
            found.keeps_trailers = true;
        }
    }

    /// Refuses whatever the client may send next of this request, for a reason that does not lie in it.
    pub(crate) fn refuse_early(&mut self, stream: StreamId, refusal: Refusal) {
        if self.streams.get(stream).is_some_and(Stream::is_awaited) {
            self.discard(stream);
            self.events.push_back((stream, Event::Refused(refusal)));
        }
    }

    /// The connection takes leave: requests that the client has sent by then are served.
    pub fn drain(&mut self) {
        if self.phase == Phase::Open && self.leave == Leave::No {
            let until = self.requests.saturating_add(self.settings.streams);
            self.leave = Leave::Asked { since: self.clock, until };
            self.say(|out| {
                frame::write_goaway(ANY, Code::None, "", out);
                frame::write_ping(FAREWELL, false, out);
            });
        }
    }

    /// As [`Self::drain`], at `now`, between two turns.
    pub(crate) fn leave(&mut self, now: Time) {
        self.clock = now;
        self.drain();
    }

    /// It has taken leave, and no stream is open: waits no longer for the client to have heard of that; whether it did.
    pub(crate) fn quit(&mut self) -> bool {
        let Leave::Asked { since, .. } = self.leave else { return false };
        if self.phase != Phase::Open || !self.streams.is_empty() {
            return false;
        }
        self.tell_leave();
        // It has nothing to read but that, if it was idle before.
        if self.idle_since < since {
            self.stop_lingering();
        }
        true
    }

    /// Breaks the connection off: nothing more is written, no clean end.
    pub(crate) fn abort(&mut self) {
        self.end_streams();
        self.phase = Phase::Aborted;
        self.out.clear();
        self.write = None;
        let concluded: Vec<_> =
            self.streams.iter().filter(|(_, stream)| stream.concluded).map(|(id, _)| id).collect();
        concluded.into_iter().for_each(|id| self.over(id));
    }

    /// What it waits for; `body` is asked of a stream ([`Self::has_room`]).
    #[must_use]
    pub fn wants(&self) -> Wants {
        let read = match self.phase {
            Phase::Closing(_) | Phase::Aborted => self.phase.drops_more(!self.out.is_empty()),
            Phase::Open => self.out.queue().memory() < OUT_MAX,
        };
        let data = self.phase == Phase::Open && !self.turns.is_empty() && self.outflow.room() > 0;
        let last = matches!(self.phase, Phase::Closing { .. });
        Wants { read: read && !self.eof, write: !self.out.is_empty() || data, last, body: false }
    }

    /// Whether and how it ends now.
    #[must_use]
    pub fn end(&self) -> End {
        self.phase.end(!self.out.is_empty(), self.eof)
    }

    /// Without open streams and anything to write: it can be closed without loss.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        let asked = matches!(self.leave, Leave::Asked { .. });
        self.phase == Phase::Open && self.streams.is_empty() && self.out.is_empty() && !asked
    }

    /// Requests that run, or whose streams are still open.
    #[must_use]
    pub(crate) fn running(&self) -> usize {
        self.begun
    }

    /// It keeps room for streams to come: the last one was open a moment ago.
    #[must_use]
    pub(crate) fn is_roomy(&self) -> bool {
        self.roomy || !self.streams.is_empty()
    }

    /// Idle after a request, rather than new.
    #[must_use]
    pub(crate) fn is_kept(&self) -> bool {
        self.is_idle() && self.requests > 0
    }

    /// How long no stream has been open.
    #[must_use]
    pub(crate) fn silence(&self, now: Time) -> Duration {
        now.since(self.idle_since)
    }

    /// Whether the client has closed its side, and all it sent before was read.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.eof
    }

    /// The client is given no more time to read the last answer.
    pub(crate) fn stop_lingering(&mut self) {
        self.phase.stop_lingering();
    }
}

/// The joint rules.
impl Conn {
    /// Queues what is no DATA.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.will_write();
        self.out.add(|out| out.encode(write));
    }

    /// Something will be queued: if nothing waits yet, the wait begins now.
    fn will_write(&mut self) {
        if self.out.is_empty() {
            self.write = Some(self.clock);
        }
    }

    /// The client makes work that no answer comes of.
    fn spend(&mut self, work: Work) -> Result<(), Error> {
        let most = Error::connection(Code::EnhanceYourCalm, "too much work for too few answers");
        self.budget.spend(work, self.clock).ok_or(most)
    }

    /// The client has done what it must not.
    fn fail(&mut self, error: Error) {
        if error.stream == 0 || error.stream > self.last {
            self.close_for(error.code, error.why, true);
        } else if let Err(error) = self.reset(error.stream, error.code) {
            self.close_for(error.code, error.why, true);
        }
    }

    /// Resets a stream for what the client did.
    fn reset(&mut self, id: StreamId, code: Code) -> Result<(), Error> {
        self.say(|out| frame::write_reset(id, code, out));
        self.reset_up_to = self.reset_up_to.max(id);
        self.lose(id);
        self.spend(Work::Wasted)
    }

    /// A stream has no use any more, unless its response is on its way whole: its owner is told, if it knows it.
    fn lose(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.concluded {
            return self.end_request(id);
        }
        (stream.ended, stream.gone) = (true, true);
        self.queued -= stream.queue.memory() as u64;
        stream.queue.clear();
        self.turns.remove(id);
        self.discard(id);
        self.events.retain(|(of, _)| *of != id);
        if self.streams.get(id).is_some_and(|stream| stream.known) {
            self.events.push_back((id, Event::Gone));
        } else {
            self.forget(id);
        }
    }

    /// A client that has closed its side opens no window any more: what is beyond it is given up.
    fn lose_unsendable(&mut self) {
        let full = self.outflow.room() == 0;
        let is_stuck = |stream: &Stream| {
            !stream.gone && !stream.queue.is_empty() && (full || stream.outflow.room() == 0)
        };
        let stuck: Vec<_> =
            self.streams.iter().filter(|(_, stream)| is_stuck(stream)).map(|(id, _)| id).collect();
        for id in stuck {
            self.say(|out| frame::write_reset(id, Code::Cancel, out));
            self.lose(id);
        }
    }

    /// Nothing more is wanted of a request.
    fn discard(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.reading = Reading::Discard;
        stream.expects = false;
        self.kept -= stream.body.len();
        (stream.body, stream.behind) = (Vec::new(), None);
        self.give_back(id);
    }

    /// A stream is over, and its owner learns it.
    fn over(&mut self, id: StreamId) {
        let written = self.written_of(id);
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.over) else { return };
        stream.over = true;
        let lingers = stream.lingers();
        self.done.push_back((id, written));
        if !lingers {
            self.forget(id);
        }
    }

    /// Nothing more comes of a request, or matters.
    fn end_request(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.ended = true;
        if stream.over {
            self.forget(id);
        }
    }

    /// Of a request that was answered, nothing more is taken.
    fn cut_short(&mut self, id: StreamId) {
        if self.streams.get(id).is_some_and(Stream::lingers) {
            self.say(|out| frame::write_reset(id, Code::None, out));
            self.reset_up_to = self.reset_up_to.max(id);
            self.end_request(id);
        }
    }

    /// A stream is out of the table.
    fn forget(&mut self, id: StreamId) {
        self.begun -= usize::from(self.streams.get(id).is_some_and(|stream| stream.known));
        self.heads -= self.streams.remove(id);
        if self.streams.is_empty() {
            self.idle_since = self.clock;
            self.streams_due = None;
            self.roomy = true;
            self.settle();
        }
    }

    /// Nothing has run for a while: nothing is kept for it.
    fn shrink(&mut self) {
        self.roomy = false;
        self.streams = Streams::default();
        self.scratch = None;
        self.decoder.shrink();
        self.turns.shrink();
        self.news = VecDeque::new();
        self.done.shrink_to_fit();
        self.events.shrink_to_fit();
        self.out.shrink();
    }

    /// Closes if nothing more is to come: the client has left, or we have, and no stream is open.
    fn settle(&mut self) {
        let ends = self.eof || self.leave == Leave::Told;
        if ends && self.phase == Phase::Open && self.streams.is_empty() {
            self.close(true);
        }
    }

    /// Says why the connection ends, and ends it.
    fn close_for(&mut self, code: Code, why: &'static str, linger: bool) {
        if self.phase != Phase::Open {
            return;
        }
        self.offence = (code != Code::None).then_some(why);
        self.end_streams();
        let last = if self.leave == Leave::Told { self.promised } else { self.last };
        self.say(|out| frame::write_goaway(last, code, why, out));
        self.close(linger);
    }

    /// All streams are gone.
    fn end_streams(&mut self) {
        let open: Vec<_> = self.streams.iter().map(|(id, _)| id).collect();
        open.into_iter().for_each(|id| self.lose(id));
    }

    /// Closes once all is written. `linger`: the client may still be sending.
    fn close(&mut self, linger: bool) {
        self.phase = Phase::closing(linger, !self.out.is_empty(), self.clock);
        (self.reader, self.block) = (Reader::default(), None);
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
