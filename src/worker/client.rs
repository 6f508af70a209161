//! A client connection: its socket, its protocol state and the exchange that runs on it. [`Client::drive`] is the only
//! caller of `wants`: it works while what the socket can do and what the protocol wants have something in common.

use super::context::{Context, ReadFirst, Timer};
use super::crowd::Seat;
use super::exchange::{Exchange, Peer};
use super::reader::{self, Purpose};
use super::spare::Spare;
use crate::buf::Front;
use crate::event::{Endpoint, Read, Readiness, Source};
use crate::h1::{self, End, Event, Refusal};
use crate::slab::{Key, Slab};
use crate::sys::page_cache;
use crate::sys::transfer::FILE_SLICE;
use crate::timer::{Time, earliest};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Rounds of read, handle, write in one turn before others get theirs.
const BUDGET: usize = 16;

/// Bytes of a response that are worth a system call of their own.
const TOGETHER: u64 = 64 * 1024;

/// The answer to connections above the limit.
const TOO_MANY: Refusal = Refusal {
    status: 429,
    why: "too many connections of one client address; raise limits.connections_per_client",
};

/// When even the refused ones are too many.
const CLOSED: &str =
    "connection closed unanswered: its client address has too many; raise limits.connections_per_client";

/// One client connection.
pub(super) struct Client {
    endpoint: Endpoint,
    h1: h1::Conn,
    peer: Peer,
    phase: Phase,
    seat: Seat,
    exchange: Option<Box<Exchange>>,
    /// The exchange has no room for more of the request body.
    paused: bool,
    disk: Disk,
    /// When to try again although no event has told that the socket has room.
    nudge: Option<Time>,
    /// When the wheel wakes this connection; its real deadline is never earlier.
    armed: Option<Time>,
}

/// Whether what is to be sent next is being read from a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    Idle,
    /// Nothing is written before it is in memory.
    Reads,
    /// It is, whatever the kernel says a moment later.
    HasRead,
    /// It cannot be had: the response is broken off.
    Failed,
}

/// A file that stands still is tried so soon: `sendfile` may have ended early without the socket being full.
const NUDGE: Duration = Duration::from_secs(1);

/// How long a part of a file that was found in memory is believed to stay there.
const NEAR_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests and responses.
    Open,
    /// The server stops: as soon as nothing runs, close.
    Leaving,
    /// Our side is closed, so that the client can read the last answer; what still comes is discarded.
    Lingering,
    /// Over: freed when the turn settles. Until then an event or a link may still name it.
    Closed,
}

