//! What the client's frames do to a connection: from frames to events.

use super::{
    Block, Conn, FAREWELL, HEADS_MAX, HEADS_WAITING, KEPT_FREE, Leave, Reading, STREAM_WINDOW, Writing,
};
use crate::h2::StreamId;
use crate::h2::budget::Work;
use crate::h2::flow::{Inflow, Outflow};
use crate::h2::frame::{self, Code, Error, Frame, setting};
use crate::h2::hpack::{self, Outcome};
use crate::h2::priority::Priority;
use crate::h2::requests::{Builder, check_field};
use crate::h2::stream::Stream;
use crate::http::fault::Refusal;
use crate::http::serving::{Event, LONG_TRAILERS, TRAILERS_MAX};
use crate::http::{BodyLength, Fields, Method};

fn protocol(why: &'static str) -> Error {
    Error::connection(Code::Protocol, why)
}

fn unreadable(error: hpack::Error) -> Error {
    Error::connection(Code::Compression, error.0)
}

const WINDOW_TOO_LARGE: Error = Error { stream: 0, code: Code::FlowControl, why: "a window above 2^31 - 1" };

const IDLE: &str = "frame on a stream that was not opened";

impl Conn {
    pub(super) fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if !self.greeting.settings && !matches!(frame, Frame::Settings { .. }) {
            return Err(protocol("the first frame is not SETTINGS"));
        }
        match (frame, self.block.as_ref().map(|block| block.stream)) {
            (Frame::Continuation { stream, block, end_headers }, Some(open)) if stream == open => {
                self.on_continuation(block, end_headers)
            }
            (_, Some(_)) => Err(protocol("a block of fields is interrupted")),
            (Frame::Continuation { .. }, None) => Err(protocol("CONTINUATION of nothing")),
            (Frame::Data { stream, data, counted, last, empty, end }, None) => {
                if empty && !end {
                    self.spend(Work::Empty)?;
                }
                self.on_data(stream, data, counted, last, end)
            }
            (Frame::Headers { stream, block, end_stream, end_headers: true }, None) => {
                self.on_block(stream, block, end_stream)
            }
            (Frame::Headers { stream, block, end_stream, end_headers: false }, None) => {
                let bytes = Vec::new();
                self.block = Some(Box::new(Block { stream, end_stream, bytes, since: self.clock }));
                self.gather(block)
            }
            (Frame::Reset { stream }, None) => self.on_reset(stream),
            (Frame::Settings { values }, None) => self.on_settings(values),
            (Frame::SettingsAck, None) => {
                self.greeting.ack = true;
                self.spend(Work::Small)
            }
            (Frame::Ping { opaque, ack }, None) => self.on_ping(opaque, ack),
            (Frame::WindowUpdate { stream, increment }, None) => self.on_window_update(stream, increment),
            (Frame::PriorityUpdate { stream, value }, None) => self.on_priority(stream, value),
            (Frame::Other, None) => self.spend(Work::Small),
        }
    }

    fn on_continuation(&mut self, block: &[u8], end_headers: bool) -> Result<(), Error> {
        self.spend(if block.is_empty() { Work::Empty } else { Work::Small })?;
        self.gather(block)?;
        match self.block.take_if(|_| end_headers) {
            Some(whole) => self.on_block(whole.stream, &whole.bytes, whole.end_stream),
            None => Ok(()),
        }
    }

    /// Keeps a part of a block; one longer than what is read of its fields could ever need is none.
    fn gather(&mut self, part: &[u8]) -> Result<(), Error> {
        let Some(block) = &mut self.block else { return Ok(()) };
        block.bytes.extend_from_slice(part);
        if block.bytes.len() > self.limits.head.saturating_mul(2) {
            return Err(Error::connection(Code::EnhanceYourCalm, "block of fields too long"));
        }
        Ok(())
    }

    /// A whole block: a request or trailers. Also one that nobody wants is decoded: the table must stay in step.
    fn on_block(&mut self, id: StreamId, block: &[u8], end_stream: bool) -> Result<(), Error> {
        if id.is_multiple_of(2) {
            return Err(protocol("a client's stream has an odd number"));
        }
        if id > self.last {
            return self.open(id, block, end_stream);
        }
        let (mut malformed, mut fields) = (None, Fields::new());
        let keeps = self.streams.get(id).is_some_and(Stream::may_keep_trailers);
        let outcome = self
            .decoder
            .decode(block, TRAILERS_MAX, |name, value| {
                let wrong = check_field(name, value).err();
                malformed = malformed.or(wrong);
                if keeps && malformed.is_none() {
                    fields.add(name, value);
                }
            })
            .map_err(unreadable)?;
        let trailers = Refusal { status: 400, why: "trailers that do not end the request" };
        let malformed = malformed.or((!end_stream).then_some(trailers));
        match self.streams.get(id) {
            Some(stream) if stream.gone => self.spend(Work::Small),
            Some(stream) if stream.ended => {
                let why = "HEADERS behind the end of a request";
                Err(Error { stream: id, code: Code::StreamClosed, why })
            }
            // Only DATA goes through a tunnel (RFC 9113 §8.5).
            Some(stream) => match malformed.or(stream.tunnel.then_some(trailers)) {
                Some(refusal) => self.malformed(id, refusal),
                None => {
                    match outcome {
                        Outcome::Whole => self.keep_trailers_of(id, fields),
                        Outcome::Exceeds => self.refuse(id, LONG_TRAILERS, Code::Cancel),
                    }
                    self.on_end(id)
                }
            },
            None => {
                self.on_closed(id)?;
                self.spend(Work::Small)
            }
        }
    }

    /// What follows the body of a request has come, and may be wanted.
    fn keep_trailers_of(&mut self, id: StreamId, fields: Fields) {
        if let Some(stream) = self.streams.get_mut(id).filter(|_| !fields.is_empty()) {
            // As with its head, its owner may keep it.
            let length = fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            stream.head += length;
            self.heads += length;
            stream.behind = Some(Box::new(fields));
        }
    }

    /// Whether no HEADERS came for that number.
    fn is_unopened(&self, id: StreamId) -> bool {
        id.is_multiple_of(2) || id > self.last
    }

    /// A frame for a stream that is not in the table any more.
    fn on_closed(&mut self, id: StreamId) -> Result<(), Error> {
        if id > self.reset_up_to {
            return Err(Error::connection(Code::StreamClosed, "frame on a closed stream"));
        }
        Ok(())
    }

    /// A block opens a stream.
    fn open(&mut self, id: StreamId, block: &[u8], end_stream: bool) -> Result<(), Error> {
        let waits = self.streams.len() >= self.allowed;
        let full = self.streams.len() >= self.settings.streams as usize
            || self.heads >= if waits { HEADS_WAITING } else { HEADS_MAX }
            || waits && !end_stream;
        if full || self.leave == Leave::Told {
            self.decoder.decode(block, 0, |_, _| {}).map_err(unreadable)?;
            self.spend(Work::Refused)?;
            (self.last, self.reset_up_to) = (id, id);
            self.say(|out| frame::write_reset(id, Code::RefusedStream, out));
            return Ok(());
        }
        self.last = id;
        let mut builder =
            Builder::new(self.scratch.get_or_insert_default(), &self.limits, self.settings.connect);
        let outcome = self
            .decoder
            .decode(block, self.limits.head, |name, value| builder.field(name, value))
            .map_err(unreadable)?;
        self.requests = self.requests.saturating_add(1);
        let mut stream = Stream::new(Inflow::new(STREAM_WINDOW), Outflow::new(self.window), self.clock);
        stream.ended = end_stream;
        let exceeds = outcome == Outcome::Exceeds;
        let event = match builder.finish(end_stream, exceeds, self.scheme, &self.limits) {
            Ok(asked) => {
                stream.head = asked.request.head.wire_len();
                stream.head_only = asked.request.head.method() == Method::Head;
                (stream.expects, stream.tunnel) = (asked.expects, asked.tunnel);
                stream.set_priority(asked.priority);
                stream.reading = match asked.request.body {
                    _ if asked.tunnel => Reading::Body { left: None, allowed: u64::MAX },
                    BodyLength::None => Reading::Discard,
                    BodyLength::Known(left) => Reading::Body { left: Some(left), allowed: u64::MAX },
                    BodyLength::Unknown => Reading::Body { left: None, allowed: u64::MAX },
                };
                Event::Request(asked.request)
            }
            Err((refusal, line)) => {
                stream.malformed = refusal.status == 400;
                stream.head_only =
                    line.as_ref().is_some_and(|line| Method::from_bytes(&line.method) == Method::Head);
                stream.line = line;
                Event::Refused(refusal)
            }
        };
        let malformed = stream.malformed;
        self.heads += stream.head;
        self.events.push_back((id, event));
        self.streams.push(id, stream);
        self.await_body(id);
        self.list(id);
        if self.limits.keepalive_requests > 0 && self.requests >= self.limits.keepalive_requests {
            self.drain();
        }
        if let Leave::Asked { until, .. } = self.leave
            && self.requests >= until
        {
            self.tell_leave();
        }
        if malformed { self.spend(Work::Wasted) } else { Ok(()) }
    }

    fn on_data(
        &mut self,
        id: StreamId,
        data: &[u8],
        counted: usize,
        last: bool,
        end: bool,
    ) -> Result<(), Error> {
        let overflow = Error::connection(Code::FlowControl, "DATA beyond the window of the connection");
        self.inflow.take(counted).ok_or(overflow)?;
        if self.is_unopened(id) {
            return Err(protocol(IDLE));
        }
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.gone) else {
            self.give_back(0);
            self.on_closed(id)?;
            // Once for a frame, whatever pieces it comes in.
            return if last { self.spend(Work::Small) } else { Ok(()) };
        };
        if stream.ended {
            let why = "DATA behind the end of a request";
            return Err(Error { stream: id, code: Code::StreamClosed, why });
        }
        let overflow = Error { stream: id, code: Code::FlowControl, why: "DATA beyond the window" };
        stream.inflow.take(counted).ok_or(overflow)?;
        let full = stream.inflow.open() == 0;
        self.keep(id, data)?;
        if end {
            self.on_end(id)?;
        } else if full {
            self.cut_short(id);
        }
        self.list(id);
        self.give_back(id);
        Ok(())
    }

    /// Bytes of a body have come.
    fn keep(&mut self, id: StreamId, data: &[u8]) -> Result<(), Error> {
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        stream.read = self.clock;
        let Reading::Body { left, allowed } = &mut stream.reading else { return Ok(()) };
        let count = data.len() as u64;
        if let Some(left) = left {
            match left.checked_sub(count) {
                Some(rest) => *left = rest,
                None => return self.malformed(id, WRONG_LENGTH),
            }
        }
        let Some(rest) = allowed.checked_sub(count) else {
            self.refuse(id, Refusal::BODY_TOO_LARGE, Code::Cancel);
            return Ok(());
        };
        *allowed = rest;
        stream.expects = false;
        stream.body.extend_from_slice(data);
        stream.body_due = self.limits.earn(stream.body_due, count, self.clock);
        self.kept += data.len();
        Ok(())
    }

    /// END_STREAM has come.
    fn on_end(&mut self, id: StreamId) -> Result<(), Error> {
        self.end_request(id);
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        if let Reading::Body { left: Some(1..), .. } = stream.reading {
            return self.malformed(id, WRONG_LENGTH);
        }
        self.list(id);
        Ok(())
    }

    /// The rest of a request shows that it is none.
    fn malformed(&mut self, id: StreamId, refusal: Refusal) -> Result<(), Error> {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.malformed = true;
        }
        self.refuse(id, refusal, Code::Protocol);
        self.spend(Work::Wasted)
    }

    /// The request ends here: with that answer, or, if another has begun, with a reset.
    pub(super) fn refuse(&mut self, id: StreamId, refusal: Refusal, code: Code) {
        let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.gone) else { return };
        if stream.writing == Writing::Await {
            self.discard(id);
            self.events.push_back((id, Event::Refused(refusal)));
        } else if stream.concluded {
            self.cut_short(id);
        } else {
            self.say(|out| frame::write_reset(id, code, out));
            self.reset_up_to = self.reset_up_to.max(id);
            self.lose(id);
        }
    }

    fn on_reset(&mut self, id: StreamId) -> Result<(), Error> {
        if self.is_unopened(id) {
            return Err(protocol(IDLE));
        }
        let wasted = self.streams.get(id).is_some_and(|stream| !stream.concluded && !stream.gone);
        self.lose(id);
        self.spend(if wasted { Work::Wasted } else { Work::Small })
    }

    fn on_settings(&mut self, values: &[u8]) -> Result<(), Error> {
        // Only the last one of a frame changes streams: a frame has room for thousands.
        let mut window = None;
        for (id, value) in frame::settings(values) {
            match id {
                setting::HEADER_TABLE_SIZE => self.encoder.resize(value),
                setting::ENABLE_PUSH | setting::NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(protocol("a setting that is neither 0 nor 1"));
                }
                setting::INITIAL_WINDOW_SIZE if value > u32::MAX >> 1 => return Err(WINDOW_TOO_LARGE),
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                setting::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(protocol("SETTINGS_MAX_FRAME_SIZE out of range"));
                }
                setting::MAX_FRAME_SIZE => self.frame_max = value as usize,
                _ => {}
            }
        }
        if let Some(size) = window {
            self.on_initial_window(size)?;
        }
        self.say(frame::write_settings_ack);
        if std::mem::replace(&mut self.greeting.settings, true) { self.spend(Work::Settings) } else { Ok(()) }
    }

    /// What a stream begins with changes, and by as much what the open ones have (RFC 9113 §6.9.2).
    fn on_initial_window(&mut self, size: u32) -> Result<(), Error> {
        let by = i64::from(size) - i64::from(std::mem::replace(&mut self.window, size));
        let open: Vec<_> = self.streams.iter().map(|(id, _)| id).collect();
        for id in open {
            let Some(stream) = self.streams.get_mut(id) else { continue };
            stream.outflow.change(by).ok_or(WINDOW_TOO_LARGE)?;
            self.offer(id);
        }
        Ok(())
    }

    fn on_ping(&mut self, opaque: [u8; 8], ack: bool) -> Result<(), Error> {
        if !ack {
            self.say(|out| frame::write_ping(opaque, true, out));
        } else if opaque == FAREWELL && matches!(self.leave, Leave::Asked { .. }) {
            self.tell_leave();
            return Ok(());
        }
        self.spend(Work::Ping)
    }

    fn on_window_update(&mut self, id: StreamId, increment: u32) -> Result<(), Error> {
        if increment == 0 {
            return Err(Error { stream: id, code: Code::Protocol, why: "WINDOW_UPDATE of 0" });
        }
        let overflow = Error { stream: id, ..WINDOW_TOO_LARGE };
        let by = i64::from(increment);
        if id == 0 {
            self.outflow.change(by).ok_or(overflow)?;
            if self.blocked.take().is_some() {
                self.will_write();
            }
        } else if self.is_unopened(id) {
            return Err(protocol(IDLE));
        } else if let Some(stream) = self.streams.get_mut(id).filter(|stream| !stream.gone) {
            stream.outflow.change(by).ok_or(overflow)?;
            self.offer(id);
        }
        self.spend(Work::Small)
    }

    fn on_priority(&mut self, id: StreamId, value: &[u8]) -> Result<(), Error> {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.set_priority(Priority::parse(value));
            self.turns.change(id, stream.priority);
        }
        self.spend(Work::Small)
    }

    /// Notes a stream that has something of its body to tell.
    pub(super) fn list(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id)
            && stream.has_news()
            && !std::mem::replace(&mut stream.listed, true)
        {
            self.news.push_back(id);
        }
    }

    /// Opens the client's windows as far as what it sent is not kept here.
    pub(super) fn give_back(&mut self, id: StreamId) {
        if let Some(increment) = self.inflow.give_back(self.kept.saturating_sub(KEPT_FREE)) {
            self.say(|out| frame::write_window_update(0, increment, out));
        }
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !stream.ended
            && matches!(stream.reading, Reading::Body { .. })
            && let Some(increment) = stream.inflow.give_back(stream.body.len())
        {
            self.say(|out| frame::write_window_update(id, increment, out));
        }
    }
}

const WRONG_LENGTH: Refusal = Refusal { status: 400, why: "the body is not as long as Content-Length" };
