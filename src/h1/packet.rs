//! Requests as front servers send them over the uwsgi protocol (uWSGI's documentation, "The uwsgi Protocol"; nginx's
//! `uwsgi_pass`): a packet of variables, then the body. Of a packet is made the head that the front had, which is judged like
//! any other; one comes on a connection, so that nothing can hide behind it.
//!
//! | variable | what becomes of it |
//! |---|---|
//! | `REQUEST_METHOD`, `REQUEST_URI`, `SERVER_PROTOCOL` | the request line; needed, and each once |
//! | `CONTENT_LENGTH` | the field, and how long the body is; once; empty: there is none |
//! | `CONTENT_TYPE` | the field, unless it is empty |
//! | `HTTP_…` | the field, but for [`HELD`] |
//! | `REMOTE_ADDR` | the last hop of `X-Forwarded-For`; `unknown` where it is no address, so that none behind it counts |
//! | `HTTPS`, `REQUEST_SCHEME` | the last of `X-Forwarded-Proto`: `https` if one of them says so |
//! | all others | nothing |

use super::Settings;
use super::framing::once;
use super::parse::{LONG_HEAD, LONG_LINE, MANY_FIELDS};
use crate::http::fault::Refusal;
use crate::http::fields::{is_name, is_value};
use crate::http::{RequestHead, Scheme, Span, Version};
use std::net::IpAddr;

/// A packet and its header take no more.
pub(super) const MOST: usize = 4 + u16::MAX as usize;

/// Variables of fields that are about the connection between the front and its client, or said by others: `CONTENT_LENGTH`
/// frames the body, which the front has taken off its coding.
const HELD: [&[u8]; 5] = [b"CONTENT_LENGTH", b"CONTENT_TYPE", b"EXPECT", b"TRANSFER_ENCODING", b"UPGRADE"];

const NO_PACKET: Refusal = Refusal {
    status: 400,
    why: "no packet of the uwsgi protocol with both modifiers 0, as `protocol: Uwsgi` has it",
};
const BROKEN: Refusal =
    Refusal { status: 400, why: "variables that do not fit the size of the uwsgi packet" };
const MISSING: Refusal = Refusal {
    status: 400,
    why: "REQUEST_METHOD, REQUEST_URI or SERVER_PROTOCOL is missing; include uwsgi_params in nginx",
};
const BAD_TARGET: Refusal = Refusal { status: 400, why: "space or control character in REQUEST_URI" };
const BAD_VERSION: Refusal = Refusal { status: 505, why: "SERVER_PROTOCOL other than HTTP/1.0 to 3.0" };
const BAD_FIELD: Refusal = Refusal { status: 400, why: "malformed header field in a variable" };
const CHUNKED: Refusal =
    Refusal { status: 411, why: "chunked body without CONTENT_LENGTH; let the front server buffer it" };

/// Takes the packet out of `input`; `None`: more bytes are needed.
pub(super) fn take(input: &mut Vec<u8>, settings: &Settings) -> Result<Option<RequestHead>, Refusal> {
    if input.first().is_some_and(|modifier| *modifier != 0) {
        return Err(NO_PACKET);
    }
    let Some(([_, low, high, modifier], rest)) = input.split_first_chunk() else { return Ok(None) };
    if *modifier != 0 {
        return Err(NO_PACKET);
    }
    let size = usize::from(u16::from_le_bytes([*low, *high]));
    let Some(variables) = rest.get(..size) else { return Ok(None) };
    let head = Variables::read(variables)?.head(settings)?;
    input.drain(..4 + size);
    Ok(Some(head))
}

