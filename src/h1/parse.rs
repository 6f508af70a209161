//! From bytes to heads: finds the end of a head whatever the cuts, then takes it apart once. Fields are tokenised by
//! httparse; the request line is taken apart here, because httparse refuses targets that are not UTF-8.
//!
//! Every refusal is decided by the place of the offending byte in the stream, never by where a read ended.
//!
//! Lines of requests end with CR LF and nothing else. RFC 9112 §2.2 lets a recipient take a bare LF for a line end, and
//! some do where others do not: what two implementations read differently is how requests are smuggled. In responses,
//! which come from servers that the operator chose, both are line ends.

use super::{Line, Settings};
use crate::http::fault::{Fault, Flaw, Refusal};
use crate::http::fields::is_token_byte;
use crate::http::{Fields, RequestHead, ResponseHead, Span, Status, Version};
use httparse::{EMPTY_HEADER, Header};

/// Finds the end of a request head in a buffer that grows at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Everything before was looked at.
    at: u32,
    /// Where the line begins that `at` is in.
    line: u32,
    /// Complete field lines.
    count: u32,
    /// Empty lines skipped before the request line.
    empty: u8,
    /// Once it is complete.
    request: Option<RequestLine>,
}

/// A request line that was taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RequestLine {
    method: Span,
    target: Span,
    version: Version,
    /// Where the first field line begins.
    end: u32,
}

/// Empty lines tolerated before a request line (RFC 9112 §2.2: at least one).
const EMPTY_LINES_MAX: u8 = 2;

/// Fields that are taken apart on the stack; heads with more of them use the heap.
const USUAL_FIELDS: usize = 32;

const MALFORMED: Refusal = Refusal { status: 400, why: "malformed header field" };
const BARE_LF: Refusal = Refusal { status: 400, why: "bare LF in the request head; lines end with CR LF" };
const BARE_CR: Refusal = Refusal { status: 400, why: "bare CR in the request head; lines end with CR LF" };

/// Limits that are exceeded.
pub(super) const LONG_LINE: Refusal =
    Refusal { status: 414, why: "request line too long; raise limits.request_line" };
pub(super) const LONG_HEAD: Refusal =
    Refusal { status: 431, why: "request head too long; raise limits.head" };
pub(super) const MANY_FIELDS: Refusal =
    Refusal { status: 431, why: "too many header fields; raise limits.fields" };

impl Scan {
    /// Takes the next head out of `input`; `None`: more bytes are needed. Between calls `input` only grows at its end.
    pub(super) fn take(
        &mut self,
        input: &mut Vec<u8>,
        settings: &Settings,
    ) -> Result<Option<RequestHead>, Refusal> {
        self.skip_empty_lines(input)?;
        let Some(line) = self.request_line(input, settings)? else { return Ok(None) };
        // Nearly every head arrives whole; then one pass of httparse is all it takes.
        if self.at == line.end
            && let Some((end, spans)) = try_whole(input, line.end as usize, settings)
        {
            return Ok(Some(cut(input, end, line, spans)));
        }
        let Some(end) = self.find_end(input, settings)? else { return Ok(None) };
        let mut headers = vec![EMPTY_HEADER; self.count as usize];
        let block = input.get(line.end as usize..end).unwrap_or_default();
        let spans = match httparse::parse_headers(block, &mut headers) {
            Ok(httparse::Status::Complete((used, headers))) if used == block.len() => spans(input, headers),
            _ => return Err(MALFORMED),
        };
        Ok(Some(cut(input, end, line, spans)))
    }

    /// The request line, once it is complete: how a refusal has to be written, and logged.
    pub(super) fn request(&self, input: &[u8]) -> Option<Line> {
        let RequestLine { method, target, version, .. } = self.request?;
        Some(Line { method: method.of(input).to_vec(), target: target.of(input).to_vec(), version })
    }

    /// Drops CR LF at the beginning of `input`.
    fn skip_empty_lines(&mut self, input: &mut Vec<u8>) -> Result<(), Refusal> {
        while self.at == 0 && input.starts_with(b"\r\n") {
            if self.empty == EMPTY_LINES_MAX {
                return Err(Refusal { status: 400, why: "too many empty lines before the request line" });
            }
            self.empty += 1;
            input.drain(..2);
        }
        Ok(())
    }

