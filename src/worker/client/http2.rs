//! HTTP/2: many exchanges at a time. Each is moved on when something has come for it, its time has come, or what it waits to
//! write has become less; all of them a little in each round, so that none waits for another.

use super::protocol::{Connection, Left, Protocol};
use crate::buf::Queue;
use crate::h2::{self, StreamId};
use crate::http::fault::{Fault, Refusal};
use crate::http::serving::{End, Event, Wants};
use crate::timer::{Time, earliest};
use crate::worker::beside::Share;
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::exchange::{Exchange, Peer};
use crate::worker::owner::Owner;
use crate::worker::reader;
use crate::worker::reply::{Door, Reply};
use crate::worker::shortage::Expendable;
use crate::worker::stream::Stream;
use std::rc::Rc;

/// Steps of one exchange in a round, and of all.
const SHARE: usize = 4;
const ROUND: usize = 64;

/// See the module.
pub(super) struct Http2 {
    conn: h2::Conn,
    /// In the order of their numbers.
    streams: Vec<Running>,
    /// The number of the one that was moved on last.
    moved: StreamId,
    /// What waited for others when the client closed its side was asked whether it goes on.
    asked: bool,
    /// The answer to all that the client asks.
    refusal: Option<Refusal>,
    /// Those of its exchanges that the worker counts.
    share: Share,
}

/// An exchange that runs, or whose response is being written.
struct Running {
    number: StreamId,
    /// It can go on.
    awake: bool,
    /// It goes on when less than so many bytes wait to be written.
    waiting: u64,
    /// It has no room for more of the request body.
    held: bool,
    /// When it goes on although nothing happens.
    due: Option<Time>,
    /// There until it is over.
    stream: Box<Option<Stream>>,
}

impl Http2 {
    /// A connection whose client has sent these bytes first.
    pub(super) fn new(bytes: &[u8], peer: &Peer, cx: &Context) -> Self {
        let share = cx.share_of(peer);
        let secure = peer.session.is_some();
        let mut conn = h2::Conn::new(Rc::clone(&cx.settings), Rc::clone(&cx.http2), secure, cx.now);
        if cx.leave_by.is_some() {
            conn.drain();
        }
        conn.allow(cx.beside.allowed(&share));
        conn.feed(bytes, cx.now);
        Self { conn, streams: Vec::new(), moved: 0, asked: false, refusal: None, share }
    }

    /// Something has come for an exchange.
    pub(super) fn wake(&mut self, number: StreamId) {
        if let Some(running) = self.find(number).and_then(|index| self.streams.get_mut(index)) {
            running.awake = true;
        }
    }

    fn find(&self, number: StreamId) -> Option<usize> {
        // Mostly the newest begins, or the oldest ends.
        let last = self.streams.len().checked_sub(1)?;
        let ends =
            [last, 0].into_iter().find(|at| self.streams.get(*at).is_some_and(|one| one.number == number));
        ends.or_else(|| self.streams.binary_search_by_key(&number, |running| running.number).ok())
    }

    /// Takes what the protocol has understood.
    fn take_events(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool {
        let mut any = false;
        while let Some((number, event)) = self.conn.poll() {
            any = true;
            if let (Some(refusal), Event::Request(_)) = (self.refusal, &event) {
                self.conn.refuse_early(number, refusal);
                self.conn.drain();
                continue;
            }
            if matches!(event, Event::Request(_) | Event::Refused(_)) && self.find(number).is_none() {
                self.open(number, connection, cx);
            }
            let line = match event {
                Event::Refused(_) => self.conn.take_refused(number),
                _ => None,
            };
            self.with_exchange(number, connection, cx, |exchange, drive| match event {
                Event::Request(request) => exchange.begin(request, drive),
                Event::Body(bytes) => exchange.on_body(bytes, drive),
                Event::Trailers(fields) => exchange.on_trailers(fields, drive),
                Event::BodyEnd => exchange.on_body_end(drive),
                Event::Refused(refusal) => exchange.on_refused(refusal, line, drive),
                Event::Gone => {
                    exchange.client_lost(drive);
                    exchange.cancel(drive);
                }
            });
        }
        any
    }

    fn open(&mut self, number: StreamId, connection: Connection<'_>, cx: &mut Context) {
        let exchange = Exchange::new(connection.peer.clone(), cx);
        let stream = cx.rooms.take(Stream::new(exchange));
        let running = Running { number, awake: true, waiting: 0, held: false, due: None, stream };
        let index = self.streams.partition_point(|other| other.number < number);
        self.streams.insert(index, running);
    }

    /// Tells the worker how many requests run, and the connection how many may: one that is answered before it ends may stay
    /// for a while.
    fn count(&mut self, cx: &mut Context) {
        cx.beside.set(&mut self.share, self.conn.running());
        self.conn.allow(cx.beside.allowed(&self.share));
    }

    fn with_exchange(
        &mut self,
        number: StreamId,
        connection: Connection<'_>,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut Drive<'_>),
    ) {
        if let Some(running) = self.find(number).and_then(|index| self.streams.get_mut(index)) {
            running.with_exchange(&mut self.conn, connection, cx, act);
        }
    }

