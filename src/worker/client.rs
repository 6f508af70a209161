//! A client connection: its stream, and the protocol that is spoken over it with the exchanges that run. [`Client::drive`] is
//! the only caller of `wants`: it works while what the stream can do and what the protocol wants have something in common.

mod http1;
mod http2;
mod protocol;
mod proxied;

use super::context::{Context, Timer};
use super::exchange::Peer;
use super::limiter::Counted;
use super::party::Party;
use super::reader;
use super::shortage::Expendable;
use super::transport::{Came, Transport};
use crate::event::{Readiness, Source};
use crate::h2;
use crate::http::Scheme;
use crate::http::fault::Refusal;
use crate::http::serving::End;
use crate::slab::{Key, Slab};
use crate::timer::{Time, earliest};
use http1::Http1;
use http2::Http2;
use protocol::{Connection, Left, Protocol};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Rounds of read, handle, write in one turn before others get theirs.
const BUDGET: usize = 16;

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
    wire: Wire,
    http: Http,
    /// When a timer wakes this connection, or the end of time; its real deadline is never earlier.
    armed: Time,
}

/// What a client speaks.
#[expect(
    clippy::large_enum_variant,
    reason = "most clients speak HTTP/1, whose requests are to cost no second allocation"
)]
enum Http {
    /// Also until it is known.
    H1(Http1),
    H2(Box<Http2>),
}

impl Http {
    fn face(&self) -> &dyn Protocol {
        match self {
            Self::H1(http) => http,
            Self::H2(http) => &**http,
        }
    }

    fn face_mut(&mut self) -> &mut dyn Protocol {
        match self {
            Self::H1(http) => http,
            Self::H2(http) => &mut **http,
        }
    }
}

