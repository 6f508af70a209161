//! How an upstream is shown a request, where that is not as it came; and `Forwarded` (RFC 7239), the way that a request has
//! come.

use super::Request;
use crate::http::Changes;

/// See the module. As it came, unless something else is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// Another target, in origin form, for who is not told of a mount in another way.
    pub(crate) target: Option<&'a [u8]>,
    /// Another host.
    pub(crate) host: Option<&'a str>,
    /// Fields that are changed.
    pub(crate) changes: Option<&'a Changes>,
    /// Other cookies.
    pub(crate) cookies: Option<&'a [u8]>,
    /// It is told of the way in `Forwarded`, too.
    pub(crate) forwarded: bool,
    /// Trailers of the request are passed on to it, and those of its response to clients that take them.
    pub(crate) trailers: bool,
}

impl<'a> Shown<'a> {
    /// Whether what the client and we say under this name goes no further.
    pub(super) fn drops(&self, name: &[u8]) -> bool {
        self.changes.is_some_and(|changes| changes.drops(name))
            || self.cookies.is_some() && name.eq_ignore_ascii_case(b"cookie")
    }

    /// Fields that the operator has it say.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let cookies = self.cookies.filter(|cookies| !cookies.is_empty());
        let cookies = cookies.map(|cookies| (&b"Cookie"[..], cookies));
        self.changes.into_iter().flat_map(Changes::said).chain(cookies)
    }
}

/// What is added to `Forwarded`: who has asked us. Where a trusted proxy has told of its client in another way, that client
/// comes first (RFC 7239 §7.4).
pub(super) fn forwarded(request: &Request<'_>) -> Vec<u8> {
    let peer = request.peer_address();
    let client = request.origin.client.map(|client| client.to_canonical()).or(peer);
    let is_told = request.origin.trusted && request.head.get("forwarded").is_some();
    let first = if is_told { peer } else { client };
    let mut element = format!("for={}", node(first)).into_bytes();
    if !request.authority.is_empty() {
        element.extend_from_slice(b";host=\"");
        for byte in request.authority {
            if matches!(byte, b'"' | b'\\') {
                element.push(b'\\');
            }
            element.push(*byte);
        }
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(request.origin.scheme.as_str().as_bytes());
    if first != peer {
        element.extend_from_slice(format!(", for={}", node(peer)).as_bytes());
    }
    element
}

/// RFC 7239 §6: an IPv6 address stands in brackets, and what has a colon in quotes.
fn node(address: Option<std::net::IpAddr>) -> String {
    match address {
        None => "unknown".to_owned(),
        Some(std::net::IpAddr::V4(address)) => address.to_string(),
        Some(std::net::IpAddr::V6(address)) => format!("\"[{address}]\""),
    }
}
