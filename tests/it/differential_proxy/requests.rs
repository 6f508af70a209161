//! What a server sees of a request.

use super::{Judge, Kind, Rule, Talk, extent, talk};
use crate::differential::Random;
use crate::harness::{Nginx, Received, Reply, SOON, Server, Setup, Upstream, wait_until};
use hatchery::fuzzing::{self, Outcome};
use std::io::Write as _;
use std::net::TcpStream;

/// A request, one character a byte.
struct Request {
    method: &'static str,
    text: String,
}

impl Request {
    fn line(&self) -> &str {
        self.text.split("\r\n").next().unwrap()
    }

    fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap()
    }

    /// The lines of its head behind the first one.
    fn fields(&self) -> impl Iterator<Item = &str> {
        let head = self.text.split("\r\n\r\n").next().unwrap();
        head.split("\r\n").skip(1)
    }

    /// Whether one of its field lines begins so.
    fn says(&self, beginning: &str) -> bool {
        self.fields().any(|line| begins(line, beginning))
    }
}

fn bytes(requests: &[Request]) -> Vec<u8> {
    requests.iter().flat_map(|request| request.text.chars()).map(|char| u8::try_from(char).unwrap()).collect()
}

/// What differs; ours first.
#[derive(Debug)]
#[allow(dead_code, reason = "what no rule looks at is shown")]
enum Difference {
    /// Only we refuse it, for this reason.
    OnlyWeRefuse(&'static str),
    /// Only nginx refuses it, with this status.
    OnlyTheyRefuse(u16),
    /// It was answered otherwise; `None`: not at all.
    Status(Option<u16>, Option<u16>),
    /// A request line that the server got.
    Line(String, String),
    /// A field that only our server got.
    OnlyOurs(String, String),
    /// A field that only the other got.
    OnlyTheirs(String, String),
    /// The order of what both got.
    Order,
    Body,
    /// Interim responses that the client got.
    Interim(Vec<u16>, Vec<u16>),
    /// Whether the client was told that the connection ends.
    Closes(bool, bool),
}

impl Kind for Difference {
    fn kind(&self) -> String {
        match self {
            Self::Line(..) => "Line".to_owned(),
            Self::OnlyOurs(name, _) => format!("OnlyOurs {name}"),
            Self::OnlyTheirs(name, _) => format!("OnlyTheirs {name}"),
            other => format!("{other:?}"),
        }
    }
}

const RULES: &[Rule<Request, Difference>] = &[
    // ---- what is refused ----
    Rule {
        name: "fragments",
        why: "RFC 9112 §3.2: a target has none; nginx cuts it off, others take it for a part of the path",
        fits: |_, difference| refuses(difference, "'#' in the request target"),
    },
    Rule {
        name: "hosts that no host has",
        why: "RFC 9112 §3.2: 400 for an invalid Host; nginx passes on what an application may build links and files of",
        fits: |_, difference| refuses(difference, "invalid Host field"),
    },
    Rule {
        name: "two hosts",
        why: "RFC 9112 §3.2.2 lets that of the target win; others take the Host, so this is refused",
        fits: |_, difference| refuses(difference, "Host differs from the authority of the request target"),
    },
    Rule {
        name: "https without TLS",
        why: "RFC 9110 §4.2.2: what it names is to be had over TLS only",
        fits: |_, difference| refuses(difference, "https target on a connection without TLS"),
    },
    Rule {
        name: "targets of other schemes",
        why: "RFC 9112 §3.2.2: what is asked of an origin is a path or an http URL; nginx takes any scheme for its own",
        fits: |_, difference| refuses(difference, "request target is neither a path nor an http URL"),
    },
    Rule {
        name: "versions",
        why: "RFC 9112 §2.3: one digit, a dot, one digit",
        fits: |request, difference| {
            refuses(difference, "malformed HTTP version") && request.line().ends_with("HTTP/1.01")
        },
    },
    Rule {
        name: "lines that are no fields",
        why: "RFC 9112 §5.1: white space before a colon, folding and names with other characters are refused; nginx drops \
              such a line as invalid and goes on, which hides a Transfer-Encoding from it that another sees",
        fits: |_, difference| refuses(difference, "malformed header field"),
    },
    Rule {
        name: "chunk extensions",
        why: "RFC 9112 §7.1.1 has a grammar for them; nginx skips anything up to the line end",
        fits: |_, difference| refuses(difference, "invalid chunk extension"),
    },
    Rule {
        name: "trailers",
        why: "RFC 9112 §7.1.2: a trailer field is a field line; nginx skips anything",
        fits: |_, difference| refuses(difference, "invalid trailer field"),
    },
    Rule {
        name: "line ends in chunks",
        why: "RFC 9112 §2.2: a bare LF ends no line of a chunked body; nginx lets it, and others do not",
        fits: |_, difference| refuses(difference, "missing CR LF in the chunked body"),
    },
    Rule {
        name: "paths that can be read in two ways",
        why: "docs/manual/reverse-proxy.md: dot segments with parameters (`/..;/`) lead some servers above the root, and \
              what could be read in more than 20 ways goes nowhere",
        fits: |request, difference| {
            let target = request.target().to_ascii_lowercase();
            refuses(difference, NOT_BY_THE_CONNECTION)
                && [";", "\\", "%5c", "%2f"].iter().any(|text| target.contains(text))
        },
    },
    Rule {
        name: "dot segments behind empty ones",
        why: "`//..` leads out of the root where empty segments are none, as in files; nginx merges no slashes here",
        fits: |request, difference| {
            let is_empty = |text: &&str| request.target().to_ascii_lowercase().contains(text);
            refuses(difference, "'..' above the root of the path") && ["//", "/%2f"].iter().any(is_empty)
        },
    },
    Rule {
        name: "ports that there are not",
        why: "RFC 3986 §3.2.3: a port is digits, and none is above 65535",
        fits: |_, difference| refuses(difference, "invalid port"),
    },
    Rule {
        name: "hosts of absolute targets",
        why: "RFC 3986 §3.2.2: a registered name may have `_`; nginx takes it in Host, but not in a target",
        fits: |request, difference| is_only_theirs(difference) && request.target().contains("//a_b.example"),
    },
    Rule {
        name: "what is asked of the server as a whole",
        why: "RFC 9110 §9.3.7: `OPTIONS *` is answered; nginx refuses it",
        fits: |request, difference| {
            matches!(difference, Difference::Status(Some(204), Some(400)))
                && request.line().starts_with("OPTIONS ")
        },
    },
    Rule {
        name: "methods in lower case",
        why: "RFC 9110 §9.1: a method is any token, and whether it knows it is the server's to say",
        fits: |request, difference| {
            is_only_theirs(difference) && request.method.bytes().any(|byte| byte.is_ascii_lowercase())
        },
    },
    Rule {
        name: "fields that stand there twice",
        why: "RFC 9110 §5.3: what a field that should be one means is the server's to say, as long as no framing depends on it",
        fits: |request, difference| {
            let twice = |name: &&str| {
                let lines = request.fields().filter(|line| begins(line, name));
                lines.count() > 1
            };
            is_only_theirs(difference) && SINGLE.iter().any(twice)
        },
    },
    // ---- the connection ----
    Rule {
        name: "100 Continue without need",
        why: "RFC 9110 §10.1.1: it may be left out for a request without a body, or whose body comes already",
        fits: |request, difference| {
            matches!(difference, Difference::Interim(ours, theirs) if ours.is_empty() && theirs == &[100])
                && request.says("Expect: 100-continue")
        },
    },
    Rule {
        name: "close beside keep-alive",
        why: "RFC 9112 §9.3: `close` counts wherever it stands; in nginx the last Connection field wins",
        fits: |request, difference| {
            matches!(difference, Difference::Closes(true, false))
                && request.says("Connection: close")
                && request.says("Connection: keep-alive")
        },
    },
    // ---- what the server gets ----
    Rule {
        name: "bytes above ASCII",
        why: "RFC 3986 §2.1: they are sent percent-encoded, which means the same; nginx passes them on as they came",
        fits: |request, difference| {
            let Difference::Line(ours, theirs) = difference else { return false };
            let encoded: String = theirs
                .chars()
                .map(|char| match u32::from(char) {
                    0x80.. => format!("%{:02X}", u32::from(char)),
                    _ => char.to_string(),
                })
                .collect();
            !request.target().is_ascii() && *ours == encoded
        },
    },
    Rule {
        name: "Via",
        why: "RFC 9110 §7.6.3: an intermediary must say that it is there; nginx does not",
        fits: |request, difference| {
            let version = if request.line().ends_with("HTTP/1.0") { "1.0 hatchery" } else { "1.1 hatchery" };
            matches!(difference, Difference::OnlyOurs(name, value) if name == "via" && value == version)
        },
    },
    Rule {
        name: "the id of a request",
        why: "docs/manual/reverse-proxy.md: ours, by which the logs name it; that of a client is no name for anything",
        fits: |_, difference| is_field(difference, &["x-request-id"]),
    },
    Rule {
        name: "the host of an absolute target",
        why: "RFC 9112 §3.2.2: it is the host, as it is written there; nginx sends the Host of a client that says another one",
        fits: |request, difference| {
            !request.target().starts_with('/') && is_field(difference, &["host", "x-forwarded-host"])
        },
    },
    Rule {
        name: "odd names",
        why: "RFC 9110 §5.1: a name is any token; nginx drops those with other characters than letters, digits and hyphens",
        fits: |_, difference| matches!(difference, Difference::OnlyOurs(name, _) if ["x.dot", "x!#$%&'*+^`|~"].contains(&name.as_str())),
    },
    Rule {
        name: "white space around values",
        why: "RFC 9110 §5.5: tabs are no part of a value at its ends either",
        fits: |_, difference| is_field(difference, &["x-spaced"]),
    },
    Rule {
        name: "fields of the client's connection",
        why: "RFC 9110 §7.6.1: they go no further; nginx knows of Connection, Keep-Alive, TE and Upgrade only",
        fits: |_, difference| {
            let names = ["http2-settings", "proxy-connection", "proxy-authorization", "trailer"];
            is_only_theirs_of(difference, &names)
        },
    },
    Rule {
        name: "nominated fields",
        why: "RFC 9110 §7.6.1: what Connection names goes no further; nginx does not look",
        fits: |request, difference| match difference {
            Difference::OnlyTheirs(name, _) => request
                .fields()
                .any(|line| begins(line, "Connection:") && line.to_ascii_lowercase().contains(name)),
            _ => false,
        },
    },
    Rule {
        name: "upgrades",
        why: "docs/manual/reverse-proxy.md: they are passed on without a key; nginx needs proxy_set_header",
        fits: |request, difference| {
            let is_upgrade = matches!(difference, Difference::OnlyOurs(name, value)
                if name == "connection" && value == "upgrade" || name == "upgrade" && value == "websocket");
            is_upgrade && request.says("Connection: upgrade") && request.says("Upgrade: websocket")
        },
    },
    Rule {
        name: "claims of who is not trusted",
        why: "docs/manual/proxies.md: who tells of proxies must be one that is trusted; nginx passes on what it does not set",
        fits: |_, difference| {
            is_only_theirs_of(difference, &["forwarded", "x-real-ip", "x-forwarded-prefix"])
        },
    },
    Rule {
        name: "Proxy",
        why: "httpoxy (CVE-2016-5385): CGI programs would take it for HTTP_PROXY",
        fits: |_, difference| is_only_theirs_of(difference, &["proxy"]),
    },
    Rule {
        name: "Max-Forwards",
        why: "RFC 9110 §7.6.2: an intermediary counts it down for OPTIONS",
        fits: |request, difference| is_field(difference, &["max-forwards"]) && request.method == "OPTIONS",
    },
    Rule {
        name: "a request without Host",
        why: "RFC 9112 §3.2: what is asked for in HTTP/1.1 has one, so the name of the site; nginx sends none",
        fits: |request, difference| {
            matches!(difference, Difference::OnlyOurs(name, value)
                if ["host", "x-forwarded-host"].contains(&name.as_str()) && value == "localhost")
                && request.line().ends_with("HTTP/1.0")
                && !request.says("Host:")
        },
    },
];

const NOT_BY_THE_CONNECTION: &str = "not by the connection";

/// Fields of which nginx wants one at most.
const SINGLE: [&str; 8] = [
    "If-None-Match:",
    "If-Match:",
    "If-Modified-Since:",
    "If-Unmodified-Since:",
    "If-Range:",
    "Expect:",
    "Content-Type:",
    "Authorization:",
];

fn begins(line: &str, beginning: &str) -> bool {
    line.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
}

fn refuses(difference: &Difference, reason: &str) -> bool {
    matches!(difference, Difference::OnlyWeRefuse(why) if *why == reason)
}

fn is_only_theirs(difference: &Difference) -> bool {
    matches!(difference, Difference::OnlyTheyRefuse(400))
}

/// Whether one of these fields is there on one side only.
fn is_field(difference: &Difference, names: &[&str]) -> bool {
    match difference {
        Difference::OnlyOurs(name, _) | Difference::OnlyTheirs(name, _) => names.contains(&name.as_str()),
        _ => false,
    }
}

fn is_only_theirs_of(difference: &Difference, names: &[&str]) -> bool {
    matches!(difference, Difference::OnlyTheirs(..)) && is_field(difference, names)
}

const METHODS: &[&str] = &[
    "GET", "GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH",
    "get", "TRACE", "CONNECT", "G@T", "PROPFIND",
];

const SEGMENTS: &[&str] = &[
    "a", "b.html", "c-d_e", "x~", "%41", "%7e", "%2F", "%2f", "%5c", "%2e%2e", "..", ".", "", "%00", "%ff",
    "\u{e9}", "\u{ff}", "a+b", "%20", "%zz", "%", "%4", ";x=1", "\\", "{x}", "|", "\"", "<>", "^", "`",
    "[1]", "'", "(y)", "*", "@", ":8", "%25", "%3F", "%23", "#f", "a=b&c", "$", "!", ",", "...", "..;",
    "%c3%a9", "%0a",
];

const QUERIES: &[&str] = &[
    "",
    "",
    "",
    "?",
    "?a=1&b=2",
    "?x=%41%zz",
    "??",
    "?a#b",
    "?%00",
    "?\u{e9}",
    "?a=/../b",
    "?a;b",
    "?[]{}|\\^`\"<>",
    "?a=http://b/",
];

const HOSTS: &[&str] = &[
    "a",
    "a",
    "a",
    "shop.example",
    "A.Example",
    "a:80",
    "a:",
    "a:99999",
    "a:x",
    "",
    "a b",
    "[::1]",
    "[::1]:8080",
    "[::1",
    "a_b.example",
    "-",
    "a/b",
    "127.0.0.1",
    "a.",
    "..",
    "a..b",
    "xn--caf-dma.example",
    "a,b",
    "a@b",
    "%61",
    "a\u{e9}",
    "a?b",
    "a\"",
];

const FIELDS: &[&str] = &[
    "Accept: text/html",
    "accept: */*",
    "ACCEPT-LANGUAGE: de, en;q=0.5",
    "Accept-Encoding: gzip",
    "Cookie: a=1",
    "Cookie: b=2",
    "Cookie:",
    "X-Twice: one",
    "X-Twice: two",
    "x-twice: three",
    "X-Empty:",
    "X-Empty: ",
    "X-Spaced:   \tvalue with  spaces\t ",
    "X-Tab: a\tb",
    "X-Quoted: \"a, b\"",
    "X-Utf8: caf\u{c3}\u{a9}",
    "X-Latin: \u{e9}\u{ff}",
    "X-Control: a\u{1}b",
    "X-Escape: \u{1b}[2J",
    "X-Del: a\u{7f}",
    "X-Nul: a\0b",
    "X-Cr: a\rb",
    "X_Under: 1",
    "X-Under_Score: 2",
    "X.Dot: 3",
    "X!#$%&'*+^`|~: odd",
    "X(Y): bracket",
    "X Y: space",
    "X-Before : colon",
    ": no name",
    "no colon",
    "X-Folded: a\r\n b",
    "Connection: keep-alive",
    "Connection: keep-alive, X-Twice",
    "Connection: X-Nominated",
    "X-Nominated: 1",
    "Connection: Cookie, Authorization, X-Forwarded-For",
    "Connection: close, te",
    "Connection: upgrade",
    "Connection: ,,",
    "Connection: Host",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "Proxy-Authorization: Basic YTpi",
    "Proxy: http://evil/",
    "TE: trailers",
    "TE: gzip",
    "Trailer: X-Checksum",
    "Upgrade: h2c",
    "Upgrade: websocket",
    "HTTP2-Settings: AAMAAABk",
    "Range: bytes=0-4",
    "Range: bytes=9-",
    "If-Range: \"x\"",
    "If-None-Match: \"x\", W/\"y\"",
    "If-None-Match: *",
    "If-Match: \"x\"",
    "If-Modified-Since: Sat, 28 Nov 2026 09:00:00 GMT",
    "If-Unmodified-Since: Sat, 28 Nov 2026 09:00:00 GMT",
    "Authorization: Basic YTpi",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Encoding: gzip",
    "Content-Language: de",
    "Content-MD5: x",
    "Date: Sat, 28 Nov 2026 09:00:00 GMT",
    "Expect: 100-continue",
    "Expect: 100-Continue",
    "Expect: x",
    "From: a@b",
    "Max-Forwards: 3",
    "Origin: https://a",
    "Referer: https://a/b?c",
    "User-Agent: test/1.0 (x; y)",
    "Via: 1.0 fred",
    "Forwarded: for=192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "X-Forwarded-For: 192.0.2.2, 192.0.2.3",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Prefix: /x",
    "X-Real-IP: 192.0.2.1",
    "X-Request-Id: abc",
    "X-Accel-Redirect: /x",
    "X-SSL-Client-Verify: SUCCESS",
    "Sec-Fetch-Site: none",
    "Priority: u=1",
    "Early-Data: 1",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "Warning: 199 - x",
    "Pragma: no-cache",
    "Cache-Control: no-cache",
];

/// What stands before a body, and the body; the first is the usual one.
const BODIES: &[(&str, &str)] = &[
    ("", ""),
    ("Content-Length: 5\r\n", "hello"),
    ("Content-Length: 0\r\n", ""),
    ("content-length: 5\r\n", "a\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "1\r\nh\r\n4;ext=\"a\"\r\nello\r\n0\r\nX-Checksum: 1\r\n\r\n"),
    ("Transfer-Encoding: Chunked\r\n", "0A\r\n0123456789\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Content-Length: 05\r\n", "hello"),
    ("Content-Length: +5\r\n", "hello"),
    ("Content-Length: 5, 5\r\n", "hello"),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
    ("Content-Length: -1\r\n", ""),
    ("Content-Length:\r\n", ""),
    ("Content-Length: x\r\n", ""),
    ("Content-Length: 5 \r\n", "hello"),
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: identity\r\n", ""),
    ("Transfer-Encoding: xchunked\r\n", ""),
    ("Transfer-Encoding: chunked, identity\r\n", ""),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
    ("Transfer_Encoding: chunked\r\n", ""),
    ("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "x\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5;a\r\nhello\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
];

/// Ends the connection, so that nobody waits for another request.
pub(super) const LAST: &str = "GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";

fn generate(random: &mut Random) -> Vec<Request> {
    let mut requests: Vec<_> = (0..=random.below(8) / 6).map(|_| request(random)).collect();
    requests.push(Request { method: "GET", text: LAST.to_owned() });
    requests
}

fn any<T: Copy>(list: &[T], random: &mut Random) -> T {
    list[random.below(list.len())]
}

/// One in so many.
fn rarely(random: &mut Random, often: usize) -> bool {
    random.below(often) == 0
}

fn request(random: &mut Random) -> Request {
    let method = any(METHODS, random);
    let mut target = String::new();
    let host = if rarely(random, 4) { any(HOSTS, random) } else { "a" };
    if rarely(random, 7) {
        target.push_str(any(&["http://", "http://", "HTTP://", "https://", "ftp://", "//"], random));
        target.push_str(if rarely(random, 4) { any(HOSTS, random) } else { host });
    }
    for _ in 0..=random.below(4) {
        target.push('/');
        let plain = &SEGMENTS[..4];
        target.push_str(any(if rarely(random, 3) { SEGMENTS } else { plain }, random));
    }
    if rarely(random, 30) {
        target = "*".to_owned();
    }
    target.push_str(any(QUERIES, random));
    let version = if rarely(random, 8) {
        any(
            &["HTTP/1.0", "HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/1.01", "http/1.1", "HTTP/1."],
            random,
        )
    } else {
        "HTTP/1.1"
    };
    let mut text = format!("{method} {target} {version}\r\n");
    match random.below(40) {
        0 => {}
        1 => text.push_str(&format!("Host: {host}\r\nHost: {host}\r\n")),
        2 => text.push_str(&format!("Host:{host}\r\n")),
        3 => text.push_str(&format!("host: {host} \r\n")),
        _ => text.push_str(&format!("Host: {host}\r\n")),
    }
    for _ in 0..random.below(7) {
        text.push_str(any(FIELDS, random));
        text.push_str("\r\n");
    }
    let usual = if matches!(method, "POST" | "PUT" | "PATCH") { 8 } else { 1 };
    let (before, body) = if rarely(random, 6) { any(BODIES, random) } else { any(&BODIES[..usual], random) };
    text.push_str(&format!("{before}\r\n{body}"));
    Request { method, text }
}

/// Answers with 200 and a few bytes, whatever is asked.
fn upstream() -> Upstream {
    Upstream::start(|request, stream: &mut TcpStream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
        let body = if request.line.starts_with("HEAD ") { "" } else { "ok" };
        stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
    })
}

pub(super) fn nginx(upstream: &Upstream) -> Nginx {
    Nginx::start(
        &format!("upstream behind {{ server {}; keepalive 8; }}", upstream.address),
        "client_max_body_size 0; merge_slashes off; \
         location / { \
           proxy_pass http://behind; proxy_http_version 1.1; proxy_request_buffering off; \
           proxy_set_header Connection \"\"; proxy_set_header Host $http_host; \
           proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; \
           proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-Port $server_port; \
         }",
    )
}

pub(super) fn ours(upstream: &Upstream) -> Server {
    let setup = Setup::new(&format!(
        r#"
    workers: (processes: 1),
    log: (request_id: Off, access: Off),
    sites: [(listen: ["{{address}}"], max_body: "1GiB", locations: [(path: "/", to: Proxy("behind"))])],
    upstreams: {{"behind": (servers: ["{}"])}},"#,
        upstream.address
    ));
    setup.start()
}

#[test]
fn a_server_sees_of_a_request_what_it_sees_behind_nginx() {
    let (our_upstream, their_upstream) = (upstream(), upstream());
    let (ours, theirs) = (ours(&our_upstream), nginx(&their_upstream));
    wait_until(SOON, "nginx serves", || {
        TcpStream::connect(theirs.address).map_err(|error| error.to_string())
    });
    let (count, first) = extent(6000);
    let mut judge = Judge::new(RULES);
    for seed in first..first + count {
        let requests = generate(&mut Random::new(seed));
        let bytes = bytes(&requests);
        let methods: Vec<_> = requests.iter().map(|request| request.method).collect();
        let our_talk = talk(ours.address, &bytes, &methods);
        let our = (our_talk, without_port(our_upstream.take_received(), ours.address.port()));
        let their_talk = talk(theirs.address, &bytes, &methods);
        let their = (their_talk, without_port(their_upstream.take_received(), theirs.address.port()));
        let differences = compare(&requests, &our, &their);
        judge.judge(&differences, || {
            let side = |(talk, received): &(Talk, Vec<Received>)| {
                let replies: Vec<_> =
                    talk.replies.iter().map(|reply| (reply.status, reply.closes())).collect();
                let received = received.iter().map(|request| {
                    format!("\n    {} {:?} {}", request.line, request.fields, request.body.escape_ascii())
                });
                format!("{replies:?} {:?}{}", talk.end, received.collect::<String>())
            };
            format!(
                "  seed {seed}: {}\n  ours: {}\n  nginx: {}",
                bytes.escape_ascii(),
                side(&our),
                side(&their)
            )
        });
    }
    judge.end(count);
}

/// Each tells of its own port.
fn without_port(mut received: Vec<Received>, port: u16) -> Vec<Received> {
    let fields = received.iter_mut().flat_map(|request| &mut request.fields);
    let told = fields.filter(|(name, value)| name == "X-Forwarded-Port" && *value == port.to_string());
    told.for_each(|(_, value)| *value = "its own".to_owned());
    received
}

fn compare<'a>(
    requests: &'a [Request],
    (our_talk, our_received): &(Talk, Vec<Received>),
    (their_talk, their_received): &(Talk, Vec<Received>),
) -> Vec<(&'a Request, Difference)> {
    let mut differences = Vec::new();
    let (mut our_received, mut their_received) = (our_received.iter(), their_received.iter());
    for (at, request) in requests.iter().enumerate() {
        let (our, their) = (our_talk.replies.get(at), their_talk.replies.get(at));
        let status = |reply: Option<&Reply>| reply.map(|reply| reply.status);
        let end = match (status(our), status(their)) {
            (Some(200), Some(200)) => None,
            // A request may be refused for several things, and each finds another one first.
            (Some(400..), Some(400..)) => return differences,
            (Some(400..), Some(200)) => Some(Difference::OnlyWeRefuse(reason(requests, at))),
            (Some(200), Some(status @ 400..)) => Some(Difference::OnlyTheyRefuse(status)),
            (ours, theirs) if ours == theirs => return differences,
            (ours, theirs) => Some(Difference::Status(ours, theirs)),
        };
        if let Some(end) = end {
            differences.push((request, end));
            return differences;
        }
        let (Some(our), Some(their)) = (our, their) else { return differences };
        let mut found = Vec::new();
        match (our_received.next(), their_received.next()) {
            (Some(our), Some(their)) => compare_received(our, their, &mut found),
            other => panic!("answered without being asked: {other:?}"),
        }
        if our.interim != their.interim {
            found.push(Difference::Interim(our.interim.clone(), their.interim.clone()));
        }
        let close = (our.closes(), their.closes());
        if close.0 != close.1 {
            found.push(Difference::Closes(close.0, close.1));
        }
        differences.extend(found.into_iter().map(|difference| (request, difference)));
        if close != (false, false) {
            return differences;
        }
    }
    differences
}

