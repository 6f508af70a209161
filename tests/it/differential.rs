//! The corpus and seeded mutations of it, given to our connection and to that of the crate `http-net`, which shares no
//! code with ours. Two servers that accept the same bytes must understand the same requests: there is no exception to
//! that. Where one accepts what the other refuses, the difference is of a kind that is listed and explained here.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use crate::http_corpus;
use hatchery::fuzzing::{self, Outcome};
use http_net::{HttpError, Limits, Response, ServerConn, ServerEvent};
use std::collections::BTreeMap;

/// Seeded mutations of each file.
const MUTATIONS: u64 = 120;
/// Longer files are about limits, which both have at other places.
const LONGEST: usize = 1000;

/// Only we refuse it, for this reason; and why that is right.
const ONLY_WE_REFUSE: &[(&str, &str)] = &[
    (
        "CONNECT is not implemented",
        "RFC 9110 §9.3.6: there are no tunnels here; to the other it is a request like any",
    ),
    (
        "TRACE is not allowed",
        "RFC 9110 §9.3.8: it would send the client's cookies back; to the other a matter of the application",
    ),
    (
        "'..' above the root of the path",
        "RFC 3986 §5.2.4 would drop it; what climbs out of the root means no good",
    ),
    (
        "encoded NUL in the path",
        "no file and no route has one, and C code behind us would cut the path there",
    ),
    (
        "Host differs from the authority of the request target",
        "RFC 9112 §3.2.2 lets the target win; others take the Host",
    ),
    (
        "invalid Host field",
        "RFC 9112 §3.2: an empty host, sub-delimiters and percent-encoding are legal, but resolve nowhere",
    ),
    ("invalid host name", "the same in the target"),
    ("invalid port", "RFC 3986 §3.2.3 knows only digits; no port is above 65535"),
    (
        "request target is neither a path nor an http URL",
        "RFC 9112 §3.2: other schemes, and forms that the method does not have",
    ),
    (
        "malformed Transfer-Encoding",
        "RFC 9110 §5.6.1 lets a recipient ignore empty list elements; implementations disagree, so we do not",
    ),
    (
        "https target on a connection without TLS",
        "RFC 9110 §4.2.2: what it names is to be had over TLS only; to the other a matter of the application",
    ),
    ("invalid chunk size", "more than 15 digits, be they zeros: others overflow there"),
    (
        "too many empty lines before the request line",
        "RFC 9112 §2.2 asks for one to be ignored; we ignore two",
    ),
];

/// An error of the other, what must be in the bytes then, and why we accept them.
type Accepted = (HttpError, fn(&[u8]) -> bool, &'static str);

/// Only the other refuses it, with this error; what must be in it then, and why accepting it is right.
const ONLY_WE_ACCEPT: &[Accepted] = &[(
    HttpError::InvalidTarget,
    has_odd_target,
    "clients send bytes that RFC 3986 wants encoded; upstreams get those above 0x7F encoded",
)];

fn has_odd_target(bytes: &[u8]) -> bool {
    let targets =
        bytes.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(1));
    let odd = |byte: &u8| *byte >= 0x80 || b"\"<>\\^`{|}[]%".contains(byte);
    targets.flatten().any(odd)
}

#[test]
fn another_parser_agrees() {
    let files: Vec<Vec<u8>> = http_corpus::streams()
        .into_iter()
        .map(|(_, bytes)| bytes)
        .filter(|bytes| bytes.len() < LONGEST)
        .collect();
    let mut seen = Seen::default();
    let mut agreed = 0;
    for (number, file) in files.iter().enumerate() {
        agreed += u32::from(seen.compare(file));
        for seed in 0..MUTATIONS {
            let mut random = Random::new(number as u64 * MUTATIONS + seed);
            agreed += u32::from(seen.compare(&mutate(file, &files, &mut random)));
        }
    }
    let known: Vec<String> = ONLY_WE_REFUSE
        .iter()
        .map(|(why, _)| format!("only we refuse: {why}"))
        .chain(ONLY_WE_ACCEPT.iter().map(|(error, ..)| format!("only we accept: {error:?}")))
        .collect();
    let unknown: Vec<_> = seen.0.iter().filter(|(kind, _)| !known.contains(kind)).collect();
    assert!(unknown.is_empty(), "{} kinds of difference that are not explained:\n{}", unknown.len(), {
        let lines = unknown
            .iter()
            .map(|(kind, (count, bytes))| format!("{kind} ({count})\n    {}", bytes.escape_ascii()));
        lines.collect::<Vec<_>>().join("\n")
    });
    let reasons = ONLY_WE_REFUSE.iter().map(|(_, why)| why).chain(ONLY_WE_ACCEPT.iter().map(|(.., why)| why));
    assert!(reasons.into_iter().all(|why| !why.is_empty()));
    let stale: Vec<_> = known.iter().filter(|kind| !seen.0.contains_key(*kind)).collect();
    assert!(stale.is_empty(), "explained, but never seen: {stale:?}");
    assert!(agreed > 1000, "{agreed}");
}

