//! Heads of requests and responses (RFC 9110 §6, RFC 9112 §3, §4), independent of the protocol version on the wire.

use super::fields::Names;
use super::{Fields, Span};

/// A request method (RFC 9110 §9). `Other` is any token we give no meaning to; its text stays in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Connect,
    Trace,
    Other,
}

impl Method {
    /// The method of that exact, case-sensitive name.
    #[must_use]
    pub(crate) fn from_bytes(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"PATCH" => Self::Patch,
            b"OPTIONS" => Self::Options,
            b"CONNECT" => Self::Connect,
            b"TRACE" => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Whether a repeated request has the effect of one (RFC 9110 §9.2.2); decides about retries.
    #[must_use]
    pub(crate) fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// Whether one of these methods was asked for. HEAD asks for what a GET would be answered with (RFC 9110 §9.3.2).
pub(crate) fn is_one_of(methods: &[String], asked: &[u8]) -> bool {
    methods.iter().any(|method| method.as_bytes() == asked || (method == "GET" && asked == b"HEAD"))
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the versions")]
pub enum Version {
    Http10,
    Http11,
    Http2,
}

impl Version {
    /// As in a request line.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyLength {
    /// There is no body.
    #[default]
    None,
    /// Exactly so many bytes.
    Known(u64),
    /// Known only at its end: chunked or, for HTTP/1.0 clients, ended by closing.
    Unknown,
}

/// A status code, 100 to 999 (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Status(pub u16);

impl Status {
    /// 1xx, 204 and 304 never carry a body or its framing (RFC 9110 §6.4.1).
    #[must_use]
    pub(crate) fn forbids_body(self) -> bool {
        self.0 < 200 || self.0 == 204 || self.0 == 304
    }

    /// The registered reason phrase, or an empty string.
    #[must_use]
    pub(crate) fn reason(self) -> &'static str {
        match self.0 {
            100 => "Continue",
            101 => "Switching Protocols",
            103 => "Early Hints",
            200 => "OK",
            201 => "Created",
            202 => "Accepted",
            203 => "Non-Authoritative Information",
            204 => "No Content",
            205 => "Reset Content",
            206 => "Partial Content",
            207 => "Multi-Status",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            402 => "Payment Required",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            407 => "Proxy Authentication Required",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            412 => "Precondition Failed",
            413 => "Content Too Large",
            414 => "URI Too Long",
            415 => "Unsupported Media Type",
            416 => "Range Not Satisfiable",
            417 => "Expectation Failed",
            418 => "I'm a Teapot",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            423 => "Locked",
            424 => "Failed Dependency",
            425 => "Too Early",
            426 => "Upgrade Required",
            428 => "Precondition Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            451 => "Unavailable For Legal Reasons",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            507 => "Insufficient Storage",
            508 => "Loop Detected",
            511 => "Network Authentication Required",
            _ => "",
        }
    }
}

/// Fields of a request that tell of its body, or go with it, and what it may go on as.
const OF_BODY: Names = Names::new(&[
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "expect",
    "trailer",
    "transfer-encoding",
    "upgrade",
]);
/// Preconditions and ranges (RFC 9110 §13.1, §14.2).
const CONDITIONS: Names = Names::new(&[
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "range",
]);

/// A parsed request head: the bytes as received and where its parts are.
#[derive(Clone, Debug)]
pub struct RequestHead {
    raw: Vec<u8>,
    method: Method,
    method_span: Span,
    target: Span,
    /// The target as the client wrote it, once there is another one.
    written: Option<Span>,
    version: Version,
    fields: Vec<(Span, Span)>,
}

impl RequestHead {
    /// Puts a head together; the spans point into `raw`, values come without surrounding white space.
    #[must_use]
    pub fn new(
        raw: Vec<u8>,
        method: Span,
        target: Span,
        version: Version,
        fields: Vec<(Span, Span)>,
    ) -> Self {
        Self {
            method: Method::from_bytes(method.of(&raw)),
            method_span: method,
            raw,
            target,
            written: None,
            version,
            fields,
        }
    }

    /// What is asked for.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The method as it was written.
    #[must_use]
    pub fn method_bytes(&self) -> &[u8] {
        self.method_span.of(&self.raw)
    }

    /// The request-target as it was written, or as a rewrite has it.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.raw)
    }

    /// The request-target as the client wrote it.
    #[must_use]
    pub(crate) fn written(&self) -> &[u8] {
        self.written.unwrap_or(self.target).of(&self.raw)
    }

    /// Whether there is another target than the client wrote.
    #[must_use]
    pub(crate) fn is_rewritten(&self) -> bool {
        self.written.is_some()
    }

    /// Gives it another target.
    pub(crate) fn rewrite(&mut self, target: &[u8]) {
        self.written.get_or_insert(self.target);
        let start = self.raw.len() as u32;
        self.raw.extend_from_slice(target);
        self.target = Span { start, end: self.raw.len() as u32 };
    }

    /// The version in the request line.
    #[must_use]
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The value of the first field of that name, compared without case.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields().find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The values of all fields of that name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.fields().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Name and value of every field, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.fields.iter().map(|(name, value)| (name.of(&self.raw), value.of(&self.raw)))
    }

