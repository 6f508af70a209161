//! One request and its response: route → admit → handle → send → done, in one screen each.
//!
//! | step | waits for | next |
//! |---|---|---|
//! | Spooling | the rest of the request body | Queued |
//! | Queued | a unit of the app | App, or Sent with 503 |
//! | App | the app's response | Sent |
//! | Proxy | the upstream's response | Sent |
//! | Sent | the connection: everything was given to it | the record in the access log, exactly once |

use super::context::{Context, ListenerInfo};
use super::handler::{file, fixed};
use super::spool::{RequestBody, RequestSpool};
use super::upstream::app::{self, Ask, Step as RunStep, Unit, Unsent};
use super::upstream::proxy;
use crate::accesslog::Record;
use crate::buf::Segment;
use crate::config::{Action, Config, DefaultSite, Fallback, Location, Network, Site};
use crate::control::worker::ToMaster;
use crate::gateway::{self, Fault, params};
use crate::h1::{self, Refusal};
use crate::http::target::{Form, Host, Target};
use crate::http::{BodyLength, Method, RequestHead, ResponseHead, forwarded};
use crate::slab::Key;
use crate::sys::clock;
use crate::timer::{Time, Wall};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

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
    /// What went wrong, for the log.
    error: Option<&'static str>,
    /// The location had no such file, and its fallback answers.
    fell_back: bool,
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
    Spooling { app: usize, spool: RequestSpool },
    Queued { app: usize, body: RequestBody, until: Time, ask: Time },
    App(Box<app::Run>),
    Proxy(Box<proxy::Run>),
    Sent,
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
            error: None,
            fell_back: false,
            step: Step::Sent,
        }
    }

    // ---- route ----------------------------------------------------------------------------------------------------

    /// Site, location, client: everything that is decided from the head alone.
    fn route(&mut self, request: h1::Request, config: &Config, cx: &Context) -> Result<(), u16> {
        let h1::Request { head, target, host, .. } = request;
        // HTTP/1.0 without Host names no site.
        let host = host.unwrap_or(Host { name: Vec::new(), port: None });
        let listener = cx.listeners.get(usize::from(self.peer.listener)).ok_or(500u16)?;
        let site = cx.table.site(&listener.sites, &host.name);
        let site = site.or(match config.default_site {
            DefaultSite::Site(site) => Some(site),
            DefaultSite::Refuse => None,
        });
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
            Action::Files(files) => self.serve_file(files, body, key, h1, config, cx),
            Action::Respond { status, body, content_type } => {
                let head = ResponseHead::new(*status).with("Content-Type", content_type);
                self.answer(&head, body.as_bytes().to_vec(), h1, cx);
            }
            Action::Redirect { status, location: template } => self.redirect(*status, template, h1, cx),
            Action::App { app, .. } => {
                h1.proceed();
                self.step = Step::Spooling { app: *app, spool: RequestSpool::default() };
                if body == BodyLength::None {
                    self.on_body_end(key, h1, cx);
                }
            }
            Action::Proxy(upstream) => {
                h1.proceed();
                self.start_proxy(*upstream, body, key, h1, cx);
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

    fn serve_file(
        &mut self,
        files: &crate::config::Files,
        body: BodyLength,
        key: Key,
        h1: &mut h1::Conn,
        config: &Rc<Config>,
        cx: &mut Context,
    ) {
        let Some(request) = &self.request else { return };
        let Some((site, location)) = request.place else { return };
        let path = request.target.path();
        let wanted = file::Request {
            head: &request.head,
            path,
            rest: cx.table.file(site, location, path),
            query: request.target.query(request.head.target()),
            encoded_slash: request.target.encoded_slash(),
        };
        let answer = cx.files.serve((site, location), files, &wanted, (cx.now, cx.wall));
        if cx.files.take_out_of_reach() {
            cx.tell(&ToMaster::RootReplaced);
        }
        match answer {
            file::Answer::Ready(mut ready) => {
                let body = ready.take_body();
                let Some(head) = ready.head() else { return self.fail(500, h1, cx) };
                self.status = head.status().0;
                self.body_sent += body.as_ref().map_or(0, Segment::len);
                h1.respond_prepared(head, body, cx.date.as_str(), cx.now);
                self.step = Step::Sent;
            }
            file::Answer::Send { head, body, segments } => {
                self.begin_response(&head, body, h1, cx);
                segments.into_iter().for_each(|segment| self.send(segment, h1));
                self.finish(h1, cx);
            }
            file::Answer::Refuse(refused) => {
                log::debug!("{}: {}", self.request_line(), refused.why);
                self.fail_with(&refused.head, h1, cx);
            }
            file::Answer::Fallback => {
                self.fell_back = true;
                if let Fallback::Action(action) = &files.fallback {
                    self.act(action, body, key, h1, config, cx);
                }
            }
        }
    }

    fn redirect(&mut self, status: u16, template: &str, h1: &mut h1::Conn, cx: &mut Context) {
        let Some(request) = &self.request else { return };
        let Some((site, location)) = request.place else { return };
        let raw = request.target.raw_path(request.head.target());
        let rest =
            rest_as_written(raw, request.target.path(), cx.table.rest(site, location, request.target.path()));
        let parts = fixed::RedirectParts {
            rest: &rest,
            path: raw,
            query: request.target.query(request.head.target()).unwrap_or_default(),
            host: request.head.get("host").unwrap_or_default(),
            scheme: request.scheme(),
        };
        let (mut head, body) = fixed::error_page(status);
        head.fields.add("Location", fixed::redirect_location(template, &parts));
        self.answer(&head, body, h1, cx);
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
        let forward = gateway::http1::Forward {
            peer: self.peer.address.map(|peer| peer.ip()),
            trusted: request.origin.trusted,
            scheme: request.scheme(),
            host: request.head.get("host").unwrap_or_default(),
            local_port: self.local_port(cx),
            id: &self.id_text(),
        };
        let mut head = Vec::with_capacity(request.head.wire_len() + 256);
        gateway::http1::encode(&request.head, &forward, body, &mut head);
        let method = request.head.method();
        match proxy::Run::start(upstream, key, method, head, body, cx) {
            Ok(run) => self.step = Step::Proxy(Box::new(run)),
            Err(fault) => {
                self.broken(fault, h1, cx);
            }
        }
    }

    // ---- the request body -----------------------------------------------------------------------------------------

    /// Whether more of the request body may be read.
    pub(super) fn wants_body(&self) -> bool {
        match &self.step {
            Step::Proxy(run) => run.wants_body(),
            Step::Spooling { .. } | Step::Sent => true,
            Step::Queued { .. } | Step::App(_) => true,
        }
    }

    /// The next bytes of the request body.
    pub(super) fn on_body(&mut self, bytes: Vec<u8>, h1: &mut h1::Conn, cx: &mut Context) {
        match &mut self.step {
            Step::Spooling { spool, .. } => {
                if let Err(error) = spool.push(&bytes, &cx.config.temp_dir) {
                    log::error!(
                        "worker: cannot keep a request body in {}: {error}",
                        cx.config.temp_dir.display()
                    );
                    h1.drain();
                    self.fail(503, h1, cx);
                }
            }
            Step::Proxy(run) => run.push_body(bytes),
            Step::Queued { .. } | Step::App(_) | Step::Sent => {}
        }
    }

    /// The request body is complete.
    pub(super) fn on_body_end(&mut self, key: Key, h1: &mut h1::Conn, cx: &mut Context) {
        match std::mem::replace(&mut self.step, Step::Sent) {
            Step::Spooling { app, spool } => self.ask_for_unit(app, spool.finish(), key, h1, cx),
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

    // ---- apps -----------------------------------------------------------------------------------------------------

    fn ask_for_unit(&mut self, app: usize, body: RequestBody, key: Key, h1: &mut h1::Conn, cx: &mut Context) {
        let wait = cx.config.apps.get(app).map_or(Duration::ZERO, |app| app.queue_timeout);
        match cx.ask_unit(app, key, self.arrived) {
            Ask::Granted(lease) => self.start_app(Unit { app, lease }, body, key, h1, cx),
            Ask::Waiting => {
                let (until, ask) = (cx.now.after(wait), cx.now.after(app::PATIENCE));
                self.step = Step::Queued { app, body, until, ask };
            }
            Ask::Failed { retry } => self.unavailable(Some(retry), h1, cx),
        }
    }

    fn start_app(&mut self, unit: Unit, body: RequestBody, key: Key, h1: &mut h1::Conn, cx: &mut Context) {
        let config = Rc::clone(&cx.config);
        let (Some(request), Some(action)) = (&self.request, self.action(&config)) else { return };
        let Action::App { mount, .. } = action else { return };
        let id = self.id_text();
        let raw = request.head.target();
        let variables = params::Request {
            head: &request.head,
            path: request.target.path_info(),
            raw: origin_form(&request.target, raw),
            query: request.target.query(raw).unwrap_or_default(),
            mount,
            body: (body.len() > 0 || request.has_body()).then(|| body.len()),
            peer: self.peer.address,
            trusted: request.origin.trusted,
            client: request.origin.client,
            scheme: request.scheme(),
            server_name: request.server_name(),
            server_port: request.host.port.unwrap_or_else(|| self.local_port(cx)),
            id: &id,
        };
        let started = app::Run::start(
            unit,
            key,
            &body,
            |stream, body, out| gateway::app::request(stream, &variables, body, out),
            cx,
        );
        match started {
            Ok(run) => self.step = Step::App(Box::new(run)),
            // The process died after the claim and has not begun: another may try, for queue_timeout from now.
            Err(Unsent::Gone(error)) => {
                log::debug!("app: cannot reach a process: {error}");
                self.ask_for_unit(unit.app, body, key, h1, cx);
            }
            Err(Unsent::Shortage(error)) => {
                cx.note(
                    log::Level::Error,
                    "requests without a connection to their app",
                    format_args!(
                        "worker: cannot connect to an app: {error}; answered 503. Raise LimitNOFILE or lower \
                         workers.connections"
                    ),
                );
                self.unavailable(None, h1, cx);
            }
        }
    }

    fn unavailable(&mut self, retry: Option<Time>, h1: &mut h1::Conn, cx: &mut Context) {
        let seconds = retry.map_or(1, |at| at.since(cx.now).as_secs() + 1).min(30);
        self.fail_with(&ResponseHead::new(503).with("Retry-After", seconds.to_string()), h1, cx);
    }

    // ---- progress -------------------------------------------------------------------------------------------------

    /// When it must be looked at although nothing happens.
    pub(super) fn deadline(&self) -> Option<Time> {
        match &self.step {
            Step::Queued { until, ask, .. } => Some((*until).min(*ask)),
            Step::App(run) => run.deadline(),
            Step::Proxy(run) => Some(run.deadline()),
            Step::Spooling { .. } | Step::Sent => None,
        }
    }

    /// Does what can be done now; whether anything was.
    pub(super) fn advance(&mut self, key: Key, h1: &mut h1::Conn, cx: &mut Context) -> bool {
        match &mut self.step {
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
            log::warn!("app {name}: no free process within queue_timeout; answered 503");
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
                self.begin_response(&head, body, h1, cx);
            }
            RunStep::Done => {
                self.count_run();
                self.finish(h1, cx);
            }
            RunStep::Broken(fault) => self.broken(fault, h1, cx),
        }
        true
    }

    /// Adds the body bytes that a run gave to the connection.
    fn count_run(&mut self) {
        self.body_sent += match &self.step {
            Step::App(run) => run.sent(),
            Step::Proxy(run) => run.sent(),
            Step::Spooling { .. } | Step::Queued { .. } | Step::Sent => 0,
        };
    }

    fn broken(&mut self, fault: Fault, h1: &mut h1::Conn, cx: &mut Context) {
        self.count_run();
        self.error = Some(fault.why());
        let config = Rc::clone(&cx.config);
        log::error!(
            "{}: {}: {} ({})",
            self.handler(&config),
            self.request_line(),
            fault.why(),
            self.id_text()
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
            Step::Spooling { .. } | Step::Sent => {}
        }
    }

    /// Whether everything of the response was given to the connection.
    pub(super) fn is_sent(&self) -> bool {
        matches!(self.step, Step::Sent)
    }

    // ---- the response ---------------------------------------------------------------------------------------------

    fn begin_response(&mut self, head: &ResponseHead, body: BodyLength, h1: &mut h1::Conn, cx: &Context) {
        self.status = head.status.0;
        h1.respond(head, body, cx.date.as_str(), cx.now);
    }

    fn send(&mut self, segment: Segment, h1: &mut h1::Conn) {
        self.body_sent += segment.len();
        h1.send(segment);
    }

    fn finish(&mut self, h1: &mut h1::Conn, cx: &Context) {
        h1.finish(cx.now);
        self.step = Step::Sent;
    }

    fn answer(&mut self, head: &ResponseHead, body: Vec<u8>, h1: &mut h1::Conn, cx: &Context) {
        let length =
            if head.status.forbids_body() { BodyLength::None } else { BodyLength::Known(body.len() as u64) };
        self.begin_response(head, length, h1, cx);
        if length != BodyLength::None {
            self.send(Segment::from(body), h1);
        }
        self.finish(h1, cx);
    }

    fn fail(&mut self, status: u16, h1: &mut h1::Conn, cx: &mut Context) {
        self.fail_with(&ResponseHead::new(status), h1, cx);
    }

    /// Answers with an error page that also carries the fields of `extra`.
    fn fail_with(&mut self, extra: &ResponseHead, h1: &mut h1::Conn, cx: &mut Context) {
        let site = self.request.as_ref().and_then(|request| request.site);
        let page = cx.pages.get(site, extra.status.0, cx.now);
        let body = page.body();
        self.status = extra.status.0;
        if extra.fields.is_empty() {
            self.body_sent += if self.is_head() { 0 } else { body.len() };
            h1.respond_prepared(page.prepared(), Some(body), cx.date.as_str(), cx.now);
            self.step = Step::Sent;
            return;
        }
        self.begin_response(&page.head_with(extra), BodyLength::Known(body.len()), h1, cx);
        self.send(body, h1);
        self.finish(h1, cx);
    }

    fn is_head(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.head.method() == Method::Head)
    }

    fn refuse(&mut self, refusal: &Refusal, h1: &mut h1::Conn, cx: &mut Context) {
        let Refusal { status, why } = *refusal;
        let peer = self.peer.address.map_or_else(|| "unix".to_owned(), |peer| peer.to_string());
        self.error = Some(why);
        cx.note(log::Level::Info, why, format_args!("{peer}: refused with {status}: {why}"));
        let mut head = ResponseHead::new(status);
        if status == 405 {
            head.fields.add("Allow", METHODS);
        }
        self.fail_with(&head, h1, cx);
    }

    // ---- done -----------------------------------------------------------------------------------------------------

    /// Counts the exchange and writes its line; `unsent` bytes of the response were still waiting when it ended.
    pub(super) fn done(self: Box<Self>, unsent: u64, cx: &mut Context) {
        cx.report.count();
        if !cx.report.is_on() {
            return;
        }
        let config = Rc::clone(&cx.config);
        let (id, place, handler) = (self.id_text(), self.place(&config), self.handler(&config));
        let head = self.request.as_ref().map(|request| &request.head);
        let field = |name| head.and_then(|head| head.get(name));
        let client = self.request.as_ref().and_then(|request| request.origin.client);
        cx.report.record(&Record {
            wall: self.wall,
            client: client.or(self.peer.address.map(|peer| peer.ip())),
            method: head.map_or(b"", |head| head.method_bytes()),
            target: head.map_or(b"", |head| head.target()),
            version: head.map_or("", |head| head.version().as_str()),
            status: if self.status == 0 { 499 } else { self.status },
            body_bytes: self.body_sent.saturating_sub(unsent),
            took: clock::now().since(self.arrived),
            host: field("host"),
            referer: field("referer"),
            user_agent: field("user-agent"),
            id: &id,
            site: place.map_or("", |(site, _)| site.label.as_str()),
            handler: &handler,
            upstream: self.answered.map(|at| at.since(self.arrived)),
            error: self.error,
        });
    }

    fn handler(&self, config: &Config) -> String {
        let Some(action) = self.action(config) else { return String::new() };
        match action {
            Action::Files(_) => "files".to_owned(),
            Action::App { app, .. } => {
                format!("app {}", config.apps.get(*app).map_or("", |app| app.name.as_str()))
            }
            Action::Proxy(upstream) => {
                format!(
                    "proxy {}",
                    config.upstreams.get(*upstream).map_or("", |upstream| upstream.name.as_str())
                )
            }
            Action::Redirect { .. } => "redirect".to_owned(),
            Action::Respond { .. } => "respond".to_owned(),
        }
    }

    fn id_text(&self) -> String {
        format!("{:016x}", self.id)
    }

    fn local_port(&self, cx: &Context) -> u16 {
        cx.listeners
            .get(usize::from(self.peer.listener))
            .and_then(|listener| listener.local)
            .map_or(80, |local| local.port())
    }

    fn request_line(&self) -> String {
        self.request.as_ref().map(Request::line).unwrap_or_default()
    }
}

impl Request {
    /// Method and target, for the log.
    fn line(&self) -> String {
        let (method, target) = (self.head.method_bytes(), self.head.target());
        format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(target).escape_debug())
    }

    fn scheme(&self) -> &'static str {
        if self.origin.https { "https" } else { "http" }
    }

    fn server_name(&self) -> &[u8] {
        if self.host.name.is_empty() { b"localhost" } else { &self.host.name }
    }

    /// Whether the request announced a body, be it an empty one.
    fn has_body(&self) -> bool {
        self.head.get("content-length").is_some() || self.head.get("transfer-encoding").is_some()
    }
}

