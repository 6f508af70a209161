//! One request and its response: route → admit → handle → send → done, in one screen each.
//!
//! | step | waits for | next |
//! |---|---|---|
//! | Reading | a file to be read from disk | Sent |
//! | Spooling | the rest of the request body | Queued, Proxy |
//! | Queued | a unit of the app | App, or Sent with 503 |
//! | App | the app's response | Sent |
//! | Proxy | the upstream's response | Sent |
//! | Sent | the connection: everything was given to it | the record in the access log, exactly once |

mod apps;
mod files;
mod respond;
mod written;

use super::context::{Context, ListenerInfo};
use super::handler::fixed;
use super::reader::Purpose;
use super::spool::{RequestBody, RequestSpool};
use super::upstream::app::{self, Step as RunStep, Unit};
use super::upstream::proxy;
use crate::buf::Segment;
use crate::config::{Action, Config, DefaultSite, Fallback, Location, Network, Site};
use crate::gateway::{self, Fault};
use crate::h1::{self, Refusal};
use crate::http::target::{Form, Host, Target};
use crate::http::{BodyLength, RequestHead, ResponseHead, forwarded, location, readings};
use crate::route::HostPattern;
use crate::slab::Key;
use crate::timer::{Time, Wall};
use files::{Reading, SoFar};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// `None` for Unix sockets.
    pub(super) address: Option<SocketAddr>,
    /// Number of the listener.
    pub(super) listener: u16,
}

/// What the server as a whole answers (RFC 9110 §10.2.1).
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

/// The path has dot segments, `;`, a backslash or an encoded slash, and not every server finds it where we did.
const MISREAD: Refusal = Refusal {
    status: 400,
    why: "the path could be read as one of another location; see the manual on proxies",
};

/// One request and its response.
pub(super) struct Exchange {
    id: u64,
    arrived: Time,
    wall: Wall,
    peer: Peer,
    /// `None` if the request was refused before its head was complete.
    request: Option<Request>,
    /// Status of the response, 0 before there is one.
    status: u16,
    /// Body bytes given to the connection, and what of the connection's queue came before them.
    body_sent: u64,
    /// When the head of an app's or upstream's response came.
    answered: Option<Time>,
    /// The length it announced, where a body follows.
    announced: Option<u64>,
    /// What went wrong, for the log.
    error: Option<&'static str>,
    /// The location had no such file, and its fallback answers.
    fell_back: bool,
    /// Processes of the app that could not be reached.
    unreached: u16,
    step: Step,
}

/// What is known once the head was understood.
struct Request {
    head: RequestHead,
    target: Target,
    host: Host,
    origin: forwarded::Origin,
    /// Indices of the site, and of site and location.
    site: Option<usize>,
    place: Option<(usize, usize)>,
}

enum Step {
    Reading(Box<Reading>),
    Spooling { whom: Whom, spool: RequestSpool },
    Queued { app: usize, body: RequestBody, until: Time, ask: Time },
    App(Box<app::Run>),
    Proxy(Box<proxy::Run>),
    Sent,
}

/// Who gets a request body that is collected first.
#[derive(Clone, Copy)]
enum Whom {
    App(usize),
    Upstream(usize),
}

impl Exchange {
    /// Begins the exchange of a request whose head was understood.
    pub(super) fn begin(
        request: h1::Request,
        peer: Peer,
        key: Key,
        h1: &mut h1::Conn,
        cx: &mut Context,
    ) -> Box<Self> {
        let mut exchange = Box::new(Self::new(peer, cx));
        let config = Rc::clone(&cx.config);
        let body = request.body;
        match exchange.route(request, &config, cx) {
            Ok(()) => exchange.admit(body, key, h1, &config, cx),
            Err(status) => exchange.fail(status, h1, cx),
        }
        exchange
    }

    /// Answers a request that was refused before its head was complete.
    pub(super) fn refused(refusal: Refusal, peer: Peer, h1: &mut h1::Conn, cx: &mut Context) -> Box<Self> {
        let mut exchange = Box::new(Self::new(peer, cx));
        exchange.refuse(&refusal, h1, cx);
        exchange
    }

