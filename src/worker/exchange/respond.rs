//! The part of an exchange that answers: head and body to the connection, error pages, the record in the access log.

use super::{Exchange, METHODS, Request, Step};
use crate::accesslog::Record;
use crate::buf::Segment;
use crate::config::{Action, Config};
use crate::h1::{self, Refusal};
use crate::http::{BodyLength, Method, ResponseHead};
use crate::sys::clock;
use crate::worker::context::Context;
use std::rc::Rc;

impl Exchange {
    pub(super) fn begin_response(
        &mut self,
        head: &ResponseHead,
        body: BodyLength,
        h1: &mut h1::Conn,
        cx: &Context,
    ) {
        self.status = head.status.0;
        h1.respond(head, body, cx.date.as_str(), cx.now);
    }

    /// Counts bytes of the body that the connection was given.
    pub(super) fn count_sent(&mut self, count: u64) {
        self.body_sent = self.body_sent.saturating_add(count);
    }

    pub(super) fn send(&mut self, segment: Segment, h1: &mut h1::Conn) {
        self.count_sent(segment.len());
        h1.send(segment);
    }

    pub(super) fn finish(&mut self, h1: &mut h1::Conn, cx: &Context) {
        h1.finish(cx.now);
        self.step = Step::Sent;
    }

    pub(super) fn answer(&mut self, head: &ResponseHead, body: Vec<u8>, h1: &mut h1::Conn, cx: &Context) {
        let length =
            if head.status.forbids_body() { BodyLength::None } else { BodyLength::Known(body.len() as u64) };
        self.begin_response(head, length, h1, cx);
        if length != BodyLength::None {
            self.send(Segment::from(body), h1);
        }
        self.finish(h1, cx);
    }

    pub(super) fn fail(&mut self, status: u16, h1: &mut h1::Conn, cx: &mut Context) {
        self.fail_with(&ResponseHead::new(status), h1, cx);
    }

    /// Answers with an error page that also carries the fields of `extra`.
    pub(super) fn fail_with(&mut self, extra: &ResponseHead, h1: &mut h1::Conn, cx: &mut Context) {
        let site = self.request.as_ref().and_then(|request| request.site);
        let page = cx.page(site, extra.status.0);
        let body = page.body();
        self.status = extra.status.0;
        if extra.fields.is_empty() {
            self.count_sent(if self.is_head() { 0 } else { body.len() });
            h1.respond_prepared(page.prepared(), Some(body), cx.date.as_str(), cx.now);
            self.step = Step::Sent;
            return;
        }
        self.begin_response(&page.head_with(extra), BodyLength::Known(body.len()), h1, cx);
        self.send(body, h1);
        self.finish(h1, cx);
    }

    pub(super) fn is_head(&self) -> bool {
        self.request.as_ref().is_some_and(|request| request.head.method() == Method::Head)
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal, h1: &mut h1::Conn, cx: &mut Context) {
        let Refusal { status, why } = *refusal;
        let peer = self.peer_text();
        self.error = Some(why);
        cx.note(log::Level::Info, why, format_args!("{peer}: refused with {status}: {why}"));
        let mut head = ResponseHead::new(status);
        if status == 405 {
            head.fields.add("Allow", METHODS);
        }
        self.fail_with(&head, h1, cx);
    }

    /// The client is too slow for the rest of its answer.
    pub(in crate::worker) fn given_up(&mut self, why: &'static str, cx: &mut Context) {
        self.error = Some(why);
        cx.note(log::Level::Info, why, format_args!("{}: broken off: {why}", self.peer_text()));
    }

    fn peer_text(&self) -> String {
        self.peer.address.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }

    // ---- done -----------------------------------------------------------------------------------------------------

    /// Counts the exchange and writes its line; `unsent` bytes of the response were still waiting when it ended.
    pub(in crate::worker) fn done(self: Box<Self>, unsent: u64, cx: &mut Context) {
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

    pub(super) fn handler(&self, config: &Config) -> String {
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

    pub(super) fn id_text(&self) -> String {
        format!("{:016x}", self.id)
    }

    pub(super) fn local_port(&self, cx: &Context) -> u16 {
        cx.listeners
            .get(usize::from(self.peer.listener))
            .and_then(|listener| listener.local)
            .map_or(80, |local| local.port())
    }

    pub(super) fn request_line(&self) -> String {
        self.request.as_ref().map(Request::line).unwrap_or_default()
    }
}
