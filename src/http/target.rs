//! Request-targets and authorities (RFC 9112 §3.2, RFC 3986). Decoded once, here; nothing decodes again.
//!
//! Two paths come out of a target. [`Target::path`] is for matching and for files: percent-decoded, `.` and `..`
//! resolved on the decoded bytes (so `%2e%2e%2f` is caught), `//` merged. [`Target::path_info`] is for applications:
//! the same, but `//` is kept unless dot segments had to be resolved. Merging the second always gives the first, so
//! that what an access rule judged is what the application sees.

use super::Scheme;
use super::fields::Span;
use super::message::Method;
use super::percent;
use std::net::Ipv6Addr;
use std::rc::Rc;

/// A parsed request-target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    path: Vec<u8>,
    /// Only if it differs from `path`.
    path_info: Option<Vec<u8>>,
    encoded_slash: bool,
    dot_segments: bool,
    form: Form,
    raw_path: Span,
    query: Option<Span>,
    authority: Option<Span>,
    scheme: Scheme,
}

/// Which of the four forms it had (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `/path?query`.
    Origin,
    /// `http://authority/path?query`.
    Absolute,
    /// `host:port`, CONNECT only.
    Authority,
    /// `*`, OPTIONS only.
    Asterisk,
}

/// Why a target or authority was refused; always 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A control character or a space.
    Byte,
    /// A `#`: fragments are never sent.
    Fragment,
    /// `%` without two hexadecimal digits.
    Percent,
    /// `%00`.
    Nul,
    /// More `..` than segments before it.
    AboveRoot,
    /// Neither a path nor `http://…`, or a form that the method does not have.
    Form,
    /// A host that is empty or has bytes no host has.
    Host,
    /// A port that is no number up to 65535.
    Port,
}

impl Error {
    /// For the log.
    #[must_use]
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Byte => "space or control character in the request target",
            Self::Fragment => "'#' in the request target",
            Self::Percent => "invalid percent-encoding in the path",
            Self::Nul => "encoded NUL in the path",
            Self::AboveRoot => "'..' above the root of the path",
            Self::Form => "request target is neither a path nor an http URL",
            Self::Host => "invalid host name",
            Self::Port => "invalid port",
        }
    }
}

impl Target {
    /// Decoded, dot segments resolved, `//` merged; begins with `/`. `*` for [`Form::Asterisk`], empty for CONNECT.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Like [`Self::path`], but `//` kept (unless dot segments were resolved): PATH_INFO for applications.
    #[must_use]
    pub(crate) fn path_info(&self) -> &[u8] {
        self.path_info.as_deref().unwrap_or(&self.path)
    }

    /// Whether a segment contained `%2F`. In [`Self::path`] it has become a separator; a file handler refuses it.
    #[must_use]
    pub(crate) fn encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// Whether there were dot segments to resolve, encoded or not.
    #[must_use]
    pub(crate) fn has_dot_segments(&self) -> bool {
        self.dot_segments
    }

    /// The form it was written in.
    #[must_use]
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// The path as it was written; `target` is what was parsed. `/` if an absolute form has none.
    #[must_use]
    pub(crate) fn raw_path<'a>(&self, target: &'a [u8]) -> &'a [u8] {
        match self.raw_path.of(target) {
            b"" => b"/",
            path => path,
        }
    }

    /// What follows the `?`, as it was written; `None` without `?`.
    #[must_use]
    pub(crate) fn query<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        self.query.map(|span| span.of(target))
    }

    /// The authority of an absolute or authority form, as it was written.
    #[must_use]
    pub(crate) fn authority<'a>(&self, target: &'a [u8]) -> Option<&'a [u8]> {
        self.authority.map(|span| span.of(target))
    }

    /// That of an absolute form, or what was said beside the target; else what a missing one stands for.
    #[must_use]
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// With a scheme that was said beside it (RFC 9113 §8.3.1).
    #[must_use]
    pub(crate) fn of_scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }
}

/// Parses a request-target. The query is not decoded and not judged, apart from bytes no target may have.
///
/// # Errors
/// [`Error`]; the request is answered with 400.
pub(crate) fn parse(method: Method, target: &[u8]) -> Result<Target, Error> {
    for byte in target {
        match byte {
            0..=0x20 | 0x7f => return Err(Error::Byte),
            b'#' => return Err(Error::Fragment),
            _ => {}
        }
    }
    if method == Method::Connect {
        host(target)?;
        return Ok(Target { authority: Some(span(0, target.len())), ..bare(Form::Authority, Vec::new()) });
    }
    match target {
        b"*" if method == Method::Options => Ok(bare(Form::Asterisk, b"*".to_vec())),
        [b'/', ..] => from_path(target, 0, Form::Origin),
        _ => absolute(method, target),
    }
}

