//! Worker to app process: requests into frames, frames into events. The frames are described in
//! [`crate::control::frame`], the program at the other end is [`HOST_PROGRAM`].
//!
//! What an app says in its head is checked here, because a field with a line break in it would let the app's users
//! write responses of their own. Fields that belong to the connection, and `Date` and `Server`, are the server's and
//! are dropped, as nginx and gunicorn do.

use super::{Event, Fault, params};
use crate::control::frame::{self, Frame, Header, Kind, Reader};
use crate::http::{BodyLength, ResponseHead, Status, fields};

/// The program that imports and serves an app; run as `python -c HOST_PROGRAM`. Its settings are the environment
/// variables that its first comment lists.
pub const HOST_PROGRAM: &str = include_str!("host/hatchery_host.py");

/// Longest body that travels in frames; a longer one is spooled to a file and its descriptor passed.
pub const INLINE: u64 = 64 * 1024;

/// Where the body of a request is.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// There is none.
    None,
    /// Here; at most [`INLINE`] bytes.
    Inline(&'a [u8]),
    /// In a file whose descriptor the shell sends along with the first byte of what [`request`] appends.
    Descriptor,
}

/// Appends the first frame of a stream, which binds it to a unit.
pub fn hello(row: u16, unit: u16, out: &mut Vec<u8>) {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&frame::VERSION.to_le_bytes());
    payload[4..6].copy_from_slice(&row.to_le_bytes());
    payload[6..].copy_from_slice(&unit.to_le_bytes());
    frame::push(out, Kind::Hello, 0, 0, &payload);
}

/// Appends a request with its body. A variable that contains NUL, which the head parser excludes, is left out.
pub fn request(stream: u32, request: &params::Request<'_>, body: Body<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let flags = match body {
        Body::None => frame::END,
        Body::Inline(_) => 0,
        Body::Descriptor => frame::FD,
    };
    frame::push(out, Kind::Request, flags, stream, b"");
    params::each(request, |name, value| {
        if !name.contains(&0) && !value.contains(&0) {
            out.reserve(name.len() + value.len() + 2);
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
    });
    let length = (out.len() - start - frame::HEADER) as u32;
    let header = Header { length, kind: Kind::Request, flags, stream }.encode();
    if let Some(place) = out.get_mut(start..start + frame::HEADER) {
        place.copy_from_slice(&header);
    }
    if let Body::Inline(bytes) = body {
        frame::push(out, Kind::Body, 0, stream, bytes);
        frame::push(out, Kind::End, 0, stream, b"");
    }
}

/// Where a response stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// No final head yet; `true` once anything came.
    Head(bool),
    /// In the body; `true` if bytes of it are passed on.
    Body(bool),
    /// Ended or broken; the unit still runs (`close()`).
    Over,
    /// The unit is free, the stream can carry the next request.
    Free,
    /// The stream is of no use any more.
    Lost,
}

/// Reads the answer to one request.
///
/// | stage | HEAD | BODY, FILE | END | FREE | end of file |
/// |---|---|---|---|---|---|
/// | Head | Head → Body | lost | Broken(Failed) → Over | lost | Broken(Closed) → Lost |
/// | Body | lost | Body, File | End or Broken(Truncated) → Over | lost | Broken(Truncated) → Lost |
/// | Over | dropped after a bad head, else lost | the same | the same | Free → Free | Lost |
/// | Free | lost | lost | lost | lost | Lost |
///
/// *lost* is what is not the protocol: Broken(Malformed) unless the response is over, then nothing more.
#[derive(Debug)]
pub struct Response {
    stream: u32,
    reader: Reader,
    stage: Stage,
    ended: bool,
    /// The head was refused: the rest of the answer up to FREE is dropped.
    refused: bool,
    why: Option<String>,
}

impl Response {
    /// The answer to the request of that number.
    #[must_use]
    pub fn new(stream: u32) -> Self {
        Self {
            stream,
            reader: Reader::new(),
            stage: Stage::Head(false),
            ended: false,
            refused: false,
            why: None,
        }
    }

