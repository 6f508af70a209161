//! What the drive of a client asks of the protocol that the client speaks.

use crate::buf::Queue;
use crate::http::fault::Refusal;
use crate::http::serving::{End, Wants};
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::exchange::Peer;
use crate::worker::reader;
use crate::worker::shortage::Expendable;

/// The connection that exchanges run on, as far as they have to know it.
#[derive(Clone, Copy)]
pub(super) struct Connection<'a> {
    pub(super) client: Key,
    pub(super) peer: &'a Peer,
    /// Bytes that were written since it began.
    pub(super) written: u64,
}

/// What was given up because the client has closed its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: what runs goes on.
    Nothing,
    /// What had not begun to answer, and nothing else is on its way.
    Unanswered,
    /// What is broken off, as the protocol can show it.
    BrokenOff,
}

/// A connection of some version of HTTP, and the exchanges that run on it.
pub(super) trait Protocol {
    /// A turn begins: what is overdue expires.
    fn turn(&mut self, cx: &mut Context);

    /// Bytes of the client.
    fn feed(&mut self, bytes: &[u8], now: Time);

    /// The client has closed its side.
    fn eof(&mut self, now: Time);

    /// Takes what has come and moves exchanges on; whether there may be more of that to do.
    fn handle(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool;

    /// What is to be written.
    fn out(&mut self) -> &mut Queue;

    /// Bytes of memory in which something waits to be written.
    fn held(&self) -> u64;

    /// Something of that was written.
    fn wrote(&mut self, now: Time);

    /// Whether there may be more to do at once, where something was `handled` just now, or else written.
    fn may_go_on(&self, _handled: bool) -> bool {
        true
    }

    fn wants(&self) -> Wants;

    fn end(&self) -> End;

    fn deadline(&self) -> Option<Time>;

    /// When something of it ends although nothing happens.
    fn ends(&self) -> Option<Time> {
        self.deadline()
    }

    /// Logs the exchanges that are over.
    fn log_done(&mut self, written: u64, cx: &mut Context);

    /// Nothing more is written: logs all exchanges.
    fn log_all(&mut self, written: u64, cx: &mut Context);

    /// The client has gone: what runs for it is given up, or finishes without it.
    fn cancel(&mut self, connection: Connection<'_>, cx: &mut Context);

    /// The client has reset the connection, for the log.
    fn client_lost(&mut self, connection: Connection<'_>, cx: &mut Context);

    /// The client has closed its side, and nothing can be done for it now. What runs is given up if it has no end, at any
    /// time, and if it waits for others where nothing more waits to be written. Requests that came whole before and begin
    /// later are answered, until a write fails.
    fn client_left(&mut self, connection: Connection<'_>, cx: &mut Context) -> Left;

    /// Whether the client has closed its side, and all it sent before was read.
    fn has_ended(&self) -> bool;

    /// Whether it can be closed without loss; `hasty`: but for a part of a head.
    fn is_unused(&self, hasty: bool) -> bool;

    /// Whether it can be done without.
    fn expendable(&self, now: Time) -> Option<Expendable>;

    /// What the exchange of that number waited for was read.
    fn note_found(&mut self, number: u32, outcome: reader::Outcome);

    /// No further request after those that run, or after the next if none runs.
    fn leave(&mut self, now: Time);

    /// It is leaving, at once: if nothing runs, it waits no longer for the client to have heard of that; whether it did.
    fn quit(&mut self) -> bool;

    /// Whatever the client asks, this is the answer.
    fn refuse(&mut self, refusal: Refusal);

    /// The client is given no more time to read the last answer.
    fn stop_lingering(&mut self);

    /// Whether it is a tunnel for another protocol.
    fn is_tunnel(&self) -> bool {
        false
    }

    /// What still runs is broken off; a tunnel ends.
    fn cut(&mut self);

    /// Nothing more is said: the client reads what was said by other means.
    fn hang_up(&mut self, now: Time);
}
