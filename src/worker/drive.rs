//! What travels with an exchange while it is driven, and what a run tells its exchange.

use super::context::Context;
use super::owner::Owner;
use super::reply::Reply;
use crate::config::Config;
use crate::http::fault::Fault;
use crate::http::{BodyLength, ResponseHead};

/// An exchange's surroundings for one call.
pub(super) struct Drive<'a> {
    /// Which exchange it is.
    pub(super) owner: Owner,
    /// Where its response goes.
    pub(super) reply: Reply<'a>,
    pub(super) config: &'a Config,
    pub(super) cx: &'a mut Context,
}

/// What an exchange has to do next for its run.
pub(super) enum Advance {
    /// Nothing came, or it has been passed on.
    Wait,
    /// There is more to read, in another turn: what came so far was not for the client.
    Later,
    /// Something was passed on.
    Progress,
    /// An interim response.
    Interim(ResponseHead),
    /// The response head.
    Head(ResponseHead, BodyLength),
    /// The head of a 101: it goes on in another protocol.
    Switched(ResponseHead),
    /// It was sent ahead to a unit and came back: another is to have it.
    Returned,
    /// Everything was given to the reply.
    Done,
    /// It failed.
    Broken(Fault),
}
