//! The part of an exchange that an upstream sees, and what of its response the client sees.

use super::{Exchange, NO_TUNNEL, Request, Step};
use crate::config::{Config, Handler, Location, Proxy};
use crate::gateway::{Back, Shown, http1};
use crate::http::target::{self, Target};
use crate::http::{BodyLength, Fields, Method, ResponseHead, Scheme, Version, percent, written};
use crate::route::Matcher;
use crate::worker::context::Context;
use crate::worker::drive::{Advance, Drive};
use crate::worker::spool::{PASSED_ON, PIPED_FROM};
use crate::worker::upstream::proxy::{Body, ProxyRun};

/// Fields of an error that a page of the site does not stand in for: what to do about it (RFC 9110 §10.2, §11.6.1).
const KEPT: [&str; 3] = ["allow", "retry-after", "www-authenticate"];

/// The type of server-sent events.
const EVENTS: &[u8] = b"text/event-stream";

/// Another path than the one that the client has asked for.
#[derive(Default)]
struct Path {
    /// What was dropped of it, without a slash at its end.
    prefix: String,
    /// What is asked for instead, and as it is understood.
    target: Option<(Vec<u8>, Option<Target>)>,
}

impl Exchange {
    pub(super) fn start_proxy(&mut self, upstream: usize, body: Body, drive: &mut Drive<'_>) {
        let (Some(request), Some(proxy)) = (&self.request, self.proxy(drive.config)) else { return };
        let id = self.id.digits();
        let id = std::str::from_utf8(&id).unwrap_or_default();
        let path = self.path(request, proxy, drive.config, drive.cx);
        let written = request.written_origin();
        let mut described = self.describe(request, &written, &path.prefix, id, drive.config, drive.cx);
        if let Some((raw, target)) = &path.target {
            described.shown.target = Some(raw);
            if let Some(target) = target {
                described.raw = raw;
                described.path = target.path_info();
                described.query = target.query(raw).unwrap_or_default();
            }
        }
        described.arrived = drive.config.app_of(upstream).map(|_| self.wall);
        described.shown = Shown {
            host: proxy.host.as_deref(),
            changes: Some(&proxy.request),
            forwarded: drive.config.upstream(upstream).is_some_and(|upstream| upstream.forwarded),
            trailers: proxy.trailers,
            ..described.shown
        };
        let cookies = drive.cx.cookies_for(upstream, request.head.all("cookie"));
        described.shown.cookies = cookies.as_deref();
        let local = self.peer.local.as_deref().copied();
        match ProxyRun::start(upstream, &described, body, local, self.arrived, drive) {
            Ok(run) => {
                self.count_wait(run.waits(), drive.cx.now);
                self.step = Step::Proxy(run);
            }
            Err(fault) => {
                self.fail(fault, drive);
            }
        }
    }

    /// Has what follows the body of the request be kept, if its upstream can be told; what that is told of the length then. A
    /// client of HTTP/2 that has announced both a length and trailers (RFC 9110 §6.6.2) means the latter.
    pub(super) fn await_trailers(&self, body: BodyLength, drive: &mut Drive<'_>) -> BodyLength {
        if body == BodyLength::None || !self.speaks_http(drive.config) {
            return body;
        }
        drive.reply.keep_trailers();
        let head = self.request.as_ref().map(|request| &request.head);
        let can_follow = head.is_some_and(|head| head.version() == Version::Http2);
        let is_announced = can_follow && head.is_some_and(|head| head.get("trailer").is_some());
        if is_announced { BodyLength::Unknown } else { body }
    }

    /// Leaves of what follows the body of the request what its upstream is to see.
    pub(super) fn choose_trailers(&self, trailers: &mut Fields, drive: &Drive<'_>) {
        let (Some(request), Some(proxy)) = (&self.request, self.proxy(drive.config)) else { return };
        let written = request.written_origin();
        let mut described = self.describe(request, &written, "", "", drive.config, drive.cx);
        described.shown = Shown { changes: Some(&proxy.request), ..described.shown };
        http1::pass_trailers(&described, trailers);
    }

    /// What an upstream sees of the request and the client of its response, if one answers it.
    pub(super) fn proxy<'a>(&'a self, config: &'a Config) -> Option<&'a Proxy> {
        match self.handler.as_deref()? {
            Handler::Proxy(proxy) => Some(proxy),
            Handler::App { app, .. } => config.apps.get(*app)?.kind.command().map(|command| &command.proxy),
            _ => None,
        }
    }

    /// The path that an upstream sees.
    fn path(&self, request: &Request, proxy: &Proxy, config: &Config, cx: &Context) -> Path {
        let (Some((site, place)), Some((_, location))) = (request.place, self.place(config)) else {
            return Path::default();
        };
        if let Some(rewritten) = proxy.rewrite.as_ref().and_then(|template| request.render(template, cx)) {
            let understood = target::parse(Method::Get, &rewritten).ok();
            return Path { prefix: String::new(), target: Some((rewritten, understood)) };
        }
        if let Some(Handler::App { mount, .. }) = self.handler.as_deref() {
            return Path { prefix: mount.clone(), target: None };
        }
        let prefix = prefix(location, proxy);
        if prefix.is_empty() {
            return Path::default();
        }
        let rest = cx.table.rest(site, place, request.target.path());
        let behind = written::behind_prefix(&request.target, request.head.target(), rest);
        Path { prefix: prefix.to_owned(), target: Some((behind, None)) }
    }

