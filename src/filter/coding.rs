//! Which response is compressed, into what, and what its head says then (RFC 9110 §8.4, §8.8.3, §12.5.3). Pure.
//!
//! | a response | leaves |
//! |---|---|
//! | of a type that is not listed, too short, without a body, a part of one (206), encoded already, `no-transform`, an event stream without `streams` | as it is |
//! | any other, for a client that takes none of the codings, of HTTP/1.0, or that asks for a range | as it is, with `Vary: Accept-Encoding` |
//! | any other | compressed, `Vary`, `Content-Encoding`, an entity tag of its own; without `Accept-Ranges` and digests |
//! | 304 | with `Vary`, and the tag that the client knows it by |
//!
//! A strong entity tag names bytes, so each coding has its own: `"x"` becomes `"x-gzip"`. What a client asks for by such a tag
//! is asked for by both: whoever answers compares with what it knows, be it that it compresses by itself. `If-Range` stays: of
//! what is compressed here there are no parts. A weak tag stays, as the content is the same.

use crate::http::conditional::take_tag;
use crate::http::encoding::{Encoding, pick};
use crate::http::{BodyLength, Fields, Method, RequestHead, ResponseHead, Version};
use crate::policy::compress::Compress;
use std::rc::Rc;

/// Tags of one field that are translated at most: a client has few variants of one thing.
const MOST_TAGS: usize = 16;

/// Fields that tell of the very bytes of a body (RFC 9530, RFC 3230, RFC 1864); trailers may, too.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What a request says of how its response may leave.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How it is done there.
    compress: Rc<Compress>,
    /// Into what, for this client.
    encoding: Option<Encoding>,
    /// HEAD: there will be no body.
    pub(crate) head_only: bool,
    /// Tags that a client has in that coding, as whoever answers knows them.
    known: Vec<Box<[u8]>>,
}

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coded {
    /// It leaves as it is.
    Plain,
    /// It is compressed at this level.
    By(Encoding, u32),
}

impl Asked {
    /// By the head of a request for a place where responses are compressed.
    pub(crate) fn of(compress: &Rc<Compress>, head: &RequestHead) -> Self {
        let is_whole = head.get("range").is_none();
        let may = head.version() > Version::Http10 && is_whole && !forbids(head.all("cache-control"));
        let encoding = pick(head.all("accept-encoding"), compress.encodings.iter().copied());
        let encoding = encoding.filter(|_| may);
        let head_only = head.method() == Method::Head;
        Self { compress: Rc::clone(compress), encoding, head_only, known: Vec::new() }
    }

    /// The same head with preconditions as whoever answers is to see them, if that differs.
    pub(crate) fn translate(&mut self, head: &RequestHead) -> Option<RequestHead> {
        let by_tag = |name: &[u8]| {
            name.eq_ignore_ascii_case(b"if-none-match") || name.eq_ignore_ascii_case(b"if-match")
        };
        // Most have none.
        if !head.fields().any(|(name, _)| by_tag(name)) {
            return None;
        }
        let all = &self.compress.encodings;
        let mut known = Vec::new();
        let mut any = false;
        let other = head.with_values(|name, value| {
            if !by_tag(name) {
                return None;
            }
            // What is to be changed is the same thing in whatever coding it was had; what is had already is so in this one.
            let is_match = name.eq_ignore_ascii_case(b"if-match");
            let codings: &[Encoding] = if is_match { all } else { self.encoding.as_slice() };
            let listed = tags(value);
            let plain = plain_tags(&listed, codings);
            let mut seen = value.to_vec();
            for tag in plain.iter().filter(|tag| !listed.contains(&&***tag)) {
                seen.extend_from_slice(b", ");
                seen.extend_from_slice(tag);
            }
            if !is_match {
                known.extend(plain);
            }
            let differs = seen.len() != value.len();
            any |= differs;
            differs.then_some(seen)
        });
        self.known = known;
        any.then_some(other)
    }

    /// Decides on a response, and changes its head.
    pub(crate) fn decide(&self, head: &mut ResponseHead, body: BodyLength) -> Coded {
        if head.status.0 == 304 {
            self.not_modified(&mut head.fields);
            return Coded::Plain;
        }
        if !self.can_be_coded(head, body) {
            return Coded::Plain;
        }
        vary(&mut head.fields);
        let Some(encoding) = self.encoding else { return Coded::Plain };
        head.fields.set("Content-Encoding", encoding.name());
        head.fields.retain(|name| !name.eq_ignore_ascii_case(b"accept-ranges") && !is_digest(name));
        head.fields.replace(|name, value| {
            name.eq_ignore_ascii_case(b"etag").then(|| coded_tag(value, encoding)).flatten()
        });
        Coded::By(encoding, self.compress.levels.of(encoding))
    }

