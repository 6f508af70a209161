//! Worker to app process: requests into frames, frames into events. The frames are described in
//! [`crate::control::frame`], the program at the other end is [`HOST_PROGRAM`].
//!
//! What an app says in its head is checked here, because a field with a line break in it would let the app's users
//! write responses of their own. Fields that belong to the connection, and `Date` and `Server`, are the server's and
//! are dropped, as nginx and gunicorn do.

use super::http1::INTERIMS_MAX;
use super::{Event, Request, params};
use crate::control::frame::{self, Frame, Header, Kind, Reader};
use crate::http::fault::{Fault, Flaw, Refusal};
use crate::http::{BodyLength, ResponseHead, Status, fields};
use std::time::Duration;

/// The program that imports and serves an app. Run it by [`HOST_ARGUMENTS`] with this text on standard input (a memfd), so
/// that process lists stay readable; arguments after those are for them only. Its settings are the environment variables
/// that its first comment lists. It says HELLO, then READY, or FAILED and exits 3. What only some apps need is a string in
/// it, which is compiled when an app turns out to be one of them: others do not wait for it.
pub const HOST_PROGRAM: &str = concat!(
    include_str!("host/hatchery_host.py"),
    "\n\nINTERFACES = r'''",
    include_str!("host/hatchery_interfaces.py"),
    "'''\n\nASGI = r'''",
    include_str!("host/hatchery_asgi.py"),
    include_str!("host/hatchery_asgi_exchange.py"),
    include_str!("host/hatchery_asgi_http.py"),
    include_str!("host/hatchery_asgi_websocket.py"),
    include_str!("host/hatchery_asgi_lifespan.py"),
    include_str!("host/hatchery_asgi_link.py"),
    "'''\n\n\nmain()\n",
);

/// Has Python run the program on its standard input. By `-` it would do so too, and where PYTHONUNBUFFERED is set, as in most
/// images of containers, read it byte by byte, each by a system call of its own.
pub const HOST_ARGUMENTS: &[&str] =
    &["-c", "exec(compile(open(0, 'rb', closefd=False).read(), '<stdin>', 'exec'))"];

/// What a template runs in place of the last line of [`HOST_PROGRAM`], which starts it. Apart, since compiling it would be
/// a part of every cold start.
const TEMPLATE: &str = include_str!("host/hatchery_template.py");

/// The Python program that imports an app so that processes can be forked from it.
#[must_use]
pub(crate) fn template_program() -> String {
    let host = HOST_PROGRAM.trim_end();
    [host.strip_suffix("main()").unwrap_or(host), TEMPLATE].concat()
}

/// Longest body that travels in frames; a longer one is spooled to a file and its descriptor passed.
pub(crate) const INLINE: u64 = 64 * 1024;

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

/// Appends a request with its body, of `length` bytes if it has one. A variable that contains NUL, which the head parser excludes, is left out.
pub fn request(stream: u32, request: &Request<'_>, length: Option<u64>, body: Body<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let flags = match body {
        Body::None => frame::END,
        Body::Inline(_) => 0,
        Body::Descriptor => frame::FD,
    };
    frame::push(out, Kind::Request, flags, stream, b"");
    params::each(request, length, |name, value| {
        if !name.contains(&0) && !value.contains(&0) {
            out.reserve(name.len() + value.len() + 2);
            out.extend_from_slice(name);
            out.push(0);
            out.extend_from_slice(value);
            out.push(0);
        }
    });
    // One that is too long is refused by the host, not taken for a shorter one.
    let length = u32::try_from(out.len() - start - frame::HEADER).unwrap_or(u32::MAX);
    let header = Header { length, kind: Kind::Request, flags, stream }.encode();
    if let Some(place) = out.get_mut(start..start + frame::HEADER) {
        place.copy_from_slice(&header);
    }
    if let Body::Inline(bytes) = body {
        frame::push(out, Kind::Body, 0, stream, bytes);
        frame::push(out, Kind::End, 0, stream, b"");
    }
}