pub(super) fn trusts(networks: &[Network], address: Option<IpAddr>, listener: &ListenerInfo) -> bool {
    networks.iter().any(|network| match address {
        Some(_) => network.contains(address),
        None => listener.unix && network.contains(None),
    })
}

/// What follows a location's prefix, with the slash before it, percent-encoded as the client wrote it. Where the prefix
/// itself was written with encodings, the decoded rest is encoded anew.
fn rest_as_written(raw: &[u8], path: &[u8], rest: &[u8]) -> Vec<u8> {
    let end = path.len().saturating_sub(rest.len());
    let prefix = if path.get(..end).is_some_and(|before| before.ends_with(b"/")) { end - 1 } else { end };
    let rest = path.get(prefix..).unwrap_or_default();
    if raw.get(..prefix) == path.get(..prefix) {
        return raw.get(prefix..).unwrap_or_default().to_vec();
    }
    let mut encoded = Vec::with_capacity(rest.len());
    for byte in rest {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(*byte),
            _ => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    encoded
}

/// Path and query as the client wrote them, without scheme and authority.
fn origin_form<'a>(target: &Target, raw: &'a [u8]) -> &'a [u8] {
    if target.form() != Form::Absolute {
        return raw;
    }
    let path = target.raw_path(raw);
    let length = path.len() + target.query(raw).map_or(0, |query| query.len() + 1);
    match raw.get(raw.len().saturating_sub(length)..) {
        Some(origin) if origin.starts_with(path) => origin,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, target};

    #[test]
    fn the_rest_of_a_redirect_keeps_its_slash_and_its_encoding() {
        let rest = |raw: &str, path: &str, rest: &str| {
            String::from_utf8(rest_as_written(raw.as_bytes(), path.as_bytes(), rest.as_bytes())).unwrap()
        };
        assert_eq!(rest("/old/a%20b", "/old/a b", "a b"), "/a%20b");
        assert_eq!(rest("/old/", "/old/", ""), "/");
        assert_eq!(rest("/api/x", "/api/x", "/x"), "/x");
        assert_eq!(rest("/api", "/api", ""), "");
        assert_eq!(rest("/%6fld/a b", "/old/a b", "a b"), "/a%20b", "the prefix was encoded");
    }

    #[test]
    fn the_origin_form_is_what_the_client_wrote() {
        for (raw, origin) in [
            ("/a%20b?x=1", "/a%20b?x=1"),
            ("http://shop.example/a?x=1", "/a?x=1"),
            ("http://shop.example/a", "/a"),
            ("http://shop.example", "/"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            assert_eq!(origin_form(&target, raw.as_bytes()), origin.as_bytes(), "{raw}");
        }
    }
}
