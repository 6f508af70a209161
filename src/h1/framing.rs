//! THE smuggling file: where a message ends, and what else of a head decides over the connection (RFC 9112 §6,
//! §3.2, §9.3; research, web-servers §4.5, §4.7).
//!
//! The one rule: whatever two implementations could frame differently is refused, and after a refusal nothing that
//! follows is parsed.
//!
//! | request | answer |
//! |---|---|
//! | Transfer-Encoding and Content-Length | 400 |
//! | Transfer-Encoding in HTTP/1.0 | 400 |
//! | Transfer-Encoding, all fields together, whose last coding is not `chunked`, or that is no list of codings | 400 |
//! | Transfer-Encoding with codings before `chunked` | 501 |
//! | more than one Content-Length, equal or not, in one field or several | 400 |
//! | Content-Length that is not all digits, or above 2^63 - 1 | 400 |
//! | HTTP/1.1 without Host; more than one Host; a Host no host has | 400 |
//! | absolute form whose authority is not the Host | 400 |
//! | absolute form with `https:` on a connection without TLS | 400 |
//! | CONNECT | 501 |
//! | TRACE | 405 |

use crate::http::fault::{Flaw, Refusal};
use crate::http::fields::is_name;
use crate::http::target::{self, Host, Target};
use crate::http::{BodyLength, Fields, Method, RequestHead, Scheme, Status, Version};

/// What a request head says about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Framing {
    /// Length of the body; `None` also means that not even `Content-Length: 0` was there.
    pub(super) body: BodyLength,
    /// The client allows another request after this one.
    pub(super) persist: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects: bool,
}

/// Judges a head; the target and the host come out of it in passing. `scheme` is that of the connection.
pub(super) fn judge(head: &RequestHead, scheme: Scheme) -> Result<(Target, Option<Host>, Framing), Refusal> {
    let seen = Seen::of(head.fields(), true)?;
    match head.method() {
        Method::Connect => return Err(Refusal { status: 501, why: "CONNECT is not implemented" }),
        Method::Trace => return Err(Refusal { status: 405, why: "TRACE is not allowed" }),
        _ => {}
    }
    let body = body(&seen, head.version())?;
    let persist = persists(&seen, head.version());
    let has_body = !matches!(body, BodyLength::None | BodyLength::Known(0));
    let expects = seen.expects && has_body && head.version() == Version::Http11;
    let target = target::parse(head.method(), head.target()).map_err(bad_target)?;
    // What it names is to be had over TLS only (RFC 9110 §4.2.2), and others would take it for `http:`.
    if target.scheme() == Scheme::Https && scheme == Scheme::Http {
        return Err(bad("https target on a connection without TLS"));
    }
    let host = host(&seen, head, &target)?;
    Ok((target, host, Framing { body, persist, expects }))
}

fn bad_target(error: target::Error) -> Refusal {
    Refusal { status: 400, why: error.why() }
}

fn bad(why: &'static str) -> Refusal {
    Refusal { status: 400, why }
}

/// The fields that matter here, collected in one pass.
#[derive(Debug, Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<u64>,
    transfer: Transfer,
    close: bool,
    keep_alive: bool,
    /// Something is said of the connection.
    says: bool,
    expects: bool,
}

/// The codings of all Transfer-Encoding fields together, in their order (RFC 9112 §6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Transfer {
    #[default]
    None,
    /// `chunked` alone.
    Chunked,
    /// Others, so that nobody knows where the body ends.
    Others,
    /// Others, then `chunked`: it ends where the chunks do, but what is in them we cannot read.
    OthersChunked,
    /// An element that is no coding, or one behind `chunked`.
    Malformed,
}

impl Transfer {
    /// With one more element of the list.
    fn with(self, element: &[u8]) -> Self {
        let name_end = element.iter().position(|byte| *byte == b';').unwrap_or(element.len());
        let (name, parameters) = element.split_at_checked(name_end).unwrap_or_default();
        let is_chunked = name.eq_ignore_ascii_case(b"chunked");
        match self {
            // `chunked` has no parameters (RFC 9112 §7.1).
            _ if !is_name(name) || (is_chunked && !parameters.is_empty()) => Self::Malformed,
            Self::None if is_chunked => Self::Chunked,
            Self::Others if is_chunked => Self::OthersChunked,
            Self::None | Self::Others => Self::Others,
            Self::Chunked | Self::OthersChunked | Self::Malformed => Self::Malformed,
        }
    }
}