    fn new(peer: Peer, cx: &mut Context) -> Self {
        Self {
            id: cx.new_id(),
            arrived: cx.now,
            wall: cx.wall,
            peer,
            request: None,
            status: 0,
            body_sent: 0,
            answered: None,
            announced: None,
            error: None,
            fell_back: false,
            unreached: 0,
            step: Step::Sent,
        }
    }

    // ---- route ----------------------------------------------------------------------------------------------------

    /// Site, location, client: everything that is decided from the head alone.
    fn route(&mut self, request: h1::Request, config: &Config, cx: &Context) -> Result<(), u16> {
        let h1::Request { head, target, host, .. } = request;
        let listener = cx.listeners.get(usize::from(self.peer.listener)).ok_or(500u16)?;
        // HTTP/1.0 without a host names no site.
        let site = cx.table.site(&listener.sites, host.as_ref().map_or(&[], |host| &host.name));
        let site = site.or(match config.default_site {
            DefaultSite::Site(site) => Some(site),
            DefaultSite::Refuse => None,
        });
        let host = host.unwrap_or_else(|| default_host(site.and_then(|site| config.sites.get(site))));
        let trusted =
            site.and_then(|site| config.sites.get(site)).map(|site| site.trusted_proxies.as_slice());
        let origin = forwarded::origin(&head, self.peer.address.map(|peer| peer.ip()), |address| {
            trusts(trusted.unwrap_or_default(), address, listener)
        });
        let location = site.and_then(|site| cx.table.location(site, target.path()));
        let asterisk = target.form() == Form::Asterisk;
        self.request = Some(Request { head, target, host, origin, site, place: site.zip(location) });
        match (site, location) {
            (None, _) => Err(421),
            (Some(_), None) if !asterisk => Err(404),
            _ => Ok(()),
        }
    }

    // ---- admit and handle -----------------------------------------------------------------------------------------

    fn admit(
        &mut self,
        body: BodyLength,
        key: Key,
        h1: &mut h1::Conn,
        config: &Rc<Config>,
        cx: &mut Context,
    ) {
        let Some((_, location)) = self.place(config) else {
            // OPTIONS *: about the server as a whole (RFC 9110 §9.3.7).
            let head = ResponseHead::new(204).with("Allow", METHODS);
            return self.answer(&head, Vec::new(), h1, cx);
        };
        if let Err(refusal) = h1.limit_body(location.max_body) {
            return self.refuse(&refusal, h1, cx);
        }
        if let Action::App { app, .. } = &location.action
            && location.asleep_200
            && cx.is_asleep(*app)
        {
            let head = ResponseHead::new(200).with("Content-Type", "text/plain; charset=utf-8");
            return self.answer(&head, b"asleep\n".to_vec(), h1, cx);
        }
        self.act(&location.action, body, key, h1, config, cx);
    }

    fn act(
        &mut self,
        action: &Action,
        body: BodyLength,
        key: Key,
        h1: &mut h1::Conn,
        config: &Rc<Config>,
        cx: &mut Context,
    ) {
        match action {
            Action::Files(files) => self.serve_file(files, (body, SoFar::default()), key, h1, config, cx),
            Action::Respond { status, body, content_type } => {
                let head = ResponseHead::new(*status).with("Content-Type", content_type);
                self.answer(&head, body.as_bytes().to_vec(), h1, cx);
            }
            Action::Redirect { status, location: template } => self.redirect(*status, template, h1, cx),
            Action::App { app, .. } => {
                h1.proceed();
                self.step = Step::Spooling { whom: Whom::App(*app), spool: RequestSpool::default() };
                if body == BodyLength::None {
                    self.on_body_end(key, h1, cx);
                }
            }
            Action::Proxy(upstream) => {
                if self.may_be_misread(cx) {
                    return self.refuse(&MISREAD, h1, cx);
                }
                h1.proceed();
                if body == BodyLength::Unknown && protocol_of(*upstream, cx).wants_length() {
                    let whom = Whom::Upstream(*upstream);
                    self.step = Step::Spooling { whom, spool: RequestSpool::default() };
                } else {
                    self.start_proxy(*upstream, body, key, h1, cx);
                }
            }
        }
    }