/// Each kind of difference, how often it was seen, and the shortest bytes that show it.
#[derive(Default)]
struct Seen(BTreeMap<String, (u32, Vec<u8>)>);

impl Seen {
    /// Whether both agree.
    fn compare(&mut self, bytes: &[u8]) -> bool {
        let Some(kind) = difference(bytes) else { return true };
        let entry = self.0.entry(kind).or_insert_with(|| (0, bytes.to_vec()));
        entry.0 += 1;
        if bytes.len() < entry.1.len() {
            entry.1 = bytes.to_vec();
        }
        false
    }
}

fn difference(bytes: &[u8]) -> Option<String> {
    let mut ours = fuzzing::play(&[bytes], &mut |_| {});
    for outcome in &mut ours {
        // Which the other one does not tell.
        if let Outcome::Request { trailers, .. } = outcome {
            trailers.clear();
        }
    }
    let theirs = play(bytes);
    for at in 0..ours.len().max(theirs.len()) {
        match (ours.get(at), theirs.get(at)) {
            (Some(Outcome::Refused(_, why)), Some(Ok(Outcome::Request { .. }))) => {
                return Some(format!("only we refuse: {why}"));
            }
            (Some(Outcome::Request { .. }), Some(Err(error))) => {
                let explained = ONLY_WE_ACCEPT.iter().find(|(known, ..)| known == error);
                let fits = explained.is_none_or(|(_, holds, _)| holds(bytes));
                assert!(fits, "{error:?} for another reason: {}", bytes.escape_ascii());
                return Some(format!("only we accept: {error:?}"));
            }
            // Neither accepts anything here: that one refuses earlier than the other is no difference.
            (Some(Outcome::Refused(..)), _) | (_, Some(Err(_))) => return None,
            (Some(ours), Some(Ok(theirs))) => {
                assert_eq!(ours, theirs, "one stream, two readings: {}", bytes.escape_ascii());
            }
            (ours, theirs) => {
                panic!("one has more requests: {ours:?} {theirs:?}: {}", bytes.escape_ascii());
            }
        }
    }
    None
}

/// What the other one understands.
fn play(bytes: &[u8]) -> Vec<Result<Outcome, HttpError>> {
    let limits = Limits::new().with_max_header_bytes(32 * 1024).with_max_body(u64::MAX);
    let mut conn = ServerConn::with_limits(limits);
    let (mut outcomes, mut rest, mut open) = (Vec::new(), bytes, None);
    let mut out = Vec::new();
    loop {
        let fed = conn.feed(rest);
        rest = &rest[fed..];
        if rest.is_empty() {
            conn.feed_eof();
        }
        match conn.poll() {
            Ok(ServerEvent::Request(head)) => {
                open = Some(Outcome::Request {
                    method: head.method_str().as_bytes().to_vec(),
                    target: head.target().as_bytes().to_vec(),
                    fields: head
                        .headers()
                        .map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec()))
                        .collect(),
                    body: Vec::new(),
                    trailers: Vec::new(),
                });
            }
            Ok(ServerEvent::Body(bytes)) => {
                let Some(Outcome::Request { body, .. }) = &mut open else {
                    panic!("a body without a request")
                };
                body.extend_from_slice(bytes);
            }
            Ok(ServerEvent::RequestEnd) => {
                outcomes.extend(open.take().map(Ok));
                conn.respond(&Response::new(200), &mut out).unwrap();
            }
            Ok(ServerEvent::NeedInput) if !rest.is_empty() => {}
            Ok(_) => return outcomes,
            // We say so only where a body breaks off, and nothing where a head does.
            Err(HttpError::UnexpectedEof) => {
                outcomes.extend(open.map(|_| Ok(Outcome::Gone)));
                return outcomes;
            }
            Err(error) => {
                outcomes.push(Err(error));
                return outcomes;
            }
        }
    }
}

/// xorshift64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most.max(1)
    }
}

/// What decides somewhere in the grammar.
const PIECES: &[&[u8]] = &[
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\t",
    b" ",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"/",
    b"?",
    b"#",
    b"%",
    b"*",
    b"@",
    b"[",
    b"]",
    b".",
    b"..",
    b"//",
    b"-",
    b"_",
    b"+",
    b"0",
    b"1",
    b"5",
    b"a",
    b"g",
    b"\x0b",
    b"\x0c",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xe9",
    b"\xff",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: h\r\n",
    b"Connection: close\r\n",
    b"HTTP/1.0",
    b"HEAD",
    b"CONNECT",
    b"OPTIONS",
    b"http://h",
    b"0\r\n\r\n",
];

/// One to three edits.
pub(crate) fn mutate(file: &[u8], files: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len() + 1);
        let until = (at + 1 + random.below(4)).min(bytes.len());
        let at = at.min(until);
        match random.below(6) {
            0 => drop(bytes.drain(at..until)),
            1 => {
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
            2 => {
                let other = &files[random.below(files.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(40)).min(other.len());
                bytes.splice(at..at, other[from..to].to_vec());
            }
            3 => drop(bytes.splice(at..until, PIECES[random.below(PIECES.len())].to_vec())),
            _ => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].to_vec())),
        }
    }
    bytes
}