    /// The head of an upstream's response, as the client is to see it.
    pub(super) fn take_head(&mut self, head: ResponseHead, body: BodyLength, drive: &mut Drive<'_>) -> bool {
        if self.asks_tunnel() && matches!(head.status.0, 200..300) {
            self.cancel(drive);
            self.refuse(NO_TUNNEL, drive);
            return true;
        }
        if self.is_better_kept(Some(head.status.0), drive) {
            return true;
        }
        let Some(proxy) = self.proxy(drive.config) else { return false };
        if proxy.intercept_errors && head.status.0 >= 400 && self.has_page(head.status.0, drive) {
            self.answer_page_instead(head, drive);
            return true;
        }
        let Some(mut head) = self.look_elsewhere(head, drive) else { return true };
        let Some(proxy) = self.proxy(drive.config) else { return false };
        let upstream = drive.config.upstream(proxy.upstream);
        let limits = upstream.filter(|_| is_buffered(proxy, &head.fields));
        // One that is passed on has nothing wait but what is asked for.
        let is_large = limits.is_some() && matches!(body, BodyLength::Known(PIPED_FROM..));
        let limits = limits.map_or(PASSED_ON, |upstream| upstream.response_buffer);
        if let Step::Proxy(run) = &mut self.step {
            run.keep(limits);
        }
        self.show_fields(&mut head.fields, drive);
        let moved = self.take_advance(Advance::Head(head, body), drive);
        let takes_bytes = self.peer.session.is_none() && drive.reply.is_unframed();
        if let Step::Proxy(run) = &mut self.step
            && is_large
            && takes_bytes
        {
            run.pass_unread(drive.cx);
        }
        moved
    }

    /// An interim response of the upstream, or of an app that speaks of it.
    pub(super) fn pass_interim(&self, mut head: ResponseHead, drive: &mut Drive<'_>) {
        match self.proxy(drive.config) {
            Some(proxy) if !proxy.early_hints => return,
            Some(proxy) => head.fields.retain(|name| !proxy.response.drops(name)),
            None => {}
        }
        drive.reply.interim(&head);
    }

    /// What follows the body of the upstream's response.
    pub(super) fn take_trailers(&mut self, config: &Config) -> Fields {
        let mut fields = match &mut self.step {
            Step::Proxy(run) => run.take_trailers(),
            Step::Shared(run) => run.take_trailers(),
            _ => return Fields::new(),
        };
        if let Some(proxy) = self.proxy(config) {
            fields.retain(|name| !proxy.response.drops(name));
        }
        fields
    }

    /// Makes of the fields of a response what the client is to see.
    pub(super) fn show_fields(&self, fields: &mut Fields, drive: &mut Drive<'_>) {
        let Some(proxy) = self.proxy(drive.config) else { return };
        self.lead_back(fields, proxy, drive);
        fields.remove("x-accel-buffering");
        proxy.response.apply(fields);
    }

    /// Has the client come back to the server of the upstream that has answered, where it is to: that is for this client alone.
    pub(super) fn bind_session(&self, fields: &mut Fields, drive: &mut Drive<'_>) {
        if let (Step::Proxy(run), Some(request)) = (&self.step, &self.request) {
            run.bind_session(request.origin.scheme == Scheme::Https, fields, drive.cx);
        }
    }

    /// Has what names a place of the upstream name one of this site.
    fn lead_back(&self, fields: &mut Fields, proxy: &Proxy, drive: &Drive<'_>) {
        let (Some(request), Some((_, location))) = (&self.request, self.place(drive.config)) else { return };
        let prefix = prefix(location, proxy);
        if prefix.is_empty() && proxy.host.is_none() || proxy.rewrite.is_some() {
            return;
        }
        let servers = drive.cx.authorities(proxy.upstream).into_iter().chain(proxy.host.clone());
        let back = Back {
            prefix: &percent::encoded_path(prefix.as_bytes()),
            scheme: request.origin.scheme,
            authority: request.authority(),
            servers: servers.filter_map(|server| target::host(server.as_bytes()).ok()).collect(),
        };
        back.map(fields);
    }

    /// Answers with the site's page for an error of the upstream.
    fn answer_page_instead(&mut self, head: ResponseHead, drive: &mut Drive<'_>) {
        self.answered = Some(drive.cx.now);
        self.note_failed_fetch(drive);
        if let Step::Proxy(mut run) = std::mem::replace(&mut self.step, Step::Sent) {
            run.discard(drive.cx);
        }
        let mut kept = ResponseHead { reason: None, ..head };
        kept.fields.retain(|name| KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept.as_bytes())));
        self.answer_page_with(&kept, drive);
    }
}

/// Whether a response with these fields is kept for a slow client. Of events only the latest are of use, and who sends them
/// is to know that nobody takes them.
fn is_buffered(proxy: &Proxy, fields: &Fields) -> bool {
    let is_stream = fields.get("content-type").is_some_and(|value| {
        value.get(..EVENTS.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENTS))
    });
    let said = fields.get("x-accel-buffering").map(<[u8]>::to_ascii_lowercase);
    match said.as_deref() {
        _ if is_stream => false,
        Some(b"no") => false,
        Some(b"yes") => true,
        _ => proxy.buffering,
    }
}

/// What is dropped of a path: the prefix of its location, without a slash at its end.
fn prefix<'a>(location: &'a Location, proxy: &Proxy) -> &'a str {
    match &location.matcher {
        Matcher::Prefix { path, .. } if proxy.strip => path.trim_end_matches('/'),
        _ => "",
    }
}
