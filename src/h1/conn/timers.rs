//! What time does to a connection: six timers, of which only the earliest shows.
//!
//! | timer | runs | when it expires |
//! |---|---|---|
//! | header | from the accept or the first byte of a head, absolute | 408; silent close if nothing came |
//! | keep-alive | between two requests | silent close |
//! | body | while a body is awaited, from one read to the next | 408; aborts if the response has begun |
//! | rate | while a body is awaited; every byte that comes moves it | the same |
//! | write | while there is something to write, from one write to the next | aborts |
//! | linger | from the last byte written, and from one read to the next | close |

use super::{Conn, Notice, Phase, Reading, Writing};
use crate::http::fault::Refusal;
use crate::http::serving::{SLOW_BODY, STALLED_BODY, UNREAD};
use crate::timer::{Time, earliest};

const SLOW_HEAD: Refusal =
    Refusal { status: 408, why: "request head not complete in time; raise limits.header_timeout" };

impl Conn {
    /// When [`Self::on_timeout`] has to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Aborted => None,
            Phase::Closing(_) => earliest(self.write_deadline(), self.linger_deadline()),
            Phase::Open => earliest(self.write_deadline(), self.read_deadline()),
        }
    }

    /// The clock reached the deadline. Why the client is given up in the middle of an answer, if it is.
    pub fn on_timeout(&mut self, now: Time) -> Option<&'static str> {
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        let (write, read) = (due(self.write_deadline()), due(self.read_deadline()));
        if due(self.linger_deadline()) {
            self.phase.stop_lingering();
        }
        self.clock = now;
        if write {
            self.vanish();
            Some(UNREAD)
        } else if read && self.phase == Phase::Open {
            self.read_timeout()
        } else {
            None
        }
    }

    fn read_timeout(&mut self) -> Option<&'static str> {
        let stalled = self.read.after(self.settings.body_timeout) <= self.clock;
        let refusal = if stalled { STALLED_BODY } else { SLOW_BODY };
        match (&self.reading, self.writing) {
            (Reading::Head(_), _) if self.input.is_empty() => self.close(false),
            (Reading::Head(_), _) => {
                self.stop_reading();
                self.notice = Some(Notice::Refused(SLOW_HEAD));
            }
            (_, Writing::Done) => self.close(true),
            (_, Writing::Await) => {
                self.stop_reading();
                self.notice = Some(Notice::Refused(refusal));
            }
            _ => {
                self.vanish();
                return Some(refusal.why);
            }
        }
        None
    }

    /// Until when something must have been written.
    pub(super) fn write_deadline(&self) -> Option<Time> {
        (self.may_write() && self.write != Time::NEVER).then(|| self.write.after(self.settings.body_timeout))
    }

    /// Until when something must have been read: the head, the next request, or more of a body.
    pub(super) fn read_deadline(&self) -> Option<Time> {
        match self.reading {
            // While a response is on its way, its own deadline is enough.
            Reading::Head(_) if !self.out.is_empty() => None,
            Reading::Head(_) if self.input.is_empty() && self.requests > 0 => {
                Some(self.head_since.after(self.settings.keepalive_timeout))
            }
            Reading::Head(_) => Some(self.head_since.after(self.settings.header_timeout)),
            Reading::Sized { .. } | Reading::Chunked(_) => {
                let waits = self.input.is_empty() && !self.exchange.expects && !self.is_body_complete();
                let stalled = self.read.after(self.settings.body_timeout);
                let slow = (self.settings.body_rate > 0).then_some(self.body_due);
                if waits { earliest(Some(stalled), slow) } else { None }
            }
            // A tunnel has a deadline of its own.
            Reading::Done | Reading::Tunnel | Reading::Discard(_) => None,
        }
    }

    /// The wait for a body, or for its rest, begins.
    pub(super) fn await_body(&mut self) {
        self.read = self.clock;
        self.body_due = self.clock.after(self.settings.body_grace);
    }

    /// Bytes of a body have come.
    pub(super) fn gain(&mut self, bytes: usize) {
        self.body_due = self.settings.earn(self.body_due, bytes as u64, self.clock);
    }

    fn linger_deadline(&self) -> Option<Time> {
        self.phase.linger_deadline(self.draining)
    }
}
