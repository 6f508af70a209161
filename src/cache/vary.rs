//! `Vary` (RFC 9111 §4.1, RFC 9110 §12.5.5): which fields of a request select among responses of one URL.
//!
//! Under the key of the URL a [`Marker`] is kept then, which names the fields; the response is kept under a key that has their
//! values (`Key::variant`) and a number of the marker's: without the marker none of its variants is found.
//!
//! Values are compared as far as they mean something: case and white space of lists of `Accept…` fields do not, and of
//! `Accept-Encoding` only which of the codings is accepted that we pass on (see [`codings`]).

use super::key::write_part;
use crate::http::encoding::Encoding;
use crate::http::fields::is_name;
use crate::http::{Fields, RequestHead};

/// A response that depends on more fields is not worth to be kept.
const MOST: usize = 16;
/// Nor are longer names.
const LONGEST: usize = 128;

/// The fields that select.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Box<[u8]>>);

/// The response can be used for no other request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable;

impl Names {
    /// Those that a response names.
    ///
    /// # Errors
    /// `*`, something that is no name of a field, or too many.
    pub fn of(fields: &Fields) -> Result<Self, Unusable> {
        let lines = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"vary"));
        let mut names = Vec::new();
        for member in lines.flat_map(|(_, value)| value.split(|byte| *byte == b',')) {
            match member.trim_ascii() {
                b"" => {}
                // A `*` is a token, too.
                b"*" => return Err(Unusable),
                name if is_name(name) && name.len() <= LONGEST => {
                    names.push(name.to_ascii_lowercase().into())
                }
                _ => return Err(Unusable),
            }
        }
        Self::sorted(names).ok_or(Unusable)
    }

    fn sorted(mut names: Vec<Box<[u8]>>) -> Option<Self> {
        names.sort_unstable();
        names.dedup();
        (names.len() <= MOST).then_some(Self(names))
    }

    /// Whether each stands once, in their order.
    fn are_sorted(&self) -> bool {
        self.0.is_sorted_by(|one, next| one < next)
    }

    /// Whether nothing selects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is kept under the key of a URL whose responses depend on more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    names: Names,
    seed: u64,
}

const VERSION: u8 = 1;

impl Marker {
    /// A marker for a response with these fields in `Vary`. `seed` is drawn.
    #[must_use]
    pub fn new(names: Names, seed: u64) -> Self {
        Self { names, seed }
    }

    /// The marker that takes the place of this one after a response with these fields: it names those of both, since the
    /// responses to a URL need not all say the same. `None`: this one stays.
    #[must_use]
    pub fn with(&self, names: &Names, seed: u64) -> Option<Self> {
        if names.0.iter().all(|name| self.names.0.contains(name)) {
            return None;
        }
        let all = self.names.0.iter().chain(&names.0).cloned().collect();
        Some(Self { names: Names::sorted(all).unwrap_or_else(|| names.clone()), seed })
    }

    /// The number that its variants have in their keys.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// As it is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.seed.to_le_bytes());
        for name in &self.names.0 {
            out.push(name.len() as u8);
            out.extend_from_slice(name);
        }
        out
    }

    /// Reads one; `None`: it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (seed, mut rest) = rest.split_first_chunk()?;
        let mut names = Vec::new();
        while let Some((length, after)) = rest.split_first() {
            let (name, after) = after.split_at_checked(usize::from(*length))?;
            let is_lower = !name.iter().any(u8::is_ascii_uppercase);
            if !(is_name(name) && is_lower && name.len() <= LONGEST) || names.len() == MOST {
                return None;
            }
            names.push(name.into());
            rest = after;
        }
        let names = Some(Names(names)).filter(Names::are_sorted).filter(|names| !names.is_empty())?;
        (*version == VERSION).then(|| Self { names, seed: u64::from_le_bytes(*seed) })
    }

    /// Writes what the fields of a request select.
    pub(super) fn write_selected(&self, head: &RequestHead, out: &mut Vec<u8>) {
        for name in &self.names.0 {
            let Ok(text) = std::str::from_utf8(name) else { continue };
            match &**name {
                b"accept-encoding" => {
                    write_part(b"", name, std::iter::once(codings(head).as_bytes()), out);
                }
                b"accept" | b"accept-language" | b"accept-charset" => {
                    let mut list = Vec::new();
                    head.all(text).for_each(|value| write_list(value, &mut list));
                    let is_there = head.get(text).is_some();
                    write_part(b"", name, is_there.then_some(list.as_slice()).into_iter(), out);
                }
                _ => write_part(b"", name, head.all(text), out),
            }
        }
    }
}

/// `Accept-Encoding` as it is passed on: those of the codings that are in use today which the client takes, in one order. What
/// is passed on is what is compared, so that an app that knows more of them cannot use one that this client alone takes.
#[must_use]
pub fn codings(head: &RequestHead) -> &'static str {
    let takes = |encoding| {
        let values = head.all("accept-encoding");
        let values: Vec<_> = values.collect();
        crate::http::encoding::pick(values.into_iter(), std::iter::once(encoding)).is_some()
    };
    if head.get("accept-encoding").is_none() {
        return "";
    }
    match Encoding::ALL.map(takes) {
        [false, false, false] => "",
        [true, false, false] => "br",
        [false, true, false] => "zstd",
        [true, true, false] => "br, zstd",
        [false, false, true] => "gzip",
        [true, false, true] => "br, gzip",
        [false, true, true] => "zstd, gzip",
        [true, true, true] => "br, zstd, gzip",
    }
}

/// Adds the members of a list in lower case and without white space.
fn write_list(value: &[u8], out: &mut Vec<u8>) {
    for member in
        value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
    {
        if !out.is_empty() {
            out.push(b',');
        }
        let solid = member.iter().filter(|byte| !byte.is_ascii_whitespace());
        out.extend(solid.map(u8::to_ascii_lowercase));
    }
}
