//! Under which name a response is kept (RFC 9111 §2): a text, which a hit compares as a whole, and its hash, by which it is
//! looked for.
//!
//! Whatever the response depends on must stand in it, or one client could have another one answered with what only its own
//! request should have had. So the host is there as the client wrote it, with its port, and the site that answers: to the
//! right host one may come by a listener of another site.

use super::hash::Secret;
use super::query;
use super::settings::Keyed;
use super::vary::Marker;
use crate::http::{RequestHead, Scheme};

/// A longer one names nothing that is worth to be kept.
const LONGEST: usize = 16 * 1024;

/// The name of a response, or of a marker that says on what more its name depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    text: Vec<u8>,
    hash: u128,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The site that answers, by a name that it keeps when others come and go.
    pub site: &'a str,
    /// The conditions of the location, one that holds and one that does not, where that depends on more than the path.
    pub when: &'a str,
    /// See there.
    pub unless: &'a str,
    /// How the client speaks to us.
    pub scheme: Scheme,
    /// As it is compared: lower case, without a dot at the end. Empty in a request of HTTP/1.0 without one.
    pub host: &'a [u8],
    /// As the client gave it.
    pub port: Option<u16>,
    /// As the client wrote it, percent-encoded.
    pub path: &'a [u8],
    /// As the path; without `?`.
    pub query: &'a [u8],
    /// Path and query that a rewrite has given it in their place. An app may go by these or by those.
    pub rewritten: Option<(&'a [u8], &'a [u8])>,
    /// What its fields say of proxies is believed, and goes to the app or upstream.
    pub trusted: bool,
}

impl Key {
    /// The key of a request. `None`: it is too long to be one.
    #[must_use]
    pub fn primary(parts: &Parts<'_>, head: &RequestHead, keyed: &Keyed, secret: Secret) -> Option<Self> {
        let mut text = Vec::with_capacity(64 + parts.site.len() + parts.path.len() + parts.query.len());
        text.extend_from_slice(parts.site.as_bytes());
        text.push(b'\n');
        write_url(parts, keyed, &mut text);
        if let Some((path, query)) = parts.rewritten {
            text.extend_from_slice(b"\nr=");
            write_target(path, query, keyed, &mut text);
        }
        for (sign, condition) in [(b"+", parts.when), (b"-", parts.unless)] {
            let named = Some(condition.as_bytes()).filter(|name| !name.is_empty());
            write_part(b"p", sign, named.into_iter(), &mut text);
        }
        if parts.trusted {
            write_said_by_proxies(parts, head, &mut text);
        }
        for name in &keyed.headers {
            write_part(b"h", name.as_bytes(), head.all(name), &mut text);
        }
        for name in &keyed.cookies {
            write_part(b"c", name.as_bytes(), cookies(head, name), &mut text);
        }
        Self::of_text(text, secret)
    }

    /// The key of the variant that this request selects (RFC 9111 §4.1), where the response of the key is a marker.
    #[must_use]
    pub fn variant(&self, marker: &Marker, head: &RequestHead, secret: Secret) -> Option<Self> {
        let mut text = Vec::with_capacity(self.text.len() + 64);
        text.extend_from_slice(&self.text);
        text.extend_from_slice(b"\nv");
        text.extend_from_slice(format!("{:016x}", marker.seed()).as_bytes());
        marker.write_selected(head, &mut text);
        Self::of_text(text, secret)
    }

    fn of_text(text: Vec<u8>, secret: Secret) -> Option<Self> {
        let hash = secret.hash(&text);
        (text.len() <= LONGEST).then_some(Self { text, hash })
    }

    /// What it is: two keys of one text are the same, and of one hash alone they are not.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// By what it is looked for.
    #[must_use]
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// The URL in the text of a key, and the site before it: what a purge by URL or prefix compares. `None`: it is none.
    #[must_use]
    pub fn url(text: &[u8]) -> Option<(&[u8], &[u8])> {
        let mut lines = text.split(|byte| *byte == b'\n');
        Some((lines.next()?, lines.next()?))
    }
}

/// The URL of a request as it stands in its key.
#[must_use]
pub fn url(parts: &Parts<'_>, keyed: &Keyed) -> Vec<u8> {
    let mut url = Vec::with_capacity(64);
    write_url(parts, keyed, &mut url);
    url
}

fn write_url(parts: &Parts<'_>, keyed: &Keyed, out: &mut Vec<u8>) {
    out.extend_from_slice(parts.scheme.as_str().as_bytes());
    out.extend_from_slice(b"://");
    write_authority(parts, out);
    write_target(parts.path, parts.query, keyed, out);
}

fn write_authority(parts: &Parts<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(parts.host);
    if let Some(port) = parts.port.filter(|port| *port != parts.scheme.default_port()) {
        out.push(b':');
        out.extend_from_slice(port.to_string().as_bytes());
    }
}

fn write_target(path: &[u8], query: &[u8], keyed: &Keyed, out: &mut Vec<u8>) {
    query::write_plain(path, out);
    query::write(query, keyed, out);
}

/// What proxies have said of the URL, of which apps make others: `X-Forwarded-Host` and the like, where that is not what is in the
/// key anyway. The address of the client is not part of it: no response for all depends on that.
fn write_said_by_proxies(parts: &Parts<'_>, head: &RequestHead, out: &mut Vec<u8>) {
    const OF_URL: &[u8] = b"x-forwarded-";
    let mut authority = Vec::new();
    write_authority(parts, &mut authority);
    let port = parts.port.unwrap_or(parts.scheme.default_port()).to_string();
    let is_new = |what: &[u8], value: &[u8]| {
        let known: &[u8] = match what {
            b"for" | b"by" => return false,
            b"host" => &authority,
            b"proto" => parts.scheme.as_str().as_bytes(),
            b"port" => port.as_bytes(),
            _ => return true,
        };
        !value.eq_ignore_ascii_case(known)
    };
    for (name, value) in head.fields() {
        let name = name.to_ascii_lowercase();
        let (kind, pairs) = match name.strip_prefix(OF_URL) {
            Some(what) => (b"x", vec![(what, value)]),
            None if name == b"forwarded" => (b"f", pairs(value)),
            None => continue,
        };
        for (what, value) in pairs {
            let what = what.to_ascii_lowercase();
            write_part(kind, &what, Some(value).filter(|value| is_new(&what, value)).into_iter(), out);
        }
    }
}

/// The parameters of `Forwarded` (RFC 7239 §4), whosever they are.
fn pairs(value: &[u8]) -> Vec<(&[u8], &[u8])> {
    let pairs = value.split(|byte| matches!(byte, b',' | b';')).map(<[u8]>::trim_ascii);
    let split = |pair: &'_ [u8]| pair.iter().position(|byte| *byte == b'=');
    pairs.filter_map(|pair| Some((pair.get(..split(pair)?)?, pair.get(split(pair)? + 1..)?))).collect()
}

/// Writes a line for each value: one that is not there is another thing than an empty one. No value has line ends, nor has a
/// URL.
pub(super) fn write_part<'a>(
    kind: &[u8],
    name: &[u8],
    values: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) {
    for value in values {
        out.push(b'\n');
        out.extend_from_slice(kind);
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value.trim_ascii());
    }
}

/// The values of all cookies of that name (RFC 6265 §5.4): apps differ in which one counts.
fn cookies<'a>(head: &'a RequestHead, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = head.all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
    pairs.filter_map(move |pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (have, value) = pair.split_at_checked(at)?;
        (have.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default())
    })
}
