//! The run of one request in a unit: the request goes out whole, the response comes in through a spool, FREE ends it.

use super::Grant;
use super::ahead::Whereabouts;
use crate::buf::Segment;
use crate::config::Config;
use crate::control::worker::Complaint;
use crate::event::Read;
use crate::gateway::{self, Event};
use crate::http::fault::{Fault, Flaw};
use crate::slab::Key;
use crate::timer::Time;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};
use crate::worker::reply::Reply;
use crate::worker::shortage::is_shortage;
use crate::worker::spool::{RequestBody, ResponseSpool, unkept};
use crate::worker::upstream::READS;
use crate::worker::upstream::arrivals::Stranger;
use crate::worker::upstream::links::{Link, Peer, Unit, UnitLink};
use nix::errno::Errno;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A request that has run for so long is told of, for `status`, and so that the master can ask the host before it may be
/// late. Shorter ones are over before anybody could read them, and telling of them would cost each of them time.
const LONG: Duration = Duration::from_secs(1);

/// When a request of an app with this `timeout` is told of.
pub(super) fn told_after(timeout: Duration) -> Duration {
    LONG.min(timeout / 2)
}

/// A request that runs in a unit.
pub(in crate::worker) struct AppRun {
    link: Key,
    unit: Unit,
    /// Its number there.
    stream: u32,
    /// It was sent while others ran; whether they are over.
    was_ahead: bool,
    runs: bool,
    spool: ResponseSpool,
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
    /// It is the local redirect of a script.
    leads: bool,
    /// The body of the request, while it may be made once more.
    kept: Option<RequestBody>,
    /// The app has said END.
    complete: bool,
    /// The app has said FREE: the link is not ours any more.
    free: bool,
}

/// Why a unit did not get a request.
#[derive(Debug)]
pub(in crate::worker) enum Unsent {
    /// Its process has gone: another may have it.
    Gone(io::Error),
    /// This worker lacks descriptors or memory, which is no fault of the process.
    Shortage(io::Error),
}

/// Whether a unit was not reached for want of something that closing connections may not give, too: epoll's watches, room
/// in the queue of a socket.
pub(super) fn is_lacking(error: &io::Error) -> bool {
    is_shortage(error)
        || error
            .raw_os_error()
            .is_some_and(|code| [Errno::ENOSPC, Errno::EAGAIN].contains(&Errno::from_raw(code)))
}

