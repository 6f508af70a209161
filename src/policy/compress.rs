//! What is compressed on its way out, how, and for whom it is worth it. Pure: the decision over one response is
//! `filter::coding`, the work itself `filter::encoder`.

use crate::http::encoding::Encoding;
use crate::http::fields::is_token_byte;
use std::rc::Rc;

/// Whether responses of a place are compressed.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Compressing {
    /// As those of its site; of a site: no.
    #[default]
    Unsaid,
    /// No, whatever the site says.
    Off,
    /// Yes, in this way.
    On(Rc<Compress>),
}

impl Compressing {
    /// As those of the site, if nothing is said.
    #[must_use]
    pub(crate) fn or(self, site: &Self) -> Self {
        if self == Self::Unsaid { site.clone() } else { self }
    }

    /// How, if they are.
    #[must_use]
    pub(crate) fn get(&self) -> Option<&Rc<Compress>> {
        match self {
            Self::On(compress) => Some(compress),
            Self::Unsaid | Self::Off => None,
        }
    }
}

/// How responses are compressed.
#[derive(Clone, Debug, PartialEq)]
pub struct Compress {
    /// Into what; the first one wins where a client does not care.
    pub(crate) encodings: Vec<Encoding>,
    /// How hard.
    pub(crate) levels: Levels,
    /// Bodies that are known to be shorter stay as they are.
    pub(crate) min: u64,
    /// Of which types.
    pub(crate) types: Vec<TypePattern>,
    /// Also those that never end: server-sent events.
    pub(crate) streams: bool,
}

/// What is spent on each coding, on the scale of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) brotli: u32,
    pub(crate) zstd: u32,
    pub(crate) gzip: u32,
}

impl Levels {
    /// What a loop can spend that has other clients.
    pub(crate) const ON_THE_FLY: Self = Self { brotli: 4, zstd: 3, gzip: 5 };
    /// What may stand in the configuration: beyond, one response would take the loop from others for too long.
    pub(crate) const MOST: Self = Self { brotli: 9, zstd: 15, gzip: 9 };

    /// That of one coding.
    #[must_use]
    pub(crate) fn of(self, encoding: Encoding) -> u32 {
        match encoding {
            Encoding::Brotli => self.brotli,
            Encoding::Zstd => self.zstd,
            Encoding::Gzip => self.gzip,
        }
    }
}

/// A media type, or all of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TypePattern {
    /// `text/*`: what stands before the star, in lower case.
    Below(String),
    /// `application/json`, in lower case.
    Exactly(String),
    /// `*+xml`: the suffix with its plus (RFC 6838 §4.2.8), in lower case.
    Suffix(String),
}

impl TypePattern {
    /// What is written in the configuration.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
        if let Some(suffix) = lower.strip_prefix("*+") {
            return if is_token(suffix) { Ok(Self::Suffix(format!("+{suffix}"))) } else { Err(NO_TYPE) };
        }
        match lower.split_once('/') {
            Some((kind, "*")) if is_token(kind) && kind != "*" => Ok(Self::Below(format!("{kind}/"))),
            Some((kind, name)) if is_token(kind) && is_token(name) && !lower.contains('*') => {
                Ok(Self::Exactly(lower))
            }
            _ => Err(NO_TYPE),
        }
    }

    /// As it is written.
    #[must_use]
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Below(kind) => format!("{kind}*"),
            Self::Exactly(name) => name.clone(),
            Self::Suffix(suffix) => format!("*{suffix}"),
        }
    }

    /// Whether it is this type, without parameters.
    #[must_use]
    pub(crate) fn takes(&self, name: &[u8]) -> bool {
        let starts = |with: &str| {
            name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        };
        match self {
            Self::Below(kind) => starts(kind),
            Self::Exactly(known) => name.len() == known.len() && starts(known),
            Self::Suffix(suffix) => {
                let from = name.len().checked_sub(suffix.len());
                let end = from.and_then(|from| name.get(from..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
            }
        }
    }
}

const NO_TYPE: &str = "for example \"text/*\", \"application/json\" or \"*+xml\"";

/// Text, and what is like it: what a picture, a film or an archive has been compressed by already is not listed.
pub(crate) const TYPES: &[&str] = &[
    "text/*",
    "*+json",
    "*+xml",
    "*+text",
    "application/eot",
    "application/font-sfnt",
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-sh",
    "application/xml",
    "application/yaml",
    "font/collection",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

impl Default for Compress {
    fn default() -> Self {
        Self {
            encodings: vec![Encoding::Zstd, Encoding::Brotli, Encoding::Gzip],
            levels: Levels::ON_THE_FLY,
            min: 1024,
            types: TYPES.iter().filter_map(|text| TypePattern::parse(text).ok()).collect(),
            streams: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_case_and_by_their_kind() {
        let takes = |pattern: &str, name: &str| TypePattern::parse(pattern).unwrap().takes(name.as_bytes());
        for (pattern, name, expected) in [
            ("text/*", "text/html", true),
            ("Text/*", "TEXT/css", true),
            ("text/*", "text", false),
            ("text/*", "textual/x", false),
            ("application/json", "application/json", true),
            ("application/json", "Application/JSON", true),
            ("application/json", "application/json5", false),
            ("application/json", "application/jso", false),
            ("*+xml", "image/svg+xml", true),
            ("*+xml", "application/xml", false),
            ("*+xml", "+xm", false),
        ] {
            assert_eq!(takes(pattern, name), expected, "{pattern} {name}");
        }
        for text in ["", "text", "/", "*/*", "*", "text/", "text/h*", "*+", "a b/c", "*+x/y"] {
            assert!(TypePattern::parse(text).is_err(), "{text}");
        }
        for text in TYPES {
            assert_eq!(TypePattern::parse(text).unwrap().render(), *text);
        }
    }

    #[test]
    fn a_location_may_say_no_where_its_site_says_yes() {
        let on = Compressing::On(Rc::default());
        assert_eq!(Compressing::Unsaid.or(&on), on);
        assert_eq!(Compressing::Off.or(&on), Compressing::Off);
        assert_eq!(on.clone().or(&Compressing::Off), on);
        assert!(
            Compressing::Off.get().is_none() && Compressing::Unsaid.or(&Compressing::Unsaid).get().is_none()
        );
    }
}
