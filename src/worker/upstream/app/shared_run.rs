//! The run of one request in a process whose requests share one stream: it goes out whole, what comes of it goes to the
//! client as far as that has room, and the host may send no more than a window beyond that.

use super::run::{is_lacking, told_after};
use super::shared::{Came, Leave};
use super::{Grant, Unsent};
use crate::gateway::app::Body;
use crate::gateway::shared::{self, Asked, Part};
use crate::http::fault::Fault;
use crate::http::{Fields, ResponseHead};
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};
use crate::worker::spool::RequestBody;
use crate::worker::upstream::links::Unit;
use std::io;
use std::time::Duration;

/// A response of this type goes on for long, and whoever sends it knows that.
const EVENTS: &str = "text/event-stream";

/// See the module.
pub(in crate::worker) struct SharedRun {
    link: Key,
    stream: u32,
    unit: Unit,
    /// The host sends no more than so many bytes that were not credited; how many are to be.
    window: u32,
    taken: u32,
    /// The app's `timeout`, and when that is over: it begins again with each piece of the response.
    timeout: Duration,
    deadline: Time,
    /// When the whole response has taken too long (`stream_timeout`).
    until: Option<Time>,
    began: Time,
    /// The master knows of it.
    shown: bool,
    /// There is a head.
    answered: bool,
    /// The body of the request, while it may be made once more.
    kept: Option<RequestBody>,
    trailers: Fields,
}

