//! What of a response names a place of the upstream, and where a client finds that: the references in `Location`,
//! `Content-Location` and `Refresh`, and the paths of cookies. For an upstream that sees paths without the prefix of a
//! location, or another host.
//!
//! - A path gets the prefix, unless it has it: an upstream may know of it by `X-Forwarded-Prefix` or `SCRIPT_NAME`.
//! - A URL of the upstream's own becomes one of ours, and in one of ours only the path changes. What leads to anybody else is
//!   left alone, and so is what is relative to the path that was asked for.

use crate::http::target::{self, Host};
use crate::http::{Fields, Scheme};

/// See the module.
#[derive(Debug)]
pub(crate) struct Back<'a> {
    /// As it stands in a URL, without a slash at its end; perhaps empty.
    pub(crate) prefix: &'a [u8],
    /// How the client has asked us.
    pub(crate) scheme: Scheme,
    pub(crate) authority: &'a [u8],
    /// The hosts of the upstream.
    pub(crate) servers: Vec<Host>,
}

impl Back<'_> {
    /// Changes the fields that name a place.
    pub(crate) fn map(&self, fields: &mut Fields) {
        fields.replace(|name, value| {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            match () {
                () if is("location") || is("content-location") => self.reference(value),
                () if is("refresh") => self.refresh(value),
                () if is("set-cookie") => self.cookie(value),
                () => None,
            }
        });
    }

    /// `None`: it stays.
    fn reference(&self, value: &[u8]) -> Option<Vec<u8>> {
        let (scheme, rest) = match value {
            [b'/', b'/', rest @ ..] => (None, rest),
            [b'/', b'\\', ..] => return None,
            [b'/', ..] => return self.path(value),
            _ => {
                let at = value.windows(3).position(|three| three == b"://")?;
                (Some(Scheme::parse(value.get(..at)?)?), value.get(at + 3..)?)
            }
        };
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let host = target::host(authority).ok()?;
        let default = scheme.unwrap_or(self.scheme).default_port();
        if target::host(self.authority).is_ok_and(|own| own.same(&host, default)) {
            let path = self.path(path)?;
            return Some([value.strip_suffix(rest)?, authority, &path].concat());
        }
        if !self.servers.iter().any(|server| server.same(&host, default)) {
            return None;
        }
        let path = self.path(path).unwrap_or_else(|| path.to_vec());
        Some([self.scheme.as_str().as_bytes(), b"://", self.authority, &path].concat())
    }

    /// A path, with what follows it; `None`: it stays.
    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let is_below =
            path.strip_prefix(self.prefix).is_some_and(|rest| matches!(rest, [] | [b'/' | b'?' | b'#', ..]));
        if self.prefix.is_empty() || is_below {
            return None;
        }
        let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
        Some([self.prefix, slash, path].concat())
    }

    /// `5; url=/x`, with or without quotes around it.
    fn refresh(&self, value: &[u8]) -> Option<Vec<u8>> {
        let at = value.windows(4).position(|four| four.eq_ignore_ascii_case(b"url="))? + 4;
        let (before, after) = value.split_at_checked(at)?;
        let (quote, url) = match after {
            [quote @ (b'"' | b'\''), url @ ..] => (std::slice::from_ref(quote), url),
            url => (&b""[..], url),
        };
        let end = url.iter().position(|byte| quote.contains(byte)).unwrap_or(url.len());
        let (url, rest) = url.split_at_checked(end)?;
        Some([before, quote, &self.reference(url)?, rest].concat())
    }

    /// A cookie of the whole host (`__Host-…`) has the path `/` or is none.
    fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        if value.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"__Host-")) {
            return None;
        }
        let mut is_other = false;
        let parts: Vec<Vec<u8>> = value
            .split(|byte| *byte == b';')
            .enumerate()
            .map(|(at, part)| {
                let path = (at > 0).then(|| path_of(part)).flatten();
                // That of all paths below the prefix, and of the prefix itself.
                let mapped = match path {
                    Some(b"/") if !self.prefix.is_empty() => Some(self.prefix.to_vec()),
                    path => path.and_then(|path| self.path(path)),
                };
                is_other |= mapped.is_some();
                mapped.map_or_else(|| part.to_vec(), |path| [&b" Path="[..], &path].concat())
            })
            .collect();
        is_other.then(|| parts.join(&b';'))
    }
}

