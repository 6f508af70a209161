//! The part of an exchange that answers: fixed answers, error pages, the record in the access log.

use super::{Exchange, Request};
use crate::accesslog::Record;
use crate::buf::Segment;
use crate::config::{Config, Handler};
use crate::gateway::accel::Answerer;
use crate::http::{BodyLength, ResponseHead, Status};
use crate::sys::clock;
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::handler::pages::Page;
use crate::worker::id::RequestId;
use std::borrow::Cow;
use std::rc::Rc;

impl Exchange {
    pub(super) fn finish(&mut self, drive: &mut Drive<'_>) {
        let trailers = self.take_trailers(drive.config);
        drive.reply.finish(trailers, drive.cx);
        self.given(drive);
    }

    pub(super) fn answer(&mut self, head: &ResponseHead, body: Vec<u8>, drive: &mut Drive<'_>) {
        let mut head = Cow::Borrowed(head);
        if self.is_led() {
            self.give_kept(head.to_mut(), Answerer::Other);
        }
        let head = &*head;
        let length =
            if head.status.forbids_body() { BodyLength::None } else { BodyLength::Known(body.len() as u64) };
        drive.reply.head(head, length, drive.cx);
        if length != BodyLength::None {
            drive.reply.send(Segment::from(body));
        }
        self.finish(drive);
    }

    /// Answers with an error page.
    pub(super) fn answer_page(&mut self, status: u16, drive: &mut Drive<'_>) {
        if self.is_led() {
            return self.answer_page_with(&ResponseHead::new(status), drive);
        }
        self.send_page(status, drive);
    }

    fn send_page(&mut self, status: u16, drive: &mut Drive<'_>) {
        let page = self.page(status, drive.cx);
        drive.reply.prepared(page.prepared(), Some(page.body(self.id)), drive.cx);
        self.given(drive);
    }

    /// Whether the site has a page of its own for this status.
    pub(super) fn has_page(&self, status: u16, drive: &Drive<'_>) -> bool {
        let site = self.request.as_ref().and_then(|request| drive.config.sites.get(request.site?));
        site.is_some_and(|site| site.error_pages.iter().any(|(known, _)| *known == status))
    }

    fn page(&self, status: u16, cx: &mut Context) -> Rc<Page> {
        cx.page(self.request.as_ref().and_then(|request| request.site), status)
    }

    /// Answers with an error page that also carries the fields of `extra`.
    pub(super) fn answer_page_with(&mut self, extra: &ResponseHead, drive: &mut Drive<'_>) {
        let mut extra = extra.clone();
        self.give_kept(&mut extra, Answerer::Other);
        if extra.fields.is_empty() {
            return self.send_page(extra.status.0, drive);
        }
        let page = self.page(extra.status.0, drive.cx);
        let body = page.body(self.id);
        drive.reply.head(&page.head_with(&extra), BodyLength::Known(body.len()), drive.cx);
        drive.reply.send(body);
        self.finish(drive);
    }

    // ---- done -----------------------------------------------------------------------------------------------------

    /// The site that it is with, as far as that is known.
    pub(in crate::worker) fn site(&self) -> Option<usize> {
        self.request.as_ref().and_then(|request| request.site)
    }

    /// Counts the exchange and writes its line: the status that was answered, and bytes of the body that were written.
    pub(in crate::worker) fn done(&self, status: Option<Status>, body_bytes: u64, cx: &mut Context) {
        cx.report.count();
        if !self.held.is_empty() {
            cx.limiter.borrow_mut().leave(&self.held);
        }
        let site = self.site();
        if self.aside || !cx.report.is_on(site) {
            return;
        }
        let config = Rc::clone(&cx.config);
        let (id, place, handler) = (self.id_text(), self.place(&config), self.answerer(&config));
        let head = self.head_of_client();
        let refused = self.refused.as_deref();
        let (method, target, version) = match (head, refused) {
            (Some(head), _) => (head.method_bytes(), head.written(), head.version().as_str()),
            (None, Some(line)) => (&line.method[..], &line.target[..], line.version.as_str()),
            (None, None) => (&b""[..], &b""[..], ""),
        };
        let field = |name| head.and_then(|head| head.get(name));
        let client = self.request.as_ref().and_then(|request| request.origin.client);
        cx.report.record(
            site,
            &Record {
                wall: self.wall,
                client: client.or(self.peer.address.map(|peer| peer.ip())),
                user: self.user(),
                method,
                target,
                version,
                tls: self.peer.session.as_ref().map(|session| session.secure.version),
                status: status.filter(|_| !self.left).map_or(499, |status| status.0),
                body_bytes,
                received: self.received,
                took: clock::now().since(self.arrived),
                name: self.request.as_ref().map(|request| &*request.host.name),
                host: field("host"),
                referer: field("referer"),
                user_agent: field("user-agent"),
                id: &id,
                site: place.map_or("", |(site, _)| site.label.as_str()),
                handler: &handler,
                cache: self.cache_word(),
                upstream: self.answered.map(|at| at.since(self.arrived)),
                queue_time: self.queued,
                fault: self.fault,
                error: self.error,
            },
        );
    }

    /// Who answers, for the log.
    pub(super) fn answerer(&self, config: &Config) -> String {
        let Some(handler) = self.handler.as_deref() else { return String::new() };
        match handler {
            Handler::Files(_) => "files".to_owned(),
            Handler::App { app, .. } => {
                format!("app {}", config.apps.get(*app).map_or("", |app| app.name.as_str()))
            }
            Handler::Proxy(proxy) => {
                format!(
                    "proxy {}",
                    config.upstream(proxy.upstream).map_or("", |upstream| upstream.name.as_str())
                )
            }
            Handler::Cgi(cgi) => config.apps.get(cgi.app).map_or_else(String::new, |app| app.name.clone()),
            Handler::Redirect(_) => "redirect".to_owned(),
            Handler::Respond(_) => "respond".to_owned(),
        }
    }

    pub(super) fn id_text(&self) -> String {
        self.id.to_string()
    }

    /// What its response names it by.
    pub(in crate::worker) fn id(&self) -> RequestId {
        self.id
    }

    pub(super) fn request_line(&self) -> String {
        self.request.as_ref().map(Request::line).unwrap_or_default()
    }
}
