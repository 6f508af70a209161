//! HPACK (RFC 7541): how HTTP/2 writes lists of fields. Pure.
//!
//! ```text
//! block = *update *field
//! update  001 size          of the dynamic table; only before the first field
//! field   1 index           name and value of an entry of a table
//!         01 name value     literal, and a new entry of the dynamic table
//!         0000 name value   literal
//!         0001 name value   literal that no intermediary may put into a table
//! name  = index, or 0 and a string; a string is plain or in the code of [`huffman`]
//! ```
//!
//! A [`Decoder`] and an [`Encoder`] each keep a dynamic [`table`] for all blocks of a connection, in step with that of the
//! other side: one block that was not decoded to its end makes all later ones unreadable, so each [`Error`] ends the
//! connection (COMPRESSION_ERROR).

mod decode;
mod encode;
mod huffman;
mod integer;
mod static_table;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decode::{Decoder, Outcome};
pub(crate) use encode::{Block, Encoder};

/// What makes a block unreadable, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Error(pub(crate) &'static str);

/// Most bytes of a dynamic table, as its entries count: what RFC 9113 §6.5.2 sets for who says nothing. More than the
/// first lines of requests would not profit from more, and each connection would have to be given it.
pub(crate) const TABLE_SIZE: usize = 4096;

/// What a field counts besides its name and its value (RFC 7541 §4.1, RFC 9113 §6.5.2).
pub(crate) const OVERHEAD: usize = 32;
