//! HTTP/1: one exchange at a time, and those before it whose responses wait to be written.

use super::BUDGET;
use super::protocol::{Connection, Left, Protocol};
use crate::buf::Queue;
use crate::h1;
use crate::http::fault::{Fault, Refusal};
use crate::http::serving::{End, Event, Wants};
use crate::timer::{Time, earliest};
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::exchange::Exchange;
use crate::worker::owner::Owner;
use crate::worker::reader;
use crate::worker::reply::{Door, Reply};
use crate::worker::shortage::Expendable;
use crate::worker::stream::{self, Room, Stream, Trailing};
use std::rc::Rc;

/// Bytes of a response that are worth a system call of their own.
const TOGETHER: u64 = 64 * 1024;

/// See the module.
pub(super) struct Http1 {
    pub(super) conn: h1::Conn,
    /// The exchange that runs, or whose response is being written.
    stream: Option<Room>,
    /// Its number.
    pub(super) streams: u32,
    /// Made when the first one waits: most clients do not pipeline.
    trailing: Option<Box<Trailing>>,
    /// The exchange has no room for more of the request body.
    paused: bool,
    /// What waited for others when the client closed its side was asked whether it goes on.
    asked: bool,
}

impl Http1 {
    pub(super) fn new(cx: &Context) -> Self {
        Self {
            conn: h1::Conn::new(Rc::clone(&cx.settings), cx.now),
            stream: None,
            streams: 0,
            trailing: None,
            paused: false,
            asked: false,
        }
    }

    /// Takes what the protocol has understood.
    fn take_events(&mut self, connection: Connection<'_>, cx: &mut Context) {
        loop {
            // Back-pressure on a request body: the protocol keeps a little and then stops reading.
            let full = self.stream().is_some_and(|stream| !stream.exchange.wants_body());
            if !full && std::mem::replace(&mut self.paused, full) {
                self.conn.resume(cx.now);
            }
            self.paused = full;
            if full || (self.trailing.as_ref().is_some_and(|trailing| trailing.is_full()) && self.is_over()) {
                break;
            }
            match self.conn.poll() {
                None => break,
                Some(Event::Request(request)) => {
                    self.open_stream(connection, cx);
                    self.with_exchange(connection, cx, |exchange, drive| exchange.begin(request, drive));
                }
                Some(Event::Body(bytes)) => {
                    self.with_exchange(connection, cx, |exchange, drive| exchange.on_body(bytes, drive));
                }
                Some(Event::Trailers(fields)) => {
                    self.with_exchange(connection, cx, |exchange, drive| exchange.on_trailers(fields, drive));
                }
                Some(Event::BodyEnd) => self.with_exchange(connection, cx, Exchange::on_body_end),
                Some(Event::Refused(refusal)) => {
                    if self.is_over() {
                        self.open_stream(connection, cx);
                    }
                    let line = self.conn.take_refused();
                    self.with_exchange(connection, cx, |exchange, drive| {
                        exchange.on_refused(refusal, line, drive);
                    });
                }
                Some(Event::Gone) => {
                    self.cancel(connection, cx);
                    self.conn.abort();
                }
            }
        }
    }

    fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()?.as_ref().as_ref()
    }

    fn stream_mut(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()?.as_mut().as_mut()
    }

    /// No exchange runs, though the response of the latest may wait to be written.
    fn is_over(&self) -> bool {
        self.stream().is_none_or(|stream| stream.exchange.is_sent())
    }

    /// The exchange before it is over, but for what of its response waits to be written.
    fn open_stream(&mut self, connection: Connection<'_>, cx: &mut Context) {
        if let Some(room) = self.stream.take() {
            let end = connection.written.saturating_add(self.conn.waiting().len());
            self.trailing.get_or_insert_default().push(room, end, cx);
        }
        self.streams = self.streams.wrapping_add(1);
        let exchange = Exchange::new(connection.peer.clone(), cx);
        self.stream = Some(cx.rooms.take(Stream::new(exchange)));
    }

    fn with_exchange(
        &mut self,
        connection: Connection<'_>,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut Drive<'_>),
    ) {
        let Some(Stream { exchange, tally, filters }) =
            self.stream.as_mut().and_then(|room| room.as_mut().as_mut())
        else {
            return;
        };
        let config = Rc::clone(&cx.config);
        let owner = Owner { client: connection.client, stream: self.streams };
        let door = Door::H1 { conn: &mut self.conn, written: connection.written };
        let reply = Reply::new(door, tally, filters, exchange.id());
        act(exchange, &mut Drive { owner, reply, config: &config, cx });
    }

    /// Moves the exchange on as far as it goes, or until enough waits to be written: the head of a response, what is
    /// there of its body and its end leave together.
    fn advance(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool {
        if self.is_over() {
            return false;
        }
        let mut steps = 0;
        self.with_exchange(connection, cx, |exchange, drive| {
            while steps < BUDGET && exchange.advance(drive) {
                steps += 1;
                if drive.reply.waiting() >= TOGETHER {
                    break;
                }
            }
        });
        steps > 0
    }
}

