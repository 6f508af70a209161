//! HTTP/2 (RFC 9113), the server's side of a connection. Pure: no socket, no clock, no log; bytes and times in, events and
//! bytes out.
//!
//! [`Conn`] is the connection. It reads with `frame` and [`hpack`], judges with `requests` (where a request of HTTP/2 becomes
//! one as everybody here knows it), keeps its `stream`s and their windows (`flow`), and writes through `output` what is next
//! by `priority`. `budget` counts what a client costs. To its owner each stream speaks as an HTTP/1 connection does.

mod budget;
mod conn;
mod flow;
mod frame;
pub(crate) mod hpack;
mod output;
mod priority;
mod requests;
mod stream;

pub use conn::Conn;

/// Number of a stream; odd, of the client.
pub type StreamId = u32;

/// What every client of HTTP/2 sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of HTTP/2, beside those of every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Streams that are open at once; more are refused.
    pub(crate) streams: u32,
    /// A request may ask for a tunnel for WebSocket (RFC 8441), and the client is told so.
    pub(crate) connect: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { streams: 128, connect: false }
    }
}

/// Whether what a client sends begins with the preface; `None` while that cannot be told.
#[must_use]
pub fn is_preface(bytes: &[u8]) -> Option<bool> {
    let length = bytes.len().min(PREFACE.len());
    match (bytes.get(..length) == PREFACE.get(..length), length == PREFACE.len()) {
        (true, false) => None,
        (same, _) => Some(same),
    }
}
