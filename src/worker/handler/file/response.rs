//! Heads of responses that carry a file, from what `fstat` says of it. Pure: no disk, no clock.

use crate::config::Cache;
use crate::http::conditional::{Outcome, Validators, evaluate, if_range};
use crate::http::date::ImfDate;
use crate::http::encoding::Encoding;
use crate::http::range::{ByteRange, Ranges, Unsatisfied, parse};
use crate::http::{Method, RequestHead, ResponseHead};
use crate::timer::Wall;

/// What is known of one representation of a file.
#[derive(Clone, Debug)]
pub(super) struct About {
    /// Bytes.
    pub(super) size: u64,
    /// Last modification.
    pub(super) modified: Wall,
    /// The coding it is kept in.
    pub(super) encoding: Option<Encoding>,
    /// The file is there in other codings too.
    pub(super) varies: bool,
    /// `Content-Type`, of the content without its coding.
    pub(super) content_type: String,
    /// `Cache-Control`.
    pub(super) caching: Option<String>,
}

/// What to answer to a request that has preconditions or wants a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// 200 with everything.
    Whole,
    /// 304.
    NotModified,
    /// 206 with this part.
    Part(ResponseHead, ByteRange),
    /// 206 with several parts; the head has no `Content-Type` yet.
    Parts(ResponseHead, Vec<ByteRange>),
    /// 412 or 416, and why.
    Refuse(ResponseHead, &'static str),
}

/// Which fields of a request bear on the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// A precondition or a range.
    pub(super) with_conditions: bool,
    /// `Accept-Encoding`.
    pub(super) with_encodings: bool,
}

impl Asked {
    /// One look at the names of the fields.
    pub(super) fn of(head: &RequestHead) -> Self {
        let mut asked = Self::default();
        for (name, _) in head.fields() {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            match name.len() {
                5 => asked.with_conditions |= is("range"),
                8 => asked.with_conditions |= is("if-match"),
                13 => asked.with_conditions |= is("if-none-match"),
                17 => asked.with_conditions |= is("if-modified-since"),
                19 => asked.with_conditions |= is("if-unmodified-since"),
                15 => asked.with_encodings |= is("accept-encoding"),
                _ => {}
            }
        }
        asked
    }
}

impl About {
    /// A strong tag: modification in nanoseconds and size, in hexadecimal, and the coding. Seconds would miss two edits
    /// in one second.
    pub(super) fn etag(&self) -> String {
        let nanos = i128::from(self.modified.seconds) * 1_000_000_000 + i128::from(self.modified.nanos);
        match self.encoding {
            None => format!("\"{:x}-{:x}\"", nanos as u64, self.size),
            Some(encoding) => format!("\"{:x}-{:x}-{}\"", nanos as u64, self.size, encoding.name()),
        }
    }

    /// Last-Modified, never later than the Date of the response (RFC 9110 §8.8.2.1).
    fn modified_by(&self, now: Wall) -> i64 {
        self.modified.seconds.min(now.seconds)
    }

    /// The head of a 200.
    pub(super) fn whole(&self, now: Wall) -> ResponseHead {
        self.typed(self.carrying(200, now))
    }

    /// The head of a 304: what the 200 would say of caches.
    pub(super) fn not_modified(&self) -> ResponseHead {
        self.cached(ResponseHead::new(304).with("ETag", self.etag()))
    }

    fn carrying(&self, status: u16, now: Wall) -> ResponseHead {
        let mut head = ResponseHead::new(status)
            .with("ETag", self.etag())
            .with("Last-Modified", ImfDate::new(self.modified_by(now)))
            .with("Accept-Ranges", "bytes")
            .with("X-Content-Type-Options", "nosniff");
        if let Some(encoding) = self.encoding {
            head.fields.add("Content-Encoding", encoding.name());
        }
        self.cached(head)
    }

    fn typed(&self, head: ResponseHead) -> ResponseHead {
        head.with("Content-Type", &self.content_type)
    }

    fn cached(&self, mut head: ResponseHead) -> ResponseHead {
        if let Some(caching) = &self.caching {
            head.fields.add("Cache-Control", caching);
        }
        self.varying(head)
    }

    /// With what tells one variant from another, which bears on every answer (RFC 9110 §12.5.5).
    fn varying(&self, mut head: ResponseHead) -> ResponseHead {
        if self.varies {
            head.fields.add("Vary", "Accept-Encoding");
        }
        head
    }

    /// Decides, for GET and HEAD; `etag` is that of [`Self::etag`].
    pub(super) fn plan(&self, etag: &str, request: &RequestHead, now: Wall) -> Plan {
        let current = Validators { etag: Some(etag.as_bytes()), modified: Some(self.modified_by(now)) };
        match evaluate(request, current, now) {
            Outcome::Proceed => {}
            Outcome::NotModified => return Plan::NotModified,
            Outcome::Failed => {
                let head = self.varying(ResponseHead::new(412));
                return Plan::Refuse(head, "a precondition does not hold");
            }
        }
        match ranges(request, self.size, current, now) {
            Ranges::Whole => Plan::Whole,
            Ranges::One(range) => {
                let head = self.typed(self.carrying(206, now));
                Plan::Part(head.with("Content-Range", range.content_range(self.size)), range)
            }
            Ranges::Several(ranges) => Plan::Parts(self.carrying(206, now), ranges),
            Ranges::Unsatisfiable => {
                let head = ResponseHead::new(416).with("Content-Range", Unsatisfied(self.size).to_string());
                Plan::Refuse(self.varying(head), "the range lies past the end of the file")
            }
        }
    }
}

/// Ranges are defined for GET only (RFC 9110 §14.2); more than one Range field is not a Range field.
fn ranges(request: &RequestHead, size: u64, current: Validators<'_>, now: Wall) -> Ranges {
    let mut fields = request.all("range");
    match (fields.next(), fields.next()) {
        (Some(value), None) if request.method() == Method::Get && if_range(request, current, now) => {
            parse(value, size)
        }
        _ => Ranges::Whole,
    }
}

/// What `Cache-Control` says for a file; `hashed`: its name changes with its content.
pub(super) fn caching(cache: Cache, hashed: bool) -> Option<String> {
    match cache {
        Cache::Unset => None,
        Cache::For(time) => Some(format!("max-age={}", time.as_secs())),
        Cache::Immutable if hashed => Some("public, max-age=31536000, immutable".to_owned()),
        Cache::Immutable | Cache::Revalidate => Some("no-cache".to_owned()),
    }
}

/// Whether a name carries a hash of its content after its first dot: `name.0123456789ab.ext`, or `LICENSE.0123456789ab`
/// for a file without an ending. At least eight lower-case hexadecimal digits, with a figure and a letter among them:
/// `report.20240131.pdf` is no hash, and one real hash of twelve digits in 280, all figures, is known only from
/// `staticfiles.json`.
pub(super) fn has_hash(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'.').skip(1).any(|part| {
        let is_hex = part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_mixed = part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_lowercase);
        part.len() >= 8 && is_hex && is_mixed
    })
}
