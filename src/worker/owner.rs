//! The address of an exchange.

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