    /// The request line, as soon as it is complete.
    fn request_line(&mut self, input: &[u8], settings: &Settings) -> Result<Option<RequestLine>, Refusal> {
        if self.request.is_some() {
            return Ok(self.request);
        }
        let at = self.at as usize;
        let fresh = input.get(at..).unwrap_or_default();
        let found = fresh.iter().position(|byte| matches!(byte, 0..=0x1f | 0x7f));
        let at = at + found.unwrap_or(fresh.len());
        if at > settings.request_line {
            return Err(LONG_LINE);
        }
        self.at = at as u32;
        let end = match input.get(at..).unwrap_or_default() {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => at + 2,
            [b'\n', ..] => return Err(BARE_LF),
            [b'\r', ..] => return Err(BARE_CR),
            _ => return Err(Refusal { status: 400, why: "control character in the request line" }),
        };
        self.request = Some(split_request_line(input.get(..at).unwrap_or_default(), end as u32)?);
        (self.at, self.line) = (end as u32, end as u32);
        Ok(self.request)
    }

    /// Looks for the empty line; returns where the head ends.
    fn find_end(&mut self, input: &[u8], settings: &Settings) -> Result<Option<usize>, Refusal> {
        let seen = input.len().min(settings.head);
        while let Some(fresh) = input.get(self.at as usize..seen) {
            let Some(found) = fresh.iter().position(|byte| *byte == b'\n') else {
                self.at = seen as u32;
                break;
            };
            let end = self.at as usize + found + 1;
            let line = input.get(self.line as usize..end).unwrap_or_default();
            (self.at, self.line) = (end as u32, end as u32);
            match line.strip_suffix(b"\r\n") {
                Some(b"") => return Ok(Some(end)),
                Some(text) if text.contains(&b'\r') => return Err(BARE_CR),
                Some(_) => {}
                None => return Err(BARE_LF),
            }
            self.count += 1;
            if self.count > settings.fields {
                return Err(MANY_FIELDS);
            }
        }
        if input.len() > settings.head {
            return Err(LONG_HEAD);
        }
        Ok(None)
    }
}

/// One pass over all that is there; `None` if that is not a whole, clean head within the limits.
fn try_whole(input: &[u8], fields: usize, settings: &Settings) -> Option<(usize, Vec<(Span, Span)>)> {
    let mut headers = [EMPTY_HEADER; USUAL_FIELDS];
    let headers = headers.get_mut(..(settings.fields as usize).min(USUAL_FIELDS))?;
    let httparse::Status::Complete((used, headers)) =
        httparse::parse_headers(input.get(fields..)?, headers).ok()?
    else {
        return None;
    };
    let end = fields + used;
    let spans = spans(input, headers);
    let is_clean = end <= settings.head && lines_end_in_crlf(input.get(..end)?, &spans);
    is_clean.then_some((end, spans))
}

/// Whether every line of a head ends with CR LF. No name and no value holds an LF: what is left are the ends of lines,
/// before each field but the first, and before and after the empty line.
fn lines_end_in_crlf(head: &[u8], fields: &[(Span, Span)]) -> bool {
    let ends_well = |end: u32| head.get(..end as usize).is_some_and(|lines| lines.ends_with(b"\r\n"));
    head.ends_with(b"\r\n\r\n") && fields.iter().skip(1).all(|(name, _)| ends_well(name.start))
}

/// Takes the head out of `input`, without copying it if nothing follows.
fn cut(input: &mut Vec<u8>, end: usize, line: RequestLine, spans: Vec<(Span, Span)>) -> RequestHead {
    let rest = input.split_off(end.min(input.len()));
    let raw = std::mem::replace(input, rest);
    RequestHead::new(raw, line.method, line.target, line.version, spans)
}

/// `method SP request-target SP HTTP-version` (RFC 9112 §3), exactly one space each.
fn split_request_line(line: &[u8], end: u32) -> Result<RequestLine, Refusal> {
    let malformed = Refusal { status: 400, why: "malformed request line" };
    let first = line.iter().position(|byte| *byte == b' ').ok_or(malformed)?;
    let last = line.iter().rposition(|byte| *byte == b' ').ok_or(malformed)?;
    let method = line.get(..first).unwrap_or_default();
    let target = line.get(first + 1..last).ok_or(malformed)?;
    if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
        return Err(Refusal { status: 400, why: "invalid method" });
    }
    if target.is_empty() || target.contains(&b' ') {
        return Err(malformed);
    }
    let version = version(line.get(last + 1..).unwrap_or_default())?;
    let span = |start: usize, end: usize| Span { start: start as u32, end: end as u32 };
    Ok(RequestLine { method: span(0, first), target: span(first + 1, last), version, end })
}

