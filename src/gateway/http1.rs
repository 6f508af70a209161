//! HTTP/1.1 to upstreams (RFC 9112): requests are written anew, never copied, so that what the client framed in some
//! odd way the upstream sees framed plainly; responses are read strictly, because a response that two parties end at
//! different places gives one client the answer of another.

use super::{Event, Request, cgi, shown, websocket};
use crate::buf::{Queue, Segment};
use crate::h1::chunked::{self, Decoder};
use crate::h1::{self, tokens};
use crate::http::fault::{Fault, Flaw};
use crate::http::fields::{is_name, write_line};
use crate::http::text::Short;
use crate::http::{BodyLength, Fields, Method, Names, RequestHead, Version, percent, target};
use std::time::Duration;

/// Writes a request head for an upstream: the target in origin form as it was written, the fields that are meant for
/// it, and the framing of `body` (RFC 9110 §7.6; research, web-servers §4.8, §4.9).
pub(crate) fn encode(request: &Request<'_>, body: BodyLength, out: &mut Vec<u8>) {
    let head = request.head;
    let tunnel = websocket::is_asked(head);
    out.extend_from_slice(if tunnel { b"GET" } else { head.method_bytes() });
    out.push(b' ');
    target::write_origin_form(head.method(), request.shown.target.unwrap_or(head.target()), out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_line(b"Host", request.shown.host.map_or(request.authority, str::as_bytes), out);
    let nominated = nominated(head.all("connection"));
    let left = forwards_left(head);
    for (name, value) in head.fields() {
        let is_prefix = !request.mount.is_empty() && name.eq_ignore_ascii_case(b"x-forwarded-prefix");
        let is_key = tunnel && name.eq_ignore_ascii_case(KEY.as_bytes());
        if is_prefix || is_key || request.is_replaced(name) {
            continue;
        }
        if let Some(left) = left.filter(|_| name.eq_ignore_ascii_case(b"max-forwards")) {
            write_line(name, left.saturating_sub(1).to_string().as_bytes(), out);
        } else if passes(name) && !request.is_claim(name) && !is_nominated(name, &nominated) {
            write_line(name, value, out);
        }
    }
    forwarded(request, out);
    if let Some(start) = request.start() {
        write_line(b"X-Request-Start", &start, out);
    }
    request.shown.said().for_each(|(name, value)| write_line(name, value, out));
    request.secure.each_of_client(|name, value| {
        write_line(format!("X-SSL-Client-{name}").as_bytes(), value.as_bytes(), out);
    });
    out.extend_from_slice(match head.version() {
        Version::Http10 => b"Via: 1.0 hatchery\r\n",
        Version::Http11 => b"Via: 1.1 hatchery\r\n",
        Version::Http2 => b"Via: 2.0 hatchery\r\n",
    });
    if !request.id.is_empty() && !request.shown.drops(b"x-request-id") {
        write_line(b"X-Request-Id", request.id.as_bytes(), out);
    }
    match body {
        BodyLength::None => {}
        BodyLength::Known(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(&Short::number(length));
            out.extend_from_slice(b"\r\n");
        }
        BodyLength::Unknown => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            if request.shown.trailers {
                announced(request, &nominated, out);
            }
        }
    }
    if takes_trailers(request) {
        write_line(b"Connection", b"te", out);
        write_line(b"TE", b"trailers", out);
    }
    if let Some(protocols) = offered(head, body) {
        write_line(b"Connection", b"upgrade", out);
        write_line(b"Upgrade", &protocols, out);
    }
    if tunnel {
        write_line(b"Sec-WebSocket-Key", websocket::key(request.id).as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Names the trailers that the client has announced (RFC 9110 §6.6.2), as far as they would be passed on.
fn announced(request: &Request<'_>, nominated: &[&[u8]], out: &mut Vec<u8>) {
    let names = request.head.all("trailer").flat_map(tokens);
    let names: Vec<_> = names.filter(|name| is_name(name) && follows(request, name, nominated)).collect();
    if !names.is_empty() {
        write_line(b"Trailer", &names.join(&b", "[..]), out);
    }
}

/// Takes out of the trailers of a request what no upstream is to see there: what is not passed on in the head, what is written
/// or changed here, and what means something in a head only.
pub(crate) fn pass_trailers(request: &Request<'_>, trailers: &mut Fields) {
    let nominated = nominated(request.head.all("connection"));
    trailers.retain(|name| follows(request, name, &nominated));
}

/// Whether a field of that name may follow the body of a request. Of the way that it has come nobody tells there, be it a
/// trusted proxy.
fn follows(request: &Request<'_>, name: &[u8], nominated: &[&[u8]]) -> bool {
    let is_told_in_head = super::tells_of_proxies(name) || NO_TRAILER.has(name);
    passes(name)
        && !is_told_in_head
        && !request.is_replaced(name)
        && !request.is_claim(name)
        && !request.client_field.is_some_and(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        && !is_nominated(name, nominated)
}

/// The key of a WebSocket, and what belongs to it.
const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";

/// The protocols in which a client would go on after its request (RFC 9110 §7.8), as far as they are passed on: not those
/// that are HTTP again, in which it could ask the upstream for what our routes and limits keep from it.
pub(crate) fn offered(head: &RequestHead, body: BodyLength) -> Option<Vec<u8>> {
    if websocket::is_asked(head) {
        return Some(websocket::PROTOCOL.to_vec());
    }
    head.get("upgrade")?;
    let is_plain = head.method() == Method::Get && head.version() == Version::Http11;
    if !(is_plain && body == BodyLength::None && says_upgrade(head.all("connection"))) {
        return None;
    }
    let offered: Vec<&[u8]> = head.all("upgrade").flat_map(tokens).filter(|name| is_other(name)).collect();
    (!offered.is_empty()).then(|| offered.join(&b", "[..]))
}

/// Whether the client takes trailers of the response (RFC 9110 §10.1.4), and the operator lets it.
pub(crate) fn takes_trailers(request: &Request<'_>) -> bool {
    let asks = |value| tokens(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    request.shown.trailers && request.head.version() != Version::Http10 && request.head.all("te").any(asks)
}

/// Whether a connection is to go on in another protocol (RFC 9110 §7.8).
pub(super) fn says_upgrade<'a>(mut connection: impl Iterator<Item = &'a [u8]>) -> bool {
    connection.any(|value| tokens(value).any(|option| option.eq_ignore_ascii_case(b"upgrade")))
}

/// HTTP, and TLS below it.
const NO_OTHER: Names = Names::new(&["http", "h2c", "h2", "h3", "tls"]);

/// Whether this names a protocol, and not HTTP or TLS below it.
fn is_other(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |byte| *byte == b'/');
    let name = parts.next().unwrap_or_default();
    is_name(name) && parts.all(is_name) && !NO_OTHER.has(name)
}

/// The protocol that a 101 chooses, if it is one of those `offered`.
fn chosen(fields: &Fields, offered: &[u8]) -> Option<Vec<u8>> {
    let all = |wanted: &'static [u8]| {
        fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    };
    let mut names = all(b"upgrade").flat_map(tokens);
    let name = names.next().filter(|_| says_upgrade(all(b"connection")))?;
    let is_offered = tokens(offered).any(|offered| offered.eq_ignore_ascii_case(name));
    (is_offered && names.next().is_none()).then(|| name.to_vec())
}

/// How often an OPTIONS may still be passed on, if it says so (RFC 9110 §7.6.2).
pub(crate) fn forwards_left(head: &RequestHead) -> Option<u64> {
    let value = head.get("max-forwards").filter(|_| head.method() == Method::Options)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// X-Forwarded-*: what a trusted proxy said, else what we see ourselves; and `Forwarded` where that is wanted.
fn forwarded(request: &Request<'_>, out: &mut Vec<u8>) {
    let peer = request.peer_address().map(Short::address);
    tell(request, "X-Forwarded-For", peer.as_deref(), true, out);
    let scheme = request.origin.scheme.as_str().as_bytes();
    tell(request, "X-Forwarded-Proto", Some(scheme), false, out);
    tell(request, "X-Forwarded-Host", Some(request.authority), false, out);
    let port = Some(request.local_port).filter(|port| *port != 0).map(|port| Short::number(port.into()));
    tell(request, "X-Forwarded-Port", port.as_deref(), false, out);
    if !request.mount.is_empty() && !request.shown.drops(b"X-Forwarded-Prefix") {
        write_line(b"X-Forwarded-Prefix", &percent::encoded_path(request.mount.as_bytes()), out);
    }
    if request.shown.forwarded && !request.shown.drops(b"Forwarded") {
        write_line(b"Forwarded", &shown::forwarded(request), out);
    }
}

/// Writes one of them: what a trusted proxy said under that name, of which several lines are one list (RFC 9110 §5.3), with what
/// we see ourselves behind it if it `joins`; or else that alone.
fn tell(request: &Request<'_>, name: &str, own: Option<&[u8]>, joins: bool, out: &mut Vec<u8>) {
    if request.shown.drops(name.as_bytes()) {
        return;
    }
    let lines = request.origin.trusted.then(|| request.head.all(name)).into_iter().flatten();
    let mut values: Vec<&[u8]> = lines.filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return own.into_iter().for_each(|own| write_line(name.as_bytes(), own, out));
    }
    values.extend(own.filter(|_| joins));
    write_line(name.as_bytes(), &values.join(&b", "[..]), out);
}

/// Fields that concern one connection (RFC 9110 §7.6.1), in both directions.
pub(crate) const HOP_BY_HOP: Names = Names::new(&[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "proxy-authenticate",
    "proxy-authorization",
    "content-length",
]);

/// Options of `Connection` that are the name of no field.
const OPTIONS: Names = Names::new(&["close", "keep-alive", "upgrade"]);

/// What our own connection writes into every response.
pub(super) const OURS: Names = Names::new(&["date", "server"]);

/// Request fields that are written anew, or answered here; and `Proxy`, which CGI turns into HTTP_PROXY (httpoxy).
const REQUEST_ONLY: Names = Names::new(&[
    "host",
    "expect",
    "proxy",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
]);

/// Fields that `Connection` cannot take away: they are meant for the origin, and an access decision may rest on them.
const NOT_NOMINATED: Names = Names::new(&[
    "host",
    "cookie",
    "authorization",
    "content-type",
    "content-encoding",
    "content-range",
    "cache-control",
    "range",
    "via",
    "forwarded",
    "x-real-ip",
    "x-forwarded-prefix",
]);

/// Fields that are none in a trailer, beside those of a connection: what the recipient must know before the body, or takes for
/// a word of the head (RFC 9110 §6.5.1).
const NO_TRAILER: Names = Names::new(&[
    "age",
    "allow",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "server",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "via",
    "warning",
    "www-authenticate",
]);

/// Whether a request field goes to an upstream. Names with `_` collapse with those with `-` in CGI and WSGI.
fn passes(name: &[u8]) -> bool {
    !HOP_BY_HOP.has(name) && !REQUEST_ONLY.has(name) && !name.contains(&b'_')
}

/// The field names in Connection fields, without its own options.
pub(super) fn nominated<'a>(values: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    values.flat_map(tokens).filter(|name| !name.is_empty() && !OPTIONS.has(name)).collect()
}

pub(super) fn is_nominated(name: &[u8], nominated: &[&[u8]]) -> bool {
    nominated.iter().any(|other| name.eq_ignore_ascii_case(other)) && !NOT_NOMINATED.has(name)
}

/// Frames a request body that is passed on while it comes; one of known length is passed as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyEncoder {
    body: BodyLength,
    ended: bool,
}

