//! One request and its response: route → admit → handle → send → done, in one screen each.
//!
//! | step | waits for | next |
//! |---|---|---|
//! | Waiting | what a rule has to know of it | any of the others |
//! | Awaiting | another request that fetches the same for the cache | any of those below |
//! | Reading | a file to be read from disk | Sent |
//! | Spooling | the rest of the request body | Queued, Proxy |
//! | Queued | a unit of the app | App, or Sent with 503 |
//! | App, Shared | the app's response | Sent, or once more Queued, App or Shared if the process has died; WebSocket |
//! | Proxy | the upstream's response | Sent, or Tunnel after a 101 |
//! | Tunnel | bytes of both sides, and their ends | Sent |
//! | WebSocket | messages of both sides, and their ends | Sent |
//! | Telling | an edit, of which a page is to know | Sent, when the worker drains |
//! | Filtering | what the response passes, which has not given on all of it | Sent |
//! | Sent | the connection: everything was given to it | the record in the access log, exactly once |

mod admit;
mod apps;
mod body;
mod cached;
mod faults;
mod files;
mod filtered;
mod heads;
mod inquiry;
mod inside;
mod limited;
mod live;
mod own;
mod proxied;
mod request;
mod respond;
mod rewrite;
mod secure;
mod trouble;
mod tunnel;
mod waiting;
mod websocket;

use super::context::Context;
use super::drive::{Advance, Drive};
use super::handler::fixed;
use super::id::RequestId;
use super::reader::Whom;
use super::spool::{REQUEST_MEMORY, RequestBody, RequestSpool};
use super::transport::Session;
use super::upstream::proxy::Body;
use super::upstream::{app, proxy};
use crate::config::{Cgi, Config, FieldName, HandOver, Handler, Location, Proxy, Respond, Site};
use crate::dispatch::board::Lease;
use crate::gateway;
use crate::gateway::accel::Answerer;
use crate::h1;
use crate::http::fault::{Fault, Refusal};
use crate::http::{BodyLength, RequestHead, ResponseHead, forwarded};
use crate::timer::{Time, Wall};
use body::takes;
use files::{Reading, SoFar};
pub(super) use own::Given;
use request::{Request, client_field, default_host};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// `None` for Unix sockets.
    pub(super) address: Option<SocketAddr>,
    /// Number of the listener.
    pub(super) listener: u16,
    /// What its handshake has settled; `None` where none was made.
    pub(super) session: Option<Rc<Session>>,
    /// Where it connected to, if more is known of that than where the listener is bound.
    pub(super) local: Option<Rc<SocketAddr>>,
}

/// What the server as a whole answers (RFC 9110 §10.2.1).
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

/// A CONNECT for WebSocket, to which a 200 would say that there is a tunnel.
const NO_TUNNEL: Refusal = Refusal { status: 501, why: "nothing takes a WebSocket there" };

/// One request and its response.
pub(super) struct Exchange {
    id: RequestId,
    arrived: Time,
    wall: Wall,
    peer: Peer,
    /// `None` if the request was refused before its head was complete.
    request: Option<Request>,
    /// What is known of it then.
    refused: Option<Box<h1::Line>>,
    /// When the head of an app's or upstream's response came.
    answered: Option<Time>,
    /// What went wrong, for the log; and its word.
    error: Option<&'static str>,
    fault: Option<&'static str>,
    /// It was given up because the client had left.
    left: bool,
    /// It is our own, or between us and the browser of who develops: the access log has nothing of it.
    aside: bool,
    /// What is added to the page that answers it.
    script: Option<Box<[u8]>>,
    /// What answers: the handler of its location, or the fallback.
    handler: Option<Rc<Handler>>,
    /// Bytes of the client that came through its tunnel.
    received: Option<u64>,
    /// Processes of the app that could not be reached.
    unreached: u16,
    /// It was sent ahead once and came back.
    returned: bool,
    /// The unit whose process has died with it: it is made once more.
    died: Option<Lease>,
    /// Who has logged in.
    user: Option<Box<waiting::User>>,
    /// Somebody has led to another place of the site.
    led: Option<Box<inside::Led>>,
    /// What it is counted for until it is done.
    held: Vec<u64>,
    /// What it has to do with the cache.
    cached: Option<Box<cached::Cached>>,
    /// Since when it waits for a unit, or for a server with room; how long it has waited for those that it has had.
    waits: Option<Time>,
    queued: Option<Duration>,
    step: Step,
}

