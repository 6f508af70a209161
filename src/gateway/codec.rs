//! The protocols that upstreams are spoken to in, behind one face.

use super::fastcgi::{self, Scripts};
use super::{Event, Request, http1, scgi, uwsgi};
use crate::buf::{Queue, Segment};
use crate::http::fault::Fault;
use crate::http::{BodyLength, Fields, Method};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The protocol of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// SCGI.
    Scgi,
    /// uWSGI's own.
    Uwsgi,
    /// FastCGI.
    FastCgi,
}

impl Protocol {
    /// Whether the length of a request body must be known before the request can begin.
    #[must_use]
    pub(crate) fn wants_length(self) -> bool {
        match self {
            Self::Http => false,
            Self::Scgi | Self::Uwsgi | Self::FastCgi => true,
        }
    }

    /// Bytes that what it says of itself mostly takes, beside what the client has said.
    pub(crate) fn words(self) -> usize {
        match self {
            Self::Http => 256,
            Self::Scgi | Self::Uwsgi | Self::FastCgi => 768,
        }
    }

    /// Writes what comes before the body. An unknown length is a mistake of the caller where [`Self::wants_length`]:
    /// the upstream is told of no body then. `scripts`: what FastCGI is told of the scripts that paths name.
    ///
    /// # Errors
    /// If the request cannot be said in that protocol.
    pub(crate) fn encode(
        self,
        request: &Request<'_>,
        scripts: Option<&Scripts>,
        body: BodyLength,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let length = match body {
            BodyLength::Known(length) => Some(length),
            BodyLength::None | BodyLength::Unknown => None,
        };
        match self {
            Self::Http => http1::encode(request, body, out),
            Self::Scgi => scgi::encode(request, length.unwrap_or_default(), out),
            Self::Uwsgi => uwsgi::encode(request, length, out)?,
            Self::FastCgi => fastcgi::encode(request, scripts, length, out)?,
        }
        Ok(())
    }

    /// The protocols that a request offers to switch to, as far as this one can.
    pub(crate) fn offered(self, request: &Request<'_>, body: BodyLength) -> Option<Vec<u8>> {
        match self {
            Self::Http => http1::offered(request.head, body),
            Self::Scgi | Self::Uwsgi | Self::FastCgi => None,
        }
    }

    /// Awaits the response to a request of that method.
    #[must_use]
    pub(crate) fn response(self, method: Method) -> Response {
        match self {
            Self::Http => Response::Plain(http1::Response::new(method)),
            Self::Scgi | Self::Uwsgi => Response::Plain(http1::Response::of_program(method)),
            Self::FastCgi => Response::Records(fastcgi::Response::new(method)),
        }
    }

    /// Frames the body that was announced with [`Self::encode`].
    #[must_use]
    pub(crate) fn body(self, body: BodyLength) -> BodyEncoder {
        BodyEncoder { plain: http1::BodyEncoder::new(body), in_records: self == Self::FastCgi }
    }
}

/// Frames a request body.
#[derive(Debug)]
pub(crate) struct BodyEncoder {
    plain: http1::BodyEncoder,
    in_records: bool,
}

impl BodyEncoder {
    /// Queues a piece; what exceeds the announced length is cut.
    pub(crate) fn push(&mut self, segment: Segment, out: &mut Queue) {
        if self.in_records {
            let mut piece = Queue::new();
            self.plain.push(segment, &mut piece);
            fastcgi::body(&mut piece, out);
        } else {
            self.plain.push(segment, out);
        }
    }

    /// The body is complete; queues what ends it, with trailers, which only HTTP has.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>, out: &mut Queue) {
        if self.in_records {
            fastcgi::end_body(out);
        } else {
            self.plain.finish(trailers, out);
        }
    }
}

/// Reads the response to one request.
#[derive(Debug)]
pub(crate) enum Response {
    /// As it is.
    Plain(http1::Response),
    /// In records of FastCGI.
    Records(fastcgi::Response),
}

impl Response {
    /// The request has offered to switch to these protocols, which only HTTP can; as [`http1::Response::offer`].
    pub(crate) fn offer(&mut self, protocols: &[u8], accept: Option<&str>) {
        if let Self::Plain(response) = self {
            response.offer(protocols, accept);
        }
    }

    /// The client wants trailers, which only HTTP has.
    pub(crate) fn keep_trailers(&mut self) {
        if let Self::Plain(response) = self {
            response.keep_trailers();
        }
    }

    /// As [`http1::Response::unread`]; of what comes in records nothing.
    #[must_use]
    pub(crate) fn unread(&self) -> Option<u64> {
        match self {
            Self::Plain(response) => response.unread(),
            Self::Records(_) => None,
        }
    }

    /// So many of [`Self::unread`] went on.
    pub(crate) fn passed(&mut self, count: u64) {
        if let Self::Plain(response) = self {
            response.passed(count);
        }
    }

    /// What has come behind [`Event::Switched`].
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        match self {
            Self::Plain(response) => response.take_rest(),
            Self::Records(_) => Vec::new(),
        }
    }

    /// Bytes read from the upstream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Plain(response) => response.feed(bytes),
            Self::Records(response) => response.feed(bytes),
        }
    }

    /// The upstream closed in an orderly way. After a reset do not call this: give the response up.
    pub(crate) fn eof(&mut self) {
        match self {
            Self::Plain(response) => response.eof(),
            Self::Records(response) => response.eof(),
        }
    }

    /// The next event; `None` if more input is needed, or nothing follows.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        match self {
            Self::Plain(response) => response.poll(),
            Self::Records(response) => response.poll(),
        }
    }

    /// What it says besides, for the log; asked after each [`Self::feed`] and [`Self::eof`].
    pub(crate) fn said(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Records(response) => response.said(),
        }
    }

    /// Whether the connection may carry another request: the response was complete, both sides agree to go on, and
    /// nothing follows the response. The caller also sees to it that its own request was sent whole.
    #[must_use]
    pub(crate) fn reusable(&self) -> bool {
        match self {
            Self::Plain(response) => response.reusable(),
            Self::Records(response) => response.reusable(),
        }
    }

    /// Whether bytes follow the response, which are nobody's.
    #[must_use]
    pub(crate) fn has_excess(&self) -> bool {
        matches!(self, Self::Plain(response) if response.has_excess())
    }

    /// Whether anything of a response has come.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::Plain(response) => response.has_begun(),
            Self::Records(response) => response.has_begun(),
        }
    }

    /// How long the upstream says it keeps an idle connection.
    #[must_use]
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        match self {
            Self::Plain(response) => response.idle_timeout(),
            Self::Records(_) => None,
        }
    }
}