impl BodyEncoder {
    /// For the body that was announced with [`encode`].
    #[must_use]
    pub(crate) fn new(body: BodyLength) -> Self {
        Self { body, ended: false }
    }

    /// Queues a piece; what exceeds the announced length is cut.
    pub(crate) fn push(&mut self, mut segment: Segment, out: &mut Queue) {
        let length = segment.len();
        match &mut self.body {
            _ if length == 0 || self.ended => {}
            BodyLength::None => {}
            BodyLength::Known(left) => {
                segment.truncate(*left);
                *left -= length.min(*left);
                out.push(segment);
            }
            BodyLength::Unknown => {
                out.encode(|out| chunked::write_size(length, out));
                out.push(segment);
                out.extend(chunked::CHUNK_END);
            }
        }
    }

    /// The body is complete; queues what ends it, with trailers where there can be some.
    pub(crate) fn finish(&mut self, trailers: Option<&Fields>, out: &mut Queue) {
        match trailers {
            _ if self.body != BodyLength::Unknown || self.ended => {}
            Some(trailers) => out.encode(|out| h1::encode::trailers(trailers, out)),
            None => out.extend(chunked::LAST_CHUNK),
        }
        self.ended = true;
    }
}

/// What a request has offered: to go on in another protocol.
#[derive(Debug)]
pub(crate) struct Offer {
    /// In one of these.
    pub(crate) protocols: Vec<u8>,
    /// What has to come with the switch to WebSocket, if the key is ours.
    pub(crate) accept: Option<String>,
}

