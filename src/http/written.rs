//! What a client wrote of its target, for redirects and for apps.

use super::target::{Form, Target};
use super::{Scheme, location, percent};
use std::borrow::Cow;

/// A request, as a template of a location is filled in by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) target: &'a Target,
    /// The target as it was written.
    pub(crate) raw: &'a [u8],
    /// What follows the location's prefix in the decoded path.
    pub(crate) rest: &'a [u8],
    /// Host and port as they were written.
    pub(crate) authority: &'a [u8],
    pub(crate) scheme: Scheme,
}

/// The template, filled in; groups and query as [`location::Parts`] has them.
pub(crate) fn fill(
    template: &str,
    asked: &Asked<'_>,
    groups: &[(String, Vec<u8>)],
    keeps_query: bool,
) -> Vec<u8> {
    let parts = location::Parts {
        rest: &rest_as_written(asked.target, asked.raw, asked.rest),
        path: &path_as_written(asked.target, asked.raw),
        query: asked.target.query(asked.raw).unwrap_or_default(),
        host: asked.authority,
        scheme: asked.scheme.as_str(),
        groups,
        keeps_query,
    };
    location::render(template, &parts)
}

/// What follows a location's prefix, with the slash before it, percent-encoded as the client wrote it. Where the prefix
/// itself was written with encodings, or the path with dot segments, the decoded rest is encoded anew: a browser would
/// resolve `/old/x/../..` behind another prefix to what nobody meant.
pub(crate) fn rest_as_written<'a>(target: &Target, raw: &'a [u8], rest: &[u8]) -> Cow<'a, [u8]> {
    let (raw, path) = (target.raw_path(raw), target.path());
    let end = path.len().saturating_sub(rest.len());
    let prefix = if path.get(..end).is_some_and(|before| before.ends_with(b"/")) { end - 1 } else { end };
    if !target.has_dot_segments() && raw.get(..prefix) == path.get(..prefix) {
        return Cow::Borrowed(raw.get(prefix..).unwrap_or_default());
    }
    Cow::Owned(percent::encoded_path(path.get(prefix..).unwrap_or_default()))
}

/// The path as the client wrote it; encoded anew if it had dot segments.
pub(crate) fn path_as_written<'a>(target: &Target, raw: &'a [u8]) -> Cow<'a, [u8]> {
    if target.has_dot_segments() {
        Cow::Owned(percent::encoded_path(target.path()))
    } else {
        Cow::Borrowed(target.raw_path(raw))
    }
}

/// What a client asked for behind the prefix of a location: path and query as it wrote them. It begins with one slash, like
/// a redirect: an upstream that is told of `//evil.example` could send a browser there.
pub(crate) fn behind_prefix(target: &Target, raw: &[u8], rest: &[u8]) -> Vec<u8> {
    let rest = rest_as_written(target, raw, rest);
    let start = rest.iter().position(|byte| !matches!(byte, b'/' | b'\\')).unwrap_or(rest.len());
    let query = target.query(raw);
    let mark: &[u8] = if query.is_some() { b"?" } else { b"" };
    [b"/", rest.get(start..).unwrap_or_default(), mark, query.unwrap_or_default()].concat()
}

/// Path and query as the client wrote them, without scheme and authority.
pub(crate) fn origin_form<'a>(target: &Target, raw: &'a [u8]) -> Cow<'a, [u8]> {
    if target.form() != Form::Absolute {
        return Cow::Borrowed(raw);
    }
    let path = target.raw_path(raw);
    let Some(query) = target.query(raw) else { return Cow::Borrowed(path) };
    match raw.get(raw.len().saturating_sub(path.len() + 1 + query.len())..) {
        Some(origin) if origin.starts_with(path) => Cow::Borrowed(origin),
        // `http://shop.example?x=1` has no path.
        _ => Cow::Owned([path, b"?", query].concat()),
    }
}

