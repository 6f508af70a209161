//! What the owner's answers do: from responses to frames.

use super::{Conn, Leave, OUT_LOW, Phase, STREAM_MAX, STREAMS_MAX, Stream, Writing};
use crate::buf::{Queue, Segment};
use crate::h1::Prepared;
use crate::h1::encode::is_ours;
use crate::h2::StreamId;
use crate::h2::frame::{self, Code, HEAD, PAYLOAD_MAX};
use crate::h2::hpack::Block;
use crate::http::serving::{Common, STRICT};
use crate::http::{BodyLength, Fields, Pace, ResponseHead, Status, text};
use crate::timer::{Time, earliest};

/// A part of a file may be longer than what is taken of memory, if the client takes such frames.
const FILE_PART: usize = 64 * 1024;

/// What a short answer takes of a buffer, and as many of them together as are copied into one.
const ANSWER: usize = 1280;
const BATCH: usize = 24 * 1024;

/// A body up to here is copied behind its head: one buffer and one plain write are cheaper than two.
const COPIED: u64 = 8 * 1024;

impl Conn {
    /// The request was admitted and its body is wanted: queues `100 Continue` if the client waits for it.
    pub fn proceed(&mut self, stream: StreamId) {
        let Some(found) = self.streams.get_mut(stream) else { return };
        if found.writing == Writing::Await && std::mem::take(&mut found.expects) {
            self.await_body(stream);
            self.say_head(stream, false, |block| block.status(Status(100)));
        }
    }

    /// Queues an interim response of an upstream, such as 103; not after the final head, nor 100 and 101, which concern one
    /// connection only.
    pub(crate) fn interim(&mut self, stream: StreamId, head: &ResponseHead) {
        let awaited = self.streams.get(stream).is_some_and(|found| found.is_awaited());
        if awaited && matches!(head.status.0, 102..=199) {
            self.say_head(stream, false, |block| {
                block.status(head.status);
                fields(head, block);
            });
        }
    }

    /// How fast the body of the response leaves that comes next, if it may not leave as fast as it can.
    pub(crate) fn set_pace(&mut self, stream: StreamId, pace: Option<Pace>) {
        if let Some(found) = self.streams.get_mut(stream)
            && (pace.is_some() || found.pace.is_some())
        {
            found.pace = pace.map(Box::new);
            self.offer(stream);
        }
    }

