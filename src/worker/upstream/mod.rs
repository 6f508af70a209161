//! Connections to elsewhere: app processes ([`app`]) and upstream servers ([`proxy`]), kept in [`links`] and lent to
//! one exchange at a time.

pub(super) mod app;
mod arrivals;
pub(super) mod links;
pub(super) mod proxy;

pub(super) use app::Apps;
pub(super) use links::Links;
pub(super) use proxy::Servers;

use crate::http::fault::Fault;
use crate::http::{BodyLength, ResponseHead};

/// What an exchange has to do next for its run.
pub(super) enum Advance {
    /// Nothing came, or it has been passed on.
    Wait,
    /// Something was passed on.
    Progress,
    /// The response head.
    Head(ResponseHead, BodyLength),
    /// Everything was given to the reply.
    Done,
    /// It failed.
    Broken(Fault),
}
