//! The part of an exchange that hands a request to an app: ask for a unit, describe the request, start; and once more if its
//! process has died.

use super::{Exchange, NO_TUNNEL, Step};
use crate::config::{Config, Handler};
use crate::dispatch::board::Lease;
use crate::gateway::websocket::handshake;
use crate::gateway::{app, shared};
use crate::http::BodyLength;
use crate::http::fault::{Fault, Refusal};
use crate::timer::Time;
use crate::worker::drive::{Advance, Drive};
use crate::worker::spool::RequestBody;
use crate::worker::upstream::app::{AppRun, Ask, Asks, Grant, SharedRun, UNREACHED, Unsent};
use crate::worker::upstream::links::Unit;
use std::io;
use std::time::Duration;

impl Exchange {
    pub(super) fn ask_for_unit(&mut self, app: usize, body: RequestBody, drive: &mut Drive<'_>) {
        let Drive { owner, config, cx, .. } = drive;
        let wait = config.apps.get(app).map_or(Duration::ZERO, |app| app.queue_timeout);
        let again = self.unreached > 0 || self.returned || self.died.is_some();
        let asks = Asks { since: self.arrived, ahead: self.may_go_ahead(app, &body, config), again };
        match cx.ask_unit(app, *owner, asks) {
            Ask::Granted(grant) => self.start_app(app, grant, body, drive),
            Ask::Waiting => {
                self.step = Step::Queued { app, body, until: cx.now.after(wait) };
                self.count_wait(true, cx.now);
            }
            Ask::Full => self.fail(Fault::Full, drive),
            Ask::Failed { retry } => {
                self.waits_no_more(cx.now);
                self.fail_with(Fault::Unavailable, "", Some(retry), drive);
            }
        }
    }

    /// Whether it may be sent to a unit that is busy: its app looks ahead, it may be repeated, has no body, and has neither come back nor lost a
    /// process.
    fn may_go_ahead(&self, app: usize, body: &RequestBody, config: &Config) -> bool {
        let looks_ahead = config.apps.get(app).is_some_and(|app| app.kind.looks_ahead());
        let repeatable = self.request.as_ref().is_some_and(|request| request.head.method().is_idempotent());
        looks_ahead && repeatable && body.len() == 0 && !self.returned && self.died.is_none()
    }