impl AppRun {
    /// Sends a request to a claimed unit, or behind what it runs. `encode` writes the frames.
    ///
    /// # Errors
    /// If the unit did not get the request; the claim is not ours any more.
    pub(in crate::worker) fn start(
        app: usize,
        grant: Grant,
        body: &RequestBody,
        encode: impl FnOnce(u32, gateway::app::Body<'_>, &mut Vec<u8>),
        drive: &mut Drive<'_>,
    ) -> Result<Self, Unsent> {
        let Drive { owner, config, cx, .. } = drive;
        let unit = Unit { app, lease: grant.lease() };
        let stream = match grant {
            Grant::Unit(_) => cx.stream_to(unit, *owner),
            Grant::Ahead(_, key) => {
                let lost = || Unsent::Gone(io::ErrorKind::NotConnected.into());
                Ok(cx.take_room_ahead(unit, key, *owner).ok_or_else(lost)?)
            }
        };
        let key = match stream {
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
        // An app begins with a request that it has whole: after an error here it has not begun.
        let (stream, runs) = cx.send_request(key, *owner, body, encode).map_err(|error| {
            cx.give_up_unit(key, unit);
            Unsent::Gone(error)
        })?;
        let app = config.apps.get(unit.app);
        let (timeout, buffer) = app.map(|app| (app.timeout, app.response_buffer)).unwrap_or_default();
        Ok(Self {
            link: key,
            unit,
            stream,
            was_ahead: !runs,
            runs,
            spool: ResponseSpool::new(buffer, &cx.store),
            timeout,
            deadline: cx.now.after(timeout),
            until: app.and_then(|app| app.stream_timeout).map(|time| cx.now.after(time)),
            began: cx.now,
            shown: false,
            answered: false,
            leads: false,
            kept: None,
            complete: false,
            free: false,
        })
    }

    /// Whether it has not begun, as far as is known here.
    pub(in crate::worker) fn lies_ahead(&self) -> bool {
        !self.runs
    }

    /// Whether its head says that another place of the site is to answer.
    pub(in crate::worker) fn leads(&self) -> bool {
        self.leads
    }

    /// Has the body of the request be kept until there is a head.
    pub(in crate::worker) fn keep(&mut self, body: RequestBody) {
        self.kept = Some(body);
    }

    /// That body, and where it was.
    pub(in crate::worker) fn take_back(&mut self) -> Option<(Unit, RequestBody)> {
        Some((self.unit, self.kept.take()?))
    }

    /// When the app has taken long, or too long; `None` once its response is complete.
    pub(in crate::worker) fn deadline(&self) -> Option<Time> {
        if !self.runs {
            return Some(self.deadline);
        }
        let late = self.until.map_or(self.deadline, |until| until.min(self.deadline));
        let next = if self.shown { late } else { late.min(self.tell_at()) };
        (!self.complete).then_some(self.spool.deadline().map_or(next, |full| next.min(full)))
    }

    /// When the master is told of it.
    fn tell_at(&self) -> Time {
        self.began.after(told_after(self.timeout))
    }

    /// Moves what can be moved between the unit and the client's connection. `line` names the request, for whoever asks
    /// why its process was replaced.
    pub(in crate::worker) fn advance(&mut self, line: impl Fn() -> String, drive: &mut Drive<'_>) -> Advance {
        let Drive { reply, cx, config, .. } = drive;
        match self.look(config, cx) {
            Whereabouts::Runs => {}
            Whereabouts::Behind => return Advance::Wait,
            Whereabouts::Back => return Advance::Returned,
        }
        let pumped = self.spool.pump(reply);
        if !(self.shown || self.complete || self.free) && self.tell_at() <= cx.now {
            self.shown = true;
            cx.show_request(self.link, self.began, &line());
        }
        if self.complete && self.spool.is_empty() {
            return self.finish(cx);
        }
        if self.free {
            return if pumped { Advance::Progress } else { Advance::Wait };
        }
        if !self.complete && self.until.is_some_and(|until| until <= cx.now) {
            // It did what it should: what is left of it has the time of one that has just answered.
            self.deadline = cx.now.after(self.timeout);
            self.let_go(cx);
            return Advance::Broken(Fault::Overlong);
        }
        if self.spool.was_refused() {
            if !self.complete && self.deadline <= cx.now {
                // The client had the app's whole time. Others want the app, and the process is not to blame.
                self.deadline = cx.now.after(self.timeout);
                self.let_go(cx);
                return Advance::Broken(Fault::Truncated);
            }
        } else if self.spool.room(reply, &cx.store, cx.now) == 0 {
            // The app waits for the client, whose own deadline bounds that.
            self.deadline = cx.now.after(self.timeout);
        }
        if !self.complete && self.deadline <= cx.now {
            // Before the end of the stream, which may end the request, too.
            let behind = cx.sent_behind(self.link);
            let others = if behind > 0 { format!(", or one of {behind} behind it,") } else { String::new() };
            let reason = format!("{}{others} ran into the time-out of {:?}", line(), self.timeout);
            cx.complain(self.unit, Complaint::Late, reason);
            self.give_up(cx);
            return Advance::Broken(if self.answered { Fault::Stalled } else { Fault::Silent });
        }
        match self.exchange_bytes(reply, cx) {
            Ok(Advance::Wait | Advance::Later) if pumped => Advance::Progress,
            Ok(step) => step,
            Err(Trouble::Fault(Fault::Closed)) if self.was_ahead && !self.answered => {
                // Whether it had begun is not known, nor does it matter.
                self.give_up(cx);
                Advance::Returned
            }
            Err(Trouble::Stranger(stranger)) => {
                self.give_up(cx);
                cx.note_stranger(self.unit.app, stranger);
                Advance::Broken(Fault::Malformed(Flaw::Frame))
            }
            Err(Trouble::Fault(fault)) => {
                self.give_up(cx);
                if matches!(fault, Fault::Malformed(_)) {
                    let reason = format!("{}: its answer is not the protocol", line());
                    cx.complain(self.unit, Complaint::Malformed, reason);
                }
                Advance::Broken(fault)
            }
        }
    }

    /// The response is complete for the client; the unit may still be closing its iterable.
    fn finish(&mut self, cx: &mut Context) -> Advance {
        self.let_go(cx);
        Advance::Done
    }

    fn give_up(&mut self, cx: &mut Context) {
        if !self.free {
            self.free = true;
            cx.give_up_unit(self.link, self.unit);
        }
    }

    fn exchange_bytes(&mut self, reply: &mut Reply<'_>, cx: &mut Context) -> Result<Advance, Trouble> {
        let mut progress = false;
        for _ in 0..READS {
            let Some(link) = cx.links.get_mut(self.link) else { return Err(Fault::Closed.into()) };
            link.write_or_read();
            link.await_room(self.link, &cx.poll);
            let Peer::Unit(unit) = &mut link.peer else { return Err(Fault::Closed.into()) };
            let UnitLink { response, arrivals, .. } = &mut **unit;
            let Some(response) = response else { return Err(Fault::Closed.into()) };
            while self.spool.takes_events() {
                let Some(event) = response.poll() else { break };
                progress = true;
                // Where nothing can be kept, the client holds the app, and has no more than its time once.
                if !self.spool.was_refused() {
                    self.deadline = cx.now.after(self.timeout);
                }
                match event {
                    Event::Head { head, body } => {
                        (self.answered, self.leads) = (true, response.leads());
                        self.kept = None;
                        return Ok(Advance::Head(head, body));
                    }
                    Event::Body(bytes) => {
                        if let Err(error) = self.spool.push(bytes, reply, &cx.store) {
                            let line = unkept(&error, &cx.config.temp_dir, "the app");
                            if cx.throttle.judge(log::Level::Error, &line, 1, cx.now) {
                                log::error!("{line}");
                            }
                        }
                    }
                    Event::File { offset, len } => {
                        // Lost on the way when this worker has no descriptor left: the process is not to blame.
                        let file = Rc::new(arrivals.file(cx.now)?.ok_or(Fault::Truncated)?);
                        if len > 0 {
                            self.spool.push_file(Segment::File { file, offset, len, stamp: None }, reply);
                        }
                    }
                    Event::End => self.complete = true,
                    Event::Free => {
                        arrivals.end(response)?;
                        self.free = true;
                        cx.unit_is_free(self.link);
                        return Ok(Advance::Progress);
                    }
                    // The app failed but its unit lives: it says FREE by and by.
                    Event::Broken(fault) => {
                        if let Some(why) = response.why() {
                            let app = cx.config.apps.get(self.unit.app).map_or("", |app| &app.name);
                            let line = format!("app {app}: {why}");
                            if cx.throttle.judge(log::Level::Error, &line, 1, cx.now) {
                                log::error!("{line}");
                            }
                        }
                        if response.is_lost() {
                            return Err(fault.into());
                        }
                        self.complete |= response.has_ended();
                        self.cancel(cx);
                        return Ok(Advance::Broken(fault));
                    }
                    Event::Interim(head) => return Ok(Advance::Interim(head)),
                    Event::Switched(_) | Event::Trailers(_) => {}
                }
            }
            if self.spool.takes_events() {
                arrivals.end(response)?;
            }
            let room = self.spool.part(&mut cx.scratch, reply, &cx.store, cx.now);
            if !link.endpoint.readable() || room.is_empty() {
                return Ok(if progress { Advance::Progress } else { Advance::Wait });
            }
            read_frames(link, room)?;
        }
        Ok(if progress { Advance::Progress } else { Advance::Later })
    }

    /// Where the request is. Once it runs, its time begins.
    fn look(&mut self, config: &Config, cx: &mut Context) -> Whereabouts {
        let mut whereabouts =
            if self.free { Whereabouts::Runs } else { cx.whereabouts(self.link, self.stream) };
        if self.runs {
            debug_assert_eq!(whereabouts, Whereabouts::Runs, "it reads the answer to another request");
            return Whereabouts::Runs;
        }
        match whereabouts {
            Whereabouts::Runs => {
                let app = config.apps.get(self.unit.app);
                self.runs = true;
                self.began = cx.now;
                self.deadline = cx.now.after(self.timeout);
                self.until = app.and_then(|app| app.stream_timeout).map(|time| cx.now.after(time));
            }
            Whereabouts::Behind if self.deadline <= cx.now => {
                cx.leave_ahead(self.link, self.stream);
                whereabouts = Whereabouts::Back;
            }
            Whereabouts::Behind | Whereabouts::Back => {}
        }
        self.free |= whereabouts == Whereabouts::Back;
        whereabouts
    }

    /// Nobody waits for the response any more: the unit finishes without the client.
    pub(in crate::worker) fn cancel(&mut self, cx: &mut Context) {
        if !self.runs {
            match cx.whereabouts(self.link, self.stream) {
                Whereabouts::Runs => self.runs = true,
                Whereabouts::Behind => cx.leave_ahead(self.link, self.stream),
                Whereabouts::Back => {}
            }
            self.free |= !self.runs;
        }
        self.let_go(cx);
    }

    /// What still runs is cancelled, and has the rest of its time; closing the iterable has its own.
    fn let_go(&mut self, cx: &mut Context) {
        if !std::mem::replace(&mut self.free, true) {
            if !self.complete {
                cx.cancel_request(self.link);
            }
            let until = if self.complete { cx.now.after(self.timeout) } else { self.deadline };
            cx.finish_alone(self.link, self.began, self.tell_at(), until);
        }
    }
}

/// Why a response does not go on.
enum Trouble {
    Fault(Fault),
    Stranger(Stranger),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stranger> for Trouble {
    fn from(stranger: Stranger) -> Self {
        Self::Stranger(stranger)
    }
}

fn read_frames(link: &mut Link, scratch: &mut [u8]) -> Result<(), Trouble> {
    let Peer::Unit(unit) = &mut link.peer else { return Err(Fault::Closed.into()) };
    let UnitLink { response: Some(response), arrivals, .. } = &mut **unit else {
        return Err(Fault::Closed.into());
    };
    let mut came = Vec::new();
    let read = link.endpoint.read_with_descriptors(scratch, &mut came);
    arrivals.take_in(came)?;
    match read {
        Ok(Read::Bytes(count)) => {
            response.feed(scratch.get(..count).unwrap_or_default());
            Ok(())
        }
        Ok(Read::Blocked) => Ok(()),
        Ok(Read::Eof) | Err(_) => {
            response.eof();
            match response.poll() {
                Some(Event::Broken(fault)) => Err(fault.into()),
                _ => Err(Fault::Closed.into()),
            }
        }
    }
}
