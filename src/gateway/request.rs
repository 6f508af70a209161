//! The one description of a request for whoever answers it: every codec writes its own protocol from it.

use super::{Shown, moment};
use crate::http::forwarded::Origin;
use crate::http::secure::Told;
use crate::http::{RequestHead, Scheme};
use crate::timer::Wall;
use std::net::{IpAddr, SocketAddr};

/// A request as far as it has been understood.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Head as it was received.
    pub head: &'a RequestHead,
    /// The path, percent-decoded once; for SCRIPT_NAME and PATH_INFO. Starts with `/`, or is `*` of OPTIONS.
    pub path: &'a [u8],
    /// The request-target in origin form as it was written; for REQUEST_URI and RAW_URI.
    pub raw: &'a [u8],
    /// The query as it was written, without `?`.
    pub query: &'a [u8],
    /// SCRIPT_NAME, and X-Forwarded-Prefix: empty, or a prefix of `path` that ends before a slash or at its end.
    pub mount: &'a str,
    /// The direct peer; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
    /// What is believed of the way from the client to the peer.
    pub origin: Origin,
    /// A field that tells of the client besides X-Forwarded-*, and means that only from a trusted peer.
    pub client_field: Option<&'a str>,
    /// Host that was asked for, with its port, as it was written.
    pub authority: &'a [u8],
    /// The same without a port, in lower case; empty if it is not known.
    pub server_name: &'a [u8],
    /// Port that was asked for: the one written, else the one the request arrived at.
    pub server_port: u16,
    /// The port the request arrived at; 0: it is not told.
    pub local_port: u16,
    /// What is told of TLS.
    pub secure: Told<'a>,
    /// Identifies the exchange in every log; empty: it is not told.
    pub id: &'a str,
    /// When it came, for X-Request-Start; `None`: it is not told.
    pub arrived: Option<Wall>,
    /// What of it an upstream is shown in another way.
    pub shown: Shown<'a>,
}

/// The field that says when a request came, by which monitors of apps tell how long it has waited.
pub(super) const START: &str = "x-request-start";

impl<'a> Request<'a> {
    /// A request of which nothing is known but its head, by plain HTTP.
    #[must_use]
    pub fn of(head: &'a RequestHead) -> Self {
        Self {
            head,
            path: head.target(),
            raw: head.target(),
            query: b"",
            mount: "",
            peer: None,
            origin: Origin { client: None, trusted: false, scheme: Scheme::Http },
            client_field: None,
            authority: b"",
            server_name: b"",
            server_port: 80,
            local_port: 80,
            secure: Told::default(),
            id: "",
            arrived: None,
            shown: Shown::default(),
        }
    }
}

impl Request<'_> {
    /// Whether a field is a claim of somebody who is not trusted, or tells what only we may.
    pub(super) fn is_claim(&self, name: &[u8]) -> bool {
        let is_named = self.client_field.is_some_and(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        let is_start = self.arrived.is_some() && name.eq_ignore_ascii_case(START.as_bytes());
        let is_claim = is_named || is_start || super::tells_of_proxies(name);
        self.secure.is_claim(name) || !self.origin.trusted && is_claim
    }

    /// When it came, as [`START`] says it, unless a trusted proxy has said when it came there.
    pub(super) fn start(&self) -> Option<[u8; moment::LEN]> {
        let is_told = || self.origin.trusted && self.head.get(START).is_some();
        self.arrived.filter(|_| !is_told()).map(moment::of)
    }

    /// Whether a field of the client goes no further, as the operator says something else, or nothing.
    pub(super) fn is_replaced(&self, name: &[u8]) -> bool {
        self.shown.drops(name) || self.shown.host.is_some() && name.eq_ignore_ascii_case(b"host")
    }

    /// The direct peer's address, as IPv4 where it is one (RFC 4291 §2.5.5.2).
    #[must_use]
    pub(crate) fn peer_address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip().to_canonical())
    }
}