/// Reads the response to one request.
///
/// | state | leaves by | to |
/// |---|---|---|
/// | `Head` | 1xx | `Head`; 101 to what was offered: `Done`, and what follows is not HTTP |
/// | `Head` | final head | `Sized`, `Chunked`, `UntilClose`, or `Complete` if no body follows |
/// | `Sized`, `Chunked` | the last byte | `Complete` |
/// | `Chunked` | what is no chunk | `Failed` |
/// | `UntilClose` | end of input | `Complete` |
/// | `Complete` | `Event::End` | `Done` |
/// | any but `Complete`, `Done` | error, early end of input | `Done`, not reusable |
#[derive(Debug)]
pub struct Response {
    method: Method,
    state: State,
    /// The head that came first of [`Self::feed`], if that was whole.
    parsed: Option<h1::ParsedResponse>,
    /// What came behind it.
    input: Vec<u8>,
    eof: bool,
    /// Something came; a repeated request would no longer be safe.
    begun: bool,
    persist: bool,
    idle_timeout: Option<Duration>,
    interims: u8,
    /// It is a CGI program's, with a head of its own kind.
    of_program: bool,
    offer: Option<Box<Offer>>,
    /// Whether trailers are wanted; their lines, and those that have come.
    keeps_trailers: bool,
    kept: Vec<u8>,
    trailers: Option<Box<Fields>>,
}