/// Those that are looked at.
#[derive(Debug, Default)]
struct Variables<'a> {
    method: Option<&'a [u8]>,
    target: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    kind: &'a [u8],
    client: &'a [u8],
    is_secure: bool,
    is_chunked: bool,
    /// Without `HTTP_`.
    fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Variables<'a> {
    fn read(mut bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut all = Self::default();
        while !bytes.is_empty() {
            let (name, value) = (text(&mut bytes)?, text(&mut bytes)?);
            match name {
                b"" => return Err(BROKEN),
                b"REQUEST_METHOD" => once(&mut all.method, value, "more than one REQUEST_METHOD")?,
                b"REQUEST_URI" => once(&mut all.target, value, "more than one REQUEST_URI")?,
                b"SERVER_PROTOCOL" => once(&mut all.version, value, "more than one SERVER_PROTOCOL")?,
                b"CONTENT_LENGTH" => once(&mut all.length, value, "more than one CONTENT_LENGTH")?,
                b"CONTENT_TYPE" => all.kind = value,
                // Of these the last counts, as at uWSGI: a parameter that the operator has added to the usual ones.
                b"REMOTE_ADDR" => all.client = value,
                b"HTTPS" => all.is_secure |= value.eq_ignore_ascii_case(b"on") || value == b"1",
                b"REQUEST_SCHEME" => all.is_secure |= Scheme::parse(value) == Some(Scheme::Https),
                _ => all.field(name, value),
            }
        }
        Ok(all)
    }

    fn field(&mut self, name: &'a [u8], value: &'a [u8]) {
        let Some(name) = name.strip_prefix(b"HTTP_") else { return };
        self.is_chunked |= name == b"TRANSFER_ENCODING";
        if !HELD.contains(&name) {
            self.fields.push((name, value));
        }
    }

    /// The head that the front had.
    fn head(self, settings: &Settings) -> Result<RequestHead, Refusal> {
        let (Some(method), Some(target), Some(version)) = (self.method, self.target, self.version) else {
            return Err(MISSING);
        };
        if !is_name(method) {
            return Err(Refusal { status: 400, why: "invalid method" });
        }
        if target.is_empty() || target.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f)) {
            return Err(BAD_TARGET);
        }
        if method.len() + target.len() + b"  HTTP/1.1".len() > settings.request_line {
            return Err(LONG_LINE);
        }
        let version = match version {
            b"HTTP/1.0" => Version::Http10,
            b"HTTP/1.1" => Version::Http11,
            // Nothing depends on which of them the client speaks to the front.
            b"HTTP/2.0" | b"HTTP/3.0" => Version::Http2,
            _ => return Err(BAD_VERSION),
        };
        let length = self.length.filter(|length| !length.is_empty());
        if self.is_chunked && length.is_none() {
            return Err(CHUNKED);
        }
        let mut head = Head { raw: Vec::with_capacity(1024), fields: Vec::new(), left: settings.fields };
        let (method, target) = (head.put(method), head.put(target));
        if let Some(length) = length {
            head.field(b"CONTENT_LENGTH", length)?;
        }
        if !self.kind.is_empty() {
            head.field(b"CONTENT_TYPE", self.kind)?;
        }
        for (name, value) in self.fields {
            head.field(name, value)?;
        }
        // What the front says itself is not counted.
        head.left = 2;
        let client = std::str::from_utf8(self.client).ok().and_then(|text| text.parse::<IpAddr>().ok());
        let client = client.map_or_else(|| "unknown".to_owned(), |client| client.to_string());
        head.field(b"X_FORWARDED_FOR", client.as_bytes())?;
        let scheme = if self.is_secure { Scheme::Https } else { Scheme::Http };
        head.field(b"X_FORWARDED_PROTO", scheme.as_str().as_bytes())?;
        if head.raw.len() + head.fields.len() * b": \r\n".len() > settings.head {
            return Err(LONG_HEAD);
        }
        Ok(RequestHead::new(head.raw, method, target, version, head.fields))
    }
}

/// Two bytes of length, and as many others.
fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Refusal> {
    let (length, rest) = bytes.split_first_chunk().ok_or(BROKEN)?;
    let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(BROKEN)?;
    *bytes = rest;
    Ok(text)
}

/// A head in the making.
struct Head {
    raw: Vec<u8>,
    fields: Vec<(Span, Span)>,
    /// So many more fields may come.
    left: u32,
}

impl Head {
    fn put(&mut self, bytes: &[u8]) -> Span {
        let start = self.raw.len() as u32;
        self.raw.extend_from_slice(bytes);
        Span { start, end: self.raw.len() as u32 }
    }

    /// Adds the field of a variable: `X_REAL_IP` is `x-real-ip`. Nothing else is, or [`HELD`] could be had in other letters.
    fn field(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let is_other = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'-';
        if !is_name(name) || name.iter().any(is_other) || !is_value(value) {
            return Err(BAD_FIELD);
        }
        self.left = self.left.checked_sub(1).ok_or(MANY_FIELDS)?;
        let name = self.put(name);
        for byte in self.raw.get_mut(name.start as usize..).unwrap_or_default() {
            *byte = if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
        }
        let value = self.put(value.trim_ascii());
        self.fields.push((name, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
