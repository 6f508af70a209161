//! What a client wrote of its target, for redirects and for apps.

use crate::http::target::{Form, Target};

/// What follows a location's prefix, with the slash before it, percent-encoded as the client wrote it. Where the prefix
/// itself was written with encodings, the decoded rest is encoded anew.
pub(super) fn rest_as_written(raw: &[u8], path: &[u8], rest: &[u8]) -> Vec<u8> {
    let end = path.len().saturating_sub(rest.len());
    let prefix = if path.get(..end).is_some_and(|before| before.ends_with(b"/")) { end - 1 } else { end };
    let rest = path.get(prefix..).unwrap_or_default();
    if raw.get(..prefix) == path.get(..prefix) {
        return raw.get(prefix..).unwrap_or_default().to_vec();
    }
    let mut encoded = Vec::with_capacity(rest.len());
    for byte in rest {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(*byte),
            _ => encoded.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    encoded
}

/// Path and query as the client wrote them, without scheme and authority.
pub(super) fn origin_form<'a>(target: &Target, raw: &'a [u8]) -> &'a [u8] {
    if target.form() != Form::Absolute {
        return raw;
    }
    let path = target.raw_path(raw);
    let length = path.len() + target.query(raw).map_or(0, |query| query.len() + 1);
    match raw.get(raw.len().saturating_sub(length)..) {
        Some(origin) if origin.starts_with(path) => origin,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, target};

    #[test]
    fn the_rest_of_a_redirect_keeps_its_slash_and_its_encoding() {
        let rest = |raw: &str, path: &str, rest: &str| {
            String::from_utf8(rest_as_written(raw.as_bytes(), path.as_bytes(), rest.as_bytes())).unwrap()
        };
        assert_eq!(rest("/old/a%20b", "/old/a b", "a b"), "/a%20b");
        assert_eq!(rest("/old/", "/old/", ""), "/");
        assert_eq!(rest("/api/x", "/api/x", "/x"), "/x");
        assert_eq!(rest("/api", "/api", ""), "");
        assert_eq!(rest("/%6fld/a b", "/old/a b", "a b"), "/a%20b", "the prefix was encoded");
    }

    #[test]
    fn the_origin_form_is_what_the_client_wrote() {
        for (raw, origin) in [
            ("/a%20b?x=1", "/a%20b?x=1"),
            ("http://shop.example/a?x=1", "/a?x=1"),
            ("http://shop.example/a", "/a"),
            ("http://shop.example", "/"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            assert_eq!(origin_form(&target, raw.as_bytes()), origin.as_bytes(), "{raw}");
        }
    }
}
