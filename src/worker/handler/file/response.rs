//! The head of a response that carries a file, from what `fstat` says of it. Pure: no disk, no clock; a cache of open
//! files can ask it again for every request.

use crate::config::Cache;
use crate::http::conditional::{Outcome, Validators, evaluate, if_range};
use crate::http::date::ImfDate;
use crate::http::range::{Ranges, Unsatisfied, parse};
use crate::http::{Method, RequestHead, ResponseHead, mime};
use crate::timer::Wall;

/// What is known of a regular file.
#[derive(Clone, Copy, Debug)]
pub(super) struct File<'a> {
    /// Last segment of its path.
    pub(super) name: &'a [u8],
    /// Bytes.
    pub(super) size: u64,
    /// Last modification.
    pub(super) modified: Wall,
}

/// What to answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// 200 or 206 with `len` bytes from `offset` on.
    Part { head: ResponseHead, offset: u64, len: u64 },
    /// 304.
    Bare(ResponseHead),
    /// 412 or 416, and why.
    Refuse(ResponseHead, &'static str),
}

/// Decides, for GET and HEAD.
pub(super) fn plan(request: &RequestHead, file: File<'_>, cache: Cache, now: Wall) -> Plan {
    let etag = etag(file);
    // Never later than the Date of this response (RFC 9110 §8.8.2.1).
    let modified = file.modified.seconds.min(now.seconds);
    let current = Validators { etag: Some(etag.as_bytes()), modified: Some(modified) };
    match evaluate(request, current, now) {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            let head = ResponseHead::new(304).with("ETag", etag.as_bytes());
            return Plan::Bare(with_caching(head, cache, file.name));
        }
        Outcome::Failed => return Plan::Refuse(ResponseHead::new(412), "a precondition does not hold"),
    }
    let (status, offset, len, content_range) = match ranges(request, file.size, current, now) {
        // Several parts in one body come with a later change; a server may always send the whole (RFC 9110 §14.2).
        Ranges::Whole | Ranges::Several(_) => (200, 0, file.size, None),
        Ranges::One(range) => (206, range.first, range.len(), Some(range.content_range(file.size))),
        Ranges::Unsatisfiable => {
            let head = ResponseHead::new(416).with("Content-Range", Unsatisfied(file.size).to_string());
            return Plan::Refuse(head, "the range lies past the end of the file");
        }
    };
    let mut head = ResponseHead::new(status)
        .with("Content-Type", mime::of(file.name))
        .with("ETag", etag.as_bytes())
        .with("Last-Modified", ImfDate::new(modified));
    head = with_caching(head, cache, file.name);
    head.fields.add("Accept-Ranges", "bytes");
    head.fields.add("X-Content-Type-Options", "nosniff");
    if let Some(content_range) = content_range {
        head.fields.add("Content-Range", content_range);
    }
    Plan::Part { head, offset, len }
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

/// A strong tag: modification in nanoseconds and size, in hexadecimal. Seconds would miss two edits in one second.
fn etag(file: File<'_>) -> String {
    let nanos = i128::from(file.modified.seconds) * 1_000_000_000 + i128::from(file.modified.nanos);
    format!("\"{:x}-{:x}\"", nanos as u64, file.size)
}

fn with_caching(head: ResponseHead, cache: Cache, name: &[u8]) -> ResponseHead {
    match cache {
        Cache::Unset => head,
        Cache::For(time) => head.with("Cache-Control", format!("max-age={}", time.as_secs())),
        Cache::Immutable if has_hash(name) => {
            head.with("Cache-Control", "public, max-age=31536000, immutable")
        }
        Cache::Immutable | Cache::Revalidate => head.with("Cache-Control", "no-cache"),
    }
}

/// Whether a name carries a hash of its content after its first dot: `name.0123456789ab.ext`, or `LICENSE.0123456789ab`
/// for a file without an ending. At least eight lower-case hexadecimal digits, with a figure and a letter among them:
/// `report.20240131.pdf` is no hash, and one real hash of twelve digits in 280, all figures, is only asked for again.
fn has_hash(name: &[u8]) -> bool {
    name.split(|byte| *byte == b'.').skip(1).any(|part| {
        let is_hex = part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_mixed = part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_lowercase);
        part.len() >= 8 && is_hex && is_mixed
    })
}