    /// Changes the head of a response that could be compressed and is not, for want of memory.
    pub(crate) fn decide_plain(&self, head: &mut ResponseHead, body: BodyLength) {
        if self.can_be_coded(head, body) {
            vary(&mut head.fields);
        }
    }

    fn can_be_coded(&self, head: &ResponseHead, body: BodyLength) -> bool {
        let fields = &head.fields;
        let is_long = match body {
            BodyLength::None => false,
            BodyLength::Known(length) => length >= self.compress.min.max(1),
            BodyLength::Unknown => true,
        };
        let is_whole = head.status.0 != 206 && fields.get("content-range").is_none();
        is_long
            && !head.status.forbids_body()
            && is_whole
            && self.takes_type(fields)
            && fields.get("content-encoding").is_none_or(|value| value.eq_ignore_ascii_case(b"identity"))
            && !forbids(all(fields, "cache-control"))
    }

    fn takes_type(&self, fields: &Fields) -> bool {
        let Some(value) = fields.get("content-type") else { return false };
        let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"text/event-stream") && !self.compress.streams {
            return false;
        }
        self.compress.types.iter().any(|pattern| pattern.takes(name))
    }

    /// It is about what the client has, under the tag by which it has it.
    fn not_modified(&self, fields: &mut Fields) {
        vary(fields);
        let Some(encoding) = self.encoding else { return };
        fields.replace(|name, value| {
            let is_known = name.eq_ignore_ascii_case(b"etag") && self.known.iter().any(|tag| **tag == *value);
            is_known.then(|| coded_tag(value, encoding)).flatten()
        });
    }
}

/// Leaves of what follows a body what holds of it in whatever coding.
pub(crate) fn strip_trailers(trailers: &mut Fields) {
    if !trailers.is_empty() {
        trailers.retain(|name| !is_digest(name));
    }
}

fn is_digest(name: &[u8]) -> bool {
    DIGESTS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
}

fn all<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

/// Whether a `Cache-Control` says that nobody on the way may change the content (RFC 9111 §5.2.1.6, §5.2.2.6).
fn forbids<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    values.any(|value| {
        let mut items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| item.eq_ignore_ascii_case(b"no-transform"))
    })
}

/// Says once that the response depends on `Accept-Encoding` (RFC 9110 §12.5.5).
fn vary(fields: &mut Fields) {
    let says = |value: &[u8]| {
        let mut items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        items.any(|item| item == b"*" || item.eq_ignore_ascii_case(b"accept-encoding"))
    };
    if all(fields, "vary").any(says) {
        return;
    }
    let mut value = all(fields, "vary").collect::<Vec<_>>().join(&b", "[..]);
    if !value.is_empty() {
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(b"Accept-Encoding");
    fields.set("Vary", value);
}

/// The tag of content in a coding; `None`: it is weak, or none.
fn coded_tag(tag: &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let (whole, rest) = take_tag(tag)?;
    if !rest.is_empty() || whole.starts_with(b"W/") {
        return None;
    }
    let inner = whole.strip_suffix(b"\"")?;
    Some([inner, b"-", encoding.name().as_bytes(), b"\""].concat())
}

/// The entity tags of a list.
fn tags(list: &[u8]) -> Vec<&[u8]> {
    let mut tags = Vec::new();
    let mut left = list;
    loop {
        while let [b',' | b' ' | b'\t', rest @ ..] = left {
            left = rest;
        }
        let Some((tag, rest)) = take_tag(left) else { return tags };
        tags.push(tag);
        left = rest;
    }
}

/// As whoever answers knows those of them that are of content in one of these codings.
fn plain_tags(tags: &[&[u8]], codings: &[Encoding]) -> Vec<Box<[u8]>> {
    let plain = |tag: &&[u8]| {
        let inner = tag.strip_suffix(b"\"").filter(|_| !tag.starts_with(b"W/"))?;
        let mut bare = codings.iter().filter_map(|encoding| {
            inner.strip_suffix(encoding.name().as_bytes()).and_then(|inner| inner.strip_suffix(b"-"))
        });
        bare.next().map(|inner| [inner, b"\""].concat().into_boxed_slice())
    };
    let mut plain: Vec<_> = tags.iter().filter_map(plain).take(MOST_TAGS).collect();
    plain.dedup();
    plain
}

#[cfg(test)]
mod tests;
