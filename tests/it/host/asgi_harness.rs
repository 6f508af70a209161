//! What a worker says to an ASGI process: the frames of many requests over one stream.

use super::harness::{Host, pass, receive, spooled};
use hatchery::control::frame::{self, Frame, Kind, Reader, WHOLE};
use hatchery::gateway::app;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

pub(super) const ABORT: u8 = 4;
pub(super) const LENGTH: u8 = 8;

/// The app of the cases, up to READY. It has 4 units and a window of 64 KiB.
pub(super) fn host() -> Host {
    with(&[])
}

/// The same with these settings.
pub(super) fn with(settings: &[(&str, &str)]) -> Host {
    app("asgi_app", "application", settings)
}

/// An ASGI app, up to READY.
pub(super) fn app(module: &str, callable: &str, settings: &[(&str, &str)]) -> Host {
    let settings = [&[("MAX_CONNECTIONS", "4"), ("WINDOW", "65536")], settings].concat();
    let mut host = Host::start_with(module, callable, &settings);
    let ready = host.told();
    assert_eq!(ready.header.kind, Kind::Ready, "{}", String::from_utf8_lossy(&ready.payload));
    assert_eq!(ready.payload, b"asgi");
    host
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) kind: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a [u8],
    pub(super) query: &'a str,
    pub(super) mount: &'a str,
    pub(super) body: Option<&'a [u8]>,
    pub(super) spooled: bool,
    pub(super) fields: &'a [(&'a str, &'a [u8])],
}

pub(super) fn get(path: &str) -> Ask<'_> {
    Ask {
        kind: "http",
        method: "GET",
        path: path.as_bytes(),
        query: "",
        mount: "",
        body: None,
        spooled: false,
        fields: &[],
    }
}

pub(super) fn asked<'a>(path: &'a str, query: &'a str) -> Ask<'a> {
    Ask { query, ..get(path) }
}

/// What came back for one request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Lines of the head: the status, then `name: value`.
    pub(super) head: Vec<String>,
    pub(super) interim: Vec<String>,
    pub(super) flags: u8,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<String>,
    /// Kinds of its frames, BODY once.
    pub(super) kinds: Vec<Kind>,
    /// Flags of END.
    pub(super) end: Option<u8>,
    /// What FREE says.
    pub(super) micros: Option<u32>,
}

impl Answer {
    pub(super) fn status(&self) -> &str {
        self.head.first().map_or("", |status| status)
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn take(&mut self, frame: &Frame, files: &mut Vec<File>) {
        match frame.header.kind {
            Kind::Head if frame.payload.starts_with(b"103\0") => self.interim = lines(&frame.payload),
            Kind::Head => {
                assert!(self.head.is_empty(), "a second head: {frame:?}");
                self.head = lines(&frame.payload);
                self.flags = frame.header.flags;
            }
            Kind::Body => self.body.extend_from_slice(&frame.payload),
            Kind::File => {
                let word = |at: usize| u64::from_le_bytes(frame.payload[at..at + 8].try_into().unwrap());
                let mut bytes = vec![0; word(8) as usize];
                files.remove(0).read_exact_at(&mut bytes, word(0)).unwrap();
                self.body.extend_from_slice(&bytes);
            }
            Kind::Trailers => self.trailers = lines(&[b"trailers\0", &*frame.payload].concat()),
            Kind::End => self.end = Some(frame.header.flags),
            Kind::Free => self.micros = Some(u32::from_le_bytes(frame.payload[..].try_into().unwrap())),
            kind => panic!("{kind:?} in an answer"),
        }
        if self.kinds.last() != Some(&frame.header.kind) {
            self.kinds.push(frame.header.kind);
        }
    }
}

/// `200\0name\0value\0` as lines.
fn lines(payload: &[u8]) -> Vec<String> {
    let text: String = payload.strip_suffix(b"\0").unwrap().iter().map(|byte| char::from(*byte)).collect();
    let mut parts = text.split('\0');
    let first = parts.next().unwrap().to_owned();
    let mut lines = vec![first];
    while let Some(name) = parts.next() {
        lines.push(format!("{name}: {}", parts.next().unwrap()));
    }
    lines
}

/// A worker's stream to the process.
pub(super) struct Line {
    pub(super) socket: UnixStream,
    frames: Reader,
    /// What came and was of another request than was asked about.
    others: Vec<Frame>,
    pub(super) files: Vec<File>,
    count: u32,
}

impl Line {
    pub(super) fn to(host: &Host, row: u16) -> Self {
        Self::to_unit(host, row, WHOLE)
    }

    pub(super) fn to_unit(host: &Host, row: u16, unit: u16) -> Self {
        let socket = host.stream();
        let mut hello = Vec::new();
        app::hello(row, unit, &mut hello);
        (&socket).write_all(&hello).unwrap();
        Self { socket, frames: Reader::new(), others: Vec::new(), files: Vec::new(), count: 0 }
    }

    pub(super) fn say(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        let mut out = Vec::new();
        frame::push(&mut out, kind, flags, stream, payload);
        self.socket.write_all(&out).unwrap();
    }

    pub(super) fn say_raw(&mut self, wire: &[u8]) {
        self.socket.write_all(wire).unwrap();
    }

    pub(super) fn cancel(&mut self, stream: u32) {
        self.say(Kind::Cancel, 0, stream, b"");
    }