/// Appends that nobody waits for the answer to that request any more.
pub fn cancel(stream: u32, out: &mut Vec<u8>) {
    frame::push(out, Kind::Cancel, 0, stream, b"");
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
/// | Head | Head → Body | lost | Broken(Failed, or as it says), without ABORT Broken(Malformed) → Over | lost | Broken(Closed) → Lost |
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
    /// How many interim heads have come.
    interims: u8,
    /// The head says of a place of the site that it answers.
    leads: bool,
    /// What FREE has said.
    took: Option<Duration>,
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
            interims: 0,
            leads: false,
            took: None,
            why: None,
        }
    }

    /// The answer to the next request over the same stream, once this one has ended with FREE: of it some may have come already.
    #[must_use]
    pub(crate) fn follow(self, stream: u32) -> Self {
        let stage = Stage::Head(!self.reader.is_between());
        Self { stage, reader: self.reader, ended: self.ended, ..Self::new(stream) }
    }

    /// The request that it answers.
    #[must_use]
    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }

    /// How long the app had the request, `None` before FREE or if the host does not say.
    #[must_use]
    pub(crate) fn took(&self) -> Option<Duration> {
        self.took
    }

    /// Whether another place of the site is to answer, the one in Location: what a script may say, and nobody else.
    #[must_use]
    pub(crate) fn leads(&self) -> bool {
        self.leads
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

    /// Whether every frame that has come was taken as a whole.
    #[must_use]
    pub(crate) fn is_between(&self) -> bool {
        self.reader.is_between()
    }

    /// Whether the app has said END: it does nothing more for this response.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Free) && !self.refused
    }

    /// Whether the stream must be closed: it ended, or what came was not the protocol.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.stage == Stage::Lost
    }

    /// What was wrong, for the log; set when [`Event::Broken`] comes.
    #[must_use]
    pub(crate) fn why(&self) -> Option<&str> {
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
            (Stage::Head(_), Kind::Head) => {
                self.leads = frame.header.flags & frame::PLACE != 0;
                Some(self.on_head(&frame.payload))
            }
            (Stage::Head(_), Kind::End) if frame.header.flags & frame::ABORT != 0 => {
                self.stage = Stage::Over;
                Some(Event::Broken(why_none(&frame.payload)))
            }
            (Stage::Head(_), Kind::End) => {
                Some(self.fail(Fault::Malformed(Flaw::Frame), "no response head".to_owned()))
            }
            (Stage::Body(passes), Kind::Body) => {
                (passes && !frame.payload.is_empty()).then_some(Event::Body(frame.payload))
            }
            (Stage::Body(passes), Kind::File) => {
                let Some((offset, len)) = file(&frame.payload) else {
                    return self.lose("a FILE frame of the wrong length".to_owned());
                };
                Some(Event::File { offset, len: if passes { len } else { 0 } })
            }
            // Who asks for the master hears an ASGI app in this way, too.
            (Stage::Body(_), Kind::Trailers) => None,
            (Stage::Body(_), Kind::End) if frame.header.flags & frame::ABORT != 0 => {
                Some(self.fail(Fault::Truncated, "the app failed in the middle of the response".to_owned()))
            }
            (Stage::Body(_), Kind::End) => {
                self.stage = Stage::Over;
                Some(Event::End)
            }
            (Stage::Over, Kind::Free) => {
                self.stage = Stage::Free;
                self.took = taken(&frame.payload);
                Some(Event::Free)
            }
            (Stage::Over, Kind::File) if self.refused => Some(Event::File { offset: 0, len: 0 }),
            (Stage::Over, Kind::Head | Kind::Body | Kind::End) if self.refused => None,
            (_, kind) => self.lose(format!("an unexpected {kind:?} frame")),
        }
    }

    fn on_head(&mut self, payload: &[u8]) -> Event {
        match head(payload) {
            Ok((head, _)) if head.status.0 < 200 && self.interims < INTERIMS_MAX => {
                self.interims += 1;
                Event::Interim(head)
            }
            Ok((head, _)) if head.status.0 < 200 => {
                self.refused = true;
                self.fail(Fault::Malformed(Flaw::Interims), "too many interim responses".to_owned())
            }
            Ok((head, body)) => {
                self.stage = Stage::Body(!head.status.forbids_body());
                Event::Head { head, body }
            }
            Err(why) => {
                self.refused = true;
                self.fail(Fault::Malformed(Flaw::Frame), why)
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
        (!told).then_some(Event::Broken(Fault::Malformed(Flaw::Frame)))
    }
}

/// Fields of a response that are the server's. The date stays for the cache; no connection writes another one than its own.
const DROPPED: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Parses and checks `200 OK\0name\0value\0…`.
pub(super) fn head(payload: &[u8]) -> Result<(ResponseHead, BodyLength), String> {
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

/// A script's environment, which the request becomes, has bounds of the kernel's.
const TOO_LONG: Refusal =
    Refusal { status: 431, why: "the header fields do not fit the environment of a script" };
const TOO_LONG_TARGET: Refusal =
    Refusal { status: 414, why: "the request target does not fit the environment of a script" };

/// Why there is no response, from the payload of an END: a status, u16, or nothing.
fn why_none(payload: &[u8]) -> Fault {
    match payload.try_into().map(u16::from_le_bytes) {
        Ok(403) => Fault::Barred,
        Ok(404) => Fault::Absent,
        Ok(414) => Fault::Request(TOO_LONG_TARGET),
        Ok(431) => Fault::Request(TOO_LONG),
        Ok(500) => Fault::Unstarted,
        Ok(502) => Fault::Malformed(Flaw::Program),
        Ok(503) => Fault::Unavailable,
        Ok(504) => Fault::Silent,
        _ => Fault::Failed,
    }
}

/// What FREE says: microseconds.
fn taken(payload: &[u8]) -> Option<Duration> {
    let taken = payload.try_into().ok().map(u32::from_le_bytes)?;
    Some(Duration::from_micros(u64::from(taken)))
}

pub(super) fn file(payload: &[u8]) -> Option<(u64, u64)> {
    let (offset, len) = payload.split_first_chunk::<8>()?;
    let len: [u8; 8] = len.try_into().ok()?;
    let (offset, len) = (u64::from_le_bytes(*offset), u64::from_le_bytes(len));
    offset.checked_add(len).map(|_| (offset, len))
}

#[cfg(test)]
mod tests;