/// How a drive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
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
        let Some(seat) = cx.enter(address, listener) else {
            cx.note(log::Level::Info, CLOSED, format_args!("{CLOSED}"));
            return Ok(());
        };
        let key = clients.insert_with(|_| Self {
            endpoint: Endpoint::new(fd),
            h1: h1::Conn::new(Rc::clone(&cx.settings), cx.now),
            peer: Peer { address, listener },
            phase: Phase::Open,
            seat,
            exchange: None,
            paused: false,
            disk: Disk::Idle,
            nudge: None,
            armed: None,
        });
        let Some(client) = clients.get_mut(key) else { return Ok(()) };
        if let Err(error) = cx.poll.watch(client.endpoint.as_fd(), Source::Client(key)) {
            clients.remove(key);
            cx.leave(address, seat);
            return Err(error);
        }
        if seat == Seat::Refused {
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
        cx.leave(self.peer.address, self.seat);
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.endpoint.note(readiness);
    }

    /// A part of a file was read from disk.
    pub(super) fn note_read(&mut self, purpose: Purpose, outcome: reader::Outcome) {
        match (purpose, outcome) {
            (Purpose::Send, reader::Outcome::Bytes(Ok(bytes))) => {
                self.disk = Disk::Idle;
                self.h1.out().supply(bytes);
            }
            (Purpose::Send, reader::Outcome::Bytes(Err(error))) => {
                log::debug!("worker: a response is broken off: {error}");
                self.disk = Disk::Failed;
            }
            (Purpose::Send, _) => self.disk = Disk::HasRead,
            (Purpose::Open, outcome) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.note_read(outcome);
                }
            }
        }
    }

    /// The wheel has fired.
    pub(super) fn disarm(&mut self) {
        self.armed = None;
    }

    /// The worker leaves: no further request after the running one, or after the next if none runs; with `hurry` an
    /// idle connection closes at once, after a last read.
    pub(super) fn drain(&mut self, hurry: bool) {
        self.h1.drain();
        if hurry && self.phase == Phase::Open {
            self.phase = Phase::Leaving;
        }
    }

    /// Whether it can be done without, and when it would end by itself.
    pub(super) fn spare(&self) -> Option<(Spare, Time)> {
        let spare = match self.phase {
            Phase::Lingering => Spare::Lingering,
            Phase::Open if self.exchange.is_none() && self.h1.is_kept() => Spare::Idle,
            Phase::Open | Phase::Leaving | Phase::Closed => return None,
        };
        Some((spare, self.deadline()?))
    }

    /// Its descriptor is needed: it waits no longer.
    pub(super) fn give_up(&mut self) {
        self.h1.stop_lingering();
        self.drain(true);
    }

    /// What still runs is broken off.
    pub(super) fn cut(&mut self) {
        self.h1.abort();
    }

    /// Arms the wheel if the deadline has moved to before what is armed.
    pub(super) fn rearm(&mut self, key: Key, cx: &mut Context) {
        debug_assert!(self.deadline().is_some(), "a connection without a deadline lives for ever");
        if let Some(deadline) = self.deadline()
            && self.armed.is_none_or(|armed| deadline < armed)
        {
            self.armed = Some(deadline);
            cx.wheel.insert(deadline, Timer::Client(key));
        }
    }

    fn deadline(&self) -> Option<Time> {
        let own = earliest(self.h1.deadline(), self.nudge);
        earliest(own, self.exchange.as_ref().and_then(|exchange| exchange.deadline()))
    }

    /// Works until nothing more can be done now, the budget is used up or the connection is over.
    pub(super) fn drive(&mut self, key: Key, cx: &mut Context) -> Outcome {
        if self.phase == Phase::Closed {
            return Outcome::Closed;
        }
        if let Some(why) = self.h1.turn(cx.now)
            && let Some(exchange) = &mut self.exchange
        {
            exchange.given_up(why, cx);
        }
        if self.nudge.is_some_and(|at| at <= cx.now) {
            self.nudge = None;
            self.endpoint.note(Readiness { write: true, ..Readiness::default() });
        }
        for _ in 0..BUDGET {
            let Ok(read) = self.read(cx) else { return self.broken(key, cx) };
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
        Outcome::Again
    }

    /// Nothing more can be done now.
    fn rest(&mut self, key: Key, cx: &mut Context) -> Outcome {
        let wants = self.h1.wants();
        debug_assert!(!(wants.read && self.endpoint.readable()), "idle although there is something to read");
        debug_assert!(
            !(wants.write && self.endpoint.writable()) || self.disk == Disk::Reads,
            "idle although there is something to write"
        );
        if self.phase == Phase::Leaving && self.exchange.is_none() && self.h1.is_idle() {
            return self.close(key, cx);
        }
        Outcome::Idle
    }

    fn read(&mut self, cx: &mut Context) -> io::Result<bool> {
        if !(self.endpoint.readable() && self.h1.wants().read) {
            return Ok(false);
        }
        match self.endpoint.read(&mut cx.scratch)? {
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
            let full = self.exchange.as_ref().is_some_and(|exchange| !exchange.wants_body());
            if !full && std::mem::replace(&mut self.paused, full) {
                self.h1.resume(cx.now);
            }
            self.paused = full;
            if full {
                break;
            }
            let Some(event) = self.h1.poll() else { break };
            any = true;
            match event {
                Event::Request(request) => {
                    self.finish_log(cx);
                    self.exchange = Some(Exchange::begin(request, self.peer, key, &mut self.h1, cx));
                }
                Event::Body(bytes) => {
                    self.with_exchange(cx, |exchange, h1, cx| exchange.on_body(bytes, h1, cx))
                }
                Event::BodyEnd => {
                    self.with_exchange(cx, |exchange, h1, cx| exchange.on_body_end(key, h1, cx))
                }
                Event::Refused(refusal) => {
                    match self.exchange.as_mut().filter(|exchange| !exchange.is_sent()) {
                        Some(exchange) => exchange.on_refused(refusal, key, &mut self.h1, cx),
                        None => {
                            self.finish_log(cx);
                            self.exchange = Some(Exchange::refused(refusal, self.peer, &mut self.h1, cx));
                        }
                    }
                }
                Event::Gone => {
                    self.cancel(key, cx);
                    self.h1.abort();
                }
            }
        }
        any
    }

    fn with_exchange(
        &mut self,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut h1::Conn, &mut Context),
    ) {
        if let Some(exchange) = &mut self.exchange {
            act(exchange, &mut self.h1, cx);
        }
    }

    /// Moves the exchange on as far as it goes, or until enough waits to be written: the head of a response, what is
    /// there of its body and its end leave together.
    fn advance(&mut self, key: Key, cx: &mut Context) -> bool {
        let Self { exchange, h1, .. } = self;
        let Some(exchange) = exchange else { return false };
        let mut steps = 0;
        while steps < BUDGET && exchange.advance(key, h1, cx) {
            steps += 1;
            if h1.out().len() >= TOGETHER {
                break;
            }
        }
        steps > 0
    }

    fn write(&mut self, key: Key, cx: &mut Context) -> io::Result<bool> {
        if !(self.endpoint.writable() && self.h1.wants().write) || self.must_read_first(key, cx)? {
            return Ok(false);
        }
        let is_file = matches!(self.h1.out().front(), Front::File { .. });
        let written = self.endpoint.write(self.h1.out())?;
        if written > 0 {
            self.h1.wrote(cx.now);
        }
        self.nudge = (is_file && !self.endpoint.writable()).then(|| cx.now.after(NUDGE));
        Ok(written > 0)
    }

    /// Whether the next part of a file has to come from a disk: a thread reads it then, and the loop goes on. What was
    /// found in memory is not asked about again for a while. A far file is not touched at all: its bytes come instead.
    ///
    /// # Errors
    /// They do not.
    fn must_read_first(&mut self, key: Key, cx: &mut Context) -> io::Result<bool> {
        let has_read = match self.disk {
            Disk::Reads => return Ok(true),
            Disk::Failed => return Err(io::ErrorKind::BrokenPipe.into()),
            disk => disk == Disk::HasRead,
        };
        self.disk = Disk::Idle;
        let Front::File { file, offset, len, stamp } = self.h1.out().front() else { return Ok(false) };
        let part = offset..offset.saturating_add(len.min(FILE_SLICE));
        if let Some(far) = file.far() {
            let file = Rc::clone(file);
            if cx.fetch(key, (&file, far), &part, stamp) != ReadFirst::Begun {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.disk = Disk::Reads;
            return Ok(true);
        }
        let asked = file.unknown(&part, cx.now);
        if has_read || asked.is_empty() {
            return Ok(false);
        }
        if page_cache::is_cached(file.as_fd(), &asked) {
            let size = stamp.map_or(u64::MAX, |stamp| stamp.size);
            file.found_near(&asked, size, cx.now.after(NEAR_FOR));
            return Ok(false);
        }
        let file = Rc::clone(file);
        if cx.read_first((key, Purpose::Send), file.as_fd(), asked) != ReadFirst::Begun {
            return Ok(false);
        }
        self.disk = Disk::Reads;
        Ok(true)
    }

    /// A response whose last byte was written is over: log it, once.
    fn log_if_done(&mut self, cx: &mut Context) {
        let done = self.exchange.as_ref().is_some_and(|exchange| exchange.is_sent());
        if done && self.h1.out().is_empty() {
            self.finish_log(cx);
        }
    }

    fn finish_log(&mut self, cx: &mut Context) {
        if let Some(exchange) = self.exchange.take() {
            exchange.done(self.h1.out().len(), cx);
        }
    }

    /// The client has gone: what runs for it is given up, or finishes without it.
    fn cancel(&mut self, key: Key, cx: &mut Context) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.cancel(key, cx);
            exchange.done(self.h1.out().len(), cx);
        }
    }

    fn close(&mut self, key: Key, cx: &mut Context) -> Outcome {
        self.cancel(key, cx);
        if self.disk == Disk::Reads {
            cx.forget_read((key, Purpose::Send));
        }
        self.phase = Phase::Closed;
        Outcome::Closed
    }

    /// The socket failed, or the response cannot be completed: the client must not take it for complete.
    fn broken(&mut self, key: Key, cx: &mut Context) -> Outcome {
        self.endpoint.reset_on_close();
        self.close(key, cx)
    }

    fn linger(&mut self, cx: &mut Context) {
        if self.phase != Phase::Lingering {
            self.finish_log(cx);
            self.endpoint.shut_write();
            self.phase = Phase::Lingering;
        }
    }
}