    /// Queues the head of the response. Whether a body leaves after it: not for HEAD, nor with a status that forbids one.
    pub fn respond<'a>(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        body: BodyLength,
        common: impl Into<Common<'a>>,
        now: Time,
    ) -> bool {
        let Some(follows) = self.open_response(stream, head.status, body, now) else { return false };
        let common = common.into().beside(head);
        let length = match body {
            _ if head.status.forbids_body() => None,
            BodyLength::None => Some(0),
            BodyLength::Known(length) => Some(length),
            BodyLength::Unknown => None,
        };
        self.say_head(stream, !follows, |block| {
            block.status(head.status);
            say_common(&common, block);
            block.lower(b"server", b"hatchery");
            fields(head, block);
            if let Some(length) = length {
                let mut digits = Vec::with_capacity(20);
                text::decimal(length, &mut digits);
                block.lower(b"content-length", &digits);
            }
        });
        follows
    }

    /// Queues the head of the response by which a tunnel is open (RFC 8441 §4): what the client has sent behind its request, and
    /// sends, is polled from now on. Whether it is: not if none was asked for.
    pub(crate) fn switch<'a>(
        &mut self,
        stream: StreamId,
        head: &ResponseHead,
        common: impl Into<Common<'a>>,
        now: Time,
    ) -> bool {
        self.clock = now;
        let asks = |found: &&mut Stream| found.tunnel && found.is_awaited();
        let Some(found) = self.streams.get_mut(stream).filter(asks) else { return false };
        found.writing = Writing::Unsized;
        found.pace = None;
        let common = common.into().beside(head);
        self.say_head(stream, false, |block| {
            block.status(Status(200));
            say_common(&common, block);
            block.lower(b"server", b"hatchery");
            fields(head, block);
        });
        self.list(stream);
        true
    }

    /// Nothing more leaves through the tunnel; what the client sends still comes.
    pub(crate) fn shut(&mut self, stream: StreamId) {
        let Some(found) = self.streams.get_mut(stream).filter(|found| !found.gone) else { return };
        if found.writing != Writing::Unsized {
            return;
        }
        found.writing = Writing::Shut;
        if found.queue.is_empty() {
            found.shut = true;
            self.say(|out| frame::write_data_head(stream, 0, true, out));
        }
    }

    /// Queues a whole response: as `respond`, `send` and `finish`, with a head that was encoded before. `body` has the
    /// length that the head announces, or is not there. Whether a body leaves.
    pub(crate) fn respond_prepared(
        &mut self,
        stream: StreamId,
        head: &Prepared,
        body: Option<Segment>,
        common: Common<'_>,
        now: Time,
    ) -> bool {
        let announced = if head.length() == 0 { BodyLength::None } else { BodyLength::Known(head.length()) };
        let Some(follows) = self.open_response(stream, head.status(), announced, now) else { return false };
        self.say_head(stream, !follows, |block| {
            block.status(head.status());
            say_common(&common, block);
            head.fields().for_each(|(name, value)| block.lower(name, value));
        });
        if let Some(body) = body.filter(|_| follows)
            && !self.send_at_once(stream, &body)
        {
            self.send(stream, body);
        }
        self.finish(stream, now);
        follows
    }

    /// The response begins: whether a body follows. `None`: nobody wants it.
    fn open_response(&mut self, id: StreamId, status: Status, body: BodyLength, now: Time) -> Option<bool> {
        self.clock = now;
        if self.streams.get(id)?.tunnel {
            // There will be none.
            self.discard(id);
        }
        let stream = self.streams.get_mut(id).filter(|stream| stream.is_awaited())?;
        stream.writing = match body {
            _ if status.forbids_body() || stream.head_only => Writing::Bodiless,
            BodyLength::None => Writing::Bodiless,
            BodyLength::Known(length) => Writing::Sized { left: length },
            BodyLength::Unknown => Writing::Unsized,
        };
        let follows = stream.writing != Writing::Bodiless && body != BodyLength::Known(0);
        stream.shut = !follows;
        Some(follows)
    }

    /// Cuts a small body right behind its head, if nothing is in the way.
    fn send_at_once(&mut self, id: StreamId, body: &Segment) -> bool {
        let length = body.len();
        let bytes = body.as_bytes();
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let fits = length <= COPIED.min(stream.outflow.room()).min(self.outflow.room());
        if stream.pace.is_some()
            || stream.writing != (Writing::Sized { left: length })
            || !fits
            || bytes.is_empty()
            || self.out.queue().len() >= OUT_LOW
        {
            return false;
        }
        stream.writing = Writing::Sized { left: 0 };
        self.budget.sent(length, false);
        self.cut(id, length, true, |out| {
            out.encode_with(HEAD + bytes.len(), |out| {
                frame::write_data_head(id, bytes.len(), true, out);
                out.extend_from_slice(bytes);
            });
        });
        true
    }

    /// Queues a piece of the response body; what exceeds the announced length is dropped.
    pub fn send(&mut self, stream: StreamId, mut segment: Segment) {
        let Some(found) = self.streams.get_mut(stream).filter(|found| !found.gone) else { return };
        match &mut found.writing {
            Writing::Sized { left } => {
                segment.truncate(*left);
                *left -= segment.len();
            }
            Writing::Unsized => {}
            Writing::Await | Writing::Shut | Writing::Bodiless | Writing::Finished | Writing::Broken => {
                return;
            }
        }
        let before = found.queue.memory();
        found.queue.push(segment);
        self.queued += (found.queue.memory() - before) as u64;
        self.offer(stream);
    }

    /// The response is complete. One that is shorter than announced, or has no head, breaks off.
    pub fn finish(&mut self, stream: StreamId, now: Time) {
        self.finish_with(stream, Fields::new(), now);
    }

    /// The same, with trailers, which a body of announced length has none.
    pub(crate) fn finish_with(&mut self, stream: StreamId, trailers: Fields, now: Time) {
        self.clock = now;
        let Some(found) = self.streams.get_mut(stream).filter(|found| !found.gone) else { return };
        match found.writing {
            Writing::Await => return self.break_off(stream),
            Writing::Sized { left } if left > 0 => return self.break_off(stream),
            Writing::Sized { .. } | Writing::Unsized | Writing::Shut | Writing::Bodiless => {
                let is_unsized = found.writing == Writing::Unsized;
                found.trailers = (is_unsized && !trailers.is_empty()).then(|| Box::new(trailers));
                found.writing = Writing::Finished;
            }
            Writing::Finished | Writing::Broken => return,
        }
        self.conclude(stream);
    }

    /// The response cannot be completed: after what is queued of it comes a reset (INTERNAL_ERROR), and the client sees that
    /// the rest is missing.
    pub fn break_off(&mut self, stream: StreamId) {
        let Some(found) = self.streams.get_mut(stream).filter(|found| !found.gone && !found.concluded) else {
            return;
        };
        if found.writing != Writing::Finished {
            found.writing = if found.shut { Writing::Finished } else { Writing::Broken };
        }
        self.conclude(stream);
    }

    /// Whether there is room for another [`Self::send`].
    pub(crate) fn has_room(&self, stream: StreamId) -> bool {
        let Some(found) = self.streams.get(stream).filter(|found| !found.gone) else { return false };
        let memory = found.queue.memory() as u64;
        // Of a tunnel, what was read of the other side is written before more is read.
        if found.tunnel && found.writing == Writing::Unsized {
            return memory == 0;
        }
        let open = matches!(
            found.writing,
            Writing::Await | Writing::Sized { .. } | Writing::Unsized | Writing::Bodiless
        );
        open && memory < STREAM_MAX && (memory == 0 || !self.is_crowded())
    }

    /// Whether what waits of all streams takes as much memory as it may: of each only the next piece is to come.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued >= STREAMS_MAX
    }

    /// Bytes of memory in which something waits to be written, of the connection and its streams.
    pub(crate) fn held(&self) -> u64 {
        // Mostly there is nothing.
        let streams = if self.queued == 0 { None } else { Some(self.streams.iter()) };
        let streams = streams.into_iter().flatten().map(|(_, stream)| stream.queue.own());
        self.out.queue().own() + streams.sum::<u64>()
    }

    /// Bytes of the body that wait to be written, files included; and those that occupy memory.
    pub(crate) fn waiting_of(&self, stream: StreamId) -> (u64, u64) {
        let Some(found) = self.streams.get(stream) else { return (0, 0) };
        let cut = found.cut - found.written;
        (found.queue.len().saturating_add(cut), (found.queue.memory() as u64).saturating_add(cut))
    }

    /// Bytes of the body that were written so far.
    pub(crate) fn written_of(&self, stream: StreamId) -> u64 {
        let Some(found) = self.streams.get(stream) else { return 0 };
        found.written + self.out.partly(stream)
    }

    /// The next stream that is over on our side: its response was written to its end, or was broken off, or it is gone; and how
    /// many bytes of its body were written. Comes once for each stream of which something was polled; after it the
    /// number of the stream means nothing.
    pub(crate) fn poll_done(&mut self) -> Option<(StreamId, u64)> {
        self.done.pop_front()
    }

    /// What is to be written, DATA included as far as the client takes it now.
    pub fn out(&mut self) -> &mut Queue {
        if self.phase == Phase::Open {
            self.pump();
        }
        self.out.lend()
    }

    /// What is in [`Self::out`] already.
    #[must_use]
    pub(crate) fn waiting(&self) -> &Queue {
        self.out.queue()
    }

    /// Something of [`Self::out`] was written.
    pub fn wrote(&mut self, now: Time) {
        self.clock = now;
        self.out.look();
        self.write = (!self.out.is_empty() || !self.turns.is_empty()).then_some(now);
        while let Some(mark) = self.out.pass() {
            if let Some(stream) = self.streams.get_mut(mark.stream) {
                stream.written += mark.body;
                if mark.last {
                    self.over(mark.stream);
                }
            }
        }
        if !self.out.is_empty() {
            return;
        }
        self.phase.all_written(now);
        if self.streams.is_empty() && !self.roomy {
            // An idle connection keeps no buffers.
            self.out.shrink();
        }
    }
}

