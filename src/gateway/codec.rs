//! The protocols that upstreams are spoken to in, behind one face.

use super::http1::{self, Response};
use super::{Request, scgi, uwsgi};
use crate::http::fault::Fault;
use crate::http::{BodyLength, Method};

/// The protocol of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// SCGI.
    Scgi,
    /// uWSGI's own.
    Uwsgi,
}

impl Protocol {
    /// Whether the length of a request body must be known before the request can begin.
    #[must_use]
    pub(crate) fn wants_length(self) -> bool {
        match self {
            Self::Http => false,
            Self::Scgi | Self::Uwsgi => true,
        }
    }

    /// Writes what comes before the body. An unknown length is a mistake of the caller where [`Self::wants_length`]:
    /// the upstream is told of an empty body then.
    ///
    /// # Errors
    /// If the request cannot be said in that protocol.
    pub(crate) fn encode(
        self,
        request: &Request<'_>,
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
        }
        Ok(())
    }

    /// The protocols that a request offers to switch to, as far as this one can.
    pub(crate) fn offered(self, request: &Request<'_>, body: BodyLength) -> Option<Vec<u8>> {
        match self {
            Self::Http => http1::offered(request.head, body),
            Self::Scgi | Self::Uwsgi => None,
        }
    }

    /// Awaits the response to a request of that method.
    #[must_use]
    pub(crate) fn response(self, method: Method) -> Response {
        match self {
            Self::Http => Response::new(method),
            Self::Scgi | Self::Uwsgi => Response::of_program(method),
        }
    }
}
