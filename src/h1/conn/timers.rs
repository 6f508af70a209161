//! What time does to a connection: five timers, of which only the earliest shows.
//!
//! | timer | runs | when it expires |
//! |---|---|---|
//! | header | from the accept or the first byte of a head, absolute | 408; silent close if nothing came |
//! | keep-alive | between two requests | silent close |
//! | body | while a body is awaited, from one read to the next | 408; aborts if the response has begun |
//! | write | while there is something to write, from one write to the next | aborts |
//! | linger | from the last byte written, and from one read to the next | close |

use super::{Conn, Notice, Phase, Reading, Refusal, Writing};
use crate::timer::{Time, earliest};
use std::time::Duration;

/// Lingering: between two reads, and in all (research, web-servers §4.13).
const LINGER_IDLE: Duration = Duration::from_secs(5);
const LINGER_TOTAL: Duration = Duration::from_secs(30);

const SLOW_HEAD: Refusal =
    Refusal { status: 408, why: "request head not complete within limits.header_timeout" };
const SLOW_BODY: Refusal = Refusal { status: 408, why: "request body stalled for limits.body_timeout" };

impl Conn {
    /// When [`Self::on_timeout`] has to be called at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Aborted => None,
            Phase::Closing { .. } => earliest(self.write_deadline(), self.linger_deadline()),
            Phase::Open => earliest(self.write_deadline(), self.read_deadline()),
        }
    }

    /// The clock reached the deadline.
    pub fn on_timeout(&mut self, now: Time) {
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        let (write, read) = (due(self.write_deadline()), due(self.read_deadline()));
        if due(self.linger_deadline())
            && let Phase::Closing { linger, .. } = &mut self.phase
        {
            *linger = false;
        }
        self.clock = now;
        if write {
            // The wait began at an unknown time: it counts from here.
            match self.write {
                None => self.write = Some(now),
                Some(_) => self.vanish(),
            }
        } else if read && self.phase == Phase::Open {
            self.read_timeout(now);
        }
    }

    fn read_timeout(&mut self, now: Time) {
        match (&self.reading, self.writing) {
            (Reading::Head(_), _) if self.input.is_empty() => self.close(false),
            (Reading::Head(_), _) => {
                self.stop_reading();
                self.notice = Some(Notice::Refused(SLOW_HEAD));
            }
            _ if self.read.is_none() => self.read = Some(now),
            (_, Writing::Done) => self.close(true),
            (_, Writing::Await) => {
                self.stop_reading();
                self.notice = Some(Notice::Refused(SLOW_BODY));
            }
            _ => self.vanish(),
        }
    }

    /// Until when something must have been written.
    pub(super) fn write_deadline(&self) -> Option<Time> {
        let since = self.write.unwrap_or(self.clock);
        (!self.out.is_empty()).then(|| since.after(self.settings.body_timeout))
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
            Reading::Sized { .. } | Reading::Chunked { .. } => {
                let waits = self.input.is_empty() && !self.exchange.expects && !self.is_body_complete();
                waits.then(|| self.read.unwrap_or(self.clock).after(self.settings.body_timeout))
            }
            Reading::Done | Reading::Discard => None,
        }
    }

    pub(super) fn linger_deadline(&self) -> Option<Time> {
        let Phase::Closing { linger: true, since, .. } = self.phase else { return None };
        if !self.out.is_empty() {
            return None;
        }
        let total = since.unwrap_or(self.clock).after(LINGER_TOTAL);
        Some(total.min(self.read.unwrap_or(self.clock).after(LINGER_IDLE)))
    }
}
