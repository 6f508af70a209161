//! The ready request: one GET that a new app process must answer before clients may reach it. Pure: it makes the frames
//! and judges the answer; who asks owns the socket and the clock.
//!
//! It goes the way of every request: the same frames to the same socket and unit, the same environ, the same checks of
//! the response head.

use super::app::{self, Body, Response};
use super::shared::{self, Asked};
use super::{Event, Request};
use crate::control::text;
use crate::http::fault::Fault;
use crate::http::forwarded::Origin;
use crate::http::{Method, RequestHead, Scheme, Span, Version, target};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// The row in HELLO of who is no worker; no worker ever has it.
pub(crate) const ROW: u16 = u16::MAX;

/// Number of the request on its stream; where that is shared, the first of the first unit.
const STREAM: u32 = 1 << 16;
/// So much of a refusal's body is kept to be shown.
const SHOWN: usize = 300;

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// Path, and query if any, as a client would write it.
    pub(crate) path: String,
    /// SCRIPT_NAME.
    pub(crate) mount: String,
    /// `Host`.
    pub(crate) host: String,
    /// `http` or `https`.
    pub(crate) scheme: Scheme,
    /// What counts as ready.
    pub(crate) status: Accepted,
}

/// Which statuses count as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accepted {
    /// This one.
    Exactly(u16),
    /// `2` is 200 to 299.
    Class(u16),
}

impl Default for Accepted {
    fn default() -> Self {
        Self::Class(2)
    }
}

impl Accepted {
    pub(super) fn takes(self, status: u16) -> bool {
        match self {
            Self::Exactly(wanted) => status == wanted,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl std::fmt::Display for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// Appends the frames of the question: those of a whole stream; `shared`: of one for all units of the process.
pub(crate) fn ask(question: &Question, shared: bool, out: &mut Vec<u8>) {
    if shared {
        shared::hello(ROW, out);
        return question.asked("ready", |request| {
            shared::ask(STREAM, Asked::Http, request, None, Body::None, out);
        });
    }
    app::hello(ROW, 0, out);
    question.asked("ready", |request| app::request(STREAM, request, None, Body::None, out));
}

impl Question {
    /// What is done with it as a request like any other. `id` is what it is called.
    pub(super) fn asked<T>(&self, id: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let head = self.head(id);
        let raw = head.target();
        let parsed = target::parse(Method::Get, raw).ok();
        let path = parsed.as_ref().map_or(raw, |parsed| parsed.path_info());
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
            _ => (&*self.host, None),
        };
        let port = port.unwrap_or(self.scheme.default_port());
        ask(&Request {
            path,
            raw,
            query: parsed.as_ref().and_then(|parsed| parsed.query(raw)).unwrap_or_default(),
            mount: &self.mount,
            origin: Origin {
                client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                trusted: true,
                scheme: self.scheme,
            },
            authority: self.host.as_bytes(),
            server_name: name.as_bytes(),
            server_port: port,
            local_port: port,
            id,
            ..Request::of(&head)
        })
    }

    fn head(&self, id: &str) -> RequestHead {
        let mut raw = Vec::new();
        let mut put = |text: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            Span { start, end: raw.len() as u32 }
        };
        let method = put("GET");
        let target = put(&self.path);
        let agent = format!(concat!("hatchery/", env!("CARGO_PKG_VERSION"), " ({})"), id);
        let fields = [("Host", &*self.host), ("User-Agent", &agent), ("Accept", "*/*")]
            .map(|(name, value)| (put(name), put(value)));
        RequestHead::new(raw, method, target, Version::Http11, fields.to_vec())
    }
}

/// The answer as it comes.
#[derive(Debug)]
pub(crate) struct Answer {
    response: Response,
    accepted: Accepted,
    status: Option<u16>,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    /// To a question with these statuses.
    #[must_use]
    pub(crate) fn to(accepted: Accepted) -> Self {
        Self { response: Response::new(STREAM), accepted, status: None, location: None, body: Vec::new() }
    }

    /// Takes bytes read from the stream.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.response.feed(bytes);
    }

