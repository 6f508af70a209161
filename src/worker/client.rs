//! A client connection: its stream, its protocol state and the exchange that runs on it. [`Client::drive`] is the only
//! caller of `wants`: it works while what the stream can do and what the protocol wants have something in common.

use super::client_quota::Counted;
use super::context::{Context, Timer};
use super::drive::Drive;
use super::exchange::{Exchange, Peer};
use super::owner::Owner;
use super::reader;
use super::reply::{Reply, Tally};
use super::shortage::Expendable;
use super::stream::{Stream, Trailing};
use super::transport::Transport;
use crate::event::{Read, Readiness, Source};
use crate::h1::{self, End, Event};
use crate::http::fault::{Fault, Refusal};
use crate::slab::{Key, Slab};
use crate::timer::{Time, earliest};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// Rounds of read, handle, write in one turn before others get theirs.
const BUDGET: usize = 16;

/// Bytes of a response that are worth a system call of their own.
const TOGETHER: u64 = 64 * 1024;

/// The answer to connections above the limit.
const TOO_MANY: Refusal = Refusal {
    status: 429,
    why: "too many connections of one client address; raise limits.connections_per_client",
};

/// The line for a connection that does not even get a 429.
const CLOSED: &str =
    "connection closed unanswered: its client address has too many; raise limits.connections_per_client";

/// One client connection.
pub(super) struct Client {
    transport: Transport,
    h1: h1::Conn,
    peer: Peer,
    phase: Phase,
    counted: Counted,
    /// The exchange that runs, or whose response is being written.
    stream: Option<Box<Stream>>,
    /// Number of the latest.
    streams: u32,
    trailing: Trailing,
    /// The exchange has no room for more of the request body.
    paused: bool,
    /// What waited for others when the client closed its side was asked whether it goes on.
    asked: bool,
    /// When a timer wakes this connection; its real deadline is never earlier.
    armed: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests and responses.
    Open,
    /// The server stops: as soon as nothing runs, close.
    Leaving,
    /// Its descriptor is needed: as soon as nothing runs, close, even within a head.
    GivenUp,
    /// Our side is closed, so that the client can read the last answer; what still comes is discarded.
    Lingering,
    /// Over: freed when the turn settles. Until then an event or a link may still name it.
    Closed,
}

/// How a drive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DriveEnd {
    /// The budget is used up; there is more to do.
    Again,
    /// Nothing to do before an event or the deadline.
    Idle,
    /// The connection is over.
    Closed,
}

impl Client {
    /// Takes a connection in and drives it in this turn.
    ///
    /// # Errors
    /// If it cannot be watched; it is closed then.
    pub(super) fn open(
        clients: &mut Slab<Self>,
        fd: OwnedFd,
        address: Option<SocketAddr>,
        listener: u16,
        draining: bool,
        cx: &mut Context,
    ) -> io::Result<()> {
        let Some(counted) = cx.enter(address, listener) else {
            cx.note(log::Level::Info, CLOSED, format_args!("{CLOSED}"));
            return Ok(());
        };
        let key = clients.insert_with(|_| Self {
            transport: Transport::new(fd),
            h1: h1::Conn::new(Rc::clone(&cx.settings), cx.now),
            peer: Peer { address, listener },
            phase: Phase::Open,
            counted,
            stream: None,
            streams: 0,
            trailing: Trailing::default(),
            paused: false,
            asked: false,
            armed: None,
        });
        let Some(client) = clients.get_mut(key) else { return Ok(()) };
        if let Err(error) = client.transport.watch(&cx.poll, Source::Client(key)) {
            clients.remove(key);
            cx.leave(address, counted);
            return Err(error);
        }
        if counted == Counted::Refused {
            client.h1.refuse_early(TOO_MANY);
        }
        if draining {
            client.h1.drain();
        }
        cx.run_soon(key);
        Ok(())
    }

    /// It is closed and out of the slab.
    pub(super) fn left(self, cx: &mut Context) {
        cx.leave(self.peer.address, self.counted);
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.transport.note(readiness);
    }

    /// What had to be read before more is written was read.
    pub(super) fn note_read(&mut self, outcome: reader::Outcome) {
        self.transport.note_read(outcome, self.h1.out());
    }