    /// The head of a GET for another target, of a HEAD where this is one: without what tells of a body or of another protocol
    /// to go on in, and without preconditions and ranges that were meant for the effect of another method.
    #[must_use]
    pub(crate) fn led_to(&self, target: &[u8]) -> Self {
        let method: &[u8] = if self.method == Method::Head { b"HEAD" } else { b"GET" };
        let reads = matches!(self.method, Method::Get | Method::Head);
        let passes = |name: &[u8]| !OF_BODY.has(name) && (reads || !CONDITIONS.has(name));
        self.made(method, target, self.fields().filter(|(name, _)| passes(name)))
    }

    /// The head of a GET for the same, with those of its fields whose names pass, and these.
    #[must_use]
    pub(crate) fn as_get<'a>(
        &'a self,
        passes: impl Fn(&[u8]) -> bool,
        added: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        self.made(b"GET", self.target(), self.fields().filter(|(name, _)| passes(name)).chain(added))
            .written_as(self)
    }

    /// The same head without the fields of these names.
    #[must_use]
    pub(crate) fn without(&self, is_dropped: impl Fn(&[u8]) -> bool) -> Self {
        self.made(self.method_bytes(), self.target(), self.fields().filter(|(name, _)| !is_dropped(name)))
            .written_as(self)
    }

    /// The same head for a request that was written as another one, if that was rewritten.
    fn written_as(mut self, other: &Self) -> Self {
        if other.is_rewritten() {
            let start = self.raw.len() as u32;
            self.raw.extend_from_slice(other.written());
            self.written = Some(Span { start, end: self.raw.len() as u32 });
        }
        self
    }

    /// A head of the same version.
    fn made<'a>(
        &self,
        method: &[u8],
        target: &[u8],
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Self {
        let mut raw = Vec::with_capacity(self.raw.len() + target.len());
        let mut put = |bytes: &[u8]| {
            let start = raw.len() as u32;
            raw.extend_from_slice(bytes);
            Span { start, end: raw.len() as u32 }
        };
        let (method, target) = (put(method), put(target));
        let fields = fields.map(|(name, value)| (put(name), put(value))).collect();
        Self::new(raw, method, target, self.version, fields)
    }

    /// The same head with other values for those fields for which there are some.
    #[must_use]
    pub(crate) fn with_values(&self, mut other: impl FnMut(&[u8], &[u8]) -> Option<Vec<u8>>) -> Self {
        let mut head = self.clone();
        for ((name, value), span) in self.fields().zip(head.fields.iter_mut().map(|(_, span)| span)) {
            if let Some(value) = other(name, value) {
                let start = head.raw.len() as u32;
                head.raw.extend_from_slice(&value);
                *span = Span { start, end: head.raw.len() as u32 };
            }
        }
        head
    }

    /// How many bytes the head had on the wire.
    #[must_use]
    pub(crate) fn wire_len(&self) -> usize {
        self.raw.len()
    }
}

/// Status and fields of a response. Framing fields (`Content-Length`, `Transfer-Encoding`, `Connection`), `Date` and
/// `Server` are not here: the protocol adds them when it encodes the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: Status,
    /// A reason phrase other than the registered one; from an app or an upstream.
    pub reason: Option<Box<[u8]>>,
    /// The fields.
    pub fields: Fields,
}

impl ResponseHead {
    /// A head without fields.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status: Status(status), reason: None, fields: Fields::new() }
    }

    /// The same head with one field more.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.add(name, value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::conditional::tests::head;

    #[test]
    fn a_rewritten_request_is_the_same_but_for_its_target() {
        let mut request = head("POST", &[("Host", "a"), ("Range", "bytes=0-")]);
        assert!(!request.is_rewritten() && request.written() == b"/");
        request.rewrite(b"/b?c");
        request.rewrite(b"/d");
        assert_eq!(
            (request.method_bytes(), request.target(), request.written()),
            (&b"POST"[..], &b"/d"[..], &b"/"[..])
        );
        assert!(request.is_rewritten() && request.get("range") == Some(&b"bytes=0-"[..]));
        let (got, less) = (request.as_get(|_| true, std::iter::empty()), request.without(|_| true));
        for same in [&got, &less] {
            assert_eq!((same.target(), same.written()), (request.target(), request.written()));
        }
        assert_eq!(
            (request.led_to(b"/e").target(), request.led_to(b"/e").written()),
            (&b"/e"[..], &b"/e"[..])
        );
    }

    #[test]
    fn who_is_led_elsewhere_asks_for_it_without_what_was_for_another() {
        let fields = [
            ("Host", "a"),
            ("Range", "bytes=0-"),
            ("If-None-Match", "\"x\""),
            ("Content-Length", "5"),
            ("content-type", "text/plain"),
            ("Upgrade", "websocket"),
            ("Expect", "100-continue"),
            ("X-Own", "1"),
        ];
        for (method, asked, kept) in [
            ("GET", "GET", &["Host", "Range", "If-None-Match", "X-Own"][..]),
            ("HEAD", "HEAD", &["Host", "Range", "If-None-Match", "X-Own"]),
            ("POST", "GET", &["Host", "X-Own"]),
            ("LOCK", "GET", &["Host", "X-Own"]),
        ] {
            let led = head(method, &fields).led_to(b"/b?c");
            assert_eq!((led.method_bytes(), led.target()), (asked.as_bytes(), &b"/b?c"[..]), "{method}");
            let names: Vec<_> = led.fields().map(|(name, _)| name.to_vec()).collect();
            assert_eq!(
                names,
                kept.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>(),
                "{method}"
            );
            assert_eq!((led.get("x-own"), led.version()), (Some(&b"1"[..]), Version::Http11), "{method}");
        }
    }
}
