//! The response of a CGI program (RFC 3875 §6), however its bytes come: a head whose lines may end with LF, in which
//! `Status` tells the status, then the body up to the end of input or of `Content-Length`. A head that begins with a
//! status line is taken as well ("non-parsed headers"), as uWSGI and nginx do. What follows the head is read as that of
//! any other response ([`http1::Response`]).

use super::http1;
use crate::h1::{self, ParsedResponse, ResponseFraming};
use crate::http::fault::{Fault, Flaw};
use crate::http::{BodyLength, Method, ResponseHead, Status};

/// The head; `None` if it is not complete.
pub(super) fn parse(input: &[u8]) -> Result<Option<ParsedResponse>, Fault> {
    // With what follows the head there is much to be copied, and nearly every head is short.
    let beginning = input.get(..SHORT).filter(|_| input.len() > SHORT);
    match beginning.map(parse_copy) {
        Some(Ok(Some(parsed))) => Ok(Some(parsed)),
        _ => parse_copy(input),
    }
}

/// Bytes that nearly every head has at most.
const SHORT: usize = 768;

fn parse_copy(input: &[u8]) -> Result<Option<ParsedResponse>, Fault> {
    const LINE: &[u8] = b"HTTP/1.1 200 \r\n";
    let has_line = input.starts_with(b"HTTP/");
    // One parser for all fields: a document of fields alone gets a status line.
    let mut text = if has_line { input.to_vec() } else { [LINE, input].concat() };
    // uWSGI answers in the version that it was asked in, and here nothing depends on it.
    if let Some(version) = text.get_mut(b"HTTP/".len()).filter(|version| **version == b'2') {
        *version = b'1';
    }
    let Some(mut parsed) = h1::parse_response(&text, http1::HEAD_MAX)? else { return Ok(None) };
    let head = &mut parsed.head;
    if !has_line {
        (head.status, head.reason) = status(head).ok_or(Fault::Malformed(Flaw::Status))?;
        parsed.length -= LINE.len();
    }
    // An interim response, or a change of protocol, is not a program's to send (RFC 3875 §6.3.3).
    if head.status.0 < 200 {
        return Err(Fault::Malformed(Flaw::Status));
    }
    head.fields.retain(|name| !name.eq_ignore_ascii_case(b"status"));
    Ok(Some(parsed))
}

type Reason = Option<Box<[u8]>>;

/// `Status: 404 Not Found`; without it 302 if there is a `Location`, else 200 (RFC 3875 §6.2, §6.3.3).
fn status(head: &ResponseHead) -> Option<(Status, Reason)> {
    let mut told = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"status"));
    let Some((_, value)) = told.next() else {
        let redirects = head.fields.get("location").is_some();
        return Some((Status(if redirects { 302 } else { 200 }), None));
    };
    if told.next().is_some() {
        return None;
    }
    let (digits, reason) = value.split_at_checked(3)?;
    let status = std::str::from_utf8(digits).ok()?.parse::<u16>().ok()?;
    let said = digits.iter().all(u8::is_ascii_digit) && (reason.is_empty() || reason.starts_with(b" "));
    let status = Status(said.then_some(status).filter(|status| (100..1000).contains(status))?);
    let reason = reason.trim_ascii();
    let other = !reason.is_empty() && reason != status.reason().as_bytes();
    Some((status, other.then(|| Box::from(reason))))
}