/// The stream to a client, whatever is spoken over it.
struct Wire {
    transport: Transport,
    peer: Peer,
    counted: Counted,
    phase: Phase,
    /// Bytes that it holds of the worker's budget.
    held: u32,
    /// It is not known yet what is spoken.
    fresh: bool,
    /// A proxy has yet to say whose it is.
    proxied: bool,
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
        clients: &mut Slab<Party>,
        fd: OwnedFd,
        address: Option<SocketAddr>,
        listener: u16,
        draining: bool,
        cx: &mut Context,
    ) -> io::Result<()> {
        let proxied = proxied::is_expected(address, listener, cx);
        let Some(counted) = (if proxied { Some(Counted::Not) } else { cx.enter(address, listener) }) else {
            cx.note(log::Level::Info, CLOSED, format_args!("{CLOSED}"));
            return Ok(());
        };
        let info = cx.listeners.get(usize::from(listener));
        let (scheme, front) = info.map(|info| (info.scheme, info.front)).unwrap_or_default();
        let mut http = Http1::new(cx);
        http.conn.set_scheme(scheme);
        if front {
            http.conn.set_front();
        }
        // Over TLS the handshake tells.
        let mut fresh = cx.http2.streams > 0 && scheme == Scheme::Http && !front;
        if counted == Counted::Refused && scheme == Scheme::Http {
            http.conn.refuse_early(TOO_MANY);
            fresh = false;
        }
        if draining {
            http.conn.drain();
        }
        let local = proxied::local(&fd, cx);
        let (transport, peer) =
            (Transport::new(fd, scheme), Peer { address, listener, local, session: None });
        let key = clients.insert_with(|_| {
            Party::Client(Self {
                wire: Wire { transport, peer, counted, phase: Phase::Open, held: 0, fresh, proxied },
                http: Http::H1(http),
                armed: Time::NEVER,
            })
        });
        let Some(Party::Client(client)) = clients.get_mut(key) else { return Ok(()) };
        if let Err(error) = client.wire.transport.watch(&cx.poll, Source::Client(key)) {
            clients.remove(key);
            cx.leave(address, counted);
            return Err(error);
        }
        cx.run_soon(key);
        Ok(())
    }

    /// It is closed and out of the slab.
    pub(super) fn left(mut self, cx: &mut Context) {
        cx.store.budget.change(&mut self.wire.held, 0);
        cx.leave(self.wire.peer.address, self.wire.counted);
    }

    /// Takes note of an event.
    pub(super) fn note(&mut self, readiness: Readiness) {
        self.wire.transport.note(readiness);
    }

    /// Whether its handshake waits for its turn.
    pub(super) fn waits(&self) -> bool {
        self.wire.phase != Phase::Closed && self.wire.transport.waits()
    }

    /// Its handshake goes on when it is driven next.
    pub(super) fn take_turn(&mut self) {
        self.wire.transport.take_turn();
    }

    /// What had to be read before more is written was read.
    pub(super) fn note_read(&mut self, outcome: reader::Outcome) {
        self.wire.transport.note_read(outcome, self.http.face_mut().out());
    }

    /// What an exchange waited for was read.
    pub(super) fn note_found(&mut self, number: u32, outcome: reader::Outcome) {
        self.http.face_mut().note_found(number, outcome);
    }

    /// An exchange can go on.
    pub(super) fn wake(&mut self, number: u32) {
        if let Http::H2(http) = &mut self.http {
            http.wake(number);
        }
    }

    /// A timer has fired: the one that was armed last, or an older one that was to come later and has no meaning any more.
    pub(super) fn disarm(&mut self, now: Time) {
        if self.armed <= now {
            self.armed = Time::NEVER;
        }
    }

    /// The worker leaves: no further request after the running one, or after the next if none runs; with `hurry` an
    /// idle connection closes at once, after a last read.
    pub(super) fn drain(&mut self, hurry: bool, now: Time) {
        self.http.face_mut().leave(now);
        if hurry && self.wire.phase == Phase::Open {
            self.wire.phase = Phase::Leaving;
        }
    }

    /// Whether this connection can be done without, and when it would end by itself.
    pub(super) fn expendable(&self, now: Time) -> Option<(Expendable, Time)> {
        let expendable = match self.wire.phase {
            Phase::Lingering => Expendable::Lingering,
            Phase::Open => self.http.face().expendable(now)?,
            Phase::Leaving | Phase::GivenUp | Phase::Closed => return None,
        };
        Some((expendable, earliest(self.http.face().ends(), self.wire.transport.deadline())?))
    }

    /// Its descriptor is needed: it waits no longer.
    pub(super) fn give_up(&mut self, now: Time) {
        self.http.face_mut().stop_lingering();
        self.http.face_mut().leave(now);
        if self.wire.phase == Phase::Open {
            self.wire.phase = Phase::GivenUp;
        }
    }

    /// Whether it goes on in another protocol than HTTP.
    pub(super) fn is_tunnel(&self) -> bool {
        self.http.face().is_tunnel()
    }

    /// What still runs is broken off.
    pub(super) fn cut(&mut self) {
        // It does not matter any more what would be spoken.
        self.wire.fresh = false;
        self.http.face_mut().cut();
    }

    /// Sets a timer if the deadline has moved to before what is armed.
    pub(super) fn rearm(&mut self, key: Key, cx: &mut Context) {
        debug_assert!(self.deadline().is_some(), "a connection without a deadline lives for ever");
        if let Some(deadline) = self.deadline()
            && deadline < self.armed
        {
            self.armed = deadline;
            cx.timers.insert(deadline, Timer::Client(key));
        }
    }

    fn deadline(&self) -> Option<Time> {
        earliest(self.http.face().deadline(), self.wire.transport.deadline())
    }

    /// Works until nothing more can be done now, the budget is used up or the connection is over.
    pub(super) fn drive(&mut self, key: Key, cx: &mut Context) -> DriveEnd {
        if self.wire.phase == Phase::Closed {
            return DriveEnd::Closed;
        }
        // It was cut before it was known what is spoken.
        if (self.wire.fresh || self.wire.proxied) && self.http.face().end() == End::Abort {
            return self.wire.broken(self.http.face_mut(), key, cx);
        }
        if self.wire.proxied {
            match self.hear_proxy(cx) {
                Ok(true) => self.wire.proxied = false,
                Ok(false) => return DriveEnd::Idle,
                Err(_) => return self.wire.broken(self.http.face_mut(), key, cx),
            }
        }
        if self.wire.fresh {
            match self.listen(key, cx) {
                Ok(true) => self.wire.fresh = false,
                Ok(false) => return DriveEnd::Idle,
                Err(_) => return self.wire.lost(self.http.face_mut(), key, cx),
            }
        }
        let end = match &mut self.http {
            Http::H1(http) => self.wire.drive(http, key, cx),
            Http::H2(http) => self.wire.drive(&mut **http, key, cx),
        };
        // The handshake has said that it is HTTP/2.
        if self.wire.fresh { self.drive(key, cx) } else { end }
    }

    /// Reads until it is known what is spoken, or until there is no more time for that; whether it is known. What does not
    /// begin like HTTP/2 is taken for HTTP/1; over TLS the handshake has told.
    fn listen(&mut self, key: Key, cx: &mut Context) -> io::Result<bool> {
        let Http::H1(http) = &mut self.http else { return Ok(true) };
        let is_secure = self.wire.peer.session.is_some();
        loop {
            let read = !is_secure && self.wire.read(http, key, cx)?;
            match h2::is_preface(http.conn.input()) {
                told if is_secure || told == Some(true) => break,
                Some(_) => return Ok(true),
                None if read && !http.has_ended() => {}
                None => {
                    let late = http.deadline().is_some_and(|deadline| deadline <= cx.now);
                    return Ok(late || http.has_ended() || self.wire.phase != Phase::Open);
                }
            }
        }
        let mut http = Box::new(Http2::new(http.conn.input(), &self.wire.peer, cx));
        if self.wire.counted == Counted::Refused {
            http.refuse(TOO_MANY);
        }
        self.http = Http::H2(http);
        Ok(true)
    }
}

