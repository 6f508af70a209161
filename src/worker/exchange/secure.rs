//! The part of an exchange that has to do with TLS: what came in the clear although its port speaks HTTPS, what came over
//! a connection that another site has judged, and what others are told.

use super::{Exchange, Request};
use crate::config::Config;
use crate::http::fault::{Fault, Refusal};
use crate::http::secure::Told;
use crate::http::{ResponseHead, Scheme};
use crate::worker::context::Context;
use crate::worker::drive::Drive;

/// A request in the clear where TLS is spoken.
const IN_THE_CLEAR: Refusal = Refusal { status: 400, why: "plain HTTP on a port that speaks HTTPS" };

/// A request for a site that asks for certificates, over a connection that was made for another one.
const MISDIRECTED: Refusal =
    Refusal { status: 421, why: "the connection was made for a site that asks for other certificates" };

impl Exchange {
    /// Answers what came by the wrong way; whether it did.
    pub(super) fn turns_away(&mut self, drive: &mut Drive<'_>) -> bool {
        let listener = drive.cx.listeners.get(usize::from(self.peer.listener));
        let speaks_tls = listener.is_some_and(|listener| listener.scheme == Scheme::Https);
        let site = self.site();
        match &self.peer.session {
            None if speaks_tls => {
                let port = listener.and_then(|listener| listener.local).map(|local| local.port());
                self.point_to_https(port.unwrap_or_default(), drive);
                true
            }
            Some(session) if site != Some(session.site) && asks_clients(drive.config, site) => {
                self.refuse(MISDIRECTED, drive);
                true
            }
            _ => false,
        }
    }

    /// Tells where the same is to be had by HTTPS, and ends the connection.
    fn point_to_https(&mut self, port: u16, drive: &mut Drive<'_>) {
        self.note(Fault::Request(IN_THE_CLEAR), "", drive.cx);
        let Some(request) = &self.request else { return };
        let host = String::from_utf8_lossy(&request.host.name);
        let port = match port {
            0 | 443 => String::new(),
            port => format!(":{port}"),
        };
        let raw = super::written::origin_form(&request.target, request.head.target());
        let path = String::from_utf8_lossy(raw).into_owned();
        let text = format!("This port speaks HTTPS. Ask for https://{host}{port}{path}\n");
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

fn asks_clients(config: &Config, site: Option<usize>) -> bool {
    site.and_then(|site| config.sites.get(site)).is_some_and(|site| site.clients().is_some())
}