/// The length that the program announced. It is no party to the framing of a connection: Transfer-Encoding would be
/// read in two ways.
pub(super) fn framing(head: &ResponseHead) -> Result<ResponseFraming, Flaw> {
    if head.fields.get("transfer-encoding").is_some() {
        return Err(Flaw::Coding);
    }
    let framing = h1::response_framing(Method::Get, crate::http::Version::Http11, Status(200), &head.fields)?;
    let body = if head.status.forbids_body() { BodyLength::None } else { framing.body };
    Ok(ResponseFraming { body, until_close: true, persist: false, ..framing })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Event;
    use crate::gateway::http1::Response;

    fn play(method: Method, text: &[u8]) -> Vec<Event> {
        let whole = events(method, &[text]);
        assert_eq!(whole, events(method, &text.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
        whole
    }

    /// The events, the pieces of the body joined.
    fn events(method: Method, pieces: &[&[u8]]) -> Vec<Event> {
        let mut response = Response::of_program(method);
        let mut events = Vec::new();
        let drain = |response: &mut Response, events: &mut Vec<Event>| {
            while let Some(event) = response.poll() {
                match (events.last_mut(), event) {
                    (Some(Event::Body(before)), Event::Body(more)) => before.extend(more),
                    (_, event) => events.push(event),
                }
            }
        };
        for piece in pieces {
            response.feed(piece);
            drain(&mut response, &mut events);
        }
        response.eof();
        drain(&mut response, &mut events);
        events
    }

    fn status_of(events: &[Event]) -> (u16, BodyLength) {
        match events.first() {
            Some(Event::Head { head, body }) => (head.status.0, *body),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_has_the_status_that_it_says() {
        for (text, status, reason) in [
            ("Content-Type: text/plain\n\nok", 200, None),
            ("Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nok", 404, None),
            ("status: 418 Short and stout\n\nok", 418, Some("Short and stout")),
            ("Status: 503\nX: y\n\nok", 503, None),
            ("Location: http://other.example/\n\nok", 302, None),
            ("Status: 201 Created\nLocation: /x\n\nok", 201, None),
            ("HTTP/1.0 403 No\r\nX: y\r\n\r\nok", 403, Some("No")),
            ("HTTP/2.0 403 No\r\nX: y\r\n\r\nok", 403, Some("No")),
        ] {
            let events = play(Method::Get, text.as_bytes());
            assert_eq!(status_of(&events), (status, BodyLength::Unknown), "{text}");
            let Event::Head { head, .. } = &events[0] else { panic!("{events:?}") };
            assert_eq!(head.reason.as_deref(), reason.map(str::as_bytes), "{text}");
            assert!(head.fields.get("status").is_none());
            assert_eq!(events[1..], [Event::Body(b"ok".to_vec()), Event::End], "{text}");
        }
    }

    #[test]
    fn a_length_is_kept_and_checked() {
        let events = play(Method::Get, b"Content-Length: 2\n\nok and more");
        assert_eq!(status_of(&events), (200, BodyLength::Known(2)));
        assert_eq!(events[1..], [Event::Body(b"ok".to_vec()), Event::End]);
        let events = play(Method::Get, b"Content-Length: 4\n\nok");
        assert_eq!(events.last(), Some(&Event::Broken(Fault::Truncated)));
        for text in ["Status: 204 Nothing\n\nbody", "Content-Length: 0\n\n", "Status: 304 Same\n\n"] {
            let events = play(Method::Get, text.as_bytes());
            assert_eq!((events.len(), events.last()), (2, Some(&Event::End)), "{text}: {events:?}");
        }
        let events = play(Method::Head, b"Content-Length: 9\n\n");
        assert_eq!((status_of(&events), events.len()), ((200, BodyLength::Known(9)), 2));
    }

    #[test]
    fn what_is_no_response_is_a_fault() {
        for (text, fault) in [
            ("", Fault::Closed),
            ("Content-Type: text/plain\n", Fault::Truncated),
            ("Status: abc\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: +20\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: 2000\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: 099\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: 101 Switching\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: 100 Continue\n\n", Fault::Malformed(Flaw::Status)),
            ("Status: 200\nStatus: 404\n\n", Fault::Malformed(Flaw::Status)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Fault::Malformed(Flaw::Status)),
            ("no field\n\n", Fault::Malformed(Flaw::Field)),
            ("Transfer-Encoding: chunked\n\n2\r\nok\r\n0\r\n\r\n", Fault::Malformed(Flaw::Coding)),
            ("Content-Length: 2\nContent-Length: 3\n\nok", Fault::Malformed(Flaw::Length)),
            ("Content-Length: -1\n\nok", Fault::Malformed(Flaw::Length)),
        ] {
            assert_eq!(play(Method::Get, text.as_bytes()), [Event::Broken(fault)], "{text:?}");
        }
        let long = format!("X: {}\n\n", "x".repeat(http1::HEAD_MAX));
        assert_eq!(events(Method::Get, &[long.as_bytes()]), [Event::Broken(Fault::HeadTooLarge)]);
    }

    #[test]
    fn fields_of_the_connection_are_the_servers() {
        let events = play(
            Method::Get,
            b"Connection: close, X-Hop\nX-Hop: 1\nKeep-Alive: 5\nDate: now\nServer: x\nX-Kept: 2\n\n",
        );
        let Event::Head { head, .. } = &events[0] else { panic!("{events:?}") };
        let names: Vec<_> = head.fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [&b"Date"[..], b"X-Kept"], "the date is for the cache, and goes no further");
    }
}
