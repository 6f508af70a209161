//! The client side of the protocols spoken to upstreams and apps: one small codec each. Pure: bytes in, events out.
//! A codec never retries and never gives up by time; it says what came, and [`Client`] decides with the table of
//! [`crate::http::fault`]. Of WebSocket it is the server's side: a client speaks it with us, and the app has its messages.

pub mod accel;
pub mod app;
mod back;
mod cgi;
pub(crate) mod check;
mod client;
mod codec;
pub(crate) mod fastcgi;
pub mod http1;
mod moment;
pub(crate) mod params;
pub(crate) mod probe;
pub(crate) mod ready;
mod request;
pub(crate) mod scgi;
pub(crate) mod script;
pub(crate) mod shared;
mod shown;
mod tunnel;
pub(crate) mod uwsgi;
pub(crate) mod websocket;

pub(crate) use back::Back;
pub(crate) use client::{Again, Client, Output};
pub use client::{Patience, Retries};
pub(crate) use codec::{BodyEncoder, Protocol, Response};
pub(crate) use http1::HOP_BY_HOP;
pub use request::Request;
pub use shown::{Login, Shown};
pub(crate) use tunnel::{Step as TunnelStep, Tunnel};

use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields, ResponseHead};

/// Whether a request field tells of the way of a request, which only a trusted proxy may: `Forwarded`, `X-Real-IP` and
/// whatever begins with `X-Forwarded-`. From anybody else it is a claim that an upstream or app would take for ours.
pub(crate) fn tells_of_proxies(name: &[u8]) -> bool {
    let begins =
        |prefix: &[u8]| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins(b"x-forwarded-")
        || name.eq_ignore_ascii_case(b"forwarded")
        || name.eq_ignore_ascii_case(b"x-real-ip")
}

/// What a codec found in the bytes of an upstream or app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interim response, 1xx (RFC 9110 §15.2); the final one is still to come.
    Interim(ResponseHead),
    /// 101, to a protocol that was offered: it goes on in that.
    Switched(ResponseHead),
    /// The final response head. For a response to HEAD `body` is what GET would have had: no [`Event::Body`] follows.
    Head {
        /// Status and fields, without those that concern the connection only.
        head: ResponseHead,
        /// The length the peer announced.
        body: BodyLength,
    },
    /// The next bytes of the body, never empty.
    Body(Vec<u8>),
    /// The next part of the body is `len` bytes of a file; the shell has its descriptor.
    File {
        /// First byte.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// The trailers of the body, if they are wanted and there are some.
    Trailers(Fields),
    /// The response is complete.
    End,
    /// The unit of the app is free for another request (apps only).
    Free,
    /// The response cannot be completed; nothing follows, except that an app may still say [`Event::Free`].
    Broken(Fault),
}

#[cfg(test)]
mod tests {
    use super::Request;

    use crate::http::{RequestHead, Span, Version};

    /// `POST /a/x?q=1` with these fields, for tests of what is written.
    pub(super) fn request<T>(fields: &[(&str, &str)], write: impl FnOnce(&Request<'_>) -> T) -> T {
        let mut raw = b"POST/a/x?q=1".to_vec();
        let mut put = |text: &str| {
            raw.extend_from_slice(text.as_bytes());
            Span { start: (raw.len() - text.len()) as u32, end: raw.len() as u32 }
        };
        let fields = fields.iter().map(|(name, value)| (put(name), put(value))).collect();
        let (method, target) = (Span { start: 0, end: 4 }, Span { start: 4, end: 12 });
        let head = RequestHead::new(raw, method, target, Version::Http11, fields);
        write(&Request {
            path: b"/a/x",
            raw: b"/a/x?q=1",
            query: b"q=1",
            authority: b"shop.example",
            server_name: b"shop.example",
            id: "1",
            ..Request::of(&head)
        })
    }
}