/// The value of the attribute `Path`, if this is it.
fn path_of(attribute: &[u8]) -> Option<&[u8]> {
    let at = attribute.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (attribute.get(..at)?.trim_ascii(), attribute.get(at + 1..)?.trim_ascii());
    (name.eq_ignore_ascii_case(b"path") && value.starts_with(b"/")).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(prefix: &str, name: &str, value: &str) -> String {
        let back = Back {
            prefix: prefix.as_bytes(),
            scheme: Scheme::Https,
            authority: b"shop.example:8443",
            servers: vec![target::host(b"127.0.0.1:9000").unwrap(), target::host(b"api.internal").unwrap()],
        };
        let mut fields = Fields::new();
        fields.add("X-First", "/x");
        fields.add(name, value);
        back.map(&mut fields);
        assert_eq!(fields.iter().next(), Some((&b"X-First"[..], &b"/x"[..])));
        assert_eq!(fields.iter().count(), 2);
        String::from_utf8(fields.get(name).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn references_lead_below_the_prefix_and_to_this_host() {
        for (given, expected) in [
            ("/", "/api/"),
            ("/login?next=/a#b", "/api/login?next=/a#b"),
            ("/apix", "/api/apix"),
            // The upstream knows of it.
            ("/api", "/api"),
            ("/api/login", "/api/login"),
            ("/api?x", "/api?x"),
            // Relative to what was asked for.
            ("login", "login"),
            ("../x", "../x"),
            ("?page=2", "?page=2"),
            ("", ""),
            // Ours.
            ("https://shop.example:8443/x", "https://shop.example:8443/api/x"),
            ("http://SHOP.example:8443/x", "http://SHOP.example:8443/api/x"),
            ("//shop.example:8443/x", "//shop.example:8443/api/x"),
            ("https://shop.example:8443", "https://shop.example:8443/api/"),
            ("https://shop.example:8443?x", "https://shop.example:8443/api/?x"),
            // The upstream's.
            ("http://127.0.0.1:9000/x", "https://shop.example:8443/api/x"),
            ("http://127.0.0.1:9000/api/x", "https://shop.example:8443/api/x"),
            ("HTTP://api.internal:80", "https://shop.example:8443/api/"),
            ("https://api.internal/x", "https://shop.example:8443/api/x"),
            // Others.
            ("https://shop.example/x", "https://shop.example/x"),
            ("http://127.0.0.1:9001/x", "http://127.0.0.1:9001/x"),
            ("https://other.example/x", "https://other.example/x"),
            ("//other.example/x", "//other.example/x"),
            ("https://a@shop.example:8443/x", "https://a@shop.example:8443/x"),
            ("/\\other.example/x", "/\\other.example/x"),
            ("ftp://127.0.0.1:9000/x", "ftp://127.0.0.1:9000/x"),
            ("/x?u=http://127.0.0.1:9000/y", "/api/x?u=http://127.0.0.1:9000/y"),
        ] {
            assert_eq!(mapped("/api", "Location", given), expected, "{given}");
            assert_eq!(mapped("/api", "content-location", given), expected, "{given}");
            assert_eq!(mapped("/api", "Link", given), given);
        }
        assert_eq!(mapped("", "Location", "http://api.internal/x"), "https://shop.example:8443/x");
        assert_eq!(mapped("", "Location", "/x"), "/x");
    }

    #[test]
    fn refreshes_and_cookies_follow() {
        for (name, given, expected) in [
            ("Refresh", "5; url=/x", "5; url=/api/x"),
            ("Refresh", "0;URL='/x'", "0;URL='/api/x'"),
            ("Refresh", "0, url=\"http://127.0.0.1:9000/x\" ", "0, url=\"https://shop.example:8443/api/x\" "),
            ("Refresh", "5", "5"),
            ("Refresh", "5; url=https://other.example/", "5; url=https://other.example/"),
            ("Set-Cookie", "a=1; Path=/; HttpOnly", "a=1; Path=/api; HttpOnly"),
            ("Set-Cookie", "a=1;path = /x ;Secure", "a=1; Path=/api/x;Secure"),
            ("Set-Cookie", "a=1; Path=/api/x", "a=1; Path=/api/x"),
            ("Set-Cookie", "a=1", "a=1"),
            ("Set-Cookie", "path=/x; HttpOnly", "path=/x; HttpOnly"),
            ("Set-Cookie", "__Host-a=1; Secure; Path=/", "__Host-a=1; Secure; Path=/"),
            ("Set-Cookie", "a=1; Path=x", "a=1; Path=x"),
        ] {
            assert_eq!(mapped("/api", name, given), expected, "{given}");
        }
        assert_eq!(mapped("", "Set-Cookie", "a=1; Path=/"), "a=1; Path=/");
    }
}