    fn place<'a>(&self, config: &'a Config) -> Option<(&'a Site, &'a Location)> {
        let (site, location) = self.request.as_ref()?.place?;
        let site = config.sites.get(site)?;
        Some((site, site.locations.get(location)?))
    }

    /// What answers: the location's action, or its fallback.
    fn action<'a>(&self, config: &'a Config) -> Option<&'a Action> {
        let (_, location) = self.place(config)?;
        match &location.action {
            Action::Files(files) if self.fell_back => match &files.fallback {
                Fallback::Action(action) => Some(action),
                _ => None,
            },
            action => Some(action),
        }
    }

    fn redirect(&mut self, status: u16, template: &str, h1: &mut h1::Conn, cx: &mut Context) {
        let Some(request) = &self.request else { return };
        let Some((site, place)) = request.place else { return };
        let raw = request.head.target();
        let rest = cx.table.rest(site, place, request.target.path());
        let parts = location::Parts {
            rest: &written::rest_as_written(&request.target, raw, rest),
            path: &written::path_as_written(&request.target, raw),
            query: request.target.query(raw).unwrap_or_default(),
            host: request.authority(),
            scheme: request.origin.scheme(),
        };
        let (mut head, body) = fixed::error_page(status);
        head.fields.add("Location", location::render(template, &parts));
        self.answer(&head, body, h1, cx);
    }

    /// Whether an upstream, which gets the path as it was written, could read one of another location in it.
    fn may_be_misread(&self, cx: &Context) -> bool {
        let Some(request) = &self.request else { return false };
        let Some((site, location)) = request.place else { return false };
        let raw = request.target.raw_path(request.head.target());
        !readings::agree(&request.target, raw, |path| cx.table.location(site, path) == Some(location))
    }

    fn start_proxy(
        &mut self,
        upstream: usize,
        body: BodyLength,
        key: Key,
        h1: &mut h1::Conn,
        cx: &mut Context,
    ) {
        let Some(request) = &self.request else { return };
        let mut head = Vec::with_capacity(request.head.wire_len() + 256);
        let id = self.id_text();
        let protocol = protocol_of(upstream, cx);
        protocol.encode(&self.describe(request, "", &id, cx), body, &mut head);
        let method = request.head.method();
        match proxy::Run::start(upstream, key, (protocol, method), head, body, cx) {
            Ok(run) => self.step = Step::Proxy(Box::new(run)),
            Err(fault) => {
                self.broken(fault, h1, cx);
            }
        }
    }

    /// The request for whoever answers it.
    fn describe<'a>(
        &self,
        request: &'a Request,
        mount: &'a str,
        id: &'a str,
        cx: &Context,
    ) -> gateway::Request<'a> {
        let raw = request.head.target();
        let local_port = self.local_port(cx);
        gateway::Request {
            head: &request.head,
            path: request.target.path_info(),
            raw: written::origin_form(&request.target, raw),
            query: request.target.query(raw).unwrap_or_default(),
            mount,
            peer: self.peer.address,
            origin: request.origin,
            authority: request.authority(),
            server_name: &request.host.name,
            server_port: request.host.port.unwrap_or(local_port),
            local_port,
            id,
        }
    }

    // ---- the request body -----------------------------------------------------------------------------------------

    /// Whether more of the request body may be read.
    pub(super) fn wants_body(&self) -> bool {
        match &self.step {
            Step::Reading(_) => false,
            Step::Proxy(run) => run.wants_body(),
            Step::Spooling { .. } | Step::Sent => true,
            Step::Queued { .. } | Step::App(_) => true,
        }
    }

    /// The next bytes of the request body.
    pub(super) fn on_body(&mut self, bytes: Vec<u8>, h1: &mut h1::Conn, cx: &mut Context) {
        match &mut self.step {
            Step::Spooling { spool, .. } => {
                if let Err(error) = spool.push(&bytes, &cx.temp_dir) {
                    let directory = cx.config.temp_dir.display();
                    let line = format!("worker: cannot keep a request body in {directory}: {error}");
                    cx.note_fault(log::Level::Error, &line, format_args!("{line}"));
                    h1.drain();
                    self.fail(503, h1, cx);
                }
            }
            Step::Proxy(run) => run.push_body(bytes.into()),
            Step::Reading(_) | Step::Queued { .. } | Step::App(_) | Step::Sent => {}
        }
    }

    /// The request body is complete.
    pub(super) fn on_body_end(&mut self, key: Key, h1: &mut h1::Conn, cx: &mut Context) {
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Spooling { whom: Whom::App(app), spool } => {
                self.ask_for_unit(app, spool.finish(), key, h1, cx);
            }
            Step::Spooling { whom: Whom::Upstream(upstream), spool } => {
                let body = Segment::from(spool);
                self.start_proxy(upstream, BodyLength::Known(body.len()), key, h1, cx);
                if let Step::Proxy(run) = &mut self.step {
                    run.push_body(body);
                    run.end_body();
                }
            }
            Step::Proxy(mut run) => {
                run.end_body();
                self.step = Step::Proxy(run);
            }
            step => self.step = step,
        }
    }

    /// The protocol refuses the rest of the request body: too large, malformed or too slow.
    pub(super) fn on_refused(&mut self, refusal: Refusal, key: Key, h1: &mut h1::Conn, cx: &mut Context) {
        self.cancel(key, cx);
        if self.status == 0 {
            self.refuse(&refusal, h1, cx);
        } else {
            h1.abort();
        }
    }

    // ---- progress -------------------------------------------------------------------------------------------------

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.step {
            Step::Reading(reading) => Some(reading.until),
            Step::Queued { until, ask, .. } => Some((*until).min(*ask)),
            Step::App(run) => run.deadline(),
            Step::Proxy(run) => Some(run.deadline()),
            Step::Spooling { .. } | Step::Sent => None,
        }
    }

    /// Does what can be done now; whether anything was.
    pub(super) fn advance(&mut self, key: Key, h1: &mut h1::Conn, cx: &mut Context) -> bool {
        match &mut self.step {
            Step::Reading(_) => self.advance_reading(key, h1, cx),
            Step::Queued { app, until, ask, .. } => {
                let (app, until) = (*app, *until);
                if *ask <= cx.now {
                    *ask = cx.now.after(app::PATIENCE);
                    cx.want(app);
                }
                self.advance_queued(app, until, key, h1, cx)
            }
            Step::App(run) => {
                let request = self.request.as_ref();
                let step = run.advance(h1, || request.map(Request::line).unwrap_or_default(), cx);
                self.take_run_step(step, h1, cx)
            }
            Step::Proxy(run) => {
                let step = run.advance(key, h1, cx);
                self.take_run_step(step, h1, cx)
            }
            Step::Spooling { .. } | Step::Sent => false,
        }
    }

    fn advance_queued(
        &mut self,
        app: usize,
        until: Time,
        key: Key,
        h1: &mut h1::Conn,
        cx: &mut Context,
    ) -> bool {
        if let Some(lease) = cx.take_grant(app, key) {
            if let Step::Queued { body, .. } = std::mem::replace(&mut self.step, Step::Sent) {
                self.start_app(Unit { app, lease }, body, key, h1, cx);
            }
            return true;
        }
        let failed = cx.app_failed(app);
        if failed.is_none() && cx.now < until {
            return false;
        }
        cx.leave_queue(app, key);
        if failed.is_none() {
            let name = cx.config.apps.get(app).map_or("", |app| app.name.as_str());
            let line = format!("app {name}: no free process within queue_timeout; answered 503");
            cx.note_fault(log::Level::Warn, &line, format_args!("{line}"));
        }
        self.unavailable(failed, h1, cx);
        true
    }

    fn take_run_step(&mut self, step: RunStep, h1: &mut h1::Conn, cx: &mut Context) -> bool {
        match step {
            RunStep::Wait => return false,
            RunStep::Progress => {}
            RunStep::Head(head, body) => {
                self.answered = Some(cx.now);
                self.announced = match body {
                    BodyLength::Known(length) if !self.is_head() && !head.status.forbids_body() => {
                        Some(length)
                    }
                    _ => None,
                };
                self.begin_response(&head, body, h1, cx);
            }
            RunStep::Done => {
                self.count_run();
                self.compare_length(cx);
                self.finish(h1, cx);
            }
            RunStep::Broken(fault) => self.broken(fault, h1, cx),
        }
        true
    }

    /// Adds the body bytes that a run gave to the connection.
    fn count_run(&mut self) {
        self.count_sent(match &self.step {
            Step::App(run) => run.sent(),
            Step::Proxy(run) => run.sent(),
            Step::Reading(_) | Step::Spooling { .. } | Step::Queued { .. } | Step::Sent => 0,
        });
    }

    /// A response that is shorter than it announced breaks the connection off, and of a longer one the rest is cut: both
    /// look like a fault of the server unless it says whose they are.
    fn compare_length(&mut self, cx: &mut Context) {
        let Some(length) = self.announced.filter(|length| *length != self.body_sent) else { return };
        const WHY: &str = "the body is not as long as its Content-Length";
        self.error = Some(WHY);
        let config = Rc::clone(&cx.config);
        let (handler, line, sent) = (self.handler(&config), self.request_line(), self.body_sent);
        cx.note_fault(
            log::Level::Error,
            &format!("{handler}: {WHY}"),
            format_args!("{handler}: {line}: {WHY}: {sent} bytes instead of {length} ({})", self.id_text()),
        );
        self.body_sent = sent.min(length);
    }

    fn broken(&mut self, fault: Fault, h1: &mut h1::Conn, cx: &mut Context) {
        self.count_run();
        self.error = Some(fault.why());
        let config = Rc::clone(&cx.config);
        let (handler, why) = (self.handler(&config), fault.why());
        let (line, id) = (self.request_line(), self.id_text());
        cx.note_fault(
            log::Level::Error,
            &format!("{handler}: {why}"),
            format_args!("{handler}: {line}: {why} ({id})"),
        );
        if self.status == 0 {
            self.fail(fault.status(), h1, cx);
        } else {
            // The client must see that the response is not complete.
            h1.abort();
            self.step = Step::Sent;
        }
    }

    /// The client has gone, or the request is refused: gives up what runs for it, without hurting the app.
    pub(super) fn cancel(&mut self, key: Key, cx: &mut Context) {
        self.count_run();
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Queued { app, .. } => cx.leave_queue(app, key),
            Step::App(mut run) => run.cancel(cx),
            Step::Proxy(mut run) => run.cancel(cx),
            Step::Reading(_) => cx.forget_read((key, Purpose::Open)),
            Step::Spooling { .. } | Step::Sent => {}
        }
    }

    /// Whether everything of the response was given to the connection.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.step, Step::Sent)
    }
}

