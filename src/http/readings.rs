//! How servers behind a proxy may read a path.
//!
//! A proxy chooses the location by the path as [`super::target`] understands it, but sends the path as the client wrote
//! it, and the next server understands it in its own way: it may resolve dot segments only where they are not encoded,
//! or not at all; take `..;x` for `..`, as Tomcat does; take a backslash for a slash, as IIS does; or not take `%2F` for
//! one. `/up/..;/admin` is below `/up/` to the one and `/admin` to the other. So a path that has such a thing goes to an
//! upstream only if all of these readings belong to the same location.
//!
//! What is encoded twice (`%252e`) is not among them: a server that decodes twice is broken in more ways than one.

use super::target::Target;

/// One way to read a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// What follows a `;` in a segment is no part of its name.
    parameters: bool,
    /// A backslash separates segments.
    backslash: bool,
    /// So does `%2F`.
    encoded_slash: bool,
    /// Empty segments are none.
    merge: bool,
    dots: Dots,
}

/// Which dot segments are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dots {
    None,
    /// Those that are not encoded.
    Written,
    All,
}

/// A path with more readings is refused: nothing but an attack has everything at once that can be misread.
const MOST_READINGS: usize = 20;

/// Whether every reading of a path is one for which `belongs` says so; a reading that climbs above the root is none.
/// `raw` is the path as it was written and `target` what it was parsed to. A path that can be read in one way only is
/// not judged, which is nearly every one.
pub(crate) fn agree(target: &Target, raw: &[u8], mut belongs: impl FnMut(&[u8]) -> bool) -> bool {
    let has = |byte: u8| target.path().contains(&byte);
    let odd = target.has_dot_segments() || target.encoded_slash() || has(b';') || has(b'\\');
    if !odd {
        return true;
    }
    let readings = readings(raw);
    readings.len() <= MOST_READINGS
        && readings.into_iter().all(|reading| reading.read(raw).is_some_and(|path| belongs(&path)))
}

/// All readings that could make a difference.
fn readings(raw: &[u8]) -> Vec<Reading> {
    let has = |texts: &[&[u8]]| {
        texts.iter().any(|text| raw.windows(text.len()).any(|here| here.eq_ignore_ascii_case(text)))
    };
    let both = |is: bool| if is { &[false, true][..] } else { &[false] };
    let mut dots = vec![(Dots::None, true)];
    for merge in if has(&[b"//", b"%2f", b"\\", b"%5c", b";"]) { &[true, false][..] } else { &[true] } {
        dots.push((Dots::All, *merge));
        if has(&[b"%2e"]) {
            dots.push((Dots::Written, *merge));
        }
    }
    let mut readings = Vec::new();
    for parameters in both(has(&[b";", b"%3b"])) {
        for backslash in both(has(&[b"\\", b"%5c"])) {
            for encoded_slash in both(has(&[b"%2f"])) {
                readings.extend(dots.iter().map(|(dots, merge)| Reading {
                    parameters: *parameters,
                    backslash: *backslash,
                    encoded_slash: *encoded_slash,
                    merge: *merge,
                    dots: *dots,
                }));
            }
        }
    }
    readings
}

impl Reading {
    /// The path, decoded, `//` merged at the end as locations are compared; `None` if it climbs above the root.
    fn read(self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut path = Vec::with_capacity(raw.len());
        let mut segment = Segment::default();
        for (byte, encoded) in decoded(raw.get(1..).unwrap_or_default()) {
            match byte {
                b'/' if !encoded || self.encoded_slash => self.end(&mut segment, &mut path)?,
                b'\\' if self.backslash => self.end(&mut segment, &mut path)?,
                b';' if self.parameters => segment.ended = true,
                _ if segment.ended => {}
                b'/' => segment.name.extend_from_slice(b"%2F"),
                _ => {
                    segment.name.push(byte);
                    segment.encoded |= encoded;
                }
            }
        }
        let is_open = segment.name.is_empty() || self.is_dots(&segment);
        self.end(&mut segment, &mut path)?;
        if is_open {
            path.push(b'/');
        }
        path.dedup_by(|next, kept| (*next, *kept) == (b'/', b'/'));
        Some(path)
    }

    /// Adds a segment to the path, or does what it says.
    fn end(self, segment: &mut Segment, path: &mut Vec<u8>) -> Option<()> {
        let Segment { name, .. } = &segment;
        match name.as_slice() {
            b"." if self.is_dots(segment) => {}
            b".." if self.is_dots(segment) => {
                path.truncate(path.iter().rposition(|byte| *byte == b'/')?);
            }
            b"" if self.merge => {}
            name => {
                path.push(b'/');
                path.extend_from_slice(name);
            }
        }
        *segment = Segment::default();
        Some(())
    }

