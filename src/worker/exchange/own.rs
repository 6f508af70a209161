//! The part of an exchange of the server's own: it has no client, and what it asks is said by another exchange.

use super::waiting::User;
use super::{Exchange, Peer, Request, Served};
use crate::config::Handler;
use crate::http::forwarded;
use crate::http::target::{Host, Target};
use crate::http::{BodyLength, RequestHead};
use crate::worker::context::Context;
use crate::worker::drive::Drive;
use std::rc::Rc;

/// A request as another exchange has made it up: a GET or HEAD, without a body.
pub(in crate::worker) struct Given {
    pub(in crate::worker) head: RequestHead,
    pub(in crate::worker) target: Target,
    pub(in crate::worker) host: Host,
    /// Of the client on whose account it is made.
    pub(in crate::worker) origin: forwarded::Origin,
    pub(in crate::worker) peer: Peer,
    /// Who is known to ask.
    pub(in crate::worker) user: Option<Box<User>>,
    pub(in crate::worker) site: Option<usize>,
    /// Site and location in whose name it is asked, if it is for the same as the client has asked for.
    pub(in crate::worker) place: Option<(usize, usize)>,
    pub(in crate::worker) handler: Rc<Handler>,
}

impl Exchange {
    /// One without a client.
    pub(in crate::worker) fn of_our_own(peer: Peer, cx: &mut Context) -> Self {
        Self { aside: true, ..Self::new(peer, cx) }
    }

    /// Begins with what is given. No policy is asked: that was done for who has asked.
    pub(in crate::worker) fn begin_own(&mut self, given: Given, drive: &mut Drive<'_>) {
        let Given { head, target, host, origin, user, site, place, handler, .. } = given;
        self.request = Some(Request { head, target, host, origin, site, place, rewrites: Vec::new() });
        (self.handler, self.user) = (Some(handler), user);
        if let Served::Nothing(why) = self.start(BodyLength::None, drive) {
            log::debug!("{}: {why}", self.request_line());
            self.answer_page(404, drive);
        }
    }
}