/// A minor version above 1 is treated as 1 (RFC 9110 §2.5).
fn version(text: &[u8]) -> Result<Version, Refusal> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if *major == b'1' {
                Ok(Version::Http11)
            } else {
                Err(Refusal { status: 505, why: "HTTP version other than 1.x" })
            }
        }
        _ => Err(Refusal { status: 400, why: "malformed HTTP version" }),
    }
}

/// Where names and values are in `input`.
fn spans(input: &[u8], headers: &[Header<'_>]) -> Vec<(Span, Span)> {
    let base = input.as_ptr().addr();
    let span = |part: &[u8]| {
        let start = part.as_ptr().addr().saturating_sub(base) as u32;
        Span { start, end: start + part.len() as u32 }
    };
    headers.iter().map(|header| (span(header.name.as_bytes()), span(header.value))).collect()
}

/// A response head as it came from an upstream, nothing stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    /// Status, reason and all fields.
    pub(crate) head: ResponseHead,
    /// The version in the status line.
    pub(crate) version: Version,
    /// How many bytes of the input the head had.
    pub(crate) length: usize,
}

/// Fields of a response head from an upstream.
const RESPONSE_FIELDS_MAX: usize = 256;

/// Takes a response head apart; `None` if it is not complete. What old servers send and RFC 9112 (§5.1, §5.2) tells
/// an intermediary to repair is repaired: white space before a colon goes, folded lines are joined by a space.
///
/// # Errors
/// It is none, or longer than `most` bytes; the connection to the upstream is of no use any more.
pub(crate) fn response(input: &[u8], most: usize) -> Result<Option<Response>, Fault> {
    // What is left of another response may begin with a line end, and is none of this one's.
    if input.first().is_some_and(|first| *first != b'H') {
        return Err(Fault::Malformed(Flaw::Start));
    }
    // Hardly any head has folded lines, and where they are not looked for no value has to be searched for them.
    match response_with(input, most, false) {
        Ok(parsed) => Ok(parsed),
        Err(_) => response_with(input, most, true),
    }
}

/// The same; `folded`: with lines that are folded.
fn response_with(input: &[u8], most: usize, folded: bool) -> Result<Option<Response>, Fault> {
    let mut headers = [const { std::mem::MaybeUninit::uninit() }; RESPONSE_FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let result = httparse::ParserConfig::default()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(folded)
        .parse_response_with_uninit_headers(&mut parsed, input, &mut headers);
    let length = match result {
        Ok(httparse::Status::Complete(length)) if length <= most => length,
        Ok(httparse::Status::Partial) if input.len() <= most => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Fault::HeadTooLarge),
        Err(httparse::Error::Version | httparse::Error::Token) => return Err(Fault::Malformed(Flaw::Start)),
        Err(httparse::Error::Status) => return Err(Fault::Malformed(Flaw::Status)),
        Err(_) => return Err(Fault::Malformed(Flaw::Field)),
    };
    let status = parsed.code.filter(|code| (100..1000).contains(code));
    let status = status.ok_or(Fault::Malformed(Flaw::Status))?;
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let status = Status(status);
    let reason = parsed.reason.filter(|reason| !reason.is_empty() && *reason != status.reason());
    let fields = if folded {
        unfolded(parsed.headers)
    } else {
        Fields::of_head(input.get(..length).unwrap_or_default(), spans(input, parsed.headers))
    };
    let reason = reason.map(|reason| Box::from(reason.as_bytes()));
    Ok(Some(Response { head: ResponseHead { status, reason, fields }, version, length }))
}

fn unfolded(headers: &[Header<'_>]) -> Fields {
    let mut fields = Fields::new();
    for header in headers {
        if header.value.contains(&b'\n') {
            fields.add(header.name, unfold(header.value));
        } else {
            fields.add(header.name, header.value);
        }
    }
    fields
}

fn unfold(value: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> =
        value.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    spaced.trim_ascii().to_vec()
}