    /// Has each exchange do this.
    fn with_all(
        &mut self,
        connection: Connection<'_>,
        cx: &mut Context,
        mut act: impl FnMut(&mut Exchange, &mut Drive<'_>),
    ) {
        for running in &mut self.streams {
            running.with_exchange(&mut self.conn, connection, cx, &mut act);
        }
    }

    /// Moves exchanges on that can go on, in turn.
    fn advance(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool {
        let mut steps = 0;
        let next = self.streams.partition_point(|running| running.number <= self.moved);
        let (first, last) = self.streams.split_at_mut(next);
        for running in last.iter_mut().chain(first) {
            if !running.awake {
                continue;
            }
            if steps >= ROUND {
                break;
            }
            steps += running.advance(&mut self.conn, connection, cx);
            self.moved = running.number;
        }
        steps > 0
    }
}

impl Running {
    fn with_exchange(
        &mut self,
        conn: &mut h2::Conn,
        connection: Connection<'_>,
        cx: &mut Context,
        act: impl FnOnce(&mut Exchange, &mut Drive<'_>),
    ) {
        let Some(Stream { exchange, tally, filters }) = &mut *self.stream else { return };
        let config = Rc::clone(&cx.config);
        let owner = Owner { client: connection.client, stream: self.number };
        let reply = Reply::new(Door::H2 { conn, stream: self.number }, tally, filters, exchange.id());
        act(exchange, &mut Drive { owner, reply, config: &config, cx });
        // What it waits for now.
        let is_sent = exchange.is_sent();
        self.awake = !is_sent;
        self.due = exchange.deadline();
        self.waiting = if is_sent { 0 } else { conn.waiting_of(self.number).0 };
        let full = !exchange.wants_body();
        if std::mem::replace(&mut self.held, full) != full {
            conn.hold(self.number, full, cx.now);
        }
    }

    /// Moves the exchange on by its share; in how many steps.
    fn advance(&mut self, conn: &mut h2::Conn, connection: Connection<'_>, cx: &mut Context) -> usize {
        let mut steps = 0;
        self.with_exchange(conn, connection, cx, |exchange, drive| {
            while steps < SHARE && exchange.advance(drive) {
                steps += 1;
            }
        });
        self.awake = steps == SHARE;
        steps
    }
}

impl Protocol for Http2 {
    fn turn(&mut self, cx: &mut Context) {
        if let Some(why) = self.conn.turn(cx.now) {
            for Stream { exchange, .. } in
                self.streams.iter_mut().filter_map(|running| running.stream.as_mut().as_mut())
            {
                exchange.note(Fault::Abandoned(why), "", cx);
            }
        }
        self.count(cx);
        if !self.conn.is_roomy() {
            self.streams.shrink_to_fit();
        }
        for running in &mut self.streams {
            running.awake |= running.due.is_some_and(|due| due <= cx.now);
        }
    }

    fn feed(&mut self, bytes: &[u8], now: Time) {
        self.conn.feed(bytes, now);
    }

    fn eof(&mut self, now: Time) {
        self.conn.eof(now);
    }

    fn handle(&mut self, connection: Connection<'_>, cx: &mut Context) -> bool {
        if let Some(why) = self.conn.take_offence() {
            let peer = connection.peer.address.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
            cx.note(log::Level::Info, why, format_args!("{peer}: connection ended: {why}"));
        }
        let took = self.take_events(connection, cx);
        self.count(cx);
        took | self.advance(connection, cx)
    }

    fn out(&mut self) -> &mut Queue {
        self.conn.out()
    }

    fn held(&self) -> u64 {
        self.conn.held()
    }

    fn wrote(&mut self, now: Time) {
        self.conn.wrote(now);
        for running in &mut self.streams {
            running.awake |= running.waiting > 0 && self.conn.waiting_of(running.number).0 < running.waiting;
        }
    }

    fn wants(&self) -> Wants {
        self.conn.wants()
    }

    fn end(&self) -> End {
        self.conn.end()
    }

    fn deadline(&self) -> Option<Time> {
        let due = self.streams.iter().fold(None, |due, running| earliest(due, running.due));
        earliest(self.conn.deadline(), due)
    }

    fn ends(&self) -> Option<Time> {
        self.conn.ends()
    }

    fn log_done(&mut self, _written: u64, cx: &mut Context) {
        while let Some((number, body_bytes)) = self.conn.poll_done() {
            let Some(index) = self.find(number) else { continue };
            let Running { stream, .. } = self.streams.remove(index);
            if let Some(Stream { exchange, tally, .. }) = &*stream {
                exchange.done(tally.status(), body_bytes, cx);
            }
            cx.rooms.give_back(stream);
        }
        self.count(cx);
    }

    fn log_all(&mut self, _written: u64, cx: &mut Context) {
        for Running { number, stream, .. } in std::mem::take(&mut self.streams) {
            let Some(Stream { exchange, tally, .. }) = *stream else { continue };
            exchange.done(tally.status(), self.conn.written_of(number), cx);
        }
        cx.beside.set(&mut self.share, 0);
    }

    fn cancel(&mut self, connection: Connection<'_>, cx: &mut Context) {
        self.with_all(connection, cx, Exchange::cancel);
        self.log_all(connection.written, cx);
    }

    fn client_lost(&mut self, connection: Connection<'_>, cx: &mut Context) {
        self.with_all(connection, cx, Exchange::client_lost);
    }

    fn client_left(&mut self, connection: Connection<'_>, cx: &mut Context) -> Left {
        let nothing_waits = self.conn.waiting().is_empty();
        let first = nothing_waits && !self.asked;
        self.asked |= nothing_waits;
        let mut any = false;
        self.with_all(connection, cx, |exchange, drive| {
            if !exchange.is_sent() && exchange.client_left(first, drive) {
                drive.reply.break_off();
                any = true;
            }
        });
        if any { Left::BrokenOff } else { Left::Nothing }
    }

    fn has_ended(&self) -> bool {
        self.conn.has_ended()
    }

    fn is_unused(&self, hasty: bool) -> bool {
        // Hastily: without waiting for the client to have heard that it ends.
        self.streams.is_empty() && (hasty || self.conn.is_idle())
    }

    fn expendable(&self, now: Time) -> Option<Expendable> {
        match () {
            () if !self.conn.is_idle() => None,
            () if self.conn.is_kept() => Some(Expendable::Idle),
            () => Expendable::silent(self.conn.silence(now)),
        }
    }

    fn note_found(&mut self, number: u32, outcome: reader::Outcome) {
        if let Some(running) = self.find(number).and_then(|index| self.streams.get_mut(index))
            && let Some(stream) = &mut *running.stream
        {
            stream.note_read(outcome);
            running.awake = true;
        }
    }

    fn leave(&mut self, now: Time) {
        self.conn.leave(now);
    }

    fn quit(&mut self) -> bool {
        self.conn.quit()
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = Some(refusal);
    }

    fn stop_lingering(&mut self) {
        self.conn.stop_lingering();
    }

    fn is_tunnel(&self) -> bool {
        let mut streams = self.streams.iter().filter_map(|running| running.stream.as_ref().as_ref());
        streams.any(|stream| stream.exchange.is_tunnel())
    }

    fn cut(&mut self) {
        let mut any = false;
        for running in &mut self.streams {
            let stream = running.stream.as_mut().as_mut();
            if stream.is_some_and(|stream| stream.exchange.ends_tunnel()) {
                (running.awake, any) = (true, true);
            }
        }
        if !any {
            self.conn.abort();
        }
    }

    fn hang_up(&mut self, _now: Time) {
        self.conn.abort();
    }
}