#[derive(Debug)]
enum State {
    Head,
    Sized {
        left: u64,
    },
    Chunked(Decoder),
    UntilClose,
    /// What came before was polled.
    Failed(Fault),
    Complete,
    Done,
}

/// Largest response head (research, web-servers §6.1).
pub(super) const HEAD_MAX: usize = 64 * 1024;
/// Interim responses before the final one.
pub(super) const INTERIMS_MAX: u8 = 32;

impl Response {
    /// Awaits the response to a request of that method.
    #[must_use]
    pub fn new(request_method: Method) -> Self {
        Self {
            method: request_method,
            state: State::Head,
            parsed: None,
            input: Vec::new(),
            eof: false,
            begun: false,
            persist: false,
            idle_timeout: None,
            interims: 0,
            of_program: false,
            offer: None,
            keeps_trailers: false,
            kept: Vec::new(),
            trailers: None,
        }
    }

    /// Awaits the response of a CGI program to a request of that method; the connection ends with it.
    #[must_use]
    pub(crate) fn of_program(request_method: Method) -> Self {
        Self { of_program: true, ..Self::new(request_method) }
    }

    /// The request offers to switch to one of these protocols. `accept`: what belongs to the key of a WebSocket, if that is ours.
    pub(crate) fn offer(&mut self, protocols: &[u8], accept: Option<&str>) {
        let (protocols, accept) = (protocols.to_vec(), accept.map(str::to_owned));
        self.offer = Some(Box::new(Offer { protocols, accept }));
    }

    /// The client wants the trailers.
    pub(crate) fn keep_trailers(&mut self) {
        self.keeps_trailers = true;
    }