/// Why our connection refuses the request at that place.
fn reason(requests: &[Request], at: usize) -> &'static str {
    match fuzzing::play(&[&bytes(requests)], &mut |_| {}).get(at) {
        Some(Outcome::Refused(_, why)) => why,
        _ => NOT_BY_THE_CONNECTION,
    }
}

fn compare_received(ours: &Received, theirs: &Received, differences: &mut Vec<Difference>) {
    if ours.line != theirs.line {
        differences.push(Difference::Line(ours.line.clone(), theirs.line.clone()));
    }
    if ours.body != theirs.body {
        differences.push(Difference::Body);
    }
    let named = |received: &Received| -> Vec<(String, String)> {
        received.fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
    };
    let (extra_ours, extra_theirs) =
        (without(named(ours), named(theirs)), without(named(theirs), named(ours)));
    differences.extend(extra_ours.iter().cloned().map(|(name, value)| Difference::OnlyOurs(name, value)));
    differences.extend(extra_theirs.iter().cloned().map(|(name, value)| Difference::OnlyTheirs(name, value)));
    let common = |received: &Received, extra: &[(String, String)]| {
        let mut fields = without(named(received), extra.to_vec());
        fields.retain(|(name, _)| !WRITTEN.contains(&name.as_str()));
        fields
    };
    if common(ours, &extra_ours) != common(theirs, &extra_theirs) {
        differences.push(Difference::Order);
    }
}

/// The first without what is in the second, each as often as it is there.
pub(super) fn without(
    fields: Vec<(String, String)>,
    mut others: Vec<(String, String)>,
) -> Vec<(String, String)> {
    let is_other = |field: &(String, String)| {
        let at = others.iter().position(|other| other == field);
        at.map(|at| others.remove(at)).is_some()
    };
    let mut is_other = is_other;
    fields.into_iter().filter(|field| !is_other(field)).collect()
}

/// Fields that both write themselves, each at a place of its own.
const WRITTEN: [&str; 7] = [
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "content-length",
    "transfer-encoding",
];
