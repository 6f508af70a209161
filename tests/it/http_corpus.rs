//! Runs the corpus in `tests/http` against the HTTP/1.x connection; see the README there. The outcome must be the one
//! the file states, whatever the cuts.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use hatchery::buf::Segment;
use hatchery::h1::{Conn, End, Event, Request, Settings};
use hatchery::http::fault::Refusal;
use hatchery::http::{BodyLength, ResponseHead};
use hatchery::timer::Time;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

const DATE: &str = "Thu, 01 Oct 2026 12:00:00 GMT";
const BEHIND: &[u8] = b"GET /behind HTTP/1.1\r\nHost: behind\r\n\r\n";
const BEHIND_OUTCOME: &str = "request GET /behind host=behind body=- keep";
/// Seeded random cuts of each file.
const CUTS: u64 = 16;

struct Case {
    name: String,
    expected: Vec<String>,
    bytes: Vec<u8>,
    settings: Settings,
    max_body: u64,
}

#[test]
fn valid_requests() {
    run("valid", 109);
}

#[test]
fn invalid_requests() {
    run("invalid", 227);
}

/// `v001–v004` stands for four files.
#[test]
fn every_file_is_named_in_the_table() {
    let table = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/README.md"));
    let table = table.expect("the table");
    let words = table.split(|char: char| !char.is_alphanumeric() && char != '–');
    let number =
        |word: &str, letter| word.strip_prefix(letter).and_then(|digits| digits.parse::<usize>().ok());
    for (folder, letter) in [("valid", 'v'), ("invalid", 'i')] {
        let named: BTreeSet<usize> = words
            .clone()
            .filter_map(|word| {
                let (first, last) = word.split_once('–').unwrap_or((word, word));
                Some(number(first, letter)?..=number(last, letter)?)
            })
            .flatten()
            .collect();
        let there: BTreeSet<usize> =
            load(folder).iter().map(|case| case.name[..3].parse().expect("a number")).collect();
        let unnamed: Vec<_> = there.symmetric_difference(&named).collect();
        assert!(unnamed.is_empty(), "{folder}: not in both folder and table: {unnamed:?}");
    }
}

fn run(folder: &str, at_least: usize) {
    let cases = load(folder);
    assert!(cases.len() >= at_least, "{} cases in {folder}", cases.len());
    let failures: Vec<String> = cases.iter().flat_map(failures).collect();
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

fn failures(case: &Case) -> Vec<String> {
    let mut failures = Vec::new();
    let mut check = |how: &str, pieces: &[&[u8]], expected: &[String]| {
        let outcome = play(case, pieces);
        if outcome != expected && failures.len() < 3 {
            failures
                .push(format!("{} {how}\n    expected {expected:?}\n    got      {outcome:?}", case.name));
        }
    };
    let mut expected = case.expected.clone();
    check("whole", &[&case.bytes], &expected);
    check("by line", &case.bytes.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>(), &expected);
    check("by byte", &case.bytes.chunks(1).collect::<Vec<_>>(), &expected);
    for seed in 0..CUTS {
        check(&format!("cut with seed {seed}"), &cut(&case.bytes, seed), &expected);
    }
    let last = expected.last().cloned().unwrap_or_default();
    if !matches!(last.as_str(), "" | "gone") {
        if last.ends_with(" keep") {
            expected.push(BEHIND_OUTCOME.to_owned());
        }
        let bytes = [&case.bytes, BEHIND].concat();
        check("with a request behind", &[&bytes], &expected);
        check("with a request behind, cut before it", &[&case.bytes, BEHIND], &expected);
        check("with a request behind, by byte", &bytes.chunks(1).collect::<Vec<_>>(), &expected);
        for seed in 0..CUTS {
            check(&format!("with a request behind, cut with seed {seed}"), &cut(&bytes, seed), &expected);
        }
    }
    failures
}

/// Feeds the pieces to a connection that answers every request with `ok`, then the end of the stream.
fn play(case: &Case, pieces: &[&[u8]]) -> Vec<String> {
    let mut client = Client {
        conn: Conn::new(Rc::new(case.settings.clone()), Time::ZERO),
        max_body: case.max_body,
        request: None,
        body: Vec::new(),
        outcome: Vec::new(),
    };
    for (at, piece) in pieces.iter().enumerate() {
        client.conn.feed(piece, Time(at as u64));
        client.settle();
    }
    client.conn.eof(Time(pieces.len() as u64));
    client.settle();
    assert_ne!(client.conn.end(), End::Open, "{}: still open after the end of the stream", case.name);
    client.outcome
}

struct Client {
    conn: Conn,
    max_body: u64,
    request: Option<Request>,
    body: Vec<u8>,
    outcome: Vec<String>,
}

impl Client {
    fn settle(&mut self) {
        loop {
            match self.conn.poll() {
                None => break,
                Some(Event::Request(request)) => {
                    let has_body = request.body != BodyLength::None;
                    self.request = Some(request);
                    self.body.clear();
                    match self.conn.limit_body(self.max_body) {
                        Err(refusal) => self.refused(refusal),
                        Ok(()) if has_body => self.conn.proceed(),
                        Ok(()) => self.answer(),
                    }
                }
                Some(Event::Body(bytes)) => {
                    assert!(!bytes.is_empty());
                    self.body.extend_from_slice(&bytes);
                }
                Some(Event::Trailers(fields)) => unreachable!("nobody wants {fields:?}"),
                Some(Event::BodyEnd) => self.answer(),
                Some(Event::Refused(refusal)) => self.refused(refusal),
                Some(Event::Gone) => self.outcome.push("gone".to_owned()),
            }
        }
        let length = self.conn.out().len();
        self.conn.out().consume(length);
        self.conn.wrote(Time::ZERO);
    }

    fn refused(&mut self, refusal: Refusal) {
        assert!(!refusal.why.is_empty());
        assert!(self.respond(refusal.status).ends_with(" close"), "a refusal closes");
        self.outcome.push(format!("refused {}", refusal.status));
    }

    fn answer(&mut self) {
        let request = self.request.take().expect("a body belongs to a request");
        let target = escape(request.head.target());
        let method = escape(request.head.method_bytes());
        let host = request.host.as_ref().map_or("-".to_owned(), |host| {
            let port = host.port.map(|port| format!(":{port}")).unwrap_or_default();
            escape(&host.name) + &port
        });
        let path = match escape(request.target.path()) {
            path if path == target => String::new(),
            path => format!(" path={path}"),
        };
        let body = match request.body {
            BodyLength::None => "-".to_owned(),
            _ => format!("{}:{}", self.body.len(), escape(&self.body)),
        };
        let end = self.respond(200);
        self.outcome.push(format!("request {method} {target} host={host}{path} body={body}{end}"));
    }

    fn respond(&mut self, status: u16) -> &'static str {
        let sent = self.conn.out().len();
        self.conn.out().consume(sent);
        self.conn.respond(&ResponseHead::new(status), BodyLength::Known(2), DATE, Time::ZERO);
        self.conn.send(Segment::from(b"ok".to_vec()));
        let mut wire = Vec::new();
        self.conn.out().slices(usize::MAX, |slice| wire.extend_from_slice(slice));
        self.conn.finish(Time::ZERO);
        let wire = String::from_utf8(wire).expect("our own heads are ASCII");
        assert!(wire.starts_with(&format!("HTTP/1.1 {status} ")), "{wire}");
        if wire.contains("\r\nConnection: close\r\n") { " close" } else { " keep" }
    }
}

