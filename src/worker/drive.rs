//! What travels with an exchange while it is driven.

use super::context::Context;
use super::reply::Reply;
use crate::config::Config;
use crate::slab::Key;

/// The address of an exchange: whoever has something for it names it so. A client has one at a time, one after the other;
/// what was meant for an earlier one does not reach its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// The client's connection.
    pub(super) client: Key,
    /// Counts the exchanges of that connection.
    pub(super) stream: u32,
}

/// An exchange's surroundings for one call.
pub(super) struct Drive<'a> {
    /// Which exchange it is.
    pub(super) owner: Owner,
    /// Where its response goes.
    pub(super) reply: Reply<'a>,
    pub(super) config: &'a Config,
    pub(super) cx: &'a mut Context,
}