impl Protocol for Http1 {
    fn turn(&mut self, cx: &mut Context) {
        if let Some(why) = self.conn.turn(cx.now) {
            let oldest = match self.trailing.as_mut().and_then(|trailing| trailing.first()) {
                None => self.stream.as_mut().and_then(|room| room.as_mut().as_mut()),
                trailing => trailing,
            };
            if let Some(stream) = oldest {
                stream.exchange.note(Fault::Abandoned(why), "", cx);
            }
        }
    }

    fn feed(&mut self, bytes: &[u8], now: Time) {
        self.conn.feed(bytes, now);
    }

    fn eof(&mut self, now: Time) {
        self.conn.eof(now);
    }

    fn handle(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool {
        self.take_events(connection, cx);
        let moved = self.advance(connection, cx);
        // It may have made room for events that were left.
        let are_left = self.paused && !self.conn.is_tunnel_empty();
        moved || (are_left && self.stream().is_some_and(|stream| stream.exchange.wants_body()))
    }

    fn out(&mut self) -> &mut Queue {
        self.conn.out()
    }

    fn held(&self) -> u64 {
        self.conn.waiting().own()
    }

    fn wrote(&mut self, now: Time) {
        self.conn.wrote(now);
    }

    fn may_go_on(&self, handled: bool) -> bool {
        match self.stream() {
            Some(stream) => handled || !self.conn.waiting().is_empty() || stream.exchange.waits_for_room(),
            None => !self.conn.is_idle(),
        }
    }

    fn wants(&self) -> Wants {
        let wants = self.conn.wants();
        // Of a tunnel nothing is read before its other side has taken what was.
        let waits =
            self.conn.is_tunnel() && self.stream().is_some_and(|stream| !stream.exchange.wants_body());
        Wants { read: wants.read && !waits, ..wants }
    }

    fn end(&self) -> End {
        self.conn.end()
    }

    fn deadline(&self) -> Option<Time> {
        let conn = earliest(self.conn.deadline(), self.conn.paused_until());
        earliest(conn, self.stream().and_then(|stream| stream.exchange.deadline()))
    }

    /// A response whose last byte was written is over: log it, once.
    fn log_done(&mut self, written: u64, cx: &mut Context) {
        if let Some(trailing) = &mut self.trailing {
            trailing.written(written, cx);
        }
        if self.stream.is_some() && self.is_over() && self.conn.waiting().is_empty() {
            self.log_all(written, cx);
        }
    }

    fn log_all(&mut self, written: u64, cx: &mut Context) {
        if let Some(mut trailing) = self.trailing.take() {
            trailing.finish(written, cx);
        }
        if let Some(room) = self.stream.take() {
            stream::log(room, written, cx);
        }
    }

    fn cancel(&mut self, connection: Connection<'_>, cx: &mut Context) {
        self.with_exchange(connection, cx, Exchange::cancel);
        self.log_all(connection.written, cx);
    }

    fn client_lost(&mut self, connection: Connection<'_>, cx: &mut Context) {
        self.with_exchange(connection, cx, Exchange::client_lost);
    }

    fn client_left(&mut self, connection: Connection<'_>, cx: &mut Context) -> Left {
        if self.is_over() {
            return Left::Nothing;
        }
        let nothing_waits = self.conn.waiting().is_empty();
        let first = nothing_waits && !self.asked;
        self.asked |= nothing_waits;
        let mut left = false;
        self.with_exchange(connection, cx, |exchange, drive| left = exchange.client_left(first, drive));
        match (left, self.conn.end() == End::Open && self.conn.waiting().is_empty()) {
            (false, _) => Left::Nothing,
            (true, true) => Left::Unanswered,
            (true, false) => Left::BrokenOff,
        }
    }

    fn has_ended(&self) -> bool {
        // What a tunnel has for its other side outlives its client.
        self.conn.has_ended() && !self.conn.is_tunnel()
    }

    fn is_unused(&self, hasty: bool) -> bool {
        self.stream.is_none() && if hasty { self.conn.awaits_head() } else { self.conn.is_idle() }
    }

    fn expendable(&self, now: Time) -> Option<Expendable> {
        match () {
            () if self.stream.is_some() => None,
            () if self.conn.is_kept() => Some(Expendable::Idle),
            () if self.conn.awaits_head() => Expendable::silent(self.conn.silence(now)),
            () => None,
        }
    }

    fn note_found(&mut self, number: u32, outcome: reader::Outcome) {
        if self.streams == number
            && let Some(stream) = self.stream_mut()
        {
            stream.note_read(outcome);
        }
    }

    fn leave(&mut self, now: Time) {
        self.conn.leave(now);
    }

    fn quit(&mut self) -> bool {
        false
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.conn.refuse_early(refusal);
    }

    fn stop_lingering(&mut self) {
        self.conn.stop_lingering();
    }

    fn is_tunnel(&self) -> bool {
        self.conn.is_tunnel()
    }

    fn cut(&mut self) {
        if !self.stream_mut().is_some_and(|stream| stream.exchange.ends_tunnel()) {
            self.conn.abort();
        }
    }

    fn hang_up(&mut self, now: Time) {
        self.conn.hang_up(now);
    }
}