/// Name and bytes of every file.
pub(crate) fn streams() -> Vec<(String, Vec<u8>)> {
    ["valid", "invalid"].into_iter().flat_map(load).map(|case| (case.name, case.bytes)).collect()
}

fn load(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths.iter().map(|path| parse(path)).collect()
}

fn parse(path: &Path) -> Case {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut case = Case {
        name,
        expected: Vec::new(),
        bytes: Vec::new(),
        settings: Settings::default(),
        max_body: u64::MAX,
    };
    for line in std::fs::read_to_string(path).expect("a file of the corpus").lines() {
        if let Some(expected) = line.strip_prefix("#: ") {
            case.expected.push(escape(&unescape(expected)));
        } else if let Some(setting) = line.strip_prefix("#! ") {
            let (key, value) = setting.split_once('=').expect("name=number");
            let value: usize = value.parse().expect("name=number");
            match key {
                "request_line" => case.settings.request_line = value,
                "head" => case.settings.head = value,
                "fields" => case.settings.fields = u32::try_from(value).expect("a count"),
                "max_body" => case.max_body = value as u64,
                other => panic!("{}: no setting {other}", case.name),
            }
        } else {
            case.bytes.extend(unescape(line));
        }
    }
    assert!(!case.expected.is_empty(), "{}: nothing is expected", case.name);
    case.expected.retain(|outcome| outcome != "silence");
    case
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest[at + 1..].chars().next().expect("something after a backslash");
        let mut used = at + 2;
        match code {
            'r' => bytes.push(b'\r'),
            'n' => bytes.push(b'\n'),
            't' => bytes.push(b'\t'),
            '0' => bytes.push(0),
            '\\' => bytes.push(b'\\'),
            'x' => {
                bytes.push(u8::from_str_radix(&rest[used..used + 2], 16).expect("two hexadecimal digits"));
                used += 2;
            }
            '*' => {
                let (count, tail) = rest[used..].split_once('{').expect("\\*count{text}");
                let (text, _) = tail.split_once('}').expect("\\*count{text}");
                bytes.extend(unescape(text).repeat(count.parse().expect("a count")));
                used += count.len() + text.len() + 2;
            }
            other => panic!("no escape {other}"),
        }
        rest = &rest[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// Pieces of 1 to 40 bytes.
fn cut(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pieces = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (piece, after) = rest.split_at(rest.len().min(1 + (state % 40) as usize));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