enum Step {
    Waiting(Box<waiting::Waiting>),
    Awaiting(Box<cached::Awaiting>),
    Reading(Box<Reading>),
    Spooling {
        whom: Collector,
        spool: RequestSpool,
    },
    Queued {
        app: usize,
        body: RequestBody,
        until: Time,
    },
    App(Box<app::AppRun>),
    Shared(Box<app::SharedRun>),
    Proxy(Box<proxy::ProxyRun>),
    Tunnel(Box<tunnel::Run>),
    WebSocket(Box<websocket::Run>),
    Telling(live::Telling),
    /// When to look whether the disk that it waits for hangs.
    Filtering(Time),
    Sent,
}

/// What became of a request that a handler was given.
enum Served {
    /// It answers, at once or by and by.
    Begun,
    /// It has nothing for it, for this reason.
    Nothing(&'static str),
}

/// Who gets a request body that is collected first.
#[derive(Clone, Copy)]
enum Collector {
    App(usize),
    /// With what was announced of it.
    Upstream(usize, BodyLength),
}

impl Exchange {
    /// The next exchange of a connection.
    pub(super) fn new(peer: Peer, cx: &mut Context) -> Self {
        Self {
            id: cx.new_id(),
            arrived: cx.now,
            wall: cx.wall,
            peer,
            request: None,
            refused: None,
            answered: None,
            error: None,
            fault: None,
            left: false,
            aside: false,
            script: None,
            handler: None,
            received: None,
            unreached: 0,
            returned: false,
            died: None,
            user: None,
            led: None,
            held: Vec::new(),
            cached: None,
            waits: None,
            queued: None,
            step: Step::Sent,
        }
    }

    /// A request whose head was understood.
    #[inline(always)]
    pub(super) fn begin(&mut self, request: h1::Request, drive: &mut Drive<'_>) {
        let body = request.body;
        let routed = self.route(request, drive.config, drive.cx);
        drive.reply.is_secure(self.site().filter(|_| self.peer.session.is_some()));
        self.heed_place(drive);
        match routed {
            Ok(())
                if self.answers_authority(drive)
                    || self.turns_away(drive)
                    || self.answers_developer(drive)
                    || self.is_rewritten_by_site(drive) => {}
            Ok(()) => self.admit(body, drive),
            Err(status) => self.answer_page(status, drive),
        }
    }

    // ---- route ----------------------------------------------------------------------------------------------------

    /// Site, location, client: everything that is decided from the head alone.
    fn route(&mut self, request: h1::Request, config: &Config, cx: &Context) -> Result<(), u16> {
        let h1::Request { head, target, host, .. } = request;
        let listener = cx.listeners.get(usize::from(self.peer.listener)).ok_or(500u16)?;
        // HTTP/1.0 without a host names no site.
        let site = cx.table.site(&listener.sites, host.as_ref().map_or(&[], |host| &host.name));
        let site = config.default_site.of(site);
        let host = host.unwrap_or_else(|| default_host(site.and_then(|site| config.sites.get(site))));
        let found = site.and_then(|site| config.sites.get(site));
        let trusted = found.map(|site| site.trusted_proxies.as_slice());
        let named = found.and_then(|site| site.client_address.as_ref()).map(FieldName::as_str);
        let direct = self.peer.address.map(|peer| peer.ip());
        let origin = forwarded::origin(&head, direct, listener.scheme, target.scheme(), named, |address| {
            listener.believes(trusted.unwrap_or_default(), address)
        });
        let mut request = Request { head, target, host, origin, site, place: None, rewrites: Vec::new() };
        request.find_place(config, cx);
        self.request = Some(request);
        self.handler = self.place(config).map(|(_, location)| Rc::clone(&location.handler));
        Ok(())
    }

    // ---- handle --------------------------------------------------------------------------------------------------