    /// What came behind a 101.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Bytes read from the upstream.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        self.begun |= !bytes.is_empty();
        // Nearly every head comes whole: it is taken apart where it lies. What is wrong with one is found again.
        if matches!(self.state, State::Head) && self.input.is_empty() && self.parsed.is_none() {
            self.parsed = self.parse(bytes).unwrap_or_default();
            let length = self.parsed.as_ref().map_or(0, |parsed| parsed.length);
            bytes = bytes.get(length..).unwrap_or_default();
        }
        if self.input.is_empty() {
            self.input = bytes.to_vec();
        } else {
            self.input.extend_from_slice(bytes);
        }
    }

    fn parse(&self, input: &[u8]) -> Result<Option<h1::ParsedResponse>, Fault> {
        if self.of_program { cgi::parse(input) } else { h1::parse_response(input, HEAD_MAX) }
    }

    /// How many bytes of the body are to come, if whatever comes is that: they may go on unread, and be counted with
    /// [`Self::passed`].
    #[must_use]
    pub(crate) fn unread(&self) -> Option<u64> {
        match self.state {
            State::Sized { left: left @ 1.. } if self.input.is_empty() => Some(left),
            _ => None,
        }
    }

    /// So many of [`Self::unread`] went on.
    pub(crate) fn passed(&mut self, count: u64) {
        if let State::Sized { left } = &mut self.state {
            *left = left.saturating_sub(count);
        }
    }

    /// The upstream closed in an orderly way. After a reset do not call this: give the response up.
    pub fn eof(&mut self) {
        self.eof = true;
    }

    /// The next event; `None` if more input is needed, or nothing follows.
    pub fn poll(&mut self) -> Option<Event> {
        match self.advance() {
            Ok(event) => event,
            Err(fault) => {
                self.state = State::Done;
                self.persist = false;
                Some(Event::Broken(fault))
            }
        }
    }

    /// Whether the connection may carry another request: the response was complete, both sides agree to go on, and
    /// nothing follows the response. The caller also sees to it that its own request was sent whole.
    #[must_use]
    pub(crate) fn reusable(&self) -> bool {
        matches!(self.state, State::Done) && self.persist && !self.eof && self.input.is_empty()
    }

    /// Whether bytes follow the response, which are nobody's. What programs say behind their end harms nobody.
    #[must_use]
    pub(crate) fn has_excess(&self) -> bool {
        matches!(self.state, State::Done) && !self.of_program && !self.input.is_empty()
    }

    /// Whether anything of a response has come.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// How long the upstream says it keeps an idle connection (`Keep-Alive: timeout=N`).
    #[must_use]
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    fn advance(&mut self) -> Result<Option<Event>, Fault> {
        match &mut self.state {
            State::Head if self.input.is_empty() && self.parsed.is_none() => self.no_head(),
            State::Head => self.head(),
            State::Complete if self.trailers.is_some() => {
                Ok(self.trailers.take().map(|trailers| Event::Trailers(*trailers)))
            }
            State::Sized { left: 0 } | State::Complete => {
                self.state = State::Done;
                Ok(Some(Event::End))
            }
            State::Done => Ok(None),
            State::Failed(fault) => Err(*fault),
            _ if self.input.is_empty() => self.wait(),
            State::Sized { left } => {
                let here = self.input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= here as u64;
                let rest = self.input.split_off(here);
                Ok(Some(Event::Body(std::mem::replace(&mut self.input, rest))))
            }
            State::UntilClose => Ok(Some(Event::Body(std::mem::take(&mut self.input)))),
            State::Chunked(decoder) => {
                let mut data = Vec::with_capacity(self.input.len());
                let kept = self.keeps_trailers.then_some(&mut self.kept);
                match decoder.decode_with(&self.input, &mut data, kept) {
                    Ok(used) => {
                        drop(self.input.drain(..used));
                        if self.input.is_empty() {
                            // The response may wait for its client from here on.
                            self.input = Vec::new();
                        }
                        if decoder.is_done() {
                            let mut trailers = chunked::trailers(&std::mem::take(&mut self.kept));
                            trailers.retain(|name| !HOP_BY_HOP.has(name) && !NO_TRAILER.has(name));
                            self.trailers = (!trailers.is_empty()).then(|| Box::new(trailers));
                            self.state = State::Complete;
                        }
                    }
                    Err(_) => self.state = State::Failed(Fault::Malformed(Flaw::Chunk)),
                }
                if data.is_empty() { self.advance() } else { Ok(Some(Event::Body(data))) }
            }
        }
    }

    /// The body is not complete and nothing is there.
    fn wait(&mut self) -> Result<Option<Event>, Fault> {
        match self.state {
            _ if !self.eof => Ok(None),
            State::UntilClose => {
                self.state = State::Done;
                Ok(Some(Event::End))
            }
            _ => Err(Fault::Truncated),
        }
    }

    /// The head is not complete.
    fn no_head(&self) -> Result<Option<Event>, Fault> {
        match (self.eof, self.begun) {
            (false, _) => Ok(None),
            (true, false) => Err(Fault::Closed),
            (true, true) => Err(Fault::Truncated),
        }
    }

    fn head(&mut self) -> Result<Option<Event>, Fault> {
        let parsed = match self.parsed.take() {
            Some(parsed) => parsed,
            None => {
                let Some(parsed) = self.parse(&self.input)? else { return self.no_head() };
                self.input.drain(..parsed.length);
                parsed
            }
        };
        let h1::ParsedResponse { mut head, version, .. } = parsed;
        let status = head.status;
        let framing = if self.of_program {
            cgi::framing(&head)
        } else {
            h1::response_framing(self.method, version, status, &head.fields)
        };
        let framing = framing.map_err(Fault::Malformed)?;
        if framing.says {
            self.idle_timeout = keep_alive_timeout(&head.fields);
        }
        if status.0 == 101 {
            let Offer { protocols, accept } = self.offer.as_deref().ok_or(Fault::Unasked)?;
            let protocol = chosen(&head.fields, protocols).ok_or(Fault::Unasked)?;
            strip(&mut head.fields, framing.says);
            if let Some(accept) = accept {
                if head.fields.get(ACCEPT) != Some(accept.as_bytes()) {
                    return Err(Fault::Unasked);
                }
                head.fields.remove(ACCEPT);
            }
            head.fields.add("Upgrade", protocol);
            self.state = State::Done;
            return Ok(Some(Event::Switched(head)));
        }
        strip(&mut head.fields, framing.says);
        if status.0 < 200 {
            self.interims += 1;
            let allowed = self.interims <= INTERIMS_MAX;
            return if allowed {
                Ok(Some(Event::Interim(head)))
            } else {
                Err(Fault::Malformed(Flaw::Interims))
            };
        }
        self.persist = framing.persist;
        self.state = match framing.body {
            _ if self.method == Method::Head => State::Complete,
            BodyLength::None => State::Complete,
            BodyLength::Known(left) => State::Sized { left },
            BodyLength::Unknown if framing.until_close => State::UntilClose,
            BodyLength::Unknown => State::Chunked(Decoder::new()),
        };
        Ok(Some(Event::Head { head, body: framing.body }))
    }
}

