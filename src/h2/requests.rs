//! From the fields of a block to a request (RFC 9113 §8), which looks to everybody else as one of HTTP/1 does: `:authority`
//! is its Host, the pieces of a cookie are one, and what only a connection of HTTP/1 may say is refused.
//!
//! | request | answer |
//! |---|---|
//! | a name that is none or has an upper-case letter; a value with control characters or white space around it | 400 |
//! | a field that begins with `:` twice, behind others, or unknown | 400 |
//! | without `:method`, `:scheme`, `:path` | 400 |
//! | a scheme other than `http` and `https`; over TLS, other than `https` | 400 |
//! | `:path` that does not begin with `/`, but for `OPTIONS *` | 400 |
//! | neither `:authority` nor Host, or both and different; more than one Host; a Host no host has | 400 |
//! | Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding, Upgrade; TE other than `trailers` | 400 |
//! | more than one Content-Length, one that is not all digits, or one that is not what comes | 400 |
//! | more fields, or longer ones, than the limits | 431, 414 |
//! | `:protocol` with another method than CONNECT | 400 |
//! | CONNECT without `:protocol`, or with one that is not `websocket` | 501 |
//! | TRACE | 405 |
//!
//! CONNECT for WebSocket (RFC 8441), where it is enabled, has a path as any request has. It has no body: what comes behind it
//! goes through the tunnel, if there is to be one.
//!
//! After the answer to what is wrong in itself, the stream is reset (PROTOCOL_ERROR).

use super::priority::Priority;
use crate::h1::digits;
use crate::http::fault::Refusal;
use crate::http::fields::{is_token_byte, is_value};
use crate::http::serving::{Line, Request, Settings as Limits};
use crate::http::target::{self, Host, Target};
use crate::http::{BodyLength, Method, RequestHead, Scheme, Span, Version};

/// Where the requests of a connection are put together, one after the other.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    raw: Vec<u8>,
    fields: Vec<(Span, Span)>,
    /// The last `:authority` and its host: usually the next is the same.
    known: Option<(Vec<u8>, Host)>,
}

impl Scratch {
    /// What was put together was taken out.
    fn clear(&mut self) {
        self.raw.clear();
        self.raw.shrink_to(USUAL_BYTES);
        self.fields.clear();
        self.fields.shrink_to(USUAL_FIELDS);
    }
}

/// A request as far as its fields have come.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    scratch: &'a mut Scratch,
    fields_max: usize,
    method: Option<Span>,
    path: Option<Span>,
    authority: Option<Span>,
    scheme: Option<Option<Scheme>>,
    /// What a tunnel is asked for; refused as unknown unless that is enabled.
    protocol: Option<Span>,
    connect: bool,
    host: Option<Span>,
    content_length: Option<u64>,
    cookies: usize,
    expects: bool,
    priority: Priority,
    wrong: Option<Refusal>,
}

/// What a block that is a request says.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects: bool,
    pub(super) priority: Priority,
    /// It asks for a tunnel.
    pub(super) tunnel: bool,
}

/// The names and values of most requests; room for more is not kept.
const USUAL_BYTES: usize = 2048;
const USUAL_FIELDS: usize = 32;

fn bad(why: &'static str) -> Refusal {
    Refusal { status: 400, why }
}

impl<'a> Builder<'a> {
    /// `connect`: tunnels may be asked for.
    pub(super) fn new(scratch: &'a mut Scratch, limits: &Limits, connect: bool) -> Self {
        debug_assert!(scratch.raw.is_empty() && scratch.fields.is_empty());
        Self {
            scratch,
            fields_max: limits.fields as usize,
            method: None,
            path: None,
            authority: None,
            scheme: None,
            protocol: None,
            connect,
            host: None,
            content_length: None,
            cookies: 0,
            expects: false,
            priority: Priority::UNSAID,
            wrong: None,
        }
    }