    /// Has the handler begin.
    fn start(&mut self, body: BodyLength, drive: &mut Drive<'_>) -> Served {
        let Some(handler) = self.handler.clone() else { return Served::Nothing("no handler") };
        match &*handler {
            Handler::App { app, .. } if self.shows_trouble(*app, drive) => {}
            Handler::App { .. } | Handler::Proxy(_) | Handler::Cgi(_)
                if self.is_answered_by_cache(body, drive) => {}
            Handler::Files(_) if self.asks_tunnel() => return Served::Nothing("no file is a tunnel"),
            Handler::Respond(_) | Handler::Cgi(_) if self.asks_tunnel() => self.refuse(NO_TUNNEL, drive),
            Handler::App { .. } | Handler::Proxy(_)
                if self.asks_tunnel() && !self.may_tunnel(drive.config) =>
            {
                self.refuse(NO_TUNNEL, drive);
            }
            Handler::Files(files) => return self.serve_file(files, (body, SoFar::default()), drive),
            Handler::Respond(Respond { status, body, .. })
                if body.is_empty() && self.has_page(*status, drive) =>
            {
                self.answer_page(*status, drive);
            }
            Handler::Respond(Respond { status, body, content_type }) => {
                let head = ResponseHead::new(*status).with("Content-Type", content_type);
                self.answer(&head, body.as_bytes().to_vec(), drive);
            }
            Handler::Redirect(redirect) => self.redirect(redirect.status, &redirect.location, drive),
            Handler::App { .. } | Handler::Proxy(_)
                if self.proxy(drive.config).is_some() && self.is_meant_for_us() =>
            {
                self.answer_options(drive);
            }
            Handler::Cgi(_) if self.hides_slash() => {
                return Served::Nothing("a slash is encoded in the path");
            }
            Handler::App { app, .. } | Handler::Cgi(Cgi { app, .. }) => {
                let Some(host) = drive.config.apps.get(*app).map(|app| &app.kind) else {
                    return Served::Nothing("no such app");
                };
                let HandOver::Whole { in_frames } = host.hand_over() else {
                    return self.start_upstream(body, drive);
                };
                drive.reply.proceed();
                let spool = RequestSpool::new(in_frames, &drive.cx.store);
                self.step = Step::Spooling { whom: Collector::App(*app), spool };
                if body == BodyLength::None || self.asks_tunnel() {
                    self.end_body(drive);
                }
            }
            Handler::Proxy(_) => return self.start_upstream(body, drive),
        }
        Served::Begun
    }

    /// Has an upstream begin, or once all of the body is there.
    fn start_upstream(&mut self, body: BodyLength, drive: &mut Drive<'_>) -> Served {
        let Some(&Proxy { upstream, buffering, trailers, .. }) = self.proxy(drive.config) else {
            return Served::Nothing("no upstream");
        };
        if self.may_be_misread(drive.config, drive.cx) {
            self.refuse(Refusal::MISREAD, drive);
            return Served::Begun;
        }
        drive.reply.proceed();
        let body = if trailers { self.await_trailers(body, drive) } else { body };
        let has_body = !matches!(body, BodyLength::None | BodyLength::Known(0));
        if has_body && buffering || !takes(upstream, body, drive.config) {
            let spool = RequestSpool::new(REQUEST_MEMORY, &drive.cx.store);
            self.step = Step::Spooling { whom: Collector::Upstream(upstream, body), spool };
        } else {
            self.start_proxy(upstream, Body::Announced(body), drive);
        }
        Served::Begun
    }

    fn place<'a>(&self, config: &'a Config) -> Option<(&'a Site, &'a Location)> {
        let (site, location) = self.request.as_ref()?.place?;
        let site = config.sites.get(site)?;
        Some((site, site.locations.get(location)?))
    }

    fn redirect(&mut self, status: u16, template: &str, drive: &mut Drive<'_>) {
        let Some(location) = self.request.as_ref().and_then(|request| request.render(template, drive.cx))
        else {
            return;
        };
        let (mut head, body) = fixed::error_page(status);
        head.fields.add("Location", location);
        self.answer(&head, body, drive);
    }