impl<'a> Seen<'a> {
    fn of(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>, is_request: bool) -> Result<Self, Refusal> {
        let mut seen = Self::default();
        for (name, value) in fields {
            match name.len() {
                4 if is_request && name.eq_ignore_ascii_case(b"host") => {
                    once(&mut seen.host, value, "more than one Host field")?
                }
                6 if name.eq_ignore_ascii_case(b"expect") => {
                    seen.expects |= value.eq_ignore_ascii_case(b"100-continue");
                }
                10 if name.eq_ignore_ascii_case(b"connection") => seen.connection(value),
                10 => seen.says |= name.eq_ignore_ascii_case(b"keep-alive"),
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    let length = digits(value).ok_or(bad("invalid Content-Length"))?;
                    once(&mut seen.content_length, length, "more than one Content-Length field")?;
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    seen.transfer = tokens(value).fold(seen.transfer, Transfer::with);
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    fn connection(&mut self, value: &[u8]) {
        self.says = true;
        for token in tokens(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

pub(super) fn once<T>(place: &mut Option<T>, value: T, twice: &'static str) -> Result<(), Refusal> {
    if place.replace(value).is_some() { Err(bad(twice)) } else { Ok(()) }
}

/// The elements of a comma-separated list without the white space around them; empty ones stay.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(|token| {
        let start = token.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(token.len());
        let end = token.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(start, |last| last + 1);
        token.get(start..end).unwrap_or_default()
    })
}

/// Digits only, at least one, at most 2^63 - 1: what every other implementation can hold too.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value
        .iter()
        .try_fold(0_i64, |length, byte| {
            let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
            length.checked_mul(10)?.checked_add(digit)
        })?
        .try_into()
        .ok()
}

fn body(seen: &Seen<'_>, version: Version) -> Result<BodyLength, Refusal> {
    match (seen.transfer, seen.content_length) {
        (Transfer::None, None) => Ok(BodyLength::None),
        (Transfer::None, Some(length)) => Ok(BodyLength::Known(length)),
        (_, Some(_)) => Err(bad("both Transfer-Encoding and Content-Length")),
        (_, None) if version == Version::Http10 => Err(bad("Transfer-Encoding in HTTP/1.0")),
        (Transfer::Chunked, None) => Ok(BodyLength::Unknown),
        (Transfer::Others, None) => Err(bad("the last Transfer-Encoding is not chunked")),
        (Transfer::Malformed, None) => Err(bad("malformed Transfer-Encoding")),
        (Transfer::OthersChunked, None) => {
            Err(Refusal { status: 501, why: "Transfer-Encoding other than chunked" })
        }
    }
}

/// RFC 9112 §9.3.
fn persists(seen: &Seen<'_>, version: Version) -> bool {
    !seen.close && (version == Version::Http11 || seen.keep_alive)
}

/// The host the request is for: the authority of an absolute form, which must be the Host then, or the Host.
fn host(seen: &Seen<'_>, head: &RequestHead, target: &Target) -> Result<Option<Host>, Refusal> {
    let from_field = seen.host.map(target::host).transpose().map_err(|_| bad("invalid Host field"))?;
    let from_target = target.authority(head.target()).map(target::host).transpose().map_err(bad_target)?;
    match (from_field, from_target) {
        (None, _) if head.version() == Version::Http11 => Err(bad("HTTP/1.1 request without Host")),
        (Some(field), Some(target_host)) if !field.same(&target_host, target.scheme().default_port()) => {
            Err(bad("Host differs from the authority of the request target"))
        }
        (field, target_host) => Ok(target_host.or(field)),
    }
}

/// What a response head of an upstream says about its body and its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseFraming {
    /// The length announced. For a response to HEAD: what GET would have had; no body follows.
    pub(crate) body: BodyLength,
    /// The body is ended by closing: `body` is `Unknown` and not chunked.
    pub(crate) until_close: bool,
    /// The connection may carry another request after this response.
    pub(crate) persist: bool,
    /// There are fields that tell of the connection: `Connection` or `Keep-Alive`.
    pub(crate) says: bool,
}

/// Where a response ends (RFC 9112 §6.3).
///
/// # Errors
/// That is not certain: Transfer-Encoding with Content-Length, more than one of either, a coding other than `chunked`, or
/// Transfer-Encoding in HTTP/1.0.
pub(crate) fn response(
    request: Method,
    version: Version,
    status: Status,
    fields: &Fields,
) -> Result<ResponseFraming, Flaw> {
    // A host means nothing here.
    let seen = Seen::of(fields.iter(), false).map_err(|_| Flaw::Length)?;
    let (persist, says) = (persists(&seen, version), seen.says);
    let both = if seen.content_length.is_some() { Flaw::Both } else { Flaw::Coding };
    let announced = body(&seen, version).map_err(|_| both)?;
    if status.forbids_body() {
        return Ok(ResponseFraming { body: BodyLength::None, until_close: false, persist, says });
    }
    let without_length = announced == BodyLength::None;
    if request == Method::Head {
        let body = if without_length { BodyLength::Unknown } else { announced };
        return Ok(ResponseFraming { body, until_close: false, persist, says });
    }
    let body = if without_length { BodyLength::Unknown } else { announced };
    Ok(ResponseFraming { body, until_close: without_length, persist: persist && !without_length, says })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_lengths_are_digits() {
        for (value, length) in [
            (&b"0"[..], Some(0)),
            (b"42", Some(42)),
            (b"0042", Some(42)),
            (b"9223372036854775807", Some(i64::MAX as u64)),
            (b"9223372036854775808", None),
            (b"99999999999999999999999999", None),
            (b"", None),
            (b"+5", None),
            (b"-1", None),
            (b"0x5", None),
            (b"5 5", None),
            (b"5,5", None),
            (b"5\t", None),
            (b"5.0", None),
            (b"5;", None),
            (b"\xd9\xa5", None),
        ] {
            assert_eq!(digits(value), length, "{value:?}");
        }
    }

    #[test]
    fn transfer_encodings() {
        for (values, expected) in [
            (&["chunked"][..], Transfer::Chunked),
            (&["Chunked"], Transfer::Chunked),
            (&["chunked\t"], Transfer::Chunked),
            (&["\tchunked"], Transfer::Chunked),
            (&["chunked", "chunked"], Transfer::Malformed),
            (&["chunked, chunked"], Transfer::Malformed),
            (&["gzip, chunked, chunked"], Transfer::Malformed),
            (&["chunked,"], Transfer::Malformed),
            (&[",chunked"], Transfer::Malformed),
            (&["gzip, , chunked"], Transfer::Malformed),
            (&["gzip, chunked"], Transfer::OthersChunked),
            (&["gzip;q=1, deflate", "chunked"], Transfer::OthersChunked),
            (&["identity, chunked"], Transfer::OthersChunked),
            (&["chunked", "identity"], Transfer::Malformed),
            (&["chunked, gzip"], Transfer::Malformed),
            (&["chunked;q=1"], Transfer::Malformed),
            (&["chunked;"], Transfer::Malformed),
            (&["xchunked"], Transfer::Others),
            (&["chunke"], Transfer::Others),
            (&["chunked\x0b"], Transfer::Malformed),
            (&["chun ked"], Transfer::Malformed),
            (&["\"chunked\""], Transfer::Malformed),
            (&["identity"], Transfer::Others),
            (&["gzip"], Transfer::Others),
            (&[""], Transfer::Malformed),
            (&["chunked", ""], Transfer::Malformed),
        ] {
            let fields = values.iter().map(|value| (&b"Transfer-Encoding"[..], value.as_bytes()));
            assert_eq!(Seen::of(fields, true).unwrap().transfer, expected, "{values:?}");
        }
    }

    #[test]
    fn every_pair_of_length_and_coding() {
        let codings = [
            Transfer::None,
            Transfer::Chunked,
            Transfer::Others,
            Transfer::OthersChunked,
            Transfer::Malformed,
        ];
        for (transfer, length, version) in codings.into_iter().flat_map(|transfer| {
            [None, Some(0), Some(5)].into_iter().flat_map(move |length| {
                [Version::Http10, Version::Http11].map(|version| (transfer, length, version))
            })
        }) {
            let seen = Seen { transfer, content_length: length, ..Seen::default() };
            let result = body(&seen, version).map_err(|refusal| refusal.status);
            let expected = match (transfer, length) {
                (Transfer::None, None) => Ok(BodyLength::None),
                (Transfer::None, Some(length)) => Ok(BodyLength::Known(length)),
                (Transfer::Chunked, None) if version == Version::Http11 => Ok(BodyLength::Unknown),
                (Transfer::OthersChunked, None) if version == Version::Http11 => Err(501),
                _ => Err(400),
            };
            assert_eq!(result, expected, "{seen:?} {version:?}");
        }
    }

    #[test]
    fn persistence() {
        for (values, http10, http11) in [
            (&[][..], false, true),
            (&["keep-alive"], true, true),
            (&["Keep-Alive"], true, true),
            (&["close"], false, false),
            (&["CLOSE"], false, false),
            (&["keep-alive, close"], false, false),
            (&["upgrade ,\tclose"], false, false),
            (&["keep-alive", "close"], false, false),
            (&["x-close"], false, true),
        ] {
            let fields = values.iter().map(|value| (&b"Connection"[..], value.as_bytes()));
            let seen = Seen::of(fields, true).unwrap();
            assert_eq!(persists(&seen, Version::Http10), http10, "{values:?}");
            assert_eq!(persists(&seen, Version::Http11), http11, "{values:?}");
        }
    }
}