/// Writes the origin form of a target that [`parse`] accepted, for the next server: path and query as they were
/// written, bytes above 0x7F percent-encoded. `OPTIONS http://host` becomes `OPTIONS *` (RFC 9112 §3.2.4).
pub(crate) fn write_origin_form(method: Method, target: &[u8], out: &mut Vec<u8>) {
    let rest = match leading_scheme(target) {
        None => target,
        Some((length, _)) => {
            let rest = target.get(length..).unwrap_or_default();
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            rest.get(end..).unwrap_or_default()
        }
    };
    match rest {
        [b'/', ..] | b"*" => {}
        b"" if method == Method::Options => out.push(b'*'),
        _ => out.push(b'/'),
    }
    if rest.is_ascii() {
        out.extend_from_slice(rest);
    } else {
        percent::encode(rest, |byte| byte.is_ascii(), out);
    }
}

/// A host and port, as they are compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// Lower-case, without one trailing dot; an IPv6 address in its shortest spelling, in brackets.
    pub name: Rc<[u8]>,
    /// As given.
    pub port: Option<u16>,
}

impl Host {
    /// Whether both name the same authority where a missing port means `default`.
    #[must_use]
    pub(crate) fn same(&self, other: &Self, default: u16) -> bool {
        self.name == other.name && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

/// Longest host name (RFC 1035 §2.3.4 says 255 octets on the wire).
const HOST_MAX: usize = 255;

/// Parses the value of a Host field or the authority of a target (RFC 9110 §7.2, RFC 3986 §3.2). User information,
/// percent-encoding and sub-delimiters are refused: no host that resolves has them.
///
/// # Errors
/// [`Error::Host`] or [`Error::Port`]; the request is answered with 400.
pub(crate) fn host(authority: &[u8]) -> Result<Host, Error> {
    let written;
    let (name, port) = if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|byte| *byte == b']').ok_or(Error::Host)?;
        let address = authority.get(1..end).unwrap_or_default();
        let text = std::str::from_utf8(address).map_err(|_| Error::Host)?;
        written = ipv6_name(text.parse().map_err(|_| Error::Host)?);
        (written.as_bytes(), authority.get(end + 1..).unwrap_or_default())
    } else {
        let end = authority.iter().position(|byte| *byte == b':').unwrap_or(authority.len());
        let (name, port) = authority.split_at_checked(end).ok_or(Error::Host)?;
        (registered_name(name)?, port)
    };
    let port = match port {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return Err(Error::Host),
    };
    let mut name: Rc<[u8]> = Rc::from(name);
    Rc::make_mut(&mut name).make_ascii_lowercase();
    Ok(Host { name, port })
}

/// As names of sites are compared: one address has one spelling (RFC 5952).
pub(crate) fn ipv6_name(address: Ipv6Addr) -> String {
    format!("[{address}]")
}

fn registered_name(name: &[u8]) -> Result<&[u8], Error> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.len() > HOST_MAX {
        return Err(Error::Host);
    }
    let mut before = b'.';
    for byte in name {
        match byte {
            b'.' if before == b'.' => return Err(Error::Host),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => before = *byte,
            _ => return Err(Error::Host),
        }
    }
    // Also refuses the empty name and one that still ends in a dot.
    if before == b'.' { Err(Error::Host) } else { Ok(name) }
}

fn parse_port(digits: &[u8]) -> Result<u16, Error> {
    digits.iter().try_fold(0_u16, |port, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0')).ok_or(Error::Port)?;
        port.checked_mul(10).and_then(|port| port.checked_add(digit)).ok_or(Error::Port)
    })
}

fn absolute(method: Method, target: &[u8]) -> Result<Target, Error> {
    let (length, scheme) = leading_scheme(target).ok_or(Error::Form)?;
    let rest = target.get(length..).unwrap_or_default();
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    host(rest.get(..end).unwrap_or_default())?;
    let authority = Some(span(length, length + end));
    // `OPTIONS http://host` is how a proxy is asked for `OPTIONS *` of that host (RFC 9112 §3.2.4).
    if method == Method::Options && end == rest.len() {
        return Ok(Target { authority, scheme, ..bare(Form::Asterisk, b"*".to_vec()) });
    }
    Ok(Target { authority, scheme, ..from_path(target, length + end, Form::Absolute)? })
}

