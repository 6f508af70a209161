//! The protocols that upstreams are spoken to in, behind one face.

use super::{Event, Request, cgi, http1, scgi};
use crate::http::{BodyLength, Method};
use std::time::Duration;

/// The protocol of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// SCGI.
    Scgi,
}

impl Protocol {
    /// As it is written in the configuration.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "Http",
            Self::Scgi => "Scgi",
        }
    }

    /// Whether the length of a request body must be known before the request can begin.
    #[must_use]
    pub(crate) fn wants_length(self) -> bool {
        match self {
            Self::Http => false,
            Self::Scgi => true,
        }
    }

    /// Writes what comes before the body. An unknown length is a mistake of the caller where [`Self::wants_length`]:
    /// the upstream is told of an empty body then.
    pub(crate) fn encode(self, request: &Request<'_>, body: BodyLength, out: &mut Vec<u8>) {
        match (self, body) {
            (Self::Http, body) => http1::encode(request, body, out),
            (Self::Scgi, BodyLength::Known(length)) => scgi::encode(request, length, out),
            (Self::Scgi, BodyLength::None | BodyLength::Unknown) => scgi::encode(request, 0, out),
        }
    }

    /// Awaits the response to a request of that method.
    #[must_use]
    pub(crate) fn response(self, method: Method) -> Response {
        match self {
            Self::Http => Response::Http1(http1::Response::new(method)),
            Self::Scgi => Response::Cgi(cgi::Response::new(method)),
        }
    }
}

/// Reads the response to one request.
#[derive(Debug)]
pub(crate) enum Response {
    /// Over HTTP/1.1.
    Http1(http1::Response),
    /// Of a CGI program; the connection ends with it.
    Cgi(cgi::Response),
}

impl Response {
    /// Bytes read from the upstream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Http1(response) => response.feed(bytes),
            Self::Cgi(response) => response.feed(bytes),
        }
    }

    /// The upstream closed in an orderly way. After a reset do not call this: give the response up.
    pub(crate) fn eof(&mut self) {
        match self {
            Self::Http1(response) => response.eof(),
            Self::Cgi(response) => response.eof(),
        }
    }

    /// The next event; `None` if more input is needed, or nothing follows.
    pub(crate) fn poll(&mut self) -> Option<Event> {
        match self {
            Self::Http1(response) => response.poll(),
            Self::Cgi(response) => response.poll(),
        }
    }

    /// Whether anything of a response has come.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        match self {
            Self::Http1(response) => response.has_begun(),
            Self::Cgi(response) => response.has_begun(),
        }
    }

    /// Whether the connection may carry another request, if this one was sent whole.
    #[must_use]
    pub(crate) fn reusable(&self) -> bool {
        match self {
            Self::Http1(response) => response.reusable(),
            Self::Cgi(_) => false,
        }
    }

    /// How long the upstream says it keeps an idle connection.
    #[must_use]
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        match self {
            Self::Http1(response) => response.idle_timeout(),
            Self::Cgi(_) => None,
        }
    }
}
