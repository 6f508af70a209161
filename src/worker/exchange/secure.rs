//! The part of an exchange that has to do with TLS: what came in the clear although its port speaks HTTPS, what came over
//! a connection that another site has judged, and what others are told.

use super::{Exchange, Request};
use crate::config::{Clients, Config};
use crate::http::fault::{Fault, Refusal};
use crate::http::secure::Told;
use crate::http::{Method, ResponseHead, Scheme, written};
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use crate::worker::handler::fixed;
use crate::worker::https::port_in_url;

/// A request in the clear where TLS is spoken.
const IN_THE_CLEAR: Refusal = Refusal { status: 400, why: "plain HTTP on a port that speaks HTTPS" };

/// A request for a site that asks for certificates, over a connection that was made for another one.
const MISDIRECTED: Refusal =
    Refusal { status: 421, why: "the connection was made for a site that asks for other certificates" };

/// A request in the clear for a site that serves nobody without a certificate.
const NOT_SHOWN: Refusal =
    Refusal { status: 403, why: "the site requires a certificate, which is shown by HTTPS only" };

impl Exchange {
    /// Answers a question of a certificate authority that is open: whether it was one.
    pub(super) fn answers_authority(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(Request { head, target, host, .. }) = &self.request else { return false };
        let asks = matches!(head.method(), Method::Get | Method::Head);
        let answer = drive.cx.challenges.answer(&host.name, target.path()).filter(|_| asks);
        let Some(answer) = answer.map(|answer| answer.as_bytes().to_vec()) else { return false };
        let head = ResponseHead::new(200).with("Content-Type", "application/octet-stream");
        self.answer(&head, answer, drive);
        true
    }

    /// Answers what came by the wrong way; whether it did.
    pub(super) fn turns_away(&mut self, drive: &mut Drive<'_>) -> bool {
        let listener = drive.cx.listeners.get(usize::from(self.peer.listener));
        let speaks_tls = listener.is_some_and(|listener| listener.scheme == Scheme::Https);
        let site = self.site();
        match self.peer.session.as_ref().map(|session| session.site) {
            None if speaks_tls => {
                self.point_to_https(drive);
                true
            }
            Some(shown) if site != Some(shown) && asks_clients(drive.config, site) => {
                self.refuse(MISDIRECTED, drive);
                true
            }
            Some(_) => self.is_sent_to_canonical(drive),
            None if self.is_sent_to_https(drive) => true,
            // By a trusted proxy, whose client may have shown none.
            None if requires_clients(drive.config, site) => {
                self.refuse(NOT_SHOWN, drive);
                true
            }
            None => self.is_sent_to_canonical(drive),
        }
    }

    /// Sends what came for another name of the site to the same place at its canonical one; whether it did. A location for
    /// probes answers by whatever name they come.
    fn is_sent_to_canonical(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(request) = self.request.as_ref().filter(|request| request.has_path()) else { return false };
        let Some(name) = canonical(request, drive.config) else { return false };
        if self.place(drive.config).is_some_and(|(_, location)| location.policies.asleep_200) {
            return false;
        }
        let port = request.host.port.map_or_else(String::new, |port| format!(":{port}"));
        let path = written::origin_form(&request.target, request.head.target());
        let scheme = request.origin.scheme.as_str();
        let url = [scheme.as_bytes(), b"://", name.as_bytes(), port.as_bytes(), &*path].concat();
        self.send_on(url, drive);
        true
    }

    /// Sends the client to the same place at another URL. A method other than GET and HEAD, and the body, go along only with
    /// 308 (RFC 9110 §15.4.9).
    fn send_on(&mut self, url: Vec<u8>, drive: &mut Drive<'_>) {
        let method = self.request.as_ref().map(|request| request.head.method());
        let status = if matches!(method, Some(Method::Get | Method::Head)) { 301 } else { 308 };
        let (mut head, body) = fixed::error_page(status);
        head.fields.add("Location", url);
        self.answer(&head, body, drive);
    }

    /// Sends what came by HTTP to the same place of a site that wants that, at its canonical name; whether it did.
    fn is_sent_to_https(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        // A trusted proxy in front says how the client came.
        let is_plain = request.origin.scheme == Scheme::Http && request.has_path();
        let Some(own) = request.site.filter(|_| is_plain).and_then(|site| drive.cx.https.port(site)) else {
            return false;
        };
        // Who came by port 80 to a listener that has another one came by a forwarded port, and so is that of HTTPS.
        let listener = drive.cx.listeners.get(usize::from(self.peer.listener));
        let local = listener.and_then(|listener| listener.local);
        let is_forwarded = request.host.port.is_none() && local.is_some_and(|local| local.port() != 80);
        let port = Some(own).filter(|_| !is_forwarded);
        let url = request.https_url(port, canonical(request, drive.config));
        self.send_on(url, drive);
        true
    }

    /// Tells where the same is to be had by HTTPS, and ends the connection.
    fn point_to_https(&mut self, drive: &mut Drive<'_>) {
        self.note(Fault::Request(IN_THE_CLEAR), "", drive.cx);
        let Some(request) = &self.request else { return };
        // The port by which the client has come here.
        let url = String::from_utf8_lossy(&request.https_url(request.host.port, None)).into_owned();
        let text = format!("This port speaks HTTPS. Ask for {url}\n");
        let head = ResponseHead::new(IN_THE_CLEAR.status)
            .with("Content-Type", "text/plain; charset=utf-8")
            .with("X-Content-Type-Options", "nosniff");
        drive.reply.last();
        self.answer(&head, text.into(), drive);
    }

    /// What is told of TLS to whoever answers.
    pub(super) fn told(&self, request: &Request, config: &Config, cx: &Context) -> Told<'_> {
        Told {
            connection: self.peer.session.as_ref().map(|session| &session.secure),
            asks_client: asks_clients(config, request.site),
            is_asked: cx.asks_clients,
        }
    }
}

impl Request {
    /// The URL of the same at that port of HTTPS; without one it is the usual one. With a name it is at that.
    fn https_url(&self, port: Option<u16>, name: Option<&str>) -> Vec<u8> {
        let port = port.map_or_else(String::new, port_in_url);
        let path = written::origin_form(&self.target, self.head.target());
        let name = name.map_or(&*self.host.name, str::as_bytes);
        [b"https://", name, port.as_bytes(), &*path].concat()
    }
}

/// The name that the site wants to be called by, if it was called by another.
fn canonical<'a>(request: &Request, config: &'a Config) -> Option<&'a str> {
    config.sites.get(request.site?)?.canonical_for(&request.host.name)
}

fn asks_clients(config: &Config, site: Option<usize>) -> bool {
    clients(config, site).is_some()
}

fn requires_clients(config: &Config, site: Option<usize>) -> bool {
    clients(config, site).is_some_and(|clients| clients.required)
}

fn clients(config: &Config, site: Option<usize>) -> Option<&Clients> {
    config.sites.get(site?)?.clients()
}