/// `http://` or `https://` at the start: its length, and which it is.
fn leading_scheme(target: &[u8]) -> Option<(usize, Scheme)> {
    let colon = target.iter().position(|byte| *byte == b':')?;
    let scheme = Scheme::parse(target.get(..colon)?)?;
    target.get(colon..)?.starts_with(b"://").then_some((colon + 3, scheme))
}

fn bare(form: Form, path: Vec<u8>) -> Target {
    Target {
        path,
        path_info: None,
        encoded_slash: false,
        dot_segments: false,
        form,
        raw_path: span(0, if form == Form::Asterisk { 1 } else { 0 }),
        query: None,
        authority: None,
        scheme: Scheme::Http,
    }
}

/// `target[start..]` is a path, possibly empty, and perhaps a query.
fn from_path(target: &[u8], start: usize, form: Form) -> Result<Target, Error> {
    let rest = target.get(start..).unwrap_or_default();
    // Nearly every path has nothing to decode, resolve or merge; one pass tells.
    let (mut end, mut plain, mut before) = (rest.len(), !rest.is_empty(), 0);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'?' => {
                end = at;
                plain &= at > 0;
                break;
            }
            b'%' => plain = false,
            b'/' | b'.' if before == b'/' => plain = false,
            _ => {}
        }
        before = *byte;
    }
    let raw = rest.get(..end).unwrap_or_default();
    let query = (end < rest.len()).then(|| span(start + end + 1, target.len()));
    let raw_path = span(start, start + raw.len());
    if plain {
        return Ok(Target { raw_path, query, ..bare(form, raw.to_vec()) });
    }
    let (decoded, encoded_slash) = decode(if raw.is_empty() { b"/" } else { raw })?;
    let Resolved { path, path_info, dot_segments } = resolve(decoded)?;
    Ok(Target { path_info, encoded_slash, dot_segments, raw_path, query, ..bare(form, path) })
}

/// Percent-decodes once; also says whether `%2F` was there.
fn decode(raw: &[u8]) -> Result<(Vec<u8>, bool), Error> {
    if !raw.contains(&b'%') {
        return Ok((raw.to_vec(), false));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut encoded_slash = false;
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| hex_value(*byte)).ok_or(Error::Percent);
        match digit()? << 4 | digit()? {
            0 => return Err(Error::Nul),
            value => {
                encoded_slash |= value == b'/';
                decoded.push(value);
            }
        }
    }
    Ok((decoded, encoded_slash))
}

/// The path for matching, the path for applications if it differs, and whether there were dot segments.
struct Resolved {
    path: Vec<u8>,
    path_info: Option<Vec<u8>>,
    dot_segments: bool,
}

fn resolve(decoded: Vec<u8>) -> Result<Resolved, Error> {
    let mut dots = false;
    let mut empty = false;
    let last = decoded.len().saturating_sub(1);
    let mut before = 0;
    // Every segment follows a slash; an empty one is not the last.
    for (at, byte) in decoded.iter().enumerate().skip(1) {
        let segment_end = if *byte == b'/' { at } else { at + 1 };
        if *byte == b'/' || at == last {
            let segment = decoded.get(before + 1..segment_end).unwrap_or_default();
            empty |= segment.is_empty();
            dots |= matches!(segment, b"." | b"..");
            before = at;
        }
    }
    if !dots && !empty {
        return Ok(Resolved { path: decoded, path_info: None, dot_segments: false });
    }
    let path = merge(&decoded)?;
    Ok(Resolved { path, path_info: (!dots).then_some(decoded), dot_segments: dots })
}

/// Merges `//` and resolves dot segments (RFC 3986 §5.2.4), refusing to climb above the root.
fn merge(decoded: &[u8]) -> Result<Vec<u8>, Error> {
    let mut path = Vec::with_capacity(decoded.len());
    let mut open = true;
    for segment in decoded.split(|byte| *byte == b'/').skip(1) {
        open = true;
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = path.iter().rposition(|byte| *byte == b'/').ok_or(Error::AboveRoot)?;
                path.truncate(parent);
            }
            name => {
                path.push(b'/');
                path.extend_from_slice(name);
                open = false;
            }
        }
    }
    if open {
        path.push(b'/');
    }
    Ok(path)
}

fn hex_value(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
