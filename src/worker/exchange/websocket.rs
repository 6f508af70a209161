//! The part of an exchange that is a WebSocket of an app whose requests share a stream: frames of the client become messages
//! for its host, and back, as [`Conn`] has it.

use super::{Exchange, Step};
use crate::buf::{Queue, Segment};
use crate::control::frame::{MESSAGE, WINDOW_IN};
use crate::gateway::shared::{self, Part};
use crate::gateway::websocket::{self, Close, Conn, Event, Kind, handshake};
use crate::http::fault::{Fault, Flaw};
use crate::http::{BodyLength, ResponseHead};
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};
use crate::worker::upstream::app::{Came, Leave};
use std::time::Duration;

/// The server restarts: come again.
const RESTART: u16 = 1012;

/// What is less is on its way to the client, who need not have taken anything for that.
const LITTLE: u64 = 4096;

/// An app may take nothing of what its client says for so long.
const STUCK: Duration = Duration::from_secs(3600);

/// See the module.
pub(super) struct Run {
    link: Key,
    stream: u32,
    conn: Conn,
    /// Bytes of messages that the host still takes; those that have come meanwhile may be more.
    room: i64,
    /// Bytes of messages that the client has room for and the host does not know of; when it is told.
    taken: u32,
    half: u32,
    /// The host knows that it ends, or has said so.
    told: bool,
    /// Nothing more comes of the host.
    silent: bool,
    shut: bool,
    /// When the host last had room.
    roomy: Time,
}

impl Exchange {
    /// The app has accepted: the client has its WebSocket.
    pub(super) fn open_websocket(&mut self, accepted: &ResponseHead, drive: &mut Drive<'_>) {
        let Step::Shared(run) = std::mem::replace(&mut self.step, Step::Sent) else { return };
        let asked = self.request.as_ref().map(|request| handshake::asked(&request.head, BodyLength::None));
        let Some(Ok(Some(asked))) = asked else {
            run.cancel(drive.cx);
            return self.fail(Fault::Malformed(Flaw::Frame), drive);
        };
        let chosen = accepted.fields.get("sec-websocket-protocol");
        let mut others = accepted.fields.clone();
        others.remove("sec-websocket-protocol");
        let head = match asked.accept(chosen, &others) {
            Ok(head) => head,
            Err(why) => {
                run.cancel(drive.cx);
                return self.fail_with(Fault::Malformed(Flaw::Frame), why, None, drive);
            }
        };
        let (link, stream, unit, window) = run.place();
        if !drive.reply.switch(&head, drive.cx) {
            run.cancel(drive.cx);
            return drive.reply.break_off();
        }
        drive.cx.shared_becomes_tunnel(link, stream);
        self.received = Some(0);
        self.step = Step::WebSocket(Box::new(Run {
            link,
            stream,
            conn: Conn::new(drive.cx.websockets_of(unit.app), drive.cx.now),
            room: WINDOW_IN as i64,
            taken: 0,
            half: window / 2,
            told: false,
            silent: false,
            shut: false,
            roomy: drive.cx.now,
        }));
    }
}

impl Run {
    /// Bytes of the client.
    pub(super) fn feed(&mut self, bytes: Vec<u8>, now: Time) {
        self.conn.feed(bytes, now);
    }

    /// The client sends nothing more.
    pub(super) fn client_ended(&mut self) {
        self.conn.eof();
    }