impl SharedRun {
    /// Sends a request to a claimed unit. `encode` writes the frames.
    ///
    /// # Errors
    /// If the unit did not get the request; the claim is not ours any more.
    pub(in crate::worker) fn start(
        app: usize,
        grant: Grant,
        asked: Asked,
        body: &RequestBody,
        encode: impl FnOnce(u32, Body<'_>, &mut Vec<u8>),
        drive: &mut Drive<'_>,
    ) -> Result<Self, Unsent> {
        let Drive { owner, config, cx, .. } = drive;
        let unit = Unit { app, lease: grant.lease() };
        let link = match cx.shared_stream_to(unit) {
            Ok(key) => key,
            Err(error) if is_lacking(&error) => {
                cx.free_unit(unit);
                return Err(Unsent::Shortage(error));
            }
            Err(error) => {
                cx.lose_unit(unit, &error);
                return Err(Unsent::Gone(error));
            }
        };
        let Some(stream) = cx.send_shared(link, (unit, *owner), asked, body, encode) else {
            cx.free_unit(unit);
            return Err(Unsent::Shortage(io::Error::other("the process has 65,536 WebSockets")));
        };
        let app = config.apps.get(unit.app);
        let (timeout, buffer) = app.map(|app| (app.timeout, app.response_buffer)).unwrap_or_default();
        Ok(Self {
            link,
            stream,
            unit,
            window: shared::window(buffer.memory),
            taken: 0,
            timeout,
            deadline: cx.now.after(timeout),
            until: app.and_then(|app| app.stream_timeout).map(|time| cx.now.after(time)),
            began: cx.now,
            shown: false,
            answered: false,
            kept: None,
            trailers: Fields::new(),
        })
    }

    /// Has the body of the request be kept until there is a head.
    pub(in crate::worker) fn keep(&mut self, body: RequestBody) {
        self.kept = Some(body);
    }

    /// That body, and where it was.
    pub(in crate::worker) fn take_back(&mut self) -> Option<(Unit, RequestBody)> {
        Some((self.unit, self.kept.take()?))
    }

    /// What follows the body.
    pub(in crate::worker) fn take_trailers(&mut self) -> Fields {
        std::mem::take(&mut self.trailers)
    }

    /// Where it goes on once it is a WebSocket.
    pub(in crate::worker) fn place(&self) -> (Key, u32, Unit, u32) {
        (self.link, self.stream, self.unit, self.window)
    }

    /// When the app has taken long, or too long.
    pub(in crate::worker) fn deadline(&self) -> Time {
        let late = self.until.map_or(self.deadline, |until| until.min(self.deadline));
        if self.shown { late } else { late.min(self.tell_at()) }
    }

    /// When the master is told of it.
    fn tell_at(&self) -> Time {
        self.began.after(told_after(self.timeout))
    }

    /// Nobody waits for the response any more.
    pub(in crate::worker) fn cancel(&self, cx: &mut Context) {
        cx.leave_shared(self.link, self.stream, Leave::Client);
    }

    /// Moves what can be moved from the process to the client. `line` names the request, for whoever asks what runs.
    pub(in crate::worker) fn advance(&mut self, line: impl Fn() -> String, drive: &mut Drive<'_>) -> Advance {
        let mut any = false;
        loop {
            if !drive.reply.has_room() && drive.cx.next_takes_room(self.link, self.stream) {
                // The app waits for the client, whose own deadline bounds that.
                self.deadline = drive.cx.now.after(self.timeout);
                break;
            }
            let Some(came) = drive.cx.take_shared(self.link, self.stream) else { break };
            any = true;
            self.deadline = drive.cx.now.after(self.timeout);
            if let Some(advance) = self.take(came, drive) {
                return advance;
            }
        }
        self.give_credit(drive.cx);
        if !drive.cx.has_shared(self.link, self.stream) {
            return Advance::Broken(if self.answered { Fault::Truncated } else { Fault::Closed });
        }
        if let Some(fault) = self.expire(line, drive.cx) {
            return Advance::Broken(fault);
        }
        if any { Advance::Progress } else { Advance::Wait }
    }

    /// Takes what came; what the exchange has to do for it.
    fn take(&mut self, came: Came, drive: &mut Drive<'_>) -> Option<Advance> {
        let Drive { reply, cx, .. } = drive;
        match came {
            Came::Part(Part::Interim(head)) => return Some(Advance::Interim(head)),
            Came::Part(Part::Head(head, body)) => {
                (self.answered, self.kept) = (true, None);
                if is_of_events(&head) {
                    cx.shared_becomes_tunnel(self.link, self.stream);
                }
                return Some(Advance::Head(head, body));
            }
            Came::Part(Part::Accept(protocol, fields)) => {
                (self.answered, self.kept) = (true, None);
                let mut head = ResponseHead { fields, ..ResponseHead::new(101) };
                if !protocol.is_empty() {
                    head.fields.add("Sec-WebSocket-Protocol", protocol);
                }
                return Some(Advance::Switched(head));
            }
            Came::Part(Part::Body(bytes)) => {
                self.taken = self.taken.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
                reply.send(bytes.into());
            }
            Came::File(Some(segment)) => {
                if !segment.is_empty() {
                    reply.send(segment);
                }
            }
            Came::Part(Part::Trailers(fields)) => self.trailers = fields,
            Came::Part(Part::End) => {
                cx.leave_shared(self.link, self.stream, Leave::Client);
                return Some(Advance::Done);
            }
            Came::Part(Part::Broken(fault, why)) => {
                if let Some(why) = why {
                    let app = cx.config.apps.get(self.unit.app).map_or("", |app| &app.name);
                    let line = format!("app {app}: {why}");
                    cx.note_fault(log::Level::Error, &line, format_args!("{line}"));
                }
                return Some(self.broken(fault, cx));
            }
            Came::File(None) => return Some(self.broken(Fault::Truncated, cx)),
            Came::Lost => {
                let fault = if self.answered { Fault::Truncated } else { Fault::Closed };
                return Some(self.broken(fault, cx));
            }
            Came::Part(
                Part::Message { .. } | Part::Close(..) | Part::Credit(_) | Part::File { .. } | Part::Free,
            ) => {}
        }
        None
    }

    fn broken(&self, fault: Fault, cx: &mut Context) -> Advance {
        cx.leave_shared(self.link, self.stream, Leave::Client);
        Advance::Broken(fault)
    }

    /// The host may go on once the client has taken half of what it may be ahead.
    fn give_credit(&mut self, cx: &mut Context) {
        if self.taken >= self.window / 2 {
            let (stream, bytes) = (self.stream, std::mem::take(&mut self.taken));
            cx.put(self.link, None, |out| shared::credit(stream, bytes, out));
        }
    }

    /// Looks at the clock: why it goes no further, if it does not.
    fn expire(&mut self, line: impl Fn() -> String, cx: &mut Context) -> Option<Fault> {
        if !self.shown && self.tell_at() <= cx.now {
            self.shown = true;
            cx.show_shared(self.link, self.stream, self.began, &line());
        }
        let fault = if self.until.is_some_and(|until| until <= cx.now) {
            Fault::Overlong
        } else if self.deadline > cx.now {
            return None;
        } else if self.answered {
            Fault::Stalled
        } else {
            Fault::Silent
        };
        cx.leave_shared(self.link, self.stream, Leave::Late);
        Some(fault)
    }
}

/// Whether it announces an event stream.
fn is_of_events(head: &ResponseHead) -> bool {
    let kind = head.fields.get("content-type").and_then(|value| value.get(..EVENTS.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS.as_bytes()))
}
