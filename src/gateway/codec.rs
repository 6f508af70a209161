//! The protocols that upstreams are spoken to in, behind one face.

use super::http1::{self, Response};
use super::{Request, scgi};
use crate::http::{BodyLength, Method};

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

    /// The protocols that a request offers to switch to, as far as this one can.
    pub(crate) fn offered(self, request: &Request<'_>, body: BodyLength) -> Option<Vec<u8>> {
        match self {
            Self::Http => http1::offered(request.head, body),
            Self::Scgi => None,
        }
    }

    /// Awaits the response to a request of that method.
    #[must_use]
    pub(crate) fn response(self, method: Method) -> Response {
        match self {
            Self::Http => Response::new(method),
            Self::Scgi => Response::of_program(method),
        }
    }
}