    /// Takes bytes read from the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.stage == Stage::Head(false) && !bytes.is_empty() {
            self.stage = Stage::Head(true);
        }
        self.reader.feed(bytes);
    }

    /// The stream ended: the app process died or was killed.
    pub fn eof(&mut self) {
        self.ended = true;
    }

    /// What came, `None` if more bytes are needed. Ends with [`Event::Free`], or with [`Event::Broken`] and
    /// [`Response::is_lost`].
    pub fn poll(&mut self) -> Option<Event> {
        while self.stage != Stage::Lost {
            match self.reader.poll() {
                Ok(Some(frame)) => {
                    if let Some(event) = self.on_frame(frame) {
                        return Some(event);
                    }
                }
                Ok(None) if self.ended => return self.on_eof(),
                Ok(None) => return None,
                Err(error) => return self.lose(format!("not a frame: {error:?}")),
            }
        }
        None
    }

    /// Whether the unit is free and the stream can carry the next request.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.stage == Stage::Free && self.reader.is_between() && !self.ended
    }

    /// Whether the stream must be closed: it ended, or what came was not the protocol.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.stage == Stage::Lost
    }

    /// What was wrong, for the log; set when [`Event::Broken`] comes.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    fn on_frame(&mut self, frame: Frame) -> Option<Event> {
        if frame.header.stream != self.stream {
            return self.lose(format!(
                "a frame of request {} in the answer to {}",
                frame.header.stream, self.stream
            ));
        }
        match (self.stage, frame.header.kind) {
            (Stage::Head(_), Kind::Head) => Some(self.on_head(&frame.payload)),
            (Stage::Head(_), Kind::End) => Some(self.fail(Fault::Failed, "no response head".to_owned())),
            (Stage::Body(passes), Kind::Body) => {
                (passes && !frame.payload.is_empty()).then_some(Event::Body(frame.payload))
            }
            (Stage::Body(passes), Kind::File) => {
                let Some((offset, len)) = file(&frame.payload) else {
                    return self.lose("a FILE frame of the wrong length".to_owned());
                };
                passes.then_some(Event::File { offset, len })
            }
            (Stage::Body(_), Kind::End) if frame.header.flags & frame::ABORT != 0 => {
                Some(self.fail(Fault::Truncated, "the app failed in the middle of the response".to_owned()))
            }
            (Stage::Body(_), Kind::End) => {
                self.stage = Stage::Over;
                Some(Event::End)
            }
            (Stage::Over, Kind::Free) => {
                self.stage = Stage::Free;
                Some(Event::Free)
            }
            (Stage::Over, Kind::Head | Kind::Body | Kind::File | Kind::End) if self.refused => None,
            (_, kind) => self.lose(format!("an unexpected {kind:?} frame")),
        }
    }

    fn on_head(&mut self, payload: &[u8]) -> Event {
        match head(payload) {
            Ok((head, _)) if head.status.0 < 200 => Event::Interim(head),
            Ok((head, body)) => {
                self.stage = Stage::Body(!head.status.forbids_body());
                Event::Head { head, body }
            }
            Err(why) => {
                self.refused = true;
                self.fail(Fault::Malformed, why)
            }
        }
    }

    fn on_eof(&mut self) -> Option<Event> {
        let fault = match self.stage {
            Stage::Head(false) => Fault::Closed,
            Stage::Head(true) | Stage::Body(_) => Fault::Truncated,
            Stage::Over | Stage::Free | Stage::Lost => {
                self.stage = Stage::Lost;
                return None;
            }
        };
        self.stage = Stage::Lost;
        self.why = Some("the app process ended".to_owned());
        Some(Event::Broken(fault))
    }

    fn fail(&mut self, fault: Fault, why: String) -> Event {
        self.stage = Stage::Over;
        self.why = Some(why);
        Event::Broken(fault)
    }

    fn lose(&mut self, why: String) -> Option<Event> {
        let told = matches!(self.stage, Stage::Over | Stage::Free);
        self.stage = Stage::Lost;
        self.why = Some(why);
        (!told).then_some(Event::Broken(Fault::Malformed))
    }
}