    fn is_dots(self, segment: &Segment) -> bool {
        let resolves = match self.dots {
            Dots::None => false,
            Dots::Written => !segment.encoded,
            Dots::All => true,
        };
        resolves && matches!(segment.name.as_slice(), b"." | b"..")
    }
}

#[derive(Debug, Default)]
struct Segment {
    name: Vec<u8>,
    /// Something in it was percent-encoded.
    encoded: bool,
    /// A `;` has ended it.
    ended: bool,
}

/// The bytes of a path whose encodings were found to be right, and whether each was percent-encoded.
fn decoded(raw: &[u8]) -> impl Iterator<Item = (u8, bool)> {
    let mut bytes = raw.iter().copied();
    std::iter::from_fn(move || {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some((byte, false));
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit()? << 4 | digit()?;
        Some((value as u8, true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, target};

    /// Whether all readings of a path are below the prefix.
    fn below(prefix: &str, raw: &str) -> bool {
        let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
        agree(&target, raw.as_bytes(), |path| path.starts_with(prefix.as_bytes()))
    }

    #[test]
    fn what_stays_below_a_prefix_however_it_is_read() {
        for raw in [
            "/up/a/../b",
            "/up/a/%2e%2e/b",
            "/up/./%2E/a",
            "/up/a;x=1/b;y",
            "/up/a/..;/b",
            "/up/group%2Fname",
            "/up/a\\b",
            "/up/a%5c..%5cb",
            "/up/a//..//b",
            "/up/...",
            "/up/..a/%252e%252e/admin",
            "/up/",
            "/%75p/a/%2e%2e/b",
        ] {
            assert!(below("/up/", raw), "{raw}");
        }
    }

    #[test]
    fn what_leaves_it_in_one_reading() {
        for raw in [
            "/up/..;/admin",
            "/up/..;x=y/admin",
            "/up/..%3b/admin",
            "/up/%2e%2e;/admin",
            "/up/.%2e;a%2fb/admin",
            "/up/a/..;/..;/admin",
            "/up/..\\admin",
            "/up/..%5cadmin",
            "/up/%2e%2e%5Cadmin",
            "/up/a\\..\\..\\admin",
            "/up/..;\\admin",
            "/up/..;/..;/..;/admin",
            "/admin/../up/a",
            "/admin/%2e%2e/up/a",
            "/admin/..%2fup/a",
            "/admin%2f..%2fup/a",
            "/admin/x/../../up/a",
            "/x/%2e%2e/./up/a",
            "/./up",
            "/up%2fa",
        ] {
            assert!(!below("/up/", raw), "{raw}");
        }
    }

    /// Between two locations, one within the other, it is the path on its way that counts.
    #[test]
    fn a_location_within_another() {
        let location = |path: &[u8]| path.starts_with(b"/up/admin/");
        for (raw, same) in [
            ("/up/admin/x/../y", true),
            ("/up/x/../y", true),
            ("/up/admin/../y", false),
            ("/up/x/../admin/y", false),
            ("/up/admin/../%2e%2e/up/admin/x", false),
            ("/up/admin;x/y", false),
            ("/up/admin%2fy", false),
            ("/up//admin/y", true),
            ("/up/x//../../admin/y", false),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            let here = location(target.path());
            assert_eq!(agree(&target, raw.as_bytes(), |path| location(path) == here), same, "{raw}");
        }
    }

    /// The reading of `target` is one of them, so that what it says and what is compared cannot drift apart.
    #[test]
    fn ours_is_among_the_readings() {
        for raw in ["/a/../b", "/a%2fb/%2e%2e/./c", "/a//..//b/", "/a;x/%2E", "/a\\..\\b", "/a/..", "/a/."] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            let read: Vec<_> =
                readings(raw.as_bytes()).into_iter().map(|reading| reading.read(raw.as_bytes())).collect();
            assert!(read.contains(&Some(target.path().to_vec())), "{raw}: {read:?}");
        }
    }

    #[test]
    fn readings_are_bounded() {
        let raw = "/up/a;x/%2e%2e//b%2fc\\d";
        assert!(readings(raw.as_bytes()).len() > MOST_READINGS);
        assert!(!below("/", raw));
    }
}
