//! What a client gets of a response. Interim ones are not among them: nginx before 1.29 takes them for final ones.

use super::{Judge, Kind, Rule, Talk, extent, requests, talk};
use crate::differential::Random;
use crate::harness::{Reply, SOON, Upstream, wait_until};
use std::io::Write as _;
use std::net::TcpStream;

/// A response, one character a byte, and the request that it answers.
#[derive(Debug)]
struct Case {
    method: &'static str,
    version: &'static str,
    response: String,
    bad: Bad,
    /// Whether the server closes its side then.
    closes: bool,
}

/// What is wrong with a response, if anything is: one thing, so that a difference has one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    No,
    Start,
    Status,
    Field,
    Frame,
}

impl Case {
    /// The lines of its head, the status line first.
    fn head(&self) -> impl Iterator<Item = &str> {
        self.response.split("\r\n\r\n").next().unwrap_or_default().split("\r\n")
    }

    /// Whether one of its field lines begins so.
    fn says(&self, beginning: &str) -> bool {
        self.head().skip(1).any(|line| begins(line, beginning))
    }
}

fn begins(line: &str, beginning: &str) -> bool {
    line.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

/// What differs; ours first.
#[derive(Debug)]
#[allow(dead_code, reason = "what no rule looks at is shown")]
enum Difference {
    /// Only we answer with 502.
    OnlyWeRefuse,
    /// Only nginx does.
    OnlyTheyRefuse,
    Status(u16, u16),
    /// Whether what came was whole.
    Whole(bool, bool),
    OnlyOurs(String, String),
    OnlyTheirs(String, String),
    /// The order of fields of one name.
    Order,
    Body,
    /// Whether the client was told that the connection ends.
    Closes(bool, bool),
    /// Whether the next request on the connection was answered.
    Next(bool, bool),
}

impl Kind for Difference {
    fn kind(&self) -> String {
        match self {
            Self::OnlyOurs(name, _) => format!("OnlyOurs {name}"),
            Self::OnlyTheirs(name, _) => format!("OnlyTheirs {name}"),
            Self::Status(..) => "Status".to_owned(),
            other => format!("{other:?}"),
        }
    }
}

const RULES: &[Rule<Case, Difference>] = &[
    Rule {
        name: "what is not HTTP",
        why: "RFC 9112 §4: 502; nginx takes it for HTTP/0.9 and passes all of it on as a body, without a head of its own",
        fits: |case, difference| {
            matches!(case.bad, Bad::Start | Bad::Status) && matches!(difference, Difference::OnlyWeRefuse)
        },
    },
    Rule {
        name: "lines that are repaired",
        why: "RFC 9112 §5.1, §5.2: a proxy takes white space before a colon out, and joins folded lines",
        fits: |case, difference| {
            matches!(difference, Difference::OnlyTheyRefuse)
                && (case.says("X-Folded:") || case.says("X-Before :"))
        },
    },
    Rule {
        name: "lines that are no fields",
        why: "RFC 9110 §5.5: control characters make a field invalid; nginx passes on all but NUL, and drops odd names",
        fits: |case, difference| case.bad == Bad::Field && matches!(difference, Difference::OnlyWeRefuse),
    },
    Rule {
        name: "framing that could be read in two ways",
        why: "RFC 9112 §6.3: whoever comes behind may read it in the other way, so it goes no further",
        fits: |case, difference| case.bad == Bad::Frame && matches!(difference, Difference::OnlyWeRefuse),
    },
    Rule {
        name: "codings of HTTP/1.0",
        why: "RFC 9112 §6.1: a Transfer-Encoding in HTTP/1.0 is faulty framing",
        fits: |case, difference| {
            let is_old = case.response.starts_with("HTTP/1.0");
            is_old && case.says("Transfer-Encoding:") && matches!(difference, Difference::OnlyWeRefuse)
        },
    },
    Rule {
        name: "chunks that are none",
        why: "RFC 9112 §7.1: what came before is passed on, without an end; nginx takes more for line ends and trailers",
        fits: |case, difference| {
            let is_chunked = case.bad == Bad::Frame && case.says("Transfer-Encoding: chunked");
            is_chunked && matches!(difference, Difference::Whole(false, true))
        },
    },
    Rule {
        name: "several types",
        why: "RFC 9110 §5.3: which one counts is the client's to say; nginx passes the last one on",
        fits: |case, difference| {
            let is_type = matches!(difference, Difference::OnlyOurs(name, _) | Difference::OnlyTheirs(name, _)
                if name == "content-type");
            is_type && case.head().filter(|line| begins(line, "Content-Type:")).count() > 1
        },
    },
    Rule {
        name: "orders to nginx",
        why: "they are no orders to us but X-Accel-Buffering, so they are fields like any other",
        fits: |_, difference| {
            let names = ["x-accel-charset", "x-accel-expires", "x-accel-limit-rate", "x-pad"];
            matches!(difference, Difference::OnlyOurs(name, _) if names.contains(&name.as_str()))
        },
    },
    Rule {
        name: "fields of the server's connection",
        why: "RFC 9110 §7.6.1: they go no further; nginx knows of Connection and Keep-Alive only",
        fits: |_, difference| {
            let names = ["proxy-authenticate", "proxy-connection", "te", "trailer", "upgrade"];
            matches!(difference, Difference::OnlyTheirs(name, _) if names.contains(&name.as_str()))
        },
    },
    Rule {
        name: "nominated fields",
        why: "RFC 9110 §7.6.1: what Connection names goes no further; nginx does not look",
        fits: |case, difference| match difference {
            Difference::OnlyTheirs(name, _) => case
                .head()
                .any(|line| begins(line, "Connection:") && line.to_ascii_lowercase().contains(name)),
            _ => false,
        },
    },
];

const STATUSES: &[&str] = &[
    "200 OK",
    "200 OK",
    "200 OK",
    "200 OK",
    "200",
    "200 ",
    "200 Fine",
    "200 caf\u{e9}",
    "201 Created",
    "202 Accepted",
    "204 No Content",
    "204 No Content",
    "205 Reset Content",
    "206 Partial Content",
    "300 Multiple Choices",
    "301 Moved Permanently",
    "302 Found",
    "304 Not Modified",
    "304 Not Modified",
    "308 Permanent Redirect",
    "400 Bad Request",
    "401 Unauthorized",
    "404 Not Found",
    "405 Method Not Allowed",
    "413 Content Too Large",
    "416 Range Not Satisfiable",
    "418 Teapot",
    "421 Misdirected Request",
    "451 Legal",
    "500 Internal Server Error",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "599 Odd",
    "600 Odder",
    "999 Oddest",
];

const STARTS: &[&str] =
    &["HTTP/1.2", "HTTP/2.0", "HTTP/11", "http/1.1", "ICY", " HTTP/1.1", "\r\nHTTP/1.1", "x\r\nHTTP/1.1"];

const BAD_STATUSES: &[&str] =
    &["099 Low", "000 None", "1000 Long", "20 Short", "OK", "2x0 OK", "200\tOK", "-20 Less"];

const FIELDS: &[&str] = &[
    "Content-Type: text/plain",
    "Content-Type: text/html; charset=utf-8",
    "content-language: de",
    "Content-Encoding: gzip",
    "Content-Range: bytes 0-4/9",
    "Content-Location: /x",
    "Content-Disposition: attachment; filename=\"a\"",
    "Set-Cookie: a=1; Path=/",
    "Set-Cookie: b=2",
    "Cache-Control: no-store",
    "Cache-Control: max-age=60",
    "Expires: 0",
    "Pragma: no-cache",
    "Vary: Accept",
    "Vary: Cookie",
    "ETag: \"x\"",
    "Last-Modified: Sat, 28 Nov 2026 09:00:00 GMT",
    "Location: /x",
    "Location: http://a/x",
    "Refresh: 5; url=/x",
    "Retry-After: 5",
    "WWW-Authenticate: Basic realm=\"a\"",
    "WWW-Authenticate: Bearer",
    "Allow: GET",
    "Age: 5",
    "Accept-Ranges: bytes",
    "Link: </a.css>; rel=preload",
    "Date: Sat, 28 Nov 2026 09:00:00 GMT",
    "Server: upstream/1.0",
    "Via: 1.1 other",
    "Warning: 199 - x",
    "X-Powered-By: x",
    "X-Twice: one",
    "X-Twice: two",
    "X-Empty:",
    "X-Spaced:  \ta  b\t ",
    "X-Latin: \u{e9}\u{ff}",
    "X_Under: 1",
    "X.Dot: 2",
    "X-Frame-Options: DENY",
    "X-Request-Id: abc",
    "X-Accel-Buffering: no",
    "X-Accel-Expires: 60",
    "X-Accel-Charset: utf-8",
    "X-Accel-Limit-Rate: 100000",
    "X-Pad: avoid browser bug",
    "Strict-Transport-Security: max-age=60",
    "Alt-Svc: h3=\":443\"",
    "Connection: keep-alive",
    "Connection: close",
    "Connection: X-Nominated",
    "Connection: Set-Cookie",
    "Connection: upgrade",
    "X-Nominated: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authenticate: Basic",
    "Proxy-Authentication-Info: x",
    "Upgrade: websocket",
    "Upgrade: h2c",
    "Trailer: X-Checksum",
    "TE: trailers",
    "Host: a",
    "Status: 404 Not Found",
];

const BAD_FIELDS: &[&str] = &[
    "X-Folded: a\r\n b",
    "X-Before : a",
    "no colon",
    ": no name",
    "X Y: a",
    "X-Nul: a\0b",
    "X-Escape: \u{1b}[2J",
    "X-Cr: a\rb",
    "X-Del: a\u{7f}b",
    "X(Y): a",
    "\u{e9}: a",
];

/// The fields that frame a body, the body, and whether the connection must end behind it.
const FRAMES: &[(&str, &str, bool)] = &[
    ("Content-Length: 5\r\n", "hello", false),
    ("content-length: 5\r\n", "hello", false),
    ("Content-Length: 0\r\n", "", false),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", false),
    ("Transfer-Encoding: chunked\r\n", "1\r\nh\r\n4;a=\"b\"\r\nello\r\n0\r\n\r\n", false),
    ("Transfer-Encoding: Chunked\r\n", "0\r\n\r\n", false),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n", false),
    ("", "hello", true),
    ("", "", true),
];

const BAD_FRAMES: &[(&str, &str, bool)] = &[
    ("Content-Length: 9\r\n", "hello", true),
    ("Content-Length: 3\r\n", "hello", false),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello", false),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!", false),
    ("Content-Length: 5, 5\r\n", "hello", false),
    ("Content-Length: +5\r\n", "hello", false),
    ("Content-Length: -5\r\n", "hello", true),
    ("Content-Length: x\r\n", "hello", true),
    ("Content-Length:\r\n", "hello", true),
    ("Content-Length: 99999999999999999999999\r\n", "hello", true),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", false),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", false),
    ("Transfer-Encoding: gzip, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", false),
    ("Transfer-Encoding: identity\r\n", "hello", true),
    ("Transfer-Encoding: xchunked\r\n", "hello", true),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhel", true),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "x\r\nhello\r\n0\r\n\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "5;a\r\nhello\r\n0\r\nno colon\r\n\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n", true),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\nmore", true),
];