/// Fields of a response that are the server's.
const DROPPED: [&str; 9] = [
    "connection",
    "date",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Parses and checks `200 OK\0name\0value\0…`.
fn head(payload: &[u8]) -> Result<(ResponseHead, BodyLength), String> {
    let payload = payload.strip_suffix(b"\0").ok_or("a response head without an end")?;
    let mut parts = payload.split(|byte| *byte == 0);
    let line = parts.next().unwrap_or_default();
    let mut head = status(line).ok_or_else(|| format!("status {}", shown(line)))?;
    let mut length = None;
    while let Some(name) = parts.next() {
        let value = parts.next().ok_or("a response field without a value")?.trim_ascii();
        if !fields::is_name(name) {
            return Err(format!("response field name {}", shown(name)));
        }
        if !fields::is_value(value) {
            return Err(format!("control character in the value of response field {}", shown(name)));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let this = digits(value).ok_or_else(|| format!("Content-Length {}", shown(value)))?;
            if length.is_some_and(|other| other != this) {
                return Err("two different Content-Length".to_owned());
            }
            length = Some(this);
        } else if !DROPPED.iter().any(|dropped| name.eq_ignore_ascii_case(dropped.as_bytes())) {
            head.fields.add(name, value);
        }
    }
    // The length of a 304 is that of the representation, not of a body (RFC 9110 §8.6); there is nothing to announce.
    let body = match length {
        _ if head.status.forbids_body() => BodyLength::None,
        Some(length) => BodyLength::Known(length),
        None => BodyLength::Unknown,
    };
    Ok((head, body))
}

/// `200 OK`: three digits from 100 to 999, then nothing, or a space and a reason. 101 would hand the connection over.
fn status(line: &[u8]) -> Option<ResponseHead> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    let code = digits(code).and_then(|code| u16::try_from(code).ok())?;
    let reason = match rest.split_first() {
        None => rest,
        Some((b' ', reason)) => reason.trim_ascii(),
        Some(_) => return None,
    };
    if !(100..=999).contains(&code) || code == 101 || !fields::is_value(reason) {
        return None;
    }
    let differs = !reason.is_empty() && reason != Status(code).reason().as_bytes();
    Some(ResponseHead { reason: differs.then(|| reason.into()), ..ResponseHead::new(code) })
}

/// A number of nothing but digits.
fn digits(text: &[u8]) -> Option<u64> {
    text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// What an app wrote, for the log: one line, not endless.
fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.get(..80).unwrap_or(bytes).escape_ascii())
}

