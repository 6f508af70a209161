//! WebSocket (RFC 6455), the server's side: the [`handshake`], and [`Conn`], which reads what a client sends behind it and
//! writes what it is sent. No extension is negotiated, so that every reserved bit is a breach of the protocol.
//!
//! Also what an upstream is asked for where a client of HTTP/2 asks us by CONNECT (RFC 8441).

mod conn;
mod frame;
pub(crate) mod handshake;
mod input;
mod mask;
mod message;
#[cfg(test)]
mod tests;
mod utf8;

pub(crate) use conn::{Conn, End, Settings};
pub(crate) use handshake::is_asked;
pub(super) use handshake::{PROTOCOL, accept, key};

/// What a message consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What a client has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// A part of a message, as it came; empty only at the end of one. Parts of a text may end within a character.
    Part {
        /// Of the whole message.
        kind: Kind,
        /// Without its mask.
        bytes: &'a [u8],
        /// Another part of the message follows.
        more: bool,
    },
    /// It is over: nothing more comes of the client, and nothing more is sent. Told once.
    Closed(Close),
}

/// Why a connection is closed (RFC 6455 §7.4), as one side says or as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    /// One of those below, one that is registered, or one of the app.
    pub(crate) code: u16,
    /// For people; at most [`REASON`] bytes.
    pub(crate) reason: Box<str>,
}

impl Close {
    /// With that reason, as far as there is room for it.
    pub(crate) fn new(code: u16, reason: &str) -> Self {
        let end = (0..=reason.len().min(REASON)).rfind(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        Self { code, reason: reason.get(..end).unwrap_or_default().into() }
    }

    /// What the payload of a Close says (RFC 6455 §5.5.1).
    fn read(bytes: &[u8]) -> Result<Self, Breach> {
        let Some((code, reason)) = bytes.split_first_chunk() else {
            return match bytes {
                [] => Ok(Self::new(NO_CODE, "")),
                _ => Err(Breach::protocol("close with half a code")),
            };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(Breach::protocol("close code that is never sent"));
        }
        let reason = std::str::from_utf8(reason)
            .map_err(|_| Breach { code: NO_TEXT, why: "close reason that is not UTF-8" })?;
        Ok(Self::new(code, reason))
    }
}

/// Longest reason: what a control frame takes besides the code (RFC 6455 §5.5).
pub(crate) const REASON: usize = frame::CONTROL - 2;

/// The protocol was breached.
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
/// The client has said no code; never sent.
pub(crate) const NO_CODE: u16 = 1005;
/// The connection was lost, or nobody answers; never sent.
pub(crate) const LOST: u16 = 1006;
/// A text that is not UTF-8.
pub(crate) const NO_TEXT: u16 = 1007;
/// Against a rule that has no code of its own.
pub(crate) const POLICY: u16 = 1008;
/// A message over the limit.
pub(crate) const TOO_BIG: u16 = 1009;
/// The server cannot go on.
pub(crate) const FAILED: u16 = 1011;

/// Whether a code may be in a frame (RFC 6455 §7.4.2, and what IANA has registered since): not those that only say how it is, nor
/// those that mean nothing.
pub(crate) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Why a connection is broken off, with the code that tells the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Breach {
    code: u16,
    why: &'static str,
}

impl Breach {
    /// Of the protocol itself.
    const fn protocol(why: &'static str) -> Self {
        Self { code: PROTOCOL_ERROR, why }
    }
}