impl Wire {
    fn drive(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> DriveEnd {
        http.turn(cx);
        self.transport.turn(cx.now);
        for _ in 0..BUDGET {
            if self.read(http, key, cx).is_err() {
                return self.lost(http, key, cx);
            }
            if self.fresh {
                return DriveEnd::Again;
            }
            let handled = http.handle(self.connection(key), cx);
            let Ok(written) = self.write(http, key, cx) else { return self.broken(http, key, cx) };
            cx.store.budget.change(&mut self.held, http.held().saturating_add(self.transport.held()));
            http.log_done(self.transport.written(), cx);
            match http.end() {
                End::Open => {}
                End::Shut => self.transport.shut_write(),
                End::Linger => self.linger(http, cx),
                End::Close => return self.close(http, key, cx),
                End::Abort => return self.broken(http, key, cx),
            }
            let more = self.transport.readable() && http.wants().read;
            let goes_on = (handled || written) && (self.transport.owes() || http.may_go_on(handled));
            if !(more || goes_on || self.transport.hasten()) {
                return self.rest(http, key, cx);
            }
        }
        DriveEnd::Again
    }

    /// Nothing more can be done now.
    fn rest(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> DriveEnd {
        if self.phase == Phase::Leaving && http.quit() {
            return DriveEnd::Again;
        }
        let wants = http.wants();
        debug_assert!(!(wants.read && self.transport.readable()), "idle although there is something to read");
        debug_assert!(
            !((wants.write || self.transport.owes()) && self.transport.writable()),
            "idle although there is something to write"
        );
        let unused = match self.phase {
            Phase::Leaving => http.is_unused(false),
            Phase::GivenUp => http.is_unused(true),
            Phase::Open | Phase::Lingering | Phase::Closed => false,
        };
        if unused {
            return self.close(http, key, cx);
        }
        if self.transport.is_gone() && http.has_ended() {
            return self.lost(http, key, cx);
        }
        if self.transport.has_given_up() {
            return self.close(http, key, cx);
        }
        if !self.transport.read_closed() || cx.config.limits.half_close {
            return DriveEnd::Idle;
        }
        match http.client_left(self.connection(key), cx) {
            Left::Nothing => DriveEnd::Idle,
            Left::Unanswered => self.close(http, key, cx),
            Left::BrokenOff => DriveEnd::Again,
        }
    }

    fn connection(&self, client: Key) -> Connection<'_> {
        Connection { client, peer: &self.peer, written: self.transport.written() }
    }

    /// The client has reset the connection: nothing can be written any more.
    fn lost(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> DriveEnd {
        http.client_lost(self.connection(key), cx);
        self.broken(http, key, cx)
    }

    #[inline(always)]
    fn read(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> io::Result<bool> {
        if !(self.transport.readable() && http.wants().read) {
            return Ok(false);
        }
        let count = match self.transport.read(&self.peer, cx)? {
            Came::Bytes(count) => count,
            Came::Open(session, count) => {
                self.fresh = session.speaks_h2;
                if self.counted == Counted::Refused && !self.fresh {
                    http.refuse(TOO_MANY);
                }
                self.peer.session = Some(session);
                count
            }
            Came::Failed => {
                http.hang_up(cx.now);
                return Ok(true);
            }
            Came::Eof => {
                http.eof(cx.now);
                return Ok(true);
            }
            Came::Waits(message) => {
                cx.handshakes.wait(key, self.peer.address.map(|address| address.ip()), message);
                return Ok(false);
            }
            Came::Blocked => return Ok(false),
        };
        http.feed(cx.scratch.get(..count).unwrap_or_default(), cx.now);
        Ok(true)
    }

    fn write(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> io::Result<bool> {
        let wants = http.wants();
        if !(self.transport.writable() && (wants.write || self.transport.owes())) {
            return Ok(false);
        }
        let gets_on = self.transport.write(http.out(), wants.last, key, cx)?;
        if gets_on {
            http.wrote(cx.now);
        }
        Ok(gets_on)
    }

    fn close(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> DriveEnd {
        http.cancel(self.connection(key), cx);
        self.transport.end(key, cx);
        self.phase = Phase::Closed;
        DriveEnd::Closed
    }

    /// The socket failed, or the response cannot be completed: the client must not take it for complete.
    fn broken(&mut self, http: &mut (impl Protocol + ?Sized), key: Key, cx: &mut Context) -> DriveEnd {
        self.transport.reset_on_close();
        self.close(http, key, cx)
    }

    fn linger(&mut self, http: &mut (impl Protocol + ?Sized), cx: &mut Context) {
        if self.phase != Phase::Lingering {
            http.log_all(self.transport.written(), cx);
            self.transport.shut_write();
            self.phase = Phase::Lingering;
        }
    }
}

#[cfg(test)]
mod tests;
