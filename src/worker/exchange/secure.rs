//! The part of an exchange that has to do with TLS: what came in the clear although its port speaks HTTPS, what came over
//! a connection that another site has judged, and what others are told.

use super::{Exchange, Request, written};
use crate::config::{Clients, Config};
use crate::http::fault::{Fault, Refusal};
use crate::http::secure::Told;
use crate::http::target::Form;
use crate::http::{Method, ResponseHead, Scheme};
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
            Some(_) => false,
            None if self.is_sent_to_https(drive) => true,
            // By a trusted proxy, whose client may have shown none.
            None if requires_clients(drive.config, site) => {
                self.refuse(NOT_SHOWN, drive);
                true
            }
            None => false,
        }
    }

    /// Sends what came by HTTP to the same place of a site that wants that; whether it did. A method other than GET and
    /// HEAD, and the body, go along only with 308 (RFC 9110 §15.4.9).
    fn is_sent_to_https(&mut self, drive: &mut Drive<'_>) -> bool {
        let Some(request) = &self.request else { return false };
        // A trusted proxy in front says how the client came.
        let has_path = matches!(request.target.form(), Form::Origin | Form::Absolute);
        let is_plain = request.origin.scheme == Scheme::Http && has_path;
        let Some(own) = request.site.filter(|_| is_plain).and_then(|site| drive.cx.https.port(site)) else {
            return false;
        };
        // Who came by port 80 to a listener that has another one came by a forwarded port, and so is that of HTTPS.
        let listener = drive.cx.listeners.get(usize::from(self.peer.listener));
        let local = listener.and_then(|listener| listener.local);
        let is_forwarded = request.host.port.is_none() && local.is_some_and(|local| local.port() != 80);
        let port = Some(own).filter(|_| !is_forwarded);
        let status = if matches!(request.head.method(), Method::Get | Method::Head) { 301 } else { 308 };
        let (mut head, body) = fixed::error_page(status);
        head.fields.add("Location", request.https_url(port));
        self.answer(&head, body, drive);
        true
    }

    /// Tells where the same is to be had by HTTPS, and ends the connection.
    fn point_to_https(&mut self, drive: &mut Drive<'_>) {
        self.note(Fault::Request(IN_THE_CLEAR), "", drive.cx);
        let Some(request) = &self.request else { return };
        // The port by which the client has come here.
        let url = String::from_utf8_lossy(&request.https_url(request.host.port)).into_owned();
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
    /// The URL of the same at that port of HTTPS; without one it is the usual one.
    fn https_url(&self, port: Option<u16>) -> Vec<u8> {
        let port = port.map_or_else(String::new, port_in_url);
        let path = written::origin_form(&self.target, self.head.target());
        [b"https://", &*self.host.name, port.as_bytes(), path].concat()
    }
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