/// Takes out of a response what concerned the upstream's connection, if it `says` anything of that, and the name of the server,
/// which is ours. Its date stays for the cache, which counts by it; no connection writes another one than its own.
fn strip(fields: &mut Fields, says: bool) {
    if !says {
        return fields.retain(|name| !HOP_BY_HOP.has(name) && !is_server(name));
    }
    let options = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"));
    let nominated: Vec<Vec<u8>> =
        nominated(options.map(|(_, value)| value)).into_iter().map(<[u8]>::to_vec).collect();
    let nominated: Vec<&[u8]> = nominated.iter().map(Vec::as_slice).collect();
    fields.retain(|name| !HOP_BY_HOP.has(name) && !is_server(name) && !is_nominated(name, &nominated));
}

fn is_server(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"server")
}

/// `timeout=N` of a Keep-Alive field (RFC 2068 §19.7.1.1), in seconds.
fn keep_alive_timeout(fields: &Fields) -> Option<Duration> {
    tokens(fields.get("keep-alive")?).find_map(|parameter| {
        let text = std::str::from_utf8(parameter).ok()?;
        let (name, seconds) = text.split_once('=')?;
        let seconds = seconds.trim().parse::<u32>().ok()?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| Duration::from_secs(u64::from(seconds)))
    })
}

#[cfg(test)]
mod tests;