    /// Whether an upstream could read the path of another location in what was written.
    fn may_be_misread(&self, config: &Config, cx: &Context) -> bool {
        let Some(request) = &self.request else { return false };
        let Some((site, location)) = request.place else { return false };
        request
            .facts(config)
            .may_be_misread(|read| cx.table.location(site, read.path, read) == Some(location))
    }

    /// Whether it asks for a tunnel, as only HTTP/2 can in this way (RFC 8441).
    fn asks_tunnel(&self) -> bool {
        self.request.as_ref().is_some_and(|request| gateway::websocket::is_asked(&request.head))
    }

    /// Whether its path hides a slash. What is behind a script in the path is decoded for it, and it would take the hidden one
    /// for one that divides names (RFC 3875 §4.1.5).
    fn hides_slash(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.target.encoded_slash())
    }

    /// Whether who answers it speaks HTTP, which can go on in another protocol, and has trailers.
    fn speaks_http(&self, config: &Config) -> bool {
        let upstream = self.proxy(config).and_then(|proxy| config.upstream(proxy.upstream));
        upstream.is_some_and(|upstream| upstream.protocol == gateway::Protocol::Http)
    }

    /// Whether who answers it may take a WebSocket: whether an app of Python does shows once one of its processes has it.
    fn may_tunnel(&self, config: &Config) -> bool {
        let Some(Handler::App { app, .. }) = self.handler.as_deref() else { return self.speaks_http(config) };
        let is_hosted = config.apps.get(*app).is_some_and(|app| app.kind.websocket().is_some());
        is_hosted || self.speaks_http(config)
    }

    /// An OPTIONS that goes no further (RFC 9110 §7.6.2).
    fn is_meant_for_us(&self) -> bool {
        let head = self.request.as_ref().map(|request| &request.head);
        head.is_some_and(|head| gateway::http1::forwards_left(head) == Some(0))
    }

    /// The request for whoever answers it.
    fn describe<'a>(
        &'a self,
        request: &'a Request,
        written: &'a [u8],
        mount: &'a str,
        id: &'a str,
        config: &'a Config,
        cx: &Context,
    ) -> gateway::Request<'a> {
        let raw = request.head.target();
        let auth = self.place(config).and_then(|(_, location)| location.policies.auth.get());
        let listener = cx.listeners.get(usize::from(self.peer.listener));
        let local = self
            .peer
            .local
            .as_deref()
            .copied()
            .or(listener.and_then(|listener| listener.local))
            .map(|local| local.port());
        let local_port = local.unwrap_or_else(|| request.origin.scheme.default_port());
        gateway::Request {
            head: &request.head,
            path: request.target.path_info(),
            raw: written,
            query: request.target.query(raw).unwrap_or_default(),
            mount,
            peer: self.peer.address,
            origin: request.origin,
            client_field: client_field(request, config),
            authority: request.authority(),
            server_name: &request.host.name,
            server_port: request.host.port.unwrap_or(local_port),
            local_port,
            secure: self.told(request, config, cx),
            id,
            arrived: None,
            shown: gateway::Shown { login: self.login(auth), ..gateway::Shown::default() },
        }
    }

    // ---- progress -------------------------------------------------------------------------------------------------

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.step {
            Step::Waiting(waiting) => Some(waiting.until),
            Step::Awaiting(awaiting) => Some(awaiting.until),
            Step::Reading(reading) => Some(reading.until),
            Step::Queued { until, .. } => Some(*until),
            Step::App(run) => run.deadline(),
            Step::Shared(run) => Some(run.deadline()),
            Step::Proxy(run) => run.deadline(),
            Step::Tunnel(run) => Some(run.deadline()),
            Step::WebSocket(run) => run.deadline(),
            Step::Telling(telling) => Some(telling.until),
            Step::Filtering(until) => Some(*until),
            Step::Spooling { .. } | Step::Sent => None,
        }
    }

    /// Does what can be done now; whether anything was.
    pub(super) fn advance(&mut self, drive: &mut Drive<'_>) -> bool {
        if drive.reply.is_filtered() { self.advance_filtered(drive) } else { self.advance_step(drive) }
    }

    fn advance_step(&mut self, drive: &mut Drive<'_>) -> bool {
        match &mut self.step {
            Step::Waiting(_) => self.advance_waiting(drive),
            Step::Awaiting(_) => self.advance_awaiting(drive),
            Step::Reading(_) => self.advance_reading(drive),
            Step::Queued { app, until, .. } => {
                let (app, until) = (*app, *until);
                self.advance_queued(app, until, drive)
            }
            Step::App(run) => {
                let request = self.request.as_ref();
                let advance = run.advance(|| request.map(Request::line).unwrap_or_default(), drive);
                let waits = run.lies_ahead();
                self.count_wait(waits, drive.cx.now);
                self.take_advance_of_app(advance, drive)
            }
            Step::Shared(run) => {
                let request = self.request.as_ref();
                let advance = run.advance(|| request.map(Request::line).unwrap_or_default(), drive);
                self.take_advance_of_app(advance, drive)
            }
            Step::Proxy(run) => {
                let advance = run.advance(drive);
                let waits = run.waits() && !matches!(advance, Advance::Broken(_));
                self.count_wait(waits, drive.cx.now);
                match advance {
                    Advance::Head(head, body) => self.take_head(head, body, drive),
                    advance => self.take_advance(advance, drive),
                }
            }
            Step::Tunnel(run) => match run.advance(drive) {
                // It has had its time: an end like any other.
                Advance::Broken(fault @ (Fault::Drained | Fault::Idle)) => {
                    self.note(fault, "", drive.cx);
                    self.finish(drive);
                    true
                }
                advance => self.take_advance(advance, drive),
            },
            Step::WebSocket(run) => {
                let advance = run.advance(&mut self.received, drive);
                self.take_advance(advance, drive)
            }
            Step::Telling(_) => self.advance_telling(drive),
            Step::Spooling { .. } | Step::Filtering(_) | Step::Sent => false,
        }
    }

    fn take_advance_of_app(&mut self, advance: Advance, drive: &mut Drive<'_>) -> bool {
        if let Some((app, body)) = self.take_back(&advance, drive) {
            self.step = Step::Sent;
            self.ask_for_unit(app, body, drive);
            return true;
        }
        let Advance::Head(head, body) = advance else { return self.take_advance(advance, drive) };
        if self.is_better_kept(Some(head.status.0), drive) {
            return true;
        }
        match self.look_elsewhere(head, drive) {
            Some(head) => self.take_advance(Advance::Head(head, body), drive),
            None => true,
        }
    }

    fn advance_queued(&mut self, app: usize, until: Time, drive: &mut Drive<'_>) -> bool {
        let Drive { owner, cx, .. } = drive;
        if let Some(grant) = cx.take_grant(app, *owner) {
            if let Step::Queued { body, .. } = std::mem::replace(&mut self.step, Step::Sent) {
                self.start_app(app, grant, body, drive);
            }
            return true;
        }
        let failed = cx.app_failed(app);
        if failed.is_none() && cx.now < until {
            return false;
        }
        cx.leave_queue(app, *owner);
        self.count_wait(false, cx.now);
        let fault = if failed.is_some() { Fault::Unavailable } else { Fault::Busy };
        self.fail_with(fault, "", failed, drive);
        true
    }

    fn take_advance(&mut self, advance: Advance, drive: &mut Drive<'_>) -> bool {
        match advance {
            Advance::Wait => return false,
            Advance::Later => {
                drive.cx.runnable.push_back(drive.owner);
                return false;
            }
            Advance::Progress => {}
            Advance::Interim(head) => self.pass_interim(head, drive),
            Advance::Head(mut head, body) => {
                self.answered = Some(drive.cx.now);
                self.give_kept(&mut head, Answerer::Other);
                let Some((mut head, body)) = self.pass_cache(head, body, drive) else { return true };
                self.bind_session(&mut head.fields, drive);
                let body = self.add_script(&head, body, drive);
                drive.reply.head(&head, body, drive.cx);
            }
            Advance::Switched(mut head) => {
                self.answered = Some(drive.cx.now);
                if let Step::Shared(_) = &self.step {
                    self.open_websocket(&head, drive);
                } else {
                    self.show_fields(&mut head.fields, drive);
                    self.bind_session(&mut head.fields, drive);
                    self.open_tunnel(&head, drive);
                }
            }
            Advance::Done => {
                self.send_script(drive);
                self.compare_length(drive);
                self.finish(drive);
            }
            Advance::Broken(fault) => self.fail(fault, drive),
            Advance::Returned => self.fail(Fault::Closed, drive),
        }
        true
    }

    /// A response that is shorter than it announced breaks the connection off, and of a longer one the rest is cut: both
    /// look like a fault of the server unless it says whose they are.
    fn compare_length(&mut self, drive: &mut Drive<'_>) {
        let Some((given, length)) = drive.reply.mismatch() else { return };
        self.note(Fault::WrongLength, &format!("{given} bytes instead of {length}"), drive.cx);
    }

    /// The client has gone, or the request is refused: gives up what runs for it, without hurting the app.
    pub(super) fn cancel(&mut self, drive: &mut Drive<'_>) {
        self.leave_cache(drive);
        let Drive { owner, reply, cx, .. } = drive;
        self.waits_no_more(cx.now);
        if reply.waits_for_disk() {
            cx.forget_read(Whom::Exchange(*owner));
        }
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Queued { app, .. } => cx.leave_queue(app, *owner),
            Step::App(mut run) => run.cancel(cx),
            Step::Shared(run) => run.cancel(cx),
            Step::Proxy(mut run) => run.cancel(cx),
            Step::Tunnel(run) => run.close(cx),
            Step::WebSocket(run) => run.close(cx),
            Step::Waiting(waiting) => self.stop_waiting(waiting.what(), drive),
            Step::Awaiting(_) => {}
            Step::Reading(_) => cx.forget_read(Whom::Exchange(*owner)),
            Step::Telling(_) => cx.edits.leave(*owner),
            Step::Spooling { .. } | Step::Filtering(_) | Step::Sent => {}
        }
    }

    /// The client has closed its side, and nothing more can be done for it now. What ends by itself goes on, in case the
    /// client still reads: a response of known length, and a request that runs in an app. What waits for others, or for
    /// ever, is given up: whether it was. The latter also while a part of it waits to be written, which is then all that
    /// leaves; the former only at `first`.
    pub(super) fn client_left(&mut self, first: bool, drive: &mut Drive<'_>) -> bool {
        let endless = drive.reply.is_endless();
        self.left = match &self.step {
            Step::Queued { .. } | Step::Waiting(_) | Step::Awaiting(_) => first,
            Step::Proxy(run) => !run.has_ended() && (endless || (first && !drive.reply.has_begun())),
            Step::App(run) => endless || (first && run.lies_ahead()),
            // Its task is told, and may be waiting for just that.
            Step::Shared(_) => endless || (first && !drive.reply.has_begun()),
            // Its other side is told, and may have more to say.
            Step::Tunnel(_) | Step::WebSocket(_) => false,
            Step::Telling(_) => true,
            Step::Reading(_) | Step::Spooling { .. } | Step::Filtering(_) | Step::Sent => false,
        };
        if self.left {
            self.note(Fault::Left, "", drive.cx);
            self.cancel(drive);
            if endless {
                drive.reply.break_off();
            }
        }
        self.left
    }

    /// The client has reset the connection; for the log, if nothing else went wrong before.
    pub(super) fn client_lost(&mut self, drive: &mut Drive<'_>) {
        if !self.is_sent() && self.error.is_none() {
            self.left = !drive.reply.has_begun();
            self.note(Fault::Left, "", drive.cx);
        }
    }

    /// Whether it goes on in another protocol.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.step, Step::Tunnel(_) | Step::WebSocket(_))
    }

    /// Bytes that it keeps.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + self.request.as_ref().map_or(0, |request| request.head.wire_len())
            + self
                .head_of_client()
                .filter(|_| self.is_led() || self.cached.is_some())
                .map_or(0, RequestHead::wire_len)
    }

    /// Whether it may go on once something was written to the client.
    pub(super) fn waits_for_room(&self) -> bool {
        match &self.step {
            Step::Tunnel(run) => run.waits_for_room(),
            _ => true,
        }
    }

    /// Whether everything of the response was given to the connection.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.step, Step::Sent)
    }
}
