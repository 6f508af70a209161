//! What the fuzz targets in `tests/fuzz` call, and the tests that replay their corpora: each function takes arbitrary
//! bytes and panics if something that must hold does not. No part of the server; nothing calls it there.
//!
//! The invariants, besides that nothing panics: what is understood does not depend on where reads ended; what was
//! accepted, written again and read again, is the same; what goes to an upstream or an app is one request, framed as
//! it was received.

mod cache;
mod frames;
mod shared;
mod websocket;

pub use cache::{caching, kept};
pub use frames::frames;
pub use shared::shared;
pub use websocket::websocket;

use crate::config::{self, Source};
use crate::gateway::fastcgi::Scripts;
use crate::gateway::{self, Back, Protocol, http1, params};
use crate::h1::chunked::{self, Decoder};
use crate::h1::{Conn, End, Event, Request, Settings, encode};
use crate::h2::hpack::{self, Outcome as List};
use crate::http::fault::Refusal;
use crate::http::range::{self, Ranges};
use crate::http::{BodyLength, Fields, Method, ResponseHead, Status, Version as HttpVersion, fields, target};
use crate::proxied::{self, Header, Version};
use crate::timer::Time;
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A target's name, which is also that of its corpus, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 17] = [
    ("head", head),
    ("packet", packet),
    ("chunked", chunked),
    ("target", target),
    ("range", range),
    ("configuration", configuration),
    ("response", response),
    ("cgi", cgi),
    ("fastcgi", fastcgi),
    ("block", block),
    ("proxied", proxied),
    ("frames", frames),
    ("back", back),
    ("websocket", websocket),
    ("shared", shared),
    ("kept", kept),
    ("caching", caching),
];

/// Longer inputs say nothing more, and what is tried byte by byte becomes slow.
const MOST: usize = 4096;