    /// Whether the process is ready, once that is known: after the whole response, and when its unit is free. The
    /// error says what the answer was, after "GET /path".
    pub(crate) fn poll(&mut self) -> Option<Result<(), String>> {
        loop {
            match self.response.poll()? {
                Event::Head { head, .. } => {
                    self.status = Some(head.status.0);
                    self.location =
                        head.fields.get("location").map(|to| String::from_utf8_lossy(to).into_owned());
                }
                Event::Body(bytes) => {
                    let room = SHOWN.saturating_sub(self.body.len()).min(bytes.len());
                    self.body.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                Event::Free => return Some(self.verdict()),
                Event::Broken(fault) => return Some(Err(self.broken(fault))),
                Event::Interim(_)
                | Event::Switched(_)
                | Event::File { .. }
                | Event::Trailers(_)
                | Event::End => {}
            }
        }
    }

    fn verdict(&self) -> Result<(), String> {
        let status = self.status.unwrap_or_default();
        if self.accepted.takes(status) {
            return Ok(());
        }
        let mut text = format!("answered {status} instead of {}", self.accepted);
        let line = first_line(&self.body);
        if let Some(to) = &self.location {
            text.push_str(&format!(" (to {})", to.escape_debug()));
        } else if !line.is_empty() {
            text.push_str(&format!(": {line}"));
        }
        Err(text)
    }

    fn broken(&self, fault: Fault) -> String {
        match (self.response.why(), fault) {
            (_, Fault::Closed | Fault::Truncated) if self.status.is_none() => "got no answer".to_owned(),
            (Some(why), _) => format!("got an answer that cannot be used: {why}"),
            (None, fault) => format!("got an answer that cannot be used: {fault:?}"),
        }
    }
}

/// The first line with anything in it.
fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    text::line(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::frame::{self, Kind};

    fn question() -> Question {
        Question {
            path: "/blog/health%7A?deep=1".to_owned(),
            mount: "/blog".to_owned(),
            host: "shop.example:8443".to_owned(),
            scheme: Scheme::Https,
            status: Accepted::Class(2),
        }
    }

    fn answer(accepted: Accepted, frames: &[(Kind, u8, &[u8])]) -> Option<Result<(), String>> {
        let mut wire = Vec::new();
        frames
            .iter()
            .for_each(|(kind, flags, payload)| frame::push(&mut wire, *kind, *flags, STREAM, payload));
        let mut answer = Answer::to(accepted);
        for byte in wire {
            answer.feed(&[byte]);
            if let Some(verdict) = answer.poll() {
                return Some(verdict);
            }
        }
        answer.poll()
    }

    fn whole(accepted: Accepted, head: &[u8], body: &[u8]) -> Option<Result<(), String>> {
        let frames =
            [(Kind::Head, 0, head), (Kind::Body, 0, body), (Kind::End, 0, b""), (Kind::Free, 0, b"")];
        answer(accepted, &frames)
    }

    #[test]
    fn the_question_looks_like_a_request_of_a_client() {
        let mut wire = Vec::new();
        ask(&question(), false, &mut wire);
        let mut reader = frame::Reader::new();
        reader.feed(&wire);
        let hello = reader.poll().unwrap().unwrap();
        assert_eq!((hello.header.kind, &hello.payload[4..]), (Kind::Hello, &[255, 255, 0, 0][..]));
        let request = reader.poll().unwrap().unwrap();
        assert_eq!((request.header.kind, request.header.flags), (Kind::Request, frame::END));
        let text = String::from_utf8(request.payload).unwrap();
        for pair in [
            "REQUEST_METHOD\0GET\0",
            "SCRIPT_NAME\0/blog\0",
            "PATH_INFO\0/healthz\0",
            "QUERY_STRING\0deep=1\0",
            "REQUEST_URI\0/blog/health%7A?deep=1\0",
            "REQUEST_SCHEME\0https\0",
            "SERVER_NAME\0shop.example\0",
            "SERVER_PORT\x008443\0",
            "REMOTE_ADDR\x00127.0.0.1\0",
            "HTTP_HOST\0shop.example:8443\0",
        ] {
            assert!(text.contains(pair), "{pair:?} is missing in {text:?}");
        }
        assert!(reader.is_between());
    }

    #[test]
    fn a_status_that_was_asked_for_is_ready_once_the_unit_is_free() {
        let two = Accepted::Class(2);
        assert_eq!(whole(two, b"204 No Content\0", b""), Some(Ok(())));
        assert_eq!(whole(Accepted::Exactly(401), b"401 Unauthorized\0", b"who"), Some(Ok(())));
        let running = [(Kind::Head, 0, &b"200 OK\0"[..]), (Kind::End, 0, b"")];
        assert_eq!(answer(two, &running), None, "close() still runs");
    }

    #[test]
    fn a_refusal_says_what_came() {
        let two = Accepted::Class(2);
        let error = |verdict: Option<Result<(), String>>| verdict.unwrap().unwrap_err();
        let database = error(whole(two, b"503 Service Unavailable\0", b"\n no database\x1b[2J \nmore"));
        assert_eq!(database, "answered 503 instead of 2xx: no database\\x1b[2J");
        let elsewhere = whole(two, b"301 Moved\0Location\0https://shop.example/\0", b"<html>");
        assert_eq!(error(elsewhere), "answered 301 instead of 2xx (to https://shop.example/)");
        assert_eq!(
            error(whole(Accepted::Exactly(200), b"204 No Content\0", b"")),
            "answered 204 instead of 200"
        );
        let long = error(whole(two, b"500 Oh\0", &[b'x'; 4000]));
        assert!(long.len() < SHOWN + 50, "{}", long.len());
    }

    #[test]
    fn a_process_that_breaks_off_or_talks_nonsense_is_not_ready() {
        let two = Accepted::Class(2);
        let torn = [(Kind::Head, 0, &b"200 OK\0"[..]), (Kind::End, frame::ABORT, b"")];
        assert!(answer(two, &torn).unwrap().unwrap_err().contains("in the middle"));
        let bad = whole(two, b"200 OK\0bad name\0x\0", b"").unwrap().unwrap_err();
        assert!(bad.contains("response field name"), "{bad}");
    }
}
