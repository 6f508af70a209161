//! The address of an exchange.

use crate::slab::Key;

/// The address of an exchange: whoever has something for it names it so. What was meant for an earlier one does not reach
/// its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// The client's connection.
    pub(super) client: Key,
    /// The number of the stream; of HTTP/1, which has none, a count of the exchanges of that connection.
    pub(super) stream: u32,
}

impl Owner {
    /// A connection as such, rather than one of its exchanges.
    pub(super) fn none_of(client: Key) -> Self {
        Self { client, stream: 0 }
    }
}