    /// What an exchange waited for was read.
    pub(super) fn note_found(&mut self, number: u32, outcome: reader::Outcome) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| stream.number == number) {
            stream.exchange.note_read(outcome);
        }
    }

    /// A timer has fired: the one that was armed last, or an older one that was to come later and has no meaning any more.
    pub(super) fn disarm(&mut self, now: Time) {
        self.armed = self.armed.filter(|armed| *armed > now);
    }

    /// The worker leaves: no further request after the running one, or after the next if none runs; with `hurry` an
    /// idle connection closes at once, after a last read.
    pub(super) fn drain(&mut self, hurry: bool, now: Time) {
        self.h1.leave(now);
        if hurry && self.phase == Phase::Open {
            self.phase = Phase::Leaving;
        }
    }

    /// Whether this connection can be done without, and when it would end by itself.
    pub(super) fn expendable(&self, now: Time) -> Option<(Expendable, Time)> {
        let expendable = match self.phase {
            Phase::Lingering => Expendable::Lingering,
            Phase::Open if self.stream.is_none() && self.h1.is_kept() => Expendable::Idle,
            Phase::Open if self.stream.is_none() && self.h1.awaits_head() => {
                Expendable::silent(self.h1.silence(now))?
            }
            Phase::Open | Phase::Leaving | Phase::GivenUp | Phase::Closed => return None,
        };
        Some((expendable, self.deadline()?))
    }

    /// Its descriptor is needed: it waits no longer.
    pub(super) fn give_up(&mut self, now: Time) {
        self.h1.stop_lingering();
        self.h1.leave(now);
        if self.phase == Phase::Open {
            self.phase = Phase::GivenUp;
        }
    }

    /// What still runs is broken off.
    pub(super) fn cut(&mut self) {
        self.h1.abort();
    }

    /// Sets a timer if the deadline has moved to before what is armed.
    pub(super) fn rearm(&mut self, key: Key, cx: &mut Context) {
        debug_assert!(self.deadline().is_some(), "a connection without a deadline lives for ever");
        if let Some(deadline) = self.deadline()
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.armed = Some(deadline);
            cx.timers.insert(deadline, Timer::Client(key));
        }
    }

    fn deadline(&self) -> Option<Time> {
        let own = earliest(self.h1.deadline(), self.transport.deadline());
        earliest(own, self.stream.as_ref().and_then(|stream| stream.exchange.deadline()))
    }

    /// Works until nothing more can be done now, the budget is used up or the connection is over.
    pub(super) fn drive(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        if self.phase == Phase::Closed {
            return DriveEnd::Closed;
        }
        if let Some(why) = self.h1.turn(cx.now)
            && let Some(stream) = self.trailing.first().or(self.stream.as_deref_mut())
        {
            stream.exchange.note(Fault::Abandoned(why), "", cx);
        }
        self.transport.turn(cx.now);
        for _ in 0..BUDGET {
            let Ok(read) = self.read(cx) else { return self.lost(key, cx) };
            let handled = self.handle(key, cx) | self.advance(key, cx);
            let Ok(written) = self.write(key, cx) else { return self.broken(key, cx) };
            self.log_if_done(cx);
            match self.h1.end() {
                End::Open => {}
                End::Linger => self.linger(cx),
                End::Close => return self.close(key, cx),
                End::Abort => return self.broken(key, cx),
            }
            if !(read || handled || written) {
                return self.rest(key, cx);
            }
        }
        DriveEnd::Again
    }

    /// Nothing more can be done now.
    fn rest(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        let wants = self.h1.wants();
        debug_assert!(!(wants.read && self.transport.readable()), "idle although there is something to read");
        debug_assert!(
            !(wants.write && self.transport.writable()),
            "idle although there is something to write"
        );
        let unused = match self.phase {
            Phase::Leaving => self.stream.is_none() && self.h1.is_idle(),
            Phase::GivenUp => self.stream.is_none() && self.h1.awaits_head(),
            Phase::Open | Phase::Lingering | Phase::Closed => false,
        };
        if unused {
            return self.close(key, cx);
        }
        if self.transport.is_gone() && self.h1.has_ended() {
            return self.lost(key, cx);
        }
        if self.has_left(key, cx) {
            // What has begun is broken off, as the protocol can show it; what has not is nothing.
            let nothing = self.h1.end() == End::Open && self.h1.waiting().is_empty();
            return if nothing { self.close(key, cx) } else { DriveEnd::Again };
        }
        DriveEnd::Idle
    }

    /// Whether the client has closed its side, and what runs is given up for that: a stream without end at any time, what waits
    /// for others only where it runs when nothing more waits to be written. Requests that came whole before and begin later
    /// are answered, until a write fails.
    fn has_left(&mut self, key: Key, cx: &mut Context) -> bool {
        if !self.transport.read_closed() || self.is_over() || cx.config.limits.half_close {
            return false;
        }
        let nothing_waits = self.h1.waiting().is_empty();
        let first = nothing_waits && !self.asked;
        self.asked |= nothing_waits;
        let mut left = false;
        self.with_exchange(key, cx, |exchange, drive| left = exchange.client_left(first, drive));
        left
    }

    /// The client has reset the connection: nothing can be written any more.
    fn lost(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        self.with_exchange(key, cx, Exchange::client_lost);
        self.broken(key, cx)
    }

    fn read(&mut self, cx: &mut Context) -> io::Result<bool> {
        if !(self.transport.readable() && self.h1.wants().read) {
            return Ok(false);
        }
        match self.transport.read(&mut cx.scratch)? {
            Read::Bytes(count) => self.h1.feed(cx.scratch.get(..count).unwrap_or_default(), cx.now),
            Read::Eof => self.h1.eof(cx.now),
            Read::Blocked => return Ok(false),
        }
        Ok(true)
    }

    /// Takes what the protocol has understood.
    fn handle(&mut self, key: Key, cx: &mut Context) -> bool {
        let mut any = false;
        loop {
            // Back-pressure on a request body: the protocol keeps a little and then stops reading.
            let full = self.stream.as_ref().is_some_and(|stream| !stream.exchange.wants_body());
            if !full && std::mem::replace(&mut self.paused, full) {
                self.h1.resume(cx.now);
            }
            self.paused = full;
            if full || (self.trailing.is_full() && self.is_over()) {
                break;
            }
            let Some(event) = self.h1.poll() else { break };
            any = true;
            match event {
                Event::Request(request) => {
                    self.open_stream(cx);
                    self.with_exchange(key, cx, |exchange, drive| exchange.begin(request, drive));
                }
                Event::Body(bytes) => {
                    self.with_exchange(key, cx, |exchange, drive| exchange.on_body(bytes, drive));
                }
                Event::BodyEnd => self.with_exchange(key, cx, Exchange::on_body_end),
                Event::Refused(refusal) => {
                    if self.is_over() {
                        self.open_stream(cx);
                    }
                    let line = self.h1.take_refused();
                    self.with_exchange(key, cx, |exchange, drive| exchange.on_refused(refusal, line, drive));
                }
                Event::Gone => {
                    self.cancel(key, cx);
                    self.h1.abort();
                }
            }
        }
        any
    }

    /// No exchange runs, though the response of the latest may wait to be written.
    fn is_over(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.exchange.is_sent())
    }

    /// The exchange before it is over, but for what of its response waits to be written.
    fn open_stream(&mut self, cx: &mut Context) {
        if let Some(stream) = self.stream.take() {
            let end = self.transport.written().saturating_add(self.h1.waiting().len());
            self.trailing.push(stream, end, cx);
        }
        self.streams = self.streams.wrapping_add(1);
        let exchange = Exchange::new(self.peer, cx);
        self.stream = Some(Box::new(Stream { number: self.streams, exchange, tally: Tally::default() }));
    }

    fn with_exchange(
        &mut self,
        client: Key,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut Drive<'_>),
    ) {
        let Some(stream) = &mut self.stream else { return };
        let Stream { number, exchange, tally } = &mut **stream;
        let config = Rc::clone(&cx.config);
        let owner = Owner { client, stream: *number };
        let reply = Reply::new(&mut self.h1, tally, self.transport.written(), exchange.id());
        act(exchange, &mut Drive { owner, reply, config: &config, cx });
    }

    /// Moves the exchange on as far as it goes, or until enough waits to be written: the head of a response, what is
    /// there of its body and its end leave together.
    fn advance(&mut self, key: Key, cx: &mut Context) -> bool {
        if self.is_over() {
            return false;
        }
        let mut steps = 0;
        self.with_exchange(key, cx, |exchange, drive| {
            while steps < BUDGET && exchange.advance(drive) {
                steps += 1;
                if drive.reply.waiting() >= TOGETHER {
                    break;
                }
            }
        });
        steps > 0
    }

    fn write(&mut self, key: Key, cx: &mut Context) -> io::Result<bool> {
        if !(self.transport.writable() && self.h1.wants().write) {
            return Ok(false);
        }
        let gets_on = self.transport.write(self.h1.out(), key, cx)?;
        if gets_on {
            self.h1.wrote(cx.now);
        }
        Ok(gets_on)
    }

    /// A response whose last byte was written is over: log it, once.
    fn log_if_done(&mut self, cx: &mut Context) {
        self.trailing.written(self.transport.written(), cx);
        if self.stream.is_some() && self.is_over() && self.h1.waiting().is_empty() {
            self.finish_log(cx);
        }
    }

    /// Nothing more is written of any response: logs what has not been.
    fn finish_log(&mut self, cx: &mut Context) {
        let written = self.transport.written();
        self.trailing.finish(written, cx);
        if let Some(stream) = self.stream.take() {
            stream.log(written, cx);
        }
    }

    /// The client has gone: what runs for it is given up, or finishes without it.
    fn cancel(&mut self, key: Key, cx: &mut Context) {
        self.with_exchange(key, cx, Exchange::cancel);
        self.finish_log(cx);
    }

    fn close(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        self.cancel(key, cx);
        self.transport.end(key, cx);
        self.phase = Phase::Closed;
        DriveEnd::Closed
    }

    /// The socket failed, or the response cannot be completed: the client must not take it for complete.
    fn broken(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        self.transport.reset_on_close();
        self.close(key, cx)
    }

    fn linger(&mut self, cx: &mut Context) {
        if self.phase != Phase::Lingering {
            self.finish_log(cx);
            self.transport.shut_write();
            self.phase = Phase::Lingering;
        }
    }
}

#[cfg(test)]
mod tests;
