//! A request, as an ASGI host reads it.

use super::super::Request;
use super::super::app::Body;
use super::super::params::{self, Passed, split};
use crate::control::frame::{self, Header, Kind};
use crate::http::Scheme;
use crate::http::text::Short;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A response.
    Http,
    /// To go on as a WebSocket (RFC 6455).
    WebSocket,
}

/// Appends a request with its body, of `length` bytes if it has one. A field that contains NUL, which the head parser excludes, is left out.
pub(crate) fn ask(
    stream: u32,
    asked: Asked,
    request: &Request<'_>,
    length: Option<u64>,
    body: Body<'_>,
    out: &mut Vec<u8>,
) {
    let flags = match body {
        Body::None => frame::END,
        Body::Inline(_) => 0,
        Body::Descriptor => frame::FD,
    };
    let start = out.len();
    frame::push(out, Kind::Request, flags, stream, b"");
    put_line(asked, request, out);
    let mut field = |name: &[u8], value: &[u8]| {
        if !name.contains(&0) && !value.contains(&0) {
            out.reserve(name.len() + value.len() + 2);
            out.extend(name.iter().map(u8::to_ascii_lowercase));
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
    };
    if let Some(kind) = params::content_type(request) {
        field(b"content-type", kind);
    }
    if let Some(length) = length {
        field(b"content-length", &Short::number(length));
    }
    Passed::of(request).each().for_each(|(name, value)| field(name, value));
    // One that is too long is refused by the host, not taken for a shorter one.
    let length = u32::try_from(out.len() - start - frame::HEADER).unwrap_or(u32::MAX);
    let header = Header { length, kind: Kind::Request, flags, stream }.encode();
    if let Some(place) = out.get_mut(start..start + frame::HEADER) {
        place.copy_from_slice(&header);
    }
    if let Body::Inline(bytes) = body {
        frame::push(out, Kind::Body, 0, stream, bytes);
        frame::push(out, Kind::End, 0, stream, b"");
    }
}

/// All but the fields.
fn put_line(asked: Asked, request: &Request<'_>, out: &mut Vec<u8>) {
    let mut put = |value: &[u8]| {
        // One that contains NUL would move all others.
        if !value.contains(&0) {
            out.extend_from_slice(value);
        }
        out.push(0);
    };
    let is_https = request.origin.scheme == Scheme::Https;
    let (kind, scheme): (&[u8], &[u8]) = match (asked, is_https) {
        (Asked::Http, false) => (b"http", b"http"),
        (Asked::Http, true) => (b"http", b"https"),
        (Asked::WebSocket, false) => (b"websocket", b"ws"),
        (Asked::WebSocket, true) => (b"websocket", b"wss"),
    };
    put(kind);
    let version = request.head.version().as_str().as_bytes();
    put(version.strip_prefix(b"HTTP/").unwrap_or(version));
    put(request.head.method_bytes());
    put(scheme);
    put(request.path);
    put(request.raw.split(|byte| *byte == b'?').next().unwrap_or_default());
    put(request.query);
    put(split(request.path, request.mount.as_bytes()).0);
    let direct = request.peer_address();
    let client = request.origin.client.map(|client| client.to_canonical()).or(direct);
    match client {
        Some(client) => put(&Short::address(client)),
        None => put(b""),
    }
    match request.peer.filter(|_| client == direct) {
        Some(peer) => put(&Short::number(peer.port().into())),
        None => put(b"0"),
    }
    put(if request.server_name.is_empty() { b"localhost" } else { request.server_name });
    put(&Short::number(request.server_port.into()));
    put(request.id.as_bytes());
    match request.arrived {
        Some(wall) => {
            let seconds = u64::try_from(wall.seconds).unwrap_or_default();
            put(&Short::number(seconds.saturating_mul(1_000_000) + u64::from(wall.nanos / 1000)));
        }
        None => put(b""),
    }
}