/// The path by which the location was chosen, encoded anew, and the query as the client wrote it: for who judges the request by
/// its path, to whom `/public/%2e%2e/admin` must not look like something public.
pub(crate) fn as_understood(target: &Target, raw: &[u8]) -> Vec<u8> {
    if target.form() == Form::Asterisk {
        return raw.to_vec();
    }
    let mut path = Vec::with_capacity(raw.len());
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,=:@".contains(&byte);
    percent::encode(target.path(), may_stand, &mut path);
    match target.query(raw) {
        Some(query) => [&*path, b"?", query].concat(),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, target};

    #[test]
    fn the_rest_of_a_redirect_keeps_its_slash_and_its_encoding() {
        let rest = |raw: &str, rest: &str| {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            String::from_utf8(rest_as_written(&target, raw.as_bytes(), rest.as_bytes()).into_owned()).unwrap()
        };
        assert_eq!(rest("/old/a%20b", "a b"), "/a%20b");
        assert_eq!(rest("/old/", ""), "/");
        assert_eq!(rest("/api/x", "/x"), "/x");
        assert_eq!(rest("/api", ""), "");
        assert_eq!(rest("/old//evil.example", "evil.example"), "//evil.example");
        assert_eq!(rest("/%6fld/a%20b", "a b"), "/a%20b", "the prefix was encoded");
        assert_eq!(rest("/old/x/../../old/y%20", "y "), "/y%20", "the path was resolved");
        assert_eq!(rest("/old/x/%2e%2e/y", "y"), "/y");
    }

    #[test]
    fn a_path_with_dot_segments_is_told_as_it_was_understood() {
        for (raw, path) in [
            ("/a%20b//c?x", "/a%20b//c"),
            ("/a%2fb/../..", "/"),
            ("/a/./b%20", "/a/b%20"),
            ("http://h/a/%2E%2e/b?x", "/b"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            assert_eq!(*path_as_written(&target, raw.as_bytes()), *path.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn behind_a_prefix_a_path_begins_with_one_slash() {
        for (raw, rest, behind) in [
            ("/api/a%20b?x=%41", "/a b", "/a%20b?x=%41"),
            ("/api/a%20b?", "a b", "/a%20b?"),
            ("/api", "", "/"),
            ("/api?x", "", "/?x"),
            ("/api//evil.example", "/evil.example", "/evil.example"),
            ("/api/\\/evil.example", "/\\/evil.example", "/evil.example"),
            ("/%61pi/a%20b", "/a b", "/a%20b"),
            ("http://shop.example/api/a?x", "/a", "/a?x"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            let found = behind_prefix(&target, raw.as_bytes(), rest.as_bytes());
            assert_eq!(String::from_utf8(found).unwrap(), behind, "{raw}");
        }
    }

    #[test]
    fn the_origin_form_is_what_the_client_wrote() {
        for (raw, origin) in [
            ("/a%20b?x=1", "/a%20b?x=1"),
            ("http://shop.example/a?x=1", "/a?x=1"),
            ("http://shop.example/a", "/a"),
            ("http://shop.example", "/"),
            ("http://shop.example?x=1", "/?x=1"),
            ("http://shop.example?", "/?"),
            ("http://a?/", "/?/"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            assert_eq!(*origin_form(&target, raw.as_bytes()), *origin.as_bytes(), "{raw}");
        }
    }

    #[test]
    fn who_judges_a_path_is_told_that_which_is_served() {
        for (raw, told) in [
            ("/a%20b/%41?x=%41", "/a%20b/A?x=%41"),
            ("/public/../admin/x?", "/admin/x?"),
            ("/public/%2e%2e/admin", "/admin"),
            ("//admin//x", "/admin/x"),
            ("/public%2f..%2fadmin", "/admin"),
            ("/a%3Fb%23c%25/u@b;c", "/a%3Fb%23c%25/u@b%3Bc"),
            ("http://shop.example?x", "/?x"),
        ] {
            let target = target::parse(Method::Get, raw.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(as_understood(&target, raw.as_bytes())).unwrap(), told, "{raw}");
        }
        let target = target::parse(Method::Options, b"*").unwrap();
        assert_eq!(as_understood(&target, b"*"), b"*");
    }
}