impl Request {
    /// Method and target, for the log.
    fn line(&self) -> String {
        let (method, target) = (self.head.method_bytes(), self.head.target());
        format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(target).escape_debug())
    }

    /// Host and port as the client wrote them, those of an absolute target first (RFC 9112 §3.2.2); where it wrote
    /// none, the name of the site.
    fn authority(&self) -> &[u8] {
        let written = self.target.authority(self.head.target()).or_else(|| self.head.get("host"));
        written.unwrap_or(&self.host.name)
    }

    /// Whether the request announced a body, be it an empty one.
    fn has_body(&self) -> bool {
        self.head.get("content-length").is_some() || self.head.get("transfer-encoding").is_some()
    }
}

fn protocol_of(upstream: usize, cx: &Context) -> gateway::Protocol {
    cx.config.upstreams.get(upstream).map(|upstream| upstream.protocol).unwrap_or_default()
}

/// The host of a request that names none: the first plain name of its site.
fn default_host(site: Option<&Site>) -> Host {
    let names = site.map_or(&[][..], |site| &site.names);
    let plain = names.iter().find_map(|name| match name {
        HostPattern::Exact(name) => Some(name.as_bytes().to_vec()),
        HostPattern::Suffix(_) => None,
    });
    Host { name: plain.unwrap_or_else(|| b"localhost".to_vec()), port: None }
}

pub(super) fn trusts(networks: &[Network], address: Option<IpAddr>, listener: &ListenerInfo) -> bool {
    networks.iter().any(|network| match address {
        Some(_) => network.contains(address),
        None => listener.unix && network.contains(None),
    })
}