impl Conn {
    /// Queues HEADERS.
    fn say_head(&mut self, id: StreamId, end: bool, write: impl FnOnce(&mut Block<'_>)) {
        self.will_write();
        // Those that came together are answered together.
        let expected = (self.streams.len() * ANSWER).clamp(ANSWER, BATCH);
        let Self { out, encoder, .. } = self;
        out.add(|out| {
            out.encode_with(expected, |out| {
                frame::write_headers(id, end, out, |out| write(&mut encoder.block(out)))
            });
        });
    }

    /// Whether DATA of a stream can be cut is looked at anew.
    pub(super) fn offer(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.queue.is_empty() || stream.gone {
            return;
        }
        if let Some(until) = stream.paused_until(self.clock) {
            stream.blocked = None;
            self.turns.remove(id);
            self.streams_due = earliest(self.streams_due, Some(until));
            return;
        }
        if stream.outflow.room() > 0 {
            stream.blocked = None;
            let priority = stream.priority;
            if self.turns.is_empty() {
                self.blocked = None;
                self.will_write();
            }
            self.turns.add(id, priority);
            self.note_blocked();
        } else {
            stream.blocked = stream.blocked.or(Some(self.clock));
            self.turns.remove(id);
            self.watch(id);
            if self.eof {
                self.lose_unsendable();
            }
        }
    }

    /// If the window of the connection is closed although there is something to send, that counts from now on.
    fn note_blocked(&mut self) {
        if self.outflow.room() == 0 && !self.turns.is_empty() {
            self.blocked = self.blocked.or(Some(self.clock));
            if self.eof {
                self.lose_unsendable();
            }
        }
    }

    /// Cuts DATA, the most urgent first, until enough waits to be written.
    fn pump(&mut self) {
        while self.out.queue().len() < OUT_LOW {
            let room = self.outflow.room();
            if room == 0 {
                return self.note_blocked();
            }
            let Some(id) = self.turns.next() else { return };
            let Some(stream) = self.streams.get_mut(id) else {
                self.turns.remove(id);
                continue;
            };
            let paced = stream.pace.as_ref().map_or(u64::MAX, |pace| pace.room(self.clock));
            if paced == 0 {
                self.offer(id);
                continue;
            }
            let most =
                if stream.queue.begins_with_file() { self.frame_max.min(FILE_PART) } else { PAYLOAD_MAX };
            let mut queue = std::mem::take(&mut stream.queue);
            let before = queue.memory();
            let count = queue.len().min(stream.outflow.room()).min(room).min(most as u64).min(paced);
            if let Some(pace) = &mut stream.pace {
                pace.took(count, self.clock);
            }
            let end = count == queue.len() && stream.is_whole();
            self.budget.sent(count, count < queue.len());
            self.cut(id, count, end, |out| {
                out.encode_with(HEAD + count.min(PAYLOAD_MAX as u64) as usize, |out| {
                    frame::write_data_head(id, count as usize, end, out);
                });
                queue.move_to(out, count);
            });
            self.queued -= (before - queue.memory()) as u64;
            let Some(stream) = self.streams.get_mut(id) else { return };
            stream.queue = queue;
            if stream.queue.is_empty() {
                self.turns.remove(id);
                if matches!(stream.writing, Writing::Finished | Writing::Broken) {
                    self.conclude(id);
                }
            } else {
                self.offer(id);
            }
        }
    }

    /// Queues a DATA frame with `count` bytes of the body, which `write` adds with its head.
    fn cut(&mut self, id: StreamId, count: u64, end: bool, write: impl FnOnce(&mut Queue)) {
        self.will_write();
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.outflow.spend(count);
        stream.cut += count;
        stream.shut |= end;
        self.outflow.spend(count);
        self.out.add(write);
        self.out.mark(id, count, false);
    }

    /// Nothing will be queued of a stream any more: if all is cut, its last frame is on its way, or is made.
    fn conclude(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if !stream.queue.is_empty() || stream.concluded {
            return;
        }
        stream.concluded = true;
        let trailers = stream.trailers.take();
        let Stream { shut, ended, malformed, tunnel, writing, .. } = *stream;
        let lingers = stream.has_room_for_rest() && self.leave != Leave::Told;
        if writing == Writing::Broken {
            // A tunnel that broke is no fault of ours (RFC 8441 §5).
            let code = if tunnel { Code::Cancel } else { Code::Internal };
            self.say(|out| frame::write_reset(id, code, out));
            self.reset_up_to = self.reset_up_to.max(id);
            self.end_request(id);
        } else {
            match trailers {
                Some(trailers) => self.say_head(id, true, |block| all(&trailers, block)),
                None if !shut => self.say(|out| frame::write_data_head(id, 0, true, out)),
                None => {}
            }
            self.budget.answered();
            if malformed {
                self.say(|out| frame::write_reset(id, Code::Protocol, out));
                self.reset_up_to = self.reset_up_to.max(id);
                self.end_request(id);
            } else if !ended && lingers {
                self.await_body(id);
            } else {
                self.cut_short(id);
            }
        }
        self.discard(id);
        self.out.mark(id, 0, true);
        if self.out.is_empty() {
            // All of it was written before its owner knew that it was all.
            self.wrote(self.clock);
        }
    }

    /// The second step of taking leave: what is above the last request is not looked at.
    pub(super) fn tell_leave(&mut self) {
        let last = self.last;
        (self.leave, self.promised) = (Leave::Told, last);
        self.say(|out| frame::write_goaway(last, Code::None, "", out));
        let open: Vec<_> = self.streams.iter().map(|(id, _)| id).collect();
        open.into_iter().for_each(|id| self.cut_short(id));
        self.settle();
    }
}

fn say_common(common: &Common<'_>, block: &mut Block<'_>) {
    block.lower(b"date", common.date);
    if let Some((name, value)) = common.id {
        block.unique(name.as_bytes(), value);
    }
    if let Some(value) = common.strict {
        block.field(STRICT.as_bytes(), value.as_bytes());
    }
}

/// The fields of an app or upstream. What HTTP/1 bears, white space around a value and word of another protocol, makes a
/// response of HTTP/2 malformed (RFC 9113 §8.2).
fn fields(head: &ResponseHead, block: &mut Block<'_>) {
    all(&head.fields, block);
}

fn all(fields: &Fields, block: &mut Block<'_>) {
    for (name, value) in fields.iter() {
        if !is_ours(name) && !name.eq_ignore_ascii_case(b"upgrade") {
            block.field(name, value.trim_ascii());
        }
    }
}