fn file(payload: &[u8]) -> Option<(u64, u64)> {
    let (offset, len) = payload.split_first_chunk::<8>()?;
    let len: [u8; 8] = len.try_into().ok()?;
    let (offset, len) = (u64::from_le_bytes(*offset), u64::from_le_bytes(len));
    offset.checked_add(len).map(|_| (offset, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(list: &[(Kind, u8, &[u8])]) -> Vec<u8> {
        let mut wire = Vec::new();
        list.iter().for_each(|(kind, flags, payload)| frame::push(&mut wire, *kind, *flags, 3, payload));
        wire
    }

    fn events(wire: &[u8], eof: bool) -> (Vec<Event>, Response) {
        let mut response = Response::new(3);
        response.feed(wire);
        let mut events: Vec<_> = std::iter::from_fn(|| response.poll()).collect();
        if eof {
            response.eof();
            events.extend(std::iter::from_fn(|| response.poll()));
        }
        (events, response)
    }

    fn whole(head: &[u8]) -> (Vec<Event>, Response) {
        events(
            &frames(&[
                (Kind::Head, 0, head),
                (Kind::Body, 0, b"hello"),
                (Kind::End, 0, b""),
                (Kind::Free, 0, b""),
            ]),
            false,
        )
    }

    #[test]
    fn requests_carry_their_body_or_announce_a_descriptor() {
        let raw = b"POST".to_vec();
        let method = crate::http::Span { start: 0, end: 4 };
        let head = crate::http::RequestHead::new(
            raw,
            method,
            crate::http::Span::default(),
            crate::http::Version::Http10,
            Vec::new(),
        );
        let request = params::Request {
            head: &head,
            path: b"/nul\0",
            raw: b"/nul%00",
            query: b"",
            mount: "",
            body: Some(4),
            peer: None,
            client: None,
            scheme: "http",
            server_name: b"a",
            server_port: 80,
            id: "1",
        };
        for (body, kinds, flags) in [
            (Body::None, &[Kind::Request][..], frame::END),
            (Body::Descriptor, &[Kind::Request][..], frame::FD),
            (Body::Inline(b"body"), &[Kind::Request, Kind::Body, Kind::End][..], 0),
        ] {
            let mut out = b"before".to_vec();
            super::request(9, &request, body, &mut out);
            let mut reader = Reader::new();
            reader.feed(out.strip_prefix(b"before").unwrap());
            let frames: Vec<_> = std::iter::from_fn(|| reader.poll().unwrap()).collect();
            assert_eq!(frames.iter().map(|frame| frame.header.kind).collect::<Vec<_>>(), kinds);
            assert!(frames.iter().all(|frame| frame.header.stream == 9) && reader.is_between());
            assert_eq!(frames[0].header.flags, flags);
            let text = frames[0].payload.strip_suffix(b"\0").unwrap();
            let parts: Vec<_> = text.split(|byte| *byte == 0).collect();
            assert_eq!(parts.len() % 2, 0);
            let pairs: Vec<_> = parts.chunks(2).collect();
            assert!(pairs.contains(&&[&b"CONTENT_LENGTH"[..], b"4"][..]));
            assert!(pairs.contains(&&[&b"SERVER_PROTOCOL"[..], b"HTTP/1.0"][..]));
            assert!(
                !pairs.iter().any(|pair| pair[0] == b"PATH_INFO"),
                "a NUL would shift every name after it"
            );
        }
        let mut out = Vec::new();
        hello(258, 3, &mut out);
        assert_eq!(out[frame::HEADER..], [1, 0, 0, 0, 2, 1, 3, 0]);
    }

    #[test]
    fn a_response_comes_out_at_every_cut() {
        let wire = frames(&[
            (
                Kind::Head,
                frame::LENGTH,
                b"200 OK\0Content-Type\0text/plain\0Set-Cookie\0a=1\0Content-Length\x0015\0Set-Cookie\0b=2\0",
            ),
            (Kind::Body, 0, b"hello"),
            (Kind::File, 0, b"\x07\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0"),
            (Kind::End, 0, b""),
            (Kind::Free, 0, b""),
        ]);
        let head = ResponseHead::new(200)
            .with("Content-Type", "text/plain")
            .with("Set-Cookie", "a=1")
            .with("Set-Cookie", "b=2");
        for cut in 0..=wire.len() {
            let mut response = Response::new(3);
            let mut got = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                assert!(!response.is_free() || part.is_empty());
                response.feed(part);
                got.extend(std::iter::from_fn(|| response.poll()));
            }
            let body: Vec<u8> = got
                .iter()
                .filter_map(|event| match event {
                    Event::Body(bytes) => Some(bytes.clone()),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(body, b"hello", "cut at {cut}");
            got.retain(|event| !matches!(event, Event::Body(_)));
            let rest = [
                Event::Head { head: head.clone(), body: BodyLength::Known(15) },
                Event::File { offset: 7, len: 10 },
                Event::End,
                Event::Free,
            ];
            assert_eq!(got, rest, "cut at {cut}");
            assert!(response.is_free() && !response.is_lost());
        }
    }

    #[test]
    fn heads_an_app_must_not_send_are_refused_and_the_unit_still_comes_free() {
        for head in [
            &b"200 OK\0X-A\0a\r\nSet-Cookie: b=1\0"[..],
            b"200 OK\0X-A\r\nB\0a\0",
            b"200 OK\r\nX: y\0",
            b"200 OK\0X A\0a\0",
            b"200 OK\0\0a\0",
            b"200 OK\0X-A\0",
            b"200 OK\0Content-Length\0-1\0",
            b"200 OK\0Content-Length\0+1\0",
            b"200 OK\0Content-Length\0\0",
            b"200 OK\0Content-Length\x001\0Content-Length\x002\0",
            b"200 OK\0Content-Length\x0099999999999999999999\0",
            b"099 Low\0",
            b"99\0",
            b"1000 High\0",
            b"101 Switching Protocols\0",
            b"OK\0",
            b"200OK\0",
            b"200 OK",
            b"",
        ] {
            let (events, response) = whole(head);
            assert_eq!(events, [Event::Broken(Fault::Malformed), Event::Free], "{}", head.escape_ascii());
            assert!(response.why().is_some_and(|why| !why.contains('\n')));
            assert!(response.is_free());
        }
    }

    #[test]
    fn fields_of_the_server_are_dropped_and_reasons_kept() {
        let (events, _) = whole(
            b"299 Very Fine\0Connection\0keep-alive\0DATE\0x\0Server\0me\0Transfer-Encoding\0chunked\0X\0 caf\xe9 \0",
        );
        let mut head = ResponseHead::new(299).with("X", b"caf\xe9");
        head.reason = Some(Box::from(&b"Very Fine"[..]));
        assert_eq!(events[0], Event::Head { head, body: BodyLength::Unknown });
        assert_eq!(events[1..], [Event::Body(b"hello".to_vec()), Event::End, Event::Free]);
        let (events, _) = whole(b"204 No Content\0Content-Length\x005\0");
        let head = ResponseHead::new(204);
        assert_eq!(events, [Event::Head { head, body: BodyLength::None }, Event::End, Event::Free]);
    }

    #[test]
    fn an_end_of_the_stream_is_told_by_how_far_it_came() {
        let head: (Kind, u8, &[u8]) = (Kind::Head, 0, b"200 OK\0");
        for (list, fault) in [
            (&[][..], Some(Fault::Closed)),
            (&[head][..], Some(Fault::Truncated)),
            (&[head, (Kind::Body, 0, b"x")][..], Some(Fault::Truncated)),
            (&[head, (Kind::End, 0, b"")][..], None),
            (&[head, (Kind::End, 0, b""), (Kind::Free, 0, b"")][..], None),
        ] {
            let (events, response) = events(&frames(list), true);
            let broken = events.iter().find_map(|event| match event {
                Event::Broken(fault) => Some(*fault),
                _ => None,
            });
            assert_eq!(broken, fault, "{list:?}");
            assert!(response.is_lost() && !response.is_free());
        }
    }

    #[test]
    fn a_response_that_broke_off_frees_its_unit() {
        let wire = frames(&[
            (Kind::Head, 0, b"200 OK\0"),
            (Kind::Body, 0, b"x"),
            (Kind::End, frame::ABORT, b""),
            (Kind::Free, 0, b""),
        ]);
        let (events, response) = events(&wire, false);
        assert_eq!(events[1..], [Event::Body(b"x".to_vec()), Event::Broken(Fault::Truncated), Event::Free]);
        assert!(response.is_free());
    }

    #[test]
    fn what_is_not_the_protocol_loses_the_stream() {
        let head: (Kind, u8, &[u8]) = (Kind::Head, 0, b"200 OK\0");
        for list in [
            &[(Kind::Body, 0, &b"x"[..])][..],
            &[(Kind::Free, 0, &b""[..])][..],
            &[head, head][..],
            &[head, (Kind::Free, 0, b"")][..],
            &[head, (Kind::File, 0, b"short")][..],
            &[head, (Kind::File, 0, b"\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\0\0\0\0\0\0")][..],
            &[(Kind::Request, 0, &b""[..])][..],
        ] {
            let (events, response) = events(&frames(list), false);
            assert_eq!(events.last(), Some(&Event::Broken(Fault::Malformed)), "{list:?}");
            assert!(response.is_lost());
        }
        let mut response = Response::new(4);
        response.feed(&frames(&[head]));
        assert_eq!(response.poll(), Some(Event::Broken(Fault::Malformed)));
        let (_, mut response) = whole(b"200 OK\0");
        response.feed(b"more");
        assert!(!response.is_free());
    }
}
