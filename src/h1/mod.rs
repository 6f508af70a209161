//! HTTP/1.1 and 1.0 (RFC 9112), the server's side of a connection. Pure: no socket, no clock, no log; bytes and times
//! in, events and bytes out.
//!
//! [`Conn`] is the connection. It reads with `parse` (where a head ends, what is in it), judges with `framing` (where
//! the message ends: the one place where smuggling is decided), takes the body off with [`chunked`] and writes with
//! [`encode`]. From a front server that speaks the uwsgi protocol a `packet` comes in the place of a head. `gateway::http1` uses the same parser and decoder for the responses of upstreams.

pub(crate) mod chunked;
mod conn;
pub(crate) mod encode;
mod extension;
mod framing;
mod packet;
mod parse;
mod prepared;

pub use conn::Conn;
pub(crate) use framing::{ResponseFraming, response as response_framing};
pub(crate) use framing::{digits, tokens};
pub(crate) use parse::{Response as ParsedResponse, response as parse_response};
pub(crate) use prepared::Prepared;

pub(crate) use crate::http::serving::{Common, Line};
pub use crate::http::serving::{End, Event, Request, Settings, Wants};
