//! Response heads onto the wire (RFC 9112 §4, §6).

use crate::http::Fields;
use crate::http::fields::{is_name, is_value, write_line};
use crate::http::serving::{Common, STRICT};
use crate::http::text::decimal;
use crate::http::{ResponseHead, Status};

/// How the body after a head is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is said about a body: the status forbids one, or closing ends it.
    Unsaid,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// What the client is told about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Nothing: HTTP/1.1 persists.
    Unsaid,
    /// `keep-alive`, for HTTP/1.0.
    KeepAlive,
    /// `close`.
    Close,
    /// `upgrade`: it goes on in another protocol.
    Upgrade,
}

impl Common<'_> {
    /// Bytes that it takes.
    pub(super) fn len(&self) -> usize {
        let strict = self.strict.map_or(0, |value| STRICT.len() + value.len());
        self.date.len() + self.id.map_or(0, |(name, value)| name.len() + value.len()) + strict
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_line(b"Date", self.date, out);
        if let Some((name, value)) = self.id {
            write_line(name.as_bytes(), value, out);
        }
        if let Some(value) = self.strict {
            write_line(STRICT.as_bytes(), value.as_bytes(), out);
        }
    }
}

/// Writes a final response head. Fields of `head` that belong to the connection or are written here anyway are skipped.
pub(crate) fn head(
    head: &ResponseHead,
    framing: Framing,
    connection: Connection,
    common: Common<'_>,
    out: &mut Vec<u8>,
) {
    status_line(head, out);
    common.beside(head).write(out);
    out.extend_from_slice(b"Server: hatchery\r\n");
    fields(head, out);
    match framing {
        Framing::Unsaid => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(length, out);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    out.extend_from_slice(end(connection));
}

/// The last lines of a head.
pub(super) fn end(connection: Connection) -> &'static [u8] {
    match connection {
        Connection::Unsaid => b"\r\n",
        Connection::KeepAlive => b"Connection: keep-alive\r\n\r\n",
        Connection::Close => b"Connection: close\r\n\r\n",
        Connection::Upgrade => b"Connection: upgrade\r\n\r\n",
    }
}

/// Writes an interim response head, 1xx (RFC 9110 §15.2).
pub(crate) fn interim(head: &ResponseHead, out: &mut Vec<u8>) {
    status_line(head, out);
    fields(head, out);
    out.extend_from_slice(b"\r\n");
}

/// Writes what ends a chunked body that has trailers.
pub(crate) fn trailers(trailers: &Fields, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    trailers.write(out, |_| true);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn status_line(head: &ResponseHead, out: &mut Vec<u8>) {
    if head.status == Status(200) && head.reason.is_none() {
        // Most of them.
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(u64::from(head.status.0), out);
    out.push(b' ');
    out.extend_from_slice(head.reason.as_deref().unwrap_or(head.status.reason().as_bytes()));
    out.extend_from_slice(b"\r\n");
}

pub(super) fn fields(head: &ResponseHead, out: &mut Vec<u8>) {
    debug_assert!(head.fields.iter().all(|(name, value)| is_name(name) && is_value(value)));
    head.fields.write(out, |name| !is_ours(name));
}

/// Fields that only the connection writes: two parties saying different things is how responses are split.
#[must_use]
pub(crate) fn is_ours(name: &[u8]) -> bool {
    let one_of = |names: &[&str]| names.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()));
    match name.len() {
        4 => one_of(&["date"]),
        6 => one_of(&["server"]),
        10 => one_of(&["connection", "keep-alive"]),
        14 => one_of(&["content-length"]),
        16 => one_of(&["proxy-connection"]),
        17 => one_of(&["transfer-encoding"]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";

    fn encoded(response: &ResponseHead, framing: Framing, connection: Connection) -> String {
        let mut out = Vec::new();
        head(response, framing, connection, DATE.into(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads() {
        let response = ResponseHead::new(200)
            .with("Content-Type", "text/plain")
            .with("content-length", "7")
            .with("Transfer-Encoding", "gzip")
            .with("CONNECTION", "upgrade")
            .with("Server", "other")
            .with("Date", "never")
            .with("Set-Cookie", "a=1")
            .with("Set-Cookie", "b=2");
        let start = format!("HTTP/1.1 200 OK\r\nDate: {DATE}\r\nServer: hatchery\r\n");
        let middle = "Content-Type: text/plain\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";
        for (framing, connection, end) in [
            (Framing::Unsaid, Connection::Unsaid, "\r\n"),
            (Framing::Length(0), Connection::Unsaid, "Content-Length: 0\r\n\r\n"),
            (
                Framing::Length(18_446_744_073_709_551_615),
                Connection::Close,
                "Content-Length: 18446744073709551615\r\nConnection: close\r\n\r\n",
            ),
            (
                Framing::Chunked,
                Connection::KeepAlive,
                "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
            ),
        ] {
            assert_eq!(encoded(&response, framing, connection), format!("{start}{middle}{end}"));
        }
    }

    #[test]
    fn the_id_of_the_request_and_hsts_are_said_once() {
        let id = Some(("X-Request-Id", &b"0123"[..]));
        let said = |response: &ResponseHead| {
            let mut out = Vec::new();
            head(
                response,
                Framing::Unsaid,
                Connection::Unsaid,
                Common { date: b"now", id, strict: Some("max-age=7") },
                &mut out,
            );
            String::from_utf8(out).unwrap()
        };
        let start = "HTTP/1.1 204 No Content\r\nDate: now\r\n";
        let strict = "Strict-Transport-Security: max-age=7\r\n";
        let ours = format!("{start}X-Request-Id: 0123\r\n{strict}Server: hatchery\r\n\r\n");
        assert_eq!(said(&ResponseHead::new(204)), ours);
        let fields = "x-request-id: abc\r\nstrict-transport-security: max-age=0\r\n";
        let theirs = format!("{start}Server: hatchery\r\n{fields}\r\n");
        let own =
            ResponseHead::new(204).with("x-request-id", "abc").with("strict-transport-security", "max-age=0");
        assert_eq!(said(&own), theirs);
    }

    #[test]
    fn reasons() {
        let mut response = ResponseHead::new(599);
        assert!(encoded(&response, Framing::Unsaid, Connection::Unsaid).starts_with("HTTP/1.1 599 \r\n"));
        response.reason = Some(Box::from(&b"Odd"[..]));
        assert!(encoded(&response, Framing::Unsaid, Connection::Unsaid).starts_with("HTTP/1.1 599 Odd\r\n"));
    }

    #[test]
    fn interim_heads_carry_their_fields_only() {
        let mut out = Vec::new();
        interim(&ResponseHead::new(103).with("Link", "</a.css>"), &mut out);
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    }
}