    pub(super) fn credit(&mut self, stream: u32, count: u32) {
        self.say(Kind::Credit, 0, stream, &count.to_le_bytes());
    }

    /// Sends a request for that unit; its stream.
    pub(super) fn send(&mut self, unit: u16, ask: &Ask<'_>) -> u32 {
        let (stream, out) = self.frames_of(unit, ask);
        match ask.body.filter(|_| ask.spooled) {
            Some(body) => pass(&self.socket, &out, &spooled(body), 1),
            None => self.socket.write_all(&out).unwrap(),
        }
        stream
    }

    /// The frames of a request.
    pub(super) fn frames_of(&mut self, unit: u16, ask: &Ask<'_>) -> (u32, Vec<u8>) {
        self.count += 1;
        let stream = self.count << 16 | u32::from(unit);
        let scheme = if ask.kind == "http" { "http" } else { "ws" };
        let fixed = [
            ask.kind.as_bytes(),
            b"1.1",
            ask.method.as_bytes(),
            scheme.as_bytes(),
            ask.path,
            b"/raw%20path",
            ask.query.as_bytes(),
            ask.mount.as_bytes(),
            b"192.0.2.1",
            b"4711",
            b"127.0.0.1",
            b"8000",
            b"test-1",
            b"1760013296007999",
        ];
        let fields = ask.fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
        let mut payload = Vec::new();
        for field in fixed.into_iter().chain(fields) {
            payload.extend_from_slice(field);
            payload.push(0);
        }
        let mut out = Vec::new();
        let flags = match ask.body {
            None => frame::END,
            Some(_) if ask.spooled => frame::FD,
            Some(_) => 0,
        };
        frame::push(&mut out, Kind::Request, flags, stream, &payload);
        if let Some(body) = ask.body.filter(|_| !ask.spooled) {
            for part in body.chunks(10_000) {
                frame::push(&mut out, Kind::Body, 0, stream, part);
            }
            frame::push(&mut out, Kind::End, 0, stream, b"");
        }
        (stream, out)
    }

    /// The next frame of that stream, whatever comes of others.
    pub(super) fn next(&mut self, stream: u32) -> Frame {
        if let Some(at) = self.others.iter().position(|frame| frame.header.stream == stream) {
            return self.others.remove(at);
        }
        loop {
            while let Some(frame) = self.frames.poll().unwrap() {
                if frame.header.stream == stream {
                    return frame;
                }
                self.others.push(frame);
            }
            let (bytes, files) = receive(&self.socket);
            assert!(!bytes.is_empty(), "the host has closed the stream; {:?}", self.others);
            self.files.extend(files);
            self.frames.feed(&bytes);
        }
    }

    /// The next frame of that stream, which must be of that kind.
    pub(super) fn expect(&mut self, kind: Kind, stream: u32) -> Frame {
        let frame = self.next(stream);
        assert_eq!(frame.header.kind, kind, "{frame:?}");
        frame
    }

    /// Goes on with an answer up to a frame of that kind.
    pub(super) fn go_on(&mut self, stream: u32, until: Kind, answer: &mut Answer) {
        loop {
            let frame = self.next(stream);
            answer.take(&frame, &mut self.files);
            if frame.header.kind == until {
                return;
            }
        }
    }

    /// The whole answer, for which as much credit is given as has come.
    pub(super) fn answer(&mut self, stream: u32) -> Answer {
        let mut answer = Answer::default();
        loop {
            let frame = self.next(stream);
            answer.take(&frame, &mut self.files);
            match frame.header.kind {
                Kind::Free => return answer,
                Kind::Body if !frame.payload.is_empty() => self.credit(stream, frame.payload.len() as u32),
                _ => {}
            }
        }
    }

    /// Sends a request for that unit, and returns when the app has begun with it.
    pub(super) fn begin(&mut self, unit: u16, ask: &Ask<'_>) -> u32 {
        let stream = self.send(unit, ask);
        let hello = self.send(3, &get("/hello"));
        sound(&self.answer(hello), "200", "hello");
        stream
    }

    pub(super) fn ask(&mut self, ask: &Ask<'_>) -> Answer {
        let stream = self.send(0, ask);
        self.answer(stream)
    }

    /// What the app has noted since it was asked last.
    pub(super) fn notes(&mut self) -> String {
        let stream = self.send(3, &get("/noted"));
        self.answer(stream).text()
    }

    /// Whether the host closes the stream, and says nothing before.
    pub(super) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match (&self.socket).read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset, // it had not read all
        }
    }
}

/// An answer as it should be.
pub(super) fn sound(answer: &Answer, status: &str, body: &str) {
    assert_eq!((answer.status(), answer.text().as_str()), (status, body), "{answer:?}");
    assert_eq!((answer.end, answer.micros.is_some()), (Some(0), true), "{answer:?}");
}

/// The app has failed before its head: the worker has a page for that.
pub(super) fn failed(answer: &Answer) {
    assert_eq!((answer.end, answer.micros.is_some()), (Some(ABORT), true), "{answer:?}");
    assert!(answer.head.is_empty() && answer.body.is_empty(), "{answer:?}");
}

/// It broke off behind its head.
pub(super) fn broken(answer: &Answer) {
    assert_eq!((answer.end, answer.head.is_empty()), (Some(ABORT), false), "{answer:?}");
}
