//! The client side of the protocols spoken to upstreams and apps: one small codec each. Pure: bytes in, events out.
//! A codec never retries and never gives up by time; it says what came, and [`Client`] decides with the table of
//! [`Fault`].

pub mod app;
pub mod cgi;
mod client;
mod codec;
pub mod http1;
pub mod params;
pub mod ready;
mod request;
pub mod scgi;

pub use client::{Again, Client, Output, Patience};
pub use codec::{Protocol, Response};
pub use http1::BodyEncoder;
pub use request::Request;

use crate::http::{BodyLength, Method, ResponseHead};

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
    /// The response is complete.
    End,
    /// The unit of the app is free for another request (apps only).
    Free,
    /// The response cannot be completed; nothing follows, except that an app may still say [`Event::Free`].
    Broken(Fault),
}

/// Why an upstream or app gave no complete response. Status and retry follow from this table (research, web-servers
/// §4.10, §4.12):
///
/// | fault | status | retry |
/// |---|---|---|
/// | `Refused`, `Dead` | 502 | always: not a byte of the request was taken |
/// | `ConnectTimeout` | 504 | always |
/// | `Closed` | 502 | idempotent methods |
/// | `Silent` | 504 | idempotent methods |
/// | `Truncated`, `Malformed`, `HeadTooLarge`, `Failed` | 502 | never |
/// | `Stalled` | 504 | never |
/// | `Busy`, `Unavailable` | 503 | never: waiting was tried already |
/// | `Shortage` | 503 | never: it is this server that lacks something |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No connection: refused, unreachable, no such socket.
    Refused,
    /// A kept connection turned out to be closed before a byte of the request was written.
    Dead,
    /// No connection in time.
    ConnectTimeout,
    /// Closed or reset after the request was (partly) sent, before the first byte of a response.
    Closed,
    /// No byte of a response in time.
    Silent,
    /// Ended in the middle of the head or of the body.
    Truncated,
    /// Silent in the middle of a response for too long.
    Stalled,
    /// Not the protocol, or framing that two parties could read differently.
    Malformed,
    /// A response head over the limit.
    HeadTooLarge,
    /// The app reported that it could not produce a response.
    Failed,
    /// The queue for the upstream or app is full, or the wait in it was too long.
    Busy,
    /// No server of the upstream is alive, or the app does not start.
    Unavailable,
    /// This server has no descriptors or memory left for a connection.
    Shortage,
}

/// When a request may be sent again, to the same or another server (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Whatever the method.
    Always,
    /// Only if a repeated request has the effect of one, and its body can be sent again.
    Idempotent,
    /// No.
    Never,
}

impl Retry {
    /// Whether a request of this method may be sent again.
    #[must_use]
    pub fn allows(self, method: Method) -> bool {
        match self {
            Self::Always => true,
            Self::Idempotent => method.is_idempotent(),
            Self::Never => false,
        }
    }
}

impl Fault {
    /// The status for the client, as long as no response head has been sent.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Refused
            | Self::Dead
            | Self::Closed
            | Self::Truncated
            | Self::Malformed
            | Self::HeadTooLarge
            | Self::Failed => 502,
            Self::Busy | Self::Unavailable | Self::Shortage => 503,
            Self::ConnectTimeout | Self::Silent | Self::Stalled => 504,
        }
    }

    /// Whether another try is safe, as long as nothing of the response has reached the client.
    #[must_use]
    pub fn retry(self) -> Retry {
        match self {
            Self::Refused | Self::Dead | Self::ConnectTimeout => Retry::Always,
            Self::Closed | Self::Silent => Retry::Idempotent,
            Self::Truncated
            | Self::Stalled
            | Self::Malformed
            | Self::HeadTooLarge
            | Self::Failed
            | Self::Busy
            | Self::Unavailable
            | Self::Shortage => Retry::Never,
        }
    }

    /// For the log.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Dead => "kept connection was closed by the server",
            Self::ConnectTimeout => "no connection in time",
            Self::Closed => "connection closed before a response",
            Self::Silent => "no response in time",
            Self::Truncated => "connection closed in the middle of the response",
            Self::Stalled => "response stalled",
            Self::Malformed => "malformed response",
            Self::HeadTooLarge => "response head too large",
            Self::Failed => "the app failed to respond",
            Self::Busy => "queue full or waited too long",
            Self::Unavailable => "nothing is alive to answer",
            Self::Shortage => "no descriptors or memory left to connect; raise LimitNOFILE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of [`Fault`].
    #[test]
    fn every_fault_has_its_status_and_its_retry() {
        use Retry::{Always, Idempotent, Never};
        for (fault, status, retry) in [
            (Fault::Refused, 502, Always),
            (Fault::Dead, 502, Always),
            (Fault::ConnectTimeout, 504, Always),
            (Fault::Closed, 502, Idempotent),
            (Fault::Silent, 504, Idempotent),
            (Fault::Truncated, 502, Never),
            (Fault::Malformed, 502, Never),
            (Fault::HeadTooLarge, 502, Never),
            (Fault::Failed, 502, Never),
            (Fault::Stalled, 504, Never),
            (Fault::Busy, 503, Never),
            (Fault::Unavailable, 503, Never),
            (Fault::Shortage, 503, Never),
        ] {
            assert_eq!((fault.status(), fault.retry()), (status, retry), "{fault:?}");
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(Idempotent.allows(Method::from_bytes(method.as_bytes())), "{method}");
        }
        for method in ["POST", "PATCH", "LOCK", "CONNECT", "get"] {
            let method = Method::from_bytes(method.as_bytes());
            assert!(
                !Idempotent.allows(method) && Always.allows(method) && !Never.allows(method),
                "{method:?}"
            );
        }
    }
}
