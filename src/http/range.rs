//! Byte ranges (RFC 9110 §14): which parts of a representation a `Range` field asks for. Pure; whether the method and
//! `If-Range` allow a partial answer is decided by the caller (see [`super::conditional::if_range`]).

use std::fmt;

/// What a `Range` field means for a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// Send everything: another unit, bad syntax (RFC 9110 §14.2 lets a server ignore both), or more ranges than are
    /// worth sending.
    Whole,
    /// 416 with `Content-Range: bytes */length` (see [`Unsatisfied`]).
    Unsatisfiable,
    /// 206 with this part.
    One(ByteRange),
    /// Two or more parts, ascending, apart from each other: 206 as multipart/byteranges, or 200 with everything.
    Several(Vec<ByteRange>),
}

/// A part of a representation; never empty, never past its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte, included.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes it has.
    #[must_use]
    pub(crate) fn len(self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// The value of `Content-Range` (RFC 9110 §14.4) for this part of `length` bytes.
    #[must_use]
    pub(crate) fn content_range(self, length: u64) -> String {
        format!("bytes {}-{}/{length}", self.first, self.last)
    }
}

/// The value of `Content-Range` in a 416 for a representation of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unsatisfied(pub(crate) u64);

impl fmt::Display for Unsatisfied {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "bytes */{}", self.0)
    }
}

/// More ranges than this in one field get everything. Since parts are joined where they overlap, an answer in parts is
/// never larger than the whole plus this many part headers.
pub(crate) const MOST_RANGES: usize = 16;

/// Reads the value of a `Range` field for a representation of `length` bytes.
///
/// Ranges that begin past the end are dropped; overlapping and touching ones are joined. An empty representation has no
/// part that could be named, so anything but a plainly unsatisfiable range gets the whole (empty) one, as in nginx.
#[must_use]
pub(crate) fn parse(value: &[u8], length: u64) -> Ranges {
    let Some(set) = strip_unit(value) else { return Ranges::Whole };
    let mut ranges = Vec::new();
    let mut specs = 0;
    for spec in set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue; // empty list elements are legal (RFC 9110 §5.6.1.2)
        }
        specs += 1;
        if specs > MOST_RANGES {
            return Ranges::Whole;
        }
        match parse_spec(spec, length) {
            Spec::Bad | Spec::Everything => return Ranges::Whole,
            Spec::Past => {}
            Spec::Range(range) => ranges.push(range),
        }
    }
    if specs == 0 {
        return Ranges::Whole;
    }
    join(&mut ranges);
    match *ranges {
        [] => Ranges::Unsatisfiable,
        [only] => Ranges::One(only),
        _ => Ranges::Several(ranges),
    }
}

/// What follows `bytes=`; range units are case-insensitive (RFC 9110 §14.1).
fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

enum Spec {
    /// Not in the grammar: the whole field is ignored.
    Bad,
    /// Satisfiable, but of an empty representation.
    Everything,
    /// Not satisfiable.
    Past,
    Range(ByteRange),
}

/// `first-last`, `first-` or `-suffix`.
fn parse_spec(spec: &[u8], length: u64) -> Spec {
    let Some(dash) = spec.iter().position(|byte| *byte == b'-') else { return Spec::Bad };
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    let end = length.saturating_sub(1);
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Spec::Bad,
        (true, false) => match number(last) {
            None => Spec::Bad,
            Some(0) => Spec::Past,
            Some(_) if length == 0 => Spec::Everything,
            Some(suffix) => Spec::Range(ByteRange { first: length.saturating_sub(suffix), last: end }),
        },
        (false, true) => match number(first) {
            None => Spec::Bad,
            Some(0) if length == 0 => Spec::Everything,
            Some(first) if first >= length => Spec::Past,
            Some(first) => Spec::Range(ByteRange { first, last: end }),
        },
        (false, false) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => {
                if first >= length {
                    Spec::Past
                } else {
                    Spec::Range(ByteRange { first, last: last.min(end) })
                }
            }
            _ => Spec::Bad,
        },
    }
}