    /// The next field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        if self.wrong.is_some() {
            return;
        }
        let taken = match name {
            [b':', ..] => self.pseudo(name, value),
            _ => self.regular(name, value),
        };
        self.wrong = taken.err();
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        // `:authority` has become the first field.
        if self.scratch.fields.len() > usize::from(self.authority.is_some()) {
            return Err(bad("pseudo-header field behind others"));
        }
        check_value(value)?;
        let raw = &mut self.scratch.raw;
        let twice = match name {
            b":method" => self.method.replace(store(raw, value)).is_some(),
            b":path" => self.path.replace(store(raw, value)).is_some(),
            b":scheme" => self.scheme.replace(Scheme::parse(value)).is_some(),
            b":authority" => {
                let (name, value) = (store(raw, b"host"), store(raw, value));
                self.scratch.fields.push((name, value));
                self.authority.replace(value).is_some()
            }
            b":protocol" if self.connect => self.protocol.replace(store(raw, value)).is_some(),
            _ => return Err(bad("unknown pseudo-header field")),
        };
        if twice { Err(bad("pseudo-header field given twice")) } else { Ok(()) }
    }

    fn regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        check_field(name, value)?;
        if self.scratch.fields.len() >= self.fields_max {
            return Err(Refusal { status: 431, why: "too many header fields; raise limits.fields" });
        }
        let once = |twice: bool, why| if twice { Err(bad(why)) } else { Ok(()) };
        let raw = &mut self.scratch.raw;
        let stored = (store(raw, name), store(raw, value));
        match name {
            b"host" => {
                once(self.host.replace(stored.1).is_some(), "more than one Host field")?;
                // It says the same as `:authority`, or is refused.
                if self.authority.is_some() {
                    return Ok(());
                }
            }
            b"content-length" => {
                let length = digits(value).ok_or(bad("invalid Content-Length"))?;
                once(self.content_length.replace(length).is_some(), "more than one Content-Length field")?;
            }
            b"cookie" => self.cookies += 1,
            b"expect" => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            b"priority" => self.priority = Priority::parse(value),
            _ => {}
        }
        self.scratch.fields.push(stored);
        Ok(())
    }

    /// The block is at its end: the request, or why there is none. `ended`: no body follows. `exceeds`: the list was larger
    /// than its limit.
    pub(super) fn finish(
        mut self,
        ended: bool,
        exceeds: bool,
        scheme: Scheme,
        limits: &Limits,
    ) -> Result<Asked, (Refusal, Option<Box<Line>>)> {
        let asked = match self.judge(ended, exceeds, scheme, limits) {
            Ok((target, host, body)) => {
                self.join_cookies();
                let (method, path) = (self.method.unwrap_or_default(), self.path.unwrap_or_default());
                let expects = self.expects && !ended && self.protocol.is_none();
                let Scratch { raw, fields, .. } = &*self.scratch;
                let head = RequestHead::new(raw.clone(), method, path, Version::Http2, fields.clone());
                let request = Request { head, target, host: Some(host), body };
                Ok(Asked { request, expects, priority: self.priority, tunnel: self.protocol.is_some() })
            }
            Err(refusal) => Err((refusal, self.line())),
        };
        self.scratch.clear();
        asked
    }

    fn judge(
        &mut self,
        ended: bool,
        exceeds: bool,
        scheme: Scheme,
        limits: &Limits,
    ) -> Result<(Target, Host, BodyLength), Refusal> {
        if let Some(refusal) = self.wrong {
            return Err(refusal);
        }
        if exceeds {
            return Err(Refusal { status: 431, why: "request head too long; raise limits.head" });
        }
        let method =
            self.method.map(|span| span.of(&self.scratch.raw)).ok_or(bad("request without :method"))?;
        if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
            return Err(bad("invalid method"));
        }
        let length = method.len();
        let method = Method::from_bytes(method);
        match method {
            Method::Connect => match self.protocol.map(|span| span.of(&self.scratch.raw)) {
                Some(protocol) if protocol.eq_ignore_ascii_case(b"websocket") => {}
                Some(_) => {
                    return Err(Refusal { status: 501, why: "CONNECT for a protocol that is not websocket" });
                }
                None => return Err(Refusal { status: 501, why: "CONNECT is not implemented" }),
            },
            Method::Trace => return Err(Refusal { status: 405, why: "TRACE is not allowed" }),
            _ if self.protocol.is_some() => return Err(bad(":protocol of another method than CONNECT")),
            _ => {}
        }
        // In the clear a proxy that ends TLS says what its client has used (RFC 9113 §8.3.1).
        let said = match self.scheme.ok_or(bad("request without :scheme"))? {
            Some(said) if said == Scheme::Https || scheme == Scheme::Http => said,
            Some(_) => return Err(bad("http scheme over TLS")),
            None => return Err(bad("scheme other than http and https")),
        };
        let path = self.path.map(|span| span.of(&self.scratch.raw)).ok_or(bad("request without :path"))?;
        if path.len() + length > limits.request_line {
            return Err(Refusal { status: 414, why: "request line too long; raise limits.request_line" });
        }
        if !(path.starts_with(b"/") || (path == b"*" && method == Method::Options)) {
            return Err(bad(":path does not begin with '/'"));
        }
        // That of a tunnel is a path, and not a host as in HTTP/1.
        let form = if method == Method::Connect { Method::Get } else { method };
        let target = target::parse(form, path).map_err(|error| bad(error.why()))?.of_scheme(said);
        Ok((target, self.whose(said)?, self.body(ended)?))
    }

    /// The host it is for.
    fn whose(&mut self, scheme: Scheme) -> Result<Host, Refusal> {
        let Scratch { raw, known, .. } = &mut *self.scratch;
        let parse = |span: Span| target::host(span.of(raw)).map_err(|error| bad(error.why()));
        let host = self.host.map(parse).transpose()?;
        let Some(authority) = self.authority else {
            return host.ok_or(bad("request without :authority and Host"));
        };
        let authority = match known {
            Some((written, known)) if written == authority.of(raw) => known.clone(),
            _ => known.insert((authority.of(raw).to_vec(), parse(authority)?)).1.clone(),
        };
        match host {
            Some(host) if !authority.same(&host, scheme.default_port()) => {
                Err(bad("Host differs from :authority"))
            }
            _ => Ok(authority),
        }
    }

    fn body(&self, ended: bool) -> Result<BodyLength, Refusal> {
        match (self.content_length, ended) {
            (Some(_), _) if self.protocol.is_some() => Err(bad("Content-Length of a tunnel")),
            (None, _) if self.protocol.is_some() => Ok(BodyLength::None),
            (Some(1..), true) => Err(bad("Content-Length without a body")),
            (Some(length), _) => Ok(BodyLength::Known(length)),
            (None, true) => Ok(BodyLength::None),
            (None, false) => Ok(BodyLength::Unknown),
        }
    }

    /// A cookie may come in pieces, which compress better (RFC 9113 §8.2.3); HTTP/1 and apps know one only.
    fn join_cookies(&mut self) {
        if self.cookies < 2 {
            return;
        }
        let Scratch { raw, fields, .. } = &mut *self.scratch;
        let mut joined = Vec::new();
        fields.retain(|(name, value)| {
            let is_cookie = name.of(raw) == b"cookie";
            if is_cookie && !value.of(raw).is_empty() {
                if !joined.is_empty() {
                    joined.extend_from_slice(b"; ");
                }
                joined.extend_from_slice(value.of(raw));
            }
            !is_cookie
        });
        let (name, value) = (store(raw, b"cookie"), store(raw, &joined));
        fields.push((name, value));
    }

    /// What the log says of a request that is refused.
    fn line(&self) -> Option<Box<Line>> {
        let text = |span: Option<Span>| span.map(|span| span.of(&self.scratch.raw).to_vec());
        let (method, target) = (text(self.method)?, text(self.path).or_else(|| text(self.authority))?);
        Some(Box::new(Line { method, target, version: Version::Http2 }))
    }
}

/// What no field may be (RFC 9113 §8.2), of trailers neither; else they mean nothing to us, as those of HTTP/1.
pub(super) fn check_field(name: &[u8], value: &[u8]) -> Result<(), Refusal> {
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte) && !byte.is_ascii_uppercase()) {
        return Err(bad("invalid name of a header field; HTTP/2 has them in lower case"));
    }
    match name {
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(bad("TE other than trailers in HTTP/2")),
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
            Err(bad("field of an HTTP/1 connection in HTTP/2"))
        }
        _ => check_value(value),
    }
}

fn check_value(value: &[u8]) -> Result<(), Refusal> {
    let padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if !is_value(value) || padded(value.first()) || padded(value.last()) {
        return Err(bad("malformed header field"));
    }
    Ok(())
}

fn store(raw: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let start = raw.len() as u32;
    raw.extend_from_slice(bytes);
    Span { start, end: raw.len() as u32 }
}

#[cfg(test)]
mod tests;
