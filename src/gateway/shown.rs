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
    /// What is told of who has logged in.
    pub(crate) login: Login<'a>,
    /// Fields that are changed.
    pub(crate) changes: Option<&'a Changes>,
    /// Other cookies.
    pub(crate) cookies: Option<&'a [u8]>,
    /// It is told of the way in `Forwarded`, too.
    pub(crate) forwarded: bool,
    /// Trailers of the request are passed on to it, and those of its response to clients that take them.
    pub(crate) trailers: bool,
}

/// Who has logged in at this server, as far as anything was demanded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Login<'a> {
    /// Who it is.
    pub(crate) user: Option<&'a [u8]>,
    /// How it was found out (AUTH_TYPE); empty: in a way that has no name.
    pub(crate) kind: &'static str,
    /// It is a place of those who log in: what a client says of its user means nothing.
    pub(crate) is_demanded: bool,
    /// What the client has logged in by is not passed on.
    pub(crate) hides_authorization: bool,
    /// The field in which the user is told.
    pub(crate) header: Option<&'a str>,
    /// Names of fields that tell more of the user.
    pub(crate) names: &'a [(String, String)],
    /// What they tell.
    pub(crate) fields: &'a [(String, Vec<u8>)],
}

impl Login<'_> {
    /// Whether a field of the client is kept back: what only this server knows, however it is spelt, as some take `_` for `-`.
    fn hides(&self, name: &[u8]) -> bool {
        let is = |known: &str| {
            let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
            name.len() == known.len()
                && name.iter().zip(known.bytes()).all(|(one, two)| plain(*one) == plain(two))
        };
        self.hides_authorization && is("authorization")
            || self.is_demanded && (is("remote-user") || self.header.is_some_and(is))
            || self.names.iter().any(|(known, _)| is(known))
    }
}

impl<'a> Shown<'a> {
    /// Whether what the client and we say under this name goes no further.
    pub(super) fn drops(&self, name: &[u8]) -> bool {
        self.changes.is_some_and(|changes| changes.drops(name))
            || self.cookies.is_some() && name.eq_ignore_ascii_case(b"cookie")
            || self.login.hides(name)
    }

    /// Fields that the operator has it say.
    pub(super) fn said(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let cookies = self.cookies.filter(|cookies| !cookies.is_empty());
        let cookies = cookies.map(|cookies| (&b"Cookie"[..], cookies));
        let told = self.login.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let user = self.login.header.zip(self.login.user).map(|(name, user)| (name.as_bytes(), user));
        self.changes.into_iter().flat_map(Changes::said).chain(cookies).chain(user).chain(told)
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