/// What came of a request on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was understood and its body complete.
    Request {
        /// As it was written.
        method: Vec<u8>,
        /// As it was written.
        target: Vec<u8>,
        /// Names and values as they were written.
        fields: Vec<(Vec<u8>, Vec<u8>)>,
        /// The body without its coding.
        body: Vec<u8>,
        /// What followed it.
        trailers: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// It was refused with this status, for this reason.
    Refused(u16, &'static str),
    /// Its body broke off.
    Gone,
}

/// A whole connection: requests, pipelined, with bodies.
pub fn head(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let whole = play(&[bytes], &mut judge_request);
    let single = play(&bytes.chunks(1).collect::<Vec<_>>(), &mut |_| {});
    assert_eq!(whole, single, "whole and byte by byte");
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
    let (before, after) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
    assert_eq!(whole, play(&[before, after], &mut |_| {}), "whole and cut at {cut}");
}

/// A whole connection of a front server: a packet of the uwsgi protocol, with a body.
pub fn packet(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let mut heads = 0;
    let whole = play_on(front(), &[bytes], &mut |request| {
        judge_request(request);
        let last = |name| request.head.all(name).last().unwrap_or_default().to_vec();
        let address = String::from_utf8(last("x-forwarded-for")).unwrap_or_default();
        assert!(address == "unknown" || address.parse::<IpAddr>().is_ok(), "{address} is no address");
        assert!(["http", "https"].map(str::as_bytes).contains(&&*last("x-forwarded-proto")));
        assert!(matches!(request.body, BodyLength::None | BodyLength::Known(_)), "a body without a length");
        heads += 1;
    });
    assert!(heads <= 1 && whole.len() <= 1, "more than one request");
    let single = play_on(front(), &bytes.chunks(1).collect::<Vec<_>>(), &mut |_| {});
    assert_eq!(whole, single, "whole and byte by byte");
}

fn front() -> Conn {
    let mut conn = Conn::new(Rc::new(Settings::default()), Time::ZERO);
    conn.set_front();
    conn
}

/// Feeds the pieces to a connection that answers each request, then the end of the stream. `each` sees the requests.
pub fn play(pieces: &[&[u8]], each: &mut dyn FnMut(&Request)) -> Vec<Outcome> {
    play_on(Conn::new(Rc::new(Settings::default()), Time::ZERO), pieces, each)
}

fn play_on(mut conn: Conn, pieces: &[&[u8]], each: &mut dyn FnMut(&Request)) -> Vec<Outcome> {
    let (mut outcomes, mut open) = (Vec::new(), None);
    for piece in pieces {
        conn.feed(piece, Time::ZERO);
        drive(&mut conn, &mut open, &mut outcomes, each);
    }
    conn.eof(Time::ZERO);
    drive(&mut conn, &mut open, &mut outcomes, each);
    assert_ne!(conn.end(), End::Open, "open after the end of the stream");
    outcomes
}

fn drive(
    conn: &mut Conn,
    open: &mut Option<Outcome>,
    outcomes: &mut Vec<Outcome>,
    each: &mut dyn FnMut(&Request),
) {
    while let Some(event) = conn.poll() {
        match event {
            Event::Request(request) => {
                each(&request);
                *open = Some(Outcome::Request {
                    method: request.head.method_bytes().to_vec(),
                    target: request.head.target().to_vec(),
                    fields: request
                        .head
                        .fields()
                        .map(|(name, value)| (name.to_vec(), value.to_vec()))
                        .collect(),
                    body: Vec::new(),
                    trailers: Vec::new(),
                });
                conn.keep_trailers();
                conn.proceed();
                if request.body == BodyLength::None {
                    outcomes.extend(open.take());
                    answer(conn, 200);
                }
            }
            Event::Body(bytes) => {
                assert!(!bytes.is_empty(), "an empty body event");
                let Some(Outcome::Request { body, .. }) = open else {
                    unreachable!("a body without a request")
                };
                body.extend(bytes);
            }
            Event::Trailers(fields) => {
                let Some(Outcome::Request { trailers, .. }) = open else {
                    unreachable!("trailers without a request")
                };
                judge_trailers(&fields);
                assert!(trailers.is_empty(), "trailers twice");
                trailers.extend(fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
            }
            Event::BodyEnd => {
                outcomes.push(open.take().expect("the end of a body without a request"));
                answer(conn, 200);
            }
            Event::Refused(Refusal { status, why }) => {
                assert!((400..600).contains(&status) && !why.is_empty(), "{status} {why}");
                *open = None;
                outcomes.push(Outcome::Refused(status, why));
                answer(conn, status);
                assert!(conn.poll().is_none(), "something after a refusal");
            }
            Event::Gone => {
                *open = None;
                outcomes.push(Outcome::Gone);
            }
        }
        let length = conn.out().len();
        conn.out().consume(length);
        conn.wrote(Time::ZERO);
        assert!(!conn.wants().write, "all was written");
    }
}

fn answer(conn: &mut Conn, status: u16) {
    conn.respond(&ResponseHead::new(status), BodyLength::None, "", Time::ZERO);
    conn.finish(Time::ZERO);
}

/// What must hold of trailers that somebody wants: written behind a body, they are the same again.
fn judge_trailers(trailers: &Fields) {
    assert!(!trailers.is_empty(), "no trailers");
    let mut again = Vec::new();
    encode::trailers(trailers, &mut again);
    let mut kept = Vec::new();
    let used = Decoder::new().decode_with(&again, &mut Vec::new(), Some(&mut kept));
    assert_eq!(used, Ok(again.len()), "no trailers when written again");
    assert!(chunked::trailers(&kept).iter().eq(trailers.iter()), "other trailers when written again");
}

/// What must hold of a request that was accepted, wherever it goes next.
fn judge_request(request: &Request) {
    websocket::judge_request(request);
    let head = &request.head;
    let version = match head.version() {
        // By a front server, which may know of no host.
        HttpVersion::Http2 if head.get("host").is_none() => HttpVersion::Http10,
        HttpVersion::Http2 => HttpVersion::Http11,
        version => version,
    };
    let mut again =
        [head.method_bytes(), b" ", head.target(), b" ", version.as_str().as_bytes(), b"\r\n"].concat();
    for (name, value) in head.fields() {
        again.extend([name, b": ", value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    let mut conn = Conn::new(Rc::new(Settings::default()), Time::ZERO);
    conn.feed(&again, Time::ZERO);
    let Some(Event::Request(second)) = conn.poll() else { unreachable!("refused when written again") };
    assert!(second.head.fields().eq(head.fields()), "other fields when written again");
    assert_eq!(second.target, request.target);
    assert_eq!((second.host, second.body), (request.host.clone(), request.body));
    let Some(host) = head.get("host") else { return };

    let described = gateway::Request {
        path: request.target.path_info(),
        query: request.target.query(head.target()).unwrap_or_default(),
        authority: host,
        server_name: b"h",
        local_port: 0,
        id: "0",
        ..gateway::Request::of(head)
    };
    let mut wire = Vec::new();
    http1::encode(&described, request.body, &mut wire);
    let settings = Settings {
        head: usize::MAX >> 1,
        request_line: usize::MAX >> 1,
        fields: 1000,
        ..Settings::default()
    };
    let mut upstream = Conn::new(Rc::new(settings), Time::ZERO);
    upstream.feed(&wire, Time::ZERO);
    let Some(Event::Request(third)) = upstream.poll() else { unreachable!("an upstream would refuse it") };
    assert_eq!(third.head.wire_len(), wire.len(), "an upstream would see two requests");
    assert_eq!((third.body, third.target.path()), (request.body, request.target.path()));

    let mut names = BTreeSet::new();
    params::each(&described, None, |name, value| {
        assert!(names.insert(name.to_vec()), "a variable twice");
        assert!(!name.contains(&0) && !value.contains(&0), "a NUL in a variable");
    });
    assert!(!names.contains(&b"HTTP_PROXY"[..]), "httpoxy");

    let scripts = Scripts { root: PathBuf::from("/root"), index: "/index.php".to_owned() };
    for (protocol, scripts) in [
        (Protocol::Scgi, None),
        (Protocol::Uwsgi, None),
        (Protocol::FastCgi, None),
        (Protocol::FastCgi, Some(&scripts)),
    ] {
        let mut wire = Vec::new();
        let written = protocol.encode(&described, scripts, BodyLength::Known(5), &mut wire);
        assert_eq!(written, Ok(()), "within the limits for clients");
    }
}

/// A chunked body.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(&[bytes]);
    assert_eq!(whole, decode(&bytes.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
    let (data, Ok((used, true))) = whole else { return };
    assert!(used <= bytes.len() && data.len() < used, "more data than bytes");
    let mut again = Vec::new();
    if !data.is_empty() {
        chunked::write_size(data.len() as u64, &mut again);
        again.extend_from_slice(&data);
        again.extend_from_slice(chunked::CHUNK_END);
    }
    again.extend_from_slice(chunked::LAST_CHUNK);
    let length = again.len();
    assert_eq!(decode(&[&again]), (data, Ok((length, true))), "other data when written again");
}

/// The data, how many bytes belonged to the body, and whether it is complete.
fn decode(pieces: &[&[u8]]) -> (Vec<u8>, Result<(usize, bool), chunked::Error>) {
    let mut decoder = Decoder::new();
    let (mut data, mut used) = (Vec::new(), 0);
    for piece in pieces {
        match decoder.decode(piece, &mut data) {
            Ok(count) => used += count,
            Err(error) => return (data, Err(error)),
        }
    }
    (data, Ok((used, decoder.is_done())))
}

/// A request-target, and the same bytes as a host.
pub fn target(bytes: &[u8]) {
    for method in [Method::Get, Method::Options, Method::Connect] {
        if let Ok(parsed) = target::parse(method, bytes) {
            judge_target(method, bytes, &parsed);
        }
    }
    if let Ok(host) = target::host(bytes) {
        let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
        let again = [&host.name, port.as_bytes()].concat();
        assert_eq!(target::host(&again).as_ref(), Ok(&host), "another host when written again");
    }
}

fn judge_target(method: Method, bytes: &[u8], parsed: &target::Target) {
    if parsed.form() == target::Form::Authority {
        return;
    }
    let path = parsed.path();
    if parsed.form() != target::Form::Asterisk {
        assert_eq!(path.first(), Some(&b'/'), "a path that does not begin with a slash");
        assert!(
            !path.windows(2).any(|pair| pair == b"//") && !path.contains(&0),
            "an empty segment or a NUL"
        );
        let mut segments = path.split(|byte| *byte == b'/');
        assert!(!segments.any(|segment| matches!(segment, b"." | b"..")), "a dot segment");
    }
    let mut origin = Vec::new();
    target::write_origin_form(method, bytes, &mut origin);
    assert!(origin.iter().all(u8::is_ascii_graphic), "an upstream would see other bytes");
    let again = target::parse(method, &origin);
    let again = again.as_ref().map(|again| (again.path(), again.path_info(), again.encoded_slash()));
    assert_eq!(again, Ok((path, parsed.path_info(), parsed.encoded_slash())), "another path for an upstream");
}

/// Eight bytes of length, then the value of a Range field.
pub fn range(bytes: &[u8]) {
    let Some((length, value)) = bytes.split_first_chunk::<8>() else { return };
    // Lengths that files have, and those at the end of the number.
    for length in [u64::from_le_bytes(*length) >> 40, u64::from_le_bytes(*length)] {
        let parts = match range::parse(value, length) {
            Ranges::Whole | Ranges::Unsatisfiable => continue,
            Ranges::One(part) => vec![part],
            Ranges::Several(parts) => parts,
        };
        assert!(!parts.is_empty() && parts.len() <= range::MOST_RANGES, "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.first <= part.last && part.last < length), "past the end");
        let apart = parts.iter().zip(parts.iter().skip(1)).all(|(one, next)| one.last + 1 < next.first);
        assert!(apart, "parts that touch: {parts:?}");
    }
}

/// A configuration file.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let load = |text: &str| config::load(Path::new("/etc/hatchery.ron"), &Memory(text.to_owned()));
    match load(text) {
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
        Ok(config) => {
            let resolved = config::to_ron(&config);
            match load(&resolved) {
                Ok(again) => assert_eq!(config::to_ron(&again), resolved, "another one when written again"),
                Err(problems) => unreachable!("refused when written again: {problems:?}\n{resolved}"),
            }
        }
    }
}

/// One file, and an environment in which every variable but `NONE` is set.
struct Memory(String);

impl Source for Memory {
    fn read(&self, path: &Path) -> io::Result<String> {
        let is_main = path == Path::new("/etc/hatchery.ron");
        if is_main { Ok(self.0.clone()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn glob(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, name: &str) -> Option<String> {
        (name != "NONE").then(|| "7".to_owned())
    }

    fn is_file(&self, path: &Path) -> bool {
        path == Path::new("/usr/bin/python3")
    }

    fn is_dir(&self, _: &Path) -> bool {
        true
    }

    fn current_dir(&self) -> PathBuf {
        PathBuf::from("/etc")
    }

    fn cpus(&self) -> u32 {
        2
    }
}

/// The first byte says whether HEAD was asked; then what an upstream sends.
pub fn response(bytes: &[u8]) {
    upstream(Protocol::Http, bytes);
}

/// The response of a CGI program, likewise.
pub fn cgi(bytes: &[u8]) {
    upstream(Protocol::Scgi, bytes);
}

/// The same in records of FastCGI.
pub fn fastcgi(bytes: &[u8]) {
    upstream(Protocol::FastCgi, bytes);
}

fn upstream(protocol: Protocol, bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let method = if first & 1 == 0 { Method::Get } else { Method::Head };
    let whole = receive(protocol.response(method), method, &[bytes]);
    let single = receive(protocol.response(method), method, &bytes.chunks(1).collect::<Vec<_>>());
    assert_eq!(whole, single, "whole and byte by byte");
}

/// Heads, the body, how it ended, and whether the connection can be used again.
type Received = (Vec<ResponseHead>, Vec<u8>, &'static str, bool);

fn receive(mut response: gateway::Response, method: Method, pieces: &[&[u8]]) -> Received {
    let (mut heads, mut body, mut end) = (Vec::new(), Vec::new(), "open");
    if method == Method::Get {
        response.offer(b"websocket", None);
        response.keep_trailers();
    }
    let mut poll = |response: &mut gateway::Response| {
        while let Some(event) = response.poll() {
            assert_eq!(end, "open", "something after the end");
            match event {
                gateway::Event::Interim(head) | gateway::Event::Head { head, .. } => {
                    assert!(
                        !head.fields.iter().any(|(_, value)| value.contains(&b'\n')),
                        "a line end in a field"
                    );
                    heads.push(head);
                }
                gateway::Event::Body(bytes) => {
                    assert!(!bytes.is_empty() && method != Method::Head, "a body of nothing");
                    body.extend(bytes);
                }
                gateway::Event::Trailers(trailers) => {
                    let whole =
                        |(name, value): (&[u8], &[u8])| fields::is_name(name) && !value.contains(&b'\n');
                    assert!(
                        !trailers.is_empty() && trailers.iter().all(whole),
                        "trailers that are no fields"
                    );
                    heads.push(ResponseHead { fields: trailers, ..ResponseHead::new(200) });
                }
                gateway::Event::End => end = "complete",
                gateway::Event::Broken(_) => {
                    // How much of a body comes out before it turns out to be broken depends on the reads.
                    body.clear();
                    end = "broken";
                }
                gateway::Event::Switched(head) => {
                    assert_eq!(
                        head.fields.get("upgrade").map(<[u8]>::to_ascii_lowercase),
                        Some(b"websocket".into())
                    );
                    end = "switched";
                }
                gateway::Event::File { .. } | gateway::Event::Free => unreachable!("only apps say that"),
            }
        }
    };
    for piece in pieces {
        response.feed(piece);
        let said = response.said().unwrap_or_default();
        assert!(said.len() <= MOST, "more for the log than came");
        poll(&mut response);
    }
    let reusable = response.reusable();
    response.eof();
    poll(&mut response);
    assert_ne!(end, "open", "nothing after the end of the stream");
    assert!(!response.reusable(), "a closed connection is used again");
    (heads, body, end, reusable)
}

/// Blocks of fields of one connection (HPACK), each behind a byte with its length.
pub fn block(bytes: &[u8]) {
    let mut rest = bytes.get(..MOST).unwrap_or(bytes);
    let (mut decoder, mut limited) = (hpack::Decoder::new(), hpack::Decoder::new());
    let (mut encoder, mut again) = (hpack::Encoder::new(), hpack::Decoder::new());
    while let Some((length, behind)) = rest.split_first() {
        let (block, behind) = behind.split_at_checked((*length).into()).unwrap_or((behind, &[]));
        rest = behind;
        let fields = list(&mut decoder, block, usize::MAX);
        let limit = usize::from(*length) * 4;
        let below = list(&mut limited, block, limit);
        assert!(decoder.entries().eq(limited.entries()), "another table for a list above the limit");
        let (Ok((_, fields)), Ok((outcome, below))) = (&fields, &below) else {
            return assert_eq!(fields.err(), below.err(), "readable above the limit only");
        };
        let size = |list: &Vec<Field>| list.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        let (size, kept): (usize, usize) = (size(fields), size(below));
        assert_eq!(*outcome == List::Whole, size <= limit, "{size} of {limit}");
        assert!(fields.starts_with(below) && kept <= limit, "{kept} of {limit}");

        encoder.resize(u32::from(*length) * 20);
        let mut wire = Vec::new();
        let mut written = encoder.block(&mut wire);
        written.status(Status(200));
        fields.iter().for_each(|(name, value)| match value.len() % 3 {
            0 => written.unique(name, value),
            _ => written.field(name, value),
        });
        let mut lower = vec![(b":status".to_vec(), b"200".to_vec())];
        lower.extend(fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())));
        assert_eq!(
            list(&mut again, &wire, usize::MAX),
            Ok((List::Whole, lower)),
            "others when written again"
        );
        assert!(encoder.entries().eq(again.entries()), "tables that are not in step");
    }
}

type Field = (Vec<u8>, Vec<u8>);

fn list(
    decoder: &mut hpack::Decoder,
    block: &[u8],
    limit: usize,
) -> Result<(List, Vec<Field>), hpack::Error> {
    let mut fields = Vec::new();
    let outcome = decoder.decode(block, limit, |name, value| fields.push((name.to_vec(), value.to_vec())))?;
    Ok((outcome, fields))
}

/// The decoder of a connection of HTTP/2, for clients in tests.
#[derive(Debug)]
pub struct Blocks(hpack::Decoder);

impl Default for Blocks {
    fn default() -> Self {
        Self(hpack::Decoder::new())
    }
}

impl Blocks {
    /// The fields of the next block, or why it is none.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        let (_, fields) = list(&mut self.0, block, usize::MAX).map_err(|error| error.0)?;
        Ok(fields.iter().map(|(name, value)| (text(name), text(value))).collect())
    }
}

/// What a proxy begins a connection with.
pub fn proxied(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let whole = proxied::read(bytes);
    let mut parts = (0..bytes.len()).map(|end| proxied::read(bytes.get(..end).unwrap_or_default()));
    let first = parts.find(|part| *part != Ok(None)).unwrap_or(whole);
    assert_eq!(first, whole, "another one when more has come");
    let Ok(Some(Header { addresses, length })) = whole else { return };
    assert!(length <= bytes.len() && length <= proxied::MOST, "longer than it is");
    for version in [Version::V1, Version::V2] {
        let mut again = Vec::new();
        proxied::write(version, addresses, &mut again);
        let read = proxied::read(&again).map(|read| read.map(|header| (header.length, header.addresses)));
        let canonical = |header: &proxied::Addresses| {
            [header.source, header.destination].map(|end| (end.ip().to_canonical(), end.port()))
        };
        let Ok(Some((length, said))) = read else { unreachable!("refused when written again") };
        assert_eq!(length, again.len(), "more is written than a header");
        assert_eq!(
            said.as_ref().map(canonical),
            addresses.as_ref().map(canonical),
            "others when written again"
        );
    }
}

/// A field of an upstream's answer that may name a place of it; the first byte says which.
pub fn back(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let Some((which, value)) = bytes.split_first().filter(|(_, value)| fields::is_value(value)) else {
        return;
    };
    let name = match which % 4 {
        0 => "Location",
        1 => "Content-Location",
        2 => "Refresh",
        _ => "Set-Cookie",
    };
    let back = Back {
        prefix: b"/api",
        scheme: crate::http::Scheme::Https,
        authority: b"shop.example",
        servers: target::host(b"127.0.0.1:9000").into_iter().collect(),
    };
    let lead = |value: &[u8]| {
        let mut fields = Fields::new();
        fields.add(name, value);
        back.map(&mut fields);
        fields.get(name).unwrap_or_default().to_vec()
    };
    let led = lead(value);
    assert!(fields::is_value(&led), "no value any more");
    assert_eq!(lead(&led), led, "further when led back twice");
    if led != value {
        assert!(led.windows(4).any(|four| four == b"/api"), "led elsewhere");
    }
}