/// Digits only. A number that does not fit is larger than any file: it becomes the largest that does.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Sorts the ranges and joins those that overlap or touch.
fn join(ranges: &mut Vec<ByteRange>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = next.first <= kept.last.saturating_add(1);
        if joins {
            kept.last = kept.last.max(next.last);
        }
        joins
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(first: u64, last: u64) -> Ranges {
        Ranges::One(ByteRange { first, last })
    }

    fn several(pairs: &[(u64, u64)]) -> Ranges {
        Ranges::Several(pairs.iter().map(|(first, last)| ByteRange { first: *first, last: *last }).collect())
    }

    #[test]
    fn a_range_of_everything_there_can_be_does_not_wrap() {
        assert_eq!(ByteRange { first: 0, last: u64::MAX }.len(), u64::MAX);
        assert_eq!(parse(b"bytes=0-", u64::MAX), one(0, u64::MAX - 1));
        assert_eq!(parse(b"bytes=-18446744073709551615", u64::MAX), one(0, u64::MAX - 1));
        assert_eq!(parse(b"bytes=99999999999999999999-", u64::MAX), Ranges::Unsatisfiable);
        let last = u64::MAX - 1;
        assert_eq!(parse(b"bytes=18446744073709551614-18446744073709551615", u64::MAX), one(last, last));
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 9110 §14.1.2, a representation of 10000 bytes.
        for (value, expected) in [
            ("bytes=0-499", one(0, 499)),
            ("bytes=500-999", one(500, 999)),
            ("bytes=-500", one(9500, 9999)),
            ("bytes=9500-", one(9500, 9999)),
            ("bytes=0-0,-1", several(&[(0, 0), (9999, 9999)])),
            ("bytes= 0-999, 4500-5499, -1000", several(&[(0, 999), (4500, 5499), (9000, 9999)])),
            ("bytes=500-600,601-999", one(500, 999)),
            ("bytes=500-700,601-999", one(500, 999)),
        ] {
            assert_eq!(parse(value.as_bytes(), 10_000), expected, "{value}");
        }
    }

    #[test]
    fn one_range() {
        for (value, length, expected) in [
            ("bytes=0-", 10, one(0, 9)),
            ("BYTES=0-", 10, one(0, 9)),
            ("bytes=9-9", 10, one(9, 9)),
            ("bytes=5-100", 10, one(5, 9)),
            ("bytes=-100", 10, one(0, 9)),
            ("bytes=,3-4,,", 10, one(3, 4)),
            ("bytes=3-4,10-", 10, one(3, 4)),
            ("bytes=8-18446744073709551616", 10, one(8, 9)),
            ("bytes=8-99999999999999999999999999999999", 10, one(8, 9)),
            ("bytes=-99999999999999999999999999999999", 10, one(0, 9)),
            ("bytes=18446744073709551614-", u64::MAX, one(u64::MAX - 1, u64::MAX - 1)),
            ("bytes=0-5,18446744073709551614-18446744073709551615,6-", u64::MAX, one(0, u64::MAX - 1)),
        ] {
            assert_eq!(parse(value.as_bytes(), length), expected, "{value}");
        }
    }

    #[test]
    fn past_the_end_is_unsatisfiable() {
        for (value, length) in [
            ("bytes=10-", 10),
            ("bytes=10-20", 10),
            ("bytes=-0", 10),
            ("bytes=99999999999999999999999999-", 10),
            ("bytes=10-,-0, 11-12", 10),
            ("bytes=0-0", 0),
            ("bytes=-0", 0),
            ("bytes=1-", 0),
        ] {
            assert_eq!(parse(value.as_bytes(), length), Ranges::Unsatisfiable, "{value}");
        }
    }

    #[test]
    fn bad_syntax_and_other_units_are_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=5-4",
            "bytes=0-1,5-4",
            "bytes=--1",
            "bytes=1--2",
            "bytes=+1-2",
            "bytes=0x1-2",
            "bytes=1 - 2",
            "bytes =0-1",
            "bytes:0-1",
            "items=0-1",
            "bytes=0-1;2-3",
        ] {
            assert_eq!(parse(value.as_bytes(), 10), Ranges::Whole, "{value}");
        }
        for value in ["bytes=0-", "bytes=-5"] {
            assert_eq!(parse(value.as_bytes(), 0), Ranges::Whole, "{value} of nothing");
        }
    }

    #[test]
    fn too_many_ranges_get_everything() {
        let many = |count: u64| {
            let specs: Vec<_> = (0..count).map(|i| format!("{}-{}", i * 1000, i * 1000 + 9)).collect();
            parse(format!("bytes={}", specs.join(",")).as_bytes(), 1_000_000)
        };
        assert!(matches!(many(16), Ranges::Several(ranges) if ranges.len() == 16));
        assert_eq!(many(17), Ranges::Whole);
        let overlapping = vec!["0-"; 17].join(",");
        assert_eq!(parse(format!("bytes={overlapping}").as_bytes(), 10), Ranges::Whole);
        assert_eq!(parse(b"bytes=0-,0-,0-,0-", 10), one(0, 9));
    }

    #[test]
    fn joined_ranges_name_the_same_bytes() {
        // Against a bitmap, with a small generator (xorshift) of fixed seed.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..2000 {
            let length = 100;
            let mut bitmap = [false; 100];
            let mut specs = Vec::new();
            for _ in 0..=next(6) {
                let first = next(120);
                let last = first + next(30);
                specs.push(format!("{first}-{last}"));
                for position in first..=last.min(99) {
                    bitmap[position as usize] = true;
                }
            }
            let value = format!("bytes={}", specs.join(","));
            let ranges = match parse(value.as_bytes(), length) {
                Ranges::Whole => panic!("{value}"),
                Ranges::Unsatisfiable => Vec::new(),
                Ranges::One(range) => vec![range],
                Ranges::Several(ranges) => ranges,
            };
            let mut named = [false; 100];
            let mut end = None;
            for range in ranges {
                assert!(end.is_none_or(|end| range.first > end + 1), "{value}: not apart");
                end = Some(range.last);
                named[range.first as usize..=range.last as usize].fill(true);
            }
            assert_eq!(named, bitmap, "{value}");
        }
    }

    #[test]
    fn content_range_texts() {
        assert_eq!(ByteRange { first: 2, last: 4 }.content_range(10), "bytes 2-4/10");
        assert_eq!(ByteRange { first: 2, last: 4 }.len(), 3);
        assert_eq!(Unsatisfied(10).to_string(), "bytes */10");
    }
}