fn any<T: Copy>(list: &[T], random: &mut Random) -> T {
    list[random.below(list.len())]
}

fn generate(random: &mut Random) -> Case {
    let bad = match random.below(24) {
        0 => Bad::Start,
        1 => Bad::Status,
        2 => Bad::Field,
        3 | 4 => Bad::Frame,
        _ => Bad::No,
    };
    let method = any(&["GET", "GET", "GET", "GET", "HEAD", "POST"], random);
    let version = if random.below(6) == 0 { "HTTP/1.0" } else { "HTTP/1.1" };
    let spoken = match bad {
        Bad::Start => any(STARTS, random),
        _ if random.below(8) == 0 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    let status = any(if bad == Bad::Status { BAD_STATUSES } else { STATUSES }, random);
    let mut response = format!("{spoken} {status}\r\n");
    for _ in 0..random.below(6) {
        response.push_str(any(FIELDS, random));
        response.push_str("\r\n");
    }
    if bad == Bad::Field {
        response.push_str(any(BAD_FIELDS, random));
        response.push_str("\r\n");
    }
    let has_body = method != "HEAD" && !status.starts_with("204") && !status.starts_with("304");
    let (fields, body, until_close) = any(if bad == Bad::Frame { BAD_FRAMES } else { FRAMES }, random);
    response.push_str(fields);
    response.push_str("\r\n");
    if has_body {
        response.push_str(body);
    }
    let closes = bad != Bad::No || until_close && has_body;
    Case { method, version, response, bad, closes }
}

/// Answers `/7` with the response of that seed, and says of anything else that it is well.
fn upstream() -> Upstream {
    Upstream::start(|request, stream: &mut TcpStream| {
        let number = request.line.split(' ').nth(1).unwrap().trim_start_matches('/').parse::<u64>();
        let Ok(seed) = number else {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwell").is_ok();
        };
        let Case { response, closes, .. } = generate(&mut Random::new(seed));
        let bytes: Vec<u8> = response.chars().map(|char| u8::try_from(char).unwrap()).collect();
        stream.write_all(&bytes).is_ok() && !closes
    })
}

#[test]
fn a_client_gets_of_a_response_what_it_gets_from_nginx() {
    let (our_upstream, their_upstream) = (upstream(), upstream());
    let (ours, theirs) = (requests::ours(&our_upstream), requests::nginx(&their_upstream));
    let ours = ours.tolerant(&["proxy behind: "]);
    wait_until(SOON, "nginx serves", || {
        TcpStream::connect(theirs.address).map_err(|error| error.to_string())
    });
    let (count, first) = extent(6000);
    let mut judge = Judge::new(RULES);
    for seed in first..first + count {
        let case = generate(&mut Random::new(seed));
        let body = if case.method == "POST" { "Content-Length: 2\r\n\r\nhi" } else { "\r\n" };
        let Case { method, version, .. } = case;
        let connection = if version == "HTTP/1.0" { "Connection: keep-alive\r\n" } else { "" };
        let request = format!("{method} /{seed} {version}\r\nHost: a\r\n{connection}{body}");
        let bytes = request + requests::LAST;
        let our = talk(ours.address, bytes.as_bytes(), &[method, "GET"]);
        let their = talk(theirs.address, bytes.as_bytes(), &[method, "GET"]);
        let differences = compare(&our, &their);
        let differences: Vec<_> = differences.into_iter().map(|difference| (&case, difference)).collect();
        judge.judge(&differences, || format!("  seed {seed}: {case:?}\n  ours: {our:?}\n  nginx: {their:?}"));
    }
    judge.end(count);
}

fn compare(our: &Talk, their: &Talk) -> Vec<Difference> {
    let mut differences = Vec::new();
    let (ours, theirs) = match (our.replies.first(), their.replies.first()) {
        (Some(ours), Some(theirs)) => (ours, theirs),
        (Some(ours), None) if ours.status == 502 => return vec![Difference::OnlyWeRefuse],
        (None, None) => return differences,
        (ours, theirs) => return vec![Difference::Whole(ours.is_some(), theirs.is_some())],
    };
    if ours.status != theirs.status {
        return vec![match (ours.status, theirs.status) {
            (502, _) => Difference::OnlyWeRefuse,
            (_, 502) => Difference::OnlyTheyRefuse,
            (ours, theirs) => Difference::Status(ours, theirs),
        }];
    }
    if ours.status == 502 {
        return differences;
    }
    if ours.body != theirs.body {
        differences.push(Difference::Body);
    }
    let (extra_ours, extra_theirs) =
        (requests::without(named(ours), named(theirs)), requests::without(named(theirs), named(ours)));
    // Of fields of one name; that of different ones means nothing (RFC 9110 §5.3).
    let common = |reply: &Reply, extra: &[(String, String)]| {
        let mut fields = requests::without(named(reply), extra.to_vec());
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        fields
    };
    if common(ours, &extra_ours) != common(theirs, &extra_theirs) {
        differences.push(Difference::Order);
    }
    differences.extend(extra_ours.into_iter().map(|(name, value)| Difference::OnlyOurs(name, value)));
    differences.extend(extra_theirs.into_iter().map(|(name, value)| Difference::OnlyTheirs(name, value)));
    if ours.closes() != theirs.closes() {
        differences.push(Difference::Closes(ours.closes(), theirs.closes()));
        return differences;
    }
    let next = |talk: &Talk| talk.replies.get(1).is_some_and(|reply| reply.text() == "well");
    if next(our) != next(their) {
        differences.push(Difference::Next(next(our), next(their)));
    }
    differences
}

/// Its fields but for those of the connection and those that both write, at places of their own.
fn named(reply: &Reply) -> Vec<(String, String)> {
    const WRITTEN: [&str; 5] = ["connection", "date", "server", "transfer-encoding", "content-length"];
    let mut fields: Vec<_> =
        reply.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    fields.retain(|(name, _)| !WRITTEN.contains(&name.as_str()));
    fields
}
