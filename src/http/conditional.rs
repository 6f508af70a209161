//! Conditional requests (RFC 9110 §13): whether a request that carries preconditions is answered in full, with 304 or
//! with 412. Pure. To be asked only where the answer without them would be 2xx (§13.2.1).

use super::{Method, RequestHead, date};
use crate::timer::Wall;

/// The validators of the current representation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Validators<'a> {
    /// Entity tag as in the `ETag` field: `"xyz"` or `W/"xyz"`.
    pub(crate) etag: Option<&'a [u8]>,
    /// Last modification, in seconds since the Unix epoch, as in the `Last-Modified` field.
    pub(crate) modified: Option<i64>,
}

/// What the preconditions say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Perform the method.
    Proceed,
    /// 304 Not Modified.
    NotModified,
    /// 412 Precondition Failed.
    Failed,
}

/// Evaluates the preconditions of `head` in the order of RFC 9110 §13.2.2. A date that cannot be read, and a field with
/// a date that occurs twice, is ignored.
#[must_use]
pub(crate) fn evaluate(head: &RequestHead, current: Validators<'_>, now: Wall) -> Outcome {
    if head.get("if-match").is_some() {
        if !any_tag(head, "if-match", current.etag, strong_match) {
            return Outcome::Failed;
        }
    } else if let (Some(since), Some(modified)) =
        (date_of(head, "if-unmodified-since", now), current.modified)
        && modified > since
    {
        return Outcome::Failed;
    }
    let is_read = matches!(head.method(), Method::Get | Method::Head);
    if head.get("if-none-match").is_some() {
        if any_tag(head, "if-none-match", current.etag, weak_match) {
            return if is_read { Outcome::NotModified } else { Outcome::Failed };
        }
    } else if is_read
        && let (Some(since), Some(modified)) = (date_of(head, "if-modified-since", now), current.modified)
        && modified <= since
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether `If-Range` (RFC 9110 §13.1.5) lets a `Range` field count: it is absent, holds the current tag (strong
/// comparison), or exactly the current date while that is a strong validator, which it is not in the second it names
/// (§8.8.2.2).
#[must_use]
pub(crate) fn if_range(head: &RequestHead, current: Validators<'_>, now: Wall) -> bool {
    let mut fields = head.all("if-range");
    let Some(value) = fields.next() else { return true };
    if fields.next().is_some() {
        return false;
    }
    if let Some((tag, rest)) = take_tag(value) {
        return rest.is_empty() && current.etag.is_some_and(|etag| strong_match(tag, etag));
    }
    date::parse(value, now).is_some_and(|date| {
        current.modified.is_some_and(|modified| date == modified && modified < now.seconds)
    })
}

/// Strong comparison (RFC 9110 §8.8.3.2): the same and neither weak.
#[must_use]
pub(crate) fn strong_match(one: &[u8], other: &[u8]) -> bool {
    one == other && !one.starts_with(b"W/")
}

/// Weak comparison (RFC 9110 §8.8.3.2): the same but for the mark of weakness.
#[must_use]
pub(crate) fn weak_match(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

/// Whether the lists of tags in all fields of that name match: `*`, or a tag that compares equal. `*` matches any
/// representation that exists. What follows a tag that cannot be read is ignored.
fn any_tag(head: &RequestHead, name: &str, current: Option<&[u8]>, same: fn(&[u8], &[u8]) -> bool) -> bool {
    head.all(name).any(|value| {
        let mut left = value.trim_ascii();
        if left == b"*" {
            return true;
        }
        let Some(current) = current else { return false };
        loop {
            while let [b',' | b' ' | b'\t', rest @ ..] = left {
                left = rest;
            }
            let Some((tag, rest)) = take_tag(left) else { return false };
            if same(tag, current) {
                return true;
            }
            left = rest.trim_ascii_start();
            if !(left.is_empty() || left.starts_with(b",")) {
                return false;
            }
        }
    })
}

/// The entity tag that `text` begins with (RFC 9110 §8.8.3), and what follows it. Commas may stand inside.
pub(crate) fn take_tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mark = if text.starts_with(b"W/") { 2 } else { 0 };
    let opaque = text.get(mark..)?.strip_prefix(b"\"")?;
    let length = opaque.iter().position(|byte| *byte == b'"')?;
    let legal = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
    if !opaque.get(..length)?.iter().all(legal) {
        return None;
    }
    text.split_at_checked(mark + 1 + length + 1)
}

/// The date in the only field of that name.
fn date_of(head: &RequestHead, name: &str, now: Wall) -> Option<i64> {
    let mut fields = head.all(name);
    let value = fields.next()?;
    if fields.next().is_some() {
        return None;
    }
    date::parse(value, now)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::http::{Span, Version};

    /// A head with these fields.
    pub(crate) fn head(method: &str, fields: &[(&str, &str)]) -> RequestHead {
        head_for(method, "/", fields)
    }

    /// The same for a target.
    pub(crate) fn head_for(method: &str, target: &str, fields: &[(&str, &str)]) -> RequestHead {
        let mut raw = Vec::new();
        let mut put = |text: &str| {
            let start = raw.len() as u32;
            raw.extend_from_slice(text.as_bytes());
            Span { start, end: raw.len() as u32 }
        };
        let method = put(method);
        let target = put(target);
        let fields = fields.iter().map(|(name, value)| (put(name), put(value))).collect();
        RequestHead::new(raw, method, target, Version::Http11, fields)
    }

    const NOW: Wall = Wall { seconds: 1_790_000_000, nanos: 0 };
    const MODIFIED: i64 = 784_111_777;
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const FILE: Validators<'_> = Validators { etag: Some(b"\"abc\""), modified: Some(MODIFIED) };

    fn outcome(method: &str, fields: &[(&str, &str)]) -> Outcome {
        evaluate(&head(method, fields), FILE, NOW)
    }

    #[test]
    fn single_preconditions() {
        use Outcome::{Failed, NotModified, Proceed};
        for (name, value, get, put) in [
            ("If-Match", "\"abc\"", Proceed, Proceed),
            ("If-Match", "\"x\", \"abc\"", Proceed, Proceed),
            ("If-Match", "*", Proceed, Proceed),
            ("If-Match", "W/\"abc\"", Failed, Failed),
            ("If-Match", "\"x\"", Failed, Failed),
            ("If-Match", "abc", Failed, Failed),
            ("If-Match", "", Failed, Failed),
            ("If-None-Match", "\"abc\"", NotModified, Failed),
            ("If-None-Match", "W/\"abc\"", NotModified, Failed),
            ("If-None-Match", "*", NotModified, Failed),
            ("If-None-Match", "\"a,b\" , ,\t\"abc\"", NotModified, Failed),
            ("If-None-Match", "\"x\"", Proceed, Proceed),
            ("If-None-Match", "\"x\" \"abc\"", Proceed, Proceed),
            ("If-None-Match", "\"abc", Proceed, Proceed),
            ("If-None-Match", "w/\"abc\"", Proceed, Proceed),
            ("If-Unmodified-Since", SAME, Proceed, Proceed),
            ("If-Unmodified-Since", LATER, Proceed, Proceed),
            ("If-Unmodified-Since", EARLIER, Failed, Failed),
            ("If-Unmodified-Since", "yesterday", Proceed, Proceed),
            ("If-Modified-Since", SAME, NotModified, Proceed),
            ("If-Modified-Since", LATER, NotModified, Proceed),
            ("If-Modified-Since", EARLIER, Proceed, Proceed),
            ("If-Modified-Since", "yesterday", Proceed, Proceed),
        ] {
            assert_eq!(outcome("GET", &[(name, value)]), get, "GET {name}: {value}");
            assert_eq!(outcome("HEAD", &[(name, value)]), get, "HEAD {name}: {value}");
            assert_eq!(outcome("PUT", &[(name, value)]), put, "PUT {name}: {value}");
        }
    }

    #[test]
    fn entity_tags_come_before_dates() {
        for (fields, expected) in [
            // If-Unmodified-Since counts only without If-Match, If-Modified-Since only without If-None-Match.
            (&[("If-Match", "\"abc\""), ("If-Unmodified-Since", EARLIER)][..], Outcome::Proceed),
            (&[("If-Match", "\"x\""), ("If-Unmodified-Since", LATER)], Outcome::Failed),
            (&[("If-None-Match", "\"x\""), ("If-Modified-Since", LATER)], Outcome::Proceed),
            (&[("If-None-Match", "\"abc\""), ("If-Modified-Since", EARLIER)], Outcome::NotModified),
            // The first two can fail before the last two are looked at; if they hold, these decide.
            (&[("If-None-Match", "\"abc\""), ("If-Match", "\"x\"")], Outcome::Failed),
            (&[("If-None-Match", "\"abc\""), ("If-Match", "\"abc\"")], Outcome::NotModified),
            (&[("If-Modified-Since", LATER), ("If-Unmodified-Since", EARLIER)], Outcome::Failed),
            (&[("If-Modified-Since", LATER), ("If-Unmodified-Since", LATER)], Outcome::NotModified),
        ] {
            assert_eq!(outcome("GET", fields), expected, "{fields:?}");
        }
    }

    #[test]
    fn repeated_fields_and_missing_validators() {
        assert_eq!(
            outcome("GET", &[("If-None-Match", "\"x\""), ("If-None-Match", "\"abc\"")]),
            Outcome::NotModified
        );
        assert_eq!(
            outcome("GET", &[("If-Modified-Since", LATER), ("If-Modified-Since", LATER)]),
            Outcome::Proceed
        );
        let none = Validators::default();
        for (name, value, expected) in [
            ("If-Match", "*", Outcome::Proceed),
            ("If-Match", "\"abc\"", Outcome::Failed),
            ("If-None-Match", "*", Outcome::NotModified),
            ("If-None-Match", "\"abc\"", Outcome::Proceed),
            ("If-Modified-Since", LATER, Outcome::Proceed),
            ("If-Unmodified-Since", EARLIER, Outcome::Proceed),
        ] {
            assert_eq!(evaluate(&head("GET", &[(name, value)]), none, NOW), expected, "{name}: {value}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let allows =
            |fields: &[(&str, &str)], current: Validators<'_>| if_range(&head("GET", fields), current, NOW);
        assert!(allows(&[], FILE));
        assert!(allows(&[("If-Range", "\"abc\"")], FILE));
        assert!(allows(&[("If-Range", SAME)], FILE));
        for value in ["W/\"abc\"", "\"x\"", "\"abc\", \"x\"", "*", "", "abc", EARLIER, LATER] {
            assert!(!allows(&[("If-Range", value)], FILE), "{value}");
        }
        assert!(!allows(&[("If-Range", "\"abc\""), ("If-Range", "\"abc\"")], FILE));
        let weak = Validators { etag: Some(b"W/\"abc\""), ..FILE };
        assert!(!allows(&[("If-Range", "W/\"abc\"")], weak));
        // Modified in this very second: it may change again within it.
        let this_second = Wall { seconds: MODIFIED, nanos: 900_000_000 };
        assert!(!if_range(&head("GET", &[("If-Range", SAME)]), FILE, this_second));
    }
}