    /// Whether bytes of the client are wanted.
    pub(super) fn wants_client(&self) -> bool {
        self.conn.wants_read()
    }

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.conn.deadline().or_else(|| (self.room <= 0).then(|| self.roomy.after(STUCK)))
    }

    /// The server goes: the client is to come again.
    pub(super) fn cut(&mut self) {
        self.conn.close(RESTART, "");
    }

    /// Nobody goes on with it: the client has gone.
    pub(super) fn close(&self, cx: &mut Context) {
        if !self.told {
            cx.put(self.link, None, |out| shared::closed(self.stream, websocket::LOST, "", out));
        }
        cx.leave_shared(self.link, self.stream, Leave::Told);
    }

    /// Moves what can be moved.
    pub(super) fn advance(&mut self, received: &mut Option<u64>, drive: &mut Drive<'_>) -> Advance {
        self.conn.on_timeout(drive.cx.now);
        if self.room > 0 {
            self.roomy = drive.cx.now;
        } else if self.roomy.after(STUCK) <= drive.cx.now {
            self.conn.close(websocket::FAILED, "the app takes nothing");
        }
        let is_free = drive.reply.has_room() || drive.reply.waiting() < LITTLE;
        self.conn.room(is_free, drive.cx.now);
        let mut any = self.take_of_host(drive);
        any |= self.take_of_client(received, drive);
        if self.taken >= self.half {
            let (stream, bytes) = (self.stream, std::mem::take(&mut self.taken));
            drive.cx.put(self.link, None, |out| shared::credit(stream, bytes, out));
        }
        if self.conn.wants_write() && drive.reply.has_room() {
            let mut out = Queue::new();
            self.conn.write(&mut out, drive.cx.now);
            send(&mut out, drive);
            any = true;
        }
        match self.conn.end() {
            websocket::End::Over => {
                self.close(drive.cx);
                return Advance::Done;
            }
            websocket::End::Shut if !std::mem::replace(&mut self.shut, true) => drive.reply.shut(),
            websocket::End::Open | websocket::End::Shut => {}
        }
        if any { Advance::Progress } else { Advance::Wait }
    }

    /// From the client to the host, as far as that has room.
    fn take_of_client(&mut self, received: &mut Option<u64>, drive: &mut Drive<'_>) -> bool {
        let Self { link, stream, conn, room, told, .. } = self;
        let (link, stream, mut any) = (*link, *stream, false);
        while *room > 0 || *told {
            match conn.poll(drive.cx.now) {
                Some(Event::Part { kind, bytes, more }) => {
                    let length = bytes.len() as u64;
                    *room -= bytes.len() as i64 + if more { 0 } else { MESSAGE.into() };
                    *received = received.map(|received| received.saturating_add(length));
                    let is_text = kind == Kind::Text;
                    drive.cx.put(link, None, |out| shared::message(stream, is_text, more, bytes, out));
                }
                Some(Event::Closed(Close { code, reason })) => {
                    if !std::mem::replace(told, true) {
                        drive.cx.put(link, None, |out| shared::closed(stream, code, &reason, out));
                    }
                }
                None => break,
            }
            any = true;
        }
        any
    }

    /// From the host to the client, as far as that has room.
    fn take_of_host(&mut self, drive: &mut Drive<'_>) -> bool {
        let (mut out, mut any) = (Queue::new(), false);
        while !self.silent && (drive.reply.has_room() || !drive.cx.next_takes_room(self.link, self.stream)) {
            let Some(came) = drive.cx.take_shared(self.link, self.stream) else { break };
            any = true;
            match came {
                Came::Part(Part::Message { is_text, more, bytes }) => {
                    let kind = if is_text { Kind::Text } else { Kind::Binary };
                    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    self.taken =
                        self.taken.saturating_add(length).saturating_add(if more { 0 } else { MESSAGE });
                    self.conn.send(kind, Segment::from(bytes), more, &mut out);
                    send(&mut out, drive);
                }
                Came::Part(Part::Credit(bytes)) => {
                    self.room = self.room.saturating_add(bytes.into()).min(WINDOW_IN as i64);
                }
                Came::Part(Part::Close(code, reason)) => {
                    self.told = true;
                    self.conn.close(code, &reason);
                }
                Came::Part(_) | Came::File(_) => self.ends(websocket::FAILED),
                Came::Lost => self.ends(RESTART),
            }
        }
        any
    }

    /// The app has ended, or its process.
    fn ends(&mut self, code: u16) {
        (self.told, self.silent) = (true, true);
        self.conn.close(code, "");
    }
}

/// What is queued goes to the client.
fn send(out: &mut Queue, drive: &mut Drive<'_>) {
    while let Some(segment) = out.pop() {
        drive.reply.send(segment);
    }
}
