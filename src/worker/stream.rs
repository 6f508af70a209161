//! The exchanges of one connection: the one that runs, and those before it whose responses wait to be written.

use super::context::Context;
use super::exchange::Exchange;
use super::filters::Filters;
use super::reader::Outcome;
use super::reply::Tally;
use std::collections::VecDeque;

/// Bytes that exchanges may keep whose responses wait to be written. A client that pipelines and does not read is served
/// no further request then; responses alone would be bounded by what they take to send.
const MOST: usize = 32 * 1024;

/// One exchange on the connection.
pub(super) struct Stream {
    pub(super) exchange: Exchange,
    /// What its response was given.
    pub(super) tally: Tally,
    /// What it passes.
    pub(super) filters: Option<Box<Filters>>,
}

impl Stream {
    /// Of an exchange that begins.
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, tally: Tally::default(), filters: None }
    }

    /// What had to be done first is: for its answer, or for what that passes.
    pub(super) fn note_read(&mut self, outcome: Outcome) {
        match self.filters.as_deref_mut().filter(|filters| filters.waits_for_disk()) {
            Some(filters) => filters.note_read(outcome),
            None => self.exchange.note_read(outcome),
        }
    }
}

/// Where an exchange is while it runs: boxed, so that it stays when it is over.
pub(super) type Room = Box<Option<Stream>>;

/// The exchange in it is over, after so many bytes were written over the connection.
pub(super) fn log(room: Room, written: u64, cx: &mut Context) {
    if let Some(Stream { exchange, tally, .. }) = &*room {
        exchange.done(tally.status(), tally.sent(written), cx);
    }
    cx.rooms.give_back(room);
}

/// So many exchanges that are over leave their room: those of a few connections that are busy.
const ROOMS: usize = 256;

/// Room of exchanges that are over, for those to come: many at a time are dear to allocate.
#[derive(Default)]
pub(super) struct Rooms(Vec<Room>);

impl Rooms {
    /// Room with an exchange in it.
    pub(super) fn take(&mut self, stream: Stream) -> Room {
        let mut room = self.0.pop().unwrap_or_default();
        *room = Some(stream);
        room
    }

    /// The exchange is over: all that it kept is dropped.
    pub(super) fn give_back(&mut self, mut room: Room) {
        *room = None;
        if self.0.len() < ROOMS {
            self.0.push(room);
        }
    }
}

/// Exchanges that are over, but for what of their responses waits to be written; the oldest first.
#[derive(Default)]
pub(super) struct Trailing {
    /// With where each ends in all that is written over the connection.
    streams: VecDeque<(u64, Room)>,
}

impl Trailing {
    /// Adds one whose response ends there. Where nobody asks for its size, it is over at once.
    pub(super) fn push(&mut self, room: Room, end: u64, cx: &mut Context) {
        let site = room.as_ref().as_ref().and_then(|stream| stream.exchange.site());
        if !cx.report.is_on(site) {
            return log(room, end, cx);
        }
        self.streams.push_back((end, room));
    }

    /// Whether they keep as much as they may.
    pub(super) fn is_full(&self) -> bool {
        let streams = self.streams.iter().filter_map(|(_, room)| room.as_ref().as_ref());
        streams.map(|stream| stream.exchange.size()).sum::<usize>() >= MOST
    }

    /// So many bytes were written: logs those that are over.
    pub(super) fn written(&mut self, written: u64, cx: &mut Context) {
        while let Some((end, _)) = self.streams.front()
            && *end <= written
        {
            self.pop(written, cx);
        }
    }

    /// Nothing more is written: logs all.
    pub(super) fn finish(&mut self, written: u64, cx: &mut Context) {
        while !self.streams.is_empty() {
            self.pop(written, cx);
        }
    }

    fn pop(&mut self, written: u64, cx: &mut Context) {
        let Some((_, room)) = self.streams.pop_front() else { return };
        log(room, written, cx);
    }

    /// The one whose response is being written, if it is one of these.
    pub(super) fn first(&mut self) -> Option<&mut Stream> {
        self.streams.front_mut().and_then(|(_, room)| room.as_mut().as_mut())
    }
}
