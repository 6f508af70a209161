//! A connection that goes on in another protocol, by a 101.

use super::{Conn, Phase, Reading, Writing};
use crate::h1::encode::{self, Connection, Framing};
use crate::h1::{Common, Event};
use crate::http::ResponseHead;
use crate::timer::Time;

impl Conn {
    /// Queues the head of a 101 (RFC 9110 §7.8): what follows it, both ways, is of another protocol, and so is what the client has
    /// sent after its request. Whether it is: not if the client has gone, or its request has a body.
    pub(crate) fn switch<'a>(
        &mut self,
        head: &ResponseHead,
        common: impl Into<Common<'a>>,
        now: Time,
    ) -> bool {
        self.clock = now;
        if self.phase != Phase::Open || self.reading != Reading::Done || self.writing != Writing::Await {
            return false;
        }
        (self.reading, self.writing) = (Reading::Tunnel, Writing::Tunnel);
        self.will_write();
        self.out.encode(|out| {
            encode::head(head, Framing::Unsaid, Connection::Upgrade, common.into(), out);
        });
        true
    }

    /// Nothing more leaves through the tunnel; what the client sends still comes.
    pub(crate) fn shut(&mut self) {
        if self.writing == Writing::Tunnel {
            self.writing = Writing::Shut;
        }
    }

    /// Whether it goes on in another protocol.
    pub(crate) fn is_tunnel(&self) -> bool {
        self.phase == Phase::Open && matches!(self.writing, Writing::Tunnel | Writing::Shut)
    }

    /// Whether there is nothing to be polled of it.
    pub(crate) fn is_tunnel_empty(&self) -> bool {
        self.reading == Reading::Tunnel && self.input.is_empty() && !self.eof
    }

    /// What has come through it, and its end.
    pub(super) fn poll_tunnel(&mut self) -> Option<Event> {
        if !self.input.is_empty() {
            return Some(Event::Body(std::mem::take(&mut self.input)));
        }
        if !self.eof {
            return None;
        }
        self.reading = Reading::Done;
        Some(Event::BodyEnd)
    }
}
