//! The first message of a client: it names the site that it wants, and with that what is settled how.

use rustls::server::{Accepted, Acceptor};

/// Content type of a record with a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// What a client has begun with.
pub(super) enum Hello {
    /// It is not whole yet.
    Part,
    /// It is.
    Whole(Box<Accepted>),
    /// A request in the clear.
    Http,
    /// Nothing that can be answered; with the alert that says so.
    Wrong(String, Vec<u8>),
}

/// The longest record, sealed.
const RECORD: usize = 16 * 1024 + 2048;

/// Whether the first record has yet to come whole: then there is nothing to be read.
pub(super) fn is_part(bytes: &[u8]) -> bool {
    let &[HANDSHAKE, _, _, high, low, ref rest @ ..] = bytes else { return is_record(bytes) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    length <= RECORD && rest.len() < length
}

/// Whether it begins like a message of a handshake.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    bytes.first() == Some(&HANDSHAKE)
}

/// Reads what has come so far.
pub(super) fn read(bytes: &[u8]) -> Hello {
    if bytes
        .first()
        .is_some_and(|first| *first != HANDSHAKE && (first.is_ascii_alphabetic() || is_end(*first)))
    {
        return Hello::Http;
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if let Err(error) = acceptor.read_tls(&mut rest) {
            return Hello::Wrong(error.to_string(), Vec::new());
        }
    }
    match acceptor.accept() {
        Ok(None) => Hello::Part,
        Ok(Some(accepted)) => Hello::Whole(Box::new(accepted)),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            let _infallible = alert.write_all(&mut bytes);
            Hello::Wrong(error.to_string(), bytes)
        }
    }
}

/// An empty line may stand before a request (RFC 9112 §2.2).
fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