    pub(super) fn start_app(&mut self, app: usize, grant: Grant, body: RequestBody, drive: &mut Drive<'_>) {
        self.count_wait(false, drive.cx.now);
        let (Some(request), Some(handler)) = (&self.request, self.handler.as_deref()) else { return };
        let mount = match handler {
            Handler::App { mount, .. } => mount,
            Handler::Cgi(_) => request.mount_of_scripts(drive.cx),
            _ => return,
        };
        let is_shared = drive.cx.is_shared(grant.lease());
        let is_websocket = match handshake::asked(&request.head, announced(&body)) {
            Ok(None) => false,
            Ok(Some(_)) if is_shared => true,
            Err(refusal) if is_shared => return self.refuse_granted(app, grant, refusal, drive),
            // To others it is a GET that says something of an upgrade, or a CONNECT, which has no other answer.
            _ if self.asks_tunnel() => return self.refuse_granted(app, grant, NO_TUNNEL, drive),
            _ => false,
        };
        let id = self.id_text();
        let written = request.written_origin();
        let mut described = self.describe(request, &written, mount, &id, drive.config, drive.cx);
        if matches!(handler, Handler::Cgi(_)) {
            // Files have no empty names.
            described.path = request.target.path();
        }
        described.arrived = Some(self.wall);
        let length = (body.len() > 0 || request.has_body()).then(|| body.len());
        let started = if self.died.is_some_and(|died| is_same_process(died, grant.lease())) {
            // Its sockets may still be open for a moment.
            let error = io::Error::other("it has died with this request");
            drive.cx.lose_unit(Unit { app, lease: grant.lease() }, &error);
            Err(Unsent::Gone(error))
        } else if is_shared {
            let asked = if is_websocket { shared::Asked::WebSocket } else { shared::Asked::Http };
            let ask = |stream, body: app::Body<'_>, out: &mut Vec<u8>| {
                shared::ask(stream, asked, &described, length, body, out);
            };
            SharedRun::start(app, grant, asked, &body, ask, drive).map(Started::Shared)
        } else {
            let ask = |stream, body: app::Body<'_>, out: &mut Vec<u8>| {
                app::request(stream, &described, length, body, out);
            };
            AppRun::start(app, grant, &body, ask, drive).map(Started::Alone)
        };
        let may_repeat = self.died.is_none() && request.head.method().is_idempotent();
        match started {
            Ok(mut run) => {
                if may_repeat {
                    run.keep(body);
                }
                self.count_wait(run.lies_ahead(), drive.cx.now);
                self.step = run.into_step();
            }
            // The process died after the claim and has not begun: another may try, for queue_timeout from now.
            Err(Unsent::Gone(error)) => {
                log::debug!("app: cannot reach a process: {error}");
                self.unreached += 1;
                if self.unreached < UNREACHED {
                    self.ask_for_unit(app, body, drive);
                } else {
                    self.fail(Fault::Unavailable, drive);
                }
            }
            Err(Unsent::Shortage(error)) => {
                drive.cx.is_short = true;
                self.fail_with(Fault::Shortage, &error.to_string(), None, drive);
            }
        }
    }

    /// It does without its unit.
    fn refuse_granted(&mut self, app: usize, grant: Grant, refusal: Refusal, drive: &mut Drive<'_>) {
        drive.cx.decline(app, grant);
        self.refuse(refusal, drive);
    }

    /// It waits for a unit or a server from now on, or does no more.
    pub(super) fn count_wait(&mut self, waits: bool, now: Time) {
        let queued = self.queued.get_or_insert_default();
        match self.waits {
            None if waits => self.waits = Some(now),
            Some(since) if !waits => {
                *queued += now.since(since);
                self.waits = None;
            }
            _ => {}
        }
    }

    /// If it waits it does no more.
    pub(super) fn waits_no_more(&mut self, now: Time) {
        if self.waits.is_some() {
            self.count_wait(false, now);
        }
    }

    // ---- the second try -------------------------------------------------------------------------------------------

    /// The app and body of a request that another unit is to have. One that was sent ahead has come back; or its process has
    /// died, nothing of an answer has come, a repeated request has the effect of one, and it is the first time. A time-out is
    /// none of these: the app may still do it. Its place in the queue is that of its arrival.
    pub(super) fn take_back(
        &mut self,
        advance: &Advance,
        drive: &mut Drive<'_>,
    ) -> Option<(usize, RequestBody)> {
        let back = |step: &mut Step| match step {
            Step::App(run) => run.take_back(),
            Step::Shared(run) => run.take_back(),
            _ => None,
        };
        match advance {
            Advance::Returned => {
                let (unit, body) = back(&mut self.step)?;
                self.returned = true;
                Some((unit.app, body))
            }
            Advance::Broken(Fault::Closed) => {
                let (unit, body) = back(&mut self.step)?;
                self.died = Some(unit.lease);
                self.tell_death(drive);
                Some((unit.app, body))
            }
            _ => None,
        }
    }

    fn tell_death(&self, drive: &mut Drive<'_>) {
        let (handler, request, id) = (self.answerer(drive.config), self.request_line(), self.id);
        let told = "its process has died; another one is asked";
        let line = format_args!("{handler}: {request}: {told} ({id})");
        drive.cx.note_fault(log::Level::Warn, &format!("{handler}: {told}"), line);
    }
}

/// A run that has begun.
enum Started {
    Alone(AppRun),
    Shared(SharedRun),
}

impl Started {
    fn keep(&mut self, body: RequestBody) {
        match self {
            Self::Alone(run) => run.keep(body),
            Self::Shared(run) => run.keep(body),
        }
    }

    fn lies_ahead(&self) -> bool {
        match self {
            Self::Alone(run) => run.lies_ahead(),
            Self::Shared(_) => false,
        }
    }

    fn into_step(self) -> Step {
        match self {
            Self::Alone(run) => Step::App(Box::new(run)),
            Self::Shared(run) => Step::Shared(Box::new(run)),
        }
    }
}

/// What a request had of a body.
fn announced(body: &RequestBody) -> BodyLength {
    match body.len() {
        0 => BodyLength::None,
        length => BodyLength::Known(length),
    }
}

fn is_same_process(one: Lease, other: Lease) -> bool {
    (one.pool, one.slot, one.incarnation) == (other.pool, other.slot, other.incarnation)
}
