//! The first message of a client: it names the site that it wants, and with that what is settled how.

use super::reasons::{self, Peer};
use crate::h2;
use rustls::server::{Accepted, Acceptor};

/// Content type of a record with a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Of the log.
pub(super) const TOO_LONG: &str = "a message of the handshake is too long";
const H2_IN_THE_CLEAR: &str = "HTTP/2 in the clear on a port that speaks HTTPS";

/// What a client of it is told: empty SETTINGS, and a GOAWAY with INADEQUATE_SECURITY (RFC 9113 §6.5, §6.8).
const FAREWELL: [&[u8]; 3] =
    [b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x1e\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0c", b"This port speaks HTTPS"];

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
    if bytes.first().is_some_and(|first| *first != HANDSHAKE) {
        match (is_request(bytes), h2::is_preface(bytes)) {
            (Some(true), Some(true)) => return Hello::Wrong(H2_IN_THE_CLEAR.to_owned(), FAREWELL.concat()),
            (Some(true), Some(false)) => return Hello::Http,
            (Some(false), _) => {}
            (None, _) | (_, None) => return Hello::Part,
        }
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Hello::Wrong(TOO_LONG.to_owned(), Vec::new());
        }
    }
    match acceptor.accept() {
        Ok(None) => Hello::Part,
        Ok(Some(accepted)) => Hello::Whole(Box::new(accepted)),
        Err((error, mut alert)) => {
            let mut bytes = Vec::new();
            let _infallible = alert.write_all(&mut bytes);
            Hello::Wrong(reasons::why(&error, Peer::Client), bytes)
        }
    }
}

/// Whether it begins like a request of HTTP, with a method; `None` while that cannot be told. Empty lines may stand before it
/// (RFC 9112 §2.2).
fn is_request(bytes: &[u8]) -> Option<bool> {
    let mut line = bytes.iter().skip_while(|byte| matches!(byte, b'\r' | b'\n'));
    let is_letter = line.clone().next()?.is_ascii_alphabetic();
    let end = line.find(|byte| !(byte.is_ascii_alphabetic() || **byte == b'-'));
    if is_letter { end.map(|end| *end == b' ') } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_tls_nor_http_is_not_answered_in_http() {
        for (bytes, is_http) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"\r\nM-SEARCH * HTTP/1.1", true),
            (b"SSH-2.0-OpenSSH_9.2\r\n", false),
            (b"EHLO\r\n", false),
            (b"\r\n\r\n\0\r\nQUIT\n", false),
            (b"-A /", false),
            (b"\0\x01\x02\x03\x04\x05", false),
        ] {
            let what = bytes.escape_ascii();
            match read(bytes) {
                Hello::Http => assert!(is_http, "{what}"),
                Hello::Wrong(_, alert) => {
                    assert!(!is_http && alert.first() == Some(&21), "{what}: {alert:?}")
                }
                Hello::Part | Hello::Whole(_) => panic!("{what}"),
            }
        }
        for begun in [&b"G"[..], b"PRI * HTT", b"\r\n", b"get"] {
            assert!(matches!(read(begun), Hello::Part), "{}", begun.escape_ascii());
        }
    }

    #[test]
    fn http_2_in_the_clear_is_told_why_it_is_not_answered() {
        let Hello::Wrong(why, said) = read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0") else { panic!() };
        assert_eq!(why, H2_IN_THE_CLEAR);
        assert_eq!(said.len(), 9 + 9 + usize::from(said[11]));
        assert!(said.ends_with(b"This port speaks HTTPS"));
    }
}
