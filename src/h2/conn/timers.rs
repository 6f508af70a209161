//! What time does to a connection: of its timers only the earliest shows.
//!
//! | timer | runs | when it expires |
//! |---|---|---|
//! | greeting | from the beginning until the client has sent its settings and acknowledged ours | silent close; GOAWAY (SETTINGS_TIMEOUT) |
//! | block | from HEADERS to the end of its block | GOAWAY |
//! | rest | while no stream is open | gives memory back |
//! | keep-alive | while no stream is open | GOAWAY |
//! | body, rate | of a stream whose body is awaited, as in HTTP/1, or its end after the answer | 408; resets if the response has begun |
//! | pace | of a stream whose response would leave too fast | goes on |
//! | window | of a stream that the client lets send nothing | resets (CANCEL) |
//! | write | while there is something to write, from one write to the next; and while the window of the connection is closed | aborts |
//! | leave | from the first GOAWAY to the second | the second |
//! | linger | from the last byte written, and from one read to the next | close |
//!
//! The timers of streams are looked at when the earliest of them may be due: that time only moves earlier in between.

use super::{Code, Conn, Leave, Phase};
use crate::h2::StreamId;
use crate::h2::frame;
use crate::h2::stream::Stream;
use crate::http::serving::{SLOW_BODY, STALLED_BODY, Settings as Limits, UNREAD};
use crate::timer::{Time, earliest};
use std::time::Duration;

/// How long an answer to the first GOAWAY may be on its way.
const LEAVE: Duration = Duration::from_secs(1);

/// A client that is silent for so long may stay so: a busy one begins anew many times a second.
const REST: Duration = Duration::from_millis(500);

impl Conn {
    /// When [`Self::on_timeout`] has to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        earliest(self.ends(), self.rest_deadline())
    }

    /// When something of it ends although nothing happens.
    #[must_use]
    pub(crate) fn ends(&self) -> Option<Time> {
        let write = self.write_deadline();
        match self.phase {
            Phase::Aborted => None,
            Phase::Closing(_) => earliest(write, self.linger_deadline()),
            Phase::Open => {
                let head = earliest(self.greeting_deadline(), self.block_deadline());
                let rest = earliest(self.idle_deadline(), self.leave_deadline());
                earliest(earliest(write, self.streams_due), earliest(head, rest))
            }
        }
    }

    /// The clock reached the deadline. Why the client is given up in the middle of answers, if it is.
    pub fn on_timeout(&mut self, now: Time) -> Option<&'static str> {
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        if due(self.linger_deadline()) {
            self.phase.stop_lingering();
        }
        self.clock = now;
        if due(self.write_deadline()) {
            let why = (!self.streams.is_empty()).then_some(UNREAD);
            self.abort();
            return why;
        }
        if self.phase != Phase::Open {
            return None;
        }
        if due(self.greeting_deadline()) && !self.greeting.settings {
            self.end_streams();
            self.close(false);
        } else if due(self.greeting_deadline()) {
            self.close_for(Code::SettingsTimeout, "our SETTINGS were not acknowledged in time", true);
        } else if due(self.block_deadline()) {
            self.close_for(Code::Protocol, "request head not complete in time", true);
        } else if due(self.idle_deadline()) {
            self.close_for(Code::None, "", false);
        } else if due(self.leave_deadline()) {
            self.tell_leave();
        }
        if due(self.rest_deadline()) {
            self.shrink();
        }
        if due(self.streams_due) {
            self.look_at_streams();
        }
        None
    }

    /// Does what is due of each stream, and says when the next one may be.
    fn look_at_streams(&mut self) {
        let (now, limits) = (self.clock, std::rc::Rc::clone(&self.limits));
        let goes_on = |stream: &Stream| stream.pace.is_some() && stream.paused_until(now).is_none();
        let paced: Vec<_> =
            self.streams.iter().filter(|(_, stream)| goes_on(stream)).map(|(id, _)| id).collect();
        paced.into_iter().for_each(|id| self.offer(id));
        let dues: Vec<_> =
            self.streams.iter().filter_map(|(id, stream)| Some((id, due(stream, &limits)?))).collect();
        let paused = self.streams.iter().filter_map(|(_, stream)| stream.paused_until(now));
        self.streams_due = dues.iter().map(|(_, due)| *due).chain(paused).filter(|due| *due > now).min();
        for (id, _) in dues.into_iter().filter(|(_, due)| *due <= now) {
            let Some(stream) = self.streams.get(id) else { continue };
            if stream.awaits_body() {
                let stalled = stream.read.after(limits.body_timeout) <= now;
                self.refuse(id, if stalled { STALLED_BODY } else { SLOW_BODY }, Code::Cancel);
            } else if stream.lingers() {
                self.cut_short(id);
            } else {
                self.say(|out| frame::write_reset(id, Code::Cancel, out));
                self.reset_up_to = self.reset_up_to.max(id);
                self.lose(id);
            }
        }
    }

    /// A stream has begun to wait: its deadline counts.
    pub(super) fn watch(&mut self, id: StreamId) {
        let due = self.streams.get(id).and_then(|stream| due(stream, &self.limits));
        self.streams_due = earliest(self.streams_due, due);
    }

    /// The wait for a body, or for its rest, begins.
    pub(super) fn await_body(&mut self, id: StreamId) {
        let (now, grace) = (self.clock, self.limits.body_grace);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.read = now;
            stream.body_due = now.after(grace);
            self.watch(id);
        }
    }

    /// Until when something must have been written, or the client must take something again.
    fn write_deadline(&self) -> Option<Time> {
        let closed = self.outflow.room() == 0;
        let blocked = self.blocked.filter(|_| closed && !self.turns.is_empty());
        let write = self.write.filter(|_| !self.out.is_empty() || (!closed && !self.turns.is_empty()));
        earliest(write, blocked).map(|since| since.after(self.limits.body_timeout))
    }

    fn greeting_deadline(&self) -> Option<Time> {
        let complete = self.greeting.settings && self.greeting.ack;
        (!complete).then(|| self.greeting.since.after(self.limits.header_timeout))
    }

    fn block_deadline(&self) -> Option<Time> {
        self.block.as_ref().map(|block| block.since.after(self.limits.header_timeout))
    }

    fn rest_deadline(&self) -> Option<Time> {
        let rests = self.roomy && self.streams.is_empty() && self.phase == Phase::Open;
        rests.then(|| self.idle_since.after(REST))
    }

    fn idle_deadline(&self) -> Option<Time> {
        // While something is on its way, its own deadline is enough.
        let idle = self.streams.is_empty() && self.out.is_empty();
        idle.then(|| self.idle_since.after(self.limits.keepalive_timeout))
    }

    fn leave_deadline(&self) -> Option<Time> {
        match self.leave {
            Leave::Asked { since, .. } => Some(since.after(LEAVE)),
            Leave::No | Leave::Told => None,
        }
    }

    fn linger_deadline(&self) -> Option<Time> {
        self.phase.linger_deadline(self.leave != Leave::No)
    }
}

/// When the client must have sent more of a body, or taken more of an answer.
fn due(stream: &Stream, limits: &Limits) -> Option<Time> {
    if stream.gone {
        return None;
    }
    let body = (stream.awaits_body() || stream.lingers()).then(|| {
        let stalled = stream.read.after(limits.body_timeout);
        if limits.body_rate > 0 { stalled.min(stream.body_due) } else { stalled }
    });
    earliest(body, stream.blocked.map(|since| since.after(limits.body_timeout)))
}
